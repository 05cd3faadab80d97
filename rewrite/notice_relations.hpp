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

#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>
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

/// The rows as JSON, made once per snapshot.
///
/// Executor  any thread; who comes while the text is being made waits for it
/// Cost      of the first reading of 10,000 notices, some 100 ms; of every other, a look-up
class notice_relation_texts {
public:
    std::shared_ptr<const std::string> json(
        const relation& which, const catalog::notice_snapshot_ptr& known
    );

private:
    std::mutex mutex_;
    catalog::notice_snapshot_ptr of_;  // of which the texts are
    std::map<std::string_view, std::shared_ptr<const std::string>> texts_;  // by relation
};

}  // namespace signalbox::rewrite
