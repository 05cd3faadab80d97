// Small files read whole: the configuration, secrets, certificates.
#pragma once

#include <cstddef>
#include <filesystem>
#include <string>

namespace signalbox::catalog {

/// A file's bytes, its permission bits and its owner, or why there are none.
struct file_content {
    std::string text;
    unsigned mode = 0;
    unsigned owner = 0;
    std::string error;  // the system's own words; "" = read
};

enum class file_kind { any, regular };

/// Reads at most `max_bytes`; a longer file is an error. Never waits for a FIFO's writer where
/// `regular` is asked.
file_content read_file(const std::filesystem::path& path, std::size_t max_bytes, file_kind kind);

}  // namespace signalbox::catalog
