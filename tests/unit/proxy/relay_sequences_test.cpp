// currval() and lastval() give what the session itself has drawn, or nothing.
#include "tests/support/model_world.hpp"

#include <catch2/catch.hpp>

#include <map>
#include <random>

using namespace signalbox::proxy;
using namespace signalbox::tests;
using signalbox::rewrite::multi_statement_policy;

namespace {

#define SIGNALBOX_CHUNKS GENERATE(as<std::size_t>{}, 0, 1, 7)

const std::string in_batch =
    "Close(S signalbox_sequences) Parse(signalbox_sequences,DISCARD SEQUENCES) "
    "Bind(signalbox_sequences,signalbox_sequences) Execute(signalbox_sequences) "
    "Close(P signalbox_sequences)";

const std::string in_batch_reply = close_complete() + parse_complete() + bind_complete() +
                                   complete("DISCARD SEQUENCES") + close_complete();

const std::string discarded = complete("DISCARD SEQUENCES") + ready();

/// One server connection, on which `other` has drawn a value.
struct sequences_world : relay_world {
    explicit sequences_world(std::size_t chunk_bytes, pool_mode mode = pool_mode::transaction)
        : relay_world(chunk_bytes, mode),
          server(add_server()),
          other(add_client()),
          client(add_client()) {
        draw(other);
    }

    void draw(test_client& by) {
        by.send(query("select nextval('s')"));
        server.reply(complete("SELECT 1") + ready());
        server.got();
        by.got();
    }

    /// The database's functions are known. `reading_one` reads, in its body.
    void watch_database() {
        signalbox::rewrite::hidden_state_rules rules;
        for (const auto* name : {"lower", "nextval", "currval", "lastval", "reading_one"}) {
            rules.learn("known", name, "");
        }
        rules.learn("body", "reading_one", "select currval('s')");
        rules.finish();
        settings.watch = std::make_shared<state_watch>();
        settings.watch->rules =
            std::make_shared<const signalbox::rewrite::hidden_state_rules>(std::move(rules));
    }

    test_server& server;
    test_client& other;
    test_client& client;
};

std::string statement(std::string_view sql) {
    return parse("", sql) + bind_to("", "") + execute();
}

}  // namespace

TEST_CASE("what another session has drawn is discarded first", "[relay][sequences]") {
    sequences_world world{SIGNALBOX_CHUNKS};
    const auto* const sql = GENERATE(
        "select lastval()",
        "select pg_catalog.CURRVAL('s')",
        "select \"currval\"('s')",
        "do $$ begin perform lastval(); end $$",
        "select nextval('s'); select lastval()"
    );
    world.client.send(query(sql));
    CHECK(world.server.got() == "Query(DISCARD SEQUENCES)");
    world.server.reply(discarded);
    CHECK(world.server.got() == "Query(" + std::string{sql} + ")");
    CHECK(world.client.got().empty());
    world.server.reply(error("55000", "lastval is not yet defined in this session") + ready());
    CHECK(world.client.got() == "ERROR(55000 lastval is not yet defined in this session) Ready(I)");
    // What is there now is its own, or nothing.
    world.client.send(query(sql));
    CHECK(world.server.got() == "Query(" + std::string{sql} + ")");
}

TEST_CASE("a name that can be spelled in any way", "[relay][sequences]") {
    sequences_world world{SIGNALBOX_CHUNKS};
    world.client.send(query("select U&\"last\\0076al\"()"));
    CHECK(world.server.got() == "Query(DISCARD SEQUENCES)");
}

