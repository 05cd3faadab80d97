// One client: from accept to the last byte. Drives the relay, which decides; here are the sockets,
// leases and timers.
//
//   startup -> tls_handshake -> startup -> authenticating -> joining -> serving -> closing
//                                               \-> replicating ----------------/
//
//   joining   authenticated; waits for a server where the startup parameters have not been tried
//   replicating   the client has asked for a walsender: there is no relay, and all passes as it is
//   before closing   everything has been said; reads until the client closes, so that it is never
//   reset
//
// Memory    what only a login needs is in login_, gone afterwards; buffers are the worker's.
#pragma once

#include "backend/io/stream.hpp"
#include "backend/notification.hpp"
#include "backend/pool.hpp"
#include "proxy/login.hpp"
#include "proxy/relay.hpp"
#include "proxy/replication.hpp"
#include "proxy/worker.hpp"

#include <memory>
#include <optional>
#include <string>
#include <vector>

namespace signalbox::proxy {

class session final : public backend::event_handler,
                      public backend::server_user,
                      public backend::lease_waiter {
public:
    session(worker& owner, std::uint64_t id, int fd, const backend::socket_address& from);
    ~session();
    session(const session&) = delete;
    session& operator=(const session&) = delete;

    void start();

    [[nodiscard]] std::uint64_t id() const noexcept { return id_; }

    void on_events(std::uint32_t events) override;
    void on_server_events(backend::server_connection& connection, std::uint32_t events) override;
    void on_lease(backend::connection_ptr connection) override;
    void on_lease_failed(const backend::connect_failure& why) override;

    /// A CancelRequest means this session. False: nothing is running.
    bool cancel_statement(std::function<void()> finished);

    /// Compared in constant time.
    [[nodiscard]] bool has_key(const wire::backend_key_data& key) const noexcept;

    /// Ends it with FATAL as soon as it is between transactions.
    void drain();
    /// Ends it with FATAL now.
    void end(const wire::report& why);
    void end_if_on(const pool_entry& removed);
    /// Its pool may lead to another target from now on. What it has begun on the old one may be
    /// finished until drain_timeout.
    void target_may_have_changed();
    /// For a client that asked to cancel, when that is done.
    void close_quietly();

    /// A channel that it listens to (worker::set_channels) has been notified.
    void on_notification(const backend::notification_ptr& heard);

private:
    friend class login;
    friend class replication;

    /// Under which names this client is counted; only where a limit is set.
    struct counted_names {
        std::string user;
        std::string database;
        std::string address;
    };

    enum class phase {
        startup,
        tls_handshake,
        authenticating,
        joining,
        serving,
        replicating,
        closing
    };

    // The client's socket.
    void on_readable();
    void on_handshake(backend::io_status status, std::string_view early);
    void on_client_bytes(std::string_view bytes);
    void on_client_closed();
    void client_gone(std::string_view cause);
    void linger();
    void end_politely();
    [[nodiscard]] bool should_pause() const noexcept;
    [[nodiscard]] bool is_under_way() const noexcept;
    void probe_client();
    bool send_to_client(std::string_view bytes);
    void fatal(const wire::report& why);
    std::string last_words();
    void begin_closing();
    void leave_counts() noexcept;
    void finish();

    // Login.
    void on_login_bytes(std::string_view bytes);
    void join();
    bool knows_profile();
    void join_without_server();
    void on_joined();
    void serve(rewrite::parameter_set_ptr reported, std::uint32_t process_id);
    std::string greet(
        const std::vector<rewrite::parameter_set::item>& reported, std::uint32_t process_id
    );
    void replicate(std::string mode);
    void serve_replication(backend::server_connection& server);

    // Serving.
    void pump(std::string_view fresh);
    void set_channels();
    bool acquire();
    bool advance_units();
    bool try_to_move();
    bool ask_to_move();
    void on_move_answer(bool movable);
    void leave_server();
    void end_at_old_target();
    void ask_for_verdict();
    void carry_out_command();
    void ask_for_examination();
    void examined(const std::vector<wire::report>& found);
    void take(backend::connection_ptr connection);
    bool flush();
    void resume();
    void server_failed(const std::string& cause);
    void setup_failed();
    bool maybe_release();
    void give_back_server();
    void query_wait_tick();
    void fail_wait(wire::report why);
    void schedule_timer();
    void on_timer();
    void note_activity();
    void begin_anew();
    bool account_memory();
    void cancel_finished(bool is_settled);
    [[nodiscard]] wire::report server_gone_report(const std::string& cause) const;

    worker& owner_;
    const std::uint64_t id_;
    backend::stream client_;
    phase phase_ = phase::startup;
    std::unique_ptr<login> login_;
    pool_entry* pool_ = nullptr;
    std::unique_ptr<relay> relay_;
    std::unique_ptr<replication> replication_;  // instead of the relay
    backend::connection_ptr server_;
    std::string held_;  // of the client, not consumed yet
    std::string server_held_;
    backend::timer timer_;
    wire::backend_key_data key_;
    std::uint64_t ticket_ = 0;  // while waiting for a lease
    backend::time_point waiting_since_;
    backend::time_point busy_since_;
    backend::time_point block_since_;
    backend::time_point idle_since_;
    backend::time_point cancelled_at_;
    std::size_t accounted_ = 0;  // of shared_state::buffered_bytes
    int cancels_ = 0;
    bool in_pump_ = false;
    bool deciding_ = false;  // a text is being looked at on another thread
    bool wait_noticed_ = false;
    bool client_eof_ = false;
    bool draining_ = false;
    bool admitted_ = false;  // counted towards max_clients
    bool was_busy_ = false;
    bool was_in_block_ = false;
    bool query_cancelled_ = false;
    std::unique_ptr<counted_names> counted_;
    /// The client has said Terminate, and what it asked for goes on: until when.
    std::unique_ptr<backend::timer> lingering_;
    /// The server connection leads to a target of yesterday: until when it may. Null: it does not.
    std::unique_ptr<backend::timer> moving_;
    bool has_to_move_ = false;       // that time is over
    bool must_stay_ = false;         // for one more statement: it carries what cannot move
    std::uint64_t examination_ = 0;  // how many were asked for
    std::unique_ptr<backend::timer> examining_;  // until when the client waits for what is found
    bool has_timeouts_ = false;
};

}  // namespace signalbox::proxy
