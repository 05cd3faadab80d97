// The server's half of the relay: what becomes of each reply on its way to the client.
#include "proxy/relay.hpp"
#include "wire/limits.hpp"
#include "wire/messages.hpp"

#include <algorithm>

namespace signalbox::proxy {

namespace sm = wire::server_message;

namespace {

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
        if (awaits_examination() && !s.requests.empty() && !swallowed) {
            finish_examination(to_client);  // it belongs to what stands behind that ReadyForQuery
        }
        if (has_held_completion() && type != sm::ready_for_query && !swallowed) {
            release_completion(to_client);
        }
        // A notice in a batch that was split may have a position to be moved.
        const auto* const detail = s.requests.empty() ? nullptr : s.requests.front().detail.get();
        const bool is_ours = detail != nullptr && detail->sent;
        const bool is_told = detail != nullptr && detail->statement;
        const bool looked_into =
            ((type == sm::notice_response && (is_ours || position_shift() > 0)) ||
             (type == sm::data_row && detail != nullptr && detail->explains) ||
             (type == sm::parameter_description && (is_ours || is_told)) ||
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
            if (!swallowed && has_front && q.front().detail && q.front().detail->explains) {
                add_notices(*tag, *q.front().detail->explains, to_client);
            }
            if (swallowed || !hold_completion(whole, *tag)) {
                emit(whole, swallowed, to_client);
            }
            if (!swallowed) {
                on_tag(*tag);
            }
            if (kind == request::execute) {
                if (q.front().detail && q.front().detail->discards_sequences) {
                    sequences_discarded();
                }
                q.pop();
                settle(to_client);
            }
            return true;
        }
        case sm::empty_query_response:
        case sm::portal_suspended:
            emit(whole, swallowed, to_client);
            if (kind == request::execute) {
                if (const auto& d = q.front().detail; d && d->explains) {
                    explain_settled(kind, *d);
                }
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
            if (const auto& d = q.front().detail; d && d->explains) {
                explain_settled(kind, *d);
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
            if (const auto& d = q.front().detail; d && d->explains) {
                explain_settled(kind, *d);
            }
            q.pop();
            settle(to_client);
            return true;
        case sm::no_data:
        case sm::row_description:
            emit(whole, swallowed, to_client);
            if (kind == request::describe && has_front) {
                columns_told(type, body, q.front());
                q.pop();
                settle(to_client);
            }
            return true;
        case sm::parameter_description:
            if (kind == request::describe && has_front) {
                columns_told(type, body, q.front());
            }
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
                set_reported(s.reported);
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
            } else if (!swallowed && has_front) {
                const auto line = wire::parse_only_field(body);
                if (const auto& d = q.front().detail; line && d && d->explains) {
                    d->explains->lines.add(*line);
                }
                emit(whole, swallowed, to_client);
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

const std::vector<std::string>& relay::channels() const noexcept {
    static const std::vector<std::string> none;
    return rare_ ? rare_->channels : none;
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
        if (d->explains) {
            explain_settled(d->is_close ? request::close : request::parse, *d);
        }
        if (has_held_completion()) {
            release_completion(to_client);
        }
        auto& out = to_client.copied();
        if (d->is_deallocate) {
            rare().names.confirm_close(d->client_name);
            wire::write_command_complete(out, "DEALLOCATE");
            if (is_running()) {
                statements_->run->end_statement("DEALLOCATE");
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
        drop_entry(q[1], true);
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
    commits_.note_completed(tag, is_running() && statements_->run->end_statement(tag));
    const bool forgets = is("DISCARD ALL") || is("DEALLOCATE ALL");
    if (is("RESET") || is("DISCARD ALL")) {
        reset_seen_ = true;
    }
    if (forgets && statements_) {
        std::erase_if(statements_->own_statements, [](const auto& each) {
            return !each.first.empty();
        });
        statements_->rpc_statements.clear();
        statements_->sql_rpc_statements.clear();
    }
    if (!s.requests.empty() && (tag == "PREPARE" || tag == "DEALLOCATE")) {
        sql_name_settled(
            s.requests.front(),
            tag == "PREPARE" ? parser::name_use::prepares : parser::name_use::deallocates
        );
    }
    if (tag == "LOAD") {
        s.tainted = true;
    }
    if (tag == "DISCARD ALL" || tag == "DISCARD SEQUENCES") {
        s.sequences_of = identity_;
    }
    if (!renames()) {
        if (is("DISCARD ALL") && rare_) {
            rare_->pinned_by.clear();
        }
        return;
    }
    if (forgets) {
        s.statements.forget_confirmed();
        if (rare_) {
            rare_->names.forget_confirmed();
        }
    }
    if (is("DISCARD ALL")) {
        s.unnamed = server_state::unnamed_unknown;
        if (rare_) {
            rare_->pinned_by.clear();
        }
    }
    if (const auto* const d = s.requests.empty() ? nullptr : s.requests.front().detail.get();
        d != nullptr && d->deallocates) {
        deallocation_settled(*d, true);
    }
    switch (tag.empty() ? '\0' : tag[0]) {
        case 'S':
            if (tag == "SET") {
                reset_seen_ = reset_seen_ || default_parsed_;
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
    if (kind == request::sequences) {  // the client's batch may be under way
        if (has_held_completion()) {
            release_completion(to_client);
        }
        goes_on_anew_ = std::exchange(blocked_, false);
        if (std::exchange(discard_failed_, false)) {
            discarding_in_ = 0;
        } else {
            sequences_discarded();
        }
        return true;
    }
    if (explains_ && q.empty()) {
        tidy_explains(status);
    }
    makes_matview_ = makes_matview_ && !q.empty();
    if (has_held_completion() && swallowed && kind != request::inspection) {
        release_completion(to_client);  // the client's batch goes on
    }
    if (kind == request::cut) {
        cutting_ = false;
        reset_committed_ = reset_committed_ || (reset_seen_ && status == 'I');
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
    if (status == 'I' && std::exchange(restored_in_block_, false)) {
        reset_seen_ = true;  // what was restored there may have been rolled back
        rare().reset_target.clear();
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
            restored_in_block_ = std::exchange(reset_committed_, false) && status == 'T';
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
    if (status == 'I' && rare_ && (server_ == nullptr || server_->requests.empty())) {
        rare_->deallocating_portals.clear();
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
    set_reported(s.reported);
}

}  // namespace signalbox::proxy
