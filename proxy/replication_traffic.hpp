// What is known of a replication connection's bytes as they pass: where messages begin and end, and
// what the walsender is doing. They are passed as they lie, in both directions; nothing is looked
// into but headers and the status of ReadyForQuery. No socket, no clock.
//
// Source    PostgreSQL manual, "Streaming Replication Protocol", "COPY Operations"
#pragma once

#include "wire/limits.hpp"

#include <array>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

namespace signalbox::proxy {

class replication_traffic {
public:
    explicit replication_traffic(std::uint64_t max_message_size)
        : max_message_size_(max_message_size) {}

    /// How many of the client's bytes may be passed on: all, or those before a message that must
    /// not be. Then refusal() says why, and nothing may follow.
    std::size_t on_client(std::string_view in);
    /// How many of the server's: fewer where a message is none (is_broken()), and with
    /// `to_boundary` where the first message ends.
    std::size_t on_server(std::string_view in, bool to_boundary = false);

    /// In the words of PostgreSQL or of our own limits; empty while all is well.
    [[nodiscard]] const std::string& refusal() const noexcept { return refusal_; }

    [[nodiscard]] bool is_too_long() const noexcept { return too_long_; }

    [[nodiscard]] bool is_broken() const noexcept { return broken_; }

    /// The client has been sent the beginning of a message, and not its end.
    [[nodiscard]] bool is_mid_message() const noexcept { return !from_server_.at_boundary(); }

    /// Both ends stream: from CopyBothResponse until the command has ended.
    [[nodiscard]] bool is_streaming() const noexcept { return streaming_; }

    /// A command is under way, or a transaction block is open.
    [[nodiscard]] bool is_busy() const noexcept { return commands_ > 0 || status_ != 'I'; }

    /// The client has said Terminate.
    [[nodiscard]] bool has_said_goodbye() const noexcept { return goodbye_; }

    /// The type of the server's last message; 0 before the first.
    [[nodiscard]] char last_of_server() const noexcept { return last_of_server_; }

private:
    /// One direction's place in the stream of messages.
    struct walk {
        enum class stretch { part_of_header, header, body };

        std::array<char, wire::header_bytes> header{};
        std::size_t header_size = 0;  // bytes of a header that has come in part
        std::size_t body_left = 0;

        /// Goes over the next stretch of `in`, which is not empty. A header that is complete is
        /// left to the caller: type(), length(), and then enter() or nothing more.
        stretch take(std::string_view in, std::size_t& size) noexcept;

        void enter() noexcept;

        [[nodiscard]] char type() const noexcept { return header[0]; }

        [[nodiscard]] std::uint32_t length() const noexcept;

        [[nodiscard]] bool at_boundary() const noexcept {
            return header_size == 0 && body_left == 0;
        }
    };

    bool may_enter_client_message(bool has_length);
    void note_client_message() noexcept;
    [[nodiscard]] bool may_enter_server_message(bool has_length) const noexcept;
    void note_server_message() noexcept;

    std::uint64_t max_message_size_;
    walk from_client_;
    walk from_server_;
    std::string refusal_;
    std::size_t commands_ = 0;  // that are to be answered with ReadyForQuery
    char status_ = 'I';
    char last_of_server_ = '\0';
    bool streaming_ = false;
    bool copying_in_ = false;
    bool goodbye_ = false;
    bool too_long_ = false;
    bool broken_ = false;
};

}  // namespace signalbox::proxy
