// The SHOW forms about connections: answered from a snapshot, so that they work with every server
// and the store down.
//
// Source    DESIGN section 5 and 14.16
#pragma once

#include "catalog/connections.hpp"
#include "proxy/commands.hpp"

#include <optional>

namespace signalbox::proxy {

/// Of what the statement returns; none: it returns no rows.
std::vector<command_column> columns_of(const parser::command& command);

/// Nothing: it is no SHOW form about connections.
std::optional<command_reply> show(
    const parser::command& command, const catalog::connection_snapshot& known
);

/// As LIKE: % and _, and a backslash takes their meaning away; at the end of the pattern it stands
/// for itself. Both are UTF-8, of which _ takes one character.
bool matches_like(std::string_view text, std::string_view pattern) noexcept;

}  // namespace signalbox::proxy
