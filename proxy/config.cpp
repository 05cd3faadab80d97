// The loader: from a TOML file to the configuration, or to the first thing that is wrong with it.
#include "proxy/config.hpp"

#include "proxy/config_parts.hpp"
#include "proxy/config_reader.hpp"
#include "wire/scram.hpp"

#include <iterator>
#include <sys/un.h>

namespace signalbox::proxy {
namespace {

constexpr std::size_t max_file_bytes = 16U << 20U;

constexpr auto root_keys = std::to_array<std::string_view>(
    {"listen",
     "tls",
     "auth",
     "secrets",
     "users",
     "connections",
     "routes",
     "catalog",
     "availability",
     "console",
     "privatelink",
     "log"}
);

constexpr auto listen_keys = std::to_array<std::string_view>(
    {"address",
     "port",
     "unix_socket_dir",
     "max_clients",
     "max_clients_per_user",
     "max_clients_per_database",
     "max_clients_per_address",
     "startup_timeout",
     "max_message_size",
     "max_memory",
     "tcp_keepalive",
     "tcp_user_timeout",
     "workers"}
);

constexpr auto tls_keys =
    std::to_array<std::string_view>({"mode", "certificate", "key", "client_ca", "min_version"});
constexpr auto auth_keys = std::to_array<std::string_view>({"method", "map", "rules", "maps"});
constexpr auto rule_keys =
    std::to_array<std::string_view>({"type", "database", "user", "address", "method", "map"});
constexpr auto user_keys =
    std::to_array<std::string_view>({"name", "password", "verifier", "roles"});
constexpr auto log_keys = std::to_array<std::string_view>({"level", "format"});
constexpr auto catalog_keys = std::to_array<std::string_view>(
    {"url",
     "password",
     "ssl_mode",
     "history_per_connection",
     "status_quota",
     "ignored_retention",
     "schemas",
     "notices"}
);
constexpr auto availability_keys =
    std::to_array<std::string_view>({"interval", "window", "failure_window", "parallel", "kafka"});
constexpr auto console_keys = std::to_array<std::string_view>({"address", "port"});

constexpr auto rule_methods = std::to_array<choice<auth_method>>(
    {{"trust", auth_method::trust},
     {"password", auth_method::password},
     {"md5", auth_method::md5},
     {"scram-sha-256", auth_method::scram_sha_256},
     {"cert", auth_method::cert},
     {"reject", auth_method::reject}}
);

constexpr auto rule_types = std::to_array<choice<auth_rule::connection_type>>(
    {{"local", auth_rule::connection_type::local},
     {"host", auth_rule::connection_type::host},
     {"hostssl", auth_rule::connection_type::hostssl},
     {"hostnossl", auth_rule::connection_type::hostnossl}}
);

constexpr auto log_formats =
    std::to_array<choice<log_format>>({{"text", log_format::text}, {"json", log_format::json}});

constexpr auto log_levels = std::to_array<choice<std::string_view>>(
    {{"trace", "trace"}, {"debug", "debug"}, {"info", "info"}, {"warn", "warn"}, {"error", "error"}}
);

/// The section, or where the file has none an empty one: checks across settings hold for defaults
/// too.
section child_or_empty(
    const section& root, std::string_view key, std::span<const std::string_view> names
) {
    static const toml::table nothing;
    const std::string label = "[" + std::string{key} + "]";
    if (auto found = root.child(key, label, names)) {
        return *std::move(found);
    }
    return section{root.from(), nothing, label, names};
}

void read_unix_socket_dir(const section& from, listen_settings& out) {
    from.read_path("unix_socket_dir", out.unix_socket_dir);
    if (out.unix_socket_dir.empty()) {
        return;
    }
    std::error_code problem;
    if (!std::filesystem::is_directory(out.unix_socket_dir, problem)) {
        from.fail(
            "unix_socket_dir",
            "unix_socket_dir " + in_quotes(out.unix_socket_dir) + " is not a directory",
            "create it, or set \"\" for none"
        );
    }
    constexpr std::string_view longest_name = "/.s.PGSQL.65535";
    if (out.unix_socket_dir.size() + longest_name.size() >= sizeof(sockaddr_un::sun_path)) {
        from.fail(
            "unix_socket_dir", "unix_socket_dir is too long for a socket's path", "at most 92 bytes"
        );
    }
}

void read_listen(const section& from, listen_settings& out) {
    constexpr std::uint64_t min_message_bytes =
        10'000;  // PostgreSQL's own limit before authentication
    constexpr std::uint64_t max_message_bytes =
        (1ULL << 31) - 1;  // the protocol's length is an int32
    from.read_strings("address", out.addresses);
    if (out.addresses.size() == 1 && out.addresses.front().empty()) {
        out.addresses.clear();  // as PostgreSQL's listen_addresses = ''
    }
    for (const std::string& address : out.addresses) {
        if (address.empty() || address.find_first_of(" \t,") != std::string::npos) {
            from.fail(
                "address",
                "address " + in_quotes(address) + " is not one address",
                R"(several addresses are a list: ["127.0.0.1", "::1"])"
            );
        }
    }
    from.read_integer("port", out.port, 0, 65'535);
    read_unix_socket_dir(from, out);
    if (out.addresses.empty() && out.unix_socket_dir.empty()) {
        from.fail(
            "address",
            "Signalbox would listen nowhere",
            "set address or unix_socket_dir in [listen]"
        );
    }
    from.read_integer("max_clients", out.max_clients, 1);
    from.read_integer("max_clients_per_user", out.max_clients_per_user, 0);
    from.read_integer("max_clients_per_database", out.max_clients_per_database, 0);
    from.read_integer("max_clients_per_address", out.max_clients_per_address, 0);
    from.read_duration("startup_timeout", out.startup_timeout);
    from.read_size("max_message_size", out.max_message_size, min_message_bytes, max_message_bytes);
    from.read_size("max_memory", out.max_memory, 0, max_size_bytes);
    from.read_duration("tcp_keepalive", out.tcp_keepalive);
    from.read_duration("tcp_user_timeout", out.tcp_user_timeout);
    from.read_integer("workers", out.workers, 0, 1'024);
}

/// `cert` asks for a certificate that is checked against client_ca during the handshake.
void check_method(const section& from, auth_method method, const client_tls_settings& tls) {
    if (method != auth_method::cert ||
        (tls.mode != client_tls_mode::off && !tls.client_ca.empty())) {
        return;
    }
    from.fail(
        "method",
        "method \"cert\" needs TLS and client_ca in [tls]",
        "set certificate, key and client_ca"
    );
}

auth_rule read_rule(const section& from, const configuration& config) {
    const client_tls_settings& tls = config.tls;
    auth_rule out;
    from.read_choice("type", out.type, rule_types);
    from.read_strings("database", out.databases);
    from.read_strings("user", out.users);
    if (out.databases.empty() || out.users.empty()) {
        const std::string_view key = out.databases.empty() ? "database" : "user";
        from.fail(
            key, std::string{key} + " must not be an empty list", "\"all\" stands for every one"
        );
    }
    from.read("address", out.address);
    if (out.address != "all" && !is_address_or_network(out.address)) {
        from.fail(
            "address",
            "address " + in_quotes(out.address) + " is neither an address nor a network",
            R"(for example "10.0.0.0/8", "::1", "all")"
        );
    }
    if (out.type == auth_rule::connection_type::local && out.address != "all") {
        from.fail("address", "a rule of type \"local\" has no address", "remove address");
    }
    from.read_choice("method", out.method, rule_methods);
    check_method(from, out.method, tls);
    from.read("map", out.map);
    check_map_use(from, out.map, out.method, config);
    if (out.type == auth_rule::connection_type::hostssl && tls.mode == client_tls_mode::off) {
        from.warn(
            "type", "The rule never matches: it asks for TLS, and TLS towards clients is off."
        );
    }
    return out;
}

void read_auth(const section& from, configuration& out) {
    from.read_choice("method", out.default_auth_method, rule_methods);
    check_method(from, out.default_auth_method, out.tls);
    read_name_maps(from, out);
    from.read("map", out.default_auth_map);
    check_map_use(from, out.default_auth_map, out.default_auth_method, out);
    for (const section& rule : from.children("rules", "[[auth.rules]]", rule_keys)) {
        out.auth_rules.push_back(read_rule(rule, out));
    }
    warn_of_unused_maps(from, out);
}

void read_roles(const section& from, user_settings& out) {
    constexpr auto known = std::to_array<std::string_view>({"superuser", "support"});
    std::vector<std::string> roles;
    from.read_strings("roles", roles);
    for (const std::string& role : roles) {
        if (role == "superuser") {
            out.superuser = true;
        } else if (role == "support") {
            out.support = true;
        } else {
            from.fail_choice("roles", role, known);
        }
    }
}

user_settings read_user(const section& from) {
    user_settings out;
    from.read("name", out.name);
    if (out.name.empty()) {
        from.fail("name", "a user needs a name", R"(write name = "app" in this [[users]])");
    }
    out.password = from.read_secret("password");
    if (out.password && out.password->empty()) {
        from.fail(
            "password",
            "the password of user " + in_quotes(out.name) + " is empty",
            "PostgreSQL never accepts an empty password; check the secret's source"
        );
    }
    from.read("verifier", out.verifier);
    if (out.password && !out.verifier.empty()) {
        from.fail(
            "verifier",
            "user " + in_quotes(out.name) + " has both password and verifier",
            "remove one of them"
        );
    }
    if (!out.verifier.empty() && !wire::is_md5_verifier(out.verifier) &&
        wire::parse_scram_verifier(out.verifier).has_error()) {
        from.fail(  // as good as a password to who guesses, so not repeated
            "verifier",
            "the verifier of user " + in_quotes(out.name) + " is not valid",
            "write SCRAM-SHA-256$4096:SALT$STOREDKEY:SERVERKEY or md5 and 32 digits, as in "
            "pg_authid.rolpassword"
        );
    }
    read_roles(from, out);
    return out;
}

void read_users(const section& root, configuration& out) {
    std::map<std::string, std::size_t, std::less<>> first_lines;
    for (const section& from : root.children("users", "[[users]]", user_keys)) {
        user_settings user = read_user(from);
        const auto [first, is_new] = first_lines.emplace(user.name, from.line_of("name"));
        if (!is_new) {
            from.fail(
                "name",
                "there is already a user " + in_quotes(user.name) + ", at line " +
                    std::to_string(first->second),
                "remove one of them"
            );
        }
        out.users.emplace(user.name, std::move(user));
    }
}

void read_log(const section& from, log_settings& out) {
    std::string_view level = out.level;
    from.read_choice("level", level, log_levels);
    out.level = level;
    from.read_choice("format", out.format, log_formats);
}

void read_catalog(const section& from, catalog_settings& out) {
    constexpr auto ssl_modes = std::to_array<choice<std::string_view>>(
        {{"disable", "disable"},
         {"allow", "allow"},
         {"prefer", "prefer"},
         {"require", "require"},
         {"verify-ca", "verify-ca"},
         {"verify-full", "verify-full"}}
    );
    constexpr auto schema_keys = std::to_array<std::string_view>({"catalog", "internal"});
    from.read("url", out.url);
    if (!out.url.starts_with("sqlite:") && !out.url.starts_with("postgresql://") &&
        !out.url.starts_with("postgres://")) {
        from.fail(  // it may hold a password by mistake
            "url",
            "url must start with sqlite: or postgresql://",
            R"(for example "sqlite:signalbox.db")"
        );
    }
    out.password = from.read_secret("password");
    std::string_view ssl_mode = out.ssl_mode;
    from.read_choice("ssl_mode", ssl_mode, ssl_modes);
    // What says the default may stay, whatever the store.
    const auto need_server = [&](std::string_view key) {
        from.fail(
            key,
            std::string{key} + " needs a PostgreSQL store",
            "remove it, or set url to postgresql://user@host/database"
        );
    };
    if (out.url.starts_with("sqlite:") && out.password) {
        need_server("password");
    }
    if (out.url.starts_with("sqlite:") && ssl_mode != out.ssl_mode) {
        need_server("ssl_mode");
    }
    out.ssl_mode = ssl_mode;
    from.read_integer("history_per_connection", out.history_per_connection, 1);
    std::string quota = "20/min";
    from.read("status_quota", quota);
    const auto rate = parse_rate(quota);
    if (!rate) {
        from.fail(
            "status_quota", "status_quota is not a rate", R"(for example "20/min"; /s, /min or /h)"
        );
    }
    out.status_quota = *rate;
    from.read_duration("ignored_retention", out.ignored_retention);
    from.read("notices", out.notices);
    if (const auto schemas = from.child("schemas", "schemas of [catalog]", schema_keys)) {
        schemas->read("catalog", out.catalog_schema);
        schemas->read("internal", out.internal_schema);
    }
}

/// What nothing uses yet is checked all the same, so that a file written for later versions is
/// right already.
void read_availability(const section& from, availability_settings& out) {
    duration time{};
    int number = 0;
    from.read_duration("interval", out.interval);
    from.read_duration("window", time);
    from.read_duration("failure_window", time);
    from.read_integer("parallel", number, 1, 10'000);
}

void check_later_sections(const section& root, const section& availability) {
    std::vector<std::string> texts;
    int number = 0;
    const section console = child_or_empty(root, "console", console_keys);
    console.read_strings("address", texts);
    console.read_integer("port", number, 0, 65'535);

    // Their settings are not fixed yet; that they are there is worth a word.
    const auto warn_unsupported =
        [](const section& parent, std::string_view key, const std::string& label) {
            const toml::node* const node = parent.find(key);
            if (node == nullptr) {
                return;
            }
            if (!node->is_table()) {
                parent.fail_type(key, "a table", *node, "write " + label);
            }
            parent.warn(key, label + " is not supported yet and ignored.");
        };
    warn_unsupported(availability, "kafka", "[availability.kafka]");
    warn_unsupported(root, "privatelink", "[privatelink]");
}

void check_completeness(const section& root, const configuration& out) {
    if (out.connections.empty()) {
        root.fail(
            "connections",
            "there is no connection",
            R"(write [connections.main] with host = "127.0.0.1")"
        );
    }
    if (out.routes.empty()) {
        root.fail(
            "routes",
            "there is no route",
            R"(write [[routes]] with database = "app" and connection = "main")"
        );
    }
}

/// A file that lets nobody in is as a rule one whose users were forgotten.
void check_logins(const section& root, configuration& out) {
    std::vector<auth_method> methods{out.default_auth_method};
    std::ranges::transform(out.auth_rules, std::back_inserter(methods), [](const auth_rule& rule) {
        return rule.method;
    });
    const auto asks_for_password = [](auth_method method) {
        return method == auth_method::password || method == auth_method::md5 ||
               method == auth_method::scram_sha_256;
    };
    const bool all_refuse = std::ranges::all_of(methods, [&](auth_method method) {
        return asks_for_password(method) || method == auth_method::reject;
    });
    const bool some_has_password = std::ranges::any_of(out.users, [](const auto& named) {
        return named.second.password.has_value() || !named.second.verifier.empty();
    });
    const bool some_is_looked_up = std::ranges::any_of(out.routes, [](const auto& route) {
        return !route->auth_query.empty();
    });
    if (all_refuse && std::ranges::any_of(methods, asks_for_password) && !some_has_password &&
        !some_is_looked_up) {
        root.warn(
            "users",
            "Nobody can log in: a password is asked for, and no user has one; add [[users]] with "
            "name and password, or auth_query to a route."
        );
    }
}

/// toml++ repeats a number that is too large, which may be a password without its quotes.
std::string syntax_words(const toml::parse_error& error) {
    const std::string_view words = error.description();
    if (words.find("representable") != std::string_view::npos) {
        return "not valid TOML: a number is out of range";
    }
    return "not valid TOML: " + std::string{words};
}

/// What to write instead; "" where the words say it.
std::string syntax_hint(const toml::parse_error& error) {
    const std::string_view words = error.description();
    const auto says = [&](std::string_view part) {
        return words.find(part) != std::string_view::npos;
    };
    if (says("cannot redefine")) {
        return "remove one of them";
    }
    if (says("parsing table header")) {
        return "a section begins with [name] or [[name]]";
    }
    if (says("parsing key:")) {
        return "names of other characters than A-Z, a-z, 0-9, _ and - stand between double quotes";
    }
    if (says("expected '='") || says("parsing root table")) {
        return "a setting is written as name = value";
    }
    constexpr auto values = std::to_array<std::string_view>(
        {"parsing value", "integer", "floating-point", "boolean", "date", "time", "string"}
    );
    return std::ranges::any_of(values, says) ? "strings stand between double quotes" : "";
}

configuration load(std::string_view text, const std::filesystem::path& file, bool others_may_read) {
    source from{file};
    from.others_may_read = others_may_read;
    toml::table table;
    try {
        table = toml::parse(text, std::string_view{});
    } catch (const toml::parse_error& error) {
        from.fail(error.source().begin.line, syntax_words(error), syntax_hint(error));
    }
    configuration out;
    out.file = std::filesystem::absolute(file);
    const section root{from, table, {}, root_keys};
    read_secrets(from, root);
    read_listen(child_or_empty(root, "listen", listen_keys), out.listen);
    read_client_tls(child_or_empty(root, "tls", tls_keys), out);
    read_auth(child_or_empty(root, "auth", auth_keys), out);
    read_users(root, out);
    std::set<std::string, std::less<>> unsupported;
    read_connections(root, out, unsupported);
    read_routes(root, out, unsupported);
    read_log(child_or_empty(root, "log", log_keys), out.log);
    read_catalog(child_or_empty(root, "catalog", catalog_keys), out.catalog);
    const section availability = child_or_empty(root, "availability", availability_keys);
    read_availability(availability, out.availability);
    check_later_sections(root, availability);
    check_completeness(root, out);
    check_logins(root, out);
    out.secrets = std::move(from.secrets);
    out.warnings = from.take_warnings();
    return out;
}

}  // namespace

configuration load_configuration_text(std::string_view text, const std::filesystem::path& file) {
    return load(text, file, false);
}

configuration load_configuration(const std::filesystem::path& file) {
    const file_content content = read_file(file, max_file_bytes, file_kind::any);
    if (!content.error.empty()) {
        throw configuration_error{
            file,
            0,
            "cannot read the configuration: " + content.error,
            "check the path after --config"};
    }
    return load(content.text, file, content.others_may_read);
}

}  // namespace signalbox::proxy
