// target_session_attrs, as libpq decides it: from what the login reported, or from one question.
#include "backend/session_attributes.hpp"

#include <catch2/catch.hpp>

#include <optional>
#include <string>

using signalbox::backend::session_facts;
using signalbox::backend::session_misfit;
using signalbox::backend::session_question;
using wanted = signalbox::catalog::target_session_attrs;

namespace {

constexpr const char* ask_writable = "SHOW transaction_read_only";
constexpr const char* ask_recovery = "SELECT pg_catalog.pg_is_in_recovery()";

session_facts reported(const char* in_hot_standby, const char* default_read_only) {
    session_facts facts;
    facts.note("in_hot_standby", in_hot_standby);
    facts.note("default_transaction_read_only", default_read_only);
    return facts;
}

}  // namespace

TEST_CASE("only the two parameters are taken, and on is on", "[backend][session_attributes]") {
    session_facts facts;
    facts.note("transaction_read_only", "on");
    facts.note("TimeZone", "on");
    CHECK_FALSE(facts.in_hot_standby);
    CHECK_FALSE(facts.default_read_only);
    facts.note("in_hot_standby", "on");
    facts.note("default_transaction_read_only", "off");
    CHECK(facts.in_hot_standby == true);
    CHECK(facts.default_read_only == false);
}

TEST_CASE("what the login reported decides without a question", "[backend][session_attributes]") {
    struct row {
        wanted attrs;
        const char* in_hot_standby;
        const char* default_read_only;
        const char* misfit;
    };

    const auto r = GENERATE(
        row{wanted::any, "on", "on", ""},
        row{wanted::read_write, "off", "off", ""},
        row{wanted::read_write, "on", "off", "session is read-only"},
        row{wanted::read_write, "off", "on", "session is read-only"},
        row{wanted::read_only, "off", "off", "session is not read-only"},
        row{wanted::read_only, "on", "off", ""},
        row{wanted::read_only, "off", "on", ""},
        row{wanted::primary, "off", "on", ""},
        row{wanted::primary, "on", "off", "server is in hot standby mode"},
        row{wanted::standby, "on", "off", ""},
        row{wanted::standby, "off", "on", "server is not in hot standby mode"},
        row{wanted::prefer_standby, "on", "off", ""},
        row{wanted::prefer_standby, "off", "off", "server is not in hot standby mode"}
    );
    CAPTURE(static_cast<int>(r.attrs), r.in_hot_standby, r.default_read_only);
    const auto facts = reported(r.in_hot_standby, r.default_read_only);
    CHECK(std::string{session_question(r.attrs, facts)}.empty());
    CHECK(session_misfit(r.attrs, facts) == r.misfit);
}

TEST_CASE("a server that reports too little is asked", "[backend][session_attributes]") {
    struct row {
        wanted attrs;
        const char* question;
        const char* misfit_on_yes;
        const char* misfit_on_no;
    };

    const auto r = GENERATE(
        row{wanted::any, "", "", ""},
        row{wanted::read_write, ask_writable, "session is read-only", ""},
        row{wanted::read_only, ask_writable, "", "session is not read-only"},
        row{wanted::primary, ask_recovery, "server is in hot standby mode", ""},
        row{wanted::standby, ask_recovery, "", "server is not in hot standby mode"},
        row{wanted::prefer_standby, ask_recovery, "", "server is not in hot standby mode"}
    );
    CAPTURE(static_cast<int>(r.attrs));
    session_facts facts;
    CHECK(session_question(r.attrs, facts) == r.question);
    facts.answer = true;
    CHECK(session_misfit(r.attrs, facts) == r.misfit_on_yes);
    facts.answer = false;
    CHECK(session_misfit(r.attrs, facts) == r.misfit_on_no);
}

TEST_CASE(
    "one of two is enough only where the other does not matter", "[backend][session_attributes]"
) {
    session_facts standby_only;
    standby_only.note("in_hot_standby", "off");
    // The answer wins over the half that was reported.
    standby_only.answer = true;
    CHECK(session_question(wanted::read_write, standby_only) == ask_writable);
    CHECK(session_misfit(wanted::read_write, standby_only) == "session is read-only");
    CHECK(session_question(wanted::primary, standby_only).empty());
    CHECK(session_misfit(wanted::primary, standby_only).empty());

    session_facts default_only;
    default_only.note("default_transaction_read_only", "off");
    CHECK(session_question(wanted::read_write, default_only) == ask_writable);
    CHECK(session_question(wanted::standby, default_only) == ask_recovery);
}
