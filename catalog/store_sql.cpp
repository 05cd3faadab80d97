#include "catalog/store_sql.hpp"

#include "catalog/option_json.hpp"

#include <array>
#include <charconv>
#include <span>
#include <system_error>
#include <utility>
#include <variant>

namespace signalbox::catalog {
namespace {

// One list per schema version. Those that were released are never edited: a store may stand at any.
constexpr std::array first_schema{
    std::string_view{R"(CREATE TABLE store_state (
  only_row bigint NOT NULL PRIMARY KEY CHECK (only_row = 1),
  version bigint NOT NULL,
  last_connection bigint NOT NULL,
  leader_epoch bigint NOT NULL))"},
    std::string_view{"INSERT INTO store_state VALUES (1, 0, 0, 0)"},
    std::string_view{R"(CREATE TABLE connections (
  id text NOT NULL PRIMARY KEY,
  number bigint NOT NULL UNIQUE,
  name text NOT NULL UNIQUE,
  type text NOT NULL,
  is_from_file bigint NOT NULL,
  owner text NOT NULL,
  overrides text NOT NULL,
  generation bigint NOT NULL,
  created_at bigint NOT NULL,
  altered_at bigint NOT NULL))"},
    std::string_view{R"(CREATE TABLE connection_status_history (
  number bigint NOT NULL PRIMARY KEY,
  connection_id text NOT NULL,
  status text NOT NULL,
  error text,
  occurred_at bigint NOT NULL))"},
    std::string_view{"CREATE INDEX connection_status_history_by_connection"
                     " ON connection_status_history (connection_id, number)"},
    std::string_view{"CREATE TABLE schema_version (version bigint NOT NULL)"},
    std::string_view{"INSERT INTO schema_version VALUES (0)"},
};

constexpr std::array<std::span<const std::string_view>, 1> migrations{first_schema};

constexpr std::string_view insert_connection = R"(
INSERT INTO connections
  (id, number, name, type, is_from_file, owner, overrides, generation, created_at, altered_at)
SELECT 'u' || last_connection, last_connection, CAST($1 AS text), CAST($2 AS text),
       CAST($3 AS bigint), CAST($4 AS text), CAST($5 AS text), 1, CAST($6 AS bigint),
       CAST($7 AS bigint)
FROM store_state
WHERE NOT EXISTS (SELECT 1 FROM connections WHERE name = $1)
RETURNING id)";

constexpr std::string_view update_connection = R"(
UPDATE connections
SET name = $1, type = $2, is_from_file = $3, owner = $4, overrides = $5, created_at = $6,
    altered_at = $7, generation = generation + 1
WHERE id = $8 AND generation = $9 AND name = $10
  AND NOT EXISTS (SELECT 1 FROM connections AS other WHERE other.name = $1 AND other.id <> $8)
RETURNING generation)";

constexpr std::string_view delete_connection =
    "DELETE FROM connections WHERE id = $1 AND generation = $2 AND name = $3 RETURNING id";

constexpr std::string_view insert_event = R"(
INSERT INTO connection_status_history (number, connection_id, status, error, occurred_at)
SELECT (SELECT coalesce(max(number), 0) + 1 FROM connection_status_history),
       CAST($1 AS text), CAST($2 AS text), CAST($3 AS text), CAST($4 AS bigint)
WHERE NOT EXISTS (SELECT 1 FROM connection_status_history
                  WHERE connection_id = $1 AND status = $2 AND occurred_at = $4)
  AND coalesce((SELECT status FROM connection_status_history
                WHERE connection_id = $1 ORDER BY number DESC LIMIT 1), '')
      NOT IN ($2, 'deleted')
RETURNING number)";

constexpr std::string_view delete_events = R"(
DELETE FROM connection_status_history
WHERE number IN (
  SELECT number
  FROM (SELECT number, row_number() OVER (PARTITION BY connection_id ORDER BY number DESC) AS place
        FROM connection_status_history) AS ranked
  WHERE place > CAST($1 AS bigint))
RETURNING number)";

constexpr std::string_view type_name(connection_type type) {
    switch (type) {
        case connection_type::aws_privatelink:
            return "aws-privatelink";
        case connection_type::kafka:
            return "kafka";
        case connection_type::postgres:
            break;
    }
    return "postgres";
}

const std::string& text_of(const sql_row& row, std::size_t column) {
    if (column >= row.size() || !row[column]) {
        throw store_error{"the store holds no value where one belongs"};
    }
    return *row[column];
}

template <typename Integer = std::uint64_t>
Integer number_of(const sql_row& row, std::size_t column) {
    const std::string& text = text_of(row, column);
    Integer value{};
    const auto [end, ec] = std::from_chars(text.data(), text.data() + text.size(), value);
    if (ec != std::errc{} || end != text.data() + text.size()) {
        throw store_error{"the store holds \"" + text + "\" where a number belongs"};
    }
    return value;
}

