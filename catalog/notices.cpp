#include "catalog/notices.hpp"

#include "catalog/utf8.hpp"
#include "catalog/wording.hpp"

#include <algorithm>
#include <array>
#include <set>
#include <stdexcept>
#include <tuple>
#include <utility>

namespace signalbox::catalog {
namespace {

using notice_ptr = std::shared_ptr<const stored_notice>;
using object_ptr = std::shared_ptr<const stored_object>;

constexpr std::string_view insufficient_privilege = "42501";
constexpr std::string_view serialization_failure = "40001";
constexpr std::string_view system_error = "58000";

/// How often a change is begun anew because another Signalbox was faster.
constexpr int attempts = 50;

[[noreturn]] void refuse(
    std::string_view sqlstate, std::string message, std::string detail = {}, std::string hint = {}
) {
    throw rejection{
        {.severity = "ERROR",
         .sqlstate = std::string{sqlstate},
         .message = std::move(message),
         .detail = std::move(detail),
         .hint = std::move(hint)}};
}

// ---- what has changed

template <typename Value>
bool is_same(const std::shared_ptr<const Value>& a, const std::shared_ptr<const Value>& b) {
    return a == b || *a == *b;
}

bool is_same(const ignored_notice& a, const ignored_notice& b) {
    return a == b;
}

template <typename Value>
const Value& value_of(const std::shared_ptr<const Value>& value) {
    return *value;
}

const ignored_notice& value_of(const ignored_notice& value) {
    return value;
}

/// Walks both at once, by key.
template <typename Map, typename Value>
void compare(
    const Map& before, const Map& after, std::vector<Value>& put, std::vector<std::string>& removed
) {
    auto old = before.begin();
    auto now = after.begin();
    while (old != before.end() || now != after.end()) {
        if (now == after.end() || (old != before.end() && old->first < now->first)) {
            removed.push_back(old->first);
            ++old;
        } else if (old == before.end() || now->first < old->first) {
            put.push_back(value_of(now->second));
            ++now;
        } else {
            if (!is_same(old->second, now->second)) {
                put.push_back(value_of(now->second));
            }
            ++old;
            ++now;
        }
    }
}

notice_changes difference(const notice_snapshot& before, const notice_snapshot& after) {
    notice_changes out;
    compare(before.objects, after.objects, out.objects, out.removed_objects);
    compare(before.notices, after.notices, out.notices, out.removed_notices);
    compare(before.ignored, after.ignored, out.ignored, out.removed_ignored);
    out.last_object = after.last_object;
    return out;
}

bool is_empty(const notice_changes& changes) {
    return changes.objects.empty() && changes.notices.empty() && changes.ignored.empty() &&
           changes.removed_objects.empty() && changes.removed_notices.empty() &&
           changes.removed_ignored.empty();
}

void apply(notice_snapshot& to, notice_changes changes) {
    for (const auto& id : changes.removed_objects) {
        to.objects.erase(id);
    }
    for (const auto& fingerprint : changes.removed_notices) {
        to.notices.erase(fingerprint);
    }
    for (const auto& fingerprint : changes.removed_ignored) {
        to.ignored.erase(fingerprint);
    }
    for (auto& object : changes.objects) {
        auto kept = std::make_shared<const stored_object>(std::move(object));
        to.objects.insert_or_assign(kept->id, kept);
    }
    for (auto& notice : changes.notices) {
        auto kept = std::make_shared<const stored_notice>(std::move(notice));
        to.notices.insert_or_assign(kept->fingerprint, kept);
    }
    for (auto& ignored : changes.ignored) {
        const std::string key = ignored.fingerprint;
        to.ignored.insert_or_assign(key, std::move(ignored));
    }
    to.last_object = changes.last_object;
}

// ---- what goes

/// How far `last_seen_at` may be behind: a notice that stays is not to be written again and again.
std::chrono::microseconds seen_slack(std::chrono::seconds retention) {
    return std::min<std::chrono::microseconds>(retention / 2, std::chrono::hours{24});
}

/// The notice goes, and was there until now.
void erase_notice(notice_snapshot& from, const std::string& fingerprint, timestamp now) {
    from.notices.erase(fingerprint);
    if (const auto ignored = from.ignored.find(fingerprint); ignored != from.ignored.end()) {
        ignored->second.last_seen_at = std::max(ignored->second.last_seen_at, now);
    }
}

template <typename Condition>
void erase_notices_if(notice_snapshot& from, timestamp now, const Condition& goes) {
    std::vector<std::string> gone;
    for (const auto& [fingerprint, notice] : from.notices) {
        if (goes(*notice)) {
            gone.push_back(fingerprint);
        }
    }
    for (const auto& fingerprint : gone) {
        erase_notice(from, fingerprint, now);
    }
}

/// Objects that no notice refers to.
void sweep_objects(notice_snapshot& from) {
    std::set<std::string_view> needed;
    for (const auto& [fingerprint, notice] : from.notices) {
        needed.insert(notice->object_id);
        needed.insert(notice->dependency_ids.begin(), notice->dependency_ids.end());
    }
    std::erase_if(from.objects, [&](const auto& each) { return !needed.contains(each.first); });
}

// ---- merging an examination

/// Every `from` as a whole word becomes `to`.
std::string with_word(const std::string& text, std::string_view from, std::string_view to) {
    const auto is_part = [](char c) {
        return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
               c == '_' || c == '$' || static_cast<unsigned char>(c) >= 0x80;
    };
    std::string out;
    std::size_t done = 0;
    for (auto at = text.find(from); at != std::string::npos; at = text.find(from, at + 1)) {
        const std::size_t end = at + from.size();
        if (at < done || (at > 0 && is_part(text[at - 1])) ||
            (end < text.size() && is_part(text[end]))) {
            continue;
        }
        out.append(text, done, at - done);
        out += to;
        done = end;
    }
    return out.append(text, done);
}

/// One examination, merged into what is known. The steps of run(), in order.
class merge {
public:
    merge(notice_snapshot& next, const examination& what, timestamp now)
        : next_(next),
          what_(what),
          connection_id_(made_utf8(what.connection_id)),
          database_(made_utf8(what.database)),
          now_(now) {}

