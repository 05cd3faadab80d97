// A query as values: where columns come from, what conditions choose, how expressions are written.
#include "parser/query.hpp"

#include <catch2/catch.hpp>

using namespace signalbox::parser;

namespace {

std::string written(const std::string& sql) {
    const auto tree = parse_expression(sql);
    return tree ? expression_sql(*tree).value_or("(not to be written)") : "(not parsed)";
}

std::size_t expressions(const query& q, expression_kind kind) {
    std::size_t count = 0;
    for (const auto& level : q.levels) {
        for_each_expression(level, [&](const expression& e) { count += e.kind == kind ? 1 : 0; });
    }
    return count;
}

}  // namespace

TEST_CASE("query: expressions are written as the server reads them") {
    const auto [sql, out] = GENERATE(table<std::string, std::string>({
        {"a", "a"},
        {"t.a", "a"},
        {"\"Order\"", "\"Order\""},
        {"\"order\"", "\"order\""},
        {"5", "5"},
        {"-5", "-5"},
        {"5.50", "5.50"},
        {"'it''s'", "'it''s'"},
        {"'a\\b'", "E'a\\\\b'"},
        {"B'01'", "b'01'"},
        {"NULL::integer", "NULL"},
        {"'x'::text", "'x'::text"},
        {"lower((a)::text)", "lower(a::text)"},
        {"pg_catalog.lower(a)", "lower(a)"},
        {"s.f(a, 1)", "s.f(a, 1)"},
        {"COALESCE(a, 0)", "COALESCE(a, 0)"},
        {"EXTRACT(year FROM a)", "\"extract\"('year', a)"},
        {"(a + 1) * 2", "(a + 1) * 2"},
        {"(a)::numeric(10,2)", "a::\"numeric\"(10,2)"},
        {"(a)::s.\"Mood\"", "a::s.\"Mood\""},
        {"(a)::timestamp without time zone", "a::timestamp without time zone"},
        {"(a)::timestamp(3) without time zone", "(not to be written)"},
        {"(a)::integer[]", "a::integer[]"},
        {"ARRAY[1, a]", "ARRAY[1, a]"},
        {"a = ANY (ARRAY[1, 2])", "a = ANY (ARRAY[1, 2])"},
        {"a OPERATOR(s.=) 1", "a OPERATOR(s.=) 1"},
        {"count(DISTINCT a)", "(not to be written)"},
        {"count(*)", "(not to be written)"},
        {"(SELECT 1)", "(not to be written)"},
        {"a IS NULL AND b", "(not to be written)"},
        {"a +", "(not parsed)"},
    }));
    CHECK(written(sql) == out);
}

TEST_CASE("query: joins are laid flat, with what each condition chooses") {
    const auto q = parse_query(
        "SELECT a.x AS y FROM s.a LEFT JOIN (s.b JOIN s.c z ON b.i = z.i) ON a.k = 1 AND b.k = 2 "
        "RIGHT JOIN s.d USING (m, n) WHERE a.w AND d.v > 0"
    );
    REQUIRE(q);
    REQUIRE(q->levels.size() == 1);
    const auto& level = q->levels[0];
    REQUIRE(level.sources.size() == 4);
    CHECK(level.sources[2].alias == "z");
    CHECK(level.sources[2].relation == "c");
    for (const std::size_t i : {0U, 1U, 2U, 3U}) {
        CHECK(level.sources[i].may_be_missing == (i < 3));
    }
    REQUIRE(level.conditions.size() == 5);
    using list = std::vector<std::size_t>;
    CHECK(level.conditions[0].restricts == list{1, 2});
    CHECK(level.conditions[1].restricts == list{1, 2});
    CHECK(level.conditions[2].restricts == list{1, 2});
    CHECK(level.conditions[3].restricts == list{0, 1, 2, 3});
    CHECK(level.conditions[4].is_where);
    REQUIRE(level.usings.size() == 2);
    CHECK(level.usings[1].column == "n");
    CHECK(level.usings[1].left == list{0, 1, 2});
    CHECK(level.usings[1].right == list{3});
    CHECK(level.targets[0].name == "y");
}

TEST_CASE("query: levels know their parents, and no expression is missed") {
    const auto q = parse_query(
        "WITH w AS (SELECT 1 AS one LIMIT 2) SELECT (SELECT 3), sum(4) OVER (ORDER BY 5), "
        "CASE WHEN f(6) THEN ARRAY[7] END FROM w, LATERAL (SELECT 8 WHERE EXISTS (SELECT 9)) l, "
        "generate_series(10, 11) WHERE (12, 13) = (14, 15) GROUP BY GROUPING SETS ((16), ()) "
        "HAVING 17 > 18 ORDER BY 19 LIMIT 20 OFFSET 21"
    );
    REQUIRE(q);
    REQUIRE(q->levels.size() == 5);
    CHECK(expressions(*q, expression_kind::constant) == 21);
    CHECK(q->levels[0].parent == no_level);
    CHECK(q->levels[0].is_ordered);
    CHECK(q->levels[0].is_grouped);
    CHECK(q->levels[0].limit);
    std::size_t in_exists = 0;
    for (std::size_t i = 1; i < q->levels.size(); ++i) {
        CHECK(q->levels[i].parent < i);
        in_exists += q->levels[i].is_in_exists ? 1 : 0;
    }
    CHECK(in_exists == 1);
}

TEST_CASE("query: set operations and DISTINCT") {
    const auto q =
        parse_query("SELECT DISTINCT a FROM t UNION ALL SELECT DISTINCT ON (b) a FROM t ORDER BY 1"
        );
    REQUIRE(q);
    const auto& top = q->levels[0];
    CHECK(top.operation == "UNION");
    CHECK(top.keeps_duplicates);
    CHECK(top.is_ordered);
    REQUIRE(top.sides.size() == 2);
    CHECK(q->levels[top.sides[0]].is_distinct);
    CHECK_FALSE(q->levels[top.sides[1]].is_distinct);
}

TEST_CASE("query: what is no SELECT, too deep or too large is refused") {
    CHECK_FALSE(parse_query(""));
    CHECK_FALSE(parse_query("UPDATE t SET a = 1"));
    CHECK_FALSE(parse_query("SELECT FROM WHERE"));
    CHECK_FALSE(parse_query(std::string{"SELECT 1\0", 9}));
    std::string sum = "SELECT 1";
    for (int i = 0; i < 1'000; ++i) {
        sum += "+1";
    }
    CHECK_FALSE(parse_query(sum));
    CHECK_FALSE(parse_query("SELECT '" + std::string(100'000, 'x') + "'"));
    std::string many = "SELECT 1";
    for (int i = 0; i < 1'000; ++i) {
        many += ",1";
    }
    const auto q = parse_query(many);
    REQUIRE(q);
    CHECK(q->levels[0].targets.size() == 1'001);
}
