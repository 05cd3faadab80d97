// TLS in memory: handshakes, data in records of any cut, the end, and certificates that are
// refused.
#include "backend/io/tls.hpp"

#include "tests/support/certificates.hpp"
#include "wire/bytes.hpp"

#include <catch2/catch.hpp>

#include <string>
#include <string_view>
#include <tuple>

using namespace signalbox::backend;
using signalbox::tests::self_signed;
using state = tls_engine::state;

namespace {

const self_signed& identity() {
    static const self_signed made{"db.test"};
    return made;
}

ssl_ctx_ptr server_context(tls_server_settings settings = {}) {
    settings.certificate = identity().certificate();
    settings.key = identity().key();
    return make_tls_server_context(settings);
}

struct both_ends {
    both_ends(SSL_CTX& client_context, SSL_CTX& server_context, const std::string& name, bool check)
        : client(client_context, false, name, check), server(server_context, true, {}, false) {}

    /// Carries what one end says to the other, in pieces, until neither has anything to say.
    void shake(std::size_t piece) {
        std::string to_server;
        std::string to_client;
        client_state = client.handshake(to_server);
        while (!to_server.empty() || !to_client.empty()) {
            step(server, server_state, to_server, to_client, piece);
            step(client, client_state, to_client, to_server, piece);
        }
    }

    static void step(
        tls_engine& end, state& of, std::string& in, std::string& out, std::size_t piece
    ) {
        const auto taken = in.substr(0, piece);
        in.erase(0, taken.size());
        if (!taken.empty() && of == state::again) {
            end.feed(taken);
            of = end.handshake(out);
        }
    }

    tls_engine client;
    tls_engine server;
    state client_state = state::again;
    state server_state = state::again;
};

}  // namespace

