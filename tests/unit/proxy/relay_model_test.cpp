// Streams of messages through a relay to a model of PostgreSQL, against the same model without a
// relay.
//
// Each stream is run in whole, byte by byte, message by message with and without waiting for the
// replies, on a new server connection and on one that other sessions have used.
#include "tests/support/model_world.hpp"

#include <catch2/catch.hpp>

using namespace signalbox::proxy;
using namespace signalbox::tests;

namespace {

using stream = std::vector<std::string>;

std::string one(std::string_view sql) {
    return parse("", sql) + bind_to("", "") + describe('P', "") + execute() + sync_message();
}

struct scenario {
    const char* name;
    stream messages;
};

const std::vector<scenario> scenarios = {
    {"simple queries",
     {query("select 1"), query(""), query("fail"), query("bad"), query("select 2")}},
    {"a transaction", {query("begin"), query("select 1"), query("commit")}},
    {"a failed transaction",
     {query("begin"), query("fail"), query("select 1"), query("commit"), query("select 2")}},
    {"one extended statement",
     {one("select 1"), one(""), one("fail"), one("bad"), one("select 2")}},
    {"a named statement",
     {parse("s", "select 1") + sync_message(),
      bind_to("", "s") + execute() + sync_message(),
      bind_to("", "s") + execute() + sync_message(),
      close('S', "s") + sync_message(),
      bind_to("", "s") + execute() + sync_message()}},
    {"named statement, described",
     {parse("s", "rows 3"),
      describe('S', "s"),
      bind_to("p", "s"),
      describe('P', "p"),
      execute("p", 1),
      execute("p", 1),
      execute("p"),
      sync_message()}},
    {"the rest of a batch is skipped",
     {parse("", "fail"),
      bind_to("", ""),
      execute(),
      parse("a", "select 1"),
      bind_to("", "a"),
      describe('S', "a"),
      execute(),
      close('S', "a"),
      sync_message(),
      bind_to("", "a"),
      sync_message(),
      query("select 1")}},
    {"a simple Query after an error and before Sync is skipped",
     {parse("", "bad"),
      query("select 1"),
      function_call(),
      query("select 2"),
      sync_message(),
      query("select 3")}},
    {"a simple Query inside a batch without Sync",
     {parse("s", "select 1"),
      query("select 2"),
      bind_to("", "s"),
      execute(),
      query("select 3"),
      sync_message()}},
    {"Close of an unknown name succeeds",
     {close('S', "never") + close('P', "never") + close('S', "") + close('P', "") + sync_message(),
      query("select 1")}},
    {"an unknown statement's name is the client's own",
     {bind_to("", "nobody") + sync_message(),
      describe('S', "nobody") + sync_message(),
      bind_to("", "") + sync_message(),
      describe('S', "") + sync_message(),
      bind_to("", "signalbox_1") + sync_message()}},
    {"the same name twice",
     {parse("s", "select 1") + parse("s", "select 2") + sync_message(),
      bind_to("", "s") + execute() + sync_message()}},
    {"the same name again in the next batch",
     {parse("s", "select 1"),
      sync_message(),
      parse("s", "select 2"),
      sync_message(),
      bind_to("", "s"),
      execute(),
      sync_message()}},
    {"a name closed and prepared again in one batch",
     {parse("s", "select 1") + sync_message(),
      close('S', "s") + parse("s", "select 2") + bind_to("", "s") + execute() + sync_message(),
      bind_to("", "s") + execute() + sync_message()}},
    {"a name closed in a batch that fails before",
     {parse("s", "select 1") + sync_message(),
      parse("", "bad") + close('S', "s") + sync_message(),
      bind_to("", "s") + execute() + sync_message()}},
    {"a name closed in a batch that fails afterwards",
     {parse("s", "select 1") + sync_message(),
      close('S', "s") + parse("", "bad") + sync_message(),
      bind_to("", "s") + execute() + sync_message()}},
    {"a statement is there only when its Parse was done",
     {parse("", "bad") + parse("s", "select 1") + sync_message(),
      bind_to("", "s") + sync_message(),
      parse("s", "select 2") + bind_to("", "s") + execute() + sync_message()}},
    {"a Parse that fails leaves no name",
     {parse("s", "bad") + sync_message(),
      bind_to("", "s") + sync_message(),
      parse("s", "select 1") + sync_message(),
      bind_to("", "s") + execute() + sync_message()}},
    {"two names for one text",
     {parse("a", "select 1") + parse("b", "select 1") + sync_message(),
      close('S', "a") + sync_message(),
      bind_to("", "b") + execute() + sync_message(),
      bind_to("", "a") + sync_message()}},
    {"the same text with other types",
     {parse("a", "select 1") + parse("b", "select 1", {23}) + sync_message(),
      bind_to("", "a") + execute() + bind_to("", "b") + execute() + sync_message()}},
    {"portals end with the batch",
     {parse("s", "rows 3") + bind_to("p", "s") + execute("p", 1) + sync_message(),
      execute("p", 1) + sync_message(),
      describe('P', "p") + sync_message()}},
    {"portals live as long as the transaction",
     {query("begin"),
      parse("s", "rows 3") + bind_to("p", "s") + execute("p", 1) + sync_message(),
      execute("p", 1) + sync_message(),
      bind_to("p", "s") + sync_message(),
      query("rollback"),
      execute("p") + sync_message()}},
    {"a portal outlives the name of its statement",
     {query("begin"),
      parse("s", "rows 3") + bind_to("p", "s") + close('S', "s") + execute("p", 2) + sync_message(),
      execute("p", 2) + close('P', "p") + sync_message(),
      query("commit")}},
    {"the unnamed statement lives until the next",
     {parse("", "select 1") + sync_message(),
      bind_to("", "") + execute() + sync_message(),
      bind_to("", "") + execute() + sync_message(),
      parse("", "select 2") + sync_message(),
      bind_to("", "") + execute() + sync_message()}},
    {"a simple Query drops the unnamed statement",
     {parse("", "select 1") + sync_message(),
      query("select 2"),
      bind_to("", "") + execute() + sync_message()}},
    {"an empty Query drops the unnamed statement",
     {parse("", "select 1") + sync_message(),
      query(""),
      bind_to("", "") + execute() + sync_message()}},
    {"the unnamed statement closed",
     {parse("", "select 1") + sync_message(),
      close('S', "") + sync_message(),
      bind_to("", "") + execute() + sync_message()}},
    {"the unnamed statement after a failed Parse",
     {parse("", "select 1") + sync_message(),
      parse("", "bad") + sync_message(),
      bind_to("", "") + execute() + sync_message()}},
    {"the unnamed statement after a skipped Parse",
     {parse("", "select 1") + sync_message(),
      bind_to("", "nobody") + parse("", "select 2") + sync_message(),
      bind_to("", "") + execute() + sync_message()}},
    {"the unnamed statement after a skipped Close",
     {parse("", "select 1") + sync_message(),
      bind_to("", "nobody") + close('S', "") + sync_message(),
      bind_to("", "") + execute() + sync_message()}},
    {"statements prepared in a transaction that fails",
     {query("begin"),
      parse("s", "select 1") + sync_message(),
      query("fail"),
      bind_to("", "s") + sync_message(),
      parse("t", "select 2") + sync_message(),
      close('S', "s") + sync_message(),
      query("rollback"),
      bind_to("", "s") + sync_message(),
      bind_to("", "t") + sync_message()}},
    {"a known text prepared in a failed transaction",
     {parse("s", "select 1") + sync_message(),
      query("begin"),
      query("fail"),
      parse("t", "select 1") + sync_message(),
      query("rollback"),
      parse("t", "select 1") + bind_to("", "t") + execute() + sync_message()}},
    {"DEALLOCATE",
     {parse("s", "select 1") + sync_message(),
      query("deallocate s"),
      bind_to("", "s") + sync_message(),
      query("deallocate s"),
      query("deallocate nobody")}},
    {"DEALLOCATE drops the unnamed statement, as every Query does",
     {parse("s", "select 1") + parse("", "select 2") + sync_message(),
      query("deallocate s"),
      bind_to("", "") + execute() + sync_message()}},
    {"DEALLOCATE in a failed transaction",
     {parse("s", "select 1") + sync_message(),
      query("begin"),
      query("fail"),
      query("deallocate s"),
      query("rollback"),
      bind_to("", "s") + execute() + sync_message()}},
    {"DEALLOCATE in the extended protocol",
     {parse("s", "select 1") + sync_message(),
      one("deallocate s"),
      bind_to("", "s") + sync_message(),
      one("deallocate s")}},
    {"DEALLOCATE in the extended protocol, never executed",
     {parse("s", "select 1") + sync_message(),
      parse("", "deallocate s") + sync_message(),
      bind_to("", "s") + execute() + sync_message()}},
    {"DEALLOCATE ALL",
     {parse("s", "select 1") + parse("t", "select 2") + sync_message(),
      query("deallocate all"),
      bind_to("", "s") + sync_message(),
      parse("s", "select 3") + bind_to("", "s") + execute() + sync_message()}},
    {"DEALLOCATE ALL in a transaction that is rolled back",
     {parse("s", "select 1") + sync_message(),
      query("begin"),
      query("deallocate all"),
      query("rollback"),
      bind_to("", "s") + sync_message()}},
    {"DISCARD ALL",
     {parse("s", "select 1") + sync_message(),
      query("set work_mem = 7"),
      query("discard all"),
      query("show work_mem"),
      bind_to("", "s") + sync_message(),
      query("begin"),
      query("discard all"),
      query("rollback"),
      query("select 1")}},
    {"COPY in",
     {query("copy in"), copy_data("abc"), copy_data(""), copy_done(), query("select 1")}},
    {"COPY in that the client fails",
     {query("copy in"), copy_data("abc"), copy_fail("no"), query("select 1")}},
    {"COPY out", {query("copy out"), query("select 1")}},
    {"Sync and Flush inside COPY in are ignored",
     {query("copy in"),
      copy_data("a"),
      sync_message(),
      flush(),
      copy_data("b"),
      copy_done(),
      query("select 1")}},
    {"COPY in the extended protocol",
     {parse("", "copy in") + bind_to("", "") + execute(),
      copy_data("abc"),
      copy_done(),
      sync_message(),
      query("select 1")}},
    {"COPY in the extended protocol, with a Sync too early",
     {parse("", "copy in") + bind_to("", "") + execute() + sync_message(),
      copy_data("abc"),
      copy_done(),
      sync_message(),
      query("select 1")}},
    {"COPY in the extended protocol that the client fails",
     {parse("", "copy in") + bind_to("", "") + execute(),
      copy_data("abc"),
      copy_fail("no"),
      query("skipped"),
      sync_message(),
      query("select 1")}},
    {"COPY messages when there is no COPY",
     {query("fail"),
      copy_data("x"),
      copy_done(),
      query("select 1"),
      copy_fail("y"),
      query("select 2")}},
    {"COPY in that has failed before its data came",
     {query("begin"),
      query("fail"),
      query("copy in"),
      copy_data("x"),
      copy_done(),
      query("rollback"),
      query("select 1")}},
    {"FunctionCall",
     {function_call(), query("select 1"), query("begin"), function_call(), query("commit")}},
    {"SET and SHOW",
     {query("set work_mem = 5"),
      query("show work_mem"),
      query("reset work_mem"),
      query("show work_mem")}},
    {"SET in the extended protocol",
     {one("set work_mem = 5"), one("show work_mem"), one("reset all"), one("show work_mem")}},
    {"SET that is rolled back",
     {query("begin"),
      query("set work_mem = 5"),
      query("show work_mem"),
      query("rollback"),
      query("show work_mem")}},
    {"SET LOCAL",
     {query("begin"),
      query("set local work_mem = 5"),
      query("show work_mem"),
      query("commit"),
      query("show work_mem")}},
    {"SET in a pipeline",
     {parse("", "set work_mem = 5") + bind_to("", "") + execute() + parse("", "show work_mem") +
          bind_to("", "") + execute() + sync_message(),
      one("show work_mem")}},
    {"a SET that its batch takes back",
     {parse("", "set work_mem = 5") + bind_to("", "") + execute() + parse("", "fail") +
          bind_to("", "") + execute() + sync_message(),
      one("show work_mem")}},
    {"custom parameters",
     {query("set my.x = 5"), query("show my.x"), query("reset my.x"), query("show my.x")}},
    {"a reported parameter",
     {query("set application_name = me"),
      query("select 1"),
      query("begin"),
      query("set application_name = you"),
      query("rollback"),
      query("reset application_name")}},
    {"RESET goes back to the startup packet",
     {query("show datestyle"),
      query("set datestyle = german"),
      query("show datestyle"),
      query("reset datestyle"),
      query("show datestyle"),
      query("set application_name = x"),
      query("reset all"),
      query("show datestyle"),
      query("show application_name")}},
    {"RESET that is rolled back",
     {query("set datestyle = german"),
      query("begin"),
      query("reset datestyle"),
      query("rollback"),
      query("show datestyle")}},
    {"RESET in a pipeline",
     {one("set datestyle = german"), one("reset datestyle"), one("show datestyle")}},
    {"LISTEN, and UNLISTEN",
     {query("listen c"), query("select 1"), query("unlisten *"), query("select 2")}},
    {"an advisory lock pins",
     {query("select pg_advisory_lock(1)"),
      query("select 1"),
      query("select pg_advisory_unlock_all()"),
      query("select 2")}},
    {"SQL's PREPARE pins",
     {query("prepare q as select 5"),
      query("execute q"),
      bind_to("", "q") + execute() + sync_message(),
      query("deallocate q"),
      query("execute q")}},
    {"a name closed behind a Parse of the same name that fails",
     {parse("s", "select 1") + sync_message(),
      parse("s", "select 2") + sync_message(),
      close('S', "s") + sync_message(),
      bind_to("", "s") + sync_message(),
      parse("s", "select 3") + sync_message(),
      bind_to("", "s") + execute() + sync_message()}},
    {"RESET behind a batch without Sync",
     {query("set datestyle = german"),
      parse("s", "select 1"),
      query("reset all"),
      query("show datestyle"),
      sync_message(),
      query("show datestyle")}},
    {"RESET and COPY in one batch, with a Sync too early",
     {parse("", "reset datestyle") + bind_to("", "") + execute() + parse("", "copy in") +
          bind_to("", "") + execute() + sync_message(),
      copy_data("abc"),
      copy_done(),
      sync_message(),
      query("show datestyle")}},
    {"a COPY's end that comes too late, among others",
     {query("select 1"),
      copy_done(),
      close('S', "s"),
      query("select 2"),
      copy_fail("x"),
      sync_message(),
      parse("s", "select 3"),
      copy_done(),
      bind_to("", "s") + execute() + sync_message()}},
    {"COPY twice, the first with a Sync too early",
     {parse("", "copy in") + bind_to("", "") + execute() + sync_message(),
      copy_data("abc"),
      copy_done(),
      sync_message(),
      query("copy in"),
      copy_data("abc"),
      copy_fail("no"),
      query("fail"),
      query("select 1")}},
    {"RESET, and a COPY's end that comes too late",
     {query("set datestyle = german"),
      query("reset datestyle"),
      copy_done(),
      query("show datestyle")}},
    {"the unnamed statement after a Parse that was done and one that was skipped",
     {parse("", "select 1") + sync_message(),
      parse("", "select 2") + bind_to("", "nobody") + parse("", "select 3") + sync_message(),
      bind_to("", "") + execute() + sync_message()}},
    {"the unnamed statement after two Parses that were skipped",
     {parse("", "select 1") + sync_message(),
      bind_to("", "nobody") + parse("", "select 2") + parse("", "select 3") + sync_message(),
      bind_to("", "") + execute() + sync_message()}},
    {"DEALLOCATE by both protocols, in a batch without Sync",
     {parse("s", "select 1") + parse("", "deallocate s") + bind_to("", "") + execute(),
      query("select 1"),
      query("deallocate s"),
      sync_message()}},
    {"a simple DEALLOCATE ends the batch that had no Sync",
     {parse("s", "select 1") + bind_to("", "s"), query("deallocate s"), execute(), sync_message()}},
    {"what is pipelined behind a DEALLOCATE",
     {parse("s", "select 1") + parse("t", "select 1") + sync_message(),
      parse("", "deallocate s") + bind_to("", "") + execute() + parse("", "select 2") +
          bind_to("", "t") + execute() + parse("t", "select 3") + sync_message(),
      parse("s", "select 4") + bind_to("", "s") + execute() + sync_message()}},
    {"a name that DEALLOCATE ends is free in the same batch",
     {parse("s", "select 1") + sync_message(),
      parse("", "deallocate s") + bind_to("", "") + execute() + parse("s", "select 2") +
          bind_to("", "s") + execute() + sync_message(),
      bind_to("", "s") + execute() + sync_message()}},
    {"a DEALLOCATE that is skipped",
     {parse("s", "select 1") + sync_message(),
      bind_to("", "nobody") + parse("", "deallocate s") + bind_to("", "") + execute() +
          sync_message(),
      bind_to("", "s") + execute() + parse("s", "select 2") + sync_message()}},
    {"DEALLOCATE of a name whose Parse, or whose Close, is skipped",
     {bind_to("", "nobody") + parse("s", "select 1") + sync_message() + parse("", "deallocate s") +
          bind_to("", "") + execute() + sync_message(),
      parse("s", "select 1") + sync_message() + bind_to("", "nobody") + close('S', "s") +
          sync_message() + query("deallocate s") + query("deallocate s")}},
    {"what is prepared behind a DEALLOCATE ALL in its batch",
     {parse("s", "select 1") + sync_message(),
      parse("", "deallocate all") + bind_to("", "") + execute() + parse("t", "select 2") +
          sync_message(),
      bind_to("", "t") + execute() + sync_message(),
      bind_to("", "s") + execute() + sync_message()}},
    {"the unnamed statement behind batches that fail",
     {parse("", "select 1") + sync_message(),
      bind_to("", "nobody") + query("select 2") + sync_message() + bind_to("", "") + execute() +
          sync_message(),
      query("select 3"),
      bind_to("", "nobody") + bind_to("", "") + sync_message() + bind_to("", "") + execute() +
          sync_message(),
      parse("", "select 4") + sync_message() + bind_to("", "nobody") + query("select 5") +
          sync_message() + query("select 6") + bind_to("", "") + execute() + sync_message()}},
    {"DEALLOCATE through a portal that has a name, and one that is bound again",
     {parse("s", "select 1") + parse("", "deallocate s") + bind_to("p", "") + bind_to("", "") +
      bind_to("", "s") + execute() + execute("p") + bind_to("", "s") + sync_message()}},
    {"DEALLOCATE that is parsed, and run in the next batch",
     {parse("s", "select 1") + parse("", "deallocate s") + sync_message(),
      bind_to("", "") + execute() + sync_message(),
      bind_to("", "s") + sync_message()}},
    {"a name that was taken is closed in the batch that fails",
     {parse("s", "select 1") + parse("s", "rows 3") + close('S', "s") + sync_message(),
      parse("s", "select 2") + sync_message()}},
    {"Sync alone", {sync_message(), sync_message(), query("select 1"), sync_message()}},
    {"Flush everywhere",
     {flush(),
      parse("s", "select 1"),
      flush(),
      bind_to("", "s"),
      flush(),
      execute(),
      flush(),
      sync_message(),
      flush()}},
};

}  // namespace

