#include "parser/names.hpp"

#include <algorithm>
#include <charconv>
#include <optional>

namespace signalbox::parser {
namespace {

constexpr std::size_t max_name_bytes = 63;  // NAMEDATALEN - 1

bool is_unicode(const token& t) noexcept {
    return t.text.size() > 1 && t.text[1] == '&';
}

std::string_view within_quotes(std::string_view text) noexcept {
    text.remove_prefix(text.find('"') + 1);
    if (text.ends_with('"')) {
        text.remove_suffix(1);
    }
    return text;
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
        out += static_cast<char>(0xF0U | ((code >> 18U) & 7U));
        trail(12);
        trail(6);
        trail(0);
    }
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

/// \0061, \+000061 and \\; surrogates come in pairs. What is not well formed is kept as it stands:
/// the server will refuse it.
std::string decoded(std::string_view text, char escape) {
    std::string out;
    std::uint32_t high = 0;
    while (!text.empty()) {
        if (text.front() != escape) {
            out += text.front();
            text.remove_prefix(1);
            continue;
        }
        if (text.size() > 1 && text[1] == escape) {
            out += escape;
            text.remove_prefix(2);
            continue;
        }
        const bool is_long = text.size() > 1 && text[1] == '+';
        const std::size_t prefix = is_long ? 2 : 1;
        const std::size_t count = is_long ? 6 : 4;
        const auto code = hexadecimal(text.substr(prefix), count);
        if (!code) {
            out += escape;
            text.remove_prefix(1);
            continue;
        }
        text.remove_prefix(prefix + count);
        if (*code >= 0xD800 && *code < 0xDC00) {
            high = *code;
        } else if (*code >= 0xDC00 && *code < 0xE000) {
            append_utf8(out, 0x10000U + ((high & 0x3FFU) << 10U) + (*code & 0x3FFU));
        } else {
            append_utf8(out, *code);
        }
    }
    return out;
}

std::string undoubled(std::string_view text) {
    std::string out;
    for (std::size_t i = 0; i < text.size(); ++i) {
        out += text[i];
        if (text.substr(i, 2) == "\"\"") {
            ++i;
        }
    }
    return out;
}

void truncate(std::string& name) {
    if (name.size() <= max_name_bytes) {
        return;
    }
    std::size_t size = max_name_bytes;
    while (size > 0 && (static_cast<unsigned char>(name[size]) & 0xC0U) == 0x80U) {
        --size;  // never within a character of UTF-8
    }
    name.resize(size);
}

}  // namespace

bool is_name(const token& t) noexcept {
    return t.kind == token_kind::word || t.kind == token_kind::quoted_identifier;
}

std::string folded_name(const token& name, char escape) {
    std::string folded;
    if (name.kind == token_kind::quoted_identifier) {
        folded = undoubled(within_quotes(name.text));
        if (is_unicode(name)) {
            folded = decoded(folded, escape);
        }
    } else {
        folded = name.text;
        std::transform(folded.begin(), folded.end(), folded.begin(), [](char c) {
            return c >= 'A' && c <= 'Z' ? static_cast<char>(c + 32) : c;
        });
    }
    truncate(folded);
    return folded;
}

}  // namespace signalbox::parser
