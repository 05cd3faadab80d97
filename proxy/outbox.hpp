// What a step of the relay wants to send: most often one stretch of the bytes it was given, as they
// lie.
//
// Stretches that touch are one; only when something is put between or left out are bytes copied to
// the side buffer. data() is valid until the given bytes or the outbox change.
#pragma once

#include "wire/bytes.hpp"

#include <string>
#include <string_view>

namespace signalbox::proxy {

class outbox {
public:
    /// Sends `bytes`, which lie in the caller's input.
    void pass(std::string_view bytes) {
        if (!side_.empty()) {
            side_.append(bytes);
        } else if (direct_.empty()) {
            direct_ = bytes;
        } else if (direct_.data() + direct_.size() == bytes.data()) {
            direct_ = {direct_.data(), direct_.size() + bytes.size()};
        } else {
            copied().append(bytes);
        }
    }

    /// The buffer to append made bytes to.
    std::string& copied() {
        if (!direct_.empty()) {
            side_.append(direct_);
            direct_ = {};
        }
        return side_;
    }

    [[nodiscard]] std::string_view data() const noexcept { return side_.empty() ? direct_ : side_; }

    [[nodiscard]] bool empty() const noexcept { return direct_.empty() && side_.empty(); }

    void clear() {
        direct_ = {};
        if (side_.capacity() > kept_bytes) {
            wire::free_buffer(side_);
        } else {
            side_.clear();
        }
    }

private:
    static constexpr std::size_t kept_bytes = std::size_t{1} << 20U;

    std::string_view direct_;
    std::string side_;
};

}  // namespace signalbox::proxy
