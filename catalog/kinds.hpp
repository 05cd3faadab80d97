// The types of connections, each from its own file. For the list in connection_kind.cpp only.
#pragma once

#include "catalog/connection_kind.hpp"

namespace signalbox::catalog {

const connection_kind& postgres_kind() noexcept;
const connection_kind& aws_privatelink_kind() noexcept;
const connection_kind& kafka_kind() noexcept;

}  // namespace signalbox::catalog
