// From one server connection to the next: what the session brings along, and when it may leave.
#include "proxy/relay.hpp"
#include "wire/messages.hpp"

namespace signalbox::proxy {

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
    has_run_ = false;
    bound_in_ = 0;
    if (identity_ == 0) {
        identity_ = env_.next_unnamed;
        env_.next_unnamed += env_.unnamed_step;
    }
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

server_state* relay::detach() noexcept {
    blocked_ = false;
    sql_prepared_ = false;
    open_batch_ = false;
    cutting_ = false;
    cut_due_ = false;
    executed_ = 0;
    discarding_in_ = 0;
    discard_failed_ = false;
    return std::exchange(server_, nullptr);
}

}  // namespace signalbox::proxy
