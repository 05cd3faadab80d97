// Relations that Signalbox provides, over both protocols: what the server gets in their stead, and
// what the client sees of it.
#include "tests/support/relay_world.hpp"
#include "tests/support/test_relations.hpp"
#include "wire/bytes.hpp"

#include <catch2/catch.hpp>

#include <utility>

using namespace signalbox::proxy;
using namespace signalbox::tests;
using signalbox::rewrite::multi_statement_policy;
namespace wire = signalbox::wire;

namespace {

#define SIGNALBOX_MODES GENERATE(pool_mode::transaction, pool_mode::session)

constexpr auto reading = "select id from mz_catalog.mz_connections";
constexpr std::uint32_t rows_type = 17;

struct relations_world : relay_world {
    explicit relations_world(
        std::size_t chunk_bytes,
        pool_mode mode = pool_mode::transaction,
        multi_statement_policy policy = multi_statement_policy::pass
    )
        : relay_world(chunk_bytes, mode) {
        look_at_statements(policy);
        environment.relations = &relations;
    }

    test_relations relations;
};

/// What the server has got since the last call.
std::vector<frame> frames_of(test_server& server) {
    return split_frames(std::exchange(server.received, {}));
}

std::string_view text_of(const frame& query) {
    return std::string_view{query.body}.substr(0, query.body.size() - 1);
}

std::vector<std::uint32_t> types_of(const frame& parse) {
    const auto p = wire::parse_parse(parse.body);
    std::vector<std::uint32_t> out;
    for (std::size_t at = p->text.size() + 3; at + 4 <= p->tail.size(); at += 4) {
        out.push_back(wire::load_u32(p->tail.data() + at));
    }
    return out;
}

/// The values of a Bind: the client's parameters are text, ours is binary.
std::vector<std::string> values_of(const frame& bind) {
    wire::byte_reader in{bind.body};
    in.cstring();
    in.cstring();
    std::vector<std::uint16_t> formats(in.u16());
    for (auto& each : formats) {
        each = in.u16();
        REQUIRE(each == (&each == &formats.back() ? 1 : 0));
    }
    std::vector<std::string> out(in.u16());
    for (auto& each : out) {
        each = in.bytes(static_cast<std::size_t>(in.i32()));
    }
    const bool has_rows = !out.empty() && out.back().starts_with("00000000");
    REQUIRE(formats.size() == (has_rows ? out.size() : 0));
    return out;
}

/// The last Bind that the server has got.
std::vector<std::string> bound_at(test_server& server) {
    std::vector<std::string> out;
    for (const auto& each : frames_of(server)) {
        if (each.type == 'B') {
            out = values_of(each);
        }
    }
    return out;
}

std::string rows_value(int reading_number) {
    const auto row = R"([{"id": "row )" + std::to_string(reading_number) + R"("}])";
    REQUIRE(row.size() < 100);
    return "000000002100000000" + std::to_string(row.size()) + row;
}

std::string types_message(const std::vector<std::uint32_t>& types) {
    std::string out;
    {
        wire::message_writer m{out, 't'};
        m.u16(static_cast<std::uint16_t>(types.size()));
        for (const auto type : types) {
            m.u32(type);
        }
    }
    return out;
}

std::string error_at(std::size_t position) {
    std::string out;
    wire::write_error_response(
        out,
        {.severity = "ERROR",
         .sqlstate = "42703",
         .message = "no such column",
         .detail = {},
         .hint = {},
         .routine = {},
         .position = position}
    );
    return out;
}

std::size_t position_told(test_client& client) {
    for (const auto& each : split_frames(std::exchange(client.received, {}))) {
        if (each.type == 'E') {
            return wire::parse_report(each.body)->position;
        }
    }
    return 0;
}

/// The client has prepared the statement, and the server has said so.
void prepare(
    test_client& client, test_server& server, std::string_view name, std::string_view sql
) {
    client.send(parse(name, sql) + sync_message());
    server.reply(parse_complete() + ready());
    REQUIRE(client.got() == "ParseComplete Ready(I)");
    server.got();
}

constexpr auto taken_name = "ERROR(42P05 it exists)";

}  // namespace

