// The relay with the extended protocol: names, who prepares what where, and what happens to them
// when things fail.
#include "tests/support/relay_world.hpp"

#include <catch2/catch.hpp>

using namespace signalbox::proxy;
using namespace signalbox::tests;

namespace {

/// Prepares `sql` as `name`, and has the server accept it.
void prepare(test_client& client, test_server& server, const char* name, const char* sql) {
    client.send(parse(name, sql) + sync_message());
    server.reply(parse_complete() + ready());
    server.got();
    client.got();
}

}  // namespace

TEST_CASE("a batch of the unnamed statement passes as it is", "[proxy][relay]") {
    relay_world world{SIGNALBOX_CHUNKS};
    auto& server = world.add_server();
    auto& client = world.add_client();
    client.send(
        parse("", "select $1", {23}) + bind_to("", "", "7") + describe('P', "") + execute() +
        sync_message()
    );
    CHECK(server.got() == "Parse(,select $1:23) Bind(,,+5) Describe(P ) Execute() Sync");
    server.reply(
        parse_complete() + bind_complete() + columns({"a"}) + row({"7"}) + complete("SELECT 1")
    );
    CHECK_FALSE(server.is_idle());
    server.reply(ready());
    CHECK(client.got() == "ParseComplete BindComplete Columns Row(7) Complete(SELECT 1) Ready(I)");
    CHECK(server.is_idle());
}

TEST_CASE("a batch without Sync keeps the server connection", "[proxy][relay]") {
    relay_world world{SIGNALBOX_CHUNKS};
    auto& server = world.add_server();
    auto& client = world.add_client();
    client.send(parse("", "select 1") + bind_to("", "") + execute() + flush());
    server.reply(parse_complete() + bind_complete() + complete("SELECT 1"));
    CHECK(client.got() == "ParseComplete BindComplete Complete(SELECT 1)");
    CHECK_FALSE(server.is_idle());
    CHECK(client.relay.is_busy());
    client.send(sync_message());
    server.reply(ready());
    CHECK(server.is_idle());
}

TEST_CASE("a named statement has the server connection's own name there", "[proxy][relay]") {
    relay_world world{SIGNALBOX_CHUNKS};
    auto& server = world.add_server();
    auto& client = world.add_client();
    client.send(
        parse("mine", "select 1") + bind_to("portal", "mine", "x") + describe('S', "mine") +
        execute("portal") + sync_message()
    );
    CHECK(
        server.got() ==
        "Parse(signalbox_1,select 1) Bind(portal,signalbox_1,+5) Describe(S signalbox_1) "
        "Execute(portal) Sync"
    );
    server.reply(
        parse_complete() + bind_complete() + parameter_types() + columns({"a"}) +
        complete("SELECT 0") + ready()
    );
    CHECK(client.got() == "ParseComplete BindComplete Types Columns Complete(SELECT 0) Ready(I)");
    CHECK(server.is_idle());
}

TEST_CASE("a portal's name survives the renaming", "[proxy][relay]") {
    relay_world world{SIGNALBOX_CHUNKS};
    auto& server = world.add_server();
    auto& client = world.add_client();
    client.send(
        parse("s", "select 1") + bind_to("s", "s") + describe('P', "s") + execute("s", 1) +
        close('P', "s") + sync_message()
    );
    CHECK(
        server.got() ==
        "Parse(signalbox_1,select 1) Bind(s,signalbox_1) Describe(P s) Execute(s) Close(P s) Sync"
    );
    server.reply(
        parse_complete() + bind_complete() + columns({"a"}) + row({"1"}) + suspended() +
        close_complete() + ready()
    );
    CHECK(
        client.got() == "ParseComplete BindComplete Columns Row(1) Suspended CloseComplete Ready(I)"
    );
    CHECK(server.is_idle());
}

