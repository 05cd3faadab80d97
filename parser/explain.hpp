// EXPLAIN: whether the plan comes as lines of text, and what the explained query names.
//
//   explained_query()   by tokens: the query behind EXPLAIN and its options
//   parse_explained()   by libpg_query's tree: its relations, and a SELECT as values
#pragma once

#include "parser/lexer.hpp"
#include "parser/query.hpp"

#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace signalbox::parser {

/// What an EXPLAIN explains, to the statement's end. No value: the statement is none, its format is
/// not TEXT, or it is EXPLAIN EXECUTE, which names no query. Empty statements may stand before it.
///
/// Cost      linear in what stands before the query
std::optional<std::string_view> explained_query(std::string_view statement, backslashes strings);

/// The statement begins with EXPLAIN, empty statements left out.
bool begins_with_explain(std::string_view statement) noexcept;

/// The word stands somewhere in the text, also within strings and comments.
bool may_explain(std::string_view sql) noexcept;

/// As PostgreSQL folds it.
struct relation_name {
    std::string schema;  // "" = not given
    std::string name;

    bool operator==(const relation_name&) const = default;
};

struct explained {
    /// Each once. Not those of a name that a CTE of the statement has.
    std::vector<relation_name> relations;
    std::optional<query> select;  // see query.hpp, but in the client's words
};

/// No value: the text does not parse, is more than one statement, or is not
/// statement_rules::is_light(). Plain strings with backslashes are not parsed where those escape.
std::optional<explained> parse_explained(std::string_view sql, backslashes strings);

}  // namespace signalbox::parser