TEST_CASE("a handshake completes however it is cut", "[backend][tls]") {
    const auto piece = GENERATE(as<std::size_t>{}, 1, 7, 100'000);
    const auto server = server_context();
    const auto client = make_tls_client_context({});
    both_ends ends{*client, *server, "db.test", false};
    ends.shake(piece);
    CHECK(ends.client_state == state::ready);
    CHECK(ends.server_state == state::ready);
    CHECK(std::string{ends.client.version()} == "TLSv1.3");
}

TEST_CASE("data come through in order, whatever the records and reads", "[backend][tls]") {
    const auto server = server_context();
    const auto client = make_tls_client_context({});
    both_ends ends{*client, *server, "", false};
    ends.shake(100'000);
    std::string plain;
    for (int i = 0; i < 60'000; ++i) {
        plain += static_cast<char>(i * 7);
    }
    std::string cipher;
    std::string answer;
    REQUIRE(ends.client.encrypt(plain, cipher));
    REQUIRE(ends.client.encrypt("tail", cipher));
    const auto piece = GENERATE(as<std::size_t>{}, 1'000, 16'384, 1'000'000);
    std::string got;
    std::string room(80'000, '\0');
    for (std::size_t at = 0; at < cipher.size(); at += piece) {
        const auto part = cipher.substr(at, piece);
        ends.server.feed(part);
        const auto done = ends.server.decrypt(room.data(), room.size(), answer);
        REQUIRE(done.status != state::failed);
        got.append(room, 0, done.bytes);
    }
    CHECK(got == plain + "tail");
}

TEST_CASE("libpq has room for each record that a client gets", "[backend][tls]") {
    const auto server = server_context();
    const auto client = make_tls_client_context({});
    both_ends ends{*client, *server, "", false};
    ends.shake(100'000);
    std::string cipher;
    REQUIRE(ends.server.encrypt(std::string(100'000, 'x'), cipher));
    std::size_t records = 0;
    for (std::size_t at = 0; at < cipher.size(); ++records) {
        // Type, version, length; in the length the content's type and the tag count, too.
        REQUIRE(at + 5 <= cipher.size());
        const std::size_t length = signalbox::wire::load_u16(cipher.data() + at + 3);
        CHECK(length <= 8192 + 17);
        at += 5 + length;
    }
    CHECK(records == 13);
}

TEST_CASE("close_notify is an end, garbage is a failure", "[backend][tls]") {
    const auto server = server_context();
    const auto client = make_tls_client_context({});
    both_ends ends{*client, *server, "", false};
    ends.shake(100'000);
    std::string cipher;
    std::string answer;
    std::string room(1'000, '\0');
    SECTION("closed") {
        REQUIRE(ends.client.encrypt("last", cipher));
        ends.client.close(cipher);
        ends.server.feed(cipher);
        const auto done = ends.server.decrypt(room.data(), room.size(), answer);
        CHECK(room.substr(0, done.bytes) == "last");
        CHECK(done.status == state::closed);
    }
    SECTION("garbage") {
        const std::string garbage(100, 'x');
        ends.server.feed(garbage);
        CHECK(ends.server.decrypt(room.data(), room.size(), answer).status == state::failed);
    }
    SECTION("a record that was changed on its way") {
        REQUIRE(ends.client.encrypt("secret", cipher));
        cipher.back() = static_cast<char>(cipher.back() ^ 1);
        ends.server.feed(cipher);
        CHECK(ends.server.decrypt(room.data(), room.size(), answer).status == state::failed);
    }
}

TEST_CASE("a server's certificate is checked as far as was asked", "[backend][tls]") {
    const auto server = server_context();
    const self_signed stranger{"db.test"};
    SECTION("not at all") {
        const auto client = make_tls_client_context({});
        both_ends ends{*client, *server, "other.test", false};
        ends.shake(100'000);
        CHECK(ends.client_state == state::ready);
    }
    SECTION("its issuer") {
        const auto client =
            make_tls_client_context({.ca = identity().certificate(), .certificate = {}, .key = {}});
        both_ends ends{*client, *server, "other.test", false};
        ends.shake(100'000);
        CHECK(ends.client_state == state::ready);
    }
    SECTION("its issuer, another one") {
        const auto client =
            make_tls_client_context({.ca = stranger.certificate(), .certificate = {}, .key = {}});
        both_ends ends{*client, *server, "db.test", false};
        ends.shake(100'000);
        CHECK(ends.client_state == state::failed);
    }
    SECTION("its name") {
        const auto client =
            make_tls_client_context({.ca = identity().certificate(), .certificate = {}, .key = {}});
        both_ends right{*client, *server, "db.test", true};
        right.shake(100'000);
        CHECK(right.client_state == state::ready);
        both_ends wrong{*client, *server, "other.test", true};
        wrong.shake(100'000);
        CHECK(wrong.client_state == state::failed);
        both_ends address{*client, *server, "127.0.0.1", true};
        address.shake(100'000);
        CHECK(address.client_state == state::failed);
    }
}

TEST_CASE("a client's certificate gives its common name", "[backend][tls]") {
    const self_signed joe{"joe"};
    const bool require = GENERATE(false, true);
    tls_server_settings settings;
    settings.client_ca = joe.certificate();
    settings.require_client = require;
    const auto server = server_context(settings);
    SECTION("given") {
        const auto client =
            make_tls_client_context({.ca = {}, .certificate = joe.certificate(), .key = joe.key()});
        both_ends ends{*client, *server, "", false};
        ends.shake(100'000);
        CHECK(ends.server_state == state::ready);
        CHECK(ends.server.peer_common_name() == "joe");
    }
    SECTION("not given") {
        const auto client = make_tls_client_context({});
        both_ends ends{*client, *server, "", false};
        ends.shake(100'000);
        CHECK(ends.server_state == (require ? state::failed : state::ready));
        if (!require) {
            CHECK(ends.server.peer_common_name().empty());
        }
    }
}

TEST_CASE("both ends say that they mean PostgreSQL's protocol", "[backend][tls]") {
    const auto server = server_context();
    const auto client = make_tls_client_context({});
    const auto shaken = [&] {
        both_ends ends{*client, *server, "", false};
        ends.shake(100'000);
        return std::tuple{
            ends.client_state, ends.server_state, ends.client.has_alpn(), ends.server.has_alpn()};
    };
    const auto ask = [&](std::string_view list) {
        REQUIRE(
            SSL_CTX_set_alpn_protos(
                client.get(),
                reinterpret_cast<const unsigned char*>(list.data()),
                static_cast<unsigned>(list.size())
            ) == 0
        );
    };
    SECTION("as they do by themselves") {
        CHECK(shaken() == std::tuple{state::ready, state::ready, true, true});
    }
    SECTION("among others") {
        ask("\x02h2\x0apostgresql\x08http/1.1");
        CHECK(shaken() == std::tuple{state::ready, state::ready, true, true});
    }
    SECTION("a client that says nothing") {
        ask({});
        CHECK(shaken() == std::tuple{state::ready, state::ready, false, false});
    }
    SECTION("a client that means another") {
        for (const std::string_view list : {"\x02h2", "\x09postgresq", "\x0bpostgresqlx"}) {
            CAPTURE(list);
            ask(list);
            CHECK(shaken() == std::tuple{state::failed, state::failed, false, false});
        }
    }
    SECTION("a server that says nothing") {
        SSL_CTX_set_alpn_select_cb(server.get(), nullptr, nullptr);
        CHECK(shaken() == std::tuple{state::ready, state::ready, false, false});
    }
}

TEST_CASE("both ends hash the server's certificate alike", "[backend][tls]") {
    struct row {
        const EVP_MD* signature;
        const EVP_MD* hash;
    };

    // RFC 5929: the signature's own hash, but SHA-256 for those that are too weak.
    const auto expected = GENERATE(
        row{EVP_sha1(), EVP_sha256()},
        row{EVP_sha256(), EVP_sha256()},
        row{EVP_sha384(), EVP_sha384()},
        row{EVP_sha512(), EVP_sha512()},
        row{nullptr, nullptr}
    );
    const self_signed pair{"db.test", expected.signature};
    tls_server_settings settings;
    settings.certificate = pair.certificate();
    settings.key = pair.key();
    const auto server = make_tls_server_context(settings);
    const self_signed joe{"joe"};  // the client's own certificate is not the one
    const auto client =
        make_tls_client_context({.ca = {}, .certificate = joe.certificate(), .key = joe.key()});
    both_ends ends{*client, *server, "", false};
    ends.shake(100'000);
    REQUIRE(ends.client_state == state::ready);
    REQUIRE(ends.server_state == state::ready);

    std::string hash;
    if (expected.hash != nullptr) {
        const std::unique_ptr<FILE, decltype(&std::fclose)> file{
            std::fopen(pair.certificate().c_str(), "r"), &std::fclose};
        const std::unique_ptr<X509, decltype(&X509_free)> made{
            PEM_read_X509(file.get(), nullptr, nullptr, nullptr), &X509_free};
        unsigned char* der = nullptr;
        const int size = i2d_X509(made.get(), &der);
        REQUIRE(size > 0);
        hash.resize(static_cast<std::size_t>(EVP_MD_get_size(expected.hash)));
        REQUIRE(
            EVP_Digest(
                der,
                static_cast<std::size_t>(size),
                reinterpret_cast<unsigned char*>(hash.data()),
                nullptr,
                expected.hash,
                nullptr
            ) == 1
        );
        OPENSSL_free(der);
    }
    CHECK(ends.server.server_end_point() == hash);
    CHECK(ends.client.server_end_point() == hash);
}

TEST_CASE("files that cannot be used are refused with a reason", "[backend][tls]") {
    const self_signed other{"other"};
    CHECK_THROWS_AS(
        make_tls_server_context(
            {.certificate = "/nowhere", .key = identity().key(), .client_ca = {}}
        ),
        std::runtime_error
    );
    CHECK_THROWS_AS(
        make_tls_server_context(
            {.certificate = identity().certificate(), .key = "/nowhere", .client_ca = {}}
        ),
        std::runtime_error
    );
    CHECK_THROWS_AS(
        make_tls_server_context(
            {.certificate = identity().certificate(), .key = other.key(), .client_ca = {}}
        ),
        std::runtime_error
    );
    CHECK_THROWS_AS(
        make_tls_client_context({.ca = "/nowhere", .certificate = {}, .key = {}}),
        std::runtime_error
    );
}
