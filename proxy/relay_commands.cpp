// Statements that are addressed to Signalbox, over both protocols. They are answered when
// everything before them is, and need no server.
#include "proxy/relay.hpp"
#include "wire/messages.hpp"

namespace signalbox::proxy {

namespace cm = wire::client_message;
namespace sm = wire::server_message;

command_request relay::request_for(std::string_view sql) const {
    command_request asked{.sql = std::string{sql}, .strings = string_style(), .who = settings_.who};
    if (asked.who.asks_server) {
        const auto* const reported = reported_ ? reported_->find("is_superuser") : nullptr;
        asked.who.is_superuser =
            asked.who.is_superuser || (reported != nullptr && *reported == "on");
    }
    return asked;
}

/// PostgreSQL reads all statements of a Query before it runs the first.
std::optional<wire::report> relay::find_syntax_error(
    std::string_view sql, const parser::verdict& found
) const {
    for (const auto& each : found.statements) {
        if (each.kind != parser::statement_kind::signalbox) {
            continue;
        }
        const auto text = sql.substr(each.offset, each.size);
        if (auto error = env_.commands->describe(text, string_style()).error) {
            error->position += error->position > 0 ? characters_before(sql, each.offset) : 0;
            return error;
        }
    }
    return std::nullopt;
}

/// Runs it where the transaction status allows. Nothing: it is to be carried out elsewhere.
std::optional<command_reply> relay::run_command(std::string_view sql) {
    command_reply refused;
    if (status() == 'E') {
        refused.error = wire::report{
            .severity = "ERROR",
            .sqlstate = std::string{wire::sqlstate::in_failed_sql_transaction},
            .message =
                "current transaction is aborted, commands ignored until end of transaction "
                "block",
            .detail = {},
            .hint = {}};
        return refused;
    }
    if (status() == 'T' && !is_show_command(sql)) {
        refused.error = wire::report{
            .severity = "ERROR",
            .sqlstate = std::string{wire::sqlstate::active_sql_transaction},
            .message = command_name(sql) + " cannot run inside a transaction block",
            .detail = {},
            .hint = {}};
        return refused;
    }
    return env_.commands->answer(request_for(sql));
}

command_request relay::take_command() {
    auto& pending = *statements_->command;
    pending.taken = true;
    return request_for(pending.sql);
}

void relay::command_done(command_reply reply, outbox& to_server, outbox& to_client) {
    const auto pending = std::move(*statements_->command);
    statements_->command.reset();
    if (!pending.portal) {
        end_own_unit(reply, to_server, to_client);
        return;
    }
    // Nothing of the client was looked at meanwhile: the portal is still there.
    auto& portal = statements_->own_portals.at(*pending.portal);
    portal.reply = std::move(reply);
    answer_own(portal, pending.limit, to_server, to_client);
}

void relay::run_own_unit(std::string_view sql, outbox& to_server, outbox& to_client) {
    if (const auto reply = run_command(sql)) {
        end_own_unit(*reply, to_server, to_client);
    } else {
        statements().command.emplace(pending_command{std::string{sql}, std::nullopt, 0, false});
    }
}

void relay::end_own_unit(const command_reply& reply, outbox& to_server, outbox& to_client) {
    auto& out = to_client.copied();
    for (const auto& notice : reply.notices) {
        wire::write_notice_response(out, notice);
    }
    if (reply.error) {
        reject(*reply.error, request::query, to_server, to_client);
        return;
    }
    if (!reply.columns.empty()) {
        write_row_description(out, reply.columns, {});
        write_command_rows(out, reply, {}, 0, 0);
    }
    wire::write_command_complete(out, reply.tag);
    statements_->run->end_statement(reply.tag);
    commits_.note_completed(reply.tag);
    end_unit(status(), to_client);
}

/// Parse of a statement of ours, or of another under a name that one of ours has.
relay::taken relay::parse_own(
    const client_view& m, const wire::parse_message& p, outbox& to_server, outbox& to_client
) {
    if (wait_until_settled(to_server)) {
        return taken::stop;
    }
    drop(m);
    if (skip_locally_) {
        return taken::all;
    }
    const bool is_taken = !p.name.empty() && (statements().own_statements.contains(p.name) ||
                                              (renames() && rare_ && rare_->names.find(p.name)));
    if (is_taken) {
        reject(
            {.severity = "ERROR",
             .sqlstate = std::string{wire::sqlstate::duplicate_prepared_statement},
             .message = "prepared statement \"" + std::string{p.name} + "\" already exists",
             .detail = {},
             .hint = {}},
            request::parse,
            to_server,
            to_client
        );
        return taken::all;
    }
    if (p.name.empty()) {
        drop_unnamed();
        if (statements_) {
            statements_->own_statements.erase("");
        }
    }
    if (const auto shape = env_.commands->describe(p.text, string_style()); shape.error) {
        reject(*shape.error, request::parse, to_server, to_client);
        return taken::all;
    }
    statements().own_statements.insert_or_assign(std::string{p.name}, std::string{p.text});
    wire::write_empty(to_client.copied(), sm::parse_complete);
    return taken::all;
}

/// Messages that name a prepared statement or a portal of ours.
relay::decision relay::look_at_own(const client_view& m, outbox& to_server, outbox& to_client) {
    auto& own = *statements_;
    if (own.own_statements.empty() && own.own_portals.empty()) {
        return std::nullopt;
    }
    std::string_view name;
    bool is_statement = false;
    std::string_view portal_to_bind;
    std::uint32_t limit = 0;
    switch (m.type) {
        case cm::bind: {
            const auto names = wire::parse_bind_names(m.body());
            if (!names) {
                return std::nullopt;
            }
            name = names->statement;
            portal_to_bind = names->portal;
            is_statement = true;
            if (!own.own_statements.contains(name)) {
                // The portal is another's from now on.
                if (const auto old = own.own_portals.find(portal_to_bind);
                    old != own.own_portals.end()) {
                    own.own_portals.erase(old);
                }
                return std::nullopt;
            }
            break;
        }
        case cm::describe:
        case cm::close: {
            const auto target = wire::parse_named_target(m.body());
            if (!m.complete() || !target) {
                return std::nullopt;
            }
            name = target->name;
            is_statement = target->kind == 'S';
            break;
        }
        case cm::execute: {
            const auto end = m.body().find('\0');
            if (!m.complete() || end == std::string_view::npos || m.body().size() < end + 5) {
                return std::nullopt;
            }
            name = m.body().substr(0, end);
            limit = wire::load_u32(m.body().data() + end + 1);
            break;
        }
        default:
            return std::nullopt;
    }
    const auto statement = own.own_statements.find(name);
    const auto portal = own.own_portals.find(name);
    if (is_statement ? statement == own.own_statements.end() : portal == own.own_portals.end()) {
        return std::nullopt;
    }
    if (!m.complete()) {
        return taken::more_bytes;
    }
    if (wait_until_settled(to_server)) {
        return taken::stop;
    }
    drop(m);
    if (skip_locally_) {
        return taken::all;
    }
    auto& out = to_client.copied();
    switch (m.type) {
        case cm::bind:
            if (auto formats = wire::parse_bind_result_formats(m.body())) {
                own.own_portals.insert_or_assign(
                    std::string{portal_to_bind},
                    own_portal{statement->second, std::move(*formats), std::nullopt, 0}
                );
                wire::write_empty(out, sm::bind_complete);
            } else {
                reject(
                    {.severity = "ERROR",
                     .sqlstate = std::string{wire::sqlstate::protocol_violation},
                     .message = "invalid message format",
                     .detail = {},
                     .hint = {}},
                    request::parse,
                    to_server,
                    to_client
                );
            }
            break;
        case cm::describe: {
            const auto columns =
                env_.commands
                    ->describe(
                        is_statement ? statement->second : portal->second.sql, string_style()
                    )
                    .columns;
            if (is_statement) {
                wire::message_writer{out, sm::parameter_description}.u16(0);
            }
            if (columns.empty()) {
                wire::write_empty(out, sm::no_data);
            } else {
                write_row_description(
                    out, columns, is_statement ? result_formats{} : portal->second.formats
                );
            }
            break;
        }
        case cm::close:
            if (is_statement) {
                own.own_statements.erase(statement);
            } else {
                own.own_portals.erase(portal);
            }
            wire::write_empty(out, sm::close_complete);
            break;
        default:
            execute_own(portal->first, limit, to_server, to_client);
            break;
    }
    return taken::all;
}

void relay::execute_own(
    const std::string& name, std::uint32_t limit, outbox& to_server, outbox& to_client
) {
    auto& portal = statements_->own_portals.at(name);
    if (!portal.reply) {
        portal.reply = run_command(portal.sql);
        if (!portal.reply) {
            statements_->command.emplace(pending_command{portal.sql, name, limit, false});
            return;
        }
    }
    answer_own(portal, limit, to_server, to_client);
}

void relay::answer_own(
    own_portal& portal, std::uint32_t limit, outbox& to_server, outbox& to_client
) {
    auto& reply = *portal.reply;
    auto& out = to_client.copied();
    for (const auto& notice : reply.notices) {
        wire::write_notice_response(out, notice);
    }
    reply.notices.clear();
    if (reply.error) {
        reject(*reply.error, request::parse, to_server, to_client);
        return;
    }
    portal.row += write_command_rows(out, reply, portal.formats, portal.row, limit);
    if (portal.row < reply.rows.size()) {
        wire::write_empty(out, sm::portal_suspended);
    } else {
        wire::write_command_complete(out, reply.tag);
        commits_.note_split();
        commits_.note_completed(reply.tag);
        commits_.note_status(status());
    }
}

}  // namespace signalbox::proxy
