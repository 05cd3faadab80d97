// The relations that one statement names as schema.name, as far as somebody wants to know of them:
// where they stand and what the statement does with them.
//
// libpg_query's tree decides. It is asked with the contents of strings that have backslashes
// blanked where backslashes escape, since it reads them otherwise. Where it cannot parse the
// statement (newer syntax, a typing error, limits), tokens decide for plain queries: a name behind
// FROM or JOIN. What they cannot prove is not found, and the server has the last word.
//
// Cost      one tree of at most max_tree_tokens, and a linear pass
// Source    PostgreSQL's src/backend/parser/gram.y, parse_relation.c, analyze.c
#pragma once

#include "parser/lexer.hpp"

#include <cstddef>
#include <functional>
#include <optional>
#include <string>
#include <vector>

namespace signalbox::parser {

/// What a statement does with a relation that it names.
enum class relation_role : std::uint8_t {
    read,      // an item of FROM or USING, or of the command TABLE
    copied,    // COPY … TO
    sampled,   // read with TABLESAMPLE
    locked,    // read, and its rows are locked: FOR UPDATE and its like
    stored,    // read by the definition of a view, function, rule, policy or the like
    prepared,  // read by PREPARE
    changed    // all else: written to, defined, dropped, granted, locked, analyzed, referenced
};

struct text_range {
    std::size_t offset = 0;  // bytes from the statement's beginning
    std::size_t size = 0;

    [[nodiscard]] std::size_t end() const noexcept { return offset + size; }

    bool operator==(const text_range&) const = default;
};

struct named_relation {
    std::string schema;  // as PostgreSQL folds them
    std::string name;
    relation_role role = relation_role::read;
    bool has_alias = false;
    bool is_table_command = false;          // TABLE name: `item` begins with TABLE
    text_range range;                       // schema.name; unknown where only `changed` by a list
    text_range item;                        // with ONLY and its parentheses, or the star behind
    std::optional<text_range> column_list;  // of `copied`, with its parentheses

    bool operator==(const named_relation&) const = default;
};

/// schema.name.column or schema.name.* that means a relation of the statement which is read without
/// an alias.
struct qualified_column {
    std::string schema;
    std::string name;
    text_range range;           // schema.name
    bool is_ambiguous = false;  // the statement has another relation or alias called `name`

    bool operator==(const qualified_column&) const = default;
};

struct relation_names {
    std::vector<named_relation> relations;  // in the text's order
    std::vector<qualified_column> columns;  // in the text's order
    std::size_t highest_parameter = 0;      // of $1, $2, …
    bool is_copy = false;
    bool is_binary_copy = false;  // COPY BINARY name, the old form that takes no query

    bool operator==(const relation_names&) const = default;
};

/// Asked about a name that has a schema but no database before it.
using relation_predicate = std::function<bool(std::string_view schema, std::string_view name)>;

/// Needs statement_rules::deep_stack_bytes of stack where !statement_rules::is_light().
relation_names find_relation_names(
    std::string_view statement, backslashes strings, const relation_predicate& is_wanted
);

}  // namespace signalbox::parser
