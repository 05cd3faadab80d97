// A model of a PostgreSQL server: answers the protocol by its rules, and runs a toy SQL whose
// results show the state.
//
// What is modelled: simple and extended queries, portals, the skipping after an error, transaction
// blocks, COPY, prepared statements by protocol and by SQL, run-time parameters with their
// transactional life, LISTEN and NOTIFY, advisory locks, rows that commit or not. A Query with
// several statements is one implicit transaction. The same client bytes given to one model directly
// and to others through relays must get the same replies.
//
//   select X | rows N | show NAME | set [local] NAME = X | reset NAME | reset all | discard all |
//   deallocate NAME|all prepare NAME as … | execute NAME | begin | commit | rollback | copy in |
//   copy out | listen X | unlisten * select pg_advisory_lock(X) | select pg_advisory_unlock_all() |
//   create table X () | insert X | notify CHANNEL PAYLOAD | fail (an error when it is run) |
//   select rpc() | select hidden() (makes state that nothing shows) | select nextval() X (draws X)
//   | select lastval() (what was drawn last) | discard sequences
// and the statements that Signalbox itself sends. Everything else is a syntax error.
#pragma once

#include "tests/support/messages.hpp"
#include "wire/bytes.hpp"

#include <cstdint>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace signalbox::tests {

class model_server {
public:
    using settings = std::map<std::string, std::string>;

    /// What has been notified, by a transaction that has committed.
    struct notified {
        std::uint32_t process_id = 0;
        std::string channel;
        std::string payload;
    };

    /// `startup`: what the startup packet has set. `separate_names`: SQL's PREPARE and EXECUTE do
    /// not see the names that the protocol has given, nor these them, as behind a pool.
    explicit model_server(settings startup = {}, bool separate_names = false)
        : startup_(std::move(startup)), separate_names_(separate_names) {
        for (const auto* name : {"application_name", "datestyle"}) {
            reported_[name] = value_of(name);
        }
    }

    /// Takes whole messages of a client and gives the replies.
    std::string feed(std::string_view stream) {
        for (const auto& f : split_frames(stream)) {
            on_message(f);
        }
        return std::exchange(out_, {});
    }

    bool is_copying() const noexcept { return copy_ != copy::none; }

    bool in_block() const noexcept { return status_ != 'I'; }

    char transaction_status() const noexcept { return status_; }

    bool is_skipping() const noexcept { return skipping_; }

    /// Statements of transactions that have committed since start_count().
    std::size_t committed_statements() const noexcept { return committed_statements_; }

    void start_count() noexcept {
        committed_statements_ = 0;
        statements_under_way_ = 0;
    }

    /// A statement that somebody else has carried out in its place.
    void note_statement() {
        ++statements_under_way_;
        if (status_ == 'I' && !implicit_) {
            end_transaction(true);
        }
    }

    /// A Sync of somebody else's: the implicit transaction ends; no ReadyForQuery.
    std::string cut() {
        if (status_ == 'I') {
            end_transaction(true);
        }
        implicit_ = false;
        tell_notified();
        return std::exchange(out_, {});
    }

    /// Somebody else has raised an error: in a block, by a message of its own that fails.
    void fail_block(bool keeps_unnamed) {
        if (status_ == 'T') {
            status_ = 'E';
            if (!keeps_unnamed) {
                forget_unnamed();
            }
        }
    }

    /// The text of a statement that the protocol has prepared; empty: there is none.
    std::string statement_text(std::string_view name) const {
        const auto it = statements_.find(std::string{name});
        return it == statements_.end() ? std::string{} : it->second.text;
    }

    bool has_statement(std::string_view name) const {
        return statements_.contains(std::string{name});
    }

    void forget_unnamed() { statements_.erase(""); }

    /// Has DEALLOCATE ALL or DISCARD ALL succeeded since the last call?
    bool take_forgot() noexcept { return std::exchange(forgot_, false); }

    /// What `insert` has left, in order of the commits.
    const std::vector<std::string>& rows() const noexcept { return rows_; }

    /// Every `insert` that was executed, whatever became of it.
    const std::vector<std::string>& inserted() const noexcept { return inserted_; }

    std::uint32_t process_id = 1;

    std::vector<notified> take_notified() { return std::exchange(notified_, {}); }

    /// Another server process has notified.
    void hear(const notified& what) {
        if (listening_.contains(what.channel)) {
            heard_.push_back(what);
        }
    }

