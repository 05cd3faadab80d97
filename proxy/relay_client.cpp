// The client's half of the relay: what becomes of each message on its way to the server.
#include "parser/lexer.hpp"
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
/// PostgreSQL drops the unnamed statement at every simple Query.
constexpr std::uint64_t no_statement = 0;

/// Prepared statements of which a worker knows whether they may make hidden state.
constexpr std::size_t max_known_statements = 4096;

/// A batch that is larger is not kept to be repeated.
constexpr std::size_t max_repeat_bytes = std::size_t{64} * 1024;

/// No statement at all: a syntax error, whatever the server's state.
constexpr std::string_view refused_statement = "REFUSED BY SIGNALBOX";

}  // namespace

std::string_view relay::client_view::body() const noexcept {
    return whole.substr(wire::header_bytes);
}

relay::relay(relay_environment& environment, const relay_settings& settings)
    : env_(environment),
      settings_(settings),
      startup_(environment.parameters.empty()),
      parameters_(environment.parameters.empty()) {}

relay::rare_state& relay::rare() {
    if (!rare_) {
        rare_ = std::make_unique<rare_state>();
    }
    return *rare_;
}

relay::statement_state& relay::statements() {
    if (!statements_) {
        statements_ = std::make_unique<statement_state>();
    }
    return *statements_;
}

relay::trouble& relay::in_trouble() {
    if (!trouble_) {
        trouble_ = std::make_unique<trouble>();
    }
    return *trouble_;
}

void relay::set_startup(rewrite::parameter_set_ptr startup) {
    for (const auto& [name, value] : startup->items()) {
        if (name.find('.') != std::string::npos) {
            rare().custom_parameters.push_back(name);
        }
    }
    startup_ = startup;
    parameters_ = std::move(startup);
}

bool relay::protocol_error(std::string message) {
    in_trouble().fatal = {
        .severity = "FATAL",
        .sqlstate = std::string{wire::sqlstate::protocol_violation},
        .message = std::move(message),
        .detail = {},
        .hint = {}};
    demand_ = demand::fatal;
    return false;
}

bool relay::check_header(char type, std::uint32_t length) {
    if (!wire::is_client_message(type)) {
        return protocol_error(
            "invalid frontend message type " + std::to_string(static_cast<unsigned char>(type))
        );
    }
    if (static_cast<std::int32_t>(length) < 4) {
        return protocol_error("invalid message length");
    }
    if (length > settings_.max_message_size) {
        protocol_error("message of " + std::to_string(length) + " bytes is too long");
        in_trouble().fatal.hint = "The limit is max_message_size in the section [listen].";
        in_trouble().fatal.sqlstate = wire::sqlstate::program_limit_exceeded;
        return false;
    }
    return true;
}

std::size_t relay::on_client(std::string_view in, outbox& to_server, outbox& to_client) {
    demand_ = demand::nothing;
    stalled_ = false;
    const bool at_rest = server_ != nullptr && server_->requests.empty() && !open_batch_;
    std::size_t at = 0;
    while (at < in.size()) {
        if (stream_left_ > 0) {
            const auto n = std::min(stream_left_, in.size() - at);
            if (!stream_dropped_) {
                to_server.pass(in.substr(at, n));
            }
            stream_left_ -= n;
            at += n;
            continue;
        }
        if (is_blocked() || in.size() - at < wire::header_bytes) {
            break;
        }
        const char type = in[at];
        const auto length = wire::load_u32(in.data() + at + 1);
        if (!check_header(type, length)) {
            break;
        }
        const std::size_t total = std::size_t{length} + 1;
        const client_view m{type, in.substr(at, total), total};
        const auto done = on_message(m, to_server, to_client);
        if (done != taken::all) {
            break;
        }
        at += m.whole.size();
        if (demand_ != demand::nothing) {
            break;
        }
    }
    if (server_ != nullptr && !server_->requests.empty()) {
        keep_for_repeat(at_rest, to_server.data());
    }
    return at;
}

