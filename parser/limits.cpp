#include "parser/limits.hpp"

#include "parser/lexer.hpp"

#include <algorithm>
#include <array>
#include <vector>

namespace signalbox::parser {
namespace {

constexpr auto is_operator = [] {
    std::array<bool, 256> table{};
    for (const char c : std::string_view{"~!@#^&|`?+-*/%<>="}) {
        table[static_cast<unsigned char>(c)] = true;
    }
    return table;
}();

/// A line comment takes the rest of its line in one go, but for the comments that open in it when
/// the run stands inside a comment already.
std::size_t starts_in(std::string_view run) noexcept {
    std::size_t starts = 1;
    bool in_line_comment = false;
    for (std::size_t i = 0; i < run.size(); ++i) {
        const auto two = run.substr(i, 2);
        in_line_comment = in_line_comment || two == "--";
        if (two == "/*" || (!in_line_comment && (run[i] == '+' || run[i] == '-'))) {
            ++starts;
        }
    }
    return starts;
}

/// How often a token is written, token by token.
class copy_counter {
public:
    /// Copies beyond `most` count as so many.
    explicit copy_counter(std::size_t most) : most_(most) {}

    std::size_t copies_of(const token& t) {
        if (t.kind == token_kind::word) {
            on_word(t);
        } else if (t.kind == token_kind::symbol) {
            on_symbol(t.text.front());
        }
        follows_group_ = t.kind == token_kind::symbol && (t.text == ")" || t.text == "]");
        return groups_.back().copies;
    }

private:
    /// What stands in a pair of parentheses or brackets.
    struct group {
        std::size_t outer = 1;   // copies of the whole
        std::size_t copies = 1;  // of what is read now
        std::size_t commas = 0;
        bool is_set = false;  // behind SET
    };

    void on_word(const token& t) noexcept {
        auto& here = groups_.back();
        if (equals_ignoring_case(t.text, "set")) {
            here.is_set = true;
        } else if (equals_ignoring_case(t.text, "where")) {
            here.is_set = false;
            here.copies = here.outer;
        }
    }

    void on_symbol(char symbol) {
        auto& here = groups_.back();
        switch (symbol) {
            case '(':
            case '[':
                groups_.push_back({here.copies, here.copies});
                break;
            case ')':
            case ']':
                closed_width_ = here.commas + 1;
                if (groups_.size() > 1) {
                    groups_.pop_back();
                }
                break;
            case ',':
                ++here.commas;
                here.copies = here.outer;
                break;
            case '=':
                if (here.is_set && follows_group_) {
                    here.copies = std::min(here.copies * closed_width_, most_);
                }
                break;
            default:
                break;
        }
    }

    std::size_t most_;
    std::vector<group> groups_{{}};
    std::size_t closed_width_ = 1;  // expressions in the group that was closed last
    bool follows_group_ = false;
};

}  // namespace

std::size_t tree_tokens(std::string_view sql, std::size_t most) {
    copy_counter counter{most + 1};
    lexer tokens{sql};
    std::size_t count = 0;
    for (token t = tokens.next(); t.kind != token_kind::end && count <= most; t = tokens.next()) {
        count += counter.copies_of(t);
    }
    return std::min(count, most + 1);
}

std::size_t scanner_steps(std::string_view sql) noexcept {
    std::size_t steps = 0;
    for (std::size_t i = 0; i < sql.size(); ++i) {
        const std::size_t start = i;
        while (i < sql.size() && is_operator[static_cast<unsigned char>(sql[i])]) {
            ++i;
        }
        if (i > start + 1) {
            steps += (i - start) * starts_in(sql.substr(start, i - start));
        }
    }
    return steps;
}

}  // namespace signalbox::parser
