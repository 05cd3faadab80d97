// EXPLAIN: its options by tokens, what it explains by the tree.
#include "parser/explain.hpp"

#include <catch2/catch.hpp>

#include <string>

using namespace signalbox::parser;

namespace {

std::string query_of(std::string_view statement, backslashes strings = backslashes::plain) {
    const auto found = explained_query(statement, strings);
    return found ? std::string{*found} : "none";
}

std::vector<std::string> names_in(std::string_view sql, backslashes strings = backslashes::plain) {
    const auto found = parse_explained(sql, strings);
    if (!found) {
        return {"none"};
    }
    std::vector<std::string> names;
    for (const auto& each : found->relations) {
        names.push_back(each.schema.empty() ? each.name : each.schema + "." + each.name);
    }
    return names;
}

using texts = std::vector<std::string>;

}  // namespace

TEST_CASE("explain: the query stands behind the options", "[explain]") {
    const auto [sql, query] = GENERATE(table<std::string, std::string>({
        {"EXPLAIN SELECT 1", "SELECT 1"},
        {"/* a */ explain -- b\n select 1;", "select 1;"},
        {";; Explain Analyze Verbose select 1", "select 1"},
        {"EXPLAIN ANALYSE select 1", "select 1"},
        {"EXPLAIN VERBOSE table a", "table a"},
        {"explain (analyze, costs off) select 1", "select 1"},
        {"explain (format text, analyze true) select 1", "select 1"},
        {"explain (FORMAT 'text') select 1", "select 1"},
        {"explain (\"format\" TEXT) select 1", "select 1"},
        {"explain (format json, format text) select 1", "select 1"},
        {"explain (select 1)", "(select 1)"},
        {"explain ((select 1) union select 2)", "((select 1) union select 2)"},
        {"explain (values (1))", "(values (1))"},
        {"explain (with a as (select 1) table a)", "(with a as (select 1) table a)"},
        {"explain analyze (table a)", "(table a)"},
        {"explain insert into a values (1)", "insert into a values (1)"},
        {"explain declare c cursor for select 1", "declare c cursor for select 1"},
    }));
    INFO(sql);
    CHECK(query_of(sql) == query);
    CHECK(begins_with_explain(sql));
    CHECK(may_explain(sql));
}

TEST_CASE("explain: no plan in lines of text, or no query", "[explain]") {
    const auto* const sql = GENERATE(
        "explain (format json) select 1",
        "explain (analyze, FORMAT yaml) select 1",
        "explain (format 'xml', costs off) select 1",
        "explain (format text, format json) select 1",
        "explain (costs off select 1",
        "explain (costs off; select 1",
        "explain execute a",
        "explain (analyze) execute a(1)",
        "explain analyze EXECUTE a",
        "explain",
        "explain ;",
        "explain (",
        "explain analyze"
    );
    INFO(sql);
    CHECK(query_of(sql) == "none");
    CHECK(begins_with_explain(sql));
}

TEST_CASE("explain: other statements", "[explain]") {
    const auto* const sql = GENERATE(
        "",
        ";",
        "select 'explain'",
        "\"explain\" select 1",
        "explains select 1",
        "(explain select 1)"
    );
    INFO(sql);
    CHECK(query_of(sql) == "none");
    CHECK_FALSE(begins_with_explain(sql));
}

TEST_CASE("explain: a text without the word has no EXPLAIN", "[explain]") {
    CHECK(may_explain("select 1; exPLain select 2"));
    CHECK(may_explain("EXPLAIN"));
    CHECK_FALSE(may_explain("explai"));
    CHECK_FALSE(may_explain("xplain"));
    CHECK_FALSE(may_explain("select x, exp(1), extra from explanation"));
    CHECK_FALSE(may_explain(""));
}

TEST_CASE("explain: relations, each once, and no CTE", "[explain]") {
    CHECK(names_in("select 1") == texts{});
    CHECK(
        names_in("select * from b, s.a x join \"B\" on (select true from c limit 1) union table b"
        ) == texts{"B", "b", "c", "s.a"}
    );
    CHECK(names_in("with a as (select * from b) select * from a, s.a") == texts{"b", "s.a"});
    CHECK(
        names_in("insert into a select * from v where x in (select y from w)") ==
        texts{"a", "v", "w"}
    );
    CHECK(names_in("update a set b = 1 from v") == texts{"a", "v"});
    CHECK(names_in("select '' from v where a = 'x\\'") == texts{"v"});
}

TEST_CASE("explain: what cannot be read names nothing", "[explain]") {
    CHECK(names_in("select * from") == texts{"none"});
    CHECK(names_in("select * from a; select * from b") == texts{"none"});
    CHECK(names_in("") == texts{"none"});
    CHECK(names_in(std::string_view{"select * from a\0b", 17}) == texts{"none"});
    // Where backslashes escape, the tree would be another's.
    CHECK(names_in("select * from v where a = '\\''", backslashes::escape) == texts{"none"});
    std::string long_text = "select * from v where a = 1";
    for (int i = 0; i < 2000; ++i) {
        long_text += " or a = 1";
    }
    CHECK(names_in(long_text) == texts{"none"});
}

TEST_CASE("explain: a client's words are read as the server writes them", "[explain]") {
    const auto condition_of = [](const std::string& where) {
        const auto found = parse_explained("select * from a where " + where, backslashes::plain);
        REQUIRE(found);
        REQUIRE(found->select);
        return found->select->levels.front().conditions.at(0).what;
    };
    const auto sql_of = [&](const std::string& where) {
        return expression_sql(condition_of(where)).value_or("none");
    };
    CHECK(sql_of("b like '%x'") == "b ~~ '%x'");
    CHECK(sql_of("b not like '%x'") == "b !~~ '%x'");
    CHECK(sql_of("b ilike '%x'") == "b ~~* '%x'");
    CHECK(sql_of("b in (1, 2)") == "b = ANY (ARRAY[1, 2])");
    CHECK(sql_of("b not in (1, null)") == "b <> ALL (ARRAY[1, NULL])");
    CHECK(condition_of("b in (select 1)").kind == expression_kind::sublink);
    CHECK(condition_of("b is distinct from null").kind == expression_kind::other);
    CHECK_FALSE(parse_explained("delete from a", backslashes::plain)->select);
}
