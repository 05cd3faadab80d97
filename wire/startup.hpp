// The packets that open a connection, which have no type byte.
//
// Layout    int32 length (itself included), int32 code or protocol version, body
// Source    PostgreSQL manual, "Message Formats"; src/backend/postmaster/postmaster.c
// (ProcessStartupPacket)
#pragma once

#include "wire/bytes.hpp"
#include "wire/limits.hpp"

#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

namespace signalbox::wire {

struct ssl_request {};

struct gssenc_request {};

struct cancel_request {
    std::uint32_t process_id = 0;
    std::string_view secret;  // as in BackendKeyData
};

struct startup_message {
    std::uint16_t major = 3;
    std::uint16_t minor = 0;
    std::vector<std::pair<std::string_view, std::string_view>> parameters;  // in the client's order
};

using startup_packet = std::variant<ssl_request, gssenc_request, cancel_request, startup_message>;

/// The size of the packet that `in` begins with, or 0 when fewer than four bytes are there.
/// Errors: bad_length (under 8, or over max_startup_bytes).
result<std::size_t> startup_packet_size(bytes_view in) noexcept;

/// Parses one whole packet. Views point into it.
/// Errors: bad_length, truncated, trailing_bytes (no terminator as the last byte), bad_startup.
result<startup_packet> parse_startup_packet(bytes_view packet);

/// What the startup parameter "options" sets, in order.
struct option_setting {
    std::string name;  // lower case, '-' as '_' in the long form
    std::string value;
};

/// Why "options" cannot be read, in PostgreSQL's words.
struct options_error {
    std::string message;
};

/// `-c name=value`, `-cname=value` and `--name=value`, separated by white space, a backslash taking
/// the next character as it is (pg_split_opts). An empty name is kept: the server says that there
/// is no such parameter.
std::variant<std::vector<option_setting>, options_error> parse_startup_options(std::string_view text
);

void write_ssl_request(std::string& out);
void write_cancel_request(std::string& out, cancel_request request);
void write_startup_message(
    std::string& out,
    const std::vector<std::pair<std::string_view, std::string_view>>& parameters,
    std::uint32_t version = protocol_3_0
);

}  // namespace signalbox::wire