    bool has_hidden_state() const noexcept { return hidden_; }

    /// As rewrite::tidy_sql().
    void tidy() noexcept {
        hidden_ = false;
        drawn_.reset();
    }

    /// Extended messages have been run, and no Sync or Query behind them.
    bool has_open_batch() const noexcept { return implicit_; }

    const std::set<std::string>& channels() const noexcept { return listening_; }

    /// Nothing of the session is left that another session could meet, but parameters and channels.
    bool is_clean() const {
        return status_ == 'I' && !implicit_ && !skipping_ && !is_copying() && locks_.empty() &&
               portals_.empty() && !has_sql_statements();
    }

    const settings& reported() const noexcept { return reported_; }

private:
    enum class copy { none, simple, extended };

    struct statement {
        std::string text;
        bool from_sql = false;
    };

    struct portal {
        std::string text;
        std::size_t sent = 0;
        bool done = false;
    };

    struct failure {
        std::string sqlstate;
        std::string text;
    };

    using outcome = std::optional<failure>;

    bool has_sql_statements() const {
        for (const auto& [name, held] : statements_) {
            if (held.from_sql) {
                return true;
            }
        }
        return false;
    }

    void on_message(const frame& f) {
        if (is_copying()) {
            on_copy_message(f);
            return;
        }
        if (skipping_ && f.type != 'S') {
            return;
        }
        switch (f.type) {
            case 'Q':
                on_query(f);
                return;
            case 'P':
            case 'B':
            case 'D':
            case 'C':
            case 'E':
                begin_implicit();
                if (const auto failed = on_extended(f)) {
                    fail(*failed);
                    skipping_ = true;
                }
                return;
            case 'F':
                begin_implicit();
                if (status_ == 'E') {
                    fail(aborted());
                } else {
                    out_ += message('V', std::string_view{"\xff\xff\xff\xff", 4});
                }
                ready_for_query();
                return;
            case 'S':
                skipping_ = false;
                ready_for_query();
                return;
            default:  // Flush, and COPY messages that come too late
                return;
        }
    }

    void on_copy_message(const frame& f) {
        switch (f.type) {
            case 'd':
                copied_ += f.body.size();
                return;
            case 'H':
            case 'S':
                return;
            case 'c':
                out_ += complete("COPY " + std::to_string(copied_));
                ++statements_under_way_;
                if (std::exchange(copy_, copy::none) == copy::simple) {
                    run_batch();
                }
                return;
            default: {
                const bool simple = std::exchange(copy_, copy::none) == copy::simple;
                batch_.clear();
                fail({"57014", "COPY from stdin failed"});
                if (simple) {
                    ready_for_query();
                } else {
                    skipping_ = true;
                }
                return;
            }
        }
    }

    void on_query(const frame& f) {
        const auto text = trimmed(std::string_view{f.body}.substr(0, f.body.size() - 1));
        begin_implicit();
        statements_.erase("");
        if (text.empty()) {
            out_ += empty_query();
            ready_for_query();
            return;
        }
        batch_.clear();
        for (std::size_t at = 0; at < text.size();) {
            const auto end = std::min(text.find(';', at), text.size());
            if (const auto one = trimmed(text.substr(at, end - at)); !one.empty()) {
                batch_.emplace_back(one);
            }
            at = end + 1;
        }
        several_ = batch_.size() > 1;
        for (const auto& one : batch_) {
            if (!is_known(one)) {  // the text is parsed as a whole
                fail({"42601", "syntax error"});
                batch_.clear();
                break;
            }
        }
        run_batch();
    }

    /// The statements of a Query that are left.
    void run_batch() {
        while (!batch_.empty()) {
            const auto one = batch_.front();
            batch_.erase(batch_.begin());
            portal whole{one};
            outcome failed;
            if (status_ == 'E' && !ends_block(one)) {
                failed = aborted();
            } else {
                if (has_rows(one)) {
                    out_ += columns({"v"});
                }
                failed = run(whole, 0, copy::simple);
            }
            if (failed) {
                fail(*failed);
                batch_.clear();
            } else if (is_copying()) {
                return;
            }
        }
        ready_for_query();
    }

