// A source of relations whose rows tell how often they have been asked for.
#pragma once

#include "proxy/relation_source.hpp"

#include <optional>
#include <string>

namespace signalbox::tests {

/// Every relation has one row, {"id": "row N"}; N counts all readings. Notices are for superusers.
class test_relations final : public proxy::relation_source {
public:
    [[nodiscard]] const rewrite::schema_names& schemas() const override { return names_; }

    [[nodiscard]] std::optional<wire::report> refusal(
        const rewrite::relation& of, const proxy::client_identity& who
    ) const override {
        if (of.name != "mz_notices" || who.is_superuser) {
            return std::nullopt;
        }
        return wire::report{
            .severity = "ERROR",
            .sqlstate = "42501",
            .message = "permission denied",
            .detail = {},
            .hint = {}};
    }

    [[nodiscard]] rewrite::relation_text rows(const rewrite::relation& /*of*/) const override {
        return std::make_shared<const std::string>(
            R"([{"id": "row )" + std::to_string(++readings) + R"("}])"
        );
    }

    mutable int readings = 0;

private:
    rewrite::schema_names names_;
};

}  // namespace signalbox::tests