    void run() {
        index_objects();
        take_findings();
        collect_old();
        match_same();
        match_renamed();
        match_recreated();
        replace();
        sweep_objects(next_);
    }

private:
    /// A finding on its way to become a notice.
    struct arrival {
        stored_notice notice;
        bool is_placed = false;
    };

    /// A notice of the objects that were examined.
    struct departure {
        notice_ptr notice;
        bool is_placed = false;
    };

    struct new_name {
        std::string from;
        std::string to;
    };

    [[nodiscard]] bool is_here(const stored_object& object) const {
        return object.connection_id == connection_id_ && object.database == database_;
    }

    void index_objects() {
        for (const auto& [id, object] : next_.objects) {
            if (is_here(*object)) {
                by_oid_[object->oid] = object;
            }
        }
        for (const auto& object : what_.objects) {
            if (by_oid_.contains(object.oid)) {
                know(object);
            }
        }
    }

    /// The object's id. The same OID with another type is another object: OIDs come round.
    std::string know(const noticed_object& seen) {
        stored_object made{
            .id = {},
            .oid = seen.oid,
            .connection_id = connection_id_,
            .database = database_,
            .schema = made_utf8(seen.schema),
            .name = made_utf8(seen.name),
            .type = made_utf8(seen.type),
            .owner = made_utf8(seen.owner)};
        auto& known = by_oid_[seen.oid];
        if (known && known->type == made.type) {
            made.id = known->id;
            if (made == *known) {
                return made.id;
            }
            note_new_name(made.id, known->schema, made.schema);
            note_new_name(made.id, known->name, made.name);
        } else {
            made.id = "o" + std::to_string(++next_.last_object);
        }
        known = std::make_shared<const stored_object>(std::move(made));
        next_.objects.insert_or_assign(known->id, known);
        return known->id;
    }

