// The rows of a relation that Signalbox provides, as the text that a row source takes apart.
//
// Column by column, because the server's string_to_array() splits such a text at the speed of
// copying: of what has been tried for 10,000 rows (jsonb_to_recordset(), VALUES, array literals) it
// is the cheapest by far.
//
//     X  S X  N X  count  X  value S value S …  X  value S value S …  …
//
// X stands between the parts, S behind each value, N for NULL: control characters that no value
// has. Should the values have nearly all of these, three of theirs become U+FFFD, as what is no
// UTF-8 does, and NUL, which no server can hold.
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

inline constexpr std::uint32_t replacement_character = 0xFFFD;

/// Takes the first character of a text that is not empty, as its code point; what is not well
/// formed UTF-8, and NUL, goes byte by byte as U+FFFD.
std::uint32_t take_character(std::string_view& text) noexcept;

/// UTF-8. A row that is too short ends with NULLs.
std::string rows_text(const relation& of, std::span<const relation_row> rows);

/// All rows of a relation, as rows_text() writes them; shared by all that read them.
using relation_text = std::shared_ptr<const std::string>;

/// The rows of relations as text, made once per snapshot.
///
/// Snapshot  has a `version`, which grows
/// Executor  any thread; who comes while a text is being made waits for it
/// Cost      of the first reading of 10,000 rows, some 20 ms; of every other, a look-up
template <class Snapshot>
class relation_texts {
public:
    using row_maker = std::vector<relation_row> (*)(const relation&, const Snapshot&);

    explicit relation_texts(row_maker make) noexcept : make_(make) {}

    relation_text text(const relation& which, const std::shared_ptr<const Snapshot>& known) {
        const std::lock_guard lock{mutex_};
        if (of_ != known) {
            // A statement that began earlier may come with an older one: the newest stays.
            if (of_ && known->version < of_->version) {
                return made(which, *known);
            }
            of_ = known;
            texts_.clear();
        }
        auto& kept = texts_[which.name];
        if (!kept) {
            kept = made(which, *known);
        }
        return kept;
    }

private:
    [[nodiscard]] relation_text made(const relation& which, const Snapshot& known) const {
        return std::make_shared<const std::string>(rows_text(which, make_(which, known)));
    }

    row_maker make_;
    std::mutex mutex_;
    std::shared_ptr<const Snapshot> of_;               // of which the texts are
    std::map<std::string_view, relation_text> texts_;  // by relation
};

}  // namespace signalbox::rewrite
