// Prepared statements: a client's names, the server's names, and which server connection holds
// what.
#include "parser/traits.hpp"
#include "proxy/relay.hpp"
#include "wire/limits.hpp"
#include "wire/messages.hpp"

#include <algorithm>

namespace signalbox::proxy {

namespace cm = wire::client_message;

namespace {

/// A named statement is kept as a whole, to be parsed again elsewhere. (The unnamed one up to
/// max_inspected_bytes.)
constexpr std::size_t max_kept_statement_bytes = std::size_t{16} << 20U;

/// Of a Parse message behind its name.
std::string_view text_of(std::string_view tail) noexcept {
    return tail.substr(0, tail.find('\0'));
}

}  // namespace

relay::taken relay::on_parse(const client_view& m, outbox& to_server, outbox& to_client) {
    const bool keep_whole = renames() && m.body().substr(0, 1) != std::string_view{"\0", 1};
    if (m.body().empty() && !m.complete()) {
        return taken::more_bytes;
    }
    if (!m.complete() &&
        m.total <= (keep_whole ? max_kept_statement_bytes : wire::max_inspected_bytes)) {
        return taken::more_bytes;
    }
    if (!m.complete() && keep_whole) {
        refuse(
            {.severity = "ERROR",
             .sqlstate = std::string{wire::sqlstate::program_limit_exceeded},
             .message =
                 "a named prepared statement of " + std::to_string(m.total) + " bytes is too long",
             .detail = {},
             .hint = "Use the unnamed statement, or a route with pool_mode = \"session\"."},
            request::parse,
            to_server
        );
        drop(m);
        return taken::all;
    }
    if (!m.complete()) {  // streamed: the unnamed statement, or any in session mode
        suspect_ = suspect_ || renames();
        unnamed_effects_ = {.makes_state = true, .reads_sequences = true, .lasts = true};
        note_hidden(unnamed_effects_);
        unnamed_sticks_ = true;
        unnamed_token_ = env_.next_unnamed;
        env_.next_unnamed += env_.unnamed_step;
        hold_unnamed(unnamed_token_);
        server_->requests.push(request::parse).unnamed = unnamed_token_;
        open_batch_ = true;
        pass(m, to_server);
        return taken::all;
    }
    const auto& p = m.as_parse();
    if (p && p->name.empty()) {
        note_block_end(p->text);
    }
    if (!p || !renames()) {
        unnamed_unused_ = unnamed_unused_ || (p && p->name.empty());
        // What does not parse is for the server to refuse, in its own words.
        if (p && parser::quick_scan(p->text)) {
            const auto traits = parser::scan_text(p->text);
            note_traits(traits);
            default_parsed_ = default_parsed_ || traits.assigns_default;
            barrier_at_sync_ = barrier_at_sync_ || is_barrier(traits);
        }
        server_->requests.push(request::parse);
        open_batch_ = true;
        pass(m, to_server);
        return taken::all;
    }
    const auto statement =
        p->name.empty() ? nullptr : env_.statements.intern(p->tail, parameters_->parsing_hash());
    const auto traits = statement ? statement->traits : parser::scan_text(p->text);
    if (const auto why = refusal(traits)) {
        refuse(*why, request::parse, to_server);
        drop(m);
        return taken::all;
    }
    const bool deallocates = p->name.empty() && !traits.only_deallocated.empty();
    if ((!p->name.empty() && must_wait_for_name(p->name, false)) ||
        (deallocates && must_wait_for_name(traits.only_deallocated, true))) {
        stalled_ = true;
        return taken::stop;
    }
    note_traits(traits);
    default_parsed_ = default_parsed_ || traits.assigns_default;
    barrier_at_sync_ = barrier_at_sync_ || is_barrier(traits);
    if (!statement) {
        parse_unnamed(m, *p, traits, to_server);
        return taken::all;
    }
    open_batch_ = true;
    if (const auto present = rare().names.find(p->name)) {
        // The name is taken: the server says so when it gets the same name again.
        const auto number = ensure_prepared(present, rare().names.ddl_at_parse(p->name), to_server);
        auto& entry = server_->requests.push(request::parse);
        entry.detail = std::make_unique<ledger_detail>();
        entry.detail->client_name = p->name;
        wire::write_parse(to_server.copied(), rewrite::server_statement_name(number), p->tail);
        drop(m);
        return taken::all;
    }
    rare().names.prepare(p->name, statement, server_->batch, env_.statements.registry().ddl_seen());
    auto* const slot = server_->statements.find(statement->id);
    if (slot != nullptr && slot->confirmed && !slot->stale && server_->status != 'E' &&
        slot->ddl == env_.statements.registry().ddl_seen() && server_->requests.batches() == 0) {
        slot->used = server_->batch;
        auto& entry = server_->requests.push(request::local);
        entry.detail = std::make_unique<ledger_detail>();
        entry.detail->client_name = p->name;
        entry.detail->statement = statement;
        rare().names.answered_here(p->name);
        settle(to_client);
    } else {
        const std::string name{p->name};
        const auto number = prepare_anew(statement, to_server, reply::forward);
        auto& entry = server_->requests[server_->requests.size() - 1];
        entry.detail->client_name = name;
        entry.detail->number = number;
    }
    drop(m);
    return taken::all;
}

void relay::parse_unnamed(
    const client_view& m,
    const wire::parse_message& p,
    const parser::text_traits& traits,
    outbox& to_server
) {
    open_batch_ = true;
    const auto deallocated = deallocated_name(traits);
    const auto tail =
        deallocated.empty() ? std::string{} : deallocation_tail(deallocated, to_server);
    auto& r = rare();
    if (r.confirmed_in_place) {
        r.confirmed_tail.swap(r.unnamed_tail);
        r.confirmed_in_place = false;
    } else {
        keep_in_flight();
    }
    unnamed_effects_ = effects_of(p.text);
    unnamed_keeps_ = traits.keeps_connection();
    unnamed_sticks_ = false;
    unnamed_noted_in_ = batch_serial_;
    unnamed_token_ = env_.next_unnamed;
    env_.next_unnamed += env_.unnamed_step;
    hold_unnamed(unnamed_token_);
    r.unnamed_tail.assign(p.tail);
    auto& entry = server_->requests.push(request::parse);
    entry.unnamed = unnamed_token_;
    if (deallocated.empty()) {
        pass(m, to_server);
        return;
    }
    entry.in_detail().client_name = deallocated;
    r.deallocating.token = unnamed_token_;
    wire::write_parse(to_server.copied(), "", tail);
    drop(m);
}

/// What a batch runs counts, and not what it parses: a client that describes a statement before it
/// binds it (lib/pq, always) does so in two batches.
void relay::note_unnamed() {
    if (unnamed_noted_in_ == batch_serial_ || !rare_) {
        return;
    }
    unnamed_noted_in_ = batch_serial_;
    const auto text = text_of(rare_->unnamed_tail);
    note_block_end(text);
    const auto traits = parser::scan_text(text);
    note_traits(traits);
    barrier_at_sync_ = barrier_at_sync_ || is_barrier(traits);
}

/// What is being sent makes it the server's unnamed statement, unless it is skipped.
void relay::hold_unnamed(std::uint64_t token) noexcept {
    server_->unnamed = token;
    server_->unnamed_in = server_->batch;
}

/// Which one the server holds hangs on an earlier batch that is not answered yet.
bool relay::must_wait_for_unnamed() const noexcept {
    const auto& s = *server_;
    return renames() && s.unnamed_in < s.batch && s.unnamed_in >= s.batch - s.requests.batches();
}

/// The unnamed statement of this client, and of nobody else, is the one on the server connection.
void relay::ensure_unnamed(outbox& to_server) {
    const bool is_old = is_deallocation_of_old();
    if (server_->unnamed == unnamed_token_ && !is_old) {
        return;
    }
    if (unnamed_token_ == server_state::unnamed_none) {
        wire::write_named_target(to_server.copied(), cm::close, 'S', "");
        server_->requests.push(request::close, reply::swallow);
        hold_unnamed(server_state::unnamed_none);
        return;
    }
    auto& r = rare();
    const auto text = text_of(r.unnamed_tail);
    const auto deallocated =
        parser::quick_scan(text) ? deallocated_name(parser::scan_text(text)) : std::string{};
    const auto tail =
        deallocated.empty() ? r.unnamed_tail : deallocation_tail(deallocated, to_server);
    r.deallocating.token = deallocated.empty() ? 0 : unnamed_token_;
    wire::write_parse(to_server.copied(), "", tail);
    auto& entry = server_->requests.push(request::parse, reply::swallow);
    entry.unnamed = unnamed_token_;
    if (!deallocated.empty()) {
        entry.in_detail().client_name = deallocated;
    }
    hold_unnamed(unnamed_token_);
}

/// `ddl`: what had been seen when the client's own Parse came. A plan from before that may have
/// other columns than the client was told: a private connection would not know it.
bool relay::can_be_used(const rewrite::server_statements::slot& slot, std::uint64_t ddl)
    const noexcept {
    // A Parse that went out in an earlier batch and has no answer yet may have been skipped there.
    return !slot.stale && slot.ddl >= ddl && (slot.confirmed || slot.batch == server_->batch);
}

std::uint32_t relay::ensure_prepared(
    const rewrite::statement_ptr& statement, std::uint64_t ddl, outbox& to_server
) {
    auto* const slot = server_->statements.find(statement->id);
    if (slot != nullptr && can_be_used(*slot, ddl)) {
        slot->used = server_->batch;
        return slot->number;
    }
    return prepare_anew(statement, to_server, reply::swallow);
}

std::uint32_t relay::prepare_anew(
    const rewrite::statement_ptr& statement, outbox& to_server, reply action
) {
    const auto close_on_server = [&](std::uint32_t number) {
        wire::write_named_target(
            to_server.copied(), cm::close, 'S', rewrite::server_statement_name(number)
        );
        server_->requests.push(request::close, reply::swallow);
    };
    if (auto* const old = server_->statements.find(statement->id); old != nullptr) {
        close_on_server(old->number);
        server_->statements.forget(statement->id, old->number);
    }
    while (server_->statements.size() >= std::max<std::size_t>(1, settings_.max_prepared_statements)
    ) {
        const auto number = server_->statements.evict(server_->batch);
        if (!number) {
            break;  // all are in use by this very batch
        }
        close_on_server(*number);
    }
    while (const auto number = server_->statements.take_left()) {
        close_on_server(*number);
    }
    auto& slot = server_->statements.add(statement->id, server_->batch);
    slot.ddl = env_.statements.registry().ddl_seen();
    const auto number = slot.number;
    auto& entry = server_->requests.push(request::parse, action);
    entry.detail = std::make_unique<ledger_detail>();
    entry.detail->statement = statement;
    entry.detail->number = number;
    wire::write_parse(to_server.copied(), rewrite::server_statement_name(number), statement->tail);
    return number;
}

/// What the name means hangs on a batch that is not answered yet. `is_used`: then an unknown name
/// may be one that SQL's PREPARE is just making.
bool relay::must_wait_for_name(std::string_view name, bool is_used) const {
    if (server_->requests.batches() == 0 || !renames()) {
        return false;
    }
    if (rare_ && rare_->names.is_unsettled(name, server_->batch)) {
        return true;
    }
    return is_used && (!rare_ || !rare_->names.find(name));
}

std::string relay::server_name_for(std::string_view client_name, outbox& to_server, bool& known) {
    const auto statement = rare_ ? rare_->names.find(client_name) : nullptr;
    known = statement != nullptr;
    named_in_batch_ = named_in_batch_ || known;
    if (known) {
        rare_->names.used(client_name, batch_serial_);
        note_hidden(effects_of(*statement));
        begun_ = begun_ || statement->traits.opens_block;
        note_block_end(statement->tail);
        barrier_at_sync_ = barrier_at_sync_ || is_barrier(statement->traits);
        if (statement->traits.needs_inspection) {
            suspect_ = true;
        }
        return rewrite::server_statement_name(
            ensure_prepared(statement, rare_->names.ddl_at_parse(client_name), to_server)
        );
    }
    // A pinned session may have made the statement with SQL's PREPARE. Nobody's server-side name
    // can be reached.
    if ((is_pinned() || sql_prepared_) &&
        !client_name.starts_with(rewrite::server_statement_prefix)) {
        return std::string{client_name};
    }
    return std::string{rewrite::unknown_statement_name};
}

/// The entry of a message that names a statement. The statement's name on the server.
std::string relay::push_named(request kind, std::string_view client_name, outbox& to_server) {
    bool known = false;
    auto server_name = server_name_for(client_name, to_server, known);
    auto& entry = server_->requests.push(kind);
    if (!known) {
        entry.in_detail().client_name = client_name;
    }
    return server_name;
}

relay::taken relay::on_bind(const client_view& m, outbox& to_server) {
    if (!renames()) {
        unnamed_unused_ = false;
        server_->requests.push(request::bind);
        open_batch_ = true;
        pass(m, to_server);
        return taken::all;
    }
    const auto names = wire::parse_bind_names(m.body());
    if (!names) {
        if (!m.complete()) {
            if (m.whole.size() < wire::max_inspected_bytes) {
                return taken::more_bytes;
            }
            protocol_error("invalid string in message");
            return taken::stop;
        }
        server_->requests.push(request::bind);  // the server refuses it
        open_batch_ = true;
        pass(m, to_server);
        return taken::all;
    }
    if (names->statement.empty() ? must_wait_for_unnamed()
                                 : must_wait_for_name(names->statement, true)) {
        stalled_ = true;
        return taken::stop;
    }
    open_batch_ = true;
    if (names->statement.empty()) {
        const bind_effects found{
            .reads_sequences = unnamed_effects_.reads_sequences,
            .keeps_connection = unnamed_keeps_};
        if (const auto done = before_bind(found, to_server)) {
            return instead_of(m, *done);
        }
        note_hidden(unnamed_effects_);
        note_unnamed();
        ensure_unnamed(to_server);
        note_portal(names->portal, true);
        server_->requests.push(request::bind);
        pass(m, to_server);
        return taken::all;
    }
    switch (compare_columns(names->statement, to_server)) {
        case comparison::unknown:
            stalled_ = looked_at_ = true;
            return taken::stop;
        case comparison::changed:
            refuse(
                columns_changed("The statement was parsed anew on another server connection: it "
                                "returns other columns there, or takes other parameters."),
                request::bind,
                to_server
            );
            drop(m);
            return taken::all;
        case comparison::same:
            break;
    }
    const auto statement = rare_ && has_foreign_sequences() ? rare_->names.find(names->statement)
                                                            : rewrite::statement_ptr{};
    const bind_effects found{
        .reads_sequences = statement && effects_of(*statement).reads_sequences,
        .keeps_connection = statement && statement->traits.keeps_connection()};
    if (const auto done = before_bind(found, to_server)) {
        return instead_of(m, *done);
    }
    note_portal(names->portal, false);
    const auto server_name = push_named(request::bind, names->statement, to_server);
    auto& out = to_server.copied();
    const auto length = m.total - 1 - names->statement.size() + server_name.size();
    char header[wire::header_bytes] = {cm::bind};
    wire::store_u32(header + 1, static_cast<std::uint32_t>(length));
    out.append(header, sizeof header);
    out.append(names->portal).push_back('\0');
    out.append(server_name).push_back('\0');
    to_server.pass(m.body().substr(names->bytes));
    stream_left_ = m.total - m.whole.size();
    stream_dropped_ = false;
    return taken::all;
}

relay::taken relay::on_describe(const client_view& m, outbox& to_server) {
    if (!m.complete()) {
        if (m.total > wire::max_inspected_bytes) {
            protocol_error("invalid message length");
            return taken::stop;
        }
        return taken::more_bytes;
    }
    const auto target = wire::parse_named_target(m.body());
    if (target && target->kind == 'S' &&
        (target->name.empty() ? must_wait_for_unnamed() : must_wait_for_name(target->name, true))) {
        stalled_ = true;
        return taken::stop;
    }
    open_batch_ = true;
    if (!renames() || !target || target->kind != 'S') {
        server_->requests.push(request::describe);
        pass(m, to_server);
        return taken::all;
    }
    if (target->name.empty()) {
        ensure_unnamed(to_server);
        server_->requests.push(request::describe);
        pass(m, to_server);
        return taken::all;
    }
    const auto server_name = push_named(request::describe, target->name, to_server);
    note_describe(target->name);
    wire::write_named_target(to_server.copied(), cm::describe, 'S', server_name);
    drop(m);
    return taken::all;
}

relay::taken relay::on_close(const client_view& m, outbox& to_server, outbox& to_client) {
    if (!m.complete()) {
        if (m.total > wire::max_inspected_bytes) {
            protocol_error("invalid message length");
            return taken::stop;
        }
        return taken::more_bytes;
    }
    const auto target = wire::parse_named_target(m.body());
    if (target && must_wait_for_name(target->name, false)) {
        stalled_ = true;
        return taken::stop;
    }
    open_batch_ = true;
    if (!renames() || !target || target->kind != 'S' ||
        (is_pinned() && (!rare_ || !rare_->names.find(target->name)) &&
         !target->name.starts_with(rewrite::server_statement_prefix))) {
        server_->requests.push(request::close);
        pass(m, to_server);
        return taken::all;
    }
    if (target->name.empty()) {
        server_->requests.push(request::close).unnamed = unnamed_token_;
        leave_unnamed();
        hold_unnamed(server_state::unnamed_none);
        pass(m, to_server);
        return taken::all;
    }
    // The statement stays where it is, for others; only the client's name goes.
    auto& entry = server_->requests.push(request::local);
    entry.detail = std::make_unique<ledger_detail>();
    entry.detail->client_name = target->name;
    entry.detail->is_close = true;
    if (rare_) {
        rare_->names.close(target->name, server_->batch);
    }
    settle(to_client);
    drop(m);
    return taken::all;
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
    // They are confirmed in their order; the tokens grow.
    auto& older = r.unnamed_in_flight;
    while (!older.empty() && older.front().first <= token) {
        if (older.front().first == token) {
            r.confirmed_tail.swap(older.front().second);
            r.confirmed_in_place = false;
            r.confirmed_unnamed = token;
        }
        older.pop_front();
    }
}

/// Its text is wanted again where what replaces it is skipped.
void relay::keep_in_flight() {
    if (unnamed_token_ != server_state::unnamed_none && rare_ && !rare_->confirmed_in_place) {
        rare_->unnamed_in_flight.emplace_back(unnamed_token_, rare_->unnamed_tail);
    }
}

/// What is being sent ends the client's unnamed statement, unless it is skipped.
void relay::leave_unnamed() {
    keep_in_flight();
    unnamed_token_ = server_state::unnamed_none;
    unnamed_sticks_ = false;
}

/// The server holds none for this client.
void relay::forget_unnamed() noexcept {
    if (rare_) {
        rare_->confirmed_unnamed = 0;
        rare_->confirmed_in_place = false;
    }
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
        const auto text = text_of(rare_->unnamed_tail);
        unnamed_effects_ = effects_of(text);
        unnamed_keeps_ = parser::scan_text(text).keeps_connection();
    }
}

}  // namespace signalbox::proxy
