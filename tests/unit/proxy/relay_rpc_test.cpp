// Calls of RPC functions: pipelines that are cut around them, and the hazard in a block.
#include "tests/support/relay_world.hpp"

#include <catch2/catch.hpp>

using namespace signalbox::proxy;
using namespace signalbox::tests;
using signalbox::rewrite::multi_statement_policy;

namespace {

struct rpc_world : relay_world {
    explicit rpc_world(
        std::size_t chunk_bytes,
        multi_statement_policy policy = multi_statement_policy::split_on_rpc
    )
        : relay_world(chunk_bytes) {
        look_at_statements(policy, {"rpc_.*"});
    }
};

std::string statement(std::string_view sql) {
    return parse("", sql) + bind_to("", "") + execute();
}

std::string statement_reply(std::string_view tag) {
    return parse_complete() + bind_complete() + complete(tag);
}

}  // namespace

TEST_CASE("a pipeline is cut before and behind an RPC call", "[relay][rpc]") {
    rpc_world world{SIGNALBOX_CHUNKS};
    auto& server = world.add_server();
    auto& client = world.add_client();
    client.send(
        statement("insert into t values (1)") + statement("select rpc_count()") +
        statement("insert into t values (2)") + sync_message()
    );
    CHECK(
        server.got() ==
        "Parse(,insert into t values (1)) Bind(,) Execute() Parse(,select rpc_count()) Sync"
    );
    server.reply(statement_reply("INSERT 0 1") + parse_complete() + ready());
    CHECK(server.got() == "Bind(,) Execute() Sync");
    server.reply(bind_complete() + complete("SELECT 1") + ready());
    CHECK(server.got() == "Parse(,insert into t values (2)) Bind(,) Execute() Sync");
    server.reply(statement_reply("INSERT 0 1") + ready());
    CHECK(
        client.got() ==
        "ParseComplete BindComplete Complete(INSERT 0 1) ParseComplete BindComplete "
        "Complete(SELECT 1) ParseComplete BindComplete Complete(INSERT 0 1) Ready(I)"
    );
}

TEST_CASE("an error before the call: the call is skipped", "[relay][rpc]") {
    rpc_world world{SIGNALBOX_CHUNKS};
    auto& server = world.add_server();
    auto& client = world.add_client();
    client.send(
        statement("insert into t values (1)") + statement("select rpc_count()") + sync_message()
    );
    server.got();
    server.reply(parse_complete() + bind_complete() + error("22012", "no") + ready());
    CHECK(server.got().empty());
    CHECK(server.is_idle());
    CHECK(client.got() == "ParseComplete BindComplete ERROR(22012 no) Ready(I)");
}

TEST_CASE("an error behind the call: what stays is said", "[relay][rpc]") {
    rpc_world world{SIGNALBOX_CHUNKS};
    auto& server = world.add_server();
    auto& client = world.add_client();
    client.send(
        statement("select rpc_count()") + statement("fail") + statement("select 3") + sync_message()
    );
    CHECK(server.got() == "Parse(,select rpc_count()) Bind(,) Execute() Sync");
    server.reply(statement_reply("SELECT 1") + ready());
    server.reply(error("42601", "no") + ready());
    CHECK(
        client.got() ==
        "ParseComplete BindComplete Complete(SELECT 1) ERROR(42601 no) "
        "WARNING(01000 1 statement of this batch had been committed before the error) Ready(I)"
    );
    // The next batch knows nothing of it.
    client.send(statement("fail") + sync_message());
    server.reply(error("42601", "no") + ready());
    CHECK(client.got() == "ERROR(42601 no) Ready(I)");
}

TEST_CASE("a call alone is not cut", "[relay][rpc]") {
    rpc_world world{SIGNALBOX_CHUNKS};
    auto& server = world.add_server();
    auto& client = world.add_client();
    client.send(statement("select rpc_count()") + sync_message());
    CHECK(server.got() == "Parse(,select rpc_count()) Bind(,) Execute() Sync");
    server.reply(statement_reply("SELECT 1") + ready());
    CHECK(client.got().ends_with("Ready(I)"));
    CHECK(server.is_idle());
}

TEST_CASE("a call by a named statement, prepared before", "[relay][rpc]") {
    rpc_world world{SIGNALBOX_CHUNKS};
    auto& server = world.add_server();
    auto& client = world.add_client();
    client.send(parse("p", "select rpc_count()") + sync_message());
    server.reply(parse_complete() + ready());
    server.got();
    client.send(
        statement("insert into t values (1)") + bind_to("", "p") + execute() + sync_message()
    );
    CHECK(server.got() == "Parse(,insert into t values (1)) Bind(,) Execute() Sync");
    server.reply(statement_reply("INSERT 0 1") + ready());
    CHECK(server.got() == "Bind(,signalbox_1) Execute() Sync");
}

