#include "rewrite/connection_relations.hpp"

#include <cstdint>
#include <optional>
#include <string>

namespace signalbox::rewrite {
namespace {

relation_value or_null(const std::string& text) {
    return text.empty() ? relation_value{} : relation_value{text};
}

template <class T>
relation_value or_null(const std::optional<T>& value) {
    return value ? relation_value{*value} : relation_value{};
}

std::string type_name(const catalog::stored_connection& connection) {
    return std::string{catalog::kind_of(connection.type).type_name()};
}

std::vector<relation_row> connections(const catalog::connection_snapshot& known) {
    std::vector<relation_row> out;
    for (const auto& each : known.connections) {
        const auto& stored = each.stored;
        out.push_back(
            {or_null(stored.id),
             stored.name,
             type_name(stored),
             or_null(stored.owner),
             each.create_sql,
             static_cast<std::int64_t>(stored.generation),
             stored.created_at,
             stored.altered_at}
        );
    }
    return out;
}

std::vector<relation_row> statuses(const catalog::connection_snapshot& known) {
    std::vector<relation_row> out;
    for (const auto& each : known.connections) {
        out.push_back(
            {or_null(each.stored.id),
             each.stored.name,
             type_name(each.stored),
             or_null(each.last_status_change_at),
             each.status,
             or_null(each.error)}
        );
    }
    return out;
}

std::vector<relation_row> history(const catalog::connection_snapshot& known) {
    std::vector<relation_row> out;
    for (const auto& each : known.history) {
        out.push_back({each.connection_id, each.status, each.occurred_at, or_null(each.error)});
    }
    return out;
}

}  // namespace

std::vector<relation_row> connection_relation_rows(
    const relation& which, const catalog::connection_snapshot& known
) {
    if (which.name == "mz_connections") {
        return connections(known);
    }
    if (which.name == "mz_connection_statuses") {
        return statuses(known);
    }
    if (which.name == "mz_connection_status_history") {
        return history(known);
    }
    return {};
}

}  // namespace signalbox::rewrite
