#include "catalog/notices/views.hpp"

#include "parser/quoting.hpp"

#include <algorithm>
#include <array>

namespace signalbox::catalog {

using parser::expression;
using parser::expression_kind;

namespace {

/// As pg_type has it.
std::string_view type_of(const expression& what, const std::optional<used_column>& column) {
    if (what.kind == expression_kind::cast) {
        return what.text;
    }
    return column ? std::string_view{column->column->type} : std::string_view{};
}

}  // namespace

const object_facts* view_reader::relation(const parser::query_source& source) const noexcept {
    return source.relation.empty() ? nullptr : facts_.relation(source.schema, source.relation);
}

const column_facts* view_reader::column_in(
    const parser::query_source& source, std::string_view name
) const {
    const auto* const table = relation(source);
    if (table == nullptr) {
        return nullptr;
    }
    const auto& aliases = source.column_aliases;
    if (aliases.empty()) {
        return table->column(name);
    }
    const auto at = std::find(aliases.begin(), aliases.end(), name);
    const auto i = static_cast<std::size_t>(at - aliases.begin());
    return at != aliases.end() && i < table->columns.size() ? &table->columns[i] : nullptr;
}

std::optional<used_column> view_reader::find(const expression& column, std::size_t level) const {
    for (auto at = level; at < levels(); at = query_->levels[at].parent) {
        const auto& sources = query_->levels[at].sources;
        // Only a query with one source leaves the qualifier out.
        if (column.qualifier.empty() && sources.size() != 1) {
            return std::nullopt;
        }
        for (std::size_t i = 0; i < sources.size(); ++i) {
            if (!column.qualifier.empty() && sources[i].alias != column.qualifier) {
                continue;
            }
            if (const auto* const found = column_in(sources[i], column.name)) {
                return used_column{relation(sources[i]), found, at, i};
            }
            return std::nullopt;
        }
    }
    return std::nullopt;
}

std::optional<used_column> view_reader::column_of(const expression& what, std::size_t level) const {
    if (what.kind == expression_kind::column) {
        return find(what, level);
    }
    if (what.kind != expression_kind::cast) {
        return std::nullopt;
    }
    const auto& inner = what.arguments.front();
    const auto found = column_of(inner, level);
    return found && facts_.is_binary_coercible(type_of(inner, found), what.text) ? found
                                                                                 : std::nullopt;
}

std::vector<used_column> view_reader::columns_in(const expression& what, std::size_t level) const {
    std::vector<used_column> found;
    parser::for_each_expression(what, [&](const expression& e) {
        if (e.kind == expression_kind::column) {
            if (const auto column = find(e, level)) {
                found.push_back(*column);
            }
        }
    });
    return found;
}

bool view_reader::depends_on_rows(const expression& what) {
    bool does = false;
    parser::for_each_expression(what, [&](const expression& e) {
        does = does || e.kind == expression_kind::column || e.kind == expression_kind::sublink;
    });
    return does;
}

std::vector<column_pair> view_reader::equalities(std::size_t level) const {
    std::vector<column_pair> found;
    const auto& select = query_->levels[level];
    for (const auto& c : select.conditions) {
        if (c.what.kind != expression_kind::operation || c.what.name != "=" ||
            c.what.arguments.size() != 2) {
            continue;
        }
        const auto left = column_of(c.what.arguments[0], level);
        const auto right = column_of(c.what.arguments[1], level);
        if (left && right && left->level == level && right->level == level) {
            found.push_back({*left, *right});
        }
    }
    for (const auto& u : select.usings) {
        const auto in = [&](const std::vector<std::size_t>& sources) -> std::optional<used_column> {
            for (const auto i : sources) {
                if (const auto* const column = column_in(select.sources[i], u.column)) {
                    return used_column{relation(select.sources[i]), column, level, i};
                }
            }
            return std::nullopt;
        };
        const auto left = in(u.left);
        const auto right = in(u.right);
        if (left && right) {
            found.push_back({*left, *right});
        }
    }
    return found;
}

bool is_literal(const expression& what) {
    switch (what.kind) {
        case expression_kind::constant:
            return true;
        case expression_kind::cast:
            return is_literal(what.arguments.front());
        case expression_kind::operation:
            return what.arguments.size() == 1 && is_literal(what.arguments.front());
        case expression_kind::array:
            return std::all_of(what.arguments.begin(), what.arguments.end(), is_literal);
        default:
            return false;
    }
}

bool is_comparison(const expression& what) noexcept {
    static constexpr std::array<std::string_view, 14> operators{
        "!=", "!~", "!~*", "!~~", "!~~*", "<", "<=", "<>", "=", ">", ">=", "~", "~~", "~~*"};
    return what.kind == expression_kind::operation && what.arguments.size() == 2 &&
           std::find(operators.begin(), operators.end(), what.name) != operators.end();
}

bool is_aggregate(const expression& what) noexcept {
    static constexpr std::array<std::string_view, 16> names{
        "array_agg",
        "avg",
        "bool_and",
        "bool_or",
        "count",
        "every",
        "json_agg",
        "jsonb_agg",
        "max",
        "min",
        "stddev",
        "string_agg",
        "stddev_pop",
        "stddev_samp",
        "sum",
        "variance"};
    return what.kind == expression_kind::call &&
           std::find(names.begin(), names.end(), what.name) != names.end();
}

bool is_scalar_function(const expression& what) noexcept {
    static constexpr std::array<std::string_view, 31> names{
        "abs",       "age",     "btrim",     "ceil",       "char_length", "coalesce",   "concat",
        "concat_ws", "date",    "date_part", "date_trunc", "extract",     "floor",      "format",
        "initcap",   "left",    "length",    "lower",      "lpad",        "ltrim",      "md5",
        "replace",   "reverse", "right",     "round",      "rtrim",       "split_part", "substr",
        "substring", "to_char", "upper"};
    return what.kind == expression_kind::call &&
           (what.qualifier.empty() || what.qualifier == "pg_catalog") &&
           std::find(names.begin(), names.end(), what.name) != names.end();
}

std::string sql_or_dots(const expression& what) {
    return parser::expression_sql(what).value_or("…");
}

std::string shown_name(const object_facts& object) {
    return '"' + object.schema + "." + object.name + '"';
}

std::string shown_object(const object_facts& object) {
    if (object.name.empty()) {
        return "the query";
    }
    const bool is_materialized = object.kind == object_kind::materialized_view;
    return (is_materialized ? "materialized view" : std::string{kind_name(object.kind)}) + " " +
           shown_name(object);
}

std::string column_list(const std::vector<std::string>& names) {
    std::string out;
    for (const auto& name : names) {
        out += (out.empty() ? "" : ", ") + parser::quoted_name(name);
    }
    return out;
}

}  // namespace signalbox::catalog
