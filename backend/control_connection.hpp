// A server connection of Signalbox's own, for questions to the catalogs. Blocking: for a thread
// that may wait.
//
// Executor  one thread, from the making to the end, but for interrupt()
#pragma once

#include "backend/server_connection.hpp"

#include <chrono>
#include <functional>
#include <memory>
#include <optional>
#include <stdexcept>
#include <string>
#include <string_view>
#include <vector>

namespace signalbox::backend {

/// It cannot be reached, is lost, or was too slow; or the server has refused a query.
class control_error : public std::runtime_error {
public:
    control_error(const std::string& what, bool is_refusal)
        : std::runtime_error(what), is_refusal_(is_refusal) {}

    /// The connection is in step, and can be asked again.
    [[nodiscard]] bool is_refusal() const noexcept { return is_refusal_; }

private:
    bool is_refusal_;
};

class control_connection final : public connect_observer, public server_user {
public:
    using row = std::vector<std::optional<std::string>>;  // text; nothing: NULL

    control_connection(
        std::shared_ptr<const server_target> target,
        server_credentials credentials,
        std::chrono::milliseconds timeout
    );
    ~control_connection();
    control_connection(const control_connection&) = delete;
    control_connection& operator=(const control_connection&) = delete;

    /// Connects and logs in. Throws control_error.
    void connect();
    /// All rows of a simple Query. Throws control_error.
    std::vector<row> query(std::string_view sql);

    /// Ends what is under way, and whatever follows, with an error. Any thread.
    void interrupt();

    void on_connected(server_connection& connection) override;
    void on_connect_failed(server_connection& connection, const connect_failure& why) override;
    void on_server_events(server_connection& connection, std::uint32_t events) override;

private:
    void run();
    void fail(const std::string& why, bool is_refusal);
    bool on_bytes(std::string_view bytes);

    std::chrono::milliseconds timeout_;
    event_loop loop_;
    io_scratch scratch_;
    work_pool workers_;  // these two end before the loop to which they post
    resolver names_;
    io_context io_;
    timer deadline_;
    std::unique_ptr<server_connection> connection_;
    std::string input_;
    std::vector<row> rows_;
    std::optional<control_error> error_;
    bool is_connected_ = false;
    bool is_done_ = false;
};

}  // namespace signalbox::backend
