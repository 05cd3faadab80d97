// The function calls in libpg_query's tree of some statements.
//
// The tree comes as a Protocol Buffers message. It is walked as it lies, with the message
// descriptors and a stack of our own: unpacking it would recurse as deep as the SQL nests.
#pragma once

#include "parser/pg_query.hpp"

namespace signalbox::parser {

bool tree_makes_call(std::string_view tree, const call_predicate& is_wanted);

}  // namespace signalbox::parser
