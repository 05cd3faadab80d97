#include "parser/commands.hpp"

#include "parser/limits.hpp"
#include "parser/names.hpp"
#include "parser/strings.hpp"
#include "wire/error_response.hpp"

#include <algorithm>
#include <array>
#include <iterator>
#include <utility>

namespace signalbox::parser {
namespace {

/// Of all types. One word more than an option's name is an option or begins none, so that a name is
/// read without looking back.
constexpr std::array<std::string_view, 24> option_names{
    "HOST",
    "PORT",
    "DATABASE",
    "USER",
    "PASSWORD",
    "SSL MODE",
    "SSL CERTIFICATE",
    "SSL CERTIFICATE AUTHORITY",
    "SSL KEY",
    "SSL NEGOTIATION",
    "CHANNEL BINDING",
    "TARGET SESSION ATTRS",
    "CONNECT TIMEOUT",
    "TCP USER TIMEOUT",
    "MAX PROTOCOL VERSION",
    "AWS PRIVATELINK",
    "SERVICE NAME",
    "AVAILABILITY ZONES",
    "BROKER",
    "BROKERS",
    "SECURITY PROTOCOL",
    "SASL MECHANISMS",
    "SASL USERNAME",
    "SASL PASSWORD"};

bool is_option(std::string_view name) noexcept {
    return std::find(option_names.begin(), option_names.end(), name) != option_names.end();
}

bool begins_option(std::string_view words) noexcept {
    return std::any_of(option_names.begin(), option_names.end(), [&](std::string_view name) {
        return name.starts_with(words) &&
               (name.size() == words.size() || name[words.size()] == ' ');
    });
}

/// As in an option's name: upper case, SSL_MODE as SSL MODE.
std::string option_word(std::string_view word) {
    std::string out{word};
    std::transform(out.begin(), out.end(), out.begin(), [](char c) {
        if (c == '_') {
            return ' ';
        }
        return c >= 'a' && c <= 'z' ? static_cast<char>(c - 32) : c;
    });
    return out;
}

bool is_any_word(const token& t, const std::array<std::string_view, 3>& lower) noexcept {
    return std::any_of(lower.begin(), lower.end(), [&](auto word) { return is_word(t, word); });
}

/// B'…', X'…' and N'…' are constants of other types.
bool is_text_constant(const token& t) noexcept {
    return t.kind == token_kind::string &&
           std::string_view{"'$eEuU"}.find(t.text[0]) != std::string_view::npos;
}

bool is_empty_identifier(const token& t) noexcept {
    return t.kind == token_kind::quoted_identifier &&
           t.text.size() == (has_unicode_escapes(t) ? 4 : 2);
}

/// May be the escape character of UESCAPE, as scan.l has it.
bool can_escape(char c) noexcept {
    return std::string_view{"0123456789abcdefABCDEF+'\" \t\n\r\f\v"}.find(c) ==
           std::string_view::npos;
}

std::optional<bool> boolean(std::string_view value) noexcept {
    const auto is = [&](std::string_view lower) { return equals_ignoring_case(value, lower); };
    if (is("true") || is("on") || is("yes") || is("1")) {
        return true;
    }
    if (is("false") || is("off") || is("no") || is("0")) {
        return false;
    }
    return std::nullopt;
}

/// Reads one statement, the token at hand being now_.
///
/// Only the first error counts: it takes the rest of the text away, so that whatever is still asked
/// for is not there, and what the functions return from then on is never seen.
class command_reader {
public:
    command_reader(std::string_view sql, backslashes strings) noexcept
        : sql_(sql), strings_(strings), tokens_(sql, strings) {}

    std::variant<command, command_error> read() {
        advance();
        skip_semicolons();
        auto found = read_statement();
        skip_semicolons();
        if (now_.kind != token_kind::end) {
            fail();
        }
        if (error_) {
            return *std::move(error_);
        }
        if (bad_value_) {
            return *std::move(bad_value_);
        }
        return found;
    }

private:
    // Tokens

