#include "proxy/passed_sockets.hpp"

#include <charconv>
#include <cstdlib>
#include <cstring>
#include <fcntl.h>
#include <optional>
#include <string_view>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

namespace signalbox::proxy {
namespace {

constexpr int first_passed = 3;  // SD_LISTEN_FDS_START
/// More than any unit passes: a number that is larger is none.
constexpr int max_passed = 1024;

/// A variable of the environment that nobody else is to see. Empty: not set.
std::string take_variable(const char* name) {
    const char* const value = std::getenv(name);  // NOLINT(concurrency-mt-unsafe): no thread yet
    std::string out = value == nullptr ? "" : value;
    ::unsetenv(name);  // NOLINT(concurrency-mt-unsafe): no thread yet
    return out;
}

std::optional<long> parse_number(std::string_view text) {
    long number = 0;
    const auto [end, problem] = std::from_chars(text.data(), text.data() + text.size(), number);
    if (problem != std::errc{} || end != text.data() + text.size()) {
        return std::nullopt;
    }
    return number;
}

std::optional<int> option_of(int fd, int option) {
    int value = 0;
    socklen_t size = sizeof value;
    if (::getsockopt(fd, SOL_SOCKET, option, &value, &size) != 0) {
        return std::nullopt;
    }
    return value;
}

/// The path of a Unix-domain socket; '@' stands for the byte that an abstract name begins with.
std::string unix_address(int fd) {
    sockaddr_un bound{};
    socklen_t size = sizeof bound;
    if (::getsockname(fd, reinterpret_cast<sockaddr*>(&bound), &size) != 0 ||
        size <= offsetof(sockaddr_un, sun_path)) {
        return "unnamed socket";
    }
    std::string_view path{bound.sun_path, size - offsetof(sockaddr_un, sun_path)};
    if (path.front() == '\0') {
        return '@' + std::string{path.substr(1)};
    }
    return std::string{path.substr(0, path.find('\0'))};
}

listen_result take_socket(int fd) {
    listen_result made;
    const auto refuse = [&](const std::string& why) {
        made.error =
            "the descriptor " + std::to_string(fd) + " that the service manager has passed " + why;
        return made;
    };
    const int flags = ::fcntl(fd, F_GETFD);
    if (flags < 0) {
        return refuse("is not open");
    }
    ::fcntl(fd, F_SETFD, flags | FD_CLOEXEC);
    const auto domain = option_of(fd, SO_DOMAIN);
    if (!domain) {
        return refuse("is not a socket");
    }
    if (option_of(fd, SO_TYPE) != SOCK_STREAM) {
        return refuse("is not a stream socket");
    }
    if (*domain != AF_INET && *domain != AF_INET6 && *domain != AF_UNIX) {
        return refuse("is neither a TCP nor a Unix-domain socket");
    }
    if (option_of(fd, SO_ACCEPTCONN) != 1) {
        return refuse("does not listen");
    }
    ::fcntl(fd, F_SETFL, ::fcntl(fd, F_GETFL) | O_NONBLOCK);
    made.fd = fd;
    made.is_local = *domain == AF_UNIX;
    if (made.is_local) {
        made.address = unix_address(fd);
        return made;
    }
    backend::socket_address bound;
    bound.size = sizeof bound.storage;
    ::getsockname(fd, reinterpret_cast<sockaddr*>(&bound.storage), &bound.size);
    made.address = listen_address(backend::address_text(bound), bound_port(fd));
    return made;
}

}  // namespace

std::vector<listen_result> take_passed_sockets() {
    const auto process = take_variable("LISTEN_PID");
    const auto count = take_variable("LISTEN_FDS");
    take_variable("LISTEN_FDNAMES");
    // Meant for another process, which has started this one.
    if (process.empty() || count.empty() || parse_number(process) != long{::getpid()}) {
        return {};
    }
    const auto number = parse_number(count);
    if (!number || *number < 0 || *number > max_passed) {
        return {
            {.fd = -1, .address = {}, .error = "LISTEN_FDS=" + count + " is no number of sockets"}};
    }
    std::vector<listen_result> passed;
    for (int fd = first_passed; fd < first_passed + static_cast<int>(*number); ++fd) {
        passed.push_back(take_socket(fd));
        if (passed.back().fd < 0) {
            return {passed.back()};
        }
    }
    return passed;
}

}  // namespace signalbox::proxy
