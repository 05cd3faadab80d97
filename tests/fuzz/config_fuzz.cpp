// The configuration loader: any text either loads or is refused with one finding that names the
// file.
#include "proxy/config.hpp"

#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <string_view>

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    constexpr std::string_view file = "/nonexistent/fuzz.toml";
    const std::string_view text{reinterpret_cast<const char*>(data), size};
    try {
        const auto loaded = signalbox::proxy::load_configuration_text(text, file);
        if (loaded.connections.empty() || loaded.routes.empty()) {
            std::abort();
        }
    } catch (const signalbox::proxy::configuration_error& error) {
        if (!std::string_view{error.what()}.starts_with("/nonexistent/fuzz.toml:")) {
            std::abort();
        }
    }
    return 0;
}