    outcome on_extended(const frame& f) {
        wire::byte_reader in{f.body};
        switch (f.type) {
            case 'P': {
                const auto p = wire::parse_parse(f.body).value();
                if (p.name.empty()) {
                    statements_.erase("");
                }
                if (!is_known(trimmed(p.text))) {
                    return failure{"42601", "syntax error"};
                }
                if (status_ == 'E' && !ends_block(trimmed(p.text))) {
                    return aborted();
                }
                if (!p.name.empty() && statements_.contains(std::string{p.name})) {
                    return failure{
                        "42P05",
                        "prepared statement \"" + std::string{p.name} + "\" already exists"};
                }
                statements_[std::string{p.name}] = {std::string{trimmed(p.text)}};
                out_ += parse_complete();
                return {};
            }
            case 'B': {
                const auto names = wire::parse_bind_names(f.body).value();
                const auto* const held = find_statement(names.statement);
                if (held == nullptr) {
                    return missing_statement(names.statement);
                }
                if (status_ == 'E' && !ends_block(held->text)) {
                    return aborted();
                }
                const std::string name{names.portal};
                if (!name.empty() && portals_.contains(name)) {
                    return failure{"42P03", "cursor \"" + name + "\" already exists"};
                }
                portals_[name] = {held->text};
                out_ += bind_complete();
                return {};
            }
            case 'D': {
                const char kind = static_cast<char>(in.u8());
                const std::string name{in.cstring()};
                std::string text;
                if (kind == 'S') {
                    const auto* const held = find_statement(name);
                    if (held == nullptr) {
                        return missing_statement(name);
                    }
                    text = held->text;
                } else {
                    const auto it = portals_.find(name);
                    if (it == portals_.end()) {
                        return failure{"34000", "portal \"" + name + "\" does not exist"};
                    }
                    text = it->second.text;
                }
                if (status_ == 'E' && has_rows(text)) {
                    return aborted();
                }
                if (kind == 'S') {
                    out_ += parameter_types();
                }
                out_ += has_rows(text) ? columns({"v"}) : no_data();
                return {};
            }
            case 'C': {
                const char kind = static_cast<char>(in.u8());
                const std::string name{in.cstring()};
                if (kind == 'S') {
                    if (statements_.erase(name) == 0 && !name.empty()) {
                        statements_.erase(sql_name(name));
                    }
                } else {
                    portals_.erase(name);
                }
                out_ += close_complete();
                return {};
            }
            default: {
                const std::string name{in.cstring()};
                const auto rows = in.u32();
                const auto it = portals_.find(name);
                if (it == portals_.end()) {
                    return failure{"34000", "portal \"" + name + "\" does not exist"};
                }
                if (it->second.text.empty()) {
                    out_ += empty_query();
                    return {};
                }
                if (status_ == 'E' && !ends_block(it->second.text)) {
                    return aborted();
                }
                portal running = it->second;  // it may go with the transaction that it ends
                const auto failed = run(running, rows, copy::extended);
                if (const auto still = portals_.find(name); still != portals_.end()) {
                    still->second = running;
                }
                return failed;
            }
        }
    }

    /// Runs a statement, and answers up to its CommandComplete.
    outcome run(portal& what, std::uint32_t limit, copy how) {
        const auto text_before = what.text;
        const bool ends = ends_block(text_before);
        statements_under_way_ += ends ? 1 : 0;  // it counts with what it ends
        auto failed = run_uncounted(what, limit, how);
        if (!failed && !ends && !is_copying() && !std::exchange(suspended_, false)) {
            ++statements_under_way_;
        }
        return failed;
    }