TEST_CASE("streams through the relay are answered as without one", "[proxy][relay][model]") {
    const auto chunk = GENERATE(as<std::size_t>{}, 0, 1, 7);
    const bool waits = GENERATE(true, false);
    const bool used_before = GENERATE(false, true);
    const auto mode = GENERATE(pool_mode::transaction, pool_mode::session);
    const model_server::settings startup = GENERATE(
        model_server::settings{},
        model_server::settings{{"datestyle", "iso"}, {"application_name", "test"}}
    );
    for (const auto& each : scenarios) {
        model_world models{chunk, mode};
        models.add_server();
        if (used_before && mode == pool_mode::transaction) {
            auto& other = models.add_client({{"datestyle", "sql"}, {"my.x", "other"}});
            models.send(
                other,
                parse("s", "select 1") + parse("", "select 99") + bind_to("", "") + execute() +
                    sync_message()
            );
            models.settle();
            REQUIRE(other.relayed.server == nullptr);
        }
        auto& client = models.add_client(startup);
        const auto known = client.direct.reported();
        if (mode == pool_mode::session) {
            // The login is where a session meets its server connection.
            models.send(client, query("select 0"));
            models.settle();
        }
        INFO(each.name);
        INFO(
            "chunk " << chunk << ", waits " << waits << ", used before " << used_before
                     << ", session mode " << (mode == pool_mode::session) << ", startup parameters "
                     << startup.size()
        );
        for (const auto& part : each.messages) {
            models.send(client, part);
            if (waits) {
                models.settle();
            }
        }
        models.settle();
        CHECK(model_world::comparable(client.received) == model_world::comparable(client.expected));
        CHECK(
            model_world::believed(client.received, known) ==
            model_world::believed(client.expected, known)
        );
        CHECK(client.relayed.held.empty());
        CHECK_FALSE(client.relayed.waits);
        CHECK_FALSE(client.relayed.relay.is_busy());
    }
}

