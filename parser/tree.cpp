#include "parser/tree.hpp"

#include <pg_query/pg_query.pb-c.h>

#include <algorithm>
#include <array>

namespace signalbox::parser {

std::string_view tree_field::name() const noexcept {
    return about != nullptr ? std::string_view{about->name} : std::string_view{};
}

bool tree_field::is_message() const noexcept {
    return about != nullptr && about->type == PROTOBUF_C_TYPE_MESSAGE;
}

const ProtobufCMessageDescriptor* tree_field::type() const noexcept {
    return static_cast<const ProtobufCMessageDescriptor*>(about->descriptor);
}

tree_field tree_reader::next() noexcept {
    const auto key = varint();
    tree_field found;
    found.about = protobuf_c_message_descriptor_get_field(type_, static_cast<unsigned>(key >> 3U));
    switch (key & 7U) {
        case PROTOBUF_C_WIRE_TYPE_VARINT:
            found.number = varint();
            break;
        case PROTOBUF_C_WIRE_TYPE_LENGTH_PREFIXED:
            found.bytes = take(varint());
            break;
        case PROTOBUF_C_WIRE_TYPE_32BIT:
            take(4);
            break;
        case PROTOBUF_C_WIRE_TYPE_64BIT:
            take(8);
            break;
        default:
            rest_ = {};
    }
    return found;
}

std::uint64_t tree_reader::varint() noexcept {
    std::uint64_t value = 0;
    for (unsigned shift = 0; shift < 64 && !rest_.empty(); shift += 7) {
        const auto byte = static_cast<unsigned char>(rest_.front());
        rest_.remove_prefix(1);
        value |= static_cast<std::uint64_t>(byte & 0x7FU) << shift;
        if (byte < 0x80) {
            break;
        }
    }
    return value;
}

std::string_view tree_reader::take(std::uint64_t size) noexcept {
    const auto taken = rest_.substr(0, size);
    rest_.remove_prefix(taken.size());
    return taken;
}

tree_field field_of(const tree_message& m, std::string_view name) noexcept {
    for (tree_reader in{m}; !in.at_end();) {
        const auto f = in.next();
        if (f.name() == name) {
            return f;
        }
    }
    return {};
}

tree_message in_node(std::string_view node) noexcept {
    tree_reader in{{&pg_query__node__descriptor, node}};
    const auto held = in.next();
    return held.is_message() ? tree_message{held.type(), held.bytes} : tree_message{};
}

std::string_view string_in(std::string_view node) noexcept {
    const auto held = in_node(node);
    return held.is(pg_query__string__descriptor) ? tree_reader{held}.next().bytes
                                                 : std::string_view{};
}

bool only_defines(const tree_message& m) noexcept {
    static const std::array definitions{
        &pg_query__create_function_stmt__descriptor,
        &pg_query__view_stmt__descriptor,
        &pg_query__rule_stmt__descriptor,
        &pg_query__create_trig_stmt__descriptor,
        &pg_query__create_policy_stmt__descriptor,
        &pg_query__alter_policy_stmt__descriptor,
        &pg_query__create_stmt__descriptor,
        &pg_query__create_domain_stmt__descriptor,
        &pg_query__create_publication_stmt__descriptor,
        &pg_query__alter_publication_stmt__descriptor,
        &pg_query__prepare_stmt__descriptor};
    if (std::find(definitions.begin(), definitions.end(), m.type) != definitions.end()) {
        return true;
    }
    return m.is(pg_query__alter_table_cmd__descriptor) &&
           field_of(m, "subtype").number == PG_QUERY__ALTER_TABLE_TYPE__AT_ColumnDefault;
}

}  // namespace signalbox::parser