timestamp time_of(const sql_row& row, std::size_t column) {
    return timestamp{std::chrono::microseconds{number_of<std::int64_t>(row, column)}};
}

std::string to_text(timestamp time) {
    return std::to_string(time.time_since_epoch().count());
}

connection_type type_of(const sql_row& row, std::size_t column) {
    const std::string& text = text_of(row, column);
    for (const auto type :
         {connection_type::postgres, connection_type::aws_privatelink, connection_type::kafka}) {
        if (text == type_name(type)) {
            return type;
        }
    }
    throw store_error{"the store holds a connection of unknown type \"" + text + "\""};
}

/// How many bytes the well-formed character at the beginning has; 0 = there is none. NUL counts as
/// malformed, since neither store can keep it.
/// Source    the Unicode standard, table 3-7
std::size_t utf8_character(std::string_view text) {
    const auto byte = [&](std::size_t i) {
        return i < text.size() ? static_cast<unsigned char>(text[i]) : 0U;
    };
    const auto follows = [&](std::size_t i, unsigned low = 0x80, unsigned high = 0xbf) {
        return byte(i) >= low && byte(i) <= high;
    };
    const unsigned first = byte(0);
    if (first < 0x80) {
        return first == 0 ? 0 : 1;
    }
    if (first >= 0xc2 && first <= 0xdf) {
        return follows(1) ? 2 : 0;
    }
    if (first >= 0xe0 && first <= 0xef) {
        const unsigned low = first == 0xe0 ? 0xa0 : 0x80;
        const unsigned high = first == 0xed ? 0x9f : 0xbf;
        return follows(1, low, high) && follows(2) ? 3 : 0;
    }
    if (first >= 0xf0 && first <= 0xf4) {
        const unsigned low = first == 0xf0 ? 0x90 : 0x80;
        const unsigned high = first == 0xf4 ? 0x8f : 0xbf;
        return follows(1, low, high) && follows(2) && follows(3) ? 4 : 0;
    }
    return 0;
}

/// A server's own words come in its own encoding; one of them must not hold up all other events.
std::string made_utf8(std::string_view text) {
    std::string out;
    while (!text.empty()) {
        const std::size_t size = utf8_character(text);
        if (size == 0) {
            out += "\xef\xbf\xbd";  // U+FFFD
        } else {
            out += text.substr(0, size);
        }
        text.remove_prefix(size == 0 ? 1 : size);
    }
    return out;
}

/// What is stored malformed could never be read again.
void require_utf8(std::string_view text) {
    while (!text.empty()) {
        const std::size_t size = utf8_character(text);
        if (size == 0) {
            throw store_error{"the store keeps text in UTF-8, and this is none"};
        }
        text.remove_prefix(size);
    }
}

void require_utf8_value(const option_value& value) {
    if (const auto* text = std::get_if<std::string>(&value)) {
        require_utf8(*text);
    } else if (const auto* secret = std::get_if<secret_name>(&value)) {
        require_utf8(secret->name);
    } else {
        for (const std::string& item : std::get<std::vector<std::string>>(value)) {
            require_utf8(item);
        }
    }
}

void require_utf8_connection(const stored_connection& connection) {
    require_utf8(connection.name);
    require_utf8(connection.owner);
    for (const auto& [name, value] : connection.overrides) {
        require_utf8(name);
        if (value) {
            require_utf8_value(*value);
        }
    }
}

[[noreturn]] void changed_concurrently(std::string_view name) {
    throw concurrent_change{"connection \"" + std::string{name} + "\" was changed concurrently"};
}

std::vector<sql_value> columns_of(const stored_connection& connection) {
    return {
        connection.name,
        std::string{type_name(connection.type)},
        std::string{connection.is_from_file ? "1" : "0"},
        connection.owner,
        serialize_overrides(connection.overrides),
        to_text(connection.created_at),
        to_text(connection.altered_at),
    };
}

stored_connection insert(sql_connection& connection, stored_connection after) {
    connection.execute("UPDATE store_state SET last_connection = last_connection + 1");
    const auto rows = connection.execute(insert_connection, columns_of(after));
    if (rows.empty()) {
        changed_concurrently(after.name);
    }
    after.id = text_of(rows.front(), 0);
    after.generation = 1;
    return after;
}

stored_connection update(
    sql_connection& connection, const stored_connection& before, stored_connection after
) {
    auto parameters = columns_of(after);
    parameters.emplace_back(before.id);
    parameters.emplace_back(std::to_string(before.generation));
    parameters.emplace_back(before.name);
    const auto rows = connection.execute(update_connection, parameters);
    if (rows.empty()) {
        changed_concurrently(before.name);
    }
    after.id = before.id;
    after.generation = number_of(rows.front(), 0);
    return after;
}

std::size_t insert_events(sql_connection& connection, const std::vector<status_event>& events) {
    std::size_t count = 0;
    for (const status_event& event : events) {
        sql_value error;
        if (event.error) {
            error = made_utf8(*event.error);
        }
        const auto rows = connection.execute(
            insert_event, {event.connection_id, event.status, error, to_text(event.occurred_at)}
        );
        count += rows.size();
    }
    return count;
}

}  // namespace