TEST_CASE("nothing is discarded where nothing is read", "[relay][sequences]") {
    sequences_world world{SIGNALBOX_CHUNKS};
    SECTION("other words") {
        world.client.send(query("select v, last_value, val from curr_values where a & b"));
        CHECK(world.server.got().find("DISCARD") == std::string::npos);
    }
    SECTION("the values are its own") {
        world.other.send(
            query("select lastval()") + statement("select lastval()") + sync_message()
        );
        CHECK(world.server.got().find("DISCARD") == std::string::npos);
    }
    SECTION("the values are its own again: it has discarded the others'") {
        world.client.send(query("discard sequences"));
        world.server.reply(discarded);
        CHECK(world.server.got() == "Query(discard sequences) Query(<inspection>)");
        world.server.reply(complete("SELECT 0") + ready());
        world.client.send(query("select lastval()"));
        CHECK(world.server.got() == "Query(select lastval())");
    }
    SECTION("it has only been parsed") {
        world.client.send(parse("", "select lastval()") + describe('S', "") + sync_message());
        CHECK(world.server.got().find("DISCARD") == std::string::npos);
    }
    SECTION("session mode") {
        world.settings.mode = pool_mode::session;
        world.client.send(query("select lastval()"));
        CHECK(world.server.got() == "Query(select lastval())");
    }
}

TEST_CASE("in the extended protocol what reads waits, too", "[relay][sequences]") {
    sequences_world world{SIGNALBOX_CHUNKS};
    const std::string discard = "Query(DISCARD SEQUENCES)";
    SECTION("unnamed") {
        world.client.send(statement("select lastval()") + sync_message());
        CHECK(world.server.got() == "Parse(,select lastval()) " + discard);
        // The Query has ended the unnamed statement.
        world.server.reply(parse_complete() + discarded);
        CHECK(world.server.got() == "Parse(,select lastval()) Bind(,) Execute() Sync");
        world.server.reply(parse_complete() + bind_complete() + complete("SELECT 1") + ready());
        CHECK(world.client.got() == "ParseComplete BindComplete Complete(SELECT 1) Ready(I)");
    }
    SECTION("unnamed, parsed on another lease") {
        world.client.send(parse("", "select lastval()") + sync_message());
        world.server.reply(parse_complete() + ready());
        world.draw(world.other);
        world.client.send(bind_to("", "") + execute() + sync_message());
        CHECK(world.server.got() == discard);
        world.server.reply(discarded);
        CHECK(world.server.got() == "Parse(,select lastval()) Bind(,) Execute() Sync");
    }
    SECTION("named") {
        world.client.send(parse("p", "select lastval()") + sync_message());
        world.server.reply(parse_complete() + ready());
        world.server.got();
        world.client.send(bind_to("", "p") + execute() + sync_message());
        CHECK(world.server.got() == discard);
        world.server.reply(discarded);
        CHECK(world.server.got() == "Bind(,signalbox_1) Execute() Sync");
        world.server.reply(bind_complete() + complete("SELECT 1") + ready());
        world.client.got();
        world.client.send(bind_to("", "p") + execute() + sync_message());
        CHECK(world.server.got() == "Bind(,signalbox_1) Execute() Sync");
    }
    SECTION("named, and parsed in the same batch") {
        world.client.send(
            parse("p", "select lastval()") + bind_to("", "p") + execute() + sync_message()
        );
        CHECK(world.server.got() == "Parse(signalbox_1,select lastval()) " + discard);
        world.server.reply(parse_complete() + discarded);
        CHECK(world.server.got() == "Bind(,signalbox_1) Execute() Sync");
    }
    SECTION("once in a batch: what the batch draws stays") {
        world.client.send(
            statement("select lastval()") + statement("select nextval('s')") +
            statement("select lastval()") + sync_message()
        );
        world.server.got();
        world.server.reply(parse_complete() + discarded);
        CHECK(world.server.got().find("DISCARD") == std::string::npos);
    }
    SECTION("it cannot be discarded") {
        world.client.send(statement("select lastval()") + sync_message());
        world.server.got();
        world.server.reply(parse_complete() + error("57014", "cancelled") + ready());
        CHECK(world.server.got() == "Parse(,REFUSED BY SIGNALBOX) Execute() Sync");
        world.server.reply(error("42601", "no") + ready());
        CHECK(world.client.got() == "ParseComplete ERROR(57014 cancelled) Ready(I)");
        world.client.send(statement("select lastval()") + sync_message());
        CHECK(world.server.got() == "Parse(,select lastval()) " + discard);
    }
    SECTION("the server is lost meanwhile") {
        world.client.send(statement("select lastval()") + sync_message());
        world.server.reply(parse_complete());
        CHECK(world.client.lose_server() == relay::loss::told);
        CHECK(world.client.got() == "ParseComplete ERROR(08006 lost) Ready(I)");
    }
}

