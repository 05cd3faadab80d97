// EXPLAIN: its options by tokens, what it explains by the tree.
#include "parser/explain.hpp"

#include <catch2/catch.hpp>

#include <string>
#include <vector>

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

TEST_CASE("explain: the query that stands behind the options", "[explain]") {
    // "none": no plan in lines of text, or no query, or no EXPLAIN.
    const auto [sql, query, begins] = GENERATE(table<std::string, std::string, bool>({
        {"EXPLAIN SELECT 1", "SELECT 1", true},
        {"/* a */ explain -- b\n select 1;", "select 1;", true},
        {";; Explain Analyze Verbose select 1", "select 1", true},
        {"EXPLAIN ANALYSE select 1", "select 1", true},
        {"EXPLAIN VERBOSE table a", "table a", true},
        {"explain (analyze, costs off) select 1", "select 1", true},
        {"explain (format text, analyze true) select 1", "select 1", true},
        {"explain (FORMAT 'text') select 1", "select 1", true},
        {"explain (\"format\" TEXT) select 1", "select 1", true},
        {"explain (format json, format text) select 1", "select 1", true},
        {"explain (select 1)", "(select 1)", true},
        {"explain ((select 1) union select 2)", "((select 1) union select 2)", true},
        {"explain (values (1))", "(values (1))", true},
        {"explain (with a as (select 1) table a)", "(with a as (select 1) table a)", true},
        {"explain analyze (table a)", "(table a)", true},
        {"explain insert into a values (1)", "insert into a values (1)", true},
        {"explain declare c cursor for select 1", "declare c cursor for select 1", true},
        {"explain (format json) select 1", "none", true},
        {"explain (analyze, FORMAT yaml) select 1", "none", true},
        {"explain (format 'xml', costs off) select 1", "none", true},
        {"explain (format text, format json) select 1", "none", true},
        {"explain (costs off select 1", "none", true},
        {"explain (costs off; select 1", "none", true},
        {"explain execute a", "none", true},
        {"explain (analyze) execute a(1)", "none", true},
        {"explain analyze EXECUTE a", "none", true},
        {"explain", "none", true},
        {"explain ;", "none", true},
        {"explain (", "none", true},
        {"explain analyze", "none", true},
        {"", "none", false},
        {";", "none", false},
        {"select 'explain'", "none", false},
        {"\"explain\" select 1", "none", false},
        {"explains select 1", "none", false},
        {"(explain select 1)", "none", false},
    }));
    INFO(sql);
    CHECK(query_of(sql) == query);
    CHECK(begins_with_explain(sql) == begins);
    CHECK((may_explain(sql) || !begins));
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
    // "none": it cannot be read.
    const auto [sql, names] = GENERATE(table<std::string, texts>({
        {"select 1", {}},
        {"select * from b, s.a x join \"B\" on (select true from c limit 1) union table b",
         {"B", "b", "c", "s.a"}},
        {"with a as (select * from b) select * from a, s.a", {"b", "s.a"}},
        {"insert into a select * from v where x in (select y from w)", {"a", "v", "w"}},
        {"update a set b = 1 from v", {"a", "v"}},
        {"select '' from v where a = 'x\\'", {"v"}},
        {"select * from", {"none"}},
        {"select * from a; select * from b", {"none"}},
        {"", {"none"}},
        {std::string{"select * from a\0b", 17}, {"none"}},
    }));
    INFO(sql);
    CHECK(names_in(sql) == names);
}

TEST_CASE(
    "explain: what would be read as another text, or is too long, names nothing", "[explain]"
) {
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
