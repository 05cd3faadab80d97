// EXECUTE of a statement that SQL's PREPARE has made from an RPC call is such a call.
//
// What a name stands for is the session's own and in no text, so that the verdict of a text, which
// all sessions share, says only which names it makes, uses and ends. A name counts from when its
// PREPARE is sent; it is forgotten when the server has confirmed that it is gone, or another's. In
// the extended protocol a name is forgotten with all others only: to take a statement for a call
// that is none costs a split.
#include "parser/sql_names.hpp"
#include "proxy/relay.hpp"

#include <algorithm>
#include <map>

namespace signalbox::proxy {

/// False: whatever the text executes is no RPC call.
bool relay::may_execute_rpc(std::string_view sql) const noexcept {
    return statements_ &&
           (!statements_->sql_rpc_statements.empty() ||
            (!renames() && !statements_->rpc_statements.empty())) &&
           parser::may_use_sql_names(sql);
}

/// In session mode SQL and the protocol have the same names.
bool relay::is_sql_rpc(std::string_view name) const {
    return statements_ && (statements_->sql_rpc_statements.contains(name) ||
                           (!renames() && statements_->rpc_statements.contains(name)));
}

/// The text's verdict, as it is in this session.
parser::verdict_ptr relay::with_executed(const parser::verdict_ptr& found) const {
    std::shared_ptr<parser::verdict> changed;
    std::map<std::string, bool, std::less<>> known;  // as the text itself leaves them
    for (const auto& each : found->names) {
        const auto in_text = known.find(each.name);
        const bool calls = in_text != known.end() ? in_text->second : is_sql_rpc(each.name);
        if (each.use == parser::name_use::prepares) {
            known.insert_or_assign(each.name, calls || each.calls_rpc);
        } else if (each.use == parser::name_use::deallocates) {
            known.insert_or_assign(each.name, false);
        } else if (calls) {
            if (!changed) {
                changed = std::make_shared<parser::verdict>(*found);
            }
            changed->statements[each.statement].calls_rpc = true;
            changed->calls_rpc = true;
        }
    }
    return changed ? changed : found;
}

/// Of a text with one statement.
bool relay::executes_rpc(std::string_view sql) const {
    if (!may_execute_rpc(sql)) {
        return false;
    }
    const auto used = parser::find_sql_name(sql, string_style());
    return used && used->use == parser::name_use::executes && is_sql_rpc(used->name);
}

/// They are sent.
void relay::note_sql_names(const std::vector<parser::sql_name>& names) {
    for (const auto& each : names) {
        if (each.use == parser::name_use::prepares && each.calls_rpc) {
            statements().sql_rpc_statements.insert(each.name);
        }
    }
}

/// Of the Query at hand, or of the unit that is sent: those that the server will confirm.
std::vector<parser::sql_name> relay::take_sql_names(bool of_unit) {
    std::vector<parser::sql_name> names;
    if (!statements_) {
        return names;
    }
    if (!of_unit) {
        names.swap(statements_->sql_names);
    } else {
        const auto& unit = statements_->run->present();
        for (const auto& each : statements_->run->batch().names) {
            if (each.statement >= unit.first && each.statement < unit.first + unit.statements) {
                names.push_back(each);
            }
        }
    }
    std::erase_if(names, [](const auto& each) { return each.use == parser::name_use::executes; });
    return names;
}

/// The next PREPARE or DEALLOCATE of a Query is done.
void relay::sql_name_settled(ledger_entry& of, parser::name_use use) {
    if (!of.detail || of.detail->names.empty()) {
        return;
    }
    auto& names = of.detail->names;
    const auto done =
        std::find_if(names.begin(), names.end(), [&](const auto& each) { return each.use == use; });
    if (done == names.end()) {
        return;
    }
    auto& known = statements().sql_rpc_statements;
    if (use == parser::name_use::prepares && done->calls_rpc) {
        known.insert(done->name);
    } else {
        known.erase(done->name);
    }
    names.erase(done);
}

}  // namespace signalbox::proxy
