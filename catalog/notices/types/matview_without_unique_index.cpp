#include "catalog/notices/types/matview_without_unique_index.hpp"

#include "catalog/notices/views.hpp"

#include <algorithm>

namespace signalbox::catalog {
namespace {

using parser::expression;
using parser::expression_kind;

/// Of an index that we propose; the server takes up to 32.
constexpr std::size_t max_key = 8;

/// As REFRESH … CONCURRENTLY asks. Source: is_usable_unique_index(), src/backend/commands/matview.c
bool is_enough(const object_facts& index) {
    return index.is_unique && index.is_valid && index.is_immediate && index.predicate.empty() &&
           std::all_of(index.keys.begin(), index.keys.end(), [](const index_key& k) {
               return k.column > 0;
           });
}

/// Whether the output has one row for each that FROM and GROUP BY give.
bool keeps_rows(const parser::query_select& level) {
    bool keeps = true;
    for (const auto& t : level.targets) {
        parser::for_each_expression(t.what, [&](const expression& e) {
            keeps = keeps &&
                    (e.kind != expression_kind::call || is_aggregate(e) || is_scalar_function(e));
        });
    }
    return keeps;
}

/// The output column that is this expression.
const column_facts* output_of(
    const object_facts& view, const parser::query_select& level, const expression& what
) {
    for (std::size_t i = 0; i < level.targets.size(); ++i) {
        if (level.targets[i].what == what && what.kind != expression_kind::other) {
            return &view.columns[i];
        }
    }
    return nullptr;
}

std::vector<std::string> key_of_groups(
    const object_facts& view, const parser::query_select& level
) {
    std::vector<std::string> key;
    for (const auto& what : level.group_by) {
        const auto* const column = output_of(view, level, what);
        if (column == nullptr) {
            return {};
        }
        key.push_back(column->name);
    }
    return key;
}

std::vector<std::string> key_of_table(
    const object_facts& view, const view_reader& reader, const server_facts& facts
) {
    const auto& level = reader.level(0);
    const auto* const table =
        level.sources.size() == 1 ? reader.relation(level.sources.front()) : nullptr;
    if (table == nullptr) {
        return {};
    }
    for (const auto* const index : facts.indexes_of(table->oid)) {
        if (!index->is_primary) {
            continue;
        }
        std::vector<std::string> key;
        for (const auto& k : index->keys) {
            for (std::size_t i = 0; i < level.targets.size(); ++i) {
                const auto column = reader.column_of(level.targets[i].what, 0);
                if (column && column->column->number == k.column) {
                    key.push_back(view.columns[i].name);
                    break;
                }
            }
        }
        return key.size() == index->keys.size() ? key : std::vector<std::string>{};
    }
    return {};
}

std::vector<std::string> key_of(const object_facts& view, const server_facts& facts) {
    const view_reader reader{view, facts};
    if (reader.levels() == 0) {
        return {};
    }
    const auto& level = reader.level(0);
    if (!level.sides.empty() || level.targets.size() != view.columns.size() || !keeps_rows(level)) {
        return {};
    }
    if (!level.group_by.empty()) {
        return key_of_groups(view, level);
    }
    if (level.is_grouped || level.is_distinct) {
        return {};
    }
    return key_of_table(view, reader, facts);
}

}  // namespace

std::vector<matview_without_unique_index::finding> matview_without_unique_index::examine(
    const object_facts& object, const server_facts& facts
) {
    if (object.kind != object_kind::materialized_view) {
        return {};
    }
    const auto indexes = facts.indexes_of(object.oid);
    if (std::any_of(indexes.begin(), indexes.end(), [](const object_facts* index) {
            return is_enough(*index);
        })) {
        return {};
    }
    finding found;
    found.view = shown_name(object);
    found.sql_view = object.sql_name();
    found.key = key_of(object, facts);
    if (found.key.size() > max_key) {
        found.key.clear();
    }
    return {found};
}

notice_text matview_without_unique_index::render(const finding& found, redaction /*mode*/) {
    notice_text text;
    text.message = "materialized view " + found.view + " has no unique index";
    text.hint =
        "REFRESH MATERIALIZED VIEW CONCURRENTLY needs one on columns, of all rows; without "
        "it, readers wait for every refresh.";
    if (found.key.empty()) {
        text.action =
            "Create a unique index on columns of " + found.view + " that are unique together.";
        return text;
    }
    text.action = "CREATE UNIQUE INDEX ON " + found.sql_view + " (" + column_list(found.key) + ");";
    text.action_type = action_type::sql_statements;
    return text;
}

}  // namespace signalbox::catalog
