// The relay when its server connection is gone: who is told what, and that nothing is ever sent
// twice.
#include "tests/support/relay_world.hpp"

#include <catch2/catch.hpp>

using namespace signalbox::proxy;
using namespace signalbox::tests;
using loss = relay::loss;

namespace {

const std::string told = "ERROR(08006 lost)";

/// The session goes on with another server connection.
void goes_on(relay_world& world, test_client& client) {
    auto& other = world.add_server();
    client.send(query("afterwards"));
    CHECK(other.got() == "Query(afterwards)");
    other.reply(complete("SELECT 1") + ready());
    // It may ask for state that went with the lost connection.
    if (other.got() == "Query(<inspection>)") {
        other.reply(complete("SELECT 0") + ready());
    }
    CHECK(client.got() == "Complete(SELECT 1) Ready(I)");
    CHECK(other.is_idle());
}

}  // namespace

TEST_CASE("lost in the middle of a query: one error, one ReadyForQuery", "[proxy][relay][lost]") {
    relay_world world{SIGNALBOX_CHUNKS};
    auto& server = world.add_server();
    auto& client = world.add_client();
    client.send(query("select 1"));
    server.reply(columns({"a"}) + row({"1"}));
    CHECK(client.lose_server() == loss::told);
    CHECK(client.got() == "Columns Row(1) " + told + " Ready(I)");
    goes_on(world, client);
}

TEST_CASE("lost with queries in a pipeline: each has its error", "[proxy][relay][lost]") {
    relay_world world{SIGNALBOX_CHUNKS};
    auto& server = world.add_server();
    auto& client = world.add_client();
    client.send(query("a") + query("b") + query("c"));
    server.reply(complete("A") + ready());
    CHECK(client.lose_server() == loss::told);
    CHECK(client.got() == "Complete(A) Ready(I) " + told + " Ready(I) " + told + " Ready(I)");
    goes_on(world, client);
}

TEST_CASE("lost with batches in a pipeline: one error each", "[proxy][relay][lost]") {
    relay_world world{SIGNALBOX_CHUNKS};
    auto& server = world.add_server();
    auto& client = world.add_client();
    const auto batch = parse("", "a") + bind_to("", "") + execute() + sync_message();
    client.send(batch + batch);
    server.reply(parse_complete() + bind_complete());
    CHECK(client.lose_server() == loss::told);
    CHECK(client.got() == "ParseComplete BindComplete " + told + " Ready(I) " + told + " Ready(I)");
    goes_on(world, client);
}

TEST_CASE("lost in a batch without Sync: the rest of it is skipped", "[proxy][relay][lost]") {
    relay_world world{SIGNALBOX_CHUNKS};
    auto& server = world.add_server();
    auto& client = world.add_client();
    client.send(parse("", "a") + bind_to("", "") + flush());
    SECTION("something is under way") {
        CHECK(client.lose_server() == loss::told);
    }
    SECTION("all is answered so far") {
        server.reply(parse_complete() + bind_complete());
        CHECK(client.got() == "ParseComplete BindComplete");
        CHECK(client.lose_server() == loss::told);
    }
    CHECK(client.got() == told);
    client.send(execute() + query("skipped") + copy_data("x"));
    CHECK(client.got().empty());
    CHECK_FALSE(client.waits);
    client.send(sync_message());
    CHECK(client.got() == "Ready(I)");
    goes_on(world, client);
}

TEST_CASE("lost after an error and before the Sync: no second error", "[proxy][relay][lost]") {
    relay_world world{SIGNALBOX_CHUNKS};
    auto& server = world.add_server();
    auto& client = world.add_client();
    client.send(parse("", "bad") + flush());
    server.reply(error("42601", "no"));
    CHECK(client.got() == "ERROR(42601 no)");
    CHECK(client.lose_server() == loss::told);
    CHECK(client.got().empty());
    client.send(bind_to("", "") + sync_message());
    CHECK(client.got() == "Ready(I)");
    goes_on(world, client);
}

TEST_CASE(
    "lost with the Sync of a failed batch under way: no second error", "[proxy][relay][lost]"
) {
    relay_world world{SIGNALBOX_CHUNKS};
    auto& server = world.add_server();
    auto& client = world.add_client();
    client.send(parse("", "bad") + sync_message());
    server.reply(error("42601", "no"));
    CHECK(client.lose_server() == loss::told);
    const auto got = client.got();
    // Whether the Sync's own loss is worth an error or not: exactly one ReadyForQuery.
    CHECK(got.starts_with("ERROR(42601 no)"));
    CHECK(got.ends_with("Ready(I)"));
    CHECK(got.find("Ready(I)") == got.size() - 8);
    goes_on(world, client);
}

TEST_CASE("lost in a transaction that idles: the next statement is told", "[proxy][relay][lost]") {
    relay_world world{SIGNALBOX_CHUNKS};
    auto& server = world.add_server();
    auto& client = world.add_client();
    client.send(query("begin"));
    server.reply(complete("BEGIN") + ready('T'));
    client.got();
    CHECK(client.lose_server() == loss::told);
    CHECK(client.got().empty());
    SECTION("a simple query") {
        client.send(query("commit"));
        CHECK(client.got() == told + " Ready(I)");
    }
    SECTION("a batch") {
        client.send(parse("", "commit") + bind_to("", "") + execute());
        CHECK(client.got() == told);
        client.send(sync_message());
        CHECK(client.got() == "Ready(I)");
    }
    SECTION("a Sync") {
        client.send(sync_message());
        CHECK(client.got() == told + " Ready(I)");
    }
    CHECK_FALSE(client.waits);
    CHECK_FALSE(client.relay.in_transaction());
    goes_on(world, client);
}

