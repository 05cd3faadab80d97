// The pipeline ledger: one entry per request on a server connection whose reply is still to come,
// in order.
//
// What the reply is for decides what becomes of it: forwarded, swallowed (Signalbox asked), or made
// here when its turn comes (`local`). A change of prepared statements is applied only when the
// server has confirmed the entry it hangs on.
#pragma once

#include "catalog/notices/explained.hpp"
#include "parser/statements.hpp"
#include "proxy/relation_source.hpp"
#include "rewrite/statements.hpp"

#include <algorithm>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

namespace signalbox::proxy {

enum class request : std::uint8_t {
    query,
    parse,
    bind,
    describe,
    execute,
    close,
    sync,
    function_call,
    copy_end,     // CopyDone or CopyFail: no reply of its own
    setup,        // our Query that takes the connection to the session's parameters
    inspection,   // our Query that asks for the session's state
    cut,          // our Sync in the middle of a client's extended batch
    carried,      // our Parse and Sync of a statement that moves to another server
    sequences,    // our Query that discards what others have drawn from sequences
    restoration,  // our Query that returns reset parameters to the startup packet's values
    local         // answered here when its turn comes
};

/// The server answers it with ReadyForQuery.
constexpr bool is_batch_end(request kind) noexcept {
    switch (kind) {
        case request::query:
        case request::sync:
        case request::cut:
        case request::function_call:
        case request::setup:
        case request::sequences:
        case request::inspection:
        case request::carried:
        case request::restoration:
            return true;
        default:
            return false;
    }
}

enum class reply : std::uint8_t { forward, swallow };

/// What a prepared statement's name stands for, as far as relations of Signalbox's are concerned.
struct named_relations {
    std::string name;
    sent_text_ptr sent;  // null: it reads none
};

using explained_ptr = std::shared_ptr<const catalog::explained_statement>;

/// A step on the way to the notices behind a plan: see relay_explain.cpp.
struct explain_step {
    /// Of a Query: its EXPLAINs in their order; of a Parse: what it makes. Null: nothing is added.
    std::vector<explained_ptr> texts;
    std::string statement;      // the client's name, of Parse, Bind and Close
    std::string portal;         // of Bind and Execute
    bool has_limit = false;     // Execute
    std::size_t completed = 0;  // of a Query's texts
    catalog::plan_lines lines;  // of the plan that is coming
};

/// What a rarer entry remembers.
struct ledger_detail {
    std::string client_name;                 // of the prepared statement
    rewrite::statement_ptr statement;        // that a Parse makes known, or a Describe is of
    std::uint32_t number = 0;                // the statement's, on the server connection
    bool is_close = false;                   // a local CloseComplete
    std::uint64_t columns = 0;               // a Describe: see relay_columns.cpp
    bool is_deallocate = false;              // a local DEALLOCATE
    bool deallocates = false;                // an Execute that ends `client_name`, there `number`
    bool discards_sequences = false;         // an Execute of ours: see relay_sequences.cpp
    bool only_local_set = false;             // SET LOCAL: its tag means nothing for the session
    std::optional<named_relations> renamed;  // by a Parse or a Close: see relay_relations.cpp
    sent_text_ptr sent;  // what was sent in the stead of the client's text, where that was changed
    std::string error;   // an ErrorResponse, whole, that takes the place of the server's
    std::unique_ptr<explain_step> explains;
    std::vector<parser::sql_name> names;  // of a Query, in its order: see relay_sql_names.cpp
};

struct ledger_entry {
    request kind = request::query;
    reply action = reply::forward;
    std::unique_ptr<ledger_detail> detail;

    /// Makes it where there is none.
    ledger_detail& in_detail() {
        if (!detail) {
            detail = std::make_unique<ledger_detail>();
        }
        return *detail;
    }

    std::uint64_t unnamed = 0;  // token of the unnamed statement that a Parse makes or a Close ends

    /// Its reply ends with ReadyForQuery.
    [[nodiscard]] bool ends_batch() const noexcept {
        return is_batch_end(kind) || (kind == request::local && detail->is_deallocate);
    }
};

class ledger {
public:
    [[nodiscard]] bool empty() const noexcept { return head_ == entries_.size(); }

    [[nodiscard]] std::size_t size() const noexcept { return entries_.size() - head_; }

    /// How many ReadyForQuery of the server are still to come. 0: the transaction status is known.
    [[nodiscard]] std::size_t batches() const noexcept { return batches_; }

    /// Entries that take up memory: those that have been answered, too.
    [[nodiscard]] std::size_t kept() const noexcept { return entries_.size(); }

    ledger_entry& front() noexcept { return entries_[head_]; }

    ledger_entry& operator[](std::size_t i) noexcept { return entries_[head_ + i]; }

    const ledger_entry& operator[](std::size_t i) const noexcept { return entries_[head_ + i]; }

    /// There is one of our own.
    [[nodiscard]] bool has_swallowed() const noexcept {
        return std::any_of(
            entries_.begin() + static_cast<std::ptrdiff_t>(head_),
            entries_.end(),
            [](const auto& each) { return each.action == reply::swallow; }
        );
    }

    ledger_entry& push(request kind, reply action = reply::forward) {
        if (head_ > kept_entries && head_ > entries_.size() / 2) {
            // Somebody always has something under way.
            entries_.erase(entries_.begin(), entries_.begin() + static_cast<std::ptrdiff_t>(head_));
            head_ = 0;
        }
        entries_.push_back({kind, action, nullptr, 0});
        batches_ += is_batch_end(kind) ? 1U : 0U;
        return entries_.back();
    }

    void pop() noexcept {
        batches_ -= is_batch_end(entries_[head_].kind) ? 1U : 0U;
        entries_[head_].detail.reset();
        if (++head_ == entries_.size()) {
            clear();
        }
    }

    void erase(std::size_t i) {
        batches_ -= is_batch_end((*this)[i].kind) ? 1U : 0U;
        entries_.erase(entries_.begin() + static_cast<std::ptrdiff_t>(head_ + i));
        if (empty()) {
            clear();
        }
    }

    void clear() noexcept {
        entries_.clear();
        head_ = 0;
        batches_ = 0;
        if (entries_.capacity() > kept_entries) {
            entries_.shrink_to_fit();
        }
    }

private:
    static constexpr std::size_t kept_entries = 1024;

    std::vector<ledger_entry> entries_;
    std::size_t head_ = 0;
    std::size_t batches_ = 0;
};

}  // namespace signalbox::proxy
