// The relations that libpg_query's tree of a statement names as schema.name.
#pragma once

#include "parser/explain.hpp"
#include "parser/relation_names.hpp"

namespace signalbox::parser {

/// Ranges have offsets only: the tree does not say where a name ends.
relation_names relations_in_tree(std::string_view tree, const relation_predicate& is_wanted);

/// Those of a single statement, with and without a schema, each once; not what has the name of a
/// CTE. No value: there are more statements, or none.
std::optional<std::vector<relation_name>> all_relations_in_tree(std::string_view tree);

}  // namespace signalbox::parser