    void note_new_name(const std::string& id, const std::string& from, const std::string& to) {
        if (from != to) {
            renamed_.insert(id);
            new_names_.push_back({.from = from, .to = to});
        }
    }

    void take_findings() {
        std::set<std::string> taken;
        for (const auto& each : what_.findings) {
            const auto fingerprint = parse_uuid(each.fingerprint);
            if (!fingerprint) {
                throw std::invalid_argument{"a finding's fingerprint is no UUID"};
            }
            if (!taken.insert(*fingerprint).second) {
                continue;
            }
            const auto text = [](const std::optional<std::string>& redacted) {
                return redacted ? std::optional{made_utf8(*redacted)} : std::nullopt;
            };
            stored_notice made{
                .fingerprint = *fingerprint,
                .connection_id = connection_id_,
                .database = database_,
                .type = made_utf8(each.type),
                .message = made_utf8(each.message),
                .hint = made_utf8(each.hint),
                .action = made_utf8(each.action),
                .redacted_message = text(each.redacted_message),
                .redacted_hint = text(each.redacted_hint),
                .redacted_action = text(each.redacted_action),
                .action_type = made_utf8(each.action_type),
                .object_id = know(each.object),
                .dependency_ids = {},
                .created_at = now_,
                .updated_at = now_,
                .is_resolved = false};
            for (const auto& dependency : each.dependencies) {
                made.dependency_ids.push_back(know(dependency));
            }
            arrivals_.push_back({.notice = std::move(made)});
        }
    }

    void collect_old() {
        const auto oids = what_.oids.value_or(std::vector<std::uint32_t>{});
        const std::set<std::uint32_t> examined{oids.begin(), oids.end()};
        for (const auto& [fingerprint, notice] : next_.notices) {
            if (notice->connection_id != connection_id_ || notice->database != database_) {
                continue;
            }
            const auto* const object = next_.find_object(notice->object_id);
            if (!what_.oids || object == nullptr || examined.contains(object->oid)) {
                departures_.emplace(fingerprint, departure{.notice = notice});
            }
        }
    }

    static bool has_same_text(const stored_notice& a, const stored_notice& b) {
        const auto texts = [](const stored_notice& of) {
            return std::tie(
                of.type,
                of.message,
                of.hint,
                of.action,
                of.redacted_message,
                of.redacted_hint,
                of.redacted_action,
                of.action_type
            );
        };
        return texts(a) == texts(b);
    }

    /// What the finding was before stays true of it.
    static void carry_over(arrival& to, const stored_notice& from) {
        to.notice.created_at = from.created_at;
        to.notice.is_resolved = from.is_resolved;
        if (has_same_text(to.notice, from)) {
            to.notice.updated_at = from.updated_at;
        }
        to.is_placed = true;
    }

    void match_same() {
        for (auto& each : arrivals_) {
            const auto* const before = next_.find(each.notice.fingerprint);
            if (before == nullptr || before->object_id != each.notice.object_id) {
                continue;
            }
            carry_over(each, *before);
            if (const auto old = departures_.find(before->fingerprint); old != departures_.end()) {
                old->second.is_placed = true;
            }
        }
    }

    [[nodiscard]] bool is_renamed(const stored_notice& notice) const {
        return what_.is_rename || renamed_.contains(notice.object_id) ||
               std::any_of(
                   notice.dependency_ids.begin(),
                   notice.dependency_ids.end(),
                   [&](const auto& id) { return renamed_.contains(id); }
               );
    }

    [[nodiscard]] bool may_be(const arrival& now, const departure& old) const {
        return !now.is_placed && !old.is_placed &&
               (is_renamed(now.notice) || is_renamed(*old.notice));
    }

