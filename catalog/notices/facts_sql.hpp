// The queries that read a server's catalogs, and their rows made into facts.
//
//   control connection:  facts_settings_sql, once
//                        for each query of facts_sql(…): its rows -> facts_reader::add(query, row)
//                        facts_reader::finish() -> server_facts
//
// The queries are complete statements without parameters, independent of each other: they may be
// sent as one simple Query, in one transaction or not. An object that goes away between them is
// missing from the facts, or only part of it is there; a row about it is ignored.
//
// Servers   14 to 18
// Excluded  system schemas, temporary objects, TOAST
#pragma once

#include "catalog/notices/facts.hpp"

#include <cstddef>
#include <optional>
#include <string>
#include <vector>

namespace signalbox::catalog {

/// Makes the server qualify every name in the definitions that it writes, and write literals the
/// same way whatever the role's and the database's settings. Without JIT, which takes a second to
/// compile what runs for ten milliseconds.
extern const char* const facts_settings_sql;

/// About these objects and what is needed to examine them: a view's tables with their indexes, an
/// index's table with its other indexes and the views that read it. Empty: about all objects.
std::vector<std::string> facts_sql(const std::vector<object_oid>& about);

/// One row and column per object that can be examined: its oid. For facts_sql() in batches.
extern const char* const examined_objects_sql;

/// One row and column per object whose notices may be others after these tables, views or indexes
/// changed: they themselves, their indexes, and the views that read them.
std::string dependent_objects_sql(const std::vector<object_oid>& changed);

using fact_row = std::vector<std::optional<std::string>>;  // text format; no value: NULL

class facts_reader {
public:
    /// `query` is the position in facts_sql()'s result, in whose order rows have to come. False:
    /// the row is not one of that query.
    [[nodiscard]] bool add(std::size_t query, const fact_row& row);

    /// Parses the definitions: see parser/query.hpp for the stack that it needs.
    server_facts finish() &&;

private:
    bool add_object(const fact_row& row);
    bool add_column(const fact_row& row);
    bool add_key(const fact_row& row);
    bool add_foreign_key(const fact_row& row);
    bool add_dependency(const fact_row& row);
    bool add_known(const fact_row& row);

    server_facts facts_;
};

}  // namespace signalbox::catalog
