// A session that replicates: its client has asked for a walsender, by `replication` in the startup
// packet. It gets a server connection of its own, opened with the client's own startup parameters,
// and whatever either end says is passed as it lies: commands, both directions of a stream,
// keepalives. The connection belongs to no pool and is closed with the session.
//
//   start() -> opening -> open -> close()
//
// Invariants
//   - nothing of the client is read while the connection is being opened, or while the server does
//   not take what there is; nothing of the server while the client does not;
//   - who ends a session (a drain, an altered connection) does so between two messages: a stream at
//   once, a command when it has ended.
#pragma once

#include "backend/server_connection.hpp"
#include "proxy/replication_traffic.hpp"
#include "wire/error_response.hpp"

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace signalbox::proxy {

class session;
class worker;
struct pool_entry;

class replication final : public backend::connect_observer, public backend::server_user {
public:
    using startup_parameters = std::vector<std::pair<std::string, std::string>>;

    /// The pool says where to, and as whom; no connection is taken from it.
    replication(session& owner, worker& home, pool_entry& pool);
    ~replication();
    replication(const replication&) = delete;
    replication& operator=(const replication&) = delete;

    /// `parameters`: of the client's startup packet, `replication` among them.
    void start(startup_parameters parameters);

    void on_client(std::string_view bytes);
    /// What waited for the client has been sent.
    void client_drained();

    [[nodiscard]] bool should_pause() const noexcept;

    [[nodiscard]] bool is_mid_message() const noexcept { return traffic_.is_mid_message(); }

    [[nodiscard]] std::size_t pending_bytes() const noexcept {
        return server_ ? server_->socket.pending_bytes() : 0;
    }

    /// False: there is nothing to cancel.
    bool cancel(std::function<void()> finished);

    /// Ends the session, as soon as nothing is cut in two.
    void end_soon(wire::report why);
    /// The connection may lead to another target from now on.
    void target_may_have_changed();

    /// Ends the walsender.
    void close();

    void on_connected(backend::server_connection& connection) override;
    void on_connect_failed(
        backend::server_connection& connection, const backend::connect_failure& why
    ) override;
    void on_server_events(backend::server_connection& connection, std::uint32_t events) override;

private:
    void pass_to_client(std::string_view bytes);
    void server_gone(const std::string& cause);
    [[nodiscard]] bool may_end() const noexcept;
    [[nodiscard]] wire::report old_target_report() const;

    session& owner_;
    worker& home_;
    pool_entry& pool_;
    replication_traffic traffic_;
    std::unique_ptr<backend::server_connection> server_;
    bool open_ = false;
    std::optional<wire::report> ending_;
    backend::timer deadline_;  // until when an old target may be used
};

}  // namespace signalbox::proxy
