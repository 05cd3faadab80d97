// SCRAM, both ends: the published vectors, verifiers of a real PostgreSQL 15, every
// refusal.
#include "wire/scram.hpp"

#include "tests/support/exact_buffer.hpp"
#include "wire/base64.hpp"

#include <catch2/catch.hpp>
#include <openssl/evp.h>
#include <openssl/hmac.h>

#include <algorithm>
#include <array>
#include <new>
#include <set>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

using namespace signalbox::wire;
using signalbox::tests::exact_buffer;
using namespace std::string_literals;
using namespace std::string_view_literals;

namespace {

// RFC 7677 section 3.
constexpr auto rfc_client_nonce = "rOprNGfwEbeRWgbNEkqO"sv;
constexpr auto rfc_server_nonce = "%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0"sv;
constexpr auto rfc_salt = "W22ZaJ0SNY7soEsUEjb6gQ=="sv;
constexpr auto rfc_client_first = "n,,n=user,r=rOprNGfwEbeRWgbNEkqO"sv;
constexpr auto rfc_server_first =
    "r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096"sv;
constexpr auto rfc_client_final =
    "c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,"
    "p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ="sv;
constexpr auto rfc_server_final = "v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4="sv;

// The same exchange bound to the bytes 0 to 31 as the hash of a certificate, without a user's name.
// No RFC has one with SHA-256: computed with Python's hmac and hashlib, by which RFC 7677's comes
// out.
constexpr auto bound_client_first = "p=tls-server-end-point,,n=,r=rOprNGfwEbeRWgbNEkqO"sv;
constexpr auto bound_client_final =
    "c=cD10bHMtc2VydmVyLWVuZC1wb2ludCwsAAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=,"
    "r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,"
    "p=Q8h71kjaoMzNI7dPksDrhRE/5mTUObF0fUHVIgBOWQg="sv;
constexpr auto bound_server_final = "v=ykwoqH8mLqO5AQCeuwwf6lsj9f8zyJZT/CcvAbN4Ssc="sv;
// A client that could bind and was not offered to.
constexpr auto able_client_final =
    "c=eSws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,"
    "p=VpuC5DGQa5ro9tXE9MnKs69NH1nxnuregZZcclqIGfM="sv;

// Made by PostgreSQL 15: CREATE ROLE u1 PASSWORD 'pencil'.
constexpr auto pencil_verifier =
    "SCRAM-SHA-256$4096:iqLkGvjTRPJkSB1fLSwhBQ==$saadCauZAl+MZ/xwBA5D2PeoVJZjOO5aH5tVgEDwqf8=:"
    "Q8QuKFcKGio5H7TP7iU1SBQ7SqfkL1laJWs5bRIXINQ="sv;
// Made by PostgreSQL 15 in a UTF-8 database from p U+00E4 s s U+2168 U+00AD U+00A0 x, which
// SASLprep turns into p U+00E4 s s I X U+0020 x.
constexpr auto unicode_verifier =
    "SCRAM-SHA-256$4096:/b2G7sLMYjgnD7JSpph9iw==$MzqyNj+Pb9oBa4pbqMJod4U1rASjLzSls175S4cqoec=:"
    "G6bj3lpzqsfQ3rw5Y2vvQBTaahY4uHC9oQdKDcyr/UE="sv;

constexpr auto nul = "\0"sv;

std::string raw(std::string_view base64) {
    return decode_base64(base64).value();
}

scram_keys keys_of(std::string_view password, const scram_verifier& verifier) {
    return derive_scram_keys(password, verifier.salt, verifier.iterations).value();
}

scram_verifier rfc_verifier() {
    static const scram_keys keys = derive_scram_keys("pencil", raw(rfc_salt), 4096).value();
    return make_scram_verifier(keys, raw(rfc_salt), 4096).value();
}

scram_server rfc_server(scram_channel channel = {}) {
    return {rfc_verifier(), std::string{rfc_server_nonce}, std::move(channel)};
}

std::string end_point() {
    std::string out(32, '\0');
    for (std::size_t i = 0; i < out.size(); ++i) {
        out[i] = static_cast<char>(i);
    }
    return out;
}

scram_channel bound() {
    return {.end_point = end_point(), .is_bound = true};
}

scram_channel able() {
    return {.end_point = end_point(), .is_bound = false};
}

// A server that waits for client-final.
scram_server rfc_server_after_first(std::string_view client_first = rfc_client_first) {
    scram_server server = rfc_server();
    REQUIRE(server.on_client_first(client_first).has_value());
    return server;
}

boost::system::error_code client_first_error(std::string_view message) {
    return rfc_server().on_client_first(exact_buffer{message}).error();
}

boost::system::error_code client_final_error(std::string_view message) {
    scram_server server = rfc_server_after_first();
    return server.on_client_final(exact_buffer{message}).error();
}

boost::system::error_code server_first_error(std::string_view message) {
    return scram_client{std::string{rfc_client_nonce}}
        .on_server_first(exact_buffer{message})
        .error();
}

// A client that waits for server-final, in the exchange of `server`.
scram_client client_after_final(scram_server& server, const scram_keys& keys) {
    scram_client client{std::string{rfc_client_nonce}};
    REQUIRE(
        client.on_server_first(server.on_client_first(client.first_message()).value()).has_value()
    );
    const auto client_final = client.final_message(keys);
    REQUIRE(client_final.has_value());
    return client;
}

struct outcome {
    boost::system::error_code server;
    boost::system::error_code client;
    scram_keys server_keys;
};

// A whole exchange, and how it ended at either end.
outcome exchange(
    const scram_verifier& verifier,
    const scram_keys& keys,
    const std::string& client_nonce,
    const std::string& server_nonce
) {
    scram_server server{verifier, server_nonce};
    scram_client client{client_nonce};
    const auto server_first = server.on_client_first(client.first_message());
    REQUIRE(server_first.has_value());
    const auto challenge = client.on_server_first(*server_first);
    REQUIRE(challenge.has_value());
    CHECK(challenge->salt == verifier.salt);
    CHECK(challenge->iterations == verifier.iterations);
    const auto client_final = client.final_message(keys);
    REQUIRE(client_final.has_value());
    CHECK_FALSE(client.is_server_verified());
    const auto server_final = server.on_client_final(*client_final);
    if (!server_final) {
        return {server_final.error(), {}, server.keys()};
    }
    const auto verified = client.on_server_final(*server_final);
    CHECK(client.is_server_verified() == verified.has_value());
    return {{}, verified ? boost::system::error_code{} : verified.error(), server.keys()};
}

std::string replaced(std::string_view text, std::string_view from, std::string_view to) {
    std::string out{text};
    const std::size_t at = out.find(from);
    REQUIRE(at != std::string::npos);
    return out.replace(at, from.size(), to);
}

}  // namespace

