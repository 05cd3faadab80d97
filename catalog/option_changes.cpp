#include "catalog/option_changes.hpp"

#include "catalog/rejection.hpp"

#include <algorithm>
#include <array>
#include <functional>
#include <set>
#include <utility>
#include <variant>

namespace signalbox::catalog {
namespace {

using action_kind = parser::option_change::action_kind;
using name_set = std::set<std::string_view, std::less<>>;

[[noreturn]] void refuse(std::string message, std::string_view option = {}) {
    throw rejection{
        {.sqlstate = std::string{wire::sqlstate::syntax_error},
         .message = std::move(message),
         .detail = {},
         .hint = {}},
        std::string{option}};
}

/// The options in both, comma-separated, in the grammar's order.
std::string common_names(const connection_kind& kind, const name_set& a, const name_set& b) {
    std::string out;
    for (const std::string_view option : kind.options()) {
        if (a.contains(option) && b.contains(option)) {
            out += out.empty() ? "" : ", ";
            out += option;
        }
    }
    return out;
}

void check_changes(const connection_kind& kind, const std::vector<parser::option_change>& changes) {
    for (const auto& change : changes) {
        check_option(kind, change.name);
    }
    name_set set;
    name_set dropped;
    name_set reset;
    for (const auto& change : changes) {
        switch (change.action) {
            case action_kind::set:
                if (!set.insert(change.name).second) {
                    refuse(change.name + " specified more than once", change.name);
                }
                break;
            case action_kind::drop:
                dropped.insert(change.name);
                break;
            case action_kind::reset:
                reset.insert(change.name);
                break;
        }
    }
    name_set removed = dropped;
    removed.insert(reset.begin(), reset.end());
    if (const std::string names = common_names(kind, set, removed); !names.empty()) {
        refuse("cannot both SET and DROP/RESET options " + names);
    }
    if (const std::string names = common_names(kind, dropped, reset); !names.empty()) {
        refuse("cannot both DROP and RESET options " + names);
    }
}

// ---- SQL

/// Words that mean something where a name may stand in the statements about connections.
constexpr auto quoted_words = std::to_array<std::string_view>({"if", "secret"});

std::string quoted_identifier(std::string_view name) {
    const auto is_plain = [](char c) {
        return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '_';
    };
    const bool starts_well = !name.empty() && !(name.front() >= '0' && name.front() <= '9');
    if (starts_well && std::ranges::all_of(name, is_plain) &&
        std::ranges::find(quoted_words, name) == quoted_words.end()) {
        return std::string{name};
    }
    std::string out = "\"";
    for (const char c : name) {
        out.append(c == '"' ? 2 : 1, c);
    }
    return out + '"';
}

/// Reads the same whatever standard_conforming_strings says.
std::string quoted_literal(std::string_view text) {
    std::string out = text.find('\\') != std::string_view::npos ? "E'" : "'";
    for (const char c : text) {
        out.append(c == '\'' || c == '\\' ? 2 : 1, c);
    }
    return out + '\'';
}

bool is_digits(std::string_view text) {
    return !text.empty() && std::ranges::all_of(text, [](char c) { return c >= '0' && c <= '9'; });
}

std::string rendered(option_form form, const std::string& text) {
    if (form == option_form::number && is_digits(text)) {
        return text;
    }
    return form == option_form::connection ? quoted_identifier(text) : quoted_literal(text);
}

std::string rendered(option_form form, const option_value& value) {
    if (const auto* const secret = std::get_if<secret_name>(&value)) {
        return "SECRET " + quoted_identifier(secret->name);
    }
    if (const auto* const text = std::get_if<std::string>(&value)) {
        return rendered(form, *text);
    }
    std::string out = "(";
    for (const std::string& element : std::get<std::vector<std::string>>(value)) {
        out += (out.size() == 1 ? "" : ", ") + rendered(form, element);
    }
    return out + ')';
}

}  // namespace

void check_option(const connection_kind& kind, std::string_view option) {
    if (kind.find_option(option) == nullptr) {
        refuse(
            std::string{kind.label()} + " connections do not support " + std::string{option} +
                " values",
            option
        );
    }
}

option_map options_of(
    const connection_kind& kind, const std::vector<parser::option_setting>& settings
) {
    for (const auto& setting : settings) {
        check_option(kind, setting.name);
    }
    option_map out;
    for (const auto& setting : settings) {
        if (!out.emplace(setting.name, setting.value).second) {
            refuse(setting.name + " specified more than once", setting.name);
        }
    }
    return out;
}

option_overrides change_options(
    const connection_kind& kind,
    const option_map* file,
    const option_overrides& before,
    const std::vector<parser::option_change>& changes
) {
    check_changes(kind, changes);
    option_overrides out = before;
    for (const auto& change : changes) {
        const bool is_in_file = file != nullptr && file->contains(change.name);
        if (change.action == action_kind::set) {
            out.insert_or_assign(change.name, change.value);
        } else if (change.action == action_kind::drop && is_in_file) {
            out.insert_or_assign(change.name, std::nullopt);
        } else {
            out.erase(change.name);
        }
    }
    return out;
}

option_map effective_options(const option_map* file, const option_overrides& overrides) {
    option_map out = file != nullptr ? *file : option_map{};
    for (const auto& [name, value] : overrides) {
        if (value) {
            out.insert_or_assign(name, *value);
        } else {
            out.erase(name);
        }
    }
    return out;
}

std::string create_sql(std::string_view name, connection_type type, const option_map& options) {
    const connection_kind& kind = kind_of(type);
    std::string list;
    for (const option_description& each : kind.descriptions()) {
        const auto found = options.find(each.name);
        if (found != options.end()) {
            list += list.empty() ? "" : ", ";
            list += std::string{each.name} + " = " + rendered(each.form, found->second);
        }
    }
    return "CREATE CONNECTION " + quoted_identifier(name) + " TO " + std::string{kind.label()} +
           " (" + list + ")";
}

}  // namespace signalbox::catalog
