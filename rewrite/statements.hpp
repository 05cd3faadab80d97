// Prepared statements when server connections are shared: what a client has named, what a server
// connection holds.
//
// A client's name stands for a statement (text, parameter types, and the parameters under which it
// was parsed, since constants are read by them). On a server connection the statement has a name of
// its own, `signalbox_<n>`, counted per connection. It is parsed there when it is first needed.
//
// Changes are speculative until the server confirms them, because clients pipeline: `visible` is
// what the client's next message means if everything in flight succeeds, `confirmed` what the
// server has said.
//
// Not thread-safe, but statement_registry.
#pragma once

#include "parser/traits.hpp"

#include <atomic>
#include <cstdint>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

namespace signalbox::rewrite {

inline constexpr std::string_view server_statement_prefix = "signalbox_";
/// Never prepared anywhere: what a name that the client has not prepared is sent as.
inline constexpr std::string_view unknown_statement_name = "signalbox_unknown";

struct prepared_statement {
    std::uint64_t id = 0;  // unique in the process
    std::string tail;      // of the Parse message: text NUL, count, OIDs
    parser::text_traits traits;
};

using statement_ptr = std::shared_ptr<const prepared_statement>;

struct string_hash {
    using is_transparent = void;

    std::size_t operator()(std::string_view s) const noexcept {
        return std::hash<std::string_view>{}(s);
    }
};

/// Gives equal statements one identity across all workers. Thread-safe; asked only where a worker's
/// own cache misses.
class statement_registry {
public:
    statement_ptr intern(const std::string& key, std::string_view tail);

    /// Grows with every DDL that passes through any session: a statement parsed before may mean
    /// something else now.
    std::uint64_t ddl_seen() const noexcept { return ddl_.load(std::memory_order_relaxed); }

    void note_ddl() noexcept { ddl_.fetch_add(1, std::memory_order_relaxed); }

private:
    std::atomic<std::uint64_t> ddl_{0};

    std::mutex mutex_;
    std::unordered_map<std::string, std::weak_ptr<const prepared_statement>> known_;
    std::uint64_t next_id_ = 1;
    std::size_t sweep_at_ = 1024;
};

/// One worker's view of the registry: no lock for a statement that this worker has seen.
class statement_cache {
public:
    explicit statement_cache(statement_registry& registry) : registry_(registry) {}

    /// `context`: whatever else makes the same text another statement (the session's parameters).
    statement_ptr intern(std::string_view tail, std::uint64_t context);

    statement_registry& registry() noexcept { return registry_; }

private:
    static constexpr std::size_t max_entries = 4096;

    statement_registry& registry_;
    std::string key_;
    std::unordered_map<std::string, statement_ptr> known_;
};

/// The names of one client.
class client_statements {
public:
    statement_ptr find(std::string_view name) const;
    /// What find() says hangs on a batch before `batch` whose end is not known yet.
    bool is_unsettled(std::string_view name, std::uint64_t batch) const;
    /// A name of the statement; "" when it has none (any more).
    std::string_view name_of(std::uint64_t statement_id) const;
    /// The statement with this number, among those that have a name here.
    statement_ptr statement_of(std::uint64_t statement_id) const;

    /// The name was answered here, without asking the server, and is first used in `batch`: its
    /// client cannot have seen what the statement returned before a change of the catalogs.
    bool is_first_use(std::uint64_t statement_id, std::uint64_t batch) const;
    /// The statement has been used in a batch before `batch`: its client may have seen its columns.
    bool was_used(std::uint64_t statement_id, std::uint64_t batch) const;
    void answered_here(std::string_view name);
    void used(std::string_view name, std::uint64_t batch);

    /// statement_registry::ddl_seen() when the client's own Parse came; 0: no such name.
    std::uint64_t ddl_at_parse(std::string_view name) const;

    /// What the client was told last of the statement's parameters and columns: a hash. 0: nothing.
    std::uint64_t columns_told(std::string_view name) const;
    void tell_columns(std::string_view name, std::uint64_t statement_id, std::uint64_t columns);

    /// Parse and Close as they are sent, in `batch` …
    void prepare(
        std::string_view name, statement_ptr statement, std::uint64_t batch, std::uint64_t ddl
    );
    void close(std::string_view name, std::uint64_t batch);
    /// … and as the server has answered them.
    void confirm_prepare(std::string_view name, const statement_ptr& statement);
    void confirm_close(std::string_view name);
    /// The server has not done it: what is visible falls back to what is confirmed.
    void roll_back(std::string_view name);

    /// All that the server has confirmed is gone; what has been sent since then is not.
    void forget_confirmed();

    bool empty() const noexcept { return names_.empty(); }

private:
    struct entry {
        statement_ptr visible;
        statement_ptr confirmed;
        std::uint64_t changed_in = 0;
        std::uint64_t first_use = 0;  // 0 = not yet
        bool answered_here = false;
        std::uint64_t ddl = 0;  // statement_registry::ddl_seen() when the Parse came
        std::uint64_t columns = 0;
    };

    void drop_if_empty(std::string_view name);

    std::unordered_map<std::string, entry, string_hash, std::equal_to<>> names_;
};

/// What one server connection has prepared.
class server_statements {
public:
    struct slot {
        std::uint32_t number = 0;
        bool confirmed = false;
        std::uint64_t batch = 0;    // in which its Parse was sent
        std::uint64_t used = 0;     // the batch that named it last
        std::uint64_t ddl = 0;      // statement_registry::ddl_seen() when its Parse was sent
        bool stale = false;         // its plan does not fit the catalogs any more
        bool asked = false;         // for its columns
        std::uint64_t columns = 0;  // a hash of what it returns; 0 = not known
    };

    slot* find(std::uint64_t id) noexcept;
    /// A new name for the statement; an old one is forgotten.
    slot& add(std::uint64_t id, std::uint64_t batch);
    void confirm(std::uint64_t id, std::uint32_t number) noexcept;
    /// The Parse that made `number` has failed or was never run, or it is closed.
    void forget(std::uint64_t id, std::uint32_t number) noexcept;
    /// The server does not know this name.
    void forget_name(std::string_view server_name);
    /// All that the server has confirmed is gone.
    void forget_confirmed();

    /// The server may hold one of this number which is nobody's: to be closed, by take_left().
    void leave(std::uint32_t number) { left_.push_back(number); }

    std::optional<std::uint32_t> take_left() noexcept;

    void clear() noexcept {
        slots_.clear();
        left_.clear();
    }

    /// The statement that has this number; 0 = none.
    std::uint64_t id_of(std::uint32_t number) const noexcept;

    std::size_t size() const noexcept { return slots_.size(); }

    /// The least recently used slot that `batch` does not name: removed, and its number given back.
    std::optional<std::uint32_t> evict(std::uint64_t batch);

    struct named {
        std::uint64_t id = 0;
        std::uint32_t number = 0;
    };

    /// Those that `batch` names, marked as stale.
    std::vector<named> mark_stale(std::uint64_t batch);
    /// Those whose Parse was sent in `batch`.
    std::vector<std::uint64_t> parsed_in(std::uint64_t batch) const;

private:
    std::unordered_map<std::uint64_t, slot> slots_;
    std::vector<std::uint32_t> left_;
    std::uint32_t next_number_ = 1;
};

std::string server_statement_name(std::uint32_t number);

}  // namespace signalbox::rewrite
