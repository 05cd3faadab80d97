// What Asio's default loop costs per message: an echo of 1,000 messages over loopback, to be
// watched with
//
//     g++ -O2 -std=c++20 bench/asio_reads.cpp -o build/asio_reads -pthread && strace -c -f
//     build/asio_reads
//
// recvfrom calls with errors are reads that only learned EAGAIN; docs/performance.md has the
// outcome.
#include <boost/asio.hpp>

#include <array>
#include <thread>

namespace asio = boost::asio;
using asio::ip::tcp;

int main() {
    asio::io_context io{1};
    tcp::acceptor acceptor{io, {asio::ip::address_v4::loopback(), 0}};
    const auto port = acceptor.local_endpoint().port();
    std::thread client{[port] {
        asio::io_context own;
        tcp::socket socket{own};
        socket.connect({asio::ip::address_v4::loopback(), port});
        socket.set_option(tcp::no_delay{true});
        std::array<char, 64> message{};
        for (int i = 0; i < 1000; ++i) {
            asio::write(socket, asio::buffer(message));
            asio::read(socket, asio::buffer(message));
        }
    }};
    tcp::socket socket = acceptor.accept();
    socket.set_option(tcp::no_delay{true});
    std::array<char, 1024> buffer{};
    const auto echo = [&](auto&& self) -> void {
        socket.async_read_some(asio::buffer(buffer), [&, self](auto error, std::size_t n) {
            if (!error) {
                asio::async_write(socket, asio::buffer(buffer, n), [self](auto, std::size_t) {
                    self(self);
                });
            }
        });
    };
    echo(echo);
    io.run();
    client.join();
}
