// Statements that are addressed to Signalbox itself: who carries them out, and what they answer.
//
// The relay finds them and keeps their place among the server's replies; a handler does the work.
// Source    DESIGN section 5
#pragma once

#include "parser/lexer.hpp"
#include "wire/error_response.hpp"

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace signalbox::proxy {

namespace type_oid {
inline constexpr std::uint32_t text = 25;
inline constexpr std::uint32_t timestamptz = 1184;
inline constexpr std::uint32_t uuid = 2950;
}  // namespace type_oid

struct command_column {
    std::string name;
    std::uint32_t type = type_oid::text;
};

struct command_reply {
    std::vector<wire::report> notices;
    std::optional<wire::report> error;  // then nothing below counts
    std::vector<command_column> columns;
    std::vector<std::vector<std::optional<std::string>>> rows;  // text; nullopt is NULL
    std::string tag;
};

/// Who asks, as far as the route and the configuration tell.
struct client_identity {
    std::string user;
    bool is_superuser = false;  // by its roles in the configuration
    bool is_support = false;
    bool asks_server = false;  // its role on the server is its own: is_superuser counts

    bool operator==(const client_identity&) const = default;
};

struct command_request {
    std::string sql;
    parser::backslashes strings = parser::backslashes::plain;
    client_identity who;  // with what the server has said
};

/// What is known of a statement before it is run.
struct command_shape {
    std::vector<command_column> columns;  // none: it returns no rows
    std::optional<wire::report> error;    // its syntax is wrong
};

class command_handler {
public:
    virtual ~command_handler() = default;

    virtual command_shape describe(std::string_view sql, parser::backslashes strings) = 0;
    /// The reply, where neither the store nor a network has to be asked. Nothing: somebody else is
    /// to carry it out, since it may take its time.
    virtual std::optional<command_reply> answer(const command_request& asked) = 0;
    /// What answer() did not. `done` gets the reply once, on any thread.
    virtual void carry_out(command_request asked, std::function<void(command_reply)> done) = 0;
};

/// The first words that name the statement, in upper case: `ALTER CONNECTION`, `SHOW NOTICES`.
std::string command_name(std::string_view sql);

/// A SHOW form: it works inside a transaction block.
bool is_show_command(std::string_view sql);

/// As Bind gives them: none (all text), one for all columns, or one for each; 1 = binary.
using result_formats = std::vector<std::uint16_t>;

void write_row_description(
    std::string& out, const std::vector<command_column>& columns, const result_formats& formats
);

/// `limit` rows at most, starting at `from`; 0 = all. The count of rows written.
std::size_t write_command_rows(
    std::string& out,
    const command_reply& reply,
    const result_formats& formats,
    std::size_t from,
    std::size_t limit
);

}  // namespace signalbox::proxy
