#include "catalog/option_reader.hpp"

#include "catalog/files.hpp"
#include "catalog/option_changes.hpp"
#include "catalog/rejection.hpp"
#include "catalog/wording.hpp"

#include <utility>
#include <variant>

namespace signalbox::catalog {
namespace {

std::string joined(const std::vector<std::string>& words) {
    std::string out;
    for (const std::string& word : words) {
        out += (out.empty() ? "" : ", ") + word;
    }
    return out;
}

std::string trimmed(std::string_view text) {
    const std::size_t first = text.find_first_not_of(" \t");
    if (first == std::string_view::npos) {
        return {};
    }
    return std::string{text.substr(first, text.find_last_not_of(" \t") - first + 1)};
}

std::vector<std::string> split_at_commas(std::string_view text) {
    std::vector<std::string> out;
    while (true) {
        const std::size_t comma = text.find(',');
        out.push_back(trimmed(text.substr(0, comma)));
        if (comma == std::string_view::npos) {
            return out;
        }
        text.remove_prefix(comma + 1);
    }
}

}  // namespace

void refuse_option(std::string_view option, const std::string& message, const std::string& hint) {
    throw rejection{
        {.sqlstate = std::string{wire::sqlstate::invalid_parameter_value},
         .message = message,
         .detail = {},
         .hint = hint},
        std::string{option}};
}

option_reader::option_reader(
    const connection_kind& kind, const option_map& options, const plan_context& context
)
    : kind_(&kind), options_(&options), context_(&context) {
    for (const auto& [name, value] : options) {
        check_option(kind, name);
    }
}

void option_reader::refuse(
    std::string_view option, const std::string& problem, const std::string& hint
) const {
    refuse_option(option, "invalid " + word(option) + " option value: " + problem, hint);
}

void option_reader::refuse_value(
    std::string_view option, std::string_view value, const std::string& hint
) const {
    refuse(option, in_quotes(value), hint);
}

void option_reader::refuse_missing(std::string_view option, const std::string& hint) const {
    refuse_option(option, word(option) + " option is required", hint);
}

void option_reader::refuse_choice(
    std::string_view option, std::string_view given, std::span<const std::string_view> names
) const {
    std::string hint = "One of " + joined({names.begin(), names.end()}) + ".";
    const std::string_view nearest = nearest_name(given, names);
    if (!nearest.empty()) {
        hint += " Did you mean " + in_quotes(nearest) + "?";
    }
    refuse_value(option, given, hint);
}

void option_reader::refuse_secret(std::string_view option) const {
    std::vector<std::string> takers;
    for (const option_description& each : kind_->descriptions()) {
        if (each.form == option_form::secret) {
            takers.push_back(word(each.name));
        }
    }
    refuse(
        option,
        "a SECRET is not allowed here",
        takers.empty() ? "Give the value itself." : "Only " + joined(takers) + " can be a SECRET."
    );
}

const option_value* option_reader::find(std::string_view option) const {
    const auto found = options_->find(option);
    return found != options_->end() ? &found->second : nullptr;
}

std::string option_reader::text(std::string_view option) const {
    const option_value* const value = find(option);
    if (value == nullptr) {
        return {};
    }
    if (std::holds_alternative<secret_name>(*value)) {
        refuse_secret(option);
    }
    const auto* const out = std::get_if<std::string>(value);
    if (out == nullptr) {
        refuse(option, "a list is not allowed here", "Give one value.");
    }
    return *out;
}

std::vector<std::string> option_reader::list(std::string_view option) const {
    const option_value* const value = find(option);
    if (value == nullptr) {
        return {};
    }
    const auto* const elements = std::get_if<std::vector<std::string>>(value);
    if (elements == nullptr) {
        return split_at_commas(text(option));
    }
    if (elements->empty()) {
        refuse(option, "the list is empty", "Give at least one value.");
    }
    return *elements;
}

std::optional<std::string> option_reader::secret(std::string_view option) const {
    const option_value* const value = find(option);
    if (value == nullptr) {
        return std::nullopt;
    }
    const auto* const named = std::get_if<secret_name>(value);
    if (named == nullptr) {
        // What stands there may be the secret itself, so it is not repeated.
        refuse(
            option,
            "must be a SECRET",
            "Write " + word(option) +
                " = SECRET name, with a name of [secrets] in the configuration file."
        );
    }
    auto out = context_->find_secret(named->name);
    if (!out) {
        throw rejection{
            {.sqlstate = std::string{wire::sqlstate::undefined_object},
             .message = "secret " + in_quotes(named->name) + " does not exist",
             .detail = {},
             .hint = "Secrets stand in [secrets] of the configuration file."},
            std::string{option}};
    }
    return out;
}

std::string option_reader::connection(std::string_view option, connection_type type) const {
    std::string name = text(option);
    if (!has(option)) {
        return name;
    }
    const std::string hint =
        "It takes the name of an " + std::string{kind_of(type).label()} + " connection.";
    if (name.empty()) {
        refuse_value(option, name, hint);
    }
    const auto found = context_->find_connection(name);
    if (!found) {
        throw rejection{
            {.sqlstate = std::string{wire::sqlstate::undefined_object},
             .message = "connection " + in_quotes(name) + " does not exist",
             .detail = {},
             .hint = "It is named in " + word(option) + "."},
            std::string{option}};
    }
    if (*found != type) {
        refuse(
            option,
            "connection " + in_quotes(name) + " is of type " +
                std::string{kind_of(*found).type_name()},
            hint
        );
    }
    return name;
}

std::string option_reader::path(std::string_view option) const {
    const std::string given = text(option);
    if (given.starts_with("-----BEGIN")) {
        // It may be a private key, so it is not repeated.
        refuse(option, "must be the path of a file", "Write the PEM text into a file.");
    }
    return given.empty() ? given : resolve(given);
}

pem_source option_reader::pem_file(std::string_view option, const std::string& file) const {
    file_content content = read_file(file, max_pem_bytes, file_kind::regular);
    if (!content.error.empty()) {
        refuse(
            option,
            "cannot read " + in_quotes(file) + ": " + content.error,
            "Check the path and its permissions; relative paths start at the configuration's "
            "folder."
        );
    }
    return {.text = std::move(content.text), .name = in_quotes(file)};
}

void option_reader::check_authority(std::string_view option, const std::string& file) const {
    if (const auto problem = check_certificate_authority(pem_file(option, file))) {
        refuse(option, *problem, "The file must hold PEM certificates.");
    }
}

}  // namespace signalbox::catalog