TEST_CASE("the exchange of RFC 7677", "[wire][scram]") {
    SECTION("server") {
        scram_server server = rfc_server();
        CHECK(server.on_client_first(rfc_client_first).value() == rfc_server_first);
        CHECK(server.keys().client_key == scram_key{});
        CHECK(server.on_client_final(rfc_client_final).value() == rfc_server_final);
    }
    SECTION("client") {
        // The client leaves the user name to the startup packet, so its proof differs from the
        // RFC's; what the server makes of it must agree.
        scram_client client{std::string{rfc_client_nonce}};
        CHECK(client.first_message() == "n,,n=,r=rOprNGfwEbeRWgbNEkqO");
        const auto challenge = client.on_server_first(rfc_server_first).value();
        CHECK(challenge.salt == raw(rfc_salt));
        CHECK(challenge.iterations == 4096);
        const auto keys = derive_scram_keys("pencil", challenge.salt, challenge.iterations).value();
        const std::string client_final = client.final_message(keys).value();
        CHECK(client_final.starts_with(
            "c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,p="
        ));
        scram_server server = rfc_server_after_first(client.first_message());
        CHECK(client.on_server_final(server.on_client_final(client_final).value()).has_value());
        CHECK(client.is_server_verified());
    }
}

TEST_CASE("the server recovers the keys that the password gives", "[wire][scram]") {
    const scram_verifier verifier = rfc_verifier();
    const scram_keys keys = keys_of("pencil", verifier);
    const outcome done = exchange(verifier, keys, "abc", "def");
    CHECK_FALSE(done.server);
    CHECK_FALSE(done.client);
    CHECK(done.server_keys.client_key == keys.client_key);
    CHECK(done.server_keys.server_key == keys.server_key);

    SECTION("and they log in elsewhere") {
        const outcome onward = exchange(verifier, done.server_keys, "ghi", "jkl");
        CHECK_FALSE(onward.server);
        CHECK_FALSE(onward.client);
    }
}

TEST_CASE("a verifier of PostgreSQL 15", "[wire][scram]") {
    const auto [text, password] = GENERATE(table<std::string_view, std::string_view>(
        {{pencil_verifier, "pencil"},
         {unicode_verifier, "p\xc3\xa4ss\xe2\x85\xa8\xc2\xad\xc2\xa0x"}}
    ));
    const scram_verifier verifier = parse_scram_verifier(text).value();
    CHECK(verifier.iterations == 4096);
    CHECK(verifier.salt.size() == 16);
    CHECK(serialize_scram_verifier(verifier) == text);

    const scram_keys keys = keys_of(password, verifier);
    CHECK(serialize_scram_verifier(make_scram_verifier(keys, verifier.salt, 4096).value()) == text);
    CHECK_FALSE(exchange(verifier, keys, "abc", "def").server);
    CHECK(
        exchange(verifier, keys_of("Pencil", verifier), "abc", "def").server ==
        wire_errc::scram_wrong_proof
    );
}

TEST_CASE("salts and nonces of any length", "[wire][scram]") {
    const std::size_t salt_bytes = GENERATE(1U, 15U, 16U, 17U, 32U, 64U, 3000U);
    const std::size_t nonce_bytes = GENERATE(1U, 2U, 24U, 63U, 64U, 65U, 1000U);
    CAPTURE(salt_bytes, nonce_bytes);
    std::string salt(salt_bytes, '\0');  // NUL and high bytes are salt like any other
    for (std::size_t i = 0; i < salt.size(); ++i) {
        salt[i] = static_cast<char>(i * 37);
    }
    const scram_keys keys = derive_scram_keys("secret", salt, 2).value();
    const scram_verifier verifier = make_scram_verifier(keys, salt, 2).value();
    const std::string text = serialize_scram_verifier(verifier);
    CHECK(parse_scram_verifier(text).value().salt == salt);
    const outcome done =
        exchange(verifier, keys, std::string(nonce_bytes, '~'), std::string(nonce_bytes, '!'));
    CHECK_FALSE(done.server);
    CHECK_FALSE(done.client);
}

