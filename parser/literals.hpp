// Whether any of some short words stands in a text, the case of ASCII letters ignored.
//
// Each word is looked for by the letter of it that is rarest in SQL, with a letter beside it: 16
// pairs of neighbours are compared at once, and letter by letter only where one is found. Words
// that have too many different pairs for that are looked for with a table of the rarest letters,
// which with one to three words over INSERTs takes 0.28 to 0.43 ns a byte, where RE2 with the same
// words takes 1.6.
#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace signalbox::parser {

class literals {
public:
    /// In lower case, none of them empty.
    explicit literals(std::vector<std::string> words);

    [[nodiscard]] bool empty() const noexcept { return words_.empty(); }

    [[nodiscard]] bool stand_in(std::string_view text) const noexcept;

private:
    struct word {
        std::string text;
        std::size_t rarest;  // position in it
    };

    struct range {
        std::uint16_t begin = 0;
        std::uint16_t end = 0;
    };

    /// As many bytes as are compared at once.
    static constexpr std::size_t block_bytes = 16;
    using block = std::array<char, block_bytes>;

    /// Four pairs of letters, each letter in all places of a block; fewer are repeated.
    struct pairs {
        std::array<block, 4> first;
        std::array<block, 4> second;
    };

    static constexpr std::size_t max_groups = 2;

    void find_pairs();
    [[nodiscard]] bool stands_at(std::string_view text, std::size_t at) const noexcept;
    [[nodiscard]] bool stand_among(std::string_view text, std::size_t from, std::size_t to)
        const noexcept;
    static std::size_t block_with_pair(
        const pairs& group, std::string_view text, std::size_t from
    ) noexcept;
    [[nodiscard]] bool stand_in_blocks(const pairs& group, std::string_view text) const noexcept;

    std::vector<word> words_;  // those with the same rarest letter side by side
    std::array<range, 256> by_byte_{};
    std::array<std::uint8_t, 256> rare_{};  // 1: by_byte_ has words
    std::vector<pairs> groups_;             // empty: the table is used
};

}  // namespace signalbox::parser
