// The configuration: one immutable value, read from TOML once at start and once per SIGHUP.
//
// Names and defaults are those of signalbox.example.toml. Nothing here opens a socket or a store;
// files that the configuration names (certificates, keys, secrets) are read, so that `signalbox
// check` finds what is missing.
#pragma once

#include "catalog/connection.hpp"
#include "catalog/connections.hpp"
#include "catalog/units.hpp"
#include "rewrite/units.hpp"

#include <chrono>
#include <cstdint>
#include <filesystem>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace signalbox::proxy {

using duration = std::chrono::milliseconds;  // 0 = off where the setting says so

enum class client_tls_mode { off, prefer, require, verify_ca, verify_full };
enum class auth_method { trust, password, md5, scram_sha_256, cert, reject };
enum class pool_mode { session, transaction, statement };
using rewrite::multi_statement_policy;
using rewrite::rpc_in_transaction;
enum class session_state_policy { pin, refuse };
enum class log_format { text, json };

struct listen_settings {
    std::vector<std::string> addresses{"127.0.0.1"};
    std::uint16_t port = 6432;  // 0 = any free port; the "ready" line says which
    std::string unix_socket_dir;
    std::size_t max_clients = 10000;
    std::size_t max_clients_per_user = 0;
    std::size_t max_clients_per_database = 0;
    std::size_t max_clients_per_address = 0;
    duration startup_timeout{60'000};
    std::uint64_t max_message_size = 1ULL << 30;
    std::uint64_t max_memory = 0;
    duration tcp_keepalive{60'000};
    duration tcp_user_timeout{0};
    unsigned workers = 0;
};

struct client_tls_settings {
    client_tls_mode mode = client_tls_mode::prefer;
    std::string certificate;  // paths, absolute after loading; "" = none
    std::string key;
    std::string client_ca;
    std::string min_version = "1.2";  // 1.2 or 1.3
};

struct auth_rule {
    enum class connection_type { local, host, hostssl, hostnossl };
    connection_type type = connection_type::host;
    std::vector<std::string> databases{"all"};
    std::vector<std::string> users{"all"};
    std::string address = "all";  // CIDR, an address, or "all"
    auth_method method = auth_method::scram_sha_256;
    std::string map{};  // of auth_maps, with method cert; "" = the certificate's name is the user's
};

/// One line of pg_ident.conf. Those of one name are one map, in the file's order. A name that
/// begins with a slash is an RE2 pattern.
struct name_mapping {
    std::string name;
    std::string system_username;    // what the certificate says
    std::string database_username;  // may hold \1; "all" for every user
};

struct user_settings {
    std::string name;
    std::optional<std::string> password;  // the secret's value
    std::string verifier;                 // SCRAM-SHA-256$… or md5…; "" = none
    bool superuser = false;
    bool support = false;
};

/// What a route says beyond where it leads. `is_pattern`: `database` is an RE2 pattern for the
/// whole name, and `connection` and `backend_database` may hold \1 … \9.
struct route_settings {
    std::string database;
    bool is_pattern = false;
    std::string connection;
    std::string backend_database;  // "" = the name asked for
    pool_mode mode = pool_mode::transaction;
    std::size_t pool_size = 20;
    std::size_t min_pool_size = 0;
    bool statement_handling = true;  // false: statements pass as they are
    multi_statement_policy multi_statement = multi_statement_policy::split_on_rpc;
    std::vector<std::string> rpc_functions;
    rpc_in_transaction rpc = rpc_in_transaction::warn;
    session_state_policy session_state = session_state_policy::pin;
    std::string auth_query;  // "" = off, "default", or SQL with $1
    std::string auth_user;
    std::string auth_password;  // the secret's value
    std::size_t max_prepared_statements = 200;
    duration hold_timeout{60'000};
    duration query_wait_timeout{120'000};
    duration drain_timeout{60'000};
    duration connect_timeout{15'000};
    duration server_idle_timeout{600'000};
    duration server_lifetime{3'600'000};
    duration client_idle_timeout{0};
    duration query_timeout{0};
    duration transaction_timeout{0};
    duration idle_transaction_timeout{0};
};

struct log_settings {
    std::string level = "info";
    log_format format = log_format::text;
};

/// [catalog]
struct catalog_settings {
    std::string url = "sqlite:signalbox.db";
    std::optional<std::string> password;  // the secret's value
    std::string ssl_mode = "prefer";
    std::size_t history_per_connection = 5;
    catalog::rate status_quota{20, std::chrono::minutes{1}};
    duration ignored_retention = std::chrono::hours{24 * 180};
    std::string catalog_schema = "mz_catalog";
    std::string internal_schema = "mz_internal";
    bool notices = true;  // views and indexes are examined
};

/// [availability]
struct availability_settings {
    duration interval = std::chrono::seconds{30};
};

struct configuration {
    std::filesystem::path file;
    listen_settings listen;
    client_tls_settings tls;
    auth_method default_auth_method = auth_method::scram_sha_256;
    std::string default_auth_map;
    std::vector<auth_rule> auth_rules;
    std::vector<name_mapping> auth_maps;
    std::map<std::string, user_settings, std::less<>> users;
    std::map<std::string, std::shared_ptr<const catalog::postgres_connection>, std::less<>>
        connections;                                            // those that can be served
    catalog::file_connections file_connections;                 // all
    std::map<std::string, std::string, std::less<>> secrets;    // name -> value, as read at load
    std::vector<std::shared_ptr<const route_settings>> routes;  // in the file's order
    catalog_settings catalog;
    availability_settings availability;
    log_settings log;
    std::vector<std::string> warnings;  // one finished sentence each, with file and line
};

/// One finding in the file. `what()` is the whole text: `FILE:LINE: message (hint)`.
class configuration_error : public std::exception {
public:
    configuration_error(
        const std::filesystem::path& file,
        std::size_t line,
        const std::string& message,
        const std::string& hint = {}
    );

    [[nodiscard]] const char* what() const noexcept override { return text_.c_str(); }

private:
    std::string text_;
};

/// Reads and checks the file and everything it names. Throws configuration_error.
configuration load_configuration(const std::filesystem::path& file);

/// The same with the text at hand; `file` only names it, and the folder that relative paths start
/// at.
configuration load_configuration_text(std::string_view text, const std::filesystem::path& file);

}  // namespace signalbox::proxy
