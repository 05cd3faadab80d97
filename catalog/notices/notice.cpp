#include "catalog/notices/notice.hpp"

#include "parser/query.hpp"
#include "parser/redaction.hpp"

#include <openssl/evp.h>

#include <array>
#include <stdexcept>

namespace signalbox::catalog {
namespace {

/// Of notices: drawn once. 6f2a7f0c-2b3e-5d49-9c61-0d4a52b7c1e8
constexpr std::array<unsigned char, 16> name_space{
    0x6f, 0x2a, 0x7f, 0x0c, 0x2b, 0x3e, 0x5d, 0x49, 0x9c, 0x61, 0x0d, 0x4a, 0x52, 0xb7, 0xc1, 0xe8};

/// Source: RFC 4122, section 4.3
std::string name_based_uuid(std::string_view name) {
    std::string input(name_space.begin(), name_space.end());
    input += name;
    std::array<unsigned char, EVP_MAX_MD_SIZE> digest{};
    unsigned size = 0;
    if (::EVP_Digest(input.data(), input.size(), digest.data(), &size, ::EVP_sha1(), nullptr) !=
        1) {
        throw std::runtime_error{"SHA-1 is not available"};
    }
    digest[6] = static_cast<unsigned char>((digest[6] & 0x0FU) | 0x50U);
    digest[8] = static_cast<unsigned char>((digest[8] & 0x3FU) | 0x80U);
    static constexpr std::string_view hex = "0123456789abcdef";
    std::string out;
    for (std::size_t i = 0; i < name_space.size(); ++i) {
        if (i == 4 || i == 6 || i == 8 || i == 10) {
            out += '-';
        }
        out += hex[digest[i] >> 4U];
        out += hex[digest[i] & 0x0FU];
    }
    return out;
}

}  // namespace

std::string_view action_type_name(action_type type) noexcept {
    return type == action_type::sql_statements ? "sql_statements" : "plain_text";
}

std::string shown(std::string_view sql, redaction mode) {
    return mode == redaction::plain ? std::string{sql} : parser::redacted_sql(sql);
}

std::string notice_fingerprint(
    std::string_view type,
    const notice_place& place,
    const object_facts& object,
    const std::vector<std::string>& facts
) {
    std::string name;
    const auto add = [&](std::string_view part) {
        name += std::to_string(part.size()) + ":";
        name += part;
    };
    add(type);
    add(place.connection);
    add(place.database);
    add(object.schema);
    add(object.name);
    add(parser::canonical_form(object.definition));
    for (const auto& fact : facts) {
        add(fact);
    }
    return name_based_uuid(name);
}

}  // namespace signalbox::catalog
