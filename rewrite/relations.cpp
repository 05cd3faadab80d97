#include "rewrite/relations.hpp"

#include <algorithm>
#include <array>

namespace signalbox::rewrite {
namespace {

constexpr std::array connections{
    relation_column{"id", "text"},
    relation_column{"name", "text"},
    relation_column{"type", "text"},
    relation_column{"owner", "text"},
    relation_column{"create_sql", "text"},
    relation_column{"generation", "int8"},
    relation_column{"created_at", "timestamptz"},
    relation_column{"altered_at", "timestamptz"}};

constexpr std::array aws_privatelink_connections{
    relation_column{"id", "text"}, relation_column{"principal", "text"}};

constexpr std::array objects{
    relation_column{"id", "text"},
    relation_column{"oid", "oid"},
    relation_column{"connection_id", "text"},
    relation_column{"database_name", "text"},
    relation_column{"schema_name", "text"},
    relation_column{"name", "text"},
    relation_column{"type", "text"},
    relation_column{"owner", "text"}};

constexpr std::array connection_status_history{
    relation_column{"connection_id", "text"},
    relation_column{"status", "text"},
    relation_column{"occurred_at", "timestamptz"},
    relation_column{"error", "text"}};

constexpr std::array connection_statuses{
    relation_column{"id", "text"},
    relation_column{"name", "text"},
    relation_column{"type", "text"},
    relation_column{"last_status_change_at", "timestamptz"},
    relation_column{"status", "text"},
    relation_column{"error", "text"}};

constexpr std::array aws_privatelink_connection_status_history{
    relation_column{"connection_id", "text"},
    relation_column{"status", "text"},
    relation_column{"occurred_at", "timestamptz"}};

constexpr std::array aws_privatelink_connection_statuses{
    relation_column{"id", "text"},
    relation_column{"name", "text"},
    relation_column{"last_status_change_at", "timestamptz"},
    relation_column{"status", "text"}};

constexpr std::array notices{
    relation_column{"notice_type", "text"},
    relation_column{"message", "text"},
    relation_column{"hint", "text"},
    relation_column{"action", "text"},
    relation_column{"redacted_message", "text"},
    relation_column{"redacted_hint", "text"},
    relation_column{"redacted_action", "text"},
    relation_column{"action_type", "text"},
    relation_column{"object_id", "text"},
    relation_column{"dependency_ids", "text[]"},
    relation_column{"created_at", "timestamptz"},
    relation_column{"updated_at", "timestamptz"},
    relation_column{"fingerprint", "uuid"},
    relation_column{"status", "text"}};

constexpr std::array ignored_notices{
    relation_column{"fingerprint", "uuid"},
    relation_column{"ignored_by", "text"},
    relation_column{"ignored_at", "timestamptz"}};

constexpr std::string_view by_connection = "CREATE, ALTER or DROP CONNECTION";
constexpr std::string_view by_notice = "ALTER NOTICE";

constexpr std::array all{
    relation{"mz_connections", false, connections, by_connection},
    relation{"mz_aws_privatelink_connections", false, aws_privatelink_connections, by_connection},
    relation{"mz_objects", false, objects, ""},
    relation{"mz_connection_status_history", true, connection_status_history, ""},
    relation{"mz_connection_statuses", true, connection_statuses, ""},
    relation{
        "mz_aws_privatelink_connection_status_history",
        true,
        aws_privatelink_connection_status_history,
        ""},
    relation{
        "mz_aws_privatelink_connection_statuses", true, aws_privatelink_connection_statuses, ""},
    relation{"mz_optimizer_notices", true, notices, by_notice},
    relation{"mz_notices", true, notices, by_notice},
    relation{"mz_optimizer_notices_redacted", true, notices, by_notice},
    relation{"mz_notices_redacted", true, notices, by_notice},
    relation{"mz_ignored_optimizer_notices", true, ignored_notices, by_notice}};

}  // namespace

std::span<const relation> relations() noexcept {
    return all;
}

const relation* find_relation(std::string_view name) noexcept {
    const auto* const found =
        std::find_if(all.begin(), all.end(), [&](const relation& r) { return r.name == name; });
    return found != all.end() ? found : nullptr;
}

const relation* find_relation(
    std::string_view schema, std::string_view name, const schema_names& names
) noexcept {
    const auto* const found = find_relation(name);
    return found != nullptr && names.of(*found) == schema ? found : nullptr;
}

}  // namespace signalbox::rewrite
