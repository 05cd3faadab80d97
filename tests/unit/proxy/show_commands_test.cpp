// The SHOW forms about connections: which rows a snapshot gives, and what LIKE takes.
#include "proxy/show_commands.hpp"

#include <catch2/catch.hpp>

#include <random>

using namespace signalbox;
using namespace signalbox::proxy;

namespace {

using row = std::vector<std::optional<std::string>>;

std::size_t first_character(std::string_view text) {
    std::size_t size = 1;
    while (size < text.size() && (static_cast<unsigned char>(text[size]) & 0xc0U) == 0x80U) {
        ++size;
    }
    return size;
}

/// LIKE as the SQL standard words it, whatever it costs.
bool slow_like(std::string_view text, std::string_view pattern) {
    if (pattern.empty()) {
        return text.empty();
    }
    if (pattern[0] == '%') {
        return slow_like(text, pattern.substr(1)) ||
               (!text.empty() && slow_like(text.substr(first_character(text)), pattern));
    }
    const bool is_any = pattern[0] == '_';
    if (pattern[0] == '\\' && pattern.size() > 1) {
        pattern.remove_prefix(1);
    }
    if (text.empty()) {
        return false;
    }
    const auto taken = text.substr(0, first_character(text));
    const auto wanted = pattern.substr(0, first_character(pattern));
    return (is_any || taken == wanted) &&
           slow_like(text.substr(taken.size()), pattern.substr(wanted.size()));
}

catalog::connection_entry entry(std::string id, std::string name, std::string owner) {
    catalog::connection_entry made;
    made.stored.id = std::move(id);
    made.stored.name = std::move(name);
    made.stored.owner = std::move(owner);
    made.create_sql = "CREATE CONNECTION " + made.stored.name;
    return made;
}

/// "main", that failed, before "My_Conn", that was never looked at; and one that was dropped.
catalog::connection_snapshot some() {
    catalog::connection_snapshot known;
    known.connections = {entry("u2", "main", "boss"), entry("", "My_Conn", "")};
    known.connections[0].status = "failed";
    known.connections[0].error = "no";
    known.connections[0].last_status_change_at = catalog::timestamp{std::chrono::microseconds{1}};
    known.connections[1].stored.type = catalog::connection_type::kafka;
    const auto event = [](std::string id, std::string status, std::int64_t us) {
        return catalog::status_event{
            .connection_id = std::move(id),
            .status = std::move(status),
            .error = std::nullopt,
            .occurred_at = catalog::timestamp{std::chrono::microseconds{us}}};
    };
    known.history = {event("u1", "deleted", 0), event("u2", "failed", 1)};
    return known;
}

std::vector<row> rows_of(const parser::command& asked) {
    const auto reply = show(asked, some());
    REQUIRE(reply);
    CHECK_FALSE(reply->error);
    CHECK(reply->tag == "SHOW");
    for (const auto& each : reply->rows) {
        CHECK(each.size() == reply->columns.size());
    }
    return reply->rows;
}

}  // namespace

TEST_CASE("LIKE", "[proxy][show]") {
    struct example {
        std::string text;
        std::string pattern;
        bool matches;
    };

    const auto [text, pattern, matches] = GENERATE(values<example>(
        {{"", "", true},
         {"", "%", true},
         {"", "%%", true},
         {"", "_", false},
         {"", "a", false},
         {"a", "", false},
         {"main", "main", true},
         {"main", "Main", false},  // as names, which are compared as they are
         {"main", "mai", false},
         {"main", "mains", false},
         {"main", "ma%", true},
         {"main", "%in", true},
         {"main", "%ai%", true},
         {"main", "m%n", true},
         {"main", "%main%", true},
         {"main", "m%x", false},
         {"main", "____", true},
         {"main", "___", false},
         {"main", "_____", false},
         {"main", "_%_", true},
         {"m", "_%_", false},
         {"abab", "%ab", true},  // the first ab is not the last
         {"aab", "%ab", true},
         {"abcabd", "a%b%d", true},
         {"abcabd", "a%d%b", false},
         // A backslash takes the meaning away from what follows.
         {"a%", "a\\%", true},
         {"ab", "a\\%", false},
         {"a_", "a\\_", true},
         {"ab", "a\\_", false},
         {"a\\b", "a\\\\b", true},
         {"a\\b", "a\\b", false},
         {"ab", "a\\b", true},
         {"x%y", "%\\%%", true},
         {"xy", "%\\%%", false},
         {"a\\", "a\\", true},  // at the end it stands for itself
         {"a", "a\\", false},
         // A character may have several bytes.
         {"\xc3\xa4", "_", true},
         {"\xc3\xa4", "__", false},
         {"\xe2\x82\xac\xf0\x9f\x9a\x82", "__", true},
         {"a\xc3\xa4z", "%_z", true},
         {"\xc3\xa4", "\xc3\xa4", true},
         {"\xc3\xa4", "\\\xc3\xa4", true},
         {"\xc3\xa4", "%\xc3\xb6", false}}
    ));
    CAPTURE(text, pattern);
    CHECK(matches_like(text, pattern) == matches);
    CHECK(slow_like(text, pattern) == matches);
}

