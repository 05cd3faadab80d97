// A reference to a relation of ours becomes a row source wherever PostgreSQL would read a table
// there, what is no reading is refused, and nothing else of the text changes.
#include "rewrite/relation_rewrite.hpp"

#include "tests/support/chooser.hpp"
#include "tests/support/deep_stack.hpp"
#include "tests/support/exact_buffer.hpp"
#include "tests/support/relation_properties.hpp"

#include <catch2/catch.hpp>

using namespace signalbox;
using namespace signalbox::rewrite;
using parser::backslashes;
using signalbox::tests::exact_buffer;

namespace {

const parser::statement_rules& rules() {
    static const parser::statement_rules found{{}};
    return found;
}

relation_rewrite find(std::string_view statement, backslashes strings = backslashes::plain) {
    const exact_buffer text{statement};
    CAPTURE(statement);
    CHECK(tests::relations_are_sound(rules(), text, strings));
    return find_relations(text, strings, {});
}

/// The statement with `{relation}` for each row source; what is refused as `!SQLSTATE@offset`.
std::string outline(std::string_view statement, backslashes strings = backslashes::plain) {
    const auto found = find(statement, strings);
    if (found.refused) {
        const auto& [what, position] = *found.refused;
        return "!" + what.sqlstate + (position > 0 ? "@" + std::to_string(position) : "");
    }
    std::string out;
    std::size_t at = 0;
    for (const auto& edit : found.edits) {
        out += statement.substr(at, edit.offset - at);
        out += edit.before;
        out += edit.source ? "{" + std::string{found.used.at(*edit.source)->name} + "}" : "";
        out += edit.after;
        at = edit.offset + edit.size;
    }
    return out + std::string{statement.substr(at)};
}

struct example {
    std::string sql;
    std::string expected;
};

void check(const std::vector<example>& examples, backslashes strings = backslashes::plain) {
    for (const auto& [sql, expected] : examples) {
        CAPTURE(sql);
        CHECK(outline(sql, strings) == expected);
    }
}

/// Nothing is found: the server answers.
void check_untouched(const std::vector<std::string>& statements) {
    for (const auto& sql : statements) {
        CAPTURE(sql);
        CHECK(outline(sql) == sql);
        CHECK(find(sql).used.empty());
    }
}

void check_refused(const std::string& sqlstate, const std::vector<std::string>& statements) {
    for (const auto& sql : statements) {
        CAPTURE(sql);
        CHECK(outline(sql) == "!" + sqlstate);
        CHECK_FALSE(find(sql).is_needed());
    }
}

}  // namespace

TEST_CASE("the relations of section 6", "[rewrite][relations]") {
    CHECK(relations().size() == 12);
    for (const auto& r : relations()) {
        CAPTURE(r.name);
        CHECK(find_relation(r.name) == &r);
        CHECK(find_relation(r.is_internal ? "mz_internal" : "mz_catalog", r.name, {}) == &r);
        CHECK(find_relation(r.is_internal ? "mz_catalog" : "mz_internal", r.name, {}) == nullptr);
    }
    CHECK(find_relation("mz_nosuch") == nullptr);
    const schema_names other{"sb_catalog", "sb_internal"};
    CHECK(find_relation("sb_internal", "mz_notices", other) == find_relation("mz_notices"));
    CHECK(find_relation("mz_internal", "mz_notices", other) == nullptr);
}

