// The lexer: where a token ends, whatever is in it, and that it ends at all.
#include "parser/lexer.hpp"

#include "tests/support/exact_buffer.hpp"

#include <catch2/catch.hpp>

#include <string>
#include <vector>

using namespace signalbox::parser;
using signalbox::tests::exact_buffer;

namespace {

char letter_of(token_kind kind) {
    switch (kind) {
        case token_kind::end:
            return '.';
        case token_kind::word:
            return 'w';
        case token_kind::quoted_identifier:
            return 'i';
        case token_kind::string:
            return 's';
        case token_kind::number:
            return 'n';
        case token_kind::parameter:
            return 'p';
        case token_kind::semicolon:
            return ';';
        case token_kind::symbol:
            return '+';
    }
    return '?';
}

/// One "kind:text" per token.
std::vector<std::string> tokens_of(
    std::string_view text, backslashes strings = backslashes::plain
) {
    const exact_buffer input{text};
    lexer tokens{input, strings};
    std::vector<std::string> out;
    for (token t = tokens.next(); t.kind != token_kind::end; t = tokens.next()) {
        out.push_back(std::string{letter_of(t.kind)} + ":" + std::string{t.text});
    }
    CHECK(tokens.next().kind == token_kind::end);
    return out;
}

using list = std::vector<std::string>;

}  // namespace

TEST_CASE("words, numbers, parameters and symbols", "[parser][lexer]") {
    CHECK(tokens_of("").empty());
    CHECK(tokens_of(" \t\n\r\f\v").empty());
    CHECK(tokens_of("select a_1$x,$12;") == list{"w:select", "w:a_1$x", "+:,", "p:$12", ";:;"});
    CHECK(tokens_of("1.5e3+x") == list{"n:1.5e3", "+:+", "w:x"});
    CHECK(tokens_of("\xc3\xa4\xc3\xb6 b") == list{"w:\xc3\xa4\xc3\xb6", "w:b"});
    CHECK(tokens_of("a.b") == list{"w:a", "+:.", "w:b"});
    CHECK(tokens_of("$") == list{"+:$"});
    CHECK(tokens_of("-/*") == list{"+:-"});
}

TEST_CASE("strings of every kind", "[parser][lexer]") {
    CHECK(tokens_of("'a;b'x") == list{"s:'a;b'", "w:x"});
    CHECK(tokens_of("'it''s';") == list{"s:'it''s'", ";:;"});
    CHECK(tokens_of("''''") == list{"s:''''"});
    CHECK(tokens_of("'\\' x") == list{"s:'\\'", "w:x"});  // no escape in a plain string
    CHECK(tokens_of("E'\\' x' y") == list{"s:E'\\' x'", "w:y"});
    CHECK(tokens_of("e'\\\\' y") == list{"s:e'\\\\'", "w:y"});
    CHECK(tokens_of("E'a''b\\'c'd") == list{"s:E'a''b\\'c'", "w:d"});
    CHECK(tokens_of("b'01' X'ff' n'x'") == list{"s:b'01'", "s:X'ff'", "s:n'x'"});
    CHECK(tokens_of("U&'\\0041;' z") == list{"s:U&'\\0041;'", "w:z"});
    CHECK(tokens_of("u&\"a;\"\"b\" z") == list{"i:u&\"a;\"\"b\"", "w:z"});
    CHECK(tokens_of("u&x") == list{"w:u", "+:&", "w:x"});
    CHECK(tokens_of("e 'x'") == list{"w:e", "s:'x'"});
}