TEST_CASE(
    "lost in the middle of a message: there is no place for an error", "[proxy][relay][lost]"
) {
    relay_world world{0};
    auto& server = world.add_server();
    auto& client = world.add_client();
    client.send(query("select 1"));
    const auto whole = row({std::string(100, 'x')});
    server.reply(whole.substr(0, 50));
    CHECK(client.relay.is_mid_message());
    CHECK(client.lose_server() == loss::close_client);
}

TEST_CASE(
    "lost during the setup: the statement was not sent, another connection will do",
    "[proxy][relay][lost]"
) {
    relay_world world{SIGNALBOX_CHUNKS};
    auto& server = world.add_server();
    auto& client = world.add_client();
    client.relay.set_startup(world.parameters({{"a", "1"}}));
    auto& other = world.add_server();
    world.idle = {&other, &server};
    client.send(query("select 1"));
    server.reply(columns({"set_config"}));
    CHECK(client.lose_server() == loss::retry);
    CHECK(client.got().empty());
    CHECK(other.got() == "Query(SELECT pg_catalog.set_config(E'a', E'1', false))");
    other.reply(row({"1"}) + complete("SELECT 1") + ready());
    CHECK(other.got() == "Query(select 1)");
}

TEST_CASE(
    "lost during our own question: the statement has succeeded, and the next one is told",
    "[proxy][relay][lost]"
) {
    relay_world world{SIGNALBOX_CHUNKS};
    auto& server = world.add_server();
    auto& client = world.add_client();
    client.send(query("set a = 1"));
    server.reply(complete("SET") + ready());
    CHECK(server.got() == "Query(set a = 1) Query(<inspection>)");
    client.lose_server();
    CHECK(client.got() == "Complete(SET) Ready(I)");
    CHECK_FALSE(client.relay.is_blocked());
    client.send(query("insert into wherever_it_was_to_be values (1)"));
    CHECK(client.got() == told + " Ready(I)");
    goes_on(world, client);
}

TEST_CASE("what waits for a question that is lost is not run without it", "[proxy][relay][lost]") {
    relay_world world{SIGNALBOX_CHUNKS};
    auto& server = world.add_server();
    auto& client = world.add_client();
    auto& other = world.add_server();
    world.idle = {&other, &server};
    client.send(query("set a = 1"));
    server.reply(complete("SET") + ready());
    client.send(query("select 1"));
    client.lose_server();
    CHECK(other.got().empty());
    CHECK(client.got() == "Complete(SET) Ready(I) " + told + " Ready(I)");
}

TEST_CASE(
    "lost in a COPY in: what the client still sends belongs to nobody", "[proxy][relay][lost]"
) {
    relay_world world{SIGNALBOX_CHUNKS};
    auto& server = world.add_server();
    auto& client = world.add_client();
    client.send(query("copy t from stdin"));
    server.reply(copy_in());
    client.send(copy_data("a"));
    CHECK(client.lose_server() == loss::told);
    CHECK(client.got() == "CopyIn " + told + " Ready(I)");
    client.send(copy_data("b") + copy_done());
    CHECK(client.got().empty());
    goes_on(world, client);
}

TEST_CASE("lost in a COPY in of the extended protocol", "[proxy][relay][lost]") {
    relay_world world{SIGNALBOX_CHUNKS};
    auto& server = world.add_server();
    auto& client = world.add_client();
    const bool early_sync = GENERATE(false, true);
    client.send(
        parse("", "copy t from stdin") + bind_to("", "") + execute() +
        (early_sync ? sync_message() : "")
    );
    server.reply(parse_complete() + bind_complete() + copy_in());
    client.send(copy_data("a"));
    CHECK(client.lose_server() == loss::told);
    client.send(copy_data("b") + copy_done() + sync_message());
    CHECK(client.got() == "ParseComplete BindComplete CopyIn " + told + " Ready(I)");
    goes_on(world, client);
}

TEST_CASE(
    "lost with names in flight: those that the server never confirmed are gone",
    "[proxy][relay][lost]"
) {
    relay_world world{SIGNALBOX_CHUNKS};
    auto& server = world.add_server();
    auto& client = world.add_client();
    client.send(parse("kept", "select 1") + sync_message());
    server.reply(parse_complete() + ready());
    client.send(parse("lost", "select 2") + close('S', "kept") + sync_message());
    client.lose_server();
    auto& other = world.add_server();
    client.send(bind_to("", "lost") + sync_message());
    CHECK(other.got() == "Bind(,signalbox_unknown) Sync");
    other.reply(error("26000", "x") + ready());
    client.send(bind_to("", "kept") + sync_message());
    CHECK(other.got() == "Parse(signalbox_1,select 1) Bind(,signalbox_1) Sync");
}

TEST_CASE(
    "lost in the middle of a message of the client's: the rest of it is dropped",
    "[proxy][relay][lost]"
) {
    relay_world world{0};
    auto& server = world.add_server();
    auto& client = world.add_client();
    const auto big = query("select '" + std::string(2'000'000, 'x') + "'");
    client.send(std::string_view{big}.substr(0, 1'500'000));
    CHECK_FALSE(server.received.empty());
    CHECK(client.lose_server() == loss::told);
    CHECK(client.got() == told + " Ready(I)");
    client.send(std::string_view{big}.substr(1'500'000));
    goes_on(world, client);
}