    outcome run_uncounted(portal& what, std::uint32_t limit, copy how) {
        const std::string_view text = what.text;
        if (what.done && !has_rows(text)) {
            return failure{"55000", "portal cannot be run"};
        }
        const auto after = [text](std::string_view word) {
            return trimmed(text.substr(word.size()));
        };
        if (has_rows(text)) {
            return run_rows(what, limit);
        }
        if (!is_known(text)) {
            return failure{"42601", "syntax error"};
        }
        what.done = true;
        if (text == "fail") {
            return failure{"XX000", "failed"};
        }
        if (text == "begin") {
            if (status_ == 'T') {
                out_ += notice("there is already a transaction in progress");
            } else {
                status_ = 'T';
            }
            out_ += complete("BEGIN");
        } else if (text == "commit") {
            const bool failed = status_ == 'E';
            end_transaction(!failed);
            out_ += complete(failed ? "ROLLBACK" : "COMMIT");
        } else if (text == "rollback") {
            end_transaction(false);
            out_ += complete("ROLLBACK");
        } else if (text == "copy in") {
            copy_ = how;
            copied_ = 0;
            out_ += copy_in();
        } else if (text == "copy out") {
            out_ += copy_out() + copy_data("a") + copy_data("b") + copy_done() + complete("COPY 2");
        } else if (text.starts_with("insert ")) {
            inserted_.emplace_back(after("insert"));
            rows_under_way_.emplace_back(after("insert"));
            out_ += complete("INSERT 0 1");
        } else if (text.starts_with("notify ")) {
            const auto rest = after("notify");
            const auto space = std::min(rest.find(' '), rest.size());
            notified_under_way_.push_back(
                {process_id,
                 std::string{rest.substr(0, space)},
                 std::string{trimmed(rest.substr(space))}}
            );
            out_ += complete("NOTIFY");
        } else if (text == "discard all") {
            return discard_all();
        } else if (text == "discard sequences" || text == "DISCARD SEQUENCES") {
            drawn_.reset();
            out_ += complete("DISCARD SEQUENCES");
        } else if (text.starts_with("set local ")) {
            const auto [name, value] = assignment(after("set local"));
            local_[name] = value;
            out_ += complete("SET");
        } else if (text.starts_with("set ")) {
            const auto [name, value] = assignment(after("set"));
            local_.erase(name);
            session_[name] = value;
            out_ += complete("SET");
        } else if (text.starts_with("reset ") || text.starts_with("RESET ")) {
            const auto name = unquoted(after("reset"));
            if (name == "all") {
                session_.clear();
                local_.clear();
            } else {
                session_.erase(name);
                local_.erase(name);
            }
            out_ += complete("RESET");
        } else if (text.starts_with("deallocate ") || text.starts_with("DEALLOCATE ")) {
            const auto name = unquoted(after("deallocate"));
            if (name == "all") {
                forget_statements();
                out_ += complete("DEALLOCATE ALL");
            } else if (name.empty() || (statements_.erase(name) == 0 && statements_.erase(sql_name(name)) == 0)) {
                return missing_statement(name);
            } else {
                out_ += complete("DEALLOCATE");
            }
        } else if (text.starts_with("prepare ")) {
            const auto rest = after("prepare");
            const auto as = rest.find(" as ");
            const std::string name{rest.substr(0, as)};
            if (statements_.contains(sql_name(name))) {
                return failure{"42P05", "prepared statement \"" + name + "\" already exists"};
            }
            statements_[sql_name(name)] = {std::string{trimmed(rest.substr(as + 4))}, true};
            out_ += complete("PREPARE");
        } else if (text.starts_with("listen ")) {
            listening_.insert(std::string{after("listen")});
            out_ += complete("LISTEN");
        } else if (text.starts_with("LISTEN \"")) {
            listening_.insert(std::string{text.substr(8, text.size() - 9)});
            out_ += complete("LISTEN");
        } else if (text.starts_with("unlisten ") || text == "UNLISTEN *") {
            listening_.clear();
            out_ += complete("UNLISTEN");
        } else {
            out_ += complete("CREATE TABLE");
        }
        return {};
    }

    outcome run_rows(portal& what, std::uint32_t limit) {
        std::vector<std::string> rows;
        const std::string_view text = what.text;
        std::string tag = "SELECT";
        if (text.starts_with("show ")) {
            rows.push_back(row({value_of(unquoted(trimmed(text.substr(5))))}));
            tag = "SHOW";
        } else if (text.starts_with("rows ")) {
            for (int i = 0; i < text[5] - '0'; ++i) {
                rows.push_back(row({std::to_string(i)}));
            }
        } else if (text.starts_with("execute ")) {
            const std::string name{trimmed(text.substr(8))};
            const auto held = statements_.find(sql_name(name));
            if (held == statements_.end()) {
                return missing_statement(name);
            }
            portal inner{held->second.text};
            return run_uncounted(inner, 0, copy::extended);
        } else if (text.starts_with("SELECT 'set', s.name::text")) {
            rows = inspection(text);
        } else if (text.starts_with("SELECT pg_catalog.set_config")) {
            own_settings(text);
            rows.push_back(row({""}));
        } else if (text.starts_with("select nextval() ")) {
            drawn_ = std::string{trimmed(text.substr(17))};
            rows.push_back(row({*drawn_}));
        } else if (text == "select lastval()") {
            if (!drawn_) {
                return failure{"55000", "lastval is not yet defined in this session"};
            }
            rows.push_back(row({*drawn_}));
        } else if (text == "select hidden()") {
            hidden_ = true;
            rows.push_back(row({""}));
        } else if (text.starts_with("select pg_advisory_lock(")) {
            if (!what.done) {
                locks_.insert(std::string{text});
            }
            rows.push_back(row({""}));
        } else if (text.starts_with("select pg_advisory_unlock_all(")) {
            locks_.clear();
            rows.push_back(row({""}));
        } else {
            rows.push_back(row({std::string{trimmed(text.substr(6))}}));
        }
        what.done = true;
        std::size_t sent = 0;
        while (what.sent < rows.size() && (limit == 0 || sent < limit)) {
            out_ += rows[what.sent++];
            ++sent;
        }
        if (limit != 0 && sent == limit) {
            out_ += suspended();
            suspended_ = true;
        } else {
            out_ += complete(tag == "SHOW" ? tag : tag + " " + std::to_string(sent));
        }
        return {};
    }

