// The limits of the protocol and of this codec, each with its origin.
#pragma once

#include <cstddef>
#include <cstdint>

namespace signalbox::wire {

/// Type byte and length field.
inline constexpr std::size_t header_bytes = 5;
/// MAX_STARTUP_PACKET_LENGTH in PostgreSQL's src/include/libpq/pqcomm.h.
inline constexpr std::size_t max_startup_bytes = 10'000;
/// A message before the client is authenticated: DESIGN section 11 (PostgreSQL's own
/// PG_MAX_AUTH_TOKEN_LENGTH is 65,535).
inline constexpr std::size_t max_auth_message_bytes = 10'000;
/// The longest message that is looked at as a whole; longer ones are streamed and judged by their
/// beginning.
inline constexpr std::size_t max_inspected_bytes = std::size_t{1} << 20U;
/// A server's message before it has authenticated us, or an error, that is read as a whole.
inline constexpr std::size_t max_server_control_bytes = std::size_t{1} << 20U;

inline constexpr std::uint32_t protocol_3_0 = 196'608;
inline constexpr std::uint32_t protocol_3_2 = 196'610;
/// The newest that is spoken, towards either side.
inline constexpr std::uint32_t newest_protocol = protocol_3_2;
/// A cancel key's secret: always 4 bytes before protocol 3.2. Source: PostgreSQL manual, "Message
/// Formats", BackendKeyData.
inline constexpr std::size_t min_secret_bytes = 4;
inline constexpr std::size_t max_secret_bytes = 256;
inline constexpr std::uint32_t cancel_request_code = 80'877'102;
inline constexpr std::uint32_t ssl_request_code = 80'877'103;
inline constexpr std::uint32_t gssenc_request_code = 80'877'104;

}  // namespace signalbox::wire
