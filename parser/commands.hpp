// The grammar of the statements that are addressed to Signalbox.
//
//   CREATE CONNECTION … ALTER CONNECTION … DROP CONNECTION … VALIDATE CONNECTION …
//   SHOW CONNECTIONS, CREATE CONNECTION, CONNECTION STATUS, CONNECTION HISTORY
//   ALTER NOTICE … SHOW NOTICES
//
// Keywords are case-insensitive and not reserved, comments may stand everywhere, names fold as
// PostgreSQL's do. What an option means, and which type has it, is the catalog's business.
//
// Cost      linear, no recursion
// Source    DESIGN section 5
#pragma once

#include "parser/lexer.hpp"

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

namespace signalbox::parser {

enum class connection_type : std::uint8_t { postgres, aws_privatelink, kafka };

/// `SECRET name`: the name of a secret, never its value.
struct secret_name {
    std::string name;

    bool operator==(const secret_name&) const = default;
};

/// What an option is set to: a string's content, a name or bare word (`verify-ca`, TRUE) as
/// PostgreSQL folds it, a number as it stands; or a parenthesised or bracketed list of such.
using option_value = std::variant<std::string, secret_name, std::vector<std::string>>;

struct option_setting {
    std::string name;  // canonical: upper case, its words joined by one space: `SSL MODE`
    option_value value;

    bool operator==(const option_setting&) const = default;
};

struct option_change {
    enum class action_kind : std::uint8_t { set, drop, reset };

    action_kind action = action_kind::set;
    std::string name;                   // as in option_setting
    std::optional<option_value> value;  // of `set`

    bool operator==(const option_change&) const = default;
};

struct create_connection {
    bool if_not_exists = false;
    std::string name;
    connection_type type = connection_type::postgres;
    std::vector<option_setting> options;  // in the text's order; may repeat
    std::optional<bool> validate;

    bool operator==(const create_connection&) const = default;
};

struct alter_connection {
    bool if_exists = false;
    std::string name;
    std::vector<option_change> changes;  // in the text's order; may repeat; at least one
    std::optional<bool> validate;

    bool operator==(const alter_connection&) const = default;
};

struct rename_connection {
    bool if_exists = false;
    std::string name;
    std::string new_name;

    bool operator==(const rename_connection&) const = default;
};

struct change_connection_owner {
    bool if_exists = false;
    std::string name;
    std::string role;  // current_user, current_role and session_user as such: is_current is set
    bool is_current = false;

    bool operator==(const change_connection_owner&) const = default;
};

struct drop_connection {
    bool if_exists = false;
    std::vector<std::string> names;
    bool cascade = false;

    bool operator==(const drop_connection&) const = default;
};

struct validate_connection {
    std::string name;

    bool operator==(const validate_connection&) const = default;
};

struct show_connections {
    std::optional<std::string> like;

    bool operator==(const show_connections&) const = default;
};

struct show_create_connection {
    std::string name;

    bool operator==(const show_create_connection&) const = default;
};

struct show_connection_status {
    std::optional<std::string> name;

    bool operator==(const show_connection_status&) const = default;
};

struct show_connection_history {
    std::optional<std::string> name;

    bool operator==(const show_connection_history&) const = default;
};

struct alter_notice {
    std::string fingerprint;            // the string's content
    std::optional<std::string> status;  // absent: RESET STATUS

    bool operator==(const alter_notice&) const = default;
};

struct show_notices {
    bool all = false;

    bool operator==(const show_notices&) const = default;
};

using command = std::variant<
    create_connection,
    alter_connection,
    rename_connection,
    change_connection_owner,
    drop_connection,
    validate_connection,
    show_connections,
    show_create_connection,
    show_connection_status,
    show_connection_history,
    alter_notice,
    show_notices>;

/// More than any sensible statement has, and less than a millisecond to read.
constexpr std::size_t max_command_tokens = 10'000;

struct command_error {
    std::string_view sqlstate;  // 42601; 22023 for VALIDATE; 54001 beyond max_command_tokens; what
                                // PostgreSQL's scanner says of a string that it cannot read
    std::string message;        // `syntax error at or near "…"`, `syntax error at end of input`
    std::size_t position = 0;   // 1-based, in characters from the text's beginning, as PostgreSQL
                                // reports it; 0: none
    std::string unknown_option{};  // what stands where an option's name belongs, as SSL MOD;
                                   // "" = no such words
    std::string hint{};            // a whole sentence, or nothing

    bool operator==(const command_error&) const = default;
};

/// One statement; semicolons may stand around it. Never reads further than the statement it was
/// given: anything behind it is a syntax error.
std::variant<command, command_error> parse_command(
    std::string_view sql, backslashes strings = backslashes::plain
);

}  // namespace signalbox::parser