TEST_CASE("an item of FROM becomes a row source", "[rewrite][relations]") {
    check({
        {"select * from mz_catalog.mz_connections",
         R"(select * from {mz_connections} AS "mz_connections")"},
        {"SELECT c.name FROM MZ_Catalog.MZ_CONNECTIONS c;",
         "SELECT c.name FROM {mz_connections} c;"},
        {"select * from mz_catalog.mz_connections as c (a, b) where a = 'u1'",
         "select * from {mz_connections} as c (a, b) where a = 'u1'"},
        {"select * from t join mz_internal.mz_connection_statuses s using (id), "
         "mz_catalog . mz_connections",
         "select * from t join {mz_connection_statuses} s using (id), {mz_connections} AS "
         "\"mz_connections\""},
        {"select * from (mz_catalog.mz_connections a natural join mz_internal.mz_notices b) j",
         "select * from ({mz_connections} a natural join {mz_notices} b) j"},
        {"select * from t, lateral (select * from mz_catalog.mz_connections c where c.id = t.id) x",
         "select * from t, lateral (select * from {mz_connections} c where c.id = t.id) x"},
        {"with c as (select 1 from mz_catalog.mz_objects) select * from c, "
         "mz_catalog.mz_objects o union all select 2, 3 from mz_internal.mz_notices n",
         "with c as (select 1 from {mz_objects} AS \"mz_objects\") select * from c, {mz_objects} o "
         "union all select 2, 3 from {mz_notices} n"},
        {"values ((select count(*) from mz_catalog.mz_objects o))",
         "values ((select count(*) from {mz_objects} o))"},
        {"insert into t select id from mz_catalog.mz_objects o returning (select max(id) from "
         "mz_catalog.mz_connections c)",
         "insert into t select id from {mz_objects} o returning (select max(id) from "
         "{mz_connections} c)"},
        {"update t set a = c.name from mz_catalog.mz_connections c where c.id = t.id",
         "update t set a = c.name from {mz_connections} c where c.id = t.id"},
        // Which is in the tree once for each of the columns.
        {"update t set (a, b) = (select 1, 2 from mz_catalog.mz_objects where "
         "mz_catalog.mz_objects.id = t.id)",
         R"(update t set (a, b) = (select 1, 2 from {mz_objects} AS "mz_objects" where )"
         R"("mz_objects".id = t.id))"},
        {"delete from t using mz_catalog.mz_connections c where c.id = t.id",
         "delete from t using {mz_connections} c where c.id = t.id"},
        {"merge into t using mz_catalog.mz_connections c on c.id = t.id when matched then do "
         "nothing",
         "merge into t using {mz_connections} c on c.id = t.id when matched then do nothing"},
        {"create table t as select * from mz_catalog.mz_connections c",
         "create table t as select * from {mz_connections} c"},
        {"select * into t from mz_catalog.mz_connections c",
         "select * into t from {mz_connections} c"},
        {"explain (analyze) select * from mz_catalog.mz_connections c",
         "explain (analyze) select * from {mz_connections} c"},
        {"declare x cursor with hold for select * from mz_catalog.mz_connections c",
         "declare x cursor with hold for select * from {mz_connections} c"},
        {" ; select 1 from mz_catalog.mz_connections",
         " ; select 1 from {mz_connections} AS "
         "\"mz_connections\""},
    });
}

TEST_CASE("ONLY, the star and TABLE belong to the item", "[rewrite][relations]") {
    check({
        {"select 1 from only mz_catalog.mz_objects",
         R"(select 1 from {mz_objects} AS "mz_objects")"},
        {"select 1 from ONLY/**/(/**/mz_catalog/**/./**/mz_objects--\n) o",
         "select 1 from {mz_objects} o"},
        {"select 1 from mz_catalog.mz_objects * where true",
         R"(select 1 from {mz_objects} AS "mz_objects" where true)"},
        {"select 1 from mz_catalog.mz_objects*o", "select 1 from {mz_objects}o"},
        {"table mz_catalog.mz_objects", R"(SELECT * FROM {mz_objects} AS "mz_objects")"},
        {"TABLE ONLY mz_catalog.mz_objects ORDER BY 1",
         R"(SELECT * FROM {mz_objects} AS "mz_objects" ORDER BY 1)"},
        {"(table mz_catalog.mz_objects *) union table mz_catalog.mz_objects",
         R"((SELECT * FROM {mz_objects} AS "mz_objects") union )"
         R"(SELECT * FROM {mz_objects} AS "mz_objects")"},
        {"insert into t table mz_catalog.mz_objects",
         R"(insert into t SELECT * FROM {mz_objects} AS "mz_objects")"},
        {"insert into \"t\"table mz_catalog.mz_objects",
         R"(insert into "t" SELECT * FROM {mz_objects} AS "mz_objects")"},
    });
}

TEST_CASE("names in every spelling", "[rewrite][relations]") {
    check({
        {R"(select 1 from"mz_catalog"."mz_objects"where true)",
         R"(select 1 from {mz_objects} AS "mz_objects"where true)"},
        {R"(select 1 from"mz_catalog"."mz_objects""o"where true)",
         R"(select 1 from"mz_catalog"."mz_objects""o"where true)"},
        {R"(select 1 from "mz_catalog"."mz_objects"/**/"o")",
         R"(select 1 from {mz_objects}/**/"o")"},
        {R"(select 1 from U&"mz\005fcatalog".u&"mz!005fobjects" uescape '!' o)",
         "select 1 from {mz_objects} o"},
        {R"(select 1 from U&"mz!005fcatalog"/**/UESCAPE--
            '!' . mz_objects where true)",
         R"(select 1 from {mz_objects} AS "mz_objects" where true)"},
        {"select 1 from \xc3\xa4, mz_catalog.mz_objects o where \xc3\xa4.a = '\xc3\xa4'",
         "select 1 from \xc3\xa4, {mz_objects} o where \xc3\xa4.a = '\xc3\xa4'"},
    });
    check_untouched({
        R"(select 1 from "MZ_CATALOG".mz_objects)",
        R"(select 1 from mz_catalog."Mz_objects")",
        "select 1 from mz_objects",
        "with mz_objects as (select 1) select * from mz_objects",
        "select 1 from db.mz_catalog.mz_objects",
        "select 1 from mz_internal.mz_objects",
        "select 1 from mz_internal.nosuch",
        "select 'mz_catalog.mz_objects'::regclass, $$ mz_catalog.mz_objects $$",
        "select 1 /* from mz_catalog.mz_objects */ -- mz_catalog.mz_objects",
        "select mz_catalog.mz_objects from mz_catalog",
        "select mz_catalog.mz_objects()",
        "select null::mz_catalog.mz_objects",
        "select mz_catalog.mz_objects.id from t",
        "do $$ begin perform 1 from mz_catalog.mz_objects; end $$",
        "create function f() returns int language sql as 'select 1 from mz_catalog.mz_objects'",
        "create table mz_catalog.t (a int)",
        "drop schema mz_catalog",
        "create schema mz_catalog",
        "drop function mz_catalog.mz_objects()",
        "select 1 from t for update of mz_catalog.mz_objects",
    });
}

