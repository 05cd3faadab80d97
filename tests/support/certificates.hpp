// A key and a certificate that vouches for itself, as PEM files in a folder that goes with the
// object.
#pragma once

#include "tests/support/temporary_folder.hpp"

#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/x509.h>
#include <openssl/x509v3.h>

#include <cstdio>
#include <memory>
#include <stdexcept>
#include <string>

namespace signalbox::tests {

class self_signed {
public:
    /// For the host `name`. `hash` of the signature; null for a key of Ed25519, which has none.
    explicit self_signed(const std::string& name, const EVP_MD* hash = EVP_sha256()) {
        const std::unique_ptr<EVP_PKEY, decltype(&EVP_PKEY_free)> pair{
            hash == nullptr ? EVP_PKEY_Q_keygen(nullptr, nullptr, "ED25519") : EVP_EC_gen("P-256"),
            &EVP_PKEY_free};
        const std::unique_ptr<X509, decltype(&X509_free)> made{X509_new(), &X509_free};
        X509_set_version(made.get(), 2);
        ASN1_INTEGER_set(X509_get_serialNumber(made.get()), 1);
        X509_gmtime_adj(X509_getm_notBefore(made.get()), -3600);
        X509_gmtime_adj(X509_getm_notAfter(made.get()), 3600);
        X509_set_pubkey(made.get(), pair.get());
        X509_NAME* const subject = X509_get_subject_name(made.get());
        X509_NAME_add_entry_by_txt(
            subject,
            "CN",
            MBSTRING_ASC,
            reinterpret_cast<const unsigned char*>(name.c_str()),
            -1,
            -1,
            0
        );
        X509_set_issuer_name(made.get(), subject);
        const std::unique_ptr<X509_EXTENSION, decltype(&X509_EXTENSION_free)> hosts{
            X509V3_EXT_conf_nid(nullptr, nullptr, NID_subject_alt_name, ("DNS:" + name).c_str()),
            &X509_EXTENSION_free};
        X509_add_ext(made.get(), hosts.get(), -1);
        if (X509_sign(made.get(), pair.get(), hash) == 0) {
            throw std::runtime_error("no certificate");
        }
        write(certificate(), [&](FILE* f) { return PEM_write_X509(f, made.get()); });
        write(key(), [&](FILE* f) {
            return PEM_write_PrivateKey(f, pair.get(), nullptr, nullptr, 0, nullptr, nullptr);
        });
    }

    [[nodiscard]] std::string certificate() const { return folder_.file("certificate.pem"); }

    [[nodiscard]] std::string key() const { return folder_.file("key.pem"); }

private:
    template <class Write>
    static void write(const std::string& file, Write fill) {
        const std::unique_ptr<FILE, decltype(&std::fclose)> out{
            std::fopen(file.c_str(), "w"), &std::fclose};
        if (!out || fill(out.get()) != 1) {
            throw std::runtime_error("cannot write " + file);
        }
    }

    temporary_folder folder_;
};

}  // namespace signalbox::tests
