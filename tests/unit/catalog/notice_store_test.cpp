// What the SQLite store keeps of notices: whole changes, by version; what has changed since one; an
// older file is brought up to date. tests/integration/notices has the same of the PostgreSQL store.
#include "catalog/notice_store.hpp"

#include "catalog/sqlite_store.hpp"
#include "tests/support/temporary_folder.hpp"

#include <catch2/catch.hpp>

#include <algorithm>
#include <sqlite3.h>
#include <string>

using namespace signalbox::catalog;
using signalbox::tests::temporary_folder;
using std::chrono::microseconds;

namespace {

timestamp at(std::int64_t us) {
    return timestamp{microseconds{us}};
}

stored_object object(std::string id, std::uint32_t oid = 4'294'967'295) {
    return {
        .id = std::move(id),
        .oid = oid,
        .connection_id = "u1",
        .database = "app",
        .schema = "Public",
        .name = "v \"ü\"",
        .type = "view",
        .owner = ""};
}

stored_notice notice(std::string fingerprint) {
    return {
        .fingerprint = std::move(fingerprint),
        .connection_id = "u1",
        .database = "app",
        .type = "Comparison with NULL",
        .message = "x = NULL",
        .hint = "",
        .action = "DROP VIEW v",
        .redacted_message = "x = █",
        .redacted_hint = std::nullopt,
        .redacted_action = "",
        .action_type = "sql_statements",
        .object_id = "o1",
        .dependency_ids = {"o2", "o10"},
        .created_at = at(1'700'000'000'000'001),
        .updated_at = at(-1),
        .is_resolved = true};
}

ignored_notice ignored(std::string fingerprint) {
    return {
        .fingerprint = std::move(fingerprint),
        .ignored_by = "boss",
        .ignored_at = at(5),
        .last_seen_at = at(6)};
}

notice_changes put(std::vector<stored_notice> notices) {
    notice_changes out;
    out.notices = std::move(notices);
    return out;
}

void run(const std::string& file, const std::string& sql) {
    sqlite3* opened = nullptr;
    REQUIRE(::sqlite3_open(file.c_str(), &opened) == SQLITE_OK);
    const int status = ::sqlite3_exec(opened, sql.c_str(), nullptr, nullptr, nullptr);
    CAPTURE(::sqlite3_errmsg(opened));
    REQUIRE(::sqlite3_close(opened) == SQLITE_OK);
    REQUIRE(status == SQLITE_OK);
}

}  // namespace

TEST_CASE("notices in the store: all that is written comes back, also after a restart") {
    const temporary_folder folder;
    notice_changes written;
    written.objects = {object("o1"), object("o2", 7)};
    written.notices = {notice("a"), notice("b")};
    written.notices[1].dependency_ids = {};
    written.notices[1].redacted_action = std::nullopt;
    written.notices[1].is_resolved = false;
    written.ignored = {ignored("a"), ignored("gone")};
    written.last_object = 2;
    {
        sqlite_store opened{folder.file()};
        const auto nothing = opened.load_notices(std::nullopt);
        CHECK(nothing.is_whole);
        CHECK(nothing.changes == notice_changes{});
        CHECK(nothing.version == 0);
        CHECK(opened.commit_notices(written, 0) == 1);
        // The connections' version is another.
        CHECK(opened.load().version == 0);
    }
    sqlite_store again{folder.file()};
    const auto loaded = again.load_notices(std::nullopt);
    CHECK(loaded.is_whole);
    CHECK(loaded.changes == written);
    CHECK(loaded.version == 1);
    CHECK_FALSE(again.wait_for_change(std::chrono::milliseconds{0}));
}

TEST_CASE("notices in the store: a change needs the newest version, and is whole or not at all") {
    const temporary_folder folder;
    sqlite_store opened{folder.file()};
    REQUIRE(opened.commit_notices(put({notice("a")}), 0) == 1);
    CHECK_THROWS_AS(opened.commit_notices(put({notice("b")}), 0), concurrent_change);
    CHECK_THROWS_AS(opened.commit_notices(put({notice("b")}), 2), concurrent_change);
    auto bad = notice("c");
    bad.message = "\xff";
    notice_changes mixed = put({notice("b"), bad});
    mixed.removed_notices = {"a"};
    mixed.last_object = 9;
    CHECK_THROWS_AS(opened.commit_notices(mixed, 1), store_error);
    const auto loaded = opened.load_notices(std::nullopt);
    CHECK(loaded.version == 1);
    CHECK(loaded.changes == put({notice("a")}));
}

TEST_CASE("notices in the store: what has changed since a version") {
    const temporary_folder folder;
    sqlite_store opened{folder.file()};
    notice_changes first = put({notice("a"), notice("b"), notice("c")});
    first.objects = {object("o1"), object("o2")};
    first.ignored = {ignored("a"), ignored("b")};
    first.last_object = 2;
    REQUIRE(opened.commit_notices(first, 0) == 1);
    notice_changes second;
    second.notices = {notice("b")};
    second.notices[0].message = "in other words";
    second.removed_notices = {"a"};
    second.removed_objects = {"o1"};
    second.removed_ignored = {"b"};
    second.last_object = 2;
    REQUIRE(opened.commit_notices(second, 1) == 2);
    notice_changes third = put({notice("a")});  // it is back
    third.ignored = {ignored("c")};
    third.last_object = 3;
    REQUIRE(opened.commit_notices(third, 2) == 3);

    const auto since_first = opened.load_notices(1);
    CHECK_FALSE(since_first.is_whole);
    CHECK(since_first.version == 3);
    auto expected = second;
    expected.notices.insert(expected.notices.begin(), notice("a"));
    expected.ignored = {ignored("c")};
    expected.last_object = 3;
    auto found = since_first.changes;
    std::sort(found.notices.begin(), found.notices.end(), [](const auto& a, const auto& b) {
        return a.fingerprint < b.fingerprint;
    });
    CHECK(found == expected);

    CHECK(opened.load_notices(2).changes == third);
    const auto nothing = opened.load_notices(3);
    CHECK_FALSE(nothing.is_whole);
    CHECK(nothing.changes.notices.empty());
    CHECK(nothing.changes.last_object == 3);
    // Of a store that was put back from a copy.
    CHECK(opened.load_notices(4).is_whole);
}

TEST_CASE("notices in the store: who is far behind loads everything") {
    const temporary_folder folder;
    sqlite_store opened{folder.file()};
    notice_changes removal;
    removal.removed_notices = {"a"};
    REQUIRE(opened.commit_notices(put({notice("a")}), 0) == 1);
    REQUIRE(opened.commit_notices(removal, 1) == 2);
    constexpr std::uint64_t newest = 1'002;
    for (std::uint64_t version = 2; version < newest; ++version) {
        opened.commit_notices({}, version);
    }
    // The first that still hears of all removals behind it, and the last that does not.
    CHECK(opened.load_notices(2).changes.removed_notices.empty());
    CHECK_FALSE(opened.load_notices(2).is_whole);
    CHECK(opened.load_notices(1).is_whole);
    CHECK(opened.load_notices(1).changes.notices.empty());
}

TEST_CASE("notices in the store: more than one statement can carry") {
    const temporary_folder folder;
    sqlite_store opened{folder.file()};
    notice_changes many;
    notice_changes none;
    for (int i = 0; i < 1'000; ++i) {
        many.notices.push_back(notice(std::to_string(10'000 + i)));
        many.objects.push_back(object("o" + std::to_string(10'000 + i)));
        none.removed_notices.push_back(many.notices.back().fingerprint);
        none.removed_objects.push_back(many.objects.back().id);
    }
    REQUIRE(opened.commit_notices(many, 0) == 1);
    CHECK(opened.load_notices(0).changes == many);
    REQUIRE(opened.commit_notices(none, 1) == 2);
    CHECK(opened.load_notices(std::nullopt).changes == notice_changes{});
    CHECK(opened.load_notices(1).changes.removed_notices.size() == 1'000);
}

TEST_CASE("SQLite store: a file of schema version 1 keeps what it has, and takes notices") {
    const temporary_folder folder;
    // As the first version made it.
    run(folder.file(), R"(
PRAGMA application_id = 1399276152;
CREATE TABLE store_state (
  only_row bigint NOT NULL PRIMARY KEY CHECK (only_row = 1),
  version bigint NOT NULL,
  last_connection bigint NOT NULL,
  leader_epoch bigint NOT NULL);
INSERT INTO store_state VALUES (1, 41, 3, 0);
CREATE TABLE connections (
  id text NOT NULL PRIMARY KEY,
  number bigint NOT NULL UNIQUE,
  name text NOT NULL UNIQUE,
  type text NOT NULL,
  is_from_file bigint NOT NULL,
  owner text NOT NULL,
  overrides text NOT NULL,
  generation bigint NOT NULL,
  created_at bigint NOT NULL,
  altered_at bigint NOT NULL);
INSERT INTO connections VALUES ('u3', 3, 'main', 'postgres', 0, 'me', '{}', 5, 1, 2);
CREATE TABLE connection_status_history (
  number bigint NOT NULL PRIMARY KEY,
  connection_id text NOT NULL,
  status text NOT NULL,
  error text,
  occurred_at bigint NOT NULL);
INSERT INTO connection_status_history VALUES (1, 'u3', 'failed', 'x', 7);
CREATE INDEX connection_status_history_by_connection
  ON connection_status_history (connection_id, number);
CREATE TABLE schema_version (version bigint NOT NULL);
INSERT INTO schema_version VALUES (1);)");
    for (std::uint64_t start = 0; start < 2; ++start) {
        sqlite_store opened{folder.file()};
        const auto catalog = opened.load();
        REQUIRE(catalog.connections.size() == 1);
        CHECK(catalog.connections[0].name == "main");
        CHECK(catalog.connections[0].generation == 5);
        CHECK(catalog.history.size() == 1);
        CHECK(catalog.version == 41);
        CHECK(opened.load_notices(std::nullopt).version == start);
        CHECK(opened.commit_notices(put({notice("a")}), start) == start + 1);
    }
}
