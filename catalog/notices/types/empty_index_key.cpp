#include "catalog/notices/types/empty_index_key.hpp"

#include "catalog/notices/views.hpp"

#include <algorithm>

namespace signalbox::catalog {
namespace {

bool is_constant(const index_key& key) {
    return key.column == 0 && key.tree != nullptr && !view_reader::depends_on_rows(*key.tree);
}

}  // namespace

std::vector<empty_index_key::finding> empty_index_key::examine(
    const object_facts& object, const server_facts& facts
) {
    const auto* const table = facts.find(object.table);
    if (object.kind != object_kind::index || object.is_unique || object.is_exclusion ||
        object.keys.empty() || table == nullptr ||
        !std::all_of(object.keys.begin(), object.keys.end(), is_constant)) {
        return {};
    }
    finding found;
    found.dependencies = {object.table};
    found.index = shown_name(object);
    found.sql_index = object.sql_name();
    found.table = shown_name(*table);
    for (const auto& key : object.keys) {
        found.keys += (found.keys.empty() ? "" : ", ") + key.expression;
    }
    found.facts = {found.keys};
    return {found};
}

notice_text empty_index_key::render(const finding& found, redaction mode) {
    notice_text text;
    text.message = "index " + found.index + " has an empty key: (" + shown(found.keys, mode) +
                   ") is the same for every row of table " + found.table;
    text.hint = "No search can use the index. Index the columns that queries compare, or none.";
    text.action = "DROP INDEX " + found.sql_index + ";";
    text.action_type = action_type::sql_statements;
    return text;
}

}  // namespace signalbox::catalog
