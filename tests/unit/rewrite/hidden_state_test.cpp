// Which statements might make session state where no parser sees it.
#include "rewrite/hidden_state.hpp"

#include <catch2/catch.hpp>

#include <string>

using signalbox::parser::backslashes;
using signalbox::rewrite::hidden_effects;
using signalbox::rewrite::hidden_state_rules;

namespace {

struct row {
    std::string_view kind;
    std::string_view name;
    std::string_view body = {};
};

hidden_state_rules learned(std::initializer_list<row> rows) {
    hidden_state_rules rules;
    for (const auto* name : {"count", "lower", "now", "set_config"}) {
        rules.learn("known", name, "");
    }
    for (const auto& each : rows) {
        rules.learn("known", each.name, "");
        rules.learn(each.kind, each.name, each.body);
    }
    rules.finish();
    return rules;
}

bool makes_state(const hidden_state_rules& rules, std::string_view sql) {
    return rules.effects_of(sql).makes_state;
}

bool reads_sequences(const hidden_state_rules& rules, std::string_view sql) {
    return rules.effects_of(sql).reads_sequences;
}

}  // namespace

TEST_CASE("where nothing is known, everything may make state", "[rewrite][hidden]") {
    const hidden_state_rules rules;
    CHECK(rules.is_empty());
    CHECK(makes_state(rules, "select 1"));
}

TEST_CASE("statements that call known, harmless functions make none", "[rewrite][hidden]") {
    const auto rules = learned({{"body", "twice", "select $1 * 2"}});
    for (const auto* sql :
         {"select 1",
          "select count(*), lower ('A') from t where a in (1, 2)",
          "insert into t (a, b) values (1, twice(2))",
          "insert into \"t\" (a) values (now())",
          "select cast(a as numeric(10, 2)) from t join u using (id)",
          "update t set a = (select count(*) from u)",
          "insert into t values ('a') on conflict do nothing",
          "do $1"}) {  // no body, no statement: the server refuses it
        CAPTURE(sql);
        CHECK_FALSE(makes_state(rules, sql));
    }
    for (const auto* sql :
         {"select unknown(1)",
          "select \"unknown\"(1)",
          "select U&\"count\"(1)",
          "select pg_catalog.set_config('a', 'b', false)",
          "select s.Unknown /* here */ (1)",
          "/* x */ do 'begin end'",
          "select 1; do $$ begin end $$",
          "select $1; do $a$begin end$a$",
          "select $1; do $",
          "update pg_catalog.PG_settings set setting = 1"}) {
        CAPTURE(sql);
        CHECK(makes_state(rules, sql));
    }
}

TEST_CASE("a function's body says whether it may make state", "[rewrite][hidden]") {
    const auto risky = [](std::string_view body) {
        return makes_state(learned({{"body", "f", body}}), "select f()");
    };
    CHECK(risky("begin perform set_config('a', 'b', false); end"));
    CHECK(risky("begin Set role x; end"));
    CHECK(risky("begin if true then set role x; end if; end"));
    CHECK(risky("set role x"));
    CHECK(risky("begin execute 'select 1'; end"));
    CHECK(risky("create temp table t (a int)"));
    CHECK(risky("select pg_advisory_lock(1)"));
    CHECK(risky("select \"set_config\"('a', 'b', false)"));
    CHECK_FALSE(risky("begin update t set a = 1 where b = 2; return 1; end"));
    // ON CONFLICT … DO is taken for a DO: the safe side.
    CHECK(risky("insert into t values (1) on conflict (a) do nothing returning a"));
    CHECK_FALSE(risky("declare a int; begin a := count(*) from t; return a; end"));
    CHECK_FALSE(risky("select 'set_config', $x$ listen $x$ -- load\n"));
}

TEST_CASE("a caller of a risky function is risky", "[rewrite][hidden]") {
    const auto rules = learned(
        {{"body", "outer_one", "select middle()"},
         {"body", "middle", "select inner_one()"},
         {"body", "inner_one", "set role x"},
         {"body", "other", "select 1"}}
    );
    CHECK(makes_state(rules, "select outer_one()"));
    CHECK_FALSE(makes_state(rules, "select other()"));
}

TEST_CASE("triggers make writing risky, views make everything risky", "[rewrite][hidden]") {
    const auto written = learned(
        {{"body", "on_insert", "begin perform set_config('a', 'b', false); return new; end"},
         {"written", "on_insert"},
         {"body", "writer", "insert into t values (1)"},
         {"body", "reader", "select 1"}}
    );
    CHECK(makes_state(written, "insert into t values (1)"));
    CHECK(makes_state(written, "with a as (delete from t) select 1"));
    CHECK(makes_state(written, "select writer()"));
    CHECK_FALSE(makes_state(written, "select reader()"));
    CHECK_FALSE(makes_state(written, "select * from t"));
    const auto harmless =
        learned({{"body", "on_insert", "begin return new; end"}, {"written", "on_insert"}});
    CHECK_FALSE(makes_state(harmless, "insert into t values (1)"));
    const auto read = learned({{"read", "set_config"}});
    CHECK(makes_state(read, "select * from v"));
}

