// The notice types on facts made by hand: what a real server makes hard to have, and the order of
// things. tests/integration/notices/test_types.py has each type against a server.
#include "tests/unit/catalog/notice_world.hpp"

#include <catch2/catch.hpp>

using namespace signalbox::catalog;

namespace {

using texts = std::vector<std::string>;

const std::string wide =
    R"(index "s.abc" is too wide for the literal constraints of view "s.v" on table "s.t": b = 1)";

}  // namespace

TEST_CASE("notices: ten types, each with a name of its own") {
    auto names = notice_type_names();
    CHECK(names.size() == 10);
    std::sort(names.begin(), names.end());
    CHECK(std::unique(names.begin(), names.end()) == names.end());
    CHECK(notice_page("Comparison with NULL") == "comparison-with-null");
}

TEST_CASE("notices: nothing to examine, nothing found") {
    notice_world world;
    CHECK(world.messages().empty());
    const auto table = world.table("t", {"a"});
    world.view("broken", "SELECT FROM WHERE", {table});
    world.view("empty", "", {table});
    world.view("unknown", "SELECT x.a FROM s.nowhere x WHERE x.a = 1", {});
    CHECK(world.messages().empty());
    CHECK(examine_created(1, world.facts(), {"main", "app"}).empty());
}

TEST_CASE("notices: an identical index is the newer one, whichever is looked at first") {
    notice_world world;
    const auto table = world.table("t", {"a", "b"});
    const auto first = world.index(table, "one", {"a"});
    const auto second = world.index(table, "two", {"a"});
    const auto found = world.notices();
    REQUIRE(found.size() == 1);
    CHECK(found[0].object == second);
    CHECK(found[0].dependencies == std::vector<object_oid>{table, first});
    CHECK(found[0].redacted_message == std::nullopt);

    SECTION("an invalid index counts on neither side") {
        world[GENERATE(true, false) ? first : second].is_valid = false;
        CHECK(world.messages().empty());
    }
    SECTION("the newer one belongs to an extension or to a parent's index") {
        world[second].is_examined = false;
        CHECK(world.messages().empty());
    }
    SECTION("a replica identity, an exclusion constraint") {
        auto& index = world[second];
        (GENERATE(false, true) ? index.is_replica_identity : index.is_exclusion) = true;
        CHECK(world.messages().empty());
    }
    SECTION("options of the operator class") {
        world[second].keys[0].operator_class_options = "{siglen=32}";
        CHECK(world.messages().empty());
    }
    SECTION("the newer one is unique") {
        world[second].is_unique = true;
        CHECK(world.messages().empty());
        world[first].is_unique = true;
        CHECK(world.messages().size() == 1);
        world[first].is_immediate = false;
        CHECK(world.messages().empty());
    }
    SECTION("a constraint's name is quoted where it has to be") {
        world[second].constraint = "order";
        CHECK(world.notices()[0].text.action == "ALTER TABLE s.t DROP CONSTRAINT \"order\";");
    }
    SECTION("a foreign key refers to it") {
        world[second].is_referenced = true;
        CHECK(world.notices()[0].text.action_type == action_type::plain_text);
    }
}

TEST_CASE("notices: columns without a qualifier are those of the one source") {
    // As servers from 16 on write them.
    notice_world world;
    const auto table = world.table("t", {"a", "b", "c"});
    world.index(table, "abc", {"a", "b", "c"});
    world.view("v", "SELECT a FROM s.t WHERE (b = 1)", {table});
    CHECK(world.messages() == texts{wide});
}

TEST_CASE("notices: columns under the names that FROM gives them") {
    notice_world world;
    const auto table = world.table("t", {"a", "b", "c"});
    world.index(table, "abc", {"a", "b", "c"});
    world.view("v", "SELECT x.p FROM s.t x(p, q, r) WHERE (x.q = 1)", {table});
    CHECK(world.messages().size() == 1);
}

TEST_CASE("notices: columns of an outer query, and of a join that has a name") {
    notice_world world;
    const auto table = world.table("t", {"a", "b", "c"});
    world.index(table, "abc", {"a", "b", "c"});
    SECTION("a condition within says nothing about the rows without") {
        world.view(
            "v", "SELECT x.a FROM s.t x WHERE EXISTS (SELECT 1 FROM s.t y WHERE x.b = 1)", {table}
        );
        CHECK(world.messages().empty());
    }
    SECTION("a joined pair's own name hides its sources") {
        world.view(
            "v", "SELECT j.a FROM (s.t x JOIN s.t y USING (a)) j(a, b, c) WHERE j.b = 1", {table}
        );
        CHECK(world.messages().empty());
    }
}