    /// An old notice of the same object and type in other words: what differs is a name, or it is
    /// the only one that it can be.
    void match_renamed() {
        struct unplaced {
            std::vector<arrival*> arrivals;
            std::vector<departure*> departures;
        };

        std::map<std::pair<std::string, std::string>, unplaced> by_object;  // and type
        for (auto& each : arrivals_) {
            if (!each.is_placed) {
                by_object[{each.notice.object_id, each.notice.type}].arrivals.push_back(&each);
            }
        }
        for (auto& [fingerprint, old] : departures_) {
            if (!old.is_placed) {
                by_object[{old.notice->object_id, old.notice->type}].departures.push_back(&old);
            }
        }
        for (auto& [object, group] : by_object) {
            for (auto* const now : group.arrivals) {
                for (auto* const old : group.departures) {
                    if (may_be(*now, *old) &&
                        renamed_text(old->notice->message) == now->notice.message) {
                        rename(*now, *old);
                    }
                }
            }
            std::erase_if(group.arrivals, [](const auto* each) { return each->is_placed; });
            std::erase_if(group.departures, [](const auto* each) { return each->is_placed; });
            if (group.arrivals.size() == 1 && group.departures.size() == 1 &&
                may_be(*group.arrivals.front(), *group.departures.front())) {
                rename(*group.arrivals.front(), *group.departures.front());
            }
        }
    }

    [[nodiscard]] std::string renamed_text(std::string text) const {
        for (const auto& [from, to] : new_names_) {
            text = with_word(text, from, to);
        }
        return text;
    }

    void rename(arrival& now, departure& old) {
        carry_over(now, *old.notice);
        old.is_placed = true;
        const auto ignored = next_.ignored.find(old.notice->fingerprint);
        if (ignored != next_.ignored.end() && !next_.ignored.contains(now.notice.fingerprint)) {
            auto moved = ignored->second;
            moved.fingerprint = now.notice.fingerprint;
            newly_ignored_.push_back(std::move(moved));
        }
    }

    /// The same DDL has made another object.
    void match_recreated() {
        for (auto& each : arrivals_) {
            const auto* const before = next_.find(each.notice.fingerprint);
            if (each.is_placed || before == nullptr) {
                continue;
            }
            carry_over(each, *before);
            if (std::exchange(each.notice.is_resolved, false)) {
                each.notice.updated_at = now_;
            }
        }
    }

    void replace() {
        std::set<std::string_view> stays;
        for (const auto& each : arrivals_) {
            stays.insert(each.notice.fingerprint);
        }
        for (const auto& [fingerprint, old] : departures_) {
            if (!stays.contains(fingerprint)) {
                erase_notice(next_, fingerprint, now_);
            }
        }
        for (auto& ignored : newly_ignored_) {
            auto key = ignored.fingerprint;
            next_.ignored.insert_or_assign(std::move(key), std::move(ignored));
        }
        for (auto& each : arrivals_) {
            auto kept = std::make_shared<const stored_notice>(std::move(each.notice));
            next_.notices.insert_or_assign(kept->fingerprint, kept);
        }
    }

