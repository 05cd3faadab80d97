// Rows as text: well formed whatever the bytes are, and taken apart to the same values.
#include "rewrite/relation_rows.hpp"

#include <catch2/catch.hpp>

using namespace signalbox;
using namespace signalbox::rewrite;
using namespace std::chrono_literals;

namespace {

std::vector<std::string> split(const std::string& text, char by) {
    std::vector<std::string> out(1);
    for (const char c : text) {
        if (c == by) {
            out.emplace_back();
        } else {
            out.back() += c;
        }
    }
    return out;
}

/// What a row source makes of the text: columns of values, NULL as nothing.
std::vector<std::vector<std::optional<std::string>>> taken_apart(const std::string& text) {
    const auto parts = split(text, text.at(0));
    REQUIRE(parts.at(0).empty());
    REQUIRE(parts.at(1).size() == 1);
    REQUIRE(parts.at(2).size() == 1);
    const auto count = static_cast<std::size_t>(std::stoi(parts.at(3)));
    std::vector<std::vector<std::optional<std::string>>> columns;
    for (std::size_t i = 4; i < parts.size(); ++i) {
        auto values = split(parts[i], parts[1][0]);
        REQUIRE(values.size() == count + 1);  // there is one behind each
        REQUIRE(values.back().empty());
        columns.emplace_back();
        for (std::size_t row = 0; row < count; ++row) {
            columns.back().push_back(
                values[row] == parts[2] ? std::nullopt : std::optional{values[row]}
            );
        }
    }
    return columns;
}

/// What a text reads as.
std::string text_of(std::string text) {
    const std::vector<relation_row> rows{{std::move(text)}};
    const auto columns = taken_apart(rows_text(*find_relation("mz_connections"), rows));
    REQUIRE(columns.at(0).at(0));
    return *columns[0][0];
}

using column = std::vector<std::optional<std::string>>;

}  // namespace

TEST_CASE("rows as text", "[rewrite][relations]") {
    const auto& r = *find_relation("mz_aws_privatelink_connections");
    CHECK(
        rows_text(r, {}) ==
        "\x1d\x1f\x1d\x1e\x1d"
        "0\x1d\x1d"
    );
    const std::vector<relation_row> two{{"a", std::monostate{}}, {""}};
    CHECK(
        rows_text(r, two) ==
        "\x1d\x1f\x1d\x1e\x1d"
        "2\x1d"
        "a\x1f\x1f\x1d\x1e\x1f\x1e\x1f"
    );

    const catalog::timestamp day{std::chrono::sys_days{std::chrono::year{2024} / 2 / 29}};
    const std::vector<relation_row> rows{
        {"u1", "main", "postgres", std::monostate{}, "", std::int64_t{7}, day + 3723000001us},
        {},
        {std::monostate{}, "x"}};
    const auto columns = taken_apart(rows_text(*find_relation("mz_connections"), rows));
    REQUIRE(columns.size() == 8);
    CHECK(columns[0] == column{"u1", std::nullopt, std::nullopt});
    CHECK(columns[1] == column{"main", std::nullopt, "x"});
    CHECK(columns[3] == column(3));
    CHECK(columns[4] == column{"", std::nullopt, std::nullopt});
    CHECK(columns[5] == column{"7", std::nullopt, std::nullopt});
    CHECK(columns[6] == column{"2024-02-29T01:02:03.000001Z", std::nullopt, std::nullopt});
    CHECK(columns[7] == column(3));

    const std::vector<relation_row> before{
        {"u1", "failed", catalog::timestamp{-1us}, std::monostate{}}};
    CHECK(
        taken_apart(rows_text(*find_relation("mz_connection_status_history"), before))[2] ==
        column{"1969-12-31T23:59:59.999999Z"}
    );
    relation_row notice(14);
    notice[9] = std::vector<std::string>{"u1", "a\"b\\c", ""};
    relation_row other(14);
    other[9] = std::vector<std::string>{};
    CHECK(
        taken_apart(
            rows_text(*find_relation("mz_notices"), std::vector<relation_row>{notice, other})
        )[9] == column{R"({"u1","a\"b\\c",""})", "{}"}
    );
}

TEST_CASE("texts in rows", "[rewrite][relations]") {
    for (const std::string same :
         {"",
          "a'b /~",
          "\"\\\n\x01\x7f",
          "\xc3\xa4\xe2\x82\xac",
          "\xf0\x9f\x9a\x82\xf4\x8f\xbf\xbf",
          "\xef\xbf\xbd"}) {
        CHECK(text_of(same) == same);
    }
    // NUL, bytes that begin nothing, cut short, overlong, surrogates, beyond U+10FFFF.
    const std::string bad = "\xef\xbf\xbd";
    CHECK(text_of(std::string{"a\0b", 3}) == "a" + bad + "b");
    CHECK(text_of("\x80\xff\xc0") == bad + bad + bad);
    CHECK(text_of("\xc3") == bad);
    CHECK(
        text_of("\xe2\x82"
                "a") == bad + bad + "a"
    );
    CHECK(text_of("\xc1\xbf") == bad + bad);
    CHECK(text_of("\xe0\x80\x80") == bad + bad + bad);
    CHECK(text_of("\xed\xa0\x80") == bad + bad + bad);
    CHECK(text_of("\xf4\x90\x80\x80") == bad + bad + bad + bad);
}

TEST_CASE("nothing in a row is taken for a separator", "[rewrite][relations]") {
    // Characters are found that no value has, in no element either.
    CHECK(text_of("\x1d|\x1e|\x1f") == "\x1d|\x1e|\x1f");
    CHECK(text_of("\x1f") == "\x1f");
    relation_row notice(14);
    notice[1] = "\x1f";
    notice[9] = std::vector<std::string>{"\x1e", "\x1d"};
    const auto columns =
        taken_apart(rows_text(*find_relation("mz_notices"), std::vector<relation_row>{notice}));
    CHECK(columns.at(1) == column{"\x1f"});
    CHECK(columns.at(9) == column{"{\"\x1e\",\"\x1d\"}"});

    std::string all;
    for (char c = 1; c < 0x20; ++c) {
        all += c;
    }
    // Three are left, all of them needed: 0x01 to 0x03.
    CHECK(text_of(all.substr(3)) == all.substr(3));
    // There are too few: what would be misread is replaced, and nothing else.
    const std::string bad = "\xef\xbf\xbd";
    CHECK(text_of(all) == all.substr(0, 0x1c) + bad + bad + bad);
    CHECK(text_of(all.substr(2)) == all.substr(2, 0x1a) + bad + bad + bad);
}
