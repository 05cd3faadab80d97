// What the relay makes of statements: batches that are run in units, and pipelines that are cut
// around calls of RPC functions.
//
// A decision about a message may need the transaction status, or the end of what was sent before:
// then the message waits until the ledger is empty, and is looked at again.
#include "parser/traits.hpp"
#include "proxy/relay.hpp"
#include "wire/limits.hpp"

#include <algorithm>
#include <array>

namespace signalbox::proxy {

namespace cm = wire::client_message;

namespace {

/// Encodings of a client in which the second byte of a character can be a backslash or a letter: a
/// text in them cannot be cut into tokens byte by byte. PostgreSQL has them for clients only.
bool is_unsafe_encoding(std::string_view name) noexcept {
    constexpr auto unsafe = std::to_array<std::string_view>(
        {"SJIS", "BIG5", "GBK", "UHC", "GB18030", "JOHAB", "SHIFT_JIS_2004"}
    );
    return std::find(unsafe.begin(), unsafe.end(), name) != unsafe.end();
}

std::string_view reported_value(
    const rewrite::parameter_set_ptr& reported, std::string_view name
) noexcept {
    const auto* const value = reported ? reported->find(name) : nullptr;
    return value != nullptr ? std::string_view{*value} : std::string_view{};
}

/// A statement of it gives an RPC call a name.
bool makes_rpc(const parser::verdict& found) noexcept {
    return std::any_of(found.names.begin(), found.names.end(), [](const auto& each) {
        return each.calls_rpc;
    });
}

/// As PostgreSQL counts an error's position.
std::size_t characters(std::string_view text, std::string_view encoding) noexcept {
    if (encoding != "UTF8") {
        return text.size();
    }
    return static_cast<std::size_t>(std::count_if(text.begin(), text.end(), [](char c) {
        return (static_cast<unsigned char>(c) & 0xc0U) != 0x80U;
    }));
}

}  // namespace

void relay::set_reported(rewrite::parameter_set_ptr reported) {
    reported_ = std::move(reported);
    can_be_read_ = !is_unsafe_encoding(reported_value(reported_, "client_encoding"));
    strings_ = reported_value(reported_, "standard_conforming_strings") == "off"
                   ? parser::backslashes::escape
                   : parser::backslashes::plain;
}

bool relay::splits() const noexcept {
    return settings_.multi_statement == rewrite::multi_statement_policy::split ||
           settings_.multi_statement == rewrite::multi_statement_policy::split_on_rpc;
}

/// Null: it is to be decided elsewhere, which demand_ says.
parser::verdict_ptr relay::decide(std::string_view sql) {
    const auto strings = string_style();
    const bool is_cached = strings == parser::backslashes::plain;
    if (statements_ && statements_->decided) {
        auto found = std::exchange(statements_->decided, nullptr);
        if (statements_->decided_text == std::hash<std::string_view>{}(sql)) {
            if (is_cached) {
                settings_.verdicts->add(sql, found);
            }
            return found;
        }
    }
    if (is_cached) {
        if (auto known = settings_.verdicts->find(sql)) {
            return known;
        }
    }
    if (!parser::statement_rules::is_light(sql)) {
        keep_verdict(sql, nullptr);  // the text that decided() will be about
        undecided_ = {.sql = sql, .strings = strings};
        demand_ = demand::verdict;
        return nullptr;
    }
    auto made = std::make_shared<const parser::verdict>(settings_.rules->decide(sql, strings));
    if (is_cached) {
        settings_.verdicts->add(sql, made);
    }
    return made;
}

/// The message has to wait: it will not be decided again.
void relay::keep_verdict(std::string_view sql, parser::verdict_ptr found) {
    statements().decided = std::move(found);
    statements().decided_text = std::hash<std::string_view>{}(sql);
}

/// Everything that was sent before has been answered, and no batch is open. False: it will be.
bool relay::is_settled(outbox& to_server) {
    if (server_ == nullptr) {
        return true;
    }
    if (open_batch_) {
        cut(to_server);
    }
    return server_->requests.empty();
}

/// True: the message has to wait.
bool relay::wait_until_settled(outbox& to_server) {
    stalled_ = !is_settled(to_server);
    return stalled_;
}

/// Ends the implicit transaction of the client's batch so far; the batch goes on behind it.
void relay::cut(outbox& to_server) {
    wire::write_sync(to_server.copied());
    server_->requests.push(request::cut, reply::swallow);
    ++server_->batch;
    ++batch_serial_;
    open_batch_ = false;
    cut_due_ = false;
    cutting_ = true;
    begun_ = false;
    if (statements_) {
        statements_->rpc_portals.clear();
    }
    executed_ = 0;
}

relay::decision relay::look_at(const client_view& m, outbox& to_server, outbox& to_client) {
    plain_text_ = false;
    if (server_ != nullptr && server_->copy_in) {
        return std::nullopt;  // it ends the COPY, whatever it says
    }
    const bool has_names = m.type == cm::bind || m.type == cm::describe || m.type == cm::close ||
                           m.type == cm::execute;
    const bool has_all_names = !has_names || m.complete() ||
                               m.whole.size() >= wire::max_inspected_bytes ||
                               (m.type == cm::bind && wire::parse_bind_names(m.body()));
    if (!has_all_names && (cut_due_ || (settings_.rules && statements_))) {
        return taken::more_bytes;
    }
    if (cut_due_ && !continues_rpc(m)) {
        switch (m.type) {
            case cm::sync:
            case cm::flush:
            case cm::copy_data:
            case cm::copy_done:
            case cm::copy_fail:
                break;
            default:
                if (server_ != nullptr && wait_until_settled(to_server)) {
                    return taken::stop;
                }
                cut_due_ = false;
        }
    }
    if (!settings_.rules) {
        return std::nullopt;
    }
    switch (m.type) {
        case cm::query:
            return look_at_query(m, to_server, to_client);
        case cm::parse:
            return look_at_parse(m, to_server, to_client);
        default:
            break;
    }
    if (!statements_) {
        return std::nullopt;
    }
    if (const auto done = look_at_own(m, to_server, to_client)) {
        return done;
    }
    if (m.type == cm::bind) {
        return look_at_bind(m, to_server, to_client);
    }
    if (m.type == cm::execute) {
        look_at_execute(m);
    }
    if (m.type == cm::close) {
        const auto target = wire::parse_named_target(m.body());
        if (target && target->kind == 'S') {
            forget_rpc(target->name);
        }
    }
    return std::nullopt;
}

/// The name is free for another statement, unless the server skips what frees it.
void relay::forget_rpc(std::string_view name) {
    if (!statements_ || renames()) {
        return;  // where names are followed, what a name stands for decides: may_call_rpc()
    }
    auto& known = statements_->rpc_statements;
    if (const auto it = known.find(name); it != known.end()) {
        statements_->rpc_closed.push_back(*it);
        known.erase(it);
    }
}

bool relay::is_rpc_portal(std::string_view name) const {
    const auto& bound = statements_->rpc_portals;
    return std::find(bound.begin(), bound.end(), name) != bound.end();
}

/// More of what the call returns: its portal must not be ended.
bool relay::continues_rpc(const client_view& m) const {
    if (m.type == cm::execute) {
        return is_rpc_portal(m.body().substr(0, m.body().find('\0')));
    }
    if (m.type == cm::describe || m.type == cm::close) {
        const auto target = wire::parse_named_target(m.body());
        return target && target->kind == 'P' && is_rpc_portal(target->name);
    }
    return false;
}

relay::decision relay::look_at_query(const client_view& m, outbox& to_server, outbox& to_client) {
    if (!m.complete()) {
        return m.total <= wire::max_inspected_bytes ? decision{taken::more_bytes} : std::nullopt;
    }
    if (statements_) {  // a simple Query drops the unnamed statement
        statements_->own_statements.erase("");
        if (!renames()) {
            statements_->rpc_statements.erase("");
        }
    }
    auto sql = m.body();
    if (sql.ends_with('\0')) {
        sql.remove_suffix(1);
    }
    plain_text_ = !settings_.rules->needs_decision(sql);
    if (statements_) {
        statements_->sql_names.clear();
    }
    const bool may_execute = may_execute_rpc(sql);
    if ((plain_text_ && !may_execute) || !can_be_read()) {
        return std::nullopt;
    }
    const auto of_text = decide(sql);
    if (!of_text) {
        return taken::stop;
    }
    const auto found = with_executed(of_text);
    if (makes_rpc(*found) || may_execute) {
        statements().sql_names = found->names;
    }
    using policy = rewrite::multi_statement_policy;
    const bool several = found->statements.size() > 1;
    const bool refused = several && settings_.multi_statement == policy::single;
    const bool split = several && settings_.multi_statement == policy::split;
    if (!refused && !split && !found->is_ours && !found->calls_rpc) {
        return std::nullopt;
    }
    if (wait_until_settled(to_server)) {
        keep_verdict(sql, of_text);
        return taken::stop;
    }
    if (skip_locally_) {  // the batch that this Query has ended has failed: it is skipped, too
        drop(m);
        return taken::all;
    }
    drop_unnamed();  // also where the server hears nothing of the Query
    if (refused) {
        reject(
            {.severity = "ERROR",
             .sqlstate = std::string{wire::sqlstate::feature_not_supported},
             .message = "multi-statement requests are not allowed on this route",
             .detail = "The request has " + std::to_string(found->statements.size()) +
                       " statements. None of them was executed.",
             .hint = "Send one statement at a time."},
            request::query,
            to_server,
            to_client
        );
        drop(m);
        return taken::all;
    }
    if (const auto why = found->is_ours ? find_syntax_error(sql, *found) : std::nullopt) {
        reject(*why, request::query, to_server, to_client);
        drop(m);
        return taken::all;
    }
    auto plan =
        rewrite::plan_units(*found, settings_.multi_statement, status() != 'I', settings_.rpc);
    if (plan.rpc_in_block && status() != 'E' && settings_.rpc == rpc_in_transaction::warn) {
        on_hazard(to_client);
    }
    if (const auto why = plan.units.empty() ? std::nullopt : refusal(parser::scan_text(sql))) {
        reject(*why, request::query, to_server, to_client);
        drop(m);
        return taken::all;
    }
    if (plan.units.empty()) {
        return std::nullopt;
    }
    statements().run =
        std::make_unique<unit_run>(sql, found, std::move(plan.units), commits_.committed());
    commits_.note_split();
    drop(m);
    return taken::all;
}

relay::decision relay::look_at_parse(const client_view& m, outbox& to_server, outbox& to_client) {
    if (!m.complete()) {
        return m.total <= wire::max_inspected_bytes ? decision{taken::more_bytes} : std::nullopt;
    }
    const auto& p = m.as_parse();
    if (!p) {
        return std::nullopt;  // the server refuses it
    }
    bool is_ours = false;
    bool calls_rpc = false;
    plain_text_ = !settings_.rules->needs_decision(p->text);
    if ((!plain_text_ || may_execute_rpc(p->text)) && can_be_read()) {
        const auto of_text = decide(p->text);
        if (!of_text) {
            return taken::stop;
        }
        const auto found = with_executed(of_text);
        is_ours = found->is_ours && found->statements.size() == 1;
        calls_rpc = found->calls_rpc;
        note_sql_names(found->names);
    }
    if (is_ours) {
        return parse_own(m, *p, to_server, to_client);
    }
    if (calls_rpc) {
        statements().rpc_statements.emplace(p->name);
    }
    if (!statements_) {
        return std::nullopt;
    }
    if (const auto own = statements_->own_statements.find(p->name);
        own != statements_->own_statements.end()) {
        if (!p->name.empty()) {
            return parse_own(m, *p, to_server, to_client);  // the name is taken
        }
        statements_->own_statements.erase(own);
    }
    // A named statement that is there already stays what it is: the server refuses another.
    if (!calls_rpc && p->name.empty() && !renames()) {
        statements_->rpc_statements.erase("");
    }
    return std::nullopt;
}

relay::decision relay::look_at_bind(const client_view& m, outbox& to_server, outbox& to_client) {
    const auto names = wire::parse_bind_names(m.body());
    if (!names) {
        return std::nullopt;
    }
    std::erase(statements_->rpc_portals, names->portal);  // the portal is a new one
    if (!may_call_rpc(names->statement)) {
        return std::nullopt;
    }
    // Whether it stands in a transaction block is known when everything before it is answered.
    if (server_ != nullptr) {
        if (splits() && executed_ > 0) {
            cut(to_server);
        }
        if (server_->requests.batches() > 0 || is_mid_message()) {
            stalled_ = true;
            return taken::stop;
        }
    }
    if (status() == 'T' || (status() == 'I' && begun_)) {
        if (const auto why = on_hazard(to_client)) {
            refuse(*why, request::bind, to_server);
            drop(m);
            return taken::all;
        }
    } else if (status() == 'I' && splits()) {
        statements_->rpc_portals.emplace_back(names->portal);
    }
    return std::nullopt;
}

/// Names of RPC calls are kept beyond their Close, since that may fail. Where names are followed,
/// what this one stands for decides.
bool relay::may_call_rpc(std::string_view name) const {
    if (statements_->sql_rpc_statements.contains(name)) {
        return true;
    }
    if (!statements_->rpc_statements.contains(name)) {
        return false;
    }
    if (!renames() || (name.empty() && unnamed_sticks_)) {
        return true;
    }
    const auto held = rare_ && !name.empty() ? rare_->names.find(name) : nullptr;
    std::string_view sql;
    if (held) {
        sql = held->tail;
    } else if (name.empty() && rare_ && unnamed_token_ != 0) {
        sql = rare_->unnamed_tail;
    } else {
        return false;
    }
    sql = sql.substr(0, sql.find('\0'));
    if (executes_rpc(sql)) {
        return true;
    }
    if (!settings_.rules->needs_decision(sql)) {
        return false;
    }
    const auto known = settings_.verdicts->find(sql);
    return !known || known->calls_rpc;
}

void relay::look_at_execute(const client_view& m) {
    const auto portal = m.body().substr(0, m.body().find('\0'));
    // Where something else was executed since its Bind, a cut before it would end its portal.
    cut_due_ = cut_due_ || (executed_ == 0 && is_rpc_portal(portal));
}

/// An RPC function is called in an explicit transaction block: warned of, or the reason to refuse
/// it.
std::optional<wire::report> relay::on_hazard(outbox& to_client) const {
    if (settings_.rpc == rpc_in_transaction::allow) {
        return std::nullopt;
    }
    wire::report why{
        .severity = "WARNING",
        .sqlstate = std::string{wire::sqlstate::warning},
        .message = "an RPC function is called inside a transaction block",
        .detail =
            "Its work is done on other connections: they do not see what this transaction "
            "has written, and wait for ever when they need a lock that it holds.",
        .hint = "Call it outside of BEGIN … COMMIT."};
    if (settings_.rpc == rpc_in_transaction::refuse) {
        why.severity = "ERROR";
        why.sqlstate = wire::sqlstate::active_sql_transaction;
        why.message = "RPC functions must not be called inside a transaction block";
        return why;
    }
    wire::write_notice_response(to_client.copied(), why);
    return std::nullopt;
}

/// An error of our own, when everything before it is answered. Where there is no block that it
/// could leave failed, the server hears nothing of it.
void relay::reject(const wire::report& why, request kind, outbox& to_server, outbox& to_client) {
    if (status() == 'T') {
        refuse(why, kind, to_server);
        return;
    }
    wire::write_error_response(to_client.copied(), why);
    after_error(to_client);
    if (kind == request::query) {
        tell_ready(status(), to_client);
    } else {
        skip_locally_ = true;
    }
}

// ---- units

/// While a batch is run in units, only what belongs to its COPY goes through.
relay::taken relay::during_run(const client_view& m, outbox& to_server) {
    const bool of_copy =
        m.type == cm::copy_data || m.type == cm::copy_done || m.type == cm::copy_fail;
    if (m.type == cm::flush) {
        drop(m);
        return taken::all;
    }
    if (server_ == nullptr || !server_->copy_in) {
        stalled_ = true;  // data for a COPY that has not begun, too
        return taken::stop;
    }
    if (of_copy) {
        server_->copy_in = m.type == cm::copy_data;
        pass(m, to_server);
        return taken::all;
    }
    end_copy(to_server);
    return taken::stop;
}

/// The client's unnamed statement is gone.
void relay::drop_unnamed() noexcept {
    forget_unnamed();
    unnamed_token_ = 0;
    unnamed_sticks_ = false;
}

/// As PostgreSQL ends a COPY that a message interrupts; the message waits for its turn.
void relay::end_copy(outbox& to_server) {
    wire::message_writer{to_server.copied(), cm::copy_fail}.cstring(
        "unexpected message during COPY from stdin"
    );
    server_->copy_in = false;
    stalled_ = true;
}

void relay::send_unit(outbox& to_server, outbox& to_client) {
    auto& run = *statements_->run;
    if (run.is_cancelled()) {
        run.start_next();
        if (trouble_) {
            trouble_->undiscarded.reset();  // it was the same cancel
        }
        reject(
            {.severity = "ERROR",
             .sqlstate = std::string{wire::sqlstate::query_canceled},
             .message = "canceling statement due to user request",
             .detail = {},
             .hint = {}},
            request::query,
            to_server,
            to_client
        );
        return;
    }
    if (const auto& due = run.next(); !due.for_signalbox && !due.is_refused) {
        if (before_query(parser::scanned_text{run.text_of(due)}, to_server, to_client)) {
            return;
        }
    }
    const auto& present = run.start_next();
    if (present.is_refused) {
        // In a failed block the server says so; a block has been opened by what stands before it.
        if (status() == 'E') {
            forward_query(
                parser::scanned_text{run.text_of(present)}, nullptr, to_server, to_client
            );
        } else {
            reject(*on_hazard(to_client), request::query, to_server, to_client);
        }
    } else if (present.for_signalbox) {
        run_own_unit(run.text_of(present), to_server, to_client);
    } else {
        forward_query(parser::scanned_text{run.text_of(present)}, nullptr, to_server, to_client);
    }
}

/// ReadyForQuery: the client gets it where no unit is left.
void relay::tell_ready(char status, outbox& to_client) {
    if (is_running()) {
        end_unit(status, to_client);
    } else {
        write_ready(status, to_client);
    }
}

void relay::end_unit(char status, outbox& to_client) {
    commits_.note_status(status);
    if (has_held_completion() && !statements_->run->is_last()) {
        release_completion(to_client);
    }
    if (statements_->run->end_unit()) {
        statements_->run.reset();
        write_ready(status, to_client);
    }
}

/// The client has been told of an error: what of its batch stays is said directly behind it.
void relay::after_error(outbox& to_client) {
    commits_.note_error();
    if (const auto committed = commits_.take_news(); committed > 0) {
        wire::write_notice_response(
            to_client.copied(),
            committed_warning(committed, is_running() ? statements_->run->statements() : 0)
        );
    }
    if (is_running()) {
        statements_->run->fail();
    }
}

std::size_t relay::characters_before(std::string_view sql, std::size_t bytes) const noexcept {
    return characters(sql.substr(0, bytes), reported_value(reported_, "client_encoding"));
}

/// How much further an error's position is in the client's own text.
std::size_t relay::position_shift() const noexcept {
    if (!is_running()) {
        return 0;
    }
    const auto before = statements_->run->text_before_present();
    return characters_before(before, before.size());
}

}  // namespace signalbox::proxy
