// Statements that read the relations of Signalbox's: sent with row sources in their place, over
// both protocols.
//
// A simple Query carries the rows in its text. A Parse gets one parameter more, which every Bind of
// the statement fills with the rows of that moment, and which no Describe shows.
#include "parser/limits.hpp"
#include "proxy/relay.hpp"
#include "wire/limits.hpp"
#include "wire/messages.hpp"

#include <algorithm>

namespace signalbox::proxy {

namespace cm = wire::client_message;
namespace sm = wire::server_message;

namespace {

/// Parse and Bind count parameters in 16 bits; the last one may have to be ours.
constexpr std::size_t max_parameters = 65535;

}  // namespace

bool relay::may_read_relations(std::string_view sql) const noexcept {
    return env_.relations != nullptr && settings_.rules &&
           settings_.rules->may_use_relations(sql) && can_be_read();
}

std::vector<rewrite::relation_text> relay::rows_of(const rewrite::relation_rewrite& plan) const {
    std::vector<rewrite::relation_text> rows;
    for (const auto* const each : plan.used) {
        rows.push_back(env_.relations->rows(*each));
    }
    return rows;
}

/// `declared`: the parameters that a Parse declares; nothing: the rows travel in the text.
relay::replaced relay::replace_relations(
    std::string_view sql, std::optional<std::size_t> declared
) {
    replaced out;
    if (!parser::statement_rules::is_light(sql)) {
        out.refused = wire::report{
            .severity = "ERROR",
            .sqlstate = std::string{wire::sqlstate::program_limit_exceeded},
            .message = "the statement is too long or too deep to read relations of Signalbox",
            .detail = {},
            .hint = "What is sent in one message counts together, with its comments: at most " +
                    std::to_string(parser::max_light_bytes) + " bytes and " +
                    std::to_string(parser::max_light_tokens) + " tokens."};
        return out;
    }
    const bool is_utf8 = client_encoding() == "UTF8";
    auto made = std::make_shared<sent_text>(
        is_utf8 ? rewrite::character_size::utf8 : rewrite::character_size::one_byte
    );
    const auto found = decide(sql);  // what is not cached would be gone in the loop
    for (const auto& each : found->statements) {
        const auto text = sql.substr(each.offset, each.size);
        auto plan = may_read_relations(text)
                        ? rewrite::find_relations(text, string_style(), env_.relations->schemas())
                        : rewrite::relation_rewrite{};
        if (plan.refused) {
            out.refused = plan.refused->what;
            if (const auto at = plan.refused->position; at > 0) {
                out.refused->position =
                    characters_before(sql, each.offset + at - 1) + 1 + position_shift();
            }
            return out;
        }
        for (const auto* const used : plan.used) {
            if ((out.refused = env_.relations->refusal(*used, request_for({}).who))) {
                return out;
            }
        }
        if (!plan.is_needed()) {
            made->add(text);
        } else if (declared && !plan.needs_literals) {
            made->parameter = std::max(plan.highest_parameter, *declared) + 1;
            if (made->parameter > max_parameters) {
                out.refused = wire::report{
                    .severity = "ERROR",
                    .sqlstate = std::string{wire::sqlstate::program_limit_exceeded},
                    .message = "a statement that reads relations of Signalbox can have " +
                               std::to_string(max_parameters - 1) + " parameters",
                    .detail = {},
                    .hint = {}};
                return out;
            }
            made->add(text, rewrite::render_with_parameter(text, plan, made->parameter));
            made->plan = std::move(plan);
        } else {
            made->add(text, rewrite::render_with_literals(text, plan, rows_of(plan)));
        }
    }
    if (made->is_changed()) {
        out.sent = std::move(made);
    }
    return out;
}

/// A Parse: of a text that reads relations, or of another under a name that such a one has.
relay::taken relay::on_parse_text(const client_view& m, outbox& to_server, outbox& to_client) {
    const bool has_relations = statements_ && statements_->has_relations;
    if (env_.relations == nullptr || (!m.complete() && !has_relations)) {
        return on_parse(m, to_server, to_client);
    }
    if (!m.complete()) {  // one that passes in pieces: the name stands at its beginning
        const auto end = m.body().find('\0');
        if (end == std::string_view::npos && m.whole.size() < wire::max_inspected_bytes) {
            return taken::more_bytes;
        }
        const std::string name{m.body().substr(0, end)};
        const auto before = server_->requests.size();
        const auto done = on_parse(m, to_server, to_client);
        if (done == taken::all) {
            note_relations(name, nullptr, before);
        }
        return done;
    }
    const auto& p = m.as_parse();
    const bool may_read = p && !plain_text_ && may_read_relations(p->text);
    if (!p || (!may_read && !has_relations)) {
        return on_parse(m, to_server, to_client);
    }
    const std::string name{p->name};
    replaced found;
    std::string changed;
    if (may_read) {
        const auto types = p->tail.substr(p->text.size() + 1);
        const std::size_t declared = wire::load_u16(types.data());
        found = replace_relations(p->text, declared);
        if (found.refused) {
            refuse(*found.refused, request::parse, to_server);
            drop(m);
            return taken::all;
        }
        if (found.sent) {
            std::string tail = found.sent->sql();
            tail += '\0';
            const auto count = std::max(declared, found.sent->parameter);
            tail.resize(tail.size() + 2);
            wire::store_u16(tail.data() + tail.size() - 2, static_cast<std::uint16_t>(count));
            tail += types.substr(2);
            tail.resize(tail.size() + 4 * (count - declared));
            if (found.sent->parameter > 0) {
                wire::store_u32(tail.data() + tail.size() - 4, rewrite::parameter_type);
            }
            wire::write_parse(changed, name, tail);
        }
    }
    const auto before = server_->requests.size();
    const auto done = on_parse(
        changed.empty() ? m : client_view{cm::parse, changed, changed.size()}, to_server, to_client
    );
    if (!changed.empty()) {
        to_server.copied();  // what was made here is not the client's to lie where it is
    }
    if (done == taken::all) {
        note_relations(name, found.sent, before);
    }
    return done;
}

/// A Close of a statement that reads relations: its name is free for another.
relay::taken relay::on_close_name(const client_view& m, outbox& to_server, outbox& to_client) {
    const auto target = m.complete() && statements_ && statements_->has_relations
                            ? wire::parse_named_target(m.body())
                            : wire::result<wire::named_target>{wire::wire_errc::truncated};
    if (!target || target->kind != 'S') {
        return on_close(m, to_server, to_client);
    }
    const std::string name{target->name};
    const auto before = server_->requests.size();
    const auto done = on_close(m, to_server, to_client);
    if (done == taken::all) {
        note_relations(name, nullptr, before);
    }
    return done;
}

/// What a name stands for from here on; confirmed when the last entry of the ledger is, of which
/// there were `before`.
void relay::note_relations(const std::string& name, sent_text_ptr sent, std::size_t before) {
    auto& known = statements();
    if (!sent && !known.relations.contains(name) && !known.confirmed_relations.contains(name)) {
        return;
    }
    known.has_relations = true;
    known.relations.insert_or_assign(name, sent);
    if (server_->requests.size() == before) {  // it was answered here
        relations_settled({.name = name, .sent = std::move(sent)}, true);
        return;
    }
    auto& entry = server_->requests[server_->requests.size() - 1];
    auto& detail = entry.in_detail();
    if (entry.kind == request::parse) {
        detail.sent = sent;
    }
    detail.renamed = named_relations{.name = name, .sent = std::move(sent)};
}

/// Null: the statement of this name reads none.
sent_text_ptr relay::relations_of(std::string_view name) const {
    if (!statements_ || !statements_->has_relations) {
        return nullptr;
    }
    const auto it = statements_->relations.find(name);
    return it != statements_->relations.end() ? it->second : nullptr;
}

/// What the name means hangs on a batch that is not answered yet.
bool relay::must_wait_for_relations(std::string_view name) const {
    if (!statements_ || !statements_->has_relations || server_->requests.batches() == 0) {
        return false;
    }
    const auto& confirmed = statements_->confirmed_relations;
    const auto it = confirmed.find(name);
    return relations_of(name) != (it != confirmed.end() ? it->second : nullptr);
}

/// A Parse or a Close has succeeded, or not: what its name stands for.
void relay::relations_settled(const named_relations& of, bool succeeded) {
    auto& known = statements();
    if (succeeded && of.sent) {
        known.confirmed_relations.insert_or_assign(of.name, of.sent);
        return;
    }
    const auto present = known.relations.find(of.name);
    if (succeeded) {
        known.confirmed_relations.erase(of.name);
        if (present != known.relations.end() && !present->second) {
            known.relations.erase(present);
        }
    } else if (const auto old = known.confirmed_relations.find(of.name);
               old != known.confirmed_relations.end()) {
        known.relations.insert_or_assign(old->first, old->second);
    } else if (present != known.relations.end()) {
        known.relations.erase(present);
    }
}

/// A Bind, with the rows as its last parameter where the statement reads relations.
relay::taken relay::on_bind_rows(const client_view& m, outbox& to_server) {
    if (!statements_ || !statements_->has_relations) {
        return on_bind(m, to_server);
    }
    const auto names = wire::parse_bind_names(m.body());
    if (names && must_wait_for_relations(names->statement)) {
        stalled_ = true;
        return taken::stop;
    }
    const auto sent = names ? relations_of(names->statement) : nullptr;
    if (!sent || sent->parameter == 0) {
        return on_bind(m, to_server);
    }
    if (!m.complete()) {
        if (m.total <= wire::max_inspected_bytes) {
            return taken::more_bytes;
        }
        refuse(
            {.severity = "ERROR",
             .sqlstate = std::string{wire::sqlstate::program_limit_exceeded},
             .message = "the parameters are too long for a statement that reads relations of "
                        "Signalbox",
             .detail = {},
             .hint = {}},
            request::bind,
            to_server
        );
        drop(m);
        return taken::all;
    }
    std::string changed;
    const auto rows = rows_of(sent->plan);
    const auto value = rewrite::parameter_value(sent->plan, rows);
    const auto count = wire::write_bind_with_parameter(changed, m.body(), sent->parameter, value);
    if (!count) {
        return on_bind(m, to_server);  // the server refuses it
    }
    if (*count + 1 != sent->parameter) {
        refuse(
            {.severity = "ERROR",
             .sqlstate = std::string{wire::sqlstate::protocol_violation},
             .message = "bind message supplies " + std::to_string(*count) +
                        " parameters, but prepared statement \"" + std::string{names->statement} +
                        "\" requires " + std::to_string(sent->parameter - 1),
             .detail = {},
             .hint = {}},
            request::bind,
            to_server
        );
        drop(m);
        return taken::all;
    }
    const auto before = server_->requests.size();
    const auto done = on_bind({cm::bind, changed, changed.size()}, to_server);
    to_server.copied();
    if (done == taken::all && server_->requests.size() > before) {
        auto& entry = server_->requests[server_->requests.size() - 1];
        entry.in_detail().sent = sent;
    }
    return done;
}

/// A Describe of a statement that reads relations: its last parameter is ours.
relay::taken relay::on_describe_rows(const client_view& m, outbox& to_server) {
    if (!statements_ || !statements_->has_relations) {
        return on_describe(m, to_server);
    }
    const auto target = m.complete() ? wire::parse_named_target(m.body())
                                     : wire::result<wire::named_target>{wire::wire_errc::truncated};
    if (target && target->kind == 'S' && must_wait_for_relations(target->name)) {
        stalled_ = true;
        return taken::stop;
    }
    const auto sent = target && target->kind == 'S' ? relations_of(target->name) : nullptr;
    const auto done = on_describe(m, to_server);
    if (sent && sent->parameter > 0 && done == taken::all) {
        auto& entry = server_->requests[server_->requests.size() - 1];
        entry.in_detail().sent = sent;
    }
    return done;
}

/// ParameterDescription without the parameter that the client does not know of.
bool relay::hide_parameter(std::string_view body, const sent_text& sent, outbox& to_client) {
    const std::size_t all = body.size() >= 2 ? wire::load_u16(body.data()) : 0;
    if (all != sent.parameter || body.size() != 2 + 4 * all) {
        return false;
    }
    wire::message_writer{to_client.copied(), sm::parameter_description}
        .u16(static_cast<std::uint16_t>(all - 1))
        .bytes(body.substr(2, 4 * (all - 1)));
    return true;
}

/// Where in the client's text the position belongs that the server has given.
std::size_t relay::original_position(std::size_t position, const ledger_entry* of) const {
    if (position == 0) {
        return 0;
    }
    if (of != nullptr && of->detail && of->detail->sent) {
        position = of->detail->sent->original_position(position);
    }
    return position + position_shift();
}

}  // namespace signalbox::proxy
