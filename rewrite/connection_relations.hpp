// The relations about connections: their rows.
//
//   mz_connections                  a row for each connection
//   mz_connection_statuses          its last status
//   mz_connection_status_history    each change of a status; also of dropped connections
//
// The others of section 6 that have no source yet are empty.
//
// Source    DESIGN section 6
#pragma once

#include "catalog/connections.hpp"
#include "rewrite/relation_rows.hpp"
#include "rewrite/relations.hpp"

#include <vector>

namespace signalbox::rewrite {

std::vector<relation_row> connection_relation_rows(
    const relation& which, const catalog::connection_snapshot& known
);

}  // namespace signalbox::rewrite