TEST_CASE("client-first: refused", "[wire][scram]") {
    const auto [message, expected] = GENERATE(table<std::string_view, wire_errc>({
        {"", wire_errc::bad_scram_message},
        {"n", wire_errc::bad_scram_message},
        {"n,", wire_errc::bad_scram_message},
        {"n,,", wire_errc::bad_scram_message},
        {"x,,n=,r=abc", wire_errc::bad_scram_message},
        {"N,,n=,r=abc", wire_errc::bad_scram_message},
        {"p,,n=,r=abc", wire_errc::bad_scram_message},
        {"n=,r=abc", wire_errc::bad_scram_message},
        {",,n=,r=abc", wire_errc::bad_scram_message},
        {"p=tls-server-end-point,,n=,r=abc", wire_errc::scram_channel_binding},
        {"p=tls-unique,,n=,r=abc", wire_errc::scram_channel_binding},
        {"n,a=other,n=,r=abc", wire_errc::bad_scram_message},
        {"n,a=,n=,r=abc", wire_errc::bad_scram_message},
        {"n,other,n=,r=abc", wire_errc::bad_scram_message},
        {"n,,m=ext,n=,r=abc", wire_errc::bad_scram_message},
        {"n,,n=,m=ext,r=abc", wire_errc::bad_scram_message},
        {"n,,n=,r=abc,m=ext", wire_errc::bad_scram_message},
        {"n,,r=abc", wire_errc::bad_scram_message},
        {"n,,r=abc,n=", wire_errc::bad_scram_message},
        {"n,,n=user", wire_errc::bad_scram_message},
        {"n,,n=user,", wire_errc::bad_scram_message},
        {"n,,n=user,r", wire_errc::bad_scram_message},
        {"n,,n=user,r=", wire_errc::bad_scram_message},
        {"n,,n=user,r=,x=y", wire_errc::bad_scram_message},
        {"n,,n=user,n=user,r=abc", wire_errc::bad_scram_message},
        {"n,,n=,r=abc,r=abc", wire_errc::bad_scram_message},
        {"n,,n=,r=abc,n=user", wire_errc::bad_scram_message},
        {"n,,n=,r=abc,x=1,x=2", wire_errc::bad_scram_message},
        {"n,,n=,r=abc,x=", wire_errc::bad_scram_message},
        {"n,,n=,r=abc,x", wire_errc::bad_scram_message},
        {"n,,n=,r=abc,1=x", wire_errc::bad_scram_message},
        {"n,,n=,r=abc,", wire_errc::bad_scram_message},
        {"n,,n=,r=abc,,x=y", wire_errc::bad_scram_message},
        {"n,,n=,r=a bc", wire_errc::bad_scram_message},
        {"n,,n=,r=a\tbc", wire_errc::bad_scram_message},
        {"n,,n=,r=a\x7f", wire_errc::bad_scram_message},
        {"n,,n=,r=a\xc3\xa4", wire_errc::bad_scram_message},
        {"n,,n=,r=abc\0"sv, wire_errc::bad_scram_message},
        {"n,,n=a\0b,r=abc"sv, wire_errc::bad_scram_message},
    }));
    CAPTURE(message);
    CHECK(client_first_error(message) == expected);
}

TEST_CASE("client-first: accepted", "[wire][scram]") {
    const auto message = GENERATE(
        "n,,n=,r=abc"sv,
        "y,,n=,r=abc"sv,
        "n,,n=some=2Cone,r=abc"sv,
        "n,,n=\xc3\xa4,r=abc"sv,
        "n,,n=,r=abc,x=1,Y=two=2,z=\xc3\xa4"sv
    );
    CAPTURE(message);
    const auto answer = rfc_server().on_client_first(exact_buffer{message});
    REQUIRE(answer.has_value());
    CHECK(
        *answer ==
        "r=abc" + std::string{rfc_server_nonce} + ",s=" + std::string{rfc_salt} + ",i=4096"
    );
}

TEST_CASE("messages over the limit are refused", "[wire][scram]") {
    const std::string at_limit(max_scram_message_bytes - 8, 'x');
    CHECK(rfc_server().on_client_first("n,,n=,r=" + at_limit).has_value());
    CHECK(client_first_error("n,,n=,r=" + at_limit + "x") == wire_errc::bad_scram_message);
    const std::string long_salt(max_scram_message_bytes, 'A');
    CHECK(
        server_first_error(std::string{rfc_server_first} + ",x=" + long_salt) ==
        wire_errc::bad_scram_message
    );
    CHECK(
        client_final_error(replaced(rfc_client_final, ",p=", ",x=" + long_salt + ",p=")) ==
        wire_errc::bad_scram_message
    );
    CHECK(
        parse_scram_verifier(replaced(pencil_verifier, "iqLk", long_salt)).error() ==
        wire_errc::bad_verifier
    );
}

TEST_CASE("client-final: the channel binding must be the header of client-first", "[wire][scram]") {
    const auto [first, binding, accepted] =
        GENERATE(table<std::string_view, std::string_view, bool>({
            {"n,,n=,r=rOprNGfwEbeRWgbNEkqO", "biws", true},
            {"n,,n=,r=rOprNGfwEbeRWgbNEkqO", "eSws", false},
            {"y,,n=,r=rOprNGfwEbeRWgbNEkqO", "eSws", true},
            {"y,,n=,r=rOprNGfwEbeRWgbNEkqO", "biws", false},
            {"n,,n=,r=rOprNGfwEbeRWgbNEkqO", "cD10bHMtc2VydmVyLWVuZC1wb2ludCws", false},
        }));
    CAPTURE(first, binding);
    scram_server server = rfc_server_after_first(first);
    const auto answer = server.on_client_final(replaced(rfc_client_final, "biws", binding));
    // The proof is of another message, so acceptance of the binding shows as a wrong proof.
    CHECK(
        answer.error() ==
        (accepted ? wire_errc::scram_wrong_proof : wire_errc::scram_channel_binding)
    );
}

TEST_CASE("an exchange that is bound to the TLS connection", "[wire][scram]") {
    scram_server server = rfc_server(bound());
    scram_client client{std::string{rfc_client_nonce}, bound()};
    CHECK(client.is_bound());
    CHECK(client.first_message() == bound_client_first);
    const std::string server_first =
        server.on_client_first(exact_buffer{bound_client_first}).value();
    CHECK(server_first == rfc_server_first);
    const auto challenge = client.on_server_first(server_first).value();
    const auto keys = derive_scram_keys("pencil", challenge.salt, challenge.iterations).value();
    CHECK(client.final_message(keys).value() == bound_client_final);
    CHECK(server.on_client_final(exact_buffer{bound_client_final}).value() == bound_server_final);
    CHECK(client.on_server_final(bound_server_final).has_value());
    CHECK(client.is_server_verified());

    SECTION("its keys log in elsewhere, where nothing is bound, and the other way round") {
        CHECK(server.keys().client_key == keys.client_key);
        CHECK(server.keys().server_key == keys.server_key);
        CHECK_FALSE(exchange(rfc_verifier(), server.keys(), "abc", "def").server);
        const outcome unbound = exchange(rfc_verifier(), keys, "abc", "def");
        scram_server other = rfc_server(bound());
        scram_client onward{"ghi", bound()};
        REQUIRE(onward.on_server_first(other.on_client_first(onward.first_message()).value())
                    .has_value());
        const auto proof = onward.final_message(unbound.server_keys).value();
        CHECK(onward.on_server_final(other.on_client_final(proof).value()).has_value());
    }
}

