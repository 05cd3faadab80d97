// Configuration files of tests.
#pragma once

#include "proxy/config.hpp"

#include <algorithm>
#include <string>
#include <string_view>

namespace signalbox::tests {

// Seven lines; what a test adds starts at line 8.
inline constexpr std::string_view smallest =
    "[tls]\n"
    "mode = 'off'\n"
    "[connections.main]\n"
    "host = '127.0.0.1'\n"
    "[[routes]]\n"
    "database = 'app'\n"
    "connection = 'main'\n";

inline bool has_warning(const proxy::configuration& loaded, std::string_view part) {
    return std::ranges::any_of(loaded.warnings, [&](const std::string& warning) {
        return warning.find(part) != std::string::npos;
    });
}

}  // namespace signalbox::tests