TEST_CASE("in the middle of a batch it is a part of that", "[relay][sequences]") {
    sequences_world world{GENERATE(as<std::size_t>{}, 1, 7)};
    world.client.send(
        statement("insert into t values (1)") + statement("select lastval()") + sync_message()
    );
    CHECK(
        world.server.got() ==
        "Parse(,insert into t values (1)) Bind(,) Execute() Parse(,select lastval()) " + in_batch +
            " Bind(,) Execute() Sync"
    );
    world.server.reply(
        parse_complete() + bind_complete() + complete("INSERT 0 1") + parse_complete() +
        in_batch_reply + bind_complete() + complete("SELECT 1") + ready()
    );
    CHECK(
        world.client.got() ==
        "ParseComplete BindComplete Complete(INSERT 0 1) ParseComplete BindComplete "
        "Complete(SELECT 1) Ready(I)"
    );
}

TEST_CASE("a batch that reads behind what it draws", "[relay][sequences]") {
    sequences_world world{0};
    world.client.send(
        statement("insert into t values (1)") + statement("select lastval()") + sync_message()
    );
    CHECK(
        world.server.got() ==
        "Parse(,insert into t values (1)) Query(DISCARD SEQUENCES) "
        "Parse(,insert into t values (1)) Bind(,) Execute() Parse(,select lastval())"
    );
    world.server.reply(parse_complete() + discarded);
    CHECK(world.server.got() == "Bind(,) Execute() Sync");
    world.server.reply(
        parse_complete() + bind_complete() + complete("INSERT 0 1") + parse_complete() +
        bind_complete() + complete("SELECT 1") + ready()
    );
    CHECK(
        world.client.got() ==
        "ParseComplete BindComplete Complete(INSERT 0 1) ParseComplete BindComplete "
        "Complete(SELECT 1) Ready(I)"
    );
}

// An Execute of ours before it would make a pipeline of it, in which PostgreSQL refuses VACUUM,
// CREATE DATABASE and their like. While nothing is known of a database, any statement may read.
TEST_CASE("nothing is executed before what has to stand alone", "[relay][sequences]") {
    sequences_world world{SIGNALBOX_CHUNKS};
    world.settings.watch = std::make_shared<state_watch>();
    world.client.send(statement("vacuum t") + sync_message());
    CHECK(world.server.got() == "Parse(,vacuum t) Query(DISCARD SEQUENCES)");
    world.server.reply(parse_complete() + discarded);
    CHECK(world.server.got() == "Parse(,vacuum t) Bind(,) Execute() Sync");
}

// Just behind DDL nothing is known, and plans are out of date: what stands behind the Query is sent
// again, as a batch that was sent in one piece.
TEST_CASE("a plan that is out of date, behind a DISCARD", "[relay][sequences]") {
    sequences_world world{0};
    const auto batch = parse("s", "select a") + bind_to("", "s") + execute() + sync_message();
    const auto answer = bind_complete() + complete("SELECT 1") + ready();
    world.other.send(batch);
    world.server.reply(parse_complete() + answer);
    world.server.got();
    world.settings.watch = std::make_shared<state_watch>();
    world.client.send(batch);
    CHECK(world.server.got() == "Query(DISCARD SEQUENCES)");
    world.server.reply(discarded);
    CHECK(world.server.got() == "Bind(,signalbox_1) Execute() Sync");
    world.server.reply(stale_plan() + ready());
    CHECK(
        world.server.got() ==
        "Close(S signalbox_1) Parse(signalbox_1,select a) Bind(,signalbox_1) Execute() Sync"
    );
    world.server.reply(close_complete() + parse_complete() + answer);
    CHECK(world.client.got() == "ParseComplete BindComplete Complete(SELECT 1) Ready(I)");
}