TEST_CASE("a client says whether it could bind", "[wire][scram]") {
    CHECK(scram_client{"abc"}.first_message() == "n,,n=,r=abc");
    const scram_client unbound{"abc", able()};
    CHECK(unbound.first_message() == "y,,n=,r=abc");
    CHECK_FALSE(unbound.is_bound());

    scram_client client{std::string{rfc_client_nonce}, able()};
    REQUIRE(client.on_server_first(rfc_server_first).has_value());
    CHECK(client.final_message(keys_of("pencil", rfc_verifier())).value() == able_client_final);
}

TEST_CASE("client-first: what it says of the channel must fit what was offered", "[wire][scram]") {
    const auto [message, plain, offered, chosen] =
        GENERATE(table<std::string_view, wire_errc, wire_errc, wire_errc>({
            {"n,,n=,r=abc", {}, {}, wire_errc::bad_scram_message},
            {"y,,n=,r=abc", {}, wire_errc::scram_downgrade, wire_errc::bad_scram_message},
            {"p=tls-server-end-point,,n=,r=abc",
             wire_errc::scram_channel_binding,
             wire_errc::scram_channel_binding,
             {}},
            {"p=tls-unique,,n=,r=abc",
             wire_errc::scram_channel_binding,
             wire_errc::scram_channel_binding,
             wire_errc::scram_channel_binding},
            {"p=tls-server-end-points,,n=,r=abc",
             wire_errc::scram_channel_binding,
             wire_errc::scram_channel_binding,
             wire_errc::scram_channel_binding},
            {"p=,,n=,r=abc",
             wire_errc::scram_channel_binding,
             wire_errc::scram_channel_binding,
             wire_errc::scram_channel_binding},
            {"p=tls-server-end-point,a=x,n=,r=abc",
             wire_errc::scram_channel_binding,
             wire_errc::scram_channel_binding,
             wire_errc::bad_scram_message},
            {"p=tls-server-end-point",
             wire_errc::scram_channel_binding,
             wire_errc::scram_channel_binding,
             wire_errc::bad_scram_message},
        }));
    CAPTURE(message);
    const auto error_of = [&, text = message](const scram_channel& channel) {
        const auto answer = rfc_server(channel).on_client_first(exact_buffer{text});
        return answer ? wire_errc{} : static_cast<wire_errc>(answer.error().value());
    };
    CHECK(error_of({}) == plain);
    CHECK(error_of(able()) == offered);
    CHECK(error_of(bound()) == chosen);
    // Nothing to bind to: never a binding to nothing.
    CHECK(error_of({.end_point = {}, .is_bound = true}) != wire_errc{});
}

TEST_CASE("client-final: bound to another certificate, or to none", "[wire][scram]") {
    const std::string header = "p=tls-server-end-point,,";
    const std::string hash = end_point();
    std::string other = hash;
    other.back() = static_cast<char>(other.back() ^ 1);
    const std::vector<std::pair<std::string, wire_errc>> cases = {
        {header + other, wire_errc::scram_wrong_binding},
        {header, wire_errc::scram_wrong_binding},
        {header + hash.substr(0, 31), wire_errc::scram_wrong_binding},
        {header + hash + "x", wire_errc::scram_wrong_binding},
        {header + hash + hash, wire_errc::scram_wrong_binding},
        {"n,,", wire_errc::scram_channel_binding},
        {"y,,", wire_errc::scram_channel_binding},
        {"n,," + hash, wire_errc::scram_channel_binding},
        {hash, wire_errc::scram_channel_binding},
        {header.substr(0, 23), wire_errc::scram_channel_binding},
    };
    const std::size_t binding_end = bound_client_final.find(",r=");
    for (const auto& [binding, expected] : cases) {
        std::string message = "c=";
        append_base64(message, binding);
        message += bound_client_final.substr(binding_end);
        CAPTURE(message);
        scram_server server = rfc_server(bound());
        REQUIRE(server.on_client_first(bound_client_first).has_value());
        CHECK(server.on_client_final(exact_buffer{message}).error() == expected);
        CHECK(server.keys().client_key == scram_key{});
    }
    // A hash where nothing is bound.
    std::string message = "c=";
    append_base64(message, "n,," + hash);
    message += rfc_client_final.substr(rfc_client_final.find(",r="));
    CHECK(client_final_error(message) == wire_errc::scram_channel_binding);
}

TEST_CASE("a man in the middle does not get through", "[wire][scram]") {
    const scram_keys keys = keys_of("pencil", rfc_verifier());
    SECTION("with a certificate of his own") {
        scram_server server = rfc_server(bound());
        scram_client client{
            std::string{rfc_client_nonce}, {.end_point = std::string(32, 'm'), .is_bound = true}};
        REQUIRE(client.on_server_first(server.on_client_first(client.first_message()).value())
                    .has_value());
        const std::string final = client.final_message(keys).value();
        CHECK(server.on_client_final(final).error() == wire_errc::scram_wrong_binding);
    }
    SECTION("who writes the right hash into the client's message") {
        scram_server server = rfc_server(bound());
        scram_client client{
            std::string{rfc_client_nonce}, {.end_point = std::string(32, 'm'), .is_bound = true}};
        REQUIRE(client.on_server_first(server.on_client_first(client.first_message()).value())
                    .has_value());
        const std::string final = client.final_message(keys).value();
        const std::string forged =
            std::string{bound_client_final.substr(0, bound_client_final.find(",r="))} +
            final.substr(final.find(",r="));
        CHECK(server.on_client_final(forged).error() == wire_errc::scram_wrong_proof);
    }
    SECTION("who keeps the offer from the client") {
        scram_server server = rfc_server(able());
        const scram_client client{std::string{rfc_client_nonce}, able()};
        CHECK(server.on_client_first(client.first_message()).error() == wire_errc::scram_downgrade);
    }
    SECTION("and writes that it could not bind") {
        scram_server server = rfc_server(able());
        scram_client client{std::string{rfc_client_nonce}, able()};
        const auto server_first = server.on_client_first("n,,n=,r=rOprNGfwEbeRWgbNEkqO");
        REQUIRE(client.on_server_first(server_first.value()).has_value());
        const std::string final = client.final_message(keys).value();
        CHECK(server.on_client_final(final).error() == wire_errc::scram_channel_binding);
    }
}

