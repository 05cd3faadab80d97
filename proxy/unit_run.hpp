// A batch on its way: its units, which of them has been sent, and what of a batch has been
// committed.
//
//   due -> under way -> due -> … -> ended        an error, or the last unit, ends it
#pragma once

#include "parser/lexer.hpp"
#include "parser/traits.hpp"
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

/// How many statements of the client's batch are committed, by what the server has answered.
class commit_count {
public:
    /// The next batch begins.
    void start() noexcept { *this = {}; }

    /// The batch is not one transaction: what is committed is worth a word.
    void note_split() noexcept { is_split_ = true; }

    /// `ends_block`: the statement is known to end its block, also where another one follows at
    /// once. Else a ROLLBACK with COMMIT behind it is taken to have gone to a savepoint.
    void note_completed(std::string_view tag, bool ends_block = false) noexcept {
        if (tag == "BEGIN" || tag == "START TRANSACTION") {
            open_ -= std::exchange(rolled_back_, 0);
        }
        ++open_;
        if (tag == "ROLLBACK" && ends_block) {
            open_ = 0;
        } else if (tag == "ROLLBACK") {
            rolled_back_ = open_;
        } else if (tag == "COMMIT") {
            rolled_back_ = 0;
            commit();
        }
    }

    void note_error() noexcept { open_ = rolled_back_ = 0; }

    /// The server's, or that of a statement which was carried out here.
    void note_status(char status) noexcept {
        if (status == 'I') {
            commit();
        }
        rolled_back_ = 0;
    }

    /// To be told now: not again. 0: nothing.
    [[nodiscard]] std::size_t take_news() noexcept {
        return is_split_ ? std::exchange(committed_, 0) : 0;
    }

    [[nodiscard]] std::size_t committed() const noexcept { return committed_; }

private:
    void commit() noexcept {
        committed_ += open_ - rolled_back_;
        open_ = rolled_back_ = 0;
    }

    std::size_t committed_ = 0;
    std::size_t open_ = 0;         // completed, and their transaction has not ended
    std::size_t rolled_back_ = 0;  // of these, before a ROLLBACK that may end the transaction
    bool is_split_ = false;
};

class unit_run {
public:
    /// `before`: statements of the batch that came before the text.
    unit_run(
        std::string_view text,
        parser::verdict_ptr batch,
        std::vector<rewrite::unit> units,
        std::size_t before
    )
        : text_(text),
          batch_(std::move(batch)),
          units_(std::move(units)),
          before_(before),
          names_sequence_values_(parser::may_name_sequence_values(text)) {}

    [[nodiscard]] bool is_due() const noexcept { return due_; }

    [[nodiscard]] const rewrite::unit& next() const noexcept { return units_[at_]; }

    /// Looked for once: every unit asks.
    [[nodiscard]] bool may_name_sequence_values() const noexcept { return names_sequence_values_; }

    [[nodiscard]] std::string_view text_of(const rewrite::unit& which) const noexcept {
        return std::string_view{text_}.substr(which.offset, which.size);
    }

    /// The unit that is under way, or that has just ended.
    [[nodiscard]] const rewrite::unit& present() const noexcept { return units_[at_ - 1]; }

    [[nodiscard]] const parser::verdict& batch() const noexcept { return *batch_; }

    [[nodiscard]] std::string_view text_before_present() const noexcept {
        return at_ == 0 ? std::string_view{} : std::string_view{text_}.substr(0, present().offset);
    }

    const rewrite::unit& start_next() noexcept {
        due_ = false;
        done_in_unit_ = 0;
        return units_[at_++];
    }

    /// A statement of the unit under way is done, with this command tag. Whether it ends its block,
    /// also where AND CHAIN opens another.
    bool end_statement(std::string_view tag) noexcept {
        const auto& all = batch_->statements;
        const auto& done = all[std::min(present().first + done_in_unit_++, all.size() - 1)];
        return done.kind == parser::statement_kind::end_block ||
               ((tag.starts_with("COMMIT") || tag.starts_with("ROLLBACK")) &&
                has_word(std::string_view{text_}.substr(done.offset, done.size), "chain"));
    }

    void fail() noexcept { failed_ = true; }

    /// A cancel may arrive at the server between two units, where nothing runs: then it is for the
    /// next one.
    void cancel() noexcept { cancelled_ = true; }

    [[nodiscard]] bool is_cancelled() const noexcept {
        return cancelled_ && !failed_ && at_ < units_.size();
    }

    /// A server connection has been taken for the next unit: it is not to be given back before.
    void note_lease() noexcept { has_lease_ = true; }

    [[nodiscard]] bool has_lease() const noexcept { return has_lease_; }

    /// No unit follows the one under way.
    [[nodiscard]] bool is_last() const noexcept { return failed_ || at_ == units_.size(); }

    /// The unit under way has ended. True: it was the last one.
    bool end_unit() noexcept {
        has_lease_ = false;
        due_ = !is_last();
        return !due_;
    }

    [[nodiscard]] std::size_t statements() const noexcept {
        return before_ + batch_->statements.size();
    }

private:
    /// Among the first tokens: COMMIT TRANSACTION AND CHAIN, behind some empty statements.
    static bool has_word(std::string_view sql, std::string_view word) noexcept {
        constexpr int looked_at = 64;
        parser::lexer tokens{sql};
        auto t = tokens.next();
        for (int left = looked_at; left > 0 && t.kind != parser::token_kind::end; --left) {
            if (parser::equals_ignoring_case(t.text, word)) {
                return true;
            }
            t = tokens.next();
        }
        return false;
    }

    std::string text_;
    parser::verdict_ptr batch_;
    std::vector<rewrite::unit> units_;
    std::size_t at_ = 0;
    std::size_t done_in_unit_ = 0;
    std::size_t before_ = 0;
    bool names_sequence_values_;
    bool due_ = true;
    bool has_lease_ = false;
    bool failed_ = false;
    bool cancelled_ = false;
};

}  // namespace signalbox::proxy
