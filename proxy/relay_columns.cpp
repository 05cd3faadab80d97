// What a client was told of a prepared statement, and what the statement returns where it is run.
//
// A statement is parsed anew on each server connection that it comes to. DDL in between may have
// changed its columns, and a client that describes a statement once (asyncpg, tokio-postgres,
// pgjdbc) would read the new rows as the old ones. A private connection would have said so:
//
//   what the client was told \ what is known here   the same   other           nothing
//   nothing (each portal is described, or none)     it is run  it is run       it is run
//   a ParameterDescription and its columns          it is run  parsed anew,    asked for; the Bind
//                                                              and asked for   waits
//   … and what was parsed in this very batch is other: 0A000
//
// Source    PostgreSQL's RevalidateCachedQuery(), "cached plan must not change result type"
#include "proxy/relay.hpp"
#include "wire/messages.hpp"

namespace signalbox::proxy {

namespace sm = wire::server_message;

namespace {

std::uint64_t mix(std::uint64_t with, std::string_view bytes) noexcept {
    constexpr std::uint64_t golden_ratio = 0x9E3779B97F4A7C15;
    const std::uint64_t hash = std::hash<std::string_view>{}(bytes);
    return with ^ (hash + golden_ratio + (with << 6U) + (with >> 2U));
}

/// Names, types and modifiers, as PostgreSQL compares them: where a column comes from may change.
std::uint64_t mix_columns(std::uint64_t with, std::string_view row_description) {
    wire::byte_reader in{row_description};
    const auto count = in.u16();
    for (std::uint16_t i = 0; i < count && !in.failed(); ++i) {
        with = mix(with, in.cstring());
        in.bytes(6);                     // the table's OID and the column's number in it
        with = mix(with, in.bytes(10));  // type, its size, its modifier
        in.bytes(2);                     // the format: of a portal only
    }
    return with;
}

}  // namespace

/// A Describe of the client's statement is on its way.
void relay::note_describe(std::string_view name) {
    const auto statement = rare_ ? rare_->names.find(name) : nullptr;
    auto* const slot = statement ? server_->statements.find(statement->id) : nullptr;
    if (slot == nullptr) {
        return;
    }
    auto& detail = server_->requests[server_->requests.size() - 1].in_detail();
    detail.client_name = name;
    detail.statement = statement;
    detail.number = slot->number;
}

/// ParameterDescription, then RowDescription or NoData, of a Describe; no type: there will be none.
void relay::columns_told(char type, std::string_view body, ledger_entry& entry) {
    if (!entry.detail || !entry.detail->statement) {
        return;
    }
    auto& d = *entry.detail;
    if (type == sm::parameter_description) {
        d.columns = mix(1, body);
        return;
    }
    auto* slot = server_->statements.find(d.statement->id);
    if (slot != nullptr && slot->number != d.number) {
        slot = nullptr;
    }
    if (slot != nullptr) {
        slot->asked = false;
    }
    if (type == '\0') {
        return;
    }
    const auto known = type == sm::row_description ? mix_columns(d.columns, body) : d.columns;
    const auto columns = known != 0 ? known : 1;
    if (slot != nullptr) {
        slot->columns = columns;
    }
    if (entry.action == reply::forward && rare_) {
        rare_->names.tell_columns(d.client_name, d.statement->id, columns);
    }
}

/// Whether the statement returns here what the client was told; `unknown`: the server is being
/// asked.
relay::comparison relay::compare_columns(std::string_view name, outbox& to_server) {
    const auto told = rare_ ? rare_->names.columns_told(name) : 0;
    const auto statement = told != 0 ? rare_->names.find(name) : nullptr;
    if (!statement || status() == 'E') {
        return comparison::same;  // in a failed block it is the server that refuses
    }
    auto* const slot = server_->statements.find(statement->id);
    const bool is_usable = slot != nullptr && can_be_used(*slot, rare_->names.ddl_at_parse(name));
    if (is_usable && slot->columns == told) {
        return comparison::same;
    }
    if (is_usable && slot->asked) {
        return comparison::unknown;
    }
    if (is_usable && slot->columns != 0 && slot->batch == server_->batch) {
        return comparison::changed;  // it was parsed just now
    }
    if (!is_usable || slot->columns != 0) {
        prepare_anew(statement, to_server, reply::swallow);
    }
    ask_for_columns(statement, to_server);
    return comparison::unknown;
}

void relay::ask_for_columns(const rewrite::statement_ptr& statement, outbox& to_server) {
    auto& slot = *server_->statements.find(statement->id);
    slot.asked = true;
    slot.used = server_->batch;
    auto& detail = server_->requests.push(request::describe, reply::swallow).in_detail();
    detail.statement = statement;
    detail.number = slot.number;
    auto& out = to_server.copied();
    wire::write_named_target(
        out, wire::client_message::describe, 'S', rewrite::server_statement_name(slot.number)
    );
    wire::write_empty(out, wire::client_message::flush);
    open_batch_ = true;
}

/// As a private connection would say it.
wire::report relay::columns_changed(std::string detail) {
    return {
        .severity = "ERROR",
        .sqlstate = std::string{wire::sqlstate::feature_not_supported},
        .message = "cached plan must not change result type",
        .detail = std::move(detail),
        .hint = {},
        .routine = std::string{revalidation}};
}

}  // namespace signalbox::proxy