/// Keeps the bytes of a batch that was sent in one piece, in case a statement's plan turns out to
/// be out of date.
void relay::keep_for_repeat(bool from_its_start, std::string_view sent) {
    auto& s = *server_;
    s.repeat.clear();
    if (from_its_start && named_in_batch_ && s.status == 'I' && !open_batch_ &&
        s.requests.batches() == 1 && stream_left_ == 0 && sent.size() <= max_repeat_bytes) {
        s.repeat.assign(sent);
        s.repeat_answered = false;
    }
    named_in_batch_ = false;
}

/// The whole message, or as much as is there and the rest as it comes.
void relay::pass(const client_view& m, outbox& to_server) {
    to_server.pass(m.whole);
    stream_left_ = m.total - m.whole.size();
    stream_dropped_ = false;
}

void relay::drop(const client_view& m) {
    stream_left_ = m.total - m.whole.size();
    stream_dropped_ = true;
}

relay::taken relay::on_message(const client_view& m, outbox& to_server, outbox& to_client) {
    if (m.type == cm::terminate) {
        demand_ = demand::terminate;
        return taken::all;
    }
    if (skip_locally_ || (server_ != nullptr && server_->skip_to_sync)) {
        if (m.type != cm::sync) {
            drop(m);
            return taken::all;
        }
        if (server_ == nullptr) {
            return on_skipped(m, to_client);
        }
    }
    if (is_running()) {
        return during_run(m, to_server);
    }
    if (cutting_) {
        stalled_ = true;
        return taken::stop;
    }
    if (m.type == cm::sync && statements_) {
        statements_->rpc_portals.clear();
    }
    if (server_ == nullptr) {
        switch (m.type) {
            case cm::copy_data:
            case cm::copy_done:
            case cm::copy_fail:
                // The COPY they belong to has ended: PostgreSQL ignores them, too.
            case cm::flush:
                drop(m);
                return taken::all;
            case cm::sync:
                if (!has_lost() && m.total == wire::header_bytes) {
                    write_ready('I', to_client);
                    drop(m);
                    return taken::all;
                }
                break;
            default:
                break;
        }
        if (has_lost()) {
            looked_at_ = false;
            return on_failed(m, to_client);
        }
    }
    if (!std::exchange(looked_at_, false)) {
        if (const auto done = look_at(m, to_server, to_client)) {
            return *done;
        }
    }
    if (server_ == nullptr) {
        looked_at_ = true;
        demand_ = demand::server;
        return taken::stop;
    }
    const bool belongs_to_copy =
        m.type == cm::copy_data || m.type == cm::copy_done || m.type == cm::copy_fail;
    if (server_->copy_in && !belongs_to_copy && m.type != cm::sync && m.type != cm::flush) {
        // PostgreSQL ends the COPY with an error, and drops the message: no reply of its own comes.
        // Where the COPY had just ended by itself, the message is run and its replies pass; on this
        // doubt the connection is not used again.
        server_->copy_in = false;
        server_->doubtful = true;
        pass(m, to_server);
        return taken::all;
    }
    if (barrier_ && !belongs_to_copy && !server_->copy_in) {
        if (!server_->requests.empty()) {
            stalled_ = true;
            return taken::stop;
        }
        barrier_ = false;
    }
    switch (m.type) {
        case cm::query:
            return on_query(m, to_server, to_client);
        case cm::parse:
            return on_parse_text(m, to_server, to_client);
        case cm::bind:
            return on_bind_rows(m, to_server);
        case cm::describe:
            return on_describe_rows(m, to_server);
        case cm::close:
            return on_close_name(m, to_server, to_client);
        case cm::sync:
            return on_sync(m, to_server);
        case cm::execute:
            server_->requests.push(request::execute);
            open_batch_ = true;
            ++executed_;
            pass(m, to_server);
            return taken::all;
        case cm::function_call:
            server_->requests.push(request::function_call);
            ++server_->batch;
            open_batch_ = false;
            executed_ = 0;
            suspect_ = true;  // it can be any function
            hidden_ = hidden_ || renames();
            pass(m, to_server);
            return taken::all;
        case cm::copy_done:
        case cm::copy_fail:
            if (server_->copy_in) {
                server_->copy_in = false;
            } else if (!server_->requests.empty()) {
                server_->requests.push(request::copy_end);
            }
            pass(m, to_server);
            return taken::all;
        default:  // Flush, CopyData
            pass(m, to_server);
            return taken::all;
    }
}

