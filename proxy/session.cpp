#include "proxy/session.hpp"

#include "proxy/log.hpp"
#include "wire/messages.hpp"

#include <openssl/rand.h>

#include <sys/socket.h>
#include <system_error>

namespace signalbox::proxy {
namespace {

/// As PostgreSQL 18 makes them; of a client of protocol 3.2.
constexpr std::size_t long_secret_bytes = 32;
constexpr std::string_view terminate_message{"X\0\0\0\4", 5};
/// A client that does not read what is made for it (not what a server sends) is not read from
/// beyond this.
constexpr std::size_t max_pending_bytes = std::size_t{1} << 20U;

std::string system_text(int error) {
    return error == 0 ? std::string{"TLS error"} : std::generic_category().message(error);
}

}  // namespace

session::session(worker& owner, std::uint64_t id, int fd, const backend::socket_address& from)
    : owner_(owner), id_(id), client_(fd) {
    const bool is_local = from.family() == AF_UNIX;
    login_ = std::make_unique<login>(*this, owner, backend::address_text(from), is_local);
}

session::~session() {
    leave_counts();
    owner_.shared().buffered_bytes -= accounted_;
}

/// Its place is free for another client, even while it has not closed its socket yet.
void session::leave_counts() noexcept {
    auto& shared = owner_.shared();
    if (std::exchange(admitted_, false)) {
        --shared.clients;
    }
    if (counted_) {
        if (!counted_->user.empty()) {
            shared.per_user.remove(counted_->user);
        }
        if (!counted_->database.empty()) {
            shared.per_database.remove(counted_->database);
        }
        if (!counted_->address.empty()) {
            shared.per_address.remove(counted_->address);
        }
        counted_.reset();
    }
}

void session::start() {
    client_.attach(owner_.io().loop, *this);
    const auto limit = owner_.current()->config().listen.startup_timeout;
    if (limit.count() > 0) {
        timer_.start(
            owner_.io().loop,
            owner_.io().loop.now() + limit,
            [](void* self) { static_cast<session*>(self)->on_timer(); },
            this
        );
    }
}

// ---- the client's socket

void session::on_events(std::uint32_t events) {
    if ((events & EPOLLOUT) != 0) {
        if (!client_.flush()) {
            client_gone(system_text(client_.error()));
            return;
        }
        account_memory();
        if (!client_.is_open()) {
            return;
        }
        if (!client_.has_pending()) {
            if (phase_ == phase::closing) {
                client_.shut_down(owner_.io().scratch);
            } else if (server_) {
                server_->socket.set_reading(true);
            } else if (replication_) {
                replication_->client_drained();
            }
        }
    }
    if ((events & (EPOLLHUP | EPOLLERR)) != 0 && (events & EPOLLIN) == 0) {
        client_gone("connection reset by the client");
        return;
    }
    if ((events & EPOLLIN) != 0) {
        if (should_pause()) {
            client_.set_reading(false);
        } else {
            on_readable();
            return;
        }
    }
    if ((events & EPOLLRDHUP) != 0 && phase_ != phase::closing) {
        // Reading is paused, and the client has closed its side: it may have gone for good.
        client_.mask_hang_up();
        if ((events & (EPOLLHUP | EPOLLERR)) != 0) {
            client_gone("connection reset by the client");
            return;
        }
        if (phase_ == phase::replicating) {
            client_gone("the client closed the connection");
            return;
        }
        if (phase_ == phase::serving && held_.ends_with(terminate_message)) {
            linger();
            return;
        }
        probe_client();
    }
}

bool session::should_pause() const noexcept {
    if (phase_ == phase::replicating) {
        return replication_->should_pause();
    }
    if (phase_ != phase::serving) {
        return phase_ == phase::joining;
    }
    return ticket_ != 0 || cancels_ > 0 || deciding_ || relay_->is_blocked() ||
           relay_->is_stalled() || (server_ && server_->socket.has_pending()) ||
           client_.pending_bytes() > max_pending_bytes;
}

void session::on_readable() {
    if (phase_ == phase::tls_handshake) {
        std::string_view early;
        const auto status = client_.handshake(owner_.io().scratch, early);
        on_handshake(status, early);
        return;
    }
    const auto got = client_.read(owner_.io().scratch);
    if (!got.bytes.empty()) {
        on_client_bytes(got.bytes);
    }
    if (!client_.is_open()) {
        return;
    }
    if (got.status == backend::io_status::closed) {
        on_client_closed();
    } else if (got.status == backend::io_status::failed) {
        client_gone(system_text(client_.error()));
    }
}

void session::on_handshake(backend::io_status status, std::string_view early) {
    switch (status) {
        case backend::io_status::again:
            return;
        case backend::io_status::ok:
            phase_ = phase::startup;
            if (login_->on_tls_ready() && !early.empty()) {
                on_client_bytes(early);
            }
            return;
        default:
            log::debug(
                "TLS handshake failed",
                {{"session", id_},
                 {"address", login_->address()},
                 {"cause", backend::last_tls_error()}}
            );
            finish();
            return;
    }
}

void session::on_client_bytes(std::string_view bytes) {
    switch (phase_) {
        case phase::startup:
            login_->on_startup_bytes(bytes);
            return;
        case phase::authenticating:
            login_->on_auth_bytes(bytes);
            return;
        case phase::joining:
            held_.append(bytes);
            return;
        case phase::serving:
            pump(bytes);
            return;
        case phase::replicating:
            replication_->on_client(bytes);
            return;
        case phase::tls_handshake:
        case phase::closing:
            return;
    }
}

/// Something will come of what the client has sent, without more of it.
bool session::is_under_way() const noexcept {
    return relay_->goes_on_alone() || relay_->is_blocked() || relay_->is_stalled() ||
           ticket_ != 0 || cancels_ > 0 || deciding_;
}

/// The end of what the client sends. It may still read: `printf … | nc` does.
void session::on_client_closed() {
    client_eof_ = true;
    client_.peer_closed();
    if (phase_ == phase::serving && held_.ends_with(terminate_message)) {
        linger();
        return;
    }
    if (phase_ == phase::serving && is_under_way()) {
        probe_client();
        return;
    }
    client_gone("the client closed the connection");
}

/// Tells a client that has only closed its sending side from one that is gone: a dead client's
/// kernel answers data with a reset. ParameterStatus may be sent at any time and says nothing new.
void session::probe_client() {
    if (phase_ != phase::serving || client_.has_pending() || !relay_->reported() ||
        relay_->is_mid_message()) {
        return;
    }
    const auto* const version = relay_->reported()->find("server_version");
    if (version != nullptr) {
        std::string probe;
        wire::write_parameter_status(probe, "server_version", *version);
        send_to_client(probe);
    }
}

bool session::send_to_client(std::string_view bytes) {
    if (lingering_) {
        return true;
    }
    if (client_.write(bytes, owner_.io().scratch)) {
        return true;
    }
    client_gone(system_text(client_.error()));
    return false;
}

// ---- login

void session::join() {
    phase_ = phase::joining;
    relay_ = std::make_unique<relay>(owner_.environment(), pool_->relay);
    const auto startup = owner_.environment().parameters.intern(login_->startup_parameters());
    relay_->set_startup(startup);
    if (pool_->route->mode != pool_mode::session && knows_profile()) {
        join_without_server();
        return;
    }
    if (acquire() && !relay_->is_blocked()) {
        on_joined();
    }
}

/// A server has been seen, and what it reported is remembered.
bool session::knows_profile() {
    return owner_.find_profile(*pool_, login_->startup_parameters()) != nullptr;
}

/// In session mode the client is told the process of its server, unless there is none to be had:
/// statements that are addressed to Signalbox work all the same.
void session::join_without_server() {
    serve(
        owner_.find_profile(*pool_, login_->startup_parameters()),
        static_cast<std::uint32_t>(id_ & 0x7fffffffU)
    );
}

/// The server has taken the startup parameters: what it reports now goes to the client.
void session::on_joined() {
    const auto reported = state_of(*server_).reported;
    owner_.remember_profile(*pool_, login_->startup_parameters(), reported);
    serve(
        reported,
        pool_->relay.mode == pool_mode::session ? server_->key.process_id
                                                : static_cast<std::uint32_t>(id_ & 0x7fffffffU)
    );
}

/// The end of the login's answer. `process_id`: what the client is told to be its server's.
std::string session::greet(
    const std::vector<rewrite::parameter_set::item>& reported, std::uint32_t process_id
) {
    key_.process_id = process_id;
    key_.secret.resize(
        login_->protocol() < wire::protocol_3_2 ? wire::min_secret_bytes : long_secret_bytes
    );
    RAND_bytes(
        reinterpret_cast<unsigned char*>(key_.secret.data()), static_cast<int>(key_.secret.size())
    );
    std::string out = login_->take_farewell();
    for (const auto& [name, value] : reported) {
        wire::write_parameter_status(out, name, value);
    }
    wire::write_backend_key_data(out, key_);
    wire::write_ready_for_query(out, 'I');
    if (log::is_enabled(log::level::debug)) {
        log::debug(
            "login",
            {{"session", id_},
             {"user", pool_->user},
             {"database", pool_->database},
             {"address", login_->address()},
             {"tls", client_.tls() != nullptr ? client_.tls()->version() : "off"}}
        );
    }
    owner_.register_key(key_, id_);
    // Its own functions are still on the stack.
    owner_.io().loop.defer([done = std::shared_ptr<login>{std::move(login_)}] {});
    timer_.cancel();
    return out;
}

void session::serve(rewrite::parameter_set_ptr reported, std::uint32_t process_id) {
    held_.insert(0, login_->take_input());
    const auto out = greet(reported->items(), process_id);
    relay_->set_reported(std::move(reported));
    phase_ = phase::serving;
    const auto& r = *pool_->route;
    has_timeouts_ = r.client_idle_timeout.count() > 0 || r.query_timeout.count() > 0 ||
                    r.transaction_timeout.count() > 0 || r.idle_transaction_timeout.count() > 0;
    idle_since_ = owner_.io().loop.now();
    maybe_release();
    if (!send_to_client(out)) {
        return;
    }
    schedule_timer();
    if (draining_) {
        drain();
        return;
    }
    target_may_have_changed();  // while the server was asked to take the startup parameters
    if (!held_.empty()) {
        pump({});
    }
    client_.set_reading(true);
}

// ---- replication

/// `mode`: what the client's startup packet says of it.
void session::replicate(std::string mode) {
    phase_ = phase::replicating;
    timer_.cancel();  // it is authenticated; connect_timeout counts from here on
    auto parameters = login_->startup_parameters().items();
    parameters.emplace_back("replication", std::move(mode));
    replication_ = std::make_unique<replication>(*this, owner_, *pool_);
    replication_->start(std::move(parameters));
}

void session::serve_replication(backend::server_connection& server) {
    const auto out = greet(std::exchange(server.reported, {}), server.key.process_id);
    if (!send_to_client(out)) {
        return;
    }
    if (draining_) {
        drain();
        return;
    }
    replication_->target_may_have_changed();  // while it was opened
    if (phase_ == phase::replicating) {
        client_.set_reading(true);
    }
}

// ---- serving

/// Gives the relay what the client has sent, for as long as it takes it.
void session::pump(std::string_view fresh) {
    std::string joined;
    const bool had_held = !held_.empty();
    if (had_held) {
        joined = std::move(held_);
        held_.clear();
        joined.append(fresh);
        fresh = joined;
    }
    std::size_t at = 0;
    in_pump_ = true;
    if (moving_ && try_to_move()) {
        in_pump_ = false;
        if (had_held) {
            held_ = std::move(joined);
        } else {
            held_.assign(fresh);
        }
        return;
    }
    while (cancels_ == 0 && ticket_ == 0 && !deciding_ &&
           (lingering_ || client_.pending_bytes() <= max_pending_bytes) &&
           !(server_ && server_->socket.has_pending())) {
        const auto taken = relay_->on_client(fresh.substr(at), owner_.to_server, owner_.to_client);
        at += taken;
        const auto demand = relay_->demanded();
        if (!flush()) {
            in_pump_ = false;
            return;
        }
        carry_out_command();
        if (demand == relay::demand::terminate) {
            in_pump_ = false;
            if (relay_->goes_on_alone()) {
                linger();
                resume();
            } else {
                end_politely();
            }
            return;
        }
        if (demand == relay::demand::fatal) {
            in_pump_ = false;
            log::info(
                "client broke the protocol",
                {{"session", id_},
                 {"user", pool_->user},
                 {"database", pool_->database},
                 {"cause", relay_->fatal().message}}
            );
            fatal(relay_->fatal());
            return;
        }
        if (demand == relay::demand::server) {
            if (draining_) {
                in_pump_ = false;
                drain();
                return;
            }
            if (!acquire() && ticket_ != 0) {
                break;  // it waits
            }
            if (!client_.is_open() || phase_ != phase::serving) {
                in_pump_ = false;
                return;
            }
            continue;
        }
        if (demand == relay::demand::verdict) {
            ask_for_verdict();
            break;
        }
        if (!advance_units()) {
            in_pump_ = false;
            return;
        }
        if (taken == 0 || at == fresh.size()) {
            break;
        }
    }
    in_pump_ = false;
    if (at < fresh.size()) {
        if (had_held) {
            joined.erase(0, at);
            held_ = std::move(joined);
        } else {
            held_.assign(fresh.substr(at));
        }
    }
    note_activity();
    maybe_release();
    account_memory();
}

/// Sends the next units of a batch, each on a connection taken anew from the pool. False: the
/// session is over.
bool session::advance_units() {
    while (relay_->has_unit_due() && !relay_->is_blocked() && ticket_ == 0 && cancels_ == 0) {
        maybe_release();
        if (relay_->unit_needs_server() && !server_) {
            if (!acquire() && (!client_.is_open() || phase_ != phase::serving)) {
                return false;
            }
            continue;
        }
        relay_->send_unit(owner_.to_server, owner_.to_client);
        if (!flush()) {
            return false;
        }
        carry_out_command();
    }
    return true;
}

/// False: it waits for one (or the session is over).
bool session::acquire() {
    if (auto connection = pool_->pool->try_acquire()) {
        take(std::move(connection));
        return client_.is_open();
    }
    waiting_since_ = owner_.io().loop.now();
    wait_noticed_ = false;
    const bool was_in_pump = std::exchange(in_pump_, true);
    ticket_ = ~std::uint64_t{0};  // served from inside wait(): on_lease clears it
    const auto ticket = pool_->pool->wait(*this);
    in_pump_ = was_in_pump;
    if (ticket_ != 0) {
        ticket_ = ticket;
        query_wait_tick();
        return false;
    }
    return server_ != nullptr;
}

void session::take(backend::connection_ptr connection) {
    server_ = std::move(connection);
    server_->set_user(this);
    moving_.reset();
    if (client_.has_pending() && !lingering_) {
        server_->socket.set_reading(false);
    }
    relay_->attach(state_of(*server_), pool_->login_role, owner_.to_server, owner_.to_client);
    if (phase_ == phase::joining) {
        owner_.to_client.clear();  // ParameterStatus comes with the rest of the login's answer
    }
    flush();
}

void session::on_lease(backend::connection_ptr connection) {
    ticket_ = 0;
    take(std::move(connection));
    if (in_pump_ || !server_) {
        return;
    }
    resume();
}

void session::on_lease_failed(const backend::connect_failure& why) {
    ticket_ = 0;
    fail_wait(
        {.severity = "ERROR",
         .sqlstate =
             why.sqlstate.empty() ? std::string{wire::sqlstate::connection_failure} : why.sqlstate,
         .message = why.message,
         .detail = why.detail,
         .hint = {}}
    );
}

/// Sends what the relay has put into the worker's outboxes.
bool session::flush() {
    auto& to_server = owner_.to_server;
    auto& to_client = owner_.to_client;
    bool server_broken = false;
    if (!to_server.empty()) {
        server_broken = !server_ || !server_->socket.write(to_server.data(), owner_.io().scratch);
        to_server.clear();
    }
    if (lingering_) {
        to_client.clear();
    }
    if (!to_client.empty()) {
        const bool written = client_.write(to_client.data(), owner_.io().scratch);
        to_client.clear();
        if (!written) {
            client_gone(system_text(client_.error()));
            return false;
        }
        if (client_.has_pending() && server_) {
            server_->socket.set_reading(false);
        }
    }
    if (server_broken && server_) {
        // What the server has said before it went may still be there to read: it is more telling
        // than EPIPE.
        server_->socket.set_reading(true);
    }
    return true;
}

void session::on_server_events(backend::server_connection& connection, std::uint32_t events) {
    if ((events & EPOLLOUT) != 0 && connection.socket.flush() && !connection.socket.has_pending()) {
        if (!held_.empty() || !client_.reading()) {
            resume();
            if (!server_ || server_.get() != &connection) {
                return;
            }
        }
    }
    if ((events & ~static_cast<std::uint32_t>(EPOLLOUT)) == 0) {
        return;
    }
    if (!connection.socket.reading() && (events & (EPOLLHUP | EPOLLERR)) == 0) {
        if ((events & EPOLLRDHUP) != 0) {
            connection.socket.mask_hang_up();
        }
        return;
    }
    const auto got = connection.socket.read(owner_.io().scratch);
    if (got.status == backend::io_status::again) {
        return;
    }
    auto step = relay::server_step::fine;
    if (!got.bytes.empty()) {
        std::string_view bytes = got.bytes;
        std::string joined;
        if (!server_held_.empty()) {
            joined = std::move(server_held_);
            server_held_.clear();
            joined.append(bytes);
            bytes = joined;
        }
        std::size_t consumed = 0;
        step = relay_->on_server(bytes, owner_.to_client, owner_.to_server, consumed);
        if (step == relay::server_step::fine && consumed < bytes.size()) {
            server_held_.assign(bytes.substr(consumed));
        }
        if (phase_ == phase::joining) {
            owner_.to_client.clear();
        }
        if (!flush()) {
            return;
        }
    }
    if (step != relay::server_step::fine || got.status != backend::io_status::ok) {
        std::string cause = "server closed the connection unexpectedly";
        if (step == relay::server_step::broken) {
            cause = "the server does not keep the protocol";
        } else if (got.status == backend::io_status::failed && step == relay::server_step::fine) {
            cause = system_text(connection.socket.error());
        }
        server_failed(cause);
        return;
    }
    if (relay_->setup_error() != nullptr && !relay_->is_blocked()) {
        setup_failed();
        return;
    }
    if (phase_ == phase::joining) {
        if (!relay_->is_blocked()) {
            on_joined();
        }
        return;
    }
    if (relay_->has_new_channels()) {
        set_channels();
    }
    if (relay_->has_new_examination()) {
        ask_for_examination();
    }
    note_activity();
    if (!account_memory()) {
        return;
    }
    if (!advance_units() || phase_ != phase::serving) {
        return;
    }
    if (const auto movable = relay_->take_movable()) {
        on_move_answer(*movable);
        if (phase_ != phase::serving) {
            return;
        }
    }
    // What the client has sent meanwhile comes first: the connection may have been made ready just
    // for that.
    if ((held_.empty() && maybe_release()) || !relay_->is_blocked()) {
        if (!held_.empty() || !client_.reading() || client_eof_ || lingering_ || draining_) {
            resume();
        }
    }
}

/// Goes on where something was waited for.
void session::resume() {
    if (phase_ == phase::joining) {
        if (server_ && !relay_->is_blocked()) {
            on_joined();
        }
        return;
    }
    if (phase_ != phase::serving) {
        return;
    }
    schedule_timer();
    if (relay_->has_new_examination()) {
        ask_for_examination();
    }
    if (!advance_units()) {
        return;
    }
    if (!held_.empty()) {
        pump({});
    }
    if (phase_ != phase::serving || !client_.is_open()) {
        return;
    }
    if (lingering_) {
        if (!relay_->goes_on_alone() && held_.empty() && ticket_ == 0 && !deciding_) {
            end_politely();
        }
        return;
    }
    if (should_pause()) {
        return;
    }
    if (draining_ && !relay_->is_busy() && !relay_->in_transaction()) {
        drain();
        return;
    }
    if (client_eof_) {
        // What is held is a message that will never be whole; and a batch without its Sync, or a
        // COPY without its end, would keep the server connection for ever.
        if (!is_under_way()) {
            client_gone("the client closed the connection");
        }
        return;
    }
    if (!client_.reading()) {
        client_.set_reading(true);
    }
}

wire::report session::server_gone_report(const std::string& cause) const {
    wire::report report{
        .severity = "ERROR",
        .sqlstate = std::string{wire::sqlstate::connection_failure},
        .message = "the connection to the server was lost: " + cause,
        .detail = {},
        .hint = relay_->in_transaction()
                    ? "The transaction was rolled back, unless its COMMIT was under way. Nothing "
                      "was repeated, and the next statement is outside of it."
                    : "The statement may or may not have been executed. It was not repeated."};
    if (!relay_->fatal_body().empty()) {
        if (const auto said = wire::parse_report(relay_->fatal_body())) {
            report.message = "the connection to the server was lost: " + std::string{said->message};
            report.detail = "The server said: " + std::string{said->severity} + " " +
                            std::string{said->sqlstate} + ": " + std::string{said->message};
        }
    }
    return report;
}

void session::server_failed(const std::string& cause) {
    auto report = server_gone_report(cause);
    log::warn(
        "server connection lost",
        {{"session", id_},
         {"user", pool_->user},
         {"database", pool_->database},
         {"cause", report.message}}
    );
    server_held_.clear();
    auto connection = std::move(server_);
    if (phase_ == phase::joining) {
        relay_->server_lost(report, owner_.to_client);
        owner_.to_client.clear();
        owner_.to_server.clear();
        pool_->pool->discard(std::move(connection));
        // The login's own statement was ours: another connection will do.
        if (acquire() && !relay_->is_blocked()) {
            on_joined();
        }
        return;
    }
    const auto said = wire::parse_report(relay_->fatal_body());
    // A FATAL about the protocol is about what this client has sent: it is the client's to end.
    const bool own_fault = !relay_->fatal_body().empty() && said &&
                           said->sqlstate == wire::sqlstate::protocol_violation;
    if (!relay_->carries_state() && !own_fault) {
        const auto outcome = relay_->server_lost(report, owner_.to_client);
        pool_->pool->discard(std::move(connection));
        begin_anew();
        if (!flush()) {
            return;
        }
        if (outcome == relay::loss::close_client) {
            finish();  // in the middle of a message: there is no place for an error
            return;
        }
        resume();
        return;
    }
    // The session's state is gone with the connection: it ends, as it would without a proxy.
    const bool mid_message = relay_->is_mid_message();
    const std::string body{relay_->fatal_body()};
    relay_->detach();
    pool_->pool->discard(std::move(connection));
    if (mid_message) {
        finish();
        return;
    }
    if (body.empty()) {
        report.severity = "FATAL";
        fatal(report);
        return;
    }
    auto out = last_words();
    wire::message_writer{out, wire::server_message::error_response}.bytes(body);
    if (send_to_client(out)) {
        begin_closing();
    }
}

/// The server does not take what the session has set: it cannot go on as itself.
void session::setup_failed() {
    std::string out;
    wire::write_edited_report(
        out,
        wire::server_message::error_response,
        *relay_->setup_error(),
        {.severity = "FATAL", .from = {}, .to = {}}
    );
    const auto said = wire::parse_report(*relay_->setup_error());
    log::info(
        "the server refused the session's parameters",
        {{"session", id_},
         {"user", pool_->user},
         {"database", pool_->database},
         {"cause", said ? said->message : std::string_view{}}}
    );
    if (send_to_client(out)) {
        begin_closing();
    }
}

/// True: the server connection went back.
bool session::maybe_release() {
    if (!server_ || !relay_->may_release() || cancels_ > 0 || server_->socket.has_pending() ||
        !server_held_.empty() || phase_ != phase::serving) {
        return false;
    }
    const bool hidden = relay_->may_hide_state();
    const auto* const state = relay_->detach();
    moving_.reset();
    if (state->doubtful || state->tainted) {
        pool_->pool->discard(std::move(server_));
    } else {
        owner_.release(std::move(server_), *pool_, hidden);
    }
    return true;
}

}  // namespace signalbox::proxy
