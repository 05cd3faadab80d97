// Function calls as far as tokens tell: a name, possibly qualified, with a parenthesis behind it;
// or a name behind a dot, which may be attribute notation (row.function).
//
// A table with a list of columns, a type with a length and a word like VALUES look the same, so
// that a mention is a reason to ask for the tree. Every call in the tree of a text is mentioned in
// its tokens.
#pragma once

#include "parser/pg_query.hpp"
#include "parser/statements.hpp"

namespace signalbox::parser {

enum class mention : std::uint8_t {
    none,
    doubtful,  // behind INTO or a dot, or in a statement that defines, grants or drops
    likely
};

/// The strongest mention of a wanted call in one statement.
mention find_mention(
    std::string_view statement, backslashes strings, const call_predicate& is_wanted
);

}  // namespace signalbox::parser
