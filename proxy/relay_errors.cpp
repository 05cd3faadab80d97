// What an error of the server, or its loss, means for the batch under way: what is skipped, what is
// sent again, and what the client is told.
#include "proxy/relay.hpp"
#include "wire/limits.hpp"
#include "wire/messages.hpp"

#include <algorithm>
#include <charconv>

namespace signalbox::proxy {

namespace sm = wire::server_message;

std::string_view relay::client_name_for(std::string_view server_name, const ledger_entry& failed)
    const {
    if (failed.detail && !failed.detail->client_name.empty()) {
        return failed.detail->client_name;
    }
    std::uint32_t number = 0;
    const auto digits = server_name.substr(rewrite::server_statement_prefix.size());
    const auto parsed = std::from_chars(digits.data(), digits.data() + digits.size(), number);
    if (!rare_ || parsed.ec != std::errc{} || parsed.ptr != digits.data() + digits.size()) {
        return {};
    }
    return rare_->names.name_of(server_->statements.id_of(number));
}

bool relay::on_error(
    std::string_view whole, std::string_view body, outbox& to_client, outbox& to_server
) {
    auto& s = *server_;
    auto& q = s.requests;
    const auto said = wire::parse_report(body);
    if (said && said->is_fatal()) {
        in_trouble().fatal_body = body;
        return false;
    }
    s.copy_in = false;
    if (s.sync_in_copy) {
        s.doubtful = true;  // the server may have taken that Sync for the end of the failed batch
        s.sync_in_copy = false;
    }
    if (q.empty()) {
        to_client.pass(whole);
        return true;
    }
    auto& front = q.front();
    if (front.detail && !front.detail->error.empty()) {
        to_client.copied() += front.detail->error;
        after_error(to_client);
        abandon_batch();
        return true;
    }
    if (said && said->sqlstate == wire::sqlstate::feature_not_supported &&
        said->routine == revalidation && renames() && repeat_batch(to_server)) {
        return true;
    }
    if (said && asks_for_old_columns(*said, front)) {
        wire::write_error_response(
            to_client.copied(),
            columns_changed(
                "The statement was parsed anew on another server connection: " +
                std::string{said->message} + "."
            )
        );
        after_error(to_client);
        abandon_batch();
        return true;
    }
    if (front.kind == request::setup || front.kind == request::inspection ||
        front.kind == request::restoration || front.kind == request::carried) {
        if (front.kind == request::setup) {
            in_trouble().setup_error = std::string{body};
        } else if (front.kind == request::inspection) {
            rare().inspection_error = said ? std::string{said->message} : "no reason given";
        }
        return true;
    }
    // A name that only Signalbox and the server know must not puzzle the client.
    std::string_view server_name;
    std::string_view client_name;
    if (said && renames()) {
        const auto from = said->message.find(rewrite::server_statement_prefix);
        if (from != std::string_view::npos) {
            server_name = said->message.substr(from, said->message.find('"', from) - from);
            client_name = client_name_for(server_name, front);
        }
    }
    const auto position = said ? original_position(said->position, &front) : 0;
    if (client_name.empty() && (!said || position == said->position)) {
        to_client.pass(whole);
    } else {
        wire::write_edited_report(
            to_client.copied(),
            sm::error_response,
            body,
            {.severity = {},
             .from = client_name.empty() ? std::string_view{} : server_name,
             .to = client_name,
             .position = position}
        );
    }
    after_error(to_client);
    abandon_batch();
    return true;
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
    const auto stale = s.statements.mark_stale(s.batch - 1);
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
        if (q.front().action == reply::forward) {
            again.push_back(std::move(q.front()));
        }
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
            slot->ddl = env_.statements.registry().ddl_seen();
        }
    }
    for (auto& entry : again) {
        q.push(entry.kind).detail = std::move(entry.detail);
    }
    q.push(end, end_action);
    to_server.copied() += bytes;
    to_server.copied() += s.repeat;
    s.repeat.clear();  // once
    return true;
}