// DISCARD takes a snapshot: SET TRANSACTION is refused behind it. And a failed block must end.
TEST_CASE("what calls nothing reads nothing", "[relay][sequences]") {
    sequences_world world{SIGNALBOX_CHUNKS};
    world.watch_database();
    world.settings.watch->doubtful_blocks = 0;
    const auto answer = [&](const std::string& reply) {
        world.server.reply(reply);
        world.server.got();
        world.client.got();
    };
    world.client.send(query("begin"));
    answer(complete("BEGIN") + ready('T'));
    world.settings.watch->rules = std::make_shared<const signalbox::rewrite::hidden_state_rules>();
    SECTION("SET TRANSACTION") {
        const std::string sql = "set transaction isolation level serializable;";
        world.client.send(query(sql));
        CHECK(world.server.got() == "Query(" + sql + ")");
        answer(complete("SET") + ready('T'));
        world.client.send(query(sql + " select 1"));
        CHECK(world.server.got() == "Query(DISCARD SEQUENCES)");
    }
    SECTION("ROLLBACK") {
        world.client.send(query("savepoint a"));
        CHECK(world.server.got() == "Query(savepoint a)");
        answer(error("22012", "no") + ready('E'));
        const auto* const last = GENERATE("rollback", "ABORT;", " /* a */ commit ; ");
        const bool is_extended = GENERATE(false, true);
        world.client.send(is_extended ? statement(last) + sync_message() : query(last));
        CHECK(world.server.got().find("DISCARD") == std::string::npos);
        CHECK(world.client.got().empty());
    }
}

// The Query is skipped with the rest of the batch: which unnamed statement the server holds is not
// known, and must not be taken for none.
TEST_CASE("another's unnamed statement behind a batch that was skipped", "[relay][sequences]") {
    sequences_world world{SIGNALBOX_CHUNKS};
    world.client.send(parse("q", "select lastval()") + sync_message());
    world.server.reply(parse_complete() + ready());
    world.other.send(statement("select 'of another'") + sync_message());
    world.server.reply(parse_complete() + bind_complete() + complete("SELECT 1") + ready());
    world.server.got();
    world.client.send(parse("p", "fail") + bind_to("", "q") + execute() + sync_message());
    CHECK(world.server.got() == "Parse(signalbox_2,fail) Query(DISCARD SEQUENCES)");
    world.server.reply(error("42601", "no"));
    CHECK(world.server.got() == "Sync");
    world.server.reply(ready());
    world.client.got();
    world.client.send(bind_to("", "") + execute() + sync_message());
    CHECK_THAT(world.server.got(), Catch::Contains("Close(S ) Bind(,) "));
}

TEST_CASE("queries in a pipeline, the last of which reads", "[relay][sequences]") {
    sequences_world world{0};
    world.client.send(
        query("begin") + query("insert into t values (1)") + query("select lastval()")
    );
    CHECK(
        world.server.got() ==
        "Query(DISCARD SEQUENCES) Query(begin) Query(insert into t values (1))"
    );
    world.server.reply(discarded);
    CHECK(world.server.got() == "Query(select lastval())");
    world.server.reply(
        complete("BEGIN") + ready('T') + complete("INSERT 0 1") + ready('T') +
        complete("SELECT 1") + ready('T')
    );
    CHECK(
        world.client.got() ==
        "Complete(BEGIN) Ready(T) Complete(INSERT 0 1) Ready(T) Complete(SELECT 1) Ready(T)"
    );
}

