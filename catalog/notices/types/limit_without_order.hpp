// A SELECT in a view that takes some of its rows, whichever come first.
//
// Not for what has one row at most or asks for existence only, nor over a sub-select that is
// sorted.
#pragma once

#include "catalog/notices/notice.hpp"

#include <string>
#include <string_view>
#include <vector>

namespace signalbox::catalog {

class limit_without_order {
public:
    static constexpr std::string_view name = "LIMIT without ORDER BY";

    struct finding : catalog::finding {
        std::string object;
        std::string limit;        // SQL
        std::size_t ordinal = 0;  // which of the view's, from 1; 0: the only one
    };

    [[nodiscard]] static std::vector<finding> examine(
        const object_facts& object, const server_facts& facts
    );
    [[nodiscard]] static notice_text render(const finding& found, redaction mode);
};

}  // namespace signalbox::catalog
