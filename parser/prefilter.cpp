#include "parser/prefilter.hpp"

#include "parser/split.hpp"

#include <re2/filtered_re2.h>

#include <algorithm>
#include <optional>
#include <stdexcept>

namespace signalbox::parser {
namespace {

bool is_plain(char c) noexcept {
    return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '_';
}

/// The longest stretch of an atom that stands in a text as it stands in the name. The dot between
/// schema and name may have blanks and quotes about it, a quote may be doubled, and letters outside
/// ASCII have cases that only RE2 knows.
std::string plain_part(std::string_view atom) {
    std::string_view longest;
    while (!atom.empty()) {
        const auto end = std::find_if_not(atom.begin(), atom.end(), is_plain) - atom.begin();
        const auto part = atom.substr(0, static_cast<std::size_t>(end));
        if (part.size() > longest.size()) {
            longest = part;
        }
        atom.remove_prefix(std::min(part.size() + 1, atom.size()));
    }
    return std::string{longest};
}

/// Substrings of which every name that matches has at least one. None: nothing is known.
std::vector<std::string> necessary_parts(const std::string& pattern) {
    // Longer ones stand in fewer texts, yet not every pattern has them.
    for (const int least : {3, 1}) {
        re2::FilteredRE2 filter{least};
        int id = 0;
        if (filter.Add(pattern, re2::RE2::Quiet, &id) != re2::RE2::NoError) {
            throw std::invalid_argument{"invalid pattern: " + pattern};
        }
        std::vector<std::string> parts;
        filter.Compile(&parts);
        std::transform(parts.begin(), parts.end(), parts.begin(), plain_part);
        if (!parts.empty() && std::find(parts.begin(), parts.end(), "") == parts.end()) {
            return parts;
        }
    }
    return {};
}

/// Of which a text with an RPC call has at least one before a parenthesis. None: nothing is known
/// of the names.
std::vector<std::string> parts_before_call(const std::vector<std::string>& rpc_functions) {
    std::vector<std::string> parts;
    for (const auto& pattern : rpc_functions) {
        const auto necessary = necessary_parts(pattern);
        if (necessary.empty()) {
            return {};
        }
        parts.insert(parts.end(), necessary.begin(), necessary.end());
    }
    parts.emplace_back("u&\"");  // can spell any name
    // Where case is ignored, the long s and the Kelvin sign, here in UTF-8, match s and k.
    parts.emplace_back("\xC5\xBF");
    parts.emplace_back("\xE2\x84\xAA");
    return parts;
}

/// Of which a text that names one of the schemas has at least one; an empty one where nothing is
/// known of a name.
std::vector<std::string> parts_of_schemas(const std::vector<std::string>& schemas) {
    std::vector<std::string> parts;
    for (auto name : schemas) {
        std::transform(name.begin(), name.end(), name.begin(), [](char c) {
            return c >= 'A' && c <= 'Z' ? static_cast<char>(c + 32) : c;
        });
        parts.push_back(plain_part(name));
    }
    if (!parts.empty()) {
        parts.emplace_back("u&\"");
    }
    return parts;
}

bool is_blank(char c) noexcept {
    return c == ' ' || c == '\t' || c == '\n' || c == '\r' || c == '\f';
}

/// Of a text with more, the tokens are asked.
constexpr int max_dots = 1000;

/// No name is longer, with each of its 63 bytes a quote; others are cut off by PostgreSQL.
constexpr std::size_t max_quoted_bytes = 128;

/// The name that `text` begins with, behind blanks; empty: it begins with something else. Nothing:
/// that is not easily told, because of a comment, of U&"…", or of a name that is too long.
std::optional<std::string_view> name_at_start(std::string_view text) noexcept {
    const auto* const first =
        std::find_if_not(text.begin(), text.end(), [](char c) { return is_blank(c) || c == '\v'; });
    text.remove_prefix(static_cast<std::size_t>(first - text.begin()));
    if (text.empty()) {
        return text;
    }
    const bool is_unicode = (text[0] == 'u' || text[0] == 'U') && text.substr(1, 2) == "&\"";
    if (text[0] == '-' || text[0] == '/' || is_unicode) {
        return std::nullopt;
    }
    if (text[0] == '"') {
        const auto near = text.substr(0, max_quoted_bytes + 2);
        auto end = near.find('"', 1);
        while (end != std::string_view::npos && text.substr(end + 1, 1) == "\"") {
            end = near.find('"', end + 2);
        }
        return end == std::string_view::npos ? std::nullopt : std::optional{text.substr(0, end)};
    }
    const auto* const end = std::find_if_not(text.begin(), text.end(), [](char c) {
        return is_plain(c) || (c >= 'A' && c <= 'Z') || c == '$' ||
               static_cast<unsigned char>(c) >= 0x80U;
    });
    return text.substr(0, static_cast<std::size_t>(end - text.begin()));
}

/// Of a text with one statement. CREATE, ALTER, DROP, VALIDATE or SHOW come first, or a comment.
bool is_ours(std::string_view sql) noexcept {
    const auto* const first = std::find_if_not(sql.begin(), sql.end(), is_blank);
    if (first == sql.end()) {
        return false;
    }
    switch (*first) {
        case 'S':
        case 's':
            if (sql.end() - first < 2 || (first[1] != 'h' && first[1] != 'H')) {
                return false;  // SELECT, SET
            }
            break;
        case 'A':
        case 'a':
        case 'C':
        case 'c':
        case 'D':
        case 'd':
        case 'V':
        case 'v':
        case '-':
        case '/':
        case ';':
        case '\v':  // white space since PostgreSQL 16
            break;
        default:
            return false;
    }
    // No words that matter stand behind a string, so that its reading does not matter.
    return kind_of(sql, backslashes::plain) == statement_kind::signalbox;
}

}  // namespace

prefilter::prefilter(
    const std::vector<std::string>& rpc_functions, const std::vector<std::string>& schemas
)
    : parts_(parts_before_call(rpc_functions)) {
    auto of_schemas = parts_of_schemas(schemas);
    has_odd_schema_ = std::find(of_schemas.begin(), of_schemas.end(), "") != of_schemas.end();
    if (!has_odd_schema_) {
        schema_parts_ = literals{std::move(of_schemas)};
    }
    if (!rpc_functions.empty()) {
        wanted_ = parts_.empty() ? calls::any : calls::with_parts;
    }
}

bool prefilter::finds(std::string_view sql) const noexcept {
    return may_have_second_statement(sql) || is_ours(sql) || may_call(sql) || may_name_schema(sql);
}

bool prefilter::may_call(std::string_view sql) const noexcept {
    if (wanted_ == calls::none) {
        return false;
    }
    const auto dot = sql.find('.');
    const auto parenthesis = sql.rfind('(');
    if (dot == std::string_view::npos && parenthesis == std::string_view::npos) {
        return false;
    }
    if (wanted_ == calls::any) {
        return true;
    }
    // A function's name stands before a parenthesis, or directly behind a dot.
    if (parenthesis != std::string_view::npos && parts_.stand_in(sql.substr(0, parenthesis))) {
        return true;
    }
    if (dot == std::string_view::npos || !parts_.stand_in(sql.substr(dot + 1))) {
        return false;
    }
    auto left = max_dots;
    for (auto at = dot; at != std::string_view::npos; at = sql.find('.', at + 1)) {
        if (left-- == 0) {
            return true;
        }
        const auto rest = sql.substr(at + 1);
        const auto name = name_at_start(rest);
        if (!name) {
            return parts_.stand_in(rest);
        }
        if (parts_.stand_in(*name)) {
            return true;
        }
    }
    return false;
}

bool prefilter::may_name_schema(std::string_view sql) const noexcept {
    return has_odd_schema_ || (!schema_parts_.empty() && schema_parts_.stand_in(sql));
}

}  // namespace signalbox::parser
