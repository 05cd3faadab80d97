// AWS PRIVATELINK: an endpoint in one's own network that leads to somebody's service.
#include "catalog/kinds.hpp"
#include "catalog/option_reader.hpp"

#include <set>

namespace signalbox::catalog {
namespace {

constexpr auto described_options = std::to_array<option_description>(
    {{"SERVICE NAME", option_form::text}, {"AVAILABILITY ZONES", option_form::text, true}}
);

constexpr auto option_names = names_of(described_options);

constexpr const char* zones_hint = "A list of zone ids, such as ('use1-az1', 'use1-az4').";

/// Of both a service's name and a zone's id.
bool is_id(std::string_view text) {
    return !text.empty() && std::ranges::all_of(text, [](char c) {
        return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
               c == '-' || c == '.' || c == '_';
    });
}

void check_service(const option_reader& from) {
    constexpr const char* hint =
        "For example 'com.amazonaws.vpce.us-east-1.vpce-svc-0e123abc123198abc'.";
    if (!from.has("SERVICE NAME")) {
        from.refuse_missing("SERVICE NAME", hint);
    }
    if (const std::string service = from.text("SERVICE NAME"); !is_id(service)) {
        from.refuse_value("SERVICE NAME", service, hint);
    }
}

void check_zones(const option_reader& from) {
    if (!from.has("AVAILABILITY ZONES")) {
        from.refuse_missing("AVAILABILITY ZONES", zones_hint);
    }
    std::set<std::string> seen;
    for (const std::string& zone : from.list("AVAILABILITY ZONES")) {
        if (!is_id(zone)) {
            from.refuse_value("AVAILABILITY ZONES", zone, zones_hint);
        }
        if (!seen.insert(zone).second) {
            from.refuse(
                "AVAILABILITY ZONES", "\"" + zone + "\" stands there twice", "Name each zone once."
            );
        }
    }
}

class kind final : public connection_kind {
public:
    [[nodiscard]] connection_type type() const noexcept override {
        return connection_type::aws_privatelink;
    }

    [[nodiscard]] std::string_view label() const noexcept override { return "AWS PRIVATELINK"; }

    [[nodiscard]] std::string_view type_name() const noexcept override { return "aws-privatelink"; }

    [[nodiscard]] std::span<const std::string_view> options() const noexcept override {
        return option_names;
    }

    [[nodiscard]] std::span<const option_description> descriptions() const noexcept override {
        return described_options;
    }

    [[nodiscard]] bool is_supported() const noexcept override { return false; }

    [[nodiscard]] planned_connection plan(
        const std::string& name, const option_map& options, const plan_context& context
    ) const override {
        const option_reader from{*this, options, context};
        check_service(from);
        check_zones(from);
        return {.name = name, .type = type(), .options = options, .postgres = {}, .depends_on = {}};
    }
};

}  // namespace

const connection_kind& aws_privatelink_kind() noexcept {
    static const kind only;
    return only;
}

}  // namespace signalbox::catalog
