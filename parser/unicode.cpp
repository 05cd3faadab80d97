#include "parser/unicode.hpp"

#include <charconv>
#include <utility>

namespace signalbox::parser {
namespace {

constexpr std::uint32_t last_code_point = 0x10FFFF;

bool is_high_surrogate(std::uint32_t code) noexcept {
    return code >= 0xD800 && code < 0xDC00;
}

bool is_low_surrogate(std::uint32_t code) noexcept {
    return code >= 0xDC00 && code < 0xE000;
}

void append_utf8(std::string& out, std::uint32_t code) {
    const auto trail = [&](unsigned shift) {
        out += static_cast<char>(0x80U | ((code >> shift) & 0x3FU));
    };
    if (code < 0x80) {
        out += static_cast<char>(code);
    } else if (code < 0x800) {
        out += static_cast<char>(0xC0U | (code >> 6U));
        trail(0);
    } else if (code < 0x10000) {
        out += static_cast<char>(0xE0U | (code >> 12U));
        trail(6);
        trail(0);
    } else {
        out += static_cast<char>(0xF0U | (code >> 18U));
        trail(12);
        trail(6);
        trail(0);
    }
}

/// The size of the character that `text` begins with; 0: it is none.
std::size_t utf8_size(std::string_view text) noexcept {
    const auto lead = static_cast<unsigned char>(text[0]);
    if (lead < 0x80) {
        return lead == 0 ? 0 : 1;
    }
    const std::size_t size = lead < 0xE0 ? 2 : lead < 0xF0 ? 3 : 4;
    if (lead < 0xC2 || lead > 0xF4 || text.size() < size) {
        return 0;
    }
    std::uint32_t code = lead & (0x7FU >> size);
    for (const char c : text.substr(1, size - 1)) {
        const auto trail = static_cast<unsigned char>(c);
        if ((trail & 0xC0U) != 0x80U) {
            return 0;
        }
        code = (code << 6U) | (trail & 0x3FU);
    }
    const bool is_overlong = (size == 3 && code < 0x800) || (size == 4 && code < 0x10000);
    const bool is_surrogate = is_high_surrogate(code) || is_low_surrogate(code);
    return is_overlong || is_surrogate || code > last_code_point ? 0 : size;
}

}  // namespace

void unicode_text::found(unicode_fault fault) noexcept {
    if (fault_ == unicode_fault::none) {
        fault_ = fault;
    }
}

void unicode_text::add(char c) {
    if (high_ != 0) {
        found(unicode_fault::surrogate);
    }
    text_ += c;
}

void unicode_text::add_code_point(std::uint32_t code) {
    if (code == 0 || code > last_code_point) {
        found(unicode_fault::value);
    } else if (is_low_surrogate(code) != (high_ != 0)) {
        found(unicode_fault::surrogate);
    } else if (is_high_surrogate(code)) {
        high_ = code;
    } else if (high_ != 0) {
        append_utf8(text_, 0x10000U + ((high_ & 0x3FFU) << 10U) + (code & 0x3FFU));
        high_ = 0;
    } else {
        append_utf8(text_, code);
    }
}

unicode_fault unicode_text::finish() noexcept {
    if (high_ != 0) {
        found(unicode_fault::surrogate);
    }
    return fault_;
}

std::optional<std::uint32_t> hexadecimal(std::string_view digits, std::size_t count) noexcept {
    std::uint32_t value = 0;
    if (digits.size() < count) {
        return std::nullopt;
    }
    const auto [end, ec] = std::from_chars(digits.data(), digits.data() + count, value, 16);
    if (ec != std::errc{} || end != digits.data() + count) {
        return std::nullopt;
    }
    return value;
}

unicode_fault decode_unicode(std::string_view text, char escape, std::string& decoded) {
    unicode_text out;
    while (!text.empty()) {
        if (text.front() != escape) {
            out.add(text.front());
            text.remove_prefix(1);
            continue;
        }
        if (text.size() > 1 && text[1] == escape) {
            out.add(escape);
            text.remove_prefix(2);
            continue;
        }
        const bool is_long = text.size() > 1 && text[1] == '+';
        const std::size_t prefix = is_long ? 2 : 1;
        const std::size_t count = is_long ? 6 : 4;
        const auto code = hexadecimal(text.substr(prefix), count);
        if (!code) {
            return unicode_fault::escape;
        }
        out.add_code_point(*code);
        text.remove_prefix(prefix + count);
    }
    const auto fault = out.finish();
    decoded = std::move(out.text());
    return fault;
}

std::size_t find_invalid_utf8(std::string_view text) noexcept {
    for (std::size_t at = 0; at < text.size();) {
        const auto size = utf8_size(text.substr(at));
        if (size == 0) {
            return at;
        }
        at += size;
    }
    return std::string_view::npos;
}

}  // namespace signalbox::parser
