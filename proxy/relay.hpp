// The session machine: bytes of a client and of the server connection that it has been lent, in;
// bytes for both, out. No socket, no clock, no lock.
//
//             on_client(): a message that needs a server
//   at rest ------------------------------------------> wants a server
//      ^                                                      | attach()
//      | detach() when may_release()                          v
//      +---------------------------------------- served <- (setup, when the parameters differ)
//
// Invariants
//   - a message is forwarded to the server at most once, and never again after the server was lost
//     (but for a batch that has run nothing: relay_repeat.cpp);
//   - every request in flight has an entry in the server's ledger, in order;
//   - nothing of the client is sent while `blocked`: our own setup, inspection or restoration is
//   under way;
//   - may_release() only between transactions, with an empty ledger, at a message boundary, and
//   with no state on the
//     server connection that cannot be carried; on any doubt the connection is closed instead
//     (is_doubtful()).
//
// In session mode names and statements pass as they are: the server connection is the client's own
// until it leaves. Source    PostgreSQL manual, "Message Flow"; src/backend/tcop/postgres.c for
// what is skipped after an error
#pragma once

#include "backend/server_connection.hpp"
#include "parser/statements.hpp"
#include "parser/traits.hpp"
#include "proxy/commands.hpp"
#include "proxy/config.hpp"
#include "proxy/examinations.hpp"
#include "proxy/ledger.hpp"
#include "proxy/outbox.hpp"
#include "proxy/unit_run.hpp"
#include "rewrite/hidden_state.hpp"
#include "rewrite/parameters.hpp"
#include "rewrite/statements.hpp"
#include "wire/error_response.hpp"
#include "wire/messages.hpp"

#include <cstdint>
#include <list>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

namespace signalbox::proxy {

/// What a worker's relays share.
struct relay_environment {
    explicit relay_environment(rewrite::statement_registry& registry) : statements(registry) {}

    rewrite::statement_cache statements;
    rewrite::parameter_pool parameters;
    command_handler* commands = nullptr;    // who carries out what is addressed to Signalbox
    relation_source* relations = nullptr;   // null: none are provided
    const examinations* notices = nullptr;  // null: nothing is added to a plan
    std::uint64_t next_unnamed = 1;
    std::uint64_t unnamed_step = 1;  // the number of workers: tokens are unique among them
};

/// What Signalbox knows about a server connection; it stays with it from lease to lease.
struct server_state final : backend::server_attachment {
    static constexpr std::uint64_t unnamed_unknown = ~std::uint64_t{0};
    /// As behind every simple Query: PostgreSQL drops the unnamed statement there.
    static constexpr std::uint64_t unnamed_none = 0;
    static constexpr std::uint64_t sequences_of_several = ~std::uint64_t{0};

    ledger requests;
    rewrite::server_statements statements;
    rewrite::parameter_set_ptr applied;   // what the session's setup has set
    rewrite::parameter_set_ptr reported;  // ParameterStatus, as told last
    std::vector<std::string> channels;    // that it listens to, sorted
    std::uint32_t process_id = 0;         // of the server's process
    std::uint64_t unnamed = 0;            // token of the unnamed statement that it holds; 0 = none
    std::uint64_t unnamed_in = 0;         // the batch that has made it so
    std::uint64_t batch = 1;              // grows with every Query and Sync
    /// What currval() and lastval() give may be this session's, and no other's; 0: they give
    /// nothing.
    std::uint64_t sequences_of = 0;
    std::size_t stream_left = 0;  // of a server message that is passed in pieces
    bool stream_swallowed = false;
    char status = 'I';
    bool skip_to_sync = false;  // the server ignores everything up to the next Sync
    bool copy_in = false;
    bool sync_in_copy = false;
    std::string repeat;            // the batch under way, where it may be repeated; else empty
    bool repeat_answered = false;  // the client has seen some of its reply
    bool tainted = false;          // LOAD, setseed(), …: nothing takes that back
    bool doubtful = false;         // must not be used again
};

/// What a worker knows of a database: which statements may make session state that they do not
/// show.
struct state_watch {
    std::shared_ptr<const rewrite::hidden_state_rules> rules =
        std::make_shared<const rewrite::hidden_state_rules>();
    std::uint64_t ddl = 0;  // statement_registry::ddl_seen() when the catalogs were read
    std::unordered_map<std::uint64_t, rewrite::hidden_effects> by_statement;  // prepared ones
    /// Statements here name lastval() or currval(). Nobody knows at first: so many blocks are taken
    /// for ones that do.
    bool reads_sequences = false;
    std::uint32_t doubtful_blocks = 10'000;
};

/// The route's part of what a relay must know. Outlives the relay.
struct relay_settings {
    pool_mode mode = pool_mode::transaction;
    std::size_t max_prepared_statements = 200;
    std::uint64_t max_message_size = 1ULL << 30;
    bool refuse_state = false;  // session_state = "refuse"
    rewrite::multi_statement_policy multi_statement = rewrite::multi_statement_policy::pass;
    rpc_in_transaction rpc = rpc_in_transaction::warn;
    std::shared_ptr<const parser::statement_rules> rules;  // null: statements are not looked at
    std::shared_ptr<parser::verdict_cache> verdicts;       // of the worker, for these rules
    std::shared_ptr<state_watch> watch;  // null: statements show all state that they make
    client_identity who;
    bool examines = false;  // what is created is looked at for notices …
    // … of this database. The connection's name, and the database's on its server.
    std::string connection;
    std::string database;
};

/// Where PostgreSQL finds that a plan is out of date: the same in every language.
inline constexpr std::string_view revalidation = "RevalidateCachedQuery";

class relay {
public:
    /// `verdict`: undecided() is to be decided elsewhere; decided() takes the verdict.
    enum class demand { nothing, server, terminate, fatal, verdict };

