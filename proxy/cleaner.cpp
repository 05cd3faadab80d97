#include "proxy/cleaner.hpp"

#include "proxy/relay.hpp"
#include "proxy/worker.hpp"
#include "wire/error_response.hpp"
#include "wire/framing.hpp"
#include "wire/messages.hpp"

namespace signalbox::proxy {
namespace {
constexpr auto cleaning_timeout = std::chrono::seconds{10};
}

cleaner::cleaner(
    backend::io_context& io,
    std::unique_ptr<backend::server_connection> connection,
    std::vector<std::string_view> queries
)
    : io_(io), connection_(std::move(connection)), queries_(std::move(queries)) {}

void cleaner::start() {
    auto& state = state_of(*connection_);
    std::string queries;
    if (state.status != 'I') {
        wire::write_query(queries, "ROLLBACK");
        ++ready_left_;
    }
    for (const auto sql : queries_) {
        wire::write_query(queries, sql);
        ++ready_left_;
    }
    state.unnamed = 0;  // every simple Query drops it
    connection_->set_user(this);
    connection_->socket.set_reading(true);
    deadline_.start(
        io_.loop,
        io_.loop.now() + cleaning_timeout,
        [](void* self) { static_cast<cleaner*>(self)->finish(false); },
        this
    );
    if (ready_left_ == 0) {
        finish(true);
    } else if (!connection_->socket.write(queries, io_.scratch)) {
        finish(false);
    }
}

void cleaner::on_server_events(backend::server_connection& connection, std::uint32_t events) {
    if (finished_) {
        return;
    }
    if ((events & EPOLLOUT) != 0 && !connection.socket.flush()) {
        finish(false);
        return;
    }
    if ((events & ~static_cast<std::uint32_t>(EPOLLOUT)) == 0) {
        return;
    }
    const auto got = connection.socket.read(io_.scratch);
    if (got.status == backend::io_status::again) {
        return;
    }
    if (!on_bytes(got.bytes) || (got.status != backend::io_status::ok && !finished_)) {
        finish(false);
    }
}

bool cleaner::on_bytes(std::string_view bytes) {
    namespace sm = wire::server_message;
    auto& state = state_of(*connection_);
    input_.append(bytes);
    std::size_t at = 0;
    while (ready_left_ > 0) {
        const auto message = wire::first_message(std::string_view{input_}.substr(at));
        if (message.is_broken()) {
            return false;
        }
        if (message.is_partial()) {
            break;
        }
        at += message.size;
        const auto type = message.type;
        const auto body = message.body;
        if (type == sm::error_response) {
            const auto said = wire::parse_report(body);
            if (!said || said->is_fatal()) {
                return false;
            }
            refused_ = true;
        }
        if (type == sm::data_row && on_row_) {
            row fields;
            if (!wire::parse_data_row(body, fields)) {
                return false;
            }
            on_row_(fields);
        }
        if (type == sm::parameter_status) {
            const auto status = wire::parse_parameter_status(body);
            if (!status) {
                return false;
            }
            rewrite::parameter_set changed = *state.reported;
            changed.set(status->name, status->value);
            state.reported = std::make_shared<const rewrite::parameter_set>(std::move(changed));
        }
        if (type == sm::ready_for_query) {
            const auto status = wire::parse_ready_for_query(body);
            if (!status || (--ready_left_ == 0 && *status != 'I')) {
                return false;
            }
            state.status = *status;
        }
    }
    input_.erase(0, at);
    if (ready_left_ == 0) {
        in_step_ = input_.empty();
        finish(in_step_ && !refused_);
    }
    return true;
}

void cleaner::finish(bool clean) {
    if (finished_) {
        return;
    }
    finished_ = true;
    deadline_.cancel();
    connection_->set_user(nullptr);
    connection_->socket.set_reading(false);
    io_.loop.defer([this, clean] { done_(clean); });
}

}  // namespace signalbox::proxy
