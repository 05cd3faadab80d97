#include "proxy/commands.hpp"

#include "catalog/timestamps.hpp"
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

namespace {

bool is_binary(const result_formats& formats, std::size_t column) noexcept {
    return !formats.empty() && formats[formats.size() == 1 ? 0 : column] == 1;
}

/// A value's binary form, from the text that Signalbox writes: timestamps in UTC with all
/// microseconds, UUIDs with dashes. Text is the same in both.
std::string binary_form(std::uint32_t type, const std::string& text) {
    std::string out;
    if (type == type_oid::timestamptz) {
        const auto value = static_cast<std::uint64_t>(catalog::postgres_microseconds(text));
        out.resize(sizeof value);
        wire::store_u32(out.data(), static_cast<std::uint32_t>(value >> 32U));
        wire::store_u32(out.data() + 4, static_cast<std::uint32_t>(value));
        return out;
    }
    if (type != type_oid::uuid) {
        return text;
    }
    std::string digits = text;
    std::erase(digits, '-');
    for (std::size_t i = 0; i + 1 < digits.size(); i += 2) {
        out += static_cast<char>(std::stoi(digits.substr(i, 2), nullptr, 16));
    }
    return out;
}

/// The size of a type's values in bytes; -1 where it varies.
constexpr std::uint16_t size_of(std::uint32_t type) noexcept {
    constexpr std::uint16_t varying = 0xffff;
    return type == type_oid::timestamptz ? 8 : type == type_oid::uuid ? 16 : varying;
}

}  // namespace

void write_row_description(
    std::string& out, const std::vector<command_column>& columns, const result_formats& formats
) {
    wire::message_writer msg{out, sm::row_description};
    msg.u16(static_cast<std::uint16_t>(columns.size()));
    for (std::size_t i = 0; i < columns.size(); ++i) {
        const auto& column = columns[i];
        constexpr std::uint32_t no_modifier = 0xffffffff;
        msg.cstring(column.name)
            .u32(0)
            .u16(0)
            .u32(column.type)
            .u16(size_of(column.type))
            .u32(no_modifier)
            .u16(is_binary(formats, i) ? 1 : 0);
    }
}

std::size_t write_command_rows(
    std::string& out,
    const command_reply& reply,
    const result_formats& formats,
    std::size_t from,
    std::size_t limit
) {
    const auto left = reply.rows.size() - std::min(from, reply.rows.size());
    const auto count = limit == 0 ? left : std::min(left, limit);
    for (std::size_t i = from; i < from + count; ++i) {
        wire::message_writer row{out, sm::data_row};
        row.u16(static_cast<std::uint16_t>(reply.rows[i].size()));
        for (std::size_t column = 0; column < reply.rows[i].size(); ++column) {
            const auto& value = reply.rows[i][column];
            if (!value) {
                row.u32(0xffffffff);
                continue;
            }
            const auto sent = is_binary(formats, column)
                                  ? binary_form(reply.columns[column].type, *value)
                                  : *value;
            row.u32(static_cast<std::uint32_t>(sent.size())).bytes(sent);
        }
    }
    return count;
}

}  // namespace signalbox::proxy
