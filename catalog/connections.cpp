#include "catalog/connections.hpp"

#include "catalog/option_changes.hpp"
#include "catalog/timestamps.hpp"

#include <algorithm>
#include <array>
#include <utility>

namespace signalbox::catalog {
namespace {

/// Before the store is asked once more to take the file's connections; doubled up to the longest.
constexpr std::chrono::milliseconds first_pause = std::chrono::seconds{1};
constexpr std::chrono::milliseconds longest_pause = std::chrono::seconds{30};

using planned_map = std::map<std::string, planned_connection, std::less<>>;

constexpr std::string_view duplicate_object = "42710";
constexpr std::string_view dependent_objects = "2BP01";
constexpr std::string_view insufficient_privilege = "42501";
constexpr std::string_view unable_to_connect = "08001";
constexpr std::string_view system_error = "58000";

wire::report error(
    std::string_view sqlstate, std::string message, std::string detail = {}, std::string hint = {}
) {
    return {
        .severity = "ERROR",
        .sqlstate = std::string{sqlstate},
        .message = std::move(message),
        .detail = std::move(detail),
        .hint = std::move(hint)};
}

[[noreturn]] void refuse(
    std::string_view sqlstate, std::string message, std::string detail = {}, std::string hint = {}
) {
    throw rejection{error(sqlstate, std::move(message), std::move(detail), std::move(hint))};
}

std::string in_words(std::string_view name) {
    return "connection \"" + std::string{name} + "\"";
}

wire::report skipped(std::string_view sqlstate, const std::string& what) {
    return {
        .severity = "NOTICE",
        .sqlstate = std::string{sqlstate},
        .message = what + ", skipping",
        .detail = {},
        .hint = {}};
}

std::string missing(std::string_view name) {
    return in_words(name) + " does not exist";
}

postgres_connections usable(const planned_map& planned) {
    postgres_connections out;
    for (const auto& [name, each] : planned) {
        if (each.postgres) {
            out.emplace(name, each.postgres);
        }
    }
    return out;
}

[[noreturn]] void refuse_without_store(const store_error& why) {
    refuse(
        system_error,
        std::string{"the catalog's store is not available: "} + why.what(),
        "Statements that are not about the catalog go on."
    );
}

/// An absent required option is the ALTER's fault, not the connection's.
[[noreturn]] void rethrow_for_alter(const rejection& why) {
    auto said = why.report();
    if (said.message.ends_with(" option is required")) {
        said.message = "invalid ALTER CONNECTION: " + said.message;
    }
    throw rejection{said, why.option()};
}

[[noreturn]] void refuse_unavailable(
    const std::string& name, const connection_user::check& found, std::string hint
) {
    refuse(
        unable_to_connect,
        in_words(name) + " failed validation: " + found.error,
        "Connection \"" + name + "\": host " + found.host + ", port " + std::to_string(found.port) +
            ".",
        std::move(hint)
    );
}

void check_type(connection_type type) {
    const auto& kind = kind_of(type);
    if (!kind.is_supported()) {
        refuse(
            wire::sqlstate::feature_not_supported,
            std::string{kind.label()} + " connections are not supported yet"
        );
    }
}

bool is_validated(connection_type type, const std::optional<bool>& asked) {
    return type != connection_type::aws_privatelink && asked.value_or(true);
}

}  // namespace

/// What a plan looks up, with one connection's type as it is about to be.
class connection_catalog::planning final : public plan_context {
public:
    explicit planning(const connection_catalog& catalog) : catalog_(catalog) {}

    [[nodiscard]] std::optional<std::string> find_secret(std::string_view name) const override {
        return catalog_.user_.find_secret(name);
    }

    [[nodiscard]] std::optional<connection_type> find_connection(std::string_view name
    ) const override {
        const auto* const found = catalog_.find(name);
        return found != nullptr ? std::optional{found->type} : std::nullopt;
    }

