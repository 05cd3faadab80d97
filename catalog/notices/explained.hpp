// The `Notices:` section of an EXPLAIN: what there is to say about the query and about what it
// uses.
//
//   examine_explained()   the query's text, once: what it names, what is wrong in itself
//   plan_lines::add()     each line of the plan, as the server writes it
//   notices_section()     the lines behind the plan
//
//   Notices:
//     NOTICE:  view "public.v" compares with NULL: note = NULL is never true
//       HINT:  An operator that gets NULL gives NULL, which a condition takes as false.
//       ACTION:  Write note IS NULL instead of note = NULL.
//
// Pure, and without a wait: stored notices come from the snapshot.
#pragma once

#include "catalog/notices.hpp"
#include "catalog/notices/notice.hpp"
#include "parser/explain.hpp"

#include <functional>
#include <set>
#include <string>
#include <string_view>
#include <vector>

namespace signalbox::catalog {

struct explained_statement {
    std::vector<parser::relation_name> relations;
    std::vector<notice_text> findings;
    /// Patterns with a leading wildcard: they count where the plan filters by one.
    std::vector<notice_text> patterns;
};

/// Of the query behind EXPLAIN. Nothing where it cannot be read: see parser::parse_explained().
explained_statement examine_explained(std::string_view query, parser::backslashes strings);

/// What the lines of a plan in text format tell.
struct plan_lines {
    std::set<std::string, std::less<>> indexes;  // that its scans name
    bool filters_by_pattern = false;
    bool searches_by_pattern = false;  // in an index

    void add(std::string_view line);
};

/// Where the query runs.
struct explained_place {
    std::string_view connection_id;
    std::string_view database;
};

/// No lines: there is nothing to say. Of what is stored, new notices only: superusers get them
/// plain, support redacted, others none. A name without a schema, and an index's, counts where one
/// object alone that notices refer to has it.
std::vector<std::string> notices_section(
    const explained_statement& what,
    const plan_lines& plan,
    const notice_snapshot& known,
    const explained_place& place,
    notice_reader who
);

}  // namespace signalbox::catalog
