// Statements that are addressed to Signalbox itself: who carries them out, and what they answer.
//
// The relay finds them and keeps their place among the server's replies; a handler does the work.
// Source    DESIGN section 5
#pragma once

#include "wire/error_response.hpp"

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace signalbox::proxy {

struct command_column {
    std::string name;
    std::uint32_t type = 25;  // OID; 25 is text
};

struct command_reply {
    std::vector<wire::report> notices;
    std::optional<wire::report> error;  // then nothing below counts
    std::vector<command_column> columns;
    std::vector<std::vector<std::optional<std::string>>> rows;  // text; nullopt is NULL
    std::string tag;
};

class command_handler {
public:
    virtual ~command_handler() = default;

    /// The columns of what run() will return; none: it returns no rows.
    virtual std::vector<command_column> describe(std::string_view sql) = 0;
    virtual command_reply run(std::string_view sql) = 0;
};

/// Until there is something to carry out: says so.
class no_commands final : public command_handler {
public:
    std::vector<command_column> describe(std::string_view sql) override;
    command_reply run(std::string_view sql) override;
};

/// The first words that name the statement, in upper case: `ALTER CONNECTION`, `SHOW NOTICES`.
std::string command_name(std::string_view sql);

/// A SHOW form: it works inside a transaction block.
bool is_show_command(std::string_view sql);

void write_row_description(std::string& out, const std::vector<command_column>& columns);

/// Notices, rows and the tag. `limit` rows at most, starting at `from`; 0 = all. The count of rows
/// written.
std::size_t write_command_rows(
    std::string& out, const command_reply& reply, std::size_t from, std::size_t limit
);

}  // namespace signalbox::proxy
