// SQL text with every literal taken out, and nothing else.
#pragma once

#include <string>
#include <string_view>

namespace signalbox::parser {

/// What stands for a literal.
constexpr std::string_view redacted_literal = "█";

/// The text with █ for each number, string (of every syntax: '…', E'…', U&'…', B'…', $$…$$), TRUE
/// and FALSE; a sign that belongs to a number goes too. Names, keywords, types, parameters and NULL
/// stay, also where a quoted name looks like a literal. Comments and white space become one blank.
/// What it does not understand as a literal it can only keep, so the text is one that a server or
/// Signalbox has written.
std::string redacted_sql(std::string_view sql);

}  // namespace signalbox::parser
