// Certificates and keys that a connection or the configuration names: are they there, readable, and
// a pair? Whoever speaks TLS loads them again.
//
// A key may be a secret's value, or stand where a secret's value says: no answer repeats it.
#pragma once

#include <cstddef>
#include <optional>
#include <string>

namespace signalbox::catalog {

/// All the world's root certificates take a quarter of a megabyte.
inline constexpr std::size_t max_pem_bytes = 4U << 20U;

struct pem_source {
    std::string text;
    std::string name;  // the path between quotes, or for a secret's value what it is
};

// Each of these: nothing = fine, else a sentence without its end.

/// The first certificate of a chain.
std::optional<std::string> check_certificate(const pem_source& certificate);

/// Certificate chain and key of one side, checked together.
std::optional<std::string> check_key_pair(const pem_source& certificate, const pem_source& key);

/// At least one certificate, and nothing that is not one.
std::optional<std::string> check_certificate_authority(const pem_source& authority);

}  // namespace signalbox::catalog
