// Traits of a text, and that the quick scan never says no where the tokens say yes.
#include "parser/traits.hpp"

#include <catch2/catch.hpp>

#include <random>
#include <string>
#include <vector>

using namespace signalbox::parser;

namespace {

using names = std::vector<std::string>;

/// What the tokens say: a comment in front makes the quick scan say yes and is no token.
text_traits by_tokens(const std::string& text) {
    return scan_text("--\n" + text);
}

}  // namespace

TEST_CASE("ordinary statements have no traits and are not cut into tokens", "[parser][traits]") {
    const auto text = GENERATE(
        as<std::string>{},
        "",
        "  ",
        "select 1",
        "SELECT 1;",
        "select 1 ; \n",
        "insert into t values ('a', $1)",
        "update t set a = 1 where b = 2",
        "delete from t",
        "commit",
        "show all",
        "drop table x",
        "savepoint x",
        "select * from items where value like 'v%' and m & 1 = 1"
    );
    CAPTURE(text);
    CHECK_FALSE(quick_scan(text));
    CHECK(scan_text(text) == text_traits{});
    CHECK(by_tokens(text) == text_traits{});
}

TEST_CASE("texts that may name currval() or lastval()", "[parser][traits]") {
    for (const auto* const text :
         {"select lastval()",
          "currval",
          "select x.LastVal",
          "'lastval'",
          "do $$ CURRVAL $$",
          "u&\"",
          "v U&\"a"}) {
        CAPTURE(text);
        CHECK(may_name_sequence_values(text));
    }
    for (const auto* const text :
         {"",
          "v",
          "astval",
          "lastva",
          "curr_val",
          "select last_value & v",
          "u&'a'",
          "select nextval('s')"}) {
        CAPTURE(text);
        CHECK_FALSE(may_name_sequence_values(text));
    }
}

TEST_CASE("statements in which nothing can be called", "[parser][traits]") {
    for (const auto* const text :
         {"begin",
          "START TRANSACTION READ ONLY ; ;\n",
          "/* a */ commit;",
          "end",
          "Rollback to a",
          "abort",
          "savepoint a",
          "release a",
          "set a to 1",
          "show a"}) {
        CAPTURE(text);
        CHECK(calls_nothing(text));
    }
    for (const auto* const text :
         {"",
          ";",
          "select 1",
          "\"begin\"",
          "begins",
          "begin; select f()",
          "rollback;;call f()",
          "; rollback",
          "set a = 1; /* a */ select f()"}) {
        CAPTURE(text);
        CHECK_FALSE(calls_nothing(text));
    }
}

TEST_CASE("texts that leave state behind ask for an inspection", "[parser][traits]") {
    const auto text = GENERATE(
        as<std::string>{},
        "create temp table t ()",
        "CREATE TEMPORARY VIEW v as select 1",
        "select 1 into TEMP x",
        "select * into pg_temp.x from y",
        "select pg_advisory_lock(1)",
        "select PG_TRY_ADVISORY_LOCK_SHARED(1, 2)",
        "select set_config('a', 'b', false)",
        "select pg_catalog.\"set_config\"('a', 'b', false)",
        "select U&\"pg_adv\\0069sory_lock\"(1)",
        "select u&\"x\"",
        "select 1; create temp table t ()"
    );
    CAPTURE(text);
    CHECK(quick_scan(text));
    CHECK(scan_text(text).needs_inspection);
}

