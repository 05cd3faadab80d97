#include "parser/traits.hpp"

#include "parser/lexer.hpp"
#include "parser/literals.hpp"
#include "parser/names.hpp"

#include <algorithm>
#include <array>

namespace signalbox::parser {
namespace {

/// Whether lower-case `word` stands in `sql` with its letter number `at` at position `i`.
bool stands_at(
    std::string_view sql, std::size_t i, std::string_view word, std::size_t at
) noexcept {
    return i >= at && i - at + word.size() <= sql.size() &&
           equals_ignoring_case(sql.substr(i - at, word.size()), word);
}

bool is_letter(char c) noexcept {
    const char lower = static_cast<char>(c | 0x20);
    return lower >= 'a' && lower <= 'z';
}

/// Statements whose first word needs the tokens; every other first word shows itself in the command
/// tag.
bool is_telling_first_word(std::string_view word) noexcept {
    return equals_ignoring_case(word, "prepare") || equals_ignoring_case(word, "load") ||
           equals_ignoring_case(word, "declare") || equals_ignoring_case(word, "set") ||
           equals_ignoring_case(word, "begin") || equals_ignoring_case(word, "start") ||
           equals_ignoring_case(word, "deallocate") || equals_ignoring_case(word, "discard") ||
           equals_ignoring_case(word, "reset");
}

bool contains_set_config(std::string_view text) noexcept {
    for (auto at = text.find('_'); at != std::string_view::npos; at = text.find('_', at + 1)) {
        if (stands_at(text, at, "set_config", 3)) {
            return true;
        }
    }
    return false;
}

/// One statement's tokens go in one after the other.
class statement_reader {
public:
    explicit statement_reader(text_traits& found) : found_(found) {}

    void on_token(const token& t) {
        if (t.kind == token_kind::semicolon) {
            end_statement();
            return;
        }
        if (position_ == 0) {
            ++statements_;
            first_ = t.kind == token_kind::word ? t.text : std::string_view{};
            if (equals_ignoring_case(first_, "begin") || equals_ignoring_case(first_, "start")) {
                found_.opens_block = true;
            }
            if (equals_ignoring_case(first_, "reset")) {
                found_.resets_parameters = true;
            } else if (equals_ignoring_case(first_, "load")) {
                found_.uncarryable = "LOAD";
            }
        } else if (equals_ignoring_case(first_, "set")) {
            on_set_token(t);
        } else if (equals_ignoring_case(first_, "reset")) {
            if (is_name(t) || t.text == ".") {
                found_.reset_target += equals_ignoring_case(t.text, "all") ? "*" : folded_name(t);
            }
        } else if (equals_ignoring_case(first_, "discard")) {
            if (equals_ignoring_case(t.text, "all")) {
                found_.forgets_statements = true;
                found_.resets_parameters = true;
                found_.reset_target = "*";
            }
        } else if (equals_ignoring_case(first_, "deallocate")) {
            on_deallocate_token(t);
        }
        on_any_token(t);
        look_for_uncarryable(t);
        previous_ = t.text;
        ++position_;
    }

    void finish() {
        end_statement();
        found_.only_local_set = statements_ == 1 && local_sets_ == 1;
        if (statements_ != 1) {
            found_.reset_target.clear();
        } else if (found_.deallocated.size() == 1 && deallocate_tokens_ == 1) {
            found_.only_deallocated = found_.deallocated.front();
        }
    }

private:
    void end_statement() {
        flush_name();
        position_ = 0;
        is_local_ = false;
        first_ = {};
        previous_ = {};
        in_name_ = true;
    }

    void flush_name() {
        if (name_.find('.') != std::string::npos) {
            found_.custom_parameters.push_back(name_);
        }
        if (!name_.empty()) {
            last_name_ = std::move(name_);
        }
        name_.clear();
    }

