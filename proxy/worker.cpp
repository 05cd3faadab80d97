#include "proxy/worker.hpp"

#include "proxy/cleaner.hpp"
#include "proxy/log.hpp"
#include "proxy/session.hpp"
#include "wire/limits.hpp"

#include <algorithm>
#include <unistd.h>

namespace signalbox::proxy {
namespace {

constexpr auto tick_interval = std::chrono::seconds{1};
constexpr std::size_t max_profiles = 1024;
/// How often a database is asked whether its catalogs have changed; a slow one less often, so that
/// it costs no more than a fiftieth of a connection.
constexpr auto least_look_interval = std::chrono::milliseconds{1500};
constexpr int look_share = 50;
/// The same outcome of opening server connections is told no more often.
constexpr auto least_outcome_interval = std::chrono::seconds{1};
/// A server that does not answer the question (an older one) is asked less often.
constexpr auto refused_look_interval = std::chrono::seconds{60};

/// By the secret's first bytes; who finds a session by it compares the rest.
std::uint64_t key_of(const wire::backend_key_data& key) noexcept {
    return std::uint64_t{key.process_id} << 32U | wire::load_u32(key.secret.data());
}

bool is_plain_ascii(std::string_view text) noexcept {
    return text.size() < 64 &&
           std::all_of(text.begin(), text.end(), [](char c) { return c >= 32 && c <= 126; });
}

}  // namespace

server_state& state_of(backend::server_connection& connection) {
    return static_cast<server_state&>(*connection.attachment);
}

worker::worker(std::size_t index, shared_state& shared, runtime_ptr runtime)
    : index_(index),
      shared_(shared),
      runtime_(std::move(runtime)),
      io_{loop_, scratch_, shared.jobs, shared.names},
      environment_(shared.statements),
      next_session_(index),
      notifications_(*this, index) {
    environment_.commands = &shared.commands;
    environment_.relations = &shared.relations;
    environment_.notices = &shared.examined;
    environment_.next_unnamed = index + 1;
    environment_.unnamed_step = shared.count;
}

worker::~worker() {
    sessions_.clear();
    for (const auto& [raw, each] : cleaners_) {
        each->take()->terminate(io_.scratch);
    }
    cleaners_.clear();
    cancels_.clear();
    notifications_.close();
    for (auto& [key, entry] : pools_) {
        entry->pool->close_idle();
    }
}

void worker::listen_on(int fd, bool is_shared) {
    listeners_.push_back(std::make_unique<listener>(*this, loop_, fd, is_shared));
}

void worker::start() {
    tick_.start(
        loop_,
        loop_.now() + tick_interval,
        [](void* self) { static_cast<worker*>(self)->tick(); },
        this
    );
    thread_ = std::thread{[this] { loop_.run(); }};
}

void worker::join() {
    if (thread_.joinable()) {
        thread_.join();
    }
}

void worker::accept_client(int fd, const backend::socket_address& from) {
    const auto id = new_session_id();
    auto made = std::make_unique<session>(*this, id, fd, from);
    auto& started = *made;
    sessions_.emplace(id, std::move(made));
    started.start();
}

void worker::remove_session(session& gone) {
    notifications_.session_gone(gone.id());
    loop_.defer([this, id = gone.id()] {
        sessions_.erase(id);
        stop_if_empty();
    });
}

session* worker::find_session(std::uint64_t id) noexcept {
    const auto it = sessions_.find(id);
    return it == sessions_.end() ? nullptr : it->second.get();
}

// ---- pools

void worker::configure(pool_entry& entry, const resolved_route& route) {
    const auto& r = *route.settings;
    entry.route = route.settings;
    entry.relay.max_prepared_statements = r.max_prepared_statements;
    entry.relay.refuse_state = r.session_state == session_state_policy::refuse;
    entry.relay.multi_statement = r.multi_statement;
    entry.relay.rpc = r.rpc;
    const auto* const known = runtime_->find_user(entry.user);
    entry.relay.who = {
        .user = entry.user,
        .is_superuser = known != nullptr && known->settings->superuser,
        .is_support = known != nullptr && known->settings->support,
        .asks_server = route.connection->user.empty()};
    entry.relay.examines = runtime_->config().catalog.notices &&
                           (!route.connection->user.empty() || !r.auth_user.empty());
    entry.relay.connection = route.connection->name;
    entry.relay.database = route.backend_database;
    entry.relay.rules = route.rules;
    auto& verdicts = verdicts_[entry.relay.rules.get()];
    if (!verdicts) {
        verdicts = std::make_shared<parser::verdict_cache>();
    }
    entry.relay.verdicts = verdicts;
    if (r.mode != pool_mode::session) {
        auto& watch = watches_[entry.database];
        if (!watch) {
            watch = std::make_shared<database_watch>();
        }
        entry.watch = watch;
        entry.relay.watch = watch;
    }
    entry.relay.max_message_size = runtime_->config().listen.max_message_size;
    auto target = std::make_shared<backend::server_target>();
    target->connection = route.connection;
    target->database = route.backend_database;
    target->user = entry.login_role;
    target->connect_timeout = route.connection->connect_timeout.value_or(r.connect_timeout);
    target->tls_context = runtime_->server_tls(route.connection_name);
    auto& group = entry.pool->group();
    group.configure(
        {.size = r.pool_size,
         .min_size = r.min_pool_size,
         .idle_timeout = r.server_idle_timeout,
         .lifetime = r.server_lifetime},
        std::move(target)
    );
}

pool_entry* worker::make_pool(
    const std::string& key,
    const resolved_route& route,
    const std::string& database,
    const std::string& user,
    const std::string& login_role
) {
    auto& entry = pools_[key];
    if (!entry) {
        entry = std::make_unique<pool_entry>();
        entry->database = database;
        entry->user = user;
        entry->login_role = login_role;
        entry->relay.mode = route.settings->mode;
        entry->pool = std::make_unique<backend::pool>(shared_.group(key), index_, io_, *this);
        // The login may have begun under the configuration of yesterday.
        const auto today = runtime_->resolve(database);
        const bool is_same_mode =
            today && today->connection && today->settings->mode == route.settings->mode;
        configure(*entry, is_same_mode ? *today : route);
    }
    return entry.get();
}

pool_entry* worker::find_pool(
    const resolved_route& route, const std::string& database, const std::string& user
) {
    if (!route.connection) {
        return nullptr;
    }
    // The mode is part of the key: a reload that changes it must not change it under a session.
    std::string key = database;
    key += '\0';
    key += user;
    key += '\0';
    key += static_cast<char>('0' + static_cast<int>(route.settings->mode));
    const auto& connection = *route.connection;
    auto* const entry =
        make_pool(key, route, database, user, connection.user.empty() ? user : connection.user);
    if (!connection.user.empty() && !entry->own_credentials) {
        entry->own_credentials = true;
        entry->pool->group().set_credentials({.password = connection.password, .keys = std::nullopt}
        );
    }
    return entry;
}

pool_entry* worker::find_auth_pool(const resolved_route& route, const std::string& database) {
    const auto& r = *route.settings;
    if (r.auth_query.empty() || !route.connection) {
        return nullptr;
    }
    const bool own = !r.auth_user.empty();
    if (!own && route.connection->user.empty()) {
        return nullptr;
    }
    const auto& role = own ? r.auth_user : route.connection->user;
    const auto key = "auth_query" + std::string(1, '\0') + database + '\0' + role;
    auto* const entry = make_pool(key, route, database, role, role);
    entry->own_credentials = true;
    entry->pool->group().set_credentials(  // each time: a reload may have changed them
        {.password = own ? std::optional{r.auth_password} : route.connection->password,
         .keys = std::nullopt}
    );
    return entry;
}

namespace {

/// A set of startup parameters without application_name, which the server reports as it was given.
rewrite::parameter_set without_application_name(const rewrite::parameter_set& startup) {
    auto key = startup;
    const auto* const name = key.find("application_name");
    if (name != nullptr && is_plain_ascii(*name)) {
        key.erase("application_name");
    }
    return key;
}

std::string shared_profile_key(const std::string& pool, const rewrite::parameter_set& startup) {
    std::string key = pool;
    for (const auto& [name, value] : startup.items()) {
        key.append(1, '\0').append(name).append(1, '\0').append(value);
    }
    return key;
}

}  // namespace

rewrite::parameter_set_ptr worker::find_profile(
    pool_entry& pool, const rewrite::parameter_set& startup
) {
    const auto key = environment_.parameters.intern(without_application_name(startup));
    auto it = pool.profiles.find(key);
    if (it == pool.profiles.end()) {
        const auto shared =
            shared_.find_profile(shared_profile_key(pool.pool->group().name(), *key));
        if (!shared) {
            return nullptr;
        }
        it = pool.profiles.emplace(key, environment_.parameters.intern(*shared)).first;
    }
    const auto* const name = startup.find("application_name");
    const auto* const known = it->second->find("application_name");
    const std::string wanted = name != nullptr ? *name : std::string{};
    if (known == nullptr || *known == wanted || !is_plain_ascii(wanted)) {
        return it->second;
    }
    auto reported = *it->second;
    reported.set("application_name", wanted);
    return environment_.parameters.intern(reported);
}

void worker::remember_profile(
    pool_entry& pool,
    const rewrite::parameter_set& startup,
    const rewrite::parameter_set_ptr& reported
) {
    if (pool.profiles.size() >= max_profiles) {
        pool.profiles.clear();
    }
    const auto key = environment_.parameters.intern(without_application_name(startup));
    pool.profiles[key] = reported;
    shared_.remember_profile(shared_profile_key(pool.pool->group().name(), *key), reported);
}

bool worker::on_idle_bytes(backend::server_connection& connection, std::string_view bytes) {
    auto& state = state_of(connection);
    while (!bytes.empty()) {
        if (bytes.size() < wire::header_bytes) {
            return false;  // cut in two: not worth keeping
        }
        const std::size_t total = std::size_t{wire::load_u32(bytes.data() + 1)} + 1;
        if (total < wire::header_bytes || bytes.size() < total) {
            return false;
        }
        const auto body = bytes.substr(wire::header_bytes, total - wire::header_bytes);
        switch (bytes[0]) {
            case wire::server_message::notice_response:
            case wire::server_message::notification_response:
                break;
            case wire::server_message::parameter_status: {
                const auto status = wire::parse_parameter_status(body);
                if (!status) {
                    return false;
                }
                auto changed = *state.reported;
                changed.set(status->name, status->value);
                state.reported = environment_.parameters.intern(changed);
                break;
            }
            default:
                if (const auto said = wire::parse_report(body); said && bytes[0] == 'E') {
                    log::info(
                        "an idle server connection was closed",
                        {{"connection", connection.target().connection->name},
                         {"cause", said->message}}
                    );
                }
                return false;
        }
        bytes.remove_prefix(total);
    }
    return true;
}

void worker::on_adopted(backend::server_connection& connection) {
    if (!connection.attachment) {
        auto made = std::make_unique<server_state>();
        rewrite::parameter_set reported;
        for (const auto& [name, value] : connection.reported) {
            reported.set(name, value);
        }
        connection.reported = {};
        made->reported = environment_.parameters.intern(reported);
        made->process_id = connection.key.process_id;
        connection.attachment = std::move(made);
        return;
    }
    auto& state = state_of(connection);
    state.reported = environment_.parameters.intern(*state.reported);
    if (state.applied) {
        state.applied = environment_.parameters.intern(*state.applied);
    }
}

void worker::on_outcome(const backend::server_target& target, const backend::connect_failure* why) {
    const auto& name = target.connection->name;
    const auto known = runtime_->config().connections.find(name);
    if (known == runtime_->config().connections.end() || *known->second != *target.connection) {
        return;  // it says nothing about the target of today
    }
    auto& last = told_[name];
    if (last.of == target.connection && last.is_open == (why == nullptr) &&
        loop_.now() - last.when < least_outcome_interval) {
        return;
    }
    last = {target.connection, why == nullptr, loop_.now()};
    shared_.statuses.on_outcome(target.connection, why);
}

// ---- connections that nobody uses for now

/// Queries of our own on a connection that nobody uses. `done` gets whether all went well, and the
/// connection.
template <class Done>
void worker::run_errand(
    backend::connection_ptr connection,
    std::vector<std::string_view> queries,
    std::function<void(const cleaner_row&)> on_row,
    Done done
) {
    auto made = std::make_unique<cleaner>(io_, std::move(connection), std::move(queries));
    auto* const raw = made.get();
    raw->on_row(std::move(on_row));
    raw->on_done([this, raw, done = std::move(done)](bool clean) mutable {
        const auto node = cleaners_.extract(raw);
        auto cleaned = raw->take();
        if (clean || raw->was_refused()) {
            on_adopted(*cleaned);
        }
        done(clean, raw->was_refused(), std::move(cleaned));
        stop_if_empty();
    });
    cleaners_.emplace(raw, std::move(made));
    raw->start();
}

void worker::clean(backend::connection_ptr connection, pool_entry& pool, bool discard_all) {
    std::vector<std::string_view> queries;
    if (discard_all) {
        queries.emplace_back("DISCARD ALL");
    }
    run_errand(
        std::move(connection),
        std::move(queries),
        {},
        [&pool, discard_all](bool clean, bool /*refused*/, backend::connection_ptr cleaned) {
            if (!clean) {
                pool.pool->discard(std::move(cleaned));
                return;
            }
            if (discard_all) {
                auto& state = state_of(*cleaned);
                state.statements.clear();
                state.applied = nullptr;
                state.channels.clear();
                state.sequences_of = 0;
            }
            pool.pool->release(std::move(cleaned));
        }
    );
}

void worker::release(backend::connection_ptr connection, pool_entry& pool, bool hidden) {
    if (connection->generation != pool.pool->group().generation()) {
        // It is closed, and what is learned there does not hold for the new target.
        pool.pool->release(std::move(connection));
        return;
    }
    if (hidden) {
        static const auto tidy = rewrite::tidy_sql();
        auto leftovers = std::make_shared<bool>(false);
        run_errand(
            std::move(connection),
            {tidy},
            [leftovers, rows = 0](const cleaner_row& row) mutable {
                // The first row is pg_advisory_unlock_all()'s.
                *leftovers = ++rows > 1 && !row.empty();
            },
            [this,
             &pool,
             leftovers](bool clean, bool /*refused*/, backend::connection_ptr cleaned) {
                if (!clean || *leftovers) {
                    pool.pool->discard(std::move(cleaned));
                    return;
                }
                auto& state = state_of(*cleaned);
                state.applied = nullptr;
                state.channels.clear();
                state.sequences_of = 0;
                release(std::move(cleaned), pool, false);
            }
        );
        return;
    }
    auto* const watch = pool.watch.get();
    if (watch != nullptr && !watch->looking &&
        (loop_.now() >= watch->next_look ||
         watch->ddl != environment_.statements.registry().ddl_seen())) {
        look_at_catalogs(std::move(connection), pool);
        return;
    }
    pool.pool->release(std::move(connection));
}

/// Whether the catalogs have changed since they were read.
void worker::look_at_catalogs(backend::connection_ptr connection, pool_entry& pool) {
    static const auto sql = rewrite::fingerprint_sql();
    const auto watch = pool.watch;
    watch->looking = true;
    auto found = std::make_shared<std::string>();
    run_errand(
        std::move(connection),
        {sql},
        [found](const cleaner_row& row) { *found = row.empty() ? "" : row[0].value_or(""); },
        [this,
         &pool,
         watch,
         found,
         started = loop_.now(),
         ddl = environment_.statements.registry().ddl_seen(
         )](bool clean, bool refused, backend::connection_ptr back) {
            const auto pause = (loop_.now() - started) * look_share;
            watch->next_look =
                loop_.now() + (pause > least_look_interval ? pause : least_look_interval);
            if (refused) {
                watch->looking = false;
                watch->ddl = ddl;
                watch->forget(loop_.now() + refused_look_interval);
                pool.pool->release(std::move(back));
            } else if (!clean) {
                watch->looking = false;
                pool.pool->discard(std::move(back));
            } else if (*found == watch->fingerprint && !watch->rules->is_empty()) {
                watch->looking = false;
                watch->ddl = ddl;
                pool.pool->release(std::move(back));
            } else if (auto known = find_known(back->target(), *found)) {
                watch->looking = false;
                watch->rules = std::move(known);
                watch->fingerprint = *found;
                watch->by_statement.clear();
                watch->ddl = ddl;
                pool.pool->release(std::move(back));
            } else {
                learn_catalogs(std::move(back), pool, std::move(*found));
            }
        }
    );
}

worker::rules_ptr worker::find_known(
    const backend::server_target& target, const std::string& fingerprint
) {
    const auto it = std::find_if(known_.begin(), known_.end(), [&](const known_catalogs& each) {
        return each.fingerprint == fingerprint && each.database == target.database &&
               each.hosts == target.connection->hosts;
    });
    if (it == known_.end()) {
        return nullptr;
    }
    std::rotate(it, it + 1, known_.end());
    return known_.back().rules;
}

void worker::keep_known(known_catalogs what) {
    constexpr std::size_t max_known = 8;
    std::erase_if(known_, [&](const known_catalogs& each) {
        return each.database == what.database && each.hosts == what.hosts;
    });
    if (known_.size() >= max_known) {
        known_.erase(known_.begin());
    }
    known_.push_back(std::move(what));
}

void worker::learn_catalogs(
    backend::connection_ptr connection, pool_entry& pool, std::string fingerprint
) {
    static const auto sql = rewrite::catalog_sql();
    const auto watch = pool.watch;
    auto rules = std::make_shared<rewrite::hidden_state_rules>();
    run_errand(
        std::move(connection),
        {sql},
        [rules](const cleaner_row& row) {
            if (row.size() == 3) {
                rules->learn(row[0].value_or(""), row[1].value_or(""), row[2].value_or(""));
            }
        },
        [this,
         &pool,
         watch,
         rules,
         fingerprint = std::move(fingerprint),
         ddl = environment_.statements.registry().ddl_seen(
         )](bool clean, bool refused, backend::connection_ptr back) {
            watch->looking = false;
            if (refused) {
                watch->ddl = ddl;
                watch->forget(loop_.now() + refused_look_interval);
                pool.pool->release(std::move(back));
                return;
            }
            if (!clean) {
                pool.pool->discard(std::move(back));
                return;
            }
            rules->finish();
            if (rules->lasts_by_reading()) {
                log::warn(
                    "every transaction ends its server connection",
                    {{"database", pool.database},
                     {"cause",
                      "a view or a policy leads to setseed() or dblink_connect(), or to a "
                      "function with LOAD"}}
                );
            }
            keep_known(
                {.hosts = back->target().connection->hosts,
                 .database = back->target().database,
                 .fingerprint = fingerprint,
                 .rules = rules}
            );
            watch->rules = rules;
            watch->fingerprint = fingerprint;
            watch->by_statement.clear();
            watch->ddl = ddl;
            pool.pool->release(std::move(back));
        }
    );
}

void worker::abandon(backend::connection_ptr connection, pool_entry& pool, bool cancel_first) {
    connection->set_user(nullptr);
    if (!cancel_first) {
        pool.pool->discard(std::move(connection));
        return;
    }
    connection->detach();  // whatever it still says has no reader
    auto held = std::make_shared<backend::connection_ptr>(std::move(connection));
    cancel(**held, [held, &pool](bool) { pool.pool->discard(std::move(*held)); });
}

void worker::close_unpooled(backend::connection_ptr connection, bool cancel_first) {
    connection->set_user(nullptr);
    auto held = std::make_shared<backend::connection_ptr>(std::move(connection));
    const auto close = [this, held](bool) {
        (*held)->terminate(io_.scratch);
        loop_.defer([held] { held->reset(); });  // the caller may be one of its events
    };
    if (cancel_first) {
        (*held)->detach();  // whatever it still says has no reader
        cancel(**held, close);
    } else {
        close(true);
    }
}

void worker::cancel(
    const backend::server_connection& victim, std::function<void(bool is_settled)> finished
) {
    auto call = std::make_unique<backend::cancel_call>(
        io_,
        victim,
        [this, finished = std::move(finished)](backend::cancel_call& done) {
            const auto node = cancels_.extract(&done);
            finished(done.is_settled());
            stop_if_empty();
        }
    );
    auto* const raw = call.get();
    cancels_.emplace(raw, std::move(call));
    raw->start();
}

void worker::decide(
    std::shared_ptr<const parser::statement_rules> rules,
    std::string sql,
    parser::backslashes strings,
    std::function<void(parser::verdict_ptr)> done
) {
    shared_.jobs.submit(
        [this, rules = std::move(rules), sql = std::move(sql), strings, done = std::move(done)] {
            auto found = std::make_shared<const parser::verdict>(rules->decide(sql, strings));
            post([done, found = std::move(found)] { done(found); });
        }
    );
}

void worker::carry_out(command_request asked, std::function<void(command_reply)> done) {
    shared_.commands.carry_out(
        std::move(asked),
        [this, done = std::move(done)](command_reply reply) {
            post([done, reply = std::move(reply)]() mutable { done(std::move(reply)); });
        }
    );
}

void worker::examine(
    pool_entry& pool, const std::function<void(const std::vector<wire::report>&)>& done
) {
    const auto target = pool.pool->group().current().target;
    std::function<void(std::vector<wire::report>)> told;
    if (done) {
        told = [this, done](std::vector<wire::report> found) {
            post([done, found = std::move(found)] { done(found); });
        };
    }
    shared_.examined.examine(target->connection->name, target->database, std::move(told));
}

void worker::register_key(const wire::backend_key_data& key, std::uint64_t session_id) {
    keys_[key_of(key)] = session_id;
}

void worker::forget_key(const wire::backend_key_data& key) {
    keys_.erase(key_of(key));
}

void worker::cancel_here(
    const wire::backend_key_data& asked, const std::function<void()>& finished
) {
    const auto it = keys_.find(key_of(asked));
    auto* const target = it == keys_.end() ? nullptr : find_session(it->second);
    if (target == nullptr || !target->has_key(asked) || !target->cancel_statement(finished)) {
        finished();
    }
}

void worker::route_cancel(const wire::backend_key_data& asked, std::uint64_t asking_session) {
    // The client waits for the end of its connection: it comes when the signal has been sent.
    auto left = std::make_shared<std::atomic<std::size_t>>(shared_.count);
    for (auto* const each : shared_.workers) {
        each->post([each, asked, left, home = this, asking_session] {
            each->cancel_here(asked, [left, home, asking_session] {
                if (left->fetch_sub(1) == 1) {
                    home->post([home, asking_session] {
                        if (auto* const asking = home->find_session(asking_session);
                            asking != nullptr) {
                            asking->close_quietly();
                        }
                    });
                }
            });
        });
    }
}

// ---- configuration and the end

void worker::apply(runtime_ptr next) {
    runtime_ = std::move(next);
    verdicts_.clear();
    watches_.clear();
    for (auto& [key, entry] : pools_) {
        const auto route = runtime_->resolve(entry->database);
        if (!route || !route->connection) {
            entry->removed = true;
            for (auto& [id, each] : sessions_) {
                each->end_if_on(*entry);
            }
            continue;
        }
        entry->removed = false;
        if (route->settings->mode == entry->relay.mode || key.starts_with("auth_query")) {
            configure(*entry, *route);
        }
        if (!route->connection->user.empty() && entry->login_role == route->connection->user) {
            entry->pool->group().set_credentials(
                {.password = route->connection->password, .keys = std::nullopt}
            );
        }
    }
    for (auto& [id, each] : sessions_) {
        each->target_may_have_changed();
    }
    notifications_.maintain();
}

void worker::tick() {
    for (auto& [key, entry] : pools_) {
        entry->pool->maintain();
    }
    notifications_.maintain();
    tick_.start(
        loop_,
        loop_.now() + tick_interval,
        [](void* self) { static_cast<worker*>(self)->tick(); },
        this
    );
}

void worker::drain(backend::time_point until) {
    draining_ = true;
    listeners_.clear();
    drain_deadline_.start(
        loop_, until, [](void* self) { static_cast<worker*>(self)->stop_now(); }, this
    );
    notifications_.drain();
    std::vector<session*> all;
    for (auto& [id, each] : sessions_) {
        all.push_back(each.get());
    }
    for (auto* const each : all) {
        each->drain();
    }
    stop_if_empty();
}

void worker::stop_if_empty() {
    if (draining_ && sessions_.empty() && cancels_.empty()) {
        loop_.stop();
    }
}

void worker::stop_now() {
    draining_ = true;
    listeners_.clear();
    for (auto& [id, each] : sessions_) {
        each->end(
            {.severity = "FATAL",
             .sqlstate = std::string{wire::sqlstate::admin_shutdown},
             .message = "terminating connection due to administrator command",
             .detail = {},
             .hint = {}}
        );
    }
    loop_.stop();
}

}  // namespace signalbox::proxy