sql_transaction::sql_transaction(sql_connection& connection, std::string_view begin)
    : connection_(connection) {
    connection_.execute(begin);
}

sql_transaction::~sql_transaction() {
    if (open_) {
        connection_.rollback();
    }
}

void sql_transaction::commit() {
    connection_.execute("COMMIT");
    open_ = false;
}

std::uint64_t known_schema() noexcept {
    return migrations.size();
}

void refuse_newer_schema(std::uint64_t version) {
    if (version > known_schema()) {
        throw store_error{
            "the store has schema version " + std::to_string(version) +
            ", and this Signalbox knows no version after " + std::to_string(known_schema())};
    }
}

std::uint64_t read_schema_version(sql_connection& connection) {
    const auto rows = connection.execute("SELECT version FROM schema_version");
    if (rows.size() != 1) {
        throw store_error{"the store's schema_version must have one row"};
    }
    return number_of(rows.front(), 0);
}

void migrate_schema(sql_connection& connection, std::uint64_t version) {
    refuse_newer_schema(version);
    if (version == known_schema()) {
        return;
    }
    for (; version < known_schema(); ++version) {
        for (const std::string_view statement : migrations.at(version)) {
            connection.execute(statement);
        }
    }
    connection.execute("UPDATE schema_version SET version = $1", {std::to_string(version)});
}

std::uint64_t read_version(sql_connection& connection) {
    const auto rows = connection.execute("SELECT version FROM store_state");
    if (rows.size() != 1) {
        throw store_error{"the store's store_state must have one row"};
    }
    return number_of(rows.front(), 0);
}

stored_catalog read_catalog(sql_connection& connection) {
    stored_catalog catalog{.connections = {}, .history = {}, .version = read_version(connection)};
    for (const sql_row& row : connection.execute(
             "SELECT id, name, type, is_from_file, owner, overrides, generation, created_at,"
             " altered_at FROM connections ORDER BY number"
         )) {
        catalog.connections.push_back(
            {.id = text_of(row, 0),
             .name = text_of(row, 1),
             .type = type_of(row, 2),
             .is_from_file = number_of(row, 3) != 0,
             .owner = text_of(row, 4),
             .overrides = parse_overrides(text_of(row, 5)),
             .generation = number_of(row, 6),
             .created_at = time_of(row, 7),
             .altered_at = time_of(row, 8)}
        );
    }
    for (const sql_row& row :
         connection.execute("SELECT connection_id, status, error, occurred_at"
                            " FROM connection_status_history ORDER BY number")) {
        catalog.history.push_back(
            {.connection_id = text_of(row, 0),
             .status = text_of(row, 1),
             .error = row.at(2),
             .occurred_at = time_of(row, 3)}
        );
    }
    return catalog;
}

written_changes write_changes(
    sql_connection& connection,
    const std::vector<connection_change>& changes,
    const std::vector<status_event>& events
) {
    for (const connection_change& change : changes) {
        if (change.after) {
            require_utf8_connection(*change.after);
        }
    }
    const auto state =
        connection.execute("UPDATE store_state SET version = version + 1 RETURNING version");
    if (state.size() != 1) {
        throw store_error{"the store's store_state must have one row"};
    }
    written_changes written{.version = number_of(state.front(), 0), .afters = {}};
    // First what goes: its name may be another's within the same change.
    for (const connection_change& change : changes) {
        if (change.before && !change.after) {
            const stored_connection& before = *change.before;
            if (connection
                    .execute(
                        delete_connection,
                        {before.id, std::to_string(before.generation), before.name}
                    )
                    .empty()) {
                changed_concurrently(before.name);
            }
        }
    }
    for (const connection_change& change : changes) {
        if (change.after) {
            written.afters.push_back(
                change.before ? update(connection, *change.before, *change.after)
                              : insert(connection, *change.after)
            );
        }
    }
    written.all_events = insert_events(connection, events) == events.size();
    return written;
}

std::optional<written_events> write_events(
    sql_connection& connection,
    const std::vector<status_event>& events,
    const std::optional<std::string>& epoch
) {
    const auto state =
        epoch
            ? connection.execute(
                  "UPDATE store_state SET version = version + 1 WHERE leader_epoch = $1"
                  " RETURNING version",
                  {*epoch}
              )
            : connection.execute("UPDATE store_state SET version = version + 1 RETURNING version");
    if (state.empty()) {
        return std::nullopt;
    }
    return written_events{
        .version = number_of(state.front(), 0), .count = insert_events(connection, events)};
}

std::size_t cut_history(sql_connection& connection, std::size_t per_connection) {
    connection.execute("UPDATE store_state SET version = version + 1");
    return connection.execute(delete_events, {std::to_string(per_connection)}).size();
}

}  // namespace signalbox::catalog
