// Statements that are addressed to Signalbox: answered in their place, over both protocols.
#include "tests/support/relay_world.hpp"

#include <catch2/catch.hpp>

using namespace signalbox::proxy;
using namespace signalbox::tests;
using signalbox::rewrite::multi_statement_policy;

namespace {

struct own_world : relay_world {
    explicit own_world(
        std::size_t chunk_bytes, multi_statement_policy policy = multi_statement_policy::pass
    )
        : relay_world(chunk_bytes) {
        look_at_statements(policy);
    }
};

constexpr auto bad_command = "ERROR(42704 no such connection)";

}  // namespace

TEST_CASE("a statement of ours needs no server", "[relay][commands]") {
    own_world world{SIGNALBOX_CHUNKS};
    auto& client = world.add_client();
    client.send(query("alter connection main set (port 1)"));
    CHECK(client.got() == "Complete(ALTER CONNECTION) Ready(I)");
    client.send(query("Show /* all */ Connections;"));
    CHECK(client.got() == "Columns Row(main) Row(NULL) Complete(SHOW) Ready(I)");
    client.send(query("drop connection bad"));
    CHECK(client.got() == std::string{bad_command} + " Ready(I)");
    CHECK(world.commands.ran.size() == 3);
}

TEST_CASE("a batch is cut before and behind a statement of ours", "[relay][commands]") {
    own_world world{SIGNALBOX_CHUNKS};
    auto& server = world.add_server();
    auto& client = world.add_client();
    client.send(query("insert 1; insert 2; alter connection main set (port 1); insert 3; insert 4")
    );
    CHECK(server.got() == "Query(insert 1; insert 2;)");
    CHECK(world.commands.ran.empty());
    server.reply(complete("INSERT 0 1") + complete("INSERT 0 1") + ready());
    CHECK(world.commands.ran.size() == 1);
    CHECK(server.got() == "Query( insert 3; insert 4)");
    server.reply(complete("INSERT 0 1") + complete("INSERT 0 1") + ready());
    CHECK(
        client.got() ==
        "Complete(INSERT 0 1) Complete(INSERT 0 1) Complete(ALTER CONNECTION) "
        "Complete(INSERT 0 1) Complete(INSERT 0 1) Ready(I)"
    );
}

TEST_CASE("an error of ours ends the batch", "[relay][commands]") {
    own_world world{SIGNALBOX_CHUNKS};
    auto& server = world.add_server();
    auto& client = world.add_client();
    client.send(query("insert 1; drop connection bad; insert 3"));
    server.got();
    server.reply(complete("INSERT 0 1") + ready());
    CHECK(
        client.got() ==
        "Complete(INSERT 0 1) " + std::string{bad_command} +
            " WARNING(01000 1 statement of this batch had been committed before the error) "
            "Ready(I)"
    );
    CHECK(server.got().empty());
}

TEST_CASE("in a transaction block only the SHOW forms work", "[relay][commands]") {
    own_world world{SIGNALBOX_CHUNKS};
    auto& server = world.add_server();
    auto& client = world.add_client();
    client.send(query("begin"));
    server.reply(complete("BEGIN") + ready('T'));
    client.got();
    server.got();
    client.send(query("show connections"));
    CHECK(client.got() == "Columns Row(main) Row(NULL) Complete(SHOW) Ready(T)");
    client.send(query("alter connection main set (port 1)"));
    CHECK(server.got() == "Query(REFUSED BY SIGNALBOX)");
    server.reply(error("42601", "syntax error") + ready('E'));
    CHECK(
        client.got() ==
        "ERROR(25001 ALTER CONNECTION cannot run inside a transaction block) Ready(E)"
    );
    client.send(query("show connections"));
    CHECK_THAT(client.got(), Catch::StartsWith("ERROR(25P02 ") && Catch::EndsWith(" Ready(E)"));
    CHECK(world.commands.ran.size() == 1);
}

