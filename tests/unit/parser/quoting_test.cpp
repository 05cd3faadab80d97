// Names and strings as SQL text: quoted where they must be, and they read as what they are.
#include "parser/quoting.hpp"

#include "parser/names.hpp"
#include "parser/strings.hpp"

#include <catch2/catch.hpp>

using namespace signalbox::parser;

TEST_CASE("an identifier is quoted where it must be", "[parser][quoting]") {
    for (const auto* plain : {"a", "_", "a_1$", "set", "connection", "to", "exists"}) {
        CHECK(quoted_identifier(plain) == plain);
    }
    CHECK(quoted_identifier("") == "\"\"");
    CHECK(quoted_identifier("A") == "\"A\"");
    CHECK(quoted_identifier("1a") == "\"1a\"");
    CHECK(quoted_identifier("$a") == "\"$a\"");
    CHECK(quoted_identifier("a b") == "\"a b\"");
    CHECK(quoted_identifier("a-b") == "\"a-b\"");
    CHECK(quoted_identifier("a\"b\"") == "\"a\"\"b\"\"\"");
    CHECK(quoted_identifier("a'\\b") == "\"a'\\b\"");
    CHECK(quoted_identifier("\xc3\xa4") == "\"\xc3\xa4\"");
    for (const std::string word :
         {"if", "secret", "current_user", "current_role", "session_user"}) {
        CHECK(quoted_identifier(word) == "\"" + word + "\"");
    }
}

TEST_CASE("a literal is quoted, backslashes too", "[parser][quoting]") {
    CHECK(quoted_literal("") == "''");
    CHECK(quoted_literal("a b") == "'a b'");
    CHECK(quoted_literal("it's") == "'it''s'");
    CHECK(quoted_literal("a\\b") == "E'a\\\\b'");
    CHECK(quoted_literal("'\\") == "E'''\\\\'");
}

TEST_CASE("what is quoted is one token and reads the same", "[parser][quoting]") {
    for (const std::string text :
         {"a",
          "A b",
          "\"",
          "'",
          "''",
          "\\",
          "\\'",
          "\n",
          "--",
          "/*",
          ";",
          "\xc3\xa4\xff",
          "$$",
          "u&"}) {
        CAPTURE(text);
        for (const auto strings : {backslashes::plain, backslashes::escape}) {
            const auto literal = quoted_literal(text);
            lexer tokens{literal, strings};
            const auto t = tokens.next();
            CHECK(t.kind == token_kind::string);
            CHECK(t.text == literal);
            CHECK(is_closed(t, strings));
            CHECK(string_content(t.text, strings) == std::variant<std::string, string_error>{text});
        }
        const auto identifier = quoted_identifier(text);
        lexer tokens{identifier};
        const auto t = tokens.next();
        CHECK(is_name(t));
        CHECK(t.text == identifier);
        CHECK(folded_name(t) == text);
    }
}
