#include "catalog/notices/types/not_in_nullable.hpp"

#include "catalog/notices/views.hpp"
#include "parser/quoting.hpp"

#include <algorithm>

namespace signalbox::catalog {
namespace {

using parser::expression;
using parser::expression_kind;

/// NOT (x IN (SELECT …)), or x <> ALL (SELECT …): the sub-select's expression, else null.
const expression* not_in(const expression& what) {
    const auto* found = &what;
    if (what.kind == expression_kind::negation) {
        found = &what.arguments.front();
        return found->kind == expression_kind::sublink &&
                       found->link == parser::sublink_kind::any && found->name == "="
                   ? found
                   : nullptr;
    }
    return found->kind == expression_kind::sublink && found->link == parser::sublink_kind::all &&
                   found->name == "<>"
               ? found
               : nullptr;
}

/// Whether the sub-select's conditions fail where the column is NULL.
bool is_tested(const view_reader& view, const used_column& column, std::size_t level) {
    const auto is_it = [&](const expression& e) { return view.column_of(e, level) == column; };
    const auto& conditions = view.level(level).conditions;
    const bool is_compared = std::any_of(conditions.begin(), conditions.end(), [&](const auto& c) {
        // An outer join fills with NULL what its ON did not choose.
        const bool applies = c.is_where || !view.level(level).sources[column.source].may_be_missing;
        const bool is_strict =
            is_comparison(c.what) || c.what.kind == expression_kind::any ||
            c.what.kind == expression_kind::is_not_null ||
            (c.what.kind == expression_kind::sublink && c.what.link == parser::sublink_kind::any);
        return applies && ((is_strict &&
                            std::any_of(c.what.arguments.begin(), c.what.arguments.end(), is_it)) ||
                           is_it(c.what));
    });
    const auto pairs = view.equalities(level);
    return is_compared || (!view.level(level).sources[column.source].may_be_missing &&
                           std::any_of(pairs.begin(), pairs.end(), [&](const column_pair& p) {
                               // JOIN … USING; a condition in ON has been looked at.
                               return (p.left == column || p.right == column) &&
                                      !view.level(level).sources[p.left.source].may_be_missing &&
                                      !view.level(level).sources[p.right.source].may_be_missing;
                           }));
}

}  // namespace

std::vector<not_in_nullable::finding> not_in_nullable::examine(
    const object_facts& object, const server_facts& facts
) {
    std::vector<finding> out;
    const view_reader view{object, facts};
    const auto visit = [&](const expression& e) {
        const auto* const link = not_in(e);
        if (link == nullptr || link->level >= view.levels() ||
            view.level(link->level).targets.size() != 1) {
            return;
        }
        const auto level = link->level;
        const auto column = view.column_of(view.level(level).targets.front().what, level);
        if (!column || column->level != level || column->relation->kind != object_kind::table) {
            return;
        }
        const bool may_be_null = !column->column->is_not_null ||
                                 view.level(level).sources[column->source].may_be_missing;
        if (!may_be_null || is_tested(view, *column, level)) {
            return;
        }
        finding found;
        found.dependencies = {column->relation->oid};
        found.object = shown_object(object);
        found.table = column->relation->sql_name();
        found.name = parser::quoted_name(column->column->name);
        found.column = '"' + column->relation->name + "." + column->column->name + '"';
        found.before = link->arguments.empty() ? "…" : sql_or_dots(link->arguments.front());
        found.facts = {found.table, found.name, found.before};
        out.push_back(std::move(found));
    };
    for (std::size_t level = 0; level < view.levels(); ++level) {
        parser::for_each_expression(view.level(level), visit);
    }
    return out;
}

notice_text not_in_nullable::render(const finding& found, redaction mode) {
    const auto before = shown(found.before, mode);
    notice_text text;
    text.message = found.object + " has " + before + " NOT IN a sub-select of column " +
                   found.column + ", which may be NULL";
    text.hint = "One NULL among its rows, and the condition is true for no row at all.";
    text.action = "Add " + found.name + " IS NOT NULL to the sub-select on " + found.table +
                  ", or write NOT EXISTS instead of NOT IN.";
    return text;
}

}  // namespace signalbox::catalog
