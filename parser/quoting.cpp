#include "parser/quoting.hpp"

#include <algorithm>
#include <array>

namespace signalbox::parser {
namespace {

bool is_letter(char c) noexcept {
    return (c >= 'a' && c <= 'z') || c == '_';
}

bool is_plain(std::string_view name) noexcept {
    return !name.empty() && is_letter(name[0]) && std::all_of(name.begin(), name.end(), [](char c) {
        return is_letter(c) || (c >= '0' && c <= '9') || c == '$';
    });
}

/// IF before EXISTS, SECRET before a name, the roles of OWNER TO.
bool may_be_keyword(std::string_view name) noexcept {
    static constexpr std::array<std::string_view, 5> words{
        "current_role", "current_user", "if", "secret", "session_user"};
    return std::find(words.begin(), words.end(), name) != words.end();
}

void append_doubling(std::string& out, std::string_view text, std::string_view doubled) {
    for (const char c : text) {
        if (doubled.find(c) != std::string_view::npos) {
            out += c;
        }
        out += c;
    }
}

}  // namespace

std::string quoted_identifier(std::string_view name) {
    if (is_plain(name) && !may_be_keyword(name)) {
        return std::string{name};
    }
    std::string out = "\"";
    append_doubling(out, name, "\"");
    return out += '"';
}

std::string quoted_literal(std::string_view value) {
    std::string out = value.find('\\') == std::string_view::npos ? "'" : "E'";
    append_doubling(out, value, "'\\");
    return out += '\'';
}

}  // namespace signalbox::parser
