// The relay and session state: parameters that follow their session, the question about state,
// pinning.
#include "tests/support/relay_world.hpp"

#include <catch2/catch.hpp>

using namespace signalbox::proxy;
using namespace signalbox::tests;

namespace {

std::string answered(const std::string& rows) {
    return rows + complete("SELECT") + ready();
}

}  // namespace

TEST_CASE(
    "the session's parameters are set before its first statement", "[proxy][relay][parameters]"
) {
    relay_world world{SIGNALBOX_CHUNKS};
    auto& server = world.add_server();
    auto& client = world.add_client();
    client.relay.set_startup(world.parameters({{"datestyle", "iso"}}));
    client.send(query("select 1"));
    CHECK(server.got() == "Query(SELECT pg_catalog.set_config(E'datestyle', E'iso', false))");
    CHECK(client.relay.is_blocked());
    CHECK_FALSE(client.relay.may_release());
    server.reply(columns({"set_config"}) + row({"iso"}) + complete("SELECT 1"));
    CHECK(server.got().empty());
    server.reply(ready());
    CHECK(client.got().empty());
    CHECK(server.got() == "Query(select 1)");
    server.reply(complete("SELECT 1") + ready());
    CHECK(client.got() == "Complete(SELECT 1) Ready(I)");
    CHECK(server.is_idle());
    SECTION("the second time there is nothing to set") {
        client.send(query("select 2"));
        CHECK(server.got() == "Query(select 2)");
    }
    SECTION("a session without parameters resets them") {
        auto& other = world.add_client();
        other.send(query("select 2"));
        CHECK(server.got() == "Query(RESET \"datestyle\";)");
        server.reply(complete("RESET") + ready());
        CHECK(server.got() == "Query(select 2)");
        CHECK(other.got().empty());
    }
}

TEST_CASE(
    "messages that came before the setup was done wait behind it", "[proxy][relay][parameters]"
) {
    relay_world world{SIGNALBOX_CHUNKS};
    auto& server = world.add_server();
    auto& client = world.add_client();
    client.relay.set_startup(world.parameters({{"a", "1"}}));
    client.send(
        parse("", "select 1") + bind_to("", "") + execute() + sync_message() + query("select 2")
    );
    server.got();
    server.reply(answered(row({"1"})));
    CHECK(server.got() == "Parse(,select 1) Bind(,) Execute() Sync Query(select 2)");
}

TEST_CASE("a setup that the server refuses ends the session's hope", "[proxy][relay][parameters]") {
    relay_world world{SIGNALBOX_CHUNKS};
    auto& server = world.add_server();
    auto& client = world.add_client();
    client.relay.set_startup(world.parameters({{"nonsense", "1"}}));
    client.send(query("select 1"));
    CHECK_FALSE(client.relay.setup_error());
    server.reply(error("42704", "unrecognized configuration parameter \"nonsense\""));
    REQUIRE(client.relay.setup_error());
    CHECK(signalbox::wire::parse_report(*client.relay.setup_error())->sqlstate == "42704");
    CHECK(client.got().empty());
}

TEST_CASE(
    "a client is told what another server connection reports differently",
    "[proxy][relay][parameters]"
) {
    relay_world world{SIGNALBOX_CHUNKS};
    auto& server = world.add_server();
    auto& client = world.add_client();
    client.relay.set_reported(world.parameters({{"TimeZone", "UTC"}, {"server_version", "15"}}));
    server.state.reported =
        world.parameters({{"TimeZone", "CET"}, {"server_version", "15"}, {"in_hot_standby", "off"}}
        );
    client.send(query("select 1"));
    CHECK(client.got() == "Status(in_hot_standby=off) Status(TimeZone=CET)");
    server.reply(complete("SELECT 1") + ready());
    client.send(query("select 2"));
    server.reply(status("TimeZone", "EST") + complete("SELECT 1") + ready());
    CHECK(
        client.got() ==
        "Complete(SELECT 1) Ready(I) Status(TimeZone=EST) Complete(SELECT 1) Ready(I)"
    );
    CHECK(*client.relay.reported()->find("TimeZone") == "EST");
}

TEST_CASE(
    "what the setup reports reaches the client once, before its statement's reply",
    "[proxy][relay][parameters]"
) {
    relay_world world{SIGNALBOX_CHUNKS};
    auto& server = world.add_server();
    auto& client = world.add_client();
    client.relay.set_startup(world.parameters({{"timezone", "CET"}}));
    client.relay.set_reported(world.parameters({{"TimeZone", "UTC"}}));
    server.state.reported = world.parameters({{"TimeZone", "EST"}});
    client.send(query("select 1"));
    server.reply(status("TimeZone", "CET") + answered(row({"CET"})));
    server.reply(complete("SELECT 1") + ready());
    CHECK(client.got() == "Status(TimeZone=CET) Complete(SELECT 1) Ready(I)");
}