/// An error in an extended batch: the server skips up to the Sync, and so do the entries.
void relay::abandon_batch() {
    auto& q = server_->requests;
    if (q.empty() || q.front().ends_batch()) {
        return;  // a Query or a Sync: ReadyForQuery follows at once
    }
    bool skipped = false;  // the first one has failed, the others were not looked at
    while (!q.empty() && q.front().kind != request::sync && q.front().kind != request::cut) {
        drop_entry(q.front(), skipped);
        q.pop();
        skipped = true;
    }
    if (statements_) {  // what was to be closed may be there still
        for (auto& name : std::exchange(statements_->rpc_closed, {})) {
            statements_->rpc_statements.insert(std::move(name));
        }
    }
    if (!q.empty() && q.front().kind == request::cut) {
        skip_locally_ = true;  // the server does not skip what follows our own Sync
    }
    if (q.empty()) {
        server_->skip_to_sync = true;
        open_batch_ = true;  // also where a simple Query had ended it: that was skipped, too
    }
}

void relay::drop_entry(ledger_entry& entry, bool skipped) {
    auto& s = *server_;
    if (entry.kind == request::parse && entry.unnamed != 0) {
        if (entry.unnamed == s.unnamed) {
            s.unnamed = server_state::unnamed_unknown;
        }
        if (rare_) {
            std::erase_if(rare_->unnamed_in_flight, [&](const auto& each) {
                return each.first == entry.unnamed;
            });
        }
        if (!skipped) {
            forget_unnamed();  // a Parse that fails has dropped the one before, too
        }
        if (entry.unnamed == unnamed_token_) {
            restore_unnamed();
        }
    }
    if (entry.kind == request::close && entry.unnamed != 0 && unnamed_token_ == 0) {
        restore_unnamed();  // it was not closed after all
    }
    if (!entry.detail) {
        return;
    }
    const auto& d = *entry.detail;
    if (d.renamed) {
        relations_settled(*d.renamed, false);
    }
    if (d.statement && entry.kind == request::describe) {
        columns_told('\0', {}, entry);
    }
    if (d.statement && entry.kind == request::parse) {
        s.statements.forget(d.statement->id, d.number);
    }
    if (d.deallocates) {
        deallocation_settled(d, false);
    }
    // A Parse of a name that was taken has changed nothing.
    const bool changed =
        (entry.kind == request::parse && d.statement) || entry.kind == request::local;
    if (changed && !d.client_name.empty() && rare_) {
        rare_->names.roll_back(d.client_name);
    }
}

relay::loss relay::server_lost(const wire::report& why, outbox& to_client) {
    auto& s = *server_;
    auto& q = s.requests;
    if (has_held_completion() && !awaits_examination()) {
        release_completion(to_client);
    }
    const bool cut = s.stream_left > 0 && !s.stream_swallowed;
    const bool in_block = s.status != 'I';
    bool had_batch = open_batch_;
    const bool was_skipping = s.skip_to_sync;
    while (!q.empty() && q.front().kind == request::copy_end) {
        q.pop();
    }
    if (cut) {
        detach();
        return loss::close_client;
    }
    if (stream_left_ > 0) {
        stream_dropped_ = true;  // the rest of the message that was under way has nowhere to go
    }
    const bool only_setup = q.size() == 1 && q.front().kind == request::setup;
    if (only_setup || (q.empty() && !in_block && !had_batch)) {
        detach();
        return only_setup ? loss::retry : loss::nothing;
    }
    const bool told = !q.empty() || had_batch;
    bool error_due = !was_skipping;
    while (!q.empty()) {
        auto& entry = q.front();
        const bool held_ready =
            entry.kind == request::inspection || entry.kind == request::restoration;
        if (error_due && !held_ready && entry.kind != request::setup) {
            wire::write_error_response(to_client.copied(), why);
            after_error(to_client);
            error_due = false;
        }
        if (entry.kind == request::cut) {
            had_batch = true;  // the client's own Sync is still to come
        } else if (entry.ends_batch() && entry.kind != request::setup) {
            s.status = 'I';
            tell_ready('I', to_client);
            error_due = true;
        }
        drop_entry(entry, true);
        q.pop();
    }
    if (had_batch) {
        if (error_due) {
            wire::write_error_response(to_client.copied(), why);
            after_error(to_client);
        }
        skip_locally_ = true;
    }
    detach();
    if (!told) {
        in_trouble().lost = why;  // idle in a transaction: the next request is told
    }
    return loss::told;
}

}  // namespace signalbox::proxy
