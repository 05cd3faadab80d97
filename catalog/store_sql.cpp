#include "catalog/store_sql.hpp"

#include "catalog/option_json.hpp"
#include "catalog/utf8.hpp"

#include <algorithm>
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

constexpr std::array notices_schema{
    std::string_view{"ALTER TABLE store_state ADD COLUMN notice_version bigint NOT NULL DEFAULT 0"},
    std::string_view{"ALTER TABLE store_state ADD COLUMN last_object bigint NOT NULL DEFAULT 0"},
    std::string_view{R"(CREATE TABLE objects (
  id text NOT NULL PRIMARY KEY,
  oid bigint NOT NULL,
  connection_id text NOT NULL,
  database_name text NOT NULL,
  schema_name text NOT NULL,
  name text NOT NULL,
  type text NOT NULL,
  owner text NOT NULL,
  version bigint NOT NULL))"},
    std::string_view{R"(CREATE TABLE notices (
  fingerprint text NOT NULL PRIMARY KEY,
  connection_id text NOT NULL,
  database_name text NOT NULL,
  notice_type text NOT NULL,
  message text NOT NULL,
  hint text NOT NULL,
  action text NOT NULL,
  redacted_message text,
  redacted_hint text,
  redacted_action text,
  action_type text NOT NULL,
  object_id text NOT NULL,
  dependency_ids text NOT NULL,
  created_at bigint NOT NULL,
  updated_at bigint NOT NULL,
  status text NOT NULL CHECK (status IN ('new', 'resolved')),
  version bigint NOT NULL))"},
    std::string_view{R"(CREATE TABLE ignored_notices (
  fingerprint text NOT NULL PRIMARY KEY,
  ignored_by text NOT NULL,
  ignored_at bigint NOT NULL,
  last_seen_at bigint NOT NULL,
  version bigint NOT NULL))"},
    std::string_view{R"(CREATE TABLE notice_removals (
  kind text NOT NULL CHECK (kind IN ('object', 'notice', 'ignored')),
  key text NOT NULL,
  version bigint NOT NULL))"},
    std::string_view{"CREATE INDEX objects_by_version ON objects (version)"},
    std::string_view{"CREATE INDEX notices_by_version ON notices (version)"},
    std::string_view{"CREATE INDEX notice_removals_by_version ON notice_removals (version)"},
};

constexpr std::array<std::span<const std::string_view>, 2> migrations{first_schema, notices_schema};

/// For how many changes it is kept what they took away; who is further behind loads everything.
constexpr std::uint64_t removals_kept = 1'000;

/// Of one statement. Both stores take more parameters than these rows have; with many, SQLite gets
/// slow at finding their names.
constexpr std::size_t rows_per_statement = 32;

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

