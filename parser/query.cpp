#include "parser/query.hpp"

#include "parser/limits.hpp"
#include "parser/pg_query.hpp"
#include "parser/quoting.hpp"

#include <array>
#include <utility>

namespace signalbox::parser {
namespace {

bool is_within_limits(std::string_view sql) {
    return sql.size() <= max_tree_bytes && sql.find('\0') == std::string_view::npos &&
           tree_tokens(sql, max_tree_tokens) <= max_tree_tokens &&
           scanner_steps(sql) <= max_scanner_steps;
}

/// Calls that have a syntax of their own; as functions they would be other functions.
bool is_syntax(std::string_view name) noexcept {
    return name == "coalesce";
}

std::optional<std::string> list_sql(const std::vector<expression>& list) {
    std::string out;
    for (const auto& item : list) {
        const auto sql = expression_sql(item);
        if (!sql) {
            return std::nullopt;
        }
        out += out.empty() ? "" : ", ";
        out += *sql;
    }
    return out;
}

std::optional<std::string> call_sql(const expression& what) {
    const auto arguments = list_sql(what.arguments);
    if (!arguments || !what.is_plain) {
        return std::nullopt;
    }
    const bool is_bare = what.qualifier.empty() || what.qualifier == "pg_catalog";
    const auto name = is_syntax(what.name) ? "COALESCE" : quoted_name(what.name);
    return (is_bare ? name : quoted_name(what.qualifier) + "." + name) + "(" + *arguments + ")";
}

std::optional<std::string> operation_sql(const expression& what) {
    std::vector<std::string> sides;
    for (const auto& argument : what.arguments) {
        auto side = expression_sql(argument);
        if (!side) {
            return std::nullopt;
        }
        const bool is_compound =
            argument.kind == expression_kind::operation || argument.kind == expression_kind::cast;
        sides.push_back(is_compound ? "(" + *side + ")" : std::move(*side));
    }
    if (sides.empty() || sides.size() > 2) {
        return std::nullopt;
    }
    const bool is_bare = what.qualifier.empty() || what.qualifier == "pg_catalog";
    const auto name =
        is_bare ? what.name : "OPERATOR(" + quoted_name(what.qualifier) + "." + what.name + ")";
    return sides.size() == 1 ? name + " " + sides[0] : sides[0] + " " + name + " " + sides[1];
}

}  // namespace

std::optional<query> parse_query(std::string_view sql) {
    return is_within_limits(sql) ? parsed_query(std::string{sql}) : std::nullopt;
}

std::optional<expression> parse_expression(std::string_view sql) {
    auto found = parse_query("SELECT " + std::string{sql});
    if (!found || found->levels.front().targets.size() != 1) {
        return std::nullopt;
    }
    return std::move(found->levels.front().targets.front().what);
}

std::string canonical_form(std::string_view sql) {
    auto form = is_within_limits(sql) ? parsed_canonical_form(std::string{sql}) : std::nullopt;
    return form ? std::move(*form) : std::string{sql};
}

std::optional<std::string> expression_sql(const expression& what) {
    switch (what.kind) {
        case expression_kind::column:
            return quoted_name(what.name);
        case expression_kind::constant:
            return what.name;
        case expression_kind::null:
            return "NULL";
        case expression_kind::call:
            return call_sql(what);
        case expression_kind::operation:
            return operation_sql(what);
        case expression_kind::cast: {
            const auto inner = expression_sql(what.arguments.front());
            if (!inner || !what.is_plain) {
                return std::nullopt;
            }
            const auto kind = what.arguments.front().kind;
            const bool is_simple = kind == expression_kind::column ||
                                   kind == expression_kind::call ||
                                   kind == expression_kind::constant;
            return (is_simple ? *inner : "(" + *inner + ")") + "::" + what.name;
        }
        case expression_kind::array: {
            const auto elements = list_sql(what.arguments);
            return elements ? std::optional{"ARRAY[" + *elements + "]"} : std::nullopt;
        }
        case expression_kind::any:
        case expression_kind::all: {
            if (what.arguments.size() != 2) {
                return std::nullopt;
            }
            const auto left = expression_sql(what.arguments[0]);
            const auto right = expression_sql(what.arguments[1]);
            if (!left || !right) {
                return std::nullopt;
            }
            const auto* const word = what.kind == expression_kind::any ? " ANY (" : " ALL (";
            return *left + " " + what.name + word + *right + ")";
        }
        default:
            return std::nullopt;
    }
}

}  // namespace signalbox::parser
