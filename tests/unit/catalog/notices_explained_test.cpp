// The `Notices:` section of an EXPLAIN: which notices, for whom, and how they are written.
#include "catalog/notices/explained.hpp"

#include <catch2/catch.hpp>

using namespace signalbox;
using namespace signalbox::catalog;

namespace {

using texts = std::vector<std::string>;

/// Notices n1, n2, … of objects o1, o2, …, the later the newer.
struct known_notices {
    notice_snapshot snapshot;

    std::string object(
        const std::string& schema,
        const std::string& name,
        const std::string& type = "view",
        const std::string& database = "app",
        const std::string& connection = "u1"
    ) {
        const auto id = "o" + std::to_string(snapshot.objects.size() + 1);
        snapshot.objects.emplace(
            id,
            std::make_shared<const stored_object>(stored_object{
                .id = id,
                .oid = 1,
                .connection_id = connection,
                .database = database,
                .schema = schema,
                .name = name,
                .type = type,
                .owner = "app"})
        );
        return id;
    }

    stored_notice notice(const std::string& object) {
        const auto number = std::to_string(snapshot.notices.size() + 1);
        const timestamp when{std::chrono::microseconds{snapshot.notices.size()}};
        return {
            .fingerprint = "n" + number,
            .connection_id = "u1",
            .database = "app",
            .type = "Comparison with NULL",
            .message = "message " + number + " of 'secret'",
            .hint = "",
            .action = "",
            .redacted_message = "message " + number + " of █",
            .redacted_hint = std::nullopt,
            .redacted_action = std::nullopt,
            .action_type = "",
            .object_id = object,
            .dependency_ids = {},
            .created_at = when,
            .updated_at = when,
            .is_resolved = false};
    }

    void add(stored_notice notice) {
        auto kept = std::make_shared<const stored_notice>(std::move(notice));
        snapshot.notices.emplace(kept->fingerprint, kept);
    }

    /// An object with one notice.
    void add(const std::string& schema, const std::string& name, const std::string& type = "view") {
        add(notice(object(schema, name, type)));
    }

    [[nodiscard]] texts section(
        std::string_view sql, const texts& plan = {}, notice_reader who = notice_reader::superuser
    ) const {
        plan_lines lines;
        for (const auto& line : plan) {
            lines.add(line);
        }
        return notices_section(
            examine_explained(sql, parser::backslashes::plain),
            lines,
            snapshot,
            {.connection_id = "u1", .database = "app"},
            who
        );
    }
};

texts told(const texts& numbers) {
    texts lines;
    for (const auto& number : numbers) {
        if (lines.empty()) {
            lines.emplace_back("Notices:");
        }
        lines.push_back("  NOTICE:  message " + number + " of 'secret'");
    }
    return lines;
}

}  // namespace

TEST_CASE("explained: notices of the views that the query names", "[explain]") {
    known_notices known;
    known.add("s", "v");
    known.add("s", "m", "materialized-view");
    known.add("other", "twice");
    known.add("s", "twice");
    known.add("s", "rows", "index");
    CHECK(known.section("select * from s.v") == told({"1"}));
    CHECK(known.section("select * from v, v x") == told({"1"}));
    CHECK(known.section("select * from m join s.v using (a)") == told({"1", "2"}));
    CHECK(known.section("select * from other.twice") == told({"3"}));
    CHECK(known.section("select * from twice") == texts{});  // which one is not known
    CHECK(known.section("select * from other.v") == texts{});
    CHECK(known.section("select * from rows") == texts{});  // an index is no relation to read
    CHECK(known.section("with v as (select 1) select * from v") == texts{});
    CHECK(known.section("with v as (select 1) select * from v, s.v x") == told({"1"}));
    CHECK(known.section("select 1") == texts{});
    CHECK(known.section("select * fro s.v") == texts{});
}

TEST_CASE("explained: a table that notices refer to has its name, too", "[explain]") {
    known_notices known;
    known.add("s", "v");
    known.object("public", "v", "table");
    CHECK(known.section("select * from v") == texts{});
    CHECK(known.section("select * from s.v") == told({"1"}));
}

TEST_CASE("explained: other databases and connections have their own", "[explain]") {
    known_notices known;
    known.add(known.notice(known.object("s", "v", "view", "another")));
    known.add(known.notice(known.object("s", "v", "view", "app", "u2")));
    CHECK(known.section("select * from s.v") == texts{});
    known.add("s", "v");
    CHECK(known.section("select * from v") == told({"3"}));
}

TEST_CASE("explained: new notices only, the oldest first", "[explain]") {
    known_notices known;
    const auto object = known.object("s", "v");
    for (int i = 0; i < 4; ++i) {
        known.add(known.notice(object));
    }
    auto resolved = known.notice(object);
    resolved.is_resolved = true;
    known.add(std::move(resolved));
    known.snapshot.ignored.emplace(
        "n2",
        ignored_notice{
            .fingerprint = "n2", .ignored_by = "app", .ignored_at = {}, .last_seen_at = {}}
    );
    CHECK(known.section("select * from s.v") == told({"1", "3", "4"}));
}

