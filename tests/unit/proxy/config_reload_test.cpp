// What a reload leaves as it is, and tells.
#include "proxy/config_reload.hpp"

#include <catch2/catch.hpp>

using namespace signalbox::proxy;
using names = std::vector<std::string>;

TEST_CASE("a reload keeps what was made at start, and names it", "[proxy][config]") {
    const configuration in_force;
    configuration next;
    next.listen.addresses = {"127.0.0.2"};
    next.listen.port = 1;
    next.listen.unix_socket_dir = "/tmp";
    next.listen.tcp_keepalive = duration{1};
    next.listen.tcp_user_timeout = duration{1};
    next.listen.workers = 7;
    next.catalog.url = "sqlite:other.db";
    next.catalog.password = "pw";
    next.catalog.ssl_mode = "require";
    next.catalog.history_per_connection = 6;
    next.catalog.status_quota.events = 21;
    next.catalog.ignored_retention = duration{1};
    next.catalog.catalog_schema = "a";
    next.catalog.internal_schema = "b";
    CHECK(
        keep_until_restart(next, in_force) ==
        names{
            "listen.address",
            "listen.port",
            "listen.unix_socket_dir",
            "listen.tcp_keepalive",
            "listen.tcp_user_timeout",
            "listen.workers",
            "catalog.url",
            "catalog.password",
            "catalog.ssl_mode",
            "catalog.history_per_connection",
            "catalog.status_quota",
            "catalog.ignored_retention",
            "catalog.schemas.catalog",
            "catalog.schemas.internal"}
    );
    CHECK(next.listen.addresses == in_force.listen.addresses);
    CHECK(next.listen.port == in_force.listen.port);
    CHECK(next.catalog.url == in_force.catalog.url);
    CHECK_FALSE(next.catalog.password);
    CHECK(next.catalog.status_quota == in_force.catalog.status_quota);
    CHECK(next.catalog.catalog_schema == "mz_catalog");
    CHECK(next.catalog.internal_schema == "mz_internal");
    CHECK(keep_until_restart(next, in_force).empty());
}

TEST_CASE("a reload changes the rest without a word", "[proxy][config]") {
    const configuration in_force;
    configuration next;
    next.listen.max_clients = 1;
    next.catalog.notices = !in_force.catalog.notices;
    next.availability.interval = duration{1};
    next.log.level = "debug";
    CHECK(keep_until_restart(next, in_force).empty());
    CHECK(next.listen.max_clients == 1);
    CHECK(next.catalog.notices != in_force.catalog.notices);
    CHECK(next.availability.interval == duration{1});
    CHECK(next.log.level == "debug");
}