TEST_CASE("pass does not cut", "[relay][rpc]") {
    rpc_world world{SIGNALBOX_CHUNKS, multi_statement_policy::pass};
    auto& server = world.add_server();
    auto& client = world.add_client();
    client.send(
        statement("insert into t values (1)") + statement("select rpc_count()") + sync_message()
    );
    CHECK(server.got().ends_with("Parse(,select rpc_count()) Bind(,) Execute() Sync"));
}

TEST_CASE("a call in a transaction block is warned of, or refused", "[relay][rpc]") {
    rpc_world world{SIGNALBOX_CHUNKS};
    auto& server = world.add_server();
    auto& client = world.add_client();
    const bool refuses = GENERATE(false, true);
    world.settings.rpc = refuses ? rpc_in_transaction::refuse : rpc_in_transaction::warn;
    client.send(query("begin"));
    server.reply(complete("BEGIN") + ready('T'));
    client.got();
    server.got();
    const bool simple = GENERATE(true, false);
    client.send(
        simple ? query("select rpc_count()") : statement("select rpc_count()") + sync_message()
    );
    if (refuses) {
        if (!simple) {
            CHECK(
                server.got() ==
                "Parse(,select rpc_count()) Parse(,REFUSED BY SIGNALBOX) Execute() Sync"
            );
            server.reply(parse_complete());
        }
        server.reply(error("42601", "syntax error") + ready('E'));
        CHECK_THAT(
            client.got(),
            Catch::EndsWith("ERROR(25001 RPC functions must not be called inside a transaction "
                            "block) Ready(E)")
        );
        return;
    }
    server.reply(
        (simple ? std::string{} : parse_complete() + bind_complete()) + complete("SELECT 1") +
        ready('T')
    );
    const auto got = client.got();
    CHECK_THAT(
        got,
        Catch::StartsWith("WARNING(01000 an RPC function is called inside a transaction block)")
    );
    CHECK_THAT(got, Catch::EndsWith("Complete(SELECT 1) Ready(T)"));
}

TEST_CASE("a block that a pipeline begins is open until it is ended", "[relay][rpc]") {
    rpc_world world{SIGNALBOX_CHUNKS, multi_statement_policy::pass};
    auto& client = world.add_client();
    world.add_server();
    const auto told = [&](std::string_view sql) {
        client.send(
            statement("begin") + statement(sql) + statement("select rpc_count()") + sync_message()
        );
        return client.got();
    };
    SECTION("open") {
        const auto sql = GENERATE(
            as<std::string>{},
            "commit and chain",
            "rollback to a",
            "rollback prepared 'a'",
            "select 1"
        );
        CAPTURE(sql);
        CHECK_THAT(told(sql), Catch::StartsWith("WARNING(01000 "));
    }
    SECTION("ended") {
        const auto sql = GENERATE(
            as<std::string>{},
            "commit",
            "; END work",
            "abort and no chain",
            "prepare transaction 'a'"
        );
        CAPTURE(sql);
        CHECK(told(sql).empty());
    }
}

TEST_CASE("a block in one Query with a call in it", "[relay][rpc]") {
    rpc_world world{SIGNALBOX_CHUNKS};
    auto& server = world.add_server();
    auto& client = world.add_client();
    world.settings.rpc = GENERATE(rpc_in_transaction::refuse, rpc_in_transaction::allow);
    client.send(query("begin; select rpc_count(); commit"));
    if (world.settings.rpc == rpc_in_transaction::refuse) {
        CHECK(server.got() == "Query(begin;)");
        server.reply(complete("BEGIN") + ready('T'));
        CHECK(server.got() == "Query(REFUSED BY SIGNALBOX)");
        server.reply(error("42601", "syntax error") + ready('E'));
        CHECK(server.got().empty());
        CHECK_THAT(client.got(), Catch::StartsWith("Complete(BEGIN) ERROR(25001 "));
    } else {
        CHECK(server.got() == "Query(begin; select rpc_count(); commit)");
        CHECK(client.got().empty());
    }
}