TEST_CASE("client-final: refused", "[wire][scram]") {
    const std::string good{rfc_client_final};
    const std::string nonce = good.substr(7, good.find(",p=") - 7);
    const std::string proof = good.substr(good.find(",p=") + 1);
    REQUIRE(nonce.starts_with("r="));
    const std::vector<std::pair<std::string, wire_errc>> cases = {
        {"", wire_errc::bad_scram_message},
        {"c=biws", wire_errc::bad_scram_message},
        {"c=biws,", wire_errc::bad_scram_message},
        {"c=biws," + nonce, wire_errc::bad_scram_message},
        {nonce + "," + proof, wire_errc::bad_scram_message},
        {"c=biws," + proof, wire_errc::bad_scram_message},
        {nonce + ",c=biws," + proof, wire_errc::bad_scram_message},
        {"c=biws," + proof + "," + nonce, wire_errc::bad_scram_message},
        {"c=biws,c=biws," + nonce + "," + proof, wire_errc::bad_scram_message},
        {"c=biws," + nonce + "," + nonce + "," + proof, wire_errc::bad_scram_message},
        {good + "," + proof, wire_errc::bad_scram_message},
        {good + ",x=y", wire_errc::bad_scram_message},
        {good + ",", wire_errc::bad_scram_message},
        {good + std::string{nul}, wire_errc::bad_scram_message},
        {"c=," + nonce + "," + proof, wire_errc::bad_scram_message},
        {"c=biw," + nonce + "," + proof, wire_errc::bad_scram_message},
        {"c=bi s," + nonce + "," + proof, wire_errc::bad_scram_message},
        {"c=biws,r=," + proof, wire_errc::bad_scram_message},
        {"c=biws," + nonce + " ," + proof, wire_errc::bad_scram_message},
        {"c=biws," + nonce + ",m=x," + proof, wire_errc::bad_scram_message},
        {"c=biws," + nonce + ",x=," + proof, wire_errc::bad_scram_message},
        {"c=biws," + nonce + ",p=", wire_errc::bad_scram_message},
        {"c=biws," + nonce + ",p=AAAA", wire_errc::bad_scram_message},
        {"c=biws," + nonce + "," + proof + "AAAA", wire_errc::bad_scram_message},
        {replaced(good, "dHzb", "d Hz"), wire_errc::bad_scram_message},
        {replaced(good, "dVQ=", "dVR="), wire_errc::bad_scram_message},  // unused bits set
        {replaced(good, "dVQ=", "dVQ"), wire_errc::bad_scram_message},
        {"c=biws," + nonce + "x," + proof, wire_errc::scram_nonce_mismatch},
        {"c=biws," + nonce.substr(0, nonce.size() - 1) + "," + proof,
         wire_errc::scram_nonce_mismatch},
        {"c=biws,r=" + std::string{rfc_client_nonce} + "," + proof,
         wire_errc::scram_nonce_mismatch},
        {"c=eSws," + nonce + "," + proof, wire_errc::scram_channel_binding},
        {"c=biws," + nonce + ",x=y," + proof, wire_errc::scram_wrong_proof},
        {replaced(good, "dHzb", "eHzb"), wire_errc::scram_wrong_proof},
    };
    for (const auto& [message, expected] : cases) {
        CAPTURE(message);
        CHECK(client_final_error(message) == expected);
    }
    CHECK(rfc_server_after_first().on_client_final(exact_buffer{good}).has_value());
}

TEST_CASE("client-final: an optional attribute is skipped but proved", "[wire][scram]") {
    const scram_verifier verifier = rfc_verifier();
    const scram_keys keys = keys_of("pencil", verifier);
    const std::string without_proof =
        std::string{rfc_client_final.substr(0, rfc_client_final.find(",p="))} + ",x=y";
    const std::string auth_message = std::string{rfc_client_first.substr(3)} + "," +
                                     std::string{rfc_server_first} + "," + without_proof;
    std::array<unsigned char, 32> proof{};
    REQUIRE(
        HMAC(
            EVP_sha256(),
            verifier.stored_key.data(),
            static_cast<int>(verifier.stored_key.size()),
            reinterpret_cast<const unsigned char*>(auth_message.data()),
            auth_message.size(),
            proof.data(),
            nullptr
        ) != nullptr
    );
    for (std::size_t i = 0; i < proof.size(); ++i) {
        proof[i] ^= keys.client_key[i];
    }
    std::string message = without_proof + ",p=";
    append_base64(message, proof);
    scram_server server = rfc_server_after_first();
    CHECK(server.on_client_final(message).has_value());
    CHECK(client_final_error(replaced(message, ",x=y", "")) == wire_errc::scram_wrong_proof);
    CHECK(client_final_error(replaced(message, ",x=y", ",x=z")) == wire_errc::scram_wrong_proof);
}

TEST_CASE("every bit of a proof counts", "[wire][scram]") {
    const std::size_t proof_at = rfc_client_final.find(",p=") + 3;
    const std::string proof = raw(rfc_client_final.substr(proof_at));
    for (std::size_t bit = 0; bit < proof.size() * 8; ++bit) {
        std::string bent = proof;
        bent[bit / 8] = static_cast<char>(bent[bit / 8] ^ (1 << bit % 8));
        std::string message{rfc_client_final.substr(0, proof_at)};
        append_base64(message, bent);
        CAPTURE(bit);
        scram_server server = rfc_server_after_first();
        CHECK(server.on_client_final(message).error() == wire_errc::scram_wrong_proof);
        CHECK(server.keys().client_key == scram_key{});
    }
}

