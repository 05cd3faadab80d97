// Which users somebody may log in as whom a certificate has named: a map of pg_ident.conf.
//
// Source    PostgreSQL manual, "User Name Maps"; src/backend/libpq/hba.c (check_ident_line)
#pragma once

#include "proxy/config.hpp"

#include <memory>
#include <string>
#include <string_view>
#include <vector>

namespace re2 {
class RE2;
}

namespace signalbox::proxy {

/// What a name of a mapping begins with when the rest is a pattern.
inline constexpr char name_pattern_mark = '/';
/// In a database_username: the first group of the system_username's pattern.
inline constexpr std::string_view name_group = "\\1";

class name_map {
public:
    /// One more mapping, behind the others. The loader has checked its patterns.
    void add(const name_mapping& mapping);

    /// Any of the mappings will do. A pattern matches anywhere in a name unless it has anchors.
    [[nodiscard]] bool allows(std::string_view system_username, std::string_view user) const;

private:
    struct entry {
        std::string system_username;
        std::shared_ptr<const re2::RE2> system_pattern;  // null: the name as it is
        std::string database_username;
        std::shared_ptr<const re2::RE2> database_pattern;
        bool is_any_user = false;

        [[nodiscard]] bool allows(std::string_view system_name, std::string_view user) const;
    };

    std::vector<entry> entries_;
};

}  // namespace signalbox::proxy
