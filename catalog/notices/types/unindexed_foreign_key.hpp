// A view joins two tables along a foreign key whose columns no index begins with: the rows that
// refer to a given one can only be found by reading the whole table, also for DELETE on the other
// side.
#pragma once

#include "catalog/notices/notice.hpp"

#include <string>
#include <string_view>
#include <vector>

namespace signalbox::catalog {

class unindexed_foreign_key {
public:
    static constexpr std::string_view name = "Unindexed foreign key";

    struct finding : catalog::finding {
        std::string view;
        std::string constraint;
        std::string table;
        std::string sql_table;
        std::string referenced;
        std::vector<std::string> columns;
    };

    [[nodiscard]] static std::vector<finding> examine(
        const object_facts& object, const server_facts& facts
    );
    [[nodiscard]] static notice_text render(const finding& found, redaction mode);
};

}  // namespace signalbox::catalog
