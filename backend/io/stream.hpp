// A connected socket, plain or TLS, with what could not be written yet.
//
// One read() is one recv(); one write() is at most one send(). A read that fills less than the room
// is not repeated: the loop is level-triggered and says when there is more. What the kernel does
// not take is kept in `pending` and sent when the socket is writable; who writes faster than the
// peer reads must stop when has_pending().
//
// Bulk: a peer that sends in small writes (PostgreSQL's are 8 KiB) would cost a wake-up, a recv()
// and a send() for each. After a streak of large reads the socket is asked (SO_RCVLOWAT) to report
// only a larger amount; where that does not come within a millisecond, it reports everything again,
// so that the end of a COPY is late by that much at most.
#pragma once

#include "backend/io/event_loop.hpp"
#include "backend/io/tls.hpp"

#include <cstdint>
#include <memory>
#include <new>
#include <span>
#include <string>
#include <string_view>

namespace signalbox::backend {

/// Memory that the kernel copies into and out of.
///
/// It begins in the middle of a page: on AMD's Zen 3 a `rep movsb`, with which Linux copies,
/// is twenty times slower where the target is 1 to 31 bytes ahead of the source, modulo 4096. The
/// kernel's side most often begins at a page, or a few small messages behind it; what malloc()
/// gives for this size begins 16 bytes behind one (docs/performance.md).
class io_buffer {
public:
    static constexpr std::size_t page_bytes = 4096;
    static constexpr std::size_t offset = page_bytes / 2;

    explicit io_buffer(std::size_t bytes)
        : page_(static_cast<char*>(::operator new (offset + bytes, std::align_val_t{page_bytes}))) {
    }

    io_buffer(const io_buffer&) = delete;
    io_buffer& operator=(const io_buffer&) = delete;
    io_buffer(io_buffer&&) = delete;
    io_buffer& operator=(io_buffer&&) = delete;

    ~io_buffer() { ::operator delete (page_, std::align_val_t{page_bytes}); }

    [[nodiscard]] char* get() const noexcept { return page_ + offset; }

private:
    char* page_;
};

/// The buffers of one thread, lent for the time of one call.
struct io_scratch {
    /// One read of ciphertext: decrypting it takes a fraction of a millisecond.
    static constexpr std::size_t cipher_bytes = std::size_t{256} * 1024;

    /// One read without TLS. Where a peer sends faster than the other reads, each halving of it
    /// doubles the wake-ups of all three; passing so much on takes half a millisecond.
    static constexpr std::size_t plain_bytes = std::size_t{1024} * 1024;

    /// What one read can decrypt to: OpenSSL may hold the beginning of a record (at most 16 KiB and
    /// its header) from the read before. All of it must fit, so that nothing stays inside OpenSSL
    /// without a socket event to come.
    static_assert(plain_bytes >= cipher_bytes + std::size_t{32} * 1024);

    io_buffer plain{plain_bytes};
    io_buffer cipher{cipher_bytes};
    std::string cipher_out;
};

enum class io_status { ok, again, closed, failed };

class stream {
public:
    stream() = default;

    explicit stream(int fd) noexcept : fd_(fd) {}

    stream(stream&& other) noexcept;
    stream& operator=(stream&& other) noexcept;
    stream(const stream&) = delete;
    stream& operator=(const stream&) = delete;

    ~stream() { close(); }

    [[nodiscard]] int fd() const noexcept { return fd_; }

    [[nodiscard]] bool is_open() const noexcept { return fd_ >= 0; }

    /// Begins to watch for reading. Throws std::system_error.
    void attach(event_loop& loop, event_handler& handler);
    /// Ends it; the socket can then be given to another loop.
    void detach() noexcept;

    [[nodiscard]] bool is_attached() const noexcept { return loop_ != nullptr; }

    void close() noexcept;

    /// Reading is on after attach(). With both off the socket still reports errors and hang-ups.
    void set_reading(bool on) noexcept;

    [[nodiscard]] bool reading() const noexcept { return reading_; }

    /// While a connect() is under way: wait for writability, too.
    void set_writing(bool on) noexcept;
    /// The peer has closed its side: level-triggered, it would be told again and again.
    void peer_closed() noexcept;
    /// The same while reading is paused: there may be more to read.
    void mask_hang_up() noexcept;

    void start_tls(
        SSL_CTX& context, bool is_server, const std::string& server_name, bool check_name
    );

    tls_engine* tls() noexcept { return tls_.get(); }

    /// Plain bytes from one recv(), in the scratch's plain buffer; valid until its next use.
    /// `closed` may come together with bytes.
    struct received {
        std::string_view bytes;
        io_status status = io_status::ok;
    };

    received read(io_scratch& scratch);
    /// The TLS handshake, driven by readability: `ok` when it is complete. Bytes behind it are in
    /// `early`.
    io_status handshake(io_scratch& scratch, std::string_view& early);
    /// Its first step with ciphertext that was read before it was known to be such. `first` is not
    /// in the scratch.
    io_status handshake(std::string_view first, io_scratch& scratch, std::string_view& early);

    /// False: the connection is broken.
    bool write(std::string_view bytes, io_scratch& scratch);
    bool flush();
    /// close_notify, as far as it can be sent at once; then the end of what we send.
    void shut_down(io_scratch& scratch) noexcept;

    [[nodiscard]] bool has_pending() const noexcept { return pending_at_ < pending_.size(); }

    [[nodiscard]] std::size_t pending_bytes() const noexcept {
        return pending_.size() - pending_at_;
    }

    /// errno of the last failure; 0 when TLS failed.
    [[nodiscard]] int error() const noexcept { return error_; }

private:
    struct bulk_state {
        timer check;
        time_point last_read;
    };

    void update() noexcept;
    void note_read(std::size_t bytes);
    void check_bulk();
    void leave_bulk() noexcept;
    bool send_now(std::string_view bytes);

    int fd_ = -1;
    int error_ = 0;
    event_loop* loop_ = nullptr;
    event_handler* handler_ = nullptr;
    std::uint32_t events_ = 0;
    bool reading_ = false;
    bool writing_ = false;
    bool peer_closed_ = false;
    bool hang_up_masked_ = false;
    std::uint8_t streak_ = 0;  // of large reads, one after the other
    std::unique_ptr<bulk_state> bulk_;
    std::unique_ptr<tls_engine> tls_;
    std::string pending_;
    std::size_t pending_at_ = 0;
};

}  // namespace signalbox::backend
