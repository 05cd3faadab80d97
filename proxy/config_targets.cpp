// [connections.*] and [[routes]]: where clients' databases lead.
#include "catalog/connection_kind.hpp"
#include "catalog/rejection.hpp"
#include "proxy/config_parts.hpp"

#include <re2/re2.h>

#include <algorithm>

namespace signalbox::proxy {
namespace {

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
     "statement_handling",
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

/// An option as the file writes it: `ssl_mode` is SSL MODE.
std::string key_of(std::string_view option) {
    std::string out = catalog::lower(option);
    std::ranges::replace(out, ' ', '_');
    return out;
}

/// A hint of the catalog's, which is a sentence, as the loader words its own.
std::string as_clause(std::string hint) {
    if (hint.ends_with('.')) {
        hint.pop_back();
    }
    if (hint.size() > 1 && catalog::lower(hint.substr(1, 1)) == hint.substr(1, 1)) {
        hint.front() = catalog::lower(hint.substr(0, 1)).front();  // not of an abbreviation
    }
    return hint;
}

/// What the file's connections may name.
class file_context final : public catalog::plan_context {
public:
    file_context(
        const source& from,
        const std::map<std::string, catalog::connection_type, std::less<>>& connections
    )
        : from_(&from), connections_(&connections) {}

    [[nodiscard]] std::optional<std::string> find_secret(std::string_view name) const override {
        const auto found = from_->secrets.find(name);
        return found != from_->secrets.end() ? std::optional{found->second} : std::nullopt;
    }

    /// One that is not in the file may come from the catalog, which plans again with what it knows.
    [[nodiscard]] std::optional<catalog::connection_type> find_connection(std::string_view name
    ) const override {
        const auto found = connections_->find(name);
        return found != connections_->end() ? found->second
                                            : catalog::connection_type::aws_privatelink;
    }

    [[nodiscard]] std::filesystem::path resolve_path(const std::string& path) const override {
        return from_->resolve(path);
    }

