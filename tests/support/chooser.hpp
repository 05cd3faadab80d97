// Random choices from a fixed seed: the same in every run.
#pragma once

#include <cstddef>
#include <iterator>
#include <random>
#include <string>

namespace signalbox::tests {

class chooser {
public:
    explicit chooser(unsigned seed) : engine_(seed) {}

    /// From 0 to `count` - 1.
    std::size_t below(std::size_t count) {
        return std::uniform_int_distribution<std::size_t>{0, count - 1}(engine_);
    }

    bool coin() { return below(2) == 1; }

    template <class List>
    std::string one_of(const List& list) {
        return std::string{list[below(std::size(list))]};
    }

private:
    std::mt19937 engine_;
};

}  // namespace signalbox::tests
