// CommandComplete of what was created waits for its examination, and keeps its place.
#include "tests/support/relay_world.hpp"

#include <catch2/catch.hpp>

using namespace signalbox::proxy;
using namespace signalbox::tests;
using signalbox::rewrite::multi_statement_policy;

namespace {

const std::vector<signalbox::wire::report> found{
    {.severity = "NOTICE", .sqlstate = "00000", .message = "look", .detail = {}, .hint = {}}};

struct examined_world : relay_world {
    explicit examined_world(
        std::size_t chunk_bytes,
        pool_mode mode = pool_mode::session,
        multi_statement_policy policy = multi_statement_policy::pass
    )
        : relay_world(chunk_bytes, mode) {
        settings.examines = true;
        look_at_statements(policy);
    }
};

const std::string told = "NOTICE(00000 look) Complete(CREATE VIEW) Ready(I)";

}  // namespace

TEST_CASE("notices stand before the completion that they are about", "[relay][examinations]") {
    examined_world world{SIGNALBOX_CHUNKS};
    auto& server = world.add_server();
    auto& client = world.add_client();
    client.send(query("create view v as select 1") + query("select 2"));
    CHECK(client.relay.goes_on_alone());
    server.reply(complete("CREATE VIEW") + ready());
    CHECK(client.got().empty());
    REQUIRE(client.relay.has_new_examination());
    CHECK(client.relay.take_examination());
    CHECK(client.relay.is_busy());
    client.examined(found);
    CHECK(client.got() == told);
    server.got();
    server.reply(complete("SELECT 1") + ready());
    CHECK(client.got() == "Complete(SELECT 1) Ready(I)");
    client.examined(found);  // too late: nothing
    CHECK(client.got().empty());
}

TEST_CASE(
    "an examination comes behind the question about the session's state", "[relay][examinations]"
) {
    examined_world world{SIGNALBOX_CHUNKS, pool_mode::transaction};
    auto& server = world.add_server();
    auto& client = world.add_client();
    client.send(query("create temp view v as select 1"));
    server.got();
    server.reply(complete("CREATE VIEW") + ready());
    CHECK(server.got() == "Query(<inspection>)");
    CHECK(client.got().empty());
    SECTION("which is answered") {
        server.reply(complete("SELECT 0") + ready());
        REQUIRE(client.relay.has_new_examination());
        CHECK(client.relay.take_examination());
        client.examined(found);
        CHECK(client.got() == told);
    }
    SECTION("which is not: nobody waits for ever") {
        client.lose_server();
        CHECK(client.got() == "Complete(CREATE VIEW) Ready(I)");
        CHECK_FALSE(client.relay.awaits_examination());
    }
}

TEST_CASE("what follows in the batch does not overtake the completion", "[relay][examinations]") {
    SECTION("a statement of ours") {
        examined_world world{SIGNALBOX_CHUNKS};
        auto& server = world.add_server();
        auto& client = world.add_client();
        client.send(query("create view v as select 1; show connections"));
        server.reply(complete("CREATE VIEW") + ready());
        CHECK(
            client.got() ==
            "Complete(CREATE VIEW) Columns Row(main) Row(NULL) Complete(SHOW) Ready(I)"
        );
    }
    SECTION("a statement of ours in a pipeline") {
        examined_world world{SIGNALBOX_CHUNKS};
        auto& server = world.add_server();
        auto& client = world.add_client();
        client.send(
            parse("", "create view v as select 1") + bind_to("", "") + execute() +
            parse("", "show connections") + bind_to("", "") + execute() + sync_message()
        );
        server.reply(parse_complete() + bind_complete() + complete("CREATE VIEW") + ready());
        CHECK(
            client.got() ==
            "ParseComplete BindComplete Complete(CREATE VIEW) ParseComplete BindComplete Row(main) "
            "Row(NULL) Complete(SHOW)"
        );
        server.reply(ready());  // the first Sync was ours, the second is the client's
        CHECK(client.got() == "Ready(I)");
    }
    SECTION("a Close that is answered here") {
        examined_world world{SIGNALBOX_CHUNKS, pool_mode::transaction};
        auto& server = world.add_server();
        auto& client = world.add_client();
        client.send(
            parse("s", "create view v as select 1") + bind_to("", "s") + execute() +
            close('S', "s") + sync_message()
        );
        server.reply(parse_complete() + bind_complete() + complete("CREATE VIEW"));
        CHECK(client.got() == "ParseComplete BindComplete Complete(CREATE VIEW) CloseComplete");
        server.reply(ready());
        CHECK_THAT(server.got(), Catch::Contains("<inspection>"));
        server.reply(complete("SELECT 0") + ready());
        CHECK(client.got() == "Ready(I)");
        // It is examined all the same, and nobody waits for it.
        REQUIRE(client.relay.has_new_examination());
        CHECK_FALSE(client.relay.take_examination());
    }
    SECTION("another statement of the same Query") {
        examined_world world{SIGNALBOX_CHUNKS};
        auto& server = world.add_server();
        auto& client = world.add_client();
        client.send(query("create view v as select 1; select 2"));
        server.reply(complete("CREATE VIEW") + complete("SELECT 1") + ready());
        CHECK(client.got() == "Complete(CREATE VIEW) Complete(SELECT 1) Ready(I)");
    }
    SECTION("another unit") {
        examined_world world{SIGNALBOX_CHUNKS, pool_mode::session, multi_statement_policy::split};
        auto& server = world.add_server();
        auto& client = world.add_client();
        client.send(query("create view v as select 1; select 2"));
        server.reply(complete("CREATE VIEW") + ready());
        CHECK(client.got() == "Complete(CREATE VIEW)");
        server.reply(complete("SELECT 1") + ready());
        CHECK(client.got() == "Complete(SELECT 1) Ready(I)");
    }
}

