// Batches that are run in units: what is sent when, what the client sees, what an error leaves.
#include "tests/support/relay_world.hpp"

#include <catch2/catch.hpp>

using namespace signalbox::proxy;
using namespace signalbox::tests;
using signalbox::rewrite::multi_statement_policy;

namespace {

struct split_world : relay_world {
    explicit split_world(
        std::size_t chunk_bytes,
        multi_statement_policy policy = multi_statement_policy::split,
        pool_mode mode = pool_mode::transaction
    )
        : relay_world(chunk_bytes, mode) {
        look_at_statements(policy, {"rpc_.*"});
    }
};

}  // namespace

TEST_CASE("units are sent one after the other, and their results as they come", "[relay][units]") {
    split_world world{SIGNALBOX_CHUNKS};
    auto& server = world.add_server();
    auto& client = world.add_client();
    client.send(query("select 1; select 2"));
    CHECK(server.got() == "Query(select 1;)");
    server.reply(columns({"a"}) + row({"1"}) + complete("SELECT 1"));
    CHECK(client.got() == "Columns Row(1) Complete(SELECT 1)");
    CHECK(server.got().empty());
    server.reply(ready());
    CHECK(client.got().empty());
    CHECK(client.relay.is_busy());
    CHECK(server.got() == "Query( select 2)");
    server.reply(columns({"a"}) + row({"2"}) + complete("SELECT 1") + ready());
    CHECK(client.got() == "Columns Row(2) Complete(SELECT 1) Ready(I)");
    CHECK(server.is_idle());
    CHECK_FALSE(client.relay.is_busy());
}

TEST_CASE("each unit takes a server connection anew", "[relay][units]") {
    split_world world{SIGNALBOX_CHUNKS};
    auto& first = world.add_server();
    auto& client = world.add_client();
    auto& other = world.add_client();
    client.send(query("select 1; select 2"));
    auto& second = world.add_server();
    CHECK(first.got() == "Query(select 1;)");
    // The connection that was added last is taken next; the first one goes to whoever comes.
    first.reply(complete("SELECT 1") + ready());
    CHECK((first.got() + second.got()) == "Query( select 2)");
    auto& free = first.is_idle() ? first : second;
    auto& busy = first.is_idle() ? second : first;
    other.send(query("select 3"));
    CHECK(free.got() == "Query(select 3)");
    busy.reply(complete("SELECT 1") + ready());
    CHECK(client.got() == "Complete(SELECT 1) Complete(SELECT 1) Ready(I)");
    free.reply(complete("SELECT 1") + ready());
}

TEST_CASE("the first error ends the batch, and says what stays", "[relay][units]") {
    split_world world{SIGNALBOX_CHUNKS};
    auto& server = world.add_server();
    auto& client = world.add_client();
    client.send(query("insert 1; fail; insert 2"));
    server.reply(complete("INSERT 0 1") + ready());
    server.got();
    server.reply(error("22012", "division by zero") + ready());
    CHECK(
        client.got() ==
        "Complete(INSERT 0 1) ERROR(22012 division by zero) "
        "WARNING(01000 1 statement of this batch had been committed before the error) Ready(I)"
    );
    CHECK(server.got().empty());
    CHECK(server.is_idle());

    client.send(query("fail; insert 2"));
    server.got();
    server.reply(error("22012", "division by zero") + ready());
    CHECK(client.got() == "ERROR(22012 division by zero) Ready(I)");
}

TEST_CASE("an explicit block is one unit; left open it stays open", "[relay][units]") {
    split_world world{SIGNALBOX_CHUNKS};
    auto& server = world.add_server();
    auto& client = world.add_client();
    client.send(query("insert 1; begin; insert 2; commit; begin; insert 3"));
    CHECK(server.got() == "Query(insert 1;)");
    server.reply(complete("INSERT 0 1") + ready());
    CHECK(server.got() == "Query( begin; insert 2; commit;)");
    server.reply(complete("BEGIN") + complete("INSERT 0 1") + complete("COMMIT") + ready());
    CHECK(server.got() == "Query( begin; insert 3)");
    server.reply(complete("BEGIN") + complete("INSERT 0 1") + ready('T'));
    CHECK(client.got().ends_with("Complete(BEGIN) Complete(INSERT 0 1) Ready(T)"));
    CHECK_FALSE(server.is_idle());
    // In the open block nothing is split.
    client.send(query("insert 4; insert 5"));
    CHECK(server.got() == "Query(insert 4; insert 5)");
}