TEST_CASE(
    "a RESET in a batch that is cut is not undone by the block behind it", "[proxy][relay][model]"
) {
    model_world models;
    models.world.look_at_statements(signalbox::rewrite::multi_statement_policy::pass);
    models.add_server();
    auto& client = models.add_client({{"datestyle", "iso"}});
    const auto known = client.direct.reported();
    for (const auto& part :
         {parse("", "reset all") + bind_to("", "") + execute() + query("begin; show connections"),
          query("rollback"),
          query("show datestyle")}) {
        models.send(client, part);
        models.settle();
    }
    CHECK(model_world::comparable(client.received) == model_world::comparable(client.expected));
    CHECK(
        model_world::believed(client.received, known) ==
        model_world::believed(client.expected, known)
    );
}

TEST_CASE(
    "two clients on one server connection never meet each other's state", "[proxy][relay][model]"
) {
    const bool waits = GENERATE(true, false);
    for (const auto& each : scenarios) {
        for (const std::size_t servers : {1U, 2U}) {
            INFO(each.name);
            CAPTURE(waits, servers);
            model_world models;
            for (std::size_t i = 0; i < servers; ++i) {
                models.add_server();
            }
            auto& first = models.add_client({{"datestyle", "iso"}});
            auto& second = models.add_client({{"application_name", "two"}});
            // The second runs the stream one message behind the first.
            for (std::size_t i = 0; i <= each.messages.size(); ++i) {
                if (i < each.messages.size()) {
                    models.send(first, each.messages[i]);
                }
                if (waits) {
                    models.settle();
                }
                if (i > 0) {
                    models.send(second, each.messages[i - 1]);
                }
                if (waits) {
                    models.settle();
                }
            }
            models.settle();
            CHECK(
                model_world::comparable(first.received) == model_world::comparable(first.expected)
            );
            CHECK(
                model_world::comparable(second.received) == model_world::comparable(second.expected)
            );
            CHECK(first.relayed.held.empty());
            CHECK(second.relayed.held.empty());
        }
    }
}