TEST_CASE("server-first: refused", "[wire][scram]") {
    const std::string good{rfc_server_first};
    const std::string nonce = good.substr(0, good.find(','));
    const std::string salt = "s=" + std::string{rfc_salt};
    const std::vector<std::pair<std::string, wire_errc>> cases = {
        {"", wire_errc::bad_scram_message},
        {nonce, wire_errc::bad_scram_message},
        {nonce + "," + salt, wire_errc::bad_scram_message},
        {nonce + ",i=4096", wire_errc::bad_scram_message},
        {salt + ",i=4096", wire_errc::bad_scram_message},
        {salt + "," + nonce + ",i=4096", wire_errc::bad_scram_message},
        {nonce + ",i=4096," + salt, wire_errc::bad_scram_message},
        {nonce + "," + nonce + "," + salt + ",i=4096", wire_errc::bad_scram_message},
        {good + ",i=4096", wire_errc::bad_scram_message},
        {good + ",", wire_errc::bad_scram_message},
        {good + ",m=x", wire_errc::bad_scram_message},
        {"m=x," + good, wire_errc::bad_scram_message},
        {"e=other-error", wire_errc::bad_scram_message},
        {good + std::string{nul}, wire_errc::bad_scram_message},
        {"r=," + salt + ",i=4096", wire_errc::bad_scram_message},
        {nonce + "\x01," + salt + ",i=4096", wire_errc::bad_scram_message},
        {nonce + ",s=,i=4096", wire_errc::bad_scram_message},
        {nonce + ",s=W22,i=4096", wire_errc::bad_scram_message},
        {nonce + ",s=W22*,i=4096", wire_errc::bad_scram_message},
        {nonce + ",s====,i=4096", wire_errc::bad_scram_message},
        {nonce + "," + salt + ",i=", wire_errc::bad_scram_message},
        {nonce + "," + salt + ",i=x", wire_errc::bad_scram_message},
        {nonce + "," + salt + ",i=-1", wire_errc::bad_scram_message},
        {nonce + "," + salt + ",i=+1", wire_errc::bad_scram_message},
        {nonce + "," + salt + ",i= 1", wire_errc::bad_scram_message},
        {nonce + "," + salt + ",i=01", wire_errc::bad_scram_message},
        {nonce + "," + salt + ",i=4096x", wire_errc::bad_scram_message},
        {nonce + "," + salt + ",i=0", wire_errc::scram_iterations},
        {nonce + "," + salt + ",i=1000001", wire_errc::scram_iterations},
        {nonce + "," + salt + ",i=4294967297", wire_errc::scram_iterations},
        {nonce + "," + salt + ",i=99999999999999999999", wire_errc::scram_iterations},
        {"r=" + std::string{rfc_client_nonce} + "," + salt + ",i=4096",
         wire_errc::scram_nonce_mismatch},
        {"r=x" + nonce.substr(2) + "," + salt + ",i=4096", wire_errc::scram_nonce_mismatch},
        {"r=rOpr," + salt + ",i=4096", wire_errc::scram_nonce_mismatch},
    };
    for (const auto& [message, expected] : cases) {
        CAPTURE(message);
        CHECK(server_first_error(message) == expected);
    }
}

TEST_CASE("server-first: accepted", "[wire][scram]") {
    const auto [end, iterations] = GENERATE(table<std::string_view, int>(
        {{"i=1", 1}, {"i=4096", 4096}, {"i=1000000", 1'000'000}, {"i=4096,x=y", 4096}}
    ));
    const std::string message = replaced(rfc_server_first, "i=4096", end);
    scram_client client{std::string{rfc_client_nonce}};
    CHECK(client.on_server_first(exact_buffer{message}).value().iterations == iterations);
}

TEST_CASE("server-final", "[wire][scram]") {
    const scram_verifier verifier = rfc_verifier();
    const scram_keys keys = keys_of("pencil", verifier);
    const auto error_of = [&](std::string_view message) {
        scram_server server = rfc_server();
        scram_client client = client_after_final(server, keys);
        const auto done = client.on_server_final(exact_buffer{message});
        CHECK_FALSE(client.is_server_verified());
        return done.error();
    };
    const auto [message, expected] = GENERATE(table<std::string_view, wire_errc>({
        {"", wire_errc::bad_scram_message},
        {"v", wire_errc::bad_scram_message},
        {"v=", wire_errc::bad_scram_message},
        {"v=AAAA", wire_errc::bad_scram_message},
        {"v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4", wire_errc::bad_scram_message},
        {"v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=,", wire_errc::bad_scram_message},
        {"v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=,m=x", wire_errc::bad_scram_message},
        {"v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=\0"sv, wire_errc::bad_scram_message},
        {"x=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=", wire_errc::bad_scram_message},
        {"e=", wire_errc::bad_scram_message},
        {"e=invalid-proof", wire_errc::scram_server_error},
        {"e=unknown-user,x=y", wire_errc::scram_server_error},
        {"v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=", wire_errc::scram_wrong_signature},
        {"v=AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=", wire_errc::scram_wrong_signature},
    }));
    CAPTURE(message);
    CHECK(error_of(message) == expected);
}

TEST_CASE("a server without the verifier is found out", "[wire][scram]") {
    scram_verifier verifier = rfc_verifier();
    const scram_keys keys = keys_of("pencil", verifier);
    verifier.server_key[31] ^= 1;
    const outcome done = exchange(verifier, keys, "abc", "def");
    CHECK_FALSE(done.server);
    CHECK(done.client == wire_errc::scram_wrong_signature);
}

