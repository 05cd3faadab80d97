// A batch on its way: its units, which of them has been sent, and what has been committed.
//
//   due -> under way -> due -> … -> ended        an error, or the last unit, ends it
#pragma once

#include "rewrite/units.hpp"
#include "wire/error_response.hpp"

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
    unit_run(std::string_view text, std::vector<rewrite::unit> units)
        : text_(text), units_(std::move(units)) {
        for (const auto& each : units_) {
            statements_ += each.statements;
        }
    }

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
        return units_[at_++];
    }

    /// A statement of the unit under way is done.
    void note_tag(std::string_view tag) noexcept {
        ++executed_;
        rolled_back_ = tag == "ROLLBACK";
        if (tag == "COMMIT") {  // the block may go on: AND CHAIN
            committed_ += std::exchange(executed_, 0);
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
            committed_ += rolled_back_ ? 0 : executed_;
            executed_ = 0;
        }
        due_ = at_ < units_.size();
        return !due_;
    }

    [[nodiscard]] std::size_t committed() const noexcept { return committed_; }

    [[nodiscard]] std::size_t statements() const noexcept { return statements_; }

private:
    std::string text_;
    std::vector<rewrite::unit> units_;
    std::size_t at_ = 0;
    std::size_t statements_ = 0;
    std::size_t committed_ = 0;
    std::size_t executed_ = 0;  // and not committed yet
    bool due_ = true;
    bool has_lease_ = false;
    bool rolled_back_ = false;
    bool failed_ = false;
};

}  // namespace signalbox::proxy
