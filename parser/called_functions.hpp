// The function calls in libpg_query's tree of some statements, row.function among them: whether
// that is a column the tree does not say.
#pragma once

#include "parser/pg_query.hpp"

namespace signalbox::parser {

bool tree_makes_call(std::string_view tree, const call_predicate& is_wanted);

}  // namespace signalbox::parser
