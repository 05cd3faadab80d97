#include "catalog/notices/types/identical_index.hpp"

#include "catalog/notices/views.hpp"
#include "parser/quoting.hpp"

namespace signalbox::catalog {
namespace {

bool is_identical(const object_facts& a, const object_facts& b) {
    return a.method == b.method && a.keys == b.keys && a.included == b.included &&
           a.predicate == b.predicate;
}

/// Whether what `index` enforces, `other` does.
bool is_enforced_by(const object_facts& index, const object_facts& other) {
    return !index.is_unique || (other.is_unique && (other.is_immediate || !index.is_immediate) &&
                                (!other.nulls_are_distinct || index.nulls_are_distinct));
}

}  // namespace

std::vector<identical_index::finding> identical_index::examine(
    const object_facts& object, const server_facts& facts
) {
    if (object.kind != object_kind::index || !object.is_valid || object.is_primary ||
        object.is_exclusion || object.is_replica_identity) {
        return {};
    }
    const auto* const table = facts.find(object.table);
    if (table == nullptr) {
        return {};
    }
    for (const auto* const other : facts.indexes_of(object.table)) {
        if (other->oid >= object.oid || !other->is_valid || !is_identical(object, *other) ||
            !is_enforced_by(object, *other)) {
            continue;
        }
        finding found;
        found.dependencies = {object.table, other->oid};
        found.facts = {other->name};
        found.index = shown_name(object);
        found.sql_index = object.sql_name();
        found.older = shown_name(*other);
        found.table = shown_name(*table);
        found.sql_table = table->sql_name();
        found.constraint = object.constraint;
        found.is_referenced = object.is_referenced;
        return {found};
    }
    return {};
}

notice_text identical_index::render(const finding& found, redaction /*mode*/) {
    notice_text text;
    text.message = "index " + found.index + " is identical to index " + found.older;
    text.hint = "Every write to table " + found.table +
                " maintains both, and no query gains from the second.";
    if (found.is_referenced) {
        text.action = "Foreign keys refer to index " + found.index +
                      ": drop them, drop the index, and create them again.";
        return text;
    }
    text.action_type = action_type::sql_statements;
    text.action = found.constraint.empty()
                      ? "DROP INDEX " + found.sql_index + ";"
                      : "ALTER TABLE " + found.sql_table + " DROP CONSTRAINT " +
                            parser::quoted_name(found.constraint) + ";";
    return text;
}

}  // namespace signalbox::catalog
