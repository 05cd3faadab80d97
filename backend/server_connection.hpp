// One socket to a PostgreSQL server: connecting, TLS, login; afterwards a stream that somebody
// uses.
//
//   resolving -> connecting -> asking_for_tls (not with direct TLS) -> tls_handshake ->
//   authenticating
//                                      -> checking_session (only where one question is open) ->
//                                      ready
//        any of these -> the next address, or host -> failed (told once)
//
// Several hosts are tried in order, but for those that were silent lately: they come last. With
// target_session_attrs a host that does not fit is left for the next one, and prefer-standby takes
// one that did not fit in the end.
//
// Invariants
//   - the owner gets exactly one of on_connected and on_connect_failed;
//   - once ready, events go to the user; the connection itself reads nothing more;
//   - a ready connection with an empty stream may be moved to another event loop with detach() and
//   attach().
// Source    libpq's fe-connect.c for the meaning of the six sslmodes and of several hosts
#pragma once

#include "backend/address.hpp"
#include "backend/io/event_loop.hpp"
#include "backend/io/stream.hpp"
#include "backend/resolver.hpp"
#include "backend/session_attributes.hpp"
#include "backend/silent_hosts.hpp"
#include "backend/work_pool.hpp"
#include "catalog/connection.hpp"
#include "wire/messages.hpp"
#include "wire/scram.hpp"

#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

namespace signalbox::backend {

/// What one thread lends to all its connections. Lives as long as its loop.
struct io_context {
    event_loop& loop;
    io_scratch& scratch;
    work_pool& workers;
    resolver& names;
    silent_hosts silent{};
};

/// How to log in. Neither: only trust and cert work.
struct server_credentials {
    std::optional<std::string> password;
    std::optional<wire::scram_keys> keys;  // passed through from the client's own login
};

/// Everything a connection attempt needs. Immutable; shared by the attempts of a pool.
struct server_target {
    std::shared_ptr<const catalog::postgres_connection> connection;
    std::string database;
    std::string user;
    /// In the startup packet, behind user and database: for connections that no session uses.
    std::vector<std::pair<std::string, std::string>> parameters;
    std::chrono::milliseconds connect_timeout{15'000};  // of one address; 0 = none
    std::shared_ptr<SSL_CTX> tls_context;               // null when tls is ssl_mode::disable
};

/// Throws std::runtime_error (an unreadable certificate).
std::shared_ptr<SSL_CTX> make_server_tls_context(const catalog::postgres_connection& connection);

struct connect_failure {
    bool unreachable = true;  // it may come back by itself; else somebody has to change something
    std::string sqlstate;
    std::string message;  // the server's or the system's own words
    std::string detail;
    catalog::host_port at{};  // whose words
};

class server_connection;

class connect_observer {
public:
    virtual void on_connected(server_connection& connection) = 0;
    virtual void on_connect_failed(server_connection& connection, const connect_failure& why) = 0;

protected:
    ~connect_observer() = default;
};

class server_user {
public:
    virtual void on_server_events(server_connection& connection, std::uint32_t events) = 0;

protected:
    ~server_user() = default;
};

/// What a user keeps with a connection between its uses.
class server_attachment {
public:
    virtual ~server_attachment() = default;
};

class server_connection final : public event_handler {
public:
    server_connection(
        io_context& io,
        std::shared_ptr<const server_target> target,
        server_credentials credentials,
        connect_observer& observer
    );
    ~server_connection();
    server_connection(const server_connection&) = delete;
    server_connection& operator=(const server_connection&) = delete;

    void start();
    /// Ends an attempt that takes too long. on_connect_failed() says what is known by then.
    void expire();

    /// Towards another thread's loop and back; only when ready, with nothing pending.
    void detach() noexcept { socket.detach(); }

    void attach(io_context& io);
    void set_user(server_user* user) noexcept;

    /// Says Terminate, where nothing half-written stands before it, and closes.
    void terminate(io_scratch& scratch);

    /// Nothing to read and not closed, as far as the kernel knows now.
    [[nodiscard]] bool looks_alive() const noexcept;

    void on_events(std::uint32_t events) override;