    enum class server_step { fine, lost, broken };

    enum class loss { nothing, told, close_client, retry };

    relay(relay_environment& environment, const relay_settings& settings);

    void set_startup(rewrite::parameter_set_ptr startup);

    /// Takes what it can of `in` and says in demanded() why it stopped. What was not consumed must
    /// be given again, first, together with what follows.
    std::size_t on_client(std::string_view in, outbox& to_server, outbox& to_client);

    [[nodiscard]] demand demanded() const noexcept { return demand_; }

    /// For demand::fatal: what to tell the client before it is closed.
    [[nodiscard]] const wire::report& fatal() const noexcept { return trouble_->fatal; }

    /// For demand::verdict: the text, and how its strings read. Valid until the given bytes change.
    struct open_question {
        std::string_view sql;
        parser::backslashes strings = parser::backslashes::plain;
    };

    [[nodiscard]] open_question undecided() const noexcept { return undecided_; }

    void decided(parser::verdict_ptr verdict) { statements().decided = std::move(verdict); }

    /// A batch is run in units, and the next one is to be sent: by send_unit().
    [[nodiscard]] bool has_unit_due() const noexcept {
        return is_running() && statements_->run->is_due();
    }

    [[nodiscard]] bool unit_needs_server() const noexcept {
        return has_unit_due() && !statements_->run->next().for_signalbox &&
               !statements_->run->is_cancelled();
    }

    /// The client has asked to cancel what runs: of a batch, the rest is not run.
    void note_cancel() noexcept {
        if (is_running()) {
            statements_->run->cancel();
        }
    }

    void send_unit(outbox& to_server, outbox& to_client);

    /// A statement addressed to Signalbox is to be carried out elsewhere: what command() asks,
    /// once. Nothing of the client is looked at until command_done().
    [[nodiscard]] bool has_new_command() const noexcept {
        return is_commanding() && !statements_->command->taken;
    }

    /// One is under way, or waits for take_command().
    [[nodiscard]] bool is_commanding() const noexcept {
        return statements_ && statements_->command.has_value();
    }

    command_request take_command();
    void command_done(command_reply reply, outbox& to_server, outbox& to_client);

    /// Something has been created, altered or dropped: the database is to be examined.
    [[nodiscard]] bool has_new_examination() const noexcept {
        return examination_ && examination_->is_due;
    }

    /// True: the client waits for what is found, by examined().
    bool take_examination() noexcept;
    /// Once more than it was asked for it does nothing.
    void examined(const std::vector<wire::report>& found, outbox& to_client);

    /// The session ends: what it is still owed, without what there is to say.
    void finish_examination(outbox& to_client);

    [[nodiscard]] bool awaits_examination() const noexcept {
        return examination_ && examination_->awaited != '\0';
    }

    /// The session listens to other channels: take_new_channels() are to be listened to for it, and
    /// channels_set() says that they are, or cannot be.
    [[nodiscard]] bool has_new_channels() const noexcept { return channels_due_; }

