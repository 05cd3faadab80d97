// What stands behind a plan: after its last line, before its completion, for the right statement.
#include "tests/support/relay_world.hpp"

#include <catch2/catch.hpp>

using namespace signalbox;
using namespace signalbox::proxy;
using namespace signalbox::tests;
using rewrite::multi_statement_policy;

namespace {

/// One line: what it was asked about.
class test_examinations final : public examinations {
public:
    void examine(
        const std::string& /*connection*/,
        const std::string& /*database*/,
        std::function<void(std::vector<wire::report>)> /*done*/
    ) override {}

    [[nodiscard]] std::vector<std::string> section(
        const catalog::explained_statement& what,
        const catalog::plan_lines& plan,
        const std::string& connection,
        const std::string& database,
        const client_identity& who
    ) const override {
        std::string line = connection + "/" + database + "/" + who.user + ":";
        for (const auto& each : what.relations) {
            line += " " + each.name;
        }
        for (const auto& each : plan.indexes) {
            line += " " + each;
        }
        return silent ? std::vector<std::string>{} : std::vector{line};
    }

    bool silent = false;
};

struct explained_world : relay_world {
    explicit explained_world(
        std::size_t chunk_bytes,
        pool_mode mode = pool_mode::transaction,
        multi_statement_policy policy = multi_statement_policy::pass
    )
        : relay_world(chunk_bytes, mode) {
        settings.examines = true;
        settings.connection = "main";
        settings.database = "app";
        settings.who.user = "me";
        environment.notices = &notices;
        look_at_statements(policy);
    }

    test_examinations notices;
};

std::string parameter(std::string_view name, std::string_view value) {
    std::string out;
    wire::write_parameter_status(out, name, value);
    return out;
}

std::string plan(const std::vector<std::string>& lines, char status = 'I') {
    std::string out = columns({"QUERY PLAN"});
    for (const auto& line : lines) {
        out += row({line});
    }
    return out + complete("EXPLAIN") + ready(status);
}

/// An extended batch's plan: no columns.
std::string rows_of(const std::string& line) {
    return row({line}) + complete("EXPLAIN");
}

/// A client whose encoding the server has told.
test_client& client_of(explained_world& world, test_server& server, const char* encoding = "UTF8") {
    auto& client = world.add_client();
    client.send(query("select 1"));
    server.reply(parameter("client_encoding", encoding) + complete("SELECT 1") + ready());
    server.got();
    client.got();
    return client;
}

}  // namespace

TEST_CASE("notices stand behind the plan and before its completion", "[relay][explain]") {
    explained_world world{SIGNALBOX_CHUNKS, GENERATE(pool_mode::session, pool_mode::transaction)};
    auto& server = world.add_server();
    auto& client = client_of(world, server);
    client.send(query("explain (analyze) select * from v"));
    CHECK(server.got() == "Query(explain (analyze) select * from v)");
    server.reply(plan({"Index Scan using i on t", "  Filter: true"}));
    CHECK(
        client.got() ==
        "Columns Row(Index Scan using i on t) Row(  Filter: true) Row(main/app/me: v i) "
        "Complete(EXPLAIN) Ready(I)"
    );
    // The next plan has its own lines.
    client.send(query("explain select * from w"));
    server.reply(plan({"Seq Scan on w"}));
    CHECK(
        client.got() == "Columns Row(Seq Scan on w) Row(main/app/me: w) Complete(EXPLAIN) Ready(I)"
    );
    client.send(query("select 1"));
    server.reply(columns({"a"}) + row({"1"}) + complete("SELECT 1") + ready());
    CHECK(client.got() == "Columns Row(1) Complete(SELECT 1) Ready(I)");
}

TEST_CASE("notices stand behind a plan in a transaction block, too", "[relay][explain]") {
    explained_world world{SIGNALBOX_CHUNKS};
    auto& server = world.add_server();
    auto& client = client_of(world, server);
    client.send(query("begin"));
    server.reply(complete("BEGIN") + ready('T'));
    client.got();
    client.send(query("explain select * from v"));
    server.reply(plan({"Result"}, 'T'));
    CHECK(client.got() == "Columns Row(Result) Row(main/app/me: v) Complete(EXPLAIN) Ready(T)");
}

