// libFuzzer target: whatever the text and however its strings read, the pieces joined are the text,
// each piece is one statement by itself, and our tokens cut what libpg_query can parse as it does.
// The dictionary tests/fuzz/sql.dict has the words.
#include "parser/limits.hpp"
#include "tests/fuzz/choices.hpp"
#include "tests/support/exact_buffer.hpp"
#include "tests/support/statement_properties.hpp"

using namespace signalbox::parser;
using namespace signalbox::tests;

namespace {

/// A column alias `end` or `case` in a BEGIN ATOMIC body is where tokens may be wrong.
bool may_have_a_body(std::string_view sql) {
    lexer tokens{sql};
    for (token t = tokens.next(); t.kind != token_kind::end; t = tokens.next()) {
        if (equals_ignoring_case(t.text, "atomic")) {
            return true;
        }
    }
    return false;
}

void check_pieces(std::string_view sql, backslashes strings) {
    static const statement_rules rules{{}};
    const auto found = rules.decide(sql, strings);
    require(rebuilds(found, sql) && adds_up(found) && !found.calls_rpc);
    require(rules.decide(sql, strings) == found);
    if (may_have_a_body(sql)) {
        return;
    }
    for (const auto& piece : found.statements) {
        const exact_buffer text{sql.substr(piece.offset, piece.size)};
        const auto alone = split_by_tokens(text, strings).statements;
        require(alone.size() == 1 && alone[0].kind == piece.kind);
    }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    const exact_buffer text{{reinterpret_cast<const char*>(data), size}};
    const auto sql = text.view();
    check_pieces(sql, backslashes::plain);
    check_pieces(sql, backslashes::escape);
    if (sql.find('\0') == std::string_view::npos && scanner_steps(sql) <= max_scanner_steps &&
        !may_have_a_body(sql)) {
        require(splits_agree(sql));
    }
    return 0;
}
