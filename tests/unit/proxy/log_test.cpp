// Log lines: both formats, and that no value can forge a line or a field.
#include "proxy/log.hpp"

#include <catch2/catch.hpp>

#include <limits>
#include <vector>

namespace {

using namespace signalbox::proxy;

// 2026-01-02 03:04:05.678 UTC
constexpr std::chrono::system_clock::time_point moment{
    std::chrono::milliseconds{1'767'323'045'678}};

std::string text_of(std::string_view message, std::initializer_list<log::field> fields = {}) {
    return log::format_line(
        log::format::text, log::level::info, moment, message, {fields.begin(), fields.size()}
    );
}

std::string json_of(std::string_view message, std::initializer_list<log::field> fields = {}) {
    return log::format_line(
        log::format::json, log::level::info, moment, message, {fields.begin(), fields.size()}
    );
}

const std::string text_start = "2026-01-02 03:04:05.678 info  ";
const std::string json_start = R"({"time":"2026-01-02T03:04:05.678Z","level":"info","message":)";

}  // namespace

TEST_CASE("log: a line of text", "[log]") {
    CHECK(text_of("started") == text_start + "started");
    CHECK(
        text_of("login", {{"session", 12U}, {"user", "app"}, {"cause", std::string{"a b"}}}) ==
        text_start + R"(login session=12 user="app" cause="a b")"
    );
    CHECK(
        log::format_line(log::format::text, log::level::error, moment, "x", {}) ==
        "2026-01-02 03:04:05.678 error x"
    );
}

TEST_CASE("log: a line of JSON", "[log]") {
    CHECK(json_of("started") == json_start + R"("started"})");
    const std::vector<std::string> addresses{"127.0.0.1:6432", "[::1]:6432"};
    CHECK(
        json_of("ready", {{"addresses", addresses}, {"tls", true}, {"pid", -3}, {"load", 0.5}}) ==
        json_start +
            R"("ready","addresses":["127.0.0.1:6432","[::1]:6432"],"tls":true,"pid":-3,"load":0.5})"
    );
    CHECK(
        json_of("x", {{"n", std::numeric_limits<double>::infinity()}}) ==
        json_start + R"("x","n":null})"
    );
    CHECK(
        json_of("x", {{"n", std::numeric_limits<std::uint64_t>::max()}}) ==
        json_start + R"("x","n":18446744073709551615})"
    );
}

TEST_CASE("log: every control character is escaped in both formats", "[log]") {
    for (int byte = 0; byte < 256; ++byte) {
        const std::string value(1, static_cast<char>(byte));
        CAPTURE(byte);
        for (const std::string& line :
             {text_of("x", {{"v", value}}), json_of("x", {{"v", value}})}) {
            for (const char each : line) {
                const auto code = static_cast<unsigned char>(each);
                CHECK((code >= 0x20 && code != 0x7f));
            }
        }
        if (byte >= 0x20 && byte < 0x7f && byte != '"' && byte != '\\') {
            CHECK(text_of("x", {{"v", value}}) == text_start + "x v=\"" + value + "\"");
        }
    }
}

TEST_CASE("log: a value cannot forge a line or a field", "[log]") {
    const std::string forged =
        "x\" admin=\"1\n2026-01-02 03:04:05.678 info  all is well\r\t\x1b[2J\\";
    const std::string escaped =
        R"("x\" admin=\"1\n2026-01-02 03:04:05.678 info  all is well\r\t\u001b[2J\\")";
    CHECK(text_of("login", {{"user", forged}}) == text_start + "login user=" + escaped);
    CHECK(
        json_of("login", {{"user", forged}}) == json_start + "\"login\",\"user\":" + escaped + "}"
    );
    CHECK(text_of("a\nb") == text_start + "a\\nb");
}

TEST_CASE("log: UTF-8 stays, what is not UTF-8 is marked", "[log]") {
    CHECK(text_of("x", {{"v", "Grüße, 世界 🚦"}}) == text_start + R"(x v="Grüße, 世界 🚦")");

    struct row {
        std::string bytes;
        std::string text;
        std::string json;
    };

    const std::string mark = "\xef\xbf\xbd";
    const auto [bytes, text, json] = GENERATE_COPY(
        row{"\xff", R"(\xff)", mark},
        row{"a\xc3", R"(a\xc3)", "a" + mark},                        // cut short
        row{"\xc0\xaf", R"(\xc0\xaf)", mark + mark},                 // overlong
        row{"\xed\xa0\x80", R"(\xed\xa0\x80)", mark + mark + mark},  // a surrogate
        row{"\xf4\x90\x80\x80",
            R"(\xf4\x90\x80\x80)",
            mark + mark + mark + mark},                 // above U+10FFFF
        row{"\xc2\x85", R"(\u0085)", R"(\u0085)"},      // next line, in C1
        row{"\xe2\x80\xa8", R"(\u2028)", R"(\u2028)"},  // line separator
        row{"\xe2\x80\xae", R"(\u202e)", R"(\u202e)"}   // turns the direction of writing
    );
    CHECK(text_of("x", {{"v", bytes}}) == text_start + "x v=\"" + text + "\"");
    CHECK(json_of("x", {{"v", bytes}}) == json_start + "\"x\",\"v\":\"" + json + "\"}");
}

TEST_CASE("log: levels", "[log]") {
    CHECK(log::parse_level("trace") == log::level::trace);
    CHECK(log::parse_level("error") == log::level::error);
    CHECK_FALSE(log::parse_level("loud"));
    log::set_level(log::level::warn);
    CHECK_FALSE(log::is_enabled(log::level::info));
    CHECK(log::is_enabled(log::level::warn));
    log::set_level(log::level::info);
    CHECK(log::is_enabled(log::level::info));
    CHECK_FALSE(log::is_enabled(log::level::debug));
}
