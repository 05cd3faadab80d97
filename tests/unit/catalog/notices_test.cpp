// The catalog of notices on a real SQLite store: merging, statuses, renaming, retention, errors;
// two catalogs on one store.
#include "catalog/notices.hpp"

#include "catalog/sqlite_store.hpp"
#include "tests/support/notices.hpp"
#include "tests/support/temporary_folder.hpp"

#include <catch2/catch.hpp>

#include <algorithm>
#include <ctime>
#include <memory>
#include <optional>
#include <string>
#include <vector>

using namespace signalbox::catalog;
using namespace signalbox::tests;
using namespace std::chrono_literals;

namespace {

constexpr std::chrono::seconds half_a_year = std::chrono::hours{24 * 180};

class world {
public:
    world() : known(box, half_a_year, clock.reader()) { known.reload(); }

    [[nodiscard]] const stored_notice& notice(const std::string& fingerprint) {
        held_ = known.snapshot();
        const auto* const found = held_->find(fingerprint);
        REQUIRE(found != nullptr);
        return *found;
    }

    [[nodiscard]] std::string status(const std::string& fingerprint) {
        const auto& found = notice(fingerprint);
        return std::string{held_->status_of(found)};
    }

    [[nodiscard]] std::size_t count() const { return known.snapshot()->notices.size(); }

    temporary_folder folder;
    test_clock clock;
    sqlite_store box{folder.file()};
    notice_catalog known;

private:
    notice_snapshot_ptr held_;
};

signalbox::wire::report refusal_of(
    notice_catalog& in,
    const std::string& fingerprint,
    std::optional<std::string> status,
    bool is_superuser = true
) {
    try {
        in.execute(
            {.fingerprint = fingerprint, .status = std::move(status)},
            {.user = "somebody", .is_superuser = is_superuser}
        );
    } catch (const rejection& why) {
        return why.report();
    }
    FAIL("it was not refused");
    return {};
}

/// Where the store is away, and where somebody else is always faster.
class failing_store final : public store {
public:
    stored_catalog load() override { return {}; }

    std::vector<stored_connection> commit(
        const std::vector<connection_change>& /*changes*/, const std::vector<status_event>& /*e*/
    ) override {
        return {};
    }

    void append(const std::vector<status_event>& /*events*/) override {}

    void truncate_history(std::size_t /*per_connection*/) override {}

    stored_notices load_notices(std::optional<std::uint64_t> since) override {
        if (is_away) {
            throw store_error{"nobody answers"};
        }
        stored_notices out;
        out.is_whole = !since;
        out.version = version;
        return out;
    }

    std::uint64_t commit_notices(const notice_changes& /*changes*/, std::uint64_t seen) override {
        if (is_away) {
            throw store_error{"nobody answers"};
        }
        if (is_busy) {
            throw concurrent_change{"another was faster"};
        }
        return version = seen + 1;
    }

    bool is_leader() override { return true; }

    bool wait_for_change(std::chrono::milliseconds /*timeout*/) override { return false; }

    [[nodiscard]] store_news news() const noexcept override { return {}; }

    void interrupt() noexcept override {}

    bool is_away = false;
    bool is_busy = false;
    std::uint64_t version = 0;
};

}  // namespace

TEST_CASE("notices: what is found is there, with its objects") {
    world w;
    w.known.found(examined({10}, {finding_of(view(10, "v"), "a", {table(5, "t"), table(6, "s")})}));
    const auto known = w.known.snapshot();
    const auto& found = w.notice(uuid_of("v/a"));
    CHECK(found.message == "v compares a with 42");
    CHECK(found.redacted_message == "v compares a with █");
    CHECK_FALSE(found.redacted_hint);
    CHECK(found.created_at == w.clock.time);
    CHECK(found.updated_at == w.clock.time);
    CHECK(w.status(found.fingerprint) == "new");
    CHECK(found.object_id == "o1");
    CHECK(found.dependency_ids == std::vector<std::string>{"o2", "o3"});
    REQUIRE(known->find_object("o1") != nullptr);
    CHECK(known->find_object("o1")->name == "v");
    CHECK(known->find_object("o3")->oid == 6);
    CHECK(known->find_object("o3")->connection_id == "u1");
    CHECK(known->objects.size() == 3);
    // The same again is no change, whoever says it.
    w.clock.time += 1h;
    const auto version = known->version;
    w.known.found(examined({10}, {finding_of(view(10, "v"), "a", {table(5, "t"), table(6, "s")})}));
    CHECK(w.known.snapshot()->version == version);
    CHECK(w.known.snapshot() == known);
}

