#include "proxy/log.hpp"

#include <spdlog/logger.h>
#include <spdlog/sinks/stdout_sinks.h>

#include <array>
#include <charconv>
#include <cmath>
#include <ctime>
#include <memory>
#include <utility>

namespace signalbox::proxy::log {
namespace {

constexpr std::array<std::string_view, 5> level_names{"trace", "debug", "info", "warn", "error"};
constexpr std::string_view hex_digits = "0123456789abcdef";

std::atomic<format> current_format{format::text};

/// One code point, or one byte that is not part of any.
struct decoded {
    char32_t point = 0;
    std::size_t length = 1;
    bool is_valid = false;
};

/// Strict UTF-8 (RFC 3629): no overlong forms, no surrogates, nothing above U+10FFFF. `text` is not
/// empty.
decoded decode(std::string_view text) noexcept {
    const auto byte = [&](std::size_t at) { return static_cast<unsigned char>(text[at]); };
    const unsigned char first = byte(0);
    if (first < 0x80) {
        return {.point = first, .length = 1, .is_valid = true};
    }
    std::size_t length = 0;
    char32_t point = 0;
    char32_t smallest = 0;
    if ((first & 0xe0U) == 0xc0) {
        length = 2, point = first & 0x1fU, smallest = 0x80;
    } else if ((first & 0xf0U) == 0xe0) {
        length = 3, point = first & 0x0fU, smallest = 0x800;
    } else if ((first & 0xf8U) == 0xf0) {
        length = 4, point = first & 0x07U, smallest = 0x10000;
    }
    if (length == 0 || length > text.size()) {
        return {};
    }
    for (std::size_t at = 1; at < length; ++at) {
        if ((byte(at) & 0xc0U) != 0x80) {
            return {};
        }
        point = (point << 6U) | (byte(at) & 0x3fU);
    }
    const bool is_surrogate = point >= 0xd800 && point <= 0xdfff;
    if (point < smallest || point > 0x10ffff || is_surrogate) {
        return {};
    }
    return {.point = point, .length = length, .is_valid = true};
}

/// What a terminal or a line reader may take for a command or a line end: C0, DEL, C1, the two
/// separators, and the marks that turn the direction of writing.
bool is_control(char32_t point) noexcept {
    return point < 0x20 || (point >= 0x7f && point < 0xa0) || point == 0x2028 || point == 0x2029 ||
           (point >= 0x202a && point <= 0x202e) || (point >= 0x2066 && point <= 0x2069);
}

void append_hex(std::string& out, unsigned number, int digits) {
    for (int shift = (digits - 1) * 4; shift >= 0; shift -= 4) {
        out += hex_digits[(number >> static_cast<unsigned>(shift)) & 0xfU];
    }
}

enum class quoting { escape_quotes, leave_quotes };

void append_escaped(std::string& out, std::string_view text, format shape, quoting quotes) {
    while (!text.empty()) {
        const decoded next = decode(text);
        const std::string_view bytes = text.substr(0, next.length);
        text.remove_prefix(next.length);
        if (!next.is_valid) {
            if (shape == format::json) {
                out += "\xef\xbf\xbd";
            } else {
                out += "\\x";
                append_hex(out, static_cast<unsigned char>(bytes[0]), 2);
            }
        } else if (next.point == '\\' || (next.point == '"' && quotes == quoting::escape_quotes)) {
            out += '\\';
            out += bytes;
        } else if (next.point == '\n') {
            out += "\\n";
        } else if (next.point == '\r') {
            out += "\\r";
        } else if (next.point == '\t') {
            out += "\\t";
        } else if (is_control(next.point)) {
            out += "\\u";
            append_hex(out, static_cast<unsigned>(next.point), 4);
        } else {
            out += bytes;
        }
    }
}

void append_quoted(std::string& out, std::string_view text, format shape) {
    out += '"';
    append_escaped(out, text, shape, quoting::escape_quotes);
    out += '"';
}

template <class Number>
void append_number(std::string& out, Number number) {
    std::array<char, 32> digits{};
    const auto end = std::to_chars(digits.data(), digits.data() + digits.size(), number).ptr;
    out.append(digits.data(), end);
}

struct value_writer {
    std::string& out;
    format shape;

    void operator()(std::string_view text) const { append_quoted(out, text, shape); }

    void operator()(std::int64_t number) const { append_number(out, number); }

    void operator()(std::uint64_t number) const { append_number(out, number); }

    void operator()(double number) const {
        if (std::isfinite(number)) {
            append_number(out, number);
        } else {
            out += "null";  // JSON has no word for it
        }
    }

    void operator()(bool flag) const { out += flag ? "true" : "false"; }

