// Brings a server connection into a state that any session can use: ROLLBACK where a transaction is
// open, DISCARD ALL where a session has left state. The connection belongs to nobody meanwhile.
#pragma once

#include "backend/server_connection.hpp"

#include <functional>

namespace signalbox::proxy {

class cleaner final : public backend::server_user {
public:
    /// done(true): clean. Called once, from the loop; the connection is then still held here.
    cleaner(
        backend::io_context& io,
        std::unique_ptr<backend::server_connection> connection,
        bool discard_all
    );

    /// Before start().
    void on_done(std::function<void(bool clean)> done) { done_ = std::move(done); }

    void start();

    std::unique_ptr<backend::server_connection> take() { return std::move(connection_); }

    void on_server_events(backend::server_connection& connection, std::uint32_t events) override;

private:
    bool on_bytes(std::string_view bytes);
    void finish(bool clean);

    backend::io_context& io_;
    std::unique_ptr<backend::server_connection> connection_;
    bool discard_all_;
    std::function<void(bool)> done_;
    backend::timer deadline_;
    std::string input_;
    int ready_left_ = 0;
    bool finished_ = false;
};

}  // namespace signalbox::proxy