TEST_CASE("an error in a block: what the block did is not counted", "[relay][units]") {
    split_world world{SIGNALBOX_CHUNKS};
    auto& server = world.add_server();
    auto& client = world.add_client();
    client.send(query("insert 1; begin; insert 2; fail; commit; insert 3"));
    server.reply(complete("INSERT 0 1") + ready());
    server.reply(complete("BEGIN") + complete("INSERT 0 1") + error("22012", "no") + ready('E'));
    CHECK(
        client.got() ==
        "Complete(INSERT 0 1) Complete(BEGIN) Complete(INSERT 0 1) ERROR(22012 no) "
        "WARNING(01000 1 statement of this batch had been committed before the error) Ready(E)"
    );
    server.got();
    client.send(query("insert 1; rollback; begin; commit; fail"));
    CHECK(server.got() == "Query(insert 1; rollback; begin; commit; fail)");
}

TEST_CASE("a rolled back block was not committed", "[relay][units]") {
    split_world world{SIGNALBOX_CHUNKS};
    auto& server = world.add_server();
    auto& client = world.add_client();
    client.send(query("begin; insert 1; rollback; fail"));
    server.reply(complete("BEGIN") + complete("INSERT 0 1") + complete("ROLLBACK") + ready());
    client.got();
    server.reply(error("22012", "no") + ready());
    CHECK(client.got() == "ERROR(22012 no) Ready(I)");
}

TEST_CASE("what COMMIT AND CHAIN has committed is counted", "[relay][units]") {
    split_world world{SIGNALBOX_CHUNKS};
    auto& server = world.add_server();
    auto& client = world.add_client();
    client.send(query("begin; insert 1; commit and chain; insert 2; fail; commit"));
    server.reply(
        complete("BEGIN") + complete("INSERT 0 1") + complete("COMMIT") + complete("INSERT 0 1") +
        error("22012", "no") + ready('E')
    );
    CHECK(client.got().find("WARNING") == std::string::npos);  // one unit: it is sent as it is
    client.send(query("rollback"));
    server.reply(complete("ROLLBACK") + ready());
    client.got();
    client.send(query("insert 0; begin; insert 1; commit and chain; insert 2; fail; commit"));
    server.reply(complete("INSERT 0 1") + ready());
    server.reply(
        complete("BEGIN") + complete("INSERT 0 1") + complete("COMMIT") + complete("INSERT 0 1") +
        error("22012", "no") + ready('E')
    );
    CHECK_THAT(client.got(), Catch::Contains("WARNING(01000 4 statements of this batch had been"));
}

TEST_CASE("what the client sends behind a batch waits for its end", "[relay][units]") {
    split_world world{SIGNALBOX_CHUNKS};
    auto& server = world.add_server();
    auto& client = world.add_client();
    client.send(query("select 1; select 2") + query("select 3"));
    CHECK(server.got() == "Query(select 1;)");
    server.reply(complete("SELECT 1") + ready());
    CHECK(server.got() == "Query( select 2)");
    server.reply(complete("SELECT 1") + ready());
    CHECK(server.got() == "Query(select 3)");
    server.reply(complete("SELECT 1") + ready());
    CHECK(
        client.got() == "Complete(SELECT 1) Complete(SELECT 1) Ready(I) Complete(SELECT 1) Ready(I)"
    );
}

TEST_CASE("a batch waits until what was sent before it is answered", "[relay][units]") {
    split_world world{SIGNALBOX_CHUNKS};
    auto& server = world.add_server();
    auto& client = world.add_client();
    client.send(query("begin") + query("select 1; select 2"));
    CHECK(server.got() == "Query(begin)");
    server.reply(complete("BEGIN") + ready('T'));
    CHECK(server.got() == "Query(select 1; select 2)");  // in a block: whole
}

TEST_CASE("a COPY in a batch gets its data, and only then", "[relay][units]") {
    split_world world{SIGNALBOX_CHUNKS};
    auto& server = world.add_server();
    auto& client = world.add_client();
    client.send(query("select 1; copy t from stdin; select 2") + copy_data("1\n") + copy_done());
    CHECK(server.got() == "Query(select 1;)");
    server.reply(complete("SELECT 1") + ready());
    CHECK(server.got() == "Query( copy t from stdin;)");
    server.reply(copy_in());
    CHECK(server.got() == "CopyData(1\n) CopyDone");
    server.reply(complete("COPY 1") + ready());
    CHECK(server.got() == "Query( select 2)");
    server.reply(complete("SELECT 1") + ready());
    CHECK(client.got() == "Complete(SELECT 1) CopyIn Complete(COPY 1) Complete(SELECT 1) Ready(I)");
}