TEST_CASE("a batch with a statement of ours behind BEGIN", "[relay][commands]") {
    own_world world{SIGNALBOX_CHUNKS};
    auto& server = world.add_server();
    auto& client = world.add_client();
    client.send(query("begin; insert 1; alter connection main set (port 1); commit"));
    CHECK(server.got() == "Query(begin; insert 1;)");
    server.reply(complete("BEGIN") + complete("INSERT 0 1") + ready('T'));
    CHECK(server.got() == "Query(REFUSED BY SIGNALBOX)");
    server.reply(error("42601", "syntax error") + ready('E'));
    CHECK(
        client.got() ==
        "Complete(BEGIN) Complete(INSERT 0 1) ERROR(25001 ALTER CONNECTION cannot run inside a "
        "transaction block) Ready(E)"
    );
    CHECK(server.got().empty());
}

TEST_CASE("over the extended protocol", "[relay][commands]") {
    own_world world{SIGNALBOX_CHUNKS};
    auto& client = world.add_client();
    client.send(
        parse("s", "show connections") + describe('S', "s") + bind_to("p", "s") +
        describe('P', "p") + execute("p", 1) + execute("p", 0) + close('S', "s") + sync_message()
    );
    CHECK(
        client.got() ==
        "ParseComplete Types Columns BindComplete Columns Row(main) Suspended Row(NULL) "
        "Complete(SHOW) CloseComplete Ready(I)"
    );
    CHECK(world.commands.ran.size() == 1);
    client.send(
        parse("", "alter connection main set (port 1)") + bind_to("", "") + describe('P', "") +
        execute() + sync_message()
    );
    CHECK(client.got() == "ParseComplete BindComplete NoData Complete(ALTER CONNECTION) Ready(I)");
}

TEST_CASE("in a pipeline it keeps its place, and cuts", "[relay][commands]") {
    own_world world{SIGNALBOX_CHUNKS};
    auto& server = world.add_server();
    auto& client = world.add_client();
    client.send(
        parse("", "insert 1") + bind_to("", "") + execute() + parse("", "drop connection bad") +
        bind_to("", "") + execute() + parse("", "insert 2") + bind_to("", "") + execute() +
        sync_message()
    );
    CHECK(server.got() == "Parse(,insert 1) Bind(,) Execute() Sync");
    CHECK(world.commands.ran.empty());
    server.reply(parse_complete() + bind_complete() + complete("INSERT 0 1") + ready());
    CHECK(
        client.got() ==
        "ParseComplete BindComplete Complete(INSERT 0 1) ParseComplete BindComplete " +
            std::string{bad_command} +
            " WARNING(01000 1 statement of this batch had been committed before the error) "
            "Ready(I)"
    );
    CHECK(server.got().empty());
    client.send(parse("", "select 1") + bind_to("", "") + execute() + sync_message());
    CHECK(server.got() == "Parse(,select 1) Bind(,) Execute() Sync");
}

TEST_CASE("a name of ours cannot be given twice", "[relay][commands]") {
    own_world world{SIGNALBOX_CHUNKS};
    auto& client = world.add_client();
    client.send(parse("s", "show connections") + sync_message());
    client.got();
    client.send(parse("s", "select 1") + sync_message());
    CHECK(client.got() == "ERROR(42P05 prepared statement \"s\" already exists) Ready(I)");
}

TEST_CASE("in a pipeline it counts as committed", "[relay][commands]") {
    own_world world{SIGNALBOX_CHUNKS};
    auto& client = world.add_client();
    client.send(
        parse("", "alter connection main set (port 1)") + bind_to("", "") + execute() +
        parse("", "drop connection bad") + bind_to("", "") + execute() + sync_message()
    );
    CHECK_THAT(
        client.got(),
        Catch::EndsWith("WARNING(01000 1 statement of this batch had been committed before the "
                        "error) Ready(I)")
    );
}

