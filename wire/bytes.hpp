// Reading and writing the integers and strings of the protocol.
//
// Integers are big-endian; strings end with NUL. A reader's first failure sticks: later reads give
// empty values, and `finish()` is the only check a parser needs. Views point into the bytes that
// were read.
#pragma once

#include "wire/error.hpp"

#include <cstdint>
#include <cstring>
#include <string>
#include <string_view>

namespace signalbox::wire {

using bytes_view = std::string_view;

/// Gives a buffer's memory back: assigning an empty string keeps it.
inline void free_buffer(std::string& buffer) noexcept {
    std::string{}.swap(buffer);
}

inline std::uint16_t load_u16(const char* p) noexcept {
    std::uint16_t v = 0;
    std::memcpy(&v, p, sizeof v);
    return __builtin_bswap16(v);
}

inline std::uint32_t load_u32(const char* p) noexcept {
    std::uint32_t v = 0;
    std::memcpy(&v, p, sizeof v);
    return __builtin_bswap32(v);
}

inline void store_u16(char* p, std::uint16_t v) noexcept {
    v = __builtin_bswap16(v);
    std::memcpy(p, &v, sizeof v);
}

inline void store_u32(char* p, std::uint32_t v) noexcept {
    v = __builtin_bswap32(v);
    std::memcpy(p, &v, sizeof v);
}

class byte_reader {
public:
    explicit byte_reader(bytes_view in) noexcept : rest_(in) {}

    std::uint8_t u8() noexcept {
        if (!take(1)) {
            return 0;
        }
        return static_cast<std::uint8_t>(taken_[0]);
    }

    std::uint16_t u16() noexcept { return take(2) ? load_u16(taken_) : std::uint16_t{0}; }

    std::uint32_t u32() noexcept { return take(4) ? load_u32(taken_) : 0U; }

    std::int32_t i32() noexcept { return static_cast<std::int32_t>(u32()); }

    std::string_view cstring() noexcept {
        const auto end = rest_.find('\0');
        if (failed_ || end == std::string_view::npos) {
            failed_ = true;
            return {};
        }
        const auto text = rest_.substr(0, end);
        rest_.remove_prefix(end + 1);
        return text;
    }

    bytes_view bytes(std::size_t n) noexcept {
        return take(n) ? bytes_view{taken_, n} : bytes_view{};
    }

    /// What has not been read yet; reading ends.
    bytes_view remainder() noexcept {
        const auto all = failed_ ? bytes_view{} : rest_;
        rest_ = {};
        return all;
    }

    [[nodiscard]] std::size_t remaining() const noexcept { return rest_.size(); }

    [[nodiscard]] bool failed() const noexcept { return failed_; }

    [[nodiscard]] boost::system::error_code finish() const noexcept {
        if (failed_) {
            return wire_errc::truncated;
        }
        if (!rest_.empty()) {
            return wire_errc::trailing_bytes;
        }
        return {};
    }

private:
    bool take(std::size_t n) noexcept {
        if (failed_ || rest_.size() < n) {
            failed_ = true;
            return false;
        }
        taken_ = rest_.data();
        rest_.remove_prefix(n);
        return true;
    }

    bytes_view rest_;
    const char* taken_ = nullptr;
    bool failed_ = false;
};

/// Appends one message to a buffer: the length field is filled in when the writer goes out of
/// scope.
class message_writer {
public:
    message_writer(std::string& out, char type) : out_(out) {
        out_.push_back(type);
        begin();
    }

    /// A message without a type byte: the startup packet and its kin.
    explicit message_writer(std::string& out) : out_(out) { begin(); }

    message_writer(const message_writer&) = delete;
    message_writer& operator=(const message_writer&) = delete;

    ~message_writer() {
        store_u32(out_.data() + length_at_, static_cast<std::uint32_t>(out_.size() - length_at_));
    }

    message_writer& u8(std::uint8_t v) {
        out_.push_back(static_cast<char>(v));
        return *this;
    }

    message_writer& u16(std::uint16_t v) {
        out_.push_back(static_cast<char>(v >> 8U));
        out_.push_back(static_cast<char>(v & 0xffU));
        return *this;
    }

    message_writer& u32(std::uint32_t v) {
        char raw[4];
        store_u32(raw, v);
        out_.append(raw, sizeof raw);
        return *this;
    }

    message_writer& cstring(std::string_view v) {
        out_.append(v);
        out_.push_back('\0');
        return *this;
    }

    message_writer& bytes(bytes_view v) {
        out_.append(v);
        return *this;
    }

private:
    void begin() {
        length_at_ = out_.size();
        out_.append(4, '\0');
    }

    std::string& out_;
    std::size_t length_at_ = 0;
};

}  // namespace signalbox::wire
