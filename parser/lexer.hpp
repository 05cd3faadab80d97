// SQL text cut into tokens, in one linear pass, without libpg_query.
//
// It knows what decides where a token ends: '…' and E'…' strings, dollar quotes with tags, "…"
// identifiers, nested comments, line comments. It never fails: a quote that is never closed runs to
// the end of the text. Where versions of PostgreSQL differ (1E'…' is two tokens before 15 and an
// error since), the older reading is taken: an error needs no boundaries.
//
// Cost      linear in the text, no allocation, no recursion
// Source    PostgreSQL manual, "Lexical Structure"; src/backend/parser/scan.l
#pragma once

#include <cstdint>
#include <string_view>

namespace signalbox::parser {

/// How a text's plain '…' strings read.
enum class backslashes : std::uint8_t { plain, escape };  // escape: standard_conforming_strings off

enum class token_kind : std::uint8_t {
    end,
    word,
    quoted_identifier,
    string,
    number,
    parameter,
    semicolon,
    symbol
};

struct token {
    token_kind kind = token_kind::end;
    std::string_view text;  // as it stands, quotes included
};

class lexer {
public:
    explicit lexer(std::string_view text, backslashes strings = backslashes::plain) noexcept
        : rest_(text), strings_(strings) {}

    token next() noexcept;

    /// Once the end was reached: the comment that is never closed, empty where there is none.
    [[nodiscard]] std::string_view open_comment() const noexcept { return open_comment_; }

private:
    void skip_blank() noexcept;
    token take(token_kind kind, std::size_t size) noexcept;
    token prefixed() noexcept;
    [[nodiscard]] std::size_t quoted_size(std::size_t from, char quote) const noexcept;
    [[nodiscard]] std::size_t escaped_size(std::size_t from) const noexcept;
    [[nodiscard]] std::size_t plain_string_size(std::size_t from) const noexcept;
    [[nodiscard]] std::size_t dollar_quoted_size() const noexcept;
    [[nodiscard]] std::size_t number_size() const noexcept;

    std::string_view rest_;
    std::string_view open_comment_;
    backslashes strings_;
};

/// Where the next part of a string whose quote closed before `from` opens; 0: nowhere. Only blanks
/// with a line's end and line comments may stand between.
std::size_t string_continuation(std::string_view text, std::size_t from) noexcept;

/// Something stands behind the first semicolon, be it in a string or in a comment.
bool may_have_second_statement(std::string_view sql) noexcept;

/// Of texts of one size.
bool has_letters_of(std::string_view text, std::string_view lower) noexcept;

/// Equal but for the case of ASCII letters; `lower` is in lower case already. Most often the sizes
/// differ, and that costs no call.
inline bool equals_ignoring_case(std::string_view text, std::string_view lower) noexcept {
    return text.size() == lower.size() && has_letters_of(text, lower);
}

/// The unquoted word `lower`.
bool is_word(const token& t, std::string_view lower) noexcept;
bool is_symbol(const token& t, std::string_view symbol) noexcept;

}  // namespace signalbox::parser
