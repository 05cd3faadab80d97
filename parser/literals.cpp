#include "parser/literals.hpp"

#include "parser/lexer.hpp"

#include <algorithm>
#include <limits>
#include <stdexcept>

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

bool literals::stand_in(std::string_view text) const noexcept {
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
        for (const auto end = std::min(i + 8, text.size()); i < end; ++i) {
            if (is_rare(i) != 0 && stands_at(text, i)) {
                return true;
            }
        }
    }
    return false;
}

}  // namespace signalbox::parser