TEST_CASE("two clients share a statement, each under its own name", "[proxy][relay]") {
    relay_world world{SIGNALBOX_CHUNKS};
    auto& server = world.add_server();
    auto& first = world.add_client();
    auto& second = world.add_client();
    prepare(first, server, "one", "select 1");
    second.send(parse("two", "select 1") + sync_message());
    CHECK(server.got() == "Sync");
    CHECK(second.got() == "ParseComplete");
    server.reply(ready());
    CHECK(second.got() == "Ready(I)");
    second.send(bind_to("", "two") + sync_message());
    CHECK(server.got() == "Bind(,signalbox_1) Sync");
    server.reply(bind_complete() + ready());
    second.send(close('S', "two") + sync_message());
    server.reply(ready());
    CHECK(second.got() == "BindComplete Ready(I) CloseComplete Ready(I)");
    server.got();
    first.send(bind_to("", "one") + sync_message());
    CHECK(server.got() == "Bind(,signalbox_1) Sync");
}

TEST_CASE("no client reaches another's statement by any name", "[proxy][relay]") {
    relay_world world{SIGNALBOX_CHUNKS};
    auto& server = world.add_server();
    auto& first = world.add_client();
    auto& second = world.add_client();
    prepare(first, server, "one", "select 1");
    const auto name = GENERATE(as<std::string>{}, "one", "signalbox_1", "signalbox_unknown");
    second.send(bind_to("", name) + sync_message());
    CHECK(server.got() == "Bind(,signalbox_unknown) Sync");
    server.reply(
        error("26000", "prepared statement \"signalbox_unknown\" does not exist") + ready()
    );
    CHECK(
        second.got() == "ERROR(26000 prepared statement \"" + name + "\" does not exist) Ready(I)"
    );
    second.send(describe('S', name) + sync_message());
    CHECK(server.got() == "Describe(S signalbox_unknown) Sync");
    server.reply(
        error("26000", "prepared statement \"signalbox_unknown\" does not exist") + ready()
    );
    second.send(close('S', name) + sync_message());
    CHECK(server.got() == "Sync");
    server.reply(ready());
    CHECK(
        second.got() == "ERROR(26000 prepared statement \"" + name +
                            "\" does not exist) Ready(I) CloseComplete Ready(I)"
    );
}

TEST_CASE(
    "on another server connection the statement is prepared when it is needed", "[proxy][relay]"
) {
    relay_world world{SIGNALBOX_CHUNKS};
    auto& server = world.add_server();
    auto& client = world.add_client();
    prepare(client, server, "s", "select 1");
    auto& other = world.add_server();
    client.send(bind_to("", "s") + execute() + sync_message());
    CHECK(other.got() == "Parse(signalbox_1,select 1) Bind(,signalbox_1) Execute() Sync");
    other.reply(parse_complete() + bind_complete() + complete("SELECT 1") + ready());
    CHECK(client.got() == "BindComplete Complete(SELECT 1) Ready(I)");
    client.send(bind_to("", "s") + execute() + sync_message());
    CHECK(other.got() == "Bind(,signalbox_1) Execute() Sync");
}

TEST_CASE("a preparation of our own that fails is the client's Bind failing", "[proxy][relay]") {
    relay_world world{SIGNALBOX_CHUNKS};
    auto& server = world.add_server();
    auto& client = world.add_client();
    prepare(client, server, "s", "select * from t");
    auto& other = world.add_server();
    client.send(bind_to("", "s") + execute() + sync_message());
    other.reply(error("42P01", "relation \"t\" does not exist") + ready());
    CHECK(client.got() == "ERROR(42P01 relation \"t\" does not exist) Ready(I)");
    CHECK(other.is_idle());
    other.got();
    client.send(bind_to("", "s") + sync_message());
    CHECK(other.got() == "Parse(signalbox_2,select * from t) Bind(,signalbox_2) Sync");
}

TEST_CASE("a statement is registered only at ParseComplete", "[proxy][relay]") {
    relay_world world{SIGNALBOX_CHUNKS};
    auto& server = world.add_server();
    auto& client = world.add_client();
    client.send(parse("s", "bad") + bind_to("", "s") + sync_message());
    server.reply(error("42601", "syntax error") + ready());
    CHECK(client.got() == "ERROR(42601 syntax error) Ready(I)");
    server.got();
    client.send(bind_to("", "s") + sync_message());
    CHECK(server.got() == "Bind(,signalbox_unknown) Sync");
    server.reply(error("26000", "x") + ready());
    auto& other = world.add_client();
    other.send(parse("s", "bad") + sync_message());
    CHECK(server.got() == "Parse(signalbox_2,bad) Sync");
}

