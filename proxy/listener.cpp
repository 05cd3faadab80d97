#include "proxy/listener.hpp"

#include "proxy/log.hpp"
#include "proxy/worker.hpp"

#include <cerrno>
#include <cstring>
#include <fcntl.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <system_error>
#include <unistd.h>

namespace signalbox::proxy {
namespace {

constexpr int backlog = 4096;
/// How long to leave waiting clients alone when there is no descriptor or memory left for them.
constexpr auto exhausted_pause = std::chrono::milliseconds{100};

std::string system_text(int error) {
    return std::generic_category().message(error);
}

std::string why_not(const std::string& host, std::uint16_t port, int error) {
    std::string text = "cannot listen on \"" + host + "\", port " + std::to_string(port) + ": " +
                       system_text(error);
    if (error == EADDRINUSE) {
        text += " (another process listens there: choose another port in [listen])";
    }
    return text;
}

/// What `host` stands for.
struct resolved_host {
    resolved_host(const std::string& host, std::uint16_t port) {
        addrinfo hints{};
        hints.ai_family = AF_UNSPEC;
        hints.ai_socktype = SOCK_STREAM;
        hints.ai_flags = AI_PASSIVE | AI_NUMERICSERV;
        const int rc = ::getaddrinfo(
            host == "*" ? nullptr : host.c_str(), std::to_string(port).c_str(), &hints, &first
        );
        if (rc != 0) {
            error = "cannot listen on \"" + host + "\": " + ::gai_strerror(rc);
        }
    }

    ~resolved_host() {
        if (first != nullptr) {
            ::freeaddrinfo(first);
        }
    }

    resolved_host(const resolved_host&) = delete;
    resolved_host& operator=(const resolved_host&) = delete;

