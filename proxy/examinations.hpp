// Who looks for notices, as the workers see it.
#pragma once

#include "catalog/notices/explained.hpp"
#include "proxy/commands.hpp"
#include "wire/error_response.hpp"

#include <functional>
#include <string>
#include <vector>

namespace signalbox::proxy {

class examinations {
public:
    virtual ~examinations() = default;

    /// Something was created, altered or dropped in this database. `done` hears, once and on any
    /// thread, what its maker is to be told; it may be empty. Any thread; does not block.
    virtual void examine(
        const std::string& connection,
        const std::string& database,
        std::function<void(std::vector<wire::report>)> done
    ) = 0;

    /// The lines behind this plan for this client, as UTF-8; none: there is nothing to say. Any
    /// thread; does not block.
    [[nodiscard]] virtual std::vector<std::string> section(
        const catalog::explained_statement& what,
        const catalog::plan_lines& plan,
        const std::string& connection,
        const std::string& database,
        const client_identity& who
    ) const = 0;
};

}  // namespace signalbox::proxy
