#include "parser/lexer.hpp"

#include <algorithm>
#include <array>

namespace signalbox::parser {
namespace {

enum : std::uint8_t { space = 1, digit = 2, letter = 4, dollar = 8 };

constexpr auto classes = [] {
    std::array<std::uint8_t, 256> table{};
    for (const char c : std::string_view{" \t\n\r\f\v"}) {
        table[static_cast<unsigned char>(c)] = space;
    }
    for (unsigned c = '0'; c <= '9'; ++c) {
        table[c] = digit;
    }
    for (unsigned c = 'a'; c <= 'z'; ++c) {
        table[c] = table[c - 'a' + 'A'] = letter;
    }
    for (unsigned c = 0x80; c < 0x100; ++c) {
        table[c] = letter;
    }
    table['_'] = letter;
    table['$'] = dollar;
    return table;
}();

bool is(char c, unsigned wanted) noexcept {
    return (classes[static_cast<unsigned char>(c)] & wanted) != 0;
}

bool is_space(char c) noexcept {
    return is(c, space);
}

bool is_digit(char c) noexcept {
    return is(c, digit);
}

bool is_word_start(char c) noexcept {
    return is(c, letter);
}

bool is_word_part(char c) noexcept {
    return is(c, unsigned{letter} | digit | dollar);
}

char lowered(char c) noexcept {
    return c >= 'A' && c <= 'Z' ? static_cast<char>(c + 32) : c;
}

}  // namespace

bool has_letters_of(std::string_view text, std::string_view lower) noexcept {
    return std::equal(text.begin(), text.end(), lower.begin(), [](char a, char b) {
        return lowered(a) == b;
    });
}

std::size_t string_continuation(std::string_view text, std::size_t from) noexcept {
    bool has_newline = false;
    std::size_t i = from;
    while (i < text.size()) {
        if (text[i] == '\n' || text[i] == '\r') {
            has_newline = true;
            ++i;
        } else if (is_space(text[i])) {
            ++i;
        } else if (text.substr(i, 2) == "--") {
            i = std::min(text.find_first_of("\r\n", i), text.size());
        } else {
            return has_newline && text[i] == '\'' ? i : 0;
        }
    }
    return 0;
}

void lexer::skip_blank() noexcept {
    for (;;) {
        std::size_t n = 0;
        while (n < rest_.size() && is_space(rest_[n])) {
            ++n;
        }
        rest_.remove_prefix(n);
        if (rest_.starts_with("--")) {
            const auto end = rest_.find_first_of("\r\n");
            rest_.remove_prefix(end == std::string_view::npos ? rest_.size() : end);
        } else if (rest_.starts_with("/*")) {
            std::size_t depth = 0;
            std::size_t i = 0;
            while (i < rest_.size()) {
                const auto two = rest_.substr(i, 2);
                if (two == "/*") {
                    ++depth;
                    i += 2;
                } else if (two == "*/") {
                    i += 2;
                    if (--depth == 0) {
                        break;
                    }
                } else {
                    ++i;
                }
            }
            if (depth > 0) {
                open_comment_ = rest_;
            }
            rest_.remove_prefix(i);
        } else {
            return;
        }
    }
}

token lexer::take(token_kind kind, std::size_t size) noexcept {
    const token t{kind, rest_.substr(0, size)};
    rest_.remove_prefix(t.text.size());
    return t;
}

std::size_t lexer::quoted_size(std::size_t from, char quote) const noexcept {
    // A doubled quote reads as two quoted stretches side by side.
    auto close = rest_.find(quote, from + 1);
    while (close != std::string_view::npos && close + 1 < rest_.size() && rest_[close + 1] == quote
    ) {
        close = rest_.find(quote, close + 2);
    }
    return close == std::string_view::npos ? rest_.size() : close + 1;
}

std::size_t lexer::escaped_size(std::size_t from) const noexcept {
    std::size_t i = from + 1;
    while (i < rest_.size()) {
        const bool is_quote = rest_[i] == '\'';
        if (rest_[i] == '\\' || (is_quote && rest_.substr(i + 1, 1) == "'")) {
            i += 2;
        } else if (!is_quote) {
            ++i;
        } else {
            // 'a' and, on a later line, 'b' are one string, and the second part reads as the first.
            const auto next = string_continuation(rest_, i + 1);
            if (next == 0) {
                return i + 1;
            }
            i = next + 1;
        }
    }
    return rest_.size();
}

std::size_t lexer::plain_string_size(std::size_t from) const noexcept {
    return strings_ == backslashes::escape ? escaped_size(from) : quoted_size(from, '\'');
}

std::size_t lexer::dollar_quoted_size() const noexcept {
    std::size_t tag_end = 1;
    while (tag_end < rest_.size() && is_word_part(rest_[tag_end]) && rest_[tag_end] != '$') {
        ++tag_end;
    }
    if (tag_end >= rest_.size() || rest_[tag_end] != '$' || is_digit(rest_[1])) {
        return 0;
    }
    const auto tag = rest_.substr(0, tag_end + 1);
    const auto close = rest_.find(tag, tag.size());
    return close == std::string_view::npos ? rest_.size() : close + tag.size();
}

/// The letters behind a number begin a token of their own: they may be the E of E'…'.
std::size_t lexer::number_size() const noexcept {
    std::size_t n = 0;
    const auto skip_digits = [&] {
        while (n < rest_.size() && (is_digit(rest_[n]) || rest_[n] == '_')) {
            ++n;
        }
    };
    skip_digits();
    if (n < rest_.size() && rest_[n] == '.') {
        ++n;
        skip_digits();
    }
    if (n < rest_.size() && lowered(rest_[n]) == 'e') {
        auto digit = n + 1;
        if (digit < rest_.size() && (rest_[digit] == '+' || rest_[digit] == '-')) {
            ++digit;
        }
        if (digit < rest_.size() && is_digit(rest_[digit])) {
            n = digit;
            skip_digits();
        }
    }
    return n;
}

token lexer::next() noexcept {
    skip_blank();
    if (rest_.empty()) {
        return {};
    }
    const char c = rest_[0];
    if (c == ';') {
        return take(token_kind::semicolon, 1);
    }
    if (c == '\'') {
        return take(token_kind::string, plain_string_size(0));
    }
    if (c == '"') {
        return take(token_kind::quoted_identifier, quoted_size(0, '"'));
    }
    if (is_word_start(c)) {
        if (rest_.size() > 1 && (rest_[1] == '\'' || rest_[1] == '&')) {
            if (const auto t = prefixed(); t.kind != token_kind::end) {
                return t;
            }
        }
        std::size_t n = 1;
        while (n < rest_.size() && is_word_part(rest_[n])) {
            ++n;
        }
        return take(token_kind::word, n);
    }
    if (is_digit(c)) {
        return take(token_kind::number, number_size());
    }
    if (c == '$') {
        if (const auto size = dollar_quoted_size(); size > 0) {
            return take(token_kind::string, size);
        }
        std::size_t n = 1;
        while (n < rest_.size() && is_digit(rest_[n])) {
            ++n;
        }
        return take(n > 1 ? token_kind::parameter : token_kind::symbol, n);
    }
    return take(token_kind::symbol, 1);
}

/// A string or an identifier that begins with a letter: E'…', U&"…" and their like.
token lexer::prefixed() noexcept {
    const char prefix = lowered(rest_[0]);
    if (rest_[1] == '\'') {
        switch (prefix) {
            case 'e':
                return take(token_kind::string, escaped_size(1));
            case 'b':
            case 'x':
                return take(token_kind::string, quoted_size(1, '\''));
            case 'n':  // the keyword NCHAR and a plain string
                return take(token_kind::string, plain_string_size(1));
            default:
                return {};
        }
    }
    if (prefix == 'u' && rest_.size() > 2 && rest_[2] == '"') {
        return take(token_kind::quoted_identifier, quoted_size(2, '"'));
    }
    if (prefix == 'u' && rest_.size() > 2 && rest_[2] == '\'') {
        return take(token_kind::string, quoted_size(2, '\''));
    }
    return {};
}

bool may_have_second_statement(std::string_view sql) noexcept {
    const auto semicolon = sql.find(';');
    return semicolon != std::string_view::npos &&
           !std::all_of(
               sql.begin() + static_cast<std::ptrdiff_t>(semicolon),
               sql.end(),
               [](char c) {
                   return c == ';' || c == ' ' || c == '\t' || c == '\n' || c == '\r' || c == '\f';
               }
           );
}

bool is_word(const token& t, std::string_view lower) noexcept {
    return t.kind == token_kind::word && equals_ignoring_case(t.text, lower);
}

bool is_symbol(const token& t, std::string_view symbol) noexcept {
    return t.kind == token_kind::symbol && t.text == symbol;
}

}  // namespace signalbox::parser
