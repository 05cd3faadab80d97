// Messages larger than what is looked at: passed in pieces, never assembled, with the rules kept
// all the same.
#include "tests/support/relay_world.hpp"
#include "wire/limits.hpp"

#include <catch2/catch.hpp>

using namespace signalbox::proxy;
using namespace signalbox::tests;

namespace {

constexpr std::size_t chunk = 65'536;
constexpr std::size_t big = std::size_t{8} << 20U;
/// What a step may put out: what was given to it, what was held back (less than the inspected
/// limit), a new header.
constexpr std::size_t bound = signalbox::wire::max_inspected_bytes + 2 * chunk;

}  // namespace

TEST_CASE("a large COPY streams in both directions", "[proxy][relay][stream]") {
    relay_world world{chunk};
    auto& server = world.add_server();
    auto& client = world.add_client();
    client.send(query("copy t from stdin"));
    server.reply(copy_in());
    const auto data = copy_data(std::string(big, 'x'));
    client.send(data);
    CHECK(client.largest_output <= 2 * chunk);
    CHECK(client.held.size() < signalbox::wire::header_bytes);
    client.send(copy_done());
    CHECK(server.got() == "Query(copy t from stdin) CopyData(<8388608 bytes>) CopyDone");
    server.reply(complete("COPY 1") + ready());
    client.got();
    client.send(query("copy t to stdout"));
    server.reply(copy_out() + data);
    CHECK(client.largest_output <= 2 * chunk);
    CHECK(server.held.size() < signalbox::wire::header_bytes);
    server.reply(copy_done() + complete("COPY 1") + ready());
    CHECK(client.got() == "CopyOut CopyData(<8388608 bytes>) CopyDone Complete(COPY 1) Ready(I)");
    CHECK(server.is_idle());
}

TEST_CASE("a large row streams", "[proxy][relay][stream]") {
    relay_world world{chunk};
    auto& server = world.add_server();
    auto& client = world.add_client();
    client.send(query("select x"));
    server.reply(columns({"x"}) + row({std::string(big, 'x')}) + complete("SELECT 1") + ready());
    CHECK(client.largest_output <= 2 * chunk);
    CHECK(client.got() == "Columns Row(<8388608 bytes>) Complete(SELECT 1) Ready(I)");
    CHECK(server.is_idle());
}

TEST_CASE("a large Bind has its name changed and its values streamed", "[proxy][relay][stream]") {
    relay_world world{chunk};
    auto& server = world.add_server();
    auto& client = world.add_client();
    client.send(parse("s", "insert into t values ($1)") + sync_message());
    server.reply(parse_complete() + ready());
    server.got();
    client.send(bind_to("p", "s", std::string(big, 'x')) + execute("p") + sync_message());
    CHECK(client.largest_output <= 2 * chunk);
    CHECK(server.got() == "Bind(p,signalbox_1,+8388612) Execute(p) Sync");
    server.reply(bind_complete() + complete("INSERT 0 1") + ready());
    CHECK(client.got() == "ParseComplete Ready(I) BindComplete Complete(INSERT 0 1) Ready(I)");
    CHECK(server.is_idle());
}

TEST_CASE(
    "a large Query streams, and what it did is asked for afterwards", "[proxy][relay][stream]"
) {
    relay_world world{chunk};
    auto& server = world.add_server();
    auto& client = world.add_client();
    client.send(query("insert into t values ('" + std::string(big, 'x') + "')"));
    CHECK(client.largest_output <= bound);
    CHECK(server.got() == "Query(<8388633 bytes>)");
    CHECK(client.held.empty());
    server.reply(complete("INSERT 0 1") + ready());
    CHECK(server.got() == "Query(<inspection>)");
    server.reply(complete("SELECT 0") + ready());
    CHECK(client.got() == "Complete(INSERT 0 1) Ready(I)");
    CHECK(server.is_idle());
}

TEST_CASE(
    "a server that answers a Query before its end does not get ours into the middle",
    "[proxy][relay][stream]"
) {
    relay_world world{0};
    auto& server = world.add_server();
    auto& client = world.add_client();
    const auto whole = query("set a = '" + std::string(big, 'x') + "'");
    client.send(std::string_view{whole}.substr(0, 2'000'000));
    server.reply(error("XX000", "too early") + ready());
    client.send(std::string_view{whole}.substr(2'000'000));
    CHECK(server.got().starts_with("Query(<8388618 bytes>)"));
    CHECK(client.got().starts_with("ERROR(XX000 too early)"));
}

