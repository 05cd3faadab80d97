// A view's condition compares a function or a cast of a column that has an index, so that the index
// cannot be searched, and no index is on the expression itself.
//
// Casts that change nothing (character varying to text, a domain to its type) do not count.
#pragma once

#include "catalog/notices/notice.hpp"

#include <string>
#include <string_view>
#include <vector>

namespace signalbox::catalog {

class function_on_indexed_column {
public:
    static constexpr std::string_view name = "Function or cast on an indexed column";

    struct finding : catalog::finding {
        std::string view;
        std::string table;
        std::string sql_table;
        std::string column;
        std::string index;       // that cannot be used
        std::string expression;  // SQL
        std::string key;         // as in CREATE INDEX; "" = it cannot be indexed as it stands
    };

    [[nodiscard]] static std::vector<finding> examine(
        const object_facts& object, const server_facts& facts
    );
    [[nodiscard]] static notice_text render(const finding& found, redaction mode);
};

}  // namespace signalbox::catalog