    void advance() {
        now_ = tokens_.next();
        if (now_.kind == token_kind::end) {
            if (const auto comment = tokens_.open_comment(); !comment.empty()) {
                fail_near("unterminated /* comment", comment);
            }
        } else if (now_.kind == token_kind::string && !is_closed(now_, strings_)) {
            fail_near(
                now_.text[0] == '$' ? "unterminated dollar-quoted string"
                                    : "unterminated quoted string",
                now_.text
            );
        } else if (now_.kind == token_kind::quoted_identifier && !is_closed(now_, strings_)) {
            fail_near("unterminated quoted identifier", now_.text);
        } else if (is_empty_identifier(now_)) {
            fail_near("zero-length delimited identifier", now_.text);
        }
    }

    [[nodiscard]] token following() const noexcept {
        auto tokens = tokens_;
        return tokens.next();
    }

    [[nodiscard]] std::size_t offset_of(std::string_view part) const noexcept {
        return static_cast<std::size_t>(std::distance(sql_.data(), part.data()));
    }

    [[nodiscard]] std::size_t end_of(const token& t) const noexcept {
        return offset_of(t.text) + t.text.size();
    }

    [[nodiscard]] bool touches(const token& before, const token& t) const noexcept {
        return t.kind != token_kind::end && end_of(before) == offset_of(t.text);
    }

    void skip_semicolons() {
        while (now_.kind == token_kind::semicolon) {
            advance();
        }
    }

    bool accept(std::string_view lower) {
        const bool is_there = is_word(now_, lower);
        if (is_there) {
            advance();
        }
        return is_there;
    }

    bool accept_symbol(std::string_view text) {
        const bool is_there = is_symbol(now_, text);
        if (is_there) {
            advance();
        }
        return is_there;
    }

    void expect(std::string_view lower) {
        if (!accept(lower)) {
            fail();
        }
    }

    void expect_symbol(std::string_view text) {
        if (!accept_symbol(text)) {
            fail();
        }
    }

    // Errors

    /// A syntax error at the token at hand.
    void fail() {
        if (now_.kind != token_kind::end) {
            fail_near("syntax error", now_.text);
        } else {
            fail_at(sql_.size(), wire::sqlstate::syntax_error, "syntax error at end of input");
        }
    }

    void fail_near(std::string_view what, std::string_view part) {
        fail_at(
            offset_of(part),
            wire::sqlstate::syntax_error,
            std::string{what} + " at or near \"" + std::string{part} + "\""
        );
    }

    void fail_at(std::size_t offset, std::string_view sqlstate, std::string message) {
        if (!error_) {
            const auto before = sql_.substr(0, offset);
            const auto characters = std::count_if(before.begin(), before.end(), [](char c) {
                return (static_cast<unsigned char>(c) & 0xC0U) != 0x80U;
            });
            error_ = command_error{
                sqlstate, std::move(message), static_cast<std::size_t>(characters) + 1};
        }
        now_ = {};
        tokens_ = lexer{{}};
    }

    // Names and values

    /// Goes behind a token that has_unicode_escapes(), and behind its UESCAPE.
    char read_escape_character() {
        advance();
        if (!accept("uescape")) {
            return '\\';
        }
        const auto text = now_.text;
        if (now_.kind != token_kind::string || text[0] != '\'') {
            if (now_.kind == token_kind::end) {
                fail();
            } else {
                fail_near("UESCAPE must be followed by a simple string literal", text);
            }
            return '\\';
        }
        if (text.size() != 3 || !can_escape(text[1])) {
            fail_near("invalid Unicode escape character", text);
            return '\\';
        }
        advance();
        return text[1];
    }

    std::string read_name() {
        if (!is_name(now_)) {
            fail();
            return {};
        }
        const auto name = now_;
        if (!has_unicode_escapes(name)) {
            advance();
            return folded_name(name);
        }
        auto fault = unicode_fault::none;
        auto folded = folded_name(name, read_escape_character(), fault);
        if (fault != unicode_fault::none) {
            auto [sqlstate, message] = unicode_error(fault);
            fail_at(offset_of(name.text), sqlstate, std::move(message));
        }
        return folded;
    }

