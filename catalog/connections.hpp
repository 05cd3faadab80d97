// What Signalbox knows of connections, and the statements that change it.
//
// connection_catalog belongs to one thread, the catalog's own, which may block; everybody else
// reads snapshots. One statement at a time:
//
//   find -> privilege -> options -> plan -> validate -> prepare -> commit to the store -> publish
//
// Whatever fails before the commit leaves everything as it was. After the commit nothing can fail.
//
// Errors    rejection, with the SQLSTATE and words of the design's table
// Source    DESIGN sections 5, 6, 9
#pragma once

#include "catalog/connection_kind.hpp"
#include "catalog/rejection.hpp"
#include "catalog/status_history.hpp"
#include "catalog/store.hpp"
#include "parser/commands.hpp"

#include <chrono>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace signalbox::catalog {

inline constexpr std::string_view status_available = "available";
inline constexpr std::string_view status_failed = "failed";
inline constexpr std::string_view status_deleted = "deleted";
inline constexpr std::string_view status_unknown = "unknown";

/// A connection as everybody may see it.
struct connection_entry {
    stored_connection stored;
    option_map options;      // the effective ones
    std::string create_sql;  // that makes it again
    std::string status{status_unknown};
    std::optional<std::string> error;
    std::optional<timestamp> last_status_change_at;
};

/// All of them at one moment. Immutable.
struct connection_snapshot {
    std::uint64_t version = 0;                  // grows with every change
    std::vector<connection_entry> connections;  // in the order of their making
    std::vector<status_event> history;          // in the order of writing; also of dropped ones

    /// Null: there is none.
    [[nodiscard]] const connection_entry* find(std::string_view name) const noexcept;
};

using snapshot_ptr = std::shared_ptr<const connection_snapshot>;

/// What the configuration file says of a connection.
struct file_connection {
    connection_type type = connection_type::postgres;
    option_map options;  // by canonical name; secrets by name

    bool operator==(const file_connection&) const = default;
};

using file_connections = std::map<std::string, file_connection, std::less<>>;

/// The POSTGRES connections that traffic may use, by name.
using postgres_connections =
    std::map<std::string, std::shared_ptr<const postgres_connection>, std::less<>>;

/// Who asks.
struct actor {
    std::string user;
    bool is_superuser = false;
};

struct command_outcome {
    std::vector<wire::report> notices;
    std::string tag;
    std::vector<std::string> dropped = {};  // ids of connections that are no more
};

/// What the catalog needs of the rest. Called on the catalog's thread.
class connection_user {
public:
    connection_user() = default;
    virtual ~connection_user() = default;
    connection_user(const connection_user&) = delete;
    connection_user& operator=(const connection_user&) = delete;

    struct check {
        bool is_available = false;
        std::string error;  // the server's or the system's own text
        std::string host;
        std::uint16_t port = 0;
    };

    /// Really connects.
    virtual check validate(const planned_connection& connection) = 0;
    /// A route that leads to the connection, as messages name it. Nothing: there is none.
    [[nodiscard]] virtual std::optional<std::string> find_route_to(std::string_view name) const = 0;
    /// Whatever can fail, fails here, by an exception of any kind; what it returns moves all
    /// traffic to these connections, and cannot fail.
    virtual std::function<void()> prepare(const postgres_connections& connections) = 0;
    /// The secrets and paths of the configuration in force.
    [[nodiscard]] virtual std::optional<std::string> find_secret(std::string_view name) const = 0;
    [[nodiscard]] virtual std::filesystem::path resolve_path(const std::string& path) const = 0;
    virtual void warn(const std::string& what, const std::string& cause) = 0;
};

class connection_catalog {
public:
    /// Reads the store. Throws store_error where an SQLite store cannot be read; a shared store
    /// that is away is read later.
    connection_catalog(
        store& kept, connection_user& used, status_quota quota, std::size_t history_per_connection
    );

    /// What the file says, at start and at every reload. Those that the store does not know are
    /// added to it, and all are planned anew; publish() follows.
    void set_file(file_connections file);

