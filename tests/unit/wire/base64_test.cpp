// Base64: the examples of RFC 4648, and every way to be none.
#include "wire/base64.hpp"

#include "tests/support/exact_buffer.hpp"

#include <catch2/catch.hpp>

#include <string>
#include <string_view>

using namespace signalbox::wire;
using namespace std::string_view_literals;
using signalbox::tests::exact_buffer;

TEST_CASE("base64", "[wire][base64]") {
    const auto [bytes, text] = GENERATE(table<std::string_view, std::string_view>({
        // RFC 4648 section 10
        {"", ""},
        {"f", "Zg=="},
        {"fo", "Zm8="},
        {"foo", "Zm9v"},
        {"foob", "Zm9vYg=="},
        {"fooba", "Zm9vYmE="},
        {"foobar", "Zm9vYmFy"},
        {"\xfb\xff\xbf", "+/+/"},
        {"\0\0"sv, "AAA="},
    }));
    std::string encoded;
    append_base64(encoded, bytes);
    CHECK(encoded == text);
    CHECK(decode_base64(exact_buffer{text}) == std::string{bytes});
    for (std::size_t n = 0; n < text.size(); ++n) {
        CAPTURE(n);
        CHECK(decode_base64(exact_buffer{text.substr(0, n)}).has_value() == (n % 4 == 0));
    }
    const auto bad = GENERATE(
        "="sv,
        "===="sv,
        "A==="sv,
        "AA=A"sv,
        "AA==AAAA"sv,
        "AB=="sv,
        "AAB="sv,
        "AA A"sv,
        "AAA\n"sv,
        "-_AA"sv,
        "AA\0A"sv,
        "AA\xc3\xa4"sv,
        "AAAAA"sv
    );
    CAPTURE(bad);
    CHECK_FALSE(decode_base64(exact_buffer{bad}).has_value());
}
