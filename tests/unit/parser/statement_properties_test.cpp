// Random text, from a fixed seed: the prefilter is a proof, the pieces are the text, and our tokens
// cut as libpg_query's parser does.
#include "tests/support/statement_properties.hpp"

#include "parser/limits.hpp"
#include "tests/support/chooser.hpp"

#include <catch2/catch.hpp>

using namespace signalbox::parser;
using namespace signalbox::tests;

namespace {

/// Everything that begins, ends or hides something.
constexpr std::string_view fragments[] = {
    "select",
    "iasql_x",
    "IASQL_Y",
    "\"iasql_z\"",
    "\"ia\"\"sql_\"",
    "U&\"i\\0061sql_\"",
    "u&\"!0069asql_\"",
    "uescape '!'",
    "ops",
    "run",
    "\"ops\"",
    "(",
    ")",
    "()",
    ".",
    ",",
    ";",
    ";",
    ";;",
    "'",
    "''",
    "'a'",
    "'\\'",
    "E'",
    "E'\\''",
    "N'",
    "U&'",
    "\"",
    "\"\"",
    "\"a\"",
    "$$",
    "$a$",
    "$",
    "$1",
    "1",
    "1.5e3",
    "0x_F",
    "--",
    "-- a\n",
    "\n",
    "/*",
    "*/",
    "/* a */",
    "/**/",
    "+",
    "-",
    "*",
    "/",
    "begin",
    "begin atomic",
    "end",
    "case",
    "create",
    "function",
    "or replace",
    "procedure",
    "commit",
    "rollback",
    "and chain",
    "connection",
    "Connections",
    "show",
    "notice",
    "notices",
    "alter",
    "drop",
    "validate",
    "status",
    "call",
    "insert into",
    "values",
    "as",
    "from",
    "loud",
    "LO\xc5\xbfT",
    "lo\xc5\xbft()",
    "\xe2\x84\xaaick()",
    "kick",
    "\xc3\xa4",
    "\v",
    "\t",
    "\\",
    "prepare",
    "transaction",
    "a",
    "f()",
    "explain",
    "with a as (select iasql_x()) ",
    "create view v as",
    "create rule r as on insert to t do also (",
    "do $$ iasql_x() $$"};

constexpr std::string_view blanks[] = {"", "", " ", " ", "\n", "/* ; */", "--;\n"};

std::string random_text(chooser& choose) {
    std::string text;
    for (auto count = choose.below(14); count > 0; --count) {
        text += choose.one_of(fragments);
        text += choose.one_of(blanks);
    }
    return text;
}

/// Values with a boundary's look inside.
constexpr std::string_view values[] = {
    "1",
    "'a;b'",
    "E'\\';'",
    "$$;$$",
    "$a$;$$;$a$",
    "U&'\\003b;'",
    "B'01'",
    "X'ff'",
    "N';'",
    "1.5e-3",
    "';'\n ';'",
    "E'a\\''\n  'b;\\''",
    "\"x;y\"",
    "t.\"case\"",
    "U&\"\\0061;\"",
    "(select ';')",
    "case when true then ';' else E'\\\\' end",
    "array[1, 2]",
    "a /* ; /* ; */ ; */",
    "- -1",
    "(a <-- ;\n 1)",
    "f(';', b => 2)",
    "$1",
    "'\\'",
    "cast(a as numeric(10, 2))",
    "now() at time zone ';'",
    "t.a[1:2]",
    "a\xc3\xa4$x$"};

constexpr std::string_view separators[] = {";", " ; ", ";;", ";/*;*/", ";--;\n", ";\n\n; "};

std::string random_statement(chooser& choose) {
    const auto value = [&] { return choose.one_of(values); };
    switch (choose.below(14)) {
        case 0:
            return "select " + value() + ", " + value();
        case 1:
            return "insert into t (a, b) values (" + value() + ", " + value() + ")";
        case 2:
            return "update t set a = " + value() + " where b = " + value();
        case 3:
            return "create rule r as on insert to t do also (select " + value() +
                   "; delete from t)";
        case 4:
            return "create function f(a int) returns int begin atomic select " + value() +
                   "; select case when true then " + value() + " end; end";
        case 5:
            return "create or replace procedure p() language sql begin atomic end";
        case 6:
            return "do $do$ begin perform ';'; end $do$";
        case 7:
            return "with x as (select " + value() + ") select * from x union select " + value();
        case 8:
            return "begin";
        case 9:
            return "commit and chain";
        case 10:
            return "create table x (a int default 1, check (a < 3))";
        case 11:
            return "explain (costs off) select " + value();
        case 12:
            return "create function begin(\"atomic\" int) returns int return " + value();
        default:
            return "values (" + value() + "), (" + value() + ")";
    }
}

}  // namespace