TEST_CASE("a Query instead of COPY's data ends the COPY, and runs later", "[relay][units]") {
    split_world world{SIGNALBOX_CHUNKS};
    auto& server = world.add_server();
    auto& client = world.add_client();
    client.send(query("select 1; copy t from stdin"));
    server.reply(complete("SELECT 1") + ready());
    server.reply(copy_in());
    server.got();
    client.send(query("select 3"));
    CHECK(server.got() == "CopyFail");
    server.reply(error("57014", "COPY failed") + ready());
    CHECK(server.got() == "Query(select 3)");
}

TEST_CASE("single refuses before anything is sent", "[relay][units]") {
    split_world world{SIGNALBOX_CHUNKS, multi_statement_policy::single};
    auto& server = world.add_server();
    auto& client = world.add_client();
    client.send(query("insert 1; insert 2"));
    CHECK(
        client.got() ==
        "ERROR(0A000 multi-statement requests are not allowed on this route) Ready(I)"
    );
    CHECK(server.got().empty());
    client.send(query("insert 1;"));
    CHECK(server.got() == "Query(insert 1;)");
    server.reply(complete("INSERT 0 1") + ready());
    client.got();
    client.send(query("begin"));
    server.reply(complete("BEGIN") + ready('T'));
    client.got();
    server.got();
    client.send(query("insert 1; insert 2"));
    CHECK(server.got() == "Query(REFUSED BY SIGNALBOX)");
    server.reply(error("42601", "syntax error") + ready('E'));
    CHECK(
        client.got() ==
        "ERROR(0A000 multi-statement requests are not allowed on this route) Ready(E)"
    );
}

TEST_CASE("pass sends the batch whole", "[relay][units]") {
    split_world world{SIGNALBOX_CHUNKS, multi_statement_policy::pass};
    auto& server = world.add_server();
    auto& client = world.add_client();
    client.send(query("insert 1; select rpc_count()"));
    CHECK(server.got() == "Query(insert 1; select rpc_count())");
}

TEST_CASE("split_on_rpc splits where an RPC function is called", "[relay][units]") {
    split_world world{SIGNALBOX_CHUNKS, multi_statement_policy::split_on_rpc};
    auto& server = world.add_server();
    auto& client = world.add_client();
    client.send(query("insert into t values (1); select 'rpc_count()'"));
    CHECK(server.got() == "Query(insert into t values (1); select 'rpc_count()')");
    server.reply(complete("INSERT 0 1") + complete("SELECT 1") + ready());
    client.got();
    client.send(query("insert into t values (1); select rpc_count()"));
    CHECK(server.got() == "Query(insert into t values (1);)");
    server.reply(complete("INSERT 0 1") + ready());
    CHECK(server.got() == "Query( select rpc_count())");
}

TEST_CASE("session mode splits, and keeps its connection", "[relay][units]") {
    split_world world{SIGNALBOX_CHUNKS, multi_statement_policy::split, pool_mode::session};
    auto& server = world.add_server();
    auto& client = world.add_client();
    client.send(query("select 1; select 2"));
    server.reply(complete("SELECT 1") + ready());
    CHECK_FALSE(server.is_idle());
    server.reply(complete("SELECT 1") + ready());
    CHECK(client.got() == "Complete(SELECT 1) Complete(SELECT 1) Ready(I)");
    CHECK(server.got() == "Query(select 1;) Query( select 2)");
}

TEST_CASE("parameters follow from unit to unit", "[relay][units]") {
    split_world world{SIGNALBOX_CHUNKS};
    auto& server = world.add_server();
    auto& client = world.add_client();
    client.send(query("set timezone to utc; select 2"));
    server.reply(complete("SET") + ready());
    CHECK(server.received.find("pg_settings") != std::string::npos);
    server.got();
    server.reply(row({"set", "TimeZone", "utc"}) + complete("SELECT 1") + ready());
    CHECK(server.got() == "Query( select 2)");
    server.reply(complete("SELECT 1") + ready());
    CHECK(client.got() == "Complete(SET) Complete(SELECT 1) Ready(I)");
}