    outcome discard_all() {
        if (status_ != 'I' || several_) {
            return failure{"25001", "DISCARD ALL cannot run inside a transaction block"};
        }
        session_.clear();
        local_.clear();
        listening_.clear();
        locks_.clear();
        drawn_.reset();
        forget_statements();
        out_ += complete("DISCARD ALL");
        return {};
    }

    /// The rows of Signalbox's question about the session's state.
    std::vector<std::string> inspection(std::string_view text) const {
        std::vector<std::string> rows;
        for (const auto& [name, value] : session_) {
            if (name.find('.') == std::string::npos) {
                rows.push_back(row({"set", name, value}));
            }
        }
        for (const auto& [name, held] : statements_) {
            if (held.from_sql) {
                rows.push_back(row({"prepared statement", name, ""}));
            }
        }
        if (!locks_.empty()) {
            rows.push_back(row({"advisory lock", "", ""}));
        }
        for (const auto& channel : listening_) {
            rows.push_back(row({"LISTEN", channel, ""}));
        }
        const auto custom = text.find("(VALUES ");
        if (custom != std::string_view::npos) {
            for (const auto& name : literals(text.substr(custom))) {
                if (name.find('.') != std::string::npos && !value_of(name).empty()) {
                    rows.push_back(row({"set", name, value_of(name)}));
                }
            }
        }
        return rows;
    }

    /// set_config() of pairs: unconditionally, or (the restoration) where the session has set
    /// nothing.
    void own_settings(std::string_view text) {
        const bool restores = text.find("(VALUES ") != std::string_view::npos;
        auto found = literals(text);
        for (std::size_t i = 0; i + 1 < found.size(); i += 2) {
            if (!restores || !session_.contains(found[i])) {
                local_.erase(found[i]);
                session_[found[i]] = found[i + 1];
            }
        }
    }

    static std::vector<std::string> literals(std::string_view text) {
        std::vector<std::string> found;
        for (auto at = text.find("E'"); at != std::string_view::npos; at = text.find("E'", at)) {
            const auto end = text.find('\'', at + 2);
            found.emplace_back(text.substr(at + 2, end - at - 2));
            at = end + 1;
        }
        return found;
    }

    static std::string_view trimmed(std::string_view text) {
        while (!text.empty() && (text.front() == ' ' || text.front() == ';')) {
            text.remove_prefix(1);
        }
        while (!text.empty() && (text.back() == ' ' || text.back() == ';')) {
            text.remove_suffix(1);
        }
        return text;
    }

    static std::string unquoted(std::string_view name) {
        std::string out;
        for (const char c : name) {
            if (c != '"') {
                out += c;
            }
        }
        return out;
    }

    static std::pair<std::string, std::string> assignment(std::string_view text) {
        const auto equals = text.find('=');
        return {
            std::string{trimmed(text.substr(0, equals))},
            std::string{equals == std::string_view::npos ? "" : trimmed(text.substr(equals + 1))}};
    }

    static bool ends_block(std::string_view text) { return text == "commit" || text == "rollback"; }

    static bool has_rows(std::string_view text) {
        return text.starts_with("select ") || text.starts_with("SELECT ") ||
               text.starts_with("rows ") || text.starts_with("show ") ||
               text.starts_with("execute ");
    }