TEST_CASE("plans that stay as they are", "[relay][explain]") {
    explained_world world{SIGNALBOX_CHUNKS};
    auto& server = world.add_server();
    auto& client = client_of(world, server);
    const std::string as_it_was = "Columns Row(Result) Complete(EXPLAIN) Ready(I)";
    const auto run = [&](const std::string& sql) {
        client.send(query(sql));
        server.reply(plan({"Result"}));
        return client.got();
    };
    SECTION("other formats, EXECUTE") {
        const auto* const sql = GENERATE(
            "explain (format json) select * from v",
            "explain (format yaml) select * from v",
            "explain execute p"
        );
        CHECK(run(sql) == as_it_was);
    }
    SECTION("nothing to say") {
        world.notices.silent = true;
        CHECK(run("explain select * from v") == as_it_was);
    }
    SECTION("notices are not looked for") {
        world.settings.examines = false;
        CHECK(run("explain select * from v") == as_it_was);
    }
    SECTION("an error") {
        client.send(query("explain select * from v"));
        server.reply(error("42P01", "no v") + ready());
        CHECK(client.got() == "ERROR(42P01 no v) Ready(I)");
    }
    SECTION("an error behind some lines") {
        client.send(query("explain analyze select * from v"));
        server.reply(
            columns({"QUERY PLAN"}) + row({"Result"}) + error("57014", "cancelled") + ready()
        );
        CHECK(client.got() == "Columns Row(Result) ERROR(57014 cancelled) Ready(I)");
    }
    SECTION("a client that wants no notices") {
        explained_world quiet{SIGNALBOX_CHUNKS, pool_mode::session};
        auto& its_server = quiet.add_server();
        auto& it = client_of(quiet, its_server);
        it.send(query("set client_min_messages to warning"));
        its_server.reply(complete("SET") + ready());
        it.got();
        it.send(query("explain select * from v"));
        its_server.reply(plan({"Result"}));
        CHECK(it.got() == as_it_was);
        it.send(query("reset client_min_messages"));
        its_server.reply(complete("RESET") + ready());
        it.got();
        it.send(query("explain select * from v"));
        its_server.reply(plan({"Result"}));
        CHECK(it.got() == "Columns Row(Result) Row(main/app/me: v) Complete(EXPLAIN) Ready(I)");
    }
}

TEST_CASE("a client that has no UTF-8 gets ASCII", "[relay][explain]") {
    explained_world world{SIGNALBOX_CHUNKS};
    world.settings.who.user = "m\xc3\xa9\xc3\xa9";
    auto& server = world.add_server();
    const auto told = [&](const char* encoding) {
        auto& client = client_of(world, server, encoding);
        client.send(query("explain select * from v"));
        server.reply(plan({"Result"}));
        const auto found = client.got();
        return found.substr(found.find("Row(Result)") + 12);
    };
    CHECK(told("UTF8") == "Row(main/app/m\xc3\xa9\xc3\xa9: v) Complete(EXPLAIN) Ready(I)");
    CHECK(told("LATIN1") == "Row(main/app/m?: v) Complete(EXPLAIN) Ready(I)");
    CHECK(told("SJIS") == "Complete(EXPLAIN) Ready(I)");  // its text cannot be read
}