TEST_CASE("columns that are named with the schema", "[rewrite][relations]") {
    check({
        {"select mz_catalog.mz_objects.id, mz_objects.name, mz_catalog . mz_objects.* from "
         "mz_catalog.mz_objects where (mz_catalog.mz_objects.id).x = 1",
         R"(select "mz_objects".id, mz_objects.name, "mz_objects".* from {mz_objects} AS )"
         R"("mz_objects" where ("mz_objects".id).x = 1)"},
        // u& and a quoted name would be one token.
        {"select u&mz_catalog.mz_objects.oid from t, mz_catalog.mz_objects",
         R"(select u& "mz_objects".oid from t, {mz_objects} AS "mz_objects")"},
        {R"(select"mz_catalog"."mz_objects"."id"from mz_catalog.mz_objects)",
         R"(select "mz_objects"."id"from {mz_objects} AS "mz_objects")"},
        {"select (select mz_catalog.mz_objects.id) from mz_catalog.mz_objects",
         R"(select (select "mz_objects".id) from {mz_objects} AS "mz_objects")"},
        {"delete from t using mz_catalog.mz_objects where mz_catalog.mz_objects.id = t.id",
         R"(delete from t using {mz_objects} AS "mz_objects" where "mz_objects".id = t.id)"},
        {"select 1 from t union select 2 from mz_catalog.mz_objects where "
         "mz_catalog.mz_objects.id = ''",
         R"(select 1 from t union select 2 from {mz_objects} AS "mz_objects" where )"
         R"("mz_objects".id = '')"},
        // With an alias the relation's own name is hidden: the server says so.
        {"select mz_catalog.mz_objects.id from mz_catalog.mz_objects o",
         "select mz_catalog.mz_objects.id from {mz_objects} o"},
        {"select mz_catalog.mz_objects.id from (select 1 from mz_catalog.mz_objects) o",
         R"(select mz_catalog.mz_objects.id from (select 1 from {mz_objects} AS "mz_objects") o)"},
    });
    // Another one of that name might take the column's reference.
    check({
        {"select mz_catalog.mz_objects.id from mz_catalog.mz_objects, public.mz_objects",
         "!42P09@8"},
        {"select 1 from mz_catalog.mz_objects where exists (select from t mz_objects where "
         "mz_catalog.mz_objects.id = mz_objects.id)",
         "!42P09@82"},
        {"with mz_objects as (select 1) select mz_catalog.mz_objects.id from mz_catalog.mz_objects "
         "where exists (select from mz_objects)",
         "!42P09@38"},
        {"select mz_objects.id from mz_catalog.mz_objects o, public.mz_objects",
         "select mz_objects.id from {mz_objects} o, public.mz_objects"},
    });
}

TEST_CASE("COPY TO becomes the copy of a query", "[rewrite][relations]") {
    check({
        {"copy mz_catalog.mz_objects to stdout",
         R"(copy (SELECT * FROM {mz_objects} AS "mz_objects") to stdout)"},
        {R"(copy"mz_catalog"."mz_objects"to stdout with (format csv, header))",
         R"(copy(SELECT * FROM {mz_objects} AS "mz_objects")to stdout with (format csv, header))"},
        {"copy mz_catalog.mz_objects (id, -- )\n \"name\") to stdout",
         "copy (SELECT id, -- )\n \"name\" FROM {mz_objects} AS \"mz_objects\") to stdout"},
        {"copy (select id from mz_catalog.mz_objects o) to stdout",
         "copy (select id from {mz_objects} o) to stdout"},
        {"copy (table mz_catalog.mz_objects) to stdout",
         R"(copy (SELECT * FROM {mz_objects} AS "mz_objects") to stdout)"},
    });
    CHECK(find("copy (select 1 from mz_catalog.mz_objects) to stdout").needs_literals);
    CHECK(find("copy mz_catalog.mz_objects to stdout").needs_literals);
    CHECK_FALSE(find("select 1 from mz_catalog.mz_objects").needs_literals);
    check_refused(
        "42501",
        {"copy mz_catalog.mz_objects from stdin",
         "copy mz_catalog.mz_objects (id) from program 'ls'"}
    );
    check_refused("0A000", {"copy binary mz_catalog.mz_objects to stdout"});
    check_untouched({"copy t from stdin where mz_catalog.mz_objects.a = 1"});
}