TEST_CASE(
    "an error in a batch: what was skipped is forgotten, what was done is kept", "[proxy][relay]"
) {
    relay_world world{SIGNALBOX_CHUNKS};
    auto& server = world.add_server();
    auto& client = world.add_client();
    client.send(
        parse("a", "select 1") + parse("b", "bad") + parse("c", "select 3") + bind_to("", "c") +
        execute() + sync_message()
    );
    server.reply(parse_complete() + error("42601", "no"));
    CHECK(client.got() == "ParseComplete ERROR(42601 no)");
    CHECK_FALSE(server.is_idle());
    server.reply(ready());
    CHECK(client.got() == "Ready(I)");
    CHECK(server.is_idle());
    server.got();
    client.send(bind_to("", "a") + bind_to("", "c") + sync_message());
    CHECK(server.got() == "Bind(,signalbox_1) Bind(,signalbox_unknown) Sync");
}

TEST_CASE("an error before the Sync: everything up to it stays here", "[proxy][relay]") {
    relay_world world{SIGNALBOX_CHUNKS};
    auto& server = world.add_server();
    auto& client = world.add_client();
    client.send(parse("", "bad") + flush());
    server.reply(error("42601", "no"));
    server.got();
    client.send(bind_to("", "") + query("select 1") + function_call() + copy_done());
    CHECK(server.got().empty());
    CHECK_FALSE(server.is_idle());
    client.send(sync_message() + query("select 2"));
    CHECK(server.got() == "Sync Query(select 2)");
    server.reply(ready() + complete("SELECT 1") + ready());
    CHECK(client.got() == "ERROR(42601 no) Ready(I) Complete(SELECT 1) Ready(I)");
    CHECK(server.is_idle());
}

TEST_CASE("an error in one batch leaves the batches behind it alone", "[proxy][relay]") {
    relay_world world{SIGNALBOX_CHUNKS};
    auto& server = world.add_server();
    auto& client = world.add_client();
    const auto batch = bind_to("", "s") + execute() + sync_message();
    prepare(client, server, "s", "select 1");
    client.send(batch + batch + batch);
    server.reply(error("XX000", "first") + ready());
    server.reply(bind_complete() + complete("SELECT 1") + ready());
    server.reply(bind_complete() + error("XX000", "third") + ready());
    CHECK(
        client.got() ==
        "ERROR(XX000 first) Ready(I) BindComplete Complete(SELECT 1) Ready(I) BindComplete "
        "ERROR(XX000 third) Ready(I)"
    );
    CHECK(server.is_idle());
}

TEST_CASE("the same text with other types is another statement", "[proxy][relay]") {
    relay_world world{SIGNALBOX_CHUNKS};
    auto& server = world.add_server();
    auto& client = world.add_client();
    client.send(
        parse("a", "select $1", {23}) + parse("b", "select $1", {25}) + bind_to("", "a") +
        bind_to("", "b") + sync_message()
    );
    CHECK(
        server.got() ==
        "Parse(signalbox_1,select $1:23) Parse(signalbox_2,select $1:25) Bind(,signalbox_1) "
        "Bind(,signalbox_2) Sync"
    );
}

TEST_CASE(
    "an evicting Close comes before the Parse, and never takes what the batch names",
    "[proxy][relay]"
) {
    relay_world world{SIGNALBOX_CHUNKS};
    world.settings.max_prepared_statements = 2;
    auto& server = world.add_server();
    auto& client = world.add_client();
    prepare(client, server, "a", "select 1");
    prepare(client, server, "b", "select 2");
    client.send(
        bind_to("", "a") + parse("c", "select 3") + bind_to("", "c") + bind_to("", "b") +
        sync_message()
    );
    // b goes for c; the batch names a and c, so b comes back beyond the limit.
    CHECK(
        server.got() ==
        "Bind(,signalbox_1) Close(S signalbox_2) Parse(signalbox_3,select 3) Bind(,signalbox_3) "
        "Parse(signalbox_4,select 2) Bind(,signalbox_4) Sync"
    );
    server.reply(
        bind_complete() + close_complete() + parse_complete() + bind_complete() + parse_complete() +
        bind_complete() + ready()
    );
    CHECK(client.got() == "BindComplete ParseComplete BindComplete BindComplete Ready(I)");
    CHECK(server.is_idle());
    client.send(parse("d", "select 4") + sync_message());
    // Back under the limit: two of the three go, all of them as old as each other.
    const auto sent = server.got();
    CHECK(
        sent.find("Close(S signalbox_", sent.find("Close(S signalbox_") + 1) != std::string::npos
    );
    CHECK(sent.ends_with("Parse(signalbox_5,select 4) Sync"));
}

