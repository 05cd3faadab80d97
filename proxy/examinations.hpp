// Who looks for notices, as the workers see it.
#pragma once

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
};

}  // namespace signalbox::proxy
