#include "parser/limits.hpp"

#include <array>

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

}  // namespace

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
