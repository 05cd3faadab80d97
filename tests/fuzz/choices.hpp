// A fuzzer's input read as a list of decisions. At its end every decision is 0.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <string_view>

namespace signalbox::tests {

class choices {
public:
    explicit choices(std::string_view input) noexcept : rest_(input) {}

    bool empty() const noexcept { return rest_.empty(); }

    std::uint8_t byte() noexcept {
        if (rest_.empty()) {
            return 0;
        }
        const auto value = static_cast<std::uint8_t>(rest_.front());
        rest_.remove_prefix(1);
        return value;
    }

    /// One of `count`.
    std::size_t below(std::size_t count) noexcept { return byte() % count; }

    std::string_view bytes(std::size_t count) noexcept {
        const auto taken = rest_.substr(0, count);
        rest_.remove_prefix(taken.size());
        return taken;
    }

    std::string_view remainder() noexcept { return bytes(rest_.size()); }

private:
    std::string_view rest_;
};

inline void require(bool holds) {
    if (!holds) {
        std::abort();
    }
}

}  // namespace signalbox::tests
