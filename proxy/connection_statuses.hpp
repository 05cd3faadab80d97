// What pools meet while they open server connections, and what is known of a target.
#pragma once

#include "backend/server_connection.hpp"
#include "catalog/connection.hpp"

#include <memory>
#include <string>

namespace signalbox::proxy {

class connection_statuses {
public:
    virtual ~connection_statuses() = default;

    /// A server connection was opened (`why` is null), or not. It says nothing about a connection
    /// that leads elsewhere by now. Any thread; costs a lock.
    virtual void on_outcome(
        std::shared_ptr<const catalog::postgres_connection> connection,
        const backend::connect_failure* why
    ) = 0;

    /// For a DETAIL: `Connection "main" has been failed since …`. Any thread.
    [[nodiscard]] virtual std::string describe_status(const std::string& connection) const = 0;
};

}  // namespace signalbox::proxy
