// Runs a few queries of Signalbox's own on a server connection that belongs to nobody meanwhile: to
// clean it (ROLLBACK, DISCARD ALL), or to ask the catalogs something.
#pragma once

#include "backend/server_connection.hpp"

#include <functional>
#include <optional>
#include <string_view>
#include <vector>

namespace signalbox::proxy {

class cleaner final : public backend::server_user {
public:
    using row = std::vector<std::optional<std::string_view>>;

    /// done(true): all have succeeded, and no transaction is open. Called once, from the loop; the
    /// connection is then still held here. The queries must outlive it.
    cleaner(
        backend::io_context& io,
        std::unique_ptr<backend::server_connection> connection,
        std::vector<std::string_view> queries
    );

    /// Both before start().
    void on_done(std::function<void(bool clean)> done) { done_ = std::move(done); }

    void on_row(std::function<void(const row&)> take) { on_row_ = std::move(take); }

    /// The server has refused a query; the connection is in step all the same.
    [[nodiscard]] bool was_refused() const noexcept { return refused_ && in_step_; }

    void start();

    std::unique_ptr<backend::server_connection> take() { return std::move(connection_); }

    void on_server_events(backend::server_connection& connection, std::uint32_t events) override;

private:
    bool on_bytes(std::string_view bytes);
    void finish(bool clean);

    backend::io_context& io_;
    std::unique_ptr<backend::server_connection> connection_;
    std::vector<std::string_view> queries_;
    std::function<void(const row&)> on_row_;
    std::function<void(bool)> done_;
    backend::timer deadline_;
    std::string input_;
    std::size_t ready_left_ = 0;
    bool finished_ = false;
    bool refused_ = false;
    bool in_step_ = false;  // all answers have come, and nothing else
};

}  // namespace signalbox::proxy