TEST_CASE("each plan of a batch has its own", "[relay][explain]") {
    const std::string batch =
        "select 1; explain select * from v; explain (format json) select * from w; "
        "explain select * from x";
    const std::string told =
        "Complete(SELECT 1) Columns Row(Index Scan using i on v) Row(main/app/me: v i) "
        "Complete(EXPLAIN) Columns Row(json) Complete(EXPLAIN) Columns Row(Result) "
        "Row(main/app/me: x) Complete(EXPLAIN) Ready(I)";
    const auto body = [](const std::string& line) {
        return columns({"QUERY PLAN"}) + row({line}) + complete("EXPLAIN");
    };
    SECTION("sent whole") {
        explained_world world{SIGNALBOX_CHUNKS};
        auto& server = world.add_server();
        auto& client = client_of(world, server);
        client.send(query(batch));
        server.reply(
            complete("SELECT 1") + body("Index Scan using i on v") + body("json") + body("Result") +
            ready()
        );
        CHECK(client.got() == told);
    }
    SECTION("sent in units") {
        explained_world world{
            SIGNALBOX_CHUNKS, pool_mode::transaction, multi_statement_policy::split};
        auto& server = world.add_server();
        auto& client = client_of(world, server);
        client.send(query(batch));
        server.reply(complete("SELECT 1") + ready());
        server.reply(body("Index Scan using i on v") + ready());
        server.reply(body("json") + ready());
        server.reply(body("Result") + ready());
        CHECK(client.got() == told);
    }
    SECTION("in a block that is one unit") {
        explained_world world{
            SIGNALBOX_CHUNKS, pool_mode::transaction, multi_statement_policy::split};
        auto& server = world.add_server();
        auto& client = client_of(world, server);
        client.send(query("begin; explain select * from v; commit; select 1"));
        server.reply(complete("BEGIN") + body("Result") + complete("COMMIT") + ready());
        server.reply(complete("SELECT 1") + ready());
        CHECK(
            client.got() ==
            "Complete(BEGIN) Columns Row(Result) Row(main/app/me: v) Complete(EXPLAIN) "
            "Complete(COMMIT) Complete(SELECT 1) Ready(I)"
        );
    }
    SECTION("behind a view that is created") {
        explained_world world{SIGNALBOX_CHUNKS, pool_mode::session};
        auto& server = world.add_server();
        auto& client = client_of(world, server);
        client.send(query("create view v as select 1; explain select * from v"));
        server.reply(complete("CREATE VIEW") + body("Result") + ready());
        CHECK(
            client.got() ==
            "Complete(CREATE VIEW) Columns Row(Result) Row(main/app/me: v) Complete(EXPLAIN) "
            "Ready(I)"
        );
    }
    SECTION("statements are not taken apart: the first one's") {
        explained_world world{SIGNALBOX_CHUNKS};
        auto& server = world.add_server();
        auto& client = client_of(world, server);
        world.settings.rules = nullptr;
        client.send(query("explain select * from v; explain select * from w"));
        server.reply(body("Index Scan using i on t") + body("Result") + ready());
        CHECK(
            client.got() ==
            "Columns Row(Index Scan using i on t) Row(main/app/me: i) Complete(EXPLAIN) Columns "
            "Row(Result) Complete(EXPLAIN) Ready(I)"
        );
    }
}