TEST_CASE("after SET the server is asked before the client is told", "[proxy][relay][parameters]") {
    relay_world world{SIGNALBOX_CHUNKS};
    auto& server = world.add_server();
    auto& client = world.add_client();
    client.send(query("set work_mem = '5MB'"));
    server.got();
    server.reply(complete("SET") + ready());
    CHECK(client.got() == "Complete(SET)");
    CHECK(server.got() == "Query(<inspection>)");
    CHECK_FALSE(server.is_idle());
    client.send(query("show work_mem"));
    CHECK(server.got().empty());
    server.reply(columns({"k", "n", "v"}) + row({"set", "work_mem", "5120"}));
    CHECK(client.got().empty());
    server.reply(complete("SELECT 1") + ready());
    CHECK(client.got() == "Ready(I)");
    CHECK(server.got() == "Query(show work_mem)");
    server.reply(complete("SHOW") + ready());
    CHECK(server.is_idle());
    auto& other = world.add_server();
    client.send(query("show work_mem"));
    CHECK(other.got() == "Query(SELECT pg_catalog.set_config(E'work_mem', E'5120', false))");
}

TEST_CASE("inside a transaction nothing is asked; at its end it is", "[proxy][relay][parameters]") {
    relay_world world{SIGNALBOX_CHUNKS};
    auto& server = world.add_server();
    auto& client = world.add_client();
    client.send(query("begin") + query("set a = 1"));
    server.reply(complete("BEGIN") + ready('T') + complete("SET") + ready('T'));
    CHECK(client.got() == "Complete(BEGIN) Ready(T) Complete(SET) Ready(T)");
    server.got();
    client.send(query("rollback"));
    server.reply(complete("ROLLBACK") + ready());
    CHECK(server.got() == "Query(rollback) Query(<inspection>)");
    server.reply(answered(""));
    CHECK(client.got() == "Complete(ROLLBACK) Ready(I)");
    CHECK(server.is_idle());
}

TEST_CASE(
    "SET LOCAL, and a SET whose batch goes on, ask for nothing yet", "[proxy][relay][parameters]"
) {
    relay_world world{SIGNALBOX_CHUNKS};
    auto& server = world.add_server();
    auto& client = world.add_client();
    SECTION("local") {
        client.send(query("set local a = 1"));
        server.reply(complete("SET") + ready());
        CHECK(server.got() == "Query(set local a = 1)");
        CHECK(server.is_idle());
    }
    SECTION("pipelined: asked once, at the end") {
        client.send(query("set a = 1") + query("set b = 1") + query("select 1"));
        server.reply(complete("SET") + ready() + complete("SET") + ready());
        CHECK(server.got() == "Query(set a = 1) Query(set b = 1) Query(select 1)");
        server.reply(complete("SELECT 1") + ready());
        CHECK(server.got() == "Query(<inspection>)");
        CHECK(client.got() == "Complete(SET) Ready(I) Complete(SET) Ready(I) Complete(SELECT 1)");
    }
}

TEST_CASE("statements that may leave state are asked about", "[proxy][relay][parameters]") {
    relay_world world{SIGNALBOX_CHUNKS};
    auto& server = world.add_server();
    auto& client = world.add_client();

    struct sample {
        const char* sql;
        const char* tag;
    };

    const auto each = GENERATE(
        sample{"select set_config('a', 'b', false)", "SELECT 1"},
        sample{"select pg_advisory_lock(1)", "SELECT 1"},
        sample{"create temp table t ()", "CREATE TABLE"},
        sample{"do $$ begin end $$", "DO"},
        sample{"call p()", "CALL"},
        sample{"reset all", "RESET"},
        sample{"discard all", "DISCARD ALL"},
        sample{"prepare q as select 1", "PREPARE"},
        sample{"listen c", "LISTEN"}
    );
    CAPTURE(each.sql);
    client.send(query(each.sql));
    server.reply(complete(each.tag) + ready());
    CHECK(server.got() == "Query(" + std::string{each.sql} + ") Query(<inspection>)");
    server.reply(answered(""));
    CHECK(client.got() == "Complete(" + std::string{each.tag} + ") Ready(I)");
    CHECK(server.is_idle());
}

TEST_CASE("custom parameters are asked for by name", "[proxy][relay][parameters]") {
    relay_world world{SIGNALBOX_CHUNKS};
    auto& server = world.add_server();
    auto& client = world.add_client();
    client.send(query("set my.x = 1"));
    server.got();
    server.reply(complete("SET") + ready());
    CHECK(server.received.find("(VALUES (E'my.x'))") != std::string::npos);
}