    notice_snapshot& next_;
    const examination& what_;
    const std::string connection_id_;
    const std::string database_;
    const timestamp now_;
    std::map<std::uint32_t, object_ptr> by_oid_;  // of this database
    std::vector<arrival> arrivals_;
    std::map<std::string, departure> departures_;  // by fingerprint
    std::set<std::string, std::less<>> renamed_;   // objects' ids
    std::vector<new_name> new_names_;
    std::vector<ignored_notice> newly_ignored_;
};

}  // namespace

const stored_notice* notice_snapshot::find(std::string_view fingerprint) const noexcept {
    const auto it = notices.find(fingerprint);
    return it != notices.end() ? it->second.get() : nullptr;
}

const stored_object* notice_snapshot::find_object(std::string_view id) const noexcept {
    const auto it = objects.find(id);
    return it != objects.end() ? it->second.get() : nullptr;
}

std::string_view notice_snapshot::status_of(const stored_notice& notice) const noexcept {
    if (ignored.contains(notice.fingerprint)) {
        return notice_ignored;
    }
    return notice.is_resolved ? notice_resolved : notice_new;
}

std::vector<const stored_notice*> notice_snapshot::in_order() const {
    std::vector<const stored_notice*> out;
    out.reserve(notices.size());
    for (const auto& [fingerprint, notice] : notices) {
        out.push_back(notice.get());
    }
    std::stable_sort(out.begin(), out.end(), [](const auto* a, const auto* b) {
        return a->created_at < b->created_at;
    });
    return out;
}

notice_catalog::notice_catalog(store& kept, std::chrono::seconds ignored_retention, clock now)
    : store_(kept),
      retention_(ignored_retention),
      now_(std::move(now)),
      snapshot_(std::make_shared<notice_snapshot>()) {}

notice_snapshot_ptr notice_catalog::snapshot() const {
    const std::lock_guard lock{mutex_};
    return snapshot_;
}

void notice_catalog::publish(notice_snapshot_ptr next) {
    const std::lock_guard lock{mutex_};
    snapshot_.swap(next);
}

void notice_catalog::reload() {
    const auto before = snapshot();
    auto loaded = store_.load_notices(is_loaded_ ? std::optional{before->version} : std::nullopt);
    if (!is_loaded_ || loaded.is_whole || loaded.version != before->version) {
        auto next = std::make_shared<notice_snapshot>();
        if (!loaded.is_whole) {
            *next = *before;
        }
        apply(*next, std::move(loaded.changes));
        next->version = loaded.version;
        publish(std::move(next));
    }
    is_loaded_ = true;
}

/// `edit` runs on what is the newest, more than once where that has changed meanwhile. Also what
/// makes no difference here may make one to what another Signalbox has just written.
void notice_catalog::change(const std::function<void(notice_snapshot&)>& edit) {
    for (int attempt = 1;; ++attempt) {
        reload();
        const auto before = snapshot();
        auto next = std::make_shared<notice_snapshot>(*before);
        edit(*next);
        const auto changes = difference(*before, *next);
        if (is_empty(changes)) {
            return;
        }
        try {
            next->version = store_.commit_notices(changes, before->version);
            publish(std::move(next));
            return;
        } catch (const concurrent_change&) {
            if (attempt == attempts) {
                throw;
            }
        }
    }
}

void notice_catalog::found(const examination& what) {
    change([&](notice_snapshot& next) { merge{next, what, now_()}.run(); });
}

void notice_catalog::removed(
    std::string_view connection_id,
    std::string_view database,
    const std::vector<std::uint32_t>& oids
) {
    const std::set<std::uint32_t> gone_oids{oids.begin(), oids.end()};
    const std::string in_database = made_utf8(database);
    change([&](notice_snapshot& next) {
        std::set<std::string_view> gone;
        for (const auto& [id, object] : next.objects) {
            if (object->connection_id == connection_id && object->database == in_database &&
                gone_oids.contains(object->oid)) {
                gone.insert(id);
            }
        }
        erase_notices_if(next, now_(), [&](const stored_notice& notice) {
            return gone.contains(notice.object_id) ||
                   std::any_of(
                       notice.dependency_ids.begin(),
                       notice.dependency_ids.end(),
                       [&](const auto& id) { return gone.contains(id); }
                   );
        });
        sweep_objects(next);
    });
}

void notice_catalog::forget(std::string_view connection_id) {
    change([&](notice_snapshot& next) {
        erase_notices_if(next, now_(), [&](const stored_notice& notice) {
            return notice.connection_id == connection_id;
        });
        sweep_objects(next);
    });
}

void notice_catalog::expire_ignored() {
    const auto now = now_();
    change([&](notice_snapshot& next) {
        for (auto& [fingerprint, ignored] : next.ignored) {
            if (next.find(fingerprint) != nullptr &&
                now - ignored.last_seen_at >= seen_slack(retention_)) {
                ignored.last_seen_at = now;
            }
        }
        std::erase_if(next.ignored, [&](const auto& each) {
            return next.find(each.first) == nullptr && now - each.second.last_seen_at > retention_;
        });
    });
}

namespace {

/// Writes one status. Where nothing would be different, nothing is.
void set_status(
    notice_snapshot& in,
    const std::string& fingerprint,
    std::string_view status,
    const actor& who,
    timestamp now
) {
    const auto found = in.notices.find(fingerprint);
    const bool is_there = found != in.notices.end();
    if (!is_there && (!in.ignored.contains(fingerprint) || status == notice_resolved)) {
        refuse(wire::sqlstate::undefined_object, "notice \"" + fingerprint + "\" does not exist");
    }
    if (status == (is_there ? in.status_of(*found->second) : notice_ignored)) {
        return;
    }
    if (status == notice_ignored) {
        in.ignored.emplace(
            fingerprint,
            ignored_notice{
                .fingerprint = fingerprint,
                .ignored_by = made_utf8(who.user),
                .ignored_at = now,
                .last_seen_at = now}
        );
    } else {
        in.ignored.erase(fingerprint);
    }
    if (is_there) {
        auto changed = *found->second;
        changed.is_resolved = status == notice_resolved;
        changed.updated_at = now;
        found->second = std::make_shared<const stored_notice>(std::move(changed));
    }
}

}  // namespace

command_outcome notice_catalog::execute(const parser::alter_notice& asked, const actor& who) {
    if (!who.is_superuser) {
        refuse(
            insufficient_privilege,
            "permission denied to alter a notice",
            {},
            "Only a user with the role \"superuser\" may."
        );
    }
    const auto fingerprint = parse_uuid(asked.fingerprint);
    if (!fingerprint) {
        refuse(
            wire::sqlstate::invalid_parameter_value,
            "invalid notice fingerprint " + in_quotes(asked.fingerprint),
            {},
            "It is a UUID; SHOW NOTICES ALL lists those that there are."
        );
    }
    const std::string status = asked.status.value_or(std::string{notice_new});
    if (status != notice_new && status != notice_resolved && status != notice_ignored) {
        refuse(
            wire::sqlstate::invalid_parameter_value,
            "invalid notice status " + in_quotes(status),
            {},
            "It is one of 'new', 'resolved' and 'ignored'."
        );
    }
    try {
        change([&](notice_snapshot& next) { set_status(next, *fingerprint, status, who, now_()); });
    } catch (const concurrent_change&) {
        refuse(serialization_failure, "notice \"" + *fingerprint + "\" was changed concurrently");
    } catch (const store_error& why) {
        refuse(
            system_error,
            std::string{"the catalog's store is not available: "} + why.what(),
            "Statements that are not about the catalog go on."
        );
    }
    return {.notices = {}, .tag = "ALTER NOTICE"};
}

/// Braces around it or none, and a hyphen or none behind every four digits.
/// Source    PostgreSQL, src/backend/utils/adt/uuid.c
std::optional<std::string> parse_uuid(std::string_view text) {
    constexpr std::size_t digits = 32;
    if (text.starts_with('{')) {
        if (!text.ends_with('}')) {
            return std::nullopt;
        }
        text = text.substr(1, text.size() - 2);
    }
    std::string out;
    for (std::size_t count = 0; count < digits; ++count) {
        if (count > 0 && count % 4 == 0 && text.starts_with('-')) {
            text.remove_prefix(1);
        }
        if (count == 8 || count == 12 || count == 16 || count == 20) {
            out += '-';
        }
        const char c = text.empty() ? '\0' : text.front();
        if (c >= 'A' && c <= 'F') {
            out += static_cast<char>(c - 'A' + 'a');
        } else if ((c >= '0' && c <= '9') || (c >= 'a' && c <= 'f')) {
            out += c;
        } else {
            return std::nullopt;
        }
        text.remove_prefix(1);
    }
    return text.empty() ? std::optional{out} : std::nullopt;
}

}  // namespace signalbox::catalog
