// One table of the configuration file, read key by key, with errors that name the file, the line
// and a way out.
//
// A `section` is told at once which keys its table may hold and refuses the others, so a misspelt
// key is the first thing that is reported. Getters leave their target as it is where the key is
// absent: the defaults stand in config.hpp alone. A value of a secret is never part of a message;
// where somebody may have written a secret by mistake (`password = "hunter2"`), the text is not
// repeated either.
#pragma once

#include "catalog/files.hpp"
#include "proxy/config.hpp"
#include "proxy/config_units.hpp"

// The compiled library, never the header-only form: in the latter, assertions of toml++ 3.3 end the
// process on typing errors such as "[/x]" (or, with NDEBUG under Clang, become assumptions). The
// library answers with an error.
#ifndef TOML_HEADER_ONLY
#define TOML_HEADER_ONLY 0
#endif
#ifndef TOML_SHARED_LIB
#define TOML_SHARED_LIB 1
#endif
#include <toml++/toml.h>

#if TOML_HEADER_ONLY
#error "link libtomlplusplus; its header-only form aborts on malformed files"
#endif

#include <algorithm>
#include <array>
#include <cstdint>
#include <filesystem>
#include <limits>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace signalbox::proxy {

template <class Enum>
struct choice {
    std::string_view name;
    Enum value;
};

using catalog::file_content;
using catalog::file_kind;
using catalog::read_file;

/// The file as a whole: how findings are worded, what relative paths are relative to, and the
/// secrets.
class source {
public:
    explicit source(std::filesystem::path file);

    [[noreturn]] void fail(std::size_t line, const std::string& message, const std::string& hint)
        const;
    void warn(std::size_t line, std::string_view sentence);
    /// Absolute; "" stays "".
    [[nodiscard]] std::string resolve(const std::string& path) const;

    [[nodiscard]] const std::filesystem::path& file() const noexcept { return file_; }

    std::vector<std::string> take_warnings() { return std::move(warnings_); }

    std::map<std::string, std::string, std::less<>> secrets;
    bool others_may_read = false;  // the file

private:
    std::filesystem::path file_;  // as given: the operator knows it by that name
    std::filesystem::path folder_;
    std::vector<std::string> warnings_;
};

class section {
public:
    /// `label` as the file writes it: "[listen]", "[[routes]]"; "" = the file itself. `line` counts
    /// where the table itself has no line.
    section(
        source& from,
        const toml::table& table,
        std::string label,
        std::span<const std::string_view> names
    );

    [[nodiscard]] bool has(std::string_view key) const { return table_->contains(key); }

    [[nodiscard]] const toml::node* find(std::string_view key) const { return table_->get(key); }

    /// The line of the key, or where it is absent the section's.
    [[nodiscard]] std::size_t line_of(std::string_view key) const;

    [[nodiscard]] std::size_t line() const noexcept { return line_; }

    [[nodiscard]] const std::string& label() const noexcept { return label_; }

    [[nodiscard]] source& from() const noexcept { return *from_; }

    [[noreturn]] void fail(
        std::string_view key, const std::string& message, const std::string& hint
    ) const;
    void warn(std::string_view key, std::string_view sentence) const;
    [[noreturn]] void fail_type(
        std::string_view key,
        std::string_view expected,
        const toml::node& found,
        std::string_view hint
    ) const;

    /// The string of a node under `key`: its value, or an element of its list.
    [[nodiscard]] std::string checked_text(std::string_view key, const toml::node& node) const;
    void read(std::string_view key, std::string& out) const;
    void read(std::string_view key, bool& out) const;
    void read_path(std::string_view key, std::string& out) const;
    void read_duration(std::string_view key, duration& out) const;
    void read_size(std::string_view key, std::uint64_t& out, std::uint64_t min, std::uint64_t max)
        const;
    /// A string or a list of strings.
    void read_strings(std::string_view key, std::vector<std::string>& out) const;
    /// The value of the secret that the key names; nothing where the key is absent or "".
    [[nodiscard]] std::optional<std::string> read_secret(std::string_view key) const;

    template <class Integer>
    void read_integer(
        std::string_view key,
        Integer& out,
        std::int64_t min,
        std::int64_t max = std::numeric_limits<std::int32_t>::max()
    ) const {
        if (const auto number = integer(key, min, max)) {
            out = static_cast<Integer>(*number);
        }
    }

    template <class Enum, std::size_t Count>
    void read_choice(
        std::string_view key, Enum& out, const std::array<choice<Enum>, Count>& choices
    ) const {
        if (!has(key)) {
            return;
        }
        std::string text;
        read(key, text);
        std::array<std::string_view, Count> names{};
        std::ranges::transform(choices, names.begin(), &choice<Enum>::name);
        const auto* const found = std::ranges::find(names, text);
        if (found == names.end()) {
            fail_choice(key, text, names);
        }
        out = choices[static_cast<std::size_t>(found - names.begin())].value;
    }

    [[noreturn]] void fail_choice(
        std::string_view key, std::string_view text, std::span<const std::string_view> names
    ) const;

    /// The table under the key, if there is one.
    [[nodiscard]] std::optional<section> child(
        std::string_view key, std::string label, std::span<const std::string_view> names
    ) const;
    /// The tables of `[[key]]`, in the file's order.
    [[nodiscard]] std::vector<section> children(
        std::string_view key, const std::string& label, std::span<const std::string_view> names
    ) const;

private:
    [[nodiscard]] std::optional<std::int64_t> integer(
        std::string_view key, std::int64_t min, std::int64_t max
    ) const;

    source* from_;
    const toml::table* table_;
    std::string label_;
    std::size_t line_;
};

/// "an integer", "a string", … as a message names it.
std::string_view describe(toml::node_type type) noexcept;

/// Reads [secrets] into `from.secrets`.
void read_secrets(source& from, const section& root);

}  // namespace signalbox::proxy
