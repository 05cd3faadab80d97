// The prefilter lets ordinary statements through, and nothing that needs a decision. That it is a
// proof for every text is shown in statement_properties_test.cpp.
#include "parser/literals.hpp"
#include "tests/support/exact_buffer.hpp"
#include "tests/support/statement_properties.hpp"

#include <catch2/catch.hpp>

#include <algorithm>
#include <string>
#include <vector>

using namespace signalbox::parser;
using signalbox::tests::exact_buffer;

namespace {

/// needs_decision(), in exactly sized memory and with all that it promises.
bool needs(const statement_rules& rules, std::string_view sql) {
    const exact_buffer text{sql};
    const bool answer = rules.needs_decision(text);
    for (const auto strings : {backslashes::plain, backslashes::escape}) {
        const auto found = rules.decide(text, strings);
        CHECK(signalbox::tests::prefilter_is_proof(rules, text, found));
    }
    return answer;
}

}  // namespace

TEST_CASE("words are found wherever they stand", "[parser][prefilter]") {
    const literals words{{"iasql_", "ops", "u&\"", "z", "\xE2\x84\xAA"}};
    for (const std::string word : {"iasql_", "IasQL_", "OPS", "U&\"", "z", "Z", "\xE2\x84\xAA"}) {
        for (std::size_t before = 0; before < 20; ++before) {
            for (std::size_t behind = 0; behind < 20; ++behind) {
                const auto text = std::string(before, 'q') + word + std::string(behind, '&');
                CAPTURE(text);
                CHECK(words.stand_in(exact_buffer{text}));
                const auto cut =
                    std::string(before, '&') + word.substr(1) + std::string(behind, 'q');
                CHECK_FALSE(words.stand_in(exact_buffer{cut}));
            }
        }
    }
    CHECK_FALSE(literals{{}}.stand_in("iasql_"));
    CHECK_FALSE(words.stand_in(""));
}

TEST_CASE("words of several letters are found in every place of a text", "[parser][prefilter]") {
    const std::vector<std::string> all = {
        "iasql_", "ops", "u&\"", "temp", "set_config", "lastval", "\xE2\x84\xAA", "q9", "zz"};
    for (const std::size_t count : {1U, 4U, 5U, 8U, 9U}) {  // pairs for one pass, two, too many
        const literals words{std::vector<std::string>(
            all.begin(), all.begin() + static_cast<std::ptrdiff_t>(count)
        )};
        for (std::size_t i = 0; i < all.size(); ++i) {
            const auto& word = all[i];
            const bool is_wanted = i < count;
            for (std::size_t size = word.size(); size < 60; ++size) {
                for (std::size_t at = 0; at + word.size() <= size; ++at) {
                    auto text = std::string(size, 'e');
                    text.replace(at, word.size(), word);
                    CAPTURE(count, word, text);
                    REQUIRE(words.stand_in(exact_buffer{text}) == is_wanted);
                    for (auto& c : text) {  // the case of letters does not count
                        c = c >= 'a' && c <= 'z' ? static_cast<char>(c - 32) : c;
                    }
                    REQUIRE(words.stand_in(exact_buffer{text}) == is_wanted);
                    text[at] = '#';  // its pair of letters may still stand there, and no word
                    REQUIRE_FALSE(words.stand_in(exact_buffer{text}));
                }
            }
        }
    }
}

TEST_CASE("ordinary statements need no decision", "[parser][prefilter]") {
    const statement_rules rules{{"iasql_.*", "ops\\.run", "(?i)rebuild|refresh_\\w+"}};
    const auto sql = GENERATE(
        as<std::string>{},
        "",
        " \n",
        ";",
        "SELECT abalance FROM pgbench_accounts WHERE aid = 1;",
        "UPDATE pgbench_tellers SET tbalance = tbalance + 1 WHERE tid = 1;\n",
        "INSERT INTO pgbench_history (tid, bid) VALUES (1, 2); ; ",
        "select count(*) from connections",
        "create table connection (a int)",
        "alter table notices add column connection int",
        "drop view notice",
        "show max_connections",
        "show connection",
        "BEGIN;",
        "commit",
        "ROLLBACK TO SAVEPOINT a;",
        "select * from iasql_rows",  // no parenthesis
        "select (a), iasql_rows.b from iasql_rows",
        "select lower(a) from ops",
        "select iasql_rows.* from iasql_rows where iasql_rows . \"a\"\"b\" > .5 and a = 'iasql_.'",
        "select reload()"
    );
    CAPTURE(sql);
    CHECK_FALSE(needs(rules, sql));
}