// The count was kept when the batch ended otherwise than by the server's answer to a Sync, and told
// behind the next batch's error.
TEST_CASE("what a batch has committed is not told of the next", "[relay][rpc]") {
    rpc_world world{SIGNALBOX_CHUNKS};
    auto& server = world.add_server();
    auto& client = world.add_client();
    SECTION("a Query ends it") {
        client.send(statement("select 1") + query("select rpc_count()"));
        server.reply(statement_reply("SELECT 1") + ready());
        server.reply(complete("SELECT 1") + ready());
    }
    SECTION("its Sync needs no server") {
        client.send(statement("select 1"));
        client.send(parse("", "show connections"));
        server.reply(statement_reply("SELECT 1") + ready());
        client.send(sync_message());
    }
    CHECK(server.is_idle());
    client.got();
    client.send(query("fail"));
    server.reply(error("42601", "no") + ready());
    CHECK(client.got() == "ERROR(42601 no) Ready(I)");
}

TEST_CASE("what was rolled back before a cut was not committed", "[relay][rpc]") {
    rpc_world world{SIGNALBOX_CHUNKS};
    auto& server = world.add_server();
    auto& client = world.add_client();
    client.send(
        statement("select 1") + statement("rollback") + statement("select rpc_count()") +
        sync_message()
    );
    server.reply(
        statement_reply("SELECT 1") + statement_reply("ROLLBACK") + parse_complete() + ready()
    );
    client.got();
    server.reply(bind_complete() + error("22012", "no") + ready());
    CHECK(client.got() == "BindComplete ERROR(22012 no) Ready(I)");
}

TEST_CASE("no server for the rest of a pipeline: what stays is said", "[relay][rpc]") {
    rpc_world world{SIGNALBOX_CHUNKS};
    auto& server = world.add_server();
    auto& client = world.add_client();
    auto& other = world.add_client();
    client.send(statement("select rpc_count()") + flush());
    client.send(parse("", "show connections"));
    server.reply(statement_reply("SELECT 1") + ready());
    CHECK(server.is_idle());
    other.send(query("begin"));
    client.send(parse("", "select 2"));
    CHECK(client.waits);
    client.got();
    client.fail_wait();
    client.send(sync_message());
    CHECK(
        client.got() ==
        "ERROR(53300 none free) "
        "WARNING(01000 1 statement of this batch had been committed before the error) Ready(I)"
    );
}

TEST_CASE("a parameter that changes before a cut is told", "[relay][rpc]") {
    rpc_world world{SIGNALBOX_CHUNKS};
    auto& server = world.add_server();
    auto& client = world.add_client();
    client.send(statement("set datestyle = y") + bind_to("", "") + parse("", "show connections"));
    server.reply(statement_reply("SET") + bind_complete() + status("datestyle", "y") + ready());
    CHECK_THAT(client.got(), Catch::Contains("Status(datestyle=y)"));
}

// The portal that the call had was taken for a call's when it was bound anew, and what stands
// behind the call was cut into transactions of a statement each.
TEST_CASE("only the call itself is cut out", "[relay][rpc]") {
    rpc_world world{SIGNALBOX_CHUNKS};
    auto& server = world.add_server();
    auto& client = world.add_client();
    client.send(
        statement("select rpc_count()") + statement("select 1") + statement("select 2") +
        sync_message()
    );
    server.got();
    server.reply(statement_reply("SELECT 1") + ready());
    CHECK(
        server.got() == "Parse(,select 1) Bind(,) Execute() Parse(,select 2) Bind(,) Execute() Sync"
    );
}

TEST_CASE("the call's portal may be asked for more, in messages cut anywhere", "[relay][rpc]") {
    rpc_world world{SIGNALBOX_CHUNKS};
    auto& server = world.add_server();
    auto& client = world.add_client();
    client.send(
        parse("", "select rpc_count()") + bind_to("portal", "") + execute("portal", 1) +
        execute("portal", 1) + describe('P', "portal") + close('P', "portal") +
        statement("select 1") + sync_message()
    );
    CHECK(
        server.got() ==
        "Parse(,select rpc_count()) Bind(portal,) Execute(portal) Execute(portal) "
        "Describe(P portal) Close(P portal) Sync"
    );
}

TEST_CASE("a name that was a call's is not one when it is prepared anew", "[relay][rpc]") {
    rpc_world world{SIGNALBOX_CHUNKS};
    auto& server = world.add_server();
    auto& client = world.add_client();
    client.send(parse("p", "select rpc_count()") + sync_message());
    server.reply(parse_complete() + ready());
    client.send(close('S', "p") + parse("p", "select 1") + sync_message());
    server.reply(parse_complete() + ready());
    server.got();
    client.send(statement("select 2") + bind_to("", "p") + execute() + sync_message());
    CHECK(server.got() == "Parse(,select 2) Bind(,) Execute() Bind(,signalbox_2) Execute() Sync");
}

