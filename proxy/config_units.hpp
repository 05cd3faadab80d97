// Durations, sizes and near misses, as the configuration writes them. Pure functions.
#pragma once

#include <chrono>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>

namespace signalbox::proxy {

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

/// "20/min": a whole number from 1, and "/s", "/min" or "/h".
bool is_quota(std::string_view text) noexcept;

/// An IPv4 or IPv6 address, or a network in CIDR form.
bool is_address_or_network(const std::string& text) noexcept;

/// The name that `text` was most likely meant to be: a letter or two apart (case, and - for _, do
/// not count), or empty.
std::string_view nearest_name(std::string_view text, std::span<const std::string_view> names);

/// `text` between double quotes, safe to print: control characters escaped, cut after 80 bytes.
std::string in_quotes(std::string_view text);

}  // namespace signalbox::proxy