TEST_CASE("a string goes on behind a line's end, and reads as it began", "[parser][lexer]") {
    // PostgreSQL 15: one string, whose second part has backslashes too.
    CHECK(tokens_of("E'a'\n'\\'b';") == list{"s:E'a'\n'\\'b'", ";:;"});
    CHECK(
        tokens_of("E'a' -- ;'\n -- ' ;\r '\\';b' x") ==
        list{"s:E'a' -- ;'\n -- ' ;\r '\\';b'", "w:x"}
    );
    CHECK(tokens_of("E'a' '\\' b") == list{"s:E'a'", "s:'\\'", "w:b"});
    CHECK(tokens_of("E'a' /* \n */ '\\' b") == list{"s:E'a'", "s:'\\'", "w:b"});
    CHECK(tokens_of("E'a'\n-- x") == list{"s:E'a'"});
    CHECK(tokens_of("E'a'\n") == list{"s:E'a'"});
    CHECK(tokens_of("'a'\n'\\' b") == list{"s:'a'", "s:'\\'", "w:b"});
}

TEST_CASE("backslashes in plain strings, where they escape", "[parser][lexer]") {
    const auto escape = backslashes::escape;
    CHECK(tokens_of("'a\\';b' c", escape) == list{"s:'a\\';b'", "w:c"});
    CHECK(tokens_of("'a'\n'\\';b' c", escape) == list{"s:'a'\n'\\';b'", "w:c"});
    CHECK(tokens_of("N'a\\';b' c", escape) == list{"s:N'a\\';b'", "w:c"});
    CHECK(tokens_of("X'a\\' b", escape) == list{"s:X'a\\'", "w:b"});
    CHECK(tokens_of("\"a\\\" b", escape) == list{"i:\"a\\\"", "w:b"});
    CHECK(tokens_of("$$a\\$$ b", escape) == list{"s:$$a\\$$", "w:b"});
    CHECK(tokens_of("'a\\", escape) == list{"s:'a\\"});
    CHECK(tokens_of("'a\\'", escape) == list{"s:'a\\'"});
}

TEST_CASE("a number ends where a string may begin", "[parser][lexer]") {
    CHECK(tokens_of("1E'\\';'") == list{"n:1", "s:E'\\';'"});
    CHECK(tokens_of("1$$;$$") == list{"n:1", "s:$$;$$"});
    CHECK(tokens_of("1e5$a$;$a$") == list{"n:1e5", "s:$a$;$a$"});
    CHECK(
        tokens_of("1e-5 1.e+5 1e+ 1_000.5_0") ==
        list{"n:1e-5", "n:1.e+5", "n:1", "w:e", "+:+", "n:1_000.5_0"}
    );
    CHECK(tokens_of("1.U&\";\"") == list{"n:1.", "i:U&\";\""});
    CHECK(tokens_of("0xFF") == list{"n:0", "w:xFF"});
}

TEST_CASE("quoted identifiers", "[parser][lexer]") {
    CHECK(tokens_of("\"a;b\".\"c\"\"d\"") == list{"i:\"a;b\"", "+:.", "i:\"c\"\"d\""});
    CHECK(tokens_of("\"\"") == list{"i:\"\""});
    CHECK(tokens_of("\"--\" x") == list{"i:\"--\"", "w:x"});
}

TEST_CASE("dollar quotes end with their own tag", "[parser][lexer]") {
    CHECK(tokens_of("$$a;$b$ c$$ d") == list{"s:$$a;$b$ c$$", "w:d"});
    CHECK(tokens_of("$x$ $$ $y$ ; $x$;") == list{"s:$x$ $$ $y$ ; $x$", ";:;"});
    CHECK(tokens_of("$\xc3\xa4$;$\xc3\xa4$;") == list{"s:$\xc3\xa4$;$\xc3\xa4$", ";:;"});
    CHECK(tokens_of("$1$2") == list{"p:$1", "p:$2"});
    CHECK(tokens_of("a$b$;") == list{"w:a$b$", ";:;"});  // the dollars belong to the word
    CHECK(tokens_of("$a b$") == list{"+:$", "w:a", "w:b$"});
    CHECK(tokens_of("$X$ $x$ $X$;") == list{"s:$X$ $x$ $X$", ";:;"});
}

