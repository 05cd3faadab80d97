// SHOW NOTICES: what each role sees, and what ALL adds.
#include "proxy/show_notices.hpp"

#include "catalog/sqlite_store.hpp"
#include "tests/support/notices.hpp"
#include "tests/support/temporary_folder.hpp"

#include <catch2/catch.hpp>

using namespace signalbox;
using namespace signalbox::tests;
using catalog::notice_reader;

namespace {

using row = std::vector<std::optional<std::string>>;

row row_of(const std::string& name, const std::string& message, const std::string& status) {
    return {
        uuid_of(name + "/a"),
        "Comparison with NULL",
        name + " compares a with " + message,
        "no row has a",
        "DROP VIEW " + name,
        name == "Odd" ? "public.\"Odd\"" : "public." + name,
        status,
        "2026-02-07 00:00:00.000000+00"};
}

}  // namespace

TEST_CASE("SHOW NOTICES") {
    const temporary_folder folder;
    catalog::sqlite_store box{folder.file()};
    test_clock clock;
    catalog::notice_catalog known{box, std::chrono::hours{24}, clock.reader()};
    auto bare = finding_of(view(13, "bare"), "a");
    bare.hint.clear();
    bare.action.clear();
    known.found(examined(
        {},
        {finding_of(view(10, "resolved"), "a"),
         finding_of(view(11, "Odd"), "a"),
         finding_of(view(12, "ignored"), "a")}
    ));
    clock.time += std::chrono::seconds{1};
    known.found(examined({}, {bare}));
    set_status(known, uuid_of("resolved/a"), "resolved");
    set_status(known, uuid_of("ignored/a"), "ignored");
    const auto snapshot = known.snapshot();

    const auto all = proxy::show({.all = true}, *snapshot, notice_reader::superuser);
    CHECK_FALSE(all.error);
    CHECK(all.tag == "SHOW");
    std::vector<std::string> names;
    for (const auto& column : all.columns) {
        names.push_back(column.name);
    }
    CHECK(
        names ==
        std::vector<std::string>{
            "fingerprint",
            "notice_type",
            "message",
            "hint",
            "action",
            "object",
            "status",
            "created_at"}
    );
    REQUIRE(all.rows.size() == 4);
    CHECK(all.rows.back()[0] == uuid_of("bare/a"));  // the newest
    CHECK_FALSE(all.rows.back()[3]);
    CHECK_FALSE(all.rows.back()[4]);
    for (const auto& expected :
         {row_of("resolved", "42", "resolved"),
          row_of("Odd", "42", "new"),
          row_of("ignored", "42", "ignored")}) {
        CHECK(std::count(all.rows.begin(), all.rows.end(), expected) == 1);
    }

    const auto open = proxy::show({.all = false}, *snapshot, notice_reader::superuser);
    REQUIRE(open.rows.size() == 2);
    CHECK(open.rows[0] == row_of("Odd", "42", "new"));

    const auto redacted = proxy::show({.all = false}, *snapshot, notice_reader::support);
    REQUIRE(redacted.rows.size() == 2);
    CHECK(redacted.rows[0] == row_of("Odd", "█", "new"));

    const auto refused = proxy::show({.all = true}, *snapshot, notice_reader::other);
    REQUIRE(refused.error);
    CHECK(refused.error->sqlstate == "42501");
    CHECK(refused.rows.empty());
}