/// What is stored malformed could never be read again.
void require_utf8(std::string_view text) {
    if (!is_utf8(text)) {
        throw store_error{"the store keeps text in UTF-8, and this is none"};
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

// ---- notices

/// `oN` joined by commas.
std::string joined(const std::vector<std::string>& ids) {
    std::string out;
    for (const std::string& id : ids) {
        out += (out.empty() ? "" : ",") + id;
    }
    return out;
}

std::vector<std::string> split_ids(std::string_view text) {
    std::vector<std::string> out;
    while (!text.empty()) {
        const std::size_t end = std::min(text.find(','), text.size());
        out.emplace_back(text.substr(0, end));
        text.remove_prefix(std::min(end + 1, text.size()));
    }
    return out;
}

/// A table's columns; the first is its key, and `version`, the last, is not named.
struct notice_table {
    std::string_view name;
    std::string_view kind;  // in notice_removals
    std::span<const std::string_view> columns;
};

constexpr std::array<std::string_view, 8> object_columns{
    "id", "oid", "connection_id", "database_name", "schema_name", "name", "type", "owner"};
constexpr std::array<std::string_view, 16> notice_columns{
    "fingerprint",
    "connection_id",
    "database_name",
    "notice_type",
    "message",
    "hint",
    "action",
    "redacted_message",
    "redacted_hint",
    "redacted_action",
    "action_type",
    "object_id",
    "dependency_ids",
    "created_at",
    "updated_at",
    "status"};
constexpr std::array<std::string_view, 4> ignored_columns{
    "fingerprint", "ignored_by", "ignored_at", "last_seen_at"};

constexpr notice_table object_table{"objects", "object", object_columns};
constexpr notice_table notices_table{"notices", "notice", notice_columns};
constexpr notice_table ignored_table{"ignored_notices", "ignored", ignored_columns};

std::vector<sql_value> values_of(const stored_object& object) {
    return {
        object.id,
        std::to_string(object.oid),
        object.connection_id,
        object.database,
        object.schema,
        object.name,
        object.type,
        object.owner};
}

std::vector<sql_value> values_of(const stored_notice& notice) {
    return {
        notice.fingerprint,
        notice.connection_id,
        notice.database,
        notice.type,
        notice.message,
        notice.hint,
        notice.action,
        notice.redacted_message,
        notice.redacted_hint,
        notice.redacted_action,
        notice.action_type,
        notice.object_id,
        joined(notice.dependency_ids),
        to_text(notice.created_at),
        to_text(notice.updated_at),
        std::string{notice.is_resolved ? "resolved" : "new"}};
}

std::vector<sql_value> values_of(const ignored_notice& ignored) {
    return {
        ignored.fingerprint,
        ignored.ignored_by,
        to_text(ignored.ignored_at),
        to_text(ignored.last_seen_at)};
}

stored_object object_of(const sql_row& row) {
    return {
        .id = text_of(row, 0),
        .oid = number_of<std::uint32_t>(row, 1),
        .connection_id = text_of(row, 2),
        .database = text_of(row, 3),
        .schema = text_of(row, 4),
        .name = text_of(row, 5),
        .type = text_of(row, 6),
        .owner = text_of(row, 7)};
}

stored_notice notice_of(const sql_row& row) {
    return {
        .fingerprint = text_of(row, 0),
        .connection_id = text_of(row, 1),
        .database = text_of(row, 2),
        .type = text_of(row, 3),
        .message = text_of(row, 4),
        .hint = text_of(row, 5),
        .action = text_of(row, 6),
        .redacted_message = row.at(7),
        .redacted_hint = row.at(8),
        .redacted_action = row.at(9),
        .action_type = text_of(row, 10),
        .object_id = text_of(row, 11),
        .dependency_ids = split_ids(text_of(row, 12)),
        .created_at = time_of(row, 13),
        .updated_at = time_of(row, 14),
        .is_resolved = text_of(row, 15) == "resolved"};
}

ignored_notice ignored_of(const sql_row& row) {
    return {
        .fingerprint = text_of(row, 0),
        .ignored_by = text_of(row, 1),
        .ignored_at = time_of(row, 2),
        .last_seen_at = time_of(row, 3)};
}

std::string joined_columns(const notice_table& table) {
    std::string out;
    for (const std::string_view column : table.columns) {
        out += (out.empty() ? "" : ", ") + std::string{column};
    }
    return out;
}

/// `($1, $2), ($3, $4)`.
std::string placeholders(std::size_t rows, std::size_t columns) {
    std::string out;
    std::size_t number = 0;
    for (std::size_t row = 0; row < rows; ++row) {
        out += row == 0 ? "(" : ", (";
        for (std::size_t column = 0; column < columns; ++column) {
            out += (column == 0 ? "$" : ", $") + std::to_string(++number);
        }
        out += ')';
    }
    return out;
}

template <typename Row>
void put_rows(
    sql_connection& connection,
    const notice_table& table,
    const std::vector<Row>& all,
    const std::string& version
) {
    std::string replaced = "version = excluded.version";
    for (const std::string_view column : table.columns.subspan(1)) {
        replaced += ", " + std::string{column} + " = excluded." + std::string{column};
    }
    const std::string begin = "INSERT INTO " + std::string{table.name} + " (" +
                              joined_columns(table) + ", version) VALUES ";
    const std::string end =
        " ON CONFLICT (" + std::string{table.columns.front()} + ") DO UPDATE SET " + replaced;
    for (std::size_t done = 0; done < all.size();) {
        const std::size_t count = std::min(rows_per_statement, all.size() - done);
        std::vector<sql_value> parameters;
        for (const Row& each : std::span{all}.subspan(done, count)) {
            for (sql_value& value : values_of(each)) {
                if (value) {
                    require_utf8(*value);
                }
                parameters.push_back(std::move(value));
            }
            parameters.emplace_back(version);
        }
        auto sql = begin;
        sql.append(placeholders(count, table.columns.size() + 1)).append(end);
        connection.execute(sql, parameters);
        done += count;
    }
}

void remove_rows(
    sql_connection& connection,
    const notice_table& table,
    const std::vector<std::string>& keys,
    const std::string& version
) {
    for (std::size_t done = 0; done < keys.size();) {
        const std::size_t count = std::min(rows_per_statement, keys.size() - done);
        std::vector<sql_value> deleted;
        std::vector<sql_value> noted;
        for (const std::string& key : std::span{keys}.subspan(done, count)) {
            deleted.emplace_back(key);
            noted.emplace_back(std::string{table.kind});
            noted.emplace_back(key);
            noted.emplace_back(version);
        }
        connection.execute(
            "DELETE FROM " + std::string{table.name} + " WHERE " +
                std::string{table.columns.front()} + " IN " + placeholders(1, count),
            deleted
        );
        connection.execute(
            "INSERT INTO notice_removals (kind, key, version) VALUES " + placeholders(count, 3),
            noted
        );
        done += count;
    }
}

template <typename Row>
std::vector<Row> rows_after(
    sql_connection& connection,
    const notice_table& table,
    const std::string& version,
    Row (*read)(const sql_row&)
) {
    std::vector<Row> out;
    for (const sql_row& row : connection.execute(
             "SELECT " + joined_columns(table) + " FROM " + std::string{table.name} +
                 " WHERE version > $1",
             {version}
         )) {
        out.push_back(read(row));
    }
    return out;
}

std::vector<std::string> removed_after(
    sql_connection& connection, const notice_table& table, const std::string& version
) {
    std::vector<std::string> out;
    for (const sql_row& row : connection.execute(
             "SELECT DISTINCT key FROM notice_removals WHERE kind = $1 AND version > $2",
             {std::string{table.kind}, version}
         )) {
        out.push_back(text_of(row, 0));
    }
    return out;
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

store_versions read_versions(sql_connection& connection) {
    const auto rows = connection.execute("SELECT version, notice_version FROM store_state");
    if (rows.size() != 1) {
        throw store_error{"the store's store_state must have one row"};
    }
    return {.connections = number_of(rows.front(), 0), .notices = number_of(rows.front(), 1)};
}

stored_catalog read_catalog(sql_connection& connection) {
    stored_catalog catalog{
        .connections = {}, .history = {}, .version = read_versions(connection).connections};
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

stored_notices read_notices(sql_connection& connection, std::optional<std::uint64_t> since) {
    const auto state = connection.execute("SELECT notice_version, last_object FROM store_state");
    if (state.size() != 1) {
        throw store_error{"the store's store_state must have one row"};
    }
    stored_notices out{.is_whole = true, .changes = {}, .version = number_of(state.front(), 0)};
    // A version that is yet to come is another store's: this one was put back from a copy.
    out.is_whole = !since || *since > out.version || out.version - *since > removals_kept;
    const std::string after = out.is_whole ? "-1" : std::to_string(*since);
    notice_changes& changes = out.changes;
    changes.last_object = number_of(state.front(), 1);
    if (!out.is_whole) {
        if (*since == out.version) {
            return out;
        }
        changes.removed_objects = removed_after(connection, object_table, after);
        changes.removed_notices = removed_after(connection, notices_table, after);
        changes.removed_ignored = removed_after(connection, ignored_table, after);
    }
    changes.objects = rows_after(connection, object_table, after, object_of);
    changes.notices = rows_after(connection, notices_table, after, notice_of);
    changes.ignored = rows_after(connection, ignored_table, after, ignored_of);
    return out;
}

std::uint64_t write_notices(
    sql_connection& connection, const notice_changes& changes, std::uint64_t seen
) {
    const auto state = connection.execute(
        "UPDATE store_state SET notice_version = notice_version + 1, last_object = $1"
        " WHERE notice_version = $2 RETURNING notice_version",
        {std::to_string(changes.last_object), std::to_string(seen)}
    );
    if (state.empty()) {
        throw concurrent_change{"the notices were changed concurrently"};
    }
    const std::uint64_t version = number_of(state.front(), 0);
    const std::string text = std::to_string(version);
    remove_rows(connection, object_table, changes.removed_objects, text);
    remove_rows(connection, notices_table, changes.removed_notices, text);
    remove_rows(connection, ignored_table, changes.removed_ignored, text);
    put_rows(connection, object_table, changes.objects, text);
    put_rows(connection, notices_table, changes.notices, text);
    put_rows(connection, ignored_table, changes.ignored, text);
    if (version > removals_kept) {
        connection.execute(
            "DELETE FROM notice_removals WHERE version <= $1",
            {std::to_string(version - removals_kept)}
        );
    }
    return version;
}

std::size_t cut_history(sql_connection& connection, std::size_t per_connection) {
    connection.execute("UPDATE store_state SET version = version + 1");
    return connection.execute(delete_events, {std::to_string(per_connection)}).size();
}

}  // namespace signalbox::catalog
