// The relations that Signalbox provides: their names and columns.
//
// Source    DESIGN section 6
#pragma once

#include <span>
#include <string>
#include <string_view>

namespace signalbox::rewrite {

struct relation_column {
    std::string_view name;
    std::string_view type;  // text, timestamptz, int8, oid, uuid, text[]
};

struct relation {
    std::string_view name;  // unique among them all
    bool is_internal;       // of the schema mz_internal, else of mz_catalog
    std::span<const relation_column> columns;
    std::string_view changed_by;  // the statements that change what it shows; "" = none
};

/// What the two schemas are called here: a server may own one of the usual names.
struct schema_names {
    std::string catalog = "mz_catalog";
    std::string internal = "mz_internal";

    [[nodiscard]] std::string_view of(const relation& r) const noexcept {
        return r.is_internal ? internal : catalog;
    }
};

std::span<const relation> relations() noexcept;

/// Null where there is none of that name.
const relation* find_relation(std::string_view name) noexcept;

/// Names as PostgreSQL folds them.
const relation* find_relation(
    std::string_view schema, std::string_view name, const schema_names& names
) noexcept;

}  // namespace signalbox::rewrite