    void look_for_uncarryable(const token& t) {
        if (!is_name(t)) {
            return;
        }
        const auto first_is = [this](std::string_view word) {
            return equals_ignoring_case(first_, word);
        };
        const auto is = [&t](std::string_view word) { return equals_ignoring_case(t.text, word); };
        if (first_is("set")) {
            const bool is_target =
                position_ == 1 || (position_ == 2 && equals_ignoring_case(previous_, "session"));
            if (is_target && is("role")) {
                found_.uncarryable = "SET ROLE";
            } else if (is("authorization") && !is_local_) {
                found_.uncarryable = "SET SESSION AUTHORIZATION";
            }
        } else if (first_is("prepare")) {
            if (position_ == 1 && !is("transaction")) {
                found_.uncarryable = "PREPARE";
            }
        } else if (first_is("declare")) {
            if (is("hold") && equals_ignoring_case(previous_, "with")) {
                found_.uncarryable = "a cursor WITH HOLD";
            }
        }
        const bool after_create = first_is("create") && position_ <= 4;
        const bool after_into = equals_ignoring_case(previous_, "into") ||
                                equals_ignoring_case(previous_, "local") ||
                                equals_ignoring_case(previous_, "global");
        if (((is("temp") || is("temporary")) && (after_create || after_into)) ||
            (first_is("create") && is("pg_temp"))) {
            found_.uncarryable = "a temporary object";
        }
        auto name = t.text;
        if (t.kind == token_kind::quoted_identifier && name.size() >= 2) {
            name = name.substr(1, name.size() - 2);
        }
        for (const auto* lock :
             {"pg_advisory_lock",
              "pg_advisory_lock_shared",
              "pg_try_advisory_lock",
              "pg_try_advisory_lock_shared"}) {
            if (equals_ignoring_case(name, lock)) {
                found_.uncarryable = "a session-level advisory lock";
            }
        }
    }

    void on_set_token(const token& t) {
        if (position_ == 2 && t.text == "." && equals_ignoring_case(previous_, "session")) {
            name_ = folded_name({token_kind::word, previous_}
            );  // SET session.x: a parameter, not a keyword
        }
        if (position_ == 2 && t.text == "." && equals_ignoring_case(previous_, "local")) {
            name_ = folded_name({token_kind::word, previous_});
            --local_sets_;
        }
        if (position_ == 2 && equals_ignoring_case(previous_, "time") &&
            equals_ignoring_case(t.text, "zone")) {
            name_ = "timezone";
            flush_name();
            in_name_ = false;
            return;
        }
        if (position_ == 1) {
            is_local_ = equals_ignoring_case(t.text, "local");
            for (const auto* local : {"local", "transaction", "constraints"}) {
                if (equals_ignoring_case(t.text, local)) {
                    ++local_sets_;
                    in_name_ = equals_ignoring_case(t.text, "local");
                    return;
                }
            }
            if (equals_ignoring_case(t.text, "session")) {
                return;
            }
        }
        const bool is_local_zone =
            position_ == 3 && last_name_ == "timezone" && equals_ignoring_case(t.text, "local");
        if (equals_ignoring_case(t.text, "default") || is_local_zone) {
            found_.assigns_default = true;
            found_.reset_target = last_name_;
        }
        if (in_name_ && (is_name(t) || t.text == ".")) {
            if (is_name(t) && !name_.empty() && !name_.ends_with('.')) {
                in_name_ = false;  // SET name TO …
            } else {
                name_ += folded_name(t);
            }
        } else {
            in_name_ = false;
        }
        if (!in_name_) {
            flush_name();
        }
    }

    void on_deallocate_token(const token& t) {
        if (position_ == 1 && equals_ignoring_case(t.text, "prepare")) {
            return;
        }
        ++deallocate_tokens_;
        if (equals_ignoring_case(t.text, "all")) {
            found_.forgets_statements = true;
        } else if (is_name(t)) {
            found_.deallocated.push_back(folded_name(t));
        }
    }

    void on_any_token(const token& t) {
        // set_config ( 'name', …
        if (equals_ignoring_case(first_, "do") && t.kind == token_kind::string &&
            t.text.find_first_of("gG") != std::string_view::npos && contains_set_config(t.text)) {
            found_.dynamic_parameter = true;  // in a body that is not looked into
        }
        if (config_state_ == 3) {
            config_state_ = 0;
            if (t.text != ",") {
                found_.dynamic_parameter = true;  // an expression that begins with a literal
            }
        }
        if (config_state_ == 2) {
            config_state_ = 3;
            if (t.kind == token_kind::string && t.text.starts_with('\'') && t.text.size() >= 2) {
                const auto name = t.text.substr(1, t.text.size() - 2);
                if (name.find('.') != std::string_view::npos) {
                    std::string lower{name};
                    std::transform(lower.begin(), lower.end(), lower.begin(), [](unsigned char c) {
                        return static_cast<char>(std::tolower(c));
                    });
                    found_.custom_parameters.push_back(std::move(lower));
                }
            } else {
                config_state_ = 0;
                found_.dynamic_parameter = true;
            }
        } else if (config_state_ == 1) {
            config_state_ = t.text == "(" ? 2 : 0;
        }
        if (is_name(t)) {
            const auto text = t.kind == token_kind::quoted_identifier && t.text.size() >= 2
                                  ? t.text.substr(1, t.text.size() - 2)
                                  : t.text;
            if (equals_ignoring_case(text, "set_config")) {
                found_.needs_inspection = true;
                config_state_ = 1;
            }
        }
    }

