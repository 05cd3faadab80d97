// The configuration made ready: routes by name and by pattern, rules of authentication, verifiers.
#include "proxy/runtime.hpp"

#include <catch2/catch.hpp>

#include <memory>
#include <string>

using namespace signalbox::proxy;

namespace {

std::shared_ptr<const route_settings> route(
    const char* database,
    const char* connection,
    const char* backend_database = "",
    bool is_pattern = false
) {
    auto made = std::make_shared<route_settings>();
    made->database = database;
    made->connection = connection;
    made->backend_database = backend_database;
    made->is_pattern = is_pattern;
    return made;
}

configuration base() {
    configuration config;
    config.tls.mode = client_tls_mode::off;
    for (const auto* name : {"main", "shard_7"}) {
        auto connection = std::make_shared<signalbox::catalog::postgres_connection>();
        connection->name = name;
        connection->hosts = {{"127.0.0.1", 5432}};
        connection->tls = signalbox::catalog::ssl_mode::disable;
        connection->database = std::string{name} == "main" ? "the_db" : "";
        config.connections.emplace(name, std::move(connection));
    }
    return config;
}

}  // namespace

TEST_CASE("a database leads where its name or the first pattern says", "[proxy][runtime]") {
    auto config = base();
    config.routes = {
        route("tenant_(\\d+)", "shard_\\1", "t\\1", true),
        route("tenant_.*", "main", "", true),
        route("app", "main"),
        route("tenant_1", "main", "exact"),
        route("nowhere", "missing")};
    const runtime ready{std::move(config), nullptr};
    SECTION("exact") {
        const auto found = ready.resolve("app");
        REQUIRE(found);
        CHECK(found->connection_name == "main");
        CHECK(found->backend_database == "the_db");  // the connection's own
        CHECK(found->connection != nullptr);
    }
    SECTION("exact before pattern") {
        CHECK(ready.resolve("tenant_1")->backend_database == "exact");
    }
    SECTION("pattern with groups") {
        const auto found = ready.resolve("tenant_7");
        REQUIRE(found);
        CHECK(found->connection_name == "shard_7");
        CHECK(found->backend_database == "t7");
        CHECK(found->connection != nullptr);
    }
    SECTION("the connection that a pattern names may not exist") {
        const auto found = ready.resolve("tenant_8");
        REQUIRE(found);
        CHECK(found->connection_name == "shard_8");
        CHECK(found->connection == nullptr);
    }
    SECTION("the second pattern") {
        CHECK(ready.resolve("tenant_x")->connection_name == "main");
    }
    SECTION("a pattern is for the whole name") {
        CHECK_FALSE(ready.resolve("my_tenant_7"));
    }
    SECTION("unknown") {
        CHECK_FALSE(ready.resolve("other"));
        CHECK_FALSE(ready.resolve(""));
        CHECK_FALSE(ready.resolve("APP"));
    }
    SECTION("a connection that is not there") {
        const auto found = ready.resolve("nowhere");
        REQUIRE(found);
        CHECK(found->connection == nullptr);
        CHECK(found->backend_database == "nowhere");
    }
}

