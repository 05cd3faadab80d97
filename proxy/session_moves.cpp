// A session whose connection was altered: it leaves the server connection that it holds for one to
// the new target, once it carries nothing there that would be lost.
#include "proxy/log.hpp"
#include "proxy/session.hpp"

namespace signalbox::proxy {
namespace {

/// How long a server that is to be left may take to say what the session has there.
constexpr auto last_word_timeout = std::chrono::seconds{5};

}  // namespace

void session::target_may_have_changed() {
    if (phase_ == phase::replicating) {
        replication_->target_may_have_changed();
        return;
    }
    if (!server_ || phase_ != phase::serving || moving_ ||
        server_->generation == pool_->pool->group().generation()) {
        return;
    }
    has_to_move_ = false;
    moving_ = std::make_unique<backend::timer>();
    moving_->start(
        owner_.io().loop,
        owner_.io().loop.now() + pool_->route->drain_timeout,
        [](void* self) { static_cast<session*>(self)->end_at_old_target(); },
        this
    );
    must_stay_ = false;
    ask_to_move();  // one that is idle need not hold the old target
}

/// A server connection of its own is left for one of the new target, where that can be. True: what
/// the client has sent has to wait for the old server's word.
bool session::try_to_move() {
    if (!server_) {
        moving_.reset();
        return false;
    }
    if (std::exchange(must_stay_, false)) {
        return false;  // it has just been asked
    }
    return ask_to_move();
}

/// True: the answer comes, with on_move_answer().
bool session::ask_to_move() {
    if (!relay_->may_move() || cancels_ > 0 || server_->socket.has_pending()) {
        return false;
    }
    relay_->begin_move(owner_.to_server);
    flush();
    return true;
}

void session::on_move_answer(bool movable) {
    // What the server says unasked may have come in part: then it is heard first.
    if (movable && server_held_.empty() && !relay_->is_mid_message()) {
        leave_server();
    } else if (has_to_move_) {
        end_at_old_target();
    } else {
        must_stay_ = true;  // for the statement that waits
    }
}

void session::leave_server() {
    relay_->detach();
    moving_.reset();
    pool_->pool->discard(std::move(server_));
}

/// drain_timeout is over.
void session::end_at_old_target() {
    if (!server_ || phase_ != phase::serving) {
        moving_.reset();
        return;
    }
    // An idle session that could go is told to; what keeps it is asked for first.
    if (!std::exchange(has_to_move_, true) && ask_to_move()) {
        moving_->start(
            owner_.io().loop,
            owner_.io().loop.now() + last_word_timeout,
            [](void* self) { static_cast<session*>(self)->end_at_old_target(); },
            this
        );
        return;
    }
    wire::report why{
        .severity = "ERROR",
        .sqlstate = std::string{wire::sqlstate::admin_shutdown},
        .message = "terminating connection to the old target of connection \"" +
                   server_->target().connection->name + "\"",
        .detail =
            "The connection was altered, and what ran on the old target did not end within "
            "drain_timeout.",
        .hint = {}};
    log::info(
        "the old target was left: drain_timeout is over",
        {{"session", id_}, {"user", pool_->user}, {"database", pool_->database}}
    );
    if (relay_->carries_state()) {
        why.severity = "FATAL";
        end(why);
        return;
    }
    moving_.reset();
    server_held_.clear();
    cancels_ = 0;
    auto connection = std::move(server_);
    const bool was_busy = relay_->is_busy();
    const auto outcome = relay_->server_lost(why, owner_.to_client);
    owner_.abandon(std::move(connection), *pool_, was_busy);
    begin_anew();
    if (!flush()) {
        return;
    }
    if (outcome == relay::loss::close_client) {
        finish();
        return;
    }
    resume();
}

}  // namespace signalbox::proxy
