#include "proxy/examiner.hpp"

#include "catalog/notices/facts_sql.hpp"

#include <algorithm>
#include <charconv>
#include <optional>
#include <utility>

namespace signalbox::proxy {
namespace {

using catalog::object_oid;

constexpr auto question_timeout = std::chrono::seconds{30};
constexpr std::size_t most_databases = 64;

/// Some 20 ms of the server's time.
constexpr std::size_t objects_at_once = 50;
/// A sweep of everything asks for a twentieth of the time, and rests; but it comes to an end.
constexpr int sweep_rest = 19;
constexpr auto sweep_time = std::chrono::seconds{20};

/// Views, materialized views and indexes with what changes when they do: their own row, the rule
/// behind a view, the names and columns of what they are about.
constexpr const char* versions_sql =
    "SELECT c.oid, pg_catalog.concat_ws(' ', c.xmin, r.xmin, d.newest) FROM pg_catalog.pg_class c"
    " JOIN pg_catalog.pg_namespace n ON n.oid OPERATOR(pg_catalog.=) c.relnamespace"
    " LEFT JOIN pg_catalog.pg_rewrite r ON r.ev_class OPERATOR(pg_catalog.=) c.oid"
    " AND r.rulename OPERATOR(pg_catalog.=) '_RETURN'"
    " LEFT JOIN LATERAL (SELECT pg_catalog.string_agg(DISTINCT"
    " pg_catalog.concat_ws('/', t.xmin, a.xmin), ',') AS newest"
    " FROM pg_catalog.pg_depend p JOIN pg_catalog.pg_class t"
    " ON t.oid OPERATOR(pg_catalog.=) p.refobjid"
    " LEFT JOIN pg_catalog.pg_attribute a ON a.attrelid OPERATOR(pg_catalog.=) p.refobjid"
    " AND a.attnum OPERATOR(pg_catalog.=) p.refobjsubid"
    " WHERE p.refclassid OPERATOR(pg_catalog.=) 'pg_catalog.pg_class'::pg_catalog.regclass"
    " AND (p.classid, p.objid) IN (('pg_catalog.pg_class'::pg_catalog.regclass, c.oid),"
    " ('pg_catalog.pg_rewrite'::pg_catalog.regclass, r.oid))) d ON true"
    " WHERE c.relkind IN ('v', 'm', 'i', 'I')"
    " AND n.nspname NOT IN ('pg_catalog', 'information_schema')"
    " AND NOT pg_catalog.starts_with(n.nspname, 'pg_toast')"
    " AND NOT pg_catalog.starts_with(n.nspname, 'pg_temp')";

object_oid number(const std::optional<std::string>& text) {
    object_oid out = 0;
    if (text) {
        std::from_chars(text->data(), text->data() + text->size(), out);
    }
    return out;
}

catalog::server_facts read_facts(
    backend::control_connection& server, const std::vector<object_oid>& about
) {
    catalog::facts_reader reader;
    const auto queries = catalog::facts_sql(about);
    for (std::size_t i = 0; i < queries.size(); ++i) {
        for (const auto& row : server.query(queries[i])) {
            // A row that is not understood belongs to an object that is not examined then.
            static_cast<void>(reader.add(i, row));
        }
    }
    return std::move(reader).finish();
}

catalog::noticed_object noticed(const catalog::object_facts& object) {
    return {
        .oid = object.oid,
        .schema = object.schema,
        .name = object.name,
        .type = std::string{catalog::kind_name(object.kind)},
        .owner = object.owner};
}

catalog::found_notice adapted(const catalog::notice& notice, const catalog::server_facts& facts) {
    catalog::found_notice out{
        .type = notice.type,
        .message = notice.text.message,
        .hint = notice.text.hint,
        .action = notice.text.action,
        .redacted_message = notice.redacted_message,
        .redacted_hint = notice.redacted_hint,
        .redacted_action = notice.redacted_action,
        .action_type = notice.text.action.empty()
                           ? std::string{}
                           : std::string{catalog::action_type_name(notice.text.action_type)},
        .object = {},
        .dependencies = {},
        .fingerprint = notice.fingerprint};
    if (const auto* const object = facts.find(notice.object)) {
        out.object = noticed(*object);
    }
    for (const auto oid : notice.dependencies) {
        if (const auto* const object = facts.find(oid)) {
            out.dependencies.push_back(noticed(*object));
        }
    }
    return out;
}

/// Adds what there is to say of these objects to `out`.
void look_at(
    const std::vector<object_oid>& about,
    backend::control_connection& server,
    const catalog::notice_place& place,
    catalog::examination& out
) {
    const auto facts = read_facts(server, about);
    for (const auto oid : about) {
        const auto* const object = facts.find(oid);
        if (object == nullptr) {
            continue;
        }
        out.objects.push_back(noticed(*object));
        for (const auto& each : catalog::examine_object(*object, facts, place)) {
            out.findings.push_back(adapted(each, facts));
        }
    }
}

/// And at what depends on it.
void look_at_changed(
    const std::vector<object_oid>& changed,
    backend::control_connection& server,
    const catalog::notice_place& place,
    catalog::examination& out
) {
    auto& about = out.oids.emplace();
    if (changed.empty()) {
        return;
    }
    for (const auto& row : server.query(catalog::dependent_objects_sql(changed))) {
        about.push_back(number(row.at(0)));
    }
    for (const auto oid : changed) {
        if (std::find(about.begin(), about.end(), oid) == about.end()) {
            about.push_back(oid);
        }
    }
    look_at(about, server, place, out);
}

wire::report told(const catalog::notice& notice) {
    return {
        .severity = "NOTICE",
        .sqlstate = std::string{wire::sqlstate::successful_completion},
        .message = notice.text.message,
        .detail = notice.text.action.empty() ? std::string{} : notice.text.action,
        .hint = notice.text.hint};
}

}  // namespace

examiner::examiner(teller tell, std::function<void(const std::string&, const std::string&)> warn)
    : tell_(std::move(tell)), warn_(std::move(warn)), thread_(1) {}

examiner::~examiner() {
    stop();
}

void examiner::stop() {
    {
        const std::lock_guard lock{mutex_};
        is_stopped_ = true;
        if (asking_ != nullptr) {
            asking_->interrupt();
        }
    }
    urged_.notify_all();
    thread_.stop();
}

/// False: it is time to end, and nothing is asked any more.
bool examiner::ask(backend::control_connection* server) {
    const std::lock_guard lock{mutex_};
    asking_ = server;
    return !is_stopped_;
}

void examiner::examine(examined_database where, bool is_all, maker done) {
    if (done) {
        {
            const std::lock_guard lock{mutex_};
            urgent_.push_back({std::move(where), std::move(done)});
        }
        urged_.notify_all();
        thread_.submit([this] { answer_makers(); });
        return;
    }
    {
        const std::lock_guard lock{mutex_};
        const auto [waiting, is_new] =
            waiting_.emplace(database_key{where.connection_id, where.database}, is_all);
        waiting->second = waiting->second || is_all;
        if (!is_new) {
            return;
        }
    }
    thread_.submit([this, where = std::move(where)] {
        answer_makers();
        bool asks_for_all = false;
        {
            const std::lock_guard lock{mutex_};
            asks_for_all = waiting_.extract({where.connection_id, where.database}).mapped();
        }
        work(where, asks_for_all, {});
    });
}

/// All that wait, whoever has been called for them.
void examiner::answer_makers() {
    for (;;) {
        std::optional<question> next;
        {
            const std::lock_guard lock{mutex_};
            if (urgent_.empty()) {
                return;
            }
            next = std::move(urgent_.front());
            urgent_.pop_front();
        }
        work(next->where, false, std::move(next->done));
    }
}

void examiner::work(const examined_database& where, bool is_all, maker done) {
    const database_key key{where.connection_id, where.database};
    if (known_.size() >= most_databases && !known_.contains(key) && !is_sweeping_) {
        known_.erase(known_.begin());
    }
    auto& known = known_[key];
    known.owes_all = known.owes_all || is_all;
    for (const bool is_last : {false, true}) {
        const bool was_open = known.server != nullptr;
        try {
            if (!known.of || *known.of != *where.target->connection) {
                known.server.reset();  // the connection leads somewhere else by now
                known.is_known = false;
                known.versions.clear();
                known.owes_all = true;
                known.of = where.target->connection;
            }
            const bool is_new = known.server == nullptr;
            if (is_new) {
                known.server = std::make_unique<backend::control_connection>(
                    where.target, where.credentials, question_timeout
                );
            }
            if (!ask(known.server.get())) {
                return;
            }
            if (is_new) {
                ++known.connected;
                known.server->connect();
                known.server->query(catalog::facts_settings_sql);
            }
            look(known, where, done);
            ask(nullptr);
            return;
        } catch (const backend::control_error& why) {
            known.server.reset();
            if (!ask(nullptr)) {
                return;  // it was told to end
            }
            // One that had been open may have been closed since; a new one is tried once.
            if (is_last || !was_open || why.is_refusal()) {
                warn_("an examination for notices has failed", where.database + ": " + why.what());
                break;
            }
        } catch (const std::exception& why) {
            ask(nullptr);
            warn_("an examination for notices has failed", where.database + ": " + why.what());
            break;
        }
    }
    if (done) {
        done({});  // it never fails the client's statement
    }
}

/// Everything, a part at a time.
void examiner::sweep(
    known_database& known, const catalog::notice_place& place, catalog::examination& out
) {
    using clock = std::chrono::steady_clock;
    std::vector<object_oid> all;
    for (const auto& row : known.server->query(catalog::examined_objects_sql)) {
        all.push_back(number(row.at(0)));
    }
    const auto end = clock::now() + sweep_time;
    for (std::size_t at = 0; at < all.size();) {
        const auto started = clock::now();
        const auto size = std::min(all.size() - at, objects_at_once);
        const auto from = all.begin() + static_cast<std::ptrdiff_t>(at);
        look_at({from, from + static_cast<std::ptrdiff_t>(size)}, *known.server, place, out);
        at += size;
        if (at < all.size()) {
            const auto now = clock::now();
            const auto parts_left = (all.size() - at + objects_at_once - 1) / objects_at_once;
            const auto left = std::max(end - now, clock::duration::zero());
            rest(
                known,
                std::min<clock::duration>(
                    (now - started) * sweep_rest, left / static_cast<int>(parts_left)
                )
            );
        }
    }
}

/// Answers makers meanwhile. Throws control_error when the sweep cannot go on.
void examiner::rest(known_database& known, std::chrono::steady_clock::duration pause) {
    const auto until = std::chrono::steady_clock::now() + pause;
    const auto connected = known.connected;
    ask(nullptr);
    is_sweeping_ = true;
    for (bool is_over = false; !is_over;) {
        {
            std::unique_lock lock{mutex_};
            is_over = !urged_.wait_until(lock, until, [this] {
                return is_stopped_ || !urgent_.empty();
            }) || is_stopped_;
        }
        answer_makers();
    }
    is_sweeping_ = false;
    if (known.connected != connected || known.server == nullptr) {
        throw backend::control_error("the connection was lost meanwhile", false);
    }
    if (!ask(known.server.get())) {
        throw backend::control_error("it was interrupted", false);
    }
}

/// What it has found is known when it was told, and not before.
void examiner::look(known_database& known, const examined_database& where, maker& done) {
    std::map<std::uint32_t, std::string> versions;
    for (const auto& row : known.server->query(versions_sql)) {
        versions.insert_or_assign(number(row.at(0)), row.at(1).value_or(""));
    }
    std::vector<object_oid> changed;
    std::vector<object_oid> gone;
    object_oid newest = 0;
    for (const auto& [oid, version] : versions) {
        const auto old = known.versions.find(oid);
        if (old == known.versions.end() || old->second != version) {
            changed.push_back(oid);
            newest = std::max(newest, oid);
        }
    }
    for (const auto& [oid, version] : known.versions) {
        if (!versions.contains(oid)) {
            gone.push_back(oid);
        }
    }
    const catalog::notice_place place{where.connection, where.database};
    if (done) {
        // Its maker waits: what was just made comes first. At first sight that is the newest.
        std::vector<wire::report> reports;
        auto made = changed;
        if (!known.is_known && newest != 0) {
            made = {newest};
        }
        for (const auto oid : made) {
            const auto facts = read_facts(*known.server, {oid});
            for (const auto& each : catalog::examine_created(oid, facts, place)) {
                reports.push_back(told(each));
            }
        }
        std::exchange(done, {})(std::move(reports));
        if (is_sweeping_) {
            examine(where, false, {});  // one sweep at a time: behind this one
            return;
        }
    }
    if (!known.owes_all && changed.empty() && gone.empty()) {
        return;
    }
    examined out{
        .found =
            {.connection_id = where.connection_id,
             .database = where.database,
             .oids = std::nullopt,
             .findings = {},
             .objects = {},
             .is_rename = true},
        .gone = {}};
    if (known.owes_all) {
        sweep(known, place, out.found);
    } else {
        out.gone = std::move(gone);
        look_at_changed(changed, *known.server, place, out.found);
    }
    tell_(std::move(out));
    known.versions = std::move(versions);
    known.is_known = true;
    known.owes_all = false;
}

}  // namespace signalbox::proxy