TEST_CASE("notices: an examination replaces those of its objects, and no others") {
    world w;
    w.known.found(examined(
        {10, 11},
        {finding_of(view(10, "v"), "a"),
         finding_of(view(10, "v"), "b"),
         finding_of(view(11, "w"), "a")}
    ));
    auto elsewhere = examined({10}, {finding_of(view(10, "v"), "elsewhere")});
    elsewhere.database = "other";
    w.known.found(elsewhere);
    elsewhere.database = "app";
    elsewhere.connection_id = "u2";
    elsewhere.findings[0].fingerprint = uuid_of("u2");
    w.known.found(elsewhere);
    CHECK(w.count() == 5);
    w.known.found(examined({10}, {finding_of(view(10, "v"), "b")}));
    CHECK(w.count() == 4);
    CHECK(w.known.snapshot()->find(uuid_of("v/a")) == nullptr);
    CHECK(w.notice(uuid_of("w/a")).object_id == "o2");
    w.known.found(all_examined({finding_of(view(10, "v"), "b")}));
    CHECK(w.count() == 3);
    CHECK(w.known.snapshot()->objects.size() == 3);
    w.known.forget("u1");
    CHECK(w.count() == 1);
    CHECK(w.notice(uuid_of("u2")).connection_id == "u2");
    w.known.forget("u2");
    CHECK(w.known.snapshot()->objects.empty());
    // An id is not given again, not even after a restart.
    notice_catalog again{w.box, half_a_year, w.clock.reader()};
    again.found(examined({10}, {finding_of(view(10, "v"), "a")}));
    CHECK(again.snapshot()->find(uuid_of("v/a"))->object_id == "o5");
}

TEST_CASE("notices: with an object or a dependency its notices go") {
    world w;
    const auto fill = [&] {
        w.known.found(all_examined(
            {finding_of(view(10, "v"), "a", {table(5, "t")}),
             finding_of(view(11, "w"), "a", {table(5, "t"), table(6, "s")}),
             finding_of(view(12, "x"), "a", {table(6, "s")})}
        ));
    };
    fill();
    const auto [oids, left] = GENERATE(table<std::vector<std::uint32_t>, std::vector<std::string>>({
        {{10}, {"w/a", "x/a"}},
        {{5}, {"x/a"}},
        {{6, 99}, {"v/a"}},
        {{5, 6}, {}},
        {{99}, {"v/a", "w/a", "x/a"}},
    }));
    w.known.removed("u1", "other", oids);
    w.known.removed("u2", "app", oids);
    CHECK(w.count() == 3);
    w.known.removed("u1", "app", oids);
    CHECK(w.count() == left.size());
    for (const auto& each : left) {
        CHECK(w.known.snapshot()->find(uuid_of(each)) != nullptr);
    }
    std::size_t needed = 0;
    for (const auto& [id, object] : w.known.snapshot()->objects) {
        needed += std::find(oids.begin(), oids.end(), object->oid) == oids.end() ? 1 : 0;
    }
    CHECK(w.known.snapshot()->objects.size() == needed);
}

TEST_CASE("notices: statuses, and when updated_at moves") {
    world w;
    const auto id = uuid_of("v/a");
    w.known.found(examined({10}, {finding_of(view(10, "v"), "a")}));
    const auto made = w.clock.time;
    for (const std::string status : {"resolved", "ignored", "new", "ignored", "resolved"}) {
        CAPTURE(status);
        w.clock.time += 1s;
        CHECK(set_status(w.known, id, status).tag == "ALTER NOTICE");
        CHECK(w.status(id) == status);
        CHECK(w.notice(id).updated_at == w.clock.time);
        CHECK(w.known.snapshot()->ignored.contains(id) == (status == "ignored"));
        const auto before = w.clock.time;
        const auto version = w.known.snapshot()->version;
        w.clock.time += 1s;
        set_status(w.known, id, status);
        CHECK(w.notice(id).updated_at == before);
        CHECK(w.known.snapshot()->version == version);
    }
    CHECK(w.notice(id).created_at == made);
    // It is found again, and nothing of that is forgotten.
    const auto before = w.notice(id);
    w.clock.time += 1s;
    w.known.found(all_examined({finding_of(view(10, "v"), "a")}));
    CHECK(w.notice(id) == before);
    set_status(w.known, id, std::nullopt);
    CHECK(w.status(id) == "new");
    set_status(w.known, "{" + id + "}", "ignored");
    const auto ignored = w.known.snapshot()->ignored.at(id);
    CHECK(ignored.ignored_by == "boss");
    CHECK(ignored.ignored_at == w.clock.time);
    // Another Signalbox knows it all.
    notice_catalog again{w.box, half_a_year, w.clock.reader()};
    again.reload();
    CHECK(again.snapshot()->status_of(*again.snapshot()->find(id)) == "ignored");
}

