// The rows of a relation that Signalbox provides, as the JSON that jsonb_to_recordset() reads.
//
// The text is ASCII, so that it means the same in every client_encoding; the server's encoding has
// to have the characters. What is no UTF-8, and NUL, which jsonb cannot hold, becomes U+FFFD.
#pragma once

#include "catalog/store.hpp"
#include "rewrite/relations.hpp"

#include <cstdint>
#include <span>
#include <string>
#include <variant>
#include <vector>

namespace signalbox::rewrite {

/// NULL, text or uuid, int8 or oid, timestamptz, text[].
using relation_value = std::variant<
    std::monostate,
    std::string,
    std::int64_t,
    catalog::timestamp,
    std::vector<std::string>>;

/// One value for each column, in their order.
using relation_row = std::vector<relation_value>;

/// `[{"id":"u1",…},…]`. NULLs are left out.
std::string rows_json(const relation& of, std::span<const relation_row> rows);

}  // namespace signalbox::rewrite
