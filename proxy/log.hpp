// The log: one line per event, to stderr, in text or JSON. spdlog stays behind this wall.
//
//     log::info("login", {{"session", id}, {"user", user}});
//
//     2026-01-02 03:04:05.678 info  login session=12 user="app"
//     {"time":"2026-01-02T03:04:05.678Z","level":"info","message":"login","session":12,"user":"app"}
//
// Times are UTC. Strings are escaped, so that nothing a peer sends can forge a line or a field.
// Messages and field names are our own words; what comes from outside goes into a field's value.
// Secrets are never passed in.
//
// Executor  any thread; a line is written whole, with one write, and never held back
// Cost      below the level: one relaxed load and one compare
#pragma once

#include <atomic>
#include <chrono>
#include <concepts>
#include <cstdint>
#include <initializer_list>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

namespace signalbox::proxy::log {

enum class level : std::uint8_t { trace, debug, info, warn, error };
enum class format : std::uint8_t { text, json };

/// The value of a field. Views: what they point to must outlive the call, as temporaries of the
/// call do.
class value {
public:
    using list = std::span<const std::string>;
    using storage = std::variant<std::string_view, std::int64_t, std::uint64_t, double, bool, list>;

    value(std::string_view text) noexcept : data_{text} {}

    value(const std::string& text) noexcept : data_{std::string_view{text}} {}

    value(const char* text) noexcept : data_{text ? std::string_view{text} : std::string_view{}} {}

    value(std::same_as<bool> auto flag) noexcept : data_{flag} {}

    value(std::signed_integral auto number) noexcept : data_{std::int64_t{number}} {}

    value(std::unsigned_integral auto number) noexcept
        requires(!std::same_as<decltype(number), bool>)
        : data_{std::uint64_t{number}} {}

    value(std::floating_point auto number) noexcept : data_{static_cast<double>(number)} {}

    value(list texts) noexcept : data_{texts} {}

    value(const std::vector<std::string>& texts) noexcept : data_{list{texts}} {}

    [[nodiscard]] const storage& data() const noexcept { return data_; }

private:
    storage data_;
};

struct field {
    std::string_view name;
    value content;
};

using fields = std::initializer_list<field>;

/// One finished line without its end. Bytes that are not UTF-8 read \xNN in text and U+FFFD in
/// JSON.
std::string format_line(
    format shape,
    level severity,
    std::chrono::system_clock::time_point time,
    std::string_view message,
    std::span<const field> content
);

/// "trace", "debug", "info", "warn", "error"; else nothing.
std::optional<level> parse_level(std::string_view name) noexcept;

void set_level(level lowest) noexcept;
void set_format(format shape) noexcept;

namespace detail {
inline std::atomic<level> lowest_level{level::info};
void write(level severity, std::string_view message, std::span<const field> content) noexcept;
}  // namespace detail

inline bool is_enabled(level severity) noexcept {
    return severity >= detail::lowest_level.load(std::memory_order_relaxed);
}

inline void write(level severity, std::string_view message, fields content = {}) noexcept {
    if (is_enabled(severity)) {
        detail::write(severity, message, {content.begin(), content.size()});
    }
}

inline void trace(std::string_view message, fields content = {}) noexcept {
    write(level::trace, message, content);
}

inline void debug(std::string_view message, fields content = {}) noexcept {
    write(level::debug, message, content);
}

inline void info(std::string_view message, fields content = {}) noexcept {
    write(level::info, message, content);
}

inline void warn(std::string_view message, fields content = {}) noexcept {
    write(level::warn, message, content);
}

inline void error(std::string_view message, fields content = {}) noexcept {
    write(level::error, message, content);
}

/// The line that scripts wait for; written whatever the level. In text it reads "ready: listening
/// on A, B", in JSON the message is "ready" and the field "addresses" a list.
void ready(std::span<const std::string> addresses) noexcept;

}  // namespace signalbox::proxy::log
