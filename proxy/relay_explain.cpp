// EXPLAIN in text format: what there is to say about the query stands behind the plan's last line.
//
// The entry of a simple Query in the ledger has what was examined of its text. A Parse, a Bind and
// an Execute each know names only, and what they stand for is followed as the server confirms it:
// when an Execute is answered, its portal's statement is known for certain. A plan that comes in
// pieces, by a limit of rows, stays as it is.
#include "parser/explain.hpp"
#include "proxy/relay.hpp"
#include "wire/limits.hpp"
#include "wire/messages.hpp"

#include <algorithm>

namespace signalbox::proxy {

namespace sm = wire::server_message;

namespace {

/// Of a session. Plans of more prepared EXPLAINs than that stay as they are.
constexpr std::size_t max_prepared_explains = 256;

/// In any encoding that PostgreSQL has: what is not ASCII is left out.
std::string as_ascii(const std::string& text) {
    std::string out;
    bool is_within = false;
    for (const char c : text) {
        const bool is_other = static_cast<unsigned char>(c) >= 0x80;
        if (!is_other) {
            out += c;
        } else if (!is_within) {
            out += '?';
        }
        is_within = is_other;
    }
    return out;
}

template <typename Map>
void erase_unknown(Map& names) {
    std::erase_if(names, [](const auto& each) { return each.second == nullptr; });
}

}  // namespace

/// Null: its plan stays as it is.
explained_ptr relay::examine_explained(std::string_view statement) const {
    const auto query = env_.notices != nullptr && can_be_read()
                           ? parser::explained_query(statement, string_style())
                           : std::nullopt;
    if (!query) {
        return nullptr;
    }
    return std::make_shared<const catalog::explained_statement>(
        catalog::examine_explained(*query, string_style())
    );
}

/// Of a simple Query, or a unit. `is_first`: it begins with EXPLAIN; `is_alone`: it is known to
/// have no other statement. Null: no plan is added to.
std::unique_ptr<explain_step> relay::find_explains(
    std::string_view sql, bool is_first, bool is_alone
) {
    const bool is_one = is_alone || !settings_.rules;
    if (!settings_.examines || env_.notices == nullptr || (is_one && !is_first)) {
        return nullptr;
    }
    explain_step found;
    if (is_one) {
        found.texts.push_back(examine_explained(sql));
    } else if (parser::may_explain(sql) && can_be_read() && parser::statement_rules::is_light(sql)) {
        const auto batch = decide(sql);  // would be gone in the loop
        for (const auto& each : batch->statements) {
            const auto text = sql.substr(each.offset, each.size);
            if (parser::begins_with_explain(text)) {
                found.texts.push_back(examine_explained(text));
            }
        }
    }
    const bool is_any = std::any_of(found.texts.begin(), found.texts.end(), [](const auto& each) {
        return each != nullptr;
    });
    return is_any ? std::make_unique<explain_step>(std::move(found)) : nullptr;
}

/// A Parse: of an EXPLAIN, or under a name that one has.
relay::taken relay::on_parse_explained(const client_view& m, outbox& to_server, outbox& to_client) {
    const auto* const p = settings_.examines && m.complete() ? &m.as_parse() : nullptr;
    const bool is_explain = p != nullptr && *p && note_made((*p)->text);
    if (!is_explain && !explains_) {
        return on_parse_text(m, to_server, to_client);
    }
    const auto end = m.body().find('\0');
    if (end == std::string_view::npos) {  // one that passes in pieces
        return m.whole.size() < wire::max_inspected_bytes ? taken::more_bytes
                                                          : on_parse_text(m, to_server, to_client);
    }
    const std::string name{m.body().substr(0, end)};
    auto text = is_explain ? examine_explained((*p)->text) : nullptr;
    const bool is_known = explains_ && explains_->statements.contains(name);
    const bool is_full = explains_ && explains_->statements.size() >= max_prepared_explains;
    if (!is_known && (!text || is_full)) {
        return on_parse_text(m, to_server, to_client);
    }
    const auto before = server_->requests.size();
    const auto done = on_parse_text(m, to_server, to_client);
    if (done != taken::all) {
        return done;
    }
    if (!explains_) {
        explains_ = std::make_unique<explain_state>();
    }
    explains_->statements.try_emplace(name);
    ledger_detail answered;  // what is answered here has no entry
    auto& detail = server_->requests.size() > before
                       ? server_->requests[server_->requests.size() - 1].in_detail()
                       : answered;
    detail.explains = std::make_unique<explain_step>();
    detail.explains->texts.push_back(std::move(text));
    detail.explains->statement = name;
    if (&detail == &answered) {
        explain_settled(request::parse, answered);
    }
    return done;
}

/// A Bind: of an EXPLAIN, or to a portal that one has.
relay::taken relay::on_bind_explained(const client_view& m, outbox& to_server) {
    if (!explains_) {
        return on_bind_rows(m, to_server);
    }
    const auto names = wire::parse_bind_names(m.body());
    if (!names && !m.complete() && m.whole.size() < wire::max_inspected_bytes) {
        return taken::more_bytes;
    }
    if (!names || (!explains_->statements.contains(names->statement) &&
                   !explains_->portals.contains(names->portal))) {
        return on_bind_rows(m, to_server);
    }
    auto step = std::make_unique<explain_step>();
    step->statement = names->statement;
    step->portal = names->portal;
    const auto before = server_->requests.size();
    const auto done = on_bind_rows(m, to_server);
    if (done == taken::all && server_->requests.size() > before) {
        explains_->portals.try_emplace(step->portal);
        server_->requests[server_->requests.size() - 1].in_detail().explains = std::move(step);
    }
    return done;
}

/// An Execute: perhaps of an EXPLAIN's portal.
void relay::note_execute(const client_view& m, ledger_entry& entry) {
    if (rare_ && !rare_->deallocating_portals.empty()) {
        note_deallocation(m, entry);
    }
    const auto end = explains_ && m.complete() ? m.body().find('\0') : std::string_view::npos;
    if (end == std::string_view::npos || m.body().size() < end + 5 ||
        !explains_->portals.contains(m.body().substr(0, end))) {
        return;
    }
    auto& step = *(entry.in_detail().explains = std::make_unique<explain_step>());
    step.portal = m.body().substr(0, end);
    step.has_limit = wire::load_u32(m.body().data() + end + 1) != 0;
}

/// A Close of a prepared EXPLAIN.
relay::taken relay::on_close_explained(const client_view& m, outbox& to_server, outbox& to_client) {
    const auto target = explains_ && m.complete()
                            ? wire::parse_named_target(m.body())
                            : wire::result<wire::named_target>{wire::wire_errc::truncated};
    if (!target || target->kind != 'S' || !explains_->statements.contains(target->name)) {
        return on_close_name(m, to_server, to_client);
    }
    const std::string name{target->name};
    const auto before = server_->requests.size();
    const auto done = on_close_name(m, to_server, to_client);
    if (done != taken::all) {
        return done;
    }
    if (server_->requests.size() == before) {  // it was answered here
        explains_->statements.insert_or_assign(name, nullptr);
        return done;
    }
    auto& detail = server_->requests[server_->requests.size() - 1].in_detail();
    detail.explains = std::make_unique<explain_step>();
    detail.explains->statement = name;
    return done;
}

/// A Parse, Bind or Close has succeeded, or an Execute has brought a part of the rows.
void relay::explain_settled(request kind, ledger_detail& of) {
    auto& step = *of.explains;
    if (!explains_) {
        return;
    }
    auto& known = *explains_;
    switch (kind) {
        case request::parse:
            known.statements.insert_or_assign(step.statement, std::move(step.texts.front()));
            break;
        case request::close:
            known.statements.insert_or_assign(step.statement, nullptr);
            break;
        case request::bind: {
            const auto statement = known.statements.find(step.statement);
            known.portals.insert_or_assign(
                step.portal, statement != known.statements.end() ? statement->second : nullptr
            );
            break;
        }
        default:
            known.portals.insert_or_assign(step.portal, nullptr);
            break;
    }
}

/// The command is complete: what there is to say goes before it.
void relay::add_notices(std::string_view tag, explain_step& step, outbox& to_client) {
    const auto lines = std::exchange(step.lines, {});
    if (tag != "EXPLAIN") {
        return;
    }
    explained_ptr text;
    if (step.completed < step.texts.size()) {
        text = step.texts[step.completed++];
    } else if (step.texts.empty() && explains_) {  // an Execute, whose rows have all been told
        if (const auto at = explains_->portals.find(step.portal); at != explains_->portals.end()) {
            text = std::exchange(at->second, nullptr);
        }
    }
    if (!text || step.has_limit || !wants_notices()) {
        return;
    }
    const bool is_utf8 = client_encoding() == "UTF8";
    const auto found = env_.notices->section(
        *text, lines, settings_.connection, settings_.database, request_for({}).who
    );
    for (const auto& line : found) {
        const auto told = is_utf8 ? line : as_ascii(line);
        wire::message_writer{to_client.copied(), sm::data_row}
            .u16(1)
            .u32(static_cast<std::uint32_t>(told.size()))
            .bytes(told);
    }
}

/// Nothing is under way: what is not known by now is no EXPLAIN. Portals end with the transaction.
void relay::tidy_explains(char status) {
    erase_unknown(explains_->statements);
    if (status == 'I') {
        explains_->portals.clear();
    } else {
        erase_unknown(explains_->portals);
    }
    if (explains_->statements.empty() && explains_->portals.empty()) {
        explains_.reset();
    }
}

}  // namespace signalbox::proxy
