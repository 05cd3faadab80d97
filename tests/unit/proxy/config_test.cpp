// The configuration file: what loads, what is refused, and that each refusal names its line and a
// way out.
#include "proxy/config.hpp"

#include "tests/support/configurations.hpp"
#include "tests/support/temporary_folder.hpp"

#include <catch2/catch.hpp>

#include <stdlib.h>
#include <unistd.h>

namespace {

using namespace signalbox::proxy;
using namespace std::chrono_literals;
using Catch::Contains;
using Catch::StartsWith;
using signalbox::tests::has_warning;
using signalbox::tests::smallest;
using signalbox::tests::temporary_folder;

constexpr const char* file_name = "/nonexistent/signalbox.toml";

configuration load(const std::string& text) {
    return load_configuration_text(text, file_name);
}

configuration load_with(const std::string& more) {
    return load(std::string{smallest} + more);
}

std::string error_of(const std::string& text) {
    try {
        load(text);
    } catch (const configuration_error& error) {
        return error.what();
    }
    return "loaded";
}

std::string error_with(const std::string& more) {
    return error_of(std::string{smallest} + more);
}

std::string at_line(int line) {
    return std::string{file_name} + ":" + std::to_string(line) + ": ";
}

}  // namespace

TEST_CASE("config: the smallest file gives the example's defaults", "[config]") {
    const configuration loaded = load(std::string{smallest});
    CHECK(loaded.listen.addresses == std::vector<std::string>{"127.0.0.1"});
    CHECK(loaded.listen.port == 6432);
    CHECK(loaded.listen.startup_timeout == 60s);
    CHECK(loaded.listen.max_message_size == 1ULL << 30);
    CHECK(loaded.default_auth_method == auth_method::scram_sha_256);
    REQUIRE(loaded.connections.contains("main"));
    const auto& connection = *loaded.connections.at("main");
    CHECK(connection.name == "main");
    CHECK(connection.hosts == std::vector<signalbox::catalog::host_port>{{"127.0.0.1", 5432}});
    CHECK(connection.user.empty());
    CHECK_FALSE(connection.password);
    CHECK(connection.tls == signalbox::catalog::ssl_mode::prefer);
    REQUIRE(loaded.routes.size() == 1);
    CHECK(loaded.routes[0]->mode == pool_mode::transaction);
    CHECK(loaded.routes[0]->pool_size == 20);
    CHECK(loaded.routes[0]->server_lifetime == 1h);
    CHECK(loaded.catalog.url == "sqlite:signalbox.db");
    CHECK_FALSE(loaded.catalog.password);
    CHECK(loaded.catalog.ssl_mode == "prefer");
    CHECK(loaded.catalog.history_per_connection == 5);
    CHECK(loaded.catalog.status_quota == signalbox::catalog::rate{20, 1min});
    CHECK(loaded.catalog.ignored_retention == 180 * 24h);
    CHECK(loaded.catalog.catalog_schema == "mz_catalog");
    CHECK(loaded.catalog.internal_schema == "mz_internal");
    CHECK(loaded.availability.interval == 30s);
    REQUIRE(loaded.warnings.size() == 1);
    CHECK_THAT(loaded.warnings[0], Contains("signalbox.toml:1: Nobody can log in: "));
}

TEST_CASE("config: every setting of the catalog and its checks arrives", "[config]") {
    const configuration loaded = load_with(R"(
[secrets]
pw = { value = "demo" }
[catalog]
url = "postgresql://app@127.0.0.1/catalog"
password = "pw"
ssl_mode = "require"
history_per_connection = 6
status_quota = "7/h"
ignored_retention = "8d"
notices = false
schemas = { catalog = "a", internal = "b" }
[availability]
interval = "9s"
)");
    CHECK(loaded.catalog.url == "postgresql://app@127.0.0.1/catalog");
    CHECK(loaded.catalog.password == "demo");
    CHECK(loaded.catalog.ssl_mode == "require");
    CHECK(loaded.catalog.history_per_connection == 6);
    CHECK(loaded.catalog.status_quota == signalbox::catalog::rate{7, 1h});
    CHECK(loaded.catalog.ignored_retention == 8 * 24h);
    CHECK_FALSE(loaded.catalog.notices);
    CHECK(loaded.catalog.catalog_schema == "a");
    CHECK(loaded.catalog.internal_schema == "b");
    CHECK(loaded.availability.interval == 9s);
}