TEST_CASE("every message cut at every byte is refused", "[wire][scram]") {
    const scram_keys keys = keys_of("pencil", rfc_verifier());
    for (std::size_t n = 0; n < rfc_client_first.size(); ++n) {
        CAPTURE(n);
        scram_server server = rfc_server();
        const auto answer = server.on_client_first(exact_buffer{rfc_client_first.substr(0, n)});
        // A nonce that has lost its end is a shorter nonce.
        const std::size_t shortest = rfc_client_first.find("r=") + 3;
        CHECK(answer.has_value() == (n >= shortest));
        if (answer) {
            CHECK(
                server.on_client_final(rfc_client_final).error() == wire_errc::scram_nonce_mismatch
            );
        }
    }
    for (std::size_t n = 0; n < rfc_client_final.size(); ++n) {
        CAPTURE(n);
        CHECK(client_final_error(rfc_client_final.substr(0, n)) == wire_errc::bad_scram_message);
    }
    for (std::size_t n = 0; n < rfc_server_first.size(); ++n) {
        CAPTURE(n);
        scram_client client{std::string{rfc_client_nonce}};
        const auto answer = client.on_server_first(exact_buffer{rfc_server_first.substr(0, n)});
        const std::size_t shortest =
            rfc_server_first.find("i=") + 3;  // fewer digits are a smaller number
        CHECK(answer.has_value() == (n >= shortest));
        if (!answer) {
            CHECK(answer.error() == wire_errc::bad_scram_message);
        }
    }
    scram_server server = rfc_server();
    scram_client client{std::string{rfc_client_nonce}};
    REQUIRE(
        client.on_server_first(server.on_client_first(client.first_message()).value()).has_value()
    );
    const std::string server_final =
        server.on_client_final(client.final_message(keys).value()).value();
    for (std::size_t n = 0; n < server_final.size(); ++n) {
        CAPTURE(n);
        scram_server other = rfc_server();
        scram_client cut = client_after_final(other, keys);
        CHECK(
            cut.on_server_final(exact_buffer{server_final.substr(0, n)}).error() ==
            wire_errc::bad_scram_message
        );
    }
    CHECK(client.on_server_final(exact_buffer{server_final}).has_value());
    for (std::size_t n = 0; n < pencil_verifier.size(); ++n) {
        CAPTURE(n);
        CHECK(
            parse_scram_verifier(exact_buffer{pencil_verifier.substr(0, n)}).error() ==
            wire_errc::bad_verifier
        );
    }
}

TEST_CASE("messages out of order, and after the end or an error, are refused", "[wire][scram]") {
    const scram_keys keys = keys_of("pencil", rfc_verifier());
    SECTION("server") {
        scram_server fresh = rfc_server();
        CHECK(fresh.on_client_final(rfc_client_final).error() == wire_errc::bad_scram_message);
        CHECK(fresh.on_client_first(rfc_client_first).error() == wire_errc::bad_scram_message);

        scram_server twice = rfc_server_after_first();
        CHECK(twice.on_client_first(rfc_client_first).error() == wire_errc::bad_scram_message);
        CHECK(twice.on_client_final(rfc_client_final).error() == wire_errc::bad_scram_message);

        // One guess per exchange.
        scram_server guessed = rfc_server_after_first();
        CHECK(guessed.on_client_final(replaced(rfc_client_final, "dHzb", "eHzb")).has_error());
        CHECK(guessed.on_client_final(rfc_client_final).error() == wire_errc::bad_scram_message);

        scram_server done = rfc_server_after_first();
        CHECK(done.on_client_final(rfc_client_final).has_value());
        CHECK(done.on_client_final(rfc_client_final).error() == wire_errc::bad_scram_message);
    }
    SECTION("client") {
        scram_client fresh{std::string{rfc_client_nonce}};
        CHECK(fresh.final_message(keys).error() == wire_errc::bad_scram_message);

        // A server that skips the challenge must not be believed.
        scram_client skipped{std::string{rfc_client_nonce}};
        CHECK(skipped.on_server_final(rfc_server_final).error() == wire_errc::bad_scram_message);
        CHECK_FALSE(skipped.is_server_verified());

        scram_client early{std::string{rfc_client_nonce}};
        REQUIRE(early.on_server_first(rfc_server_first).has_value());
        CHECK(
            early.on_server_final("v=AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=").error() ==
            wire_errc::bad_scram_message
        );

        scram_client twice{std::string{rfc_client_nonce}};
        REQUIRE(twice.on_server_first(rfc_server_first).has_value());
        CHECK(twice.on_server_first(rfc_server_first).error() == wire_errc::bad_scram_message);

        // One signature per exchange.
        scram_server server = rfc_server();
        scram_client guessed{std::string{rfc_client_nonce}};
        const std::string server_first = server.on_client_first(guessed.first_message()).value();
        REQUIRE(guessed.on_server_first(server_first).has_value());
        const std::string good =
            server.on_client_final(guessed.final_message(keys).value()).value();
        CHECK(
            guessed.on_server_final(rfc_server_final).error() == wire_errc::scram_wrong_signature
        );
        CHECK(guessed.on_server_final(good).error() == wire_errc::bad_scram_message);
    }
}

TEST_CASE("a server needs a salt, iterations and a printable nonce of its own", "[wire][scram]") {
    scram_verifier no_salt = rfc_verifier();
    no_salt.salt.clear();
    CHECK(
        scram_server{no_salt, "abc"}.on_client_first(rfc_client_first).error() ==
        wire_errc::bad_verifier
    );
    scram_verifier no_iterations = rfc_verifier();
    no_iterations.iterations = 0;
    CHECK(
        scram_server{no_iterations, "abc"}.on_client_first(rfc_client_first).error() ==
        wire_errc::bad_verifier
    );
    const auto nonce = GENERATE(""s, "a b"s, "a,b"s, "\x01"s);
    CHECK(
        scram_server{rfc_verifier(), nonce}.on_client_first(rfc_client_first).error() ==
        wire_errc::bad_verifier
    );
}

