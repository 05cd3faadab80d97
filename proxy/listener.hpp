// A listening socket of one worker. The kernel spreads connections over the workers' sockets
// (SO_REUSEPORT); a Unix-domain socket, or one that the service manager has opened, is one for all,
// and whoever wakes first accepts.
#pragma once

#include "backend/address.hpp"
#include "backend/io/event_loop.hpp"

#include <chrono>
#include <string>
#include <vector>

namespace signalbox::proxy {

class worker;

class listener final : public backend::event_handler {
public:
    /// `is_shared`: other workers listen on it, too.
    listener(worker& owner, backend::event_loop& loop, int fd, bool is_shared);
    ~listener();
    listener(const listener&) = delete;
    listener& operator=(const listener&) = delete;

    void on_events(std::uint32_t events) override;

private:
    void pause();

    worker& owner_;
    backend::event_loop& loop_;
    int fd_;
    bool is_shared_;
    backend::timer resume_;
};

/// How a client that has vanished without a word is noticed; 0 = not by this.
struct client_timeouts {
    std::chrono::milliseconds keepalive{0};       // see backend::keep_alive()
    std::chrono::milliseconds unacknowledged{0};  // see backend::limit_unacknowledged()
};

struct listen_result {
    int fd = -1;
    std::string address;  // as clients reach it, with the port that was given
    std::string error;    // why fd is -1
    bool is_local = false;
};

/// Why nobody else may listen there: somebody does, be it another Signalbox. Empty = nobody does.
/// To be asked before listen_tcp(), whose own sockets count as well. Connections that an earlier
/// process has left, open or in TIME_WAIT, do not.
std::string taken_port(const std::string& host, std::uint16_t port);
/// `host`: an address, a name, or "*". Several sockets can share a port.
std::vector<listen_result> listen_tcp(
    const std::string& host, std::uint16_t port, client_timeouts timeouts
);
listen_result listen_unix(const std::string& directory, std::uint16_t port);
/// What every TCP socket accepted on `fd` inherits.
void prepare_clients(int fd, client_timeouts timeouts);
/// "127.0.0.1:5432", "[::1]:5432"
std::string listen_address(const std::string& host, std::uint16_t port);
/// The port a socket is bound to.
std::uint16_t bound_port(int fd);

}  // namespace signalbox::proxy
