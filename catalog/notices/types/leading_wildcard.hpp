// A view's condition matches a column with LIKE or ILIKE and a pattern that begins with a wildcard:
// no B-tree can be searched for it, only an index of trigrams, and there is none.
#pragma once

#include "catalog/notices/notice.hpp"

#include <string>
#include <string_view>
#include <vector>

namespace signalbox::catalog {

class leading_wildcard {
public:
    static constexpr std::string_view name = "Pattern with a leading wildcard";

    struct finding : catalog::finding {
        std::string view;
        std::string table;  // "" = not known, nor what follows but the condition
        std::string sql_table;
        std::string condition;  // SQL
        std::string key;        // as in CREATE INDEX; "" = trigrams are not for its type
        std::string trigrams;   // the schema of pg_trgm; "" = not installed
    };

    [[nodiscard]] static std::vector<finding> examine(
        const object_facts& object, const server_facts& facts
    );
    /// Without facts: there may be an index that answers it.
    [[nodiscard]] static std::vector<finding> examine_query(const parser::query& query);
    [[nodiscard]] static notice_text render(const finding& found, redaction mode);
};

}  // namespace signalbox::catalog
