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
    if (front.kind == request::sequences) {
        discard_failed_ = true;
        if (blocked_ && said) {
            in_trouble().undiscarded = wire::report{
                .severity = "ERROR",
                .sqlstate = std::string{said->sqlstate},
                .message = std::string{said->message},
                .detail = std::string{said->detail},
                .hint = std::string{said->hint}};
        }
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
            if (said->sqlstate == wire::sqlstate::undefined_prepared_statement) {
                s.statements.forget_name(server_name);  // somebody has ended it behind our back
            }
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

/// The server has skipped what would have ended its unnamed statement, or replaced it: a Query, a
/// Parse of ours that was to fail, our Close.
void relay::unnamed_skipped(const ledger_entry& entry) {
    const bool is_query = entry.kind == request::query || entry.kind == request::function_call;
    const bool is_refusal = entry.detail && !entry.detail->error.empty();
    const bool is_our_close = entry.kind == request::close && entry.action == reply::swallow;
    if (!is_query && !is_refusal && !is_our_close) {
        return;
    }
    server_->unnamed = server_state::unnamed_unknown;
    // What the client has sent behind the batch's end counts more.
    if (!is_our_close && unnamed_token_ == server_state::unnamed_none && !has_later_query()) {
        restore_unnamed();
    }
}

/// Behind the end of the batch that is being dropped.
bool relay::has_later_query() const noexcept {
    const auto& q = server_->requests;
    bool is_behind = false;
    for (std::size_t i = 0; i < q.size(); ++i) {
        if (is_behind && q[i].kind == request::query) {
            return true;
        }
        is_behind = is_behind || q[i].kind == request::sync || q[i].kind == request::cut;
    }
    return false;
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
    if (skipped && !unnamed_sticks_) {
        unnamed_skipped(entry);
    }
    if (entry.kind == request::sequences) {  // what waits for it is skipped, too
        s.unnamed = server_state::unnamed_unknown;
        discarding_in_ = 0;
        discard_failed_ = false;
        blocked_ = false;
    }
    if (entry.kind == request::close && entry.unnamed != 0 &&
        unnamed_token_ == server_state::unnamed_none && !has_later_query()) {
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
    if (d.discards_sequences) {
        discarding_in_ = 0;
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
    if (trouble_) {
        trouble_->undiscarded.reset();
    }
    if (!awaits_examination() || !q.empty()) {
        finish_examination(to_client);
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
    // What the client has sent waits behind it.
    const bool only_setup =
        q.size() == 1 && (q.front().kind == request::setup ||
                          (q.front().kind == request::sequences && !in_block && !had_batch));
    if (only_setup || (q.empty() && !in_block && !had_batch)) {
        detach();
        return only_setup ? loss::retry : loss::nothing;
    }
    // Where nothing but that was under way in a block, the client's next request is told.
    if (!is_running() && q.size() == 1 && q.front().kind == request::sequences) {
        q.pop();
    }
    const bool told = !q.empty() || had_batch;
    bool error_due = !was_skipping;
    bool is_state_lost = false;
    // A unit waits for it, which will not be sent.
    const bool is_last_of_run = is_running() && q.size() == 1;
    while (!q.empty()) {
        auto& entry = q.front();
        const bool held_ready =
            entry.kind == request::inspection || entry.kind == request::restoration;
        is_state_lost = is_state_lost || held_ready;
        const bool of_nobody =
            entry.kind == request::setup || (entry.kind == request::sequences && !is_last_of_run);
        if (error_due && !held_ready && !of_nobody) {
            wire::write_error_response(to_client.copied(), why);
            after_error(to_client);
            error_due = false;
        }
        if (entry.kind == request::cut) {
            had_batch = true;  // the client's own Sync is still to come
        } else if (entry.ends_batch() && !of_nobody) {
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
    } else if (is_state_lost) {
        // The statement has succeeded, but what it has set for the session will never be known:
        // what comes next must not run without it.
        in_trouble().lost = why;
        trouble_->lost->hint = "What the session's last statement has set is lost.";
    }
    return loss::told;
}

}  // namespace signalbox::proxy
