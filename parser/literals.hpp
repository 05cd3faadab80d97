// Whether any of some short words stands in a text, the case of ASCII letters ignored.
//
// Each word is looked for by the letter of it that is rarest in SQL: one pass over the text with a
// table of those letters, and a comparison where one stands. With one to three words over INSERTs
// it takes 0.28 to 0.43 ns a byte, where RE2 with the same words takes 1.6.
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

    [[nodiscard]] bool stands_at(std::string_view text, std::size_t at) const noexcept;

    std::vector<word> words_;  // those with the same rarest letter side by side
    std::array<range, 256> by_byte_{};
    std::array<std::uint8_t, 256> rare_{};  // 1: by_byte_ has words
};

}  // namespace signalbox::parser
