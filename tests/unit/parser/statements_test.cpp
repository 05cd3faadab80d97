// RPC calls wherever one can stand and nowhere else, hostile texts, and the cache of verdicts.
#include "parser/statements.hpp"

#include "tests/support/deep_stack.hpp"
#include "tests/support/exact_buffer.hpp"

#include <catch2/catch.hpp>

#include <chrono>

using namespace signalbox::parser;
using namespace signalbox::tests;

namespace {

const statement_rules& rules() {
    static const statement_rules found{{"iasql_.*", "ops\\.run", "\"odd \"\"name", "(?i)loud"}};
    return found;
}

/// decide(), and that the prefilter would have let the text through only for good reason.
verdict decided(std::string_view sql, backslashes strings = backslashes::plain) {
    const exact_buffer text{sql};
    auto found = rules().decide(text, strings);
    const bool is_plain = found.statements.size() <= 1 && !found.calls_rpc && !found.is_ours;
    CHECK((is_plain || rules().needs_decision(text)));
    return found;
}

std::string repeated(std::string_view unit, std::size_t bytes) {
    std::string text;
    while (text.size() < bytes) {
        text += unit;
    }
    return text;
}

}  // namespace

TEST_CASE("an RPC function is found wherever a call can stand", "[parser][statements]") {
    const auto sql = GENERATE(
        as<std::string>{},
        "select iasql_apply()",
        "SELECT IASQL_APPLY(1)",
        "select \"iasql_apply\"()",
        "select public.iasql_apply()",
        "select \"public\" . \"iasql_apply\" ()",
        "select db.public.iasql_apply()",
        "select ops.run()",
        "select db.\"ops\".run()",
        "select iasql_schema.f()",  // the pattern matches schema.name
        "select Ops.RUN(1)",
        "select LoUd()",
        "select \"LoUd\"()",
        "select U&\"iasql_\\0061pply\"()",
        "select U&\"iasql_!0061pply\" uescape '!' ()",
        "select U&\"!006fps\" uescape '!' . U&\"r\\+000075n\"()",
        "select iasql_apply/* a */ -- b\n ()",
        "select * from iasql_apply()",
        "select * from a, lateral iasql_apply(a.b) as c",
        "select * from rows from (iasql_apply(), now())",
        "with a as (select iasql_apply()) select * from a",
        "select (select iasql_apply())",
        "select 1 where exists (select from iasql_apply())",
        "select coalesce(lower(iasql_apply()), 'x')",
        "select case when iasql_apply() then 1 end",
        "select 1 order by iasql_apply()",
        "select count(*) filter (where iasql_apply()) over (order by 1)",
        "select array[iasql_apply()]",
        "call iasql_apply()",
        "CALL ops.run(1, 2)",
        "insert into a select iasql_apply()",
        "insert into a values (iasql_apply()) returning iasql_other()",
        "update a set b = iasql_apply()",
        "delete from a using iasql_apply() as c where b = c",
        "merge into a using b on iasql_apply() when matched then delete",
        "values (iasql_apply())",
        "select a.iasql_apply from a",  // row.function, or a column
        "select \"a\" . /* a */ \"iasql_apply\" from a",
        "select b.a.iasql_apply from b.a",
        "select (a).iasql_apply from a",
        "select (a.b).iasql_apply.c[1] from a",
        "select U&\"a\".U&\"iasql_!0061pply\" uescape '!' from a",
        "select 1 from a where a.iasql_apply > 1 order by a.b",
        "update a set b = a.iasql_apply",
        "select iasql_apply().*",
        "select (iasql_apply()).b[1]",
        "explain select iasql_apply()",
        "explain analyze execute a(iasql_apply())",
        "execute a(iasql_apply())",
        "create table a as select iasql_apply()",
        "create materialized view a as select iasql_apply()",
        "create index on a (iasql_apply(b))",
        "select iasql_apply() into a",
        "declare a cursor for select iasql_apply()",
        "copy (select iasql_apply()) to stdout",
        "alter table a alter b type int using iasql_apply(b)",
        "select iasql_apply() union all select 1",
        // Newer than libpg_query's grammar: the tokens decide.
        "merge into a using b on true when matched then delete returning iasql_apply()",
        "select 0x_ff, iasql_apply()"
    );
    CAPTURE(sql);
    const auto found = decided(sql);
    REQUIRE(found.statements.size() == 1);
    CHECK(found.statements[0].calls_rpc);
    CHECK(found.calls_rpc);
    const auto in_batch = decided("select 1; " + sql + "; select 'iasql_apply()'");
    REQUIRE(in_batch.statements.size() == 3);
    CHECK_FALSE(in_batch.statements[0].calls_rpc);
    CHECK(in_batch.statements[1].calls_rpc);
    CHECK_FALSE(in_batch.statements[2].calls_rpc);
    CHECK(in_batch.calls_rpc);
}

