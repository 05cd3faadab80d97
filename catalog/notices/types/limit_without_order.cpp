#include "catalog/notices/types/limit_without_order.hpp"

#include "catalog/notices/views.hpp"

#include <algorithm>

namespace signalbox::catalog {
namespace {

using parser::expression;
using parser::expression_kind;

/// LIMIT ALL, LIMIT NULL and LIMIT 0 choose no rows.
bool chooses(const std::optional<expression>& limit) {
    return limit && limit->kind != expression_kind::null && limit->text != "0";
}

/// An aggregate of all rows is one row.
bool is_one_row(const parser::query_select& level) {
    if (level.sources.empty() && level.sides.empty()) {
        return true;
    }
    bool aggregates = false;
    for (const auto& t : level.targets) {
        parser::for_each_expression(t.what, [&](const expression& e) {
            aggregates = aggregates || is_aggregate(e);
        });
    }
    return aggregates && level.group_by.empty();
}

/// One row of the table at most: a unique index's columns are all compared with literals.
bool is_one_found(const view_reader& view, std::size_t at, const server_facts& facts) {
    const auto& level = view.level(at);
    const auto* const table =
        level.sources.size() == 1 ? view.relation(level.sources.front()) : nullptr;
    if (table == nullptr) {
        return false;
    }
    std::vector<int> given;
    for (const auto& c : level.conditions) {
        if (c.what.kind != expression_kind::operation || c.what.name != "=" ||
            c.what.arguments.size() != 2) {
            continue;
        }
        for (const std::size_t side : {0U, 1U}) {
            const auto column = view.column_of(c.what.arguments[side], at);
            const auto others = view.columns_in(c.what.arguments[1 - side], at);
            const bool is_own = std::any_of(others.begin(), others.end(), [&](const auto& other) {
                return other.is_of(at, 0);
            });
            if (column && column->is_of(at, 0) && !is_own) {
                given.push_back(column->column->number);
            }
        }
    }
    const auto indexes = facts.indexes_of(table->oid);
    return std::any_of(indexes.begin(), indexes.end(), [&](const object_facts* index) {
        return index->is_unique && index->is_valid && index->predicate.empty() &&
               std::all_of(index->keys.begin(), index->keys.end(), [&](const index_key& k) {
                   return std::find(given.begin(), given.end(), k.column) != given.end();
               });
    });
}

bool is_sorted_below(const view_reader& view, const parser::query_select& level) {
    return level.sources.size() == 1 && level.sources.front().level != parser::no_level &&
           view.level(level.sources.front().level).is_ordered;
}

}  // namespace

std::vector<limit_without_order::finding> limit_without_order::examine(
    const object_facts& object, const server_facts& facts
) {
    std::vector<finding> out;
    const view_reader view{object, facts};
    for (std::size_t at = 0; at < view.levels(); ++at) {
        const auto& level = view.level(at);
        if (!chooses(level.limit) || level.is_ordered || level.is_in_exists || is_one_row(level) ||
            is_sorted_below(view, level) || is_one_found(view, at, facts)) {
            continue;
        }
        finding found;
        found.dependencies = object.dependencies;
        found.object = shown_object(object);
        found.limit = sql_or_dots(*level.limit);
        found.ordinal = out.size() + 1;
        found.facts = {std::to_string(found.ordinal), found.limit};
        out.push_back(std::move(found));
    }
    if (out.size() == 1) {
        out.front().ordinal = 0;
    }
    return out;
}

notice_text limit_without_order::render(const finding& found, redaction mode) {
    const auto limit = "LIMIT " + shown(found.limit, mode);
    const auto which = found.ordinal == 0 ? "" : " (" + std::to_string(found.ordinal) + ")";
    notice_text text;
    text.message = found.object + " has " + limit + " without ORDER BY" + which;
    text.hint =
        "Which rows it gives is left to chance: it changes with plans, updates and versions.";
    text.action = "Add ORDER BY before " + limit + ", on columns that are unique together.";
    return text;
}

}  // namespace signalbox::catalog