/// The request that meets the news of a failure: it is answered here and reaches no server.
relay::taken relay::on_failed(const client_view& m, outbox& to_client) {
    wire::write_error_response(to_client.copied(), *trouble_->lost);
    after_error(to_client);
    trouble_->lost.reset();
    if (m.type == cm::query || m.type == cm::function_call || m.type == cm::sync) {
        write_ready('I', to_client);
    } else {
        skip_locally_ = true;
    }
    drop(m);
    return taken::all;
}

relay::taken relay::on_skipped(const client_view& m, outbox& to_client) {
    skip_locally_ = false;
    open_batch_ = false;
    write_ready('I', to_client);
    drop(m);
    return taken::all;
}

bool relay::may_make_state(std::string_view sql) const {
    const auto& watch = *settings_.watch;
    return watch.ddl != env_.statements.registry().ddl_seen() || watch.rules->may_make_state(sql);
}

void relay::note_hidden(std::string_view sql) {
    hidden_ = hidden_ || (renames() && settings_.watch && may_make_state(sql));
}

void relay::note_hidden(const rewrite::prepared_statement& statement) {
    if (hidden_ || !settings_.watch) {
        return;
    }
    auto& watch = *settings_.watch;
    if (watch.ddl != env_.statements.registry().ddl_seen()) {
        hidden_ = true;
        return;
    }
    const auto known = watch.by_statement.find(statement.id);
    if (known != watch.by_statement.end()) {
        hidden_ = known->second;
        return;
    }
    if (watch.by_statement.size() >= max_known_statements) {
        watch.by_statement.clear();
    }
    const std::string_view sql{statement.tail};
    hidden_ = watch.rules->may_make_state(sql.substr(0, sql.find('\0')));
    watch.by_statement.emplace(statement.id, hidden_);
}

/// A pipeline in which BEGIN stands may end the block itself.
void relay::note_block_end(std::string_view sql) noexcept {
    if (!begun_) {
        return;
    }
    parser::lexer tokens{sql};
    const auto first = tokens.next().text;
    const auto second = tokens.next().text;
    const auto is = [&](std::string_view word) {
        return parser::equals_ignoring_case(first, word);
    };
    if ((is("commit") || is("end") || is("rollback") || is("abort")) &&
        !parser::equals_ignoring_case(second, "to")) {
        begun_ = false;
    }
}

void relay::note_traits(const parser::text_traits& traits) {
    begun_ = begun_ || traits.opens_block;
    if (traits.assigns_default) {
        reset_seen_ = true;
    }
    if (renames() && traits.needs_inspection) {
        suspect_ = true;
    }
    // What follows counts in session mode, too: where the session moves to another server.
    if (traits.dynamic_parameter) {
        rare().pinned_by = "set_config() with a name that is not a literal";
    }
    for (const auto& name : traits.custom_parameters) {
        auto& known = rare().custom_parameters;
        if (std::find(known.begin(), known.end(), name) == known.end()) {
            known.push_back(name);
        }
    }
}

relay::taken relay::on_query(const client_view& m, outbox& to_server, outbox& to_client) {
    if (!m.complete() && m.total <= wire::max_inspected_bytes) {
        return taken::more_bytes;
    }
    if (m.complete()) {
        return forward_query(
            m.body().substr(0, m.body().size() - (m.body().empty() ? 0 : 1)),
            &m,
            to_server,
            to_client
        );
    }
    suspect_ = suspect_ || renames();  // what it does is not looked at
    hidden_ = hidden_ || renames();
    begin_query();
    pass(m, to_server);
    return taken::all;
}

