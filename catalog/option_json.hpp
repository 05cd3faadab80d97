// Option overrides as JSON text, the form in which a store keeps them.
//
//   {"HOST": "db1", "PASSWORD": {"secret": "pw"}, "BROKERS": ["a:9092", "b:9092"], "PORT": null}
//
// A string, the name of a secret, a list of strings; null is an option that was dropped although
// the configuration file sets it.
#pragma once

#include "catalog/store.hpp"

#include <string>
#include <string_view>

namespace signalbox::catalog {

/// Shape     one line; the same overrides give the same text
std::string serialize_overrides(const option_overrides& overrides);

/// Throws store_error where the text is something else.
option_overrides parse_overrides(std::string_view text);

}  // namespace signalbox::catalog