TEST_CASE("LIKE: many random patterns", "[proxy][show]") {
    std::mt19937 random{20240229};
    const auto made = [&](const std::vector<std::string>& of, std::size_t most) {
        std::string out;
        for (auto n = std::uniform_int_distribution<std::size_t>{0, most}(random); n > 0; --n) {
            out += of[std::uniform_int_distribution<std::size_t>{0, of.size() - 1}(random)];
        }
        return out;
    };
    int matched = 0;
    for (int i = 0; i < 20'000; ++i) {
        const auto text = made({"a", "b", "%", "_", "\\", "\xc3\xa4"}, 8);
        const auto pattern = made({"a", "b", "%", "%", "_", "\\", "\xc3\xa4"}, 8);
        const bool expected = slow_like(text, pattern);
        matched += expected ? 1 : 0;
        if (matches_like(text, pattern) != expected) {
            CAPTURE(text, pattern, expected);
            FAIL();
        }
    }
    CHECK(matched > 1'000);
}

TEST_CASE("LIKE takes no longer than the product of both sizes", "[proxy][show]") {
    std::string pattern;
    for (int i = 0; i < 200; ++i) {
        pattern += "%a";
    }
    CHECK_FALSE(matches_like(std::string(5'000, 'a') + "b", pattern + "%c"));
}

TEST_CASE("SHOW CONNECTIONS", "[proxy][show]") {
    const row capital{"My_Conn", "kafka", std::nullopt, "unknown"};
    const row small{"main", "postgres", "boss", "failed"};
    CHECK(rows_of(parser::show_connections{}) == std::vector<row>{capital, small});
    CHECK(rows_of(parser::show_connections{"m%"}) == std::vector<row>{small});
    CHECK(rows_of(parser::show_connections{"%\\_%"}) == std::vector<row>{capital});
    CHECK(rows_of(parser::show_connections{""}).empty());
}

TEST_CASE("SHOW CREATE CONNECTION, STATUS and HISTORY", "[proxy][show]") {
    CHECK(
        rows_of(parser::show_create_connection{"main"}) ==
        std::vector<row>{{"main", "CREATE CONNECTION main"}}
    );
    const row never{std::nullopt, "My_Conn", "kafka", std::nullopt, "unknown", std::nullopt};
    const row failed{"u2", "main", "postgres", "1970-01-01 00:00:00.000001+00", "failed", "no"};
    CHECK(rows_of(parser::show_connection_status{}) == std::vector<row>{never, failed});
    CHECK(rows_of(parser::show_connection_status{"main"}) == std::vector<row>{failed});

    const row gone{std::nullopt, "u1", "deleted", "1970-01-01 00:00:00.000000+00", std::nullopt};
    const row told{"main", "u2", "failed", "1970-01-01 00:00:00.000001+00", std::nullopt};
    CHECK(rows_of(parser::show_connection_history{}) == std::vector<row>{gone, told});
    CHECK(rows_of(parser::show_connection_history{"main"}) == std::vector<row>{told});
    CHECK(rows_of(parser::show_connection_history{"My_Conn"}).empty());
}

TEST_CASE("SHOW: a name that nothing has", "[proxy][show]") {
    const auto asked = GENERATE(
        as<parser::command>{},
        parser::show_create_connection{"Main"},
        parser::show_connection_status{"Main"},
        parser::show_connection_history{"Main"}
    );
    const auto reply = show(asked, some());
    REQUIRE(reply);
    REQUIRE(reply->error);
    CHECK(reply->error->sqlstate == "42704");
    CHECK(reply->error->message == "connection \"Main\" does not exist");
}

TEST_CASE("SHOW: what is no form about connections is another's", "[proxy][show]") {
    CHECK_FALSE(show(parser::show_notices{}, some()));
    CHECK_FALSE(show(parser::validate_connection{"main"}, some()));
    CHECK(columns_of(parser::validate_connection{"main"}).empty());
    CHECK(columns_of(parser::show_notices{}).size() == 8);
}