TEST_CASE("SET: custom parameters by name", "[parser][traits]") {
    CHECK(scan_text("set my.var = 1").custom_parameters == names{"my.var"});
    CHECK(scan_text("SET SESSION My.Var TO 'x'").custom_parameters == names{"my.var"});
    CHECK(scan_text("SET LOCAL my.var TO 'x'").custom_parameters == names{"my.var"});
    CHECK(scan_text("set \"My\".var to 1").custom_parameters == names{"My.var"});
    CHECK(scan_text("set /* c */ my /* d */ . var = 1").custom_parameters == names{"my.var"});
    CHECK(scan_text("set a.b = 1; set c.d = 2; select 1").custom_parameters == names{"a.b", "c.d"});
    CHECK(scan_text("set work_mem = '1.5'").custom_parameters.empty());
    CHECK(scan_text("set search_path = a.b").custom_parameters.empty());
    CHECK(scan_text("\n\tset my.var = 1").custom_parameters == names{"my.var"});
    CHECK(scan_text("/* x */ set my.var = 1").custom_parameters == names{"my.var"});
    CHECK(scan_text(";set my.var = 1").custom_parameters == names{"my.var"});
}

TEST_CASE("SET of a custom parameter whose first part is a keyword", "[parser][traits]") {
    // SESSION and LOCAL are unreserved: behind them a dot makes them part of the name.
    CHECK(scan_text("set session.tenant = 1").custom_parameters == names{"session.tenant"});
    CHECK(scan_text("set local.tenant = 1").custom_parameters == names{"local.tenant"});
    CHECK_FALSE(scan_text("set local.tenant = 1").only_local_set);
}

TEST_CASE("SET LOCAL and its kin are local when they are alone", "[parser][traits]") {
    CHECK(scan_text("set local a = 1").only_local_set);
    CHECK(scan_text("SET TRANSACTION ISOLATION LEVEL SERIALIZABLE").only_local_set);
    CHECK(scan_text("set constraints all deferred;").only_local_set);
    CHECK_FALSE(scan_text("set a = 1").only_local_set);
    CHECK_FALSE(scan_text("set session a = 1").only_local_set);
    CHECK_FALSE(scan_text("set session characteristics as transaction read only").only_local_set);
    CHECK_FALSE(scan_text("set local a = 1; set b = 2").only_local_set);
    CHECK_FALSE(scan_text("set local a = 1; select 1").only_local_set);
    CHECK_FALSE(scan_text("set time zone local").only_local_set);
}

TEST_CASE("an assignment of the default is a RESET", "[parser][traits]") {
    CHECK(scan_text("set a to default").assigns_default);
    CHECK(scan_text("SET a = DEFAULT").assigns_default);
    CHECK(scan_text("set time zone default").assigns_default);
    CHECK_FALSE(scan_text("set a = 'default'").assigns_default);
    CHECK_FALSE(scan_text("set a = b").assigns_default);
}

TEST_CASE("SET TIME ZONE LOCAL is a RESET, too", "[parser][traits]") {
    CHECK(scan_text("set time zone local").assigns_default);
}

TEST_CASE("set_config: literal names, and names that are not known", "[parser][traits]") {
    CHECK(
        scan_text("select set_config('My.Var', 'x', false)").custom_parameters == names{"my.var"}
    );
    CHECK_FALSE(scan_text("select set_config('my.var', 'x', false)").dynamic_parameter);
    CHECK(scan_text("select set_config('work_mem', 'x', false)").custom_parameters.empty());
    CHECK(
        scan_text("select set_config ( /* c */ 'a.b', 'x', false)").custom_parameters ==
        names{"a.b"}
    );
    CHECK(scan_text("select set_config($1, 'x', false)").dynamic_parameter);
    CHECK(scan_text("select set_config(name, 'x', false) from t").dynamic_parameter);
    CHECK(scan_text("select set_config(E'a.b', 'x', false)").dynamic_parameter);
    CHECK(scan_text("select set_config($$a.b$$, 'x', false)").dynamic_parameter);
    CHECK(scan_text("select set_config(setting_name => 'a.b', x)").dynamic_parameter);
    CHECK_FALSE(scan_text("select set_config from t").dynamic_parameter);
}

TEST_CASE(
    "set_config: an expression that begins with a literal is not a literal", "[parser][traits]"
) {
    CHECK(scan_text("select set_config('app.' || key, value, false) from t").dynamic_parameter);
    CHECK(scan_text("select set_config('app.'\n'user', 'x', false)").dynamic_parameter);
}

