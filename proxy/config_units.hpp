// How the configuration's values read: what it shares with the options of connections, and
// addresses.
#pragma once

#include "catalog/units.hpp"
#include "catalog/wording.hpp"

#include <string>

namespace signalbox::proxy {

using catalog::duration_units;
using catalog::in_quotes;
using catalog::max_duration;
using catalog::max_size_bytes;
using catalog::nearest_name;
using catalog::parse_duration;
using catalog::parse_rate;
using catalog::parse_size;
using catalog::size_units;

/// An IPv4 or IPv6 address, or a network in CIDR form.
bool is_address_or_network(const std::string& text) noexcept;

}  // namespace signalbox::proxy