TEST_CASE("a server that is lost in a batch", "[relay][units]") {
    split_world world{SIGNALBOX_CHUNKS};
    auto& server = world.add_server();
    auto& client = world.add_client();
    client.send(query("insert 1; insert 2; insert 3"));
    server.reply(complete("INSERT 0 1") + ready());
    client.lose_server();
    CHECK(
        client.got() ==
        "Complete(INSERT 0 1) ERROR(08006 lost) "
        "WARNING(01000 1 statement of this batch had been committed before the error) Ready(I)"
    );
    CHECK_FALSE(client.relay.is_busy());
    auto& next = world.add_server();
    client.send(query("select 1"));
    CHECK_THAT(next.got(), !Catch::Contains("insert"));
}

TEST_CASE("a cancel that finds nothing running ends the batch", "[relay][units]") {
    split_world world{SIGNALBOX_CHUNKS};
    auto& server = world.add_server();
    auto& client = world.add_client();
    client.send(query("insert 1; insert 2"));
    server.reply(complete("INSERT 0 1"));
    client.relay.note_cancel();
    server.got();
    server.reply(ready());
    CHECK(server.got().empty());
    CHECK(
        client.got() ==
        "Complete(INSERT 0 1) ERROR(57014 canceling statement due to user request) "
        "WARNING(01000 1 statement of this batch had been committed before the error) Ready(I)"
    );
}

TEST_CASE("a cancel before the next unit is sent: it is not", "[relay][units]") {
    split_world world{SIGNALBOX_CHUNKS};
    auto& server = world.add_server();
    auto& client = world.add_client();
    client.send(query("insert 1; insert 2"));
    server.state.doubtful = true;  // it is closed instead of going back
    server.reply(complete("INSERT 0 1") + ready());
    CHECK(client.waits);
    client.relay.note_cancel();
    auto& next = world.add_server();
    client.waits = false;
    client.send(query("select 1"));
    CHECK_THAT(next.got(), !Catch::Contains("insert"));
    CHECK(
        client.got() ==
        "Complete(INSERT 0 1) ERROR(57014 canceling statement due to user request) "
        "WARNING(01000 1 statement of this batch had been committed before the error) Ready(I)"
    );
}

TEST_CASE("no server connection for a later unit", "[relay][units]") {
    split_world world{SIGNALBOX_CHUNKS};
    auto& server = world.add_server();
    auto& client = world.add_client();
    client.send(query("insert 1; insert 2"));
    auto& other = world.add_client();
    other.send(query("select 1"));
    CHECK(other.waits);
    server.state.doubtful = true;  // it is closed instead of going back
    server.reply(complete("INSERT 0 1") + ready());
    CHECK(client.waits);
    client.fail_wait();
    CHECK(
        client.got() ==
        "Complete(INSERT 0 1) ERROR(53300 none free) "
        "WARNING(01000 1 statement of this batch had been committed before the error) Ready(I)"
    );
}

TEST_CASE("an error's position is that of the client's own text", "[relay][units]") {
    split_world world{SIGNALBOX_CHUNKS};
    auto& server = world.add_server();
    auto& client = world.add_client();
    client.relay.set_reported(world.parameters({{"client_encoding", "UTF8"}}));
    client.send(query("select 'äö'; selec 2"));
    server.reply(complete("SELECT 1") + ready());
    std::string said;
    signalbox::wire::message_writer{said, 'E'}
        .u8('S')
        .cstring("ERROR")
        .u8('C')
        .cstring("42601")
        .u8('M')
        .cstring("syntax error")
        .u8('P')
        .cstring("2")
        .u8(0);
    server.reply(said + ready());
    using namespace std::string_view_literals;
    CHECK(client.received.find("P14\0"sv) != std::string::npos);
}

TEST_CASE("hostile text is decided elsewhere, and then sent", "[relay][units]") {
    split_world world{0};
    auto& server = world.add_server();
    auto& client = world.add_client();
    std::string sql = "select 1";
    while (sql.size() < 300'000) {
        sql += "+1";
    }
    client.send(query(sql + "; select 2"));
    CHECK(server.got() == "Query(<300001 bytes>)");
    server.reply(complete("SELECT 1") + ready());
    CHECK(server.got() == "Query( select 2)");
}
