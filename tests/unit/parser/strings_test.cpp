// String constants: what they say, where they are open, and which escapes are wrong.
#include "parser/strings.hpp"

#include "parser/names.hpp"
#include "tests/support/exact_buffer.hpp"

#include <catch2/catch.hpp>

using namespace signalbox::parser;
using signalbox::tests::exact_buffer;

namespace {

/// "SQLSTATE message" where it is wrong.
std::string content(
    std::string_view sql, backslashes strings = backslashes::plain, char escape = '\\'
) {
    const exact_buffer text{sql};
    const auto found = string_content(text, strings, escape);
    if (const auto* bad = std::get_if<string_error>(&found)) {
        return std::string{bad->sqlstate} + " " + bad->message;
    }
    return std::get<std::string>(found);
}

bool closed(std::string_view sql, backslashes strings = backslashes::plain) {
    const exact_buffer text{sql};
    lexer tokens{text, strings};
    const auto t = tokens.next();
    CHECK(t.text == sql);
    return is_closed(t, strings);
}

}  // namespace

TEST_CASE("plain and dollar-quoted strings", "[parser][strings]") {
    CHECK(content("''").empty());
    CHECK(content("'a'") == "a");
    CHECK(content("'it''s'''") == "it's'");
    CHECK(content("'a\\n'") == "a\\n");
    CHECK(content("'a\\n'", backslashes::escape) == "a\n");
    CHECK(content("'a' -- 'x'\n  'b'") == "ab");
    CHECK(content("'a''' \n '''b'") == "a''b");
    CHECK(content("$$$$").empty());
    CHECK(content("$$it's$$") == "it's");
    CHECK(content("$t$a$$b$t$") == "a$$b");
    CHECK(content("$t$a\\n$t$", backslashes::escape) == "a\\n");
}

TEST_CASE("backslash escapes", "[parser][strings]") {
    CHECK(content("E''").empty());
    CHECK(content("e'\\b\\f\\n\\r\\t\\v'") == "\b\f\n\r\t\v");
    CHECK(content("E'\\q\\\\\\'\\\"''x'") == "q\\'\"'x");
    CHECK(content("E'\\x41\\x4a4\\x9'") == "AJ4\t");
    CHECK(content("E'\\xg'") == "xg");
    CHECK(content("E'\\101\\1012\\7x\\8'") == "AA2\ax8");
    CHECK(content("E'\\u0041\\U00000042\\u20ac'") == "AB\xe2\x82\xac");
    CHECK(content("E'\\uD83D\\uDE82\\U0000d83d\\uDE82'") == "\xf0\x9f\x9a\x82\xf0\x9f\x9a\x82");
    CHECK(content("E'\\xe2\\x82\\254'") == "\xe2\x82\xac");
    CHECK(content("E'a'\n'\\x42' -- '\n 'c'") == "aBc");
}

TEST_CASE("escapes that are wrong", "[parser][strings]") {
    CHECK(content("E'\\u004'") == "22025 invalid Unicode escape");
    CHECK(content("E'\\U0000004'") == "22025 invalid Unicode escape");
    CHECK(content("E'\\u'") == "22025 invalid Unicode escape");
    CHECK(content("E'\\u0000'") == "42601 invalid Unicode escape value");
    CHECK(content("E'\\U00110000'") == "42601 invalid Unicode escape value");
    CHECK(content("E'\\uD83D'") == "42601 invalid Unicode surrogate pair");
    CHECK(content("E'\\uD83Dx\\uDE82'") == "42601 invalid Unicode surrogate pair");
    CHECK(content("E'\\uDE82'") == "42601 invalid Unicode surrogate pair");
    CHECK(content("E'\\uD83D\\uD83D'") == "42601 invalid Unicode surrogate pair");
    CHECK(content("E'\\x00'") == "22021 invalid byte sequence for encoding \"UTF8\": 0x00");
    CHECK(content("E'a\\000'") == "22021 invalid byte sequence for encoding \"UTF8\": 0x00");
    CHECK(content("E'a\\xffb'") == "22021 invalid byte sequence for encoding \"UTF8\": 0xff");
    CHECK(
        content("E'\\xe4bc'") == "22021 invalid byte sequence for encoding \"UTF8\": 0xe4 0x62 0x63"
    );
    CHECK(content("E'\\xe4'") == "22021 invalid byte sequence for encoding \"UTF8\": 0xe4");
    CHECK(content("U&'\\004'") == "42601 invalid Unicode escape");
    CHECK(content("U&'\\'") == "42601 invalid Unicode escape");
    CHECK(content("U&'\\+00004'") == "42601 invalid Unicode escape");
    CHECK(content("U&'\\0000'") == "42601 invalid Unicode escape value");
    CHECK(content("U&'\\+110000'") == "42601 invalid Unicode escape value");
    CHECK(content("U&'\\d83d'") == "42601 invalid Unicode surrogate pair");
}