    [[nodiscard]] std::string option_word(std::string_view option) const override {
        return key_of(option);
    }

private:
    const source* from_;
    const std::map<std::string, catalog::connection_type, std::less<>>* connections_;
};

std::string read_element(
    const section& from,
    std::string_view key,
    const toml::node& node,
    const catalog::option_description& option
) {
    const bool takes_number = option.form == catalog::option_form::number;
    const auto* const number = node.as_integer();
    if (takes_number && number != nullptr) {
        return std::to_string(number->get());
    }
    if (node.is_string()) {
        return from.checked_text(key, node);
    }
    from.fail_type(
        key,
        std::string{takes_number ? "a number or a string" : "a string"} +
            (option.takes_list ? ", or a list" : ""),
        node,
        takes_number ? "write digits, or the value between double quotes"
                     : "write it between double quotes"
    );
}

/// Nothing where the file says "", which stands for none.
std::optional<catalog::option_value> read_option(
    const section& from,
    std::string_view key,
    const toml::node& node,
    const catalog::option_description& option
) {
    using catalog::option_form;
    if (option.form == option_form::secret) {
        if (!from.read_secret(key)) {
            return std::nullopt;
        }
        return catalog::secret_name{from.checked_text(key, node)};
    }
    const toml::array* const list = node.as_array();
    if (list != nullptr && option.takes_list) {
        std::vector<std::string> elements;
        for (const toml::node& each : *list) {
            elements.push_back(read_element(from, key, each, option));
        }
        return elements;
    }
    std::string text = read_element(from, key, node, option);
    const bool may_be_none = option.form == option_form::connection ||
                             (option.form == option_form::text && !option.takes_list);
    if (text.empty() && may_be_none) {
        return std::nullopt;
    }
    return text;
}

catalog::option_map read_options(const section& from, const catalog::connection_kind& kind) {
    catalog::option_map out;
    for (const catalog::option_description& option : kind.descriptions()) {
        const std::string key = key_of(option.name);
        if (const toml::node* const node = from.find(key)) {
            if (auto value = read_option(from, key, *node, option)) {
                out.emplace(option.name, *std::move(value));
            }
        }
    }
    return out;
}

catalog::planned_connection plan(
    const section& from,
    const std::string& name,
    const catalog::file_connection& connection,
    const file_context& context
) {
    try {
        return catalog::kind_of(connection.type).plan(name, connection.options, context);
    } catch (const catalog::rejection& why) {
        from.fail(
            key_of(why.option()),
            from.label() + ": " + why.report().message,
            as_clause(why.report().hint)
        );
    }
}

void check_client_certificate(const section& from, const catalog::planned_connection& planned) {
    if (!planned.postgres || planned.postgres->tls == catalog::ssl_mode::disable ||
        planned.postgres->tls_certificate.empty()) {
        return;
    }
    constexpr std::string_view key = "ssl_certificate";
    const std::string& file = planned.postgres->tls_certificate;
    if (const auto problem = check_strength(read_pem_file(from, key, file))) {
        from.fail(
            key, from.label() + ": " + *problem, "this system's OpenSSL asks for a stronger one"
        );
    }
    if (std::filesystem::path{planned.postgres->tls_key}.is_absolute()) {  // else the key itself
        check_server_side_key(from, planned.postgres->tls_key);
    }
}

/// What a connection may hold: its type, which is read first, decides which.
std::vector<std::string> keys_of(std::span<const catalog::connection_kind* const> kinds) {
    std::vector<std::string> out{"type"};
    for (const catalog::connection_kind* const kind : kinds) {
        for (const std::string_view option : kind->options()) {
            out.push_back(key_of(option));
        }
    }
    return out;
}

catalog::connection_type read_type(const section& from) {
    constexpr std::size_t count = catalog::connection_type_count;
    const auto kinds = catalog::all_kinds();
    std::array<choice<catalog::connection_type>, count> types{};
    std::ranges::transform(kinds, types.begin(), [](const catalog::connection_kind* kind) {
        return choice<catalog::connection_type>{kind->type_name(), kind->type()};
    });
    catalog::connection_type out = catalog::connection_type::postgres;
    from.read_choice("type", out, types);
    return out;
}

/// A table of [connections], with the keys that these types have.
section open_connection(
    source& from,
    const std::string& name,
    const toml::table& options,
    std::span<const catalog::connection_kind* const> kinds
) {
    const std::vector<std::string> keys = keys_of(kinds);
    const std::vector<std::string_view> names{keys.begin(), keys.end()};
    return section{from, options, "[connections." + name + "]", names};
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
    std::map<std::string, section, std::less<>> sections;
    std::map<std::string, catalog::connection_type, std::less<>> types;
    for (const auto& [key, each] : *table) {
        const std::string name{key.str()};
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
        const auto type =
            read_type(open_connection(root.from(), name, *options, catalog::all_kinds()));
        const auto* const kind = &catalog::kind_of(type);
        sections.emplace(name, open_connection(root.from(), name, *options, {&kind, 1}));
        types.emplace(name, type);
    }
    const file_context context{root.from(), types};
    for (const auto& [name, from] : sections) {
        const catalog::connection_kind& kind = catalog::kind_of(types.at(name));
        const catalog::file_connection& connection =
            out.file_connections
                .emplace(name, catalog::file_connection{kind.type(), read_options(from, kind)})
                .first->second;
        const catalog::planned_connection planned = plan(from, name, connection, context);
        check_client_certificate(from, planned);
        if (!kind.is_supported()) {
            from.warn(
                "type",
                "Connections of this type are not supported yet; " + from.label() + " is ignored."
            );
            unsupported.insert(name);
        } else if (!planned.depends_on.empty()) {
            from.warn(
                "aws_privatelink",
                "AWS PrivateLink is not supported yet; the connection is ignored."
            );
            unsupported.insert(name);
        } else {
            out.connections.emplace(name, planned.postgres);
        }
    }
}

void read_statements(const section& from, route_settings& route) {
    from.read("statement_handling", route.statement_handling);
    from.read_choice("multi_statement", route.multi_statement, multi_statement_policies);
    from.read_strings("rpc_functions", route.rpc_functions);
    for (const std::string& pattern : route.rpc_functions) {
        check_pattern(from, "rpc_functions", pattern);
    }
    from.read_choice("rpc_in_transaction", route.rpc, rpc_answers);
    const auto need_handling = [&](std::string_view key) {
        from.fail(
            key,
            std::string{key} + " needs statement_handling",
            "remove it, or statement_handling = false"
        );
    };
    if (route.statement_handling) {
        return;
    }
    for (const std::string_view key : {"multi_statement", "rpc_in_transaction"}) {
        if (from.has(key)) {
            need_handling(key);
        }
    }
    if (!route.rpc_functions.empty()) {
        need_handling("rpc_functions");
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
        read_statements(from, route);
        from.read_choice("session_state", route.session_state, session_state_policies);
        read_auth_query(from, out, route);
        read_timeouts(from, route);
        out.routes.push_back(std::make_shared<const route_settings>(std::move(route)));
    }
}

}  // namespace signalbox::proxy
