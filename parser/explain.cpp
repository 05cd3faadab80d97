#include "parser/explain.hpp"

#include "parser/limits.hpp"
#include "parser/names.hpp"
#include "parser/pg_query.hpp"
#include "parser/statements.hpp"

#include <array>
#include <iterator>

namespace signalbox::parser {
namespace {

constexpr std::string_view explain = "explain";

token first_token(lexer& tokens) noexcept {
    auto t = tokens.next();
    while (t.kind == token_kind::semicolon) {
        t = tokens.next();
    }
    return t;
}

/// Behind `(`: a query of its own, not an option.
bool begins_query(const token& t) noexcept {
    static constexpr std::array<std::string_view, 4> words{"select", "with", "values", "table"};
    for (const auto word : words) {
        if (is_word(t, word)) {
            return true;
        }
    }
    return is_symbol(t, "(");
}

bool says_text(const token& value) {
    auto said = value.text;
    if (value.kind == token_kind::string && said.size() >= 2 && said.front() == '\'') {
        said = said.substr(1, said.size() - 2);
    }
    return equals_ignoring_case(is_name(value) ? folded_name(value) : std::string{said}, "text");
}

/// From the first option to the parenthesis that closes them. False: the format is another, or the
/// list is not closed.
bool skip_options(token name, lexer& tokens) {
    bool is_text = true;
    while (true) {
        const bool is_format = is_name(name) && folded_name(name) == "format";
        auto t = tokens.next();
        if (is_format) {
            is_text = says_text(t);  // the last one counts
        }
        while (!is_symbol(t, ",") && !is_symbol(t, ")")) {
            if (t.kind == token_kind::end || t.kind == token_kind::semicolon) {
                return false;
            }
            t = tokens.next();
        }
        if (is_symbol(t, ")")) {
            return is_text;
        }
        name = tokens.next();
    }
}

}  // namespace

std::optional<std::string_view> explained_query(std::string_view statement, backslashes strings) {
    lexer tokens{statement, strings};
    if (!is_word(first_token(tokens), explain)) {
        return std::nullopt;
    }
    auto t = tokens.next();
    if (is_symbol(t, "(")) {
        auto behind = tokens;
        const auto option = behind.next();
        if (!begins_query(option)) {
            if (!skip_options(option, behind)) {
                return std::nullopt;
            }
            t = behind.next();
            tokens = behind;
        }
    } else {
        for (const std::string_view word : {"analyze", "analyse", "verbose"}) {
            if (is_word(t, word)) {
                t = tokens.next();
            }
        }
    }
    if (t.kind == token_kind::end || t.kind == token_kind::semicolon || is_word(t, "execute")) {
        return std::nullopt;
    }
    return statement.substr(static_cast<std::size_t>(std::distance(statement.data(), t.text.data()))
    );
}

bool begins_with_explain(std::string_view statement) noexcept {
    lexer tokens{statement};
    return is_word(first_token(tokens), explain);
}

bool may_explain(std::string_view sql) noexcept {
    // x is the rarest of its letters.
    for (auto at = sql.find_first_of("xX"); at != std::string_view::npos;
         at = sql.find_first_of("xX", at + 1)) {
        if (at > 0 && equals_ignoring_case(sql.substr(at - 1, explain.size()), explain)) {
            return true;
        }
    }
    return false;
}

std::optional<explained> parse_explained(std::string_view sql, backslashes strings) {
    const bool is_readable =
        strings == backslashes::plain || sql.find('\\') == std::string_view::npos;
    if (!is_readable || !statement_rules::is_light(sql) ||
        sql.find('\0') != std::string_view::npos || scanner_steps(sql) > max_scanner_steps) {
        return std::nullopt;
    }
    return parsed_explained(std::string{sql});
}

}  // namespace signalbox::parser