TEST_CASE("what only looks like an RPC call", "[parser][statements]") {
    const auto sql = GENERATE(
        as<std::string>{},
        "select 'iasql_apply()'",
        "select $$iasql_apply()$$",
        "select E'\\'iasql_apply()'",
        "select 1 -- iasql_apply()",
        "select 1 /* iasql_apply() */",
        "select \"select iasql_apply()\"",
        "select iasql_apply from a",
        "select * from iasql_rows",
        "select iasql_rows.a from b.iasql_rows",
        "select b.iasql_rows.a, iasql_rows.* from b.iasql_rows",
        "insert into b.iasql_rows (a) values (1)",
        "update a set b.iasql_c = 1",
        "select 'a.iasql_apply' from a",
        "create table b.iasql_rows (a int)",
        "create view c as select a.iasql_apply from a",
        "insert into iasql_rows (a, b) values (1, 2)",
        "insert into iasql_rows(a) select 0x_ff",
        "with iasql_rows (a) as (select 1) select a from iasql_rows",
        "select 1::iasql_type(3)",
        "select \"IASQL_apply\"()",
        "select iasqlapply()",
        "select xiasql_apply()",
        "select other.run(), run(), ops.runs(), ops.x.run()",
        "select U&\"iasql!_apply\"()",
        "create function iasql_apply(a int) returns int language sql return iasql_other(a)",
        "create function f() returns int begin atomic select iasql_apply(); end",
        "create function iasql_apply() returns int language sql as 'select iasql_other()'",
        "create or replace procedure iasql_apply() language sql as ''",
        "do $$ begin perform iasql_apply(); end $$",
        "create view a as select iasql_apply()",
        "create or replace view iasql_rows (a) as select 1",
        "create rule r as on insert to a do also (select iasql_apply(); select 2)",
        "create trigger t before insert on a for each row when (iasql_apply()) execute function "
        "iasql_apply()",
        "create policy p on a using (iasql_apply())",
        "alter policy p on a using (iasql_apply())",
        "prepare p as select iasql_apply()",
        "create table a (b int default iasql_apply(), check (iasql_apply()))",
        "create table iasql_rows (b int)",
        "alter table a alter b set default iasql_apply()",
        "drop function iasql_apply(int)",
        "grant execute on function iasql_apply(int) to a",
        "comment on function iasql_apply(int) is ''",
        "alter function iasql_apply(int) owner to a",
        // The same, where the tokens decide.
        "create function iasql_apply() returns int returnx",
        "drop function iasql_apply(int) now"
    );
    CAPTURE(sql);
    const auto found = decided(sql);
    REQUIRE(found.statements.size() == 1);
    CHECK_FALSE(found.statements[0].calls_rpc);
    CHECK_FALSE(found.calls_rpc);
    CHECK_FALSE(decided("select 1; " + sql).calls_rpc);
}

