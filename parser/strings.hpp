// String constants: '…', E'…', U&'…' and $tag$…$tag$, as PostgreSQL's scanner reads them.
//
// Cost      linear
// Source    PostgreSQL manual, "String Constants"; src/backend/parser/scan.l
#pragma once

#include "parser/lexer.hpp"
#include "parser/unicode.hpp"

#include <string>
#include <string_view>
#include <variant>

namespace signalbox::parser {

struct string_error {
    std::string_view sqlstate;
    std::string message;

    bool operator==(const string_error&) const = default;
};

/// Of U&'…' and U&"…".
string_error unicode_error(unicode_fault fault);

/// The token, a string or a quoted identifier, ends with its own closing quote, not with the text.
bool is_closed(const token& t, backslashes strings) noexcept;

/// U&'…' or U&"…": UESCAPE may follow.
bool has_unicode_escapes(const token& t) noexcept;

/// What a closed string says. `text` may hold several parts, as string_continuation() finds them.
/// `escape` is the escape character of U&'…'.
std::variant<std::string, string_error> string_content(
    std::string_view text, backslashes strings, char escape = '\\'
);

}  // namespace signalbox::parser
