#include "catalog/option_json.hpp"

#include <boost/json.hpp>

#include <utility>
#include <variant>

namespace signalbox::catalog {
namespace {

namespace json = boost::json;

struct to_json {
    json::value operator()(const std::string& text) const { return json::string{text}; }

    json::value operator()(const secret_name& secret) const {
        return json::object{{"secret", secret.name}};
    }

    json::value operator()(const std::vector<std::string>& list) const {
        json::array array;
        for (const std::string& text : list) {
            array.emplace_back(text);
        }
        return array;
    }
};

[[noreturn]] void refuse(std::string_view why) {
    throw store_error{"the store holds options that cannot be read: " + std::string{why}};
}

std::string text_of(const json::value& value) {
    if (!value.is_string()) {
        refuse("not a string");
    }
    return std::string{std::string_view{value.get_string()}};
}

option_value parse_value(const json::value& value) {
    if (const json::array* array = value.if_array()) {
        std::vector<std::string> list;
        for (const json::value& item : *array) {
            list.push_back(text_of(item));
        }
        return list;
    }
    if (const json::object* object = value.if_object()) {
        const json::value* name = object->if_contains("secret");
        if (name == nullptr || object->size() != 1) {
            refuse("an object that names no secret");
        }
        return secret_name{text_of(*name)};
    }
    return text_of(value);
}

}  // namespace

std::string serialize_overrides(const option_overrides& overrides) {
    json::object object;
    for (const auto& [name, value] : overrides) {
        object[name] = value ? std::visit(to_json{}, *value) : json::value{};
    }
    return json::serialize(object);
}

option_overrides parse_overrides(std::string_view text) {
    boost::system::error_code ec;
    const json::value parsed = json::parse({text.data(), text.size()}, ec);
    if (ec) {
        refuse(ec.message());
    }
    const json::object* object = parsed.if_object();
    if (object == nullptr) {
        refuse("not an object");
    }
    option_overrides overrides;
    for (const auto& [name, value] : *object) {
        std::optional<option_value> set;
        if (!value.is_null()) {
            set = parse_value(value);
        }
        overrides.emplace(std::string_view{name}, std::move(set));
    }
    return overrides;
}

}  // namespace signalbox::catalog