// A Parse that the server skips leaves the unnamed statement what it was.
TEST_CASE("the unnamed statement stays a call where its Parse was skipped", "[relay][rpc]") {
    rpc_world world{SIGNALBOX_CHUNKS};
    auto& server = world.add_server();
    auto& client = world.add_client();
    client.send(parse("", "select rpc_count()") + sync_message());
    server.reply(parse_complete() + ready());
    client.send(parse("a", "fail") + parse("", "select 1") + sync_message());
    server.reply(error("42601", "no") + ready());
    server.got();
    client.send(
        parse("b", "select 2") + bind_to("", "b") + execute() + bind_to("", "") + execute()
    );
    CHECK_THAT(server.got(), Catch::EndsWith("Execute() Sync"));
}

// Its Sync is the COPY's to ignore: the client waited for the end of the cut for ever.
TEST_CASE("a cut behind a COPY that has begun", "[relay][rpc]") {
    rpc_world world{SIGNALBOX_CHUNKS};
    auto& server = world.add_server();
    auto& client = world.add_client();
    client.send(statement("copy t from stdin") + parse("", "show connections"));
    CHECK(server.got() == "Parse(,copy t from stdin) Bind(,) Execute() Sync");
    server.reply(parse_complete() + bind_complete() + copy_in());
    CHECK_THAT(server.got(), Catch::StartsWith("Parse(,show connections)"));
    server.reply(error("57014", "COPY failed"));
    client.send(sync_message());
    CHECK(server.got() == "Sync");
    server.reply(ready());
    CHECK(client.got() == "ParseComplete BindComplete CopyIn ERROR(57014 COPY failed) Ready(I)");
}

// The end of the batch before came when the cut had been sent, and took the news of it away.
TEST_CASE("what stays is said behind a batch that was pipelined", "[relay][rpc]") {
    rpc_world world{SIGNALBOX_CHUNKS};
    auto& server = world.add_server();
    auto& client = world.add_client();
    client.send(query("select 1") + statement("select 2") + parse("", "drop connection bad"));
    client.send(bind_to("", "") + execute() + sync_message());
    server.reply(complete("SELECT 1") + ready());
    server.reply(statement_reply("SELECT 1") + ready());
    CHECK_THAT(
        client.got(),
        Catch::EndsWith("WARNING(01000 1 statement of this batch had been committed before the "
                        "error) Ready(I)")
    );
}

TEST_CASE("a name that DISCARD ALL has ended calls nothing", "[relay][rpc]") {
    relay_world world{0, pool_mode::session};
    world.look_at_statements(multi_statement_policy::split_on_rpc, {"rpc_.*"});
    auto& server = world.add_server();
    auto& client = world.add_client();
    client.send(parse("p", "select rpc_count()") + sync_message());
    server.reply(parse_complete() + ready());
    client.send(query("discard all"));
    server.reply(complete("DISCARD ALL") + ready());
    client.send(parse("p", "select 1") + sync_message());
    server.reply(parse_complete() + ready());
    server.got();
    client.send(statement("select 2") + bind_to("", "p") + execute() + sync_message());
    CHECK(server.got() == "Parse(,select 2) Bind(,) Execute() Bind(,p) Execute() Sync");
}

TEST_CASE("the hazard is told once, also where the Bind has to wait", "[relay][rpc]") {
    rpc_world world{0};
    auto& first = world.add_server();
    auto& client = world.add_client();
    auto& other = world.add_client();
    client.send(parse("p", "select rpc_count()") + describe('S', "p") + sync_message());
    first.reply(parse_complete() + parameter_types() + columns({"count"}) + ready());
    client.got();
    other.send(query("begin"));
    first.reply(complete("BEGIN") + ready('T'));
    auto& second = world.add_server();
    client.send(query("begin"));
    second.reply(complete("BEGIN") + ready('T'));
    client.got();
    client.send(bind_to("", "p") + execute() + sync_message());
    second.reply(parse_complete() + parameter_types() + columns({"count"}));
    const auto told = client.got();
    CHECK(told.find("WARNING") != std::string::npos);
    CHECK(told.find("WARNING") == told.rfind("WARNING"));
}

