#include "proxy/show_commands.hpp"

#include "catalog/timestamps.hpp"

#include <algorithm>
#include <map>

namespace signalbox::proxy {
namespace {

using row = std::vector<std::optional<std::string>>;

std::string type_name(const catalog::stored_connection& connection) {
    return std::string{catalog::kind_of(connection.type).type_name()};
}

std::optional<std::string> or_null(const std::string& text) {
    return text.empty() ? std::nullopt : std::optional{text};
}

std::optional<std::string> time_text(const std::optional<catalog::timestamp>& when) {
    return when ? std::optional{catalog::timestamp_text(*when)} : std::nullopt;
}

/// By name: connections are few.
std::vector<const catalog::connection_entry*> in_order(const catalog::connection_snapshot& known) {
    std::vector<const catalog::connection_entry*> out;
    for (const auto& each : known.connections) {
        out.push_back(&each);
    }
    std::sort(out.begin(), out.end(), [](const auto* a, const auto* b) {
        return a->stored.name < b->stored.name;
    });
    return out;
}

command_reply missing(const std::string& name) {
    command_reply out;
    out.error = wire::report{
        .severity = "ERROR",
        .sqlstate = "42704",
        .message = "connection \"" + name + "\" does not exist",
        .detail = {},
        .hint = {}};
    return out;
}

void add_rows(
    const parser::show_connections& asked,
    const catalog::connection_snapshot& known,
    std::vector<row>& rows
) {
    for (const auto* const each : in_order(known)) {
        if (!asked.like || matches_like(each->stored.name, *asked.like)) {
            rows.push_back(
                {each->stored.name,
                 type_name(each->stored),
                 or_null(each->stored.owner),
                 each->status}
            );
        }
    }
}

void add_rows(
    const parser::show_create_connection& asked,
    const catalog::connection_snapshot& known,
    std::vector<row>& rows
) {
    rows.push_back({asked.name, known.find(asked.name)->create_sql});
}

void add_rows(
    const parser::show_connection_status& asked,
    const catalog::connection_snapshot& known,
    std::vector<row>& rows
) {
    for (const auto* const each : in_order(known)) {
        if (!asked.name || each->stored.name == *asked.name) {
            rows.push_back(
                {or_null(each->stored.id),
                 each->stored.name,
                 type_name(each->stored),
                 time_text(each->last_status_change_at),
                 each->status,
                 each->error}
            );
        }
    }
}

void add_rows(
    const parser::show_connection_history& asked,
    const catalog::connection_snapshot& known,
    std::vector<row>& rows
) {
    std::map<std::string_view, const std::string*> names;
    for (const auto& each : known.connections) {
        names.emplace(each.stored.id, &each.stored.name);
    }
    for (const auto& event : known.history) {
        const auto name = names.find(event.connection_id);
        const bool is_known = name != names.end();  // else it was dropped
        if (!asked.name || (is_known && *name->second == *asked.name)) {
            rows.push_back(
                {is_known ? std::optional{*name->second} : std::nullopt,
                 event.connection_id,
                 event.status,
                 catalog::timestamp_text(event.occurred_at),
                 event.error}
            );
        }
    }
}

/// Where the character behind the one at `at` begins, in UTF-8.
std::size_t next_character(std::string_view text, std::size_t at) noexcept {
    do {
        ++at;
    } while (at < text.size() && (static_cast<unsigned char>(text[at]) & 0xc0U) == 0x80U);
    return at;
}

const std::string* name_in(const parser::command& command) {
    if (const auto* const asked = std::get_if<parser::show_create_connection>(&command)) {
        return &asked->name;
    }
    if (const auto* const asked = std::get_if<parser::show_connection_status>(&command)) {
        return asked->name ? &*asked->name : nullptr;
    }
    if (const auto* const asked = std::get_if<parser::show_connection_history>(&command)) {
        return asked->name ? &*asked->name : nullptr;
    }
    return nullptr;
}

}  // namespace

std::vector<command_column> columns_of(const parser::command& command) {
    using columns = std::vector<command_column>;
    if (std::holds_alternative<parser::show_connections>(command)) {
        return {{.name = "name"}, {.name = "type"}, {.name = "owner"}, {.name = "status"}};
    }
    if (std::holds_alternative<parser::show_create_connection>(command)) {
        return {{.name = "name"}, {.name = "create_sql"}};
    }
    if (std::holds_alternative<parser::show_connection_status>(command)) {
        return {
            {.name = "id"},
            {.name = "name"},
            {.name = "type"},
            {.name = "last_status_change_at", .type = type_oid::timestamptz},
            {.name = "status"},
            {.name = "error"}};
    }
    if (std::holds_alternative<parser::show_connection_history>(command)) {
        return {
            {.name = "name"},
            {.name = "connection_id"},
            {.name = "status"},
            {.name = "occurred_at", .type = type_oid::timestamptz},
            {.name = "error"}};
    }
    if (std::holds_alternative<parser::show_notices>(command)) {
        return {
            {.name = "fingerprint", .type = type_oid::uuid},
            {.name = "notice_type"},
            {.name = "message"},
            {.name = "hint"},
            {.name = "action"},
            {.name = "object"},
            {.name = "status"},
            {.name = "created_at", .type = type_oid::timestamptz}};
    }
    return columns{};
}

std::optional<command_reply> show(
    const parser::command& command, const catalog::connection_snapshot& known
) {
    if (const auto* const name = name_in(command);
        name != nullptr && known.find(*name) == nullptr) {
        return missing(*name);
    }
    command_reply reply;
    const bool is_shown = std::visit(
        [&](const auto& asked) {
            if constexpr (requires { add_rows(asked, known, reply.rows); }) {
                add_rows(asked, known, reply.rows);
                return true;
            } else {
                return false;
            }
        },
        command
    );
    if (!is_shown) {
        return std::nullopt;
    }
    reply.columns = columns_of(command);
    reply.tag = "SHOW";
    return reply;
}

bool matches_like(std::string_view text, std::string_view pattern) noexcept {
    // Where a % has been passed, it takes one character more whenever the rest does not fit.
    std::size_t at = 0;
    std::size_t in_pattern = 0;
    std::size_t behind_percent = std::string_view::npos;
    std::size_t taken_to = 0;
    while (at < text.size()) {
        if (in_pattern < pattern.size() && pattern[in_pattern] == '%') {
            behind_percent = ++in_pattern;
            taken_to = at;
            continue;
        }
        const bool is_escaped = in_pattern + 1 < pattern.size() && pattern[in_pattern] == '\\';
        const std::size_t place = in_pattern + (is_escaped ? 1 : 0);
        if (!is_escaped && place < pattern.size() && pattern[place] == '_') {
            at = next_character(text, at);
            in_pattern = place + 1;
            continue;
        }
        if (place < pattern.size() && pattern[place] == text[at]) {
            ++at;
            in_pattern = place + 1;
            continue;
        }
        if (behind_percent == std::string_view::npos) {
            return false;
        }
        in_pattern = behind_percent;
        at = taken_to = next_character(text, taken_to);
    }
    while (in_pattern < pattern.size() && pattern[in_pattern] == '%') {
        ++in_pattern;
    }
    return in_pattern == pattern.size();
}

}  // namespace signalbox::proxy
