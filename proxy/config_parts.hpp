// The parts of the loader, one for each group of sections. config.cpp calls them in the order in
// which they need each other: secrets first, then what names secrets, then what names connections.
#pragma once

#include "catalog/certificates.hpp"
#include "proxy/config.hpp"
#include "proxy/config_reader.hpp"

#include <optional>
#include <set>
#include <string>

namespace signalbox::proxy {

/// [tls]: towards clients. Reads and checks the certificate, its key and the client CA.
void read_client_tls(const section& tls, configuration& out);

/// [[auth.maps]], before what uses them.
void read_name_maps(const section& auth, configuration& out);
/// The `map` of a rule, or of [auth].
void check_map_use(
    const section& from, const std::string& map, auth_method method, const configuration& out
);
void warn_of_unused_maps(const section& auth, const configuration& out);

/// [connections.*]. The names of those that are understood but cannot be served yet go into
/// `unsupported`.
void read_connections(
    const section& root, configuration& out, std::set<std::string, std::less<>>& unsupported
);

/// [[routes]], after the connections.
void read_routes(
    const section& root, configuration& out, const std::set<std::string, std::less<>>& unsupported
);

using catalog::check_certificate_authority;
using catalog::check_key_pair;
using catalog::max_pem_bytes;
using catalog::pem_source;

/// Whether TLS takes the certificate, which check_key_pair() has read, with this system's settings:
/// they may ask for longer keys. Nothing = fine, else a sentence without its end.
std::optional<std::string> check_strength(const pem_source& certificate);

/// The file under `key`, which is not empty; an error where it cannot be read.
pem_source read_pem_file(const section& from, std::string_view key, const std::string& path);

/// Warns where others may read the file of a connection's `ssl_key`.
void check_server_side_key(const section& from, const std::string& path);

}  // namespace signalbox::proxy
