#include "catalog/notices/facts.hpp"

#include "parser/quoting.hpp"

#include <algorithm>

namespace signalbox::catalog {
namespace {

template <typename Map>
std::vector<const object_facts*> those_at(
    const Map& by_table, object_oid table, const server_facts& in
) {
    std::vector<const object_facts*> found;
    const auto [first, last] = by_table.equal_range(table);
    for (auto at = first; at != last; ++at) {
        found.push_back(in.find(at->second));
    }
    return found;
}

}  // namespace

std::string_view kind_name(object_kind kind) noexcept {
    switch (kind) {
        case object_kind::view:
            return "view";
        case object_kind::materialized_view:
            return "materialized-view";
        case object_kind::index:
            return "index";
        default:
            return "table";
    }
}

bool index_key::operator==(const index_key& other) const {
    return column == other.column && expression == other.expression &&
           operator_class == other.operator_class &&
           operator_class_options == other.operator_class_options && collation == other.collation &&
           is_descending == other.is_descending && nulls_first == other.nulls_first;
}

std::string object_facts::sql_name() const {
    return parser::quoted_name(schema) + "." + parser::quoted_name(name);
}

const column_facts* object_facts::column(std::string_view called) const noexcept {
    const auto at = std::find_if(columns.begin(), columns.end(), [&](const column_facts& c) {
        return c.name == called;
    });
    return at == columns.end() ? nullptr : &*at;
}

const column_facts* object_facts::column(int number) const noexcept {
    const auto at = std::find_if(columns.begin(), columns.end(), [&](const column_facts& c) {
        return c.number == number;
    });
    return at == columns.end() ? nullptr : &*at;
}

object_facts& server_facts::add(object_facts object) {
    const auto oid = object.oid;
    return objects_.insert_or_assign(oid, std::move(object)).first->second;
}

object_facts* server_facts::edit(object_oid oid) noexcept {
    const auto at = objects_.find(oid);
    return at == objects_.end() ? nullptr : &at->second;
}

void server_facts::add_binary_cast(std::string from, std::string to) {
    casts_.emplace(std::move(from), std::move(to));
}

const object_facts* server_facts::find(object_oid oid) const noexcept {
    const auto at = objects_.find(oid);
    return at == objects_.end() ? nullptr : &at->second;
}

const object_facts* server_facts::relation(std::string_view schema, std::string_view name)
    const noexcept {
    const auto at = relations_.find({std::string{schema}, std::string{name}});
    return at == relations_.end() ? nullptr : find(at->second);
}

std::vector<const object_facts*> server_facts::indexes_of(object_oid table) const {
    return those_at(indexes_, table, *this);
}

std::vector<const object_facts*> server_facts::views_of(object_oid table) const {
    return those_at(views_, table, *this);
}

bool server_facts::is_binary_coercible(std::string_view from, std::string_view to) const {
    if (from == to) {
        return true;
    }
    if (from.substr(0, 1) == "_" && to.substr(0, 1) == "_") {
        return is_binary_coercible(from.substr(1), to.substr(1));
    }
    return casts_.contains({std::string{from}, std::string{to}});
}

void server_facts::finish() {
    relations_.clear();
    indexes_.clear();
    views_.clear();
    for (const auto& [oid, object] : objects_) {
        if (object.kind == object_kind::index) {
            indexes_.emplace(object.table, oid);
            continue;
        }
        relations_.emplace(std::pair{object.schema, object.name}, oid);
        if (object.is_view()) {
            for (const auto used : object.dependencies) {
                views_.emplace(used, oid);
            }
        }
    }
}

}  // namespace signalbox::catalog
