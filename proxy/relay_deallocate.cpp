// DEALLOCATE of a statement that the protocol has prepared: on the server connection it has another
// name there, and others may use it.
//
// As a Query it is answered here. In the extended protocol it is sent with the server's name, and
// the Execute is what ends it: from there on the client's name is free, if the server confirms.
#include "parser/traits.hpp"
#include "proxy/relay.hpp"

#include <algorithm>

namespace signalbox::proxy {

/// Which of the client's names a text with these traits ends; empty: none of them.
std::string relay::deallocated_name(const parser::text_traits& traits) const {
    const auto& name = traits.only_deallocated;
    return !name.empty() && rare_ && rare_->names.find(name) ? name : std::string{};
}

/// The Parse of the unnamed statement that ends it here; it has been prepared here, if need be.
std::string relay::deallocation_tail(const std::string& name, outbox& to_server) {
    const auto statement = rare().names.find(name);
    const auto number = ensure_prepared(statement, rare().names.ddl_at_parse(name), to_server);
    rare().deallocating = {
        .portal = {},
        .name = name,
        .statement = statement->id,
        .number = number,
        .batch = server_->batch,
        .token = 0};
    std::string tail = "DEALLOCATE " + rewrite::server_statement_name(number);
    tail.append(3, '\0');
    return tail;
}

/// The unnamed statement is a DEALLOCATE that was sent in an earlier batch: the number in it may
/// mean another statement by now.
bool relay::is_deallocation_of_old() const noexcept {
    return rare_ && unnamed_token_ != server_state::unnamed_none &&
           rare_->deallocating.token == unnamed_token_ &&
           rare_->deallocating.batch != server_->batch;
}

/// A portal is bound, to the unnamed statement or to another.
void relay::note_portal(std::string_view portal, bool of_unnamed) {
    if (!rare_) {
        return;
    }
    auto& portals = rare_->deallocating_portals;
    std::erase_if(portals, [&](const auto& each) { return each.portal == portal; });
    if (of_unnamed && unnamed_token_ != server_state::unnamed_none &&
        rare_->deallocating.token == unnamed_token_) {
        portals.push_back(rare_->deallocating);
        portals.back().portal = portal;
    }
}

/// An Execute: what it ends is gone for what the client sends next.
void relay::note_deallocation(const client_view& m, ledger_entry& entry) {
    auto& portals = rare_->deallocating_portals;
    const auto portal = m.body().substr(0, m.body().find('\0'));
    const auto found = std::find_if(portals.begin(), portals.end(), [&](const auto& each) {
        return each.portal == portal;
    });
    if (found == portals.end()) {
        return;
    }
    auto& detail = entry.in_detail();
    detail.client_name = found->name;
    detail.number = found->number;
    detail.deallocates = true;
    rare_->names.close(found->name, server_->batch);
    server_->statements.forget(found->statement, found->number);
    portals.erase(found);
}

void relay::deallocation_settled(const ledger_detail& of, bool succeeded) {
    if (succeeded) {
        rare().names.confirm_close(of.client_name);
    } else {
        rare().names.roll_back(of.client_name);
        server_->statements.leave(of.number);
    }
}

/// A Query that is answered here: on the server the statement has another name, and stays for
/// others.
void relay::deallocate_locally(const std::string& name, outbox& to_client) {
    auto& entry = server_->requests.push(request::local);
    entry.detail = std::make_unique<ledger_detail>();
    entry.detail->is_deallocate = true;
    entry.detail->client_name = name;
    rare_->names.close(name, server_->batch);
    forget_unnamed();
    unnamed_token_ = server_state::unnamed_none;  // as by every simple Query
    unnamed_sticks_ = false;
    settle(to_client);
}

}  // namespace signalbox::proxy
