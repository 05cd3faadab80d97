// Whole messages of both directions as the tests write them, and streams of messages as text to
// compare.
//
// describe_client("…") of a Parse, a Bind and a Sync reads "Parse(s1,select 1) Bind(,s1) Sync".
#pragma once

#include "tests/support/frames.hpp"
#include "wire/error_response.hpp"
#include "wire/messages.hpp"

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace signalbox::tests {

// ---- what a client sends

inline std::string query(std::string_view sql) {
    std::string out;
    wire::write_query(out, sql);
    return out;
}

inline std::string parse(
    std::string_view name, std::string_view sql, const std::vector<std::uint32_t>& types = {}
) {
    std::string out;
    {
        wire::message_writer m{out, 'P'};
        m.cstring(name).cstring(sql).u16(static_cast<std::uint16_t>(types.size()));
        for (const auto type : types) {
            m.u32(type);
        }
    }
    return out;
}

/// With one text parameter when there is a value.
inline std::string bind_to(
    std::string_view portal,
    std::string_view statement,
    const std::optional<std::string>& value = {}
) {
    std::string out;
    {
        wire::message_writer m{out, 'B'};
        m.cstring(portal).cstring(statement).u16(0).u16(value ? 1 : 0);
        if (value) {
            m.u32(static_cast<std::uint32_t>(value->size())).bytes(*value);
        }
        m.u16(0);
    }
    return out;
}

inline std::string describe(char kind, std::string_view name) {
    std::string out;
    wire::write_named_target(out, 'D', kind, name);
    return out;
}

inline std::string close(char kind, std::string_view name) {
    std::string out;
    wire::write_named_target(out, 'C', kind, name);
    return out;
}

inline std::string execute(std::string_view portal = {}, std::uint32_t rows = 0) {
    std::string out;
    wire::message_writer{out, 'E'}.cstring(portal).u32(rows);
    return out;
}

inline std::string message(char type, std::string_view body = {}) {
    std::string out;
    wire::message_writer{out, type}.bytes(body);
    return out;
}

inline std::string sync_message() {
    return message('S');
}

inline std::string flush() {
    return message('H');
}

inline std::string terminate() {
    return message('X');
}

inline std::string copy_data(std::string_view bytes) {
    return message('d', bytes);
}

inline std::string copy_done() {
    return message('c');
}

inline std::string copy_fail(std::string_view why) {
    return message('f', std::string{why} + '\0');
}

/// Without arguments.
inline std::string function_call(std::uint32_t oid = 1) {
    std::string body(10, '\0');
    wire::store_u32(body.data(), oid);
    return message('F', body);
}

// ---- what a server sends

inline std::string ready(char status = 'I') {
    return message('Z', std::string_view{&status, 1});
}

inline std::string parse_complete() {
    return message('1');
}

inline std::string bind_complete() {
    return message('2');
}

inline std::string close_complete() {
    return message('3');
}

inline std::string no_data() {
    return message('n');
}

inline std::string empty_query() {
    return message('I');
}

inline std::string suspended() {
    return message('s');
}

inline std::string complete(std::string_view tag) {
    std::string out;
    wire::write_command_complete(out, tag);
    return out;
}

inline std::string row(const std::vector<std::optional<std::string>>& fields) {
    std::string out;
    {
        wire::message_writer m{out, 'D'};
        m.u16(static_cast<std::uint16_t>(fields.size()));
        for (const auto& field : fields) {
            m.u32(field ? static_cast<std::uint32_t>(field->size()) : ~0U)
                .bytes(field.value_or(""));
        }
    }
    return out;
}

inline std::string columns(const std::vector<std::string>& names) {
    std::string out;
    {
        wire::message_writer m{out, 'T'};
        m.u16(static_cast<std::uint16_t>(names.size()));
        for (const auto& name : names) {
            m.cstring(name).u32(0).u16(0).u32(25).u16(0xffff).u32(~0U).u16(0);
        }
    }
    return out;
}

inline std::string parameter_types(const std::vector<std::uint32_t>& oids = {}) {
    std::string out;
    {
        wire::message_writer m{out, 't'};
        m.u16(static_cast<std::uint16_t>(oids.size()));
        for (const auto oid : oids) {
            m.u32(oid);
        }
    }
    return out;
}

/// What PostgreSQL says where a plan does not fit the catalogs any more.
inline std::string stale_plan() {
    std::string out;
    wire::write_error_response(
        out,
        {.severity = "ERROR",
         .sqlstate = "0A000",
         .message = "cached plan must not change result type",
         .detail = {},
         .hint = {},
         .routine = "RevalidateCachedQuery"}
    );
    return out;
}

inline std::string error(
    std::string_view sqlstate, std::string_view text, std::string_view severity = "ERROR"
) {
    std::string out;
    wire::write_error_response(
        out,
        {.severity = severity,
         .sqlstate = std::string{sqlstate},
         .message = std::string{text},
         .detail = {},
         .hint = {}}
    );
    return out;
}

inline std::string notice(std::string_view text) {
    std::string out;
    wire::write_notice_response(
        out,
        {.severity = "NOTICE",
         .sqlstate = "00000",
         .message = std::string{text},
         .detail = {},
         .hint = {}}
    );
    return out;
}

inline std::string status(std::string_view name, std::string_view value) {
    std::string out;
    wire::write_parameter_status(out, name, value);
    return out;
}

inline std::string copy_in() {
    return message('G', std::string_view{"\0\0\0", 3});
}

inline std::string copy_out() {
    return message('H', std::string_view{"\0\0\0", 3});
}

inline std::string notification(
    std::uint32_t process_id = 1, std::string_view channel = "c", std::string_view payload = "p"
) {
    std::string out;
    wire::message_writer{out, 'A'}.u32(process_id).cstring(channel).cstring(payload);
    return out;
}

// ---- as text

namespace detail {

inline std::string joined(const std::vector<std::string>& words) {
    std::string out;
    for (const auto& word : words) {
        out += (out.empty() ? "" : " ") + word;
    }
    return out;
}

inline std::string shortened(std::string_view text) {
    if (text.starts_with("SELECT 'set', s.name::text")) {
        return "<inspection>";
    }
    if (text.starts_with("SELECT pg_catalog.set_config(v.n, v.s, false)")) {
        return "<restoration>";
    }
    return text.size() <= 200 ? std::string{text} : "<" + std::to_string(text.size()) + " bytes>";
}

inline std::string describe_client_frame(const frame& f) {
    switch (f.type) {
        case 'Q':
            return "Query(" + shortened(std::string_view{f.body}.substr(0, f.body.size() - 1)) +
                   ")";
        case 'P': {
            const auto p = wire::parse_parse(f.body);
            if (!p) {
                return "Parse(?)";
            }
            std::string types;
            for (std::size_t at = p->text.size() + 3; at + 4 <= p->tail.size(); at += 4) {
                types += ":" + std::to_string(wire::load_u32(p->tail.data() + at));
            }
            return "Parse(" + std::string{p->name} + "," + shortened(p->text) + types + ")";
        }
        case 'B': {
            const auto names = wire::parse_bind_names(f.body);
            if (!names) {
                return "Bind(?)";
            }
            const auto rest = f.body.size() - names->bytes;
            return "Bind(" + std::string{names->portal} + "," + std::string{names->statement} +
                   (rest > 6 ? ",+" + std::to_string(rest - 6) : "") + ")";
        }
        case 'D':
        case 'C': {
            const auto target = wire::parse_named_target(f.body);
            return std::string{f.type == 'D' ? "Describe(" : "Close("} +
                   (target ? std::string{target->kind} + " " + std::string{target->name} : "?") +
                   ")";
        }
        case 'E':
            return "Execute(" + std::string{wire::parse_execute_portal(f.body).value()} + ")";
        case 'S':
            return "Sync";
        case 'H':
            return "Flush";
        case 'X':
            return "Terminate";
        case 'd':
            return "CopyData(" + shortened(f.body) + ")";
        case 'c':
            return "CopyDone";
        case 'f':
            return "CopyFail";
        case 'F':
            return "FunctionCall";
        default:
            return std::string{"?"} + f.type;
    }
}

inline std::string describe_server_frame(const frame& f) {
    switch (f.type) {
        case '1':
            return "ParseComplete";
        case '2':
            return "BindComplete";
        case '3':
            return "CloseComplete";
        case 'A': {
            const auto n = wire::parse_notification(f.body);
            return n ? "Notification(" + std::string{n->channel} + "," + std::string{n->payload} +
                           ")"
                     : "Notification(?)";
        }
        case 'C':
            return "Complete(" + f.body.substr(0, f.body.size() - 1) + ")";
        case 'D': {
            std::vector<std::optional<std::string_view>> fields;
            if (!wire::parse_data_row(f.body, fields)) {
                return "Row(?)";
            }
            std::string out;
            for (const auto& field : fields) {
                out += (out.empty() ? "" : ",") + shortened(field.value_or("NULL"));
            }
            return "Row(" + out + ")";
        }
        case 'E':
        case 'N': {
            const auto said = wire::parse_report(f.body);
            if (!said) {
                return "Report(?)";
            }
            const std::string severity{said->severity};
            return severity + "(" + std::string{said->sqlstate} + " " + std::string{said->message} +
                   ")";
        }
        case 'G':
            return "CopyIn";
        case 'H':
            return "CopyOut";
        case 'I':
            return "EmptyQuery";
        case 'S': {
            const auto s = wire::parse_parameter_status(f.body);
            return s ? "Status(" + std::string{s->name} + "=" + std::string{s->value} + ")"
                     : "Status(?)";
        }
        case 'T':
            return "Columns";
        case 'V':
            return "FunctionResult";
        case 'Z':
            return "Ready(" + f.body + ")";
        case 'c':
            return "CopyDone";
        case 'd':
            return "CopyData(" + shortened(f.body) + ")";
        case 'n':
            return "NoData";
        case 's':
            return "Suspended";
        case 't':
            return "Types";
        default:
            return std::string{"?"} + f.type;
    }
}

}  // namespace detail

inline std::string describe_client(std::string_view stream) {
    std::vector<std::string> words;
    for (const auto& f : split_frames(stream)) {
        words.push_back(detail::describe_client_frame(f));
    }
    return detail::joined(words);
}

inline std::string describe_server(std::string_view stream) {
    std::vector<std::string> words;
    for (const auto& f : split_frames(stream)) {
        words.push_back(detail::describe_server_frame(f));
    }
    return detail::joined(words);
}

}  // namespace signalbox::tests
