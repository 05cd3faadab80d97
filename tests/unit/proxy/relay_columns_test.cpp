// The relay where a prepared statement returns other columns than its client was told.
#include "tests/support/relay_world.hpp"

#include <catch2/catch.hpp>

using namespace signalbox::proxy;
using namespace signalbox::tests;

namespace {

/// Two server connections and a client that has described `s` on the first, as one column `a`; the
/// first is then another client's.
struct told_client {
    explicit told_client(std::size_t chunk) : world(chunk) {
        client.send(parse("s", "select a") + describe('S', "s") + sync_message());
        first.reply(parse_complete() + parameter_types() + columns({"a"}) + ready());
        first.got();
        client.got();
    }

    /// From here on the client gets the second.
    void keep_first_busy() {
        other.send(query("begin"));
        first.got();
        first.reply(complete("BEGIN") + ready('T'));
    }

    void run() { client.send(bind_to("", "s") + execute() + sync_message()); }

    relay_world world;
    test_server& first = world.add_server();
    test_client& client = world.add_client();
    test_client& other = world.add_client();
};

constexpr const char* question = "Parse(signalbox_1,select a) Describe(S signalbox_1) Flush";

}  // namespace

TEST_CASE("columns: where they are known, nothing is asked", "[proxy][relay][columns]") {
    told_client told{SIGNALBOX_CHUNKS};
    told.run();
    CHECK(told.first.got() == "Bind(,signalbox_1) Execute() Sync");
}

TEST_CASE("columns: a client that was told nothing asks for nothing", "[proxy][relay][columns]") {
    relay_world world{SIGNALBOX_CHUNKS};
    auto& first = world.add_server();
    auto& client = world.add_client();
    auto& other = world.add_client();
    client.send(parse("s", "select a") + sync_message());
    first.reply(parse_complete() + ready());
    other.send(query("begin"));
    first.reply(complete("BEGIN") + ready('T'));
    auto& second = world.add_server();
    client.send(bind_to("", "s") + execute() + sync_message());
    CHECK(second.got() == "Parse(signalbox_1,select a) Bind(,signalbox_1) Execute() Sync");
}

TEST_CASE(
    "columns: the same elsewhere: the Bind waits for the answer, once", "[proxy][relay][columns]"
) {
    told_client told{SIGNALBOX_CHUNKS};
    told.keep_first_busy();
    auto& second = told.world.add_server();
    told.run();
    CHECK(second.got() == question);
    second.reply(parse_complete() + parameter_types());
    CHECK(second.got().empty());
    second.reply(columns({"a"}));
    CHECK(second.got() == "Bind(,signalbox_1) Execute() Sync");
    second.reply(bind_complete() + row({"1"}) + complete("SELECT 1") + ready());
    CHECK(told.client.got() == "BindComplete Row(1) Complete(SELECT 1) Ready(I)");
    told.run();
    CHECK(second.got() == "Bind(,signalbox_1) Execute() Sync");
}

TEST_CASE("columns: others elsewhere are an error, as on one server", "[proxy][relay][columns]") {
    told_client told{SIGNALBOX_CHUNKS};
    told.keep_first_busy();
    auto& second = told.world.add_server();
    const bool by_parameters = GENERATE(false, true);
    told.run();
    second.reply(
        parse_complete() + (by_parameters ? parameter_types({23}) + columns({"a"})
                                          : parameter_types() + columns({"a", "b"}))
    );
    CHECK(second.got() == std::string{question} + " Parse(,REFUSED BY SIGNALBOX) Execute() Sync");
    second.reply(error("42601", "syntax error") + ready());
    CHECK(told.client.got() == "ERROR(0A000 cached plan must not change result type) Ready(I)");
    CHECK(second.is_idle());

    SECTION("again, until the client prepares it anew") {
        told.run();
        CHECK(
            second.got() ==
            "Close(S signalbox_1) Parse(signalbox_2,select a) Describe(S signalbox_2) Flush"
        );
        second.reply(close_complete() + parse_complete() + parameter_types({23}) + columns({"a"}));
        CHECK(second.got() == "Parse(,REFUSED BY SIGNALBOX) Execute() Sync");
        second.reply(error("42601", "syntax error") + ready());
        told.client.got();
        told.client.send(
            close('S', "s") + parse("s", "select a") + describe('S', "s") + sync_message()
        );
        second.reply(parameter_types({23}) + columns({"a"}) + ready());
        second.got();
        told.run();
        CHECK(second.got() == "Bind(,signalbox_2) Execute() Sync");
    }
}

