// A stream of protocol messages cut into messages.
#pragma once

#include "wire/bytes.hpp"
#include "wire/limits.hpp"

#include <stdexcept>
#include <string>
#include <string_view>
#include <vector>

namespace signalbox::tests {

struct frame {
    char type = '\0';
    std::string body;

    bool operator==(const frame&) const = default;
};

/// Throws std::runtime_error when the stream does not end with the end of a message.
inline std::vector<frame> split_frames(std::string_view stream) {
    std::vector<frame> frames;
    while (!stream.empty()) {
        if (stream.size() < wire::header_bytes) {
            throw std::runtime_error("the stream ends inside a header");
        }
        const std::size_t total = std::size_t{wire::load_u32(stream.data() + 1)} + 1;
        if (total < wire::header_bytes || stream.size() < total) {
            throw std::runtime_error("the stream ends inside a message");
        }
        frames.push_back(
            {stream[0], std::string{stream.substr(wire::header_bytes, total - wire::header_bytes)}}
        );
        stream.remove_prefix(total);
    }
    return frames;
}

}  // namespace signalbox::tests
