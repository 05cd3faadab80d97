// What a server process remembers of sequences, for currval() and lastval(): it must not be another
// session's.
//
//   a text that may read it, and the values there may be others'   DISCARD SEQUENCES goes first
//   a text that opens a block or pins the connection, where its    the same, without waiting: what
//   session may read later                                         it draws itself is still there
//
// It is a Query, whose end what reads waits for: it may fail, by a cancel. In the middle of a batch
// of the extended protocol, or of a block's, it is a part of the batch: where that is skipped, what
// would have read is skipped, too. But not before a batch's first Bind outside a block: an Execute
// of ours would make a pipeline of what follows, in which VACUUM and its like are refused. DISCARD
// SEQUENCES is taken back by no ROLLBACK, and can be run in a block.
//
// Values that the session has drawn in a block, before its first such text, are lost where nothing
// said that there would be one (state_watch::doubtful_blocks).
#include "parser/lexer.hpp"
#include "parser/traits.hpp"
#include "proxy/relay.hpp"
#include "wire/messages.hpp"

#include <algorithm>
#include <array>

namespace signalbox::proxy {

namespace cm = wire::client_message;

namespace {

constexpr std::string_view discard_sql = "DISCARD SEQUENCES";
/// Of the statement and of its portal. A client cannot reach the statement.
constexpr std::string_view discard_name = "signalbox_sequences";

/// COMMIT, ROLLBACK and their like come first, also ROLLBACK TO and AND CHAIN.
bool runs_in_failed_block(std::string_view sql) noexcept {
    constexpr auto words = std::to_array<std::string_view>({"commit", "end", "rollback", "abort"});
    parser::lexer tokens{sql};
    auto t = tokens.next();
    while (t.kind == parser::token_kind::semicolon) {
        t = tokens.next();
    }
    if (parser::equals_ignoring_case(t.text, "prepare")) {
        return parser::equals_ignoring_case(tokens.next().text, "transaction");
    }
    return std::any_of(words.begin(), words.end(), [&](std::string_view word) {
        return parser::equals_ignoring_case(t.text, word);
    });
}

}  // namespace

bool relay::has_foreign_sequences() const noexcept {
    return server_->sequences_of != 0 && server_->sequences_of != identity_;
}

/// Whatever it is, it may draw.
void relay::note_run() noexcept {
    auto& owner = server_->sequences_of;
    if (owner == 0) {
        owner = identity_;
    } else if (owner != identity_) {
        owner = server_state::sequences_of_several;
    }
    has_run_ = true;
}

/// The connection stays the session's, and what follows may read. `keeps_connection`: asked last,
/// of the text at hand.
template <typename Asked>
bool relay::may_read_later(Asked keeps_connection) {
    if (has_run_ || discarding_in_ != 0) {
        return false;
    }
    if (parser::may_name_sequence_values(rest_) ||
        (is_running() && statements_->run->may_name_sequence_values())) {
        return true;
    }
    auto* const watch = settings_.watch.get();
    if (watch == nullptr || (!watch->reads_sequences && watch->doubtful_blocks == 0) ||
        !keeps_connection()) {
        return false;
    }
    if (!watch->reads_sequences) {
        --watch->doubtful_blocks;
    }
    return true;
}

relay::decision relay::before_query(
    const parser::scanned_text& text, outbox& to_server, outbox& to_client
) {
    if (!renames()) {
        return std::nullopt;
    }
    const auto found = effects_of(text.sql);
    note_hidden(found);
    return before_query(text, found.reads_sequences, to_server, to_client);
}

bool relay::is_discarding() const noexcept {
    return discarding_in_ != 0 && !server_->requests.empty();
}

/// What is sent now stands behind it, in the same batch.
bool relay::is_discarded_in_batch() const noexcept {
    return discarding_in_ != 0 && discarding_in_ == server_->batch;
}

/// Nothing of the client's would end with it: its batch has not bound anything, and is in no block.
bool relay::can_discard_by_query() const noexcept {
    return !open_batch_ ||
           (server_->status == 'I' && bound_in_ != server_->batch && !unnamed_sticks_);
}

void relay::discard_sequences(outbox& to_server) {
    can_discard_by_query() ? discard_sequences_by_query(to_server)
                           : discard_sequences_in_batch(to_server);
}

/// A Query, a unit of a batch or a FunctionCall is to be sent, unless this says otherwise. `text`
/// is empty where it is not known.
relay::decision relay::before_query(
    const parser::scanned_text& text, bool reads_sequences, outbox& to_server, outbox& to_client
) {
    if (!renames()) {
        return std::nullopt;
    }
    if (!has_foreign_sequences() || is_discarded_in_batch()) {
        if (trouble_) {
            trouble_->undiscarded.reset();
        }
        note_run();
        return std::nullopt;
    }
    if (!reads_sequences) {
        const bool is_kept = may_read_later([&] {
            return text.may_have_traits && parser::scan_text(text.sql).keeps_connection();
        });
        if (is_kept) {
            discard_sequences(to_server);
        }
        note_run();
        return std::nullopt;
    }
    const bool is_in_batch = open_batch_ && bound_in_ == server_->batch;
    if (is_discarding() || (open_batch_ ? !is_in_batch && server_->requests.batches() > 0
                                        : !server_->requests.empty())) {
        stalled_ = true;
        return taken::stop;
    }
    if (!can_discard_by_query()) {
        discard_sequences_in_batch(to_server);
        note_run();
        return std::nullopt;
    }
    std::optional<wire::report> why;
    if (trouble_ && trouble_->undiscarded) {
        why = std::exchange(trouble_->undiscarded, std::nullopt);
    } else if (server_->status == 'E' && (text.sql.empty() || runs_in_failed_block(text.sql))) {
        why = wire::report{
            .severity = "ERROR",
            .sqlstate = std::string{wire::sqlstate::feature_not_supported},
            .message =
                "currval() and lastval() cannot be called in the Query that ends a failed "
                "transaction block",
            .detail = {},
            .hint = "Send ROLLBACK by itself."};
    }
    if (why) {
        if (is_running()) {
            statements_->run->start_next();
        }
        reject(*why, request::query, to_server, to_client);
        return taken::all;
    }
    if (server_->status == 'E') {
        return std::nullopt;  // the server refuses it
    }
    discard_sequences_by_query(to_server);
    blocked_ = true;
    looked_at_ = !is_running();
    return taken::stop;
}

/// A portal is to be bound, to a statement that does this, unless this says otherwise.
relay::decision relay::before_bind(const bind_effects& found, outbox& to_server) {
    const bool reads_sequences = found.reads_sequences;
    if (has_foreign_sequences() && !is_discarded_in_batch()) {
        const bool is_first = bound_in_ != server_->batch;
        if (reads_sequences && (is_discarding() || (is_first && server_->requests.batches() > 0))) {
            stalled_ = true;
            return taken::stop;
        }
        if (reads_sequences && can_discard_by_query()) {
            if (trouble_ && trouble_->undiscarded) {
                const auto why = std::exchange(trouble_->undiscarded, std::nullopt);
                refuse(*why, request::bind, to_server);
                return taken::all;
            }
            discard_sequences_by_query(to_server);
            blocked_ = looked_at_ = true;
            return taken::stop;
        }
        if (reads_sequences || may_read_later([&] { return found.keeps_connection; })) {
            discard_sequences(to_server);
        }
    }
    note_run();
    bound_in_ = server_->batch;
    return std::nullopt;
}

void relay::discard_sequences_by_query(outbox& to_server) {
    auto& s = *server_;
    s.requests.push(request::sequences, reply::swallow);
    discarding_in_ = s.batch++;
    s.unnamed = server_state::unnamed_none;
    if (unnamed_sticks_) {
        drop_unnamed();
    }
    wire::write_query(to_server.copied(), discard_sql);
}

void relay::discard_sequences_in_batch(outbox& to_server) {
    auto& s = *server_;
    auto& out = to_server.copied();
    // It is there where an earlier one was skipped halfway.
    wire::write_named_target(out, cm::close, 'S', discard_name);
    s.requests.push(request::close, reply::swallow);
    std::string tail{discard_sql};
    tail.append(3, '\0');
    wire::write_parse(out, discard_name, tail);
    s.requests.push(request::parse, reply::swallow);
    wire::message_writer{out, cm::bind}
        .cstring(discard_name)
        .cstring(discard_name)
        .u16(0)
        .u16(0)
        .u16(0);
    s.requests.push(request::bind, reply::swallow);
    wire::message_writer{out, cm::execute}.cstring(discard_name).u32(0);
    s.requests.push(request::execute, reply::swallow).in_detail().discards_sequences = true;
    wire::write_named_target(out, cm::close, 'P', discard_name);
    s.requests.push(request::close, reply::swallow);
    discarding_in_ = s.batch;
    open_batch_ = true;
}

void relay::sequences_discarded() noexcept {
    server_->sequences_of = identity_;
    discarding_in_ = 0;
}

}  // namespace signalbox::proxy