TEST_CASE("a prepared EXPLAIN and its portals", "[relay][explain]") {
    explained_world world{SIGNALBOX_CHUNKS, GENERATE(pool_mode::session, pool_mode::transaction)};
    auto& server = world.add_server();
    auto& client = client_of(world, server);
    const std::string done = parse_complete() + bind_complete();
    SECTION("the unnamed statement, and another behind it") {
        client.send(
            parse("", "explain select * from v") + bind_to("", "") + execute() +
            parse("", "explain (format json) select 1") + bind_to("", "") + execute() +
            sync_message()
        );
        server.reply(done + rows_of("Index Scan using i on t") + done + rows_of("json") + ready());
        CHECK(
            client.got() ==
            "ParseComplete BindComplete Row(Index Scan using i on t) Row(main/app/me: v i) "
            "Complete(EXPLAIN) ParseComplete BindComplete Row(json) Complete(EXPLAIN) Ready(I)"
        );
    }
    SECTION("portals of several statements, in another order") {
        client.send(
            parse("a", "explain select * from v") + parse("b", "explain select * from w") +
            bind_to("p", "b") + bind_to("q", "a") + execute("q") + execute("p") + sync_message()
        );
        server.reply(
            parse_complete() + parse_complete() + bind_complete() + bind_complete() + rows_of("1") +
            rows_of("2") + ready()
        );
        CHECK_THAT(
            client.got(),
            Catch::EndsWith("Row(1) Row(main/app/me: v) Complete(EXPLAIN) Row(2) "
                            "Row(main/app/me: w) Complete(EXPLAIN) Ready(I)")
        );
        // Prepared statements stay.
        client.send(bind_to("", "a") + execute() + sync_message());
        server.reply(bind_complete() + rows_of("3") + ready());
        CHECK(client.got() == "BindComplete Row(3) Row(main/app/me: v) Complete(EXPLAIN) Ready(I)");
    }
    SECTION("a limit of rows: none, in no part") {
        client.send(
            parse("", "explain select * from v") + bind_to("", "") + execute("", 1) +
            execute("", 0) + sync_message()
        );
        server.reply(done + row({"1"}) + suspended() + rows_of("2") + ready());
        CHECK(
            client.got() ==
            "ParseComplete BindComplete Row(1) Suspended Row(2) "
            "Complete(EXPLAIN) Ready(I)"
        );
        client.send(
            parse("", "explain select * from v") + bind_to("", "") + execute("", 100) +
            sync_message()
        );
        server.reply(done + rows_of("1") + ready());
        CHECK(client.got() == "ParseComplete BindComplete Row(1) Complete(EXPLAIN) Ready(I)");
    }
    SECTION("a portal that is executed once more has no more rows") {
        client.send(
            parse("", "explain select * from v") + bind_to("p", "") + execute("p") + execute("p") +
            sync_message()
        );
        server.reply(done + rows_of("1") + complete("EXPLAIN") + ready());
        CHECK(
            client.got() ==
            "ParseComplete BindComplete Row(1) Row(main/app/me: v) "
            "Complete(EXPLAIN) Complete(EXPLAIN) Ready(I)"
        );
    }
    SECTION("a name that is taken keeps its statement") {
        client.send(parse("a", "explain select * from v") + sync_message());
        server.reply(parse_complete() + ready());
        client.send(parse("a", "explain select * from w") + sync_message());
        server.reply(error("42P05", "taken") + ready());
        client.got();
        client.send(bind_to("", "a") + execute() + sync_message());
        server.reply(bind_complete() + rows_of("1") + ready());
        CHECK(client.got() == "BindComplete Row(1) Row(main/app/me: v) Complete(EXPLAIN) Ready(I)");
    }
    SECTION("a Parse that has failed makes none") {
        client.send(parse("", "explain select * from gone") + sync_message());
        server.reply(error("42P01", "gone") + ready());
        client.send(parse("", "explain execute p") + bind_to("", "") + execute() + sync_message());
        client.got();
        server.reply(done + rows_of("1") + ready());
        CHECK(client.got() == "ParseComplete BindComplete Row(1) Complete(EXPLAIN) Ready(I)");
    }
    SECTION("a portal that another statement takes over") {
        client.send(
            parse("a", "explain select * from v") + parse("b", "explain execute p") +
            bind_to("", "a") + bind_to("", "b") + execute() + sync_message()
        );
        server.reply(
            parse_complete() + parse_complete() + bind_complete() + bind_complete() + rows_of("1") +
            ready()
        );
        CHECK_THAT(client.got(), Catch::EndsWith("BindComplete Row(1) Complete(EXPLAIN) Ready(I)"));
    }
    SECTION("no notices wanted: names are not even followed") {
        world.settings.examines = false;
        client.send(
            parse("", "explain select * from v") + bind_to("", "") + execute() + sync_message()
        );
        server.reply(done + rows_of("1") + ready());
        CHECK(client.got() == "ParseComplete BindComplete Row(1) Complete(EXPLAIN) Ready(I)");
    }
}

TEST_CASE("a closed name is free for another statement", "[relay][explain]") {
    explained_world world{SIGNALBOX_CHUNKS, pool_mode::session};
    auto& server = world.add_server();
    auto& client = client_of(world, server);
    client.send(
        parse("a", "explain select * from v") + close('S', "a") + parse("a", "explain execute p") +
        bind_to("", "a") + execute() + sync_message()
    );
    server.reply(
        parse_complete() + close_complete() + parse_complete() + bind_complete() + rows_of("1") +
        ready()
    );
    CHECK(
        client.got() ==
        "ParseComplete CloseComplete ParseComplete BindComplete Row(1) "
        "Complete(EXPLAIN) Ready(I)"
    );
}

