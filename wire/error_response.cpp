#include "wire/error_response.hpp"

#include "wire/messages.hpp"

#include <charconv>

namespace signalbox::wire {
namespace {

void write_report(std::string& out, char type, const report& what) {
    message_writer msg{out, type};
    const auto field = [&msg](char code, std::string_view value) {
        if (!value.empty()) {
            msg.u8(static_cast<std::uint8_t>(code)).cstring(value);
        }
    };
    field('S', what.severity);
    field('V', what.severity);
    field('C', what.sqlstate);
    field('M', what.message);
    field('D', what.detail);
    field('H', what.hint);
    field('P', what.position > 0 ? std::to_string(what.position) : std::string{});
    field('R', what.routine);
    msg.u8(0);
}

}  // namespace

void write_error_response(std::string& out, const report& what) {
    write_report(out, server_message::error_response, what);
}

void write_notice_response(std::string& out, const report& what) {
    write_report(out, server_message::notice_response, what);
}

result<report_view> parse_report(bytes_view body) noexcept {
    byte_reader in{body};
    report_view view;
    std::string_view translated;
    for (;;) {
        const auto code = in.u8();
        if (in.failed()) {
            return wire_errc::truncated;
        }
        if (code == 0) {
            break;
        }
        const auto value = in.cstring();
        switch (code) {
            case 'V':
                view.severity = value;
                break;
            case 'S':
                translated = value;
                break;
            case 'C':
                view.sqlstate = value;
                break;
            case 'M':
                view.message = value;
                break;
            case 'D':
                view.detail = value;
                break;
            case 'H':
                view.hint = value;
                break;
            case 'R':
                view.routine = value;
                break;
            case 'P':
                std::from_chars(value.data(), value.data() + value.size(), view.position);
                break;
            default:
                break;
        }
    }
    if (const auto ec = in.finish()) {
        return ec;
    }
    if (view.severity.empty()) {
        view.severity = translated;
    }
    return view;
}

void write_edited_report(std::string& out, char type, bytes_view body, const report_edit& edit) {
    message_writer msg{out, type};
    byte_reader in{body};
    for (;;) {
        const auto code = in.u8();
        if (in.failed() || code == 0) {
            break;
        }
        auto value = in.cstring();
        msg.u8(code);
        if ((code == 'S' || code == 'V') && !edit.severity.empty()) {
            value = edit.severity;
        }
        if (code == 'P' && edit.position > 0) {
            msg.cstring(std::to_string(edit.position));
            continue;
        }
        const auto at =
            code == 'M' && !edit.from.empty() ? value.find(edit.from) : std::string_view::npos;
        if (at == std::string_view::npos) {
            msg.cstring(value);
        } else {
            msg.bytes(value.substr(0, at))
                .bytes(edit.to)
                .cstring(value.substr(at + edit.from.size()));
        }
    }
    msg.u8(0);
}

}  // namespace signalbox::wire
