// What is remembered of right passwords: exactly that key, that verifier and that password.
#include "proxy/right_passwords.hpp"

#include <catch2/catch.hpp>

#include <string>

using namespace signalbox;
using namespace signalbox::proxy;
using namespace std::string_literals;

namespace {

wire::scram_key key_of(std::uint8_t byte) {
    wire::scram_key made;
    made.fill(byte);
    return made;
}

wire::scram_verifier verifier_of(std::uint8_t server_key) {
    wire::scram_verifier made;
    made.salt = "salt";
    made.server_key = key_of(server_key);
    return made;
}

}  // namespace

TEST_CASE("right passwords: what was remembered, and nothing else", "[proxy][auth]") {
    right_passwords known;
    const auto key = key_of(1);
    const auto verifier = verifier_of(2);
    CHECK_FALSE(known.contains(key, verifier, "secret"));
    known.remember(key, verifier, "secret");
    CHECK(known.contains(key, verifier, "secret"));
    known.remember(key, verifier, "secret");
    CHECK(known.contains(key, verifier, "secret"));

    for (const auto& other : {""s, "Secret"s, "secre"s, "secret "s, "secret\0"s, "\0secret"s}) {
        CAPTURE(other);
        CHECK_FALSE(known.contains(key, verifier, other));
    }
    CHECK_FALSE(known.contains(key_of(3), verifier, "secret"));
    CHECK_FALSE(known.contains(key, verifier_of(3), "secret"));
    // A changed password has a new verifier, and the old password is right no longer.
    known.remember(key, verifier_of(3), "changed");
    CHECK_FALSE(known.contains(key, verifier_of(3), "secret"));
    CHECK_FALSE(known.contains(key, verifier, "changed"));
    CHECK(known.contains(key, verifier, "secret"));
}

TEST_CASE("right passwords: any bytes, none, and many", "[proxy][auth]") {
    right_passwords known;
    const auto key = key_of(1);
    const auto verifier = verifier_of(2);
    for (const auto& password : {""s, "\0"s, "a\0b"s, "\xff\xfe"s, std::string(100'000, 'x')}) {
        CHECK_FALSE(known.contains(key, verifier, password));
        known.remember(key, verifier, password);
        CHECK(known.contains(key, verifier, password));
    }
    CHECK_FALSE(known.contains(key, verifier, "a\0c"s));
    CHECK_FALSE(known.contains(key, verifier, std::string(99'999, 'x')));
}

TEST_CASE("right passwords: their number is bounded", "[proxy][auth]") {
    right_passwords known;
    const auto key = key_of(1);
    const auto verifier = verifier_of(2);
    const auto remembered = [&](int count) {
        int found = 0;
        for (int i = 0; i < count; ++i) {
            found += known.contains(key, verifier, std::to_string(i)) ? 1 : 0;
        }
        return found;
    };
    for (int i = 0; i < 4'096; ++i) {
        known.remember(key, verifier, std::to_string(i));
    }
    CHECK(remembered(4'096) == 4'096);
    // One more, and all begin anew: the others pay once more.
    known.remember(key, verifier, "4096");
    CHECK(remembered(4'097) == 1);
    CHECK(known.contains(key, verifier, "4096"));
}
