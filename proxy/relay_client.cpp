// The client's half of the relay: what becomes of each message on its way to the server.
#include "parser/split.hpp"
#include "parser/traits.hpp"
#include "proxy/relay.hpp"
#include "wire/limits.hpp"
#include "wire/messages.hpp"

#include <algorithm>

namespace signalbox::proxy {

namespace cm = wire::client_message;

namespace {

/// Prepared statements of which a worker knows whether they may make hidden state.
constexpr std::size_t max_known_statements = 4096;

/// No statement at all: a syntax error, whatever the server's state.
constexpr std::string_view refused_statement = "REFUSED BY SIGNALBOX";

constexpr std::size_t function_oid_bytes = 4;

/// FunctionCall names a function by its OID: setseed(), or one that is not PostgreSQL's own.
bool may_last_by_oid(std::string_view body) noexcept {
    constexpr std::uint32_t setseed = 1599;          // src/include/catalog/pg_proc.dat
    constexpr std::uint32_t first_of_users = 16384;  // FirstNormalObjectId
    const auto oid =
        body.size() < function_oid_bytes ? first_of_users : wire::load_u32(body.data());
    return oid == setseed || oid >= first_of_users;
}

}  // namespace

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
    const bool goes_on_anew = std::exchange(goes_on_anew_, false);
    const bool at_rest =
        server_ != nullptr && server_->requests.empty() && (!open_batch_ || goes_on_anew);
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
        rest_ = in.substr(at + m.whole.size());
        const auto done = on_message(m, to_server, to_client);
        if (done != taken::all) {
            break;
        }
        at += m.whole.size();
        if (demand_ != demand::nothing) {
            break;
        }
    }
    rest_ = {};
    if (server_ != nullptr && !server_->requests.empty()) {
        keep_for_repeat(at_rest, to_server.data());
    }
    return at;
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

/// What was done is the message's answer: it goes nowhere.
relay::taken relay::instead_of(const client_view& m, taken done) {
    if (done == taken::all) {
        drop(m);
    }
    return done;
}

