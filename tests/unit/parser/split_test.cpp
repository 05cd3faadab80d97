// Where statements end, by libpg_query and by our own tokens: the two agree on what libpg_query can
// parse, and the pieces joined are always the text.
#include "parser/split.hpp"

#include "tests/support/exact_buffer.hpp"

#include <catch2/catch.hpp>

using namespace signalbox::parser;
using signalbox::tests::exact_buffer;

namespace {

using list = std::vector<std::string>;

list texts_of(const std::vector<statement_piece>& pieces, std::string_view sql) {
    list texts;
    std::size_t end = 0;
    for (const auto& piece : pieces) {
        CHECK(piece.offset == end);
        texts.emplace_back(sql.substr(piece.offset, piece.size));
        end += piece.size;
    }
    CHECK((pieces.empty() || end == sql.size()));
    return texts;
}

list by_tokens(std::string_view sql, backslashes strings = backslashes::plain) {
    const exact_buffer text{sql};
    return texts_of(split_by_tokens(text, strings).statements, sql);
}

/// What decide() makes of it, with a look at what tokens alone would say.
list by_parser(std::string_view sql) {
    const statement_rules rules{{}};
    const exact_buffer text{sql};
    const auto pieces = texts_of(rules.decide(text, backslashes::plain).statements, sql);
    CHECK(by_tokens(sql) == pieces);
    return pieces;
}

}  // namespace

TEST_CASE("a text without a statement has no pieces", "[parser][split]") {
    const auto sql = GENERATE(
        as<std::string>{}, "", " ", ";", " ; ;; ", "-- a\n", "/* a; */", ";/* a */;--", "/* open"
    );
    CAPTURE(sql);
    CHECK(by_parser(sql).empty());
}

TEST_CASE("one statement is one piece, with all that is about it", "[parser][split]") {
    const auto sql = GENERATE(
        as<std::string>{},
        "select 1",
        "select 1;",
        " ;; select 1 ; ;",
        "-- a;\nselect 1 /* b; */ ; -- c;",
        "select ';' || $$;$$ || $x$;$$;$x$ as \";\"",
        "select E'\\';' || U&'\\003b;'",
        "select 'a'\n ';b' || E'a'\n-- ;'\n'\\';'",
        "select /* /* ; */ ; */ 1",
        "create rule r as on insert to a do also (select 1; select 2)",
        "create rule r as on insert to a do also (select 1; select ')'; select (2));",
        "create function f() returns int begin atomic select 1; select 2; end",
        "create or replace procedure p(a int) begin atomic insert into t values (a); end;",
        "create function f() returns int begin atomic select case when true then 1 end; select "
        "case "
        "1 when 1 then case 2 when 2 then 3 end end; end;",
        "create function f() returns int begin atomic select 1 as end; select t.case from t; end;",
        "create function f(begin int) returns int return (select 1);",
        "create function begin() returns int as $$ begin atomic; $$ language sql"
    );
    CAPTURE(sql);
    CHECK(by_parser(sql) == list{sql});
}

TEST_CASE("a piece ends with its semicolon", "[parser][split]") {
    CHECK(by_parser("select 1;select 2") == list{"select 1;", "select 2"});
    CHECK(by_parser(" select 1 ; select 2 ; ") == list{" select 1 ;", " select 2 ; "});
    CHECK(by_parser(";select 1;;;select 2;;-- x") == list{";select 1;", ";;select 2;;-- x"});
    CHECK(
        by_parser("select 1 -- ;\n;/* ; */ select 2; /* c */") ==
        list{"select 1 -- ;\n;", "/* ; */ select 2; /* c */"}
    );
    CHECK(
        by_parser("begin; create function f() returns int begin atomic select 1; end; commit") ==
        list{"begin;", " create function f() returns int begin atomic select 1; end;", " commit"}
    );
    CHECK(
        by_parser("create rule r as on insert to a do (select 1; select 2); select $a$;$b$;$a$;") ==
        list{"create rule r as on insert to a do (select 1; select 2);", " select $a$;$b$;$a$;"}
    );
    CHECK(
        by_parser("do $do$ begin; end $do$; select E'a\\';'; select 'a\\'; select U&\"d\\0061;\""
        ) ==
        list{
            "do $do$ begin; end $do$;",
            " select E'a\\';';",
            " select 'a\\';",
            " select U&\"d\\0061;\""}
    );
    // A column alias may be the reserved word, which tokens cannot tell from the body's end.
    const statement_rules rules{{}};
    const std::string_view sql =
        "create function f() returns int begin atomic select 1 end; select 2; end; select 3";
    CHECK(
        texts_of(rules.decide(sql, backslashes::plain).statements, sql) ==
        list{
            "create function f() returns int begin atomic select 1 end; select 2; end;",
            " select 3"}
    );
}