    text_traits& found_;
    std::size_t position_ = 0;
    int statements_ = 0;
    int local_sets_ = 0;
    int deallocate_tokens_ = 0;  // behind the word
    bool is_local_ = false;      // SET LOCAL
    std::string_view first_;
    std::string_view previous_;
    std::string name_;
    std::string last_name_;
    bool in_name_ = true;
    int config_state_ = 0;
};

/// Of which a text has one that makes a temporary object or takes an advisory lock, or sets a
/// parameter by a call. U&"…" can spell any of them.
bool might_leave_state(std::string_view sql) {
    static const literals words{{"temp", "advisory", "set_config", "u&\""}};
    return words.stand_in(sql);
}

}  // namespace

bool quick_scan(std::string_view sql) noexcept {
    // The first word, where it is not hidden behind a comment.
    std::size_t start = 0;
    while (start < sql.size() && (sql[start] == ' ' || sql[start] == '\n' || sql[start] == '\t' ||
                                  sql[start] == '\r' || sql[start] == '\f' || sql[start] == '\v')) {
        ++start;
    }
    if (start == sql.size()) {
        return false;
    }
    const char c = sql[start];
    const char lower = static_cast<char>(c | 0x20);
    if (c == '-' || c == '/' || c == ';') {
        return true;
    }
    if (lower == 's' || lower == 'b' || lower == 'd' || lower == 'r' || lower == 'p' ||
        lower == 'l') {
        std::size_t end = start;
        while (end < sql.size() && is_letter(sql[end])) {
            ++end;
        }
        if (is_telling_first_word(sql.substr(start, end - start))) {
            return true;
        }
    }
    if (might_leave_state(sql)) {
        return true;
    }
    return may_have_second_statement(sql);  // it can begin with any word
}

bool may_name_sequence_values(std::string_view sql) noexcept {
    for (const char v : {'v', 'V'}) {
        for (auto at = sql.find(v); at != std::string_view::npos; at = sql.find(v, at + 1)) {
            if (stands_at(sql, at, "lastval", 4) || stands_at(sql, at, "currval", 4)) {
                return true;
            }
        }
    }
    for (auto at = sql.find('&'); at != std::string_view::npos; at = sql.find('&', at + 1)) {
        if (stands_at(sql, at, "u&\"", 1)) {  // can spell any name
            return true;
        }
    }
    return false;
}

bool calls_nothing(std::string_view sql) noexcept {
    constexpr auto words = std::to_array<std::string_view>(
        {"begin",
         "start",
         "commit",
         "end",
         "rollback",
         "abort",
         "savepoint",
         "release",
         "set",
         "show"}
    );
    if (may_have_second_statement(sql)) {
        return false;
    }
    const auto first = lexer{sql}.next();
    return std::any_of(words.begin(), words.end(), [&](std::string_view word) {
        return is_word(first, word);
    });
}

text_traits scan_text(std::string_view sql) {
    text_traits found;
    if (!quick_scan(sql)) {
        return found;
    }
    found.needs_inspection = might_leave_state(sql);
    statement_reader reader{found};
    lexer tokens{sql.substr(0, max_scanned_bytes)};
    auto left = max_scanned_tokens;
    for (token t = tokens.next(); t.kind != token_kind::end && left > 0; t = tokens.next()) {
        reader.on_token(t);
        --left;
    }
    reader.finish();
    if (left == 0 || sql.size() > max_scanned_bytes) {
        found.is_cut = true;
        found.needs_inspection = true;
        found.only_local_set = false;
        found.reset_target.clear();
        found.only_deallocated.clear();
    }
    return found;
}

}  // namespace signalbox::parser
