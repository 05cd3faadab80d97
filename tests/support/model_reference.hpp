// What a client is to see: a model server of its own, and before it the rules of Signalbox that a
// client can tell from PostgreSQL's, stated once more and without any of the machinery.
//
//   - a batch is run in units where the policy says so, and around statements of ours (DESIGN
//     sections 4 and 5); a pipeline is cut around calls of RPC functions;
//   - behind an error that ends a batch, a warning says how many of its statements are committed;
//   - what SQL and the protocol prepare have names apart, but in session mode.
//
// Its statements are those of the model server; `show connections`, `alter connection …` and `drop
// connection …` are Signalbox's, as test_commands answers them; `rpc()` is an RPC function.
#pragma once

#include "proxy/relay.hpp"
#include "tests/support/model_server.hpp"

#include <map>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace signalbox::tests {

class model_reference {
    const proxy::relay_settings& settings_;

public:
    model_reference(model_server::settings startup, const proxy::relay_settings& settings)
        : settings_(settings),
          model(std::move(startup), settings.mode != proxy::pool_mode::session) {}

    std::string feed(std::string_view stream) {
        for (const auto& f : split_frames(stream)) {
            on_message(f);
        }
        return std::exchange(out_, {});
    }

    bool is_copying() const noexcept { return model.is_copying(); }

    /// Messages of the extended protocol have been taken, and no Sync or Query behind them.
    bool has_open_batch() const noexcept { return unsynced_; }

    bool in_block() const noexcept { return model.in_block(); }

    const model_server::settings& reported() const noexcept { return model.reported(); }

    model_server model;

private:
    using policy = rewrite::multi_statement_policy;

    struct piece {
        std::string text;
        bool ours = false;
        bool rpc = false;
        bool begins = false;
        bool ends = false;
    };

    struct unit {
        std::string text;
        bool ours = false;
        bool refused = false;  // an RPC call in a block
    };

    struct batch_run {
        std::vector<unit> units;
        std::size_t at = 0;
        bool failed = false;
    };

    struct own_portal {
        std::string text;
        bool done = false;
        std::optional<wire::report> failed;
        std::size_t row = 0;
    };

    static bool is_ours(std::string_view text) {
        return text.find(" connection") != std::string_view::npos;
    }

    static bool calls_rpc(std::string_view text) {
        return text.find("rpc()") != std::string_view::npos;
    }

    static std::vector<piece> pieces_of(std::string_view text) {
        std::vector<piece> found;
        for (std::size_t at = 0; at < text.size();) {
            const auto end = std::min(text.find(';', at), text.size());
            auto one = text.substr(at, end - at);
            while (one.starts_with(' ')) {
                one.remove_prefix(1);
            }
            if (!one.empty()) {
                found.push_back(
                    {std::string{one},
                     is_ours(one),
                     calls_rpc(one),
                     one == "begin",
                     one == "commit" || one == "rollback"}
                );
            }
            at = end + 1;
        }
        return found;
    }

    bool looks() const noexcept { return settings_.rules != nullptr; }

    bool splits() const noexcept {
        return settings_.multi_statement == policy::split ||
               settings_.multi_statement == policy::split_on_rpc;
    }

    bool is_skipping() const noexcept { return skipping_ || model.is_skipping(); }

    void on_message(const frame& f) {
        if (std::string_view{"PBDCE"}.find(f.type) != std::string_view::npos) {
            unsynced_ = true;
        } else if (std::string_view{"QSF"}.find(f.type) != std::string_view::npos) {
            unsynced_ = false;
        }
        if (model.is_copying() && run_) {
            if (f.type == 'H') {
                return;
            }
            if (f.type == 'd' || f.type == 'c' || f.type == 'f') {
                take(model.feed(message(f.type, f.body)));
                go_on();
                return;
            }
            take(model.feed(copy_fail("unexpected message")));
            go_on();
        } else if (model.is_copying()) {
            pass(f);
            if (!model.is_copying() && !model.has_open_batch()) {
                end_batch();
            }
            return;
        }
        if (is_skipping() && f.type != 'S') {
            return;
        }
        if (cut_due_ && std::string_view{"SHdcf"}.find(f.type) == std::string_view::npos &&
            !continues_rpc(f)) {
            cut();
        }
        switch (f.type) {
            case 'Q':
                on_query(f);
                return;
            case 'P':
                on_parse(f);
                return;
            case 'B':
                on_bind(f);
                return;
            case 'D':
            case 'C':
                on_target(f);
                return;
            case 'E':
                on_execute(f);
                return;
            case 'S':
                skipping_ = false;
                cut_due_ = false;
                rpc_portals_.clear();
                pass(f);
                end_batch();
                return;
            case 'F':
                pass(f);
                end_batch();
                return;
            default:
                pass(f);
        }
    }

    /// More of what the call returns.
    bool continues_rpc(const frame& f) const {
        if (f.type == 'E') {
            return rpc_portals_.contains(f.body.substr(0, f.body.find('\0')));
        }
        if (f.type == 'D' || f.type == 'C') {
            const auto target = wire::parse_named_target(f.body).value();
            return target.kind == 'P' && rpc_portals_.contains(std::string{target.name});
        }
        return false;
    }

