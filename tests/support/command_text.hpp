// Statements addressed to Signalbox, written as SQL text: plainly, or in one of the many ways to
// write the same.
#pragma once

#include "parser/commands.hpp"
#include "parser/quoting.hpp"

#include <algorithm>
#include <array>
#include <cctype>
#include <functional>
#include <string>
#include <string_view>
#include <utility>

namespace signalbox::tests {

class command_text {
public:
    /// `below(n)` chooses one of n; always 0 gives the plain text.
    explicit command_text(
        std::function<std::size_t(std::size_t)> below = [](std::size_t) { return 0U; },
        parser::backslashes strings = parser::backslashes::plain
    )
        : below_(std::move(below)), strings_(strings) {}

    std::string of(const parser::command& command) {
        text_.clear();
        std::visit([this](const auto& c) { write(c); }, command);
        if (below_(4) == 1) {
            text_ += " ; /* ; */ ;";
        }
        return std::move(text_);
    }

private:
    static bool is_bare(std::string_view value) {
        return parser::quoted_identifier(value) == value;
    }

    static bool is_hyphenated(std::string_view value) {
        const auto hyphen = value.find('-');
        return hyphen != std::string_view::npos && is_bare(value.substr(0, hyphen)) &&
               is_bare(value.substr(hyphen + 1));
    }

    static bool is_number(std::string_view value) {
        value.remove_prefix(value.starts_with('-') ? 1 : 0);
        return !value.empty() && value.find_first_not_of("0123456789") == std::string_view::npos;
    }

    std::string any_case(std::string_view word) {
        std::string out{word};
        const auto style = below_(3);
        std::transform(out.begin(), out.end(), out.begin(), [&](char c) {
            const bool is_ascii = static_cast<unsigned char>(c) < 0x80;
            const bool lower = style == 1 || (style == 2 && below_(2) == 1);
            return is_ascii && lower ? static_cast<char>(std::tolower(c)) : c;
        });
        return out;
    }

    std::string upper_or_as_is(std::string_view word) {
        std::string out{word};
        if (below_(2) == 1) {
            std::transform(out.begin(), out.end(), out.begin(), [](char c) {
                return c >= 'a' && c <= 'z' ? static_cast<char>(c - 32) : c;
            });
        }
        return out;
    }

    void blank() {
        static constexpr std::array<std::string_view, 8> blanks{
            " ", "\n", "\t ", "/* ; */", "/*/*'*/\"*/", "-- ' ;\n", "\r\n", " /**/ --\r"};
        text_ += blanks[below_(blanks.size())];
    }

    void maybe_blank() {
        if (below_(2) == 1) {
            blank();
        }
    }

    void words(std::string_view several) {
        while (!several.empty()) {
            const auto end = std::min(several.find(' '), several.size());
            if (!text_.empty() || below_(3) == 1) {
                blank();
            }
            text_ += any_case(several.substr(0, end));
            several.remove_prefix(std::min(end + 1, several.size()));
        }
    }

    void symbol(std::string_view text) {
        maybe_blank();
        text_ += text;
        maybe_blank();
    }

    static void append_doubling(std::string& out, std::string_view value, char quote) {
        for (const char c : value) {
            out.append(c == quote ? 2 : 1, c);
        }
    }

    /// With some of the ASCII characters as U&'…' writes them.
    std::string unicode_escaped(std::string_view value, char quote, char escape) {
        static constexpr std::string_view digits = "0123456789aBCdEf";
        std::string out = "u&";
        out += quote;
        for (const char c : value) {
            const auto code = static_cast<unsigned char>(c);
            if (code < 0x80 && (c == escape || below_(3) == 1)) {
                out += escape;
                out += below_(2) == 1 ? "00" : "+0000";
                out += digits[code >> 4U];
                out += digits[code & 0xFU];
            } else {
                out.append(c == quote ? 2 : 1, c);
            }
        }
        out += quote;
        if (escape != '\\') {
            out += " /* */ UEscape\n'";
            out += escape;
            out += '\'';
        }
        return out;
    }

