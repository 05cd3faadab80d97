#include "proxy/replication.hpp"

#include "proxy/log.hpp"
#include "proxy/session.hpp"
#include "proxy/worker.hpp"
#include "wire/messages.hpp"

#include <system_error>

namespace signalbox::proxy {

replication::replication(session& owner, worker& home, pool_entry& pool)
    : owner_(owner), home_(home), pool_(pool), traffic_(pool.relay.max_message_size) {}

replication::~replication() = default;

void replication::start(startup_parameters parameters) {
    auto opening = pool_.pool->group().current();
    auto target = std::make_shared<backend::server_target>(*opening.target);
    target->parameters = std::move(parameters);
    server_ = std::make_unique<backend::server_connection>(
        home_.io(), std::move(target), std::move(opening.credentials), *this
    );
    server_->generation = opening.generation;
    server_->start();
}

void replication::on_connected(backend::server_connection& connection) {
    open_ = true;
    connection.set_user(this);
    owner_.serve_replication(connection);
}

void replication::on_connect_failed(
    backend::server_connection& /*connection*/, const backend::connect_failure& why
) {
    const bool is_silent = why.sqlstate.empty();
    owner_.end(
        {.severity = "FATAL",
         .sqlstate = is_silent ? std::string{wire::sqlstate::cannot_connect_now} : why.sqlstate,
         .message = (is_silent ? "the server is not reachable: " : "") + why.message,
         .detail = why.detail,
         .hint = {}}
    );
}

bool replication::should_pause() const noexcept {
    return !open_ || (server_ && server_->socket.has_pending());
}

void replication::on_client(std::string_view bytes) {
    if (!server_) {
        return;
    }
    const auto passed = traffic_.on_client(bytes);
    if (passed > 0 && !server_->socket.write(bytes.substr(0, passed), home_.io().scratch)) {
        // What the server has said before it went may still be there to read.
        server_->socket.set_reading(true);
        return;
    }
    if (!traffic_.refusal().empty()) {
        log::info(
            "client broke the protocol",
            {{"session", owner_.id()},
             {"user", pool_.user},
             {"database", pool_.database},
             {"cause", traffic_.refusal()}}
        );
        owner_.end(
            {.severity = "FATAL",
             .sqlstate =
                 std::string{
                     traffic_.is_too_long() ? wire::sqlstate::program_limit_exceeded
                                            : wire::sqlstate::protocol_violation},
             .message = traffic_.refusal(),
             .detail = {},
             .hint = traffic_.is_too_long()
                         ? "The limit is max_message_size in the section [listen]."
                         : ""}
        );
        return;
    }
    if (server_->socket.has_pending()) {
        owner_.client_.set_reading(false);
    }
    owner_.account_memory();
}

void replication::client_drained() {
    if (server_) {
        server_->socket.set_reading(true);
    }
}

void replication::on_server_events(backend::server_connection& connection, std::uint32_t events) {
    auto& socket = connection.socket;
    if ((events & EPOLLOUT) != 0 && socket.flush() && !socket.has_pending()) {
        owner_.client_.set_reading(true);
    }
    if ((events & ~static_cast<std::uint32_t>(EPOLLOUT)) == 0) {
        return;
    }
    if (!socket.reading() && (events & (EPOLLHUP | EPOLLERR)) == 0) {
        if ((events & EPOLLRDHUP) != 0) {
            socket.mask_hang_up();
        }
        return;
    }
    const auto got = socket.read(home_.io().scratch);
    if (got.status == backend::io_status::again) {
        return;
    }
    if (!got.bytes.empty()) {
        pass_to_client(got.bytes);
        if (!server_) {
            return;
        }
    }
    if (traffic_.is_broken()) {
        server_gone("the server does not keep the protocol");
    } else if (got.status == backend::io_status::closed) {
        server_gone("server closed the connection unexpectedly");
    } else if (got.status == backend::io_status::failed) {
        server_gone(
            socket.error() == 0 ? std::string{"TLS error"}
                                : std::generic_category().message(socket.error())
        );
    } else if (ending_ && may_end()) {
        owner_.end(*ending_);
    }
}

void replication::pass_to_client(std::string_view bytes) {
    // A stream that is to end does so where a message does; what follows is dropped.
    const bool cuts = ending_ && traffic_.is_streaming() && traffic_.is_mid_message();
    const auto passed = bytes.substr(0, traffic_.on_server(bytes, cuts));
    if (!owner_.send_to_client(passed)) {
        return;
    }
    if (owner_.client_.has_pending()) {
        server_->socket.set_reading(false);
    }
    owner_.account_memory();
}

/// The server's last words have been passed: none of ours behind them.
void replication::server_gone(const std::string& cause) {
    const char last = traffic_.last_of_server();
    const bool has_ended = last == wire::server_message::error_response ||
                           last == wire::server_message::command_complete;
    if (!traffic_.is_mid_message() && (has_ended || traffic_.has_said_goodbye())) {
        owner_.end_politely();
        return;
    }
    log::warn(
        "server connection lost",
        {{"session", owner_.id()},
         {"user", pool_.user},
         {"database", pool_.database},
         {"cause", cause}}
    );
    owner_.end(
        {.severity = "FATAL",
         .sqlstate = std::string{wire::sqlstate::connection_failure},
         .message = "the connection to the server was lost: " + cause,
         .detail = {},
         .hint = {}}
    );
}

bool replication::cancel(std::function<void()> finished) {
    if (!server_ || !open_) {
        return false;
    }
    home_.cancel(*server_, [finished = std::move(finished)](bool) { finished(); });
    return true;
}

bool replication::may_end() const noexcept {
    return !traffic_.is_mid_message() && (traffic_.is_streaming() || !traffic_.is_busy());
}

void replication::end_soon(wire::report why) {
    ending_ = std::move(why);
    if (may_end()) {
        owner_.end(*ending_);
    }
}

wire::report replication::old_target_report() const {
    return {
        .severity = "FATAL",
        .sqlstate = std::string{wire::sqlstate::admin_shutdown},
        .message = "terminating connection to the old target of connection \"" +
                   server_->target().connection->name + "\"",
        .detail = "The connection was altered.",
        .hint = {}};
}

void replication::target_may_have_changed() {
    if (!server_ || deadline_.running() ||
        server_->generation == pool_.pool->group().generation()) {
        return;
    }
    deadline_.start(
        home_.io().loop,
        home_.io().loop.now() + pool_.route->drain_timeout,
        [](void* self) {
            auto& r = *static_cast<replication*>(self);
            r.owner_.end(r.old_target_report());
        },
        this
    );
    end_soon(old_target_report());
}

void replication::close() {
    deadline_.cancel();
    if (!server_) {
        return;
    }
    // A walsender that streams sees the end of its connection by itself.
    const bool has_work = open_ && traffic_.is_busy() && !traffic_.is_streaming();
    if (!open_) {
        server_->socket.close();  // a Terminate has no place in a login
    }
    home_.close_unpooled(std::move(server_), has_work);
}

}  // namespace signalbox::proxy