    std::vector<std::string> take_new_channels();
    /// As the server has reported it.
    [[nodiscard]] std::string client_encoding() const;
    void channels_set(bool heard, outbox& to_client);
    /// A NotificationResponse, whole, that the shared connection has heard; `epoch`: of that
    /// connection.
    void hear(std::string_view message, std::uint64_t epoch, outbox& to_client);

    /// `lost`: the server has said that it ends (fatal_body() holds its words); `broken`: it does
    /// not keep the protocol.
    server_step on_server(
        std::string_view in, outbox& to_client, outbox& to_server, std::size_t& consumed
    );

    void attach(
        server_state& server, std::string_view login_role, outbox& to_server, outbox& to_client
    );
    // A session whose server connection is its own, while the target changes: it moves between
    // transactions, when it carries nothing but parameters and prepared statements.

    /// Its state can be asked for now.
    [[nodiscard]] bool may_move() const noexcept;
    /// Asks for it. Blocked until the server has said; then take_movable().
    void begin_move(outbox& to_server);

    /// The answer, once: true: another server connection will do, when this one has been left.
    std::optional<bool> take_movable() noexcept { return std::exchange(movable_, std::nullopt); }

    /// The server connection as it is left behind; null when there was none.
    server_state* detach() noexcept;

    [[nodiscard]] bool has_server() const noexcept { return server_ != nullptr; }

    [[nodiscard]] bool is_blocked() const noexcept {
        return blocked_ || awaiting_channels_ != '\0' || is_commanding() || awaits_examination();
    }

    /// The next message can only be understood when all before it are answered.
    [[nodiscard]] bool is_stalled() const noexcept { return stalled_; }

    [[nodiscard]] bool may_release() const noexcept;
    /// In the middle of something that a new lease could not go on with.
    [[nodiscard]] bool is_doubtful() const noexcept;

    /// The server is working on something of this client's.
    [[nodiscard]] bool is_busy() const noexcept {
        return is_running() || awaiting_channels_ != '\0' || is_commanding() ||
               awaits_examination() ||
               (server_ != nullptr && (!server_->requests.empty() || open_batch_));
    }

    /// The server is to answer something with ReadyForQuery, and does not wait for the client.
    [[nodiscard]] bool goes_on_alone() const noexcept {
        return is_running() || awaiting_channels_ != '\0' || is_commanding() ||
               awaits_examination() ||
               (server_ != nullptr && server_->requests.batches() > 0 && !server_->copy_in);
    }

    [[nodiscard]] bool in_transaction() const noexcept {
        return server_ != nullptr && server_->status != 'I';
    }

    [[nodiscard]] bool is_pinned() const noexcept { return rare_ && !rare_->pinned_by.empty(); }

    /// The client has been sent the beginning of a message, and not its end.
    [[nodiscard]] bool is_mid_message() const noexcept {
        return server_ != nullptr && server_->stream_left > 0 && !server_->stream_swallowed;
    }

    /// The server connection is the session's own: without it the session cannot go on.
    [[nodiscard]] bool carries_state() const noexcept { return !renames() || is_pinned(); }

    [[nodiscard]] bool may_have_state() const noexcept { return suspect_ || is_pinned(); }

    /// Something has been executed since attach() that may have left state which is not known here.
    [[nodiscard]] bool may_hide_state() const noexcept { return hidden_; }

    /// Setup failed: the server does not take the session's parameters.
    [[nodiscard]] const std::string* setup_error() const noexcept {
        return trouble_ && trouble_->setup_error ? &*trouble_->setup_error : nullptr;
    }

    /// The server connection is gone. Tells the client where something was under way.
    loss server_lost(const wire::report& why, outbox& to_client);
    /// No server can be had for the message that waits: it fails, and the session goes on.
    void fail_waiting(wire::report why, outbox& to_client);

    [[nodiscard]] const rewrite::parameter_set_ptr& reported() const noexcept { return reported_; }

    void set_reported(rewrite::parameter_set_ptr reported);

    /// The body of the server's FATAL.
    [[nodiscard]] std::string_view fatal_body() const noexcept {
        return trouble_ ? std::string_view{trouble_->fatal_body} : std::string_view{};
    }

private:
    struct own_portal {
        std::string sql;
        result_formats formats;
        std::optional<command_reply> reply;  // once it has been executed
        std::size_t row = 0;                 // the next one
    };

