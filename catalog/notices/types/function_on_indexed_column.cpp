#include "catalog/notices/types/function_on_indexed_column.hpp"

#include "catalog/notices/views.hpp"
#include "parser/quoting.hpp"

#include <algorithm>
#include <array>
#include <utility>

namespace signalbox::catalog {
namespace {

using parser::expression;
using parser::expression_kind;

/// Those that a B-tree answers.
bool is_searched(const expression& what) noexcept {
    static constexpr std::array<std::string_view, 6> operators{"=", "<", "<=", ">", ">=", "~~"};
    const bool is_kind =
        what.kind == expression_kind::operation || what.kind == expression_kind::any;
    return is_kind && what.arguments.size() == 2 &&
           std::find(operators.begin(), operators.end(), what.name) != operators.end();
}

/// As pg_type has it; "" = not known.
std::string_view type_of(const expression& what, const used_column& column) {
    switch (what.kind) {
        case expression_kind::column:
            return column.column->type;
        case expression_kind::cast:
            return what.text;
        case expression_kind::call:
            return what.name == "lower" || what.name == "upper" || what.name == "btrim" ? "text"
                                                                                        : "";
        default:
            return "";
    }
}

/// What does not depend on the session's time zone, DateStyle or the like.
bool is_immutable_cast(std::string_view from, std::string_view to) {
    static constexpr std::array<std::string_view, 13> always{
        "bool",
        "bpchar",
        "char",
        "float4",
        "float8",
        "int2",
        "int4",
        "int8",
        "name",
        "numeric",
        "text",
        "uuid",
        "varchar"};
    const auto is_simple = [](std::string_view type) {
        return std::find(always.begin(), always.end(), type) != always.end();
    };
    return (is_simple(from) && is_simple(to)) || (from == "timestamp" && to == "date") ||
           (from == "date" && to == "timestamp");
}

/// An index takes immutable expressions only. False where we do not know.
bool is_immutable(const expression& what, const used_column& column) {
    switch (what.kind) {
        case expression_kind::column:
        case expression_kind::constant:
            return true;
        case expression_kind::cast: {
            const auto& inner = what.arguments.front();
            return is_immutable(inner, column) &&
                   is_immutable_cast(type_of(inner, column), what.text);
        }
        case expression_kind::call:
            break;
        default:
            return false;
    }
    static constexpr std::array<std::string_view, 21> immutable{
        "abs",     "btrim",  "ceil",  "char_length", "coalesce", "floor",     "initcap",
        "left",    "length", "lower", "lpad",        "ltrim",    "md5",       "replace",
        "reverse", "right",  "round", "rtrim",       "substr",   "substring", "upper"};
    static constexpr std::array<std::string_view, 3> of_time{"date_part", "date_trunc", "extract"};
    const auto is_one_of = [&](const auto& names) {
        return std::find(names.begin(), names.end(), what.name) != names.end();
    };
    const auto type = std::string_view{column.column->type};
    const bool is_zoneless = type == "timestamp" || (type == "date" && what.name == "extract");
    return is_scalar_function(what) &&
           (is_one_of(immutable) || (is_one_of(of_time) && is_zoneless)) &&
           std::all_of(what.arguments.begin(), what.arguments.end(), [&](const expression& a) {
               return is_immutable(a, column);
           });
}

/// A call or a cast, with nothing in it but one column of this source and constants.
std::optional<used_column> wrapped_column(
    const view_reader& view, const expression& what, std::size_t level
) {
    const bool is_wrapper =
        what.kind == expression_kind::call || what.kind == expression_kind::cast;
    if (!is_wrapper || view.column_of(what, level)) {
        return std::nullopt;
    }
    std::size_t count = 0;
    bool is_simple = true;
    parser::for_each_expression(what, [&](const expression& e) {
        count += e.kind == expression_kind::column ? 1 : 0;
        is_simple = is_simple && e.kind != expression_kind::sublink &&
                    e.kind != expression_kind::other && !is_aggregate(e);
    });
    const auto columns = view.columns_in(what, level);
    return is_simple && count == 1 && columns.size() == 1 ? std::optional{columns.front()}
                                                          : std::nullopt;
}

/// The index that begins with the column, if there is one and none with the expression.
const object_facts* unused_index(
    const server_facts& facts, const used_column& column, const std::string& sql
) {
    const object_facts* found = nullptr;
    for (const auto* const index : facts.indexes_of(column.relation->oid)) {
        if (!index->is_valid || index->keys.empty()) {
            continue;
        }
        const bool has_expression =
            std::any_of(index->keys.begin(), index->keys.end(), [&](const index_key& k) {
                return k.tree != nullptr && parser::expression_sql(*k.tree) == sql;
            });
        if (has_expression) {
            return nullptr;
        }
        if (found == nullptr && index->method == "btree" &&
            index->keys.front().column == column.column->number) {
            found = index;
        }
    }
    return found;
}

}  // namespace

std::vector<function_on_indexed_column::finding> function_on_indexed_column::examine(
    const object_facts& object, const server_facts& facts
) {
    std::vector<finding> out;
    const view_reader view{object, facts};
    const auto examine_side = [&](const parser::query_condition& condition,
                                  std::size_t side,
                                  std::size_t level) {
        const auto& what = condition.what.arguments[side];
        const auto& restricts = condition.restricts;
        const auto column = wrapped_column(view, what, level);
        const auto sql = parser::expression_sql(what);
        if (!column || !sql || column->level != level ||
            std::find(restricts.begin(), restricts.end(), column->source) == restricts.end()) {
            return;
        }
        const auto others = view.columns_in(condition.what.arguments[1 - side], level);
        const bool is_own = std::any_of(others.begin(), others.end(), [&](const used_column& c) {
            return c.is_of(column->level, column->source);
        });
        const auto* const index = is_own ? nullptr : unused_index(facts, *column, *sql);
        if (index == nullptr) {
            return;
        }
        finding found;
        found.dependencies = {column->relation->oid, index->oid};
        found.view = shown_object(object);
        found.table = shown_name(*column->relation);
        found.sql_table = column->relation->sql_name();
        found.column = column->column->name;
        found.index = shown_name(*index);
        found.expression = *sql;
        if (is_immutable(what, *column)) {
            const bool is_bare = what.kind == expression_kind::call && what.name != "coalesce";
            found.key = is_bare ? *sql : "(" + *sql + ")";
        }
        found.facts = {found.sql_table, found.expression};
        out.push_back(std::move(found));
    };
    for (std::size_t level = 0; level < view.levels(); ++level) {
        for (const auto& condition : view.level(level).conditions) {
            if (is_searched(condition.what)) {
                examine_side(condition, 0, level);
                examine_side(condition, 1, level);
            }
        }
    }
    return out;
}

notice_text function_on_indexed_column::render(const finding& found, redaction mode) {
    const auto expression = shown(found.expression, mode);
    notice_text text;
    text.message = found.view + " compares " + expression + " of table " + found.table +
                   ", which index " + found.index + " on \"" + found.column + "\" cannot answer";
    text.hint =
        "An index is searched for values of what it is on: the column itself, or the whole "
        "expression.";
    if (found.key.empty()) {
        text.action = "Compare \"" + found.column +
                      "\" itself, with a range where it is a part of the value, instead of " +
                      expression + ".";
        return text;
    }
    text.action = "CREATE INDEX ON " + found.sql_table + " (" + shown(found.key, mode) + ");";
    text.action_type = action_type::sql_statements;
    return text;
}

}  // namespace signalbox::catalog
