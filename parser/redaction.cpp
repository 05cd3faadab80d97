#include "parser/redaction.hpp"

#include "parser/lexer.hpp"

namespace signalbox::parser {
namespace {

/// Behind these, `-` is an operator between two operands; else it is a sign.
bool ends_operand(const token& t) noexcept {
    switch (t.kind) {
        case token_kind::quoted_identifier:
        case token_kind::string:
        case token_kind::number:
        case token_kind::parameter:
            return true;
        case token_kind::word:
            // Keywords may stand here too (THEN -1): a sign lost to an operator costs nothing.
            return false;
        default:
            return t.text == ")" || t.text == "]";
    }
}

}  // namespace

std::string redacted_sql(std::string_view sql) {
    std::string out;
    lexer in{sql};
    token before;
    const char* end = sql.data();
    bool is_sign = false;
    bool is_test = false;  // behind IS, or IS NOT
    for (token t = in.next(); t.kind != token_kind::end; t = in.next()) {
        const bool has_gap = t.text.data() != end;
        end = t.text.data() + t.text.size();
        const bool is_truth = !is_test && (is_word(t, "true") || is_word(t, "false"));
        if (t.kind == token_kind::string || t.kind == token_kind::number || is_truth) {
            if (is_sign && t.kind == token_kind::number && !has_gap) {
                out.pop_back();
            }
            out += has_gap && !out.empty() ? " " : "";
            out += redacted_literal;
        } else {
            out += has_gap && !out.empty() ? " " : "";
            out += t.text;
        }
        is_sign = (t.text == "-" || t.text == "+") && !ends_operand(before);
        is_test = is_word(t, "is") || (is_test && is_word(t, "not"));
        before = t;
    }
    return out;
}

}  // namespace signalbox::parser