    /// A statement of ours that is carried out elsewhere.
    struct pending_command {
        std::string sql;
        std::optional<std::string> portal;  // that is executed; none: a unit of a batch
        std::uint32_t limit = 0;            // of the Execute
        bool taken = false;
    };

    /// A DEALLOCATE in the extended protocol: on the server the statement has another name.
    struct deallocation {
        std::string portal;           // that it is bound to
        std::string name;             // the client's
        std::uint64_t statement = 0;  // its id …
        std::uint32_t number = 0;     // … and its number on the server connection …
        std::uint64_t batch = 0;      // … when this batch was sent
        std::uint64_t token = 0;      // of the unnamed statement that says so; 0 = none
    };

    /// What most sessions never need.
    struct rare_state {
        rewrite::client_statements names;
        std::string unnamed_tail;
        /// The unnamed statement that the server has confirmed last: its token (0 = none), and its
        /// tail where that is not unnamed_tail itself.
        std::uint64_t confirmed_unnamed = 0;
        bool confirmed_in_place = false;
        std::string confirmed_tail;
        std::list<std::pair<std::uint64_t, std::string>>
            unnamed_in_flight;  // older than the present one
        std::vector<std::string> custom_parameters;
        std::string pinned_by;
        bool pin_told = false;
        deallocation deallocating;  // the unnamed statement of this token is one
        std::vector<deallocation> deallocating_portals;
        std::string reset_target;  // of the last RESET
        rewrite::session_state inspected;
        std::string inspection_error;
        std::vector<rewrite::carried_statement> carried;  // to the next server connection
        std::vector<std::string> channels;                // that the session listens to, sorted …
        std::string channels_encoding;                    // … and in which encoding
        std::vector<std::string> told;   // its own notifications, which will be heard again
        std::vector<std::string> heard;  // messages that wait for the end of the transaction
        std::uint64_t heard_epoch = 0;
    };

    /// What only those sessions need whose statements were not just forwarded.
    struct statement_state {
        std::unique_ptr<unit_run> run;  // the batch that is run in units
        parser::verdict_ptr decided;    // for the message that waits …
        std::size_t decided_text = 0;   // … whose text has this hash
        std::optional<pending_command> command;
        /// Statements that read relations of Signalbox's, by name: as the client means them, and as
        /// the server has confirmed. Null: a name that was one of them, until that is confirmed.
        std::map<std::string, sent_text_ptr, std::less<>> relations;
        std::map<std::string, sent_text_ptr, std::less<>> confirmed_relations;
        bool has_relations = false;  // there has ever been one
        /// Prepared statements and portals that are addressed to Signalbox: the name, its SQL.
        std::map<std::string, std::string, std::less<>> own_statements;
        std::map<std::string, own_portal, std::less<>> own_portals;
        /// Names of prepared statements that call an RPC function, or did.
        std::set<std::string, std::less<>> rpc_statements;
        std::vector<std::string> rpc_portals;  // bound since the last Sync
        std::vector<std::string> rpc_closed;   // in the batch under way
        /// Names that SQL's PREPARE has given to such, or may have.
        std::set<std::string, std::less<>> sql_rpc_statements;
        std::vector<parser::sql_name> sql_names;  // of the Query at hand
    };

    struct examination_state {
        std::string completion;  // a CommandComplete that waits
        char awaited = '\0';     // the status to be told with it
        bool is_due = false;
        bool is_quiet = false;  // session mode: the client does not want to hear NOTICEs
    };

    /// Prepared EXPLAINs and their portals, by name. Null: sent and not confirmed, or gone; a name
    /// that is not here is none's.
    struct explain_state {
        std::map<std::string, explained_ptr, std::less<>> statements;
        std::map<std::string, explained_ptr, std::less<>> portals;
    };

    /// What has gone wrong; most sessions end without any.
    struct trouble {
        wire::report fatal;
        std::optional<std::string> setup_error;
        std::optional<wire::report> lost;  // to be told with the client's next request
        /// Why sequence values of others are still there.
        std::optional<wire::report> undiscarded;
        std::string fatal_body;
    };

    struct client_view {
        char type;
        std::string_view whole;  // header and as much of the body as is there
        std::size_t total;

        /// Of a Parse, once it has been asked for.
        mutable std::optional<wire::result<wire::parse_message>> parse = std::nullopt;

        [[nodiscard]] bool complete() const noexcept { return whole.size() == total; }

