#include "backend/notification_hub.hpp"

#include "wire/error_response.hpp"
#include "wire/framing.hpp"
#include "wire/limits.hpp"

#include <algorithm>
#include <system_error>

namespace signalbox::backend {
namespace {

constexpr auto first_backoff = std::chrono::milliseconds{100};
constexpr auto last_backoff = std::chrono::milliseconds{2'000};
/// How long a silent connection is believed in, and how long the answer may take.
constexpr auto longest_silence = std::chrono::seconds{30};
constexpr auto answer_timeout = std::chrono::seconds{10};
/// A connection that nobody needs is kept for the next one for so long.
constexpr auto longest_unused = std::chrono::seconds{10};

/// Being idle is what this connection is for. A server before PostgreSQL 14 has no such parameter,
/// and a SET would leave an error in its log.
constexpr std::string_view never_idle =
    "SELECT pg_catalog.set_config(name, '0', false) FROM pg_catalog.pg_settings "
    "WHERE name = 'idle_session_timeout'";

std::string failure_text(const stream& socket) {
    return socket.error() == 0 ? std::string{"TLS error"}
                               : std::generic_category().message(socket.error());
}

}  // namespace

notification_hub::notification_hub(
    std::shared_ptr<pool_group> group,
    std::string client_encoding,
    io_context& io,
    notification_hooks& hooks
)
    : group_(std::move(group)),
      client_encoding_(std::move(client_encoding)),
      io_(io),
      hooks_(hooks) {}

notification_hub::~notification_hub() {
    disconnect();
}

void notification_hub::set_channels(
    std::size_t worker,
    std::uint64_t session,
    std::vector<std::string> channels,
    std::uint64_t request
) {
    subscriptions_.set_channels(worker, session, std::move(channels), request);
    if (subscriptions_.empty()) {
        unused_since_ = io_.loop.now();
    }
    pump();
}

/// Says what can be said now, to the sessions and to the server.
void notification_hub::pump() {
    tell_due();
    if (phase_ == phase::closed && !subscriptions_.empty()) {
        connect();
    } else if (phase_ == phase::open) {
        std::string queries;
        const bool was_asking = is_asking();
        if (subscriptions_.next_batch(queries)) {
            if (!was_asking) {
                quiet_since_ = io_.loop.now();
            }
            send(queries);
        } else if (!was_asking) {
            failures_ = 0;
            if (std::exchange(is_lost_, false)) {
                hooks_.on_listener_back(*target_);
            }
        }
    }
}

void notification_hub::tell_due() {
    for (const auto& done : subscriptions_.take_due()) {
        hooks_.on_channels_set(done.worker, done.request, done.ok);
    }
}

void notification_hub::ask(std::string& queries, std::string_view sql) {
    if (!is_asking()) {
        quiet_since_ = io_.loop.now();
    }
    ++own_questions_;
    wire::write_query(queries, sql);
}

bool notification_hub::send(std::string_view queries) {
    if (connection_->socket.write(queries, io_.scratch)) {
        return true;
    }
    lost(failure_text(connection_->socket));
    return false;
}

// ---- the connection

void notification_hub::connect() {
    auto opening = group_->current();
    generation_ = opening.generation;
    auto target = std::make_shared<server_target>(*opening.target);
    target->parameters.emplace_back("application_name", "signalbox listener");
    if (!client_encoding_.empty()) {
        target->parameters.emplace_back("client_encoding", client_encoding_);
    }
    target_ = std::move(target);
    phase_ = phase::connecting;
    connection_ =
        std::make_unique<server_connection>(io_, target_, std::move(opening.credentials), *this);
    connection_->start();
}

void notification_hub::disconnect() {
    retry_.cancel();
    const bool was_open = std::exchange(phase_, phase::closed) == phase::open;
    own_questions_ = 0;
    wire::free_buffer(input_);
    subscriptions_.on_lost();
    if (!connection_) {
        return;
    }
    connection_->set_user(nullptr);
    if (was_open) {
        connection_->terminate(io_.scratch);
    } else {
        connection_->socket.close();
    }
    // The caller may be one of its events.
    auto dead = std::make_shared<connection_ptr>(std::move(connection_));
    io_.loop.defer([dead] { dead->reset(); });
}

void notification_hub::lost(const std::string& cause) {
    disconnect();
    if (!std::exchange(is_lost_, true)) {
        hooks_.on_listener_lost(*target_, cause);
    }
    if (!subscriptions_.empty()) {
        retry();
    }
}

void notification_hub::retry() {
    const auto backoff = std::min<std::chrono::milliseconds>(
        last_backoff, first_backoff * (1U << std::min(failures_, 8U))
    );
    ++failures_;
    phase_ = phase::waiting;
    retry_.start(
        io_.loop,
        clock::now() + backoff,
        [](void* self) {
            auto& hub = *static_cast<notification_hub*>(self);
            hub.phase_ = phase::closed;
            hub.pump();
        },
        this
    );
}

void notification_hub::on_connected(server_connection& connection) {
    phase_ = phase::open;
    ++epoch_;
    connection.set_user(this);
    connection.socket.set_reading(true);
    std::string queries;
    ask(queries, never_idle);
    if (send(queries)) {
        pump();
    }
}

void notification_hub::on_connect_failed(server_connection&, const connect_failure& why) {
    lost(why.message);
    if (!why.unreachable) {
        subscriptions_.refuse_waiting();
        tell_due();
    }
}

void notification_hub::maintain() {
    if (phase_ == phase::closed) {
        return;
    }
    const auto now = io_.loop.now();
    if (group_->generation() != generation_) {
        disconnect();
        failures_ = 0;
        pump();
    } else if (subscriptions_.empty() && (phase_ != phase::open || now - unused_since_ > longest_unused)) {
        disconnect();
        is_lost_ = false;
        failures_ = 0;
    } else if (phase_ == phase::open && is_asking()) {
        if (now - quiet_since_ > answer_timeout) {
            lost("the server does not answer");
        }
    } else if (phase_ == phase::open && now - quiet_since_ > longest_silence) {
        std::string question;
        ask(question, "");
        send(question);
    }
}

// ---- what the server says

void notification_hub::on_server_events(server_connection& connection, std::uint32_t events) {
    if ((events & EPOLLOUT) != 0 && !connection.socket.flush()) {
        lost(failure_text(connection.socket));
        return;
    }
    if ((events & ~static_cast<std::uint32_t>(EPOLLOUT)) == 0) {
        return;
    }
    const auto got = connection.socket.read(io_.scratch);
    if (got.status == io_status::again) {
        return;
    }
    quiet_since_ = io_.loop.now();
    auto cause = on_bytes(got.bytes);
    if (cause.empty() && got.status == io_status::closed) {
        cause = "server closed the connection unexpectedly";
    } else if (cause.empty() && got.status == io_status::failed) {
        cause = failure_text(connection.socket);
    }
    if (cause.empty()) {
        pump();
    } else {
        lost(cause);
    }
}

std::string notification_hub::on_bytes(std::string_view bytes) {
    input_.append(bytes);
    std::size_t at = 0;
    while (true) {
        const auto next = wire::first_message(std::string_view{input_}.substr(at));
        if (next.is_broken()) {
            return "the server sent a message of a bad length";
        }
        if (next.is_partial()) {
            break;
        }
        auto cause = on_message(std::string_view{input_}.substr(at, next.size));
        if (!cause.empty()) {
            return cause;
        }
        at += next.size;
    }
    if (at == input_.size()) {
        wire::free_buffer(input_);
    } else {
        input_.erase(0, at);
    }
    return {};
}

std::string notification_hub::on_message(std::string_view message) {
    namespace sm = wire::server_message;
    const auto body = message.substr(wire::header_bytes);
    switch (message[0]) {
        case sm::notification_response:
            return on_notification(message, body);
        case sm::command_complete:
            if (own_questions_ == 0) {
                subscriptions_.on_complete();
                tell_due();  // before what is notified behind it
            }
            return {};
        case sm::error_response:
            return on_error(body);
        case sm::ready_for_query:
            if (own_questions_ > 0) {
                --own_questions_;
            } else {
                subscriptions_.on_ready();
            }
            return {};
        case sm::row_description:
        case sm::data_row:
        case sm::empty_query_response:
        case sm::notice_response:
        case sm::parameter_status:
            return {};
        default:
            return "the server sent a message that was not expected";
    }
}

std::string notification_hub::on_error(std::string_view body) {
    const auto said = wire::parse_report(body);
    if (!said || said->is_fatal()) {
        return said ? std::string{said->message} : "the server sent a malformed error";
    }
    if (own_questions_ == 0 && !subscriptions_.on_error()) {
        return std::string{said->message};
    }
    tell_due();
    return {};
}

std::string notification_hub::on_notification(std::string_view message, std::string_view body) {
    const auto heard = wire::parse_notification(body);
    if (!heard) {
        return "the server sent a malformed notification";
    }
    const auto& audiences = subscriptions_.audiences(heard->channel);
    if (audiences.empty()) {
        return {};  // the last one has just left
    }
    const auto shared = std::make_shared<const notification>(message, epoch_);
    for (const auto& each : audiences) {
        hooks_.on_heard(each.worker, each.sessions, shared);
    }
    return {};
}

}  // namespace signalbox::backend