TEST_CASE("a text of nothing but dots", "[parser][prefilter]") {
    const statement_rules rules{{"iasql_.*"}};
    const auto* const piece = GENERATE(".", ".a", ".\"\"\"x\"", ".\"\"", ".  ");
    CAPTURE(piece);
    std::string sql;
    for (int i = 0; i < 900; ++i) {
        sql += piece;
    }
    CHECK_FALSE(needs(rules, "select iasql_a" + sql + "; "));
    CHECK_FALSE(needs(rules, sql + ".1 iasql_"));
    CHECK(needs(rules, sql + ".iasql_"));
    CHECK_FALSE(needs(rules, sql + sql + sql));
    CHECK(needs(rules, sql + sql + ".1 iasql_"));  // it takes too long to tell
}

TEST_CASE("what needs a decision", "[parser][prefilter]") {
    const statement_rules rules{{"iasql_.*", "ops\\.run", "(?i)rebuild|refresh_\\w+"}};
    const auto sql = GENERATE(
        as<std::string>{},
        "select 1; select 2",
        ";select 1; \n x",
        "begin;commit",
        "SHOW CONNECTIONS",
        "show/**/notices",
        "-- a\n /* b */ ; Create Connection a",
        "\tdrop connection a",
        "validate\nconnection a",
        "alter notice 'a' reset status",
        "select iasql_apply()",
        "select IASQL_APPLY ()",
        "select \"iasql_apply\" /* a */ (1)",
        "select U&\"i\\0061sql_apply\"()",
        "select u&\"!0069asql_apply\" uescape '!' ()",
        "call ops . \"run\" (1)",
        "select a.b, a.iasql_apply from a",
        "select (a).IASQL_apply",
        "select a . \n\"a\"\"iasql_b\"",
        "select a./* b */ iasql_apply",
        "select a.--\niasql_apply",
        "select a.U&\"i\\0061sql_apply\"",
        "select ReBuild()",
        "select \"REFRESH_all\"()"
    );
    CAPTURE(sql);
    CHECK(needs(rules, sql));
}

TEST_CASE("patterns of every kind", "[parser][prefilter]") {
    CHECK(needs(statement_rules{{".*"}}, "select f()"));
    CHECK_FALSE(needs(statement_rules{{".*"}}, "select 1"));
    CHECK(needs(statement_rules{{"a.b\\.c"}}, "select axb.c()"));
    CHECK(needs(statement_rules{{"x\"y"}}, "select \"x\"\"y\"()"));
    CHECK(needs(statement_rules{{"[a-f]+z?"}}, "select abc()"));
    CHECK(needs(statement_rules{{"\xc3\xa4"}}, "select \xc3\xa4()"));
    CHECK(needs(statement_rules{{"(?i)\xc3\xa4pfel"}}, "select \"\xc3\x84PFEL\"()"));
    // Case is ignored beyond ASCII: the long s and the Kelvin sign match s and k.
    CHECK(needs(statement_rules{{"(?i)task"}}, "select \"ta\xc5\xbf\xe2\x84\xaa\"()"));
    CHECK(needs(statement_rules{{"a", "iasql_.*"}}, "select iasql_x()"));
    CHECK(needs(statement_rules{{"(?P<n>a)", "(?P<n>b)"}}, "select b()"));
    CHECK_FALSE(needs(statement_rules{{"(?P<n>aa)", "(?P<n>bb)"}}, "select f(1)"));
    CHECK_THROWS_AS(statement_rules{{"a("}}, std::invalid_argument);
}

TEST_CASE("a name is cut to 63 bytes before it is matched", "[parser][prefilter]") {
    const std::string longest(63, 'a');
    const statement_rules rules{{"a{63}"}};
    CHECK(needs(rules, "select " + longest + "bcd()"));
    CHECK(rules.decide("select " + longest + "bcd()", backslashes::plain).calls_rpc);
    CHECK_FALSE(rules.decide("select " + longest.substr(1) + "()", backslashes::plain).calls_rpc);
    // Never within a character: 62 bytes and one of two.
    const statement_rules umlaut{{"a{62}"}};
    CHECK(umlaut.decide("select " + longest.substr(1) + "\xc3\xa4()", backslashes::plain).calls_rpc
    );
}
