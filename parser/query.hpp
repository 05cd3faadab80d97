// A SELECT as values: what stands in it, and where its columns come from.
//
// Meant for the text that a server writes itself (pg_get_viewdef, pg_get_indexdef): relations are
// schema-qualified, operators stand for their syntax (LIKE is `~~`), and casts are written out. Of
// a client's own text LIKE, ILIKE and IN are read as the server would write them. What this tree
// has no name for is `other`, with everything below it: a walk over all arguments misses no
// expression.
//
//   select   one level: FROM, its conditions, what it gives. Levels are numbered as they open;
//   level
//            0 is the whole query. A set operation is a level without FROM, its two sides levels of
//            their own.
//   source   one item of FROM, joins laid flat: a relation, a level, or a function
//
// Cost      libpg_query's tree and this one: 2 to 10 us a token
#pragma once

#include <cstddef>
#include <cstdint>
#include <limits>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace signalbox::parser {

constexpr std::size_t no_level = std::numeric_limits<std::size_t>::max();

enum class expression_kind : std::uint8_t {
    column,       // name, and qualifier: the source's alias
    constant,     // name: as SQL; text: what it says
    null,         // without its cast
    call,         // name, qualifier: the function's schema
    cast,         // name: the type as SQL, text: as pg_type.typname has it; one argument
    operation,    // name: the operator; one or two arguments
    any,          // left operator ANY (right): name and two arguments
    all,          // the same with ALL
    conjunction,  // AND
    disjunction,  // OR
    negation,     // NOT
    is_null,
    is_not_null,
    array,
    sublink,  // link says which; level; name: the operator; the argument before it, if any
    other
};

enum class sublink_kind : std::uint8_t { none, exists, any, all, other };

struct expression {
    expression_kind kind = expression_kind::other;
    std::string name;
    std::string qualifier;
    std::string text;
    std::vector<expression> arguments;
    sublink_kind link = sublink_kind::none;
    std::size_t level = no_level;
    bool is_plain = true;  // a call without FILTER, OVER, DISTINCT, ORDER BY, VARIADIC or `*`; a
                           // cast without a modifier that cannot be written here

    bool operator==(const expression&) const = default;
};

struct query_source {
    std::string alias;  // what its columns are qualified with
    std::string schema;
    std::string relation;  // "" = not a relation
    std::vector<std::string> column_aliases;
    std::size_t level = no_level;  // a sub-select
    bool may_be_missing = false;   // on the side of an outer join that is filled with NULL
};

/// A part of WHERE, or of a join's ON, that stands under no OR.
struct query_condition {
    expression what;
    std::vector<std::size_t> restricts;  // sources whose rows it chooses, by index; none: see below
    bool is_where = false;               // of the level's result, whatever joins there are
};

/// JOIN … USING (column): of the sources on its left, one has it, and one of those on its right.
struct using_column {
    std::string column;
    std::vector<std::size_t> left;
    std::vector<std::size_t> right;
};

struct query_target {
    std::string name;  // AS
    expression what;
};

struct query_select {
    std::size_t parent = no_level;
    std::vector<query_source> sources;
    std::vector<query_condition> conditions;
    std::vector<using_column> usings;
    std::vector<query_target> targets;
    std::vector<expression> group_by;
    std::vector<expression> others;  // HAVING, DISTINCT ON, ORDER BY, functions in FROM, VALUES, …
    std::vector<std::size_t> sides;  // of a set operation
    std::optional<expression> limit;
    bool is_distinct = false;  // not by DISTINCT ON
    bool is_grouped = false;   // has GROUP BY or HAVING
    bool is_ordered = false;
    bool is_in_exists = false;
    std::string operation;  // of a set operation: UNION, INTERSECT, EXCEPT
    bool keeps_duplicates = false;
};

struct query {
    std::vector<query_select> levels;
};

/// No value: the text does not parse, is no SELECT, or is beyond the limits (parser/limits.hpp) or
/// the depth of 400 nested expressions. Needs 8 MiB of stack.
std::optional<query> parse_query(std::string_view sql);

/// Of one expression as the server writes it in an index.
std::optional<expression> parse_expression(std::string_view sql);

/// The query's text in a form that does not depend on white space, comments and the names that
/// relations and sub-selects in FROM, and CTEs, are given. Not SQL. Text that does not parse is its
/// own form.
std::string canonical_form(std::string_view sql);

/// SQL of an expression, its columns without their qualifier. No value: something in it cannot be
/// written (a sub-select, `other`).
std::optional<std::string> expression_sql(const expression& what);

/// The expression and everything below it, sub-selects not entered.
template <typename Visit>
void for_each_expression(const expression& top, const Visit& visit) {
    visit(top);
    for (const auto& argument : top.arguments) {
        for_each_expression(argument, visit);
    }
}

/// Every expression of a level; not those of the levels within.
template <typename Visit>
void for_each_expression(const query_select& level, const Visit& visit) {
    for (const auto& c : level.conditions) {
        for_each_expression(c.what, visit);
    }
    for (const auto& t : level.targets) {
        for_each_expression(t.what, visit);
    }
    for (const auto* list : {&level.group_by, &level.others}) {
        for (const auto& e : *list) {
            for_each_expression(e, visit);
        }
    }
}

}  // namespace signalbox::parser
