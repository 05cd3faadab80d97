// See base64.hpp. Our own, because OpenSSL's EVP_DecodeBlock trims white space and counts the
// padding as bytes.
#include "wire/base64.hpp"

#include <array>

namespace signalbox::wire {
namespace {

constexpr std::string_view alphabet =
    "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
constexpr std::uint8_t not_a_digit = 0xff;

constexpr std::array<std::uint8_t, 256> make_digits() {
    std::array<std::uint8_t, 256> digits{};
    digits.fill(not_a_digit);
    for (std::size_t i = 0; i < alphabet.size(); ++i) {
        digits[static_cast<unsigned char>(alphabet[i])] = static_cast<std::uint8_t>(i);
    }
    return digits;
}

constexpr auto digits = make_digits();

std::uint32_t digit(char c) noexcept {
    return digits[static_cast<unsigned char>(c)];
}

// How many bytes the text means, judged by its length and padding alone.
std::optional<std::size_t> decoded_size(std::string_view text) noexcept {
    if (text.size() % 4 != 0) {
        return std::nullopt;
    }
    std::size_t padding = 0;
    if (text.ends_with("==")) {
        padding = 2;
    } else if (text.ends_with('=')) {
        padding = 1;
    }
    return text.size() / 4 * 3 - padding;
}

// `out` holds at least decoded_size bytes.
bool decode(std::string_view text, std::size_t size, std::uint8_t* out) noexcept {
    std::size_t done = 0;
    for (; size - done >= 3; done += 3, text.remove_prefix(4)) {
        const std::uint32_t a = digit(text[0]);
        const std::uint32_t b = digit(text[1]);
        const std::uint32_t c = digit(text[2]);
        const std::uint32_t d = digit(text[3]);
        if (((a | b | c | d) & 0xc0U) != 0) {
            return false;
        }
        const std::uint32_t group = a << 18 | b << 12 | c << 6 | d;
        *out++ = static_cast<std::uint8_t>(group >> 16);
        *out++ = static_cast<std::uint8_t>(group >> 8);
        *out++ = static_cast<std::uint8_t>(group);
    }
    const std::size_t rest = size - done;
    if (rest == 0) {
        return text.empty();
    }
    const std::uint32_t a = digit(text[0]);
    const std::uint32_t b = digit(text[1]);
    const std::uint32_t c = rest == 2 ? digit(text[2]) : 0;
    if (((a | b | c) & 0xc0U) != 0) {
        return false;
    }
    const std::uint32_t group = a << 18 | b << 12 | c << 6;
    *out++ = static_cast<std::uint8_t>(group >> 16);
    if (rest == 2) {
        *out++ = static_cast<std::uint8_t>(group >> 8);
        return (group & 0xffU) == 0;
    }
    return (group & 0xffffU) == 0;
}

}  // namespace

void append_base64(std::string& out, std::span<const std::uint8_t> bytes) {
    out.reserve(out.size() + (bytes.size() + 2) / 3 * 4);
    for (; bytes.size() >= 3; bytes = bytes.subspan(3)) {
        const std::uint32_t group =
            std::uint32_t{bytes[0]} << 16 | std::uint32_t{bytes[1]} << 8 | bytes[2];
        out += alphabet[group >> 18];
        out += alphabet[group >> 12 & 63];
        out += alphabet[group >> 6 & 63];
        out += alphabet[group & 63];
    }
    if (bytes.empty()) {
        return;
    }
    const std::uint32_t group =
        std::uint32_t{bytes[0]} << 16 | (bytes.size() == 2 ? std::uint32_t{bytes[1]} << 8 : 0);
    out += alphabet[group >> 18];
    out += alphabet[group >> 12 & 63];
    out += bytes.size() == 2 ? alphabet[group >> 6 & 63] : '=';
    out += '=';
}

void append_base64(std::string& out, std::string_view bytes) {
    append_base64(
        out, std::span{reinterpret_cast<const std::uint8_t*>(bytes.data()), bytes.size()}
    );
}

std::optional<std::string> decode_base64(std::string_view text) {
    const auto size = decoded_size(text);
    if (!size) {
        return std::nullopt;
    }
    std::string bytes(*size, '\0');
    if (!decode(text, *size, reinterpret_cast<std::uint8_t*>(bytes.data()))) {
        return std::nullopt;
    }
    return bytes;
}

bool decode_base64_into(std::string_view text, std::span<std::uint8_t> out) noexcept {
    return decoded_size(text) == out.size() && decode(text, out.size(), out.data());
}

}  // namespace signalbox::wire
