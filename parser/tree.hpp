// libpg_query's tree of some statements, read as it lies.
//
// The tree comes as a Protocol Buffers message. Readers walk it with the message descriptors and a
// stack of their own: unpacking it would recurse as deep as the SQL nests. For parser/*.cpp only.
#pragma once

#include <cstdint>
#include <string_view>

struct ProtobufCFieldDescriptor;
struct ProtobufCMessageDescriptor;

namespace signalbox::parser {

/// One field of a message: a number, or the bytes of a string or of a message within.
struct tree_field {
    const ProtobufCFieldDescriptor* about = nullptr;  // null: not known, or no more fields
    std::uint64_t number = 0;
    std::string_view bytes;

    [[nodiscard]] std::string_view name() const noexcept;
    [[nodiscard]] bool is_message() const noexcept;
    /// Of a field that is a message.
    [[nodiscard]] const ProtobufCMessageDescriptor* type() const noexcept;
};

struct tree_message {
    const ProtobufCMessageDescriptor* type = nullptr;
    std::string_view bytes;

    [[nodiscard]] bool is(const ProtobufCMessageDescriptor& other) const noexcept {
        return type == &other;
    }
};

/// Reads one message's fields in their order. The bytes are libpg_query's own, yet nothing is read
/// beyond their end.
class tree_reader {
public:
    explicit tree_reader(const tree_message& m) noexcept : type_(m.type), rest_(m.bytes) {}

    [[nodiscard]] bool at_end() const noexcept { return rest_.empty(); }

    tree_field next() noexcept;

private:
    std::uint64_t varint() noexcept;
    std::string_view take(std::uint64_t size) noexcept;

    const ProtobufCMessageDescriptor* type_;
    std::string_view rest_;
};

/// The first field of this name; one without `about` where there is none. Numbers that are 0,
/// empty strings and empty lists are not in the tree.
tree_field field_of(const tree_message& m, std::string_view name) noexcept;

/// What a Node, in the bytes of a field, holds.
tree_message in_node(std::string_view node) noexcept;

/// The text in a Node that holds a String; else empty.
std::string_view string_in(std::string_view node) noexcept;

/// A statement, or a part of one, that keeps an expression for later instead of running it.
bool only_defines(const tree_message& m) noexcept;

}  // namespace signalbox::parser