relay::taken relay::on_message(const client_view& m, outbox& to_server, outbox& to_client) {
    if (m.type == cm::terminate) {
        demand_ = demand::terminate;
        return taken::all;
    }
    if (skip_locally_ || (server_ != nullptr && server_->skip_to_sync)) {
        looked_at_ = false;
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
            return on_parse_explained(m, to_server, to_client);
        case cm::bind:
            return on_bind_explained(m, to_server);
        case cm::describe:
            return on_describe_rows(m, to_server);
        case cm::close:
            return on_close_explained(m, to_server, to_client);
        case cm::sync:
            return on_sync(m, to_server);
        case cm::execute:
            if (!m.complete() && m.total <= wire::max_inspected_bytes &&
                (explains_ || (rare_ && !rare_->deallocating_portals.empty()))) {
                return taken::more_bytes;
            }
            note_execute(m, server_->requests.push(request::execute));
            open_batch_ = true;
            ++executed_;
            pass(m, to_server);
            return taken::all;
        case cm::function_call:
            if (!m.complete() && m.body().size() < function_oid_bytes) {
                return taken::more_bytes;
            }
            if (const auto done = before_query({}, true, to_server, to_client)) {
                return instead_of(m, *done);
            }
            server_->requests.push(request::function_call);
            ++server_->batch;
            open_batch_ = false;
            executed_ = 0;
            suspect_ = true;  // it can be any function
            note_hidden({.makes_state = true, .lasts = may_last_by_oid(m.body())});
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

/// Its strings may end elsewhere than the rules for state that a function makes believe.
bool relay::may_be_misread(std::string_view sql) const noexcept {
    return !can_be_read() || (string_style() == parser::backslashes::escape &&
                              sql.find('\\') != std::string_view::npos);
}

rewrite::hidden_effects relay::effects_of(std::string_view sql) const {
    rewrite::hidden_effects found;
    auto* const watch = settings_.watch.get();
    if (watch != nullptr) {
        const auto& rules = *watch->rules;
        if (may_be_misread(sql) || watch->ddl != env_.statements.registry().ddl_seen()) {
            found.makes_state = found.reads_sequences = true;
            found.lasts = rules.may_last(sql, string_style());
        } else {
            found = rules.effects_of(sql);
        }
        found.reads_sequences = found.reads_sequences && !parser::calls_nothing(sql);
    }
    if (parser::may_name_sequence_values(sql)) {
        found.reads_sequences = true;
        if (watch != nullptr) {
            watch->reads_sequences = true;
        }
    }
    return found;
}

rewrite::hidden_effects relay::effects_of(const rewrite::prepared_statement& statement) const {
    const auto text = [&] {
        return std::string_view{statement.tail}.substr(0, statement.tail.find('\0'));
    };
    if (!settings_.watch || settings_.watch->ddl != env_.statements.registry().ddl_seen() ||
        !can_be_read() ||
        (string_style() == parser::backslashes::escape && may_be_misread(text()))) {
        return effects_of(text());
    }
    auto& watch = *settings_.watch;
    const auto known = watch.by_statement.find(statement.id);
    if (known != watch.by_statement.end()) {
        return known->second;
    }
    if (watch.by_statement.size() >= max_known_statements) {
        watch.by_statement.clear();
    }
    const auto found = effects_of(text());
    watch.by_statement.emplace(statement.id, found);
    return found;
}

void relay::note_hidden(const rewrite::hidden_effects& found) {
    if (renames()) {
        hidden_ = hidden_ || found.makes_state;
        server_->tainted = server_->tainted || found.lasts;
    }
}

/// A pipeline in which BEGIN stands may end the block itself.
void relay::note_block_end(std::string_view sql) noexcept {
    begun_ = begun_ && parser::kind_of(sql, string_style()) != parser::statement_kind::end_block;
}

void relay::note_traits(const parser::text_traits& traits) {
    begun_ = begun_ || traits.opens_block;
    if (traits.assigns_default) {
        reset_seen_ = true;
    }
    if (renames() && traits.needs_inspection) {
        suspect_ = true;
    }
    hidden_ = hidden_ || (renames() && traits.is_cut);
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
    const auto text = m.complete()
                          ? m.body().substr(0, m.body().size() - (m.body().empty() ? 0 : 1))
                          : std::string_view{};
    const parser::scanned_text scanned{text};
    const auto done = m.complete() ? before_query(scanned, to_server, to_client)
                                   : before_query(scanned, true, to_server, to_client);
    if (done) {
        return instead_of(m, *done);
    }
    if (m.complete()) {
        return forward_query(scanned, &m, to_server, to_client);
    }
    suspect_ = suspect_ || renames();  // what it does is not looked at
    note_hidden({.makes_state = true, .lasts = true});
    begin_query();
    pass(m, to_server);
    return taken::all;
}

/// A Query is about to be sent: its entry in the ledger.
ledger_entry& relay::begin_query() {
    auto& entry = server_->requests.push(request::query);
    hold_unnamed(server_state::unnamed_none);
    ++server_->batch;
    open_batch_ = false;  // it ends a batch that had no Sync, as a Sync would
    executed_ = 0;
    begun_ = false;
    barrier_ = barrier_ || std::exchange(barrier_at_sync_, false);
    leave_unnamed();
    unnamed_unused_ = false;
    return entry;
}

/// `m`: the message that the text came in, which is passed on as it lies; null for a unit of a
/// batch.
relay::taken relay::forward_query(
    const parser::scanned_text& scanned, const client_view* m, outbox& to_server, outbox& to_client
) {
    const auto text = scanned.sql;
    const auto forget_message = [&] {
        if (m != nullptr) {
            drop(*m);
        }
        return taken::all;
    };
    bool only_local_set = false;
    if (scanned.may_have_traits) {
        const auto traits = parser::scan_text(text);
        if (const auto why = refusal(traits)) {
            refuse(*why, request::query, to_server);
            return forget_message();
        }
        const auto& deallocated = traits.only_deallocated;
        const bool deallocates = renames() && !deallocated.empty();
        if (deallocates && must_wait_for_name(deallocated, true)) {
            stalled_ = true;
            return taken::stop;
        }
        if (deallocates && rare_ && rare_->names.find(deallocated)) {
            // A simple Query ends a batch that had no Sync; where that has failed, it is skipped.
            if (wait_until_settled(to_server)) {
                return taken::stop;
            }
            if (server_->status != 'E') {
                deallocate_locally(deallocated, to_client);
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
    const bool is_plain = m != nullptr && plain_text_;  // a unit was not looked at by itself
    if (!is_plain && may_read_relations(text)) {
        found = replace_relations(text, std::nullopt);
        if (found.refused) {
            refuse(*found.refused, request::query, to_server);
            return forget_message();
        }
    }
    auto explains = find_explains(text, note_made(text), is_plain);
    auto names = take_sql_names(m == nullptr);
    note_sql_names(names);
    auto& entry = begin_query();
    if (only_local_set || found.sent || explains || !names.empty()) {
        auto& detail = entry.in_detail();
        detail.only_local_set = only_local_set;
        detail.sent = found.sent;
        detail.explains = std::move(explains);
        detail.names = std::move(names);
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
    return ((traits.forgets_statements || traits.is_cut) && renames()) ||
           ((traits.resets_parameters || traits.assigns_default) && !startup_->empty());
}

/// An error of our own, in its place among the server's: the server gets something in the
/// statement's stead that fails, so that a transaction block is left failed and a batch is skipped,
/// and its error is replaced by ours.
void relay::refuse(const wire::report& why, request kind, outbox& to_server) {
    auto& entry = server_->requests.push(kind);
    entry.detail = std::make_unique<ledger_detail>();
    wire::write_error_response(entry.detail->error, why);
    if (kind != request::bind || unnamed_sticks_) {
        leave_unnamed();
    }
    hold_unnamed(server_state::unnamed_none);
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
    const auto is_ours = [](const std::string& name) {
        return name.starts_with(rewrite::server_statement_prefix);
    };
    const auto hidden = std::find_if(traits.deallocated.begin(), traits.deallocated.end(), is_ours);
    if (renames() && hidden != traits.deallocated.end()) {
        return wire::report{
            .severity = "ERROR",
            .sqlstate = std::string{wire::sqlstate::undefined_prepared_statement},
            .message = "prepared statement \"" + *hidden + "\" does not exist",
            .detail = {},
            .hint = {}};
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
