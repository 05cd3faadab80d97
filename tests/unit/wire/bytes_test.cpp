// The reader whose first failure sticks, and the writer that fills in its length.
#include "wire/bytes.hpp"

#include "tests/support/exact_buffer.hpp"
#include "tests/support/frames.hpp"

#include <catch2/catch.hpp>

#include <set>
#include <string>

using namespace signalbox::wire;
using namespace std::string_view_literals;
using signalbox::tests::exact_buffer;

namespace {

constexpr auto everything =
    "\x7f\x01\x02\xff\xff\xff\xfe"
    "ab\0"
    "xyz"sv;

/// Reads what `everything` holds and says how it ended.
boost::system::error_code read_everything(std::string_view in) {
    byte_reader reader{in};
    reader.u8();
    reader.u16();
    reader.i32();
    reader.cstring();
    reader.bytes(3);
    return reader.finish();
}

}  // namespace

TEST_CASE("a reader gives integers in network order, strings and bytes", "[wire][bytes]") {
    const exact_buffer input{everything};
    byte_reader reader{input};
    CHECK(reader.u8() == 0x7f);
    CHECK(reader.u16() == 0x0102);
    CHECK(reader.i32() == -2);
    CHECK(reader.cstring() == "ab");
    CHECK(reader.remaining() == 3);
    CHECK(reader.bytes(3) == "xyz");
    CHECK_FALSE(reader.failed());
    CHECK_FALSE(reader.finish());
}

TEST_CASE("every cut of the input is truncated, and one byte more is trailing", "[wire][bytes]") {
    for (std::size_t n = 0; n < everything.size(); ++n) {
        CAPTURE(n);
        CHECK(read_everything(exact_buffer{everything.substr(0, n)}) == wire_errc::truncated);
    }
    CHECK_FALSE(read_everything(exact_buffer{everything}));
    CHECK(
        read_everything(exact_buffer{std::string{everything} + "!"}) == wire_errc::trailing_bytes
    );
}

TEST_CASE("the first failure sticks", "[wire][bytes]") {
    const exact_buffer input{"\x01\x02zz\0"sv};
    byte_reader reader{input};
    CHECK(reader.u8() == 1);
    CHECK(reader.bytes(100).empty());
    CHECK(reader.failed());
    CHECK(reader.u8() == 0);
    CHECK(reader.u16() == 0);
    CHECK(reader.u32() == 0);
    CHECK(reader.cstring().empty());
    CHECK(reader.bytes(0).empty());
    CHECK(reader.remainder().empty());
    CHECK(reader.finish() == wire_errc::truncated);
}

TEST_CASE("a size that cannot be is refused before anything is read", "[wire][bytes]") {
    const exact_buffer input{"abcd"};
    byte_reader reader{input};
    CHECK(reader.bytes(~std::size_t{0}).empty());
    CHECK(reader.failed());
}

TEST_CASE("a string without an end is truncated", "[wire][bytes]") {
    const exact_buffer input{"no end"};
    byte_reader reader{input};
    CHECK(reader.cstring().empty());
    CHECK(reader.finish() == wire_errc::truncated);
}

TEST_CASE("the remainder ends the reading", "[wire][bytes]") {
    const exact_buffer input{"\0rest"sv};
    byte_reader reader{input};
    CHECK(reader.cstring().empty());
    CHECK_FALSE(reader.failed());
    CHECK(reader.remainder() == "rest");
    CHECK_FALSE(reader.finish());
    CHECK(reader.remainder().empty());
}

TEST_CASE("a writer fills in the length, with and without a type", "[wire][bytes]") {
    std::string out = "before";
    message_writer{out, 'x'}.u8(1).u16(0x0203).u32(0x04050607).cstring("s").bytes("\0b"sv);
    CHECK(out == "beforex\0\0\0\x0f\x01\x02\x03\x04\x05\x06\x07s\0\0b"sv);
    out.clear();
    message_writer{out}.u32(8);
    CHECK(out == "\0\0\0\x08\0\0\0\x08"sv);
}

TEST_CASE("what was written is read back", "[wire][bytes]") {
    const auto number = GENERATE(0U, 1U, 0x7fffffffU, 0x80000000U, 0xffffffffU);
    std::string out;
    message_writer{out, 'n'}
        .u32(number)
        .u16(static_cast<std::uint16_t>(number))
        .u8(static_cast<std::uint8_t>(number));
    const auto frames = signalbox::tests::split_frames(out);
    REQUIRE(frames.size() == 1);
    byte_reader reader{frames[0].body};
    CHECK(reader.u32() == number);
    CHECK(reader.u16() == static_cast<std::uint16_t>(number));
    CHECK(reader.u8() == static_cast<std::uint8_t>(number));
    CHECK_FALSE(reader.finish());
}

TEST_CASE("unaligned integers are loaded and stored", "[wire][bytes]") {
    const exact_buffer input{"\x01\x02\x03\x04\x05"sv};
    CHECK(load_u32(input.view().data() + 1) == 0x02030405);
    CHECK(load_u16(input.view().data() + 3) == 0x0405);
    char room[5] = {};
    store_u32(room + 1, 0x0a0b0c0d);
    CHECK(std::string_view{room, 5} == "\0\x0a\x0b\x0c\x0d"sv);
}

TEST_CASE("every error code has a sentence of its own", "[wire][error]") {
    std::set<std::string> sentences;
    const int last = static_cast<int>(wire_errc::crypto_failure);
    for (int code = 1; code <= last; ++code) {
        const boost::system::error_code ec = static_cast<wire_errc>(code);
        CAPTURE(code);
        CHECK(ec);
        CHECK(std::string_view{ec.category().name()} == "signalbox.wire");
        CHECK(ec.message().size() > 10);
        char room[8] = {};
        CHECK(ec.category().message(code, room, sizeof room) == ec.message());
        sentences.insert(ec.message());
    }
    CHECK(sentences.size() == static_cast<std::size_t>(last));
    CHECK_FALSE(sentences.contains(wire_category().message(last + 1)));
}