/// A Query is about to be sent: its entry in the ledger.
ledger_entry& relay::begin_query() {
    auto& entry = server_->requests.push(request::query);
    ++server_->batch;
    open_batch_ = false;  // it ends a batch that had no Sync, as a Sync would
    executed_ = 0;
    begun_ = false;
    barrier_ = barrier_ || std::exchange(barrier_at_sync_, false);
    unnamed_token_ = no_statement;
    unnamed_sticks_ = false;
    unnamed_unused_ = false;
    server_->unnamed = no_statement;
    return entry;
}

/// `m`: the message that the text came in, which is passed on as it lies; null for a unit of a
/// batch.
relay::taken relay::forward_query(
    std::string_view text, const client_view* m, outbox& to_server, outbox& to_client
) {
    const auto forget_message = [&] {
        if (m != nullptr) {
            drop(*m);
        }
        return taken::all;
    };
    bool only_local_set = false;
    if (parser::quick_scan(text)) {
        const auto traits = parser::scan_text(text);
        if (const auto why = refusal(traits)) {
            refuse(*why, request::query, to_server);
            return forget_message();
        }
        if (renames() && traits.deallocated.size() == 1 && rare_ &&
            rare_->names.find(traits.deallocated.front())) {
            // A simple Query ends a batch that had no Sync; where that has failed, it is skipped.
            if (wait_until_settled(to_server)) {
                return taken::stop;
            }
            if (server_->status != 'E') {
                deallocate_locally(traits.deallocated.front(), to_client);
                return forget_message();
            }
        }
        for (const auto& name : traits.deallocated) {
            forget_rpc(name);
        }
        barrier_ = barrier_ || is_barrier(traits);
        if (is_barrier(traits) && !startup_->empty()) {
            rare().reset_target = traits.reset_target;
        }
        note_traits(traits);
        only_local_set = traits.only_local_set;
    }
    replaced found;
    if (may_read_relations(text)) {
        found = replace_relations(text, std::nullopt);
        if (found.refused) {
            refuse(*found.refused, request::query, to_server);
            return forget_message();
        }
    }
    note_hidden(text);
    note_made(text);
    auto& entry = begin_query();
    if (only_local_set || found.sent) {
        entry.detail = std::make_unique<ledger_detail>();
        entry.detail->only_local_set = only_local_set;
        entry.detail->sent = found.sent;
    }
    if (found.sent) {
        wire::write_query(to_server.copied(), found.sent->sql());
        return forget_message();
    }
    if (m != nullptr) {
        pass(*m, to_server);
    } else {
        wire::write_query(to_server.copied(), text);
    }
    return taken::all;
}

/// What follows depends on how this one ends: which names are left, or which values parameters
/// have.
bool relay::is_barrier(const parser::text_traits& traits) const noexcept {
    return (traits.forgets_statements && renames()) ||
           ((traits.resets_parameters || traits.assigns_default) && !startup_->empty());
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
    unnamed_token_ = no_statement;  // as by every simple Query
    unnamed_sticks_ = false;
    settle(to_client);
}

/// An error of our own, in its place among the server's: the server gets something in the
/// statement's stead that fails, so that a transaction block is left failed and a batch is skipped,
/// and its error is replaced by ours.
void relay::refuse(const wire::report& why, request kind, outbox& to_server) {
    auto& entry = server_->requests.push(kind);
    entry.detail = std::make_unique<ledger_detail>();
    wire::write_error_response(entry.detail->error, why);
    unnamed_token_ = no_statement;
    unnamed_sticks_ = false;
    server_->unnamed = no_statement;
    if (kind == request::query) {
        ++server_->batch;
        open_batch_ = false;
        wire::write_query(to_server.copied(), refused_statement);
    } else {
        open_batch_ = true;
        std::string tail{refused_statement};
        tail.append(3, '\0');
        wire::write_parse(to_server.copied(), "", tail);
    }
}

