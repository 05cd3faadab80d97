// The relay and COPY: which Sync counts, what belongs to a COPY that has failed, when the server
// connection is free.
#include "tests/support/relay_world.hpp"

#include <catch2/catch.hpp>

using namespace signalbox::proxy;
using namespace signalbox::tests;

namespace {

std::string copy_batch() {
    return parse("", "copy t from stdin") + bind_to("", "") + execute();
}

}  // namespace

TEST_CASE("COPY in by a simple query", "[proxy][relay][copy]") {
    relay_world world{SIGNALBOX_CHUNKS};
    auto& server = world.add_server();
    auto& client = world.add_client();
    client.send(query("copy t from stdin"));
    server.reply(copy_in());
    CHECK(client.got() == "CopyIn");
    CHECK_FALSE(server.is_idle());
    client.send(copy_data("a") + copy_data("b") + copy_done());
    CHECK(server.got() == "Query(copy t from stdin) CopyData(a) CopyData(b) CopyDone");
    server.reply(complete("COPY 2") + ready());
    CHECK(client.got() == "Complete(COPY 2) Ready(I)");
    CHECK(server.is_idle());
}

TEST_CASE("COPY in, its data sent before the server has asked for them", "[proxy][relay][copy]") {
    relay_world world{SIGNALBOX_CHUNKS};
    auto& server = world.add_server();
    auto& client = world.add_client();
    client.send(query("copy t from stdin") + copy_data("a") + copy_done() + query("select 1"));
    server.reply(copy_in() + complete("COPY 1") + ready() + complete("SELECT 1") + ready());
    CHECK(client.got() == "CopyIn Complete(COPY 1) Ready(I) Complete(SELECT 1) Ready(I)");
    CHECK(server.is_idle());
}

TEST_CASE("data that follow after the server has failed belong to nobody", "[proxy][relay][copy]") {
    relay_world world{SIGNALBOX_CHUNKS};
    auto& server = world.add_server();
    auto& client = world.add_client();
    client.send(query("copy t from stdin"));
    server.reply(copy_in());
    client.send(copy_data("bad"));
    server.reply(error("22P02", "bad data") + ready());
    CHECK(client.got() == "CopyIn ERROR(22P02 bad data) Ready(I)");
    CHECK(server.is_idle());
    server.got();
    client.send(copy_data("more") + copy_done() + query("select 1"));
    CHECK(server.got() == "Query(select 1)");
    server.reply(complete("SELECT 1") + ready());
    CHECK(client.got() == "Complete(SELECT 1) Ready(I)");
    CHECK(server.is_idle());
}

TEST_CASE("data and a failure that cross on the way", "[proxy][relay][copy]") {
    relay_world world{SIGNALBOX_CHUNKS};
    auto& server = world.add_server();
    auto& client = world.add_client();
    client.send(query("copy t from stdin"));
    server.reply(copy_in());
    client.send(copy_data("bad") + copy_data("more") + copy_done() + query("select 1"));
    server.reply(error("22P02", "bad data") + ready() + complete("SELECT 1") + ready());
    CHECK(client.got() == "CopyIn ERROR(22P02 bad data) Ready(I) Complete(SELECT 1) Ready(I)");
    CHECK(server.is_idle());
}

TEST_CASE("a failed COPY of the extended protocol is skipped up to Sync", "[proxy][relay][copy]") {
    relay_world world{SIGNALBOX_CHUNKS};
    auto& server = world.add_server();
    auto& client = world.add_client();
    client.send(copy_batch());
    server.reply(parse_complete() + bind_complete() + copy_in());
    client.send(copy_data("bad"));
    server.reply(error("22P02", "bad data"));
    server.got();
    client.send(copy_data("more") + copy_done() + query("skipped"));
    CHECK(server.got().empty());
    client.send(sync_message());
    server.reply(ready());
    CHECK(client.got() == "ParseComplete BindComplete CopyIn ERROR(22P02 bad data) Ready(I)");
    CHECK(server.is_idle());
}

