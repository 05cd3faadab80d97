#include "catalog/notices/types/unindexed_foreign_key.hpp"

#include "catalog/notices/views.hpp"

#include <algorithm>

namespace signalbox::catalog {
namespace {

/// Whether every column of the key is compared with the one it refers to, in one pair of sources.
bool is_met(
    const foreign_key& key,
    const used_column& referencing,
    const used_column& referenced,
    const std::vector<column_pair>& pairs
) {
    for (std::size_t i = 0; i < key.columns.size(); ++i) {
        const auto says = [&](const used_column& a, const used_column& b) {
            return a.is_of(referencing.level, referencing.source) &&
                   b.is_of(referenced.level, referenced.source) &&
                   a.column->number == key.columns[i] &&
                   b.column->number == key.referenced_columns[i];
        };
        const bool is_said = std::any_of(pairs.begin(), pairs.end(), [&](const column_pair& p) {
            return says(p.left, p.right) || says(p.right, p.left);
        });
        if (!is_said) {
            return false;
        }
    }
    return true;
}

/// Begins with the key's columns, in any order. Of a partial index we do not know: yes.
bool serves(const object_facts& index, const foreign_key& key) {
    if (!index.is_valid || index.keys.size() < key.columns.size()) {
        return false;
    }
    const auto is_of_key = [&](const index_key& k) {
        return std::find(key.columns.begin(), key.columns.end(), k.column) != key.columns.end();
    };
    const auto end = index.keys.begin() + static_cast<std::ptrdiff_t>(key.columns.size());
    return std::all_of(index.keys.begin(), end, is_of_key);
}

}  // namespace

std::vector<unindexed_foreign_key::finding> unindexed_foreign_key::examine(
    const object_facts& object, const server_facts& facts
) {
    std::vector<finding> out;
    const view_reader view{object, facts};
    const auto examine_pair = [&](const used_column& from,
                                  const used_column& to,
                                  const std::vector<column_pair>& pairs) {
        for (const auto& key : from.relation->foreign_keys) {
            const auto indexes = facts.indexes_of(from.relation->oid);
            const bool is_served =
                std::any_of(indexes.begin(), indexes.end(), [&](const object_facts* index) {
                    return serves(*index, key);
                });
            if (key.referenced != to.relation->oid || is_served || !is_met(key, from, to, pairs)) {
                continue;
            }
            finding found;
            found.dependencies = {from.relation->oid, to.relation->oid};
            found.view = shown_object(object);
            found.constraint = key.name;
            found.table = shown_name(*from.relation);
            found.sql_table = from.relation->sql_name();
            found.referenced = shown_name(*to.relation);
            for (const auto number : key.columns) {
                const auto* const column = from.relation->column(number);
                found.columns.push_back(column != nullptr ? column->name : "");
            }
            found.facts = {found.sql_table, found.constraint, column_list(found.columns)};
            out.push_back(std::move(found));
        }
    };
    for (std::size_t level = 0; level < view.levels(); ++level) {
        const auto pairs = view.equalities(level);
        for (const auto& p : pairs) {
            examine_pair(p.left, p.right, pairs);
            examine_pair(p.right, p.left, pairs);
        }
    }
    return out;
}

notice_text unindexed_foreign_key::render(const finding& found, redaction /*mode*/) {
    notice_text text;
    text.message = found.view + " joins along foreign key \"" + found.constraint + "\" of table " +
                   found.table + ", which has no index";
    text.hint = "Finding the rows that refer to one row of table " + found.referenced +
                " reads all of table " + found.table + "; so does every DELETE there.";
    text.action = "CREATE INDEX ON " + found.sql_table + " (" + column_list(found.columns) + ");";
    text.action_type = action_type::sql_statements;
    return text;
}

}  // namespace signalbox::catalog
