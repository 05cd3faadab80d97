// The configuration made ready for use: TLS contexts, compiled patterns, verifiers. Immutable; a
// reload makes another.
#pragma once

#include "backend/server_connection.hpp"
#include "parser/statements.hpp"
#include "proxy/config.hpp"
#include "proxy/name_map.hpp"
#include "rewrite/statements.hpp"
#include "wire/scram.hpp"

#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>

namespace re2 {
class RE2;
}

namespace signalbox::proxy {

/// Where a requested database leads.
struct resolved_route {
    std::shared_ptr<const route_settings> settings;
    std::shared_ptr<const catalog::postgres_connection>
        connection;  // null: there is none of that name
    std::string connection_name;
    std::string backend_database;
    std::shared_ptr<const parser::statement_rules> rules;  // how its statements are looked at
};

struct known_user {
    const user_settings* settings = nullptr;
    std::optional<wire::scram_verifier> scram;
};

class runtime {
public:
    /// Derives verifiers (a millisecond each; those of `previous` are taken over where the password
    /// is the same) and reads certificates. Throws configuration_error or std::runtime_error. Not
    /// for an event loop's thread.
    runtime(configuration config, const runtime* previous);
    /// The same with other connections. Throws std::runtime_error (a certificate towards a server).
    runtime(const runtime& base, const catalog::postgres_connections& connections);
    ~runtime();
    runtime(const runtime&) = delete;
    runtime& operator=(const runtime&) = delete;

    const configuration& config() const noexcept { return config_; }

    std::optional<resolved_route> resolve(std::string_view database) const;
    /// Null when the configuration does not have the user.
    const known_user* find_user(std::string_view name) const;

    /// Null when TLS towards clients is off.
    SSL_CTX* client_tls() const noexcept { return client_tls_.get(); }

    /// How the route's statements are looked at. Null for a route of another configuration.
    std::shared_ptr<const parser::statement_rules> rules_of(const route_settings& route) const;

    std::shared_ptr<SSL_CTX> server_tls(const std::string& connection_name) const;

    struct peer {
        std::string address;  // "local" for a Unix-domain socket
        bool is_local = false;
        bool has_tls = false;
    };

    struct login_rule {
        auth_method method = auth_method::scram_sha_256;
        const name_map* map = nullptr;  // the runtime's; null: a certificate's name is the user's
    };

    /// The first of [[auth.rules]] that matches, as in pg_hba.conf; where none does, [auth] method.
    login_rule rule_for(const peer& from, std::string_view database, std::string_view user) const;

private:
    struct pattern_route {
        std::shared_ptr<const re2::RE2> pattern;
        std::shared_ptr<const route_settings> settings;
    };

    const name_map* find_map(const std::string& name) const;

    configuration config_;
    std::map<std::string, name_map, std::less<>> maps_;
    std::shared_ptr<SSL_CTX> client_tls_;
    std::unordered_map<std::string, std::shared_ptr<SSL_CTX>> server_tls_;
    std::unordered_map<
        std::string,
        std::shared_ptr<const route_settings>,
        rewrite::string_hash,
        std::equal_to<>>
        exact_;
    std::vector<pattern_route> patterns_;
    std::unordered_map<const route_settings*, std::shared_ptr<const parser::statement_rules>>
        rules_;
    std::unordered_map<std::string, known_user, rewrite::string_hash, std::equal_to<>> users_;
};

using runtime_ptr = std::shared_ptr<const runtime>;

}  // namespace signalbox::proxy
