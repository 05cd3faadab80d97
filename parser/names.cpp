#include "parser/names.hpp"

#include "parser/strings.hpp"

#include <algorithm>
#include <utility>

namespace signalbox::parser {
namespace {

constexpr std::size_t max_name_bytes = 63;  // NAMEDATALEN - 1

std::string_view within_quotes(std::string_view text) noexcept {
    text.remove_prefix(text.find('"') + 1);
    if (text.ends_with('"')) {
        text.remove_suffix(1);
    }
    return text;
}

std::string undoubled(std::string_view text) {
    std::string out;
    for (std::size_t i = 0; i < text.size(); ++i) {
        out += text[i];
        if (text.substr(i, 2) == "\"\"") {
            ++i;
        }
    }
    return out;
}

void truncate(std::string& name) {
    if (name.size() <= max_name_bytes) {
        return;
    }
    std::size_t size = max_name_bytes;
    while (size > max_name_bytes - 3 && (static_cast<unsigned char>(name[size]) & 0xC0U) == 0x80U) {
        --size;  // never within a character of UTF-8, which has three bytes more at most
    }
    name.resize(size);
}

}  // namespace

bool is_name(const token& t) noexcept {
    return t.kind == token_kind::word || t.kind == token_kind::quoted_identifier;
}

char escape_of(std::string_view string) noexcept {
    auto open = string.find('\'');
    if (string.front() == '$') {
        open = string.find('$', 1);
    }
    return open != std::string_view::npos && open + 2 < string.size() ? string[open + 1] : '\\';
}

std::string folded_name(const token& name, char escape) {
    auto fault = unicode_fault::none;
    return folded_name(name, escape, fault);
}

std::string folded_name(const token& name, char escape, unicode_fault& fault) {
    std::string folded;
    if (name.kind == token_kind::quoted_identifier) {
        folded = undoubled(within_quotes(name.text));
        if (has_unicode_escapes(name)) {
            std::string decoded;
            fault = decode_unicode(folded, escape, decoded);
            if (fault == unicode_fault::none) {
                folded = std::move(decoded);
            }
        }
    } else {
        folded = name.text;
        std::transform(folded.begin(), folded.end(), folded.begin(), [](char c) {
            return c >= 'A' && c <= 'Z' ? static_cast<char>(c + 32) : c;
        });
    }
    truncate(folded);
    return folded;
}

}  // namespace signalbox::parser
