#include "catalog/certificates.hpp"

#include <climits>
#include <openssl/bio.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/x509.h>

#include <algorithm>
#include <memory>

namespace signalbox::catalog {
namespace {

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

x509_ptr read_certificate(const pem_source& certificate) {
    ERR_clear_error();
    const bio_ptr input = open_memory(certificate.text);
    x509_ptr out{
        input ? PEM_read_bio_X509(input.get(), nullptr, refuse_passphrase, nullptr) : nullptr};
    if (out && X509_get0_pubkey(out.get()) == nullptr) {
        return nullptr;  // of a kind that OpenSSL does not know
    }
    return out;
}

std::string no_certificate(const pem_source& source) {
    return source.name + " holds no certificate in PEM form: " + openssl_words();
}

}  // namespace

std::optional<std::string> check_certificate(const pem_source& certificate) {
    if (!read_certificate(certificate)) {
        return no_certificate(certificate);
    }
    ERR_clear_error();
    return std::nullopt;
}

std::optional<std::string> check_key_pair(const pem_source& certificate, const pem_source& key) {
    const x509_ptr leaf = read_certificate(certificate);
    if (!leaf) {
        return no_certificate(certificate);
    }
    const bio_ptr key_input = open_memory(key.text);
    const key_ptr private_key{
        key_input ? PEM_read_bio_PrivateKey(key_input.get(), nullptr, refuse_passphrase, nullptr)
                  : nullptr};
    if (!private_key) {
        return key.name +
               " holds no private key in PEM form without passphrase: " + openssl_words();
    }
    if (X509_check_private_key(leaf.get(), private_key.get()) != 1) {
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

}  // namespace signalbox::catalog
