// Sockets that the service manager has passed: which are taken, and how the others are told.
#include "proxy/passed_sockets.hpp"

#include <catch2/catch.hpp>

#include <arpa/inet.h>
#include <cstdlib>
#include <cstring>
#include <fcntl.h>
#include <filesystem>
#include <netinet/in.h>
#include <string>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>
#include <vector>

using namespace signalbox::proxy;

namespace {

/// Puts a descriptor where systemd passes the first one, and what was there back at the end.
class passed_first {
public:
    /// -1: nothing is open there.
    explicit passed_first(int fd) : saved_(::fcntl(3, F_DUPFD_CLOEXEC, 10)) {
        if (fd < 0) {
            ::close(3);
        } else if (fd != 3) {
            ::dup2(fd, 3);
            ::close(fd);
        }
        tell(std::to_string(::getpid()), "1");
    }

    ~passed_first() {
        ::close(3);
        if (saved_ >= 0) {
            ::dup2(saved_, 3);
            ::close(saved_);
        }
        for (const char* const name : {"LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES"}) {
            ::unsetenv(name);
        }
    }

    passed_first(const passed_first&) = delete;
    passed_first& operator=(const passed_first&) = delete;

    static void tell(const std::string& process, const std::string& count) {
        ::setenv("LISTEN_PID", process.c_str(), 1);
        ::setenv("LISTEN_FDS", count.c_str(), 1);
        ::setenv("LISTEN_FDNAMES", "postgres.socket", 1);
    }

private:
    int saved_;
};

int tcp_socket(int domain, bool listens) {
    const int fd = ::socket(domain, SOCK_STREAM, 0);
    if (listens) {
        ::listen(fd, 1);  // the system chooses the port
    }
    return fd;
}

int unix_socket(const std::string& path) {
    const int fd = ::socket(AF_UNIX, SOCK_STREAM, 0);
    sockaddr_un un{};
    un.sun_family = AF_UNIX;
    std::memcpy(un.sun_path, path.data(), path.size());
    const auto size = static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + path.size());
    ::bind(fd, reinterpret_cast<const sockaddr*>(&un), size);
    ::listen(fd, 1);
    return fd;
}

std::string error_of(const std::vector<listen_result>& found) {
    REQUIRE(found.size() == 1);
    CHECK(found[0].fd == -1);
    return found[0].error;
}

}  // namespace

TEST_CASE("passed sockets: a TCP socket that listens", "[proxy][listener]") {
    const int domain = GENERATE(AF_INET, AF_INET6);
    const int made = tcp_socket(domain, true);
    if (made < 0) {
        WARN("no IPv6 here");
        return;
    }
    const auto port = bound_port(made);
    const passed_first passed{made};
    const auto found = take_passed_sockets();
    REQUIRE(found.size() == 1);
    CHECK(found[0].error.empty());
    CHECK(found[0].fd == 3);
    CHECK_FALSE(found[0].is_local);
    CHECK(found[0].address == (domain == AF_INET ? "0.0.0.0:" : "[::]:") + std::to_string(port));
    CHECK((::fcntl(3, F_GETFD) & FD_CLOEXEC) != 0);
    CHECK((::fcntl(3, F_GETFL) & O_NONBLOCK) != 0);
    for (const char* const name : {"LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES"}) {
        CHECK(std::getenv(name) == nullptr);
    }
    CHECK(take_passed_sockets().empty());  // once
}

TEST_CASE("passed sockets: a Unix-domain socket", "[proxy][listener]") {
    const auto process = std::to_string(::getpid());
    SECTION("with a path") {
        const auto path = std::filesystem::temp_directory_path() / ("signalbox-passed-" + process);
        const passed_first passed{unix_socket(path)};
        const auto found = take_passed_sockets();
        std::filesystem::remove(path);
        REQUIRE(found.size() == 1);
        CHECK(found[0].fd == 3);
        CHECK(found[0].is_local);
        CHECK(found[0].address == path);
    }
    SECTION("with an abstract name") {
        const passed_first passed{unix_socket('\0' + ("signalbox-passed-" + process))};
        const auto found = take_passed_sockets();
        REQUIRE(found.size() == 1);
        CHECK(found[0].is_local);
        CHECK(found[0].address == "@signalbox-passed-" + process);
    }
}

TEST_CASE("passed sockets: none", "[proxy][listener]") {
    const passed_first passed{tcp_socket(AF_INET, true)};
    SECTION("nothing is said") {
        ::unsetenv("LISTEN_PID");
        ::unsetenv("LISTEN_FDS");
    }
    SECTION("they are another process's") {
        passed_first::tell("1", "1");
    }
    SECTION("no process is named") {
        passed_first::tell("", "1");
    }
    SECTION("the process is no number") {
        passed_first::tell("x", "1");
    }
    SECTION("there are none") {
        passed_first::tell(std::to_string(::getpid()), "0");
    }
    CHECK(take_passed_sockets().empty());
    CHECK(std::getenv("LISTEN_FDS") == nullptr);
}

TEST_CASE("passed sockets: what is none is an error", "[proxy][listener]") {
    const std::string one = "the descriptor 3 that the service manager has passed ";
    SECTION("nothing is open") {
        const passed_first passed{-1};
        CHECK(error_of(take_passed_sockets()) == one + "is not open");
    }
    SECTION("a file") {
        const passed_first passed{::open("/dev/null", O_RDONLY)};
        CHECK(error_of(take_passed_sockets()) == one + "is not a socket");
    }
    SECTION("datagrams") {
        const passed_first passed{::socket(AF_INET, SOCK_DGRAM, 0)};
        CHECK(error_of(take_passed_sockets()) == one + "is not a stream socket");
    }
    SECTION("it does not listen") {
        const passed_first passed{tcp_socket(AF_INET, false)};
        CHECK(error_of(take_passed_sockets()) == one + "does not listen");
    }
    SECTION("the second is not there") {
        const passed_first passed{tcp_socket(AF_INET, true)};
        const int second = ::fcntl(4, F_DUPFD_CLOEXEC, 10);
        ::close(4);
        passed_first::tell(std::to_string(::getpid()), "2");
        const auto found = take_passed_sockets();
        if (second >= 0) {
            ::dup2(second, 4);
            ::close(second);
        }
        CHECK(
            error_of(found) == "the descriptor 4 that the service manager has passed is not open"
        );
    }
    SECTION("not a number of sockets") {
        const passed_first passed{tcp_socket(AF_INET, true)};
        const auto count =
            GENERATE(as<std::string>{}, "-1", "x", "1x", "1025", "99999999999999999");
        passed_first::tell(std::to_string(::getpid()), count);
        CHECK(
            error_of(take_passed_sockets()) == "LISTEN_FDS=" + count + " is no number of sockets"
        );
    }
}