    void end_batch() {
        open_ = false;
        executed_ = 0;
        is_split_ = false;
        model.start_count();
        if (model.transaction_status() == 'I') {
            own_portals_.clear();
        }
    }

    void pass(const frame& f) { take(model.feed(message(f.type, f.body))); }

    /// Replies of the model; while a batch is run, without its ReadyForQuery.
    void take(std::string_view replies) {
        for (const auto& f : split_frames(replies)) {
            if (f.type == 'Z' && run_) {
                continue;
            }
            out_ += message(f.type, f.body);
            if (f.type == 'E') {
                warn();
                if (run_) {
                    run_->failed = true;
                }
            }
        }
        if (model.take_forgot()) {
            std::erase_if(own_statements_, [](const auto& each) { return !each.first.empty(); });
        }
    }

    void warn() {
        if (const auto count = model.committed_statements(); is_split_ && count > 0) {
            wire::write_notice_response(out_, proxy::committed_warning(count, 0));
            model.start_count();
        }
    }

    void reject(const wire::report& why, bool of_bind = false) {
        model.fail_block(of_bind && settings_.mode != proxy::pool_mode::session);
        wire::write_error_response(out_, why);
        warn();
    }

    static wire::report rpc_refused() {
        return report("25001", "RPC functions must not be called inside a transaction block");
    }

    static wire::report report(std::string_view sqlstate, std::string_view text) {
        return {
            .severity = "ERROR",
            .sqlstate = std::string{sqlstate},
            .message = std::string{text},
            .detail = {},
            .hint = {}};
    }

    void cut() {
        cut_due_ = false;
        rpc_portals_.clear();
        if (open_) {
            is_split_ = true;
            take(model.cut());
            open_ = false;
            executed_ = 0;
        }
    }

    // ---- simple

    void on_query(const frame& f) {
        const auto text = f.body.substr(0, f.body.size() - 1);
        const auto pieces = looks() ? pieces_of(text) : std::vector<piece>{};
        own_statements_.erase("");
        bool ours = false;
        bool rpc = false;
        for (const auto& each : pieces) {
            ours = ours || each.ours;
            rpc = rpc || each.rpc;
        }
        const bool several = pieces.size() > 1;
        const bool refused = several && settings_.multi_statement == policy::single;
        if (refused || ours || rpc || (several && settings_.multi_statement == policy::split)) {
            cut();
            if (settings_.mode != proxy::pool_mode::session) {
                model.forget_unnamed();
            }
            if (refused) {
                reject(report("0A000", "multi-statement requests are not allowed on this route"));
                out_ += ready(model.transaction_status());
                end_batch();
                return;
            }
            auto units = units_of(pieces);
            if (!units.empty()) {
                run_ = batch_run{std::move(units)};
                is_split_ = true;
                go_on();
                return;
            }
        }
        pass(f);
        if (!model.is_copying()) {
            end_batch();
        }
    }

    bool rpc_outside(const std::vector<piece>& pieces) const {
        bool in_block = model.in_block();
        for (const auto& each : pieces) {
            if (each.rpc && !in_block) {
                return true;
            }
            in_block = each.begins || (in_block && !each.ends);
        }
        return false;
    }

    /// Empty: the batch is one Query, as it is.
    std::vector<unit> units_of(const std::vector<piece>& pieces) const {
        const bool split =
            pieces.size() > 1 && !model.in_block() &&
            (settings_.multi_statement == policy::split ||
             (settings_.multi_statement == policy::split_on_rpc && rpc_outside(pieces)));
        std::vector<unit> units;
        bool in_block = model.in_block();
        bool may_join = false;
        bool any_alone = false;
        for (const auto& each : pieces) {
            const bool refused =
                each.rpc && in_block && settings_.rpc == proxy::rpc_in_transaction::refuse;
            const bool alone = each.ours || refused;
            if (may_join && !alone) {
                units.back().text += ";" + each.text;
            } else {
                units.push_back({each.text, each.ours, refused});
            }
            any_alone = any_alone || alone;
            in_block = each.begins || (in_block && !each.ends);
            may_join = !alone && (!split || in_block);
        }
        if (!split && !any_alone) {
            units.clear();
        }
        return units;
    }

    void go_on() {
        while (run_ && !model.is_copying()) {
            if (run_->failed || run_->at == run_->units.size()) {
                run_.reset();
                out_ += ready(model.transaction_status());
                end_batch();
                return;
            }
            const auto& next = run_->units[run_->at++];
            if (next.refused && model.transaction_status() != 'E') {
                reject(rpc_refused());
                run_->failed = true;
                continue;
            }
            if (!next.ours) {
                take(model.feed(query(next.text)));
                continue;
            }
            if (const auto why = command(next.text)) {
                reject(*why);
                run_->failed = true;
                continue;
            }
            if (is_show(next.text)) {
                out_ += columns({"name"}) + row({"main"}) + row({std::nullopt});
            }
            out_ += complete(tag(next.text));
            model.note_statement();
        }
    }