TEST_CASE("the first rule that matches says how to authenticate", "[proxy][runtime]") {
    using type = auth_rule::connection_type;
    auto config = base();
    config.default_auth_method = auth_method::scram_sha_256;
    config.auth_rules = {
        {.type = type::local,
         .databases = {"all"},
         .users = {"root"},
         .address = "all",
         .method = auth_method::trust},
        {.type = type::hostssl,
         .databases = {"app"},
         .users = {"all"},
         .address = "10.1.0.0/16",
         .method = auth_method::cert},
        {.type = type::hostnossl,
         .databases = {"all"},
         .users = {"all"},
         .address = "10.0.0.0/8",
         .method = auth_method::reject},
        {.type = type::host,
         .databases = {"a", "b"},
         .users = {"x", "y"},
         .address = "192.168.1.7",
         .method = auth_method::md5},
        {.type = type::host,
         .databases = {"all"},
         .users = {"all"},
         .address = "fd00::/12",
         .method = auth_method::password}};
    const runtime ready{std::move(config), nullptr};
    const auto method = [&](const char* address, bool tls, const char* database, const char* user) {
        const bool local = std::string{address} == "local";
        return ready
            .rule_for({.address = address, .is_local = local, .has_tls = tls}, database, user)
            .method;
    };
    CHECK(method("local", false, "app", "root") == auth_method::trust);
    CHECK(method("local", false, "app", "joe") == auth_method::scram_sha_256);
    CHECK(method("10.1.2.3", true, "app", "joe") == auth_method::cert);
    CHECK(method("10.2.2.3", true, "app", "joe") == auth_method::scram_sha_256);
    CHECK(method("10.1.2.3", true, "other", "joe") == auth_method::scram_sha_256);
    CHECK(method("10.1.2.3", false, "app", "joe") == auth_method::reject);
    CHECK(method("11.0.0.1", false, "app", "joe") == auth_method::scram_sha_256);
    CHECK(method("192.168.1.7", false, "b", "y") == auth_method::md5);
    CHECK(method("192.168.1.8", false, "b", "y") == auth_method::scram_sha_256);
    CHECK(method("192.168.1.7", false, "c", "y") == auth_method::scram_sha_256);
    CHECK(method("192.168.1.7", false, "b", "z") == auth_method::scram_sha_256);
    CHECK(method("fd0f::1", false, "b", "z") == auth_method::password);
    CHECK(method("fe00::1", false, "b", "z") == auth_method::scram_sha_256);
}

TEST_CASE("a rule has the map that it names, and others have none", "[proxy][runtime]") {
    auto config = base();
    config.auth_maps = {
        {.name = "ops", .system_username = "jane", .database_username = "a"},
        {.name = "dev", .system_username = "jane", .database_username = "b"},
        {.name = "ops", .system_username = "joe", .database_username = "a"}};
    config.default_auth_method = auth_method::cert;
    config.default_auth_map = "dev";
    config.auth_rules = {
        {.type = auth_rule::connection_type::host,
         .databases = {"app"},
         .users = {"all"},
         .address = "all",
         .method = auth_method::cert,
         .map = "ops"},
        {.type = auth_rule::connection_type::host,
         .databases = {"plain"},
         .users = {"all"},
         .address = "all",
         .method = auth_method::cert,
         .map = {}}};
    const runtime first{std::move(config), nullptr};
    const runtime second{first, first.config().connections};
    for (const runtime* const ready : {&first, &second}) {
        const auto map = [&](const char* database) {
            return ready
                ->rule_for(
                    {.address = "10.0.0.1", .is_local = false, .has_tls = true}, database, "a"
                )
                .map;
        };
        REQUIRE(map("app") != nullptr);
        CHECK(map("app")->allows("jane", "a"));
        CHECK(map("app")->allows("joe", "a"));
        CHECK_FALSE(map("app")->allows("jane", "b"));
        CHECK(map("plain") == nullptr);
        REQUIRE(map("other") != nullptr);
        CHECK(map("other")->allows("jane", "b"));
        CHECK_FALSE(map("other")->allows("jane", "a"));
    }
}

TEST_CASE("passwords become verifiers, which a reload takes over", "[proxy][runtime]") {
    auto config = base();
    config.users["plain"] = {
        .name = "plain",
        .password = "secret",
        .verifier = {},
        .superuser = false,
        .support = false};
    config.users["none"] = {
        .name = "none", .password = {}, .verifier = {}, .superuser = false, .support = false};
    const runtime first{config, nullptr};
    REQUIRE(first.find_user("plain") != nullptr);
    REQUIRE(first.find_user("plain")->scram);
    CHECK_FALSE(first.find_user("none")->scram);
    CHECK(first.find_user("nobody") == nullptr);
    const runtime same{config, &first};
    CHECK(same.find_user("plain")->scram->salt == first.find_user("plain")->scram->salt);
    config.users["plain"].password = "another";
    const runtime changed{config, &same};
    CHECK(changed.find_user("plain")->scram->salt != first.find_user("plain")->scram->salt);
}