TEST_CASE("notices: an index too wide, and what makes it good enough") {
    notice_world world;
    const auto table = world.table("t", {"a", "b", "c"});
    const auto index = world.index(table, "abc", {"a", "b", "c"});
    const auto [condition, fires] = GENERATE(Catch::Generators::table<std::string, bool>({
        {"x.b = 1", true},
        {"1 = x.b", true},
        {"x.b = '-1'::integer", true},
        {"x.b = 1 AND x.c = 2", true},
        {"x.b = ANY (ARRAY[1, 2])", true},
        {"x.b = 1 AND x.a > 5", true},
        {"x.b = 1 OR x.a = 5", false},
        {"x.b = x.a", false},
        {"x.b = lower('a')", false},
        {"x.a = 1", false},
        {"x.b = 1 AND x.a IS NULL", false},
        {"x.b = 1 AND x.a = (SELECT 1)", false},
        {"x.a = 1 AND x.b = 2 AND x.c = 3", false},
        {"NOT x.b = 1", false},
        {"x.b <> 1", false},
    }));
    CAPTURE(condition);
    world.view("v", "SELECT x.a FROM s.t x WHERE " + condition, {table});
    CHECK(world.messages().size() == (fires ? 1 : 0));
    SECTION("another method's index on the column will do") {
        const auto hash = world.index(table, "hash", {"b"});
        world[hash].method = "hash";
        CHECK(world.messages().empty());
    }
    SECTION("an index that is not valid is none") {
        world[index].is_valid = false;
        CHECK(world.messages().empty());
    }
    SECTION("a partial index is not too wide: it is another index") {
        world[index].predicate = "(c > 0)";
        CHECK(world.messages().empty());
    }
}

TEST_CASE("notices: a too wide index's notice is found from both sides, once") {
    notice_world world;
    const auto table = world.table("t", {"a", "b", "c"});
    const auto view = world.view("v", "SELECT x.a FROM s.t x WHERE x.b = 1", {table});
    const auto index = world.index(table, "abc", {"a", "b", "c"});
    const auto all = world.notices();
    REQUIRE(all.size() == 1);
    CHECK(all[0].object == index);
    CHECK(all[0].dependencies == std::vector<object_oid>{table, view});
    for (const auto created : {view, index}) {
        const auto found = examine_created(created, world.facts(), {"main", "app"});
        REQUIRE(found.size() == 1);
        CHECK(found[0].fingerprint == all[0].fingerprint);
    }
}

TEST_CASE("notices: casts that change nothing are looked through") {
    notice_world world;
    world.facts().add_binary_cast("varchar", "text");
    const auto table = world.table("t", {"a varchar", "b text", "c"});
    world.index(table, "abc", {"b", "a", "c"});
    world.index(table, "a_index", {"c", "a"});
    world.view("v", "SELECT x.c FROM s.t x WHERE ((x.a)::text = 'k'::text)", {table});
    world.view("w", "SELECT x.c FROM s.t x WHERE ((x.a)::integer = 5)", {table});
    CHECK(world.messages().size() == 1);
}

TEST_CASE("notices: a foreign key of two columns is met by both comparisons only") {
    notice_world world;
    const auto parent = world.table("p", {"x", "y"});
    const auto child = world.table("c", {"x", "y", "z"});
    world[child].foreign_keys.push_back(
        {.name = "fk", .referenced = parent, .columns = {1, 2}, .referenced_columns = {1, 2}}
    );
    const auto [condition, fires] = GENERATE(Catch::Generators::table<std::string, bool>({
        {"JOIN s.p b ON ((a.x = b.x) AND (b.y = a.y))", true},
        {"JOIN s.p b USING (x, y)", true},
        {"LEFT JOIN s.p b ON ((a.x = b.x) AND (b.y = a.y))", true},
        {"JOIN s.p b USING (x)", false},
        {"JOIN s.p b ON ((a.x = b.y) AND (a.y = b.x))", false},
        {"JOIN s.p b ON (a.x = b.x) JOIN s.p d ON (a.y = d.y)", false},
        {"JOIN s.p b ON ((a.x = b.x) OR (a.y = b.y))", false},
    }));
    CAPTURE(condition);
    world.view("v", "SELECT a.z FROM s.c a " + condition, {parent, child});
    CHECK(world.messages().size() == (fires ? 1 : 0));
    SECTION("an index on both, in any order") {
        world.index(child, "yx", {"y", "x", "z"});
        CHECK(world.messages().empty());
    }
    SECTION("an index on one of them is not enough") {
        world.index(child, "x", {"x"});
        CHECK(world.messages().size() == (fires ? 1 : 0));
    }
}

TEST_CASE("notices: limits within limits are told apart") {
    notice_world world;
    const auto table = world.table("t", {"a"});
    world.view(
        "v",
        "SELECT q.a FROM ( SELECT x.a FROM s.t x LIMIT 5) q, ( SELECT y.a FROM s.t y LIMIT 5) r",
        {table}
    );
    const auto found = world.notices();
    REQUIRE(found.size() == 2);
    CHECK(found[0].fingerprint != found[1].fingerprint);
    CHECK(found[0].redacted_message == R"(view "s.v" has LIMIT █ without ORDER BY (1))");
}

