// What a session may have left on the server without saying so: the worker cleans it.
#include "parser/traits.hpp"
#include "tests/support/relay_world.hpp"

#include <catch2/catch.hpp>

#include <optional>

using namespace signalbox::proxy;
using namespace signalbox::tests;

namespace {

/// A database with one function that may make state, set_it(), and a harmless one, lower().
struct watched_world : relay_world {
    watched_world() : relay_world(0, pool_mode::transaction) {
        signalbox::rewrite::hidden_state_rules rules;
        rules.learn("known", "lower", "");
        rules.learn("known", "set_it", "");
        rules.learn("body", "set_it", "set app.hidden = 1");
        rules.finish();
        settings.watch = std::make_shared<state_watch>();
        settings.watch->rules =
            std::make_shared<const signalbox::rewrite::hidden_state_rules>(std::move(rules));
        on_release = [this](test_server&, bool may_hide_state) { hidden = may_hide_state; };
    }

    /// The server tells its client `name`'s value, and runs the statement.
    bool hides(
        const char* name, const char* value, const std::string& sql, bool is_prepared = false
    ) {
        auto& server = add_server();
        auto& client = add_client();
        client.relay.set_reported(parameters({{name, value}}));
        server.state.reported = parameters({{name, value}});
        hidden.reset();
        if (is_prepared) {
            client.send(parse("s", sql) + bind_to("", "s") + execute() + sync_message());
            server.reply(parse_complete() + bind_complete() + complete("SELECT 1") + ready());
        } else {
            client.send(query(sql));
            server.reply(complete("SELECT 1") + ready());
        }
        REQUIRE(hidden.has_value());
        return *hidden;
    }

    std::optional<bool> hidden;
};

/// A call, where backslashes escape; one string, where they do not.
const std::string behind_a_quote = R"(select 'a\'' || set_it() || '' --')";

}  // namespace

TEST_CASE("a call in plain sight", "[proxy][relay][hidden]") {
    const bool is_prepared = GENERATE(false, true);
    watched_world world;
    CHECK_FALSE(world.hides("client_encoding", "UTF8", "select lower('A')", is_prepared));
    watched_world other;
    CHECK(other.hides("client_encoding", "UTF8", "select set_it()", is_prepared));
}

TEST_CASE("a string's end depends on standard_conforming_strings", "[proxy][relay][hidden]") {
    const bool is_prepared = GENERATE(false, true);
    watched_world plain;
    CHECK_FALSE(plain.hides("standard_conforming_strings", "on", behind_a_quote, is_prepared));
    watched_world escaped;
    CHECK(escaped.hides("standard_conforming_strings", "off", behind_a_quote, is_prepared));
    watched_world harmless;
    CHECK_FALSE(harmless.hides("standard_conforming_strings", "off", "select lower('A')"));
}

TEST_CASE("an encoding in which a character may hold a backslash", "[proxy][relay][hidden]") {
    const bool is_prepared = GENERATE(false, true);
    watched_world world;
    CHECK(world.hides("client_encoding", "SJIS", "select lower('A')", is_prepared));
}

TEST_CASE("what stands behind a text that is read in part waits for it", "[proxy][relay][hidden]") {
    relay_world world{0, pool_mode::transaction};
    auto& server = world.add_server();
    auto& client = world.add_client();
    std::string sql = "select 1";
    while (sql.size() <= signalbox::parser::max_scanned_bytes) {
        sql += "; select 1";
    }
    client.send(query(sql) + query("select 2"));
    CHECK(server.got().find("select 2") == std::string::npos);
    server.reply(complete("DEALLOCATE ALL") + ready());
    CHECK(server.got() == "Query(<inspection>)");
    server.reply(complete("SELECT 0") + ready());
    CHECK_THAT(server.got(), Catch::Contains("Query(select 2)"));
}