TEST_CASE("notices: other words for the same finding move updated_at, and nothing else") {
    world w;
    const auto id = uuid_of("v/a");
    w.known.found(examined({10}, {finding_of(view(10, "v"), "a")}));
    set_status(w.known, id, "resolved");
    const auto before = w.notice(id);
    auto other = finding_of(view(10, "v"), "a");
    switch (GENERATE(0, 1, 2, 3)) {
        case 0:
            other.message += ".";
            break;
        case 1:
            other.redacted_hint = "█";
            break;
        case 2:
            other.action.clear();
            break;
        default:
            other.action_type = "plain_text";
    }
    w.clock.time += 1h;
    w.known.found(examined({10}, {other}));
    CHECK(w.notice(id).message == other.message);
    CHECK(w.notice(id).created_at == before.created_at);
    CHECK(w.notice(id).updated_at == w.clock.time);
    CHECK(w.status(id) == "resolved");
}

TEST_CASE("notices: re-creation makes a resolved one new, and leaves an ignored one ignored") {
    world w;
    const auto id = uuid_of("v/a");
    const auto status = GENERATE(as<std::string>{}, "new", "resolved", "ignored");
    const bool is_seen = GENERATE(true, false);  // the DROP, or only what is there afterwards
    CAPTURE(status, is_seen);
    w.known.found(examined({10}, {finding_of(view(10, "v"), "a")}));
    set_status(w.known, id, status);
    const auto made = w.clock.time;
    w.clock.time += 1h;
    if (is_seen) {
        w.known.removed("u1", "app", {10});
        CHECK(w.count() == 0);
    }
    w.known.found(examined({20}, {finding_of(view(20, "v"), "a")}));
    CHECK(w.count() == 1);
    CHECK(w.status(id) == (status == "ignored" ? "ignored" : "new"));
    CHECK(w.notice(id).created_at == (is_seen ? w.clock.time : made));
    CHECK(w.notice(id).updated_at == (is_seen || status == "resolved" ? w.clock.time : made));
    CHECK(w.notice(id).object_id == "o2");
    CHECK(w.known.snapshot()->objects.size() == 1);
}

TEST_CASE("notices: a rename carries the status over") {
    world w;
    const auto status = GENERATE(as<std::string>{}, "new", "resolved", "ignored");
    w.known.found(examined(
        {10},
        {finding_of(view(10, "v"), "a", {table(5, "t")}),
         finding_of(view(10, "v"), "v2", {table(5, "t")}),
         finding_of(view(10, "v"), "c")}
    ));
    set_status(w.known, uuid_of("v/a"), status);
    const auto made = w.clock.time;
    w.clock.time += 1h;
    SECTION("of the object") {
        // In another order; `v2` is not the name.
        w.known.found(examined(
            {10},
            {finding_of(view(10, "new name"), "c"),
             finding_of(view(10, "new name"), "v2", {table(5, "t")}),
             finding_of(view(10, "new name"), "a", {table(5, "t")})}
        ));
        CHECK(w.count() == 3);
        CHECK(w.status(uuid_of("new name/a")) == status);
        CHECK(w.status(uuid_of("new name/v2")) == "new");
        CHECK(w.status(uuid_of("new name/c")) == "new");
        CHECK(w.notice(uuid_of("new name/a")).created_at == made);
        CHECK(w.notice(uuid_of("new name/a")).updated_at == w.clock.time);
        CHECK(w.notice(uuid_of("new name/a")).object_id == "o1");
        CHECK(w.known.snapshot()->find_object("o1")->name == "new name");
        if (status == "ignored") {
            const auto known = w.known.snapshot();
            CHECK(known->ignored.at(uuid_of("new name/a")).ignored_by == "boss");
            CHECK(known->ignored.at(uuid_of("new name/a")).ignored_at == made);
            // Who makes v anew has it ignored still.
            CHECK(known->ignored.contains(uuid_of("v/a")));
        }
    }
    SECTION("of a dependency: the definition is another, and one finding has other words") {
        auto changed = finding_of(view(10, "v"), "a", {table(5, "renamed")});
        changed.fingerprint = uuid_of("definition with renamed");
        changed.message = "v reads renamed";
        w.known.found(examined(
            {10},
            {changed,
             finding_of(view(10, "v"), "v2", {table(5, "renamed")}),
             finding_of(view(10, "v"), "c")}
        ));
        CHECK(w.status(changed.fingerprint) == status);
        CHECK(w.notice(changed.fingerprint).created_at == made);
    }
    SECTION("of a column: only the examiner knows") {
        auto changed = finding_of(view(10, "v"), "renamed");
        auto what = examined(
            {10}, {changed, finding_of(view(10, "v"), "v2"), finding_of(view(10, "v"), "c")}
        );
        what.is_rename = GENERATE(true, false);
        w.known.found(what);
        CHECK(w.status(changed.fingerprint) == (what.is_rename ? status : "new"));
    }
    SECTION("without one, another finding is another finding") {
        w.known.found(examined({10}, {finding_of(view(10, "v"), "d")}));
        CHECK(w.count() == 1);
        CHECK(w.status(uuid_of("v/d")) == "new");
        CHECK(w.notice(uuid_of("v/d")).created_at == w.clock.time);
    }
}