// Without a split, the statements before one of ours are one Query, with transactions of its own.
TEST_CASE("what COMMIT and ROLLBACK leave in a batch is counted", "[relay][commands]") {
    own_world world{SIGNALBOX_CHUNKS};
    auto& server = world.add_server();
    auto& client = world.add_client();
    const bool to_savepoint = GENERATE(false, true);
    client.send(query(
        to_savepoint ? "begin; insert 1; rollback to a; commit; drop connection bad"
                     : "begin; insert 1; rollback; insert 2; drop connection bad"
    ));
    server.reply(
        complete("BEGIN") + complete("INSERT 0 1") + complete("ROLLBACK") +
        complete(to_savepoint ? "COMMIT" : "INSERT 0 1") + ready()
    );
    const std::string count = to_savepoint ? "4 statements" : "1 statement";
    CHECK_THAT(
        client.got(),
        Catch::Contains("WARNING(01000 " + count + " of this batch had been committed")
    );
}

TEST_CASE("DEALLOCATE ALL and DISCARD ALL forget statements of ours", "[relay][commands]") {
    own_world world{SIGNALBOX_CHUNKS};
    auto& server = world.add_server();
    auto& client = world.add_client();
    client.send(parse("s", "show connections") + sync_message());
    client.send(query("deallocate all"));
    server.reply(complete("DEALLOCATE ALL") + ready());
    client.got();
    client.send(parse("s", "show connections") + sync_message());
    CHECK(client.got() == "ParseComplete Ready(I)");
}

TEST_CASE("a portal of ours ends with its transaction", "[relay][commands]") {
    own_world world{SIGNALBOX_CHUNKS};
    auto& server = world.add_server();
    auto& client = world.add_client();
    client.send(query("begin"));
    server.reply(complete("BEGIN") + ready('T'));
    client.send(parse("", "show connections") + bind_to("p", "") + sync_message());
    server.got();
    server.reply(ready('T'));
    client.send(query("commit"));
    server.reply(complete("COMMIT") + ready());
    server.got();
    client.send(execute("p") + sync_message());
    CHECK(server.got() == "Execute(p) Sync");
}

TEST_CASE("an unnamed statement of ours takes the place of the server's", "[relay][commands]") {
    own_world world{SIGNALBOX_CHUNKS};
    auto& server = world.add_server();
    auto& client = world.add_client();
    client.send(parse("", "select 1") + sync_message());
    server.reply(parse_complete() + ready());
    client.send(parse("", "show connections") + close('S', "") + sync_message());
    server.got();
    client.send(bind_to("", "") + sync_message());
    CHECK(server.got() == "Close(S ) Bind(,) Sync");
}

TEST_CASE("a Query of ours drops the unnamed statement", "[relay][commands]") {
    own_world world{SIGNALBOX_CHUNKS};
    auto& server = world.add_server();
    auto& client = world.add_client();
    client.send(parse("", "select 1") + sync_message());
    server.reply(parse_complete() + ready());
    server.got();
    client.send(query("show connections"));
    client.send(bind_to("", "") + sync_message());
    CHECK(server.got() == "Close(S ) Bind(,) Sync");
}

// ---- one that takes its time

TEST_CASE("what is sent behind a statement under way waits", "[relay][commands]") {
    own_world world{SIGNALBOX_CHUNKS};
    auto& server = world.add_server();
    auto& client = world.add_client();
    world.hold_commands = true;
    client.send(query("alter connection main set (port 1)") + query("select 1"));
    CHECK(client.got().empty());
    CHECK(client.relay.is_busy());
    CHECK(client.relay.goes_on_alone());
    CHECK(server.is_idle());
    client.finish_command();
    CHECK(client.got() == "Complete(ALTER CONNECTION) Ready(I)");
    CHECK(server.got() == "Query(select 1)");
    CHECK(world.commands.ran.size() == 1);
}

TEST_CASE("a statement under way holds no server connection", "[relay][commands]") {
    own_world world{SIGNALBOX_CHUNKS};
    auto& server = world.add_server();
    auto& client = world.add_client();
    world.hold_commands = true;
    client.send(query("insert 1; drop connection bad; insert 2"));
    server.got();
    server.reply(complete("INSERT 0 1") + ready());
    CHECK(server.is_idle());
    CHECK(client.relay.is_busy());
    auto& other = world.add_client();
    other.send(query("select 1"));
    CHECK(server.got() == "Query(select 1)");
    server.reply(complete("SELECT 1") + ready());
    client.finish_command();
    CHECK(
        client.got() ==
        "Complete(INSERT 0 1) " + std::string{bad_command} +
            " WARNING(01000 1 statement of this batch had been committed before the error) "
            "Ready(I)"
    );
    CHECK(server.got().empty());
}