TEST_CASE("whatever would change a relation is refused", "[rewrite][relations]") {
    check_refused(
        "42501",
        {"insert into mz_catalog.mz_objects values (1)",
         "insert into mz_catalog.mz_objects select * from mz_catalog.mz_objects",
         "update mz_catalog.mz_objects set id = 1",
         "update only mz_catalog.mz_objects o set id = 1",
         "delete from mz_catalog.mz_objects",
         "merge into mz_catalog.mz_objects o using t on true when matched then delete",
         "with x as (delete from mz_catalog.mz_objects returning *) select * from x",
         "explain delete from mz_catalog.mz_objects",
         "prepare p as delete from mz_catalog.mz_objects",
         "truncate t, mz_catalog.mz_objects",
         "lock table mz_catalog.mz_objects in share mode",
         "alter table mz_catalog.mz_objects add column a int",
         "alter table if exists mz_catalog.mz_objects rename to a",
         "alter view mz_catalog.mz_objects rename column id to a",
         "alter table mz_catalog.mz_objects set schema public",
         "alter table mz_catalog.mz_objects owner to a",
         "alter table t attach partition mz_catalog.mz_objects default",
         "alter table t inherit mz_catalog.mz_objects",
         "drop table mz_catalog.mz_objects",
         "drop view if exists v, mz_catalog.mz_objects cascade",
         "drop table u&\"mz!005fcatalog\" uescape '!' . mz_objects",
         "drop trigger a on mz_catalog.mz_objects",
         "drop rule a on mz_catalog.mz_objects",
         "drop policy a on mz_catalog.mz_objects",
         "alter trigger a on mz_catalog.mz_objects rename to b",
         "grant select on mz_catalog.mz_objects to public",
         "revoke all on table mz_catalog.mz_objects from a",
         "comment on table mz_catalog.mz_objects is ''",
         "comment on column mz_catalog.mz_objects.id is ''",
         "comment on constraint a on mz_catalog.mz_objects is ''",
         "security label on table mz_catalog.mz_objects is ''",
         "create index on mz_catalog.mz_objects (id)",
         "create unique index concurrently a on mz_catalog.mz_objects (id)",
         "create trigger a after insert on mz_catalog.mz_objects execute function f()",
         "create rule a as on insert to mz_catalog.mz_objects do nothing",
         "create policy a on mz_catalog.mz_objects",
         "create statistics a on id, name from mz_catalog.mz_objects",
         "create publication a for table mz_catalog.mz_objects",
         "create table mz_catalog.mz_objects (a int)",
         "create view mz_catalog.mz_objects as select 1",
         "create table mz_catalog.mz_objects as select 1",
         "select 1 into mz_catalog.mz_objects",
         "create table t (like mz_catalog.mz_objects)",
         "create table t () inherits (mz_catalog.mz_objects)",
         "create table t (a int references mz_catalog.mz_objects)",
         "alter extension e add table mz_catalog.mz_objects",
         "analyze mz_catalog.mz_objects",
         "vacuum t, mz_catalog.mz_objects",
         "cluster mz_catalog.mz_objects using a",
         "reindex table mz_catalog.mz_objects",
         "refresh materialized view mz_catalog.mz_objects"}
    );
    const auto found = find("delete from mz_catalog.mz_connections");
    REQUIRE(found.refused);
    const auto& what = found.refused->what;
    CHECK(what.severity == "ERROR");
    CHECK(what.message == R"(permission denied: "mz_connections" is a system catalog)");
    CHECK(what.detail == "Signalbox provides mz_catalog.mz_connections, which can only be read.");
    CHECK(what.hint == "Use CREATE, ALTER or DROP CONNECTION.");
    CHECK(find("delete from mz_internal.mz_notices").refused->what.hint == "Use ALTER NOTICE.");
    CHECK(find("delete from mz_catalog.mz_objects").refused->what.hint.empty());
}

