// The server connections of one (route, user) pair, over all workers.
//
// pool_group   what the workers share: the limit, the queue of those who wait, the health of the
// target pool         one worker's part: its idle connections and those it is opening
//
// Taking an idle connection and giving one back touch two atomics and no lock. The mutex is for
// waiting, opening and closing only. A waiter is served first come, first served over all workers:
// the connection is sent to the waiter's worker when it came back on another one.
//
// No wake-up is lost: a waiter is counted before it looks for idle connections anywhere, and a
// connection is put on the idle list before its worker looks for waiters; both sequentially
// consistent, so one of the two sees the other.
#pragma once

#include "backend/server_connection.hpp"

#include <atomic>
#include <deque>
#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <unordered_map>
#include <vector>

namespace signalbox::backend {

using connection_ptr = std::unique_ptr<server_connection>;

struct pool_settings {
    std::size_t size = 20;
    std::size_t min_size = 0;
    std::chrono::milliseconds idle_timeout{600'000};  // 0 = none
    std::chrono::milliseconds lifetime{3'600'000};    // 0 = none
};

class lease_waiter {
public:
    virtual void on_lease(connection_ptr connection) = 0;
    /// Waiting is of no use: the server refuses the login.
    virtual void on_lease_failed(const connect_failure& why) = 0;

protected:
    ~lease_waiter() = default;
};

/// What an idle connection's owner may be told by the server, and who cleans a connection. Both
/// called on the worker.
class pool_hooks {
public:
    /// Bytes that arrived on an idle connection. False: close it.
    virtual bool on_idle_bytes(server_connection& connection, std::string_view bytes) = 0;
    /// A connection arrives here from its login or from another worker.
    virtual void on_adopted(server_connection& connection) = 0;
    /// A connection was opened (`why` is null), or not.
    virtual void on_outcome(const server_target& target, const connect_failure* why) = 0;

protected:
    ~pool_hooks() = default;
};

class pool;

class pool_group {
public:
    pool_group(std::string name, std::size_t workers);

    /// What a new connection is opened with; a changed target makes all others obsolete.
    void configure(pool_settings settings, std::shared_ptr<const server_target> target);
    void set_credentials(server_credentials credentials);
    bool has_credentials() const;

    /// What a connection is opened with now, for one that does not belong to the pool.
    struct opening {
        std::shared_ptr<const server_target> target;  // null: not configured yet
        server_credentials credentials;
        std::uint64_t generation = 0;
    };

    opening current() const;

    /// Grows with every change of the target.
    std::uint64_t generation() const noexcept {
        return generation_.load(std::memory_order_relaxed);
    }

    bool is_down() const noexcept { return down_.load(std::memory_order_relaxed); }

    /// Why, while is_down(); else empty.
    connect_failure last_failure() const;

    std::size_t total() const noexcept { return total_.load(std::memory_order_relaxed); }

    const std::string& name() const noexcept { return name_; }

private:
    friend class pool;

    struct ticket {
        std::size_t worker = 0;
        std::uint64_t id = 0;
    };

    struct shard {
        pool* part = nullptr;
        event_loop* loop = nullptr;
        std::atomic<std::size_t> idle{0};
    };

    const std::string name_;
    std::vector<std::unique_ptr<shard>> shards_;
    std::atomic<std::size_t> total_{0};
    std::atomic<std::size_t> waiting_{0};
    std::atomic<std::uint64_t> generation_{1};
    std::atomic<bool> down_{false};
    /// Of settings_, for every return of a connection: no lock there.
    std::atomic<std::chrono::milliseconds> lifetime_{pool_settings{}.lifetime};

    mutable std::mutex mutex_;  // everything below
    pool_settings settings_;
    std::shared_ptr<const server_target> target_;
    server_credentials credentials_;
    bool has_credentials_ = false;
    std::deque<ticket> queue_;
    std::uint64_t next_ticket_ = 1;
    std::size_t opening_ = 0;  // to the target of today
    unsigned failures_ = 0;
    time_point next_attempt_{};
    connect_failure last_failure_;
};

class pool final : public connect_observer, public server_user {
public:
    pool(std::shared_ptr<pool_group> group, std::size_t worker, io_context& io, pool_hooks& hooks);
    ~pool();
    pool(const pool&) = delete;
    pool& operator=(const pool&) = delete;

    /// An idle connection, when there is one and nobody waits for it.
    connection_ptr try_acquire();
    /// Waits for one. The number is for cancel_wait(). May call back before it returns.
    std::uint64_t wait(lease_waiter& waiter);
    /// The waiter will not be called. Nothing happens when it has been served already.
    void cancel_wait(std::uint64_t id);

    /// Gives a connection back, clean and between transactions; it is watched while it is idle.
    void release(connection_ptr connection);
    /// Closes one that must not be used again; a Terminate is sent where that can be.
    void discard(connection_ptr connection);

    /// Once a second: idle and lifetime limits, the minimum size.
    void maintain();
    /// Closes what is idle; for the end.
    void close_idle();

    pool_group& group() noexcept { return *group_; }

    void on_connected(server_connection& connection) override;
    void on_connect_failed(server_connection& connection, const connect_failure& why) override;
    void on_server_events(server_connection& connection, std::uint32_t events) override;

private:
    bool is_usable(const server_connection& connection) const;
    connection_ptr pop_idle(bool is_checked);
    void push_idle(connection_ptr connection);
    connection_ptr take_from_idle(server_connection& connection);
    void serve_waiters();
    void hand_over(connection_ptr connection, pool_group::ticket ticket);
    void deliver(connection_ptr connection, std::uint64_t id);
    /// False: none is wanted, or there is no room, or it is too early.
    bool open_as_needed(bool for_minimum = false);
    void open_all_needed();
    void connection_gone();
    void schedule_retry(time_point when);

    std::shared_ptr<pool_group> group_;
    std::size_t worker_;
    io_context& io_;
    pool_hooks& hooks_;
    std::vector<connection_ptr> idle_;  // the most recently used last
    std::unordered_map<server_connection*, connection_ptr> opening_;
    std::unordered_map<std::uint64_t, lease_waiter*> waiters_;
    timer retry_;
    std::shared_ptr<bool> alive_ = std::make_shared<bool>(true);
};

}  // namespace signalbox::backend
