// Certificates and keys that the configuration names: are they there, readable, and a pair? OpenSSL
// judges them in a context of its own that is thrown away; whoever terminates TLS loads them again.
#include "proxy/config_parts.hpp"

#include <climits>
#include <openssl/bio.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/ssl.h>
#include <openssl/x509.h>

#include <memory>

namespace signalbox::proxy {
namespace {

constexpr std::size_t max_pem_bytes =
    4U << 20U;  // all the world's root certificates take a quarter of a megabyte

template <auto Free>
struct freed_by {
    template <class T>
    void operator()(T* object) const noexcept {
        Free(object);
    }
};

using bio_ptr = std::unique_ptr<BIO, freed_by<BIO_free_all>>;
using x509_ptr = std::unique_ptr<X509, freed_by<X509_free>>;
using key_ptr = std::unique_ptr<EVP_PKEY, freed_by<EVP_PKEY_free>>;
using context_ptr = std::unique_ptr<SSL_CTX, freed_by<SSL_CTX_free>>;

/// The oldest reason in OpenSSL's queue, which is the cause of the others.
std::string openssl_words() {
    const unsigned long code = ERR_peek_error();
    const char* const reason = code != 0 ? ERR_reason_error_string(code) : nullptr;
    ERR_clear_error();
    return reason != nullptr ? reason : "unknown reason";
}

bio_ptr open_memory(const std::string& text) {
    return bio_ptr{BIO_new_mem_buf(
        text.data(), static_cast<int>(std::min<std::size_t>(text.size(), INT_MAX))
    )};
}

/// Without it OpenSSL would ask for the passphrase on the terminal.
int refuse_passphrase(char*, int, int, void*) {
    return -1;
}

bool is_end_of_pem() {
    const unsigned long code = ERR_peek_last_error();
    return ERR_GET_LIB(code) == ERR_LIB_PEM && ERR_GET_REASON(code) == PEM_R_NO_START_LINE;
}

}  // namespace

pem_source read_pem_file(const section& from, std::string_view key, const std::string& path) {
    file_content content = read_file(path, max_pem_bytes, file_kind::regular);
    if (!content.error.empty()) {
        from.fail(
            key,
            std::string{key} + ": cannot read " + in_quotes(path) + ": " + content.error,
            "check the path and its permissions; relative paths start at the configuration's folder"
        );
    }
    return {.text = std::move(content.text), .name = in_quotes(path)};
}

std::optional<std::string> check_key_pair(const pem_source& certificate, const pem_source& key) {
    ERR_clear_error();
    const context_ptr context{SSL_CTX_new(TLS_method())};
    const bio_ptr certificate_input = open_memory(certificate.text);
    const bio_ptr key_input = open_memory(key.text);
    if (!context || !certificate_input || !key_input) {
        return "OpenSSL has no memory: " + openssl_words();
    }
    const x509_ptr leaf{
        PEM_read_bio_X509(certificate_input.get(), nullptr, refuse_passphrase, nullptr)};
    if (!leaf) {
        return certificate.name + " holds no certificate in PEM form: " + openssl_words();
    }
    if (SSL_CTX_use_certificate(context.get(), leaf.get()) != 1) {
        return certificate.name + " is not a certificate that OpenSSL accepts: " + openssl_words();
    }
    const key_ptr private_key{
        PEM_read_bio_PrivateKey(key_input.get(), nullptr, refuse_passphrase, nullptr)};
    if (!private_key) {
        return key.name +
               " holds no private key in PEM form without passphrase: " + openssl_words();
    }
    if (SSL_CTX_use_PrivateKey(context.get(), private_key.get()) != 1 ||
        SSL_CTX_check_private_key(context.get()) != 1) {
        return key.name + " is not the key of the certificate " + certificate.name + ": " +
               openssl_words();
    }
    ERR_clear_error();
    return std::nullopt;
}

std::optional<std::string> check_certificate_authority(const pem_source& authority) {
    ERR_clear_error();
    const bio_ptr input = open_memory(authority.text);
    if (!input) {
        return "OpenSSL has no memory: " + openssl_words();
    }
    for (std::size_t count = 0;; ++count) {
        const x509_ptr each{
            PEM_read_bio_X509_AUX(input.get(), nullptr, refuse_passphrase, nullptr)};
        if (each) {
            continue;
        }
        if (count != 0 && is_end_of_pem()) {
            ERR_clear_error();
            return std::nullopt;
        }
        return authority.name +
               " holds no certificate in PEM form, or a damaged one: " + openssl_words();
    }
}

void read_client_tls(const section& tls, configuration& out) {
    static constexpr auto modes = std::to_array<choice<client_tls_mode>>(
        {{"off", client_tls_mode::off},
         {"prefer", client_tls_mode::prefer},
         {"require", client_tls_mode::require},
         {"verify-ca", client_tls_mode::verify_ca},
         {"verify-full", client_tls_mode::verify_full}}
    );
    static constexpr auto versions =
        std::to_array<choice<std::string_view>>({{"1.2", "1.2"}, {"1.3", "1.3"}});

    client_tls_settings& settings = out.tls;
    tls.read_choice("mode", settings.mode, modes);
    std::string_view min_version = settings.min_version;
    tls.read_choice("min_version", min_version, versions);
    settings.min_version = min_version;

    settings.certificate = tls.from().resolve("certs/server.crt");
    settings.key = tls.from().resolve("certs/server.key");
    tls.read_path("certificate", settings.certificate);
    tls.read_path("key", settings.key);
    tls.read_path("client_ca", settings.client_ca);
    if (settings.mode == client_tls_mode::off) {
        return;  // so that one line switches TLS off while the certificate is not there yet
    }

    const bool is_explicit = tls.has("certificate") || tls.has("key");
    const bool has_none = settings.certificate.empty() && settings.key.empty();
    std::error_code ignored;
    const bool has_defaults = std::filesystem::exists(settings.certificate, ignored) ||
                              std::filesystem::exists(settings.key, ignored);
    if (has_none || (!is_explicit && !has_defaults)) {
        if (settings.mode != client_tls_mode::prefer) {
            tls.fail(
                has_none ? "certificate" : "mode",
                has_none ? "this mode of [tls] needs a certificate and a key"
                         : "this mode of [tls] needs a certificate and a key, and neither " +
                               in_quotes(settings.certificate) + " nor " + in_quotes(settings.key) +
                               " exists",
                "set certificate and key, or mode = \"off\""
            );
        }
        tls.warn(
            "mode",
            "TLS towards clients is off: there is no certificate; set certificate and key in [tls]."
        );
        settings.mode = client_tls_mode::off;
        return;
    }
    if (settings.certificate.empty() || settings.key.empty()) {
        tls.fail(
            settings.certificate.empty() ? "certificate" : "key",
            "certificate and key of [tls] must be given together",
            "set both, or both to \"\""
        );
    }
    const pem_source certificate = read_pem_file(tls, "certificate", settings.certificate);
    const pem_source key = read_pem_file(tls, "key", settings.key);
    if (auto problem = check_key_pair(certificate, key)) {
        tls.fail(
            "certificate", "[tls]: " + *problem, "the files must be PEM and belong to each other"
        );
    }
    if (!settings.client_ca.empty()) {
        if (auto problem =
                check_certificate_authority(read_pem_file(tls, "client_ca", settings.client_ca))) {
            tls.fail("client_ca", "[tls]: " + *problem, "the file must hold PEM certificates");
        }
    } else if (settings.mode == client_tls_mode::verify_ca || settings.mode == client_tls_mode::verify_full) {
        tls.fail(
            "mode",
            "this mode of [tls] checks client certificates and needs client_ca",
            "set client_ca to the file with the authority's certificate"
        );
    }
}

}  // namespace signalbox::proxy
