#include "parser/sql_names.hpp"

#include "parser/names.hpp"

#include <algorithm>
#include <array>

namespace signalbox::parser {
namespace {

std::optional<found_name> named(const token& t, name_use use) {
    if (!is_name(t)) {
        return std::nullopt;
    }
    return found_name{.use = use, .name = folded_name(t), .body = {}};
}

/// Behind PREPARE: a name, perhaps types in parentheses, AS.
std::optional<found_name> prepared(std::string_view statement, lexer& tokens) {
    auto found = named(tokens.next(), name_use::prepares);
    if (!found) {
        return found;
    }
    for (auto t = tokens.next(); t.kind != token_kind::end; t = tokens.next()) {
        if (is_word(t, "as")) {
            const auto end = t.text.data() + t.text.size() - statement.data();
            found->body = statement.substr(static_cast<std::size_t>(end));
            return found;
        }
    }
    return std::nullopt;  // PREPARE TRANSACTION
}

/// Behind the first word of a statement that may run a prepared one.
std::optional<found_name> executed_within(lexer& tokens) {
    for (auto t = tokens.next(); t.kind != token_kind::end; t = tokens.next()) {
        if (is_word(t, "execute")) {
            return named(tokens.next(), name_use::executes);
        }
    }
    return std::nullopt;
}

}  // namespace

std::optional<found_name> find_sql_name(std::string_view statement, backslashes strings) {
    lexer tokens{statement, strings};
    auto first = tokens.next();
    while (first.kind == token_kind::semicolon) {
        first = tokens.next();
    }
    if (is_word(first, "execute")) {
        return named(tokens.next(), name_use::executes);
    }
    if (is_word(first, "prepare")) {
        return prepared(statement, tokens);
    }
    if (is_word(first, "deallocate")) {
        auto t = tokens.next();
        if (is_word(t, "prepare")) {
            t = tokens.next();
        }
        return is_word(t, "all") ? std::nullopt : named(t, name_use::deallocates);
    }
    if (is_word(first, "explain") || is_word(first, "create")) {
        return executed_within(tokens);
    }
    return std::nullopt;
}

bool may_use_sql_names(std::string_view sql) noexcept {
    constexpr auto words = std::to_array<std::string_view>({"execute", "prepare", "deallocate"});
    for (std::size_t i = 0; i < sql.size(); ++i) {
        const auto c = static_cast<char>(sql[i] | 0x20);
        if ((c == 'e' || c == 'p' || c == 'd') &&
            std::any_of(words.begin(), words.end(), [&](std::string_view word) {
                return equals_ignoring_case(sql.substr(i, word.size()), word);
            })) {
            return true;
        }
    }
    return false;
}

}  // namespace signalbox::parser
