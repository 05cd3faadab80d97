#include "backend/io/stream.hpp"

#include "wire/bytes.hpp"

#include <cerrno>
#include <sys/socket.h>
#include <unistd.h>
#include <utility>

namespace signalbox::backend {

stream::stream(stream&& other) noexcept {
    *this = std::move(other);
}

stream& stream::operator=(stream&& other) noexcept {
    if (this != &other) {
        close();
        other.detach();  // the handler that is registered belongs to the old owner
        fd_ = std::exchange(other.fd_, -1);
        error_ = other.error_;
        peer_closed_ = other.peer_closed_;
        tls_ = std::move(other.tls_);
        pending_ = std::move(other.pending_);
        pending_at_ = std::exchange(other.pending_at_, 0);
    }
    return *this;
}

void stream::attach(event_loop& loop, event_handler& handler) {
    reading_ = true;
    events_ = EPOLLIN | EPOLLRDHUP | (has_pending() || writing_ ? EPOLLOUT : 0U);
    loop.add(fd_, events_, handler);
    loop_ = &loop;
    handler_ = &handler;
}

void stream::detach() noexcept {
    leave_bulk();
    if (loop_ != nullptr) {
        loop_->remove(fd_, *handler_);
        loop_ = nullptr;
        handler_ = nullptr;
        events_ = 0;
    }
}

void stream::close() noexcept {
    if (fd_ >= 0) {
        detach();
        ::close(std::exchange(fd_, -1));
        tls_.reset();
        wire::free_buffer(pending_);
        pending_at_ = 0;
    }
}

void stream::update() noexcept {
    if (loop_ == nullptr) {
        return;
    }
    std::uint32_t events = 0;
    if (!peer_closed_) {
        events = (hang_up_masked_ ? 0U : EPOLLRDHUP) | (reading_ ? EPOLLIN : 0U);
    }
    if (has_pending() || writing_) {
        events |= EPOLLOUT;
    }
    if (events != events_) {
        events_ = events;
        loop_->modify(fd_, events, *handler_);
    }
}

void stream::set_reading(bool on) noexcept {
    reading_ = on;
    update();
}

void stream::set_writing(bool on) noexcept {
    writing_ = on;
    update();
}

void stream::peer_closed() noexcept {
    peer_closed_ = true;
    update();
}

void stream::mask_hang_up() noexcept {
    hang_up_masked_ = true;
    update();
}

void stream::start_tls(
    SSL_CTX& context, bool is_server, const std::string& server_name, bool check_name
) {
    tls_ = std::make_unique<tls_engine>(context, is_server, server_name, check_name);
}

namespace {

/// A read from this size on belongs to a streak; so many make it bulk. The low water is below what
/// one read takes: recv() gets what has come meanwhile, too.
constexpr std::size_t bulk_read_bytes = 4096;
constexpr std::uint8_t bulk_streak = 8;
constexpr int bulk_low_water = 256 * 1024;
constexpr int bulk_low_water_with_tls = 128 * 1024;
constexpr auto bulk_patience = std::chrono::milliseconds{1};

io_status status_of(ssize_t n, int& error) {
    if (n > 0) {
        return io_status::ok;
    }
    if (n == 0) {
        return io_status::closed;
    }
    if (errno == EAGAIN || errno == EINTR) {
        return io_status::again;
    }
    error = errno;
    return io_status::failed;
}

}  // namespace

void stream::note_read(std::size_t bytes) {
    if (bulk_) {
        bulk_->last_read = loop_->now();
        return;
    }
    streak_ = bytes >= bulk_read_bytes ? static_cast<std::uint8_t>(streak_ + 1) : std::uint8_t{0};
    if (streak_ < bulk_streak || loop_ == nullptr) {
        return;
    }
    streak_ = 0;
    const int low_water = tls_ ? bulk_low_water_with_tls : bulk_low_water;
    if (::setsockopt(fd_, SOL_SOCKET, SO_RCVLOWAT, &low_water, sizeof low_water) == 0) {
        bulk_ = std::make_unique<bulk_state>();
        bulk_->last_read = loop_->now();
        check_bulk();
    }
}

void stream::check_bulk() {
    if (loop_->now() - bulk_->last_read >= bulk_patience) {
        leave_bulk();
        return;
    }
    bulk_->check.start(
        *loop_,
        bulk_->last_read + bulk_patience,
        [](void* self) { static_cast<stream*>(self)->check_bulk(); },
        this
    );
}

void stream::leave_bulk() noexcept {
    if (bulk_) {
        bulk_.reset();
        const int one = 1;
        ::setsockopt(fd_, SOL_SOCKET, SO_RCVLOWAT, &one, sizeof one);
    }
}

stream::received stream::read(io_scratch& scratch) {
    char* const room = tls_ ? scratch.cipher.get() : scratch.plain.get();
    const auto size = tls_ ? io_scratch::cipher_bytes : io_scratch::plain_bytes;
    const auto n = ::recv(fd_, room, size, MSG_DONTWAIT);
    const auto status = status_of(n, error_);
    if (status != io_status::ok) {
        return {{}, status};
    }
    note_read(static_cast<std::size_t>(n));
    if (!tls_) {
        return {{room, static_cast<std::size_t>(n)}, io_status::ok};
    }
    tls_->feed({room, static_cast<std::size_t>(n)});
    scratch.cipher_out.clear();
    const auto done =
        tls_->decrypt(scratch.plain.get(), io_scratch::plain_bytes, scratch.cipher_out);
    // TLS 1.3 may answer (a key update); an alert on failure leaves the same way.
    if (!scratch.cipher_out.empty() && !send_now(scratch.cipher_out)) {
        return {{}, io_status::failed};
    }
    const std::string_view plain{scratch.plain.get(), done.bytes};
    switch (done.status) {
        case tls_engine::state::closed:
            return {plain, io_status::closed};
        case tls_engine::state::failed:
            error_ = 0;
            return {plain, io_status::failed};
        default:
            return {plain, plain.empty() ? io_status::again : io_status::ok};
    }
}

io_status stream::handshake(io_scratch& scratch, std::string_view& early) {
    early = {};
    const auto n = ::recv(fd_, scratch.cipher.get(), io_scratch::cipher_bytes, MSG_DONTWAIT);
    const auto status = status_of(n, error_);
    if (status == io_status::closed || status == io_status::failed) {
        return status;
    }
    const std::string_view cipher{
        scratch.cipher.get(), status == io_status::ok ? static_cast<std::size_t>(n) : 0};
    return handshake(cipher, scratch, early);
}

io_status stream::handshake(std::string_view first, io_scratch& scratch, std::string_view& early) {
    early = {};
    tls_->feed(first);
    scratch.cipher_out.clear();
    const auto state = tls_->handshake(scratch.cipher_out);
    if (!scratch.cipher_out.empty() && !send_now(scratch.cipher_out)) {
        return io_status::failed;
    }
    if (state == tls_engine::state::ready) {
        scratch.cipher_out.clear();
        const auto done =
            tls_->decrypt(scratch.plain.get(), io_scratch::plain_bytes, scratch.cipher_out);
        early = {scratch.plain.get(), done.bytes};
        return done.status == tls_engine::state::failed ? io_status::failed : io_status::ok;
    }
    error_ = 0;
    return state == tls_engine::state::again ? io_status::again : io_status::failed;
}

bool stream::send_now(std::string_view bytes) {
    if (!has_pending()) {
        const auto n = ::send(fd_, bytes.data(), bytes.size(), MSG_DONTWAIT | MSG_NOSIGNAL);
        if (n < 0) {
            if (errno != EAGAIN && errno != EINTR) {
                error_ = errno;
                return false;
            }
        } else {
            bytes.remove_prefix(static_cast<std::size_t>(n));
        }
        if (bytes.empty()) {
            return true;
        }
    }
    pending_.append(bytes);
    update();
    return true;
}

bool stream::write(std::string_view bytes, io_scratch& scratch) {
    if (bytes.empty()) {
        return true;
    }
    if (!tls_) {
        return send_now(bytes);
    }
    scratch.cipher_out.clear();
    if (!tls_->encrypt(bytes, scratch.cipher_out)) {
        error_ = 0;
        return false;
    }
    return send_now(scratch.cipher_out);
}

bool stream::flush() {
    while (has_pending()) {
        const auto n = ::send(
            fd_,
            pending_.data() + pending_at_,
            pending_.size() - pending_at_,
            MSG_DONTWAIT | MSG_NOSIGNAL
        );
        if (n < 0) {
            if (errno == EINTR) {
                continue;
            }
            if (errno != EAGAIN) {
                error_ = errno;
                return false;
            }
            return true;
        }
        pending_at_ += static_cast<std::size_t>(n);
    }
    wire::free_buffer(pending_);  // given back: an idle connection holds no buffer
    pending_at_ = 0;
    update();
    return true;
}

void stream::shut_down(io_scratch& scratch) noexcept {
    if (tls_) {
        scratch.cipher_out.clear();
        tls_->close(scratch.cipher_out);
        if (!scratch.cipher_out.empty()) {
            send_now(scratch.cipher_out);
        }
    }
    if (!has_pending()) {
        ::shutdown(fd_, SHUT_WR);
    }
}

}  // namespace signalbox::backend