TEST_CASE("what would freeze the rows is refused", "[rewrite][relations]") {
    check_refused(
        "0A000",
        {"create view v as select * from mz_catalog.mz_objects",
         "create or replace temp view v as with a as (table mz_catalog.mz_objects) select * from a",
         "create materialized view v as select * from mz_catalog.mz_objects",
         "explain analyze create materialized view v as select * from mz_catalog.mz_objects",
         "create schema s create view v as select * from mz_catalog.mz_objects",
         "create function f() returns bigint begin atomic select count(*) from "
         "mz_catalog.mz_objects; end",
         "create function f() returns bigint return (select count(*) from mz_catalog.mz_objects)",
         "create rule r as on insert to t do also select * from mz_catalog.mz_objects",
         "create policy p on t using (exists (select from mz_catalog.mz_objects))",
         "alter policy p on t with check (exists (select from mz_catalog.mz_objects))",
         "prepare p as select * from mz_catalog.mz_objects",
         "prepare p (int) as insert into t select * from mz_catalog.mz_objects"}
    );
    CHECK(
        find("prepare p as select * from mz_catalog.mz_objects").refused->what.message ==
        "PREPARE cannot read mz_catalog.mz_objects"
    );
    CHECK(
        find("create view v as select * from mz_catalog.mz_objects").refused->what.message ==
        "mz_catalog.mz_objects cannot be part of a view, function, rule or policy"
    );
    CHECK(outline("select * from mz_catalog.mz_objects o tablesample system (1)") == "!0A000@15");
    CHECK(
        find("select 1 from mz_catalog.mz_objects tablesample system (1)").refused->what.message ==
        "TABLESAMPLE clause can only be applied to tables and materialized views"
    );
}

TEST_CASE("rows of ours cannot be locked, those of other tables can", "[rewrite][relations]") {
    check_refused(
        "42501",
        {"select * from mz_catalog.mz_objects for update",
         "table mz_catalog.mz_objects for share",
         "select * from t, mz_catalog.mz_objects o for key share of t, o",
         "select * from mz_catalog.mz_objects for no key update of mz_objects nowait",
         "select * from t, (select * from mz_catalog.mz_objects) o for update",
         "select * from t join (select * from mz_catalog.mz_objects x) o using (id) for update of "
         "o",
         "select * from (select * from mz_catalog.mz_objects for update) o",
         "select * from t for update of t; select * from mz_catalog.mz_objects for share",
         "create table x as select * from mz_catalog.mz_objects for update"}
    );
    check({
        {"select * from t, mz_catalog.mz_objects o for update of t",
         "select * from t, {mz_objects} o for update of t"},
        {"select * from t, (select * from mz_catalog.mz_objects o) x for update of t",
         "select * from t, (select * from {mz_objects} o) x for update of t"},
        // Neither expressions nor WITH are locked.
        {"select * from t where id in (select id from mz_catalog.mz_objects o) for update",
         "select * from t where id in (select id from {mz_objects} o) for update"},
        {"with c as (select id from mz_catalog.mz_objects o) select * from t, c for update",
         "with c as (select id from {mz_objects} o) select * from t, c for update"},
        {"select (select id from t for update) from mz_catalog.mz_objects o",
         "select (select id from t for update) from {mz_objects} o"},
    });
    CHECK(
        find("select * from mz_catalog.mz_objects for update").refused->what.hint ==
        "Leave the locking clause out, or name the other tables in FOR UPDATE OF."
    );
}

TEST_CASE("the relations that are read, and the parameters", "[rewrite][relations]") {
    const auto found = find(
        "select $2 from mz_internal.mz_notices a, mz_catalog.mz_objects b, mz_internal.mz_notices "
        "c where a.status = $11"
    );
    CHECK(found.highest_parameter == 11);
    CHECK(found.used == std::vector{find_relation("mz_notices"), find_relation("mz_objects")});
    CHECK(found.edits.at(2).source == 0);
}

TEST_CASE("statements that libpg_query cannot parse", "[rewrite][relations]") {
    // Newer syntax: a plain query's tokens say enough.
    check({
        {"select json_object('a': 1 returning jsonb), $3 from mz_catalog.mz_objects where true",
         "select json_object('a': 1 returning jsonb), $3 from {mz_objects} AS \"mz_objects\" where "
         "true"},
        {"select * from json_table('[]', '$[*]' columns (id text)) j join mz_catalog.mz_objects as "
         "o using (id)",
         "select * from json_table('[]', '$[*]' columns (id text)) j join {mz_objects} as o using "
         "(id)"},
        {"with a as (select 1 is json from \"mz_catalog\".\"mz_objects\") select 1 is json",
         "with a as (select 1 is json from {mz_objects} AS \"mz_objects\") select 1 is json"},
    });
    CHECK(find("select 1 is json, $3 from mz_catalog.mz_objects").highest_parameter == 3);
    // All else is the server's to judge, which finds a typing error or no such relation.
    check_untouched({
        "selec * from mz_catalog.mz_objects",
        "select * form mz_catalog.mz_objects",
        "select * from from t, mz_catalog.mz_objects",
        "select 1 is json from mz_catalog.mz_objects for update",
        "select 1 is json from only mz_catalog.mz_objects",
        "select 1 is json from mz_catalog.mz_objects, t where mz_catalog.mz_objects.id = t.id",
        "select 1 is json from db.mz_catalog.mz_objects",
        "delete from mz_catalog.mz_objects where a is json",
        "create view v as select 1 is json from mz_catalog.mz_objects",
        "prepare v as select 1 is json from mz_catalog.mz_objects",
        "with x as (delete from mz_catalog.mz_objects) select 1 is json",
        "copy (select 1 is json from mz_catalog.mz_objects) to stdout",
        "select 1 is json, 'mz_catalog.mz_objects'",
    });
}

