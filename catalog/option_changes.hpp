// Options before they are planned: checked against the type, merged with what was there, and
// written as SQL again.
//
// What a connection is follows from two layers: what the configuration file says, and what SQL
// changed against it. SET and DROP are kept as changes, RESET forgets the change.
#pragma once

#include "catalog/connection_kind.hpp"
#include "parser/commands.hpp"

#include <string>
#include <string_view>
#include <vector>

namespace signalbox::catalog {

/// Throws rejection, 42601, where the type has no such option.
void check_option(const connection_kind& kind, std::string_view option);

/// The options of CREATE CONNECTION. Throws rejection, 42601: an option not of this type, then one
/// given twice.
option_map options_of(
    const connection_kind& kind, const std::vector<parser::option_setting>& settings
);

/// What is kept after ALTER CONNECTION. `file`: what the configuration file says of the connection;
/// null where it does not name it. Throws rejection, 42601: an option not of this type, then one
/// set twice, then conflicts. DROP or RESET twice is fine.
option_overrides change_options(
    const connection_kind& kind,
    const option_map* file,
    const option_overrides& before,
    const std::vector<parser::option_change>& changes
);

/// What the connection is planned from.
option_map effective_options(const option_map* file, const option_overrides& overrides);

/// The CREATE CONNECTION that makes the connection again: options in the grammar's order, secrets
/// by name, no semicolon.
std::string create_sql(std::string_view name, connection_type type, const option_map& options);

}  // namespace signalbox::catalog
