// A session's limits: waiting for a server connection, timeouts, cancel, memory, and the end of the
// process.
#include "proxy/log.hpp"
#include "proxy/session.hpp"
#include "wire/messages.hpp"

#include <algorithm>

namespace signalbox::proxy {
namespace {

constexpr auto hold_notice_after = std::chrono::seconds{5};
/// How long a server has to end a statement that was cancelled because of query_timeout.
constexpr auto cancel_grace = std::chrono::seconds{5};

}  // namespace

/// A wait for a server connection has ended without one.
void session::fail_wait(wire::report why) {
    log::info(
        "no server connection",
        {{"session", id_},
         {"user", pool_->user},
         {"database", pool_->database},
         {"cause", why.message}}
    );
    if (phase_ == phase::joining) {
        why.severity = "FATAL";
        fatal(why);
        return;
    }
    relay_->fail_waiting(std::move(why), owner_.to_client);
    begin_anew();
    if (!flush()) {
        return;
    }
    if (!in_pump_) {
        resume();
    }
}

void session::query_wait_tick() {
    const auto now = owner_.io().loop.now();
    const auto waited = now - waiting_since_;
    const auto& group = pool_->pool->group();
    const auto& route = *pool_->route;
    const bool down = group.is_down();
    if (down && phase_ == phase::joining && knows_profile()) {
        pool_->pool->cancel_wait(std::exchange(ticket_, 0));
        join_without_server();
        return;
    }
    if (down && !wait_noticed_ && waited >= hold_notice_after && phase_ == phase::serving &&
        !relay_->is_mid_message()) {
        wait_noticed_ = true;
        const auto why = group.last_failure();
        std::string notice;
        wire::write_notice_response(
            notice,
            {.severity = "NOTICE",
             .sqlstate = std::string{wire::sqlstate::successful_completion},
             .message = "waiting for the server: " + why.message,
             .detail = why.detail,
             .hint = {}}
        );
        if (!send_to_client(notice)) {
            return;
        }
    }
    const auto limit = down ? route.hold_timeout : route.query_wait_timeout;
    if ((limit.count() > 0 || down) && waited >= limit) {
        pool_->pool->cancel_wait(std::exchange(ticket_, 0));
        if (down) {
            const auto why = group.last_failure();
            const auto status = owner_.shared().statuses.describe_status(route.connection);
            fail_wait(
                {.severity = "ERROR",
                 .sqlstate = std::string{wire::sqlstate::cannot_connect_now},
                 .message = "the server is not reachable: " + why.message,
                 .detail = why.detail + " Waited " +
                           std::to_string(
                               std::chrono::duration_cast<std::chrono::milliseconds>(waited).count()
                           ) +
                           " ms." + (status.empty() ? "" : " " + status),
                 .hint = {}}
            );
        } else {
            fail_wait(
                {.severity = "ERROR",
                 .sqlstate = std::string{wire::sqlstate::too_many_connections},
                 .message = "no server connection became free in time",
                 .detail = "All " + std::to_string(route.pool_size) +
                           " server connections of database \"" + pool_->database +
                           "\" and user \"" + pool_->user + "\" are busy.",
                 .hint = "Raise pool_size or query_wait_timeout of the route."}
            );
        }
        return;
    }
    // The health of the target may change at any time: it is looked at once in a while.
    auto next = now + std::chrono::seconds{1};
    for (const auto candidate :
         {route.hold_timeout, route.query_wait_timeout, duration{hold_notice_after}}) {
        if (candidate.count() > 0 && waiting_since_ + candidate > now) {
            next = std::min(next, waiting_since_ + candidate);
        }
    }
    timer_.start(
        owner_.io().loop, next, [](void* self) { static_cast<session*>(self)->on_timer(); }, this
    );
}

/// What this session's buffers add to those of all. False: together they are over max_memory, and
/// it has ended, since it was the one that wanted more.
bool session::account_memory() {
    const auto limit = owner_.current()->config().listen.max_memory;
    if (limit == 0 && accounted_ == 0) {
        return true;
    }
    const auto now = held_.size() + server_held_.size() + client_.pending_bytes() +
                     (server_ ? server_->socket.pending_bytes() : 0) +
                     (replication_ ? replication_->pending_bytes() : 0);
    auto& all = owner_.shared().buffered_bytes;
    const bool grown = now > accounted_;
    all += now;
    all -= std::exchange(accounted_, now);
    if (limit == 0 || !grown || all.load() <= limit ||
        (phase_ != phase::serving && phase_ != phase::replicating)) {
        return true;
    }
    end(
        {.severity = "FATAL",
         .sqlstate = std::string{wire::sqlstate::out_of_memory},
         .message = "out of memory for the buffers of all sessions",
         .detail = "This session wanted to hold " + std::to_string(now) + " bytes.",
         .hint = "The limit is max_memory in the section [listen]."}
    );
    return false;
}

/// What the timeouts count from. Costs nothing where none is set.
void session::note_activity() {
    if (!has_timeouts_) {
        return;
    }
    const auto now = owner_.io().loop.now();
    const bool busy = relay_->is_busy() || ticket_ != 0;
    const bool in_block = relay_->in_transaction();
    if (busy && !was_busy_) {
        busy_since_ = now;
        query_cancelled_ = false;
    }
    if (!busy && was_busy_) {
        idle_since_ = now;
    }
    if ((busy || in_block) && !was_in_block_) {
        block_since_ = now;
    }
    was_busy_ = busy;
    was_in_block_ = busy || in_block;
    if (!busy && std::exchange(query_cancelled_, false)) {
        schedule_timer(
        );  // it was set for the end of the cancel, which may be later than the next limit
    }
}

/// What the client asked for has ended by an error of ours. What it has sent behind it begins now,
/// with limits of its own.
void session::begin_anew() {
    was_busy_ = false;
    query_cancelled_ = false;
    note_activity();
}

void session::schedule_timer() {
    if (ticket_ != 0) {
        query_wait_tick();
        return;
    }
    timer_.cancel();
    if (!has_timeouts_) {
        return;
    }
    // The earliest time at which any limit could be reached; states that begin later end later.
    const auto now = owner_.io().loop.now();
    auto next = backend::time_point::max();
    const auto consider = [&](duration limit, bool active, backend::time_point since) {
        if (limit.count() > 0) {
            next = std::min(next, (active ? since : now) + limit);
        }
    };
    const auto& r = *pool_->route;
    if (was_busy_ && query_cancelled_) {
        next = cancelled_at_ + cancel_grace;
    } else {
        consider(r.query_timeout, was_busy_, busy_since_);
    }
    consider(r.transaction_timeout, was_in_block_, block_since_);
    consider(r.idle_transaction_timeout, !was_busy_ && was_in_block_, idle_since_);
    consider(r.client_idle_timeout, !was_busy_ && !was_in_block_, idle_since_);
    timer_.start(
        owner_.io().loop,
        std::max(next, now + std::chrono::milliseconds{1}),
        [](void* self) { static_cast<session*>(self)->on_timer(); },
        this
    );
}

void session::on_timer() {
    if (phase_ == phase::joining && ticket_ != 0) {
        query_wait_tick();
        return;
    }
    if (phase_ != phase::serving) {
        if (login_) {
            log::info(
                "login refused",
                {{"session", id_}, {"address", login_->address()}, {"cause", "startup_timeout"}}
            );
        }
        finish();
        return;
    }
    if (ticket_ != 0) {
        query_wait_tick();
        return;
    }
    const auto now = owner_.io().loop.now();
    const auto& r = *pool_->route;
    if (relay_->is_commanding()) {
        busy_since_ = now;  // it has limits of its own, and there is nothing to cancel
    }
    const auto due = [now](duration limit, backend::time_point since) {
        return limit.count() > 0 && now >= since + limit;
    };
    const auto expire = [this](std::string_view sqlstate, std::string message) {
        end(
            {.severity = "FATAL",
             .sqlstate = std::string{sqlstate},
             .message = std::move(message),
             .detail = {},
             .hint = {}}
        );
    };
    if (was_in_block_ && due(r.transaction_timeout, block_since_)) {
        expire(
            wire::sqlstate::transaction_timeout, "terminating connection due to transaction timeout"
        );
        return;
    }
    if (!was_busy_ && was_in_block_ && due(r.idle_transaction_timeout, idle_since_)) {
        expire(
            wire::sqlstate::idle_in_transaction_timeout,
            "terminating connection due to idle-in-transaction timeout"
        );
        return;
    }
    if (!was_busy_ && !was_in_block_ && due(r.client_idle_timeout, idle_since_)) {
        expire(
            wire::sqlstate::idle_session_timeout,
            "terminating connection due to idle-session timeout"
        );
        return;
    }
    if (was_busy_ && query_cancelled_ && server_ && now >= cancelled_at_ + cancel_grace) {
        cancels_ = 0;  // a call that is still under way finds nothing to do
        server_failed("it did not answer a cancel request (query_timeout)");
        return;
    }
    if (was_busy_ && !query_cancelled_ && due(r.query_timeout, busy_since_)) {
        query_cancelled_ = true;
        cancelled_at_ = now;
        log::info(
            "query_timeout: statement cancelled",
            {{"session", id_}, {"user", pool_->user}, {"database", pool_->database}}
        );
        cancel_statement([] {});
    }
    if (phase_ == phase::serving) {
        schedule_timer();
    }
}

bool session::has_key(const wire::backend_key_data& key) const noexcept {
    return key.process_id == key_.process_id && key.secret.size() == key_.secret.size() &&
           CRYPTO_memcmp(key.secret.data(), key_.secret.data(), key_.secret.size()) == 0;
}

bool session::cancel_statement(std::function<void()> finished) {
    if (phase_ == phase::serving &&
        ticket_ != 0) {  // it waits for a server connection: nothing has been sent
        pool_->pool->cancel_wait(std::exchange(ticket_, 0));
        fail_wait(
            {.severity = "ERROR",
             .sqlstate = std::string{wire::sqlstate::query_canceled},
             .message = "canceling statement due to user request",
             .detail = "It was waiting for a server connection.",
             .hint = {}}
        );
        finished();
        return true;
    }
    if (phase_ == phase::replicating) {
        return replication_->cancel(std::move(finished));
    }
    if (phase_ != phase::serving || !relay_->is_busy()) {
        return false;
    }
    relay_->note_cancel();
    if (!server_) {  // a statement of ours is carried out: it is not broken off, but is the last
        finished();
        return true;
    }
    ++cancels_;
    owner_.cancel(
        *server_,
        [&owner = owner_, id = id_, finished = std::move(finished)](bool is_settled) {
            if (auto* const self = owner.find_session(id); self != nullptr) {
                self->cancel_finished(is_settled);
            }
            finished();
        }
    );
    return true;
}

void session::cancel_finished(bool is_settled) {
    if (cancels_ == 0) {
        return;
    }
    --cancels_;
    if (!is_settled && server_) {
        state_of(*server_).doubtful = true;  // no other session's statement may be hit
    }
    if (phase_ == phase::serving && cancels_ == 0) {
        resume();
        if (phase_ == phase::serving) {
            maybe_release();
        }
    }
}

void session::drain() {
    draining_ = true;
    if (phase_ == phase::closing) {
        return;
    }
    if (phase_ == phase::serving &&
        (relay_->is_busy() || relay_->in_transaction() || cancels_ > 0)) {
        return;  // it ends when that has ended
    }
    wire::report why{
        .severity = "FATAL",
        .sqlstate = std::string{wire::sqlstate::admin_shutdown},
        .message = "terminating connection due to administrator command",
        .detail = {},
        .hint = {}};
    if (phase_ == phase::replicating) {
        replication_->end_soon(std::move(why));
    } else {
        end(why);
    }
}

void session::end_if_on(const pool_entry& removed) {
    if (pool_ == &removed &&
        (phase_ == phase::serving || phase_ == phase::joining || phase_ == phase::replicating)) {
        drain();
    }
}

}  // namespace signalbox::proxy
