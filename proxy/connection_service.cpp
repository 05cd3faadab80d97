#include "proxy/connection_service.hpp"

#include "catalog/timestamps.hpp"
#include "catalog/wording.hpp"
#include "parser/commands.hpp"
#include "proxy/config_reload.hpp"
#include "proxy/log.hpp"
#include "proxy/show_commands.hpp"
#include "proxy/show_notices.hpp"

#include <re2/re2.h>

#include <algorithm>

namespace signalbox::proxy {
namespace {

constexpr auto longest_pause = std::chrono::seconds{1};
/// Between two looks at what was changed past Signalbox.
constexpr auto reconcile_interval = std::chrono::seconds{30};
/// Before findings that could not be stored are looked for once more; doubled up to
/// `reconcile_interval`.
constexpr auto first_unkept_pause = std::chrono::seconds{1};
constexpr duration default_connect_timeout = std::chrono::seconds{15};

catalog::store_settings store_settings_of(const configuration& config) {
    return {
        .url = config.catalog.url,
        .folder = config.file.parent_path().string(),
        .password = config.catalog.password,
        .ssl_mode = config.catalog.ssl_mode};
}

catalog::status_quota quota_of(const configuration& config) {
    const auto& rate = config.catalog.status_quota;
    return {.events = rate.events, .per = rate.per, .burst = rate.events};
}

/// What an option that there is not was meant to be; "" where no words stand in its place.
std::string option_hint(const std::string& unknown) {
    if (unknown.empty()) {
        return {};
    }
    const auto options = catalog::kind_of(catalog::connection_type::postgres).options();
    if (const auto nearest = catalog::nearest_name(unknown, options); !nearest.empty()) {
        return "Did you mean " + catalog::in_quotes(nearest) + "?";
    }
    std::string out = "Options of POSTGRES connections: ";
    for (const auto each : options) {
        out += each;
        out += each == options.back() ? "." : ", ";
    }
    return out;
}

wire::report syntax_report(const parser::command_error& error) {
    return {
        .severity = "ERROR",
        .sqlstate = std::string{error.sqlstate},
        .message = error.message,
        .detail = {},
        .hint = error.hint.empty() ? option_hint(error.unknown_option) : error.hint,
        .routine = {},
        .position = error.position};
}

catalog::notice_reader reader_of(const client_identity& who) {
    if (who.is_superuser) {
        return catalog::notice_reader::superuser;
    }
    return who.is_support ? catalog::notice_reader::support : catalog::notice_reader::other;
}

bool may_lead_to(const route_settings& route, std::string_view connection) {
    if (!route.is_pattern) {
        return route.connection == connection;
    }
    // A pattern's connection may hold \1 … \9: any text.
    auto pattern = re2::RE2::QuoteMeta(route.connection);
    re2::RE2::GlobalReplace(&pattern, R"(\\\\[0-9])", ".*");
    return re2::RE2::FullMatch(re2::StringPiece{connection.data(), connection.size()}, pattern);
}

/// Thrown through the catalog: the statement goes on when the connection has been validated.
struct validation_needed {
    catalog::planned_connection connection;
};

/// What a change is about, for the log.
std::string subject_of(const parser::command& command) {
    return std::visit(
        [](const auto& asked) -> std::string {
            if constexpr (requires { asked.names; }) {
                std::string all;
                for (const auto& name : asked.names) {
                    all += (all.empty() ? "" : ", ") + name;
                }
                return all;
            } else if constexpr (requires { asked.new_name; }) {
                return asked.name + " to " + asked.new_name;
            } else if constexpr (requires { asked.fingerprint; }) {
                return asked.fingerprint;
            } else if constexpr (requires { std::string{asked.name}; }) {
                return asked.name;
            } else {
                return {};
            }
        },
        command
    );
}

wire::report internal_error(const std::exception& why) {
    return {
        .severity = "ERROR",
        .sqlstate = std::string{wire::sqlstate::internal_error},
        .message = why.what(),
        .detail = {},
        .hint = {}};
}

/// Null: there is none.
const catalog::connection_entry* find_by_id(
    const catalog::connection_snapshot& among, std::string_view id
) {
    const auto it =
        std::find_if(among.connections.begin(), among.connections.end(), [&](const auto& each) {
            return each.stored.id == id;
        });
    return it != among.connections.end() ? &*it : nullptr;
}

/// What a failed attempt says about the connection, where it says anything: a login that the server
/// refuses is the client's own matter where it is the client's own role, and so is a database that
/// only the client asked for.
bool is_about_connection(
    const backend::connect_failure& why, const catalog::postgres_connection& connection
) {
    const std::string_view state = why.sqlstate;
    if (state.starts_with("28")) {
        return !connection.user.empty();
    }
    if (state == "3D000") {
        return !connection.database.empty();
    }
    return state != wire::sqlstate::too_many_connections;
}

}  // namespace

connection_service::connection_service(configuration config)
    : config_(std::move(config)),
      schemas_{config_.catalog.catalog_schema, config_.catalog.internal_schema},
      store_(catalog::open_store(store_settings_of(config_))),
      catalog_(std::make_unique<catalog::connection_catalog>(
          *store_, *this, quota_of(config_), config_.catalog.history_per_connection
      )),
      notices_(std::make_unique<catalog::notice_catalog>(
          *store_,
          std::chrono::duration_cast<std::chrono::seconds>(config_.catalog.ignored_retention)
      )),
      examiner_(
          [this](examined what) { post([this, what = std::move(what)] { keep_notices(what); }); },
          [](const std::string& what, const std::string& cause) {
              log::info(what, {{"cause", cause}});
          }
      ) {
    load(config_);
    keep_ways();
    reload_notices();
}

connection_service::~connection_service() {
    stop();
}

void connection_service::stop() {
    {
        const std::lock_guard lock{mutex_};
        stopping_ = true;
    }
    store_->interrupt();
    prober_.stop();  // what is being validated fails
    examiner_.stop();
    if (thread_.joinable()) {
        thread_.join();
    }
}

runtime_ptr connection_service::current() const {
    const std::lock_guard lock{mutex_};
    return runtime_;
}

void connection_service::start(std::function<void(runtime_ptr)> apply) {
    apply_ = std::move(apply);
    thread_ = std::thread{[this] { run(); }};
}

/// Throws where the file's own connections cannot be used; those that SQL has changed are left out
/// with a warning.
void connection_service::load(configuration next) {
    auto made = std::make_shared<const runtime>(next, runtime_.get());
    config_ = std::move(next);
    catalog_->set_file(config_.file_connections);
    for (const auto& each : catalog_->overridden()) {
        log::info("settings of the file are overridden by SQL", {{"connection", each}});
    }
    try {
        made = std::make_shared<const runtime>(*made, catalog_->planned());
    } catch (const std::exception& why) {
        warn("connections changed by SQL cannot be used", why.what());
    }
    const std::lock_guard lock{mutex_};
    runtime_ = std::move(made);
}

void connection_service::reload(std::filesystem::path file, std::function<void(std::string)> done) {
    post([this, file = std::move(file), done = std::move(done)] {
        try {
            auto next = load_configuration(file);
            const auto kept = keep_until_restart(next, config_);
            load(std::move(next));
            apply_(current());
            if (!kept.empty()) {
                log::warn("changed settings take effect at restart", {{"settings", kept}});
            }
            done({});
        } catch (const std::exception& why) {
            done(why.what());
        }
    });
}

// ---- the thread

void connection_service::post(std::function<void()> job) {
    {
        const std::lock_guard lock{mutex_};
        jobs_.push_back(std::move(job));
    }
    store_->interrupt();
}

/// False: it is time to stop.
bool connection_service::run_jobs() {
    for (;;) {
        std::function<void()> job;
        {
            const std::lock_guard lock{mutex_};
            if (stopping_) {
                return false;
            }
            if (jobs_.empty()) {
                return true;
            }
            job = std::move(jobs_.front());
            jobs_.pop_front();
        }
        try {
            job();
        } catch (const std::exception& why) {
            log::error("the catalog's thread has met a fault", {{"cause", why.what()}});
        }
    }
}

void connection_service::run() {
    while (run_jobs()) {
        try {
            work();
        } catch (const std::exception& why) {  // traffic goes on, whatever happens here
            log::error("the catalog's thread has met a fault", {{"cause", why.what()}});
            store_->wait_for_change(longest_pause);
        }
    }
}

/// Once when it goes and once when it comes back, whatever is tried in between.
void connection_service::tell_of_store() {
    const auto trouble = store_->trouble();
    if (trouble.empty() != is_store_away_) {
        return;
    }
    is_store_away_ = !trouble.empty();
    if (is_store_away_) {
        warn("the catalog's store is away, traffic goes on", trouble);
    } else {
        log::info("the catalog's store is back", {});
    }
}

/// What is due, then a wait for what comes.
void connection_service::work() {
    catalog_->maintain();
    tell_of_store();
    keep_ways();
    check_connections();
    examine_routes();
    examine_unkept();
    auto wake = clock::now() + longest_pause;
    if (const auto due = catalog_->next_due()) {
        wake = std::min(wake, *due);
    }
    for (const auto& [name, when] : next_check_) {
        wake = std::min(wake, when);
    }
    const auto pause = std::max(
        std::chrono::duration_cast<std::chrono::milliseconds>(wake - clock::now()),
        std::chrono::milliseconds{1}
    );
    if (!store_->wait_for_change(pause)) {
        return;
    }
    if (store_->news().connections) {
        try {
            catalog_->reload();
        } catch (const catalog::store_error& why) {
            warn("the catalog's store cannot be read, it is tried again", why.what());
        }
    }
    if (store_->news().notices) {
        reload_notices();
    }
}

// ---- checks

connection_service::clock::duration connection_service::jittered(duration interval) {
    std::uniform_real_distribution<double> share{0.9, 1.1};
    return std::chrono::duration_cast<clock::duration>(interval * share(random_));
}

backend::probe_request connection_service::probe_of(const catalog::planned_connection& connection
) const {
    const auto& to = *connection.postgres;
    auto target = std::make_shared<backend::server_target>();
    target->connection = connection.postgres;
    target->database = to.database;
    target->user = to.user;
    if (to.tls != catalog::ssl_mode::disable) {
        target->tls_context = backend::make_server_tls_context(to);
    }
    backend::probe_request request;
    request.credentials.password = to.password;
    duration timeout = default_connect_timeout;
    for (const auto& route : config_.routes) {
        if (route->is_pattern || route->connection != connection.name) {
            continue;
        }
        timeout = route->connect_timeout;
        if (target->database.empty()) {
            target->database =
                route->backend_database.empty() ? route->database : route->backend_database;
        }
        if (target->user.empty() && !route->auth_user.empty()) {
            target->user = route->auth_user;
            request.credentials.password = route->auth_password;
        }
    }
    request.has_login = !target->user.empty();
    request.timeout = to.connect_timeout.value_or(timeout);
    target->connect_timeout = request.timeout;
    request.target = std::move(target);
    return request;
}

/// The leader's: each POSTGRES connection, when its time has come.
void connection_service::check_connections() {
    if (!catalog_->is_leader() || config_.availability.interval.count() == 0) {
        next_check_.clear();
        has_checked_ = false;
        return;
    }
    std::map<std::string, clock::time_point> next;
    for (const auto& [name, connection] : catalog_->planned()) {
        const auto known = next_check_.find(name);
        if (known != next_check_.end() && known->second > clock::now()) {
            next.emplace(name, known->second);
            continue;
        }
        next.emplace(name, clock::now() + jittered(config_.availability.interval));
        if (known == next_check_.end() && has_checked_) {
            continue;  // made while we run: its maker has validated it, or did not want to
        }
        try {
            prober_.probe(
                probe_of(*catalog_->find_planned(name)),
                [this, connection = connection](const backend::probe_outcome& found) {
                    if (!found.is_cancelled) {
                        post([this, connection, found] {
                            report_met(
                                *connection,
                                found.is_available ? catalog::status_available
                                                   : catalog::status_failed,
                                found.is_available ? std::nullopt : std::optional{found.error}
                            );
                        });
                    }
                }
            );
        } catch (const std::exception& why) {
            report_met(*connection, catalog::status_failed, why.what());
        }
    }
    next_check_ = std::move(next);
    has_checked_ = true;
}

/// It counts if the connection is still what was asked: an ALTER may have overtaken the answer.
void connection_service::report_met(
    const catalog::postgres_connection& connection,
    std::string_view status,
    std::optional<std::string> error
) {
    const auto* const planned = catalog_->find_planned(connection.name);
    if (planned == nullptr || !planned->postgres || *planned->postgres != connection) {
        return;
    }
    if (error && down_.insert(connection.name).second) {
        log::warn("connection failed", {{"connection", connection.name}, {"cause", *error}});
    } else if (!error && down_.erase(connection.name) != 0) {
        log::info("connection available again", {{"connection", connection.name}});
    }
    catalog_->report_status(connection.name, status, std::move(error));
}

void connection_service::on_outcome(
    std::shared_ptr<const catalog::postgres_connection> connection,
    const backend::connect_failure* why
) {
    post([this,
          connection = std::move(connection),
          failure = why != nullptr ? std::optional{*why} : std::nullopt] {
        if (!failure) {
            report_met(*connection, catalog::status_available, std::nullopt);
        } else if (is_about_connection(*failure, *connection)) {
            report_met(*connection, catalog::status_failed, failure->message);
        }
    });
}

std::string connection_service::describe_status(const std::string& connection) const {
    const auto known = snapshot();
    const auto* const found = known->find(connection);
    if (found == nullptr || !found->last_status_change_at) {
        return {};
    }
    return "The status of connection \"" + connection + "\" is " + found->status + " since " +
           catalog::timestamp_text(*found->last_status_change_at) +
           (found->error ? ": " + *found->error : "") + ".";
}

// ---- notices

void connection_service::reload_notices() {
    try {
        notices_->reload();
    } catch (const catalog::store_error& why) {
        warn("the notices cannot be read, it is tried again", why.what());
    }
}

void connection_service::examine(
    const std::string& connection,
    const std::string& database,
    std::function<void(std::vector<wire::report>)> done
) {
    submit_examination(connection, database, false, std::move(done));
}

std::vector<std::string> connection_service::section(
    const catalog::explained_statement& what,
    const catalog::plan_lines& plan,
    const std::string& connection,
    const std::string& database,
    const client_identity& who
) const {
    const auto connections = snapshot();
    const auto* const entry = connections->find(connection);
    return catalog::notices_section(
        what,
        plan,
        *notices_->snapshot(),
        {.connection_id = entry != nullptr ? std::string_view{entry->stored.id} : "",
         .database = database},
        reader_of(who)
    );
}

/// Who created something waits for its examination, and must not wait for the store.
void connection_service::keep_ways() {
    const auto known = snapshot();
    if (known == ways_of_) {
        return;
    }
    ways_of_ = known;
    std::map<std::string, examined_database> ways;
    for (const auto& entry : known->connections) {
        const auto* const planned = catalog_->find_planned(entry.stored.name);
        if (entry.stored.id.empty() || planned == nullptr || !planned->postgres) {
            continue;
        }
        try {
            const auto request = probe_of(*planned);
            if (request.has_login) {
                ways.insert_or_assign(
                    entry.stored.name,
                    examined_database{
                        .connection = entry.stored.name,
                        .connection_id = entry.stored.id,
                        .database = {},
                        .target = request.target,
                        .credentials = request.credentials}
                );
            }
        } catch (const std::exception& why) {  // a certificate that cannot be read
            log::info("a connection cannot be examined", {{"cause", why.what()}});
        }
    }
    const std::lock_guard lock{mutex_};
    ways_ = std::move(ways);
}

/// False: there is no way to that database.
bool connection_service::submit_examination(
    const std::string& connection,
    const std::string& database,
    bool is_all,
    std::function<void(std::vector<wire::report>)> done
) {
    std::optional<examined_database> where;
    {
        const std::lock_guard lock{mutex_};
        if (const auto way = ways_.find(connection); way != ways_.end()) {
            where = way->second;
        }
    }
    if (!where) {
        if (done) {
            done({});
        }
        return false;
    }
    auto target = std::make_shared<backend::server_target>(*where->target);
    target->database = database;
    where->target = std::move(target);
    where->database = database;
    examiner_.examine(*std::move(where), is_all, std::move(done));
    return true;
}

/// The leader's: every database that a route names, whole at the start, and what has changed behind
/// everybody's back once in a while.
void connection_service::examine_routes() {
    if (!catalog_->is_leader() || !config_.catalog.notices) {
        examined_.clear();
        next_reconcile_ = clock::time_point::min();
        return;
    }
    if (clock::now() < next_reconcile_) {
        return;
    }
    std::set<std::pair<std::string, std::string>> asked_for;  // several routes may lead to one
    for (const auto& route : config_.routes) {
        if (!route->is_pattern) {
            const auto resolved = current()->resolve(route->database);
            if (!resolved || !resolved->connection) {
                continue;
            }
            const std::pair where{resolved->connection_name, resolved->backend_database};
            if (asked_for.insert(where).second &&
                submit_examination(where.first, where.second, !examined_.contains(where), {})) {
                examined_.insert(where);
            }
        }
    }
    next_reconcile_ = clock::now() + reconcile_interval;
    try {
        notices_->expire_ignored();
    } catch (const std::exception& why) {
        log::info("ignored notices cannot be looked through", {{"cause", why.what()}});
    }
}

/// Their notices. Others' connections may be in no file of ours, and those that have just been made
/// not known yet: theirs stay.
void connection_service::forget_dropped(const std::vector<std::string>& connection_ids) {
    try {
        for (const auto& id : connection_ids) {
            notices_->forget(id);
        }
    } catch (const std::exception& why) {  // the connection is dropped all the same
        warn("notices of a dropped connection are still stored", why.what());
    }
}

/// The examiner takes for known what it has told: where the store does not take it, everything is
/// to be examined once more. Databases are remembered, not findings, so that a store that is away
/// for long costs nothing.
void connection_service::keep_notices(const examined& what) {
    const std::pair where{what.found.connection_id, what.found.database};
    if (find_by_id(*snapshot(), where.first) == nullptr) {
        return;  // dropped meanwhile, and its notices are forgotten already
    }
    try {
        if (!notices_->is_loaded()) {
            notices_->reload();
        }
        if (!what.gone.empty()) {
            notices_->removed(what.found.connection_id, what.found.database, what.gone);
        }
        notices_->found(what.found);
        if (!what.found.oids) {
            unkept_.erase(where);
        }
    } catch (const std::exception& why) {
        warn("notices cannot be stored, it is tried again", why.what());
        auto& again = unkept_[where];
        again.pause =
            std::clamp<clock::duration>(again.pause * 2, first_unkept_pause, reconcile_interval);
        again.next = clock::now() + again.pause;
    }
}

void connection_service::examine_unkept() {
    if (!config_.catalog.notices) {
        unkept_.clear();
    }
    if (unkept_.empty() || !store_->trouble().empty()) {
        return;
    }
    const auto known = snapshot();
    for (auto at = unkept_.begin(); at != unkept_.end();) {
        const auto* const entry = find_by_id(*known, at->first.first);
        if (entry == nullptr) {
            at = unkept_.erase(at);
            continue;
        }
        if (at->second.next <= clock::now()) {
            at->second.next = clock::now() + reconcile_interval;  // or as its outcome says
            submit_examination(entry->stored.name, at->first.second, true, {});
        }
        ++at;
    }
}

// ---- relations

/// Everybody reads what is known of connections: it holds no secret.
std::optional<wire::report> connection_service::refusal(
    const rewrite::relation& of, const client_identity& who
) const {
    return rewrite::is_notice_relation(of) ? rewrite::refuse_reading(of, reader_of(who), schemas_)
                                           : std::nullopt;
}

rewrite::relation_text connection_service::rows(const rewrite::relation& of) const {
    return rewrite::is_notice_relation(of) ? notice_texts_.text(of, notices_->snapshot())
                                           : connection_texts_.text(of, snapshot());
}

// ---- what the catalog asks for

catalog::connection_user::check connection_service::validate(
    const catalog::planned_connection& connection
) {
    if (!connection.postgres) {
        return {.is_available = true, .error = {}, .host = {}, .port = 0};
    }
    if (!validated_) {
        throw validation_needed{connection};
    }
    if (*validated_->connection.postgres != *connection.postgres) {
        throw catalog::rejection{
            {.severity = "ERROR",
             .sqlstate = std::string{wire::sqlstate::serialization_failure},
             .message = "connection \"" + connection.name + "\" was changed concurrently",
             .detail = "It was changed by another statement while this one validated it.",
             .hint = {}}};
    }
    const auto& found = validated_->outcome;
    return {
        .is_available = found.is_available,
        .error = found.is_cancelled ? "Signalbox is shutting down" : found.error,
        .host = found.host,
        .port = found.port};
}

std::optional<std::string> connection_service::find_route_to(std::string_view name) const {
    for (const auto& route : config_.routes) {
        if (may_lead_to(*route, name)) {
            return "route \"" + route->database + "\"";
        }
    }
    return std::nullopt;
}

std::function<void()> connection_service::prepare(const catalog::postgres_connections& connections
) {
    auto next = std::make_shared<const runtime>(*current(), connections);
    return [this, next = std::move(next)] {
        {
            const std::lock_guard lock{mutex_};
            runtime_ = next;
        }
        // One of a dropped connection's name is another.
        std::erase_if(down_, [&next](const std::string& name) {
            return !next->config().connections.contains(name);
        });
        if (apply_) {
            apply_(next);
        }
    };
}

std::optional<std::string> connection_service::find_secret(std::string_view name) const {
    const auto it = config_.secrets.find(name);
    return it != config_.secrets.end() ? std::optional{it->second} : std::nullopt;
}

std::filesystem::path connection_service::resolve_path(const std::string& path) const {
    return config_.file.parent_path() / path;
}

void connection_service::warn(const std::string& what, const std::string& cause) {
    log::warn(what, {{"cause", cause}});
}

// ---- statements

command_shape connection_service::describe(std::string_view sql, parser::backslashes strings) {
    const auto parsed = parser::parse_command(sql, strings);
    if (const auto* const error = std::get_if<parser::command_error>(&parsed)) {
        return {.columns = {}, .error = syntax_report(*error)};
    }
    return {.columns = columns_of(std::get<parser::command>(parsed)), .error = std::nullopt};
}

std::optional<command_reply> connection_service::answer(const command_request& asked) {
    const auto parsed = parser::parse_command(asked.sql, asked.strings);
    if (const auto* const error = std::get_if<parser::command_error>(&parsed)) {
        command_reply reply;
        reply.error = syntax_report(*error);
        return reply;
    }
    const auto& command = std::get<parser::command>(parsed);
    if (const auto* const notices = std::get_if<parser::show_notices>(&command)) {
        return show(*notices, *notices_->snapshot(), reader_of(asked.who));
    }
    return show(command, *snapshot());
}

void connection_service::carry_out(command_request asked, std::function<void(command_reply)> done) {
    post([this, asked = std::move(asked), done = std::move(done)] { execute(asked, done); });
}

/// Nobody waits for a connection that is validated: the statement is carried out once more when the
/// outcome is there, and the outcome counts if the connection is still to be the same.
void connection_service::validate_first(
    const catalog::planned_connection& connection,
    command_request asked,
    std::function<void(command_reply)> done
) {
    prober_.probe(
        probe_of(connection),
        [this, connection, asked = std::move(asked), done = std::move(done)](
            backend::probe_outcome outcome
        ) mutable {
            post([this,
                  found = validation{connection, std::move(outcome)},
                  asked = std::move(asked),
                  done = std::move(done)]() mutable {
                validated_ = std::move(found);
                execute(asked, done);
                validated_.reset();
            });
        }
    );
}

void connection_service::execute(
    const command_request& asked, const std::function<void(command_reply)>& done
) {
    command_reply reply;
    try {
        const auto parsed = parser::parse_command(asked.sql, asked.strings);
        if (const auto* const error = std::get_if<parser::command_error>(&parsed)) {
            reply.error = syntax_report(*error);
            done(std::move(reply));
            return;
        }
        const auto& command = std::get<parser::command>(parsed);
        const catalog::actor who{.user = asked.who.user, .is_superuser = asked.who.is_superuser};
        const auto* const about_notice = std::get_if<parser::alter_notice>(&command);
        auto outcome = about_notice != nullptr ? notices_->execute(*about_notice, who)
                                               : catalog_->execute(command, who);
        forget_dropped(outcome.dropped);
        log::info(
            "statement carried out",
            {{"command", outcome.tag},
             {about_notice != nullptr ? "notice" : "connection", subject_of(command)},
             {"user", asked.who.user}}
        );
        reply.notices = std::move(outcome.notices);
        reply.tag = std::move(outcome.tag);
    } catch (const validation_needed& needed) {
        try {
            validate_first(needed.connection, asked, done);
            return;
        } catch (const std::exception& why) {  // a certificate that cannot be read
            reply.error = internal_error(why);
        }
    } catch (const catalog::rejection& why) {
        reply.error = why.report();
    } catch (const std::exception& why) {
        reply.error = internal_error(why);
    }
    done(std::move(reply));
}

}  // namespace signalbox::proxy