    /// E'…' with some of the ASCII characters escaped.
    std::string backslash_escaped(std::string_view value) {
        static constexpr std::string_view digits = "0123456789AbcDeF";
        std::string out = "e'";
        for (const char c : value) {
            const auto code = static_cast<unsigned char>(c);
            const auto high = digits[code >> 4U];
            const auto low = digits[code & 0xFU];
            const auto style = code < 0x80 ? below_(9) : 0;
            if (style == 1) {
                out += std::string{"\\x"} + high + low;
            } else if (style == 2) {
                out += std::string{"\\u00"} + high + low;
            } else if (style == 3) {
                out += std::string{"\\U000000"} + high + low;
            } else if (style == 4) {
                out += '\\';
                out += static_cast<char>('0' + (code >> 6U));
                out += static_cast<char>('0' + ((code >> 3U) & 7U));
                out += static_cast<char>('0' + (code & 7U));
            } else if (style == 5) {
                out += "' -- '\n '";
                out += c == '\'' || c == '\\' ? std::string{'\\', c} : std::string{c};
            } else if (c == '\'' || c == '\\') {
                out += std::string{below_(2) == 1 ? '\\' : c, c};
            } else {
                out += c;
            }
        }
        return out += '\'';
    }

    void string(std::string_view value) {
        blank();
        const bool is_plain = strings_ == parser::backslashes::plain;
        switch (below_(7)) {
            case 1:
                text_ += backslash_escaped(value);
                return;
            case 2:
                if (is_plain) {
                    text_ += unicode_escaped(value, '\'', '\\');
                    return;
                }
                break;
            case 3:
                if (is_plain) {
                    text_ += unicode_escaped(value, '\'', '!');
                    return;
                }
                break;
            case 4:
                if (value.find('$') == std::string_view::npos) {
                    text_ += below_(2) == 1 ? "$$" + std::string{value} + "$$"
                                            : "$q$" + std::string{value} + "$q$";
                    return;
                }
                break;
            case 5:
                if (is_plain) {
                    const auto half = value.size() / 2;
                    text_ += '\'';
                    append_doubling(text_, value.substr(0, half), '\'');
                    text_ += "'  -- '\n\t'";
                    append_doubling(text_, value.substr(half), '\'');
                    text_ += '\'';
                    return;
                }
                break;
            default:
                break;
        }
        text_ += parser::quoted_literal(value);
    }

    void name(std::string_view name) {
        blank();
        const auto style = below_(5);
        if (style == 1) {
            text_ += '"';
            append_doubling(text_, name, '"');
            text_ += '"';
        } else if (style == 2) {
            text_ += unicode_escaped(name, '"', '\\');
        } else if (style == 3) {
            text_ += unicode_escaped(name, '"', '^');
        } else {
            text_ += is_bare(name) ? upper_or_as_is(name) : parser::quoted_identifier(name);
        }
    }

    void scalar(const std::string& value) {
        if (below_(3) == 1 && (is_bare(value) || is_hyphenated(value))) {
            blank();
            text_ += upper_or_as_is(value);
        } else if (below_(3) == 1 && is_number(value)) {
            blank();
            text_ += value;
        } else if (below_(5) == 1 && !value.empty() && value.size() < 64) {
            name(value);
        } else {
            string(value);
        }
    }

    void value(const parser::option_value& value) {
        if (const auto* plain = std::get_if<std::string>(&value)) {
            scalar(*plain);
        } else if (const auto* secret = std::get_if<parser::secret_name>(&value)) {
            words("SECRET");
            name(secret->name);
        } else {
            const bool brackets = below_(2) == 1;
            symbol(brackets ? "[" : "(");
            bool is_first = true;
            for (const auto& item : std::get<std::vector<std::string>>(value)) {
                if (!std::exchange(is_first, false)) {
                    symbol(",");
                }
                scalar(item);
            }
            symbol(brackets ? "]" : ")");
        }
    }

    void option_name(std::string option) {
        if (below_(4) == 1) {
            std::replace(option.begin(), option.end(), ' ', '_');
        }
        words(option);
    }

    void assign(std::string_view option, const parser::option_value& assigned) {
        // SSL CERTIFICATE authority would be the name of another option.
        if (below_(2) == 0 || option == "SSL CERTIFICATE") {
            symbol("=");
        }
        value(assigned);
    }