        [[nodiscard]] std::string_view body() const noexcept {
            return whole.substr(wire::header_bytes);
        }

        /// Of a complete Parse.
        [[nodiscard]] const wire::result<wire::parse_message>& as_parse() const noexcept {
            return parse ? *parse : parse.emplace(wire::parse_parse(body()));
        }
    };

    /// What a statement may do where it is bound.
    struct bind_effects {
        bool reads_sequences = false;
        bool keeps_connection = false;
    };

    enum class taken { all, more_bytes, stop };
    using decision = std::optional<taken>;  // nullopt: the message is forwarded like any other

    [[nodiscard]] bool renames() const noexcept { return settings_.mode != pool_mode::session; }

    rare_state& rare();
    statement_state& statements();
    trouble& in_trouble();

    [[nodiscard]] bool has_lost() const noexcept { return trouble_ && trouble_->lost; }

    bool check_header(char type, std::uint32_t length);
    bool protocol_error(std::string message);
    taken on_message(const client_view& m, outbox& to_server, outbox& to_client);
    taken on_skipped(const client_view& m, outbox& to_client);
    taken during_run(const client_view& m, outbox& to_server);

    // Statements: relay_statements.cpp.
    decision look_at(const client_view& m, outbox& to_server, outbox& to_client);
    decision look_at_query(const client_view& m, outbox& to_server, outbox& to_client);
    decision look_at_parse(const client_view& m, outbox& to_server, outbox& to_client);
    decision look_at_bind(const client_view& m, outbox& to_server, outbox& to_client);
    [[nodiscard]] bool may_call_rpc(std::string_view name) const;
    void look_at_execute(const client_view& m);
    parser::verdict_ptr decide(std::string_view sql);
    void keep_verdict(std::string_view sql, parser::verdict_ptr found);

    [[nodiscard]] bool can_be_read() const noexcept { return can_be_read_; }

    [[nodiscard]] parser::backslashes string_style() const noexcept { return strings_; }

    bool is_settled(outbox& to_server);
    void cut(outbox& to_server);
    void end_copy(outbox& to_server);
    [[nodiscard]] bool splits() const noexcept;
    std::optional<wire::report> on_hazard(outbox& to_client) const;
    void reject(const wire::report& why, request kind, outbox& to_server, outbox& to_client);
    void end_unit(char status, outbox& to_client);
    void tell_ready(char status, outbox& to_client);
    void after_error(outbox& to_client);
    [[nodiscard]] std::size_t position_shift() const noexcept;
    [[nodiscard]] std::size_t characters_before(std::string_view sql, std::size_t bytes)
        const noexcept;

    [[nodiscard]] bool is_running() const noexcept { return statements_ && statements_->run; }

    [[nodiscard]] char status() const noexcept {
        return server_ != nullptr ? server_->status : 'I';
    }

    // Names that SQL's PREPARE gives to RPC calls: relay_sql_names.cpp.
    [[nodiscard]] bool may_execute_rpc(std::string_view sql) const noexcept;
    [[nodiscard]] bool is_sql_rpc(std::string_view name) const;
    [[nodiscard]] parser::verdict_ptr with_executed(const parser::verdict_ptr& found) const;
    [[nodiscard]] bool executes_rpc(std::string_view sql) const;
    void note_sql_names(const std::vector<parser::sql_name>& names);
    std::vector<parser::sql_name> take_sql_names(bool of_unit);
    void sql_name_settled(ledger_entry& of, parser::name_use use);

    // Statements addressed to Signalbox: relay_commands.cpp.
    decision look_at_own(const client_view& m, outbox& to_server, outbox& to_client);
    taken parse_own(
        const client_view& m, const wire::parse_message& p, outbox& to_server, outbox& to_client
    );
    bool wait_until_settled(outbox& to_server);
    [[nodiscard]] bool continues_rpc(const client_view& m) const;
    [[nodiscard]] bool is_rpc_portal(std::string_view name) const;
    void forget_rpc(std::string_view name);

    // What is created is examined: relay_examinations.cpp.
    bool note_made(std::string_view sql);
    [[nodiscard]] bool wants_notices() const;
    void note_least_messages(parser::lexer& rest);
    bool hold_completion(std::string_view whole, std::string_view tag);
    void release_completion(outbox& to_client);
    bool hold_ready(char status, outbox& to_client);
    examination_state& in_examination();