TEST_CASE("a Query carries the rows in its text", "[relay][relations]") {
    relations_world world{SIGNALBOX_CHUNKS, SIGNALBOX_MODES};
    auto& server = world.add_server();
    auto& client = world.add_client();
    client.send(query(std::string{"select 1; "} + reading + "; select 2"));
    const auto got = frames_of(server);
    REQUIRE(got.size() == 1);
    CHECK(got[0].type == 'Q');
    CHECK_THAT(
        std::string{text_of(got[0])},
        Catch::StartsWith("select 1; select id from (SELECT \"id\",\"name\",") &&
            Catch::Contains(R"({"id": "row 1"})") && Catch::EndsWith("; select 2")
    );
    CHECK(world.relations.readings == 1);
    server.reply(columns({"id"}) + row({"row 1"}) + complete("SELECT 1") + ready());
    CHECK(client.got() == "Columns Row(row 1) Complete(SELECT 1) Ready(I)");
}

TEST_CASE("statements without relations pass as they are", "[relay][relations]") {
    relations_world world{SIGNALBOX_CHUNKS};
    auto& server = world.add_server();
    auto& client = world.add_client();
    client.send(query("select 'mz_catalog.mz_connections'"));
    CHECK(server.got() == "Query(select 'mz_catalog.mz_connections')");
    CHECK(world.relations.readings == 0);
}

TEST_CASE("a Parse gets a parameter that no Describe shows", "[relay][relations]") {
    relations_world world{SIGNALBOX_CHUNKS, SIGNALBOX_MODES};
    auto& server = world.add_server();
    auto& client = world.add_client();
    client.send(
        parse("s", std::string{reading} + " where id = $1", {25}) + describe('S', "s") +
        sync_message()
    );
    const auto got = frames_of(server);
    REQUIRE(got.size() == 3);
    CHECK(types_of(got[0]) == std::vector<std::uint32_t>{25, rows_type});
    CHECK_THAT(std::string{wire::parse_parse(got[0].body)->text}, Catch::Contains("$2"));
    CHECK(world.relations.readings == 0);
    server.reply(parse_complete() + types_message({25, rows_type}) + columns({"id"}) + ready());
    CHECK(client.received == parse_complete() + types_message({25}) + columns({"id"}) + ready());
}

TEST_CASE("every Bind reads the rows anew", "[relay][relations]") {
    relations_world world{SIGNALBOX_CHUNKS, SIGNALBOX_MODES};
    const std::string name = GENERATE("", "s");
    auto& server = world.add_server();
    auto& client = world.add_client();
    prepare(client, server, name, std::string{reading} + " where id = $1");
    for (const int n : {1, 2}) {
        client.send(bind_to("", name, "x") + execute() + sync_message());
        CHECK(bound_at(server) == std::vector<std::string>{"x", rows_value(n)});
        server.reply(bind_complete() + complete("SELECT 0") + ready());
        CHECK(client.got() == "BindComplete Complete(SELECT 0) Ready(I)");
    }
}

TEST_CASE("parameters that are not declared count, too", "[relay][relations]") {
    relations_world world{SIGNALBOX_CHUNKS, SIGNALBOX_MODES};
    auto& server = world.add_server();
    auto& client = world.add_client();
    client.send(parse("s", std::string{reading} + " where id = $2", {25}) + sync_message());
    const auto got = frames_of(server);
    CHECK(types_of(got.at(0)) == std::vector<std::uint32_t>{25, 0, rows_type});
}

// Their number was taken for the size of a message to be made.
TEST_CASE("more parameters than there can be are refused", "[relay][relations]") {
    relations_world world{0, SIGNALBOX_MODES};
    auto& server = world.add_server();
    auto& client = world.add_client();
    const auto [number, is_refused] = GENERATE(table<std::string, bool>(
        {{"65534", false}, {"65535", true}, {"70000", true}, {"2147483647", true}}
    ));
    client.send(parse("s", std::string{reading} + " where id = $" + number) + sync_message());
    if (!is_refused) {
        CHECK(types_of(frames_of(server).at(0)).size() == 65535);
        return;
    }
    CHECK(server.got() == "Parse(,REFUSED BY SIGNALBOX) Sync");
    server.reply(error("42601", "syntax error") + ready());
    CHECK_THAT(client.got(), Catch::StartsWith("ERROR(54000 ") && Catch::EndsWith(" Ready(I)"));
}

TEST_CASE("a Bind with another number of parameters is refused", "[relay][relations]") {
    relations_world world{SIGNALBOX_CHUNKS, SIGNALBOX_MODES};
    auto& server = world.add_server();
    auto& client = world.add_client();
    prepare(client, server, "s", reading);
    client.send(bind_to("", "s", "one too many") + execute() + sync_message());
    CHECK_THAT(server.got(), Catch::StartsWith("Parse(,REFUSED BY SIGNALBOX)"));
    server.reply(error("42601", "syntax error") + ready());
    CHECK(
        client.got() ==
        "ERROR(08P01 bind message supplies 1 parameters, but prepared statement \"s\" requires 0) "
        "Ready(I)"
    );
}