TEST_CASE("in a transaction block nothing waits", "[relay][examinations]") {
    examined_world world{SIGNALBOX_CHUNKS};
    auto& server = world.add_server();
    auto& client = world.add_client();
    client.send(query("begin"));
    server.reply(complete("BEGIN") + ready('T'));
    client.send(query("create view v as select 1"));
    server.reply(complete("CREATE VIEW") + ready('T'));
    CHECK(client.got() == "Complete(BEGIN) Ready(T) Complete(CREATE VIEW) Ready(T)");
    CHECK_FALSE(client.relay.has_new_examination());
    client.send(query("commit"));
    server.reply(complete("COMMIT") + ready());
    CHECK(client.got() == "Complete(COMMIT) Ready(I)");
    REQUIRE(client.relay.has_new_examination());
    CHECK_FALSE(client.relay.take_examination());
}

TEST_CASE("a materialized view's tag is that of a SELECT", "[relay][examinations]") {
    examined_world world{SIGNALBOX_CHUNKS};
    auto& server = world.add_server();
    auto& client = world.add_client();
    client.send(query("select 1"));
    server.reply(complete("SELECT 1") + ready());
    CHECK(client.got() == "Complete(SELECT 1) Ready(I)");
    client.send(query("/* a */ create Materialized view v as select 1"));
    server.reply(complete("SELECT 1") + ready());
    CHECK(client.got().empty());
    client.examined({});
    CHECK(client.got() == "Complete(SELECT 1) Ready(I)");
}

TEST_CASE("a client that wants no notices gets none", "[relay][examinations]") {
    examined_world world{SIGNALBOX_CHUNKS};
    auto& server = world.add_server();
    auto& client = world.add_client();
    const auto create = [&] {
        client.send(query("create view v as select 1"));
        server.reply(complete("CREATE VIEW") + ready());
        client.examined(found);
        return client.got();
    };
    const auto run = [&](const char* sql, const char* tag) {
        client.send(query(sql));
        server.reply(complete(tag) + ready());
        client.got();
    };
    run("set client_min_messages to 'WARNING'", "SET");
    CHECK(create() == "Complete(CREATE VIEW) Ready(I)");
    run("set session client_min_messages = notice", "SET");
    CHECK(create() == told);
    run("set client_min_messages = error", "SET");
    CHECK(create() == "Complete(CREATE VIEW) Ready(I)");
    run("reset all", "RESET");
    CHECK(create() == told);
}

TEST_CASE("a session that ends is told what it has created", "[relay][examinations]") {
    examined_world world{SIGNALBOX_CHUNKS};
    auto& server = world.add_server();
    auto& client = world.add_client();
    client.send(query("create view v as select 1"));
    server.reply(complete("CREATE VIEW") + ready());
    outbox owed;
    client.relay.finish_examination(owed);
    CHECK(describe_server(std::string{owed.data()}) == "Complete(CREATE VIEW) Ready(I)");
}

TEST_CASE("replies of what is pipelined behind do not overtake", "[relay][examinations]") {
    examined_world world{SIGNALBOX_CHUNKS};
    auto& server = world.add_server();
    auto& client = world.add_client();
    client.send(query("create view v as select 1") + query("select 2"));
    server.got();
    server.reply(complete("CREATE VIEW") + ready());
    REQUIRE(client.relay.has_new_examination());
    CHECK(client.relay.take_examination());
    CHECK(client.got().empty());
    SECTION("they come") {
        server.reply(columns({"a"}) + row({"2"}) + complete("SELECT 1") + ready());
        CHECK(
            client.got() ==
            "Complete(CREATE VIEW) Ready(I) Columns Row(2) Complete(SELECT 1) Ready(I)"
        );
    }
    SECTION("the server is lost") {
        client.lose_server();
        CHECK_THAT(client.got(), Catch::StartsWith("Complete(CREATE VIEW) Ready(I) ERROR("));
    }
    client.examined(found);  // too late
    CHECK(client.got().empty());
}

TEST_CASE(
    "a materialized view is examined whatever stands behind it in its batch",
    "[relay][examinations]"
) {
    examined_world world{SIGNALBOX_CHUNKS, pool_mode::transaction};
    auto& server = world.add_server();
    auto& client = world.add_client();
    const auto run = [](const char* sql) { return parse("", sql) + bind_to("", "") + execute(); };
    client.send(run("create materialized view v as select 1") + run("select 2") + sync_message());
    server.got();
    for (int i = 0; i < 2; ++i) {
        server.reply(parse_complete() + bind_complete() + complete("SELECT 1"));
    }
    server.reply(ready());
    CHECK(client.relay.has_new_examination());
}
