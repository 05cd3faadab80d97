// Reports: made, read, and made again with another severity or name.
#include "wire/error_response.hpp"

#include "tests/support/exact_buffer.hpp"
#include "tests/support/frames.hpp"
#include "wire/messages.hpp"

#include <catch2/catch.hpp>

#include <string>

using namespace signalbox::wire;
using namespace std::string_view_literals;
using signalbox::tests::exact_buffer;
using signalbox::tests::split_frames;

namespace {

constexpr auto postgres_report =
    "SFEHLER\0VERROR\0C42P01\0MRelation \xc2\xbbx\xc2\xab existiert "
    "nicht\0Dd\0Hh\0P15\0Fparse_relation.c\0"
    "L1392\0RparserOpenTable\0\0"sv;

std::string edited(
    std::string_view body,
    std::string_view severity,
    std::string_view from,
    std::string_view to,
    std::size_t position = 0
) {
    std::string out;
    write_edited_report(
        out,
        server_message::error_response,
        exact_buffer{body},
        {.severity = severity, .from = from, .to = to, .position = position}
    );
    const auto frames = split_frames(out);
    REQUIRE(frames.size() == 1);
    CHECK(frames[0].type == 'E');
    return frames[0].body;
}

}  // namespace

TEST_CASE("a report's position is moved, its internal position is not", "[wire][report]") {
    CHECK(edited("P15\0p7\0\0"sv, {}, {}, {}, 25) == "P25\0p7\0\0"sv);
    CHECK(edited("P15\0\0"sv, {}, {}, {}) == "P15\0\0"sv);
    CHECK(edited("p7\0\0"sv, {}, {}, {}, 25) == "p7\0\0"sv);
}

TEST_CASE("a report goes round", "[wire][report]") {
    std::string out;
    write_error_response(
        out, {.severity = "FATAL", .sqlstate = "08P01", .message = "m", .detail = "d", .hint = "h"}
    );
    write_notice_response(
        out, {.severity = "NOTICE", .sqlstate = "00000", .message = "n", .detail = {}, .hint = {}}
    );
    const auto frames = split_frames(out);
    REQUIRE(frames.size() == 2);
    CHECK(frames[0].type == 'E');
    CHECK(frames[0].body == "SFATAL\0VFATAL\0C08P01\0Mm\0Dd\0Hh\0\0"sv);
    CHECK(frames[1].type == 'N');
    CHECK(frames[1].body == "SNOTICE\0VNOTICE\0C00000\0Mn\0\0"sv);
    const exact_buffer error{frames[0].body};
    const auto read = parse_report(error).value();
    CHECK(read.severity == "FATAL");
    CHECK(read.is_fatal());
    CHECK(read.sqlstate == "08P01");
    CHECK(read.message == "m");
    CHECK(read.detail == "d");
    CHECK(read.hint == "h");
    CHECK_FALSE(parse_report(exact_buffer{frames[1].body}).value().is_fatal());
}

TEST_CASE("the severity that is never translated wins", "[wire][report]") {
    const exact_buffer input{postgres_report};
    const auto read = parse_report(input).value();
    CHECK(read.severity == "ERROR");
    CHECK(read.sqlstate == "42P01");
    CHECK(read.routine == "parserOpenTable");
    CHECK(parse_report("SPANIC\0\0"sv).value().is_fatal());
    CHECK(parse_report("SFATAL\0VERROR\0\0"sv).value().is_fatal() == false);
}

TEST_CASE("a report without SQLSTATE, and an empty one, are reports", "[wire][report]") {
    const auto read = parse_report("SERROR\0Mno code\0\0"sv).value();
    CHECK(read.sqlstate.empty());
    CHECK(read.message == "no code");
    CHECK(parse_report("\0"sv).value().severity.empty());
}

TEST_CASE("fields that are not known are passed over", "[wire][report]") {
    CHECK(parse_report("Zwhat\0?\0Mm\0\0"sv).value().message == "m");
}

TEST_CASE("a report cut anywhere is truncated, one with more is trailing", "[wire][report]") {
    for (std::size_t n = 0; n < postgres_report.size(); ++n) {
        CAPTURE(n);
        const exact_buffer input{postgres_report.substr(0, n)};
        CHECK(parse_report(input).error() == wire_errc::truncated);
    }
    CHECK(
        parse_report(exact_buffer{std::string{postgres_report} + "x"}).error() ==
        wire_errc::trailing_bytes
    );
}

TEST_CASE("a report edited with nothing is the same report", "[wire][report]") {
    CHECK(edited(postgres_report, {}, {}, {}) == postgres_report);
    CHECK(edited(postgres_report, {}, "not there", "x") == postgres_report);
}

TEST_CASE("both severities are replaced", "[wire][report]") {
    CHECK(
        edited("SFEHLER\0VERROR\0C1\0Mm\0\0"sv, "FATAL", {}, {}) == "SFATAL\0VFATAL\0C1\0Mm\0\0"sv
    );
}

TEST_CASE("a name is replaced in the message, once, and nowhere else", "[wire][report]") {
    CHECK(
        edited(
            "SERROR\0Dsignalbox_1\0Mstatement \"signalbox_1\" signalbox_1\0\0"sv,
            {},
            "signalbox_1",
            "mine"
        ) == "SERROR\0Dsignalbox_1\0Mstatement \"mine\" signalbox_1\0\0"sv
    );
    CHECK(edited("Mabc\0\0"sv, {}, "abc", "") == "M\0\0"sv);
}

TEST_CASE("a report that is cut is edited into one that is whole", "[wire][report]") {
    for (std::size_t n = 0; n < postgres_report.size(); ++n) {
        CAPTURE(n);
        const auto body = edited(postgres_report.substr(0, n), "FATAL", "Relation", "Table");
        CHECK(parse_report(exact_buffer{body}).has_value());
    }
}