TEST_CASE(
    "an eviction that its batch skips leaves no statement under a forgotten name", "[proxy][relay]"
) {
    relay_world world{SIGNALBOX_CHUNKS};
    world.settings.max_prepared_statements = 1;
    auto& server = world.add_server();
    auto& client = world.add_client();
    prepare(client, server, "a", "select 1");
    client.send(bind_to("", "nobody") + parse("b", "select 2") + sync_message());
    CHECK(
        server.got() ==
        "Bind(,signalbox_unknown) Close(S signalbox_1) Parse(signalbox_2,select 2) Sync"
    );
    server.reply(error("26000", "x") + ready());
    client.got();
    // Neither was done. What is prepared now has a number of its own, whatever became of the
    // others.
    client.send(bind_to("", "a") + sync_message());
    CHECK(server.got() == "Parse(signalbox_3,select 1) Bind(,signalbox_3) Sync");
    server.reply(parse_complete() + bind_complete() + ready());
    CHECK(client.got() == "BindComplete Ready(I)");
}

TEST_CASE("Close is answered here, in its turn", "[proxy][relay]") {
    relay_world world{SIGNALBOX_CHUNKS};
    auto& server = world.add_server();
    auto& client = world.add_client();
    prepare(client, server, "s", "select 1");
    client.send(
        bind_to("", "s") + close('S', "s") + close('S', "never") + execute() + sync_message()
    );
    CHECK(server.got() == "Bind(,signalbox_1) Execute() Sync");
    CHECK(client.got().empty());
    server.reply(bind_complete());
    CHECK(client.got() == "BindComplete CloseComplete CloseComplete");
    server.reply(complete("SELECT 1") + ready());
    CHECK(client.got() == "Complete(SELECT 1) Ready(I)");
    CHECK(server.is_idle());
}

TEST_CASE("the unnamed statement follows its client and is nobody else's", "[proxy][relay]") {
    relay_world world{SIGNALBOX_CHUNKS};
    auto& server = world.add_server();
    auto& first = world.add_client();
    auto& second = world.add_client();
    first.send(parse("", "select 1") + sync_message());
    server.reply(parse_complete() + ready());
    server.got();
    SECTION("still there") {
        first.send(bind_to("", "") + sync_message());
        CHECK(server.got() == "Bind(,) Sync");
    }
    SECTION("not the other's") {
        second.send(bind_to("", "") + sync_message());
        CHECK(server.got() == "Close(S ) Bind(,) Sync");
        server.reply(
            close_complete() + error("26000", "unnamed prepared statement does not exist") + ready()
        );
        CHECK(second.got() == "ERROR(26000 unnamed prepared statement does not exist) Ready(I)");
        server.got();
        first.send(bind_to("", "") + sync_message());
        CHECK(server.got() == "Parse(,select 1) Bind(,) Sync");
        server.reply(parse_complete() + bind_complete() + ready());
        CHECK(first.got() == "ParseComplete Ready(I) BindComplete Ready(I)");
    }
    SECTION("replaced by the other's") {
        second.send(parse("", "select 2") + sync_message());
        server.reply(parse_complete() + ready());
        server.got();
        first.send(describe('S', "") + sync_message());
        CHECK(server.got() == "Parse(,select 1) Describe(S ) Sync");
    }
    SECTION("gone with the other's simple Query") {
        second.send(query("select 3"));
        server.reply(complete("SELECT 1") + ready());
        server.got();
        first.send(bind_to("", "") + sync_message());
        CHECK(server.got() == "Parse(,select 1) Bind(,) Sync");
    }
    SECTION("on another server connection") {
        auto& other = world.add_server();
        first.send(bind_to("", "") + sync_message());
        CHECK(other.got() == "Parse(,select 1) Bind(,) Sync");
        other.reply(parse_complete() + bind_complete() + ready());
        CHECK(first.got() == "ParseComplete Ready(I) BindComplete Ready(I)");
    }
    SECTION("the client's own simple Query drops it everywhere") {
        auto& other = world.add_server();
        first.send(query("select 4"));
        other.reply(complete("SELECT 1") + ready());
        world.idle = {&server};
        server.got();
        first.send(bind_to("", "") + sync_message());
        CHECK(server.got() == "Close(S ) Bind(,) Sync");
    }
}

