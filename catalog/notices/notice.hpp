// A notice: what is wrong with one view, materialized view or index, and what to do about it.
#pragma once

#include "catalog/notices/facts.hpp"

#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace signalbox::catalog {

enum class action_type { sql_statements, plain_text };

/// As in mz_notices.action_type.
std::string_view action_type_name(action_type type) noexcept;

/// How a notice's texts are written: with the literals of the user's definitions, or without.
enum class redaction { plain, literals };

struct notice_text {
    std::string message;  // one line, as PostgreSQL words it: no capital, no full stop
    std::string hint;
    std::string action;  // sql_statements: each runs as it stands, with `;` behind it
    catalog::action_type action_type = action_type::plain_text;

    bool operator==(const notice_text&) const = default;
};

/// What every finding has; a notice type adds its own.
struct finding {
    std::vector<object_oid>
        dependencies;                // beside the object: the relations and indexes it is about
    std::vector<std::string> facts;  // what makes it another finding of the same object
};

/// Where the objects are: fingerprints of other databases are others.
struct notice_place {
    std::string connection;  // its name
    std::string database;
};

struct notice {
    std::string type;  // notice_type::name()
    notice_text text;
    std::optional<std::string> redacted_message;  // no value: the text itself has no literal
    std::optional<std::string> redacted_hint;
    std::optional<std::string> redacted_action;
    object_oid object = 0;
    object_kind kind = object_kind::view;
    std::string schema;
    std::string name;
    std::vector<object_oid> dependencies;
    std::string fingerprint;  // a UUID
};

/// SQL within a text, as `mode` wants it.
std::string shown(std::string_view sql, redaction mode);

/// UUIDv5 over its parts: the same for definitions that differ in white space, comments and the
/// names given to relations in FROM, and for no others.
std::string notice_fingerprint(
    std::string_view type,
    const notice_place& place,
    const object_facts& object,
    const std::vector<std::string>& facts
);

}  // namespace signalbox::catalog