    std::string read_string() {
        if (!is_text_constant(now_)) {
            fail();
            return {};
        }
        const auto first = now_;
        const auto begin = offset_of(first.text);
        const bool is_unicode = has_unicode_escapes(first);
        if (is_unicode && strings_ == backslashes::escape) {
            fail_at(
                begin,
                wire::sqlstate::feature_not_supported,
                "unsafe use of string constant with Unicode escapes"
            );
            return {};
        }
        // The lexer joins the parts of a string with backslashes itself.
        while (first.text[0] != '$' && string_continuation(sql_, end_of(now_)) != 0) {
            advance();
            if (error_) {
                return {};
            }
        }
        const auto text = sql_.substr(begin, end_of(now_) - begin);
        char escape = '\\';
        if (is_unicode) {
            escape = read_escape_character();
        } else {
            advance();
        }
        auto content = string_content(text, strings_, escape);
        if (auto* bad = std::get_if<string_error>(&content)) {
            fail_at(begin, bad->sqlstate, std::move(bad->message));
            return {};
        }
        return std::get<std::string>(std::move(content));
    }

    /// A word, or several with hyphens between and no blanks: verify-ca, us-east-1a.
    std::string read_bare_word() {
        auto word = folded_name(now_);
        auto previous = now_;
        advance();
        for (;;) {
            const bool is_hyphen = is_symbol(now_, "-") && touches(previous, now_);
            const auto part = is_hyphen ? following() : now_;
            const bool goes_on =
                is_hyphen ? part.kind == token_kind::word || part.kind == token_kind::number
                          : part.kind == token_kind::word && previous.kind == token_kind::number;
            if (!goes_on || !touches(is_hyphen ? now_ : previous, part)) {
                return word;
            }
            if (is_hyphen) {
                word += '-';
                advance();
            }
            word += part.kind == token_kind::word ? folded_name(part) : std::string{part.text};
            previous = part;
            advance();
        }
    }

    std::string read_number() {
        const bool is_negative = is_symbol(now_, "-");
        if (is_negative || is_symbol(now_, "+")) {
            advance();
        }
        if (now_.kind != token_kind::number) {
            fail();
            return {};
        }
        auto number = (is_negative ? "-" : "") + std::string{now_.text};
        advance();
        return number;
    }

    std::string read_scalar() {
        switch (now_.kind) {
            case token_kind::string:
                return read_string();
            case token_kind::quoted_identifier:
                return read_name();
            case token_kind::word:
                return read_bare_word();
            default:
                return read_number();
        }
    }

    option_value read_value() {
        if (is_word(now_, "secret") && is_name(following())) {
            advance();
            return secret_name{read_name()};
        }
        const bool is_parenthesised = accept_symbol("(");
        if (!is_parenthesised && !accept_symbol("[")) {
            return read_scalar();
        }
        std::vector<std::string> items;
        do {
            items.push_back(read_scalar());
        } while (accept_symbol(","));
        expect_symbol(is_parenthesised ? ")" : "]");
        return items;
    }

    std::string read_option_name() {
        std::string name;
        while (now_.kind == token_kind::word) {
            const auto longer = name + (name.empty() ? "" : " ") + option_word(now_.text);
            if (!begins_option(longer)) {
                break;
            }
            name = longer;
            advance();
        }
        if (!is_option(name) && !error_) {
            std::string meant = name;
            if (now_.kind == token_kind::word) {
                meant += (name.empty() ? "" : " ") + option_word(now_.text);
            }
            fail();
            error_->unknown_option = std::move(meant);
        }
        return name;
    }

    option_value read_assigned_value() {
        accept_symbol("=");
        return read_value();
    }

    /// [WITH ( VALIDATE [= bool] )]
    std::optional<bool> read_validate() {
        if (!accept("with")) {
            return std::nullopt;
        }
        expect_symbol("(");
        expect("validate");
        std::optional<bool> validate = true;
        if (!is_symbol(now_, ")")) {
            accept_symbol("=");
            const auto value = read_scalar();
            validate = boolean(value);
            if (!validate) {
                // Not before the whole statement has been read: a syntax error comes first.
                bad_value_ = command_error{
                    wire::sqlstate::invalid_parameter_value,
                    "invalid VALIDATE option value: " + value,
                    0};
            }
        }
        expect_symbol(")");
        return validate;
    }

    /// IF is a name where nothing of the kind follows.
    bool accept_if(std::string_view then) {
        return is_word(now_, "if") && is_word(following(), then) && accept("if") && accept(then);
    }

    // Statements