TEST_CASE("set_config inside the body of a DO block", "[parser][traits]") {
    const auto traits = scan_text("do $$ begin perform set_config('app.user', 'x', false); end $$");
    CHECK(traits.needs_inspection);
    CHECK((traits.dynamic_parameter || traits.custom_parameters == names{"app.user"}));
}

TEST_CASE("what opens a transaction block", "[parser][traits]") {
    CHECK(scan_text("begin").opens_block);
    CHECK(scan_text("START TRANSACTION READ ONLY").opens_block);
    CHECK(scan_text("/* c */ begin").opens_block);
    CHECK(scan_text("--\nbegin").opens_block);
    CHECK(scan_text("select 1; begin").opens_block);
    CHECK(scan_text(";begin").opens_block);
    CHECK_FALSE(scan_text("commit").opens_block);
    CHECK_FALSE(scan_text("select 1; select 'begin'").opens_block);
    CHECK_FALSE(scan_text("select 1; /* begin */").opens_block);
    CHECK_FALSE(scan_text("beginning").opens_block);
}

TEST_CASE("every blank of PostgreSQL may stand before the first word", "[parser][traits]") {
    for (const char blank : {' ', '\t', '\n', '\r', '\f', '\v'}) {
        CAPTURE(static_cast<int>(blank));
        CHECK(scan_text(blank + std::string{"begin"}).opens_block);
        CHECK(scan_text("select 1;" + std::string{blank} + "begin").opens_block);
    }
}

TEST_CASE("DEALLOCATE: names as PostgreSQL folds them", "[parser][traits]") {
    CHECK(scan_text("deallocate S1").deallocated == names{"s1"});
    CHECK(scan_text("DEALLOCATE PREPARE \"S\"\"1\"").deallocated == names{"S\"1"});
    CHECK(scan_text("deallocate \"all\"").deallocated == names{"all"});
    CHECK(scan_text("deallocate a; deallocate b").deallocated == names{"a", "b"});
    CHECK(scan_text(" DEALLOCATE PREPARE S1 ;").only_deallocated == "s1");
    for (const auto* const text :
         {"select 1; deallocate a;",
          "deallocate a; select 1",
          "deallocate a; deallocate b",
          "deallocate a b",
          "deallocate a + 1",
          "deallocate all"}) {
        INFO(text);
        CHECK(scan_text(text).only_deallocated.empty());
    }
    CHECK(scan_text("select 1; deallocate a;").deallocated == names{"a"});
}

TEST_CASE("what forgets all statements, and what resets parameters", "[parser][traits]") {
    for (const auto* text :
         {"deallocate all", "DEALLOCATE PREPARE ALL", "discard all", "select 1; discard All"}) {
        CAPTURE(text);
        CHECK(scan_text(text).forgets_statements);
        CHECK(scan_text(text).deallocated.empty());
    }
    CHECK_FALSE(scan_text("deallocate \"all\"").forgets_statements);
    CHECK_FALSE(scan_text("discard plans").forgets_statements);
    CHECK(scan_text("discard all").resets_parameters);
    CHECK(scan_text("reset all").resets_parameters);
    CHECK(scan_text("RESET work_mem").resets_parameters);
    CHECK(scan_text("begin; reset work_mem").resets_parameters);
    CHECK_FALSE(scan_text("discard plans").resets_parameters);
    CHECK_FALSE(scan_text("deallocate all").resets_parameters);
}

