// An index that an older one of the same table already is: same method, keys in their order,
// operator classes, collations, directions, predicate and INCLUDE.
//
// A unique index beside a plain one is not redundant, and a primary key, an exclusion constraint
// and a replica identity never are.
#pragma once

#include "catalog/notices/notice.hpp"

#include <string>
#include <string_view>
#include <vector>

namespace signalbox::catalog {

class identical_index {
public:
    static constexpr std::string_view name = "An identical index already exists";

    struct finding : catalog::finding {
        std::string index;  // as shown
        std::string sql_index;
        std::string older;
        std::string table;
        std::string sql_table;
        std::string constraint;      // that has to be dropped with it
        bool is_referenced = false;  // by a foreign key: it cannot be dropped as it stands
    };

    [[nodiscard]] static std::vector<finding> examine(
        const object_facts& object, const server_facts& facts
    );
    [[nodiscard]] static notice_text render(const finding& found, redaction mode);
};

}  // namespace signalbox::catalog