    static bool is_known(std::string_view text) {
        if (text.empty() || has_rows(text)) {
            return true;
        }
        for (const std::string_view word :
             {"begin",
              "commit",
              "rollback",
              "fail",
              "copy in",
              "copy out",
              "discard all",
              "discard sequences",
              "DISCARD SEQUENCES"}) {
            if (text == word) {
                return true;
            }
        }
        for (const std::string_view word :
             {"set ",
              "reset ",
              "RESET ",
              "deallocate ",
              "DEALLOCATE ",
              "prepare ",
              "listen ",
              "LISTEN ",
              "unlisten ",
              "UNLISTEN ",
              "insert ",
              "notify ",
              "create "}) {
            if (text.starts_with(word)) {
                return true;
            }
        }
        return false;
    }

    std::string value_of(const std::string& name) const {
        for (const auto* layer : {&local_, &session_, &startup_}) {
            if (const auto it = layer->find(name); it != layer->end()) {
                return it->second;
            }
        }
        return {};
    }

    const statement* find_statement(std::string_view name) const {
        auto it = statements_.find(std::string{name});
        if (it == statements_.end() && !name.empty()) {
            it = statements_.find(sql_name(name));
        }
        return it == statements_.end() ? nullptr : &it->second;
    }

    /// Under which SQL's PREPARE keeps a name.
    std::string sql_name(std::string_view name) const {
        return (separate_names_ ? "\1" : "") + std::string{name};
    }

    static failure missing_statement(std::string_view name) {
        return {
            "26000",
            name.empty() ? "unnamed prepared statement does not exist"
                         : "prepared statement \"" + std::string{name} + "\" does not exist"};
    }

    static failure aborted() { return {"25P02", "current transaction is aborted"}; }

    void forget_statements() {
        const auto unnamed = statements_.extract("");
        statements_.clear();
        forgot_ = true;
        if (!unnamed.empty()) {
            statements_[""] = unnamed.mapped();
        }
    }

    void begin_implicit() {
        if (status_ == 'I' && !implicit_) {
            saved_ = session_;
            saved_listening_ = listening_;
        }
        implicit_ = true;
    }

    void end_transaction(bool committed) {
        if (committed) {
            committed_statements_ += statements_under_way_;
            rows_.insert(rows_.end(), rows_under_way_.begin(), rows_under_way_.end());
            for (auto& each : notified_under_way_) {
                if (listening_.contains(each.channel)) {
                    heard_.push_back(each);
                }
                notified_.push_back(std::move(each));
            }
        } else {
            session_ = saved_;
            listening_ = saved_listening_;
        }
        statements_under_way_ = 0;
        rows_under_way_.clear();
        notified_under_way_.clear();
        local_.clear();
        portals_.clear();
        status_ = 'I';
        saved_ = session_;
        saved_listening_ = listening_;
    }

    void fail(const failure& why) {
        out_ += error(why.sqlstate, why.text);
        if (status_ == 'I') {
            end_transaction(false);
        } else {
            status_ = 'E';
        }
    }

    void ready_for_query() {
        if (status_ == 'I') {
            end_transaction(true);
        }
        implicit_ = false;
        several_ = false;
        tell_notified();
        for (auto& [name, told] : reported_) {
            if (const auto now = value_of(name); now != told) {
                told = now;
                out_ += status(name, now);
            }
        }
        out_ += ready(status_);
    }

    void tell_notified() {
        if (status_ == 'I') {
            for (const auto& each : std::exchange(heard_, {})) {
                out_ += notification(each.process_id, each.channel, each.payload);
            }
        }
    }

    settings startup_;
    bool separate_names_;
    settings session_;
    settings local_;
    settings saved_;
    settings reported_;
    std::set<std::string> listening_;
    std::set<std::string> saved_listening_;
    std::set<std::string> locks_;
    std::map<std::string, statement> statements_;
    std::map<std::string, portal> portals_;
    char status_ = 'I';
    bool implicit_ = false;
    bool skipping_ = false;
    copy copy_ = copy::none;
    std::size_t copied_ = 0;
    std::vector<std::string> batch_;  // of a Query: the statements that are left
    bool several_ = false;
    std::size_t committed_statements_ = 0;
    std::size_t statements_under_way_ = 0;
    std::vector<std::string> rows_;
    std::vector<std::string> rows_under_way_;
    std::vector<std::string> inserted_;
    std::vector<notified> notified_;  // to be told to the other processes
    std::vector<notified> notified_under_way_;
    std::vector<notified> heard_;  // to be told between transactions
    bool suspended_ = false;
    bool hidden_ = false;
    std::optional<std::string> drawn_;  // what lastval() gives
    bool forgot_ = false;
    std::string out_;
};

}  // namespace signalbox::tests
