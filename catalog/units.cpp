#include "catalog/units.hpp"

#include <algorithm>
#include <array>
#include <charconv>
#include <limits>
#include <span>

namespace signalbox::catalog {
namespace {

struct unit {
    std::string_view name;
    std::uint64_t factor;
};

constexpr auto duration_factors = std::to_array<unit>(
    {{"", 1'000}, {"ms", 1}, {"s", 1'000}, {"min", 60'000}, {"h", 3'600'000}, {"d", 86'400'000}}
);

constexpr auto size_factors = std::to_array<unit>(
    {{"", 1},
     {"b", 1},
     {"kb", 1'000},
     {"mb", 1'000'000},
     {"gb", 1'000'000'000},
     {"tb", 1'000'000'000'000},
     {"kib", 1ULL << 10},
     {"mib", 1ULL << 20},
     {"gib", 1ULL << 30},
     {"tib", 1ULL << 40}}
);

/// std::tolower asks the locale; names here are ASCII.
constexpr char lower(char letter) noexcept {
    return letter >= 'A' && letter <= 'Z' ? static_cast<char>(letter - 'A' + 'a') : letter;
}

struct split_number {
    std::uint64_t number = 0;
    std::string_view rest;
};

/// Digits, then what follows them, with at most one space between.
std::optional<split_number> split_leading_number(std::string_view text) noexcept {
    split_number out;
    const char* const end = text.data() + text.size();
    const auto [stop, ec] = std::from_chars(text.data(), end, out.number);
    if (ec != std::errc{}) {
        return std::nullopt;
    }
    out.rest = text.substr(static_cast<std::size_t>(stop - text.data()));
    if (out.rest.size() > 1 && out.rest.front() == ' ') {
        out.rest.remove_prefix(1);
    }
    return out;
}

std::optional<std::uint64_t> scale(
    const split_number& parts,
    std::span<const unit> units,
    std::string_view name,
    std::uint64_t limit
) noexcept {
    const auto found = std::ranges::find(units, name, &unit::name);
    if (found == units.end() || parts.number > limit / found->factor) {
        return std::nullopt;
    }
    return parts.number * found->factor;
}

}  // namespace

std::optional<std::chrono::milliseconds> parse_duration(std::string_view text) noexcept {
    const auto parts = split_leading_number(text);
    if (!parts) {
        return std::nullopt;
    }
    const auto limit = static_cast<std::uint64_t>(max_duration.count());
    const auto milliseconds = scale(*parts, duration_factors, parts->rest, limit);
    if (!milliseconds) {
        return std::nullopt;
    }
    return std::chrono::milliseconds{static_cast<std::int64_t>(*milliseconds)};
}

std::optional<std::chrono::milliseconds> parse_duration(std::int64_t seconds) noexcept {
    if (seconds < 0 || seconds > max_duration / std::chrono::seconds{1}) {
        return std::nullopt;
    }
    return std::chrono::seconds{seconds};
}

std::optional<std::uint64_t> parse_size(std::string_view text) noexcept {
    const auto parts = split_leading_number(text);
    if (!parts || parts->rest.size() > 3) {  // the longest unit has three letters
        return std::nullopt;
    }
    std::array<char, 3> letters{};
    std::ranges::transform(parts->rest, letters.begin(), [](char each) { return lower(each); });
    return scale(*parts, size_factors, {letters.data(), parts->rest.size()}, max_size_bytes);
}

std::optional<rate> parse_rate(std::string_view text) noexcept {
    const auto parts = split_leading_number(text);
    if (!parts || parts->number < 1 || parts->number > std::numeric_limits<std::uint32_t>::max()) {
        return std::nullopt;
    }
    const auto events = static_cast<std::uint32_t>(parts->number);
    if (parts->rest == "/s") {
        return rate{events, std::chrono::seconds{1}};
    }
    if (parts->rest == "/min") {
        return rate{events, std::chrono::minutes{1}};
    }
    return parts->rest == "/h" ? std::optional{rate{events, std::chrono::hours{1}}} : std::nullopt;
}

}  // namespace signalbox::catalog
