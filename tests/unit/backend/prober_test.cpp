// What a failed connection attempt says about a server; the prober itself is tested against real
// ones.
#include "backend/prober.hpp"

#include <catch2/catch.hpp>

#include <memory>
#include <string>

using namespace signalbox::backend;

namespace {

probe_request request_for(const std::string& database, bool has_login) {
    auto target = std::make_shared<server_target>();
    target->database = database;
    probe_request request;
    request.target = std::move(target);
    request.has_login = has_login;
    return request;
}

connect_failure failure(const std::string& sqlstate, const std::string& message = "its words") {
    return {
        .unreachable = false,
        .sqlstate = sqlstate,
        .message = message,
        .detail = {},
        .at = {.host = "db.example", .port = 6000}};
}

}  // namespace

TEST_CASE("which refusals show that a server answers", "[backend][prober]") {
    struct row {
        const char* sqlstate;
        bool with_login;
        bool without_login;
    };

    const auto r = GENERATE(
        row{"", false, false},       // the system's: refused, timed out
        row{"28000", false, true},   // no such role, no line in pg_hba.conf
        row{"28P01", false, true},   // a wrong password
        row{"3D000", false, false},  // the database that was asked for is missing
        row{"08006", false, false},  // TLS
        row{"08P01", false, false},  // another protocol
        row{"53300", false, false},  // no connection left
        row{"57P01", false, false},  // ended meanwhile
        row{"57P03", false, false},  // starting up
        row{"0A000", false, false},  // another version of the protocol
        row{"XX000", false, false}
    );
    CAPTURE(r.sqlstate);
    for (const bool has_login : {true, false}) {
        CAPTURE(has_login);
        const auto outcome = judge_failure(failure(r.sqlstate), request_for("app", has_login));
        const bool expected = has_login ? r.with_login : r.without_login;
        CHECK(outcome.is_available == expected);
        CHECK(outcome.error == (expected ? "" : "its words"));
        CHECK(outcome.sqlstate == (expected ? "" : r.sqlstate));
        CHECK(outcome.host == "db.example");
        CHECK(outcome.port == 6000);
        CHECK_FALSE(outcome.is_cancelled);
    }
}

TEST_CASE("a missing database counts only where one is named", "[backend][prober]") {
    const bool has_login = GENERATE(true, false);
    CHECK(judge_failure(failure("3D000"), request_for("", has_login)).is_available);
    CHECK_FALSE(judge_failure(failure("3D000"), request_for("app", has_login)).is_available);
}

TEST_CASE("a server that repeats the password is not repeated", "[backend][prober]") {
    auto request = request_for("app", true);
    request.credentials.password = "long-enough";
    const auto outcome =
        judge_failure(failure("28P01", "long-enough is wrong, long-enough!"), request);
    CHECK(outcome.error == "*** is wrong, ***!");
    // A short one is a word like any other: hiding it would show where it is.
    request.credentials.password = "app";
    CHECK(judge_failure(failure("28P01", "role app"), request).error == "role app");
}