    stream socket;
    std::unique_ptr<server_attachment> attachment;
    wire::backend_key_data key;
    std::vector<std::pair<std::string, std::string>>
        reported;  // ParameterStatus of the login; taken by the user
    std::uint64_t generation = 0;
    time_point connected_at;
    time_point idle_since;
    int cancels_in_flight = 0;

    [[nodiscard]] const server_target& target() const noexcept { return *target_; }

    [[nodiscard]] const std::shared_ptr<const server_target>& shared_target() const noexcept {
        return target_;
    }

    [[nodiscard]] const socket_address& address() const noexcept {
        return addresses_[address_index_];
    }

    [[nodiscard]] const std::string& host() const noexcept { return at().host; }

    [[nodiscard]] std::uint16_t port() const noexcept { return at().port; }

private:
    enum class phase {
        resolving,
        connecting,
        asking_for_tls,
        tls_handshake,
        authenticating,
        checking_session,
        ready,
        failed
    };
    enum class tls_choice { plain, tls };

    /// Which of several failures is told: the most telling, and of equals the last.
    enum class weight { silence, refusal, misfit };

    /// The way through the hosts, until one is connected.
    struct host_search {
        std::vector<std::size_t> order;  // places in the connection's hosts
        std::size_t next = 0;            // in `order`
        std::vector<std::size_t> unfit;  // they answered, and can be had
        bool takes_unfit = false;        // the second pass of prefer-standby
        bool has_answered = false;       // the host at hand
        session_facts facts;             // of the session at hand
        weight best_weight = weight::silence;
        connect_failure best;
        std::string all;  // what each host said, for the detail
    };

    void next_host();
    void first_address();
    void open_socket();
    void on_connect_finished();
    void begin_session();
    void on_tls_answer();
    void begin_handshake();
    void continue_handshake();
    void read_login();
    void on_login_bytes(std::string_view bytes);
    bool on_login_message(char type, std::string_view body);
    bool on_session_open();
    bool on_check_message(char type, std::string_view body);
    bool on_session_checked();
    void become_ready();
    [[nodiscard]] catalog::target_session_attrs wanted() const noexcept;
    bool on_authentication(std::string_view body);
    bool refuse_login(std::string message);
    bool on_sasl(std::string_view mechanisms);
    bool on_sasl_challenge(std::string_view data);
    void derive_keys(std::string salt, int iterations);
    void answer_challenge(const wire::scram_keys& keys);
    bool send(std::string_view bytes);
    bool retry_with_other_tls(std::string_view sqlstate);
    /// This address has failed: the next one, or the end.
    void attempt_failed(connect_failure why);
    void hang_up();
    void note_answer();
    void host_failed(const connect_failure& why);
    void after_host();
    void remember(const connect_failure& why, weight how);
    void fail_with_best();
    void give_up(connect_failure why);

    [[nodiscard]] bool is_logging_in() const noexcept {
        return phase_ == phase::authenticating || phase_ == phase::checking_session;
    }

    [[nodiscard]] const catalog::host_port& at() const noexcept {
        return target_->connection->hosts[host_index_];
    }

    [[nodiscard]] bool requires_binding() const noexcept {
        return target_->connection->binding == catalog::channel_binding::require;
    }

    [[nodiscard]] std::string place() const;

    io_context* io_;
    std::shared_ptr<const server_target> target_;
    server_credentials credentials_;
    connect_observer* observer_;
    server_user* user_ = nullptr;
    phase phase_ = phase::resolving;
    tls_choice choice_ = tls_choice::plain;
    bool tls_retried_ = false;
    std::uint32_t turn_ =
        0;  // an answer from another thread that belongs to an earlier one is late
    std::unique_ptr<host_search> search_;  // null once ready
    std::size_t host_index_ = 0;
    std::vector<socket_address> addresses_;
    std::size_t address_index_ = 0;
    timer deadline_;
    std::string input_;
    std::string output_;
    std::optional<wire::scram_client> scram_;
    std::shared_ptr<bool> alive_ = std::make_shared<bool>(true);  // for answers from other threads
};

}  // namespace signalbox::backend
