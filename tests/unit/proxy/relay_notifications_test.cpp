// LISTEN and NOTIFY where sessions share server connections.
#include "tests/support/relay_world.hpp"

#include <catch2/catch.hpp>

using namespace signalbox::proxy;
using namespace signalbox::tests;

namespace {

constexpr std::uint32_t own_process = 42;

struct listening_world : relay_world {
    explicit listening_world(std::size_t chunk_bytes)
        : relay_world(chunk_bytes), server(add_server()), client(add_client()) {
        server.state.process_id = own_process;
    }

    /// `rows`: of the inspection that follows.
    void listen(std::string_view tag, std::string_view rows) {
        client.send(query(tag == "LISTEN" ? "listen c" : "unlisten *"));
        server.got();
        server.reply(complete(tag) + ready());
        server.reply(std::string{rows} + complete("SELECT 1") + ready());
        server.got();
    }

    test_server& server;
    test_client& client;
};

}  // namespace

TEST_CASE("LISTEN does not pin; it is told when the channel is heard", "[relay][listen]") {
    listening_world world{SIGNALBOX_CHUNKS};
    world.hold_channels = true;
    world.listen("LISTEN", row({"LISTEN", "c", ""}));
    CHECK(world.client.channels == std::vector<std::string>{"c"});
    CHECK(world.client.got() == "Complete(LISTEN)");
    CHECK(world.client.relay.is_busy());
    world.client.send(query("select 1"));
    CHECK(world.server.got().empty());
    world.client.confirm_channels();
    CHECK(world.client.got() == "Ready(I)");
    CHECK(world.server.got() == "Query(select 1)");
    world.server.reply(complete("SELECT 1") + ready());
    CHECK(world.server.is_idle());
    CHECK_FALSE(world.client.relay.is_pinned());
    world.client.got();
    world.client.hear(notification(7));
    CHECK(world.client.got() == "Notification(c,p)");
}

TEST_CASE("UNLISTEN ends it", "[relay][listen]") {
    listening_world world{SIGNALBOX_CHUNKS};
    world.listen("LISTEN", row({"LISTEN", "c", ""}));
    CHECK(world.server.is_idle());
    world.listen("UNLISTEN", "");
    CHECK(world.client.channels.empty());
    CHECK(world.client.got() == "Complete(LISTEN) Ready(I) Complete(UNLISTEN) Ready(I)");
}

TEST_CASE("another server connection gets the channels, and loses them", "[relay][listen]") {
    listening_world world{SIGNALBOX_CHUNKS};
    world.listen("LISTEN", row({"LISTEN", "c", ""}));
    auto& other = world.add_client();
    other.send(query("select 1"));
    CHECK(world.server.got() == "Query(;UNLISTEN *)");
    world.server.reply(complete("UNLISTEN") + ready());
    CHECK(world.server.got() == "Query(select 1)");
    world.server.reply(complete("SELECT 1") + ready());
    world.client.send(query("select 2"));
    CHECK(world.server.got() == "Query(;LISTEN \"c\")");
    world.server.reply(complete("LISTEN") + ready());
    CHECK(world.server.got() == "Query(select 2)");
}

TEST_CASE("what is notified during a transaction waits for its end", "[relay][listen]") {
    listening_world world{SIGNALBOX_CHUNKS};
    world.listen("LISTEN", row({"LISTEN", "c", ""}));
    world.client.got();
    world.client.send(query("begin"));
    world.client.hear(notification(7, "c", "1"));
    world.server.reply(complete("BEGIN") + ready('T'));
    CHECK(world.client.got() == "Complete(BEGIN) Ready(T)");
    world.client.hear(notification(7, "c", "2"));
    world.client.send(query("commit"));
    world.server.reply(complete("COMMIT") + ready());
    CHECK(world.client.got() == "Complete(COMMIT) Notification(c,1) Notification(c,2) Ready(I)");
}

