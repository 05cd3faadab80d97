#include "proxy/config_units.hpp"

#include <algorithm>
#include <arpa/inet.h>
#include <array>
#include <charconv>

namespace signalbox::proxy {

bool is_address_or_network(const std::string& text) noexcept {
    if (text.find('\0') != std::string::npos) {
        return false;
    }
    const std::size_t slash = text.find('/');
    std::array<char, INET6_ADDRSTRLEN> address{};
    const std::size_t length = std::min(slash, text.size());
    if (length >= address.size()) {
        return false;
    }
    std::copy_n(text.begin(), length, address.begin());
    std::array<unsigned char, 16> bytes{};
    unsigned max_prefix = 0;
    if (::inet_pton(AF_INET, address.data(), bytes.data()) == 1) {
        max_prefix = 32;
    } else if (::inet_pton(AF_INET6, address.data(), bytes.data()) == 1) {
        max_prefix = 128;
    } else {
        return false;
    }
    if (slash == std::string::npos) {
        return true;
    }
    unsigned prefix = 0;
    const char* const end = text.data() + text.size();
    const auto [stop, ec] = std::from_chars(text.data() + slash + 1, end, prefix);
    return ec == std::errc{} && stop == end && prefix <= max_prefix;
}

}  // namespace signalbox::proxy
