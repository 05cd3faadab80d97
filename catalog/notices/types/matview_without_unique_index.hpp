// REFRESH MATERIALIZED VIEW CONCURRENTLY wants a unique index on columns, of all rows; without one,
// each refresh locks out the view's readers.
#pragma once

#include "catalog/notices/notice.hpp"

#include <string>
#include <string_view>
#include <vector>

namespace signalbox::catalog {

class matview_without_unique_index {
public:
    static constexpr std::string_view name = "Materialized view without a unique index";

    struct finding : catalog::finding {
        std::string view;
        std::string sql_view;
        std::vector<std::string> key;  // that is unique by the view's definition; empty: none known
    };

    [[nodiscard]] static std::vector<finding> examine(
        const object_facts& object, const server_facts& facts
    );
    [[nodiscard]] static notice_text render(const finding& found, redaction mode);
};

}  // namespace signalbox::catalog
