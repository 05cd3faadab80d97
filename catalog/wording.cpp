#include "catalog/wording.hpp"

#include <algorithm>
#include <vector>

namespace signalbox::catalog {
namespace {

constexpr std::size_t max_compared_bytes = 64;  // longer names are nobody's typing error
constexpr std::size_t max_quoted_bytes = 80;

/// std::tolower asks the locale; names here are ASCII.
constexpr char lower_letter(char letter) noexcept {
    return letter >= 'A' && letter <= 'Z' ? static_cast<char>(letter - 'A' + 'a') : letter;
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

std::string lower(std::string_view text) {
    std::string out{text};
    std::ranges::transform(out, out.begin(), lower_letter);
    return out;
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

}  // namespace signalbox::catalog
