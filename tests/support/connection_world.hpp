// What the options of connections are planned with in tests, and how a refusal is read.
#pragma once

#include "catalog/connection_kind.hpp"
#include "catalog/rejection.hpp"

#include <catch2/catch.hpp>

#include <filesystem>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace signalbox::tests {

using texts = std::vector<std::string>;

inline constexpr auto postgres = catalog::connection_type::postgres;
inline constexpr auto aws_privatelink = catalog::connection_type::aws_privatelink;
inline constexpr auto kafka = catalog::connection_type::kafka;

/// Secrets, connections `tunnel` (AWS PRIVATELINK) and `other` (POSTGRES), and files below /config.
class known_things : public catalog::plan_context {
public:
    std::map<std::string, std::string, std::less<>> secrets{{"pw", "hunter2"}};

    [[nodiscard]] std::optional<std::string> find_secret(std::string_view name) const override {
        const auto found = secrets.find(name);
        return found != secrets.end() ? std::optional{found->second} : std::nullopt;
    }

    [[nodiscard]] std::optional<catalog::connection_type> find_connection(std::string_view name
    ) const override {
        if (name == "tunnel") {
            return aws_privatelink;
        }
        return name == "other" ? std::optional{postgres} : std::nullopt;
    }

    [[nodiscard]] std::filesystem::path resolve_path(const std::string& path) const override {
        return std::filesystem::path{"/config"} / path;
    }
};

inline catalog::secret_name secret(std::string name) {
    return {std::move(name)};
}

inline catalog::planned_connection plan(
    catalog::connection_type type,
    const catalog::option_map& options,
    const catalog::plan_context& context = known_things{}
) {
    return catalog::kind_of(type).plan("c", options, context);
}

struct refusal {
    std::string sqlstate;
    std::string message;
    std::string hint;
    std::string option;
};

template <class Call>
refusal refusal_of(Call call) {
    try {
        call();
    } catch (const catalog::rejection& why) {
        CHECK(why.what() == why.report().message);
        CHECK(why.report().severity == "ERROR");
        return {
            why.report().sqlstate,
            why.report().message + why.report().detail,
            why.report().hint,
            why.option()};
    }
    return {"00000", "planned", "", ""};
}

inline refusal refusal_of(
    catalog::connection_type type,
    const catalog::option_map& options,
    const catalog::plan_context& context = known_things{}
) {
    return refusal_of([&] { return plan(type, options, context); });
}

}  // namespace signalbox::tests
