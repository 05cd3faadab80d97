#include "catalog/files.hpp"

#include <array>
#include <cerrno>
#include <fcntl.h>
#include <sys/stat.h>
#include <system_error>
#include <unistd.h>

namespace signalbox::catalog {
namespace {

std::string system_words(int code) {
    return std::generic_category().message(code);
}

bool is_open_to_others(const struct stat& facts) noexcept {
    const unsigned others = facts.st_uid == 0 ? S_IROTH : S_IRGRP | S_IROTH;
    return (facts.st_mode & others) != 0;
}

class file_handle {
public:
    explicit file_handle(int fd) noexcept : fd_{fd} {}

    ~file_handle() {
        if (fd_ >= 0) {
            ::close(fd_);
        }
    }

    file_handle(const file_handle&) = delete;
    file_handle& operator=(const file_handle&) = delete;
    file_handle(file_handle&&) = delete;
    file_handle& operator=(file_handle&&) = delete;

    [[nodiscard]] int get() const noexcept { return fd_; }

private:
    int fd_;
};

}  // namespace

file_content read_file(const std::filesystem::path& path, std::size_t max_bytes, file_kind kind) {
    file_content out;
    const int waiting = kind == file_kind::regular ? O_NONBLOCK : 0;
    const file_handle handle{::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NOCTTY | waiting)};

    struct stat facts {};

    if (handle.get() < 0 || ::fstat(handle.get(), &facts) != 0) {
        out.error = system_words(errno);
        return out;
    }
    if (S_ISDIR(facts.st_mode)) {
        out.error = system_words(EISDIR);
        return out;
    }
    if (kind == file_kind::regular && !S_ISREG(facts.st_mode)) {
        out.error = "Not a regular file";
        return out;
    }
    out.others_may_read = is_open_to_others(facts);
    std::array<char, 16'384> block{};
    while (true) {
        const ssize_t count = ::read(handle.get(), block.data(), block.size());
        if (count < 0 && errno == EINTR) {
            continue;
        }
        if (count < 0) {
            out.error = system_words(errno);
            return out;
        }
        if (count == 0) {
            return out;
        }
        out.text.append(block.data(), static_cast<std::size_t>(count));
        if (out.text.size() > max_bytes) {
            out.error = "Larger than " + std::to_string(max_bytes) + " bytes";
            return out;
        }
    }
}

bool others_may_read(const std::filesystem::path& path) noexcept {
    struct stat facts {};

    return ::stat(path.c_str(), &facts) == 0 && is_open_to_others(facts);
}

}  // namespace signalbox::catalog
