// SQL text cut into tokens, in one linear pass, without libpg_query.
//
// It knows what decides where a token ends: '…' and E'…' strings, dollar quotes with tags, "…"
// identifiers, nested comments, line comments. It never fails: a quote that is never closed runs to
// the end of the text. Cost      linear in the text, no allocation, no recursion Source PostgreSQL
// manual, "Lexical Structure"
#pragma once

#include <string_view>

namespace signalbox::parser {

enum class token_kind {
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
    explicit lexer(std::string_view text) noexcept : rest_(text) {}

    token next() noexcept;

private:
    void skip_blank() noexcept;
    token take(token_kind kind, std::size_t size) noexcept;
    [[nodiscard]] std::size_t quoted_size(std::size_t from, char quote, bool backslash)
        const noexcept;
    [[nodiscard]] std::size_t dollar_quoted_size() const noexcept;

    std::string_view rest_;
};

/// Equal but for the case of ASCII letters; `lower` is in lower case already.
bool equals_ignoring_case(std::string_view text, std::string_view lower) noexcept;

}  // namespace signalbox::parser