TEST_CASE("verifiers: refused", "[wire][scram]") {
    const auto [from, to, expected] =
        GENERATE(table<std::string_view, std::string_view, wire_errc>({
            {"SCRAM-SHA-256", "scram-sha-256", wire_errc::bad_verifier},
            {"SCRAM-SHA-256", "SCRAM-SHA-1", wire_errc::bad_verifier},
            {"SCRAM-SHA-256$", "SCRAM-SHA-256", wire_errc::bad_verifier},
            {"4096:", "4096", wire_errc::bad_verifier},
            {"4096:", ":", wire_errc::bad_verifier},
            {"4096", "-4096", wire_errc::bad_verifier},
            {"4096", "+4096", wire_errc::bad_verifier},
            {"4096", "04096", wire_errc::bad_verifier},
            {"4096", "4096 ", wire_errc::bad_verifier},
            {"4096", "0", wire_errc::scram_iterations},
            {"4096", "1000001", wire_errc::scram_iterations},
            {"4096", "4294971392", wire_errc::scram_iterations},  // 4096 in 32 bits
            {"iqLkGvjTRPJkSB1fLSwhBQ==", "", wire_errc::bad_verifier},
            {"BQ==", "BQ", wire_errc::bad_verifier},
            {"BQ==", "BR==", wire_errc::bad_verifier},
            {"iqLk", "iqL ", wire_errc::bad_verifier},
            {"$saad", "saad", wire_errc::bad_verifier},
            {"$saad", ":saad", wire_errc::bad_verifier},
            {"saadCauZ", "saad", wire_errc::bad_verifier},
            {"saad", "saadsaad", wire_errc::bad_verifier},
            {":Q8Qu", "Q8Qu", wire_errc::bad_verifier},
            {":Q8Qu", "$Q8Qu", wire_errc::bad_verifier},
            {":Q8Qu", "::Q8Qu", wire_errc::bad_verifier},
            {"INQ=", "INQ=\n", wire_errc::bad_verifier},
            {"INQ=", "INQ=AAAA", wire_errc::bad_verifier},
            {"INQ=", "INQ=\0"sv, wire_errc::bad_verifier},
        }));
    CAPTURE(from, to);
    CHECK(
        parse_scram_verifier(exact_buffer{replaced(pencil_verifier, from, to)}).error() == expected
    );
}

TEST_CASE("keys and verifiers are made within the limits only", "[wire][scram]") {
    const int iterations = GENERATE(-1, 0, max_scram_iterations + 1);
    CHECK(derive_scram_keys("x", "salt", iterations).error() == wire_errc::scram_iterations);
    CHECK(make_scram_verifier({}, "salt", iterations).error() == wire_errc::scram_iterations);
    CHECK(derive_scram_keys("x", "", 1).error() == wire_errc::bad_verifier);
    CHECK(make_scram_verifier({}, "", 1).error() == wire_errc::bad_verifier);
}

TEST_CASE("an empty password is a password", "[wire][scram]") {
    const scram_keys keys = derive_scram_keys("", "salt", 1).value();
    CHECK(keys.client_key != derive_scram_keys(" ", "salt", 1).value().client_key);
    const scram_verifier verifier = make_scram_verifier(keys, "salt", 1).value();
    CHECK_FALSE(exchange(verifier, keys, "abc", "def").server);
}

TEST_CASE("nonces are random and printable", "[wire][scram]") {
    std::set<std::string> seen;
    for (int i = 0; i < 100; ++i) {
        const std::string nonce = make_scram_nonce().value();
        CHECK(nonce.size() == 24);
        CHECK(raw(nonce).size() == 18);
        CHECK(nonce.find('=') == std::string::npos);
        seen.insert(nonce);
    }
    CHECK(seen.size() == 100);
}

TEST_CASE("the verifier of a user who does not exist", "[wire][scram]") {
    scram_key process_key;
    process_key.fill(7);
    const scram_verifier verifier = make_mock_verifier("ghost", process_key).value();
    CHECK(verifier.salt.size() == 16);
    CHECK(verifier.iterations == default_scram_iterations);

    SECTION("is the same each time") {
        CHECK(
            serialize_scram_verifier(make_mock_verifier("ghost", process_key).value()) ==
            serialize_scram_verifier(verifier)
        );
    }
    SECTION("differs by user and by process") {
        CHECK(make_mock_verifier("ghosts", process_key).value().salt != verifier.salt);
        CHECK(make_mock_verifier("", process_key).value().salt != verifier.salt);
        process_key[0] ^= 1;
        CHECK(make_mock_verifier("ghost", process_key).value().salt != verifier.salt);
    }
    SECTION("answers as a real one does, and matches no password") {
        const auto password = GENERATE(""sv, "ghost"sv, "pencil"sv);
        const scram_keys keys = keys_of(password, verifier);
        CHECK(exchange(verifier, keys, "abc", "def").server == wire_errc::scram_wrong_proof);
    }
    SECTION("does not give its keys away") {
        const scram_keys guessed{
            .client_key = verifier.stored_key, .server_key = verifier.server_key};
        CHECK(exchange(verifier, guessed, "abc", "def").server == wire_errc::scram_wrong_proof);
        CHECK(verifier.stored_key != verifier.server_key);
        CHECK(verifier.stored_key != scram_key{});
    }
}

TEST_CASE("equal in constant time", "[wire][scram]") {
    CHECK(equal_in_constant_time("", ""));
    CHECK(equal_in_constant_time({}, {}));
    CHECK(equal_in_constant_time("a\0b"sv, "a\0b"sv));
    CHECK_FALSE(equal_in_constant_time("a\0b"sv, "a\0c"sv));
    CHECK_FALSE(equal_in_constant_time("abc", "abd"));
    CHECK_FALSE(equal_in_constant_time("xbc", "abc"));
    CHECK_FALSE(equal_in_constant_time("abc", "ab"));
    CHECK_FALSE(equal_in_constant_time("", "a"));
}

TEST_CASE("a key is wiped when it ends", "[wire][scram]") {
    alignas(scram_key) std::array<unsigned char, sizeof(scram_key)> room{};
    auto* key = new (room.data()) scram_key;
    key->fill(0x5a);
    CHECK(room[31] == 0x5a);
    key->~scram_key();
    CHECK(std::ranges::count(room, 0x5a) == 0);
}
