// A POSTGRES connection: how to reach a PostgreSQL server, as planned from its options.
//
// Values only. Secrets are the values already; they never leave towards logs, errors or results.
#pragma once

#include "wire/limits.hpp"

#include <chrono>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

namespace signalbox::catalog {

/// libpq's six, with libpq's meaning.
enum class ssl_mode { disable, allow, prefer, require, verify_ca, verify_full };

/// How TLS begins, with libpq's meaning: asked for in plain text, or with the first byte.
enum class ssl_negotiation { postgres, direct };

/// Whether the login must be bound to the TLS connection (SCRAM-SHA-256-PLUS), with libpq's
/// meaning.
enum class channel_binding { disable, prefer, require };

/// Which of the hosts will do, with libpq's meaning.
enum class target_session_attrs { any, read_write, read_only, primary, standby, prefer_standby };

struct host_port {
    std::string
        host;  // a name, an address, or an absolute directory that holds the Unix-domain socket
    std::uint16_t port = 5432;

    bool operator==(const host_port&) const = default;
};

struct postgres_connection {
    std::string name;
    std::vector<host_port> hosts;         // tried in order; at least one
    std::string user;                     // "" = the client's own role
    std::optional<std::string> password;  // the secret's value
    std::string database;                 // "" = what the route says
    ssl_mode tls = ssl_mode::prefer;
    std::string tls_ca;  // paths; "" = none
    std::string tls_certificate;
    std::string tls_key;  // a path, or the key itself in PEM ("-----BEGIN ...")
    ssl_negotiation negotiation = ssl_negotiation::postgres;
    channel_binding binding = channel_binding::prefer;
    target_session_attrs target = target_session_attrs::any;
    std::optional<std::chrono::milliseconds> connect_timeout;  // absent: what the route says
    std::chrono::milliseconds tcp_user_timeout{0};             // 0 = the system's
    std::uint32_t protocol = wire::protocol_3_0;               // the newest to ask for

    bool operator==(const postgres_connection&) const = default;
};

}  // namespace signalbox::catalog