    /// Of those that the file names and SQL has changed: `main (HOST, PORT)`.
    [[nodiscard]] std::vector<std::string> overridden() const;

    /// The POSTGRES connections that can be planned.
    [[nodiscard]] postgres_connections planned() const;
    [[nodiscard]] const planned_connection* find_planned(std::string_view name) const;

    /// Everything but the SHOW forms and notices. Throws rejection.
    command_outcome execute(const parser::command& command, const actor& who);

    /// What traffic or a check has met.
    void report_status(
        std::string_view name, std::string_view status, std::optional<std::string> error
    );
    /// Writes what is due, takes over what other Signalboxes have changed, looks after leadership.
    /// Once in a while, and after every wait.
    void maintain();

    /// When maintain() has something to write.
    [[nodiscard]] std::optional<std::chrono::steady_clock::time_point> next_due() const {
        return tracker_.next_due();
    }

    /// The store has news of other Signalboxes.
    void reload();

    [[nodiscard]] bool is_leader() const noexcept { return is_leader_; }

    /// Any thread.
    [[nodiscard]] snapshot_ptr snapshot() const;

private:
    class planning;

    command_outcome run(const parser::create_connection& asked, const actor& who);
    command_outcome run(const parser::alter_connection& asked, const actor& who);
    command_outcome run(const parser::rename_connection& asked, const actor& who);
    command_outcome run(const parser::change_connection_owner& asked, const actor& who);
    command_outcome run(const parser::drop_connection& asked, const actor& who);
    command_outcome run(const parser::validate_connection& asked, const actor& who);
    template <class Other>
    command_outcome run(const Other& asked, const actor& who);

    [[nodiscard]] const stored_connection* find_stored(std::string_view name) const;
    [[nodiscard]] const stored_connection* find(std::string_view name) const;
    bool skips_missing(bool if_exists, std::string_view name, command_outcome& out) const;
    [[nodiscard]] const stored_connection& need(std::string_view name) const;
    const stored_connection& need_owned(std::string_view name, const actor& who) const;
    [[nodiscard]] const option_map* file_options(std::string_view name) const;
    [[nodiscard]] option_map options_of_stored(const stored_connection& connection) const;
    [[nodiscard]] std::vector<std::string> dependents_of(std::string_view name) const;
    [[nodiscard]] bool is_visible(const stored_connection& connection) const;
    void check_supported(const planned_connection& connection) const;
    void validate(const planned_connection& connection);
    void commit(
        const std::vector<connection_change>& changes,
        std::map<std::string, planned_connection, std::less<>> planned,
        const std::vector<status_event>& events,
        const std::string& name
    );
    [[nodiscard]] std::function<void()> prepare_for(
        const std::map<std::string, planned_connection, std::less<>>& planned
    );
    [[nodiscard]] std::vector<connection_change> news_of_file() const;
    void add_new_of_file();
    void read_store();
    void plan_all();
    void report_unplanned();
    void warn_once(std::string& told, const std::string& what, const std::string& cause);
    void write(const std::vector<status_event>& batch);
    void publish_snapshot();
    [[nodiscard]] static moment now();

    store& store_;
    connection_user& user_;
    const std::size_t history_per_connection_;
    file_connections file_;
    std::vector<stored_connection> connections_;  // of the store; also those that are not visible
    std::vector<status_event> history_;
    std::map<std::string, planned_connection, std::less<>> planned_;
    std::map<std::string, std::string, std::less<>> unplanned_;  // why it cannot be used, by name
    status_tracker tracker_;
    bool is_loaded_ = false;

    /// The store can be read, and does not take the file's connections.
    struct file_refusal {
        std::chrono::milliseconds pause{0};  // before the next try
        std::chrono::steady_clock::time_point next = std::chrono::steady_clock::time_point::min();
        std::string cause;  // as it was told
    };

    file_refusal file_refusal_;
    std::string events_refusal_;  // of status events: the cause, as it was told
    bool is_leader_ = false;
    bool must_truncate_ = true;  // once, by whoever leads at the start
    mutable std::mutex mutex_;
    snapshot_ptr snapshot_;
};

}  // namespace signalbox::catalog