TEST_CASE("DEALLOCATE of a name of the protocol is answered here", "[proxy][relay]") {
    relay_world world{SIGNALBOX_CHUNKS};
    auto& server = world.add_server();
    auto& client = world.add_client();
    prepare(client, server, "s", "select 1");
    client.send(query("DEALLOCATE S"));
    CHECK(server.got().empty());
    CHECK(client.got() == "Complete(DEALLOCATE) Ready(I)");
    client.send(query("deallocate s"));
    CHECK(server.got() == "Query(deallocate s)");
}

TEST_CASE(
    "DEALLOCATE ALL and DISCARD ALL make the server connection forget, for everybody",
    "[proxy][relay]"
) {
    relay_world world{SIGNALBOX_CHUNKS};
    auto& server = world.add_server();
    auto& client = world.add_client();
    auto& other = world.add_client();
    prepare(client, server, "s", "select 1");
    other.send(parse("o", "select 1") + sync_message());
    server.reply(ready());
    server.got();
    const std::string tag = GENERATE(as<std::string>{}, "DEALLOCATE ALL", "DISCARD ALL");
    client.send(query(tag));
    CHECK(server.got() == "Query(" + tag + ")");
    server.reply(complete(tag) + ready());
    if (server.got() == "Query(<inspection>)") {
        server.reply(complete("SELECT 0") + ready());
    }
    CHECK(client.got() == "Complete(" + tag + ") Ready(I)");
    client.send(bind_to("", "s") + sync_message());
    CHECK(server.got() == "Bind(,signalbox_unknown) Sync");
    server.reply(error("26000", "x") + ready());
    other.send(bind_to("", "o") + sync_message());
    CHECK(server.got() == "Parse(signalbox_2,select 1) Bind(,signalbox_2) Sync");
}

TEST_CASE("what cannot be read is the server's to refuse", "[proxy][relay]") {
    relay_world world{SIGNALBOX_CHUNKS};
    auto& server = world.add_server();
    auto& client = world.add_client();
    const char type = GENERATE('P', 'B', 'D', 'C', 'E');
    const auto body = GENERATE(as<std::string>{}, "", "no end", std::string(1, '\0'));
    client.send(message(type, body) + sync_message());
    CHECK_FALSE(client.fatal);
    const auto frames = split_frames(server.received);
    REQUIRE(frames.size() == 2);
    CHECK(frames[0] == frame{type, body});
    server.reply(error("08P01", "invalid message format") + ready());
    CHECK(client.got() == "ERROR(08P01 invalid message format) Ready(I)");
    CHECK(server.is_idle());
}

TEST_CASE(
    "a DEALLOCATE that was parsed in another batch means the client's statement, wherever it is "
    "run",
    "[proxy][relay]"
) {
    relay_world world{SIGNALBOX_CHUNKS};
    auto& first = world.add_server();
    auto& client = world.add_client();
    auto& other = world.add_client();
    prepare(client, first, "s", "select 1");
    client.send(parse("", "deallocate s") + sync_message());
    CHECK(first.got() == "Parse(,DEALLOCATE signalbox_1) Sync");
    first.reply(parse_complete() + ready());
    other.send(query("begin"));
    first.got();
    first.reply(complete("BEGIN") + ready('T'));
    auto& second = world.add_server();
    client.send(bind_to("", "") + execute() + sync_message());
    CHECK(
        second.got() ==
        "Parse(signalbox_1,select 1) Parse(,DEALLOCATE signalbox_1) Bind(,) Execute() Sync"
    );
}

