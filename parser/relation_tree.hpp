// The relations that libpg_query's tree of a statement names as schema.name.
#pragma once

#include "parser/relation_names.hpp"

namespace signalbox::parser {

/// Ranges have offsets only: the tree does not say where a name ends.
relation_names relations_in_tree(std::string_view tree, const relation_predicate& is_wanted);

}  // namespace signalbox::parser