    [[nodiscard]] bool has_held_completion() const noexcept {
        return examination_ && !examination_->completion.empty();
    }

    // Notices behind a plan: relay_explain.cpp.
    [[nodiscard]] explained_ptr examine_explained(std::string_view statement) const;
    std::unique_ptr<explain_step> find_explains(std::string_view sql, bool is_first, bool is_alone);
    taken on_parse_explained(const client_view& m, outbox& to_server, outbox& to_client);
    taken on_bind_explained(const client_view& m, outbox& to_server);
    taken on_close_explained(const client_view& m, outbox& to_server, outbox& to_client);
    void note_execute(const client_view& m, ledger_entry& entry);
    void explain_settled(request kind, ledger_detail& of);
    void add_notices(std::string_view tag, explain_step& step, outbox& to_client);
    void tidy_explains(char status);

    // Relations that Signalbox provides: relay_relations.cpp.
    struct replaced {
        std::optional<wire::report> refused;
        sent_text_ptr sent;  // null: nothing is to be replaced
    };

    [[nodiscard]] bool may_read_relations(std::string_view sql) const noexcept;
    [[nodiscard]] std::vector<rewrite::relation_text> rows_of(const rewrite::relation_rewrite& plan
    ) const;
    replaced replace_relations(std::string_view sql, std::optional<std::size_t> declared);
    taken on_parse_text(const client_view& m, outbox& to_server, outbox& to_client);
    taken on_close_name(const client_view& m, outbox& to_server, outbox& to_client);
    void note_relations(const std::string& name, sent_text_ptr sent, std::size_t before);
    [[nodiscard]] bool must_wait_for_relations(std::string_view name) const;
    taken on_bind_rows(const client_view& m, outbox& to_server);
    taken on_describe_rows(const client_view& m, outbox& to_server);
    [[nodiscard]] sent_text_ptr relations_of(std::string_view name) const;
    void relations_settled(const named_relations& of, bool succeeded);
    static bool hide_parameter(std::string_view body, const sent_text& sent, outbox& to_client);
    [[nodiscard]] std::size_t original_position(std::size_t position, const ledger_entry* of) const;

    [[nodiscard]] command_request request_for(std::string_view sql) const;
    [[nodiscard]] std::optional<wire::report> find_syntax_error(
        std::string_view sql, const parser::verdict& found
    ) const;
    std::optional<command_reply> run_command(std::string_view sql);
    void run_own_unit(std::string_view sql, outbox& to_server, outbox& to_client);
    void end_own_unit(const command_reply& reply, outbox& to_server, outbox& to_client);
    void execute_own(
        const std::string& name, std::uint32_t limit, outbox& to_server, outbox& to_client
    );
    void answer_own(own_portal& portal, std::uint32_t limit, outbox& to_server, outbox& to_client);
    taken on_query(const client_view& m, outbox& to_server, outbox& to_client);
    taken on_parse(const client_view& m, outbox& to_server, outbox& to_client);
    taken on_bind(const client_view& m, outbox& to_server);
    taken on_describe(const client_view& m, outbox& to_server);
    taken on_close(const client_view& m, outbox& to_server, outbox& to_client);
    taken on_sync(const client_view& m, outbox& to_server);
    taken on_failed(const client_view& m, outbox& to_client);
    void pass(const client_view& m, outbox& to_server);
    void drop(const client_view& m);
    taken instead_of(const client_view& m, taken done);
    void note_hidden(const rewrite::hidden_effects& found);
    [[nodiscard]] bool may_be_misread(std::string_view sql) const noexcept;
    [[nodiscard]] rewrite::hidden_effects effects_of(std::string_view sql) const;
    [[nodiscard]] rewrite::hidden_effects effects_of(const rewrite::prepared_statement& statement
    ) const;
    void note_block_end(std::string_view sql) noexcept;
    void note_traits(const parser::text_traits& traits);
    ledger_entry& begin_query();
    taken forward_query(
        const parser::scanned_text& scanned,
        const client_view* m,
        outbox& to_server,
        outbox& to_client
    );
    void refuse(const wire::report& why, request kind, outbox& to_server);
    [[nodiscard]] std::optional<wire::report> refusal(const parser::text_traits& traits) const;
    [[nodiscard]] bool is_barrier(const parser::text_traits& traits) const noexcept;
    void parse_unnamed(
        const client_view& m,
        const wire::parse_message& p,
        const parser::text_traits& traits,
        outbox& to_server
    );
    std::uint32_t ensure_prepared(
        const rewrite::statement_ptr& statement, std::uint64_t ddl, outbox& to_server
    );
    [[nodiscard]] bool can_be_used(const rewrite::server_statements::slot& slot, std::uint64_t ddl)
        const noexcept;
    std::uint32_t prepare_anew(
        const rewrite::statement_ptr& statement, outbox& to_server, reply action
    );
    void note_unnamed();
    void hold_unnamed(std::uint64_t token) noexcept;
    [[nodiscard]] bool must_wait_for_unnamed() const noexcept;
    void ensure_unnamed(outbox& to_server);