TEST_CASE("hostile statements", "[rewrite][relations]") {
    std::string chain = "select 1";
    for (int i = 0; i < 30'000; ++i) {
        chain += "+1";
    }
    tests::on_deep_stack([&] {
        CHECK(outline(chain) == chain);
        CHECK(
            outline(chain + " from mz_catalog.mz_objects") ==
            chain + " from {mz_objects} AS \"mz_objects\""
        );
        std::string nested = "table mz_catalog.mz_objects";
        for (int i = 0; i < 500; ++i) {
            nested = "select (" + nested + ") from mz_catalog.mz_objects o";
        }
        CHECK(find_relations(nested, backslashes::plain, {}).edits.size() == 501);
        std::string copied = "select 1 from mz_catalog.mz_objects";
        for (int i = 0; i < 100; ++i) {
            copied = "with x as (update t set (a, b) = (" + copied + ") returning 1) select 1";
        }
        CHECK(find_relations(copied, backslashes::plain, {}).edits.empty());
        std::string columns = "select 1";
        for (int i = 0; i < 1'000; ++i) {
            columns += ",mz_catalog.mz_objects.id";
        }
        columns += " from mz_catalog.mz_objects";
        CHECK(find_relations(columns, backslashes::plain, {}).edits.size() == 1001);
    });
    check_untouched({std::string{"select 1 from t where mz_catalog.mz_objects = '\0'", 49}});
}

TEST_CASE("strings in which backslashes escape", "[rewrite][relations]") {
    const std::string sql =
        R"(select '\'', 'from mz_catalog.mz_objects \\' from mz_catalog.mz_objects where n'\'' = '')";
    check(
        {{sql,
          R"(select '\'', 'from mz_catalog.mz_objects \\' from {mz_objects} AS "mz_objects" )"
          R"(where n'\'' = '')"}},
        backslashes::escape
    );
    check(
        {{R"(select '\' from mz_catalog.mz_objects where '' = '\'')",
          R"(select '\' from mz_catalog.mz_objects where '' = '\'')"},
         {R"(select $a$\$a$, E'\'' '\' from mz_catalog.mz_objects)",
          R"(select $a$\$a$, E'\'' '\' from mz_catalog.mz_objects)"}},
        backslashes::escape
    );
    check(
        {{R"(select '\', E'\'' from mz_catalog.mz_objects o where '' = '\')",
          R"(select '\', E'\'' from {mz_objects} o where '' = '\')"}}
    );
}

TEST_CASE("schemas of other names", "[rewrite][relations]") {
    const schema_names names{"Odd \"one", "sb_internal"};
    const parser::statement_rules odd{{}, {names.catalog, names.internal}};
    const std::string sql = R"(select 1 from "Odd ""one".mz_objects, sb_internal.mz_notices n)";
    CHECK(odd.may_use_relations(sql));
    CHECK(odd.needs_decision(sql));
    CHECK(odd.may_use_relations("select 1 from SB_internal.mz_notices"));
    CHECK_FALSE(odd.may_use_relations("select 1 from mz_internal.mz_notices"));
    const auto found = find_relations(sql, backslashes::plain, names);
    CHECK(found.used.size() == 2);
    CHECK(find_relations("select 1 from mz_catalog.mz_objects", backslashes::plain, names)
              .used.empty());
    CHECK(
        find_relations("drop table sb_internal.mz_notices", backslashes::plain, names)
            .refused->what.detail ==
        "Signalbox provides sb_internal.mz_notices, which can only be read."
    );
    // The parameter does not depend on the names.
    const std::vector rows{
        std::make_shared<const std::string>("[]"), std::make_shared<const std::string>("[{}]")};
    CHECK(parameter_value(found, rows) == "0000000041000000000200000000430000000004[][{}]");
    // A name of which nothing is known stands anywhere.
    CHECK(parser::statement_rules{{}, {"\xc3\xa4"}}.may_use_relations("select 1"));
    CHECK_FALSE(parser::statement_rules{{}, {}}.may_use_relations("select 1 from mz_catalog.x"));
}

