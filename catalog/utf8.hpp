// Text that is to be stored is UTF-8 without NUL: neither store can keep anything else.
#pragma once

#include <string>
#include <string_view>

namespace signalbox::catalog {

bool is_utf8(std::string_view text) noexcept;

/// With U+FFFD for every byte that is malformed. A server's own words come in its own encoding.
std::string made_utf8(std::string_view text);

}  // namespace signalbox::catalog
