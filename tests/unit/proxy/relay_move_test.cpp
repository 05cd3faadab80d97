// Session mode: a session leaves its server connection for one of another target, between
// transactions.
#include "tests/support/relay_world.hpp"

#include <catch2/catch.hpp>

using namespace signalbox::proxy;
using namespace signalbox::tests;

namespace {

struct move_world : relay_world {
    explicit move_world(std::size_t chunk_bytes)
        : relay_world(chunk_bytes, pool_mode::session), old(add_server()), client(add_client()) {
        client.send(query("select 1"));
        old.got();
        old.reply(complete("SELECT 1") + ready());
        client.got();
    }

    test_server& old;
    test_client& client;
};

}  // namespace

TEST_CASE("a session takes its parameters and statements along", "[relay][move]") {
    move_world world{SIGNALBOX_CHUNKS};
    auto& client = world.client;
    REQUIRE(client.ask_to_move());
    client.send(query("select 2"));  // waits
    CHECK(world.old.got() == "Query(<inspection>)");
    auto& next = world.add_server();
    world.old.reply(
        row({"set", "work_mem", "1MB"}) + complete("SELECT 1") +
        row({"carried", "s", "25 23\nselect $1,\n$2"}) + complete("SELECT 1") + ready()
    );
    CHECK(client.movable == true);
    CHECK(world.old.lost);
    CHECK(world.old.got().empty());
    CHECK_THAT(next.got(), Catch::Contains("work_mem"));
    next.reply(complete("SET") + ready());
    CHECK(next.got() == "Parse(s,select $1,\n$2:25:23) Sync");
    next.reply(parse_complete() + ready());
    CHECK(next.got() == "Query(select 2)");
    next.reply(complete("SELECT 1") + ready());
    CHECK(client.got() == "Complete(SELECT 1) Ready(I)");
    client.send(bind_to("", "s", "x") + sync_message());
    CHECK(next.got() == "Bind(,s,+5) Sync");
}

TEST_CASE("a statement that the new server does not take is not there", "[relay][move]") {
    move_world world{SIGNALBOX_CHUNKS};
    auto& client = world.client;
    REQUIRE(client.ask_to_move());
    auto& next = world.add_server();
    world.old.reply(
        complete("SELECT 0") + row({"carried", "a", "\nselect 1"}) +
        row({"carried", "b", "\nselect 2"}) + complete("SELECT 2") + ready()
    );
    client.send(query("select 3"));
    CHECK(next.got() == "Parse(a,select 1) Sync Parse(b,select 2) Sync");
    next.reply(error("42P01", "no such table") + ready());
    CHECK(next.got().empty());
    next.reply(parse_complete() + ready());
    CHECK(next.got() == "Query(select 3)");
    next.reply(complete("SELECT 1") + ready());
    CHECK(client.got() == "Complete(SELECT 1) Ready(I)");
}

TEST_CASE("what cannot be carried keeps the session where it is", "[relay][move]") {
    move_world world{SIGNALBOX_CHUNKS};
    auto& client = world.client;
    REQUIRE(client.ask_to_move());
    client.send(query("select 2"));
    SECTION("state") {
        const std::string kind =
            GENERATE("temporary object", "advisory lock", "cursor WITH HOLD", "LISTEN");
        world.old.reply(
            row({kind, "x", ""}) + complete("SELECT 1") + complete("SELECT 0") + ready()
        );
    }
    SECTION("state that is not known") {
        world.old.reply(error("57014", "canceled") + ready());
    }
    CHECK(client.movable == false);
    CHECK(client.got().empty());
    CHECK(world.old.got() == "Query(<inspection>) Query(select 2)");
    world.old.reply(complete("SELECT 1") + ready());
    CHECK(client.got() == "Complete(SELECT 1) Ready(I)");
}

TEST_CASE("a session moves only between transactions", "[relay][move]") {
    move_world world{SIGNALBOX_CHUNKS};
    auto& client = world.client;
    SECTION("in a block") {
        client.send(query("begin"));
        world.old.reply(complete("BEGIN") + ready('T'));
    }
    SECTION("while a statement runs") {
        client.send(query("select 2"));
    }
    SECTION("inside a batch") {
        client.send(parse("", "select 1"));
        world.old.reply(parse_complete());
    }
    CHECK_FALSE(client.ask_to_move());
}

// asyncpg and others parse in one batch what they bind in the next; our Query would destroy it.
TEST_CASE("an unnamed statement that is to be bound is waited for", "[relay][move]") {
    move_world world{SIGNALBOX_CHUNKS};
    auto& client = world.client;
    client.send(parse("", "select $1") + describe('S', "") + sync_message());
    world.old.reply(parse_complete() + parameter_types() + no_data() + ready());
    CHECK_FALSE(client.ask_to_move());
    client.send(bind_to("", "", "x") + execute() + sync_message());
    world.old.reply(bind_complete() + complete("SELECT 1") + ready());
    CHECK(client.ask_to_move());
}

// pg_settings does not show custom parameters: what is not asked for by name was lost.
TEST_CASE("custom parameters are asked for", "[relay][move]") {
    move_world world{SIGNALBOX_CHUNKS};
    auto& client = world.client;
    SECTION("set by a Query") {
        client.send(query("set app.tenant = '42'"));
        world.old.reply(complete("SET") + ready());
    }
    SECTION("set over the extended protocol") {
        client.send(parse("", "set app.tenant = '42'") + bind_to("", "") + execute());
        client.send(sync_message());
        world.old.reply(parse_complete() + bind_complete() + complete("SET") + ready());
    }
    world.old.received.clear();
    REQUIRE(client.ask_to_move());
    CHECK_THAT(world.old.received, Catch::Contains("'app.tenant'"));
}

TEST_CASE("what nobody can ask for keeps the session where it is", "[relay][move]") {
    move_world world{SIGNALBOX_CHUNKS};
    auto& client = world.client;
    SECTION("LOAD") {
        client.send(query("load 'auto_explain'"));
        world.old.reply(complete("LOAD") + ready());
    }
    SECTION("a parameter whose name is not in the text") {
        client.send(query("select set_config(n, 'x', false) from names"));
        world.old.reply(columns({"c"}) + complete("SELECT 1") + ready());
    }
    CHECK_FALSE(client.ask_to_move());
}
