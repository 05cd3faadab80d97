// What a type of connection is: its options, and how a connection of that type is planned from
// them. CREATE CONNECTION, ALTER CONNECTION and the configuration file plan with the same code.
//
// A type is one file (postgres_kind.cpp, …) and one line in the list of connection_kind.cpp.
#pragma once

#include "catalog/connection.hpp"
#include "catalog/store.hpp"

#include <array>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace signalbox::catalog {

/// What the options of a connection come to.
struct planned_connection {
    std::string name;
    connection_type type = connection_type::postgres;
    option_map options;  // the effective ones, as written: secrets by name
    std::shared_ptr<const postgres_connection> postgres;  // of POSTGRES, with the secrets' values
    std::vector<std::string> depends_on;  // the names of the connections that it leads through
};

/// What a plan looks up, and how the options are called where they were written.
class plan_context {
public:
    plan_context() = default;
    virtual ~plan_context() = default;
    plan_context(const plan_context&) = delete;
    plan_context& operator=(const plan_context&) = delete;

    /// The secret's value.
    [[nodiscard]] virtual std::optional<std::string> find_secret(std::string_view name) const = 0;
    [[nodiscard]] virtual std::optional<connection_type> find_connection(std::string_view name
    ) const = 0;
    /// Absolute; a relative path starts at the configuration file's folder.
    [[nodiscard]] virtual std::filesystem::path resolve_path(const std::string& path) const = 0;

    /// The option in messages and hints.
    [[nodiscard]] virtual std::string option_word(std::string_view option) const {
        return std::string{option};
    }
};

/// How an option's value is written.
enum class option_form : std::uint8_t {
    text,        // '' = not given
    choice,      // one of some words
    number,      // or a text that has more to say
    connection,  // the name of another connection
    secret
};

struct option_description {
    std::string_view name;  // canonical
    option_form form = option_form::text;
    bool takes_list = false;
};

template <std::size_t Count>
constexpr std::array<std::string_view, Count> names_of(
    const std::array<option_description, Count>& descriptions
) {
    std::array<std::string_view, Count> out{};
    for (std::size_t i = 0; i < Count; ++i) {
        out[i] = descriptions[i].name;
    }
    return out;
}

class connection_kind {
public:
    connection_kind() = default;
    virtual ~connection_kind() = default;
    connection_kind(const connection_kind&) = delete;
    connection_kind& operator=(const connection_kind&) = delete;

    [[nodiscard]] virtual connection_type type() const noexcept = 0;
    /// As the grammar has it: AWS PRIVATELINK.
    [[nodiscard]] virtual std::string_view label() const noexcept = 0;
    /// As the tables and the configuration file have it: aws-privatelink.
    [[nodiscard]] virtual std::string_view type_name() const noexcept = 0;
    /// Canonical names in the grammar's order.
    [[nodiscard]] virtual std::span<const std::string_view> options() const noexcept = 0;
    /// In the same order.
    [[nodiscard]] virtual std::span<const option_description> descriptions() const noexcept = 0;

    /// The connection as `options`, the effective ones, describe it. Reads the files that they
    /// name.
    ///
    /// Errors    rejection: an option not of this type (42601), a required one missing or a bad
    ///           value (22023), an unknown secret or connection (42704); never with a secret's
    ///           value, nor with a text that stands where a secret belongs
    [[nodiscard]] virtual planned_connection plan(
        const std::string& name, const option_map& options, const plan_context& context
    ) const = 0;

    /// Whether connections of this type can be made; the others are only checked.
    [[nodiscard]] virtual bool is_supported() const noexcept = 0;

    /// Null where the option is not of this type.
    [[nodiscard]] const option_description* find_option(std::string_view name) const noexcept;
};

const connection_kind& kind_of(connection_type type) noexcept;

inline constexpr std::size_t connection_type_count = 3;

/// All of them, in the grammar's order.
std::array<const connection_kind*, connection_type_count> all_kinds() noexcept;

}  // namespace signalbox::catalog