    // A batch that is sent again: relay_repeat.cpp.
    void keep_for_repeat(bool from_its_start, std::string_view sent);
    bool repeat_batch(outbox& to_server);
    [[nodiscard]] bool asks_for_old_columns(
        const wire::report_view& said, const ledger_entry& failed
    ) const;

    // What currval() and lastval() give: relay_sequences.cpp.
    [[nodiscard]] bool has_foreign_sequences() const noexcept;
    void note_run() noexcept;
    decision before_query(const parser::scanned_text& text, outbox& to_server, outbox& to_client);
    decision before_query(
        const parser::scanned_text& text, bool reads_sequences, outbox& to_server, outbox& to_client
    );
    decision before_bind(const bind_effects& found, outbox& to_server);
    template <typename Asked>
    [[nodiscard]] bool may_read_later(Asked keeps_connection);
    [[nodiscard]] bool is_discarding() const noexcept;
    [[nodiscard]] bool is_discarded_in_batch() const noexcept;
    [[nodiscard]] bool can_discard_by_query() const noexcept;
    void discard_sequences(outbox& to_server);
    void discard_sequences_by_query(outbox& to_server);
    void discard_sequences_in_batch(outbox& to_server);
    void sequences_discarded() noexcept;

    // What a client was told of a statement's columns: relay_columns.cpp.
    enum class comparison { same, changed, unknown };
    comparison compare_columns(std::string_view name, outbox& to_server);
    static wire::report columns_changed(std::string detail);
    void ask_for_columns(const rewrite::statement_ptr& statement, outbox& to_server);
    void note_describe(std::string_view name);
    void columns_told(char type, std::string_view body, ledger_entry& entry);

    // DEALLOCATE: relay_deallocate.cpp.
    [[nodiscard]] std::string deallocated_name(const parser::text_traits& traits) const;
    std::string deallocation_tail(const std::string& name, outbox& to_server);
    [[nodiscard]] bool is_deallocation_of_old() const noexcept;
    void note_portal(std::string_view portal, bool of_unnamed);
    void note_deallocation(const client_view& m, ledger_entry& entry);
    void deallocation_settled(const ledger_detail& of, bool succeeded);
    void deallocate_locally(const std::string& name, outbox& to_client);
    [[nodiscard]] bool must_wait_for_name(std::string_view name, bool is_used) const;
    std::string server_name_for(std::string_view client_name, outbox& to_server, bool& known);
    std::string push_named(request kind, std::string_view client_name, outbox& to_server);

    bool on_server_message(
        char type,
        std::string_view whole,
        std::string_view body,
        outbox& to_client,
        outbox& to_server
    );
    void emit(std::string_view whole, bool swallowed, outbox& to_client);
    [[nodiscard]] std::string_view client_name_for(
        std::string_view server_name, const ledger_entry& failed
    ) const;
    bool on_error(
        std::string_view whole, std::string_view body, outbox& to_client, outbox& to_server
    );
    void abandon_batch();
    void confirm_unnamed(std::uint64_t token);
    void keep_in_flight();
    void leave_unnamed();
    void forget_unnamed() noexcept;
    void drop_unnamed() noexcept;
    void restore_unnamed();
    void unnamed_skipped(const ledger_entry& entry);
    [[nodiscard]] bool has_later_query() const noexcept;
    void drop_entry(ledger_entry& entry, bool skipped);
    void on_tag(std::string_view tag);
    void on_copy_in();
    bool on_ready(std::string_view whole, char status, outbox& to_client, outbox& to_server);
    void finish_batch(char status, outbox& to_client, outbox& to_server);
    bool finish_inspection(outbox& to_client);
    void write_ready(char status, outbox& to_client);
    void end_batch(char status) noexcept;
    void tell_heard(char status, outbox& to_client);
    bool change_channels();
    [[nodiscard]] bool listens_to(std::string_view message) const;
    [[nodiscard]] const std::vector<std::string>& channels() const noexcept;
    void on_direct_notification(std::string_view whole, std::string_view body, outbox& out);
    void settle(outbox& to_client);
    void sync_reported(outbox& to_client);
    void begin_setup(outbox& to_server, outbox& to_client);
    void finish_move();
    void prepare_carried(outbox& to_server);