TEST_CASE("a Parse that fails leaves the name what it was", "[relay][relations]") {
    relations_world world{SIGNALBOX_CHUNKS, SIGNALBOX_MODES};
    auto& server = world.add_server();
    auto& client = world.add_client();
    const bool was_reading = GENERATE(true, false);
    prepare(client, server, "s", was_reading ? reading : "select 1");
    client.send(parse("s", was_reading ? "select 1" : reading) + sync_message());
    server.reply(error("42P05", "it exists") + ready());
    CHECK(client.got() == std::string{taken_name} + " Ready(I)");
    server.got();
    client.send(bind_to("", "s") + sync_message());
    CHECK(
        bound_at(server) ==
        (was_reading ? std::vector<std::string>{rows_value(1)} : std::vector<std::string>{})
    );
}

// A Parse that is answered here, behind others, was not taken for confirmed.
TEST_CASE("… also where the server had the statement already", "[relay][relations]") {
    relations_world world{SIGNALBOX_CHUNKS};
    auto& server = world.add_server();
    auto& first = world.add_client();
    prepare(first, server, "s", reading);
    auto& client = world.add_client();
    client.send(parse("", "select 1") + parse("s", reading) + sync_message());
    server.reply(parse_complete() + ready());
    CHECK(client.got() == "ParseComplete ParseComplete Ready(I)");
    client.send(parse("s", "select 2") + sync_message());
    server.reply(error("42P05", "it exists") + ready());
    server.got();
    client.send(bind_to("", "s") + sync_message());
    CHECK(bound_at(server) == std::vector<std::string>{rows_value(1)});
}

TEST_CASE("behind a Close the name is another's", "[relay][relations]") {
    relations_world world{SIGNALBOX_CHUNKS, SIGNALBOX_MODES};
    auto& server = world.add_server();
    auto& client = world.add_client();
    prepare(client, server, "s", reading);
    client.send(close('S', "s") + sync_message());
    server.reply((world.settings.mode == pool_mode::session ? close_complete() : "") + ready());
    CHECK(client.got() == "CloseComplete Ready(I)");
    prepare(client, server, "s", "select $1::text");
    client.send(bind_to("", "s", "x") + sync_message());
    CHECK(bound_at(server) == std::vector<std::string>{"x"});
}

TEST_CASE("a Close that is skipped leaves the name what it was", "[relay][relations]") {
    relations_world world{SIGNALBOX_CHUNKS, SIGNALBOX_MODES};
    auto& server = world.add_server();
    auto& client = world.add_client();
    prepare(client, server, "s", reading);
    client.send(parse("", "oops") + close('S', "s") + sync_message());
    server.reply(error("42601", "syntax error") + ready());
    CHECK(client.got() == "ERROR(42601 syntax error) Ready(I)");
    server.got();
    client.send(bind_to("", "s") + sync_message());
    CHECK(bound_at(server) == std::vector<std::string>{rows_value(1)});
}

TEST_CASE("a name that is not settled is waited for", "[relay][relations]") {
    relations_world world{SIGNALBOX_CHUNKS, SIGNALBOX_MODES};
    auto& server = world.add_server();
    auto& client = world.add_client();
    prepare(client, server, "s", "select 1");
    client.send(
        parse("s", reading) + sync_message() + bind_to("", "s") + execute() + sync_message()
    );
    for (const auto& each : frames_of(server)) {
        CHECK(each.type != 'B');
    }
    server.reply(error("42P05", "it exists") + ready());
    CHECK(client.got() == std::string{taken_name} + " Ready(I)");
    const auto got = frames_of(server);
    REQUIRE(got.size() == 3);
    CHECK(values_of(got[0]).empty());
}

TEST_CASE("a long statement that takes the place of one that reads", "[relay][relations]") {
    relations_world world{4096, SIGNALBOX_MODES};
    auto& server = world.add_server();
    auto& client = world.add_client();
    prepare(client, server, "", reading);
    client.send(parse("", "select 1 --" + std::string(wire::max_inspected_bytes, 'x')));
    client.send(bind_to("", "") + execute() + sync_message());
    CHECK(bound_at(server).empty());
    server.reply(parse_complete() + bind_complete() + complete("SELECT 1") + ready());
    CHECK(client.got() == "ParseComplete BindComplete Complete(SELECT 1) Ready(I)");
}