TEST_CASE("a Sync inside COPY in is the server's to ignore", "[proxy][relay][copy]") {
    relay_world world{SIGNALBOX_CHUNKS};
    auto& server = world.add_server();
    auto& client = world.add_client();
    client.send(query("copy t from stdin"));
    server.reply(copy_in());
    client.send(copy_data("a") + sync_message() + flush() + copy_data("b") + copy_done());
    CHECK(server.got() == "Query(copy t from stdin) CopyData(a) Sync Flush CopyData(b) CopyDone");
    server.reply(complete("COPY 2") + ready());
    CHECK(client.got() == "CopyIn Complete(COPY 2) Ready(I)");
    CHECK(server.is_idle());
}

TEST_CASE(
    "a Sync sent with the COPY does not count, the one behind CopyDone does", "[proxy][relay][copy]"
) {
    // libpq and psycopg do it this way.
    relay_world world{SIGNALBOX_CHUNKS};
    auto& server = world.add_server();
    auto& client = world.add_client();
    client.send(copy_batch() + sync_message());
    server.reply(parse_complete() + bind_complete() + copy_in());
    client.send(copy_data("a") + copy_done());
    server.reply(complete("COPY 1"));
    CHECK_FALSE(server.is_idle());
    client.send(sync_message());
    server.reply(ready());
    CHECK(client.got() == "ParseComplete BindComplete CopyIn Complete(COPY 1) Ready(I)");
    CHECK(server.is_idle());
}

TEST_CASE(
    "what a COPY with an early Sync leaves behind hurts nobody later", "[proxy][relay][copy]"
) {
    relay_world world{SIGNALBOX_CHUNKS};
    auto& server = world.add_server();
    auto& client = world.add_client();
    client.send(copy_batch() + sync_message());
    server.reply(parse_complete() + bind_complete() + copy_in());
    client.send(copy_data("a") + copy_done() + sync_message());
    server.reply(complete("COPY 1") + ready());
    REQUIRE(server.is_idle());
    auto& other = world.add_client();
    SECTION("another session's error") {
        other.send(query("fail"));
        server.reply(error("XX000", "no") + ready());
    }
    SECTION("another session's COPY by a simple query") {
        other.send(query("copy t from stdin"));
        server.reply(copy_in());
        other.send(copy_data("a") + copy_done());
        server.reply(complete("COPY 1") + ready());
    }
    CHECK(server.is_idle());
    CHECK_FALSE(server.state.doubtful);
}

TEST_CASE(
    "a COPY with an early Sync that fails: its session does not keep the server connection",
    "[proxy][relay][copy]"
) {
    relay_world world{SIGNALBOX_CHUNKS};
    auto& server = world.add_server();
    auto& client = world.add_client();
    client.send(copy_batch() + sync_message());
    server.reply(parse_complete() + bind_complete() + copy_in());
    client.send(copy_data("bad"));
    server.reply(error("22P02", "bad data"));
    client.send(copy_done() + sync_message());
    server.reply(ready());
    CHECK(client.got() == "ParseComplete BindComplete CopyIn ERROR(22P02 bad data) Ready(I)");
    // Given back, or known to be given up now: between the two it would be the session's until it
    // leaves.
    CHECK(server.is_idle());
}

TEST_CASE("COPY that the client gives up", "[proxy][relay][copy]") {
    relay_world world{SIGNALBOX_CHUNKS};
    auto& server = world.add_server();
    auto& client = world.add_client();
    client.send(query("copy t from stdin"));
    server.reply(copy_in());
    client.send(copy_data("a") + copy_fail("enough"));
    server.reply(error("57014", "COPY from stdin failed: enough") + ready());
    CHECK(client.got() == "CopyIn ERROR(57014 COPY from stdin failed: enough) Ready(I)");
    CHECK(server.is_idle());
}

TEST_CASE("COPY out streams through", "[proxy][relay][copy]") {
    relay_world world{SIGNALBOX_CHUNKS};
    auto& server = world.add_server();
    auto& client = world.add_client();
    client.send(query("copy t to stdout"));
    server.reply(
        copy_out() + copy_data("a") + copy_data("b") + copy_done() + complete("COPY 2") + ready()
    );
    CHECK(client.got() == "CopyOut CopyData(a) CopyData(b) CopyDone Complete(COPY 2) Ready(I)");
    CHECK(server.is_idle());
}

