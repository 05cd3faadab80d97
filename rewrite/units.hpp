// From a batch's statements to the units that it is run as.
//
//   unit   what is sent as one Query: a statement, an explicit block, or, where nothing is to be
//          split, a run of statements; or one statement that Signalbox answers itself
//
// Pure. The units' stretches joined are the batch. Source    DESIGN section 4
#pragma once

#include "parser/statements.hpp"

#include <cstddef>
#include <vector>

namespace signalbox::rewrite {

/// What happens to a simple Query with two or more statements.
enum class multi_statement_policy { pass, split_on_rpc, split, single };

/// What happens to a call of an RPC function inside an explicit transaction block.
enum class rpc_in_transaction { allow, warn, refuse };

struct unit {
    std::size_t offset = 0;  // bytes from the batch's beginning
    std::size_t size = 0;
    std::size_t first = 0;  // statement of the batch
    std::size_t statements = 0;
    bool for_signalbox = false;
    bool is_refused = false;  // an RPC call in a transaction block

    bool operator==(const unit&) const = default;
};

struct unit_plan {
    std::vector<unit> units;  // empty: the batch is sent whole, as it is
    /// An RPC function is called inside an explicit transaction block.
    bool rpc_in_block = false;
};

/// `in_block`: the session is in a transaction block when the batch arrives. `policy` single is
/// planned as pass: whether the batch is refused is the caller's to decide. `rpc`: with `refuse`,
/// a call inside a block is a unit of its own, which is refused when its turn comes.
unit_plan plan_units(
    const parser::verdict& batch,
    multi_statement_policy policy,
    bool in_block,
    rpc_in_transaction rpc = rpc_in_transaction::warn
);

}  // namespace signalbox::rewrite