TEST_CASE("of a text with very many tokens only the first are read", "[parser][traits]") {
    const auto batch_of = [](int count) {
        std::string sql = "set local a = 1";
        for (int i = 0; i < count; ++i) {
            sql += ";select";
        }
        return sql + ";set my.var = 1";
    };
    const auto whole = scan_text(batch_of(5'000));
    CHECK_FALSE(whole.is_cut);
    CHECK(whole.custom_parameters == names{"my.var"});
    const auto cut = scan_text(batch_of(50'000));
    CHECK(cut.is_cut);
    CHECK(cut.needs_inspection);
    CHECK_FALSE(cut.only_local_set);
    CHECK(cut.custom_parameters.empty());
    std::string one = "set local a = 1";
    for (int i = 0; i < 50'000; ++i) {
        one += ",1";
    }
    CHECK_FALSE(scan_text(one).only_local_set);
    const auto literal = "set my.var = '" + std::string(200'000, 'a') + "'";
    CHECK(scan_text(literal).is_cut);
    CHECK(scan_text(literal).custom_parameters == names{"my.var"});
}

TEST_CASE("a role that is set for one transaction stays nowhere", "[parser][traits]") {
    CHECK(scan_text("set role a").uncarryable == "SET ROLE");
    CHECK(scan_text("set local role a").uncarryable.empty());
    CHECK(scan_text("set session authorization a").uncarryable == "SET SESSION AUTHORIZATION");
    CHECK(
        scan_text("set session session authorization a").uncarryable == "SET SESSION AUTHORIZATION"
    );
    CHECK(scan_text("set local session authorization a").uncarryable.empty());
    CHECK_FALSE(scan_text("set local x = 1; set session authorization a").uncarryable.empty());
}

TEST_CASE("where the quick scan says no, the tokens find nothing", "[parser][traits][property]") {
    // Built from the pieces that matter, glued at random: quotes that open and never close,
    // comments that hide words, blanks of every kind, words cut in two.
    const std::vector<std::string> pieces = {
        "set",
        "SET",
        "begin",
        "Start",
        "transaction",
        "deallocate",
        "all",
        "prepare",
        "reset",
        "discard",
        "local",
        "session",
        "default",
        "select",
        "set_config",
        "Set_Config",
        "\"set_config\"",
        "(",
        ")",
        "'a.b'",
        "'a'",
        "temp",
        "TEMPORARY",
        "pg_temp",
        "pg_advisory_lock",
        "advisory",
        "u&\"",
        "U&\"s\\0065t\"",
        "my",
        ".",
        "var",
        "=",
        "to",
        "1",
        "$1",
        ",",
        ";",
        ";",
        " ",
        " ",
        "  ",
        "\t",
        "\n",
        "\r",
        "\f",
        "\v",
        "--",
        "/*",
        "*/",
        "'",
        "\"",
        "$$",
        "$x$",
        "E'\\'",
        "_",
        "&",
        "m",
        "v",
        "\xc3\xa4",
        "e'",
        "b'",
        "-",
        "/"};
    std::mt19937 random{20240607};  // the same texts every time
    std::uniform_int_distribution<std::size_t> piece{0, pieces.size() - 1};
    std::uniform_int_distribution<int> length{0, 12};
    int plain = 0;
    std::vector<std::string> wrong;
    for (int i = 0; i < 200'000 && wrong.size() < 10; ++i) {
        std::string text;
        for (int n = length(random); n > 0; --n) {
            text += pieces[piece(random)];
        }
        if (quick_scan(text)) {
            continue;
        }
        ++plain;
        if (by_tokens(text) != text_traits{}) {
            wrong.push_back(text);
        }
    }
    CHECK(wrong == std::vector<std::string>{});
    CHECK(plain > 1'000);
}

TEST_CASE(
    "where the quick scan says no to random bytes, the tokens find nothing",
    "[parser][traits][property]"
) {
    const std::string alphabet = "setbgindalocSETBG \t\n\f;'\"$-/*_.&u(";
    std::mt19937 random{7};
    std::uniform_int_distribution<std::size_t> at{0, alphabet.size() - 1};
    for (int i = 0; i < 100'000; ++i) {
        std::string text;
        for (int n = 0; n < 10; ++n) {
            text += alphabet[at(random)];
        }
        if (!quick_scan(text) && by_tokens(text) != text_traits{}) {
            CAPTURE(text);
            FAIL("a false negative");
        }
    }
}
