// A copy of some bytes without a byte to spare: the address sanitizer sees a read of one too many.
#pragma once

#include <algorithm>
#include <memory>
#include <string_view>

namespace signalbox::tests {

class exact_buffer {
public:
    explicit exact_buffer(std::string_view bytes)
        : bytes_(std::make_unique<char[]>(bytes.size())), size_(bytes.size()) {
        std::copy(bytes.begin(), bytes.end(), bytes_.get());
    }

    operator std::string_view() const noexcept { return view(); }

    std::string_view view() const noexcept { return {bytes_.get(), size_}; }

private:
    std::unique_ptr<char[]> bytes_;
    std::size_t size_;
};

}  // namespace signalbox::tests
