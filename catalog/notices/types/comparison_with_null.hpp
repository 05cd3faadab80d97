// A comparison with NULL by an operator (=, <>, <, LIKE, NOT IN (…, NULL), CASE x WHEN NULL): it is
// never true, whatever the column holds. In a view, a materialized view, or an index's expressions
// and predicate.
#pragma once

#include "catalog/notices/notice.hpp"

#include <string>
#include <string_view>
#include <vector>

namespace signalbox::catalog {

class comparison_with_null {
public:
    static constexpr std::string_view name = "Comparison with NULL";

    struct finding : catalog::finding {
        std::string object;      // "view \"s.v\"", as shown
        std::string comparison;  // SQL
        std::string instead;     // SQL; "" = nothing simple
    };

    [[nodiscard]] static std::vector<finding> examine(
        const object_facts& object, const server_facts& facts
    );
    [[nodiscard]] static notice_text render(const finding& found, redaction mode);
};

}  // namespace signalbox::catalog
