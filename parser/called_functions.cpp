#include "parser/called_functions.hpp"

#include <pg_query/pg_query.pb-c.h>

#include <algorithm>
#include <array>
#include <utility>

namespace signalbox::parser {
namespace {

/// One field of a message: a number, or the bytes of a string or of a message within.
struct field {
    const ProtobufCFieldDescriptor* about = nullptr;  // null: not known, or no more fields
    std::uint64_t number = 0;
    std::string_view bytes;
};

/// Reads one message's fields in their order. The bytes are libpg_query's own, yet nothing is read
/// beyond their end.
class message_reader {
public:
    message_reader(const ProtobufCMessageDescriptor* type, std::string_view bytes) noexcept
        : type_(type), rest_(bytes) {}

    [[nodiscard]] bool at_end() const noexcept { return rest_.empty(); }

    field next() noexcept {
        const auto key = varint();
        field found;
        found.about =
            protobuf_c_message_descriptor_get_field(type_, static_cast<unsigned>(key >> 3U));
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

private:
    std::uint64_t varint() noexcept {
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

    std::string_view take(std::uint64_t size) noexcept {
        const auto taken = rest_.substr(0, size);
        rest_.remove_prefix(taken.size());
        return taken;
    }

    const ProtobufCMessageDescriptor* type_;
    std::string_view rest_;
};

struct message {
    const ProtobufCMessageDescriptor* type;
    std::string_view bytes;
};

/// Statements that keep an expression for later instead of running it.
bool only_defines(const message& m) noexcept {
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
    if (m.type != &pg_query__alter_table_cmd__descriptor) {
        return false;
    }
    for (message_reader in{m.type, m.bytes}; !in.at_end();) {
        const auto f = in.next();
        if (f.about != nullptr && std::string_view{f.about->name} == "subtype") {
            return f.number == PG_QUERY__ALTER_TABLE_TYPE__AT_ColumnDefault;
        }
    }
    return false;
}

/// The name in a Node that holds a String.
std::string_view name_in(std::string_view node) noexcept {
    message_reader in{&pg_query__node__descriptor, node};
    const auto string = in.next();
    if (string.about == nullptr || string.about->descriptor != &pg_query__string__descriptor) {
        return {};
    }
    return message_reader{&pg_query__string__descriptor, string.bytes}.next().bytes;
}

bool is_wanted_call(const message& call, const call_predicate& is_wanted) {
    std::string_view schema;
    std::string_view function;
    for (message_reader in{call.type, call.bytes}; !in.at_end();) {
        const auto f = in.next();
        const std::string_view name = f.about != nullptr ? f.about->name : "";
        if (name == "funcname") {
            schema = std::exchange(function, name_in(f.bytes));
        } else if (name == "funcformat" && f.number == PG_QUERY__COERCION_FORM__COERCE_SQL_SYNTAX) {
            return false;  // TRIM(BOTH …) and the like: PostgreSQL's own functions
        }
    }
    // LIKE … ESCAPE and SIMILAR TO, which the grammar does not mark.
    const bool is_operator =
        schema == "pg_catalog" && (function == "like_escape" || function == "similar_to_escape");
    return !is_operator && is_wanted(schema, function);
}

}  // namespace

bool tree_makes_call(std::string_view tree, const call_predicate& is_wanted) {
    std::vector<message> open{{&pg_query__parse_result__descriptor, tree}};
    while (!open.empty()) {
        const auto m = open.back();
        open.pop_back();
        if (only_defines(m)) {
            continue;
        }
        if (m.type == &pg_query__func_call__descriptor && is_wanted_call(m, is_wanted)) {
            return true;
        }
        for (message_reader in{m.type, m.bytes}; !in.at_end();) {
            const auto f = in.next();
            if (f.about != nullptr && f.about->type == PROTOBUF_C_TYPE_MESSAGE) {
                open.push_back(
                    {static_cast<const ProtobufCMessageDescriptor*>(f.about->descriptor), f.bytes}
                );
            }
        }
    }
    return false;
}

}  // namespace signalbox::parser