TEST_CASE("what libpg_query cannot parse is cut by tokens", "[parser][split]") {
    CHECK(by_parser("selec 1; select 2") == list{"selec 1;", " select 2"});
    CHECK(
        by_parser("merge into t using s on true when matched then delete returning *; select 1") ==
        list{"merge into t using s on true when matched then delete returning *;", " select 1"}
    );
    CHECK(
        by_parser("select * from json_table('[]', '$[*]' columns (a int)); select 0x_FF; select 1_0"
        ) ==
        list{
            "select * from json_table('[]', '$[*]' columns (a int));",
            " select 0x_FF;",
            " select 1_0"}
    );
    CHECK(by_parser("show create connection a; select 1").size() == 2);
    CHECK(by_parser("select 1); select (2; 3); select 4").size() == 3);
    CHECK(by_parser("select (1; select 2").size() == 1);
    CHECK(by_parser("select 1; select 'a; select 2") == list{"select 1;", " select 'a; select 2"});
    CHECK(by_parser("select 1; select $a$; select 2; $b$").size() == 2);
    CHECK(by_parser("select 1; select \"a; select 2").size() == 2);
    CHECK(by_parser("select 1; select E'a\\'; select 2").size() == 2);
    CHECK(
        by_parser("select 1; /* a /* b */ select 2; ") == list{"select 1; /* a /* b */ select 2; "}
    );
}

TEST_CASE("backslashes in plain strings, where the session reads them", "[parser][split]") {
    const std::string_view sql = "select 'a\\'; select 2; select '";
    CHECK(by_tokens(sql) == list{"select 'a\\';", " select 2;", " select '"});
    CHECK(by_tokens(sql, backslashes::escape) == list{std::string{sql}});
    const statement_rules rules{{}};
    CHECK(rules.decide(sql, backslashes::escape).statements.size() == 1);
    CHECK(rules.decide(sql, backslashes::plain).statements.size() == 3);
    CHECK(by_tokens("select N'\\';'; a", backslashes::escape).size() == 2);
    CHECK(by_tokens("select $$\\$$; a", backslashes::escape).size() == 2);
    CHECK(by_tokens("select \"\\\"; a", backslashes::escape).size() == 2);
    CHECK(by_tokens("select 'a'\n'\\'; b'; c", backslashes::escape).size() == 2);
}

TEST_CASE("kinds of statements", "[parser][split]") {
    using kind = statement_kind;
    const auto kinds_of = [](std::string_view sql) {
        const exact_buffer text{sql};
        const statement_rules rules{{}};
        std::vector<kind> kinds;
        for (const auto& piece : rules.decide(text, backslashes::plain).statements) {
            kinds.push_back(piece.kind);
            CHECK(
                kind_of(text.view().substr(piece.offset, piece.size), backslashes::plain) ==
                piece.kind
            );
        }
        return kinds;
    };
    const auto kind_of_one = [&](std::string_view sql) {
        const auto kinds = kinds_of(sql);
        REQUIRE(kinds.size() == 1);
        return kinds[0];
    };
    for (const auto* sql :
         {"begin",
          "BEGIN WORK",
          " ; begin isolation level serializable;",
          "-- a\nBegin",
          "start transaction",
          "START /* a */ TRANSACTION READ ONLY"}) {
        CAPTURE(sql);
        CHECK(kind_of_one(sql) == kind::begin);
    }
    for (const auto* sql :
         {"commit",
          "COMMIT WORK",
          "commit transaction and no chain",
          "end",
          "END;",
          "rollback",
          "rollback and no chain",
          "abort",
          "Abort Work",
          "prepare transaction 'a'",
          "/* a */commit/* b */"}) {
        CAPTURE(sql);
        CHECK(kind_of_one(sql) == kind::end_block);
    }
    for (const auto* sql :
         {"create connection",
          "CREATE CONNECTION a TO POSTGRES (HOST 'a')",
          "alter connection a",
          "Drop/*;*/Connection if exists a",
          "validate -- b\n connection a",
          "show connections",
          "show connections like 'a'",
          "show create connection a",
          "SHOW CONNECTION STATUS",
          "show connection history for a",
          "show connection a",
          "show /* */ CONNECTION 'a'",
          "create connection )",
          "show notices a",
          "show connections 'a'",
          "show create connection.a",
          "alter notice 'a' set status 'new'",
          "show notices",
          ";show notices all;"}) {
        CAPTURE(sql);
        CHECK(kind_of_one(sql) == kind::signalbox);
    }
    for (const auto* sql :
         {"select 1",
          "commit and chain",
          "rollback work and chain",
          "end transaction and chain",
          "rollback to a",
          "rollback work to savepoint a",
          "rollback transaction to a",
          "commit prepared 'a'",
          "rollback prepared 'a'",
          "prepare a as select 1",
          "start",
          "show connection",
          "show connection;",
          "show connection.a",
          "show connections.a",
          "show notices /* */ . a",
          "show \"connections\"",
          "create \"connection\" a",
          "\"begin\"",
          "create table connection (a int)",
          "select * from connections",
          "show create table a",
          "show max_connections",
          "alter notices",
          "savepoint a",
          "release a",
          "beginx"}) {
        CAPTURE(sql);
        CHECK(kind_of_one(sql) == kind::other);
    }
    CHECK(
        kinds_of("begin; select 1; commit; show connections; rollback") ==
        std::vector{kind::begin, kind::other, kind::end_block, kind::signalbox, kind::end_block}
    );
    const statement_rules rules{{}};
    CHECK(rules.decide("select 1; show notices", backslashes::plain).is_ours);
    CHECK_FALSE(rules.decide("select 1; select 'show notices'", backslashes::plain).is_ours);
}
