// One worker's part in LISTEN and NOTIFY where sessions share server connections: the hubs that
// live on this worker's loop, and the sessions of this worker that wait for one to listen.
//
// A hub lives on the worker that its group's name says; every other worker
// reaches it by posting, and is reached by posting. A loop that has stopped answers nobody:
// sessions wait against a clock of their own worker, and not at all once it is draining.
//
// Executor  the worker's loop; only the constructor and the destructor run without it
#pragma once

#include "backend/notification_hub.hpp"

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <tuple>
#include <unordered_map>
#include <vector>

namespace signalbox::proxy {

class worker;
struct pool_entry;

class notifications final : public backend::notification_hooks {
public:
    notifications(worker& owner, std::size_t index);
    ~notifications();
    notifications(const notifications&) = delete;
    notifications& operator=(const notifications&) = delete;

    /// See worker::set_channels().
    void set_channels(
        pool_entry& pool,
        std::uint64_t session,
        std::vector<std::string> channels,
        std::string client_encoding,
        std::function<void(bool)> confirmed
    );
    void session_gone(std::uint64_t session);

    /// Once a second, and after a change of the configuration.
    void maintain();
    /// Nobody waits any more: the sessions are about to end.
    void drain();
    /// Once the loop has stopped.
    void close();

    void on_heard(
        std::size_t worker_index,
        const session_list& sessions,
        const backend::notification_ptr& heard
    ) override;
    void on_channels_set(std::size_t worker_index, std::uint64_t request, bool ok) override;
    void on_listener_lost(const backend::server_target& target, const std::string& cause) override;
    void on_listener_back(const backend::server_target& target) override;

private:
    struct waiting {
        waiting(
            notifications& owner,
            std::uint64_t request_number,
            std::uint64_t session_id,
            std::function<void(bool)> call
        )
            : desk(owner),
              request(request_number),
              session(session_id),
              confirmed(std::move(call)) {}

        notifications& desk;
        const std::uint64_t request;
        const std::uint64_t session;
        const std::function<void(bool)> confirmed;
        backend::timer deadline;
    };

    /// Which hub: the pool group and the encoding that its sessions read.
    struct hub_name {
        std::string group;
        std::string client_encoding;

        bool operator==(const hub_name&) const = default;

        bool operator<(const hub_name& other) const {
            return std::tie(group, client_encoding) < std::tie(other.group, other.client_encoding);
        }
    };

    void send(
        const hub_name& to,
        std::uint64_t session,
        std::vector<std::string> channels,
        std::uint64_t request
    );
    backend::notification_hub& hub(const hub_name& name);
    void settle(std::uint64_t request, bool ok);

    worker& owner_;
    const std::size_t index_;
    std::uint64_t last_request_ = 0;
    std::unordered_map<std::uint64_t, std::unique_ptr<waiting>> waiting_;
    std::unordered_map<std::uint64_t, hub_name> listening_;  // by session
    std::map<hub_name, std::unique_ptr<backend::notification_hub>> hubs_;
};

}  // namespace signalbox::proxy
