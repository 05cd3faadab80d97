#include "parser/split.hpp"

#include <algorithm>
#include <array>
#include <iterator>

namespace signalbox::parser {
namespace {

/// The first tokens of one statement: enough for CREATE OR REPLACE FUNCTION and for ROLLBACK
/// TRANSACTION AND NO CHAIN.
class first_tokens {
public:
    void clear() noexcept { size_ = 0; }

    void add(const token& t) noexcept {
        if (size_ < tokens_.size()) {
            tokens_[size_++] = t;
        }
    }

    [[nodiscard]] bool is_empty() const noexcept { return size_ == 0; }

    [[nodiscard]] bool full() const noexcept { return size_ == tokens_.size(); }

    /// Token number `at` is the unquoted word `lower`.
    [[nodiscard]] bool is(std::size_t at, std::string_view lower) const noexcept {
        return at < size_ && is_word(tokens_[at], lower);
    }

    [[nodiscard]] bool has(std::size_t at) const noexcept { return at < size_; }

    [[nodiscard]] bool is_dot(std::size_t at) const noexcept {
        return at < size_ && tokens_[at].text == ".";
    }

private:
    std::array<token, 5> tokens_;
    std::size_t size_ = 0;
};

statement_kind kind_of_block_end(const first_tokens& first) noexcept {
    const std::size_t next = first.is(1, "work") || first.is(1, "transaction") ? 2 : 1;
    const bool goes_on = first.is(next, "and") && first.is(next + 1, "chain");
    if (goes_on || first.is(next, "to") || first.is(1, "prepared")) {
        return statement_kind::other;
    }
    return statement_kind::end_block;
}

/// Also of what begins so and is a syntax error further on. A parameter's name may begin like ours:
/// SHOW connections.x, SHOW connection.
bool is_for_signalbox(const first_tokens& first) noexcept {
    if (first.is(0, "show")) {
        if (first.is(1, "create")) {
            return first.is(2, "connection");
        }
        const bool is_ours = first.is(1, "connections") || first.is(1, "notices") ||
                             (first.is(1, "connection") && first.has(2));
        return is_ours && !first.is_dot(2);
    }
    if (first.is(1, "connection")) {
        return first.is(0, "create") || first.is(0, "alter") || first.is(0, "drop") ||
               first.is(0, "validate");
    }
    return first.is(0, "alter") && first.is(1, "notice");
}

statement_kind kind_of_first(const first_tokens& first) noexcept {
    if (is_for_signalbox(first)) {
        return statement_kind::signalbox;
    }
    if (first.is(0, "begin") || (first.is(0, "start") && first.is(1, "transaction"))) {
        return statement_kind::begin;
    }
    if (first.is(0, "commit") || first.is(0, "end") || first.is(0, "rollback") ||
        first.is(0, "abort")) {
        return kind_of_block_end(first);
    }
    if (first.is(0, "prepare") && first.is(1, "transaction")) {
        return statement_kind::end_block;
    }
    return statement_kind::other;
}

/// Says which semicolons end a statement. Tokens go in one after the other.
class statement_reader {
public:
    bool ends_statement(const token& t) noexcept {
        if (t.kind == token_kind::semicolon) {
            return parentheses_ == 0 && bodies_ == 0;
        }
        first_.add(t);
        if (t.kind == token_kind::symbol) {
            if (t.text == "(") {
                ++parentheses_;
            } else if (t.text == ")" && parentheses_ > 0) {
                --parentheses_;
            }
        } else if (t.kind == token_kind::word && parentheses_ == 0) {
            on_word(t);
        }
        previous_ = t;
        return false;
    }

    [[nodiscard]] const first_tokens& first() const noexcept { return first_; }

    void start_statement() noexcept { *this = {}; }

private:
    [[nodiscard]] bool is_routine() const noexcept {
        const std::size_t object = first_.is(1, "or") && first_.is(2, "replace") ? 3 : 1;
        return first_.is(0, "create") &&
               (first_.is(object, "function") || first_.is(object, "procedure"));
    }

    void on_word(const token& t) noexcept {
        if (bodies_ == 0) {
            if (is_word(t, "atomic") && is_word(previous_, "begin") && is_routine()) {
                bodies_ = 1;
            }
        } else if (previous_.text == "." || is_word(previous_, "as")) {
            return;  // the name of a column or of a result
        } else if (is_word(t, "case")) {
            ++bodies_;
        } else if (is_word(t, "end")) {
            --bodies_;
        }
    }

    first_tokens first_;
    token previous_;
    std::size_t parentheses_ = 0;
    std::size_t bodies_ = 0;  // BEGIN ATOMIC, and each CASE within
};

}  // namespace

token_split split_by_tokens(std::string_view sql, backslashes strings) {
    token_split found;
    statement_reader reader;
    lexer tokens{sql, strings};
    std::size_t start = 0;
    bool is_empty = true;
    bool has_semicolon = false;  // inside the statement at hand
    const auto end_statement = [&](std::size_t end) {
        found.statements.push_back({start, end - start, kind_of_first(reader.first()), false});
        start = end;
        is_empty = true;
        has_semicolon = false;
        reader.start_statement();
    };
    for (token t = tokens.next(); t.kind != token_kind::end; t = tokens.next()) {
        ++found.tokens;
        if (t.kind == token_kind::semicolon && is_empty) {
            continue;  // an empty statement belongs to the next one
        }
        if (reader.ends_statement(t)) {
            end_statement(static_cast<std::size_t>(std::distance(sql.data(), t.text.data())) + 1);
        } else if (t.kind == token_kind::semicolon) {
            has_semicolon = true;
        } else {
            found.has_inner_semicolons = found.has_inner_semicolons || has_semicolon;
            is_empty = false;
        }
    }
    if (!is_empty) {
        end_statement(sql.size());
    } else if (!found.statements.empty()) {
        found.statements.back().size = sql.size() - found.statements.back().offset;
    }
    return found;
}

statement_kind kind_of(std::string_view statement, backslashes strings) noexcept {
    first_tokens first;
    lexer tokens{statement, strings};
    for (token t = tokens.next(); t.kind != token_kind::end && !first.full(); t = tokens.next()) {
        if (t.kind != token_kind::semicolon) {
            first.add(t);
        } else if (!first.is_empty()) {
            break;
        }
    }
    return kind_of_first(first);
}

}  // namespace signalbox::parser
