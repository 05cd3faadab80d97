// The relay with simple queries: who gets what, when the server connection goes back, what is
// refused.
#include "tests/support/model_world.hpp"

#include <catch2/catch.hpp>

using namespace signalbox::proxy;
using namespace signalbox::tests;
using namespace std::string_view_literals;

TEST_CASE("a simple query takes a server connection and gives it back", "[proxy][relay]") {
    relay_world world{SIGNALBOX_CHUNKS};
    auto& server = world.add_server();
    auto& client = world.add_client();
    client.send(query("select 1"));
    CHECK(server.got() == "Query(select 1)");
    CHECK(client.relay.is_busy());
    server.reply(columns({"a"}) + row({"1"}) + complete("SELECT 1"));
    CHECK(client.got() == "Columns Row(1) Complete(SELECT 1)");
    CHECK_FALSE(server.is_idle());
    server.reply(ready());
    CHECK(client.got() == "Ready(I)");
    CHECK(server.is_idle());
    CHECK_FALSE(client.relay.is_busy());
}

TEST_CASE("queries sent without waiting are answered in order", "[proxy][relay]") {
    relay_world world{SIGNALBOX_CHUNKS};
    auto& server = world.add_server();
    auto& client = world.add_client();
    client.send(query("select 1") + query("") + query("fail") + query("select 2"));
    CHECK(server.got() == "Query(select 1) Query() Query(fail) Query(select 2)");
    server.reply(complete("SELECT 1") + ready());
    CHECK_FALSE(server.is_idle());
    server.reply(empty_query() + ready() + error("42601", "no") + ready());
    CHECK_FALSE(server.is_idle());
    server.reply(complete("SELECT 2") + ready());
    CHECK(
        client.got() ==
        "Complete(SELECT 1) Ready(I) EmptyQuery Ready(I) ERROR(42601 no) Ready(I) Complete(SELECT "
        "2) Ready(I)"
    );
    CHECK(server.is_idle());
}

TEST_CASE("a transaction keeps its server connection, a failed one as well", "[proxy][relay]") {
    relay_world world{SIGNALBOX_CHUNKS};
    auto& server = world.add_server();
    auto& client = world.add_client();
    auto& other = world.add_client();
    client.send(query("begin"));
    server.reply(complete("BEGIN") + ready('T'));
    CHECK_FALSE(server.is_idle());
    CHECK(client.relay.in_transaction());
    other.send(query("select 1"));
    CHECK(other.waits);
    client.send(query("fail"));
    server.reply(error("XX000", "no") + ready('E'));
    CHECK_FALSE(server.is_idle());
    client.send(query("rollback"));
    server.reply(complete("ROLLBACK") + ready());
    CHECK(server.is_idle());
    CHECK(
        client.got() ==
        "Complete(BEGIN) Ready(T) ERROR(XX000 no) Ready(E) Complete(ROLLBACK) Ready(I)"
    );
    server.got();
    other.resume();
    CHECK(server.got() == "Query(select 1)");
}

TEST_CASE("what a server says unasked reaches the client", "[proxy][relay]") {
    relay_world world{SIGNALBOX_CHUNKS};
    auto& server = world.add_server();
    auto& client = world.add_client();
    client.send(query("select 1"));
    server.reply(
        notice("n") + notification(server.state.process_id) + status("TimeZone", "UTC") +
        complete("SELECT 1") + ready()
    );
    CHECK(
        client.got() ==
        "NOTICE(00000 n) Notification(c,p) Status(TimeZone=UTC) Complete(SELECT 1) Ready(I)"
    );
}

TEST_CASE("Terminate ends the session, wherever it is", "[proxy][relay]") {
    relay_world world{SIGNALBOX_CHUNKS};
    auto& server = world.add_server();
    auto& client = world.add_client();
    SECTION("at rest") {
        client.send(terminate());
        CHECK(server.got().empty());
    }
    SECTION("busy") {
        client.send(query("select 1") + terminate());
        CHECK(server.got() == "Query(select 1)");
        CHECK(client.relay.is_doubtful());
    }
    CHECK(client.terminated);
}

TEST_CASE("Sync, Flush and late COPY messages at rest need no server", "[proxy][relay]") {
    relay_world world{SIGNALBOX_CHUNKS};
    auto& client = world.add_client();
    client.send(
        flush() + sync_message() + copy_data("x") + copy_done() + copy_fail("y") + sync_message()
    );
    CHECK(client.got() == "Ready(I) Ready(I)");
    CHECK_FALSE(client.waits);
    CHECK(client.held.empty());
}

