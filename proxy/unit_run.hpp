// A batch on its way: its units, which of them has been sent, and what has been committed.
//
//   due -> under way -> due -> … -> ended        an error, or the last unit, ends it
#pragma once

#include "parser/lexer.hpp"
#include "rewrite/units.hpp"
#include "wire/error_response.hpp"

#include <algorithm>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace signalbox::proxy {

/// What is told behind an error when a part of the batch stays. Shapes a WARNING.
inline wire::report committed_warning(std::size_t committed, std::size_t of) {
    return {
        .severity = "WARNING",
        .sqlstate = std::string{wire::sqlstate::warning},
        .message = std::to_string(committed) + (committed == 1 ? " statement" : " statements") +
                   " of this batch had been committed before the error",
        .detail = of == 0 ? std::string{}
                          : "The batch has " + std::to_string(of) +
                                " statements. What follows the error was not executed.",
        .hint = {}};
}

class unit_run {
public:
    unit_run(std::string_view text, parser::verdict_ptr batch, std::vector<rewrite::unit> units)
        : text_(text), batch_(std::move(batch)), units_(std::move(units)) {}

    [[nodiscard]] bool is_due() const noexcept { return due_; }

    [[nodiscard]] const rewrite::unit& next() const noexcept { return units_[at_]; }

    [[nodiscard]] std::string_view text_of(const rewrite::unit& which) const noexcept {
        return std::string_view{text_}.substr(which.offset, which.size);
    }

    /// The unit that is under way, or that has just ended.
    [[nodiscard]] const rewrite::unit& present() const noexcept { return units_[at_ - 1]; }

    [[nodiscard]] std::string_view text_before_present() const noexcept {
        return std::string_view{text_}.substr(0, present().offset);
    }

    const rewrite::unit& start_next() noexcept {
        due_ = false;
        done_in_unit_ = 0;
        return units_[at_++];
    }

    /// A statement of the unit under way is done.
    void note_tag(std::string_view tag) noexcept {
        const auto& all = batch_->statements;
        const auto& done = all[std::min(present().first + done_in_unit_++, all.size() - 1)];
        ++executed_;
        // COMMIT and ROLLBACK may go on with another block: AND CHAIN. ROLLBACK TO undoes a part.
        const bool ends = done.kind == parser::statement_kind::end_block ||
                          has_word(std::string_view{text_}.substr(done.offset, done.size), "chain");
        if (tag == "COMMIT") {
            committed_ += std::exchange(executed_, 0);
        } else if (tag == "ROLLBACK" && ends) {
            executed_ = 0;
        }
    }

    void fail() noexcept { failed_ = true; }

    [[nodiscard]] bool has_failed() const noexcept { return failed_; }

    /// A server connection has been taken for the next unit: it is not to be given back before.
    void note_lease() noexcept { has_lease_ = true; }

    [[nodiscard]] bool has_lease() const noexcept { return has_lease_; }

    /// The unit under way has ended with this transaction status. True: it was the last one.
    bool end_unit(char status) noexcept {
        has_lease_ = false;
        if (failed_) {
            return true;
        }
        if (status == 'I') {
            committed_ += std::exchange(executed_, 0);
        }
        due_ = at_ < units_.size();
        return !due_;
    }

    [[nodiscard]] std::size_t committed() const noexcept { return committed_; }

    [[nodiscard]] std::size_t statements() const noexcept { return batch_->statements.size(); }

private:
    static bool has_word(std::string_view sql, std::string_view word) noexcept {
        parser::lexer tokens{sql};
        auto t = tokens.next();
        while (t.kind != parser::token_kind::end && !parser::equals_ignoring_case(t.text, word)) {
            t = tokens.next();
        }
        return t.kind != parser::token_kind::end;
    }

    std::string text_;
    parser::verdict_ptr batch_;
    std::vector<rewrite::unit> units_;
    std::size_t at_ = 0;
    std::size_t done_in_unit_ = 0;
    std::size_t committed_ = 0;
    std::size_t executed_ = 0;  // and not committed yet
    bool due_ = true;
    bool has_lease_ = false;
    bool failed_ = false;
};

}  // namespace signalbox::proxy
