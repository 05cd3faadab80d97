// Where our own tokens say that statements end, and what kind of statement each is.
//
// A semicolon ends a statement, but for those inside parentheses (CREATE RULE … DO (a; b)) and
// inside the body of a function or procedure in standard SQL (BEGIN ATOMIC … END). psql's scanner
// follows the same rules.
#pragma once

#include "parser/statements.hpp"

namespace signalbox::parser {

struct token_split {
    std::vector<statement_piece> statements;  // joined they are the text
    std::size_t tokens = 0;
    bool has_inner_semicolons = false;  // where a parser might say that a statement ends
};

token_split split_by_tokens(std::string_view sql, backslashes strings);

/// What one statement is, by its first words.
statement_kind kind_of(std::string_view statement, backslashes strings) noexcept;

}  // namespace signalbox::parser