TEST_CASE(
    "columns: a plan that another client has made is asked for what it returns",
    "[proxy][relay][columns]"
) {
    told_client told{SIGNALBOX_CHUNKS};
    told.keep_first_busy();
    auto& second = told.world.add_server();
    auto& third = told.world.add_client();
    third.send(parse("mine", "select a") + sync_message());
    second.got();
    second.reply(parse_complete() + ready());
    told.run();
    CHECK(second.got() == "Describe(S signalbox_1) Flush");
    second.reply(parameter_types() + columns({"a"}));
    CHECK(second.got() == "Bind(,signalbox_1) Execute() Sync");
}

TEST_CASE(
    "columns: a plan with older ones than the client was told is made anew",
    "[proxy][relay][columns]"
) {
    told_client told{SIGNALBOX_CHUNKS};
    told.keep_first_busy();
    auto& second = told.world.add_server();
    told.client.send(describe('S', "s") + sync_message());
    second.got();
    second.reply(parse_complete() + parameter_types() + columns({"a", "b"}) + ready());
    told.client.got();
    auto& third = told.world.add_client();
    third.send(query("begin"));
    second.got();
    second.reply(complete("BEGIN") + ready('T'));
    told.other.send(query("commit"));
    told.first.got();
    told.first.reply(complete("COMMIT") + ready());
    told.run();
    CHECK(
        told.first.got() ==
        "Close(S signalbox_1) Parse(signalbox_2,select a) Describe(S signalbox_2) Flush"
    );
    told.first.reply(close_complete() + parse_complete() + parameter_types() + columns({"a", "b"}));
    CHECK(told.first.got() == "Bind(,signalbox_2) Execute() Sync");
}

TEST_CASE("columns: a question that fails is asked again", "[proxy][relay][columns]") {
    told_client told{SIGNALBOX_CHUNKS};
    told.keep_first_busy();
    auto& second = told.world.add_server();
    told.run();
    CHECK(second.got() == question);
    second.reply(error("42P01", "relation \"t\" does not exist"));
    CHECK(second.got() == "Sync");
    second.reply(ready());
    CHECK(told.client.got() == "ERROR(42P01 relation \"t\" does not exist) Ready(I)");
    told.run();
    CHECK(second.got() == "Parse(signalbox_2,select a) Describe(S signalbox_2) Flush");
    second.reply(parse_complete());
    second.reply(error("57014", "canceling statement due to user request"));
    second.got();
    second.reply(ready());
    told.client.got();
    told.run();
    CHECK(second.got() == "Describe(S signalbox_2) Flush");
}

TEST_CASE(
    "columns: a Bind that is refused leaves the unnamed statement", "[proxy][relay][columns]"
) {
    told_client told{SIGNALBOX_CHUNKS};
    told.client.send(parse("", "select mine") + sync_message());
    told.first.reply(parse_complete() + ready());
    told.first.got();
    told.keep_first_busy();
    auto& second = told.world.add_server();
    told.run();
    second.reply(parse_complete() + parameter_types() + columns({"other"}));
    second.got();
    second.reply(error("42601", "syntax error") + ready());
    told.client.send(bind_to("", "") + execute() + sync_message());
    CHECK(second.got() == "Parse(,select mine) Bind(,) Execute() Sync");
}

TEST_CASE(
    "columns: what a repeated batch has parsed anew is not what others were told",
    "[proxy][relay][columns]"
) {
    told_client told{0};  // only what was sent in one piece is repeated
    // The text is known on the server connection: the Parse is answered here, and the batch is the
    // first to use it.
    told.other.send(parse("mine", "select a") + sync_message());
    told.first.reply(ready());
    told.first.got();
    told.other.send(bind_to("", "mine") + execute() + sync_message());
    CHECK(told.first.got() == "Bind(,signalbox_1) Execute() Sync");
    told.first.reply(stale_plan() + ready());
    CHECK(
        told.first.got() ==
        "Close(S signalbox_1) Parse(signalbox_1,select a) Bind(,signalbox_1) Execute() Sync"
    );
    told.first.reply(
        close_complete() + parse_complete() + bind_complete() + complete("SELECT 1") + ready()
    );
    told.run();
    CHECK(told.first.got() == "Describe(S signalbox_1) Flush");
}