TEST_CASE(
    "a large unnamed statement keeps its server connection until it is replaced",
    "[proxy][relay][stream]"
) {
    relay_world world{chunk};
    auto& server = world.add_server();
    auto& client = world.add_client();
    client.send(parse("", "select '" + std::string(big, 'x') + "'") + sync_message());
    CHECK(client.largest_output <= bound);
    CHECK(server.got() == "Parse(,<8388617 bytes>) Sync");
    server.reply(parse_complete() + ready());
    if (server.got() == "Query(<inspection>)") {
        server.reply(complete("SELECT 0") + ready());
    }
    CHECK(client.got() == "ParseComplete Ready(I)");
    CHECK_FALSE(server.is_idle());
    client.send(bind_to("", "") + execute() + sync_message());
    CHECK(server.got() == "Bind(,) Execute() Sync");
    server.reply(bind_complete() + complete("SELECT 1") + ready());
    if (server.got() == "Query(<inspection>)") {
        server.reply(complete("SELECT 0") + ready());
    }
    CHECK_FALSE(server.is_idle());
    client.send(query("select 1"));
    server.reply(complete("SELECT 1") + ready());
    if (server.got().ends_with("Query(<inspection>)")) {
        server.reply(complete("SELECT 0") + ready());
    }
    CHECK(server.is_idle());
}

TEST_CASE(
    "a named statement beyond what is kept is refused, and the session goes on",
    "[proxy][relay][stream]"
) {
    relay_world world{chunk};
    auto& server = world.add_server();
    auto& client = world.add_client();
    client.send(
        parse("s", "select '" + std::string(std::size_t{17} << 20U, 'x') + "'") + bind_to("", "s") +
        sync_message()
    );
    CHECK(client.largest_output <= bound);
    CHECK_FALSE(client.fatal);
    CHECK(client.held.empty());
    // Something that fails may have been sent in its place.
    if (const auto sent = server.got(); sent != "Sync") {
        server.reply(error("42601", "syntax error"));
    }
    server.reply(ready());
    CHECK(
        client.got() ==
        "ERROR(54000 a named prepared statement of 17825811 bytes is too long) Ready(I)"
    );
    CHECK(server.is_idle());
}

TEST_CASE("names that go on for ever are not waited for", "[proxy][relay][stream]") {
    relay_world world{chunk};
    world.add_server();
    auto& client = world.add_client();
    const char type = GENERATE('B', 'D', 'C');
    const std::string body = (type == 'B' ? "" : "S") + std::string(big, 'x');
    client.send(message(type, body));
    CHECK(client.fatal);
    CHECK(client.relay.fatal().sqlstate == "08P01");
}

TEST_CASE("an error of a megabyte and more is passed in pieces", "[proxy][relay][stream]") {
    relay_world world{chunk};
    auto& server = world.add_server();
    auto& client = world.add_client();
    SECTION("of a query") {
        client.send(query("select 1"));
        server.reply(error("XX000", std::string(big, 'x')) + ready());
        CHECK(client.got() == "ERROR(XX000 " + std::string(big, 'x') + ") Ready(I)");
    }
    SECTION("of a batch") {
        client.send(parse("s", "a") + bind_to("", "s") + sync_message());
        server.reply(parse_complete() + error("XX000", std::string(big, 'x')) + ready());
        CHECK(client.got().ends_with("x) Ready(I)"));
    }
    CHECK(server.is_idle());
}

TEST_CASE("a large message in a skipped batch is dropped as it comes", "[proxy][relay][stream]") {
    relay_world world{chunk};
    auto& server = world.add_server();
    auto& client = world.add_client();
    client.send(parse("", "bad") + flush());
    server.reply(error("42601", "no"));
    server.got();
    client.send(query(std::string(big, 'x')) + bind_to("", "", std::string(big, 'x')));
    CHECK(server.received.empty());
    CHECK(client.held.size() < signalbox::wire::header_bytes);
    client.send(sync_message());
    server.reply(ready());
    CHECK(client.got() == "ERROR(42601 no) Ready(I)");
    CHECK(server.is_idle());
}

TEST_CASE(
    "a control message of the server that is too large breaks the protocol",
    "[proxy][relay][stream]"
) {
    relay_world world{0};
    auto& server = world.add_server();
    auto& client = world.add_client();
    client.send(query("select 1"));
    const auto body = std::string(big, 'x') + '\0';
    server.reply(std::string_view{message('C', body)}.substr(0, 100));
    CHECK(client.step == relay::server_step::broken);
}
