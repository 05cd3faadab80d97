// The server's half of the relay: what becomes of each reply on its way to the client.
#include "proxy/relay.hpp"
#include "wire/limits.hpp"
#include "wire/messages.hpp"

#include <algorithm>
#include <charconv>

namespace signalbox::proxy {

namespace sm = wire::server_message;

namespace {

/// Where PostgreSQL finds that a plan is out of date: the same in every language.
constexpr std::string_view revalidation = "RevalidateCachedQuery";

/// Messages that may be passed in pieces: nothing is decided by what they hold, and nothing is sent
/// behind them at once.
constexpr bool may_stream(char type) noexcept {
    switch (type) {
        case sm::data_row:
        case sm::copy_data:
        case sm::notice_response:
        case sm::notification_response:
        case sm::function_call_response:
        case sm::parameter_description:
            return true;
        default:
            return false;
    }
}

}  // namespace

relay::server_step relay::on_server(
    std::string_view in, outbox& to_client, outbox& to_server, std::size_t& consumed
) {
    auto& s = *server_;
    std::size_t at = 0;
    while (at < in.size()) {
        if (s.stream_left > 0) {
            const auto n = std::min(s.stream_left, in.size() - at);
            emit(in.substr(at, n), s.stream_swallowed, to_client);
            s.stream_left -= n;
            at += n;
            continue;
        }
        if (in.size() - at < wire::header_bytes) {
            break;
        }
        const char type = in[at];
        const auto length = wire::load_u32(in.data() + at + 1);
        if (length < 4 || !wire::is_server_message(type)) {
            consumed = at;
            return server_step::broken;
        }
        const std::size_t total = std::size_t{length} + 1;
        const bool swallowed = !s.requests.empty() && s.requests.front().action == reply::swallow;
        if (has_held_completion() && type != sm::ready_for_query && !swallowed) {
            release_completion(to_client);
        }
        // A notice in a batch that was split may have a position to be moved.
        const bool is_ours =
            !s.requests.empty() && s.requests.front().detail && s.requests.front().detail->sent;
        const bool looked_into =
            ((type == sm::notice_response && (is_ours || position_shift() > 0)) ||
             (type == sm::parameter_description && is_ours) ||
             (type == sm::notification_response && renames())) &&
            total <= wire::max_server_control_bytes;
        if (may_stream(type) && !swallowed && !looked_into) {
            const auto whole = in.substr(at, total);
            to_client.pass(whole);
            s.stream_left = total - whole.size();
            s.stream_swallowed = false;
            at += whole.size();
            continue;
        }
        if (in.size() - at < total) {
            if (total > wire::max_server_control_bytes) {
                if (type != sm::error_response) {
                    consumed = at;
                    return server_step::broken;
                }
                // An error of a megabyte: its end is not waited for. It is no FATAL: those are
                // short.
                const auto whole = in.substr(at);
                emit(whole, swallowed, to_client);
                abandon_batch();
                s.stream_left = total - whole.size();
                s.stream_swallowed = swallowed;
                at += whole.size();
                continue;
            }
            break;
        }
        const auto whole = in.substr(at, total);
        at += total;
        if (!on_server_message(
                type, whole, whole.substr(wire::header_bytes), to_client, to_server
            )) {
            consumed = at;
            return fatal_body().empty() ? server_step::broken : server_step::lost;
        }
    }
    consumed = at;
    return server_step::fine;
}

void relay::emit(std::string_view whole, bool swallowed, outbox& to_client) {
    if (!swallowed) {
        server_->repeat_answered = true;
        to_client.pass(whole);
    }
}

bool relay::on_server_message(
    char type, std::string_view whole, std::string_view body, outbox& to_client, outbox& to_server
) {
    auto& s = *server_;
    auto& q = s.requests;
    while (!q.empty() && q.front().kind == request::copy_end) {
        q.pop();  // there was no COPY: the server has ignored it
    }
    const bool has_front = !q.empty();
    const auto kind = has_front ? q.front().kind : request::query;
    const bool swallowed = has_front && q.front().action == reply::swallow;
    switch (type) {
        case sm::ready_for_query: {
            const auto status = wire::parse_ready_for_query(body);
            return status && on_ready(whole, *status, to_client, to_server);
        }
        case sm::command_complete: {
            const auto tag = wire::parse_command_complete(body);
            if (!tag) {
                return false;
            }
            s.copy_in = false;
            s.sync_in_copy = false;
            if (swallowed || !hold_completion(whole, *tag)) {
                emit(whole, swallowed, to_client);
            }
            if (!swallowed) {
                on_tag(*tag);
            }
            if (kind == request::execute) {
                q.pop();
                settle(to_client);
            }
            return true;
        }
        case sm::empty_query_response:
        case sm::portal_suspended:
            emit(whole, swallowed, to_client);
            if (kind == request::execute) {
                q.pop();
                settle(to_client);
            }
            return true;
        case sm::parse_complete: {
            if (kind == request::carried && has_front) {
                return true;
            }
            if (!has_front || kind != request::parse) {
                return false;
            }
            emit(whole, swallowed, to_client);
            if (q.front().unnamed != 0) {
                confirm_unnamed(q.front().unnamed);
            }
            if (const auto& d = q.front().detail; d && d->statement) {
                s.statements.confirm(d->statement->id, d->number);
                if (!swallowed) {
                    rare().names.confirm_prepare(d->client_name, d->statement);
                }
            }
            if (const auto& d = q.front().detail; d && d->renamed) {
                relations_settled(*d->renamed, true);
            }
            q.pop();
            settle(to_client);
            return true;
        }
        case sm::bind_complete:
        case sm::close_complete:
            if (!has_front ||
                kind != (type == sm::bind_complete ? request::bind : request::close)) {
                return false;
            }
            emit(whole, swallowed, to_client);
            if (kind == request::close && rare_ && q.front().unnamed != 0 &&
                q.front().unnamed == rare_->confirmed_unnamed) {
                forget_unnamed();
            }
            if (const auto& d = q.front().detail; d && d->renamed) {
                relations_settled(*d->renamed, true);
            }
            q.pop();
            settle(to_client);
            return true;
        case sm::no_data:
        case sm::row_description:
            emit(whole, swallowed, to_client);
            if (kind == request::describe && has_front) {
                q.pop();
                settle(to_client);
            }
            return true;
        case sm::parameter_description:
            if (!has_front || !q.front().detail || !q.front().detail->sent ||
                !hide_parameter(body, *q.front().detail->sent, to_client)) {
                emit(whole, swallowed, to_client);
            }
            return true;
        case sm::notification_response:
            on_direct_notification(whole, body, to_client);
            return true;
        case sm::notice_response:
            if (swallowed) {
                return true;
            }
            wire::write_edited_report(
                to_client.copied(),
                type,
                body,
                {.severity = {},
                 .from = {},
                 .to = {},
                 .position = wire::parse_report(body) ? original_position(
                                                            wire::parse_report(body)->position,
                                                            has_front ? &q.front() : nullptr
                                                        )
                                                      : 0}
            );
            return true;
        case sm::error_response:
            return on_error(whole, body, to_client, to_server);
        case sm::parameter_status: {
            const auto status = wire::parse_parameter_status(body);
            if (!status) {
                return false;
            }
            rewrite::parameter_set changed = s.reported ? *s.reported : rewrite::parameter_set{};
            changed.set(status->name, status->value);
            s.reported = env_.parameters.intern(changed);
            // After a RESET what counts is the value once the startup packet's is back:
            // sync_reported() tells it.
            const bool told_later = reset_seen_ && !startup_->empty();
            // A Sync of ours ends what the client has done.
            const bool of_client = !swallowed || kind == request::cut || kind == request::sync;
            if (of_client && !told_later) {
                to_client.pass(whole);
                reported_ = s.reported;
            }
            return true;
        }
        case sm::data_row:
            if (kind == request::inspection && has_front) {
                std::vector<std::optional<std::string_view>> fields;
                if (!wire::parse_data_row(body, fields) || fields.size() != 3) {
                    return false;
                }
                rare().inspected.add(
                    fields[0].value_or(""), fields[1].value_or(""), fields[2].value_or("")
                );
            }
            return true;
        case sm::copy_in_response:
            emit(whole, swallowed, to_client);
            on_copy_in();
            return true;
        case sm::authentication:
        case sm::backend_key_data:
        case sm::negotiate_protocol_version:
            return false;
        default:  // CopyOutResponse, CopyBothResponse, CopyDone, and what was swallowed
            emit(whole, swallowed, to_client);
            return true;
    }
}

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
    if (number == rare_->deallocated_number) {
        return rare_->deallocated_name;
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
            {.severity = "ERROR",
             .sqlstate = std::string{wire::sqlstate::feature_not_supported},
             .message = "cached plan must not change result type",
             .detail = "The statement was parsed anew on another server connection: " +
                       std::string{said->message} + ".",
             .hint = {},
             .routine = std::string{revalidation}}
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
    const auto named = server_->statements.used_in(server_->batch - 1);
    return std::any_of(named.begin(), named.end(), [&](const auto& each) {
        return rare_->names.was_used(each.id, batch_serial_ - 1);
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

/// The server holds the unnamed statement of this token.
void relay::confirm_unnamed(std::uint64_t token) {
    auto& r = rare();
    if (token == unnamed_token_) {
        r.unnamed_in_flight.clear();
        r.confirmed_in_place = true;
        r.confirmed_unnamed = token;
        return;
    }
    for (auto& [older, tail] : r.unnamed_in_flight) {
        if (older == token) {
            r.confirmed_tail.swap(tail);
            r.confirmed_in_place = false;
            r.confirmed_unnamed = token;
        }
    }
}

/// The server holds none for this client.
void relay::forget_unnamed() noexcept {
    if (rare_) {
        rare_->confirmed_unnamed = 0;
        rare_->confirmed_in_place = false;
    }
}

const std::vector<std::string>& relay::channels() const noexcept {
    static const std::vector<std::string> none;
    return rare_ ? rare_->channels : none;
}

/// What was sent since the last confirmation has not come about.
void relay::restore_unnamed() {
    unnamed_sticks_ = false;
    unnamed_token_ = 0;
    server_->unnamed = server_state::unnamed_unknown;
    if (rare_ && rare_->confirmed_unnamed != 0) {
        unnamed_token_ = rare_->confirmed_unnamed;
        if (!std::exchange(rare_->confirmed_in_place, true)) {
            rare_->unnamed_tail = rare_->confirmed_tail;
        }
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
    if (d.statement && entry.kind == request::parse) {
        s.statements.forget(d.statement->id, d.number);
    }
    // A Parse of a name that was taken has changed nothing.
    const bool changed =
        (entry.kind == request::parse && d.statement) || entry.kind == request::local;
    if (changed && !d.client_name.empty() && rare_) {
        rare_->names.roll_back(d.client_name);
    }
}

/// Replies that are made here, when it is their turn.
void relay::settle(outbox& to_client) {
    auto& s = *server_;
    auto& q = s.requests;
    while (!q.empty() && (q.front().kind == request::local || q.front().kind == request::copy_end)
    ) {
        if (q.front().kind == request::copy_end) {
            q.pop();  // there is no COPY that it could end: the server ignores it
            continue;
        }
        const auto d = std::move(q.front().detail);
        q.pop();
        if (d->renamed) {
            relations_settled(*d->renamed, true);
        }
        if (has_held_completion()) {
            release_completion(to_client);
        }
        auto& out = to_client.copied();
        if (d->is_deallocate) {
            rare().names.confirm_close(d->client_name);
            wire::write_command_complete(out, "DEALLOCATE");
            if (is_running()) {
                statements_->run->end_statement();
            }
            commits_.note_completed("DEALLOCATE");
            tell_ready(s.status, to_client);
        } else if (d->is_close) {
            rare().names.confirm_close(d->client_name);
            wire::write_empty(out, sm::close_complete);
        } else {
            rare().names.confirm_prepare(d->client_name, d->statement);
            wire::write_empty(out, sm::parse_complete);
        }
    }
}

void relay::on_copy_in() {
    auto& s = *server_;
    auto& q = s.requests;
    s.copy_in = true;
    // What was sent behind the COPY before it was known to be one: the server ignores Sync and
    // takes a CopyDone as the end. Anything else ends the COPY with an error and is gone.
    while (q.size() > 1) {
        const auto kind = q[1].kind;
        if (kind == request::local) {
            break;
        }
        if (kind == request::cut) {
            s.sync_in_copy = true;
            cutting_ = false;
        }
        if (kind == request::sync) {
            s.sync_in_copy = true;
            // The Sync that counts is still to come; a Query behind has a barrier of its own.
            const std::size_t of_both = is_batch_end(q.front().kind) ? 2 : 1;
            if (q.batches() == of_both && std::exchange(barrier_, false)) {
                barrier_at_sync_ = true;
            }
        }
        q.erase(1);
        if (kind == request::copy_end) {
            s.copy_in = false;
            break;
        }
        if (kind != request::sync && kind != request::cut) {
            s.doubtful = true;
            break;
        }
    }
    if (s.copy_in && s.sync_in_copy) {
        open_batch_ = true;  // the Sync that counts is still to come
    }
}

void relay::on_tag(std::string_view tag) {
    auto& s = *server_;
    const auto is = [tag](std::string_view word) { return tag.starts_with(word); };
    commits_.note_completed(tag, is_running() && statements_->run->end_statement());
    const bool forgets = is("DISCARD ALL") || is("DEALLOCATE ALL");
    if (is("RESET") || is("DISCARD ALL")) {
        reset_seen_ = true;
    }
    if (forgets && statements_) {
        std::erase_if(statements_->own_statements, [](const auto& each) {
            return !each.first.empty();
        });
    }
    if (tag == "LOAD") {
        s.tainted = true;
    }
    if (!renames()) {
        if (is("DISCARD ALL") && rare_) {
            rare_->pinned_by.clear();
        }
        return;
    }
    if (forgets) {
        s.statements.clear();
        if (rare_) {
            rare_->names.clear();
        }
        if (statements_) {
            statements_->rpc_statements.clear();
        }
    }
    if (is("DISCARD ALL")) {
        s.unnamed = server_state::unnamed_unknown;
        if (rare_) {
            rare_->pinned_by.clear();
        }
    }
    if (tag == "DEALLOCATE" && rare_ && rare_->deallocate_due) {
        rare_->deallocate_due = false;
        if (const auto statement = rare_->names.find(rare_->deallocated_name)) {
            s.statements.forget(statement->id, rare_->deallocated_number);
        }
        rare_->names.close(rare_->deallocated_name, s.batch);
        rare_->names.confirm_close(rare_->deallocated_name);
    }
    switch (tag.empty() ? '\0' : tag[0]) {
        case 'S':
            if (tag == "SET") {
                const auto* const d =
                    s.requests.empty() ? nullptr : s.requests.front().detail.get();
                suspect_ = suspect_ || d == nullptr || !d->only_local_set;
            }
            break;
        case 'R':
            suspect_ = suspect_ || tag == "RESET";
            break;
        case 'D':
            if (is("DROP")) {
                env_.statements.registry().note_ddl();
            }
            suspect_ = suspect_ || is("DISCARD") || tag == "DO" || is("DECLARE") ||
                       (is_pinned() && (is("DROP") || is("DEALLOCATE")));
            break;
        case 'A':
            if (is("ALTER")) {
                env_.statements.registry().note_ddl();
            }
            break;
        case 'C':
            if (is("CREATE")) {
                env_.statements.registry().note_ddl();
            }
            suspect_ = suspect_ || is("CREATE") || tag == "CALL" || (is_pinned() && is("CLOSE"));
            break;
        case 'P':
            if (tag == "PREPARE") {
                suspect_ = true;
                sql_prepared_ = true;
            }
            break;
        case 'L':
            suspect_ = suspect_ || tag == "LISTEN";
            if (tag == "LOAD") {
                rare().pinned_by = "LOAD";
                suspect_ = true;
            }
            break;
        case 'U':
            suspect_ = suspect_ || tag == "UNLISTEN";
            break;
        default:
            break;
    }
}

bool relay::on_ready(std::string_view whole, char status, outbox& to_client, outbox& to_server) {
    auto& s = *server_;
    auto& q = s.requests;
    s.copy_in = false;
    if (q.empty() || !q.front().ends_batch()) {
        if (!q.empty()) {
            return false;
        }
        s.status = status;
        s.doubtful = true;
        to_client.pass(whole);
        return true;
    }
    s.status = status;
    const auto kind = q.front().kind;
    const bool swallowed = q.front().action == reply::swallow;
    q.pop();
    if (has_held_completion() && swallowed && kind != request::inspection) {
        release_completion(to_client);  // the client's batch goes on
    }
    if (kind == request::cut) {
        cutting_ = false;
        commits_.note_split();
        commits_.note_status(status);
        settle(to_client);
        return true;
    }
    if (kind == request::sync && swallowed) {
        settle(to_client);
        return true;
    }
    if (statements_ && q.empty()) {
        statements_->rpc_closed.clear();
    }
    if (kind == request::query) {
        forget_unnamed();  // every simple Query drops it
    }
    while (!q.empty() && q.front().kind == request::copy_end) {
        q.pop();  // it came too late for its COPY
    }
    switch (kind) {
        case request::setup:
            blocked_ = false;
            if (setup_error() == nullptr) {
                s.applied = parameters_;
                s.channels = channels();
                sync_reported(to_client);
                prepare_carried(to_server);
            }
            return true;
        case request::restoration:
            sync_reported(to_client);
            finish_batch(status, to_client, to_server);
            return true;
        case request::carried:
            if (q.empty()) {
                blocked_ = false;
                rare().carried.clear();
            }
            return true;
        case request::inspection:
            blocked_ = false;
            if (std::exchange(is_moving_, false)) {
                finish_move();
                return true;
            }
            suspect_ = false;
            if (finish_inspection(to_client)) {
                awaiting_channels_ = status;
                channels_due_ = true;
            } else {
                tell_ready(status, to_client);
            }
            return true;
        default:
            break;
    }
    // Our own Query must not be put inside a message of which the client has sent only a part.
    const bool at_boundary = stream_left_ == 0 || stream_dropped_;
    if (q.empty() && !open_batch_ && at_boundary) {
        if (reset_seen_ && status != 'E' && !startup_->empty()) {
            reset_seen_ = false;
            const auto target = rewrite::parameter_key(std::exchange(rare().reset_target, {}));
            const auto sql = rewrite::restore_startup_sql(*startup_, target);
            if (sql.empty()) {
                sync_reported(to_client);
                finish_batch(status, to_client, to_server);
                return true;
            }
            blocked_ = true;
            q.push(request::restoration, reply::swallow);
            ++s.batch;
            wire::write_query(to_server.copied(), sql);
            s.unnamed = 0;
            return true;
        }
        // A Query of ours would destroy an unnamed statement that cannot be parsed again.
        if (suspect_ && status == 'I' && renames() && !unnamed_sticks_) {
            finish_batch(status, to_client, to_server);
            return true;
        }
    }
    if (reset_seen_) {
        sync_reported(to_client);
        reset_seen_ = !q.empty() || status == 'E';
    }
    if (is_running()) {
        end_unit(status, to_client);
    } else {
        end_batch(status);
        if (!hold_ready(status, to_client)) {
            tell_heard(status, to_client);
            to_client.pass(whole);
        }
    }
    settle(to_client);
    return true;
}

/// The client is told that its batch has ended.
void relay::end_batch(char status) noexcept {
    commits_.start();
    if (status == 'I' && statements_) {
        statements_->own_portals.clear();  // they end with the transaction
    }
}

/// All that the client asked for is done. Before it is told so, the server is asked for what state
/// the session has.
void relay::finish_batch(char status, outbox& to_client, outbox& to_server) {
    auto& s = *server_;
    if (status != 'I' || !suspect_ || !renames()) {
        blocked_ = false;
        tell_ready(status, to_client);
        return;
    }
    blocked_ = true;
    rare().inspected = {};
    rare().inspection_error.clear();
    s.requests.push(request::inspection, reply::swallow);
    ++s.batch;
    wire::write_query(
        to_server.copied(), rewrite::inspection_sql(rare().custom_parameters, login_role_)
    );
    s.unnamed = 0;
}

/// True: other channels are to be listened to, before the client is told.
bool relay::finish_inspection(outbox& to_client) {
    auto& s = *server_;
    auto& r = rare();
    if (!r.inspection_error.empty()) {
        // What the session has set is not known: the connection stays its own.
        r.pinned_by = "unknown session state (" + r.inspection_error + ")";
        return false;
    }
    const bool sticks = r.pinned_by == "LOAD" || r.pinned_by.starts_with("set_config()");
    parameters_ = env_.parameters.intern(r.inspected.parameters);
    s.applied = parameters_;
    if (!sticks) {
        r.pinned_by = r.inspected.pinned_by;
    }
    if (r.pinned_by.empty()) {
        r.pin_told = false;
    } else if (!std::exchange(r.pin_told, true)) {
        wire::write_notice_response(
            to_client.copied(),
            {.severity = "NOTICE",
             .sqlstate = std::string{wire::sqlstate::successful_completion},
             .message = "this session keeps its server connection: " + r.pinned_by,
             .detail = {},
             .hint = "Session state that cannot be carried to another server connection pins it "
                     "until the state is "
                     "gone."}
        );
    }
    const bool listens_anew = change_channels();
    r.inspected = {};
    return listens_anew;
}

void relay::sync_reported(outbox& to_client) {
    auto& s = *server_;
    if (reported_ == s.reported || !s.reported) {
        return;
    }
    std::vector<const rewrite::parameter_set::item*> changed;
    for (const auto& item : s.reported->items()) {
        const auto* const known = reported_ ? reported_->find(item.first) : nullptr;
        if (known == nullptr || *known != item.second) {
            changed.push_back(&item);
        }
    }
    // The server's own order.
    std::sort(changed.begin(), changed.end(), [](const auto* a, const auto* b) {
        return rewrite::parameter_key(a->first) < rewrite::parameter_key(b->first);
    });
    for (const auto* const item : changed) {
        wire::write_parameter_status(to_client.copied(), item->first, item->second);
    }
    reported_ = s.reported;
}

void relay::attach(
    server_state& server, std::string_view login_role, outbox& to_server, outbox& to_client
) {
    server_ = &server;
    if (is_running()) {
        statements_->run->note_lease();
    }
    login_role_ = login_role;
    blocked_ = false;
    hidden_ = false;
    if (trouble_) {
        trouble_->setup_error.reset();
    }
    if (!server.applied) {
        server.applied = env_.parameters.empty();
    }
    if (server.applied != parameters_ || server.channels != channels()) {
        begin_setup(to_server, to_client);
        return;
    }
    sync_reported(to_client);
    prepare_carried(to_server);
}

bool relay::may_move() const noexcept {
    return server_ != nullptr && !renames() && !is_doubtful() && server_->status == 'I' &&
           !is_blocked() && !is_running() && !skip_locally_ && !unnamed_unused_ &&
           !unnamed_sticks_ && !is_pinned();
}

void relay::begin_move(outbox& to_server) {
    auto& r = rare();
    r.inspected = {};
    r.inspection_error.clear();
    is_moving_ = true;
    blocked_ = true;
    server_->requests.push(request::inspection, reply::swallow);
    ++server_->batch;
    server_->unnamed = 0;
    wire::write_query(
        to_server.copied(),
        rewrite::inspection_sql(r.custom_parameters, login_role_) + "; " +
            rewrite::prepared_statements_sql()
    );
}

void relay::finish_move() {
    auto& r = rare();
    movable_ = r.inspection_error.empty() && r.inspected.pinned_by.empty() &&
               r.inspected.channels.empty() && !server_->tainted;
    if (*movable_) {
        parameters_ = env_.parameters.intern(r.inspected.parameters);
        r.carried = std::move(r.inspected.statements);
    }
    r.inspected = {};
}

/// What the session had prepared on the server that it has left. A statement that the new one does
/// not take is not there.
void relay::prepare_carried(outbox& to_server) {
    if (!rare_ || rare_->carried.empty()) {
        return;
    }
    for (const auto& each : rare_->carried) {
        wire::write_parse(to_server.copied(), each.name, each.tail);
        wire::write_sync(to_server.copied());
        server_->requests.push(request::carried, reply::swallow);
        ++server_->batch;
    }
    blocked_ = true;
}

void relay::begin_setup(outbox& to_server, outbox& to_client) {
    auto& s = *server_;
    const auto sql = rewrite::switch_parameters_sql(*s.applied, *parameters_) +
                     rewrite::switch_channels_sql(s.channels, channels());
    if (sql.empty()) {
        s.applied = parameters_;
        sync_reported(to_client);
        prepare_carried(to_server);
        return;
    }
    blocked_ = true;
    s.requests.push(request::setup, reply::swallow);
    ++s.batch;
    s.unnamed = 0;
    wire::write_query(to_server.copied(), sql);
}

server_state* relay::detach() noexcept {
    blocked_ = false;
    sql_prepared_ = false;
    open_batch_ = false;
    cutting_ = false;
    cut_due_ = false;
    executed_ = 0;
    return std::exchange(server_, nullptr);
}

bool relay::may_release() const noexcept {
    return server_ != nullptr && renames() && !blocked_ && !open_batch_ && !suspect_ &&
           !unnamed_sticks_ && stream_left_ == 0 && server_->requests.empty() &&
           server_->status == 'I' && server_->stream_left == 0 && !server_->copy_in &&
           !server_->skip_to_sync && !is_pinned() &&
           !(is_running() && statements_->run->has_lease());
}

bool relay::is_doubtful() const noexcept {
    return server_ != nullptr &&
           (server_->doubtful || server_->tainted || server_->stream_left != 0 ||
            stream_left_ != 0 || !server_->requests.empty() || open_batch_ || blocked_ ||
            server_->copy_in || server_->skip_to_sync);
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
