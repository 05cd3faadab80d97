// An index whose every key is a constant: all rows are equal to it, and no search can use it.
//
// A unique one is a constraint: at most one row (of those that its predicate chooses).
#pragma once

#include "catalog/notices/notice.hpp"

#include <string>
#include <string_view>
#include <vector>

namespace signalbox::catalog {

class empty_index_key {
public:
    static constexpr std::string_view name = "Empty index key";

    struct finding : catalog::finding {
        std::string index;
        std::string sql_index;
        std::string table;
        std::string keys;  // SQL
    };

    [[nodiscard]] static std::vector<finding> examine(
        const object_facts& object, const server_facts& facts
    );
    [[nodiscard]] static notice_text render(const finding& found, redaction mode);
};

}  // namespace signalbox::catalog