TEST_CASE("notices: a materialized view's key is guessed only where it is certain") {
    notice_world world;
    const auto table = world.table("t", {"a", "b"});
    const auto primary = world.index(table, "t_pkey", {"a"});
    world[primary].is_unique = world[primary].is_primary = true;
    const auto [definition, action] = GENERATE(Catch::Generators::table<std::string, std::string>({
        {"SELECT x.b AS p, x.a AS q FROM s.t x", "CREATE UNIQUE INDEX ON s.m (q);"},
        {"SELECT max(x.b) AS p, x.a AS q FROM s.t x GROUP BY x.a",
         "CREATE UNIQUE INDEX ON s.m (q);"},
        {"SELECT unnest(ARRAY[1, 2]) AS p, x.a AS q FROM s.t x", ""},
        {"SELECT x.b AS p, x.b AS q FROM s.t x", ""},
        {"SELECT x.a AS p, x.a AS q FROM s.t x, s.t y", ""},
        {"SELECT 1 AS p, x.a AS q FROM s.t x UNION ALL SELECT 1, 2", ""},
        {"SELECT x.b AS p, count(*) AS q FROM s.t x GROUP BY x.b, x.a", ""},
        {"SELECT x.b AS p, count(*) AS q FROM s.t x GROUP BY ROLLUP (x.b)", ""},
    }));
    CAPTURE(definition);
    world.view("m", definition, {table}, {"p", "q"}, object_kind::materialized_view);
    const auto found = world.notices();
    REQUIRE(found.size() == 1);
    CHECK((found[0].text.action_type == action_type::sql_statements) == !action.empty());
    if (!action.empty()) {
        CHECK(found[0].text.action == action);
    }
}

TEST_CASE("notices: rows that are not the query's are refused, those of a dropped object ignored") {
    facts_reader reader;
    CHECK_FALSE(reader.add(0, {}));
    CHECK_FALSE(reader.add(0, fact_row(19)));
    CHECK_FALSE(reader.add(9, {"1"}));
    CHECK_FALSE(reader.add(1, {"x", "1", "a", "int4", "t"}));
    CHECK_FALSE(reader.add(3, {"7", "fk", "8", "{1,2}", "{1}"}));
    CHECK(reader.add(1, {"7", "1", "a", "int4", "t"}));
    CHECK(reader.add(2, {"7", "1", "a", "t", "pg_catalog.int4_ops", {}, {}, "0"}));
    CHECK(reader.add(3, {"7", "fk", "8", "{1,2}", "{1,3}"}));
    CHECK(reader.add(4, {"7", "8"}));
    CHECK(reader.add(5, {"varchar", "text"}));
    CHECK(reader.add(5, {{}, "ext"}));
    const auto facts = std::move(reader).finish();
    CHECK(facts.objects().empty());
    CHECK(facts.trigram_schema == "ext");
    CHECK(facts.is_binary_coercible("_varchar", "_text"));
    CHECK_FALSE(facts.is_binary_coercible("text", "varchar"));
}

TEST_CASE("notices: a server's rows become facts") {
    facts_reader reader;
    fact_row index(19);
    index[0] = "30";
    index[1] = "i";
    index[2] = "s";
    index[3] = "i";
    index[5] = "CREATE INDEX i ON s.t USING btree (a DESC, ((b + 1))) INCLUDE (c) WHERE (a > 5)";
    index[6] = "t";
    index[7] = "20";
    index[8] = "btree";
    index[9] = "(a > 5)";
    index[13] = index[14] = "t";
    fact_row table(19);
    table[0] = "20";
    table[1] = "p";
    table[2] = "s";
    table[3] = "t";
    REQUIRE(reader.add(0, index));
    REQUIRE(reader.add(0, table));
    REQUIRE(reader.add(1, {"20", "1", "a", "int4", "f"}));
    REQUIRE(reader.add(2, {"30", "1", "a", "t", "pg_catalog.int4_ops", {}, {}, "3"}));
    REQUIRE(reader.add(2, {"30", "0", "(b + 1)", "t", "pg_catalog.int4_ops", {}, {}, "0"}));
    REQUIRE(reader.add(2, {"30", "3", "c", "f", {}, {}, {}, "0"}));
    const auto facts = std::move(reader).finish();
    const auto* const found = facts.find(30);
    REQUIRE(found != nullptr);
    CHECK(found->is_examined);
    REQUIRE(found->keys.size() == 2);
    CHECK(found->keys[0].is_descending);
    CHECK(found->keys[0].nulls_first);
    CHECK(found->keys[1].tree != nullptr);
    CHECK(found->predicate_tree != nullptr);
    CHECK(found->included == std::vector<int>{3});
    CHECK(found->is_valid);
    CHECK_FALSE(found->is_unique);
    CHECK(facts.indexes_of(20) == std::vector<const object_facts*>{found});
    CHECK_FALSE(facts.find(20)->is_examined);
    CHECK(facts.relation("s", "i") == nullptr);
}
