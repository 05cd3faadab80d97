// NOT IN (SELECT …), or <> ALL (SELECT …), whose column may be NULL: one NULL among the rows, and
// nothing passes.
//
// Only for what is a table's column, may be NULL there, and is compared by no condition of the
// sub-select that a NULL would fail.
#pragma once

#include "catalog/notices/notice.hpp"

#include <string>
#include <string_view>
#include <vector>

namespace signalbox::catalog {

class not_in_nullable {
public:
    static constexpr std::string_view name = "NOT IN over a nullable column";

    struct finding : catalog::finding {
        std::string object;
        std::string column;  // SQL, with its table
        std::string before;  // SQL of what is looked for
        std::string table;   // SQL
        std::string name;    // of the column, SQL
    };

    [[nodiscard]] static std::vector<finding> examine(
        const object_facts& object, const server_facts& facts
    );
    [[nodiscard]] static notice_text render(const finding& found, redaction mode);
};

}  // namespace signalbox::catalog
