// No literal of a definition stands in a redacted text, whatever its type and wherever it is.
#include "parser/redaction.hpp"
#include "tests/unit/catalog/notice_world.hpp"

#include <catch2/catch.hpp>

#include <random>

using namespace signalbox::catalog;
using signalbox::parser::redacted_sql;

TEST_CASE("notices: literals are taken out of SQL, names stay") {
    const auto [sql, redacted] = GENERATE(table<std::string, std::string>({
        {"a = 5", "a = █"},
        {"a = -5", "a = █"},
        {"(a - 5)", "(a - █)"},
        {"(-5)", "(█)"},
        {"b - 5 = -5.5e-3", "b - █ = █"},
        {"x = 'it''s'::text", "x = █::text"},
        {"x = E'a\\'b'", "x = █"},
        {"x = U&'d\\0061t' UESCAPE '!'", "x = █ UESCAPE █"},
        {"x = $q$no$q$", "x = █"},
        {"x = B'101' OR x = X'1F'", "x = █ OR x = █"},
        {"d > '2024-05-01'::date", "d > █::date"},
        {"a = ANY ('{1,2}'::integer[])", "a = ANY (█::integer[])"},
        {"a = ANY (ARRAY[1, -2, NULL])", "a = ANY (ARRAY[█, █, NULL])"},
        {"t > INTERVAL '1 day'", "t > INTERVAL █"},
        {"flag = true AND NOT b = FALSE", "flag = █ AND NOT b = █"},
        {"flag IS TRUE AND b IS NOT FALSE", "flag IS TRUE AND b IS NOT FALSE"},
        {"(x)::numeric(10,2)", "(x)::numeric(█,█)"},
        {"\"5\" = t1.\"a'7'\"", "\"5\" = t1.\"a'7'\""},
        {"j -> 'key' ->> 0", "j -> █ ->> █"},
        {"a[3]", "a[█]"},
        {"CREATE INDEX i ON s.t2 (a) WITH (fillfactor='70')",
         "CREATE INDEX i ON s.t2 (a) WITH (fillfactor=█)"},
        {"a /* 'secret' 7 */ = 1", "a = █"},
        {"", ""},
        {"no_literal(a, b)", "no_literal(a, b)"},
    }));
    CHECK(redacted_sql(sql) == redacted);
    CHECK(redacted_sql(redacted) == redacted);
}

namespace {

using engine = std::mt19937;

std::size_t below(engine& random, std::size_t limit) {
    return std::uniform_int_distribution<std::size_t>{0, limit - 1}(random);
}

/// A literal as a server writes it, with digits that stand nowhere else.
std::string random_literal(engine& random, const std::string& digits) {
    const std::vector<std::string> forms{
        digits,
        "'-" + digits + "'::integer",
        "(-" + digits + ")",
        digits + ".5",
        "0." + digits,
        "1" + digits + "e5",
        "'" + digits + "'::text",
        "'a''" + digits + "\"'::character varying(7)",
        "E'\\\\" + digits + "\\n'::text",
        "'" + digits + "-01-01 00:00:00+00'::timestamp with time zone",
        "'" + digits + " days'::interval",
        "'{" + digits + ",x}'::text[]",
        "ARRAY[1, " + digits + ", NULL]",
        "ARRAY['k'::text, ('" + digits + "'::character varying)::text]",
        "('{\"k\": [" + digits + "]}'::jsonb ->> 'k'::text)",
        "('" + digits + "'::character varying)::text",
        "'" + digits + "'::s.mood",
        "COALESCE(NULL::text, '" + digits + "'::text)",
        "lower('" + digits + "'::text)",
        "(1 + (2 * " + digits + "))",
        "CASE WHEN true THEN " + digits + " ELSE 0 END",
        "B'1" + digits + "'",
        "$$" + digits + "$$",
        "U&'" + digits + "'",
        "'\xC3\xA9" + digits + "'::text",
        "ROW(" + digits + ", 'a'::text)"};
    return forms[below(random, forms.size())];
}

}  // namespace

TEST_CASE("notices: no random literal is left in a redacted text") {
    engine random{20'240'501};
    std::size_t with_literal = 0;
    for (int round = 0; round < 3'000; ++round) {
        const std::string digits = std::to_string(7'000'000 + below(random, 1'000'000));
        const auto literal = random_literal(random, digits);
        const std::string pattern = "'%" + digits + "'::text";
        notice_world world;
        const auto table = world.table("t", {"a", "b text", "c text", "d timestamp"});
        world.index(table, "abc", {"a", "b"});
        world.index(table, "c_index", {"c"});
        world.index(table, "d_index", {"d"});
        world.index(table, "empty", {"(" + literal + ")"});
        const auto partial = world.index(table, "partial", {"a"});
        world[partial].predicate = "((" + literal + ") = NULL::text)";
        world.view(
            "v",
            "SELECT t.a FROM s.t WHERE ((t.b = " + literal + ") AND (t.c ~~ " + pattern +
                ") AND (replace(t.c, " + literal + ", 'x'::text) = 'y'::text) AND ((" + literal +
                ") <> NULL::text) AND (NOT ((" + literal +
                ") IN ( SELECT u.b FROM s.t u)))) LIMIT ('" + digits + "'::text)::bigint",
            {table}
        );
        CAPTURE(literal);
        const auto notices = world.notices();
        REQUIRE(notices.size() >= 4);
        for (const auto& n : notices) {
            CAPTURE(n.text.message, n.text.action);
            with_literal += n.text.message.find(digits) != std::string::npos ? 1 : 0;
            for (const auto& [plain, redacted] :
                 {std::pair{n.text.message, n.redacted_message},
                  std::pair{n.text.hint, n.redacted_hint},
                  std::pair{n.text.action, n.redacted_action}}) {
                const auto& shown = redacted.value_or(plain);
                CAPTURE(shown);
                REQUIRE(shown.find(digits) == std::string::npos);
                REQUIRE(redacted != plain);
            }
            REQUIRE(n.redacted_message.value_or(n.text.message).find("s.") != std::string::npos);
        }
    }
    // Else it would prove nothing.
    CHECK(with_literal > 6'000);
}
