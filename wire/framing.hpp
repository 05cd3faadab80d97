// Messages out of a byte stream, for those who read a peer's answers one by one. (The relay, which
// passes on what is still incomplete, has its own way.)
//
// Layout  a type byte, an Int32 length that counts itself, the body
// Source  https://www.postgresql.org/docs/current/protocol-overview.html#PROTOCOL-MESSAGE-CONCEPTS
#pragma once

#include "wire/bytes.hpp"
#include "wire/limits.hpp"

#include <cstddef>
#include <string_view>

namespace signalbox::wire {

/// The message at the beginning of a text, or why there is none.
struct framed_message {
    enum class state { complete, partial, broken };

    state found = state::partial;
    char type = '\0';
    std::string_view body;
    std::size_t size = 0;  // bytes, with type and length

    [[nodiscard]] bool is_broken() const noexcept { return found == state::broken; }

    [[nodiscard]] bool is_partial() const noexcept { return found == state::partial; }
};

/// Broken: its length is below 4 or above `max_length`.
inline framed_message first_message(
    std::string_view in, std::size_t max_length = max_server_control_bytes
) noexcept {
    framed_message out;
    if (in.size() < header_bytes) {
        return out;
    }
    const std::size_t length = load_u32(in.data() + 1);
    if (length < 4 || length > max_length) {
        out.found = framed_message::state::broken;
        return out;
    }
    if (in.size() <= length) {
        return out;
    }
    return {
        .found = framed_message::state::complete,
        .type = in.front(),
        .body = in.substr(header_bytes, length - 4),
        .size = length + 1};
}

}  // namespace signalbox::wire