TEST_CASE("what is no message is fatal", "[proxy][relay]") {
    relay_world world{SIGNALBOX_CHUNKS};
    world.settings.max_message_size = 10'000;
    world.add_server();
    auto& client = world.add_client();
    SECTION("type") {
        client.send(message('z'));
        CHECK(client.relay.fatal().sqlstate == "08P01");
        CHECK(client.relay.fatal().message == "invalid frontend message type 122");
    }
    SECTION("type that only a client at login sends") {
        client.send(message('p', "secret"));
        CHECK(client.relay.fatal().sqlstate == "08P01");
    }
    SECTION("length") {
        client.send(std::string_view{"Q\0\0\0\3", 5});
        CHECK(client.relay.fatal().sqlstate == "08P01");
        CHECK(client.relay.fatal().message == "invalid message length");
    }
    SECTION("size") {
        client.send(std::string_view{"Q\0\0\x27\x11", 5});
        CHECK(client.relay.fatal().sqlstate == "54000");
    }
    SECTION("all that a length can say") {
        client.send(std::string_view{"Q\xff\xff\xff\xff", 5});
        CHECK(client.relay.fatal().sqlstate == "08P01");  // -1, as PostgreSQL reads it
    }
    CHECK(client.fatal);
    CHECK(client.relay.fatal().severity == "FATAL");
}

TEST_CASE("a server that does not keep the protocol is found out", "[proxy][relay]") {
    relay_world world{SIGNALBOX_CHUNKS};
    auto& server = world.add_server();
    auto& client = world.add_client();
    client.send(query("select 1"));
    const auto bytes = GENERATE(
        as<std::string>{},
        message('?'),
        std::string("C\0\0\0\3", 5),
        ready('X'),
        message('Z', "II"),
        message('C', "no end"),
        message('S', "x"),
        parse_complete(),
        bind_complete(),
        close_complete(),
        message('R', std::string_view{"\0\0\0\0", 4}),
        message('K', "12345678"),
        message('v', std::string_view{"\0\0\0\0\0\0\0\0", 8})
    );
    for (const char c : bytes) {
        if (client.step != relay::server_step::fine) {
            break;
        }
        world.chunk = 0;
        server.reply(std::string_view{&c, 1});
    }
    CHECK(client.step == relay::server_step::broken);
    CHECK_FALSE(client.relay.may_release());
    CHECK(client.relay.is_doubtful());
}

TEST_CASE(
    "a server that says more ReadyForQuery than it was asked for is not used again",
    "[proxy][relay]"
) {
    relay_world world{SIGNALBOX_CHUNKS};
    auto& server = world.add_server();
    auto& client = world.add_client();
    client.send(query("begin"));
    server.reply(complete("BEGIN") + ready('T') + ready('I'));
    CHECK(server.lost);
    CHECK(server.state.doubtful);
}

TEST_CASE("FATAL between two messages is the server's last word", "[proxy][relay]") {
    relay_world world{SIGNALBOX_CHUNKS};
    auto& server = world.add_server();
    auto& client = world.add_client();
    client.send(query("select 1"));
    for (const char c : error("57P01", "terminating connection", "FATAL")) {
        if (client.step == relay::server_step::fine) {
            world.chunk = 0;
            server.reply(std::string_view{&c, 1});
        }
    }
    CHECK(client.step == relay::server_step::lost);
    CHECK(client.got().empty());
    CHECK(signalbox::wire::parse_report(client.relay.fatal_body())->sqlstate == "57P01");
}

TEST_CASE(
    "an error without SQLSTATE, and one that cannot be read, are passed on", "[proxy][relay]"
) {
    relay_world world{SIGNALBOX_CHUNKS};
    auto& server = world.add_server();
    auto& client = world.add_client();
    client.send(query("a") + query("b"));
    server.reply(message('E', "SERROR\0Mx\0\0"sv) + ready());
    CHECK(client.got() == "ERROR( x) Ready(I)");
    server.reply(message('E', "garbage") + ready());
    CHECK(client.got() == "Report(?) Ready(I)");
    CHECK(server.is_idle());
}

