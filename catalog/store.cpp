#include "catalog/store.hpp"

#include "catalog/postgres_store.hpp"
#include "catalog/sqlite_store.hpp"

#include <filesystem>

namespace signalbox::catalog {

std::unique_ptr<store> open_store(const store_settings& settings) {
    constexpr std::string_view sqlite = "sqlite:";
    const std::string_view url = settings.url;
    if (url.starts_with(sqlite)) {
        const std::string_view file = url.substr(sqlite.size());
        if (file.empty()) {
            throw store_error{"the store's URL names no file: sqlite:FILE"};
        }
        // An absolute path replaces the folder.
        return std::make_unique<sqlite_store>((std::filesystem::path{settings.folder} / file));
    }
    if (url.starts_with("postgresql://")) {
        return std::make_unique<postgres_store>(settings);
    }
    throw store_error{"the store's URL must start with sqlite: or postgresql://"};
}

}  // namespace signalbox::catalog
