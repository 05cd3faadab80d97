#include "proxy/commands.hpp"

#include "parser/lexer.hpp"
#include "wire/messages.hpp"

#include <algorithm>
#include <cctype>

namespace signalbox::proxy {

namespace sm = wire::server_message;

std::string command_name(std::string_view sql) {
    parser::lexer tokens{sql};
    std::string name;
    // SHOW CREATE CONNECTION is the longest.
    for (int words = 0; words < 3; ++words) {
        auto t = tokens.next();
        while (words == 0 && t.kind == parser::token_kind::semicolon) {
            t = tokens.next();
        }
        const bool is_last =
            words > 0 && (name.ends_with("CONNECTION") || name.ends_with("CONNECTIONS") ||
                          name.ends_with("NOTICE") || name.ends_with("NOTICES"));
        if (t.kind != parser::token_kind::word || is_last) {
            break;
        }
        if (!name.empty()) {
            name += ' ';
        }
        for (const char c : t.text) {
            name += static_cast<char>(std::toupper(static_cast<unsigned char>(c)));
        }
    }
    return name;
}

bool is_show_command(std::string_view sql) {
    return command_name(sql).starts_with("SHOW");
}

std::vector<command_column> no_commands::describe(std::string_view /*sql*/) {
    return {};
}

command_reply no_commands::run(std::string_view sql) {
    command_reply reply;
    reply.error = wire::report{
        .severity = "ERROR",
        .sqlstate = std::string{wire::sqlstate::feature_not_supported},
        .message = command_name(sql) + " is not supported yet",
        .detail = {},
        .hint = {}};
    return reply;
}

void write_row_description(std::string& out, const std::vector<command_column>& columns) {
    wire::message_writer msg{out, sm::row_description};
    msg.u16(static_cast<std::uint16_t>(columns.size()));
    for (const auto& column : columns) {
        constexpr std::uint16_t varying = 0xffff;  // -1
        constexpr std::uint32_t no_modifier = 0xffffffff;
        msg.cstring(column.name)
            .u32(0)
            .u16(0)
            .u32(column.type)
            .u16(varying)
            .u32(no_modifier)
            .u16(0);
    }
}

std::size_t write_command_rows(
    std::string& out, const command_reply& reply, std::size_t from, std::size_t limit
) {
    const auto left = reply.rows.size() - std::min(from, reply.rows.size());
    const auto count = limit == 0 ? left : std::min(left, limit);
    for (std::size_t i = from; i < from + count; ++i) {
        wire::message_writer row{out, sm::data_row};
        row.u16(static_cast<std::uint16_t>(reply.rows[i].size()));
        for (const auto& value : reply.rows[i]) {
            if (value) {
                row.u32(static_cast<std::uint32_t>(value->size())).bytes(*value);
            } else {
                row.u32(0xffffffff);
            }
        }
    }
    return count;
}

}  // namespace signalbox::proxy
