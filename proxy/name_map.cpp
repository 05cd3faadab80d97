#include "proxy/name_map.hpp"

#include <re2/re2.h>

#include <algorithm>

namespace signalbox::proxy {
namespace {

std::shared_ptr<const re2::RE2> pattern_of(const std::string& name) {
    return name.starts_with(name_pattern_mark)
               ? std::make_shared<const re2::RE2>(name.substr(1), re2::RE2::Quiet)
               : nullptr;
}

}  // namespace

void name_map::add(const name_mapping& mapping) {
    entries_.push_back(
        {.system_username = mapping.system_username,
         .system_pattern = pattern_of(mapping.system_username),
         .database_username = mapping.database_username,
         .database_pattern = pattern_of(mapping.database_username),
         .is_any_user = mapping.database_username == "all"}
    );
}

bool name_map::allows(std::string_view system_username, std::string_view user) const {
    return std::any_of(entries_.begin(), entries_.end(), [&](const entry& each) {
        return each.allows(system_username, user);
    });
}

bool name_map::entry::allows(std::string_view system_name, std::string_view user) const {
    if (!system_pattern) {
        if (system_name != system_username) {
            return false;
        }
    } else if (const auto at = database_username.find(name_group);
               at != std::string::npos && !database_pattern) {
        // What the group has caught is a name, whatever it looks like: neither "all" nor a pattern.
        re2::StringPiece group;
        if (!re2::RE2::PartialMatch(system_name, *system_pattern, &group) ||
            group.data() == nullptr) {
            return false;
        }
        std::string name = database_username;
        name.replace(at, name_group.size(), group.data(), group.size());
        return name == user;
    } else if (!re2::RE2::PartialMatch(system_name, *system_pattern)) {
        return false;
    }
    if (database_pattern) {
        return re2::RE2::PartialMatch(user, *database_pattern);
    }
    return is_any_user || user == database_username;
}

}  // namespace signalbox::proxy
