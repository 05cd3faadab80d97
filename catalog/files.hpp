// Small files read whole: the configuration, secrets, certificates.
#pragma once

#include <cstddef>
#include <filesystem>
#include <string>

namespace signalbox::catalog {

/// A file's bytes, or why there are none.
struct file_content {
    std::string text;
    bool others_may_read = false;
    std::string error;  // the system's own words; "" = read
};

enum class file_kind { any, regular };

/// Reads at most `max_bytes`; a longer file is an error. Never waits for a FIFO's writer where
/// `regular` is asked.
file_content read_file(const std::filesystem::path& path, std::size_t max_bytes, file_kind kind);

/// For a file with a secret too much, by PostgreSQL's rule: more than 0600, or than 0640 where root
/// owns it and a group shares it. False where it cannot be found out.
bool others_may_read(const std::filesystem::path& path) noexcept;

}  // namespace signalbox::catalog
