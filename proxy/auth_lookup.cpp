#include "proxy/auth_lookup.hpp"

#include "proxy/worker.hpp"
#include "wire/error_response.hpp"
#include "wire/framing.hpp"
#include "wire/messages.hpp"

namespace signalbox::proxy {
namespace {
constexpr std::string_view default_query =
    "SELECT rolpassword FROM pg_catalog.pg_authid WHERE rolname = $1 AND rolcanlogin"
    " AND (rolvaliduntil IS NULL OR rolvaliduntil > pg_catalog.now())";
}

auth_lookup::auth_lookup(
    worker& home,
    pool_entry& pool,
    std::string sql,
    std::string user,
    std::function<void(const answer&)> done
)
    : home_(home),
      pool_(pool),
      sql_(sql == "default" ? std::string{default_query} : std::move(sql)),
      user_(std::move(user)),
      done_(std::move(done)) {}

auth_lookup::~auth_lookup() {
    if (ticket_ != 0) {
        pool_.pool->cancel_wait(ticket_);
    }
    if (server_) {
        home_.abandon(std::move(server_), pool_, false);
    }
}

void auth_lookup::start() {
    if (auto connection = pool_.pool->try_acquire()) {
        on_lease(std::move(connection));
        return;
    }
    const auto ticket = pool_.pool->wait(*this);
    if (!server_ && answer_.error.empty()) {
        ticket_ = ticket;
    }
}

void auth_lookup::on_lease(backend::connection_ptr connection) {
    ticket_ = 0;
    server_ = std::move(connection);
    server_->set_user(this);
    std::string request;
    wire::write_parameterized_query(request, sql_, {user_});
    state_of(*server_).unnamed = server_state::unnamed_unknown;
    if (!server_->socket.write(request, home_.io().scratch)) {
        answer_.error = "the connection to the server broke";
        finish();
    }
}

void auth_lookup::on_lease_failed(const backend::connect_failure& why) {
    ticket_ = 0;
    answer_.error = why.message;
    finish();
}

void auth_lookup::on_server_events(backend::server_connection& connection, std::uint32_t events) {
    if ((events & EPOLLOUT) != 0 && !connection.socket.flush()) {
        answer_.error = "the connection to the server broke";
        finish();
        return;
    }
    if ((events & ~static_cast<std::uint32_t>(EPOLLOUT)) == 0) {
        return;
    }
    const auto got = connection.socket.read(home_.io().scratch);
    if (got.status == backend::io_status::again) {
        return;
    }
    if (!on_bytes(got.bytes)) {
        answer_.error = "the server does not keep the protocol";
        finish();
    } else if (ready_) {
        finish();
    } else if (got.status != backend::io_status::ok) {
        answer_.error = "server closed the connection unexpectedly";
        finish();
    }
}

bool auth_lookup::on_bytes(std::string_view bytes) {
    namespace sm = wire::server_message;
    input_.append(bytes);
    std::size_t at = 0;
    while (!ready_) {
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
        if (type == sm::data_row) {
            std::vector<std::optional<std::string_view>> fields;
            if (!wire::parse_data_row(body, fields) || fields.empty()) {
                return false;
            }
            if (fields.back()) {  // (password), or (name, password)
                answer_.stored = std::string{*fields.back()};
            }
        } else if (type == sm::error_response) {
            const auto said = wire::parse_report(body);
            answer_.error = said ? std::string{said->message} : "the auth_query failed";
        } else if (type == sm::ready_for_query) {
            ready_ = true;
        }
    }
    input_.erase(0, at);
    return true;
}

void auth_lookup::finish() {
    if (server_) {
        server_->set_user(nullptr);
        if (ready_ && input_.empty()) {
            pool_.pool->release(std::move(server_));
        } else {
            pool_.pool->discard(std::move(server_));
        }
    }
    // The owner may destroy us in it.
    home_.io().loop.defer([done = std::move(done_), answer = std::move(answer_)] { done(answer); });
}

}  // namespace signalbox::proxy