TEST_CASE("notices: two objects that swap names keep what is theirs") {
    world w;
    w.known.found(all_examined({finding_of(view(10, "v"), "a"), finding_of(view(20, "v_next"), "a")}
    ));
    set_status(w.known, uuid_of("v/a"), "resolved");
    w.clock.time += 1h;
    w.known.found(
        examined({10, 20}, {finding_of(view(10, "v_old"), "a"), finding_of(view(20, "v"), "a")})
    );
    CHECK(w.count() == 2);
    CHECK(w.status(uuid_of("v_old/a")) == "resolved");
    CHECK(w.status(uuid_of("v/a")) == "new");
    CHECK(w.notice(uuid_of("v/a")).object_id == "o2");
}

TEST_CASE("notices: an OID that comes round is another object") {
    world w;
    w.known.found(examined({10}, {finding_of(view(10, "v"), "a")}));
    set_status(w.known, uuid_of("v/a"), "resolved");
    w.known.found(examined({10}, {finding_of(table(10, "v"), "a")}));
    CHECK(w.notice(uuid_of("v/a")).object_id == "o2");
    CHECK(w.status(uuid_of("v/a")) == "new");
    CHECK(w.known.snapshot()->objects.size() == 1);
}

TEST_CASE("notices: objects are known by their newest names") {
    world w;
    w.known.found(examined({10}, {finding_of(view(10, "v"), "a", {table(5, "t")})}));
    auto what = examined({}, {});
    what.objects = {table(5, "t2"), table(6, "of no notice")};
    w.known.found(what);
    CHECK(w.count() == 1);
    CHECK(w.known.snapshot()->find_object("o2")->name == "t2");
    CHECK(w.known.snapshot()->objects.size() == 2);
}

TEST_CASE("notices: odd findings") {
    world w;
    auto strange = finding_of(view(10, "gr\xfc\xdf"), "a");
    strange.fingerprint = "{A0EEBC999C0B4EF8BB6D6BB9BD380A11}";
    auto twice = strange;
    twice.message = "the first counts";
    w.known.found(examined({10}, {strange, twice}));
    CHECK(w.count() == 1);
    const auto& found = w.notice("a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11");
    CHECK(found.message == "gr\xef\xbf\xbd\xef\xbf\xbd compares a with 42");
    const auto version = w.known.snapshot()->version;
    w.known.found(examined({10}, {strange}));
    CHECK(w.known.snapshot()->version == version);
    strange.fingerprint = "none";
    CHECK_THROWS_AS(w.known.found(examined({10}, {strange})), std::invalid_argument);
}

