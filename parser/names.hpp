// Names in SQL text, as PostgreSQL reads them: folded to lower case, unquoted, U&"…" decoded, cut
// to 63 bytes.
#pragma once

#include "parser/lexer.hpp"
#include "parser/unicode.hpp"

#include <string>

namespace signalbox::parser {

bool is_name(const token& t) noexcept;

/// The character in UESCAPE's string, as it stands; a backslash where it is none.
char escape_of(std::string_view string) noexcept;

/// `escape` is the escape character of U&"…" (UESCAPE); a backslash if nothing is said.
/// Escapes that are not well formed are kept as they stand.
std::string folded_name(const token& name, char escape = '\\');

/// The same, and what is wrong with its escapes.
std::string folded_name(const token& name, char escape, unicode_fault& fault);

}  // namespace signalbox::parser
