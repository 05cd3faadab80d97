// md5 passwords: verifiers of a real PostgreSQL 15, and what is none.
#include "wire/scram.hpp"

#include <catch2/catch.hpp>

#include <string_view>

using namespace signalbox::wire;
using namespace std::string_view_literals;

TEST_CASE("md5", "[wire][md5]") {
    // PostgreSQL 15: CREATE ROLE u3 PASSWORD 'secret' under password_encryption = md5.
    CHECK(make_md5_verifier("secret", "u3").value() == "md51988972405ce9f46030bb74a71130c7b");
    // md5 of the empty string, RFC 1321.
    CHECK(make_md5_verifier("", "").value() == "md5d41d8cd98f00b204e9800998ecf8427e");
    CHECK(make_md5_verifier("abc", "").value() == make_md5_verifier("a", "bc").value());
    // md5("1988972405ce9f46030bb74a71130c7b" 01 02 00 ff)
    CHECK(
        make_md5_response("md51988972405ce9f46030bb74a71130c7b", {0x01, 0x02, 0x00, 0xff})
            .value() == "md54ea182c8cb223bb5459e7827983d930a"
    );
    const auto bad = GENERATE(
        ""sv,
        "md5"sv,
        "md51988972405ce9f46030bb74a71130c7"sv,
        "md51988972405ce9f46030bb74a71130c7b0"sv,
        "md51988972405ce9f46030bb74a71130c7g"sv,
        "md51988972405CE9F46030BB74A71130C7B"sv,  // PostgreSQL takes this for a plain password
        "MD51988972405ce9f46030bb74a71130c7b"sv,
        "SCRAM-SHA-256$4096:iqLkGvjTRPJkSB1fLSwhBQ==$saadCauZAl+MZ/xwBA5D2PeoVJZjOO5aH5tVgEDwqf8=:"
        "Q8QuKFcKGio5H7TP7iU1SBQ7SqfkL1laJWs5bRIXINQ="sv
    );
    CAPTURE(bad);
    CHECK_FALSE(is_md5_verifier(bad));
    CHECK(make_md5_response(bad, {}).error() == wire_errc::bad_verifier);
    CHECK(is_md5_verifier("md51988972405ce9f46030bb74a71130c7b"));
}