    [[nodiscard]] std::filesystem::path resolve_path(const std::string& path) const override {
        return catalog_.user_.resolve_path(path);
    }

private:
    const connection_catalog& catalog_;
};

const connection_entry* connection_snapshot::find(std::string_view name) const noexcept {
    const auto it = std::find_if(connections.begin(), connections.end(), [&](const auto& each) {
        return each.stored.name == name;
    });
    return it != connections.end() ? &*it : nullptr;
}

connection_catalog::connection_catalog(
    store& kept, connection_user& used, status_quota quota, std::size_t history_per_connection
)
    : store_(kept),
      user_(used),
      history_per_connection_(history_per_connection),
      tracker_(quota),
      snapshot_(std::make_shared<connection_snapshot>()) {
    try {
        read_store();
    } catch (const store_error& why) {
        user_.warn("the catalog's store cannot be read, it is tried again", why.what());
    }
    is_leader_ = is_loaded_ && store_.is_leader();
    if (!is_leader_) {
        tracker_.follow();
    }
}

moment connection_catalog::now() {
    return {.steady = std::chrono::steady_clock::now(), .wall = current_time()};
}

snapshot_ptr connection_catalog::snapshot() const {
    const std::lock_guard lock{mutex_};
    return snapshot_;
}

bool connection_catalog::is_visible(const stored_connection& connection) const {
    return !connection.is_from_file || file_.contains(connection.name);
}

/// Also one that is not visible.
const stored_connection* connection_catalog::find_stored(std::string_view name) const {
    const auto it = std::find_if(connections_.begin(), connections_.end(), [&](const auto& each) {
        return each.name == name;
    });
    return it != connections_.end() ? &*it : nullptr;
}

const stored_connection* connection_catalog::find(std::string_view name) const {
    const auto* const found = find_stored(name);
    return found != nullptr && is_visible(*found) ? found : nullptr;
}

/// IF EXISTS of one that does not: a notice, and nothing to do.
bool connection_catalog::skips_missing(bool if_exists, std::string_view name, command_outcome& out)
    const {
    if (!if_exists || find(name) != nullptr) {
        return false;
    }
    out.notices.push_back(skipped(wire::sqlstate::undefined_object, missing(name)));
    return true;
}

const stored_connection& connection_catalog::need(std::string_view name) const {
    const auto* const found = find(name);
    if (found == nullptr) {
        refuse(wire::sqlstate::undefined_object, missing(name));
    }
    return *found;
}

const stored_connection& connection_catalog::need_owned(std::string_view name, const actor& who)
    const {
    const auto& found = need(name);
    if (!who.is_superuser && (found.owner.empty() || found.owner != who.user)) {
        refuse(insufficient_privilege, "must be owner of connection " + std::string{name});
    }
    return found;
}

const option_map* connection_catalog::file_options(std::string_view name) const {
    const auto it = file_.find(name);
    return it != file_.end() ? &it->second.options : nullptr;
}

option_map connection_catalog::options_of_stored(const stored_connection& connection) const {
    return effective_options(
        connection.is_from_file ? file_options(connection.name) : nullptr, connection.overrides
    );
}

const planned_connection* connection_catalog::find_planned(std::string_view name) const {
    const auto it = planned_.find(name);
    return it != planned_.end() ? &it->second : nullptr;
}

postgres_connections connection_catalog::planned() const {
    return usable(planned_);
}

std::vector<std::string> connection_catalog::dependents_of(std::string_view name) const {
    std::vector<std::string> out;
    for (const auto& [other, each] : planned_) {
        if (std::find(each.depends_on.begin(), each.depends_on.end(), name) !=
            each.depends_on.end()) {
            out.push_back(other);
        }
    }
    return out;
}

// ---- what the file says

void connection_catalog::set_file(file_connections file) {
    file_ = std::move(file);
    add_new_of_file();
    plan_all();
    publish_snapshot();
}

/// A connection that cannot be planned is there, and fails.
void connection_catalog::report_unplanned() {
    for (const auto& [name, why] : unplanned_) {
        report_status(name, status_failed, why);
    }
}

/// What the store has to be told of the file: connections that it does not know, or knows as
/// others.
std::vector<connection_change> connection_catalog::news_of_file() const {
    std::vector<connection_change> changes;
    for (const auto& [name, said] : file_) {
        const auto* const known = find_stored(name);
        if (known != nullptr && known->type == said.type) {
            if (!known->is_from_file) {  // made by SQL, and the file names it now: SQL's word stays
                auto after = *known;
                after.is_from_file = true;
                changes.push_back({.before = *known, .after = std::move(after)});
            }
            continue;
        }
        if (known != nullptr) {
            changes.push_back({.before = *known, .after = std::nullopt});
        }
        const auto when = current_time();
        changes.push_back(
            {.before = std::nullopt,
             .after =
                 stored_connection{
                     .id = {},
                     .name = name,
                     .type = said.type,
                     .is_from_file = true,
                     .owner = {},
                     .overrides = {},
                     .generation = 1,
                     .created_at = when,
                     .altered_at = when}}
        );
    }
    return changes;
}

/// Connections that only the file knows get their place, and their id, in the store.
void connection_catalog::add_new_of_file() {
    constexpr int attempts = 3;
    try {
        for (int attempt = 1; is_loaded_; ++attempt) {
            const auto changes = news_of_file();
            if (changes.empty()) {
                file_refusal_ = {};
                return;
            }
            try {
                store_.commit(changes, {});
                read_store();
                file_refusal_ = {};
                return;
            } catch (const concurrent_change& why) {
                if (attempt == attempts) {
                    throw store_error{why.what()};
                }
                read_store();
            }
        }
    } catch (const store_error& why) {
        warn_once(
            file_refusal_.cause,
            "the file's connections cannot be stored, it is tried again",
            why.what()
        );
        file_refusal_.pause = std::clamp(file_refusal_.pause * 2, first_pause, longest_pause);
        file_refusal_.next = std::chrono::steady_clock::now() + file_refusal_.pause;
        is_loaded_ = false;
    }
    // Traffic does not wait for the store: until it is there, they have no id.
    for (const auto& change : news_of_file()) {
        if (change.before) {
            std::erase_if(connections_, [&](const auto& each) {
                return each.name == change.before->name;
            });
        }
        if (change.after) {
            connections_.push_back(*change.after);
        }
    }
}

/// For each cause, not for each try.
void connection_catalog::warn_once(
    std::string& told, const std::string& what, const std::string& cause
) {
    if (std::exchange(told, cause) != cause) {
        user_.warn(what, cause);
    }
}

/// Throws store_error.
void connection_catalog::read_store() {
    auto loaded = store_.load();
    connections_ = std::move(loaded.connections);
    history_ = std::move(loaded.history);
    tracker_.restore(history_);
    is_loaded_ = true;
}

void connection_catalog::plan_all() {
    planned_.clear();
    unplanned_.clear();
    const planning context{*this};
    for (const auto& each : connections_) {
        if (!is_visible(each)) {
            continue;
        }
        try {
            auto plan = kind_of(each.type).plan(each.name, options_of_stored(each), context);
            if (plan.postgres) {
                check_supported(plan);
            }
            planned_.emplace(each.name, std::move(plan));
        } catch (const rejection& why) {
            user_.warn(in_words(each.name) + " cannot be used", why.what());
            unplanned_.emplace(each.name, why.what());
        }
    }
}

std::vector<std::string> connection_catalog::overridden() const {
    std::vector<std::string> out;
    for (const auto& each : connections_) {
        if (!each.is_from_file || !is_visible(each)) {
            continue;
        }
        std::string changed;
        for (const auto& [option, value] : each.overrides) {
            changed += (changed.empty() ? "" : ", ") + option;
        }
        if (!each.owner.empty()) {
            changed += (changed.empty() ? "" : ", ") + std::string{"OWNER"};
        }
        if (!changed.empty()) {
            out.push_back(each.name + " (" + changed + ")");
        }
    }
    return out;
}

// ---- statements

command_outcome connection_catalog::execute(const parser::command& command, const actor& who) {
    if (!is_loaded_) {
        try {
            reload();
        } catch (const store_error& why) {
            refuse_without_store(why);
        }
    }
    return std::visit([&](const auto& asked) { return run(asked, who); }, command);
}

template <class Other>
command_outcome connection_catalog::run(const Other& /*asked*/, const actor& /*who*/) {
    refuse(wire::sqlstate::feature_not_supported, "this statement is not supported yet");
}

/// Throws rejection, 0A000, for what is checked but cannot be used yet: a type, or a way through
/// one.
void connection_catalog::check_supported(const planned_connection& connection) const {
    check_type(connection.type);
    for (const auto& other : connection.depends_on) {
        check_type(need(other).type);
    }
}

/// Throws rejection, 08001, where it does not answer.
void connection_catalog::validate(const planned_connection& connection) {
    if (const auto found = user_.validate(connection); !found.is_available) {
        refuse_unavailable(
            connection.name, found, "To skip the validation, add WITH (VALIDATE = false)."
        );
    }
}

std::function<void()> connection_catalog::prepare_for(const planned_map& planned) {
    try {
        return user_.prepare(usable(planned));
    } catch (const rejection&) {
        throw;
    } catch (const std::exception& why) {
        refuse(wire::sqlstate::invalid_parameter_value, why.what());
    }
}

/// From here on there is no way back: the store has it, then everybody.
void connection_catalog::commit(
    const std::vector<connection_change>& changes,
    planned_map planned,
    const std::vector<status_event>& events,
    const std::string& name
) {
    const auto publish = prepare_for(planned);
    std::vector<stored_connection> stored;
    try {
        stored = store_.commit(changes, events);
    } catch (const concurrent_change&) {
        try {
            reload();
        } catch (const store_error& why) {
            user_.warn("the catalog's store cannot be read", why.what());
        }
        refuse(wire::sqlstate::serialization_failure, in_words(name) + " was changed concurrently");
    } catch (const store_error& why) {
        refuse_without_store(why);
    }
    auto next = stored.begin();
    for (const auto& change : changes) {
        const auto old =
            !change.before
                ? connections_.end()
                : std::find_if(connections_.begin(), connections_.end(), [&](const auto& each) {
                      return each.id == change.before->id;
                  });
        if (!change.after) {
            tracker_.forget(change.before->id);
            connections_.erase(old);
        } else if (old != connections_.end()) {
            *old = *next++;
        } else {
            connections_.push_back(*next++);
        }
    }
    history_.insert(history_.end(), events.begin(), events.end());
    for (const auto& [each, plan] : planned) {
        unplanned_.erase(each);
    }
    planned_ = std::move(planned);
    publish();
    publish_snapshot();
}

command_outcome connection_catalog::run(const parser::create_connection& asked, const actor& who) {
    if (!who.is_superuser) {
        refuse(
            insufficient_privilege,
            "permission denied to create a connection",
            {},
            "Only a user with the role \"superuser\" may."
        );
    }
    command_outcome out{.notices = {}, .tag = "CREATE CONNECTION"};
    if (find(asked.name) != nullptr) {
        const auto what = in_words(asked.name) + " already exists";
        if (!asked.if_not_exists) {
            refuse(duplicate_object, what);
        }
        out.notices.push_back(skipped(duplicate_object, what));
        return out;
    }
    const auto& kind = kind_of(asked.type);
    const auto options = options_of(kind, asked.options);
    auto plan = kind.plan(asked.name, options, planning{*this});
    check_supported(plan);
    if (is_validated(asked.type, asked.validate)) {
        validate(plan);
    }
    const auto when = current_time();
    stored_connection made{
        .id = {},
        .name = asked.name,
        .type = asked.type,
        .is_from_file = false,
        .owner = who.user,
        .overrides = {options.begin(), options.end()},
        .generation = 1,
        .created_at = when,
        .altered_at = when};
    std::vector<connection_change> changes;
    // One that another Signalbox's file names, and ours does not.
    if (const auto* const hidden = find_stored(asked.name)) {
        out.dropped.push_back(hidden->id);
        changes.push_back({.before = *hidden, .after = std::nullopt});
    }
    changes.push_back({.before = std::nullopt, .after = std::move(made)});
    auto planned = planned_;
    planned.insert_or_assign(asked.name, std::move(plan));
    commit(changes, std::move(planned), {}, asked.name);
    if (is_validated(asked.type, asked.validate)) {
        report_status(asked.name, status_available, std::nullopt);
    }
    return out;
}

command_outcome connection_catalog::run(const parser::alter_connection& asked, const actor& who) {
    command_outcome out{.notices = {}, .tag = "ALTER CONNECTION"};
    if (skips_missing(asked.if_exists, asked.name, out)) {
        return out;
    }
    const auto before = need_owned(asked.name, who);
    const auto& kind = kind_of(before.type);
    const auto* const file = before.is_from_file ? file_options(before.name) : nullptr;
    auto after = before;
    after.overrides = change_options(kind, file, before.overrides, asked.changes);
    after.altered_at = current_time();
    planned_connection plan;
    try {
        plan = kind.plan(before.name, effective_options(file, after.overrides), planning{*this});
    } catch (const rejection& why) {
        rethrow_for_alter(why);
    }
    check_supported(plan);
    const bool is_checked = is_validated(before.type, asked.validate);
    if (is_checked) {
        validate(plan);
    }
    auto planned = planned_;
    planned.insert_or_assign(before.name, std::move(plan));
    commit({{.before = before, .after = after}}, std::move(planned), {}, before.name);
    if (is_checked) {
        report_status(before.name, status_available, std::nullopt);
    }
    return out;
}

command_outcome connection_catalog::run(const parser::rename_connection& asked, const actor& who) {
    command_outcome out{.notices = {}, .tag = "ALTER CONNECTION"};
    if (skips_missing(asked.if_exists, asked.name, out)) {
        return out;
    }
    const auto before = need_owned(asked.name, who);
    if (const auto route = user_.find_route_to(asked.name)) {
        refuse(
            dependent_objects,
            "cannot rename " + in_words(asked.name) + " because " + *route + " depends on it",
            {},
            "Change the route in the configuration file first."
        );
    }
    if (before.is_from_file) {
        refuse(
            wire::sqlstate::feature_not_supported,
            "cannot rename " + in_words(asked.name) + " because the configuration file names it",
            {},
            "Rename it there, and reload."
        );
    }
    if (const auto others = dependents_of(asked.name); !others.empty()) {
        refuse(
            dependent_objects,
            "cannot rename " + in_words(asked.name) + " because " + in_words(others.front()) +
                " depends on it"
        );
    }
    if (find_stored(asked.new_name) != nullptr) {
        refuse(duplicate_object, in_words(asked.new_name) + " already exists");
    }
    auto after = before;
    after.name = asked.new_name;
    after.altered_at = current_time();
    auto planned = planned_;
    planned.erase(before.name);
    planned.insert_or_assign(
        after.name, kind_of(after.type).plan(after.name, options_of_stored(after), planning{*this})
    );
    commit({{.before = before, .after = after}}, std::move(planned), {}, before.name);
    return out;
}

command_outcome connection_catalog::run(
    const parser::change_connection_owner& asked, const actor& who
) {
    command_outcome out{.notices = {}, .tag = "ALTER CONNECTION"};
    if (skips_missing(asked.if_exists, asked.name, out)) {
        return out;
    }
    const auto before = need_owned(asked.name, who);
    auto after = before;
    after.owner = asked.is_current ? who.user : asked.role;
    after.altered_at = current_time();
    commit({{.before = before, .after = after}}, planned_, {}, before.name);
    return out;
}

command_outcome connection_catalog::run(const parser::drop_connection& asked, const actor& who) {
    command_outcome out{.notices = {}, .tag = "DROP CONNECTION"};
    std::vector<std::string> names;
    const auto add = [&names](const std::string& name) {
        if (std::find(names.begin(), names.end(), name) == names.end()) {
            names.push_back(name);
        }
    };
    for (const auto& name : asked.names) {
        if (!skips_missing(asked.if_exists, name, out)) {
            add(need(name).name);
        }
    }
    for (std::size_t i = 0; i < names.size(); ++i) {  // grows while it is walked, with CASCADE
        const auto name = names[i];
        const auto& found = need_owned(name, who);
        if (const auto route = user_.find_route_to(name)) {
            refuse(
                dependent_objects,
                "cannot drop " + in_words(name) + " because " + *route + " depends on it",
                {},
                "Remove the route from the configuration file first."
            );
        }
        if (found.is_from_file) {
            refuse(
                wire::sqlstate::feature_not_supported,
                "cannot drop " + in_words(name) + " because the configuration file names it",
                {},
                "Remove it there, and reload."
            );
        }
        for (const auto& other : dependents_of(name)) {
            const bool is_named = std::find(names.begin(), names.end(), other) != names.end();
            if (!asked.cascade && !is_named) {
                refuse(
                    dependent_objects,
                    "cannot drop " + in_words(name) + " because " + in_words(other) +
                        " depends on it",
                    {},
                    "Use DROP … CASCADE to drop the dependent connections too."
                );
            }
            add(other);
        }
    }
    if (names.empty()) {
        return out;
    }
    std::vector<connection_change> changes;
    std::vector<status_event> events;
    auto planned = planned_;
    for (const auto& name : names) {
        const auto& dropped = need(name);
        out.dropped.push_back(dropped.id);
        changes.push_back({.before = dropped, .after = std::nullopt});
        events.push_back(
            {.connection_id = dropped.id,
             .status = std::string{status_deleted},
             .error = std::nullopt,
             .occurred_at = current_time()}
        );
        planned.erase(name);
    }
    commit(changes, std::move(planned), events, names.front());
    return out;
}

command_outcome connection_catalog::run(
    const parser::validate_connection& asked, const actor& who
) {
    const auto& found = need_owned(asked.name, who);
    check_type(found.type);
    if (const auto why = unplanned_.find(asked.name); why != unplanned_.end()) {
        refuse(unable_to_connect, in_words(asked.name) + " failed validation: " + why->second);
    }
    const auto& plan = planned_.at(asked.name);
    if (const auto check = user_.validate(plan); !check.is_available) {
        report_status(asked.name, status_failed, check.error);
        refuse_unavailable(asked.name, check, {});  // there is nothing to skip
    }
    report_status(asked.name, status_available, std::nullopt);
    return {.notices = {}, .tag = "VALIDATE CONNECTION"};
}

// ---- statuses

void connection_catalog::report_status(
    std::string_view name, std::string_view status, std::optional<std::string> error
) {
    const auto* const found = find(name);
    if (found != nullptr && !found->id.empty()) {
        write(tracker_.report(found->id, status, std::move(error), now()));
    }
}

void connection_catalog::write(const std::vector<status_event>& batch) {
    if (batch.empty()) {
        return;
    }
    try {
        store_.append(batch);
        tracker_.written(batch);
        events_refusal_.clear();
        history_.insert(history_.end(), batch.begin(), batch.end());
        publish_snapshot();
    } catch (const store_error& why) {
        tracker_.failed(batch, now());
        warn_once(events_refusal_, "status events wait for the catalog's store", why.what());
    }
}

void connection_catalog::maintain() {
    const bool leads = store_.is_leader();
    const bool is_due = !is_loaded_ && std::chrono::steady_clock::now() >= file_refusal_.next;
    if (is_due || (leads && !is_leader_)) {
        try {
            reload();
        } catch (const store_error&) {
            return;  // it was told at the start, and is tried again
        }
    }
    if (leads && !std::exchange(is_leader_, true)) {
        tracker_.lead(history_);
    }
    if (leads && std::exchange(must_truncate_, false)) {
        try {
            store_.truncate_history(history_per_connection_);
            history_ = store_.load().history;
            tracker_.restore(history_);
            publish_snapshot();
        } catch (const store_error& why) {
            user_.warn("the status history cannot be cut", why.what());
        }
    }
    if (!leads && std::exchange(is_leader_, false)) {
        tracker_.follow();
    }
    if (is_leader_) {
        report_unplanned();
        write(tracker_.due(now()));
    }
}

void connection_catalog::reload() {
    read_store();
    add_new_of_file();
    const auto before = planned();
    plan_all();
    const auto after = planned();
    const bool is_same = std::equal(
        before.begin(),
        before.end(),
        after.begin(),
        after.end(),
        [](const auto& a, const auto& b) { return a.first == b.first && *a.second == *b.second; }
    );
    if (!is_same) {
        try {
            user_.prepare(after)();
        } catch (const std::exception& why) {
            user_.warn("connections changed elsewhere cannot be used", why.what());
        }
    }
    publish_snapshot();
}

void connection_catalog::publish_snapshot() {
    auto made = std::make_shared<connection_snapshot>();
    made->version = snapshot_->version + 1;  // only this thread publishes
    std::map<std::string_view, const status_event*> last;
    for (const auto& event : history_) {
        last[event.connection_id] = &event;
    }
    for (const auto& each : connections_) {
        if (!is_visible(each)) {
            continue;
        }
        connection_entry entry{
            .stored = each,
            .options = options_of_stored(each),
            .create_sql = {},
            .status = std::string{status_unknown},
            .error = std::nullopt,
            .last_status_change_at = std::nullopt};
        entry.create_sql = create_sql(each.name, each.type, entry.options);
        if (const auto event = last.find(each.id); event != last.end()) {
            entry.status = event->second->status;
            entry.error = event->second->error;
            entry.last_status_change_at = event->second->occurred_at;
        }
        made->connections.push_back(std::move(entry));
    }
    made->history = history_;
    const std::lock_guard lock{mutex_};
    snapshot_ = std::move(made);
}

}  // namespace signalbox::catalog
