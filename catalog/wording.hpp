// What messages have in common. Pure functions.
#pragma once

#include <span>
#include <string>
#include <string_view>

namespace signalbox::catalog {

/// The name that `text` was most likely meant to be: a letter or two apart (case, and - for _, do
/// not count), or empty.
std::string_view nearest_name(std::string_view text, std::span<const std::string_view> names);

/// ASCII letters only, whatever the locale.
std::string lower(std::string_view text);

/// `text` between double quotes, safe to print: control characters escaped, cut after 80 bytes.
std::string in_quotes(std::string_view text);

}  // namespace signalbox::catalog
