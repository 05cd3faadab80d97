#include "parser/strings.hpp"

#include "wire/error_response.hpp"

#include <algorithm>
#include <utility>

namespace signalbox::parser {
namespace {

constexpr std::string_view invalid_escape_sequence = "22025";
constexpr std::string_view character_not_in_repertoire = "22021";

bool has_backslashes(std::string_view text, backslashes strings) noexcept {
    return text[0] == 'E' || text[0] == 'e' ||
           (strings == backslashes::escape && (text[0] == '\'' || text[0] == 'N' || text[0] == 'n')
           );
}

std::string_view dollar_tag(std::string_view text) noexcept {
    return text.substr(0, text.find('$', 1) + 1);
}

bool is_escaped_string_closed(std::string_view text) noexcept {
    std::size_t i = text.find('\'') + 1;
    while (i < text.size()) {
        if (text[i] == '\\' || (text[i] == '\'' && text.substr(i + 1, 1) == "'")) {
            i += 2;
        } else if (text[i] != '\'') {
            ++i;
        } else if (i + 1 == text.size()) {
            return true;
        } else {
            i = string_continuation(text, i + 1) + 1;
        }
    }
    return false;
}

/// As PostgreSQL says it: each byte that the character should have had, as far as there are any.
string_error invalid_bytes(std::string_view rest) {
    const auto lead = static_cast<unsigned char>(rest[0]);
    const std::size_t size = lead < 0xC0 ? 1 : lead < 0xE0 ? 2 : lead < 0xF0 ? 3 : 4;
    std::string message = "invalid byte sequence for encoding \"UTF8\":";
    for (const char c : rest.substr(0, lead >= 0xF8 ? 1 : size)) {
        static constexpr std::string_view digits = "0123456789abcdef";
        const auto byte = static_cast<unsigned char>(c);
        message += " 0x";
        message += digits[byte >> 4U];
        message += digits[byte & 0xFU];
    }
    return {character_not_in_repertoire, std::move(message)};
}

/// A string with backslash escapes, from its first opening quote to its last closing one.
class escaped_string {
public:
    explicit escaped_string(std::string_view text) noexcept
        : text_(text), at_(text.find('\'') + 1) {}

    std::variant<std::string, string_error> read() {
        while (at_ + 1 < text_.size()) {
            if (text_[at_] == '\\') {
                read_escape();
            } else if (text_[at_] != '\'') {
                out_.add(text_[at_++]);
            } else if (text_[at_ + 1] == '\'') {
                out_.add('\'');
                at_ += 2;
            } else {
                at_ = string_continuation(text_, at_ + 1) + 1;
            }
            if (is_malformed_) {
                return string_error{
                    invalid_escape_sequence, unicode_error(unicode_fault::escape).message};
            }
        }
        if (const auto fault = out_.finish(); fault != unicode_fault::none) {
            return unicode_error(fault);
        }
        if (has_bytes_) {
            if (const auto bad = find_invalid_utf8(out_.text()); bad != std::string::npos) {
                return invalid_bytes(std::string_view{out_.text()}.substr(bad));
            }
        }
        return std::move(out_.text());
    }

private:
    void read_escape() {
        const char c = text_[at_ + 1];
        at_ += 2;
        if (c == 'u' || c == 'U') {
            const std::size_t count = c == 'u' ? 4 : 8;
            const auto code = hexadecimal(text_.substr(at_), count);
            is_malformed_ = !code;
            out_.add_code_point(code.value_or(0));
            at_ += count;
        } else if (c == 'x') {
            read_byte(digits(at_, 2, 16), 16, c);
        } else if (c >= '0' && c <= '7') {
            --at_;
            read_byte(digits(at_, 3, 8), 8, c);
        } else {
            static constexpr std::string_view letters = "bfnrtv";
            static constexpr std::string_view meanings = "\b\f\n\r\t\v";
            const auto known = letters.find(c);
            out_.add(known == std::string_view::npos ? c : meanings[known]);
        }
    }

    /// How many digits of `base` stand there, at most `most`.
    [[nodiscard]] std::size_t digits(std::size_t from, std::size_t most, unsigned base)
        const noexcept {
        std::size_t count = 0;
        while (count < most && digit(from + count) < base) {
            ++count;
        }
        return count;
    }

    [[nodiscard]] unsigned digit(std::size_t at) const noexcept {
        const char c = text_[at];
        if (c >= '0' && c <= '9') {
            return static_cast<unsigned>(c - '0');
        }
        const auto letter = static_cast<unsigned char>(c) | 0x20U;
        return letter >= 'a' && letter <= 'f' ? letter - 'a' + 10 : 16;
    }

    void read_byte(std::size_t count, unsigned base, char c) {
        if (count == 0) {
            out_.add(c);
            return;
        }
        unsigned value = 0;
        for (; count > 0; --count) {
            value = value * base + digit(at_++);
        }
        value &= 0xFFU;
        has_bytes_ = has_bytes_ || value == 0 || value >= 0x80;
        out_.add(static_cast<char>(value));
    }

    std::string_view text_;
    std::size_t at_;
    unicode_text out_;
    bool has_bytes_ = false;  // that may not be UTF-8
    bool is_malformed_ = false;
};

/// A string without backslash escapes, its quotes no longer doubled.
std::string plain_content(std::string_view text) {
    std::string out;
    for (auto i = text.find('\'') + 1; i + 1 < text.size();) {
        if (text[i] != '\'') {
            out += text[i++];
        } else if (text[i + 1] == '\'') {
            out += '\'';
            i += 2;
        } else {
            i = string_continuation(text, i + 1) + 1;
        }
    }
    return out;
}

}  // namespace

string_error unicode_error(unicode_fault fault) {
    switch (fault) {
        case unicode_fault::value:
            return {wire::sqlstate::syntax_error, "invalid Unicode escape value"};
        case unicode_fault::surrogate:
            return {wire::sqlstate::syntax_error, "invalid Unicode surrogate pair"};
        default:
            return {wire::sqlstate::syntax_error, "invalid Unicode escape"};
    }
}

bool has_unicode_escapes(const token& t) noexcept {
    return (t.kind == token_kind::string || t.kind == token_kind::quoted_identifier) &&
           t.text.size() > 1 && t.text[1] == '&' && (t.text[0] == 'U' || t.text[0] == 'u');
}

bool is_closed(const token& t, backslashes strings) noexcept {
    if (t.text[0] == '$') {
        const auto tag = dollar_tag(t.text);
        return t.text.size() >= 2 * tag.size() && t.text.ends_with(tag);
    }
    if (t.kind == token_kind::string && has_backslashes(t.text, strings)) {
        return is_escaped_string_closed(t.text);
    }
    // Every quote inside is one of two.
    const char quote = t.kind == token_kind::string ? '\'' : '"';
    return std::count(t.text.begin(), t.text.end(), quote) % 2 == 0;
}

std::variant<std::string, string_error> string_content(
    std::string_view text, backslashes strings, char escape
) {
    if (text[0] == '$') {
        const auto tag = dollar_tag(text).size();
        return std::string{text.substr(tag, text.size() - 2 * tag)};
    }
    if (has_backslashes(text, strings)) {
        return escaped_string{text}.read();
    }
    auto content = plain_content(text);
    if (has_unicode_escapes({token_kind::string, text})) {
        std::string decoded;
        const auto fault = decode_unicode(content, escape, decoded);
        if (fault != unicode_fault::none) {
            return unicode_error(fault);
        }
        return decoded;
    }
    return content;
}

}  // namespace signalbox::parser
