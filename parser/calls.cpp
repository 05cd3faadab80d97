#include "parser/calls.hpp"

#include "parser/names.hpp"
#include "parser/strings.hpp"

#include <algorithm>
#include <array>

namespace signalbox::parser {
namespace {

bool defines(const token& first) noexcept {
    static constexpr std::array<std::string_view, 7> verbs{
        "create", "alter", "drop", "comment", "grant", "revoke", "prepare"};
    return first.kind == token_kind::word &&
           std::any_of(verbs.begin(), verbs.end(), [&](std::string_view verb) {
               return equals_ignoring_case(first.text, verb);
           });
}

/// Collects a name's parts; the last two count.
class name_reader {
public:
    /// True: `t` opens the arguments of the name before it.
    bool opens_arguments(const token& t) {
        const bool is_escape = awaits_escape_ && t.kind == token_kind::string;
        awaits_escape_ = false;
        if (is_escape) {
            last_escape_ = escape_of(t.text);
            return false;
        }
        if (t.text == "(") {
            return last_.kind != token_kind::end && !awaits_part_;
        }
        if (t.text == ".") {
            awaits_part_ = last_.kind != token_kind::end;
            return false;
        }
        if (!is_name(t)) {
            clear();
        } else if (has_unicode_escapes(last_) && !awaits_part_ && is_word(t, "uescape")) {
            awaits_escape_ = true;
        } else {
            add(t);
        }
        return false;
    }

    [[nodiscard]] bool follows_into() const noexcept { return follows_into_; }

    [[nodiscard]] std::string schema() const {
        return schema_.kind == token_kind::end ? std::string{}
                                               : folded_name(schema_, schema_escape_);
    }

    [[nodiscard]] std::string function() const { return folded_name(last_, last_escape_); }

    void clear() noexcept { *this = {}; }

private:
    void add(const token& t) noexcept {
        if (awaits_part_) {
            schema_ = last_;
            schema_escape_ = last_escape_;
        } else {
            schema_ = {};
            follows_into_ =
                last_.kind == token_kind::word && equals_ignoring_case(last_.text, "into");
        }
        last_ = t;
        last_escape_ = '\\';
        awaits_part_ = false;
    }

    token schema_;
    token last_;
    char schema_escape_ = '\\';
    char last_escape_ = '\\';
    bool awaits_part_ = false;    // behind a dot
    bool awaits_escape_ = false;  // behind UESCAPE
    bool follows_into_ = false;
};

}  // namespace

mention find_mention(
    std::string_view statement, backslashes strings, const call_predicate& is_wanted
) {
    auto strongest = mention::none;
    bool only_defines = false;
    bool is_first = true;
    bool follows_dot = false;
    name_reader name;
    lexer tokens{statement, strings};
    for (token t = tokens.next(); t.kind != token_kind::end; t = tokens.next()) {
        if (is_first && t.kind != token_kind::semicolon) {
            only_defines = defines(t);
            is_first = false;
        }
        // row.function: U&"…" may have an escape character that is not known yet.
        if (follows_dot && is_name(t) &&
            (has_unicode_escapes(t) || is_wanted({}, folded_name(t)))) {
            strongest = mention::doubtful;
        }
        follows_dot = t.text == ".";
        if (!name.opens_arguments(t)) {
            continue;
        }
        if (is_wanted(name.schema(), name.function())) {
            strongest = mention::doubtful;
            if (!only_defines && !name.follows_into()) {
                return mention::likely;
            }
        }
        name.clear();
    }
    return strongest;
}

}  // namespace signalbox::parser
