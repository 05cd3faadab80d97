// Findings for tests of the catalog of notices and what is made of it.
#pragma once

#include "catalog/notices.hpp"

#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace signalbox::tests {

/// A clock that a test moves.
struct test_clock {
    catalog::timestamp time{std::chrono::sys_days{std::chrono::year{2026} / 2 / 7}};

    [[nodiscard]] catalog::notice_catalog::clock reader() {
        return [this] { return time; };
    }
};

/// A UUID that is the same for the same text, and for another text another one.
inline std::string uuid_of(std::string_view text) {
    static constexpr std::string_view digits = "0123456789abcdef";
    std::uint64_t state = 14695981039346656037U;  // FNV-1a
    for (const char c : text) {
        state = (state ^ static_cast<unsigned char>(c)) * 1099511628211U;
    }
    std::string out;
    for (std::size_t i = 0; i < 32; ++i) {
        out += i == 8 || i == 12 || i == 16 || i == 20 ? "-" : "";
        state = state * 6364136223846793005U + 1442695040888963407U;
        out += digits[state >> 60U];
    }
    return out;
}

inline catalog::noticed_object view(std::uint32_t oid, std::string name) {
    return {
        .oid = oid, .schema = "public", .name = std::move(name), .type = "view", .owner = "app"};
}

inline catalog::noticed_object table(std::uint32_t oid, std::string name) {
    return {
        .oid = oid, .schema = "public", .name = std::move(name), .type = "table", .owner = "app"};
}

/// That `fact` is so of `object`.
inline catalog::found_notice finding_of(
    const catalog::noticed_object& object,
    const std::string& fact,
    std::vector<catalog::noticed_object> dependencies = {}
) {
    return {
        .type = "Comparison with NULL",
        .message = object.name + " compares " + fact + " with 42",
        .hint = "no row has " + fact,
        .action = "DROP VIEW " + object.name,
        .redacted_message = object.name + " compares " + fact + " with █",
        .redacted_hint = std::nullopt,
        .redacted_action = std::nullopt,
        .action_type = "sql_statements",
        .object = object,
        .dependencies = std::move(dependencies),
        .fingerprint = uuid_of(object.name + "/" + fact)};
}

inline catalog::examination examined(
    std::vector<std::uint32_t> oids, std::vector<catalog::found_notice> findings
) {
    return {
        .connection_id = "u1",
        .database = "app",
        .oids = std::move(oids),
        .findings = std::move(findings),
        .objects = {},
        .is_rename = false};
}

inline catalog::examination all_examined(std::vector<catalog::found_notice> findings) {
    auto out = examined({}, std::move(findings));
    out.oids.reset();
    return out;
}

inline catalog::command_outcome set_status(
    catalog::notice_catalog& in, const std::string& fingerprint, std::optional<std::string> status
) {
    return in.execute(
        {.fingerprint = fingerprint, .status = std::move(status)},
        {.user = "boss", .is_superuser = true}
    );
}

}  // namespace signalbox::tests
