#include "backend/address.hpp"

#include <algorithm>
#include <arpa/inet.h>
#include <cerrno>
#include <cstddef>
#include <cstring>
#include <limits>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <unistd.h>

namespace signalbox::backend {
namespace {

constexpr auto server_keepalive = std::chrono::seconds{60};

std::vector<socket_address> look_up(const catalog::host_port& target, int flags, int& rc) {
    addrinfo hints{};
    hints.ai_family = AF_UNSPEC;
    hints.ai_socktype = SOCK_STREAM;
    hints.ai_flags = flags | AI_NUMERICSERV;
    addrinfo* found = nullptr;
    rc = ::getaddrinfo(target.host.c_str(), std::to_string(target.port).c_str(), &hints, &found);
    std::vector<socket_address> addresses;
    if (rc != 0) {
        return addresses;
    }
    for (const addrinfo* a = found; a != nullptr; a = a->ai_next) {
        socket_address made;
        std::memcpy(&made.storage, a->ai_addr, a->ai_addrlen);
        made.size = a->ai_addrlen;
        addresses.push_back(made);
    }
    ::freeaddrinfo(found);
    return addresses;
}

}  // namespace

bool is_unix_host(const std::string& host) noexcept {
    return host.starts_with('/') || host.starts_with('@');
}

std::vector<socket_address> numeric_addresses(const catalog::host_port& target) {
    if (is_unix_host(target.host)) {
        socket_address made;
        sockaddr_un un{};
        un.sun_family = AF_UNIX;
        const auto path = target.host + "/.s.PGSQL." + std::to_string(target.port);
        if (path.size() >= sizeof un.sun_path) {
            return {};
        }
        std::memcpy(un.sun_path, path.data(), path.size());
        if (un.sun_path[0] == '@') {
            un.sun_path[0] = '\0';
        }
        std::memcpy(&made.storage, &un, sizeof un);
        made.size = static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + path.size() + 1);
        return {made};
    }
    int rc = 0;
    return look_up(target, AI_NUMERICHOST, rc);
}

std::variant<std::vector<socket_address>, std::string> resolve_addresses(
    const catalog::host_port& target
) {
    int rc = 0;
    auto addresses = look_up(target, 0, rc);
    if (addresses.empty()) {
        return "could not translate host name \"" + target.host +
               "\" to address: " + ::gai_strerror(rc);
    }
    return addresses;
}

std::string address_text(const socket_address& address) {
    char text[INET6_ADDRSTRLEN] = {};
    if (address.family() == AF_INET) {
        sockaddr_in in{};
        std::memcpy(&in, &address.storage, sizeof in);
        ::inet_ntop(AF_INET, &in.sin_addr, text, sizeof text);
        return text;
    }
    if (address.family() == AF_INET6) {
        sockaddr_in6 in{};
        std::memcpy(&in, &address.storage, sizeof in);
        if (IN6_IS_ADDR_V4MAPPED(&in.sin6_addr)) {
            // Of a socket that listens for both: the peer's address is the IPv4 one.
            ::inet_ntop(AF_INET, in.sin6_addr.s6_addr + 12, text, sizeof text);
            return text;
        }
        ::inet_ntop(AF_INET6, &in.sin6_addr, text, sizeof text);
        return text;
    }
    return "local";
}

void keep_alive(int fd, std::chrono::seconds idle) noexcept {
    const auto set = [fd](int level, int option, int value) {
        ::setsockopt(fd, level, option, &value, sizeof value);
    };
    set(SOL_SOCKET, SO_KEEPALIVE, 1);
    set(IPPROTO_TCP, TCP_KEEPIDLE, static_cast<int>(idle.count()));
    set(IPPROTO_TCP, TCP_KEEPINTVL, 15);  // seconds
    set(IPPROTO_TCP, TCP_KEEPCNT, 4);
}

void limit_unacknowledged(int fd, std::chrono::milliseconds limit) noexcept {
    if (limit.count() > 0) {
        constexpr std::int64_t longest = std::numeric_limits<int>::max();  // the kernel's
        const auto value = static_cast<unsigned>(std::min<std::int64_t>(limit.count(), longest));
        ::setsockopt(fd, IPPROTO_TCP, TCP_USER_TIMEOUT, &value, sizeof value);
    }
}

int begin_connect(const socket_address& address, std::chrono::milliseconds user_timeout) noexcept {
    const int fd = ::socket(address.family(), SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0) {
        return -1;
    }
    if (address.family() != AF_UNIX) {
        const int on = 1;
        ::setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
        keep_alive(fd, server_keepalive);
        limit_unacknowledged(fd, user_timeout);
    }
    if (::connect(fd, address.get(), address.size) != 0 && errno != EINPROGRESS) {
        const int saved = errno;
        ::close(fd);
        errno = saved;
        return -1;
    }
    return fd;
}

}  // namespace signalbox::backend
