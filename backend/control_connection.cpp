#include "backend/control_connection.hpp"

#include "wire/error_response.hpp"
#include "wire/framing.hpp"
#include "wire/messages.hpp"

#include <sys/epoll.h>

namespace signalbox::backend {
namespace {

constexpr std::size_t blocking_stack = std::size_t{1} << 20U;
/// Of one message: a view's definition can be long.
constexpr std::size_t max_row_bytes = std::size_t{64} << 20U;

}  // namespace

control_connection::control_connection(
    std::shared_ptr<const server_target> target,
    server_credentials credentials,
    std::chrono::milliseconds timeout
)
    : timeout_(timeout),
      workers_(1, blocking_stack),
      io_{loop_, scratch_, workers_, names_},
      connection_(
          std::make_unique<server_connection>(io_, std::move(target), std::move(credentials), *this)
      ) {}

void control_connection::connect() {
    connection_->start();
    run();
}

void control_connection::interrupt() {
    loop_.post([this] { fail("it was interrupted", false); });
}

control_connection::~control_connection() {
    if (connection_ && is_connected_) {
        connection_->set_user(nullptr);
        connection_->terminate(scratch_);
    }
}

/// Until it is done. Throws what has gone wrong.
void control_connection::run() {
    is_done_ = false;
    deadline_.start(
        loop_,
        clock::now() + timeout_,
        [](void* self) {
            static_cast<control_connection*>(self)->fail("no answer in time", false);
        },
        this
    );
    if (!is_done_) {
        loop_.run();
    }
    deadline_.cancel();
    if (error_) {
        const auto met = *std::exchange(error_, std::nullopt);
        if (!met.is_refusal()) {
            is_connected_ = false;
        }
        throw control_error{met};
    }
}

void control_connection::fail(const std::string& why, bool is_refusal) {
    if (!error_) {
        error_.emplace(why, is_refusal);
    }
    is_done_ = true;
    loop_.stop();
}

void control_connection::on_connected(server_connection& connection) {
    is_connected_ = true;
    connection.set_user(this);
    is_done_ = true;
    loop_.stop();
}

void control_connection::on_connect_failed(
    server_connection& /*connection*/, const connect_failure& why
) {
    fail(why.message, false);
}

std::vector<control_connection::row> control_connection::query(std::string_view sql) {
    if (!is_connected_) {
        throw control_error{"the connection was lost", false};
    }
    rows_.clear();
    std::string request;
    wire::write_query(request, sql);
    connection_->socket.set_reading(true);
    if (!connection_->socket.write(request, scratch_)) {
        is_connected_ = false;
        throw control_error{"the connection was lost", false};
    }
    run();
    return std::move(rows_);
}

void control_connection::on_server_events(server_connection& connection, std::uint32_t events) {
    if ((events & EPOLLOUT) != 0 && !connection.socket.flush()) {
        fail("the connection was lost", false);
        return;
    }
    if ((events & ~static_cast<std::uint32_t>(EPOLLOUT)) == 0) {
        return;
    }
    const auto got = connection.socket.read(scratch_);
    if (got.status == io_status::again) {
        return;
    }
    if (!on_bytes(got.bytes) || (got.status != io_status::ok && !is_done_)) {
        fail("the connection was lost", false);
    }
}

bool control_connection::on_bytes(std::string_view bytes) {
    namespace sm = wire::server_message;
    input_.append(bytes);
    std::size_t at = 0;
    while (true) {
        const auto message =
            wire::first_message(std::string_view{input_}.substr(at), max_row_bytes);
        if (message.is_broken()) {
            return false;
        }
        if (message.is_partial()) {
            break;
        }
        at += message.size;
        const auto type = message.type;
        const auto body = message.body;
        if (type == sm::data_row) {
            std::vector<std::optional<std::string_view>> fields;
            if (!wire::parse_data_row(body, fields)) {
                return false;
            }
            auto& kept = rows_.emplace_back();
            for (const auto& field : fields) {
                kept.push_back(field ? std::optional{std::string{*field}} : std::nullopt);
            }
        } else if (type == sm::error_response) {
            const auto said = wire::parse_report(body);
            if (!said || said->is_fatal()) {
                return false;
            }
            error_.emplace(std::string{said->message}, true);
        } else if (type == sm::ready_for_query) {
            is_done_ = true;
            loop_.stop();
        }
    }
    input_.erase(0, at);
    return true;
}

}  // namespace signalbox::backend
