// [[auth.maps]]: one table is one line of pg_ident.conf.
#include "proxy/config_parts.hpp"
#include "proxy/name_map.hpp"

#include <re2/re2.h>

namespace signalbox::proxy {
namespace {

constexpr auto map_keys =
    std::to_array<std::string_view>({"name", "system_username", "database_username"});

void require(const section& from, std::string_view key, const std::string& value) {
    if (value.empty()) {
        from.fail(
            key,
            "an entry of [[auth.maps]] needs " + std::string{key},
            R"(for example name = "certs", system_username = "Jane Doe", database_username = "jane")"
        );
    }
}

/// The number of groups of the pattern; nothing where the name is none.
std::optional<int> check_pattern(
    const section& from, std::string_view key, const std::string& name
) {
    if (!name.starts_with(name_pattern_mark)) {
        return std::nullopt;
    }
    const re2::RE2 compiled{name.substr(1), re2::RE2::Quiet};
    if (!compiled.ok()) {
        from.fail(
            key,
            std::string{key} + " is not a pattern behind its slash: " + compiled.error(),
            "the syntax is RE2's; in TOML, write patterns in single quotes or double each backslash"
        );
    }
    return compiled.NumberOfCapturingGroups();
}

name_mapping read_mapping(const section& from) {
    name_mapping out;
    from.read("name", out.name);
    from.read("system_username", out.system_username);
    from.read("database_username", out.database_username);
    require(from, "name", out.name);
    require(from, "system_username", out.system_username);
    require(from, "database_username", out.database_username);
    const auto groups = check_pattern(from, "system_username", out.system_username);
    const auto user_groups = check_pattern(from, "database_username", out.database_username);
    if (out.database_username.starts_with('+')) {
        from.fail(
            "database_username",
            "database_username " + in_quotes(out.database_username) + " is a group",
            "who belongs to it is the server's to know; name users, or write a pattern"
        );
    }
    if (out.database_username.find(name_group) != std::string::npos) {
        if (user_groups) {
            from.fail(
                "database_username",
                R"(\1 cannot stand in a database_username that is a pattern)",
                "remove the slash, or the group"
            );
        }
        if (groups.value_or(0) == 0) {
            from.fail(
                "database_username",
                R"(\1 stands for a group of system_username, which has none)",
                R"(for example system_username = '/^(.*)@example\.com$')"
            );
        }
    }
    return out;
}

}  // namespace

void read_name_maps(const section& auth, configuration& out) {
    for (const section& from : auth.children("maps", "[[auth.maps]]", map_keys)) {
        out.auth_maps.push_back(read_mapping(from));
    }
}

void check_map_use(
    const section& from, const std::string& map, auth_method method, const configuration& out
) {
    if (map.empty()) {
        return;
    }
    if (method != auth_method::cert) {
        from.fail(
            "map", "a map is for method \"cert\" only", "remove map, or set method = \"cert\""
        );
    }
    if (std::ranges::none_of(out.auth_maps, [&](const auto& each) { return each.name == map; })) {
        from.fail(
            "map",
            "there is no map " + in_quotes(map),
            "write [[auth.maps]] with name = " + in_quotes(map) +
                ", system_username and database_username"
        );
    }
}

void warn_of_unused_maps(const section& auth, const configuration& out) {
    std::set<std::string, std::less<>> used{out.default_auth_map};
    for (const auth_rule& rule : out.auth_rules) {
        used.insert(rule.map);
    }
    for (const section& from : auth.children("maps", "[[auth.maps]]", map_keys)) {
        std::string name;
        from.read("name", name);
        if (used.insert(name).second) {
            from.warn("name", "No rule uses the map " + in_quotes(name) + ".");
        }
    }
}

}  // namespace signalbox::proxy
