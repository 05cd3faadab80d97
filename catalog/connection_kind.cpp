#include "catalog/connection_kind.hpp"

#include "catalog/kinds.hpp"

#include <algorithm>

namespace signalbox::catalog {

std::array<const connection_kind*, connection_type_count> all_kinds() noexcept {
    return {&postgres_kind(), &aws_privatelink_kind(), &kafka_kind()};
}

const connection_kind& kind_of(connection_type type) noexcept {
    const auto kinds = all_kinds();
    return **std::ranges::find(kinds, type, [](const connection_kind* each) {
        return each->type();
    });
}

const option_description* connection_kind::find_option(std::string_view name) const noexcept {
    const auto known = descriptions();
    const auto found = std::ranges::find(known, name, &option_description::name);
    return found != known.end() ? &*found : nullptr;
}

}  // namespace signalbox::catalog