TEST_CASE("U& strings and names", "[parser][strings]") {
    CHECK(content("U&'d\\0061t\\+000061'") == "data");
    CHECK(content("u&'\\\\''\\d83d\\de82'") == "\\'\xf0\x9f\x9a\x82");
    CHECK(content("u&'d!0061t\\!!'", backslashes::plain, '!') == "dat\\!");
    CHECK(content("u&'\\0041' \n '\\0042'") == "AB");
    auto fault = unicode_fault::none;
    CHECK(folded_name({token_kind::quoted_identifier, "U&\"\\0041\"\"b\""}, '\\', fault) == "A\"b");
    CHECK(fault == unicode_fault::none);
    CHECK(
        folded_name({token_kind::quoted_identifier, "U&\"\\0041\\04\""}, '\\', fault) ==
        "\\0041\\04"
    );
    CHECK(fault == unicode_fault::escape);
}

TEST_CASE("a string or name that the text's end cuts is open", "[parser][strings]") {
    for (const auto* sql :
         {"''",
          "'a'",
          "''''",
          "'a\\'",
          "E''",
          "E'\\''",
          "E'a'\n'b'",
          "U&'a'",
          "\"a\"",
          "\"a\"\"\"",
          "U&\"a\"",
          "$$$$",
          "$$a$$",
          "$a$$$b$a$"}) {
        CAPTURE(sql);
        CHECK(closed(sql));
    }
    for (const auto* sql : {"'",       "'a",       "'''", "'a''",   "E'",    "E'\\'", "E'\\",
                            "E'a'\n'", "E'a'\n'b", "U&'", "U&'a''", "\"",    "\"a",   "\"a\"\"",
                            "U&\"a",   "$$",       "$$$", "$a$",    "$a$$a", "$a$b$$"}) {
        CAPTURE(sql);
        CHECK_FALSE(closed(sql));
    }
    CHECK_FALSE(closed("'a\\'", backslashes::escape));
    CHECK(closed("'a\\''", backslashes::escape));
}

TEST_CASE("bytes that are UTF-8 and bytes that are not", "[parser][strings]") {
    CHECK(find_invalid_utf8("") == std::string_view::npos);
    CHECK(
        find_invalid_utf8(
            "a\xc2\x80\xdf\xbf\xe0\xa0\x80\xed\x9f\xbf\xef\xbf\xbf\xf0\x90\x80\x80\xf4\x8f\xbf\xbf"
        ) == std::string_view::npos
    );
    for (const std::string bad :
         {"\x80",
          "\xbf",
          "\xc0\x80",
          "\xc1\xbf",
          "\xc2",
          "\xc2x",
          "\xe0\x9f\xbf",
          "\xe2\x82",
          "\xed\xa0\x80",
          "\xf0\x8f\xbf\xbf",
          "\xf4\x90\x80\x80",
          "\xf5\x80\x80\x80",
          "\xff"}) {
        CAPTURE(bad);
        const exact_buffer text{"ab" + bad};
        CHECK(find_invalid_utf8(text) == 2);
    }
    CHECK(find_invalid_utf8(std::string_view{"a\0", 2}) == 1);
}

TEST_CASE("a long name is cut between characters, and never to nothing", "[parser][names]") {
    const std::string long_name(62, 'a');
    CHECK(folded_name({token_kind::word, long_name + "bc"}) == long_name + "b");
    CHECK(folded_name({token_kind::word, long_name + "\xc3\xa4"}) == long_name);
    const std::string trails(70, '\x80');
    CHECK(folded_name({token_kind::word, trails}).size() == 60);
}
