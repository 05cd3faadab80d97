#include "proxy/config_units.hpp"

#include <algorithm>
#include <arpa/inet.h>
#include <array>
#include <charconv>
#include <limits>
#include <vector>

namespace signalbox::proxy {
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

constexpr std::size_t max_compared_bytes = 64;  // longer names are nobody's typing error
constexpr std::size_t max_quoted_bytes = 80;

/// std::tolower asks the locale; names here are ASCII.
constexpr char lower(char letter) noexcept {
    return letter >= 'A' && letter <= 'Z' ? static_cast<char>(letter - 'A' + 'a') : letter;
}

std::string lower(std::string_view text) {
    std::string out{text};
    std::ranges::transform(out, out.begin(), [](char letter) { return lower(letter); });
    return out;
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

/// Letters to insert, remove, replace or swap with a neighbour (optimal string alignment).
std::size_t edit_distance(std::string_view a, std::string_view b) {
    std::vector<std::vector<std::size_t>> cost(
        a.size() + 1, std::vector<std::size_t>(b.size() + 1)
    );
    for (std::size_t i = 0; i <= a.size(); ++i) {
        for (std::size_t j = 0; j <= b.size(); ++j) {
            if (i == 0 || j == 0) {
                cost[i][j] = i + j;
                continue;
            }
            const std::size_t replaced = cost[i - 1][j - 1] + (a[i - 1] == b[j - 1] ? 0 : 1);
            cost[i][j] = std::min({cost[i - 1][j] + 1, cost[i][j - 1] + 1, replaced});
            if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1]) {
                cost[i][j] = std::min(cost[i][j], cost[i - 2][j - 2] + 1);
            }
        }
    }
    return cost[a.size()][b.size()];
}

std::string normalised(std::string_view name) {
    std::string out = lower(name);
    std::ranges::replace(out, '-', '_');
    std::ranges::replace(out, ' ', '_');
    return out;
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

bool is_quota(std::string_view text) noexcept {
    const auto parts = split_leading_number(text);
    return parts && parts->number >= 1 &&
           parts->number <= std::numeric_limits<std::uint32_t>::max() &&
           (parts->rest == "/s" || parts->rest == "/min" || parts->rest == "/h");
}

bool is_address_or_network(const std::string& text) noexcept {
    if (text.find('\0') != std::string::npos) {
        return false;
    }
    const std::size_t slash = text.find('/');
    std::array<char, INET6_ADDRSTRLEN> address{};
    const std::size_t length = std::min(slash, text.size());
    if (length >= address.size()) {
        return false;
    }
    std::copy_n(text.begin(), length, address.begin());
    std::array<unsigned char, 16> bytes{};
    unsigned max_prefix = 0;
    if (::inet_pton(AF_INET, address.data(), bytes.data()) == 1) {
        max_prefix = 32;
    } else if (::inet_pton(AF_INET6, address.data(), bytes.data()) == 1) {
        max_prefix = 128;
    } else {
        return false;
    }
    if (slash == std::string::npos) {
        return true;
    }
    unsigned prefix = 0;
    const char* const end = text.data() + text.size();
    const auto [stop, ec] = std::from_chars(text.data() + slash + 1, end, prefix);
    return ec == std::errc{} && stop == end && prefix <= max_prefix;
}

std::string_view nearest_name(std::string_view text, std::span<const std::string_view> names) {
    if (text.size() > max_compared_bytes) {
        return {};
    }
    const std::string wanted = normalised(text);
    std::string_view best;
    // A third of the letters may be wrong, at most three; fewer would miss typing errors, more
    // would guess.
    std::size_t best_distance =
        std::min<std::size_t>(3, std::max<std::size_t>(1, text.size() / 3)) + 1;
    for (const std::string_view name : names) {
        if (name.size() > max_compared_bytes) {
            continue;
        }
        const std::size_t distance = edit_distance(wanted, normalised(name));
        if (distance < best_distance) {
            best = name;
            best_distance = distance;
        }
    }
    return best;
}

std::string in_quotes(std::string_view text) {
    constexpr std::string_view hex_digits = "0123456789abcdef";
    const bool is_cut = text.size() > max_quoted_bytes;
    if (is_cut) {
        std::size_t length = max_quoted_bytes;
        while (length > 0 && (static_cast<unsigned char>(text[length]) & 0xc0U) == 0x80) {
            --length;  // not within a UTF-8 sequence
        }
        text = text.substr(0, length);
    }
    std::string out = "\"";
    for (const char each : text) {
        const auto byte = static_cast<unsigned char>(each);
        if (byte < 0x20 || byte == 0x7f) {
            out += "\\x";
            out += hex_digits[byte >> 4U];
            out += hex_digits[byte & 0xfU];
        } else {
            out += each;
        }
    }
    out += is_cut ? "…\"" : "\"";
    return out;
}

}  // namespace signalbox::proxy
