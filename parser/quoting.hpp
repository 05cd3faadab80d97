// Names and strings written as SQL text that reads as what they are.
#pragma once

#include <string>
#include <string_view>

namespace signalbox::parser {

/// Quoted where PostgreSQL would fold it or could not read it as one word, and where the grammar of
/// parser/commands.hpp could read the bare word as a keyword. The name is not cut to 63 bytes.
std::string quoted_identifier(std::string_view name);

/// Quoted as quote_identifier() of the server does it: wherever a word is a keyword that cannot be
/// a name in every place (a version's new keywords apart).
std::string quoted_name(std::string_view name);

/// '…', or E'…' where a backslash is in it, so that it reads the same whatever
/// standard_conforming_strings says.
std::string quoted_literal(std::string_view value);

}  // namespace signalbox::parser