TEST_CASE("what leads to lastval() or currval() reads, and makes no state", "[rewrite][hidden]") {
    const auto rules = learned(
        {{"known", "lastval"},
         {"known", "currval"},
         {"body", "outer_one", "select inner_one()"},
         {"body", "inner_one", "select lastval()"},
         {"body", "setter", "begin set role x; end"},
         {"body", "other", "select 1"}}
    );
    for (const auto* sql : {"select lastval()", "select Currval ('s')", "select outer_one()"}) {
        CAPTURE(sql);
        CHECK(reads_sequences(rules, sql));
        CHECK_FALSE(makes_state(rules, sql));
    }
    for (const auto* sql : {"select other()", "select 1", "select lastval from t"}) {
        CAPTURE(sql);
        CHECK_FALSE(reads_sequences(rules, sql));
    }
    // Of what kind its state is nobody knows; and of an unknown function nothing is.
    CHECK(reads_sequences(rules, "select setter()"));
    CHECK(reads_sequences(rules, "select unknown()"));
    CHECK(reads_sequences(hidden_state_rules{}, "select 1"));
}

TEST_CASE("state that lasts as long as the server process", "[rewrite][hidden]") {
    const auto rules = learned(
        {{"known", "setseed"},
         {"known", "dblink_connect"},
         {"body", "outer_one", "select inner_one()"},
         {"body", "inner_one", "begin if a then LOAD 'x'; end if; end"},
         {"body", "setter", "begin set role x; raise notice 'load'; end"},
         {"body", "load", "select 1"}}
    );
    for (const auto* sql :
         {"select setseed(0.5)",
          "select \"dblink_connect\"('a', 'b')",
          "select now(), outer_one()",
          "do $$ begin perform setseed(0.1); end $$",
          "select 1; DO language plpgsql 'begin load ''x''; end'",
          "load 'x'; select setter()"}) {
        CAPTURE(sql);
        CHECK(rules.effects_of(sql) == hidden_effects{true, true, true});
    }
    for (const auto* sql :
         {"select setter()",
          "select unknown('load')",
          "do $$ begin perform now(); end $$",
          "select load()",
          "do E'\\x'; select 'load'"}) {
        CAPTURE(sql);
        CHECK_FALSE(rules.effects_of(sql).lasts);
    }
    const std::string long_comment = "/*" + std::string(200'000, ' ') + "*/";
    CHECK(rules.effects_of("select setseed(0.5)" + long_comment).lasts);
    CHECK_FALSE(rules.effects_of("select now()" + long_comment + ", 'a'").lasts);
    CHECK(rules.may_last("select '\\'', setseed(0.5), 'x'", backslashes::escape));
    CHECK_FALSE(rules.lasts_by_reading());
    CHECK(learned({{"read", "setseed"}}).lasts_by_reading());
    CHECK(learned({{"read", "setseed"}}).effects_of("select 1").lasts);
    const auto written = learned({{"written", "setseed"}});
    CHECK(written.effects_of("insert into t values (1)").lasts);
    CHECK_FALSE(written.effects_of("select 1 from t").lasts);
    CHECK(hidden_state_rules{}.effects_of("select setseed(1)").lasts);
    CHECK_FALSE(hidden_state_rules{}.effects_of("select 1").lasts);
}

TEST_CASE("triggers and views may lead to lastval(), too", "[rewrite][hidden]") {
    const auto written = learned(
        {{"body", "on_insert", "begin perform lastval(); return new; end"},
         {"written", "on_insert"},
         {"body", "writer", "insert into t values (1)"}}
    );
    for (const auto* sql : {"insert into t values (1)", "select writer()"}) {
        CAPTURE(sql);
        CHECK(reads_sequences(written, sql));
        CHECK_FALSE(makes_state(written, sql));
    }
    CHECK_FALSE(reads_sequences(written, "select * from t"));
    const auto read = learned({{"read", "currval"}});
    CHECK(reads_sequences(read, "select * from v"));
    CHECK_FALSE(makes_state(read, "select * from v"));
}

TEST_CASE("an update of pg_settings is seen wherever it stands", "[rewrite][hidden]") {
    const auto rules = learned({{"body", "f", "begin update pg_settings set setting = 1; end"}});
    for (const auto* sql :
         {"/* x */ update pg_settings set setting = 1",
          "-- x\nUpdate \"pg_settings\" set setting = 1",
          "explain analyze UPDATE pg_catalog.pg_settings set setting = 1",
          "select 1; update PG_SETTINGS set setting = 1",
          "select f()"}) {
        CAPTURE(sql);
        CHECK(makes_state(rules, sql));
    }
    CHECK_FALSE(makes_state(rules, "select setting from pg_settings"));
    CHECK_FALSE(makes_state(rules, "update t set a = 1 where b = 'x'"));
}

TEST_CASE("a text that would be read for too long may make state", "[rewrite][hidden]") {
    const auto rules = learned({});
    const auto list_of = [](int count) {
        std::string sql = "select 1";
        for (int i = 0; i < count; ++i) {
            sql += ", now()";
        }
        return sql;
    };
    CHECK_FALSE(makes_state(rules, list_of(4'000)));
    CHECK(makes_state(rules, list_of(40'000)));
    CHECK(makes_state(rules, "select '" + std::string(200'000, 'a') + "'"));
}

TEST_CASE("other languages are risky, an extension's C functions are not", "[rewrite][hidden]") {
    const auto rules = learned({{"risky", "in_python"}, {"harmless", "in_c"}});
    CHECK(makes_state(rules, "select in_python()"));
    CHECK_FALSE(makes_state(rules, "select in_c()"));
}
