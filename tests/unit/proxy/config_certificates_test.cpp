// Certificates in the configuration file: where they are looked for, and what is refused.
#include "proxy/config.hpp"
#include "tests/support/certificates.hpp"
#include "tests/support/configurations.hpp"

#include <catch2/catch.hpp>

#include <fstream>
#include <iterator>
#include <string>
#include <unistd.h>

namespace {

using namespace signalbox::proxy;
using Catch::Contains;
using Catch::StartsWith;
using signalbox::tests::has_warning;
using signalbox::tests::self_signed;
using signalbox::tests::smallest;
using signalbox::tests::temporary_folder;

/// A certificate and its key, in PEM.
struct key_pair {
    std::string certificate;
    std::string key;
};

std::string content_of(const std::string& file) {
    std::ifstream in{file};
    return {std::istreambuf_iterator<char>{in}, {}};
}

key_pair make_key_pair() {
    const self_signed made{"localhost"};
    return {.certificate = content_of(made.certificate()), .key = content_of(made.key())};
}

}  // namespace

TEST_CASE("config: certificates towards clients", "[config]") {
    const temporary_folder folder;
    const key_pair pair = make_key_pair();
    const key_pair other = make_key_pair();
    folder.write("good.crt", pair.certificate);
    folder.write("good.key", pair.key);
    folder.write("other.key", other.key);
    folder.write("bad.crt", "not a certificate\n");
    folder.write(
        "damaged.crt", other.certificate + pair.certificate.substr(0, pair.certificate.size() / 2)
    );
    const std::string rest(smallest.substr(smallest.find("[connections")));
    const auto load_tls = [&](const std::string& tls) {
        return load_configuration(folder.write("signalbox.toml", "[tls]\n" + tls + rest));
    };

    SECTION("a pair is found beside the file") {
        const configuration loaded = load_tls("certificate = 'good.crt'\nkey = 'good.key'\n");
        CHECK(loaded.tls.mode == client_tls_mode::prefer);
        CHECK(loaded.tls.certificate == folder.path() / "good.crt");
        CHECK(loaded.tls.key == folder.path() / "good.key");
        CHECK_FALSE(has_warning(loaded, "The private key"));
    }
    SECTION("a key that others may read is warned about") {
        folder.write("open.key", pair.key, 0604);
        folder.write("shared.key", pair.key, 0640);  // fine where root owns it, as in ssl-cert
        const auto warns = [&](const std::string& name) {
            return has_warning(
                load_tls("certificate = 'good.crt'\nkey = '" + name + "'\n"),
                "signalbox.toml:3: The private key \"" + (folder.path() / name).string() +
                    "\" may be read by others than its owner; use chmod 600."
            );
        };
        CHECK(warns("open.key"));
        CHECK(warns("shared.key") == (::geteuid() != 0));
        const auto towards_server = [&](const std::string& name) {
            return load_tls(
                "mode = 'off'\n[secrets]\nk = { value = '" + name +
                "' }\n[connections.s]\nhost = 'a'\nssl_certificate = 'good.crt'\n"
                "ssl_key = 'k'\n"
            );
        };
        CHECK(has_warning(
            towards_server("open.key"),
            ":8: The private key that the secret of ssl_key names may be read by others"
        ));
        CHECK_FALSE(has_warning(towards_server("open.key"), "open.key"));
        CHECK_FALSE(has_warning(towards_server("good.key"), "The private key"));
    }
    SECTION("the defaults are found beside the file") {
        folder.write("certs/server.crt", pair.certificate);
        folder.write("certs/server.key", pair.key);
        const configuration loaded = load_tls("mode = 'require'\n");
        CHECK(loaded.tls.mode == client_tls_mode::require);
        CHECK(loaded.tls.certificate == folder.path() / "certs/server.crt");
    }
    SECTION("without certificates prefer becomes off, with a warning") {
        const configuration loaded = load_tls("mode = 'prefer'\n");
        CHECK(loaded.tls.mode == client_tls_mode::off);
        CHECK(has_warning(loaded, "signalbox.toml:2: TLS towards clients is off"));
    }
    SECTION("without certificates the strict modes are errors") {
        const auto mode = GENERATE(as<std::string>{}, "require", "verify-ca", "verify-full");
        CHECK_THROWS_WITH(
            load_tls("mode = '" + mode + "'\n"), Contains("toml:2: ") && Contains("exists")
        );
    }
    SECTION("a named file that is missing is an error in every mode but off") {
        CHECK_THROWS_WITH(
            load_tls("certificate = 'no.crt'\nkey = 'good.key'\n"),
            Contains("toml:2: certificate: cannot read") && Contains("No such file")
        );
        CHECK(load_tls("mode = 'off'\ncertificate = 'no.crt'\n").tls.mode == client_tls_mode::off);
    }
    SECTION("what is no certificate, or another one's key, is an error") {
        CHECK_THROWS_WITH(
            load_tls("certificate = 'bad.crt'\nkey = 'good.key'\n"),
            Contains("holds no certificate")
        );
        CHECK_THROWS_WITH(
            load_tls("certificate = 'good.crt'\nkey = 'bad.crt'\n"),
            Contains("holds no private key")
        );
        CHECK_THROWS_WITH(
            load_tls("certificate = 'good.crt'\nkey = 'other.key'\n"),
            Contains("is not the key of the certificate") && Contains("belong to each other")
        );
    }
    SECTION("verify modes need an authority") {
        const std::string certificates =
            "certificate = 'good.crt'\nkey = 'good.key'\nmode = 'verify-ca'\n";
        CHECK_THROWS_WITH(
            load_tls(certificates), Contains("toml:4: ") && Contains("needs client_ca")
        );
        CHECK_THROWS_WITH(load_tls(certificates + "client_ca = 'bad.crt'\n"), Contains("toml:5: "));
        CHECK_THROWS_WITH(
            load_tls(certificates + "client_ca = 'damaged.crt'\n"), Contains("damaged")
        );
        CHECK(
            load_tls(certificates + "client_ca = 'good.crt'\n").tls.mode ==
            client_tls_mode::verify_ca
        );
    }
    SECTION("certificates have a map of names") {
        const std::string start =
            "certificate = 'good.crt'\nkey = 'good.key'\nclient_ca = 'good.crt'\n"
            "[[auth.rules]]\nmethod = 'cert'\nmap = 'ops'\n";
        const std::string one =
            "[[auth.maps]]\nname = 'ops'\nsystem_username = '/^(.*)@a$'\n"
            "database_username = '\\1'\n";
        const configuration loaded = load_tls(
            start + one +
            "[[auth.maps]]\nname = 'ops'\nsystem_username = 'boss'\ndatabase_username = 'all'\n"
            "[[auth.maps]]\nname = 'dev'\nsystem_username = 'x'\ndatabase_username = 'y'\n"
            "[auth]\nmethod = 'cert'\nmap = 'dev'\n"
        );
        CHECK_FALSE(has_warning(loaded, "map"));
        CHECK(loaded.default_auth_map == "dev");
        REQUIRE(loaded.auth_rules.size() == 1);
        CHECK(loaded.auth_rules[0].map == "ops");
        REQUIRE(loaded.auth_maps.size() == 3);
        CHECK(loaded.auth_maps[0].name == "ops");
        CHECK(loaded.auth_maps[0].system_username == "/^(.*)@a$");
        CHECK(loaded.auth_maps[0].database_username == "\\1");
        CHECK(loaded.auth_maps[1].system_username == "boss");
        CHECK(loaded.auth_maps[2].name == "dev");
        CHECK_THROWS_WITH(
            load_tls(start),
            Contains("toml:7: there is no map \"ops\"") && Contains("[[auth.maps]]")
        );
    }
    SECTION("towards a server the key is a secret: PEM text or a path") {
        const std::string start =
            "mode = 'off'\n[secrets]\nk = { file = 'good.key' }\np = { value = 'good.key' }\n"
            "o = { value = 'other.key' }\n[connections.s]\nhost = 'a'\n"
            "ssl_certificate = 'good.crt'\n";
        CHECK_THAT(
            load_tls(start + "ssl_key = 'k'\n").connections.at("s")->tls_key,
            StartsWith("-----BEGIN")
        );
        CHECK(
            load_tls(start + "ssl_key = 'p'\n").connections.at("s")->tls_key ==
            folder.path() / "good.key"
        );
        CHECK_THROWS_WITH(load_tls(start + "ssl_key = 'o'\n"), Contains("toml:10: "));
        CHECK_THROWS_WITH(load_tls(start), Contains("must be given together"));
    }
}
