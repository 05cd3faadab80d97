// Socket addresses: from a host and a port to what connect() takes.
#pragma once

#include "catalog/connection.hpp"

#include <chrono>
#include <cstdint>
#include <string>
#include <sys/socket.h>
#include <sys/un.h>
#include <variant>
#include <vector>

namespace signalbox::backend {

struct socket_address {
    sockaddr_storage storage{};
    socklen_t size = 0;

    [[nodiscard]] const sockaddr* get() const noexcept {
        return reinterpret_cast<const sockaddr*>(&storage);
    }

    [[nodiscard]] int family() const noexcept { return storage.ss_family; }
};

/// A directory for Unix-domain sockets rather than a name: begins with '/' (or '@').
bool is_unix_host(const std::string& host) noexcept;

/// The address where no name has to be looked up: a Unix-domain socket or a numeric address. Else
/// empty.
std::vector<socket_address> numeric_addresses(const catalog::host_port& target);

/// All addresses of a name, in the system's order, or its reason why there are none. Blocks: for a
/// resolver's thread.
std::variant<std::vector<socket_address>, std::string> resolve_addresses(
    const catalog::host_port& target
);

/// "10.0.0.1", "::1", or "local".
std::string address_text(const socket_address& address);

/// A peer that has vanished without a word is noticed `idle` + 60 seconds after it was last heard,
/// while nothing is sent to it.
void keep_alive(int fd, std::chrono::seconds idle) noexcept;

/// How long data that were sent may stay unacknowledged, or the peer may refuse to take any, before
/// the connection is broken (RFC 5482). 0: as long as the system waits.
void limit_unacknowledged(int fd, std::chrono::milliseconds limit) noexcept;

/// A non-blocking socket with a connect() under way, or -1 with errno set. `user_timeout`: see
/// limit_unacknowledged().
int begin_connect(
    const socket_address& address, std::chrono::milliseconds user_timeout = {}
) noexcept;

}  // namespace signalbox::backend
