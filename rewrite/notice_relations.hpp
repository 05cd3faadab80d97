// The relations about notices: their rows, and who may read them.
//
//   mz_objects                      superusers
//   mz_optimizer_notices            superusers; the same rows as mz_notices, as long as there is no
//   mz_notices                      other subsystem that makes notices
//   …_redacted                      superusers and support; message, hint and action are the
//                                   redacted ones
//   mz_ignored_optimizer_notices    superusers
//
// Source    DESIGN section 6
#pragma once

#include "catalog/notices.hpp"
#include "rewrite/relation_rows.hpp"
#include "rewrite/relations.hpp"
#include "wire/error_response.hpp"

#include <optional>
#include <string>
#include <vector>

namespace signalbox::rewrite {

bool is_notice_relation(const relation& which) noexcept;

/// As an ERROR, 42501; nothing: `who` may.
std::optional<wire::report> refuse_reading(
    const relation& which, catalog::notice_reader who, const schema_names& names
);

std::vector<relation_row> object_rows(const catalog::notice_snapshot& known);
std::vector<relation_row> notice_rows(const catalog::notice_snapshot& known);
std::vector<relation_row> redacted_notice_rows(const catalog::notice_snapshot& known);
std::vector<relation_row> ignored_notice_rows(const catalog::notice_snapshot& known);

/// Those of `which`, one of the above.
std::vector<relation_row> notice_relation_rows(
    const relation& which, const catalog::notice_snapshot& known
);

}  // namespace signalbox::rewrite
