// A view compares some columns of a table with literals; these columns are part of an index's key,
// but no index can be searched for them, since others stand before them in every key.
//
// Columns that a join compares with another table's count as given: the index is searched once per
// row of that table. The finding belongs to whichever is newer, the view or the index.
#pragma once

#include "catalog/notices/notice.hpp"

#include <string>
#include <string_view>
#include <vector>

namespace signalbox::catalog {

class index_too_wide {
public:
    static constexpr std::string_view name = "Index too wide for literal constraints";

    struct finding : catalog::finding {
        std::string index;
        std::string view;
        std::string table;
        std::string sql_table;
        std::vector<std::string> keys;     // of the index, column names
        std::vector<std::string> columns;  // compared with literals
        std::string constraints;           // SQL
    };

    [[nodiscard]] static std::vector<finding> examine(
        const object_facts& object, const server_facts& facts
    );
    [[nodiscard]] static notice_text render(const finding& found, redaction mode);
};

}  // namespace signalbox::catalog
