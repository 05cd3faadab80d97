// How a session ends: on the client's word, on its silence, on an error or with the process; and
// what becomes of its server connection.
#include "proxy/log.hpp"
#include "proxy/session.hpp"
#include "wire/messages.hpp"

#include <sys/socket.h>

namespace signalbox::proxy {
namespace {

constexpr auto closing_timeout = std::chrono::seconds{2};
/// What a client has asked for before its Terminate may take this long behind it.
constexpr auto linger_timeout = std::chrono::seconds{5};

}  // namespace

/// PostgreSQL does what stands before a Terminate, and nobody has to listen. From here on the
/// client's socket is not looked at, and nothing is written to it. What takes long is cancelled, as
/// for any client that has gone.
void session::linger() {
    lingering_ = std::make_unique<backend::timer>();
    lingering_->start(
        owner_.io().loop,
        owner_.io().loop.now() + linger_timeout,
        [](void* self) { static_cast<session*>(self)->finish(); },
        this
    );
    client_.detach();
    if (server_) {
        server_->socket.set_reading(true);
    }
    note_activity();
}

/// The end that the client has asked for. Over TLS it is a clean one, never a reset.
void session::end_politely() {
    if (std::exchange(lingering_, nullptr)) {
        client_.attach(owner_.io().loop, *this);
    }
    if (client_.tls() != nullptr || client_.has_pending()) {
        begin_closing();
    } else {
        finish();
    }
}

void session::client_gone(std::string_view cause) {
    if (phase_ == phase::serving && (relay_->is_busy() || relay_->in_transaction())) {
        log::info(
            "client gone while something was under way",
            {{"session", id_},
             {"user", pool_->user},
             {"database", pool_->database},
             {"cause", cause}}
        );
    }
    finish();
}

void session::fatal(const wire::report& why) {
    if (phase_ == phase::closing) {
        return;
    }
    if (phase_ != phase::tls_handshake) {
        std::string out = last_words();
        wire::write_error_response(out, why);
        if (!client_.write(out, owner_.io().scratch)) {
            finish();
            return;
        }
    }
    begin_closing();
}

/// What the client is owed before it is told that the session ends.
std::string session::last_words() {
    outbox owed;
    if (relay_) {
        relay_->finish_examination(owed);
    }
    return std::string{owed.data()};
}

void session::end(const wire::report& why) {
    if (phase_ == phase::serving || phase_ == phase::replicating) {
        log::info(
            "session ended",
            {{"session", id_},
             {"user", pool_->user},
             {"database", pool_->database},
             {"cause", why.message}}
        );
    }
    if ((relay_ && relay_->is_mid_message()) || (replication_ && replication_->is_mid_message())) {
        finish();
        return;
    }
    fatal(why);
}

void session::close_quietly() {
    if (phase_ != phase::closing) {
        begin_closing();
    }
}

/// Everything has been said: what is pending is sent, then our side is closed, and what the client
/// still sends is read and dropped. Closing with unread input would reset the connection, and the
/// client might lose our last words.
void session::begin_closing() {
    give_back_server();
    leave_counts();
    phase_ = phase::closing;
    wire::free_buffer(held_);
    timer_.start(
        owner_.io().loop,
        owner_.io().loop.now() + closing_timeout,
        [](void* self) { static_cast<session*>(self)->finish(); },
        this
    );
    if (client_eof_ && !client_.has_pending()) {
        finish();
        return;
    }
    client_.shut_down(owner_.io().scratch);
    client_.set_reading(true);
}

void session::finish() {
    if (!client_.is_open()) {
        return;
    }
    give_back_server();
    phase_ = phase::closing;
    timer_.cancel();
    client_.close();
    owner_.remove_session(*this);
}

void session::give_back_server() {
    if (!key_.secret.empty()) {
        owner_.forget_key(std::exchange(key_, {}));
    }
    if (ticket_ != 0) {
        pool_->pool->cancel_wait(std::exchange(ticket_, 0));
    }
    if (replication_) {
        replication_->close();
    }
    if (!server_) {
        return;
    }
    auto connection = std::move(server_);
    const bool busy = relay_->is_busy();
    const bool doubtful = relay_->is_doubtful() || connection->socket.has_pending() ||
                          !server_held_.empty() || cancels_ > 0;
    const bool dirty = relay_->carries_state() || relay_->may_have_state();
    const bool in_block = relay_->in_transaction();
    const bool hidden = relay_->may_hide_state();
    relay_->detach();
    if (busy || doubtful) {
        owner_.abandon(std::move(connection), *pool_, busy);
    } else if (dirty || in_block) {
        owner_.clean(std::move(connection), *pool_, dirty || hidden);
    } else {
        owner_.release(std::move(connection), *pool_, hidden);
    }
}

}  // namespace signalbox::proxy