TEST_CASE("the prefilter sees the schemas", "[rewrite][relations][prefilter]") {
    for (const std::string sql :
         {"select 1 from mz_catalog.mz_objects",
          "select 1 from MZ_INTERNAL.mz_notices",
          "select 1 from \"mz_internal\" . mz_notices",
          "select 1 from U&\"mz\\005finternal\".mz_notices",
          "select 1 from u&\"mz!005finternal\" uescape '!' .mz_notices"}) {
        CAPTURE(sql);
        CHECK(rules().may_use_relations(sql));
        CHECK(rules().needs_decision(sql));
    }
    for (const std::string sql :
         {"select 1 from mz_objects", "select 1 from pg_catalog.pg_class", "select U&'mz'", ""}) {
        CAPTURE(sql);
        CHECK_FALSE(rules().may_use_relations(sql));
        CHECK_FALSE(rules().needs_decision(sql));
    }
}

TEST_CASE("the text that is sent", "[rewrite][relations]") {
    const std::string sql = "select $1, c.id from mz_catalog.mz_aws_privatelink_connections c";
    const auto found = find(sql);
    const std::vector rows{std::make_shared<const std::string>(
        "it's \\ \n\x1f\x7f \xc3\xa4\xe2\x82\xac\xf0\x9f\x9a\x82"
    )};
    const auto source = [](const std::string& text) {
        return "select $1, c.id from (SELECT \"id\",\"principal\" FROM (SELECT "
               "pg_catalog.unnest((pg_catalog.string_to_array(p[5],p[2],p[3]))"
               "[1:p[4]::pg_catalog.int4]) AS \"id\","
               "pg_catalog.unnest((pg_catalog.string_to_array(p[6],p[2],p[3]))"
               "[1:p[4]::pg_catalog.int4]) AS \"principal\" FROM (SELECT "
               "pg_catalog.string_to_array(t,pg_catalog.left(t,1)) AS p FROM (SELECT " +
               text + " AS t OFFSET 0) AS t OFFSET 0) AS p) AS r) c";
    };
    CHECK(
        render_with_literals(sql, found, rows).sql() ==
        source("E'it''s \\\\ \n\x1f\x7f \\u00e4\\u20ac\\U0001f682'::pg_catalog.text")
    );
    const auto part = [](const std::string& offset, const std::string& size) {
        return "pg_catalog.convert_from(pg_catalog.substr($2::pg_catalog.bytea," + offset + "," +
               size + "),'UTF8')";
    };
    CHECK(
        render_with_parameter(sql, found, 2).sql() ==
        source(part(part("1", "10") + "::pg_catalog.int4", part("11", "10") + "::pg_catalog.int4"))
    );
    CHECK(parameter_value(found, rows) == "00000000210000000020" + *rows[0]);
    const auto other = find("select 1 from mz_catalog.mz_objects");
    CHECK(render_with_literals("select 1 from mz_catalog.mz_objects", other, rows)
              .sql()
              .starts_with("select 1 from (SELECT \"id\",\"oid\"::pg_catalog.oid AS \"oid\","));
}

TEST_CASE("positions of errors", "[rewrite][relations]") {
    const std::string sql =
        "select '\xc3\xa4', x, mz_catalog.mz_objects.y from only mz_catalog.mz_objects where z = "
        "'\xc3\xa4' or nosuch";
    const std::vector rows{std::make_shared<const std::string>("[]")};
    const auto made = render_with_literals(sql, find(sql), rows);
    const auto position = [](std::string_view text, std::string_view word, character_size size) {
        std::size_t characters = 1;
        for (const char c : text.substr(0, text.find(word))) {
            characters += size == character_size::one_byte || (c & 0xC0) != 0x80 ? 1 : 0;
        }
        return characters;
    };
    for (const auto size : {character_size::utf8, character_size::one_byte}) {
        for (const std::string word : {"select", "x, ", "y from", "where", "z = ", "nosuch"}) {
            CAPTURE(word, size == character_size::utf8);
            CHECK(
                made.original_position(position(made.sql(), word, size), size) ==
                position(sql, word, size)
            );
        }
        // Of what was put in, the relation's name is to blame.
        const auto name = position(sql, "mz_catalog.mz_objects where", size);
        for (const std::string word :
             {"(SELECT", "left(t", "::pg_catalog.text AS t", "\"owner\"", " where"}) {
            CAPTURE(word, size == character_size::utf8);
            const auto shift = word == " where" ? 1U : 0U;
            CHECK(made.original_position(position(made.sql(), word, size) - shift, size) == name);
        }
        CHECK(
            made.original_position(position(made.sql(), "\"mz_objects\".y", size), size) ==
            position(sql, "mz_catalog.mz_objects.y", size)
        );
    }
}

