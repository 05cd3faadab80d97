// What a reload cannot change: the sockets, the event loops and the store are made at start.
#pragma once

#include "proxy/config.hpp"

#include <string>
#include <vector>

namespace signalbox::proxy {

/// Gives `next` those settings as they are in force; the rest of a reload must not work with others
/// than the parts that were made at start. Returns the names of those that `next` had otherwise
/// (`catalog.url`), in the manual's order.
std::vector<std::string> keep_until_restart(configuration& next, const configuration& in_force);

}  // namespace signalbox::proxy