TEST_CASE("comments are blank, and nest", "[parser][lexer]") {
    CHECK(tokens_of("a--;'\nb") == list{"w:a", "w:b"});
    CHECK(tokens_of("a--;'\rb") == list{"w:a", "w:b"});
    CHECK(tokens_of("a/*;/*'*/\"*/b") == list{"w:a", "w:b"});
    CHECK(tokens_of("a/*/b*/c") == list{"w:a", "w:c"});
    CHECK(tokens_of("/**/;/*-- */x") == list{";:;", "w:x"});
    CHECK(tokens_of("-- /*\nx") == list{"w:x"});
    CHECK(tokens_of("/* -- */x") == list{"w:x"});
    CHECK(tokens_of("a*/b") == list{"w:a", "+:*", "+:/", "w:b"});
}

TEST_CASE("what is never closed runs to the end", "[parser][lexer]") {
    const auto open = GENERATE(
        as<std::string>{},
        "'abc;",
        "E'abc\\",
        "E'abc\\'",
        "\"abc;",
        "U&\"abc",
        "u&'",
        "$$abc;$",
        "$tag$abc;$ta",
        "x'"
    );
    CAPTURE(open);
    const auto all = tokens_of("a " + open);
    REQUIRE(all.size() == 2);
    CHECK(all[1].substr(2) == open);
    CHECK(tokens_of("a /* b /* c */ ;") == list{"w:a"});
    CHECK(tokens_of("a -- b ;") == list{"w:a"});
}

TEST_CASE(
    "a text cut at every byte is read to its end, without a byte too many", "[parser][lexer]"
) {
    const std::string text =
        "SELECT E'a\\'b', U&\"d\\0061t\", $x$ $$ ; $x$, 'q''q', \"i\"\"i\" /* /* */ */ -- c\n, $1, "
        "1.5; B'0'";
    for (std::size_t n = 0; n <= text.size(); ++n) {
        CAPTURE(n);
        std::size_t bytes = 0;
        for (const auto& t : tokens_of(text.substr(0, n))) {
            bytes += t.size() - 2;
        }
        CHECK(bytes <= n);
    }
}

TEST_CASE("tokens lie in the text, in order, and only blanks lie between", "[parser][lexer]") {
    const std::string text = "a/*;*/ 'b'--\n\"c\"$d$;$d$ ;";
    lexer tokens{text};
    const char* at = text.data();
    for (token t = tokens.next(); t.kind != token_kind::end; t = tokens.next()) {
        CHECK(t.text.data() >= at);
        CHECK_FALSE(t.text.empty());
        at = t.text.data() + t.text.size();
    }
    CHECK(at == text.data() + text.size());
}

TEST_CASE("hostile texts take linear time", "[parser][lexer]") {
    // Each of them is quadratic for libpg_query's scanner or for a naive one: at this size it would
    // take minutes.
    const auto unit = GENERATE(
        as<std::string>{},
        "/*/",
        "$a",
        "$",
        "'",
        "E'\\",
        "\"",
        "(",
        "$a$b",
        "--",
        "-",
        "u&",
        "1.",
        "/",
        "*/"
    );
    CAPTURE(unit);
    std::string text;
    while (text.size() < (std::size_t{2} << 20U)) {
        text += unit;
    }
    lexer tokens{text};
    std::size_t count = 0;
    while (tokens.next().kind != token_kind::end) {
        ++count;
    }
    CHECK(count <= text.size());
}

TEST_CASE("case is ignored for ASCII letters alone", "[parser][lexer]") {
    CHECK(equals_ignoring_case("SeT", "set"));
    CHECK(equals_ignoring_case("", ""));
    CHECK_FALSE(equals_ignoring_case("set ", "set"));
    CHECK_FALSE(equals_ignoring_case("se", "set"));
    CHECK_FALSE(equals_ignoring_case("[", "{"));
    CHECK_FALSE(equals_ignoring_case("\xc3\x84", "\xc3\xa4"));
}
