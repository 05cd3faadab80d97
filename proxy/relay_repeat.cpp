// A plan that is out of date: the batch that has met it is sent again, or its client is told.
//
// Only a batch of which nothing has run is sent again, in which every message is the client's own.
#include "proxy/relay.hpp"
#include "wire/messages.hpp"

#include <algorithm>

namespace signalbox::proxy {

namespace {

/// A batch that is larger is not kept to be repeated.
constexpr std::size_t max_repeat_bytes = std::size_t{64} * 1024;

}  // namespace

/// Keeps the bytes of a batch that was sent in one piece, in case a statement's plan turns out to
/// be out of date.
void relay::keep_for_repeat(bool from_its_start, std::string_view sent) {
    auto& s = *server_;
    s.repeat.clear();
    if (from_its_start && named_in_batch_ && s.status == 'I' && !open_batch_ &&
        s.requests.batches() == 1 && stream_left_ == 0 && sent.size() <= max_repeat_bytes &&
        !s.requests.has_swallowed()) {
        s.repeat.assign(sent);
        s.repeat_answered = false;
    }
    named_in_batch_ = false;
}

/// A statement that the client has used before was parsed anew here, after a change of the tables
/// that the client does not know of: it asks for formats of the columns that there were. Drivers
/// parse anew by themselves when they get the error that a private connection would have given.
bool relay::asks_for_old_columns(const wire::report_view& said, const ledger_entry& failed) const {
    if (failed.kind != request::bind || said.sqlstate != wire::sqlstate::protocol_violation ||
        said.routine != "PortalSetResultFormat" || !renames() || !rare_ ||
        server_->requests.batches() != 1) {
        return false;
    }
    const auto parsed = server_->statements.parsed_in(server_->batch - 1);
    return std::any_of(parsed.begin(), parsed.end(), [&](std::uint64_t id) {
        return rare_->names.was_used(id, batch_serial_ - 1);
    });
}

/// A plan is out of date since the tables have changed. Where the client's own Parse came after
/// that and was answered here, a private connection would have had no error: the statements are
/// parsed anew and the batch, of which nothing has been executed, is sent again. False: the client
/// gets the error. The statements are parsed anew at their next use.
bool relay::repeat_batch(outbox& to_server) {
    auto& s = *server_;
    auto& q = s.requests;
    const auto stale = s.statements.mark_stale(s.batch - q.batches());
    const bool may = !s.repeat.empty() && !s.repeat_answered && s.status == 'I' &&
                     q.batches() == 1 &&
                     (q.front().kind == request::bind || q.front().kind == request::describe);
    // A client that has seen the statement's result before must learn that it has changed: by this
    // error.
    const bool first_use = std::all_of(stale.begin(), stale.end(), [&](const auto& each) {
        return rare().names.is_first_use(each.id, batch_serial_ - 1);
    });
    if (!may || !first_use) {
        return false;
    }
    std::vector<ledger_entry> again;
    while (!q.front().ends_batch()) {
        again.push_back(std::move(q.front()));
        q.pop();
    }
    const auto end = q.front().kind;
    const auto end_action =
        std::exchange(q.front().action, reply::swallow);  // the failed attempt's
    q.front().kind = request::sync;
    std::string bytes;
    for (const auto& [id, number] : stale) {
        const auto statement = rare().names.statement_of(id);
        if (!statement) {
            continue;
        }
        const auto name = rewrite::server_statement_name(number);
        wire::write_named_target(bytes, wire::client_message::close, 'S', name);
        q.push(request::close, reply::swallow);
        wire::write_parse(bytes, name, statement->tail);
        auto& entry = q.push(request::parse, reply::swallow);
        entry.detail = std::make_unique<ledger_detail>();
        entry.detail->statement = statement;
        entry.detail->number = number;
        if (auto* const slot = s.statements.find(id)) {
            slot->stale = false;
            slot->columns = 0;
            slot->ddl = env_.statements.registry().ddl_seen();
        }
    }
    for (auto& entry : again) {
        auto& sent = q.push(entry.kind);
        sent.detail = std::move(entry.detail);
        sent.unnamed = entry.unnamed;
    }
    q.push(end, end_action);
    to_server.copied() += bytes;
    to_server.copied() += s.repeat;
    s.repeat.clear();  // once
    return true;
}

}  // namespace signalbox::proxy
