#include "wire/framing.hpp"

#include <catch2/catch.hpp>

#include <string>

using namespace signalbox::wire;

namespace {

std::string framed(char type, std::uint32_t length, std::string_view body) {
    std::string out(header_bytes, type);
    store_u32(out.data() + 1, length);
    return out.append(body);
}

}  // namespace

TEST_CASE("a message that comes in pieces is there with its last byte", "[wire][framing]") {
    const auto whole = framed('D', 7, "abc") + "Z";
    for (std::size_t size = 0; size < whole.size() - 1; ++size) {
        const auto message = first_message(std::string_view{whole}.substr(0, size));
        CHECK(message.is_partial());
        CHECK_FALSE(message.is_broken());
    }
    for (const auto size : {whole.size() - 1, whole.size()}) {
        const auto message = first_message(std::string_view{whole}.substr(0, size));
        CHECK_FALSE(message.is_partial());
        CHECK_FALSE(message.is_broken());
        CHECK(message.type == 'D');
        CHECK(message.body == "abc");
        CHECK(message.size == 8);
    }
}

TEST_CASE("a message without a body", "[wire][framing]") {
    const auto message = first_message(framed('S', 4, ""));
    CHECK(message.found == framed_message::state::complete);
    CHECK(message.body.empty());
    CHECK(message.size == header_bytes);
}

TEST_CASE("lengths that no message has", "[wire][framing]") {
    CHECK(first_message(framed('S', 3, "")).is_broken());
    CHECK(first_message(framed('S', 0, "")).is_broken());
    CHECK(first_message(framed('S', 0xffffffff, "")).is_broken());
    CHECK(first_message(framed('S', 11, ""), 10).is_broken());
    CHECK(first_message(framed('S', 10, ""), 10).is_partial());
    CHECK(first_message(framed('S', max_server_control_bytes + 1, "")).is_broken());
}
