#include "parser/literals.hpp"

#include "parser/lexer.hpp"

#include <algorithm>
#include <cstring>
#include <limits>
#include <stdexcept>
#include <utility>

namespace signalbox::parser {
namespace {

/// Small for what is rare in SQL.
std::size_t frequency(char c) noexcept {
    static constexpr std::string_view rarest_first = "&jqzxkvywhpgbufm9876543dclionrsat210e_";
    const auto at = rarest_first.find(c);
    return at == std::string_view::npos ? 0 : at;
}

std::size_t rarest_in(std::string_view word) noexcept {
    const auto* const rarest = std::min_element(word.begin(), word.end(), [](char a, char b) {
        return frequency(a) < frequency(b);
    });
    return static_cast<std::size_t>(rarest - word.begin());
}

/// The same for both cases of an ASCII letter, and for some other bytes.
char without_case(char c) noexcept {
    return static_cast<char>(static_cast<unsigned char>(c) | 0x20U);
}

/// A vector register of any processor: GCC and clang know this type.
using lanes = std::uint8_t __attribute__((vector_size(16)));

lanes load(const char* from) noexcept {
    lanes all;
    std::memcpy(&all, from, sizeof all);
    return all;
}

bool is_any(lanes found) noexcept {
    std::array<std::uint64_t, 2> halves{};
    std::memcpy(halves.data(), &found, sizeof found);
    return (halves[0] | halves[1]) != 0;
}

}  // namespace

literals::literals(std::vector<std::string> words) {
    if (words.size() > std::numeric_limits<std::uint16_t>::max()) {
        throw std::invalid_argument{"too many patterns"};
    }
    for (auto& text : words) {
        const auto rarest = rarest_in(text);
        words_.push_back({std::move(text), rarest});
    }
    const auto rarest_of = [](const word& w) {
        return static_cast<unsigned char>(w.text[w.rarest]);
    };
    std::sort(words_.begin(), words_.end(), [&](const word& a, const word& b) {
        return rarest_of(a) < rarest_of(b);
    });
    for (std::size_t i = 0; i < words_.size(); ++i) {
        const auto byte = rarest_of(words_[i]);
        const bool is_letter = byte >= 'a' && byte <= 'z';
        for (const auto either : {byte, is_letter ? static_cast<unsigned char>(byte - 32) : byte}) {
            auto& found = by_byte_[either];
            found.begin = found.end == 0 ? static_cast<std::uint16_t>(i) : found.begin;
            found.end = static_cast<std::uint16_t>(i + 1);
            rare_[either] = 1;
        }
    }
    find_pairs();
}

/// The rarest letter of each word, and its neighbour on the right; on the left where it is the
/// last.
void literals::find_pairs() {
    std::vector<std::pair<char, char>> wanted;
    for (const auto& [text, rarest] : words_) {
        if (text.size() < 2) {
            return;
        }
        const auto at = std::min(rarest, text.size() - 2);
        const std::pair both{without_case(text[at]), without_case(text[at + 1])};
        if (std::find(wanted.begin(), wanted.end(), both) == wanted.end()) {
            wanted.push_back(both);
        }
    }
    constexpr auto of_group = std::tuple_size_v<decltype(pairs::first)>;
    if (wanted.size() > of_group * max_groups) {
        return;
    }
    for (std::size_t begin = 0; begin < wanted.size(); begin += of_group) {
        auto& group = groups_.emplace_back();
        for (std::size_t i = 0; i < of_group; ++i) {
            const auto& both = wanted[std::min(begin + i, wanted.size() - 1)];
            group.first[i].fill(both.first);
            group.second[i].fill(both.second);
        }
    }
}

bool literals::stands_at(std::string_view text, std::size_t at) const noexcept {
    const auto found = by_byte_[static_cast<unsigned char>(text[at])];
    return std::any_of(
        words_.begin() + found.begin,
        words_.begin() + found.end,
        [&](const word& w) {
            return w.rarest <= at &&
                   equals_ignoring_case(text.substr(at - w.rarest, w.text.size()), w.text);
        }
    );
}

/// Their rarest letters stand from `from` to before `to`.
bool literals::stand_among(std::string_view text, std::size_t from, std::size_t to) const noexcept {
    for (auto i = from; i < to; ++i) {
        if (rare_[static_cast<unsigned char>(text[i])] != 0 && stands_at(text, i)) {
            return true;
        }
    }
    return false;
}

/// The first block from `from` on that has a pair of the group; none: npos. `text` has more than a
/// block, and the last one overlaps the one before it. There is no call in it, so that the pairs
/// stay in registers.
std::size_t literals::block_with_pair(
    const pairs& group, std::string_view text, std::size_t from
) noexcept {
    const auto& [first, second] = group;
    const lanes a0 = load(first[0].data());
    const lanes a1 = load(first[1].data());
    const lanes a2 = load(first[2].data());
    const lanes a3 = load(first[3].data());
    const lanes b0 = load(second[0].data());
    const lanes b1 = load(second[1].data());
    const lanes b2 = load(second[2].data());
    const lanes b3 = load(second[3].data());
    const std::size_t last = text.size() - block_bytes - 1;
    for (std::size_t i = from;; i = std::min(i + block_bytes, last)) {
        const lanes a = load(text.data() + i) | 0x20;
        const lanes b = load(text.data() + i + 1) | 0x20;
        const auto found = ((a == a0) & (b == b0)) | ((a == a1) & (b == b1)) |
                           ((a == a2) & (b == b2)) | ((a == a3) & (b == b3));
        if (is_any(reinterpret_cast<lanes>(found))) {
            return i;
        }
        if (i == last) {
            return std::string_view::npos;
        }
    }
}

bool literals::stand_in_blocks(const pairs& group, std::string_view text) const noexcept {
    const std::size_t last = text.size() - block_bytes - 1;
    for (auto i = block_with_pair(group, text, 0); i != std::string_view::npos;
         i = block_with_pair(group, text, std::min(i + block_bytes, last))) {
        if (stand_among(text, i, i + block_bytes + 1)) {
            return true;
        }
        if (i == last) {
            return false;
        }
    }
    return false;
}

bool literals::stand_in(std::string_view text) const noexcept {
    if (!groups_.empty() && text.size() > block_bytes) {
        return std::any_of(groups_.begin(), groups_.end(), [&](const pairs& group) {
            return stand_in_blocks(group, text);
        });
    }
    const auto is_rare = [&](std::size_t at) -> unsigned {
        return rare_[static_cast<unsigned char>(text[at])];
    };
    std::size_t i = 0;
    while (i < text.size()) {
        // Eight bytes at a time while none of them is in question.
        while (text.size() - i >= 8 &&
               (is_rare(i) | is_rare(i + 1) | is_rare(i + 2) | is_rare(i + 3) | is_rare(i + 4) |
                is_rare(i + 5) | is_rare(i + 6) | is_rare(i + 7)) == 0) {
            i += 8;
        }
        const auto end = std::min(i + 8, text.size());
        if (stand_among(text, i, end)) {
            return true;
        }
        i = end;
    }
    return false;
}

}  // namespace signalbox::parser