    void operator()(value::list texts) const {
        out += '[';
        for (std::size_t at = 0; at < texts.size(); ++at) {
            if (at != 0) {
                out += ',';
            }
            append_quoted(out, texts[at], shape);
        }
        out += ']';
    }
};

void append_padded(std::string& out, int number, int digits) {
    std::array<char, 8> text{};
    for (int at = digits - 1; at >= 0; --at) {
        text[static_cast<std::size_t>(at)] = static_cast<char>('0' + number % 10);
        number /= 10;
    }
    out.append(text.data(), static_cast<std::size_t>(digits));
}

void append_time(std::string& out, std::chrono::system_clock::time_point time, char separator) {
    const auto since_epoch = std::chrono::floor<std::chrono::milliseconds>(time.time_since_epoch());
    const auto whole_seconds = std::chrono::floor<std::chrono::seconds>(since_epoch);
    const auto seconds = static_cast<std::time_t>(whole_seconds.count());
    std::tm calendar{};
    ::gmtime_r(&seconds, &calendar);
    append_padded(out, calendar.tm_year + 1900, 4);
    out += '-';
    append_padded(out, calendar.tm_mon + 1, 2);
    out += '-';
    append_padded(out, calendar.tm_mday, 2);
    out += separator;
    append_padded(out, calendar.tm_hour, 2);
    out += ':';
    append_padded(out, calendar.tm_min, 2);
    out += ':';
    append_padded(out, calendar.tm_sec, 2);
    out += '.';
    append_padded(out, static_cast<int>((since_epoch - whole_seconds).count()), 3);
}

std::string_view name_of(level severity) noexcept {
    return level_names[static_cast<std::size_t>(severity)];
}

/// The sink locks, writes with one fwrite and flushes. Never destroyed: threads may log while the
/// process ends.
spdlog::logger& sink() {
    static spdlog::logger* const logger = [] {
        auto* made =
            new spdlog::logger{"signalbox", std::make_shared<spdlog::sinks::stderr_sink_mt>()};
        made->set_pattern("%v");
        made->set_level(spdlog::level::trace);  // ours is checked before
        return made;
    }();
    return *logger;
}

void write_now(level severity, std::string_view message, std::span<const field> content) noexcept {
    try {
        const std::string line = format_line(
            current_format.load(std::memory_order_relaxed),
            severity,
            std::chrono::system_clock::now(),
            message,
            content
        );
        sink().log(spdlog::level::info, spdlog::string_view_t{line.data(), line.size()});
    } catch (...) {
        // Out of memory: the line is lost, the session that wanted to write it is not.
        return;
    }
}

}  // namespace

std::string format_line(
    format shape,
    level severity,
    std::chrono::system_clock::time_point time,
    std::string_view message,
    std::span<const field> content
) {
    std::string out;
    out.reserve(96 + message.size() + content.size() * 32);
    if (shape == format::json) {
        out += R"({"time":")";
        append_time(out, time, 'T');
        out += R"(Z","level":")";
        out += name_of(severity);
        out += R"(","message":)";
        append_quoted(out, message, shape);
        for (const field& each : content) {
            out += ',';
            append_quoted(out, each.name, shape);
            out += ':';
            std::visit(value_writer{out, shape}, each.content.data());
        }
        out += '}';
        return out;
    }
    append_time(out, time, ' ');
    out += ' ';
    out += name_of(severity);
    out.append(6 - name_of(severity).size(), ' ');
    append_escaped(out, message, shape, quoting::leave_quotes);
    for (const field& each : content) {
        out += ' ';
        append_escaped(out, each.name, shape, quoting::escape_quotes);
        out += '=';
        std::visit(value_writer{out, shape}, each.content.data());
    }
    return out;
}

std::optional<level> parse_level(std::string_view name) noexcept {
    for (std::size_t at = 0; at < level_names.size(); ++at) {
        if (level_names[at] == name) {
            return static_cast<level>(at);
        }
    }
    return std::nullopt;
}

void set_level(level lowest) noexcept {
    detail::lowest_level.store(lowest, std::memory_order_relaxed);
}

void set_format(format shape) noexcept {
    current_format.store(shape, std::memory_order_relaxed);
}

namespace detail {

void write(level severity, std::string_view message, std::span<const field> content) noexcept {
    write_now(severity, message, content);
}

}  // namespace detail

void ready(std::span<const std::string> addresses) noexcept {
    if (current_format.load(std::memory_order_relaxed) == format::json) {
        const field list{"addresses", value::list{addresses}};
        write_now(level::info, "ready", {&list, 1});
        return;
    }
    try {
        std::string message = "ready: listening on ";
        for (std::size_t at = 0; at < addresses.size(); ++at) {
            message += at == 0 ? "" : ", ";
            message += addresses[at];
        }
        write_now(level::info, message, {});
    } catch (...) {
        write_now(level::info, "ready", {});
    }
}

}  // namespace signalbox::proxy::log
