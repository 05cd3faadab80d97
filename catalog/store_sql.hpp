// What both stores do, in the SQL that both understand: the tables, reading them, changing them.
//
// Parameters are written $1, $2, … and go as text; results come as text. Every function but
// read_schema_version() wants a transaction of its caller's around it. Whoever writes changes the
// one row of store_state first: that serialises the writers of a shared store, so that a statement
// behind it sees all that was written before.
//
//   store_state                 version    grows with every write that is not about notices
//                               last_connection  the number of the last id given
//                               leader_epoch     whose turn it is to append; see postgres_store.cpp
//                               notice_version   grows with every write about notices
//                               last_object      the number of the last object's id given
//   connections                 stored_connection; overrides as in option_json.hpp
//   connection_status_history   status_event; `number` is the order of writing
//   objects, notices, ignored_notices    as in notice_store.hpp; `version`: of its last change
//   notice_removals             what was taken out of these three, by the latest changes
//   schema_version              which migrations were applied
//
// Points in time are microseconds since 1970, flags 0 and 1: what both have in common.
#pragma once

#include "catalog/store.hpp"

#include <cstddef>
#include <cstdint>
#include <initializer_list>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace signalbox::catalog {

using sql_value = std::optional<std::string>;
using sql_row = std::vector<sql_value>;

/// One connection to a database.
class sql_connection {
public:
    sql_connection() = default;
    virtual ~sql_connection() = default;
    sql_connection(const sql_connection&) = delete;
    sql_connection& operator=(const sql_connection&) = delete;

    /// One statement. Throws store_error.
    virtual std::vector<sql_row> execute(
        std::string_view sql, const std::vector<sql_value>& parameters
    ) = 0;

    std::vector<sql_row> execute(std::string_view sql) { return execute(sql, {}); }

    /// Ends the open transaction, if one is open; of a connection that is gone, nothing.
    virtual void rollback() noexcept = 0;
};

/// What ends badly is rolled back. Neither copied nor moved.
class sql_transaction {
public:
    /// One that is open already.
    explicit sql_transaction(sql_connection& connection) : connection_(connection) {}

    sql_transaction(sql_connection& connection, std::string_view begin);
    ~sql_transaction();
    sql_transaction(const sql_transaction&) = delete;
    sql_transaction& operator=(const sql_transaction&) = delete;

    void commit();

private:
    sql_connection& connection_;
    bool open_ = true;
};

/// The newest schema, which is the one that this program works with.
std::uint64_t known_schema() noexcept;

/// Throws store_error, naming both, where `version` is newer than known_schema().
void refuse_newer_schema(std::uint64_t version);

/// Needs the table schema_version.
std::uint64_t read_schema_version(sql_connection& connection);

/// From `version`, 0 being nothing at all, to known_schema().
void migrate_schema(sql_connection& connection, std::uint64_t version);

stored_catalog read_catalog(sql_connection& connection);

struct written_changes {
    std::uint64_t version = 0;
    std::vector<stored_connection> afters;
    bool all_events = true;  // none was passed over
};

/// Throws concurrent_change, and store_error for text that is not UTF-8.
written_changes write_changes(
    sql_connection& connection,
    const std::vector<connection_change>& changes,
    const std::vector<status_event>& events
);

struct written_events {
    std::uint64_t version = 0;
    std::size_t count = 0;
};

/// Passes over what is there already, what repeats its connection's last status, and what follows
/// `deleted`: a retry behind a broken connection, or a new leader, writes nothing twice. Nothing
/// where `epoch` is not the leader's any more. An error that is not UTF-8 is made so.
std::optional<written_events> write_events(
    sql_connection& connection,
    const std::vector<status_event>& events,
    const std::optional<std::string>& epoch
);

struct store_versions {
    std::uint64_t connections = 0;
    std::uint64_t notices = 0;
};

store_versions read_versions(sql_connection& connection);

stored_notices read_notices(sql_connection& connection, std::optional<std::uint64_t> since);

/// Returns the new version. Throws concurrent_change, and store_error for text that is not UTF-8.
std::uint64_t write_notices(
    sql_connection& connection, const notice_changes& changes, std::uint64_t seen
);

/// How many events were removed.
std::size_t cut_history(sql_connection& connection, std::size_t per_connection);

}  // namespace signalbox::catalog
