// Base64 (RFC 4648 section 4) as SCRAM uses it: padded, without white space.
//
// Decoding is strict: the padding must be there and its unused bits must be zero, so that a text
// and its bytes determine each other. Every SCRAM implementation writes this form.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>

namespace signalbox::wire {

/// Appends the text for `bytes`; its length is a multiple of four.
void append_base64(std::string& out, std::string_view bytes);
void append_base64(std::string& out, std::span<const std::uint8_t> bytes);

/// The bytes, or nothing if `text` is not base64 in the form above. Empty text means no bytes.
std::optional<std::string> decode_base64(std::string_view text);

/// Decodes into all of `out`, without a copy elsewhere (keys); false if the text does not mean
/// exactly as many bytes.
bool decode_base64_into(std::string_view text, std::span<std::uint8_t> out) noexcept;

}  // namespace signalbox::wire
