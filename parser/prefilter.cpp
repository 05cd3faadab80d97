#include "parser/prefilter.hpp"

#include <re2/filtered_re2.h>
#include <re2/re2.h>

#include <algorithm>
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

std::string expression_for(const std::vector<std::string>& rpc_functions) {
    std::string expression =
        "(?is)"
        ";[\\s;]*[^\\s;]"      // a second statement
        "|connection|notice";  // ours
    if (rpc_functions.empty()) {
        return expression;
    }
    std::string parts;
    for (const auto& pattern : rpc_functions) {
        const auto necessary = necessary_parts(pattern);
        if (necessary.empty()) {
            return expression + "|\\(";  // every call has one
        }
        for (const auto& part : necessary) {
            parts += (parts.empty() ? "" : "|") + part;
        }
    }
    return expression + "|(?:" + parts + ")[^(]*\\(" +  // a name and its arguments
           "|u&\""                                      // can spell any name
           "|\\xC5\\xBF|\\xE2\\x84\\xAA";  // a long s and the Kelvin sign, in UTF-8, are s and k
                                           // where case is ignored
}

re2::RE2::Options options() {
    re2::RE2::Options wanted{re2::RE2::Latin1};
    wanted.set_log_errors(false);
    return wanted;
}

}  // namespace

prefilter::prefilter(const std::vector<std::string>& rpc_functions)
    : expression_(std::make_unique<re2::RE2>(expression_for(rpc_functions), options())) {
    if (!expression_->ok()) {
        throw std::invalid_argument{"rpc_functions: " + expression_->error()};
    }
}

prefilter::~prefilter() = default;

bool prefilter::finds(std::string_view sql) const noexcept {
    return expression_->Match(
        {sql.data(), sql.size()}, 0, sql.size(), re2::RE2::UNANCHORED, nullptr, 0
    );
}

}  // namespace signalbox::parser