TEST_CASE("notices: what ALTER NOTICE refuses") {
    world w;
    const auto id = uuid_of("v/a");
    w.known.found(examined({10}, {finding_of(view(10, "v"), "a")}));
    const auto version = w.known.snapshot()->version;
    CHECK(refusal_of(w.known, id, "ignored", false).sqlstate == "42501");
    // Privilege comes first.
    CHECK(refusal_of(w.known, "x", "y", false).sqlstate == "42501");
    const auto no_uuid = refusal_of(w.known, "x", "ignored");
    CHECK(no_uuid.sqlstate == "22023");
    CHECK(no_uuid.message == "invalid notice fingerprint \"x\"");
    const auto bad = GENERATE(as<std::string>{}, "x", "", "New", "ignored ", "deleted");
    const auto no_status = refusal_of(w.known, id, bad);
    CHECK(no_status.sqlstate == "22023");
    CHECK(no_status.message == "invalid notice status \"" + bad + "\"");
    const auto missing = uuid_of("missing");
    for (const std::optional<std::string>& status :
         {std::optional<std::string>{}, {"new"}, {"resolved"}, {"ignored"}}) {
        const auto none = refusal_of(w.known, missing, status);
        CHECK(none.sqlstate == "42704");
        CHECK(none.message == "notice \"" + missing + "\" does not exist");
    }
    CHECK(w.known.snapshot()->version == version);
}

TEST_CASE("notices: what is ignored and gone can still be taken back") {
    world w;
    const auto id = uuid_of("v/a");
    w.known.found(examined({10}, {finding_of(view(10, "v"), "a")}));
    set_status(w.known, id, "ignored");
    w.known.removed("u1", "app", {10});
    CHECK(w.known.snapshot()->ignored.contains(id));
    set_status(w.known, id, "ignored");
    CHECK(refusal_of(w.known, id, "resolved").sqlstate == "42704");
    set_status(w.known, id, std::nullopt);
    CHECK(w.known.snapshot()->ignored.empty());
    CHECK(refusal_of(w.known, id, std::nullopt).sqlstate == "42704");
}

TEST_CASE("notices: an ignored fingerprint that is not seen for long is forgotten") {
    world w;
    const auto gone = uuid_of("v/a");
    const auto there = uuid_of("w/a");
    w.known.found(all_examined({finding_of(view(10, "v"), "a"), finding_of(view(11, "w"), "a")}));
    set_status(w.known, gone, "ignored");
    set_status(w.known, there, "ignored");
    w.clock.time += half_a_year * 3;
    w.known.expire_ignored();
    CHECK(w.known.snapshot()->ignored.size() == 2);
    // The notice was there until now: its time begins now.
    w.known.removed("u1", "app", {10});
    w.clock.time += half_a_year;
    w.known.expire_ignored();
    CHECK(w.known.snapshot()->ignored.contains(gone));
    w.clock.time += 1us;
    w.known.expire_ignored();
    CHECK_FALSE(w.known.snapshot()->ignored.contains(gone));
    CHECK(w.known.snapshot()->ignored.contains(there));
    // One that stays is not written at every look.
    const auto version = w.known.snapshot()->version;
    w.clock.time += 1h;
    w.known.expire_ignored();
    CHECK(w.known.snapshot()->version == version);
    w.known.set_retention(10s);
    w.known.removed("u1", "app", {11});
    w.clock.time += 11s;
    w.known.expire_ignored();
    CHECK(w.known.snapshot()->ignored.empty());
}

TEST_CASE("notices: two on one store end with the same, whoever was first") {
    world w;
    notice_catalog other{w.box, half_a_year, w.clock.reader()};
    other.reload();
    w.known.found(examined({10}, {finding_of(view(10, "v"), "a")}));
    // `other` does not know it yet: it loads, and finds nothing left to say.
    const auto version = w.known.snapshot()->version;
    other.found(examined({10}, {finding_of(view(10, "v"), "a")}));
    CHECK(other.snapshot()->version == version);
    other.found(examined({11}, {finding_of(view(11, "w"), "a")}));
    set_status(w.known, uuid_of("w/a"), "resolved");
    other.removed("u1", "app", {10});
    w.known.reload();
    CHECK(w.count() == 1);
    CHECK(w.status(uuid_of("w/a")) == "resolved");
    CHECK(w.notice(uuid_of("w/a")).object_id == "o2");
    CHECK(w.known.snapshot()->objects.size() == 1);
    // Nothing new: the snapshot stays, and with it what was made of it.
    const auto held = w.known.snapshot();
    w.known.reload();
    CHECK(w.known.snapshot() == held);
}

