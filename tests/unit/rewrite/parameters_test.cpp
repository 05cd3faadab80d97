// Run-time parameters: sets, their identity, and the SQL that takes a server connection from one to
// another.
#include "rewrite/parameters.hpp"

#include <catch2/catch.hpp>

#include <string>

using namespace signalbox::rewrite;

namespace {

parameter_set set_of(std::initializer_list<parameter_set::item> items) {
    parameter_set set;
    for (const auto& [name, value] : items) {
        set.set(name, value);
    }
    return set;
}

}  // namespace

TEST_CASE("a set is sorted, and its order of making does not matter", "[rewrite][parameters]") {
    const auto one = set_of({{"b", "2"}, {"a", "1"}, {"b", "3"}});
    const auto two = set_of({{"a", "1"}, {"b", "3"}});
    CHECK(one == two);
    CHECK(one.hash() == two.hash());
    CHECK(one.items() == std::vector<parameter_set::item>{{"a", "1"}, {"b", "3"}});
    REQUIRE(one.find("b") != nullptr);
    CHECK(*one.find("b") == "3");
    CHECK(one.find("c") == nullptr);
}

TEST_CASE("a parameter can be taken out again", "[rewrite][parameters]") {
    auto set = set_of({{"a", "1"}, {"b", "2"}});
    set.erase("a");
    set.erase("not there");
    CHECK(set == set_of({{"b", "2"}}));
    set.erase("b");
    CHECK(set.empty());
}

TEST_CASE("the application's name does not change how a text is read", "[rewrite][parameters]") {
    const auto bare = set_of({{"datestyle", "iso"}});
    const auto named = set_of({{"application_name", "psql"}, {"datestyle", "iso"}});
    const auto other = set_of({{"datestyle", "german"}});
    CHECK(bare.parsing_hash() == named.parsing_hash());
    CHECK(bare.hash() != named.hash());
    CHECK(bare.parsing_hash() != other.parsing_hash());
    CHECK(set_of({}).parsing_hash() == set_of({{"application_name", "x"}}).parsing_hash());
}

TEST_CASE("equal sets are one object", "[rewrite][parameters]") {
    parameter_pool pool;
    const auto a = pool.intern(set_of({{"a", "1"}}));
    CHECK(pool.intern(set_of({{"a", "1"}})) == a);
    CHECK(pool.intern(set_of({{"a", "2"}})) != a);
    CHECK(pool.intern({}) == pool.empty());
}

TEST_CASE(
    "sets that are in use keep their identity when the pool is full", "[rewrite][parameters]"
) {
    parameter_pool pool;
    const auto held = pool.intern(set_of({{"held", "1"}}));
    for (int i = 0; i < 10'000; ++i) {
        pool.intern(set_of({{"x", std::to_string(i)}}));
    }
    CHECK(pool.intern(set_of({{"held", "1"}})) == held);
}

TEST_CASE("nothing to change is no SQL", "[rewrite][parameters]") {
    const auto set = set_of({{"a", "1"}});
    CHECK(switch_parameters_sql(set, set).empty());
    CHECK(switch_parameters_sql({}, {}).empty());
}

TEST_CASE(
    "what is not set any more is reset, what differs is set, the rest is left",
    "[rewrite][parameters]"
) {
    CHECK(switch_parameters_sql(set_of({{"a", "1"}}), {}) == "RESET \"a\";");
    CHECK(
        switch_parameters_sql({}, set_of({{"a", "1"}, {"b", "2"}})) ==
        "SELECT pg_catalog.set_config(E'a', E'1', false), pg_catalog.set_config(E'b', E'2', false)"
    );
    CHECK(
        switch_parameters_sql(
            set_of({{"gone", "1"}, {"kept", "2"}, {"other", "3"}}),
            set_of({{"kept", "2"}, {"other", "4"}})
        ) == "RESET \"gone\";SELECT pg_catalog.set_config(E'other', E'4', false)"
    );
}

TEST_CASE("a value can hold anything", "[rewrite][parameters]") {
    CHECK(quote_literal("") == "E''");
    CHECK(quote_literal("it's") == "E'it''s'");
    CHECK(quote_literal("a\\'; drop table t; --") == "E'a\\\\''; drop table t; --'");
    CHECK(
        switch_parameters_sql({}, set_of({{"my.x", "'\\"}})) ==
        "SELECT pg_catalog.set_config(E'my.x', E'''\\\\', false)"
    );
}

TEST_CASE("a name can hold anything", "[rewrite][parameters]") {
    CHECK(switch_parameters_sql(set_of({{"my.x", "1"}}), {}) == "RESET \"my\".\"x\";");
    CHECK(switch_parameters_sql(set_of({{"a\"b", "1"}}), {}) == "RESET \"a\"\"b\";");
}

TEST_CASE("names are compared in lower case", "[rewrite][parameters]") {
    CHECK(parameter_key("DateStyle") == "datestyle");
    CHECK(parameter_key("my.X") == "my.x");
}

TEST_CASE("the restoration names every startup parameter, quoted", "[rewrite][parameters]") {
    CHECK(restore_startup_sql({}, {}).empty());
    const auto sql = restore_startup_sql(set_of({{"a", "it's"}, {"b", "2"}}), {});
    CHECK(sql.find("(VALUES (E'a', E'it''s'), (E'b', E'2')) v(n, s)") != std::string::npos);
    CHECK(sql.starts_with("SELECT pg_catalog.set_config(v.n, v.s, false) FROM "));
}

TEST_CASE("the restoration of what is known to be reset is exact", "[rewrite][parameters]") {
    const auto startup = set_of({{"a", "1"}, {"b", "2"}});
    CHECK(restore_startup_sql(startup, "a") == "SELECT pg_catalog.set_config(E'a', E'1', false)");
    CHECK(restore_startup_sql(startup, "c").empty());
    CHECK(restore_startup_sql({}, "*").empty());
    CHECK(
        restore_startup_sql(startup, "*") ==
        "SELECT pg_catalog.set_config(E'a', E'1', false), pg_catalog.set_config(E'b', E'2', false)"
    );
}

TEST_CASE("the inspection asks for custom parameters by name", "[rewrite][parameters]") {
    const auto bare = inspection_sql({}, "o'neil");
    CHECK(bare.ends_with("E'o''neil'"));
    const auto custom = inspection_sql({"my.x", "a'b"}, "u");
    CHECK(custom.find("(VALUES (E'my.x'), (E'a''b')) v(n)") != std::string::npos);
    CHECK(custom.find("E'u' UNION ALL SELECT 'set', v.n") != std::string::npos);
}

TEST_CASE(
    "an inspection's rows: parameters are carried, the first of the rest pins",
    "[rewrite][parameters]"
) {
    session_state state;
    state.add("set", "DateStyle", "ISO");
    state.add("set", "my.x", "");
    CHECK(state.pinned_by.empty());
    state.add("LISTEN", "channel", "");
    state.add("advisory lock", "", "");
    CHECK(state.channels == std::vector<std::string>{"channel"});
    CHECK(state.pinned_by == "advisory lock");
    CHECK(state.parameters == set_of({{"datestyle", "ISO"}, {"my.x", ""}}));
    session_state lock;
    lock.add("advisory lock", "", "");
    CHECK(lock.pinned_by == "advisory lock");
}