namespace {

constexpr std::string_view fragments[] = {
    "select",
    "*",
    "from",
    "mz_catalog",
    ".",
    "mz_objects",
    "mz_catalog.mz_objects",
    "\"mz_catalog\".\"mz_objects\"",
    "U&\"mz\\005fcatalog\".mz_objects",
    "mz_internal.mz_notices",
    "u&\"mz!005fcatalog\" uescape '!' .mz_objects",
    "mz_catalog.mz_objects.id",
    "table",
    "only",
    "(",
    ")",
    "as",
    "o",
    "t",
    ",",
    "join",
    "using (id)",
    "on true",
    "where",
    "union",
    "with a as (",
    "insert into t",
    "update t set a = 1",
    "delete from t",
    "values (1)",
    "for update",
    "of o",
    "for share of t",
    "copy",
    "to stdout",
    "(id, name)",
    "create view v as",
    "create table x as",
    "prepare p as",
    "explain",
    "declare c cursor for",
    "drop table",
    "truncate",
    "is json",
    "$1",
    "tablesample system (1)",
    "'\\'",
    "'a'",
    "E'\\''",
    "$$",
    "--",
    "/*",
    "*/",
    ";",
    "id",
    "exists (select",
    "lateral (select",
    "order by 1",
    "u&",
    "\xc3\xa4",
    "merge into t using"};

constexpr std::string_view sources[] = {
    "mz_catalog.mz_objects",
    "mz_catalog.mz_objects o",
    "only (mz_catalog.mz_objects) as p",
    "\"mz_catalog\".\"mz_objects\"",
    "mz_internal.mz_notices * n",
    "t",
    "public.mz_objects x",
    "only mz_internal.mz_notices",
    "U&\"mz\\005fcatalog\".mz_objects",
    "(table mz_catalog.mz_objects) y"};

constexpr std::string_view expressions[] = {
    "1",
    "id",
    "mz_catalog.mz_objects.id",
    "'mz_catalog.mz_objects'",
    "u&mz_catalog.mz_objects.oid",
    "exists (table mz_catalog.mz_objects)",
    "(select max(id) from mz_catalog.mz_objects)",
    "$3",
    "mz_internal.mz_notices.*",
    "'\xc3\xa4'"};

class statement_maker : tests::chooser {
public:
    statement_maker() : chooser(2718) {}

    std::string anything() {
        std::string text;
        for (auto count = below(12); count > 0; --count) {
            text += one_of(fragments);
            text += below(4) == 0 ? "" : " ";
        }
        return text;
    }

    std::string query(int depth = 2) {
        std::string text =
            below(5) == 0 && depth > 0 ? "with c as (" + query(depth - 1) + ") " : "";
        text +=
            "select " + one_of(expressions) + ", " + one_of(expressions) + " from " + item(depth);
        text += below(2) == 0 ? "," + item(depth)
                              : " join " + item(depth) + " on " + one_of(expressions);
        text += below(2) == 0 ? " where " + one_of(expressions) : "";
        text += below(6) == 0 && depth > 0 ? " union (" + query(depth - 1) + ")" : "";
        text += below(8) == 0 ? " for update of x" : "";
        return text;
    }

    std::string statement() {
        switch (below(8)) {
            case 0:
                return "insert into t " + query();
            case 1:
                return "update t set a = " + one_of(expressions) + " from " + item(1);
            case 2:
                return "delete from t using " + item(1) + " where " + one_of(expressions);
            case 3:
                return "create table x as " + query();
            case 4:
                return "explain " + query();
            default:
                return query();
        }
    }

private:
    std::string item(int depth) {
        return below(4) == 0 && depth > 0 ? "(" + query(depth - 1) + ") s" : one_of(sources);
    }
};

}  // namespace

TEST_CASE(
    "random text: what is found is sound, and nothing escapes the prefilter",
    "[rewrite][relations][properties]"
) {
    statement_maker make;
    std::size_t passed = 0;
    for (int i = 0; i < 30'000; ++i) {
        const auto sql = make.anything();
        passed += rules().may_use_relations(sql) ? 0 : 1;
        for (const auto strings : {backslashes::plain, backslashes::escape}) {
            if (!tests::relations_are_sound(rules(), sql, strings)) {
                CAPTURE(sql, strings == backslashes::escape);
                CHECK(tests::relations_are_sound(rules(), sql, strings));
            }
        }
    }
    CHECK(passed > 5'000);
}

TEST_CASE("random queries: all that is ours is replaced", "[rewrite][relations][properties]") {
    statement_maker make;
    std::size_t replaced = 0;
    for (int i = 0; i < 1'500; ++i) {
        const auto sql = make.statement();
        const auto none = [](auto, auto) { return false; };
        if (!parser::parsed_relation_names(sql, none) ||
            !tests::relations_are_sound(rules(), sql, backslashes::plain)) {
            CAPTURE(sql);
            CHECK(parser::parsed_relation_names(sql, none));
            CHECK(tests::relations_are_sound(rules(), sql, backslashes::plain));
        }
        replaced += find_relations(sql, backslashes::plain, {}).is_needed() ? 1 : 0;
    }
    CHECK(replaced > 700);
}