    relay_environment& env_;
    const relay_settings& settings_;
    server_state* server_ = nullptr;
    rewrite::parameter_set_ptr startup_;
    rewrite::parameter_set_ptr parameters_;
    rewrite::parameter_set_ptr reported_;
    std::unique_ptr<rare_state> rare_;
    std::unique_ptr<statement_state> statements_;
    std::string_view login_role_;  // the pool's, which outlives the lease
    std::uint64_t unnamed_token_ = 0;
    std::size_t stream_left_ = 0;  // of a client message that is passed or dropped in pieces
    bool stream_dropped_ = false;
    bool open_batch_ = false;    // extended messages have been sent, and no Sync yet
    bool skip_locally_ = false;  // we raised the error: everything up to Sync is dropped here
    bool blocked_ = false;
    bool stalled_ = false;
    bool barrier_ = false;  // all names may be gone: what follows waits until that is known
    bool barrier_at_sync_ = false;
    bool named_in_batch_ = false;
    std::uint64_t batch_serial_ = 1;      // of extended batches, over all server connections
    std::uint64_t unnamed_noted_in_ = 0;  // the batch that knows what the unnamed statement does
    bool suspect_ =
        false;  // the server is to be asked for the session's state before it is released
    bool reset_seen_ = false;
    bool reset_committed_ = false;    // before the block that is open, if one is
    bool restored_in_block_ = false;  // the startup packet's values, after such a RESET
    bool default_parsed_ = false;     // SET … TO DEFAULT has been parsed: any SET may be that one
    bool hidden_ = false;             // see may_hide_state()
    rewrite::hidden_effects unnamed_effects_;  // of the unnamed statement
    bool unnamed_keeps_ = false;               // … which keeps the connection: keeps_connection()
    bool sql_prepared_ = false;                // PREPARE has been seen on this server connection
    bool can_be_read_ = true;                  // a text, in the encoding that has been reported
    parser::backslashes strings_ = parser::backslashes::plain;  // what has been reported of them
    bool discard_failed_ = false;
    bool goes_on_anew_ = false;        // the server has ended the client's batch with our Query
    bool has_run_ = false;             // something, since attach()
    std::uint64_t identity_ = 0;       // among all sessions, once it has had a server
    std::uint64_t discarding_in_ = 0;  // the batch of a DISCARD SEQUENCES under way; 0: none
    std::uint64_t bound_in_ = 0;       // the batch in which a portal was bound last
    std::string_view rest_;            // of the client's bytes at hand, behind the message
    bool looked_at_ = false;           // the message that waits has been looked at: it is forwarded
    bool plain_text_ = false;          // of the message at hand: nothing of it is to be decided
    char awaiting_channels_ = '\0';    // the status to be told once the channels are listened to
    bool channels_due_ = false;
    bool cutting_ = false;         // a cut is under way: what follows waits for its end
    bool begun_ = false;           // BEGIN stands in the batch under way
    bool cut_due_ = false;         // an RPC call has been executed: a Sync goes before what follows
    bool unnamed_sticks_ = false;  // the unnamed statement is too large to be kept here
    std::uint32_t executed_ = 0;   // Execute messages since the last Sync or cut
    bool makes_matview_ = false;   // CREATE MATERIALIZED VIEW is under way
    bool is_examined_ = false;     // the batch under way has changed what notices are about
    /// Session mode: the unnamed statement has been parsed, and not bound yet.
    bool unnamed_unused_ = false;
    bool is_moving_ = false;  // the inspection under way is begin_move()'s
    commit_count commits_;    // of the batch whose replies are coming
    std::unique_ptr<examination_state> examination_;
    std::unique_ptr<explain_state> explains_;  // null: no EXPLAIN is prepared
    std::optional<bool> movable_;              // what it has found
    demand demand_ = demand::nothing;
    open_question undecided_;
    std::unique_ptr<trouble> trouble_;
};

}  // namespace signalbox::proxy
