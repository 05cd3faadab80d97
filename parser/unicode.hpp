// Characters that SQL text spells as escapes, and whether bytes are UTF-8.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace signalbox::parser {

enum class unicode_fault : std::uint8_t {
    none,
    escape,    // not the digits that it needs
    value,     // no code point: zero, or beyond U+10FFFF
    surrogate  // half of a pair
};

/// Text in which some characters stand as they are and others are given as code points. A code
/// point beyond U+FFFF may come as two surrogates side by side.
class unicode_text {
public:
    void add(char c);
    void add_code_point(std::uint32_t code);

    /// The first fault; the text, which may be taken, counts only where there is none.
    unicode_fault finish() noexcept;

    std::string& text() noexcept { return text_; }

private:
    void found(unicode_fault fault) noexcept;

    std::string text_;
    std::uint32_t high_ = 0;  // the surrogate that waits for its other half
    unicode_fault fault_ = unicode_fault::none;
};

/// `count` hexadecimal digits at the beginning of `digits`, at most eight.
std::optional<std::uint32_t> hexadecimal(std::string_view digits, std::size_t count) noexcept;

/// The content of U&"…" or U&'…', its quotes no longer doubled: \0061, \+000061 and \\ where
/// `escape` is a backslash. `decoded` counts only where there is no fault.
unicode_fault decode_unicode(std::string_view text, char escape, std::string& decoded);

/// Where the first sequence that is not UTF-8 (RFC 3629) begins, or the first NUL; npos: nowhere.
std::size_t find_invalid_utf8(std::string_view text) noexcept;

}  // namespace signalbox::parser