TEST_CASE("notices: a store that is away") {
    failing_store box;
    box.is_away = true;
    notice_catalog known{box, half_a_year};
    const auto what = examined({10}, {finding_of(view(10, "v"), "a")});
    CHECK_THROWS_AS(known.reload(), store_error);
    CHECK_FALSE(known.is_loaded());
    CHECK_THROWS_AS(known.found(what), store_error);
    const auto away = refusal_of(known, uuid_of("v/a"), "ignored");
    CHECK(away.sqlstate == "58000");
    CHECK(away.message == "the catalog's store is not available: nobody answers");
    box.is_away = false;
    known.found(what);
    CHECK(known.snapshot()->notices.size() == 1);
    box.is_away = true;
    CHECK_THROWS_AS(known.removed("u1", "app", {10}), store_error);
    CHECK(known.snapshot()->notices.size() == 1);
    CHECK(refusal_of(known, uuid_of("v/a"), "ignored").sqlstate == "58000");
    CHECK(known.snapshot()->ignored.empty());
}

TEST_CASE("notices: a store where another is always faster") {
    failing_store box;
    notice_catalog known{box, half_a_year};
    known.found(examined({10}, {finding_of(view(10, "v"), "a")}));
    const auto held = known.snapshot();
    box.is_busy = true;
    CHECK_THROWS_AS(
        known.found(examined({11}, {finding_of(view(11, "w"), "a")})), concurrent_change
    );
    CHECK(known.snapshot() == held);
    const auto busy = refusal_of(known, uuid_of("v/a"), "ignored");
    CHECK(busy.sqlstate == "40001");
    CHECK(busy.message == "notice \"" + uuid_of("v/a") + "\" was changed concurrently");
}

TEST_CASE("notices: ten thousand") {
    world w;
    std::vector<found_notice> findings;
    for (std::uint32_t i = 0; i < 10'000; ++i) {
        findings.push_back(finding_of(
            view(100'000 + i / 5, "view_" + std::to_string(i / 5)),
            std::string(300, 'x') + std::to_string(i),
            {table(1 + i % 100, "table_" + std::to_string(i % 100))}
        ));
    }
    const auto all = all_examined(std::move(findings));
    w.known.found(all);
    CHECK(w.count() == 10'000);
    CHECK(w.known.snapshot()->objects.size() == 2'100);
    // CPU time: the machine may be busy. A debug build takes 0.2 s; ten times that is a defect.
    const auto cpu_seconds = [](const auto& what) {
        const auto begin = std::clock();
        what();
        return static_cast<double>(std::clock() - begin) / CLOCKS_PER_SEC;
    };
    notice_catalog again{w.box, half_a_year, w.clock.reader()};
    const double load = cpu_seconds([&] { again.reload(); });
    const double merge = cpu_seconds([&] { again.found(all); });
    CAPTURE(load, merge);
    CHECK(again.snapshot()->notices.size() == 10'000);
    CHECK(again.snapshot()->version == w.known.snapshot()->version);
    CHECK(load < 2);
    CHECK(merge < 2);
}

TEST_CASE("a UUID, as PostgreSQL reads it") {
    const std::string plain = "a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11";
    CHECK(parse_uuid(plain) == plain);
    CHECK(parse_uuid("A0EEBC99-9C0B-4EF8-BB6D-6BB9BD380A11") == plain);
    CHECK(parse_uuid("{a0eebc99-9c0b4ef8-bb6d6bb9-bd380a11}") == plain);
    CHECK(parse_uuid("a0eebc999c0b4ef8bb6d6bb9bd380a11") == plain);
    CHECK(parse_uuid("a0ee-bc99-9c0b-4ef8-bb6d-6bb9-bd38-0a11") == plain);
    const auto bad = GENERATE(
        as<std::string>{},
        "",
        "{",
        "{}",
        "a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a1",
        "a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a111",
        "a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a1g",
        "{a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11",
        "a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11}",
        "a0eebc99--9c0b-4ef8-bb6d-6bb9bd380a11",
        "a0e-ebc99-9c0b-4ef8-bb6d-6bb9bd380a11",
        "-a0eebc999c0b4ef8bb6d6bb9bd380a11",
        "a0eebc999c0b4ef8bb6d6bb9bd380a11-",
        " a0eebc999c0b4ef8bb6d6bb9bd380a11"
    );
    CAPTURE(bad);
    CHECK_FALSE(parse_uuid(bad));
}
