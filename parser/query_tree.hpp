// parser/query.hpp's values out of libpg_query's tree. For parser/*.cpp only.
#pragma once

#include "parser/query.hpp"

#include <string>
#include <string_view>

namespace signalbox::parser {

/// `tree` is a ParseResult of one statement.
std::optional<query> query_in_tree(std::string_view tree);

/// No value: it nests too deep.
std::optional<std::string> canonical_tree(std::string_view tree);

}  // namespace signalbox::parser