TEST_CASE("EXECUTE of a call that has a name in SQL", "[relay][rpc]") {
    relay_world world{SIGNALBOX_CHUNKS, GENERATE(pool_mode::transaction, pool_mode::session)};
    world.look_at_statements(multi_statement_policy::split_on_rpc, {"rpc_.*"});
    auto& server = world.add_server();
    auto& client = world.add_client();
    const auto answer = [&](const std::string& tag) {
        server.reply(complete(tag) + ready());
        if (server.got() == "Query(<inspection>)") {
            server.reply(row({"pin", "prepared statement", "p"}) + complete("SELECT 1") + ready());
        }
        client.got();
    };
    const std::string batch = "insert into t values (1); execute p";
    const auto sent = [&] {
        client.send(query(batch));
        auto got = server.got();
        server.reply(error("42601", "no") + ready());
        client.got();
        return got;
    };
    const auto whole = "Query(" + batch + ")";
    const std::string first = "Query(insert into t values (1);)";
    client.send(query("prepare p as select 1"));
    server.got();
    answer("PREPARE");
    CHECK(sent() == whole);
    client.send(query("deallocate p"));
    server.got();
    answer("DEALLOCATE");
    client.send(query("prepare p as select rpc_count()"));
    server.got();
    answer("PREPARE");
    CHECK(sent() == first);
    SECTION("the name is taken") {
        client.send(query("prepare p as select 1"));
        server.got();
        server.reply(error("42P05", "already exists") + ready());
        client.got();
        CHECK(sent() == first);
    }
    SECTION("the name is free, and another's") {
        client.send(query("deallocate p"));
        server.got();
        answer("DEALLOCATE");
        CHECK(sent() == whole);
        client.send(query("prepare p as select 1"));
        server.got();
        answer("PREPARE");
        CHECK(sent() == whole);
    }
    SECTION("all names are gone") {
        client.send(query("discard all"));
        server.got();
        answer("DISCARD ALL");
        CHECK(sent() == whole);
    }
    SECTION("in a block") {
        client.send(query("begin"));
        server.reply(complete("BEGIN") + ready('T'));
        server.got();
        client.got();
        client.send(query("explain analyze execute p"));
        CHECK_THAT(client.got(), Catch::StartsWith("WARNING(01000 "));
        server.reply(complete("EXPLAIN") + ready('T'));
        client.got();
        client.send(statement("execute p") + sync_message());
        CHECK_THAT(client.got(), Catch::StartsWith("WARNING(01000 "));
    }
    SECTION("in a pipeline") {
        client.send(
            statement("insert into t values (1)") + statement("execute p") + sync_message()
        );
        CHECK(
            server.got() ==
            "Parse(,insert into t values (1)) Bind(,) Execute() Parse(,execute p) Sync"
        );
    }
    SECTION("by the protocol") {
        client.send(
            statement("insert into t values (1)") + bind_to("", "p") + execute() + sync_message()
        );
        CHECK(server.got() == "Parse(,insert into t values (1)) Bind(,) Execute() Sync");
    }
    SECTION("another session's names are its own") {
        auto& next = world.add_server();
        auto& other = world.add_client();
        other.send(query(batch));
        CHECK(next.got() == whole);
    }
}

TEST_CASE("PREPARE and EXECUTE in one batch", "[relay][rpc]") {
    relay_world world{SIGNALBOX_CHUNKS, pool_mode::session};
    world.look_at_statements(multi_statement_policy::split_on_rpc, {"rpc_.*"});
    auto& server = world.add_server();
    auto& client = world.add_client();
    const auto* const sql = GENERATE(
        "prepare p as select rpc_count(); execute p",
        "deallocate p; prepare p as select rpc_count(); explain analyze execute p"
    );
    client.send(query(sql));
    const std::string text{sql};
    CHECK(server.got() == "Query(" + text.substr(0, text.find(';') + 1) + ")");
    server.reply(error("42601", "no") + ready());
    client.got();
    const auto* const harmless = GENERATE(
        "prepare q as select 1; execute q", "prepare q as select rpc_count(); deallocate q"
    );
    client.send(query(harmless));
    CHECK(server.got() == "Query(" + std::string{harmless} + ")");
}

// In session mode SQL and the protocol have the same names.
TEST_CASE("EXECUTE of a call that has a name in the protocol", "[relay][rpc]") {
    relay_world world{SIGNALBOX_CHUNKS, pool_mode::session};
    world.look_at_statements(multi_statement_policy::split_on_rpc, {"rpc_.*"});
    auto& server = world.add_server();
    auto& client = world.add_client();
    client.send(parse("p", "select rpc_count()") + sync_message());
    server.reply(parse_complete() + ready());
    server.got();
    client.send(query("select 1; execute p"));
    CHECK(server.got() == "Query(select 1;)");
}
