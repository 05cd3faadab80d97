// The messages of protocol 3.0 that Signalbox looks into, as views into their bodies, and those
// that it makes.
//
// A body is what follows the type byte and the length. Parsers neither allocate (but where a list
// is returned) nor throw; every writer appends one whole message. Source    PostgreSQL manual,
// "Message Formats"
#pragma once

#include "wire/bytes.hpp"

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace signalbox::wire {

/// Type bytes a client sends after startup.
namespace client_message {
inline constexpr char bind = 'B';
inline constexpr char close = 'C';
inline constexpr char copy_data = 'd';
inline constexpr char copy_done = 'c';
inline constexpr char copy_fail = 'f';
inline constexpr char describe = 'D';
inline constexpr char execute = 'E';
inline constexpr char flush = 'H';
inline constexpr char function_call = 'F';
inline constexpr char parse = 'P';
inline constexpr char password = 'p';
inline constexpr char query = 'Q';
inline constexpr char sync = 'S';
inline constexpr char terminate = 'X';
}  // namespace client_message

/// Type bytes a server sends.
namespace server_message {
inline constexpr char authentication = 'R';
inline constexpr char backend_key_data = 'K';
inline constexpr char bind_complete = '2';
inline constexpr char close_complete = '3';
inline constexpr char command_complete = 'C';
inline constexpr char copy_both_response = 'W';
inline constexpr char copy_data = 'd';
inline constexpr char copy_done = 'c';
inline constexpr char copy_in_response = 'G';
inline constexpr char copy_out_response = 'H';
inline constexpr char data_row = 'D';
inline constexpr char empty_query_response = 'I';
inline constexpr char error_response = 'E';
inline constexpr char function_call_response = 'V';
inline constexpr char negotiate_protocol_version = 'v';
inline constexpr char no_data = 'n';
inline constexpr char notice_response = 'N';
inline constexpr char notification_response = 'A';
inline constexpr char parameter_description = 't';
inline constexpr char parameter_status = 'S';
inline constexpr char parse_complete = '1';
inline constexpr char portal_suspended = 's';
inline constexpr char ready_for_query = 'Z';
inline constexpr char row_description = 'T';
}  // namespace server_message

/// A type byte that a client may send once it is authenticated.
constexpr bool is_client_message(char type) noexcept {
    switch (type) {
        case client_message::bind:
        case client_message::close:
        case client_message::copy_data:
        case client_message::copy_done:
        case client_message::copy_fail:
        case client_message::describe:
        case client_message::execute:
        case client_message::flush:
        case client_message::function_call:
        case client_message::parse:
        case client_message::query:
        case client_message::sync:
        case client_message::terminate:
            return true;
        default:
            return false;
    }
}

/// A type byte that a server may send.
constexpr bool is_server_message(char type) noexcept {
    switch (type) {
        case server_message::authentication:
        case server_message::backend_key_data:
        case server_message::bind_complete:
        case server_message::close_complete:
        case server_message::command_complete:
        case server_message::copy_both_response:
        case server_message::copy_data:
        case server_message::copy_done:
        case server_message::copy_in_response:
        case server_message::copy_out_response:
        case server_message::data_row:
        case server_message::empty_query_response:
        case server_message::error_response:
        case server_message::function_call_response:
        case server_message::negotiate_protocol_version:
        case server_message::no_data:
        case server_message::notice_response:
        case server_message::notification_response:
        case server_message::parameter_description:
        case server_message::parameter_status:
        case server_message::parse_complete:
        case server_message::portal_suspended:
        case server_message::ready_for_query:
        case server_message::row_description:
            return true;
        default:
            return false;
    }
}

/// Parse ('P'): name NUL text NUL int16 count, count × int32 type OID.
struct parse_message {
    std::string_view name;
    std::string_view text;
    bytes_view tail;  // text, NUL, count and OIDs as they lie: what makes two statements the same
};

/// Bind ('B') up to its names: portal NUL statement NUL; the parameters are never looked at.
struct bind_names {
    std::string_view portal;
    std::string_view statement;
    std::size_t bytes = 0;  // of the body, up to and with the second NUL
};

/// Describe ('D') and Close ('C'): 'S' (statement) or 'P' (portal), name NUL.
struct named_target {
    char kind = 'S';
    std::string_view name;
};

/// ParameterStatus ('S'): name NUL value NUL.
struct parameter_status {
    std::string_view name;
    std::string_view value;
};

/// BackendKeyData ('K'): int32 process id, secret (4 bytes; 4 to 256 since protocol 3.2).
struct backend_key_data {
    std::uint32_t process_id = 0;
    std::string secret;
};

/// NotificationResponse ('A'): int32 process id, channel NUL payload NUL.
struct notification {
    std::uint32_t process_id = 0;  // of the session that notified
    std::string_view channel;
    std::string_view payload;
};

/// Authentication ('R'): int32 kind, then what the kind has.
struct authentication_request {
    enum class type : std::uint32_t {
        ok = 0,
        cleartext_password = 3,
        md5_password = 5,
        sasl = 10,
        sasl_continue = 11,
        sasl_final = 12,
    };
    type kind = type::ok;
    bytes_view data;  // after the kind: md5 salt, mechanism list, or SASL data
};

/// SASLInitialResponse ('p'): mechanism NUL, int32 length or -1, data.
struct sasl_initial_response {
    std::string_view mechanism;
    bytes_view data;
};

// Errors of all: truncated, trailing_bytes, bad_length.
result<std::string_view> parse_query(bytes_view body) noexcept;
result<parse_message> parse_parse(bytes_view body) noexcept;
/// `body` may be only the beginning of the body. Errors: truncated (a name has no end yet).
result<bind_names> parse_bind_names(bytes_view body) noexcept;
/// The Bind of this body with one parameter more, number `parameter` (from 1), in binary format.
/// The count of parameters that the body has: with another than `parameter` - 1, nothing was
/// written. Errors: truncated.
result<std::size_t> write_bind_with_parameter(
    std::string& out, bytes_view body, std::size_t parameter, std::string_view value
);
/// Bind's result formats (0 text, 1 binary). Errors: truncated, trailing_bytes, bad_length.
result<std::vector<std::uint16_t>> parse_bind_result_formats(bytes_view body);
result<named_target> parse_named_target(bytes_view body) noexcept;
result<std::string_view> parse_execute_portal(bytes_view body) noexcept;
result<std::string_view> parse_password(bytes_view body) noexcept;
result<sasl_initial_response> parse_sasl_initial_response(bytes_view body) noexcept;

result<parameter_status> parse_parameter_status(bytes_view body) noexcept;
result<backend_key_data> parse_backend_key_data(bytes_view body);
result<notification> parse_notification(bytes_view body) noexcept;
result<authentication_request> parse_authentication(bytes_view body) noexcept;
/// 'I' (idle), 'T' (in a transaction block) or 'E' (in a failed one). Errors: bad_length (another
/// byte).
result<char> parse_ready_for_query(bytes_view body) noexcept;
result<std::string_view> parse_command_complete(bytes_view body) noexcept;
/// DataRow ('D'): int16 count, then int32 length (-1 is NULL) and bytes. Appends to `fields`.
result<void> parse_data_row(bytes_view body, std::vector<std::optional<std::string_view>>& fields);
/// The value of a DataRow with one column; nothing: it has others, or the value is NULL.
std::optional<std::string_view> parse_only_field(bytes_view body) noexcept;

void write_query(std::string& out, std::string_view sql);
void write_parse(std::string& out, std::string_view name, bytes_view tail);
void write_named_target(std::string& out, char type, char kind, std::string_view name);
void write_sync(std::string& out);
void write_terminate(std::string& out);
void write_password(std::string& out, std::string_view password);
void write_sasl_initial_response(std::string& out, std::string_view mechanism, bytes_view data);
void write_sasl_response(std::string& out, bytes_view data);
/// Parse, Bind with text parameters, Execute and Sync of one unnamed statement.
void write_parameterized_query(
    std::string& out, std::string_view sql, const std::vector<std::string_view>& parameters
);

void write_authentication(
    std::string& out, authentication_request::type kind, bytes_view data = {}
);
void write_parameter_status(std::string& out, std::string_view name, std::string_view value);
void write_backend_key_data(std::string& out, const backend_key_data& key);
void write_ready_for_query(std::string& out, char status);
void write_command_complete(std::string& out, std::string_view tag);
void write_empty(std::string& out, char type);
void write_negotiate_protocol_version(
    std::string& out, std::uint32_t newest, const std::vector<std::string_view>& unknown_options
);

}  // namespace signalbox::wire