TEST_CASE("a batch that is skipped has discarded nothing", "[relay][sequences]") {
    sequences_world world{SIGNALBOX_CHUNKS};
    const bool pipelined = GENERATE(false, true);
    const auto again = statement("select lastval()") + sync_message();
    world.client.send(
        parse("", "fail") + statement("select lastval()") + sync_message() +
        (pipelined ? again : std::string{})
    );
    CHECK(world.server.got() == "Parse(,fail) Parse(,select lastval()) Query(DISCARD SEQUENCES)");
    world.server.reply(error("42601", "no"));
    CHECK(world.server.got() == (pipelined ? "Sync Parse(,select lastval())" : "Sync"));
    world.server.reply(ready());
    CHECK(world.client.got() == "ERROR(42601 no) Ready(I)");
    if (!pipelined) {
        world.client.send(again);
        CHECK(world.server.got() == "Parse(,select lastval()) Query(DISCARD SEQUENCES)");
    } else {
        CHECK(world.server.got() == "Query(DISCARD SEQUENCES)");
    }
}

TEST_CASE("in a block", "[relay][sequences]") {
    sequences_world world{SIGNALBOX_CHUNKS};
    world.client.send(query("begin"));
    world.server.reply(complete("BEGIN") + ready('T'));
    world.server.got();
    world.client.got();
    SECTION("a Query") {
        world.client.send(query("select lastval()"));
        CHECK(world.server.got() == "Query(DISCARD SEQUENCES)");
        world.server.reply(complete("DISCARD SEQUENCES") + ready('T'));
        CHECK(world.server.got() == "Query(select lastval())");
    }
    SECTION("a batch") {
        world.client.send(statement("select lastval()") + sync_message());
        CHECK(
            world.server.got() == "Parse(,select lastval()) " + in_batch + " Bind(,) Execute() Sync"
        );
    }
    SECTION("a failed one") {
        world.client.send(query("fail"));
        world.server.reply(error("22012", "no") + ready('E'));
        world.server.got();
        world.client.got();
        world.client.send(query("select lastval()"));
        CHECK(world.server.got() == "Query(select lastval())");
        world.server.reply(error("25P02", "aborted") + ready('E'));
        world.client.got();
        world.client.send(query("rollback; select lastval()"));
        CHECK(world.server.got().empty());
        CHECK_THAT(world.client.got(), Catch::StartsWith("ERROR(0A000 "));
        world.client.send(query("rollback"));
        CHECK(world.server.got() == "Query(rollback)");
    }
    SECTION("the server is lost meanwhile") {
        world.client.send(query("select lastval()"));
        CHECK(world.client.lose_server() == relay::loss::told);
        CHECK(world.client.got() == "ERROR(08006 lost) Ready(I)");
    }
}

TEST_CASE("the block of a database whose statements read is prepared", "[relay][sequences]") {
    sequences_world world{SIGNALBOX_CHUNKS};
    world.watch_database();
    auto& watch = *world.settings.watch;
    const bool is_known = GENERATE(false, true);
    watch.reads_sequences = is_known;
    watch.doubtful_blocks = is_known ? 0 : 1;
    const auto* const first = GENERATE("begin", "create temp table t as select 1");
    world.client.send(query(first));
    CHECK(world.server.got() == "Query(DISCARD SEQUENCES) Query(" + std::string{first} + ")");
    world.server.reply(discarded + complete("BEGIN") + ready('T'));
    CHECK(world.client.got() == "Complete(BEGIN) Ready(T)");
    world.client.send(query("insert into t values (1)"));
    world.server.reply(complete("INSERT 0 1") + ready('T'));
    world.server.got();
    world.client.send(query("select lastval()"));
    CHECK(world.server.got() == "Query(select lastval())");
    CHECK(watch.reads_sequences);
    world.server.reply(complete("SELECT 1") + ready('T'));
    world.client.send(query("commit"));
    world.server.reply(complete("COMMIT") + ready());
}

