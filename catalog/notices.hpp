// What Signalbox knows of notices, the operations that change it, and ALTER NOTICE.
//
// notice_catalog belongs to one thread, the catalog's own, which may block; everybody else reads
// snapshots. An operation works out what is to be after it, commits the difference to the store and
// publishes; where another Signalbox was faster it loads and begins anew. What makes no difference
// is not written, so that several may report the same.
//
//   found(), removed(), forget()   what an examination or a DROP has brought to light
//   execute()                      ALTER NOTICE
//   expire_ignored()               retention
//
// A notice is there while its object and finding are. What somebody has set to ignored is kept
// apart, by fingerprint, and outlives it.
//
// Source    DESIGN sections 5, 6, 7, 9, 14.14, 14.21-24
#pragma once

#include "catalog/connections.hpp"
#include "catalog/notice_store.hpp"
#include "catalog/store.hpp"
#include "parser/commands.hpp"

#include <chrono>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace signalbox::catalog {

inline constexpr std::string_view notice_new = "new";
inline constexpr std::string_view notice_resolved = "resolved";
inline constexpr std::string_view notice_ignored = "ignored";

/// What a role makes of somebody who asks for notices.
enum class notice_reader : std::uint8_t { other, support, superuser };

/// A view, materialized view, index or table, as an examination meets it.
struct noticed_object {
    std::uint32_t oid = 0;
    std::string schema;
    std::string name;
    std::string type;
    std::string owner;

    bool operator==(const noticed_object&) const = default;
};

/// What one notice type has to say of one object.
struct found_notice {
    std::string type;
    std::string message;
    std::string hint;    // "" = none
    std::string action;  // "" = none
    // Nothing where the redacted text is the plain one.
    std::optional<std::string> redacted_message;
    std::optional<std::string> redacted_hint;
    std::optional<std::string> redacted_action;
    std::string action_type;  // "" = none
    noticed_object object;
    std::vector<noticed_object> dependencies;
    std::string fingerprint;  // a UUID
};

/// What was examined in one database, and all that was found there.
struct examination {
    std::string connection_id;
    std::string database;
    /// The objects that were examined: their other notices go. Nothing: all there are.
    std::optional<std::vector<std::uint32_t>> oids;
    std::vector<found_notice> findings;
    /// What else is known of objects by now; counts for those that notices refer to.
    std::vector<noticed_object> objects;
    /// Something was renamed, if only a column: a finding with another fingerprint may be an old
    /// one in new words. Where an object's own name has changed, that is seen without.
    bool is_rename = false;
};

/// All of them at one moment. Immutable once published.
struct notice_snapshot {
    std::map<std::string, std::shared_ptr<const stored_notice>, std::less<>> notices;
    std::map<std::string, std::shared_ptr<const stored_object>, std::less<>> objects;  // by id
    std::map<std::string, ignored_notice, std::less<>> ignored;  // also of notices that are gone
    std::uint64_t last_object = 0;
    std::uint64_t version = 0;

    /// Null: there is none.
    [[nodiscard]] const stored_notice* find(std::string_view fingerprint) const noexcept;
    [[nodiscard]] const stored_object* find_object(std::string_view id) const noexcept;
    /// new, resolved or ignored.
    [[nodiscard]] std::string_view status_of(const stored_notice& notice) const noexcept;
    /// The oldest first; what was found at once, by fingerprint.
    [[nodiscard]] std::vector<const stored_notice*> in_order() const;
};

using notice_snapshot_ptr = std::shared_ptr<const notice_snapshot>;

class notice_catalog {
public:
    using clock = std::function<timestamp()>;

    /// Reads nothing yet.
    notice_catalog(store& kept, std::chrono::seconds ignored_retention, clock now = current_time);

    /// What was changed elsewhere, at start everything. Throws store_error.
    void reload();

    [[nodiscard]] bool is_loaded() const noexcept { return is_loaded_; }

    // These throw store_error where the store is away, and concurrent_change where others were
    // faster each of many times: nothing is different then, and it is to be examined again.

    void found(const examination& what);
    /// The objects are gone, and with them the notices that depend on them.
    void removed(
        std::string_view connection_id,
        std::string_view database,
        const std::vector<std::uint32_t>& oids
    );
    /// The connection is gone.
    void forget(std::string_view connection_id);
    /// Once in a while, by the leader: ignored fingerprints that were not seen for so long.
    void expire_ignored();

    /// Throws rejection.
    command_outcome execute(const parser::alter_notice& asked, const actor& who);

    void set_retention(std::chrono::seconds ignored_retention) { retention_ = ignored_retention; }

    /// Any thread.
    [[nodiscard]] notice_snapshot_ptr snapshot() const;

private:
    void change(const std::function<void(notice_snapshot&)>& edit);
    void publish(notice_snapshot_ptr next);

    store& store_;
    std::chrono::seconds retention_;
    clock now_;
    bool is_loaded_ = false;
    mutable std::mutex mutex_;
    notice_snapshot_ptr snapshot_;  // written by the catalog's thread only
};

/// The UUID as PostgreSQL writes it, of any form that PostgreSQL reads; nothing where it is none.
std::optional<std::string> parse_uuid(std::string_view text);

}  // namespace signalbox::catalog