TEST_CASE(
    "a RESET with a COPY behind it in one Query does not wait for itself", "[proxy][relay][copy]"
) {
    // What follows a RESET waits until its outcome is known; the COPY's own data must not.
    relay_world world{SIGNALBOX_CHUNKS, GENERATE(pool_mode::transaction, pool_mode::session)};
    auto& server = world.add_server();
    auto& client = world.add_client();
    const auto startup = world.parameters({{"datestyle", "iso"}});
    client.relay.set_startup(startup);
    server.state.applied = startup;
    client.send(query("set datestyle to default; copy t from stdin"));
    server.reply(complete("SET") + copy_in());
    client.send(copy_data("a") + copy_done());
    CHECK(
        server.got() == "Query(set datestyle to default; copy t from stdin) CopyData(a) CopyDone"
    );
}

TEST_CASE(
    "a COPY's end that comes too late does not hold up what is answered here",
    "[proxy][relay][copy]"
) {
    relay_world world{SIGNALBOX_CHUNKS};
    auto& server = world.add_server();
    auto& client = world.add_client();
    client.send(query("select 1") + copy_done() + close('S', "never") + query("select 2"));
    server.reply(complete("SELECT 1") + ready() + complete("SELECT 1") + ready());
    CHECK(client.step == relay::server_step::fine);
    CHECK(client.got() == "Complete(SELECT 1) Ready(I) CloseComplete Complete(SELECT 1) Ready(I)");
}

TEST_CASE("a simple Query ends the batch that had no Sync", "[proxy][relay]") {
    relay_world world{SIGNALBOX_CHUNKS};
    auto& server = world.add_server();
    auto& client = world.add_client();
    client.send(parse("", "select 1") + query("select 2"));
    server.reply(parse_complete() + complete("SELECT 1") + ready());
    CHECK(client.got() == "ParseComplete Complete(SELECT 1) Ready(I)");
    CHECK(server.is_idle());
}

// A client that gives up a COPY like this waited for ever: the server drops the Query together with
// the COPY, and the ledger had an entry for it.
TEST_CASE("a Query instead of COPY's data is the server's to drop", "[proxy][relay][copy]") {
    relay_world world{0};
    auto& server = world.add_server();
    auto& client = world.add_client();
    client.send(query("copy in"));
    server.reply(copy_in());
    server.got();
    client.send(query("select 1"));
    CHECK(server.got() == "Query(select 1)");
    server.reply(error("08P01", "unexpected message type") + ready());
    CHECK(client.got() == "CopyIn ERROR(08P01 unexpected message type) Ready(I)");
    CHECK(server.lost);  // closed: it may have run the Query
    auto& next = world.add_server();
    client.send(query("select 2"));
    CHECK(next.got() == "Query(select 2)");
}

TEST_CASE("a Sync inside a COPY that names wait for", "[proxy][relay][copy]") {
    relay_world world{SIGNALBOX_CHUNKS};
    auto& server = world.add_server();
    auto& client = world.add_client();
    client.send(query("copy t from stdin; deallocate all"));
    server.reply(copy_in());
    client.send(sync_message() + copy_done());
    CHECK(server.got() == "Query(copy t from stdin; deallocate all) Sync CopyDone");
    server.reply(complete("COPY 0") + complete("DEALLOCATE ALL") + ready());
    CHECK(client.got() == "CopyIn Complete(COPY 0) Complete(DEALLOCATE ALL) Ready(I)");
    CHECK(server.is_idle());
}

// The wait for the Query's end was taken for the Sync's, and what came next was sent at once.
TEST_CASE("a Sync inside COPY in does not end the wait for a Query behind it", "[proxy][relay]") {
    relay_world world{SIGNALBOX_CHUNKS};
    auto& server = world.add_server();
    auto& client = world.add_client();
    client.send(
        query("copy t from stdin") + sync_message() + copy_done() + query("deallocate all") +
        query("select 1")
    );
    server.got();
    server.reply(copy_in() + complete("COPY 0") + ready());
    CHECK(server.got().empty());
    server.reply(complete("DEALLOCATE ALL") + ready());
    CHECK(server.got() == "Query(select 1)");
}