TEST_CASE("where nobody has read for long, blocks cost nothing", "[relay][sequences]") {
    sequences_world world{0};
    world.watch_database();
    world.settings.watch->doubtful_blocks = 0;
    world.client.send(query("begin"));
    CHECK(world.server.got() == "Query(begin)");
}

TEST_CASE("a function that reads", "[relay][sequences]") {
    sequences_world world{SIGNALBOX_CHUNKS};
    world.watch_database();
    world.client.send(query("select lower('A')"));
    CHECK(world.server.got() == "Query(select lower('A'))");
    world.server.reply(complete("SELECT 1") + ready());
    world.client.send(query("select reading_one()"));
    CHECK(world.server.got() == "Query(DISCARD SEQUENCES)");
}

TEST_CASE("a call by its OID may be any", "[relay][sequences]") {
    sequences_world world{SIGNALBOX_CHUNKS};
    world.client.send(function_call());
    CHECK(world.server.got() == "Query(DISCARD SEQUENCES)");
    world.server.reply(discarded);
    CHECK(world.server.got() == "FunctionCall");
}

TEST_CASE("what cannot be discarded is not read", "[relay][sequences]") {
    sequences_world world{SIGNALBOX_CHUNKS};
    world.client.send(query("select lastval()"));
    world.server.reply(error("57014", "canceling statement due to user request") + ready());
    CHECK(world.client.got() == "ERROR(57014 canceling statement due to user request) Ready(I)");
    CHECK(world.server.got() == "Query(DISCARD SEQUENCES)");
    world.client.send(query("select lastval()"));
    CHECK(world.server.got() == "Query(DISCARD SEQUENCES)");
}

TEST_CASE("lost while it discards: another server will do", "[relay][sequences]") {
    sequences_world world{SIGNALBOX_CHUNKS};
    world.client.send(query("select lastval()"));
    auto& next = world.add_server();
    CHECK(world.client.lose_server() == relay::loss::retry);
    CHECK(next.got() == "Query(select lastval())");
    CHECK(world.client.got().empty());
}

TEST_CASE("units of a batch", "[relay][sequences]") {
    sequences_world world{SIGNALBOX_CHUNKS};
    world.look_at_statements(multi_statement_policy::split);
    world.client.send(query("select 1; select lastval()"));
    CHECK(world.server.got() == "Query(DISCARD SEQUENCES) Query(select 1;)");
    world.server.reply(discarded + complete("SELECT 1") + ready());
    CHECK(world.server.got() == "Query( select lastval())");
    world.server.reply(error("55000", "not yet") + ready());
    CHECK_THAT(world.client.got(), Catch::StartsWith("Complete(SELECT 1) ERROR(55000 not yet)"));
    world.draw(world.other);
    world.client.send(query("select lastval(); select 2"));
    CHECK(world.server.got() == "Query(DISCARD SEQUENCES)");
    SECTION("it is discarded") {
        world.server.reply(discarded);
        CHECK(world.server.got() == "Query(select lastval();)");
    }
    SECTION("it is cancelled: that is the end of it") {
        world.client.relay.note_cancel();
        world.server.reply(error("57014", "cancelled") + ready());
        CHECK_THAT(world.client.got(), Catch::StartsWith("ERROR(57014 "));
        world.client.send(query("select lastval()"));
        CHECK(world.server.got() == "Query(DISCARD SEQUENCES)");
    }
    SECTION("it cannot be discarded") {
        world.server.reply(error("57014", "cancelled") + ready());
        CHECK(world.server.got().empty());
        CHECK(world.client.got() == "ERROR(57014 cancelled) Ready(I)");
        CHECK(world.server.is_idle());
    }
    SECTION("the server is lost") {
        auto& next = world.add_server();
        CHECK(world.client.lose_server() == relay::loss::retry);
        world.client.resume();
        CHECK(next.got() == "Query(select lastval();)");
    }
}

