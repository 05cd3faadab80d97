// Durations, sizes and rates, as the configuration and the options of a connection write them. Pure
// functions.
#pragma once

#include <chrono>
#include <cstdint>
#include <optional>
#include <string_view>

namespace signalbox::catalog {

/// Ten years: far above any sensible setting, far below where arithmetic on milliseconds could
/// overflow.
inline constexpr std::chrono::milliseconds max_duration = std::chrono::hours{24 * 3650};
inline constexpr std::uint64_t max_size_bytes = 1ULL << 50;  // 1 PiB

inline constexpr std::string_view duration_units = "ms, s, min, h, d";
inline constexpr std::string_view size_units = "B, kB, MB, GB, TB, KiB, MiB, GiB, TiB";

/// "500ms", "60s", "5min", "1h", "2d"; without a unit seconds, as libpq has it. Nothing if it is
/// not one of these or longer than max_duration.
std::optional<std::chrono::milliseconds> parse_duration(std::string_view text) noexcept;
std::optional<std::chrono::milliseconds> parse_duration(std::int64_t seconds) noexcept;

/// "64KiB", "10MB" (decimal), "1GiB"; without a unit bytes. The case of the letters does not
/// matter. Nothing if it is not one of these or more than max_size_bytes.
std::optional<std::uint64_t> parse_size(std::string_view text) noexcept;

struct rate {
    std::uint32_t events = 0;
    std::chrono::milliseconds per{};

    bool operator==(const rate&) const = default;
};

/// "20/min": a whole number from 1, and "/s", "/min" or "/h". Nothing if it is not one.
std::optional<rate> parse_rate(std::string_view text) noexcept;

}  // namespace signalbox::catalog