TEST_CASE("random text: the prefilter is a proof, and nothing is lost", "[parser][properties]") {
    const std::vector<std::string> lists[] = {
        {},
        {"iasql_.*", "ops\\.run"},
        {".*"},
        {"(?i)(lost|kick|loud)"},
        {"ia\"sql_", "\xc3\xa4.*"}};
    chooser choose{4711};
    std::size_t passed = 0;
    for (const auto& patterns : lists) {
        const statement_rules rules{patterns};
        for (int i = 0; i < 30'000; ++i) {
            const auto sql = random_text(choose);
            passed += rules.needs_decision(sql) ? 0 : 1;
            for (const auto strings : {backslashes::plain, backslashes::escape}) {
                const auto found = rules.decide(sql, strings);
                if (!rebuilds(found, sql) || !adds_up(found) ||
                    !prefilter_is_proof(rules, sql, found)) {
                    CAPTURE(sql, patterns, strings == backslashes::escape);
                    CHECK(rebuilds(found, sql));
                    CHECK(adds_up(found));
                    CHECK(prefilter_is_proof(rules, sql, found));
                }
            }
        }
    }
    CHECK(passed > 20'000);  // it does let texts through
}

TEST_CASE("random text: tokens cut as the parser does, where it parses", "[parser][properties]") {
    chooser choose{815};
    std::size_t parsed = 0;
    for (int i = 0; i < 100'000; ++i) {
        const auto sql = random_text(choose);
        if (!splits_agree(sql)) {
            CAPTURE(sql);
            CHECK(splits_agree(sql));
        }
        parsed += parsed_statement_ends(sql) ? 1 : 0;
    }
    CHECK(parsed > 1'000);
}

TEST_CASE(
    "random batches of valid statements: tokens cut as the parser does", "[parser][properties]"
) {
    chooser choose{42};
    const statement_rules rules{{"iasql_.*"}};
    for (int i = 0; i < 20'000; ++i) {
        std::string sql;
        const auto count = 1 + choose.below(5);
        for (std::size_t n = 0; n < count; ++n) {
            sql += random_statement(choose);
            sql += choose.one_of(separators);
        }
        const auto ends = parsed_statement_ends(sql);
        if (!ends || ends->size() != count || !splits_agree(sql) ||
            !prefilter_is_proof(rules, sql, rules.decide(sql, backslashes::plain))) {
            CAPTURE(sql, count);
            REQUIRE(ends);
            CHECK(ends->size() == count);
            CHECK(splits_agree(sql));
        }
    }
}

TEST_CASE("random text: every call in the tree is found", "[parser][properties]") {
    const statement_rules rules{{"iasql_.*", "ops\\.run", "f|now"}};
    chooser choose{1234};
    for (int i = 0; i < 20'000; ++i) {
        const auto sql = i % 2 == 0 ? random_text(choose) : random_statement(choose);
        const auto found = rules.decide(sql, backslashes::plain);
        if (!calls_agree(rules, sql, found)) {
            CAPTURE(sql);
            CHECK(calls_agree(rules, sql, found));
        }
    }
}

TEST_CASE("steps that libpg_query's scanner would waste", "[parser][limits]") {
    CHECK(scanner_steps("select 1 + 2 -- ----------\n/* ====== */ <= 3") < 100);
    CHECK(scanner_steps(std::string(1000, '+')) > max_scanner_steps);
    std::string nested;
    for (int i = 0; i < 1000; ++i) {
        nested += "/*";
    }
    CHECK(scanner_steps(nested) > max_scanner_steps);
    std::string adjacent;
    for (int i = 0; i < 1000; ++i) {
        adjacent += "+/**/";
    }
    CHECK(scanner_steps(adjacent) > max_scanner_steps);
    CHECK(scanner_steps("/" + std::string(2000, '*') + "/") < max_scanner_steps);
    CHECK(scanner_steps("--" + std::string(2000, '-')) < max_scanner_steps);
}

TEST_CASE("tokens' worth of tree", "[parser][limits]") {
    CHECK(tree_tokens("", 10) == 0);
    CHECK(tree_tokens("select f(1, 2)", 100) == 7);
    CHECK(tree_tokens("select f(1, 2)", 3) == 4);
    // The seven tokens from = on three times; behind the comma and WHERE once.
    CHECK(tree_tokens("update t set (a, b, c) = (select 1, 2)", 100) == 10 + 3 * 7);
    CHECK(tree_tokens("update t set (a, b, c) = row(1), d = 2", 100) == 10 + 3 * 5 + 4);
    CHECK(tree_tokens("update t set (a, b) = (1) where (a, b) = (1)", 100) == 8 + 2 * 4 + 10);
    CHECK(tree_tokens("select (a, b) = (1)", 100) == 10);

    // 5 KB that would be written for ever.
    std::string nested = "select iasql_x()";
    for (int i = 0; i < 100; ++i) {
        nested = "with x as (update t set (a, b) = (" + nested + ") returning 1) select 1";
    }
    CHECK(tree_tokens(nested, max_tree_tokens) > max_tree_tokens);
    CHECK_FALSE(statement_rules::is_light(nested));
    CHECK(statement_rules{{"iasql_.*"}}.decide(nested, backslashes::plain).calls_rpc);
}
