// The rows of a relation that Signalbox provides, as the JSON that jsonb_to_recordset() reads.
//
// The text is ASCII, so that it means the same in every client_encoding; the server's encoding has
// to have the characters. What is no UTF-8, and NUL, which jsonb cannot hold, becomes U+FFFD.
#pragma once

#include "catalog/store.hpp"
#include "rewrite/relations.hpp"

#include <cstdint>
#include <map>
#include <memory>
#include <mutex>
#include <span>
#include <string>
#include <string_view>
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

/// All rows of a relation, as rows_json() writes them; shared by all that read them.
using relation_text = std::shared_ptr<const std::string>;

/// The rows of relations as JSON, made once per snapshot.
///
/// Snapshot  has a `version`, which grows
/// Executor  any thread; who comes while a text is being made waits for it
/// Cost      of the first reading of 10,000 rows, some 100 ms; of every other, a look-up
template <class Snapshot>
class relation_texts {
public:
    using row_maker = std::vector<relation_row> (*)(const relation&, const Snapshot&);

    explicit relation_texts(row_maker make) noexcept : make_(make) {}

    relation_text json(const relation& which, const std::shared_ptr<const Snapshot>& known) {
        const std::lock_guard lock{mutex_};
        if (of_ != known) {
            // A statement that began earlier may come with an older one: the newest stays.
            if (of_ && known->version < of_->version) {
                return made(which, *known);
            }
            of_ = known;
            texts_.clear();
        }
        auto& text = texts_[which.name];
        if (!text) {
            text = made(which, *known);
        }
        return text;
    }

private:
    [[nodiscard]] relation_text made(const relation& which, const Snapshot& known) const {
        return std::make_shared<const std::string>(rows_json(which, make_(which, known)));
    }

    row_maker make_;
    std::mutex mutex_;
    std::shared_ptr<const Snapshot> of_;               // of which the texts are
    std::map<std::string_view, relation_text> texts_;  // by relation
};

}  // namespace signalbox::rewrite