TEST_CASE("on another server connection it is parsed with its parameter", "[relay][relations]") {
    relations_world world{SIGNALBOX_CHUNKS};
    auto& first = world.add_server();
    auto& client = world.add_client();
    prepare(client, first, "s", reading);
    world.idle.clear();  // busy
    auto& second = world.add_server();
    client.send(bind_to("", "s") + execute() + sync_message());
    const auto got = frames_of(second);
    REQUIRE(got.size() == 4);
    CHECK(got[0].type == 'P');
    CHECK(types_of(got[0]) == std::vector<std::uint32_t>{rows_type});
    CHECK(values_of(got[1]) == std::vector<std::string>{rows_value(1)});
    second.reply(parse_complete() + bind_complete() + complete("SELECT 0") + ready());
    CHECK(client.got() == "BindComplete Complete(SELECT 0) Ready(I)");
}

TEST_CASE("an error's position is one of the client's text", "[relay][relations]") {
    relations_world world{
        SIGNALBOX_CHUNKS,
        pool_mode::transaction,
        GENERATE(multi_statement_policy::pass, multi_statement_policy::split)};
    auto& server = world.add_server();
    auto& client = world.add_client();
    const bool is_split = world.settings.multi_statement == multi_statement_policy::split;
    const std::string sql = std::string{"select 1; "} + reading + " where nosuch; select 2";
    client.send(query(sql));
    if (is_split) {
        CHECK(server.got() == "Query(select 1;)");
        server.reply(complete("SELECT 1") + ready());
    }
    const auto got = frames_of(server);
    REQUIRE(got.size() == 1);
    server.reply(error_at(text_of(got[0]).find("nosuch") + 1) + ready());
    CHECK(position_told(client) == sql.find("nosuch") + 1);
}

TEST_CASE("an error's position in a Parse", "[relay][relations]") {
    relations_world world{SIGNALBOX_CHUNKS, SIGNALBOX_MODES};
    auto& server = world.add_server();
    auto& client = world.add_client();
    const std::string sql = std::string{reading} + " where nosuch";
    client.send(parse("s", sql) + sync_message());
    const auto got = frames_of(server);
    server.reply(error_at(wire::parse_parse(got.at(0).body)->text.find("nosuch") + 1) + ready());
    CHECK(position_told(client) == sql.find("nosuch") + 1);
}

TEST_CASE("COPY takes no parameter: its rows are in the text", "[relay][relations]") {
    relations_world world{SIGNALBOX_CHUNKS, SIGNALBOX_MODES};
    auto& server = world.add_server();
    auto& client = world.add_client();
    client.send(
        parse("", "copy mz_catalog.mz_connections to stdout") + bind_to("", "") + sync_message()
    );
    const auto got = frames_of(server);
    REQUIRE(got.size() == 3);
    CHECK(types_of(got[0]).empty());
    CHECK_THAT(std::string{wire::parse_parse(got[0].body)->text}, Catch::Contains(R"("row 1")"));
    CHECK(values_of(got[1]).empty());
}

TEST_CASE("what the client may not read is refused", "[relay][relations]") {
    relations_world world{SIGNALBOX_CHUNKS, SIGNALBOX_MODES};
    auto& server = world.add_server();
    auto& client = world.add_client();
    constexpr auto denied = "ERROR(42501 permission denied) Ready(I)";
    const std::string sql = "select 1 from mz_internal.mz_notices";
    SECTION("a Query") {
        client.send(query("select 1; " + sql));
        CHECK(server.got() == "Query(REFUSED BY SIGNALBOX)");
    }
    SECTION("a pipeline") {
        client.send(parse("", sql) + bind_to("", "") + execute() + sync_message());
        CHECK_THAT(server.got(), Catch::StartsWith("Parse(,REFUSED BY SIGNALBOX)"));
    }
    server.reply(error("42601", "syntax error") + ready());
    CHECK(client.got() == denied);
    CHECK(world.relations.readings == 0);
}

TEST_CASE("what is refused is shown where it stands in the batch", "[relay][relations]") {
    relations_world world{
        SIGNALBOX_CHUNKS,
        pool_mode::transaction,
        GENERATE(multi_statement_policy::pass, multi_statement_policy::split)};
    auto& server = world.add_server();
    auto& client = world.add_client();
    const std::string sql = std::string{"select 1; "} + reading + " tablesample system (1)";
    client.send(query(sql));
    if (world.settings.multi_statement == multi_statement_policy::split) {
        server.got();
        server.reply(complete("SELECT 1") + ready());
    }
    CHECK(server.got() == "Query(REFUSED BY SIGNALBOX)");
    server.reply(error("42601", "syntax error") + ready());
    CHECK(position_told(client) == sql.find("mz_catalog") + 1);
}
