// One event loop with its thread: sessions, its part of every pool, its listening sockets.
//
// All members are used on the loop's thread, but post() and what the constructor sets.
#pragma once

#include "backend/cancel.hpp"
#include "backend/pool.hpp"
#include "proxy/listener.hpp"
#include "proxy/notifications.hpp"
#include "proxy/relay.hpp"
#include "proxy/runtime.hpp"
#include "proxy/shared.hpp"
#include "wire/startup.hpp"

#include <memory>
#include <string>
#include <thread>
#include <unordered_map>
#include <vector>

namespace signalbox::proxy {

class session;
class cleaner;

/// What a worker knows of a database, and when it is to look again.
struct database_watch final : state_watch {
    std::string fingerprint;
    backend::time_point next_look;
    bool looking = false;

    /// The server does not say: from now on everything may make state. It is asked again at `next`.
    void forget(backend::time_point next) {
        rules = std::make_shared<const rewrite::hidden_state_rules>();
        by_statement.clear();
        fingerprint.clear();
        next_look = next;
    }
};

using cleaner_row = std::vector<std::optional<std::string_view>>;

/// A pool of this worker, with what its sessions need to know.
struct pool_entry {
    std::string database;  // as clients ask for it
    std::string user;      // the client's role
    std::string login_role;
    std::shared_ptr<const route_settings> route;
    relay_settings relay;
    std::unique_ptr<backend::pool> pool;
    bool own_credentials = false;  // the connection has a user of its own
    /// What the server reports under a set of startup parameters: a later login needs no server.
    std::unordered_map<rewrite::parameter_set_ptr, rewrite::parameter_set_ptr> profiles;
    std::shared_ptr<database_watch> watch;  // of the database; null in session mode
    bool removed = false;                   // the configuration has no such route any more
};

class worker final : public backend::pool_hooks {
public:
    worker(std::size_t index, shared_state& shared, runtime_ptr runtime);
    ~worker();
    worker(const worker&) = delete;
    worker& operator=(const worker&) = delete;

    void listen_on(int fd, bool is_shared);
    void start();
    void join();

    void post(std::function<void()> work) { loop_.post(std::move(work)); }

    // From here on: the loop's thread.

    void accept_client(int fd, const backend::socket_address& from);
    void remove_session(session& gone);
    session* find_session(std::uint64_t id) noexcept;

    /// A new configuration.
    void apply(runtime_ptr next);
    /// No new clients; sessions end when they are between transactions. Stops the loop when none is
    /// left.
    void drain(backend::time_point until);
    void stop_now();

    /// The pool for a client's (database, user), made when it is new. Null: the route leads to no
    /// connection.
    pool_entry* find_pool(
        const resolved_route& route, const std::string& database, const std::string& user
    );
    /// The pool in which the auth_query runs. Null: there is nobody to run it.
    pool_entry* find_auth_pool(const resolved_route& route, const std::string& database);

    /// What the server reports under these startup parameters, as far as it is known. Null: it has
    /// to be asked.
    rewrite::parameter_set_ptr find_profile(
        pool_entry& pool, const rewrite::parameter_set& startup
    );
    void remember_profile(
        pool_entry& pool,
        const rewrite::parameter_set& startup,
        const rewrite::parameter_set_ptr& reported
    );

    /// Brings a connection into a state that any session can use, then gives it back to its pool.
    void clean(backend::connection_ptr connection, pool_entry& pool, bool discard_all);
    /// A session is done with a connection, which it leaves between transactions. `hidden`: it may
    /// have made state there that nobody knows of.
    void release(backend::connection_ptr connection, pool_entry& pool, bool hidden);
    /// Cancels what runs on a connection whose client has gone, then closes it.
    void abandon(backend::connection_ptr connection, pool_entry& pool, bool cancel);
    /// Closes a connection that belongs to no pool. What runs there is cancelled first, on demand.
    void close_unpooled(backend::connection_ptr connection, bool cancel_first);
    /// Cancels; `finished` runs when the signal has been sent or cannot be.
    void cancel(
        const backend::server_connection& victim, std::function<void(bool is_settled)> finished
    );
    /// A client's CancelRequest: finds the session on whichever worker has it.
    void route_cancel(const wire::backend_key_data& asked, std::uint64_t asking_session);

    /// Decides on a thread of its own; `done` runs here.
    void decide(
        std::shared_ptr<const parser::statement_rules> rules,
        std::string sql,
        parser::backslashes strings,
        std::function<void(parser::verdict_ptr)> done
    );

