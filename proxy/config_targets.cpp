// [connections.*] and [[routes]]: where clients' databases lead.
#include "proxy/config_parts.hpp"

#include <re2/re2.h>

#include <algorithm>
#include <charconv>

namespace signalbox::proxy {
namespace {

enum class connection_kind { postgres, aws_privatelink, kafka };

constexpr auto connection_kinds = std::to_array<choice<connection_kind>>(
    {{"postgres", connection_kind::postgres},
     {"aws-privatelink", connection_kind::aws_privatelink},
     {"kafka", connection_kind::kafka}}
);

constexpr auto postgres_options = std::to_array<std::string_view>(
    {"type",
     "host",
     "port",
     "database",
     "user",
     "password",
     "ssl_mode",
     "ssl_certificate_authority",
     "ssl_certificate",
     "ssl_key",
     "target_session_attrs",
     "connect_timeout",
     "aws_privatelink"}
);

constexpr auto aws_privatelink_options =
    std::to_array<std::string_view>({"type", "service_name", "availability_zones"});

constexpr auto kafka_options = std::to_array<std::string_view>(
    {"type",
     "broker",
     "brokers",
     "security_protocol",
     "sasl_mechanisms",
     "sasl_username",
     "sasl_password",
     "ssl_certificate_authority",
     "aws_privatelink"}
);

constexpr auto ssl_modes = std::to_array<choice<catalog::ssl_mode>>(
    {{"disable", catalog::ssl_mode::disable},
     {"allow", catalog::ssl_mode::allow},
     {"prefer", catalog::ssl_mode::prefer},
     {"require", catalog::ssl_mode::require},
     {"verify-ca", catalog::ssl_mode::verify_ca},
     {"verify-full", catalog::ssl_mode::verify_full}}
);

constexpr auto session_attributes = std::to_array<choice<catalog::target_session_attrs>>(
    {{"any", catalog::target_session_attrs::any},
     {"read-write", catalog::target_session_attrs::read_write},
     {"read-only", catalog::target_session_attrs::read_only},
     {"primary", catalog::target_session_attrs::primary},
     {"standby", catalog::target_session_attrs::standby},
     {"prefer-standby", catalog::target_session_attrs::prefer_standby}}
);

constexpr auto pool_modes = std::to_array<choice<pool_mode>>(
    {{"session", pool_mode::session},
     {"transaction", pool_mode::transaction},
     {"statement", pool_mode::statement}}
);

constexpr auto multi_statement_policies = std::to_array<choice<multi_statement_policy>>(
    {{"pass", multi_statement_policy::pass},
     {"split_on_rpc", multi_statement_policy::split_on_rpc},
     {"split", multi_statement_policy::split},
     {"single", multi_statement_policy::single}}
);

constexpr auto rpc_answers = std::to_array<choice<rpc_in_transaction>>(
    {{"allow", rpc_in_transaction::allow},
     {"warn", rpc_in_transaction::warn},
     {"refuse", rpc_in_transaction::refuse}}
);

constexpr auto session_state_policies = std::to_array<choice<session_state_policy>>(
    {{"pin", session_state_policy::pin}, {"refuse", session_state_policy::refuse}}
);

constexpr auto route_keys = std::to_array<std::string_view>(
    {"database",
     "pattern",
     "connection",
     "backend_database",
     "pool_mode",
     "pool_size",
     "min_pool_size",
     "multi_statement",
     "rpc_functions",
     "rpc_in_transaction",
     "session_state",
     "auth_query",
     "auth_user",
     "auth_password",
     "max_prepared_statements",
     "hold_timeout",
     "query_wait_timeout",
     "drain_timeout",
     "connect_timeout",
     "server_idle_timeout",
     "server_lifetime",
     "client_idle_timeout",
     "query_timeout",
     "transaction_timeout",
     "idle_transaction_timeout"}
);

constexpr std::int64_t max_pool_size = 100'000;

std::string trimmed(std::string_view text) {
    const std::size_t first = text.find_first_not_of(" \t");
    if (first == std::string_view::npos) {
        return {};
    }
    return std::string{text.substr(first, text.find_last_not_of(" \t") - first + 1)};
}

std::vector<std::string> split_at_commas(std::string_view text) {
    std::vector<std::string> out;
    while (true) {
        const std::size_t comma = text.find(',');
        out.push_back(trimmed(text.substr(0, comma)));
        if (comma == std::string_view::npos) {
            return out;
        }
        text.remove_prefix(comma + 1);
    }
}

/// libpq's comma list in a string, or a TOML list.
std::vector<std::string> read_hosts(const section& from) {
    std::vector<std::string> out;
    from.read_strings("host", out);
    const toml::node* const node = from.find("host");
    if (node != nullptr && node->is_string()) {
        out = split_at_commas(out.front());
    }
    if (out.empty() || (out.size() == 1 && out.front().empty())) {
        from.fail("host", from.label() + ": host is required", R"(for example host = "127.0.0.1")");
    }
    for (const std::string& host : out) {
        if (host.empty() || host.find(',') != std::string::npos) {
            from.fail(
                "host",
                "host has an empty element",
                R"(write "a,b" or ["a", "b"], each with a name)"
            );
        }
    }
    return out;
}

std::uint16_t parse_port(const section& from, std::string_view text) {
    constexpr std::uint16_t default_port = 5432;
    if (text.empty()) {
        return default_port;  // as in libpq's list
    }
    std::uint16_t port = 0;
    const auto [stop, ec] = std::from_chars(text.data(), text.data() + text.size(), port);
    if (ec != std::errc{} || stop != text.data() + text.size() || port == 0) {
        from.fail(
            "port", "port must be a number from 1 to 65535, not " + in_quotes(text), "usually 5432"
        );
    }
    return port;
}

std::vector<std::uint16_t> read_ports(const section& from) {
    const toml::node* const node = from.find("port");
    if (node == nullptr) {
        return {parse_port(from, "")};
    }
    std::vector<std::uint16_t> out;
    const auto add = [&](const toml::node& each) {
        if (const auto* const number = each.as_integer()) {
            out.push_back(parse_port(from, std::to_string(number->get())));
        } else if (const auto* const text = each.as_string()) {
            for (const std::string& part : split_at_commas(text->get())) {
                out.push_back(parse_port(from, part));
            }
        } else {
            from.fail_type("port", "an integer, a comma list or a list", each, "usually 5432");
        }
    };
    if (const auto* const list = node->as_array()) {
        for (const toml::node& each : *list) {
            add(each);
        }
    } else {
        add(*node);
    }
    return out;
}

void read_addresses(const section& from, catalog::postgres_connection& out) {
    const std::vector<std::string> hosts = read_hosts(from);
    const std::vector<std::uint16_t> ports = read_ports(from);
    if (ports.size() != 1 && ports.size() != hosts.size()) {
        from.fail(
            "port",
            from.label() + " has " + std::to_string(ports.size()) + " ports for " +
                std::to_string(hosts.size()) + " hosts",
            "one port for all hosts, or one for each"
        );
    }
    for (std::size_t at = 0; at < hosts.size(); ++at) {
        out.hosts.push_back({.host = hosts[at], .port = ports.size() == 1 ? ports[0] : ports[at]});
    }
}

void read_server_tls(const section& from, catalog::postgres_connection& out) {
    from.read_choice("ssl_mode", out.tls, ssl_modes);
    from.read_path("ssl_certificate_authority", out.tls_ca);
    from.read_path("ssl_certificate", out.tls_certificate);
    if (auto key = from.read_secret("ssl_key")) {
        const bool is_pem = key->starts_with("-----BEGIN");
        out.tls_key = is_pem ? std::move(*key) : from.from().resolve(*key);
    }
    if (out.tls == catalog::ssl_mode::disable) {
        return;
    }
    if (!out.tls_ca.empty()) {
        constexpr std::string_view name = "ssl_certificate_authority";
        if (auto problem = check_certificate_authority(read_pem_file(from, name, out.tls_ca))) {
            from.fail(name, from.label() + ": " + *problem, "the file must hold PEM certificates");
        }
    } else if (out.tls == catalog::ssl_mode::verify_ca || out.tls == catalog::ssl_mode::verify_full) {
        from.fail(
            "ssl_mode",
            "this ssl_mode of " + from.label() + " needs ssl_certificate_authority",
            "set it to the file with the authority's certificate"
        );
    }
    if (out.tls_certificate.empty() != out.tls_key.empty()) {
        from.fail(
            out.tls_key.empty() ? "ssl_certificate" : "ssl_key",
            "ssl_certificate and ssl_key of " + from.label() + " must be given together",
            "ssl_key names a secret that holds the key or the path of its file"
        );
    }
    if (out.tls_certificate.empty()) {
        return;
    }
    const pem_source certificate = read_pem_file(from, "ssl_certificate", out.tls_certificate);
    pem_source key{.text = out.tls_key, .name = "the value of the secret in ssl_key"};
    if (!out.tls_key.starts_with("-----BEGIN")) {
        // A path is the secret's value too, so the message does not repeat it.
        file_content content = read_file(out.tls_key, 65'536, file_kind::regular);
        if (!content.error.empty()) {
            from.fail(
                "ssl_key",
                "ssl_key of " + from.label() +
                    ": cannot read the file that the secret names: " + content.error,
                "the secret's value must be the key in PEM form or the path of its file"
            );
        }
        key = {
            .text = std::move(content.text), .name = "the file that the secret in ssl_key names"};
    }
    if (auto problem = check_key_pair(certificate, key)) {
        from.fail(
            "ssl_key",
            from.label() + ": " + *problem,
            "certificate and key must belong to each other"
        );
    }
}

std::shared_ptr<const catalog::postgres_connection> read_postgres(
    const section& from, const std::string& name
) {
    catalog::postgres_connection out;
    out.name = name;
    read_addresses(from, out);
    from.read("user", out.user);
    out.password = from.read_secret("password");
    from.read("database", out.database);
    read_server_tls(from, out);
    from.read_choice("target_session_attrs", out.target, session_attributes);
    if (from.has("connect_timeout")) {
        from.read_duration("connect_timeout", out.connect_timeout.emplace());
    }
    return std::make_shared<const catalog::postgres_connection>(std::move(out));
}

/// What cannot be served yet is still checked, so that a typing error does not wait for later.
void check_other_options(const section& from, std::span<const std::string_view> options) {
    for (const std::string_view option : options) {
        if (option == "sasl_password") {
            std::ignore = from.read_secret(option);
        } else {
            std::vector<std::string> ignored;
            from.read_strings(option, ignored);
        }
    }
}

/// The pattern, or an error at `key`. RE2 compiles it here and throws it away: the value is plain
/// data.
void check_pattern(const section& from, std::string_view key, const std::string& pattern) {
    const RE2 compiled{pattern, RE2::Quiet};
    if (!compiled.ok()) {
        from.fail(
            key,
            std::string{key} + " is not a pattern: " + compiled.error(),
            "the syntax is RE2's; in TOML, write patterns in single quotes or double each backslash"
        );
    }
}

void check_template(
    const section& from, std::string_view key, const std::string& text, const std::string& pattern
) {
    const RE2 compiled{pattern, RE2::Quiet};
    std::string problem;
    if (!compiled.CheckRewriteString(text, &problem)) {
        from.fail(
            key,
            std::string{key} + " does not fit the pattern: " + problem,
            R"(\1 to \9 stand for the groups of pattern)"
        );
    }
}

void read_target(const section& from, route_settings& out) {
    if (from.has("pattern") == from.has("database")) {
        from.fail(
            "pattern",
            from.has("pattern") ? "a route has either database or pattern, not both"
                                : "a route needs database or pattern",
            R"x(database = "app" for one name, pattern = "tenant_(.*)" for many)x"
        );
    }
    const std::string_view key = from.has("pattern") ? "pattern" : "database";
    out.is_pattern = from.has("pattern");
    from.read(key, out.database);
    if (out.database.empty()) {
        from.fail(
            key, std::string{key} + " must not be empty", "write the name that clients ask for"
        );
    }
    from.read("connection", out.connection);
    if (out.connection.empty()) {
        from.fail(
            "connection",
            "a route needs a connection",
            "write connection = \"name\" of a [connections.name]"
        );
    }
    from.read("backend_database", out.backend_database);
    if (out.is_pattern) {
        check_pattern(from, key, out.database);
        check_template(from, "connection", out.connection, out.database);
        check_template(from, "backend_database", out.backend_database, out.database);
    }
}

void check_connection(
    const section& from,
    const route_settings& route,
    const configuration& known,
    const std::set<std::string, std::less<>>& unsupported
) {
    if (route.is_pattern && route.connection.find('\\') != std::string::npos) {
        return;  // known only when a client asks
    }
    if (unsupported.contains(route.connection)) {
        from.warn(
            "connection",
            "Connection " + in_quotes(route.connection) +
                " is of a type that is not supported yet; the route " + in_quotes(route.database) +
                " cannot be used."
        );
        return;
    }
    if (known.connections.contains(route.connection)) {
        return;
    }
    std::vector<std::string_view> names;
    for (const auto& [name, connection] : known.connections) {
        names.emplace_back(name);
    }
    const std::string_view nearest = nearest_name(route.connection, names);
    from.warn(
        "connection",
        "Connection " + in_quotes(route.connection) + " of route " + in_quotes(route.database) +
            " is not in this file" +
            (nearest.empty() ? std::string{"; it must come from the catalog."}
                             : "; did you mean " + in_quotes(nearest) + "?")
    );
}

void read_auth_query(const section& from, const configuration& known, route_settings& out) {
    from.read("auth_query", out.auth_query);
    from.read("auth_user", out.auth_user);
    if (auto password = from.read_secret("auth_password")) {
        out.auth_password = std::move(*password);
    }
    if (out.auth_query.empty()) {
        return;
    }
    if (out.auth_query != "default" && out.auth_query.find("$1") == std::string::npos) {
        from.fail(
            "auth_query",
            "auth_query must be \"default\" or SQL that names the user as $1",
            "for example \"SELECT rolname, rolpassword FROM pg_authid WHERE rolname = $1\""
        );
    }
    const auto target = known.connections.find(out.connection);
    const bool has_no_user = target != known.connections.end() && target->second->user.empty();
    if (has_no_user && (out.auth_user.empty() || !from.has("auth_password"))) {
        from.fail(
            "auth_query",
            "auth_query over connection " + in_quotes(out.connection) +
                ", which has no user, needs auth_user and auth_password",
            "set both on this route"
        );
    }
}

void read_timeouts(const section& from, route_settings& out) {
    from.read_duration("hold_timeout", out.hold_timeout);
    from.read_duration("query_wait_timeout", out.query_wait_timeout);
    from.read_duration("drain_timeout", out.drain_timeout);
    from.read_duration("connect_timeout", out.connect_timeout);
    from.read_duration("server_idle_timeout", out.server_idle_timeout);
    from.read_duration("server_lifetime", out.server_lifetime);
    from.read_duration("client_idle_timeout", out.client_idle_timeout);
    from.read_duration("query_timeout", out.query_timeout);
    from.read_duration("transaction_timeout", out.transaction_timeout);
    from.read_duration("idle_transaction_timeout", out.idle_transaction_timeout);
}

void read_pool(const section& from, route_settings& out) {
    from.read_choice("pool_mode", out.mode, pool_modes);
    from.read_integer("pool_size", out.pool_size, 1, max_pool_size);
    from.read_integer("min_pool_size", out.min_pool_size, 0, max_pool_size);
    if (out.min_pool_size > out.pool_size) {
        from.fail(
            "min_pool_size",
            "min_pool_size is larger than pool_size (" + std::to_string(out.pool_size) + ")",
            "lower min_pool_size or raise pool_size"
        );
    }
    from.read_integer("max_prepared_statements", out.max_prepared_statements, 1, 1'000'000);
}

}  // namespace

void read_connections(
    const section& root, configuration& out, std::set<std::string, std::less<>>& unsupported
) {
    const toml::node* const node = root.find("connections");
    if (node == nullptr) {
        return;
    }
    const toml::table* const table = node->as_table();
    if (table == nullptr) {
        root.fail_type("connections", "tables", *node, "write [connections.name] for each");
    }
    std::vector<std::string_view> any_option;
    any_option.insert(any_option.end(), postgres_options.begin(), postgres_options.end());
    any_option.insert(any_option.end(), kafka_options.begin(), kafka_options.end());
    any_option.insert(
        any_option.end(), aws_privatelink_options.begin(), aws_privatelink_options.end()
    );
    for (const auto& [key, each] : *table) {
        const std::string name{key.str()};
        const std::string label = "[connections." + name + "]";
        const toml::table* const options = each.as_table();
        if (options == nullptr || name.empty()) {
            root.from().fail(
                key.source().begin.line,
                name.empty() ? "a connection needs a name"
                             : "connection " + in_quotes(name) + " must be a table, not " +
                                   std::string{describe(each.type())},
                "write [connections.main] and its options below"
            );
        }
        // The type decides which options there are, so it is read first, among all that exist.
        connection_kind kind = connection_kind::postgres;
        section{root.from(), *options, label, any_option}.read_choice(
            "type", kind, connection_kinds
        );
        if (kind == connection_kind::postgres) {
            const section from{root.from(), *options, label, postgres_options};
            auto connection = read_postgres(from, name);
            std::string tunnel;
            from.read("aws_privatelink", tunnel);
            if (tunnel.empty()) {
                out.connections.emplace(name, std::move(connection));
                continue;
            }
            from.warn(
                "aws_privatelink",
                "AWS PrivateLink is not supported yet; the connection is ignored."
            );
        } else {
            const std::span<const std::string_view> options_of_kind =
                kind == connection_kind::kafka
                    ? std::span<const std::string_view>{kafka_options}
                    : std::span<const std::string_view>{aws_privatelink_options};
            const section from{root.from(), *options, label, options_of_kind};
            check_other_options(from, options_of_kind);
            from.warn(
                "type", "Connections of this type are not supported yet; " + label + " is ignored."
            );
        }
        unsupported.insert(name);
    }
}

void read_routes(
    const section& root, configuration& out, const std::set<std::string, std::less<>>& unsupported
) {
    std::map<std::string, std::size_t, std::less<>> first_lines;
    for (const section& from : root.children("routes", "[[routes]]", route_keys)) {
        route_settings route;
        read_target(from, route);
        const std::string_view key = route.is_pattern ? "pattern" : "database";
        const std::string identity = std::string{key} + " " + in_quotes(route.database);
        const auto [first, is_new] =
            first_lines.emplace(std::string{key} + route.database, from.line_of(key));
        if (!is_new) {
            from.fail(
                key,
                "there is already a route for " + identity + ", at line " +
                    std::to_string(first->second),
                "remove one of them"
            );
        }
        check_connection(from, route, out, unsupported);
        read_pool(from, route);
        from.read_choice("multi_statement", route.multi_statement, multi_statement_policies);
        from.read_strings("rpc_functions", route.rpc_functions);
        for (const std::string& pattern : route.rpc_functions) {
            check_pattern(from, "rpc_functions", pattern);
        }
        from.read_choice("rpc_in_transaction", route.rpc, rpc_answers);
        from.read_choice("session_state", route.session_state, session_state_policies);
        read_auth_query(from, out, route);
        read_timeouts(from, route);
        out.routes.push_back(std::make_shared<const route_settings>(std::move(route)));
    }
}

}  // namespace signalbox::proxy