    void validate(const std::optional<bool>& wanted) {
        if (!wanted) {
            return;
        }
        static constexpr std::array<std::string_view, 6> yes{
            "true", "ON", "'yes'", "1", "\"on\"", "E'1'"};
        static constexpr std::array<std::string_view, 6> no{
            "false", "Off", "'NO'", "0", "\"off\"", "$$0$$"};
        words("WITH");
        symbol("(");
        words("VALIDATE");
        if (!*wanted || below_(3) != 1) {
            if (below_(2) == 0) {
                symbol("=");
            }
            blank();
            text_ += (*wanted ? yes : no)[below_(yes.size())];
        }
        symbol(")");
    }

    void if_exists(bool wanted) {
        if (wanted) {
            words("IF EXISTS");
        }
    }

    void write(const parser::create_connection& c) {
        words(c.if_not_exists ? "CREATE CONNECTION IF NOT EXISTS" : "CREATE CONNECTION");
        name(c.name);
        static constexpr std::array<std::string_view, 3> types{
            "TO POSTGRES", "TO AWS PRIVATELINK", "TO KAFKA"};
        words(types[static_cast<std::size_t>(c.type)]);
        symbol("(");
        for (std::size_t i = 0; i < c.options.size(); ++i) {
            if (i > 0) {
                symbol(",");
            }
            option_name(c.options[i].name);
            assign(c.options[i].name, c.options[i].value);
        }
        symbol(")");
        validate(c.validate);
    }

    void write(const parser::alter_connection& c) {
        words("ALTER CONNECTION");
        if_exists(c.if_exists);
        name(c.name);
        static constexpr std::array<std::string_view, 3> actions{"SET", "DROP", "RESET"};
        for (std::size_t i = 0; i < c.changes.size(); ++i) {
            const auto& change = c.changes[i];
            if (i > 0 && c.changes[i - 1].action == change.action && below_(2) == 1) {
                symbol(",");
            } else {
                if (i > 0) {
                    symbol(")");
                    symbol(",");
                }
                words(actions[static_cast<std::size_t>(change.action)]);
                symbol("(");
            }
            option_name(change.name);
            if (change.value) {
                assign(change.name, *change.value);
            }
        }
        symbol(")");
        validate(c.validate);
    }

    void write(const parser::rename_connection& c) {
        words("ALTER CONNECTION");
        if_exists(c.if_exists);
        name(c.name);
        words("RENAME TO");
        name(c.new_name);
    }

    void write(const parser::change_connection_owner& c) {
        words("ALTER CONNECTION");
        if_exists(c.if_exists);
        name(c.name);
        words("OWNER TO");
        if (c.is_current) {
            words(c.role);
        } else {
            name(c.role);
        }
    }

    void write(const parser::drop_connection& c) {
        words("DROP CONNECTION");
        if_exists(c.if_exists);
        for (std::size_t i = 0; i < c.names.size(); ++i) {
            if (i > 0) {
                symbol(",");
            }
            name(c.names[i]);
        }
        if (c.cascade || below_(3) == 1) {
            words(c.cascade ? "CASCADE" : "RESTRICT");
        }
    }

    void write(const parser::validate_connection& c) {
        words("VALIDATE CONNECTION");
        name(c.name);
    }

    void write(const parser::show_connections& c) {
        words("SHOW CONNECTIONS");
        if (c.like) {
            words("LIKE");
            string(*c.like);
        }
    }

    void write(const parser::show_create_connection& c) {
        words("SHOW CREATE CONNECTION");
        name(c.name);
    }

    void for_name(const std::optional<std::string>& wanted) {
        if (wanted) {
            words("FOR");
            name(*wanted);
        }
    }

    void write(const parser::show_connection_status& c) {
        words("SHOW CONNECTION STATUS");
        for_name(c.name);
    }

    void write(const parser::show_connection_history& c) {
        words("SHOW CONNECTION HISTORY");
        for_name(c.name);
    }

    void write(const parser::alter_notice& c) {
        words("ALTER NOTICE");
        string(c.fingerprint);
        if (!c.status) {
            words("RESET STATUS");
            return;
        }
        words("SET STATUS");
        if (below_(2) == 0) {
            symbol("=");
        }
        string(*c.status);
    }

    void write(const parser::show_notices& c) {
        words(c.all ? "SHOW NOTICES ALL" : "SHOW NOTICES");
    }

    std::function<std::size_t(std::size_t)> below_;
    parser::backslashes strings_;
    std::string text_;
};

}  // namespace signalbox::tests
