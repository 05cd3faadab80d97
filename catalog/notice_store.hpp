// What is kept of notices: the part of a store that is about them.
//
//   load_notices()     everything, or what was written after a version
//   commit_notices()   one change, whole or not at all, durable on return
//
// The store checks nothing but the version: whoever changes something says what it has seen, and
// loads again where that is not the newest. So every Signalbox may write, and none writes twice.
#pragma once

#include "catalog/timestamps.hpp"

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

namespace signalbox::catalog {

/// A view, materialized view, index or table that notices refer to.
struct stored_object {
    std::string id;  // o1, o2, …; never reused
    std::uint32_t oid = 0;
    std::string connection_id;
    std::string database;
    std::string schema;
    std::string name;
    std::string type;  // view, materialized-view, index, table
    std::string owner;

    bool operator==(const stored_object&) const = default;
};

struct stored_notice {
    std::string fingerprint;  // a UUID, in lower case
    std::string connection_id;
    std::string database;
    std::string type;
    std::string message;
    std::string hint;    // "" = none
    std::string action;  // "" = none
    // Nothing where the redacted text is the plain one.
    std::optional<std::string> redacted_message;
    std::optional<std::string> redacted_hint;
    std::optional<std::string> redacted_action;
    std::string action_type;  // "" = none
    std::string object_id;
    std::vector<std::string> dependency_ids;
    timestamp created_at{};
    timestamp updated_at{};
    bool is_resolved = false;

    bool operator==(const stored_notice&) const = default;
};

/// A fingerprint that somebody has set to ignored; also of a notice that is not there now.
struct ignored_notice {
    std::string fingerprint;
    std::string ignored_by;
    timestamp ignored_at{};
    timestamp last_seen_at{};  // some time at which the notice was there

    bool operator==(const ignored_notice&) const = default;
};

/// What goes is taken away before what comes, or changes, is put in; nothing is in both.
struct notice_changes {
    std::vector<stored_object> objects;
    std::vector<stored_notice> notices;
    std::vector<ignored_notice> ignored;
    std::vector<std::string> removed_objects;  // ids
    std::vector<std::string> removed_notices;  // fingerprints
    std::vector<std::string> removed_ignored;  // fingerprints
    std::uint64_t last_object = 0;             // the number of the last id given

    bool operator==(const notice_changes&) const = default;
};

struct stored_notices {
    /// All there is, and nothing is removed; else what has changed since the version asked for,
    /// where a key may be both removed and, later, put in again.
    bool is_whole = true;
    notice_changes changes;
    std::uint64_t version = 0;  // grows by one with every change
};

class notice_store {
public:
    notice_store() = default;
    virtual ~notice_store() = default;
    notice_store(const notice_store&) = delete;
    notice_store& operator=(const notice_store&) = delete;

    /// `since`: the version that the caller has in its memory. Answers whole where it has none, or
    /// one that is long past.
    virtual stored_notices load_notices(std::optional<std::uint64_t> since) = 0;

    /// Returns the new version. Throws concurrent_change where `seen` is not the newest one.
    virtual std::uint64_t commit_notices(const notice_changes& changes, std::uint64_t seen) = 0;
};

}  // namespace signalbox::catalog
