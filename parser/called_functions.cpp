#include "parser/called_functions.hpp"

#include "parser/tree.hpp"

#include <pg_query/pg_query.pb-c.h>

#include <utility>

namespace signalbox::parser {
namespace {

bool is_wanted_call(const tree_message& call, const call_predicate& is_wanted) {
    std::string_view schema;
    std::string_view function;
    for (tree_reader in{call}; !in.at_end();) {
        const auto f = in.next();
        if (f.name() == "funcname") {
            schema = std::exchange(function, string_in(f.bytes));
        } else if (f.name() == "funcformat" && f.number == PG_QUERY__COERCION_FORM__COERCE_SQL_SYNTAX) {
            return false;  // TRIM(BOTH …) and the like: PostgreSQL's own functions
        }
    }
    // LIKE … ESCAPE and SIMILAR TO, which the grammar does not mark.
    const bool is_operator =
        schema == "pg_catalog" && (function == "like_escape" || function == "similar_to_escape");
    return !is_operator && is_wanted(schema, function);
}

/// A name behind a dot is a function's where the row has no such column.
bool is_wanted_attribute(const tree_message& m, const call_predicate& is_wanted) {
    if (m.is(pg_query__column_ref__descriptor)) {
        std::size_t count = 0;
        std::string_view last;
        for (tree_reader in{m}; !in.at_end();) {
            const auto f = in.next();
            if (f.name() == "fields") {
                ++count;
                last = string_in(f.bytes);
            }
        }
        return count > 1 && !last.empty() && is_wanted({}, last);
    }
    if (m.is(pg_query__a__indirection__descriptor)) {
        for (tree_reader in{m}; !in.at_end();) {
            const auto f = in.next();
            const auto name = f.name() == "indirection" ? string_in(f.bytes) : std::string_view{};
            if (!name.empty() && is_wanted({}, name)) {
                return true;
            }
        }
    }
    return false;
}

}  // namespace

bool tree_makes_call(std::string_view tree, const call_predicate& is_wanted) {
    std::vector<tree_message> open{{&pg_query__parse_result__descriptor, tree}};
    while (!open.empty()) {
        const auto m = open.back();
        open.pop_back();
        if (only_defines(m)) {
            continue;
        }
        if (m.is(pg_query__func_call__descriptor) && is_wanted_call(m, is_wanted)) {
            return true;
        }
        if (is_wanted_attribute(m, is_wanted)) {
            return true;
        }
        for (tree_reader in{m}; !in.at_end();) {
            const auto f = in.next();
            if (f.is_message()) {
                open.push_back({f.type(), f.bytes});
            }
        }
    }
    return false;
}

}  // namespace signalbox::parser
