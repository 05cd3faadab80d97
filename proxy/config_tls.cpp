// [tls], and what OpenSSL's settings say of a certificate.
#include "proxy/config_parts.hpp"

#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/ssl.h>

#include <memory>

namespace signalbox::proxy {
namespace {

template <auto Free>
struct freed_by {
    template <class T>
    void operator()(T* object) const noexcept {
        Free(object);
    }
};

file_content read_named_file(const section& from, std::string_view key, const std::string& path) {
    file_content content = read_file(path, max_pem_bytes, file_kind::regular);
    if (!content.error.empty()) {
        from.fail(
            key,
            std::string{key} + ": cannot read " + in_quotes(path) + ": " + content.error,
            "check the path and its permissions; relative paths start at the configuration's folder"
        );
    }
    return content;
}

void warn_of_open_key(const section& from, std::string_view key, const std::string& name) {
    from.warn(
        key, "The private key " + name + " may be read by others than its owner; use chmod 600."
    );
}

pem_source read_key_file(const section& from, std::string_view key, const std::string& path) {
    file_content content = read_named_file(from, key, path);
    if (content.others_may_read) {
        warn_of_open_key(from, key, in_quotes(path));
    }
    return {.text = std::move(content.text), .name = in_quotes(path)};
}

}  // namespace

pem_source read_pem_file(const section& from, std::string_view key, const std::string& path) {
    return {.text = read_named_file(from, key, path).text, .name = in_quotes(path)};
}

// The path is a secret's value, so it is not repeated.
void check_server_side_key(const section& from, const std::string& path) {
    if (catalog::others_may_read(path)) {
        warn_of_open_key(from, "ssl_key", "that the secret of ssl_key names");
    }
}

std::optional<std::string> check_strength(const pem_source& certificate) {
    ERR_clear_error();
    const std::unique_ptr<SSL_CTX, freed_by<SSL_CTX_free>> context{SSL_CTX_new(TLS_method())};
    const std::unique_ptr<BIO, freed_by<BIO_free_all>> input{BIO_new_mem_buf(
        certificate.text.data(), static_cast<int>(certificate.text.size())  // max_pem_bytes
    )};
    const std::unique_ptr<X509, freed_by<X509_free>> leaf{
        PEM_read_bio_X509(input.get(), nullptr, nullptr, nullptr)};
    if (context && SSL_CTX_use_certificate(context.get(), leaf.get()) == 1) {
        return std::nullopt;
    }
    const char* const reason = ERR_reason_error_string(ERR_peek_error());
    ERR_clear_error();
    return certificate.name + " is not a certificate that OpenSSL accepts: " +
           (reason != nullptr ? reason : "unknown reason");
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
    const pem_source key = read_key_file(tls, "key", settings.key);
    auto problem = check_key_pair(certificate, key);
    if (!problem) {
        problem = check_strength(certificate);
    }
    if (problem) {
        tls.fail(
            "certificate", "[tls]: " + *problem, "the files must be PEM and belong to each other"
        );
    }
    if (!settings.client_ca.empty()) {
        problem = check_certificate_authority(read_pem_file(tls, "client_ca", settings.client_ca));
        if (problem) {
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
