#include "rewrite/units.hpp"

namespace signalbox::rewrite {
namespace {

using parser::statement_kind;

/// Whether a call of an RPC function stands inside, and outside, the explicit blocks.
struct rpc_places {
    bool inside = false;
    bool outside = false;
};

rpc_places find_rpc(const parser::verdict& batch, bool in_block) {
    rpc_places found;
    for (const auto& each : batch.statements) {
        if (each.calls_rpc) {
            (in_block ? found.inside : found.outside) = true;
        }
        if (each.kind == statement_kind::begin) {
            in_block = true;
        } else if (each.kind == statement_kind::end_block) {
            in_block = false;
        }
    }
    return found;
}

}  // namespace

unit_plan plan_units(
    const parser::verdict& batch,
    multi_statement_policy policy,
    bool in_block,
    rpc_in_transaction rpc
) {
    const auto found = find_rpc(batch, in_block);
    unit_plan plan{.units = {}, .rpc_in_block = found.inside};
    const bool several = batch.statements.size() > 1;
    const bool splits = several && !in_block &&
                        (policy == multi_statement_policy::split ||
                         (policy == multi_statement_policy::split_on_rpc && found.outside));
    const bool refuses = found.inside && rpc == rpc_in_transaction::refuse;
    if (!splits && !batch.is_ours && !refuses) {
        return plan;
    }
    bool block_is_open = in_block;
    bool may_join = false;  // the next statement belongs to the last unit
    for (std::size_t i = 0; i < batch.statements.size(); ++i) {
        const auto& each = batch.statements[i];
        const bool ours = each.kind == statement_kind::signalbox;
        const bool refused = refuses && each.calls_rpc && block_is_open;
        const bool alone = ours || refused;
        if (may_join && !alone) {
            plan.units.back().size += each.size;
            ++plan.units.back().statements;
        } else {
            plan.units.push_back(
                {.offset = each.offset,
                 .size = each.size,
                 .first = i,
                 .statements = 1,
                 .for_signalbox = ours,
                 .is_refused = refused}
            );
        }
        if (each.kind == statement_kind::begin) {
            block_is_open = true;
        } else if (each.kind == statement_kind::end_block) {
            block_is_open = false;
        }
        may_join = !alone && (!splits || block_is_open);
    }
    if (plan.units.size() == 1 && !plan.units.front().for_signalbox &&
        !plan.units.front().is_refused) {
        plan.units.clear();  // one block is sent as it is
    }
    return plan;
}

}  // namespace signalbox::rewrite
