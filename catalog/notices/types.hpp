// The notice types, and the examination of objects by all of them.
//
// A type is a class in catalog/notices/types/ with
//
//   static constexpr std::string_view name
//   struct finding : catalog::finding          its own facts, as SQL text and names
//   static std::vector<finding> examine(const object_facts&, const server_facts&)
//   static notice_text render(const finding&, redaction)
//
// and a line in the list of types.cpp. Types are pure: what an examination finds depends on the
// facts alone. SQL of the user's definitions reaches a text through shown() only.
#pragma once

#include "catalog/notices/notice.hpp"

#include <string>
#include <string_view>
#include <vector>

namespace signalbox::catalog {

/// The types' names, in the order of their findings.
std::vector<std::string_view> notice_type_names();

/// The name of a type's page in docs/notices, without .md: lower case, `-` between words.
std::string notice_page(std::string_view type);

/// What is found in one object.
std::vector<notice> examine_object(
    const object_facts& object, const server_facts& facts, const notice_place& place
);

/// What a client's own query has that needs no facts: no type about views alone, such as LIMIT
/// without ORDER BY.
struct query_notices {
    std::vector<notice_text> certain;
    std::vector<notice_text>
        patterns;  // with a leading wildcard: an index of trigrams may be there
};

query_notices examine_query(parser::query query);

/// What is found in all of `facts`.
std::vector<notice> examine_all(const server_facts& facts, const notice_place& place);

/// What there is to say about one object that was made or replaced, with facts_sql() of it: what is
/// found in it, and what is found in a newer index because of it, a view. The notices before it are
/// those whose object it is, or, for a view, whose dependency.
std::vector<notice> examine_created(
    object_oid created, const server_facts& facts, const notice_place& place
);

}  // namespace signalbox::catalog