TEST_CASE("what the worker has prepared already is followed, too", "[relay][explain]") {
    explained_world world{SIGNALBOX_CHUNKS, pool_mode::transaction};
    auto& server = world.add_server();
    auto& first = client_of(world, server);
    auto& second = client_of(world, server);
    const auto run = [&](test_client& client, const std::string& answer) {
        client.send(
            parse("a", "explain select * from v") + bind_to("", "a") + execute() + close('S', "a") +
            sync_message()
        );
        server.reply(answer + rows_of("1") + ready());
        return client.got();
    };
    const std::string told =
        "ParseComplete BindComplete Row(1) Row(main/app/me: v) Complete(EXPLAIN) CloseComplete "
        "Ready(I)";
    CHECK(run(first, parse_complete() + bind_complete()) == told);
    CHECK(run(second, bind_complete()) == told);  // its Parse is answered here
    CHECK(run(first, bind_complete()) == told);
}

TEST_CASE("prepared EXPLAINs are followed up to a number", "[relay][explain]") {
    explained_world world{0, pool_mode::session};
    auto& server = world.add_server();
    auto& client = client_of(world, server);
    const auto prepare = [&](const std::string& name) {
        client.send(parse(name, "explain select * from v") + sync_message());
        server.reply(parse_complete() + ready());
        client.got();
    };
    const auto run = [&](const std::string& name) {
        client.send(bind_to("", name) + execute() + sync_message());
        server.reply(bind_complete() + rows_of("1") + ready());
        return client.got();
    };
    const std::string told = "BindComplete Row(1) Row(main/app/me: v) Complete(EXPLAIN) Ready(I)";
    for (int i = 0; i < 257; ++i) {
        prepare("s" + std::to_string(i));
    }
    CHECK(run("s255") == told);
    CHECK(run("s256") == "BindComplete Row(1) Complete(EXPLAIN) Ready(I)");
    // One that is closed makes room.
    client.send(close('S', "s255") + sync_message());
    server.reply(close_complete() + ready());
    client.got();
    prepare("another");
    CHECK(run("another") == told);
}

TEST_CASE("a prepared EXPLAIN moves with its session", "[relay][explain]") {
    explained_world world{SIGNALBOX_CHUNKS, pool_mode::transaction};
    auto& one = world.add_server();
    auto& client = client_of(world, one);
    client.send(parse("a", "explain select * from v") + sync_message());
    one.reply(parse_complete() + ready());
    client.got();
    auto& other = world.add_server();  // idle last: it is taken first
    client.send(bind_to("", "a") + execute() + sync_message());
    other.reply(parse_complete() + bind_complete() + rows_of("1") + ready());
    CHECK_THAT(
        client.got(),
        Catch::EndsWith("BindComplete Row(1) Row(main/app/me: v) Complete(EXPLAIN) Ready(I)")
    );
}

// No verdict is kept then but the one at hand.
TEST_CASE("plans of a batch, where backslashes escape", "[relay][explain]") {
    explained_world world{0};
    auto& server = world.add_server();
    auto& client = world.add_client();
    client.relay.set_reported(world.parameters({{"standard_conforming_strings", "off"}}));
    server.state.reported = world.parameters({{"standard_conforming_strings", "off"}});
    client.send(query("explain select * from a; explain select * from b"));
    server.got();
    server.reply(
        columns({"QUERY PLAN"}) + rows_of("Seq Scan on a") + columns({"QUERY PLAN"}) +
        rows_of("Seq Scan on b") + ready()
    );
    const auto told = client.got();
    CHECK_THAT(told, Catch::Contains("main/app/me: a"));
    CHECK_THAT(told, Catch::Contains("main/app/me: b"));
}
