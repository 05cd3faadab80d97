#include "parser/lexer.hpp"

#include <algorithm>

namespace signalbox::parser {
namespace {

bool is_space(char c) noexcept {
    return c == ' ' || c == '\t' || c == '\n' || c == '\r' || c == '\f' || c == '\v';
}

bool is_digit(char c) noexcept {
    return c >= '0' && c <= '9';
}

bool is_word_start(char c) noexcept {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_' ||
           static_cast<unsigned char>(c) >= 0x80;
}

bool is_word(char c) noexcept {
    return is_word_start(c) || is_digit(c) || c == '$';
}

char lowered(char c) noexcept {
    return c >= 'A' && c <= 'Z' ? static_cast<char>(c + 32) : c;
}

}  // namespace

bool equals_ignoring_case(std::string_view text, std::string_view lower) noexcept {
    return text.size() == lower.size() &&
           std::equal(text.begin(), text.end(), lower.begin(), [](char a, char b) {
               return lowered(a) == b;
           });
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

std::size_t lexer::quoted_size(std::size_t from, char quote, bool backslash) const noexcept {
    std::size_t i = from + 1;
    while (i < rest_.size()) {
        if (rest_[i] == quote) {
            if (i + 1 < rest_.size() && rest_[i + 1] == quote) {
                i += 2;
                continue;
            }
            return i + 1;
        }
        i += backslash && rest_[i] == '\\' ? 2 : 1;
    }
    return rest_.size();
}

std::size_t lexer::dollar_quoted_size() const noexcept {
    std::size_t tag_end = 1;
    while (tag_end < rest_.size() && is_word(rest_[tag_end]) && rest_[tag_end] != '$') {
        ++tag_end;
    }
    if (tag_end >= rest_.size() || rest_[tag_end] != '$' || is_digit(rest_[1])) {
        return 0;
    }
    const auto tag = rest_.substr(0, tag_end + 1);
    const auto close = rest_.find(tag, tag.size());
    return close == std::string_view::npos ? rest_.size() : close + tag.size();
}

token lexer::next() noexcept {
    skip_blank();
    if (rest_.empty()) {
        return {};
    }
    const char c = rest_[0];
    const char second = rest_.size() > 1 ? rest_[1] : '\0';
    if (c == ';') {
        return take(token_kind::semicolon, 1);
    }
    if (c == '\'') {
        return take(token_kind::string, quoted_size(0, '\'', false));
    }
    if ((c == 'E' || c == 'e') && second == '\'') {
        return take(token_kind::string, quoted_size(1, '\'', true));
    }
    if ((c == 'B' || c == 'b' || c == 'X' || c == 'x' || c == 'N' || c == 'n') && second == '\'') {
        return take(token_kind::string, quoted_size(1, '\'', false));
    }
    if ((c == 'U' || c == 'u') && second == '&' && rest_.size() > 2 &&
        (rest_[2] == '\'' || rest_[2] == '"')) {
        return take(
            rest_[2] == '"' ? token_kind::quoted_identifier : token_kind::string,
            quoted_size(2, rest_[2], false)
        );
    }
    if (c == '"') {
        return take(token_kind::quoted_identifier, quoted_size(0, '"', false));
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
    if (is_word_start(c)) {
        std::size_t n = 1;
        while (n < rest_.size() && is_word(rest_[n])) {
            ++n;
        }
        return take(token_kind::word, n);
    }
    if (is_digit(c)) {
        std::size_t n = 1;
        while (n < rest_.size() && (is_word(rest_[n]) || rest_[n] == '.')) {
            ++n;
        }
        return take(token_kind::number, n);
    }
    return take(token_kind::symbol, 1);
}

}  // namespace signalbox::parser
