// Rows as JSON: ASCII, well formed whatever the bytes are.
#include "rewrite/relation_rows.hpp"

#include <catch2/catch.hpp>

using namespace signalbox;
using namespace signalbox::rewrite;
using namespace std::chrono_literals;

namespace {

/// What a text reads as, in the JSON of a row.
std::string text_json(std::string text) {
    const std::vector<relation_row> rows{{std::move(text)}};
    auto json = rows_json(*find_relation("mz_connections"), rows);
    REQUIRE(json.starts_with("[{\"id\":\""));
    REQUIRE(json.ends_with("\"}]"));
    return json.substr(8, json.size() - 11);
}

}  // namespace

TEST_CASE("rows as JSON", "[rewrite][relations]") {
    const auto& r = *find_relation("mz_connections");
    CHECK(rows_json(r, {}) == "[]");
    const catalog::timestamp day{std::chrono::sys_days{std::chrono::year{2024} / 2 / 29}};
    const std::vector<relation_row> rows{
        {"u1", "main", "postgres", std::monostate{}, "", std::int64_t{7}, day + 3723000001us},
        {},
        {std::monostate{}, "x"}};
    CHECK(
        rows_json(r, rows) ==
        R"([{"id":"u1","name":"main","type":"postgres","create_sql":"","generation":7,)"
        R"("created_at":"2024-02-29T01:02:03.000001Z"},{},{"name":"x"}])"
    );
    const std::vector<relation_row> before{
        {"u1", "failed", catalog::timestamp{-1us}, std::monostate{}}};
    CHECK(
        rows_json(*find_relation("mz_connection_status_history"), before) ==
        R"([{"connection_id":"u1","status":"failed","occurred_at":"1969-12-31T23:59:59.999999Z"}])"
    );
    relation_row notice(14);
    notice[9] = std::vector<std::string>{"u1", "a\"b\\c", ""};
    CHECK(
        rows_json(*find_relation("mz_notices"), std::vector<relation_row>{notice}) ==
        R"([{"dependency_ids":"{\"u1\",\"a\\\"b\\\\c\",\"\"}"}])"
    );
    notice[9] = std::vector<std::string>{};
    CHECK(
        rows_json(*find_relation("mz_notices"), std::vector<relation_row>{notice}) ==
        R"([{"dependency_ids":"{}"}])"
    );
}

TEST_CASE("texts as JSON", "[rewrite][relations]") {
    CHECK(text_json("a'b /~") == "a'b /~");
    CHECK(text_json("\"\\\n\x01\x7f") == R"(\"\\\u000a\u0001\u007f)");
    CHECK(text_json("\xc3\xa4\xe2\x82\xac") == R"(\u00e4\u20ac)");
    CHECK(text_json("\xf0\x9f\x9a\x82\xf4\x8f\xbf\xbf") == R"(\ud83d\ude82\udbff\udfff)");
    // NUL, bytes that begin nothing, cut short, overlong, surrogates, beyond U+10FFFF.
    CHECK(text_json(std::string{"a\0b", 3}) == R"(a\ufffdb)");
    CHECK(text_json("\x80\xff\xc0") == R"(\ufffd\ufffd\ufffd)");
    CHECK(text_json("\xc3") == R"(\ufffd)");
    CHECK(
        text_json("\xe2\x82"
                  "a") == R"(\ufffd\ufffda)"
    );
    CHECK(text_json("\xc1\xbf") == R"(\ufffd\ufffd)");
    CHECK(text_json("\xe0\x80\x80") == R"(\ufffd\ufffd\ufffd)");
    CHECK(text_json("\xed\xa0\x80") == R"(\ufffd\ufffd\ufffd)");
    CHECK(text_json("\xf4\x90\x80\x80") == R"(\ufffd\ufffd\ufffd\ufffd)");
}