    /// What a session of this worker listens to: replaces its whole set, names as
    /// pg_listening_channels() gives them; empty ends it, as the session's end does.
    /// confirmed(true) when everything notified from now on will be heard, confirmed(false) when
    /// that could not be had within the route's hold_timeout, was refused, or was replaced by
    /// another call. It is called once, never from inside, and not when the session has gone. May
    /// be empty. `client_encoding`: the session's, as the server reports it; names and payloads are
    /// in it.
    void set_channels(
        pool_entry& pool,
        std::uint64_t session_id,
        std::vector<std::string> channels,
        std::function<void(bool)> confirmed,
        std::string client_encoding = {}
    ) {
        notifications_.set_channels(
            pool, session_id, std::move(channels), std::move(client_encoding), std::move(confirmed)
        );
    }

    /// A statement that is addressed to Signalbox; `done` runs here.
    void carry_out(command_request asked, std::function<void(command_reply)> done);

    /// The pool's database is to be examined; `done` runs here, and may be empty.
    void examine(
        pool_entry& pool, const std::function<void(const std::vector<wire::report>&)>& done
    );

    void register_key(const wire::backend_key_data& key, std::uint64_t session_id);
    void forget_key(const wire::backend_key_data& key);

    std::uint64_t new_session_id() noexcept { return next_session_ += shared_.count; }

    backend::io_context& io() noexcept { return io_; }

    shared_state& shared() noexcept { return shared_; }

    relay_environment& environment() noexcept { return environment_; }

    notifications& notified() noexcept { return notifications_; }

    const runtime_ptr& current() const noexcept { return runtime_; }

    bool is_draining() const noexcept { return draining_; }

    bool on_idle_bytes(backend::server_connection& connection, std::string_view bytes) override;
    void on_adopted(backend::server_connection& connection) override;
    void on_outcome(const backend::server_target& target, const backend::connect_failure* why)
        override;

    outbox to_client;  // lent to the session whose event is being served
    outbox to_server;

private:
    pool_entry* make_pool(
        const std::string& key,
        const resolved_route& route,
        const std::string& database,
        const std::string& user,
        const std::string& login_role
    );
    template <class Done>
    void run_errand(
        backend::connection_ptr connection,
        std::vector<std::string_view> queries,
        std::function<void(const cleaner_row&)> on_row,
        Done done
    );
    /// What was learned at a target, for when a connection leads there again.
    using rules_ptr = std::shared_ptr<const rewrite::hidden_state_rules>;

    struct known_catalogs {
        std::vector<catalog::host_port> hosts;
        std::string database;
        std::string fingerprint;
        rules_ptr rules;
    };

    void look_at_catalogs(backend::connection_ptr connection, pool_entry& pool);
    void learn_catalogs(
        backend::connection_ptr connection, pool_entry& pool, std::string fingerprint
    );
    /// Null: nothing, or the catalogs have changed since.
    [[nodiscard]] rules_ptr find_known(
        const backend::server_target& target, const std::string& fingerprint
    );
    void keep_known(known_catalogs what);
    void configure(pool_entry& entry, const resolved_route& route);
    void cancel_here(const wire::backend_key_data& asked, const std::function<void()>& finished);
    void tick();
    void stop_if_empty();

    const std::size_t index_;
    shared_state& shared_;
    runtime_ptr runtime_;
    backend::event_loop loop_;
    backend::io_scratch scratch_;
    backend::io_context io_;
    relay_environment environment_;
    std::unordered_map<std::string, std::shared_ptr<database_watch>> watches_;  // by database
    std::vector<known_catalogs> known_;  // the one used last is the last

    /// What was told of connections last, by name, so that a storm of logins costs nothing more.
    struct told_outcome {
        std::shared_ptr<const catalog::postgres_connection> of;
        bool is_open = false;
        backend::time_point when;
    };

    std::unordered_map<std::string, told_outcome> told_;
    /// By the rules of a route; those that no pool uses any more go with the next configuration.
    std::unordered_map<const parser::statement_rules*, std::shared_ptr<parser::verdict_cache>>
        verdicts_;
    std::uint64_t next_session_;
    std::vector<std::unique_ptr<listener>> listeners_;
    std::unordered_map<std::string, std::unique_ptr<pool_entry>> pools_;
    std::unordered_map<std::uint64_t, std::unique_ptr<session>> sessions_;
    std::unordered_map<std::uint64_t, std::uint64_t> keys_;
    std::unordered_map<cleaner*, std::unique_ptr<cleaner>> cleaners_;
    std::unordered_map<backend::cancel_call*, std::unique_ptr<backend::cancel_call>> cancels_;
    notifications notifications_;
    backend::timer tick_;
    backend::timer drain_deadline_;
    bool draining_ = false;
    std::thread thread_;
};

/// The state that the relay keeps with a connection.
server_state& state_of(backend::server_connection& connection);

}  // namespace signalbox::proxy
