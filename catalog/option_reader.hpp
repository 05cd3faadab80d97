// A connection's options while it is planned. Each getter checks what it reads and refuses what
// cannot be used, in the words of whoever wrote it.
#pragma once

#include "catalog/certificates.hpp"
#include "catalog/connection_kind.hpp"
#include "catalog/wording.hpp"

#include <algorithm>
#include <array>
#include <cstddef>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace signalbox::catalog {

template <class Enum>
struct named_choice {
    std::string_view name;
    Enum value;
};

enum class letter_case : std::uint8_t { exact, ignored };

/// A bad value (22023) in the caller's words.
[[noreturn]] void refuse_option(
    std::string_view option, const std::string& message, const std::string& hint
);

/// Keeps references to what it is made of.
class option_reader {
public:
    /// Refuses options that the type does not have.
    option_reader(
        const connection_kind& kind, const option_map& options, const plan_context& context
    );

    [[nodiscard]] bool has(std::string_view option) const { return options_->contains(option); }

    /// The option as messages call it.
    [[nodiscard]] std::string word(std::string_view option) const {
        return context_->option_word(option);
    }

    /// `invalid OPTION option value: PROBLEM`
    [[noreturn]] void refuse(
        std::string_view option, const std::string& problem, const std::string& hint
    ) const;
    [[noreturn]] void refuse_value(
        std::string_view option, std::string_view value, const std::string& hint
    ) const;
    /// `OPTION option is required`
    [[noreturn]] void refuse_missing(std::string_view option, const std::string& hint) const;
    /// "" where the option is absent.
    [[nodiscard]] std::string text(std::string_view option) const;
    /// The elements of a list, or of a comma list. Empty where the option is absent.
    [[nodiscard]] std::vector<std::string> list(std::string_view option) const;
    /// The secret's value; nothing where the option is absent.
    [[nodiscard]] std::optional<std::string> secret(std::string_view option) const;
    /// The name of a connection of that type; "" where the option is absent.
    [[nodiscard]] std::string connection(std::string_view option, connection_type type) const;
    /// The absolute path; "" where the option is absent. Does not look for the file.
    [[nodiscard]] std::string path(std::string_view option) const;
    /// The file's content; `file` is what path() gave.
    [[nodiscard]] pem_source pem_file(std::string_view option, const std::string& file) const;
    void check_authority(std::string_view option, const std::string& file) const;

    [[nodiscard]] std::string resolve(const std::string& path) const {
        return context_->resolve_path(path).string();
    }

    /// The choice's value; nothing where the option is absent.
    template <class Enum, std::size_t Count>
    [[nodiscard]] std::optional<Enum> choice(
        std::string_view option,
        const std::array<named_choice<Enum>, Count>& choices,
        letter_case letters = letter_case::exact
    ) const {
        if (!has(option)) {
            return std::nullopt;
        }
        const std::string given = text(option);
        const auto* const found = std::ranges::find_if(choices, [&](const auto& each) {
            return each.name == given ||
                   (letters == letter_case::ignored && lower(each.name) == lower(given));
        });
        if (found == choices.end()) {
            std::array<std::string_view, Count> names{};
            std::ranges::transform(choices, names.begin(), &named_choice<Enum>::name);
            refuse_choice(option, given, names);
        }
        return found->value;
    }

    [[noreturn]] void refuse_choice(
        std::string_view option, std::string_view given, std::span<const std::string_view> names
    ) const;

private:
    [[nodiscard]] const option_value* find(std::string_view option) const;
    [[noreturn]] void refuse_secret(std::string_view option) const;

    const connection_kind* kind_;
    const option_map* options_;
    const plan_context* context_;
};

}  // namespace signalbox::catalog