TEST_CASE("a session's own notification is told once, in its place", "[relay][listen]") {
    listening_world world{SIGNALBOX_CHUNKS};
    world.listen("LISTEN", row({"LISTEN", "c", ""}));
    world.client.got();
    world.client.send(query("notify c"));
    // Somebody else's arrives here too: the shared connection brings that.
    world.server.reply(
        complete("NOTIFY") + notification(7, "c", "other") +
        notification(own_process, "c", "mine") + ready()
    );
    CHECK(world.client.got() == "Complete(NOTIFY) Notification(c,mine) Ready(I)");
    world.client.hear(notification(7, "c", "other"));
    world.client.hear(notification(own_process, "c", "mine"));
    CHECK(world.client.got() == "Notification(c,other)");
    // Later, the same server connection notifies for another session.
    world.client.hear(notification(own_process, "c", "mine"));
    CHECK(world.client.got() == "Notification(c,mine)");
}

TEST_CASE("the shared connection may hear a session's own first", "[relay][listen]") {
    listening_world world{SIGNALBOX_CHUNKS};
    world.listen("LISTEN", row({"LISTEN", "c", ""}));
    world.client.got();
    world.client.send(query("notify c"));
    world.client.hear(notification(own_process, "c", "mine"));
    world.server.reply(complete("NOTIFY") + notification(own_process, "c", "mine") + ready());
    CHECK(world.client.got() == "Complete(NOTIFY) Notification(c,mine) Ready(I)");
    world.client.hear(notification(own_process, "c", "mine"));
    CHECK(world.client.got() == "Notification(c,mine)");
}

TEST_CASE("an early copy of a session's own waits for the last reply", "[relay][listen]") {
    listening_world world{SIGNALBOX_CHUNKS};
    world.listen("LISTEN", row({"LISTEN", "c", ""}));
    world.client.got();
    world.client.send(query("select 1") + query("notify c"));
    world.client.hear(notification(own_process, "c", "mine"));
    world.server.reply(complete("SELECT 1") + ready());
    CHECK(world.client.got() == "Complete(SELECT 1) Ready(I)");
    world.server.reply(complete("NOTIFY") + notification(own_process, "c", "mine") + ready());
    CHECK(world.client.got() == "Complete(NOTIFY) Notification(c,mine) Ready(I)");
}

TEST_CASE("what the shared connection has missed is not waited for", "[relay][listen]") {
    listening_world world{SIGNALBOX_CHUNKS};
    world.listen("LISTEN", row({"LISTEN", "c", ""}));
    world.client.hear(notification(7), 1);
    world.client.got();
    world.client.send(query("notify c"));
    world.server.reply(complete("NOTIFY") + notification(own_process) + ready());
    world.client.got();
    world.client.hear(notification(own_process), 2);  // another one: the first was lost
    CHECK(world.client.got() == "Notification(c,p)");
}

TEST_CASE("while the channels are waited for, the server connection is free", "[relay][listen]") {
    listening_world world{SIGNALBOX_CHUNKS};
    world.hold_channels = true;
    world.listen("LISTEN", row({"LISTEN", "c", ""}));
    CHECK(world.server.is_idle());
    CHECK(world.client.got() == "Complete(LISTEN)");
    world.client.confirm_channels();
    CHECK(world.client.got() == "Ready(I)");
}

TEST_CASE("channels that cannot be heard are told", "[relay][listen]") {
    listening_world world{SIGNALBOX_CHUNKS};
    world.hold_channels = true;
    world.listen("LISTEN", row({"LISTEN", "c", ""}));
    outbox to_client;
    world.client.relay.channels_set(false, to_client);
    CHECK(
        describe_server(to_client.data()) ==
        "WARNING(01000 notifications cannot be heard now) Ready(I)"
    );
}

TEST_CASE("session mode passes notifications as they are", "[relay][listen]") {
    relay_world world{0, pool_mode::session};
    auto& server = world.add_server();
    auto& client = world.add_client();
    client.send(query("listen c"));
    server.reply(complete("LISTEN") + ready());
    server.reply(notification(7));
    CHECK(client.got() == "Complete(LISTEN) Ready(I) Notification(c,p)");
}
