#include "proxy/config_reader.hpp"

#include <cstdlib>
#include <sstream>

namespace signalbox::proxy {
namespace {

constexpr auto secret_sources = std::to_array<std::string_view>({"env", "file", "value"});
constexpr std::size_t max_secret_bytes = 65'536;

std::string joined(std::span<const std::string_view> names, bool with_quotes) {
    std::string out;
    for (const std::string_view name : names) {
        out += out.empty() ? "" : ", ";
        out += with_quotes ? in_quotes(name) : std::string{name};
    }
    return out;
}

std::string did_you_mean(std::string_view name) {
    return "did you mean " + in_quotes(name) + "?";
}

std::string read_secret_value(source& from, const section& secret, const std::string& name) {
    const auto given = std::ranges::count_if(secret_sources, [&](std::string_view each) {
        return secret.has(each);
    });
    if (given != 1) {
        from.fail(
            secret.line(),
            "secret " + in_quotes(name) + " must have exactly one of env, file, value",
            "write " + name + R"( = { env = "VARIABLE" } or { file = "path" })"
        );
    }
    if (secret.has("env")) {
        std::string variable;
        secret.read("env", variable);
        // Nothing in this process changes the environment, so reading it at a reload is safe.
        const char* const value = std::getenv(variable.c_str());  // NOLINT(concurrency-mt-unsafe)
        if (value == nullptr) {
            secret.fail(
                "env",
                "secret " + in_quotes(name) + ": environment variable " + in_quotes(variable) +
                    " is not set",
                "set it where Signalbox is started, or use { file = \"path\" }"
            );
        }
        return value;
    }
    if (secret.has("file")) {
        std::string path;
        secret.read_path("file", path);
        file_content content = read_file(path, max_secret_bytes, file_kind::regular);
        if (!content.error.empty()) {
            secret.fail(
                "file",
                "secret " + in_quotes(name) + ": cannot read file " + in_quotes(path) + ": " +
                    content.error,
                "check the path and its permissions; relative paths start at the configuration's "
                "folder"
            );
        }
        if (content.text.ends_with('\n')) {
            content.text.pop_back();
            if (content.text.ends_with('\r')) {
                content.text.pop_back();  // one line end, as an editor on Windows writes it
            }
        }
        if (content.text.find('\0') != std::string::npos) {
            secret.fail(
                "file",
                "secret " + in_quotes(name) + " holds a NUL byte",
                "write it as plain text in the file"
            );
        }
        return std::move(content.text);
    }
    std::string value;
    secret.read("value", value);
    if (from.others_may_read) {
        secret.warn(
            "value",
            "The value of secret " + in_quotes(name) +
                " stands in a file that others than its owner may read; use chmod 600, or env or "
                "file."
        );
    }
    return value;
}

}  // namespace

configuration_error::configuration_error(
    const std::filesystem::path& file,
    std::size_t line,
    const std::string& message,
    const std::string& hint
)
    : text_{file.string()} {
    if (line != 0) {
        text_ += ':' + std::to_string(line);
    }
    text_ += ": " + message;
    if (!hint.empty()) {
        text_ += " (" + hint + ")";
    }
}

source::source(std::filesystem::path file)
    : file_{std::move(file)}, folder_{std::filesystem::absolute(file_).parent_path()} {}

void source::fail(std::size_t line, const std::string& message, const std::string& hint) const {
    throw configuration_error{file_, std::max<std::size_t>(line, 1), message, hint};
}

void source::warn(std::size_t line, std::string_view sentence) {
    std::string text = file_.string();
    text += ':' + std::to_string(std::max<std::size_t>(line, 1)) + ": ";
    text += sentence;
    warnings_.push_back(std::move(text));
}

std::string source::resolve(const std::string& path) const {
    return path.empty() ? path : (folder_ / path).lexically_normal().string();
}

std::string_view describe(toml::node_type type) noexcept {
    switch (type) {
        case toml::node_type::none:
            return "nothing";
        case toml::node_type::table:
            return "a table";
        case toml::node_type::array:
            return "a list";
        case toml::node_type::string:
            return "a string";
        case toml::node_type::integer:
            return "an integer";
        case toml::node_type::floating_point:
            return "a number with a fraction";
        case toml::node_type::boolean:
            return "a boolean";
        case toml::node_type::date:
        case toml::node_type::time:
        case toml::node_type::date_time:
            return "a date or time";
    }
    return "something else";
}

section::section(
    source& from,
    const toml::table& table,
    std::string label,
    std::span<const std::string_view> names
)
    : from_{&from}, table_{&table}, label_{std::move(label)}, line_{table.source().begin.line} {
    const toml::key* first_unknown = nullptr;
    for (const auto& [key, node] : table) {
        if (std::ranges::find(names, key.str()) != names.end()) {
            continue;
        }
        if (first_unknown == nullptr ||
            key.source().begin.line < first_unknown->source().begin.line) {
            first_unknown = &key;
        }
    }
    if (first_unknown == nullptr) {
        return;
    }
    const std::string_view nearest = nearest_name(first_unknown->str(), names);
    from.fail(
        first_unknown->source().begin.line,
        "unknown key " + in_quotes(first_unknown->str()) +
            (label_.empty() ? " at the top level" : " in " + label_),
        nearest.empty() ? "known: " + joined(names, false) : did_you_mean(nearest)
    );
}

std::size_t section::line_of(std::string_view key) const {
    const auto found = table_->find(key);
    if (found == table_->end()) {
        return line_;
    }
    const std::size_t line = found->first.source().begin.line;
    return line != 0 ? line : found->second.source().begin.line;
}

void section::fail(std::string_view key, const std::string& message, const std::string& hint)
    const {
    from_->fail(line_of(key), message, hint);
}

void section::warn(std::string_view key, std::string_view sentence) const {
    from_->warn(line_of(key), sentence);
}

void section::fail_type(
    std::string_view key, std::string_view expected, const toml::node& found, std::string_view hint
) const {
    std::string message{key};
    message += " must be ";
    message += expected;
    message += ", not ";
    message += describe(found.type());
    const std::size_t line = found.source().begin.line;  // in a list, the element's own line
    from_->fail(line != 0 ? line : line_of(key), message, std::string{hint});
}

void section::fail_choice(
    std::string_view key, std::string_view text, std::span<const std::string_view> names
) const {
    const std::string_view nearest = nearest_name(text, names);
    fail(
        key,
        std::string{key} + " must be one of " + joined(names, true) + ", not " + in_quotes(text),
        nearest.empty() ? std::string{} : did_you_mean(nearest)  // the list is the way out
    );
}

std::string section::checked_text(std::string_view key, const toml::node& node) const {
    const auto* const text = node.as_string();
    if (text == nullptr) {
        fail_type(key, "a string", node, "write it between double quotes");
    }
    // What follows hands these to interfaces that end at a NUL.
    if (text->get().find('\0') != std::string::npos) {
        fail(key, std::string{key} + " must not contain a NUL character", "remove the \\u0000");
    }
    return text->get();
}

void section::read(std::string_view key, bool& out) const {
    const toml::node* const node = find(key);
    if (node == nullptr) {
        return;
    }
    const auto* const value = node->as_boolean();
    if (value == nullptr) {
        fail_type(key, "true or false", *node, "without quotes");
    }
    out = value->get();
}

void section::read(std::string_view key, std::string& out) const {
    if (const toml::node* const node = find(key)) {
        out = checked_text(key, *node);
    }
}

void section::read_path(std::string_view key, std::string& out) const {
    read(key, out);
    out = from_->resolve(out);
}

void section::read_duration(std::string_view key, duration& out) const {
    const toml::node* const node = find(key);
    if (node == nullptr) {
        return;
    }
    std::optional<duration> parsed;
    if (const auto* const seconds = node->as_integer()) {
        parsed = parse_duration(seconds->get());
    } else if (node->is_string()) {
        parsed = parse_duration(checked_text(key, *node));
    } else {
        fail_type(
            key, "a duration", *node, R"(for example "60s", "5min", or seconds as an integer)"
        );
    }
    if (!parsed) {
        fail(
            key,
            std::string{key} + " is not a duration from 0 to 3650 days",
            R"(for example "500ms", "60s", "5min"; units: )" + std::string{duration_units} +
                "; without a unit seconds"
        );
    }
    out = *parsed;
}

void section::read_size(
    std::string_view key, std::uint64_t& out, std::uint64_t min, std::uint64_t max
) const {
    const toml::node* const node = find(key);
    if (node == nullptr) {
        return;
    }
    std::optional<std::uint64_t> parsed;
    if (const auto* const bytes = node->as_integer()) {
        if (bytes->get() >= 0 && static_cast<std::uint64_t>(bytes->get()) <= max_size_bytes) {
            parsed = static_cast<std::uint64_t>(bytes->get());
        }
    } else if (node->is_string()) {
        parsed = parse_size(checked_text(key, *node));
    } else {
        fail_type(key, "a size", *node, R"(for example "64KiB", "1GiB", or bytes as an integer)");
    }
    if (!parsed) {
        fail(
            key,
            std::string{key} + " is not a size",
            R"(for example "64KiB", "10MB"; units: )" + std::string{size_units} +
                "; without a unit bytes"
        );
    }
    if (*parsed < min || *parsed > max) {
        fail(
            key,
            std::string{key} + " is out of range",
            "from " + std::to_string(min) + " to " + std::to_string(max) + " bytes"
        );
    }
    out = *parsed;
}

void section::read_strings(std::string_view key, std::vector<std::string>& out) const {
    const toml::node* const node = find(key);
    if (node == nullptr) {
        return;
    }
    out.clear();
    if (const auto* const list = node->as_array()) {
        for (const toml::node& each : *list) {
            out.push_back(checked_text(key, each));
        }
    } else if (node->is_string()) {
        out.push_back(checked_text(key, *node));
    } else {
        fail_type(key, "a string or a list of strings", *node, "write it between double quotes");
    }
}

std::optional<std::string> section::read_secret(std::string_view key) const {
    std::string name;
    read(key, name);
    if (name.empty()) {
        return std::nullopt;
    }
    const auto found = from_->secrets.find(name);
    if (found != from_->secrets.end()) {
        return found->second;
    }
    std::vector<std::string_view> names;
    for (const auto& [known, value] : from_->secrets) {
        names.emplace_back(known);
    }
    const std::string_view nearest = nearest_name(name, names);
    if (nearest.empty()) {
        // What stands there may be the secret itself, so it is not repeated.
        fail(
            key,
            std::string{key} + " must be the name of a secret, and [secrets] has none of that name",
            R"(add it to [secrets], for example  name = { env = "VARIABLE" }, and write the name here)"
        );
    }
    fail(key, std::string{key} + ": unknown secret " + in_quotes(name), did_you_mean(nearest));
}

std::optional<std::int64_t> section::integer(
    std::string_view key, std::int64_t min, std::int64_t max
) const {
    const toml::node* const node = find(key);
    if (node == nullptr) {
        return std::nullopt;
    }
    const auto* const number = node->as_integer();
    if (number == nullptr) {
        fail_type(
            key,
            "an integer",
            *node,
            node->is_string() ? "write it without quotes" : "a whole number"
        );
    }
    if (number->get() < min || number->get() > max) {
        fail(
            key,
            std::string{key} + " is out of range: " + std::to_string(number->get()),
            "from " + std::to_string(min) + " to " + std::to_string(max)
        );
    }
    return number->get();
}

std::optional<section> section::child(
    std::string_view key, std::string label, std::span<const std::string_view> names
) const {
    const toml::node* const node = find(key);
    if (node == nullptr) {
        return std::nullopt;
    }
    const toml::table* const table = node->as_table();
    if (table == nullptr) {
        fail_type(
            key,
            "a table",
            *node,
            node->is_array() ? "write " + label + " with single brackets, once" : "write " + label
        );
    }
    return section{*from_, *table, std::move(label), names};
}

std::vector<section> section::children(
    std::string_view key, const std::string& label, std::span<const std::string_view> names
) const {
    std::vector<section> out;
    const toml::node* const node = find(key);
    if (node == nullptr) {
        return out;
    }
    const toml::array* const list = node->as_array();
    if (list == nullptr) {
        fail_type(
            key,
            "a list of tables",
            *node,
            "write " + label + " with double brackets, once for each"
        );
    }
    for (const toml::node& each : *list) {
        const toml::table* const table = each.as_table();
        if (table == nullptr) {
            fail_type(key, "a list of tables", each, "write " + label + " with double brackets");
        }
        out.emplace_back(*from_, *table, label, names);
    }
    return out;
}

void read_secrets(source& from, const section& root) {
    const toml::node* const node = root.find("secrets");
    if (node == nullptr) {
        return;
    }
    const toml::table* const table = node->as_table();
    if (table == nullptr) {
        root.fail_type("secrets", "a table", *node, "write [secrets]");
    }
    for (const auto& [key, each] : *table) {
        const std::string name{key.str()};
        const toml::table* const entry = each.as_table();
        if (entry == nullptr || name.empty()) {
            from.fail(
                key.source().begin.line,
                name.empty() ? "a secret needs a name"
                             : "secret " + in_quotes(name) + " must be a table, not " +
                                   std::string{describe(each.type())},
                R"(write name = { env = "VARIABLE" }, { file = "path" } or { value = "..." })"
            );
        }
        const section secret{from, *entry, "secret " + in_quotes(name), secret_sources};
        from.secrets.emplace(name, read_secret_value(from, secret, name));
    }
}

}  // namespace signalbox::proxy