TEST_CASE("a batch goes on behind a statement under way", "[relay][commands]") {
    own_world world{SIGNALBOX_CHUNKS};
    auto& server = world.add_server();
    auto& client = world.add_client();
    world.hold_commands = true;
    client.send(query("alter connection main set (port 1); insert 1"));
    CHECK(server.got().empty());
    client.finish_command();
    CHECK(server.got() == "Query( insert 1)");
    server.reply(complete("INSERT 0 1") + ready());
    CHECK(client.got() == "Complete(ALTER CONNECTION) Complete(INSERT 0 1) Ready(I)");
}

TEST_CASE("a cancel lets it end, and nothing behind it begin", "[relay][commands]") {
    own_world world{SIGNALBOX_CHUNKS};
    auto& server = world.add_server();
    auto& client = world.add_client();
    world.hold_commands = true;
    client.send(query("alter connection main set (port 1); insert 1"));
    client.relay.note_cancel();
    client.finish_command();
    CHECK(server.got().empty());
    CHECK_THAT(
        client.got(),
        Catch::StartsWith(
            "Complete(ALTER CONNECTION) ERROR(57014 canceling statement due to user request) "
        ) && Catch::EndsWith(" Ready(I)")
    );
}

TEST_CASE("under way over the extended protocol", "[relay][commands]") {
    own_world world{SIGNALBOX_CHUNKS};
    auto& server = world.add_server();
    auto& client = world.add_client();
    const bool is_bad = GENERATE(false, true);
    world.hold_commands = true;
    client.send(
        parse("", is_bad ? "drop connection bad" : "drop connection main") + bind_to("p", "") +
        execute("p") + parse("", "select 1") + bind_to("", "") + execute() + sync_message()
    );
    CHECK(client.got() == "ParseComplete BindComplete");
    CHECK(server.got().empty());
    client.finish_command();
    if (is_bad) {
        CHECK(client.got() == std::string{bad_command} + " Ready(I)");
        CHECK(server.got().empty());
        return;
    }
    CHECK(client.got() == "Complete(DROP CONNECTION)");
    CHECK(server.got() == "Parse(,select 1) Bind(,) Execute() Sync");
}

TEST_CASE("a portal that has been executed is not executed again", "[relay][commands]") {
    own_world world{SIGNALBOX_CHUNKS};
    auto& client = world.add_client();
    client.send(
        parse("", "alter connection main set (port 1)") + bind_to("p", "") + execute("p", 1) +
        execute("p", 1) + sync_message()
    );
    CHECK(world.commands.ran.size() == 1);
    CHECK_THAT(client.got(), Catch::EndsWith(" Ready(I)"));
}

TEST_CASE("Terminate behind a statement under way", "[relay][commands]") {
    own_world world{SIGNALBOX_CHUNKS};
    auto& client = world.add_client();
    world.hold_commands = true;
    client.send(query("alter connection main set (port 1)"));
    client.send(terminate());
    CHECK_FALSE(client.terminated);
    client.finish_command();
    CHECK(client.terminated);
    CHECK(world.commands.ran.size() == 1);
}

TEST_CASE("a syntax error of ours refuses the whole batch", "[relay][commands]") {
    own_world world{
        SIGNALBOX_CHUNKS, GENERATE(multi_statement_policy::pass, multi_statement_policy::split)};
    auto& server = world.add_server();
    auto& client = world.add_client();
    client.send(query("insert 1; drop connection a; alter connection wrong; insert 2"));
    CHECK(client.got() == "ERROR(42601 syntax error) Ready(I)");
    CHECK(server.is_idle());
    CHECK(server.got().empty());
    CHECK(world.commands.ran.empty());
}
