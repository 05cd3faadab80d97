#include "backend/cancel.hpp"

#include "wire/startup.hpp"

#include <sys/socket.h>

namespace signalbox::backend {
namespace {
constexpr auto cancel_timeout = std::chrono::seconds{5};
}

cancel_call::cancel_call(
    io_context& io, const server_connection& victim, std::function<void(cancel_call&)> finished
)
    : io_(io),
      address_(victim.address()),
      key_(victim.key),
      tls_context_(
          const_cast<server_connection&>(victim).socket.tls() != nullptr
              ? victim.target().tls_context
              : nullptr
      ),
      is_direct_(victim.target().connection->negotiation == catalog::ssl_negotiation::direct),
      host_(victim.host()),
      finished_(std::move(finished)) {}

void cancel_call::start() {
    const int fd = begin_connect(address_);
    if (fd < 0) {
        finish();
        return;
    }
    socket_ = stream{fd};
    socket_.set_writing(true);
    socket_.attach(io_.loop, *this);
    deadline_.start(
        io_.loop,
        clock::now() + cancel_timeout,
        [](void* self) {
            auto& call = *static_cast<cancel_call*>(self);
            call.is_settled_ = call.phase_ != phase::waiting;
            call.finish();
        },
        this
    );
}

void cancel_call::begin_handshake() {
    socket_.start_tls(*tls_context_, false, host_, false);
    phase_ = phase::tls_handshake;
    continue_handshake();
}

void cancel_call::continue_handshake() {
    std::string_view early;
    const auto status = socket_.handshake(io_.scratch, early);
    if (status == io_status::ok) {
        send_request();
    } else if (status != io_status::again) {
        finish();
    }
}

void cancel_call::send_request() {
    std::string request;
    wire::write_cancel_request(request, {.process_id = key_.process_id, .secret = key_.secret});
    phase_ = phase::waiting;
    if (!socket_.write(request, io_.scratch)) {
        finish();
    }
}

void cancel_call::on_events(std::uint32_t events) {
    switch (phase_) {
        case phase::connecting: {
            int error = 0;
            socklen_t size = sizeof error;
            ::getsockopt(socket_.fd(), SOL_SOCKET, SO_ERROR, &error, &size);
            if (error != 0) {
                finish();
                return;
            }
            socket_.set_writing(false);
            if (!tls_context_) {
                send_request();
                return;
            }
            if (is_direct_) {
                begin_handshake();
                return;
            }
            std::string request;
            wire::write_ssl_request(request);
            phase_ = phase::asking_for_tls;
            if (!socket_.write(request, io_.scratch)) {
                finish();
            }
            return;
        }
        case phase::asking_for_tls: {
            char answer = 0;
            if (::recv(socket_.fd(), &answer, 1, MSG_DONTWAIT) != 1 || answer != 'S') {
                finish();
                return;
            }
            begin_handshake();
            return;
        }
        case phase::tls_handshake:
            continue_handshake();
            return;
        case phase::waiting: {
            if ((events & EPOLLOUT) != 0 && !socket_.flush()) {
                finish();
                return;
            }
            const auto got = socket_.read(io_.scratch);
            if (got.status == io_status::closed || got.status == io_status::failed) {
                finish();
            }
            return;
        }
        case phase::done:
            return;
    }
}

void cancel_call::finish() {
    if (phase_ == phase::done) {
        return;
    }
    phase_ = phase::done;
    deadline_.cancel();
    socket_.close();
    io_.loop.defer([this] { finished_(*this); });
}

}  // namespace signalbox::backend