TEST_CASE("a DEALLOCATE that was skipped leaves nothing behind", "[proxy][relay]") {
    relay_world world{SIGNALBOX_CHUNKS};
    auto& server = world.add_server();
    auto& client = world.add_client();
    prepare(client, server, "s", "select 1");
    client.send(
        bind_to("", "nobody") + parse("", "deallocate s") + bind_to("", "") + execute() +
        sync_message()
    );
    server.got();
    server.reply(error("26000", "x") + ready());
    client.got();
    client.send(bind_to("", "s") + sync_message());
    CHECK(
        server.got() == "Close(S signalbox_1) Parse(signalbox_2,select 1) Bind(,signalbox_2) Sync"
    );
}

TEST_CASE("DEALLOCATE beside other statements is the server's to answer", "[proxy][relay]") {
    relay_world world{SIGNALBOX_CHUNKS};
    auto& server = world.add_server();
    auto& client = world.add_client();
    prepare(client, server, "s", "select 1");
    client.send(query("insert into t values (1); deallocate s"));
    CHECK(server.got() == "Query(insert into t values (1); deallocate s)");
    server.reply(error("26000", "prepared statement \"s\" does not exist") + ready());
    client.send(parse("", "select 1; deallocate s") + sync_message());
    CHECK(server.got() == "Parse(,select 1; deallocate s) Sync");
}

TEST_CASE("names of Signalbox's own are no client's to end", "[proxy][relay]") {
    relay_world world{SIGNALBOX_CHUNKS};
    auto& server = world.add_server();
    auto& owner = world.add_client();
    auto& client = world.add_client();
    prepare(owner, server, "s", "select 1");
    client.send(query("begin; deallocate signalbox_1"));
    CHECK(server.got() == "Query(REFUSED BY SIGNALBOX)");
    server.reply(error("42601", "syntax error") + ready());
    CHECK(
        client.got() == "ERROR(26000 prepared statement \"signalbox_1\" does not exist) Ready(I)"
    );
}

TEST_CASE("a statement that the server does not know any more is parsed again", "[proxy][relay]") {
    relay_world world{SIGNALBOX_CHUNKS};
    auto& server = world.add_server();
    auto& client = world.add_client();
    prepare(client, server, "s", "select 1");
    client.send(bind_to("", "s") + sync_message());
    server.got();
    server.reply(error("26000", "prepared statement \"signalbox_1\" does not exist") + ready());
    CHECK(client.got() == "ERROR(26000 prepared statement \"s\" does not exist) Ready(I)");
    client.send(bind_to("", "s") + sync_message());
    CHECK(server.got() == "Parse(signalbox_2,select 1) Bind(,signalbox_2) Sync");
}

TEST_CASE(
    "the server's unnamed statement is not believed while what has changed it may be skipped",
    "[proxy][relay]"
) {
    relay_world world{SIGNALBOX_CHUNKS};
    auto& server = world.add_server();
    auto& owner = world.add_client();
    auto& client = world.add_client();
    owner.send(parse("", "select secret") + sync_message());
    server.reply(parse_complete() + ready());
    server.got();

    const bool is_pipelined = GENERATE(true, false);
    const auto attempt = bind_to("", "") + execute() + sync_message();
    client.send(
        bind_to("", "nobody") + bind_to("", "") + sync_message() + (is_pipelined ? attempt : "")
    );
    CHECK(server.got() == "Bind(,signalbox_unknown) Close(S ) Bind(,) Sync");
    server.reply(error("26000", "x") + ready());
    client.send(is_pipelined ? "" : attempt);
    CHECK(server.got() == "Close(S ) Bind(,) Execute() Sync");
}

TEST_CASE("a Query that is skipped leaves the unnamed statement what it was", "[proxy][relay]") {
    relay_world world{SIGNALBOX_CHUNKS};
    auto& server = world.add_server();
    auto& client = world.add_client();
    client.send(parse("", "select 1") + sync_message());
    server.reply(parse_complete() + ready());
    server.got();
    client.send(bind_to("", "nobody") + query("select 2") + sync_message());
    CHECK(server.got() == "Bind(,signalbox_unknown) Query(select 2) Sync");
    server.reply(error("26000", "x") + ready());
    client.send(bind_to("", "") + execute() + sync_message());
    CHECK(server.got() == "Parse(,select 1) Bind(,) Execute() Sync");
}