/// Why the statement must not be sent.
std::optional<wire::report> relay::refusal(const parser::text_traits& traits) const {
    if (settings_.mode == pool_mode::statement && traits.opens_block) {
        return wire::report{
            .severity = "ERROR",
            .sqlstate = std::string{wire::sqlstate::feature_not_supported},
            .message = "explicit transactions are not supported in statement pool mode",
            .detail = {},
            .hint = "Use a route with pool_mode = \"transaction\"."};
    }
    if (settings_.refuse_state && renames() && !traits.uncarryable.empty()) {
        return wire::report{
            .severity = "ERROR",
            .sqlstate = std::string{wire::sqlstate::feature_not_supported},
            .message =
                std::string{traits.uncarryable} + " cannot be carried to another server connection",
            .detail = {},
            .hint = R"(Use a route with pool_mode = "session" or session_state = "pin".)"};
    }
    return std::nullopt;
}

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
        hidden_ = hidden_ || renames();
        unnamed_sticks_ = true;
        unnamed_token_ = env_.next_unnamed;
        env_.next_unnamed += env_.unnamed_step;
        server_->unnamed = unnamed_token_;
        server_->requests.push(request::parse).unnamed = unnamed_token_;
        open_batch_ = true;
        pass(m, to_server);
        return taken::all;
    }
    const auto p = wire::parse_parse(m.body());
    if (p && p->name.empty()) {
        note_block_end(p->text);
    }
    if (!p || !renames()) {
        unnamed_unused_ = unnamed_unused_ || (p && p->name.empty());
        // What does not parse is for the server to refuse, in its own words.
        if (p && parser::quick_scan(p->text)) {
            const auto traits = parser::scan_text(p->text);
            note_traits(traits);
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
    if (!p->name.empty() && must_wait_for_name(p->name, false)) {
        stalled_ = true;
        return taken::stop;
    }
    note_traits(traits);
    barrier_at_sync_ = barrier_at_sync_ || is_barrier(traits);
    if (!statement) {
        parse_unnamed(m, *p, traits, to_server);
        return taken::all;
    }
    open_batch_ = true;
    if (const auto present = rare().names.find(p->name)) {
        // The name is taken: the server says so when it gets the same name again.
        const auto number = ensure_prepared(present, to_server);
        auto& entry = server_->requests.push(request::parse);
        entry.detail = std::make_unique<ledger_detail>();
        entry.detail->client_name = p->name;
        wire::write_parse(to_server.copied(), rewrite::server_statement_name(number), p->tail);
        drop(m);
        return taken::all;
    }
    rare().names.prepare(p->name, statement, server_->batch);
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
    const auto named = traits.deallocated.size() == 1 && rare_
                           ? rare_->names.find(traits.deallocated.front())
                           : nullptr;
    if (named) {
        // DEALLOCATE in the extended protocol: the statement has another name there, and the tag is
        // then the real one.
        const auto number = ensure_prepared(named, to_server);
        auto& entry = server_->requests.push(request::parse);
        entry.detail = std::make_unique<ledger_detail>();
        entry.detail->client_name = traits.deallocated.front();
        rare_->deallocated_name = traits.deallocated.front();
        rare_->deallocated_number = number;
        rare_->deallocate_due = true;
        barrier_at_sync_ = true;  // whether the name is left is known when it has been executed
        std::string tail = "DEALLOCATE " + rewrite::server_statement_name(number);
        tail.append(3, '\0');
        wire::write_parse(to_server.copied(), "", tail);
        // Its Bind follows in the same batch; afterwards it is of no use to anybody.
        unnamed_token_ = env_.next_unnamed;
        env_.next_unnamed += env_.unnamed_step;
        server_->unnamed = unnamed_token_;
        rare().unnamed_tail = tail;
        drop(m);
        return;
    }
    auto& r = rare();
    r.deallocate_due = false;
    if (r.confirmed_in_place) {
        r.confirmed_tail.swap(r.unnamed_tail);
        r.confirmed_in_place = false;
    } else if (unnamed_token_ != no_statement) {
        r.unnamed_in_flight.emplace_back(unnamed_token_, r.unnamed_tail);
    }
    unnamed_hidden_ = settings_.watch && may_make_state(p.text);
    unnamed_sticks_ = false;
    unnamed_token_ = env_.next_unnamed;
    env_.next_unnamed += env_.unnamed_step;
    server_->unnamed = unnamed_token_;
    r.unnamed_tail.assign(p.tail);
    server_->requests.push(request::parse).unnamed = unnamed_token_;
    pass(m, to_server);
}

/// The unnamed statement of this client, and of nobody else, is the one on the server connection.
void relay::ensure_unnamed(outbox& to_server) {
    if (server_->unnamed == unnamed_token_) {
        return;
    }
    if (unnamed_token_ == no_statement) {
        wire::write_named_target(to_server.copied(), cm::close, 'S', "");
        server_->requests.push(request::close, reply::swallow);
        server_->unnamed = no_statement;
        return;
    }
    wire::write_parse(to_server.copied(), "", rare().unnamed_tail);
    server_->requests.push(request::parse, reply::swallow).unnamed = unnamed_token_;
    server_->unnamed = unnamed_token_;
}

std::uint32_t relay::ensure_prepared(const rewrite::statement_ptr& statement, outbox& to_server) {
    auto* const slot = server_->statements.find(statement->id);
    // A Parse that went out in an earlier batch and has no answer yet may have been skipped there.
    if (slot != nullptr && !slot->stale && (slot->confirmed || slot->batch == server_->batch)) {
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
        note_hidden(*statement);
        begun_ = begun_ || statement->traits.opens_block;
        note_block_end(statement->tail);
        if (statement->traits.needs_inspection) {
            suspect_ = true;
        }
        return rewrite::server_statement_name(ensure_prepared(statement, to_server));
    }
    // A pinned session may have made the statement with SQL's PREPARE. Nobody's server-side name
    // can be reached.
    if ((is_pinned() || sql_prepared_) &&
        !client_name.starts_with(rewrite::server_statement_prefix)) {
        return std::string{client_name};
    }
    return std::string{rewrite::unknown_statement_name};
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
    if (!names->statement.empty() && must_wait_for_name(names->statement, true)) {
        stalled_ = true;
        return taken::stop;
    }
    open_batch_ = true;
    if (names->statement.empty()) {
        hidden_ = hidden_ || unnamed_hidden_;
        ensure_unnamed(to_server);
        server_->requests.push(request::bind);
        pass(m, to_server);
        return taken::all;
    }
    bool known = false;
    const auto server_name = server_name_for(names->statement, to_server, known);
    auto& entry = server_->requests.push(request::bind);
    if (!known) {
        entry.detail = std::make_unique<ledger_detail>();
        entry.detail->client_name = names->statement;
    }
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
    if (target && target->kind == 'S' && !target->name.empty() &&
        must_wait_for_name(target->name, true)) {
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
    bool known = false;
    const auto server_name = server_name_for(target->name, to_server, known);
    auto& entry = server_->requests.push(request::describe);
    if (!known) {
        entry.detail = std::make_unique<ledger_detail>();
        entry.detail->client_name = target->name;
    }
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
        unnamed_token_ = no_statement;
        unnamed_sticks_ = false;
        server_->unnamed = no_statement;
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

relay::taken relay::on_sync(const client_view& m, outbox& to_server) {
    skip_locally_ = false;
    if (server_->copy_in) {
        server_->sync_in_copy = true;  // the server ignores it
    } else {
        server_->requests.push(request::sync);
        server_->skip_to_sync = false;
        executed_ = 0;
        cut_due_ = false;
        begun_ = false;
        ++server_->batch;
        ++batch_serial_;
        open_batch_ = false;
        barrier_ = barrier_ || std::exchange(barrier_at_sync_, false);
    }
    pass(m, to_server);
    return taken::all;
}

void relay::fail_waiting(wire::report why, outbox& to_client) {
    if (is_running()) {  // the client is waiting for its batch
        wire::write_error_response(to_client.copied(), why);
        after_error(to_client);
        end_unit('I', to_client);
        return;
    }
    in_trouble().lost = std::move(why);
}

}  // namespace signalbox::proxy