    // ---- statements of ours

    static bool is_show(std::string_view text) { return text.starts_with("show"); }

    static std::string tag(std::string_view text) {
        if (is_show(text)) {
            return "SHOW";
        }
        return text.starts_with("alter") ? "ALTER CONNECTION" : "DROP CONNECTION";
    }

    /// Why it fails.
    std::optional<wire::report> command(std::string_view text) const {
        if (model.transaction_status() == 'E') {
            return report(
                "25P02",
                "current transaction is aborted, commands ignored until end of transaction block"
            );
        }
        if (model.transaction_status() == 'T' && !is_show(text)) {
            return report("25001", tag(text) + " cannot run inside a transaction block");
        }
        if (text.find("bad") != std::string_view::npos) {
            return report("42704", "no such connection");
        }
        return {};
    }

    // ---- extended

    void on_parse(const frame& f) {
        const auto p = wire::parse_parse(f.body).value();
        const std::string name{p.name};
        const bool ours = looks() && is_ours(p.text);
        if (ours || (!name.empty() && own_statements_.contains(name))) {
            cut();
            if (!name.empty() && (own_statements_.contains(name) || model.has_statement(name))) {
                reject(report("42P05", "prepared statement \"" + name + "\" already exists"));
                skipping_ = true;
                return;
            }
            if (name.empty() && settings_.mode != proxy::pool_mode::session) {
                model.forget_unnamed();
            }
            own_statements_[name] = p.text;
            out_ += parse_complete();
            return;
        }
        if (name.empty()) {
            own_statements_.erase("");
        }
        open_ = true;
        pass(f);
    }

    void on_bind(const frame& f) {
        const auto names = wire::parse_bind_names(f.body).value();
        const std::string portal{names.portal};
        if (const auto own = own_statements_.find(std::string{names.statement});
            own != own_statements_.end()) {
            cut();
            own_portals_[portal] = own_portal{own->second, false, {}, 0};
            out_ += bind_complete();
            return;
        }
        own_portals_.erase(portal);
        rpc_portals_.erase(portal);
        if (looks() && calls_rpc(model.statement_text(names.statement))) {
            if (splits() && executed_ > 0) {
                cut();
            }
            if (model.transaction_status() == 'T' &&
                settings_.rpc == proxy::rpc_in_transaction::refuse) {
                reject(rpc_refused(), true);
                skipping_ = true;
                open_ = true;
                return;
            }
            if (model.transaction_status() == 'I' && splits()) {
                rpc_portals_.insert(portal);
            }
        }
        open_ = true;
        pass(f);
    }

    void on_target(const frame& f) {
        const auto target = wire::parse_named_target(f.body).value();
        const std::string name{target.name};
        const auto statement = own_statements_.find(name);
        const auto portal = own_portals_.find(name);
        const bool is_statement = target.kind == 'S';
        if (is_statement ? statement == own_statements_.end() : portal == own_portals_.end()) {
            open_ = true;
            pass(f);
            return;
        }
        cut();
        if (f.type == 'C') {
            if (is_statement) {
                own_statements_.erase(statement);
            } else {
                own_portals_.erase(portal);
            }
            out_ += close_complete();
            return;
        }
        if (is_statement) {
            out_ += parameter_types();
        }
        out_ += is_show(is_statement ? statement->second : portal->second.text) ? columns({"name"})
                                                                                : no_data();
    }

    void on_execute(const frame& f) {
        const auto name = f.body.substr(0, f.body.find('\0'));
        const auto limit = wire::load_u32(f.body.data() + name.size() + 1);
        if (const auto own = own_portals_.find(name); own != own_portals_.end()) {
            cut();
            execute_own(own->second, limit);
            return;
        }
        if (executed_ == 0 && rpc_portals_.contains(name)) {
            cut_due_ = true;
        }
        ++executed_;
        open_ = true;
        pass(f);
    }

    void execute_own(own_portal& portal, std::uint32_t limit) {
        if (!portal.done) {
            portal.failed = command(portal.text);
            portal.done = true;
        }
        if (portal.failed) {
            reject(*portal.failed);
            skipping_ = true;
            return;
        }
        if (is_show(portal.text)) {
            const std::vector<std::string> rows{row({"main"}), row({std::nullopt})};
            for (std::size_t sent = 0; portal.row < rows.size() && (limit == 0 || sent < limit);
                 ++sent) {
                out_ += rows[portal.row++];
            }
            if (portal.row < rows.size()) {
                out_ += suspended();
                return;
            }
        }
        out_ += complete(tag(portal.text));
        is_split_ = true;
        model.note_statement();
    }

    std::optional<batch_run> run_;
    std::map<std::string, std::string> own_statements_;
    std::map<std::string, own_portal> own_portals_;
    std::set<std::string> rpc_portals_;
    std::size_t executed_ = 0;  // since the last Sync or cut
    bool open_ = false;
    bool unsynced_ = false;
    bool is_split_ = false;  // the batch is more than one transaction
    bool skipping_ = false;
    bool cut_due_ = false;
    std::string out_;
};

}  // namespace signalbox::tests