    addrinfo* first = nullptr;
    std::string error;  // why there is none
};

/// A socket for `a` that may be bound while connections of an earlier listener are still there.
int listening_socket(const addrinfo& a) {
    const int fd = ::socket(a.ai_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    const int on = 1;
    ::setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    if (a.ai_family == AF_INET6) {
        ::setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &on, sizeof on);
    }
    return fd;
}

}  // namespace

listener::listener(worker& owner, backend::event_loop& loop, int fd, bool is_shared)
    : owner_(owner), loop_(loop), fd_(fd), is_shared_(is_shared) {
    loop_.add(fd_, EPOLLIN | (is_shared_ ? EPOLLEXCLUSIVE : 0U), *this);
}

listener::~listener() {
    loop_.remove(fd_, *this);
    ::close(fd_);
}

void listener::on_events(std::uint32_t /*events*/) {
    backend::socket_address from;
    from.size = sizeof from.storage;
    const int fd = ::accept4(
        fd_, reinterpret_cast<sockaddr*>(&from.storage), &from.size, SOCK_NONBLOCK | SOCK_CLOEXEC
    );
    if (fd >= 0) {
        owner_.accept_client(fd, from);
        return;
    }
    if (errno == EMFILE || errno == ENFILE || errno == ENOBUFS || errno == ENOMEM) {
        log::warn("cannot accept a client for now", {{"cause", system_text(errno)}});
        pause();
    }
}

void listener::pause() {
    loop_.remove(fd_, *this);
    resume_.start(
        loop_,
        loop_.now() + exhausted_pause,
        [](void* self) {
            auto& l = *static_cast<listener*>(self);
            l.loop_.add(l.fd_, EPOLLIN | (l.is_shared_ ? EPOLLEXCLUSIVE : 0U), l);
        },
        this
    );
}

// Set on a listening socket, it is inherited by every accepted one: no call per client.
void prepare_clients(int fd, client_timeouts timeouts) {
    const int on = 1;
    ::setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    if (timeouts.keepalive.count() > 0) {
        backend::keep_alive(
            fd,
            std::max(
                std::chrono::seconds{1},
                std::chrono::duration_cast<std::chrono::seconds>(timeouts.keepalive)
            )
        );
    }
    backend::limit_unacknowledged(fd, timeouts.unacknowledged);
}

std::string listen_address(const std::string& host, std::uint16_t port) {
    const bool is_ipv6 = host.find(':') != std::string::npos;
    return (is_ipv6 ? '[' + host + ']' : host) + ':' + std::to_string(port);
}

// SO_REUSEPORT lets every process of our user share the port, so it cannot find this out.
std::string taken_port(const std::string& host, std::uint16_t port) {
    const resolved_host found{host, port};
    for (const addrinfo* a = found.first; a != nullptr; a = a->ai_next) {
        const int fd = listening_socket(*a);
        const bool taken =
            fd >= 0 && ::bind(fd, a->ai_addr, a->ai_addrlen) != 0 && errno == EADDRINUSE;
        ::close(fd);
        if (taken) {
            return why_not(host, port, EADDRINUSE);
        }
    }
    return {};
}

std::vector<listen_result> listen_tcp(
    const std::string& host, std::uint16_t port, client_timeouts timeouts
) {
    const resolved_host found{host, port};
    if (found.first == nullptr) {
        return {{.fd = -1, .address = {}, .error = found.error}};
    }
    std::vector<listen_result> results;
    for (const addrinfo* a = found.first; a != nullptr; a = a->ai_next) {
        listen_result made;
        made.fd = listening_socket(*a);
        const int on = 1;
        ::setsockopt(made.fd, SOL_SOCKET, SO_REUSEPORT, &on, sizeof on);
        prepare_clients(made.fd, timeouts);
        if (made.fd < 0 || ::bind(made.fd, a->ai_addr, a->ai_addrlen) != 0 ||
            ::listen(made.fd, backlog) != 0) {
            made.error = why_not(host, port, errno);
            ::close(made.fd);
            made.fd = -1;
        } else {
            const auto shown =
                host == "*" ? std::string{a->ai_family == AF_INET6 ? "::" : "0.0.0.0"} : host;
            made.address = listen_address(shown, bound_port(made.fd));
        }
        results.push_back(std::move(made));
    }
    return results;
}

std::uint16_t bound_port(int fd) {
    sockaddr_storage bound{};
    socklen_t size = sizeof bound;
    if (::getsockname(fd, reinterpret_cast<sockaddr*>(&bound), &size) != 0) {
        return 0;
    }
    if (bound.ss_family == AF_INET6) {
        sockaddr_in6 in{};
        std::memcpy(&in, &bound, sizeof in);
        return ntohs(in.sin6_port);
    }
    sockaddr_in in{};
    std::memcpy(&in, &bound, sizeof in);
    return ntohs(in.sin_port);
}

listen_result listen_unix(const std::string& directory, std::uint16_t port) {
    listen_result made;
    made.is_local = true;
    made.address = directory + "/.s.PGSQL." + std::to_string(port);
    sockaddr_un un{};
    un.sun_family = AF_UNIX;
    if (made.address.size() >= sizeof un.sun_path) {
        made.error = "the path \"" + made.address + "\" is too long for a Unix-domain socket";
        return made;
    }
    std::memcpy(un.sun_path, made.address.c_str(), made.address.size() + 1);
    made.fd = ::socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    // A socket that nobody listens on any more is a leftover; a live one answers.
    const int probe = ::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    const bool alive = ::connect(probe, reinterpret_cast<const sockaddr*>(&un), sizeof un) == 0;
    ::close(probe);
    if (!alive) {
        ::unlink(un.sun_path);
    }
    if (made.fd < 0 || ::bind(made.fd, reinterpret_cast<const sockaddr*>(&un), sizeof un) != 0 ||
        ::chmod(un.sun_path, 0777) != 0 || ::listen(made.fd, backlog) != 0) {
        made.error = "cannot listen on \"" + made.address + "\": " + system_text(errno);
        if (alive) {
            made.error +=
                " (another process listens there: choose another port or "
                "unix_socket_dir in [listen])";
        }
        ::close(made.fd);
        made.fd = -1;
    }
    return made;
}

}  // namespace signalbox::proxy