// An unnamed statement that a skipped Parse was to replace is still there, and what was known of it
// was the other's.
TEST_CASE("an unnamed statement that was to be replaced", "[relay][sequences]") {
    sequences_world world{SIGNALBOX_CHUNKS};
    world.client.send(parse("", "select lastval()") + sync_message());
    world.server.reply(parse_complete() + ready());
    world.client.send(bind_to("", "nobody") + parse("", "select 1") + sync_message());
    world.server.reply(error("26000", "no") + ready());
    world.server.got();
    world.client.send(bind_to("", "") + execute() + sync_message());
    CHECK(world.server.got() == "Query(DISCARD SEQUENCES)");
}

// Three clients draw and read over three server connections, in any order and in either protocol.
TEST_CASE("lastval() gives its session's value or none", "[relay][sequences]") {
    std::mt19937 random{GENERATE(range(0U, 12U))};
    const auto below = [&](unsigned n) { return random() % n; };
    model_world models{GENERATE(as<std::size_t>{}, 0, 1, 7)};
    signalbox::rewrite::hidden_state_rules rules;
    for (const auto* name : {"nextval", "lastval", "hidden"}) {
        rules.learn("known", name, "");
    }
    rules.learn("risky", "hidden", "");
    rules.finish();
    auto watch = std::make_shared<state_watch>();
    watch->rules = std::make_shared<const signalbox::rewrite::hidden_state_rules>(std::move(rules));
    models.world.settings.watch = watch;
    for (int i = 0; i < 3; ++i) {  // nobody waits for another's block
        models.add_server();
    }

    struct reader {
        model_world::client* link;
        std::string name;
        bool in_block = false;
        std::string drawn = {};  // in the block
    };

    std::vector<reader> readers;
    for (const auto* name : {"a", "b", "c"}) {
        readers.push_back({&models.add_client(), name});
    }
    int labels = 0;
    int own = 0;
    int none = 0;
    for (int step = 0; step < 400; ++step) {
        auto& by = readers[below(3)];
        const auto label = by.name + std::to_string(++labels);
        std::string sql;
        switch (below(7)) {
            case 0:
                sql = by.in_block ? "commit" : "begin";
                by.in_block = !by.in_block;
                by.drawn.clear();
                break;
            case 1:
            case 2:
                sql = "select nextval() " + label;
                break;
            case 3:
                sql = "select " + label;
                break;
            case 4:
                sql = below(8) == 0 ? "select hidden()" : "select " + label;
                break;
            default:
                sql = "select lastval()";
        }
        if (sql == "select hidden()") {
            by.drawn.clear();  // followed by a cleaning, when its block is over
        }
        const auto how = below(3);
        models.send(
            *by.link,
            how == 0 ? query(sql)
            : how == 1
                ? parse("", sql) + bind_to("", "") + execute() + sync_message()
                : close('S', "s") + parse("s", sql) + bind_to("", "s") + execute() + sync_message()
        );
        models.settle();
        const auto got = describe_server(std::exchange(by.link->received, {}));
        CAPTURE(step, by.name, sql, how, got);
        if (const auto at = got.find("Row("); at != std::string::npos && sql != "select hidden()") {
            CHECK(got.substr(at + 4, 1) == by.name);
        }
        if (sql == "select lastval()") {
            (got.find("55000") == std::string::npos ? own : none) += 1;
            if (!by.drawn.empty()) {
                CHECK_THAT(got, Catch::Contains("Row(" + by.drawn + ")"));
            }
            if (got.find("55000") != std::string::npos && by.in_block) {
                models.send(*by.link, query("rollback"));
                models.settle();
                by.link->received.clear();
                by.in_block = false;
                by.drawn.clear();
            }
        } else if (sql.starts_with("select nextval()") && by.in_block) {
            by.drawn = label;
        }
        // Who holds a server connection would keep the others waiting.
        if (by.in_block && below(3) == 0) {
            models.send(*by.link, query("commit"));
            models.settle();
            by.link->received.clear();
            by.in_block = false;
            by.drawn.clear();
        }
    }
    CHECK(own > 0);
    CHECK(none > 0);
}