TEST_CASE("explained: notices of the indexes that the plan names", "[explain]") {
    known_notices known;
    known.add("s", "one", "index");
    known.add("s", "Two \"2\"", "index");
    known.add("a", "same", "index");
    known.add("b", "same", "index");
    known.add("s", "v");
    const auto of = [&](const std::string& line) { return known.section("select 1", {line}); };
    const auto* const line = GENERATE(
        "Index Scan using one on rows  (cost=0.15..8.17 rows=1 width=4)",
        "  ->  Index Only Scan using one on s.rows r",
        "        ->  Parallel Index Scan using one on rows",
        "  ->  Parallel Index Only Scan Backward using one on rows",
        "Index Scan Backward using one on rows",
        "   ->  Bitmap Index Scan on one  (cost=0.00..4.16 rows=2 width=0)",
        "Bitmap Index Scan on one"
    );
    INFO(line);
    CHECK(of(line) == told({"1"}));
    CHECK(of(R"(Index Scan using "Two ""2""" on rows)") == told({"2"}));
    CHECK(of("Index Scan using same on rows") == texts{});
    CHECK(of("Index Scan using v on rows") == texts{});
    CHECK(of("Index Scan using \"one on rows") == texts{});
    CHECK(of("Seq Scan on one") == texts{});
    CHECK(of("  Filter: (a = 'Index Scan using one on rows'::text)") == texts{});
    CHECK(known.section("select 1", {line, line, "Bitmap Index Scan on one"}) == told({"1"}));
}

TEST_CASE("explained: lines without end do not fill the memory", "[explain]") {
    plan_lines lines;
    for (int i = 0; i < 5000; ++i) {
        lines.add("Bitmap Index Scan on i" + std::to_string(i));
    }
    CHECK(lines.indexes.size() == 1000);
}

TEST_CASE("explained: who may read what is stored", "[explain]") {
    known_notices known;
    auto notice = known.notice(known.object("s", "v"));
    notice.hint = "hint of 'secret'";
    notice.redacted_hint = "hint of █";
    notice.action = "DROP VIEW s.v;";
    known.add(std::move(notice));
    const std::string sql = "select * from s.v where a = null";
    const texts own{
        "Notices:",
        "  NOTICE:  the query compares with NULL: a = NULL is never true",
        "    HINT:  An operator that gets NULL gives NULL, which a condition takes as false.",
        "    ACTION:  Write a IS NULL instead of a = NULL."};
    const auto with = [&](const texts& more) {
        auto lines = own;
        lines.insert(lines.end(), more.begin(), more.end());
        return lines;
    };
    CHECK(
        known.section(sql, {}, notice_reader::superuser) == with(
                                                                {"  NOTICE:  message 1 of 'secret'",
                                                                 "    HINT:  hint of 'secret'",
                                                                 "    ACTION:  DROP VIEW s.v;"}
                                                            )
    );
    CHECK(
        known.section(sql, {}, notice_reader::support) ==
        with({"  NOTICE:  message 1 of █", "    HINT:  hint of █", "    ACTION:  DROP VIEW s.v;"})
    );
    CHECK(known.section(sql, {}, notice_reader::other) == own);
}

TEST_CASE("explained: a text of several lines is several rows", "[explain]") {
    known_notices known;
    auto notice = known.notice(known.object("s", "v"));
    notice.message = "one";
    notice.action = "first;\nsecond;\n";
    known.add(std::move(notice));
    CHECK(
        known.section("select * from v") ==
        texts{"Notices:", "  NOTICE:  one", "    ACTION:  first;", "             second;"}
    );
}

TEST_CASE("explained: what is wrong in the query itself", "[explain]") {
    const known_notices none;
    const auto messages = [&](const std::string& sql, const texts& plan = {}) {
        texts found;
        for (const auto& line : none.section(sql, plan, notice_reader::other)) {
            if (line.starts_with("  NOTICE:  ")) {
                found.push_back(line.substr(11));
            }
        }
        return found;
    };
    CHECK(
        messages("select * from a where b <> null and b <> null or c in (select d from e where "
                 "f not in (1, null))") ==
        texts{
            "the query compares with NULL: b <> NULL is never true",
            "the query compares with NULL: f <> ALL (ARRAY[1, NULL]) is never true"}
    );
    CHECK(messages("select * from a where b is null and c in (1, null)") == texts{});
    // About views alone, or not certain without the server's catalogs.
    CHECK(messages("select * from a limit 5") == texts{});
    CHECK(messages("select * from a where b not in (select c from d)") == texts{});
    CHECK(messages("update a set b = null") == texts{});

    const std::string pattern = "select * from a where b like '%x' and not c like '%y'";
    const texts found{"the query matches b LIKE '%x', a pattern with a leading wildcard"};
    const std::string filter = "  Filter: ((b ~~ '%x'::text) AND (c !~~ '%y'::text))";
    CHECK(messages(pattern, {"Seq Scan on a", filter}) == found);
    CHECK(messages(pattern, {filter, "  ->  Index Cond: (b ~~ '%x'::text)"}) == texts{});
    CHECK(messages(pattern, {"Result", "  One-Time Filter: false"}) == texts{});
    CHECK(messages(pattern, {"  Filter: (c !~~ '%y'::text)"}) == texts{});
    CHECK(messages("select * from a where b like 'x%'", {filter}) == texts{});
    CHECK(messages("select * from a where b like $1", {filter}) == texts{});
    CHECK(messages("select * from a where b || c ilike '%x'", {filter}) == texts{});
    CHECK(
        messages("select * from a where lower(b::text) ilike '%x'", {filter}) ==
        texts{"the query matches lower(b::text) ILIKE '%x', a pattern with a leading wildcard"}
    );
}
