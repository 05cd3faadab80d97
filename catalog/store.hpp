// What is kept of connections, their statuses, and notices; and where.
//
// A store is a plain recorder: it checks nothing but versions. All calls block and come from one
// thread, the catalog's own; errors are exceptions of the types below.
//
//   load()      everything, at start and after another Signalbox changed something
//   commit()    one change of one or more connections, whole or not at all, durable on return
//   append()    status events; the leader's only
//
// Notices have calls and a version of their own: notice_store.hpp.
#pragma once

#include "catalog/notice_store.hpp"
#include "catalog/timestamps.hpp"
#include "parser/commands.hpp"

#include <chrono>
#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <stdexcept>
#include <string>
#include <string_view>
#include <vector>

namespace signalbox::catalog {

using parser::connection_type;
using parser::option_value;
using parser::secret_name;

/// By canonical option name (`SSL MODE`).
using option_map = std::map<std::string, option_value, std::less<>>;

/// What SQL changed against the file: a value, or no value although the file has one (DROP).
using option_overrides = std::map<std::string, std::optional<option_value>, std::less<>>;

/// One connection as the store keeps it. What the configuration file says of it is not stored.
struct stored_connection {
    std::string id;  // u1, u2, …; never reused
    std::string name;
    connection_type type = connection_type::postgres;
    bool is_from_file = false;  // the file names it; else SQL made it
    std::string owner;          // "" = no one
    option_overrides overrides;
    std::uint64_t generation = 1;  // grows by one with every successful change
    timestamp created_at{};
    timestamp altered_at{};

    bool operator==(const stored_connection&) const = default;
};

/// A change of a connection's status.
struct status_event {
    std::string connection_id;
    std::string status;  // available, failed, deleted, …
    std::optional<std::string> error;
    timestamp occurred_at{};

    bool operator==(const status_event&) const = default;
};

struct stored_catalog {
    std::vector<stored_connection> connections;  // those that exist, in the order of their making
    std::vector<status_event> history;           // in the order of writing; also of dropped ones
    std::uint64_t version = 0;                   // grows with everything that is written
};

/// One connection before and after. No `before`: it is made, and the store gives it an id
/// (`after`'s is ignored). No `after`: it is dropped. The store counts `generation`; `after`'s is
/// ignored too.
struct connection_change {
    std::optional<stored_connection> before;
    std::optional<stored_connection> after;
};

/// The store cannot be reached or refuses: 58000 for DDL.
class store_error : public std::runtime_error {
public:
    using std::runtime_error::runtime_error;
};

/// A `before` (its generation or name) is not what the store has, or a new name is taken, or there
/// is a newer version of the notices: 40001.
class concurrent_change : public std::runtime_error {
public:
    using std::runtime_error::runtime_error;
};

/// What others have changed.
struct store_news {
    bool connections = false;  // load()
    bool notices = false;      // load_notices()
    bool is_notified = false;  // another has told of something meanwhile; it need not be asked for
};

class store : public notice_store {
public:
    virtual stored_catalog load() = 0;

    /// `events` are written with the change (`deleted` of a dropped connection). Returns the
    /// `after`s as stored, with their ids.
    virtual std::vector<stored_connection> commit(
        const std::vector<connection_change>& changes, const std::vector<status_event>& events
    ) = 0;

    /// Throws store_error where this Signalbox does not lead. An event that is there already, that
    /// repeats its connection's last status or that follows `deleted` is passed over, so that it is
    /// safe to try again; wait_for_change() then says that there is something to load.
    virtual void append(const std::vector<status_event>& events) = 0;

    /// Keeps the newest `per_connection` events of each connection.
    virtual void truncate_history(std::size_t per_connection) = 0;

    /// Whether this Signalbox is the one that watches and writes events. Asked often; looks after
    /// the lock on the way. Never throws: false while the store is away. Who has just become leader
    /// has a load() to do before it writes: wait_for_change() is true at once.
    virtual bool is_leader() = 0;

    /// Waits up to `timeout` for a change made by another Signalbox; true: load() again, or
    /// load_notices(), as news() says. Notices are news to who has loaded them once. Returns early,
    /// with false, after interrupt(), also one that came before. Never throws: a store that is away
    /// has no news.
    virtual bool wait_for_change(std::chrono::milliseconds timeout) = 0;

    /// What the last wait_for_change() has found.
    [[nodiscard]] virtual store_news news() const noexcept = 0;

    /// Why the store is away, as the last attempt to reach it found out; "" where it answers. Asked
    /// between calls, for the log.
    [[nodiscard]] virtual std::string trouble() const { return {}; }

    /// From any thread.
    virtual void interrupt() noexcept = 0;
};

/// `url` is `sqlite:FILE` or `postgresql://…`. Migrates an older schema.
/// Throws store_error; for a PostgreSQL store that is away, only its later calls do.
struct store_settings {
    std::string url;
    std::string folder;  // where a relative FILE is found; "" = the working directory
    std::optional<std::string> password;  // of a PostgreSQL store
    std::string ssl_mode = "prefer";
};

std::unique_ptr<store> open_store(const store_settings& settings);

}  // namespace signalbox::catalog
