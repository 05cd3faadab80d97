#include "proxy/runtime.hpp"

#include <openssl/rand.h>
#include <re2/re2.h>

#include <algorithm>
#include <arpa/inet.h>
#include <array>
#include <cstring>
#include <stdexcept>

namespace signalbox::proxy {
namespace {

/// Whether `address` lies in `range`: an address, or one with a prefix length.
bool is_in_range(const std::string& address, const std::string& range) {
    const auto slash = range.find('/');
    const auto network = range.substr(0, slash);
    std::array<unsigned char, 16> a{};
    std::array<unsigned char, 16> b{};
    for (const int family : {AF_INET, AF_INET6}) {
        if (inet_pton(family, address.c_str(), a.data()) != 1 ||
            inet_pton(family, network.c_str(), b.data()) != 1) {
            continue;
        }
        const std::size_t all = family == AF_INET ? 32 : 128;
        std::size_t bits =
            slash == std::string::npos
                ? all
                : std::min<std::size_t>(all, std::strtoul(range.c_str() + slash + 1, nullptr, 10));
        for (std::size_t i = 0; bits > 0; ++i) {
            const auto n = std::min<std::size_t>(8, bits);
            const auto mask = static_cast<unsigned char>(0xffU << (8U - n));
            if ((a[i] & mask) != (b[i] & mask)) {
                return false;
            }
            bits -= n;
        }
        return true;
    }
    return false;
}

bool names(const std::vector<std::string>& list, std::string_view name) {
    return std::any_of(list.begin(), list.end(), [&](const auto& item) {
        return item == "all" || item == name;
    });
}

std::string rewritten(
    const re2::RE2& pattern, const std::string& text, const std::string& rewrite
) {
    std::string out = text;
    re2::RE2::Replace(&out, pattern, rewrite);  // the pattern has matched the whole text
    return out;
}

}  // namespace

runtime::runtime(configuration config, const runtime* previous) : config_(std::move(config)) {
    if (config_.tls.mode != client_tls_mode::off) {
        const bool verify = config_.tls.mode == client_tls_mode::verify_ca ||
                            config_.tls.mode == client_tls_mode::verify_full;
        client_tls_ = backend::make_tls_server_context(
            {.certificate = config_.tls.certificate,
             .key = config_.tls.key,
             .client_ca = config_.tls.client_ca,
             .require_client = verify,
             .tls_1_3_only = config_.tls.min_version == "1.3"}
        );
    }
    for (const name_mapping& each : config_.auth_maps) {
        maps_[each.name].add(each);
    }
    for (const auto& [name, connection] : config_.connections) {
        server_tls_.emplace(name, backend::make_server_tls_context(*connection));
    }
    for (const auto& route : config_.routes) {
        if (route->statement_handling) {
            rules_.emplace(
                route.get(),
                std::make_shared<const parser::statement_rules>(
                    route->rpc_functions,
                    std::vector{config_.catalog.catalog_schema, config_.catalog.internal_schema}
                )
            );
        }
        if (route->is_pattern) {
            patterns_.push_back({std::make_shared<const re2::RE2>(route->database), route});
        } else {
            exact_.emplace(route->database, route);
        }
    }
    for (const auto& [name, settings] : config_.users) {
        known_user user{.settings = &settings, .scram = std::nullopt};
        if (settings.verifier.starts_with("SCRAM-SHA-256$")) {
            const auto parsed = wire::parse_scram_verifier(settings.verifier);
            if (parsed) {
                user.scram = *parsed;
            }
        } else if (settings.password) {
            const auto* const old = previous != nullptr ? previous->find_user(name) : nullptr;
            if (old != nullptr && old->scram && old->settings->password == settings.password) {
                user.scram = old->scram;
            } else {
                std::string salt(16, '\0');
                if (RAND_bytes(
                        reinterpret_cast<unsigned char*>(salt.data()), static_cast<int>(salt.size())
                    ) != 1) {
                    throw std::runtime_error("no random numbers to be had");
                }
                const auto keys = wire::derive_scram_keys(
                    *settings.password, salt, wire::default_scram_iterations
                );
                const auto made =
                    keys ? wire::make_scram_verifier(*keys, salt, wire::default_scram_iterations)
                         : wire::result<wire::scram_verifier>{keys.error()};
                if (!made) {
                    throw std::runtime_error("cannot derive SCRAM keys: " + made.error().message());
                }
                user.scram = *made;
            }
        }
        users_.emplace(name, std::move(user));
    }
}

runtime::runtime(const runtime& base, const catalog::postgres_connections& connections)
    : config_(base.config_),
      maps_(base.maps_),
      client_tls_(base.client_tls_),
      exact_(base.exact_),
      patterns_(base.patterns_),
      rules_(base.rules_),
      users_(base.users_) {
    config_.connections = connections;
    for (auto& [name, user] : users_) {
        user.settings = &config_.users.find(name)->second;
    }
    for (const auto& [name, connection] : connections) {
        const auto known = base.config_.connections.find(name);
        const bool is_same =
            known != base.config_.connections.end() && *known->second == *connection;
        server_tls_.emplace(
            name, is_same ? base.server_tls(name) : backend::make_server_tls_context(*connection)
        );
    }
}

runtime::~runtime() = default;

const known_user* runtime::find_user(std::string_view name) const {
    const auto it = users_.find(name);
    return it == users_.end() ? nullptr : &it->second;
}

std::shared_ptr<const parser::statement_rules> runtime::rules_of(const route_settings& route
) const {
    const auto it = rules_.find(&route);
    return it == rules_.end() ? nullptr : it->second;
}

std::shared_ptr<SSL_CTX> runtime::server_tls(const std::string& connection_name) const {
    const auto it = server_tls_.find(connection_name);
    return it == server_tls_.end() ? nullptr : it->second;
}

std::optional<resolved_route> runtime::resolve(std::string_view database) const {
    resolved_route found;
    const std::string name{database};
    if (const auto it = exact_.find(database); it != exact_.end()) {
        found.settings = it->second;
        found.connection_name = it->second->connection;
        found.backend_database = it->second->backend_database;
    } else {
        const auto match = std::find_if(patterns_.begin(), patterns_.end(), [&](const auto& p) {
            return re2::RE2::FullMatch(name, *p.pattern);
        });
        if (match == patterns_.end()) {
            return std::nullopt;
        }
        found.settings = match->settings;
        found.connection_name = rewritten(*match->pattern, name, match->settings->connection);
        if (!match->settings->backend_database.empty()) {
            found.backend_database =
                rewritten(*match->pattern, name, match->settings->backend_database);
        }
    }
    found.rules = rules_of(*found.settings);
    if (const auto it = config_.connections.find(found.connection_name);
        it != config_.connections.end()) {
        found.connection = it->second;
    }
    if (found.backend_database.empty()) {
        found.backend_database = found.connection && !found.connection->database.empty()
                                     ? found.connection->database
                                     : name;
    }
    return found;
}

const name_map* runtime::find_map(const std::string& name) const {
    const auto it = maps_.find(name);
    return it == maps_.end() ? nullptr : &it->second;
}

runtime::login_rule runtime::rule_for(
    const peer& from, std::string_view database, std::string_view user
) const {
    using type = auth_rule::connection_type;
    for (const auto& rule : config_.auth_rules) {
        const bool type_fits = from.is_local ? rule.type == type::local
                                             : rule.type == type::host ||
                                                   (rule.type == type::hostssl && from.has_tls) ||
                                                   (rule.type == type::hostnossl && !from.has_tls);
        if (type_fits && names(rule.databases, database) && names(rule.users, user) &&
            (from.is_local || rule.address == "all" || is_in_range(from.address, rule.address))) {
            return {.method = rule.method, .map = find_map(rule.map)};
        }
    }
    return {.method = config_.default_auth_method, .map = find_map(config_.default_auth_map)};
}

}  // namespace signalbox::proxy