TEST_CASE("session mode: the server connection stays, names and all", "[proxy][relay]") {
    relay_world world{SIGNALBOX_CHUNKS, pool_mode::session};
    auto& server = world.add_server();
    auto& client = world.add_client();
    client.send(
        parse("mine", "select 1") + bind_to("p", "mine") + execute("p") + close('S', "mine") +
        sync_message()
    );
    CHECK(server.got() == "Parse(mine,select 1) Bind(p,mine) Execute(p) Close(S mine) Sync");
    server.reply(
        parse_complete() + bind_complete() + complete("SELECT 1") + close_complete() + ready()
    );
    CHECK(client.got() == "ParseComplete BindComplete Complete(SELECT 1) CloseComplete Ready(I)");
    CHECK_FALSE(server.is_idle());
    CHECK(client.relay.carries_state());
    client.send(query("set my.x = 1; create temp table t ()"));
    CHECK(server.got() == "Query(set my.x = 1; create temp table t ())");
    server.reply(complete("SET") + complete("CREATE TABLE") + ready());
    CHECK(client.got() == "Complete(SET) Complete(CREATE TABLE) Ready(I)");
    CHECK(server.got().empty());
}

TEST_CASE(
    "statement mode refuses to open a transaction, and the session goes on", "[proxy][relay]"
) {
    model_world models{SIGNALBOX_CHUNKS, pool_mode::statement};
    auto& server = models.add_server();
    auto& client = models.add_client();
    const std::string refusal =
        "ERROR(0A000 explicit transactions are not supported in statement pool mode)";
    std::string expected;
    const bool waits = GENERATE(true, false);
    const auto send = [&](const std::string& bytes) {
        models.send(client, bytes);
        if (waits) {
            models.settle();
        }
    };
    SECTION("simple") {
        send(query("/* x */ begin"));
        expected = refusal + " Ready(I) ";
    }
    SECTION("simple, in its turn") {
        send(query("select 0") + query("begin"));
        expected = "Columns Row(0) Complete(SELECT 1) Ready(I) " + refusal + " Ready(I) ";
    }
    SECTION("extended: the batch is skipped up to Sync") {
        send(parse("", "start transaction") + bind_to("", "") + execute() + sync_message());
        expected = refusal + " Ready(I) ";
    }
    SECTION("extended, behind others") {
        send(parse("", "select 0") + parse("b", "begin") + bind_to("", "b") + sync_message());
        expected = "ParseComplete " + refusal + " Ready(I) ";
    }
    SECTION("extended, in a batch that has failed already") {
        send(parse("", "bad") + parse("b", "begin") + sync_message());
        expected = "ERROR(42601 syntax error) Ready(I) ";
    }
    send(query("select 1"));
    models.settle();
    CHECK(
        model_world::comparable(client.received) ==
        expected + "Columns Row(1) Complete(SELECT 1) Ready(I)"
    );
    CHECK(server.link.is_idle());
}

TEST_CASE("FunctionCall ends its batch itself, and may leave anything behind", "[proxy][relay]") {
    relay_world world{SIGNALBOX_CHUNKS};
    auto& server = world.add_server();
    auto& client = world.add_client();
    client.send(function_call());
    CHECK(server.got() == "FunctionCall");
    server.reply(message('V', std::string_view{"\xff\xff\xff\xff", 4}) + ready());
    CHECK(client.got() == "FunctionResult");
    CHECK(server.got() == "Query(<inspection>)");
    server.reply(complete("SELECT 0") + ready());
    CHECK(client.got() == "Ready(I)");
    CHECK(server.is_idle());
}

TEST_CASE("FunctionCall of what lasts ends the server connection", "[proxy][relay]") {
    relay_world world{SIGNALBOX_CHUNKS};
    auto& server = world.add_server();
    auto& client = world.add_client();
    const auto [oid, lasts] = GENERATE(
        table<std::uint32_t, bool>({{1598, false}, {1599, true}, {16383, false}, {16384, true}})
    );
    CAPTURE(oid);
    client.send(function_call(oid));
    server.reply(message('V', std::string_view{"\xff\xff\xff\xff", 4}) + ready());
    CHECK(server.state.tainted == lasts);
}

TEST_CASE(
    "a wait that ends without a server fails the request and not the session", "[proxy][relay]"
) {
    relay_world world{SIGNALBOX_CHUNKS};
    auto& client = world.add_client();
    SECTION("simple") {
        client.send(query("select 1"));
        CHECK(client.waits);
        client.fail_wait();
        CHECK(client.got() == "ERROR(53300 none free) Ready(I)");
    }
    SECTION("extended: one error, and the rest is skipped up to Sync") {
        client.send(
            parse("", "a") + bind_to("", "") + query("skipped") + execute() + sync_message()
        );
        CHECK(client.waits);
        client.fail_wait();
        CHECK(client.got() == "ERROR(53300 none free) Ready(I)");
    }
    CHECK(client.held.empty());
    auto& server = world.add_server();
    client.send(query("select 1"));
    CHECK(server.got() == "Query(select 1)");
}