TEST_CASE(
    "a function's name, as PostgreSQL folds it, against the patterns", "[parser][statements]"
) {
    CHECK(rules().is_rpc("", "iasql_"));
    CHECK(rules().is_rpc("any", "iasql_apply"));
    CHECK(rules().is_rpc("ops", "run"));
    CHECK(rules().is_rpc("", "LOUD"));
    CHECK_FALSE(rules().is_rpc("", "run"));
    CHECK_FALSE(rules().is_rpc("", "ops"));
    CHECK_FALSE(rules().is_rpc("xops", "run"));
    CHECK_FALSE(rules().is_rpc("", "x_iasql_"));
    CHECK_FALSE(rules().is_rpc("", ""));
    CHECK(rules().looks_for_rpc());
    CHECK_FALSE(statement_rules{{}}.looks_for_rpc());
    CHECK_THROWS_AS(statement_rules{{"iasql_("}}, std::invalid_argument);
}

TEST_CASE("operators that PostgreSQL keeps as calls are none", "[parser][statements]") {
    const statement_rules all{{".*"}};
    const auto sql = GENERATE(
        as<std::string>{},
        "select (a similar to b)",
        "select (a) like b escape c",
        "select trim(both from a), substring(a from 1), extract(year from a)",
        "select ((a, b) overlaps (c, d))",
        "select a at time zone (b)"
    );
    CAPTURE(sql);
    CHECK_FALSE(all.decide(sql, backslashes::plain).calls_rpc);
    CHECK(all.decide("select f(), " + sql.substr(7), backslashes::plain).calls_rpc);
}

TEST_CASE("without RPC patterns no call is one", "[parser][statements]") {
    const statement_rules none{{}, {}};
    CHECK_FALSE(none.decide("select iasql_apply()", backslashes::plain).calls_rpc);
    CHECK_FALSE(none.needs_decision("select iasql_apply(), U&\"a\"()"));
}

TEST_CASE("names of prepared statements", "[parser][statements]") {
    using signalbox::parser::name_use;
    const auto found = decided(
        "prepare P (text, int) as select iasql_apply($1); PREPARE \"as\" as select 1;"
        "; /* a */ execute p('x', 2); deallocate prepare \"as\"; deallocate all;"
        "explain (analyze) execute q; create table t as execute r (1); prepare transaction 'p';"
        "grant execute on function f to a; select 'execute p'"
    );
    const std::vector<signalbox::parser::sql_name> expected{
        {0, name_use::prepares, "p", true},
        {1, name_use::prepares, "as", false},
        {2, name_use::executes, "p", false},
        {3, name_use::deallocates, "as", false},
        {5, name_use::executes, "q", false},
        {6, name_use::executes, "r", false}};
    CHECK(found.names == expected);
    CHECK_FALSE(found.calls_rpc);
    // A call among the arguments is one.
    CHECK(decided("execute p(iasql_apply())").calls_rpc);
    CHECK(statement_rules{{}}.decide("prepare p as select 1", backslashes::plain).names.empty());
}

TEST_CASE("RPC calls where plain strings have backslashes", "[parser][statements]") {
    const std::string_view sql = "select '\\' iasql_apply() '; select iasql_apply()";
    CHECK(decided(sql, backslashes::escape).statements.size() == 2);
    CHECK_FALSE(decided(sql, backslashes::escape).statements[0].calls_rpc);
    CHECK(decided(sql, backslashes::escape).statements[1].calls_rpc);
    CHECK_FALSE(decided("select '\\' iasql_apply()'", backslashes::escape).calls_rpc);
    // No backslash: the tree can tell a type from a function.
    CHECK_FALSE(decided("select '1'::iasql_type(3)", backslashes::escape).calls_rpc);
}