TEST_CASE("config: every setting arrives", "[config]") {
    const configuration loaded = load(R"(
[listen]
address = ["127.0.0.1", "::1"]
port = 0
max_clients = 7
max_clients_per_user = 1
max_clients_per_database = 2
max_clients_per_address = 3
startup_timeout = "5s"
max_message_size = "64MiB"
max_memory = "2GB"
tcp_keepalive = 30
tcp_user_timeout = "45s"
workers = 2
[tls]
mode = "off"
[auth]
method = "md5"
[[auth.rules]]
type = "hostnossl"
database = ["a", "b"]
user = "u"
address = "10.0.0.0/8"
method = "reject"
[secrets]
pw = { value = "demo" }
[[users]]
name = "app"
password = "pw"
roles = ["superuser", "support"]
[[users]]
name = "old"
verifier = "md50123456789abcdef0123456789abcdef"
[connections.main]
type = "postgres"
host = "a, b"
port = "1,2"
user = "u"
password = "pw"
database = "d"
ssl_mode = "disable"
target_session_attrs = "read-write"
connect_timeout = 3
[[routes]]
pattern = 'tenant_(\d+)'
connection = 'shard_\1'
backend_database = 't\1'
pool_mode = "session"
pool_size = 5
min_pool_size = 5
multi_statement = "single"
rpc_functions = ["iasql_.*"]
rpc_in_transaction = "refuse"
session_state = "refuse"
auth_query = "default"
auth_user = "boss"
auth_password = "pw"
max_prepared_statements = 9
hold_timeout = "1s"
query_wait_timeout = "2s"
drain_timeout = "3s"
connect_timeout = "4s"
server_idle_timeout = "5s"
server_lifetime = "6s"
client_idle_timeout = "7s"
query_timeout = "8s"
transaction_timeout = "9s"
idle_transaction_timeout = "10s"
[log]
level = "debug"
format = "json"
)");
    CHECK(loaded.warnings.empty());
    CHECK(loaded.listen.addresses == std::vector<std::string>{"127.0.0.1", "::1"});
    CHECK(loaded.listen.port == 0);
    CHECK(loaded.listen.max_clients == 7);
    CHECK(loaded.listen.max_clients_per_user == 1);
    CHECK(loaded.listen.max_clients_per_database == 2);
    CHECK(loaded.listen.max_clients_per_address == 3);
    CHECK(loaded.listen.startup_timeout == 5s);
    CHECK(loaded.listen.max_message_size == 64ULL << 20);
    CHECK(loaded.listen.max_memory == 2'000'000'000);
    CHECK(loaded.listen.tcp_keepalive == 30s);
    CHECK(loaded.listen.tcp_user_timeout == 45s);
    CHECK(loaded.listen.workers == 2);
    CHECK(loaded.default_auth_method == auth_method::md5);
    REQUIRE(loaded.auth_rules.size() == 1);
    CHECK(loaded.auth_rules[0].type == auth_rule::connection_type::hostnossl);
    CHECK(loaded.auth_rules[0].databases == std::vector<std::string>{"a", "b"});
    CHECK(loaded.auth_rules[0].users == std::vector<std::string>{"u"});
    CHECK(loaded.auth_rules[0].address == "10.0.0.0/8");
    CHECK(loaded.auth_rules[0].method == auth_method::reject);
    CHECK(loaded.users.at("app").password == "demo");
    CHECK(loaded.users.at("app").superuser);
    CHECK(loaded.users.at("app").support);
    CHECK(loaded.users.at("old").verifier == "md50123456789abcdef0123456789abcdef");
    const auto& connection = *loaded.connections.at("main");
    CHECK(connection.hosts == std::vector<signalbox::catalog::host_port>{{"a", 1}, {"b", 2}});
    CHECK(connection.user == "u");
    CHECK(connection.password == "demo");
    CHECK(connection.database == "d");
    CHECK(connection.tls == signalbox::catalog::ssl_mode::disable);
    CHECK(connection.target == signalbox::catalog::target_session_attrs::read_write);
    CHECK(connection.connect_timeout == 3s);
    REQUIRE(loaded.routes.size() == 1);
    const auto& route = *loaded.routes[0];
    CHECK(route.is_pattern);
    CHECK(route.database == R"(tenant_(\d+))");
    CHECK(route.connection == R"(shard_\1)");
    CHECK(route.backend_database == R"(t\1)");
    CHECK(route.mode == pool_mode::session);
    CHECK(route.pool_size == 5);
    CHECK(route.min_pool_size == 5);
    CHECK(route.multi_statement == multi_statement_policy::single);
    CHECK(route.rpc_functions == std::vector<std::string>{"iasql_.*"});
    CHECK(route.statement_handling);
    CHECK(route.rpc == rpc_in_transaction::refuse);
    CHECK(route.session_state == session_state_policy::refuse);
    CHECK(route.auth_query == "default");
    CHECK(route.auth_user == "boss");
    CHECK(route.auth_password == "demo");
    CHECK(route.max_prepared_statements == 9);
    CHECK(route.hold_timeout == 1s);
    CHECK(route.query_wait_timeout == 2s);
    CHECK(route.drain_timeout == 3s);
    CHECK(route.connect_timeout == 4s);
    CHECK(route.server_idle_timeout == 5s);
    CHECK(route.server_lifetime == 6s);
    CHECK(route.client_idle_timeout == 7s);
    CHECK(route.query_timeout == 8s);
    CHECK(route.transaction_timeout == 9s);
    CHECK(route.idle_transaction_timeout == 10s);
    CHECK(loaded.log.level == "debug");
    CHECK(loaded.log.format == log_format::json);
}

TEST_CASE("config: errors name the line and a way out", "[config]") {
    struct row {
        std::string added;  // after the smallest file, whose last table is [[routes]]
        int line;
        std::string message;
        std::string hint;
    };

    static const std::string itself = "the list of choices is the way out";
    const auto [added, line, message, hint] = GENERATE(
        row{"pool_sise = 2\n",
            8,
            R"(unknown key "pool_sise" in [[routes]])",
            R"(did you mean "pool_size"?)"},
        row{"\n[lissten]\n", 9, R"(unknown key "lissten")", R"(did you mean "listen"?)"},
        row{"pool_size = '2'\n", 8, "pool_size must be an integer, not a string", "without quotes"},
        row{"pool_size = 0\n", 8, "pool_size is out of range: 0", "from 1 to"},
        row{"pool_size = 2.5\n",
            8,
            "pool_size must be an integer, not a number with a fraction",
            "whole"},
        row{"min_pool_size = 21\n",
            8,
            "min_pool_size is larger than pool_size (20)",
            "raise pool_size"},
        row{"pool_mode = 'transction'\n",
            8,
            R"(one of "session", "transaction", "statement")",
            R"(did you mean "transaction"?)"},
        row{"auth_query = 7\n", 8, "auth_query must be a string, not an integer", "quotes"},
        row{"auth_query = 'SELECT 1'\n", 8, "auth_query must be", "$1"},
        row{"auth_query = 'default'\n", 8, "needs auth_user and auth_password", "set both"},
        row{"hold_timeout = '5 fortnights'\n", 8, "hold_timeout is not a duration", "5min"},
        row{"hold_timeout = true\n", 8, "hold_timeout must be a duration, not a boolean", "60s"},
        row{"hold_timeout = -1\n", 8, "hold_timeout is not a duration", "5min"},
        row{"backend_database = \"a\\u0000b\"\n", 8, "NUL", "remove"},
        row{"statement_handling = false\nrpc_functions = ['a']\n",
            9,
            "rpc_functions needs statement_handling",
            "remove it"},
        row{"statement_handling = false\nmulti_statement = 'pass'\n",
            9,
            "multi_statement needs statement_handling",
            "remove it"},
        row{"statement_handling = false\nrpc_in_transaction = 'warn'\n",
            9,
            "rpc_in_transaction needs statement_handling",
            "remove it"},
        row{"rpc_functions = ['a(']\n", 8, "rpc_functions is not a pattern", "RE2"},
        row{"rpc_functions = [1]\n", 8, "rpc_functions must be a string, not an integer", "quotes"},
        row{"pattern = 'x'\n", 8, "either database or pattern", "for many"},
        row{"[[routes]]\nconnection = 'main'\n", 8, "needs database or pattern", "for many"},
        row{"[[routes]]\ndatabase = 'b'\n", 8, "a route needs a connection", "[connections.name]"},
        row{"[[routes]]\npattern = '('\nconnection = 'main'\n",
            9,
            "pattern is not a pattern",
            "RE2"},
        row{"[[routes]]\npattern = 'a'\nconnection = 'm\\1'\n",
            10,
            "does not fit the pattern",
            "groups"},
        row{"[[routes]]\nconnection = 'main'\ndatabase = 'app'\n",
            10,
            R"(already a route for database "app", at line 6)",
            "remove one"},
        row{"[[users]]\nname = 'a'\n[[users]]\nname = 'a'\n",
            11,
            R"(already a user "a", at line 9)",
            "remove one"},
        row{"[[users]]\npassword = 'x'\n", 8, "a user needs a name", "name ="},
        row{"[[users]]\nname = 'a'\nroles = ['root']\n",
            10,
            R"(roles must be one of "superuser", "support", not "root")",
            itself},
        row{"[[users]]\nname = 'a'\nverifier = 'SCRAM-SHA-256$x'\n",
            10,
            "verifier of user",
            "pg_authid"},
        row{"[users]\nname = 'a'\n", 8, "users must be a list of tables, not a table", "[[users]]"},
        row{"[auth]\nmethod = 'ldap'\n", 9, R"("cert", "reject", not "ldap")", itself},
        row{"[auth]\nmethod = 'cert'\n", 9, "needs TLS and client_ca", "set certificate"},
        row{"[[auth.rules]]\naddress = '10.0.0.0/40'\n",
            9,
            "neither an address nor a network",
            "10.0.0.0/8"},
        row{"[[auth.rules]]\ntype = 'local'\naddress = '::1'\n", 10, "has no address", "remove"},
        row{"[[auth.rules]]\nuser = []\n", 9, "user must not be an empty list", "all"},
        row{"[[auth.rules]]\nmap = 'm'\n", 9, "a map is for method \"cert\" only", "remove map"},
        row{"[auth]\nmap = 'm'\n", 9, "a map is for method \"cert\" only", "remove map"},
        row{"[[auth.maps]]\nname = 'm'\n", 8, "needs system_username", "database_username ="},
        row{"[[auth.maps]]\nsystem_username = 'a'\ndatabase_username = 'b'\n",
            8,
            "needs name",
            "name = "},
        row{"[[auth.maps]]\nname = 'm'\nsystem_username = 'a'\ndatabase_username = ''\n",
            11,
            "needs database_username",
            "database_username ="},
        row{"[[auth.maps]]\nname = 'm'\nsystem_username = '/('\ndatabase_username = 'a'\n",
            10,
            "system_username is not a pattern behind its slash: missing )",
            "RE2"},
        row{"[[auth.maps]]\nname = 'm'\nsystem_username = 'a'\ndatabase_username = '/['\n",
            11,
            "database_username is not a pattern behind its slash",
            "RE2"},
        row{"[[auth.maps]]\nname = 'm'\nsystem_username = 'a'\ndatabase_username = '\\1'\n",
            11,
            "stands for a group of system_username, which has none",
            "for example"},
        row{"[[auth.maps]]\nname = 'm'\nsystem_username = '/a'\ndatabase_username = '\\1'\n",
            11,
            "stands for a group of system_username, which has none",
            "for example"},
        row{"[[auth.maps]]\nname = 'm'\nsystem_username = '/(a)'\ndatabase_username = '/\\1'\n",
            11,
            "database_username is not a pattern behind its slash",
            "RE2"},
        row{"[[auth.maps]]\nname = 'm'\nsystem_username = '/(a)'\n"
            "database_username = '/(b)\\\\1'\n",
            11,
            "cannot stand in a database_username that is a pattern",
            "remove"},
        row{"[[auth.maps]]\nname = 'm'\nsystem_username = 'a'\ndatabase_username = '+ops'\n",
            11,
            "database_username \"+ops\" is a group",
            "server's"},
        row{"[[auth.maps]]\nname = 'm'\nuser = 'a'\n", 10, "unknown key \"user\"", ""},
        row{"[listen]\nport = 65536\n", 9, "port is out of range: 65536", "from 0 to 65535"},
        row{"[listen]\naddress = ''\n", 9, "listen nowhere", "unix_socket_dir"},
        row{"[listen]\nunix_socket_dir = 'nowhere'\n", 9, "is not a directory", "create it"},
        row{"[listen]\nmax_message_size = '1KiB'\n",
            9,
            "max_message_size is out of range",
            "from 10000"},
        row{"[listen]\nmax_memory = 'lots'\n", 9, "max_memory is not a size", "64KiB"},
        row{"[connections.b]\nport = 1\n", 8, "[connections.b]: host option is required", "host ="},
        row{"[connections.b]\nhost = ''\n", 9, "invalid host option value: it is empty", "'a,b'"},
        row{"[connections.b]\nhost = 'a'\nport = true\n",
            10,
            "port must be a number or a string, or a list, not a boolean",
            "digits"},
        row{"[connections.b]\nhost = 'a'\nuser = ['a']\n",
            10,
            "user must be a string, not a list",
            "quotes"},
        row{"[connections.b]\nhost = ['a',\n1]\n",
            10,
            "host must be a string, or a list, not an integer",
            "quotes"},
        row{"[connections.b]\nhost = 'a'\nconnect_timeout = '5 fortnights'\n",
            10,
            R"(invalid connect_timeout option value: "5 fortnights")",
            "ms, s, min, h, d"},
        row{"[connections.b]\nhost = 'a'\nssl_mode = 'requrie'\n",
            10,
            R"(invalid ssl_mode option value: "requrie")",
            R"(Did you mean "require"?)"},
        row{"[connections.b]\nhost = 'a'\naws_privatelink = 'main'\n",
            10,
            R"(connection "main" is of type postgres)",
            "AWS PRIVATELINK connection"},
        row{"[connections.b]\ntype = 'mysql'\n",
            9,
            R"(type must be one of "postgres", "aws-privatelink", "kafka", not "mysql")",
            itself},
        row{"[connections.k]\ntype = 'kafka'\n",
            8,
            "[connections.k]: broker option is required",
            "write broker ="},
        row{"[connections.k]\ntype = 'kafka'\nbroker = 'a'\nsasl_mechanisms = 'GSSAPI'\n",
            11,
            R"(invalid sasl_mechanisms option value: "GSSAPI")",
            "one of PLAIN"},
        row{"[connections.p]\ntype = 'aws-privatelink'\nservice_name = 's'\n",
            8,
            "availability_zones option is required",
            "zone ids"},
        row{"[connections.b]\nhost = 'a,b,c'\nport = [1,2]\n",
            10,
            "2 ports for 3 hosts",
            "one for each"},
        row{"[connections.b]\nhost = 'a,,c'\n", 9, "empty element", "each with a name"},
        row{"[connections.b]\nhost = 'a'\nport = 0\n", 10, "1 to 65535", "5432"},
        row{"[connections.b]\nhost = 'a'\nbroker = 'x'\n",
            10,
            R"(unknown key "broker" in [connections.b])",
            "known: type"},
        row{"[connections.b]\nhost = 'a'\nssl_mode = 'verify-full'\n",
            10,
            "needs ssl_certificate_authority",
            "set it"},
        row{"[connections.b]\nhost = 'a'\nssl_certificate_authority = 'no.crt'\n",
            10,
            "cannot read",
            "path"},
        row{"[connections]\nb = 1\n",
            9,
            R"(connection "b" must be a table, not an integer)",
            "[connections.main]"},
        row{"[secrets]\nx = 'plain'\n", 9, R"(secret "x" must be a table, not a string)", "env"},
        row{"[secrets]\nx = { }\n", 9, "exactly one of env, file, value", "VARIABLE"},
        row{"[secrets]\nx = { env = 'SIGNALBOX_TEST_UNSET' }\n", 9, "is not set", "set it"},
        row{"[secrets]\nx = { file = 'no.txt' }\n", 9, "cannot read file", "path"},
        row{"[log]\nlevel = 'loud'\n",
            9,
            R"(level must be one of "trace", "debug", "info", "warn", "error", not "loud")",
            itself},
        row{"[catalog]\nurl = 'mysql:'\n", 9, "url must start with", "sqlite"},
        row{"[secrets]\nx = { value = 'y' }\n[catalog]\npassword = 'x'\n",
            11,
            "password needs a PostgreSQL store",
            "remove it"},
        row{"[catalog]\nurl = 'sqlite:a.db'\nssl_mode = 'require'\n",
            10,
            "ssl_mode needs a PostgreSQL store",
            "remove it"},
        row{"[catalog]\nstatus_quota = '20/year'\n", 9, "status_quota is not a rate", "20/min"},
        row{"[availability]\nparallell = 1\n",
            9,
            R"(unknown key "parallell")",
            R"(did you mean "parallel"?)"},
        row{"[console]\nport = 'x'\n", 9, "port must be an integer", "without quotes"},
        // toml++'s header-only form ends the process at these two
        row{"[/x]\n", 8, "not valid TOML", "names of other characters than"},
        row{"[/null\"\n", 8, "not valid TOML", "names of other characters than"},
        row{"[auth\n", 8, "not valid TOML", "a section begins with [name]"},
        row{"this is not toml\n", 8, "not valid TOML", "(a setting is written as name = value)"},
        row{"pool_mode = session\n", 8, "not valid TOML", "(strings stand between double quotes)"},
        row{"hold_timeout = 5s\n", 8, "not valid TOML", "(strings stand between double quotes)"},
        row{"pool_size = 1\npool_size = 1\n", 9, "not valid TOML", "(remove one of them)"},
        row{"[routs]\n", 8, "unknown key \"routs\" at the top level", "\"routes\"?)"}
    );
    CAPTURE(added);
    const std::string error = error_with(added);
    CHECK_THAT(error, StartsWith(at_line(line)));
    CHECK_THAT(error, Contains(message));
    if (hint == itself) {
        CHECK_THAT(error, Catch::EndsWith(message));
    } else {
        CHECK_THAT(error, Contains(hint) && Contains("(") && Catch::EndsWith(")"));
    }
}

TEST_CASE("config: a file needs a connection and a route", "[config]") {
    CHECK_THAT(error_of(""), Contains("there is no connection") && StartsWith(at_line(1)));
    CHECK_THAT(error_of("[connections.main]\nhost = 'a'\n"), Contains("there is no route"));
    CHECK_THAT(
        error_of("[connections.k]\ntype = 'kafka'\nbroker = 'a'\n[[routes]]\ndatabase = "
                 "'a'\nconnection = 'k'\n"),
        Contains("there is no connection")
    );
}

TEST_CASE("config: a missing file is an error with the system's words", "[config]") {
    CHECK_THROWS_WITH(
        load_configuration(file_name),
        StartsWith(std::string{file_name} + ": cannot read") &&
            Contains("No such file or directory")
    );
    const temporary_folder folder;
    CHECK_THROWS_WITH(load_configuration(folder.path()), Contains("Is a directory"));
}

TEST_CASE("config: warnings do not stop the load", "[config]") {
    CHECK(has_warning(
        load_with("[[routes]]\ndatabase = 'b'\nconnection = 'mian'\n"),
        ":10: Connection \"mian\" of route \"b\" is not in this file; did you mean \"main\"?"
    ));
    CHECK(has_warning(
        load_with("[connections.k]\ntype = 'kafka'\nbroker = 'a:9092'\n"), "not supported yet"
    ));
    CHECK(has_warning(
        load_with("[connections.p]\ntype = 'aws-privatelink'\nservice_name = "
                  "'s'\navailability_zones = ['a']\n"),
        "not supported yet"
    ));
    CHECK(has_warning(
        load_with("[privatelink]\nanything = 1\n"), "[privatelink] is not supported yet"
    ));
    CHECK(has_warning(load_with("[availability.kafka]\nbrokers = 'a'\n"), "[availability.kafka]"));
    CHECK(has_warning(load_with("[[auth.rules]]\ntype = 'hostssl'\n"), "The rule never matches"));
    CHECK(has_warning(
        load_with("[[auth.maps]]\nname = 'm'\nsystem_username = 'a'\ndatabase_username = 'b'\n"),
        "No rule uses the map \"m\"."
    ));

    const auto nobody = "Nobody can log in: a password is asked for, and no user has one; add";
    CHECK(has_warning(load_with(""), nobody));
    CHECK(has_warning(load_with("[auth]\nmethod = 'md5'\n[[users]]\nname = 'a'\n"), nobody));
    CHECK(has_warning(load_with("[[auth.rules]]\nmethod = 'reject'\n"), nobody));
    const auto somebody = GENERATE(
        as<std::string>{},
        "[auth]\nmethod = 'trust'\n",
        "[auth]\nmethod = 'reject'\n",  // meant
        "[[auth.rules]]\nmethod = 'trust'\n",
        "[secrets]\npw = { value = 'x' }\n[[users]]\nname = 'a'\npassword = 'pw'\n",
        "[[users]]\nname = 'a'\nverifier = 'md5d41d8cd98f00b204e9800998ecf8427e'\n",
        "[connections.b]\nhost = 'b'\nuser = 'boss'\n"
        "[[routes]]\ndatabase = 'b'\nconnection = 'b'\nauth_query = 'default'\n"
    );
    CAPTURE(somebody);
    CHECK_FALSE(has_warning(load_with(somebody), "Nobody"));

    const configuration tunnelled =
        load_with("[connections.t]\nhost = 'a'\naws_privatelink = 'p'\n");
    CHECK(has_warning(tunnelled, "the connection is ignored"));
    CHECK_FALSE(tunnelled.connections.contains("t")
    );  // reaching it directly would be another target
}

TEST_CASE("config: hosts and ports take comma lists and TOML lists", "[config]") {
    using hosts = std::vector<signalbox::catalog::host_port>;

    struct row {
        std::string options;
        hosts expected;
    };

    const auto [options, expected] = GENERATE(
        row{"host = 'a'", hosts{{"a", 5432}}},
        row{"host = 'a,b'", hosts{{"a", 5432}, {"b", 5432}}},
        row{"host = ['a', 'b']\nport = 7", hosts{{"a", 7}, {"b", 7}}},
        row{"host = ['a', 'b']\nport = [7, '8']", hosts{{"a", 7}, {"b", 8}}},
        row{"host = 'a,b'\nport = '7,'", hosts{{"a", 7}, {"b", 5432}}},
        row{"host = '/run/postgresql'\nport = '5433'", hosts{{"/run/postgresql", 5433}}}
    );
    CAPTURE(options);
    CHECK(load_with("[connections.x]\n" + options + "\n").connections.at("x")->hosts == expected);
}

TEST_CASE("config: connections are kept as options, secrets by name", "[config]") {
    using signalbox::catalog::connection_type;
    using signalbox::catalog::file_connection;
    using signalbox::catalog::secret_name;
    const configuration loaded = load_with(
        "[secrets]\n"
        "pw = { value = 'hunter2' }\n"
        "[connections.full]\n"
        "host = ['a', 'b']\n"
        "port = [7, '8']\n"
        "user = 'u'\n"
        "database = ''\n"  // none
        "password = 'pw'\n"
        "ssl_key = ''\n"
        "ssl_mode = 'disable'\n"
        "connect_timeout = 3\n"
        "aws_privatelink = ''\n"
        "[connections.k]\n"
        "type = 'kafka'\n"
        "brokers = 'a:1'\n"
        "sasl_password = 'pw'\n"
        "[connections.p]\n"
        "type = 'aws-privatelink'\n"
        "service_name = 's'\n"
        "availability_zones = ['z']\n"
        "[connections.t]\n"
        "host = 'h'\n"
        "aws_privatelink = 'p'\n"
    );
    const signalbox::catalog::file_connections expected{
        {"full",
         {connection_type::postgres,
          {{"HOST", std::vector<std::string>{"a", "b"}},
           {"PORT", std::vector<std::string>{"7", "8"}},
           {"USER", "u"},
           {"PASSWORD", secret_name{"pw"}},
           {"SSL MODE", "disable"},
           {"CONNECT TIMEOUT", "3"}}}},
        {"k", {connection_type::kafka, {{"BROKERS", "a:1"}, {"SASL PASSWORD", secret_name{"pw"}}}}},
        {"main", {connection_type::postgres, {{"HOST", "127.0.0.1"}}}},
        {"p",
         {connection_type::aws_privatelink,
          {{"SERVICE NAME", "s"}, {"AVAILABILITY ZONES", std::vector<std::string>{"z"}}}}},
        {"t", {connection_type::postgres, {{"HOST", "h"}, {"AWS PRIVATELINK", "p"}}}}};
    CHECK(loaded.file_connections == expected);
    CHECK(loaded.connections.size() == 2);  // main and full can be served
    CHECK(loaded.connections.at("full")->password == "hunter2");
    CHECK(loaded.secrets == std::map<std::string, std::string, std::less<>>{{"pw", "hunter2"}});
}

TEST_CASE("config: secrets come from environment, file and value", "[config]") {
    const temporary_folder folder;
    folder.write("pw", "from file\n\n");
    ::setenv("SIGNALBOX_TEST_SECRET", "from env", 1);
    const std::string text = std::string{smallest} +
                             "[secrets]\n"
                             "e = { env = 'SIGNALBOX_TEST_SECRET' }\n"
                             "f = { file = 'pw' }\n"
                             "v = { value = 'from value' }\n"
                             "[[users]]\nname = 'e'\npassword = 'e'\n"
                             "[[users]]\nname = 'f'\npassword = 'f'\n"
                             "[[users]]\nname = 'v'\npassword = 'v'\n";

    const configuration own = load_configuration(folder.write("own.toml", text, 0600));
    CHECK(own.users.at("e").password == "from env");
    CHECK(
        own.users.at("f").password == "from file\n"
    );  // one newline is the editor's, the rest is the secret
    CHECK(own.users.at("v").password == "from value");
    CHECK(own.warnings.empty());

    const configuration open = load_configuration(folder.write("open.toml", text, 0644));
    REQUIRE(open.warnings.size() == 1);
    CHECK_THAT(open.warnings[0], Contains("open.toml:11: ") && Contains("chmod 600"));
    CHECK_THAT(open.warnings[0], !Contains("from value"));

    // A packaged service's: root's, and its group may read it.
    const configuration shared = load_configuration(folder.write("shared.toml", text, 0640));
    CHECK(shared.warnings.empty() == (::geteuid() == 0));
    ::unsetenv("SIGNALBOX_TEST_SECRET");
}

TEST_CASE("config: a secret's value is in no error", "[config]") {
    const auto added = GENERATE(
        as<std::string>{},
        "[[users]]\nname = 'a'\npassword = 'hunter2'\n",         // the value where its name belongs
        "[secrets]\nx = 'hunter2'\n",                            // without a source
        "[secrets]\nx = { value = 'hunter2', env = 'X' }\n",     // two sources
        "[secrets]\nx = { value = hunter2 }\n",                  // without quotes
        "[secrets]\nx = { value = 99999999999999999999991 }\n",  // a number too large for TOML
        "[secrets]\nx = { value = 1234567 }\n",                  // a number
        "[[users]]\nname = 'a'\nverifier = 'hunter2'\n",
        "[catalog]\nurl = 'mysql://u:hunter2@h/d'\n",
        "[secrets]\nx = { value = 'hunter2' }\n[[users]]\nname = 'a'\npassword = 'y'\nverifier = "
        "'z'\n",
        "[secrets]\nx = { value = 'hunter2' }\n[connections.s]\nhost = 'a'\nssl_key = 'x'\n",
        "[connections.s]\nhost = 'a'\npassword = 'hunter2'\n",
        "[connections.s]\nhost = 'postgres://u:hunter2@h/d'\n",
        "[connections.s]\ntype = 'kafka'\nbroker = 'a'\nsasl_password = 'hunter2'\n",
        "[secrets]\nx = { value = 'hunter2' }\n[connections.s]\nhost = 'a'\nssl_certificate = "
        "'/dev/null'\n"
        "ssl_key = 'x'\n"
    );
    CAPTURE(added);
    const std::string error = error_with(added);
    CHECK_THAT(error, StartsWith(file_name));
    CHECK_THAT(error, !Contains("hunter2") && !Contains("9999999") && !Contains("1234567"));
}

TEST_CASE("config: a misspelt secret is named", "[config]") {
    CHECK_THAT(
        error_with(
            "[secrets]\napp_pw = { value = 'v' }\n[[users]]\nname = 'a'\npassword = 'app_wp'\n"
        ),
        StartsWith(at_line(12)) && Contains(R"(unknown secret "app_wp")") &&
            Contains(R"(did you mean "app_pw"?)")
    );
}

TEST_CASE("config: the example loads and holds the defaults", "[config]") {
    const auto example =
        std::filesystem::path{__FILE__}.parent_path() / "../../../signalbox.example.toml";
    const configuration loaded = load_configuration(example);
    const configuration smallest_loaded = load(std::string{smallest});
    const route_settings& shown = *loaded.routes.at(0);
    const route_settings& implied = *smallest_loaded.routes.at(0);
    CHECK(loaded.listen.port == smallest_loaded.listen.port);
    CHECK(loaded.listen.max_clients == smallest_loaded.listen.max_clients);
    CHECK(loaded.listen.max_message_size == smallest_loaded.listen.max_message_size);
    CHECK(loaded.listen.tcp_keepalive == smallest_loaded.listen.tcp_keepalive);
    CHECK(loaded.listen.tcp_user_timeout == smallest_loaded.listen.tcp_user_timeout);
    CHECK(shown.pool_size == implied.pool_size);
    CHECK(shown.mode == implied.mode);
    CHECK(shown.statement_handling == implied.statement_handling);
    CHECK(shown.multi_statement == implied.multi_statement);
    CHECK(shown.max_prepared_statements == implied.max_prepared_statements);
    CHECK(shown.hold_timeout == implied.hold_timeout);
    CHECK(shown.query_wait_timeout == implied.query_wait_timeout);
    CHECK(shown.server_idle_timeout == implied.server_idle_timeout);
    CHECK(shown.server_lifetime == implied.server_lifetime);
    CHECK(shown.query_timeout == implied.query_timeout);
    CHECK(loaded.log.level == smallest_loaded.log.level);
}