TEST_CASE(
    "state that cannot be carried pins the session, and one notice says so",
    "[proxy][relay][parameters]"
) {
    relay_world world{SIGNALBOX_CHUNKS};
    auto& server = world.add_server();
    auto& client = world.add_client();
    client.send(query("create temp table t ()"));
    server.reply(complete("CREATE TABLE") + ready());
    server.reply(answered(row({"temporary object", "t", ""})));
    CHECK(
        client.got() ==
        "Complete(CREATE TABLE) NOTICE(00000 this session keeps its server connection: temporary "
        "object \"t\") Ready(I)"
    );
    CHECK(client.relay.is_pinned());
    CHECK(client.relay.carries_state());
    CHECK_FALSE(server.is_idle());
    server.got();
    client.send(query("create temp table u ()"));
    server.reply(complete("CREATE TABLE") + ready());
    server.reply(answered(row({"temporary object", "t", ""}) + row({"temporary object", "u", ""})));
    CHECK(client.got() == "Complete(CREATE TABLE) Ready(I)");
    client.send(query("drop table t, u"));
    server.reply(complete("DROP TABLE") + ready());
    server.reply(answered(""));
    CHECK(client.got() == "Complete(DROP TABLE) Ready(I)");
    CHECK(server.is_idle());
    CHECK_FALSE(client.relay.is_pinned());
}

TEST_CASE(
    "an inspection that fails pins: what there is, is not known", "[proxy][relay][parameters]"
) {
    relay_world world{SIGNALBOX_CHUNKS};
    auto& server = world.add_server();
    auto& client = world.add_client();
    client.send(query("set a = 1"));
    server.reply(complete("SET") + ready());
    server.reply(error("42501", "permission denied") + ready());
    CHECK(client.relay.is_pinned());
    CHECK(client.got() == "Complete(SET) Ready(I)");
    CHECK_FALSE(server.is_idle());
}

TEST_CASE("LOAD taints the server connection for good", "[proxy][relay][parameters]") {
    relay_world world{SIGNALBOX_CHUNKS};
    auto& server = world.add_server();
    auto& client = world.add_client();
    client.send(query("load 'x'"));
    server.reply(complete("LOAD") + ready());
    server.reply(answered(""));
    CHECK(client.relay.is_pinned());
    CHECK(client.relay.is_doubtful());
    CHECK_FALSE(server.is_idle());
}

TEST_CASE("set_config() with a name that is not known pins", "[proxy][relay][parameters]") {
    relay_world world{SIGNALBOX_CHUNKS};
    auto& server = world.add_server();
    auto& client = world.add_client();
    client.send(query("select set_config(n, v, false) from t"));
    server.reply(complete("SELECT 1") + ready());
    server.reply(answered(""));
    CHECK(client.relay.is_pinned());
    CHECK_FALSE(server.is_idle());
}

TEST_CASE(
    "RESET goes back to the startup packet's values before the client is told",
    "[proxy][relay][parameters]"
) {
    relay_world world{SIGNALBOX_CHUNKS, GENERATE(pool_mode::transaction, pool_mode::session)};
    auto& server = world.add_server();
    auto& client = world.add_client();
    const auto startup = world.parameters({{"datestyle", "iso"}});
    client.relay.set_startup(startup);
    server.state.applied = startup;
    client.send(query("reset all") + query("select 1"));
    CHECK(server.got() == "Query(reset all)");
    server.reply(complete("RESET") + ready());
    CHECK(client.got() == "Complete(RESET)");
    const auto restoration = server.got();
    CHECK(restoration.starts_with("Query("));
    CHECK(restoration.find("inspection") == std::string::npos);
    CHECK(client.relay.is_blocked());
    server.reply(answered(row({"iso"})));
    if (world.settings.mode == pool_mode::transaction) {
        CHECK(server.got() == "Query(<inspection>)");
        server.reply(answered(row({"set", "datestyle", "iso"})));
    }
    CHECK(client.got() == "Ready(I)");
    CHECK(server.got() == "Query(select 1)");
}

TEST_CASE(
    "a statement that is parsed under other parameters is another statement",
    "[proxy][relay][parameters]"
) {
    relay_world world{SIGNALBOX_CHUNKS};
    auto& server = world.add_server();
    auto& german = world.add_client();
    auto& other = world.add_client();
    german.relay.set_startup(world.parameters({{"datestyle", "german"}}));
    german.send(parse("s", "select date '1.2.3'") + sync_message());
    server.reply(answered(row({"german"})));
    server.reply(parse_complete() + ready());
    server.got();
    other.send(parse("s", "select date '1.2.3'") + sync_message());
    server.reply(complete("RESET") + ready());
    CHECK(
        server.got() == "Query(RESET \"datestyle\";) Parse(signalbox_2,select date '1.2.3') Sync"
    );
}