TEST_CASE("hostile texts are decided, and soon", "[parser][statements]") {
    constexpr std::size_t megabyte = std::size_t{1} << 20U;
    const auto sql = GENERATE_COPY(
        as<std::string>{},
        "select " + repeated("1+", megabyte) + "1",
        "select iasql_apply(), " + repeated("1+", megabyte) + "1",
        "select iasql_apply(" + std::string(100000, '(') + "1" + std::string(100000, ')') + ")",
        "select iasql_apply() " + repeated("/*/*", 40000),
        "select iasql_apply() " + repeated("+/**/", megabyte) + "1",
        "select iasql_apply() " + std::string(megabyte, '+') + "1",
        "select iasql_apply() " + std::string(megabyte, '-') + "1",
        "select iasql_apply(" + repeated("- ", megabyte) + "1)",
        "select iasql_apply(" + repeated("not ", megabyte) + "true)",
        "select iasql_apply(" + repeated("case when ", megabyte) + "true)",
        "select iasql_apply(" + repeated("(select ", megabyte) + "1)",
        "select iasql_apply() from " + repeated("a join ", megabyte) + "b",
        "select iasql_apply() " + repeated("union select 1 ", megabyte),
        "select iasql_apply(), a" + repeated(".a", megabyte),
        "select iasql_apply(), a" + repeated("[1]", megabyte),
        "select iasql_apply(), 1" + repeated("::int", megabyte),
        "select iasql_apply(), '" + repeated("a", megabyte),
        "select iasql_apply(), $a$" + repeated("$a", megabyte),
        "select iasql_apply(), \"" + repeated("\"\"", megabyte),
        "select iasql_apply() in (" + repeated("1,", megabyte) + "1)",
        "with " + repeated("a as (select 1), ", megabyte) + "b as (select 1) select iasql_apply()",
        "select " + repeated("iasql_apply(", megabyte)
    );
    CAPTURE(sql.substr(0, 60), sql.size());
    for (const auto& text : {sql, "begin; " + sql}) {
        const auto started = std::chrono::steady_clock::now();
        verdict found;
        on_deep_stack([&] { found = rules().decide(text, backslashes::plain); });
        CHECK(std::chrono::steady_clock::now() - started < std::chrono::seconds{5});
        REQUIRE(!found.statements.empty());
        CHECK(found.statements.back().offset + found.statements.back().size == text.size());
        CHECK(found.statements.size() == (text.starts_with("begin") ? 2 : 1));
        CHECK(found.calls_rpc == (text.find("iasql") != std::string::npos));
    }
}

TEST_CASE("a long batch of small statements", "[parser][statements]") {
    const auto sql = repeated("select iasql_apply(1);", std::size_t{1} << 20U);
    verdict found;
    on_deep_stack([&] { found = rules().decide(sql, backslashes::plain); });
    CHECK(found.statements.size() == sql.size() / 22);
    CHECK(std::all_of(found.statements.begin(), found.statements.end(), [](const auto& piece) {
        return piece.calls_rpc && piece.size == 22;
    }));
}

TEST_CASE("light texts may be decided on an event loop", "[parser][statements]") {
    CHECK(statement_rules::is_light(""));
    CHECK(statement_rules::is_light("select 1; select 2"));
    CHECK(statement_rules::is_light("insert into a values ('" + std::string(20000, 'a') + "')"));
    CHECK_FALSE(statement_rules::is_light("select '" + std::string(200000, 'a') + "'"));
    CHECK_FALSE(statement_rules::is_light("select " + repeated("1+", 20000) + "1"));
}

TEST_CASE("the cache keeps what was used last, within its bytes", "[parser][statements]") {
    const auto found = std::make_shared<const verdict>();
    verdict_cache cache{2000};
    CHECK(cache.find("a") == nullptr);
    cache.add("a", found);
    CHECK(cache.find("a") == found);
    const auto one = cache.bytes();
    CHECK(one > 0);
    cache.add("a", found);
    CHECK(cache.bytes() == one);
    for (char c = 'b'; cache.bytes() + one <= 2000; ++c) {
        cache.add({&c, 1}, found);
    }
    CHECK(cache.find("a") == found);  // used: "b" is the oldest
    cache.add("new", found);
    CHECK(cache.find("new") == found);
    CHECK(cache.find("a") == found);
    CHECK(cache.find("b") == nullptr);
    CHECK(cache.bytes() <= 2000);
    cache.add(std::string(3000, 'x'), found);
    CHECK(cache.find(std::string(3000, 'x')) == nullptr);
    CHECK(cache.find("new") == found);
    verdict_cache large;
    large.add(std::string(70000, 'x'), found);
    CHECK(large.bytes() == 0);
}
