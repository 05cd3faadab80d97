// A statement is refused: nothing was changed.
#pragma once

#include "wire/error_response.hpp"

#include <exception>
#include <string>
#include <utility>

namespace signalbox::catalog {

/// `option` is the canonical name of the option at fault, "" where it is not one alone.
class rejection : public std::exception {
public:
    explicit rejection(wire::report what, std::string option = {})
        : report_(std::move(what)), option_(std::move(option)) {}

    [[nodiscard]] const char* what() const noexcept override { return report_.message.c_str(); }

    [[nodiscard]] const wire::report& report() const noexcept { return report_; }

    [[nodiscard]] const std::string& option() const noexcept { return option_; }

private:
    wire::report report_;
    std::string option_;
};

}  // namespace signalbox::catalog