    command read_statement() {
        if (accept("create")) {
            expect("connection");
            return read_create();
        }
        if (accept("alter")) {
            if (accept("notice")) {
                return read_alter_notice();
            }
            expect("connection");
            return read_alter();
        }
        if (accept("drop")) {
            expect("connection");
            return read_drop();
        }
        if (accept("validate")) {
            expect("connection");
            return validate_connection{read_name()};
        }
        expect("show");
        return read_show();
    }

    create_connection read_create() {
        create_connection create;
        create.if_not_exists = accept_if("not");
        if (create.if_not_exists) {
            expect("exists");
        }
        create.name = read_name();
        expect("to");
        create.type = read_type();
        expect_symbol("(");
        do {
            auto name = read_option_name();
            create.options.push_back({std::move(name), read_assigned_value()});
        } while (accept_symbol(","));
        expect_symbol(")");
        create.validate = read_validate();
        return create;
    }

    connection_type read_type() {
        if (accept("postgres")) {
            return connection_type::postgres;
        }
        if (accept("kafka")) {
            return connection_type::kafka;
        }
        expect("aws");
        expect("privatelink");
        return connection_type::aws_privatelink;
    }

    command read_alter() {
        const bool if_exists = accept_if("exists");
        auto name = read_name();
        if (accept("rename")) {
            expect("to");
            return rename_connection{if_exists, std::move(name), read_name()};
        }
        if (accept("owner")) {
            expect("to");
            const bool is_current =
                is_any_word(now_, {"current_user", "current_role", "session_user"});
            return change_connection_owner{if_exists, std::move(name), read_name(), is_current};
        }
        alter_connection alter{if_exists, std::move(name), {}, std::nullopt};
        do {
            read_changes(alter.changes);
        } while (accept_symbol(","));
        alter.validate = read_validate();
        return alter;
    }

    /// SET ( option [=] value [, …] )  |  DROP ( option [, …] )  |  RESET ( option [, …] )
    void read_changes(std::vector<option_change>& changes) {
        using kind = option_change::action_kind;
        auto action = kind::set;
        if (accept("drop")) {
            action = kind::drop;
        } else if (accept("reset")) {
            action = kind::reset;
        } else {
            expect("set");
        }
        expect_symbol("(");
        do {
            option_change change{action, read_option_name(), std::nullopt};
            if (action == kind::set) {
                change.value = read_assigned_value();
            }
            changes.push_back(std::move(change));
        } while (accept_symbol(","));
        expect_symbol(")");
    }

    drop_connection read_drop() {
        drop_connection drop;
        drop.if_exists = accept_if("exists");
        do {
            drop.names.push_back(read_name());
        } while (accept_symbol(","));
        drop.cascade = accept("cascade");
        if (!drop.cascade) {
            accept("restrict");
        }
        return drop;
    }

    command read_show() {
        if (accept("connections")) {
            show_connections show;
            if (accept("like")) {
                show.like = read_string();
            }
            return show;
        }
        if (accept("notices")) {
            return show_notices{accept("all")};
        }
        if (accept("create")) {
            expect("connection");
            return show_create_connection{read_name()};
        }
        expect("connection");
        if (accept("status")) {
            return show_connection_status{read_for("STATUS")};
        }
        expect("history");
        return show_connection_history{read_for("HISTORY")};
    }

    /// [FOR name]
    std::optional<std::string> read_for(std::string_view what) {
        if (accept("for")) {
            return read_name();
        }
        if (is_name(now_)) {
            auto hint = "Write SHOW CONNECTION " + std::string{what} + " FOR " +
                        std::string{now_.text} + ".";
            fail();
            error_->hint = std::move(hint);
        }
        return std::nullopt;
    }

    alter_notice read_alter_notice() {
        alter_notice alter{read_string(), std::nullopt};
        if (accept("reset")) {
            expect("status");
            return alter;
        }
        expect("set");
        expect("status");
        accept_symbol("=");
        alter.status = read_string();
        return alter;
    }

    std::string_view sql_;
    backslashes strings_;
    lexer tokens_;
    token now_;
    std::optional<command_error> error_;
    std::optional<command_error> bad_value_;
};

}  // namespace

std::variant<command, command_error> parse_command(std::string_view sql, backslashes strings) {
    if (tree_tokens(sql, max_command_tokens) > max_command_tokens) {
        return command_error{"54001", "statement is too long"};
    }
    return command_reader{sql, strings}.read();
}

}  // namespace signalbox::parser
