// Cleartext passwords that were right before, so that PBKDF2 is paid for once.
//
// Kept is an HMAC-SHA-256 of the verifier's server key and the password, under a key of this
// process: nothing that helps whoever reads the memory later. Wrong passwords are not remembered:
// they cost what an unknown user costs.
#pragma once

#include "wire/scram.hpp"

#include <openssl/evp.h>
#include <openssl/hmac.h>

#include <array>
#include <mutex>
#include <set>
#include <string>
#include <string_view>

namespace signalbox::proxy {

/// Thread-safe.
class right_passwords {
public:
    bool contains(
        const wire::scram_key& key, const wire::scram_verifier& verifier, std::string_view password
    ) {
        const auto made = digest_of(key, verifier, password);
        const std::lock_guard lock{mutex_};
        return known_.contains(made);
    }

    void remember(
        const wire::scram_key& key, const wire::scram_verifier& verifier, std::string_view password
    ) {
        const auto made = digest_of(key, verifier, password);
        const std::lock_guard lock{mutex_};
        if (known_.size() >= max_entries) {
            known_.clear();
        }
        known_.insert(made);
    }

private:
    static constexpr std::size_t max_entries = 4096;

    using digest = std::array<unsigned char, 32>;

    static digest digest_of(
        const wire::scram_key& key, const wire::scram_verifier& verifier, std::string_view password
    ) {
        std::string text(
            reinterpret_cast<const char*>(verifier.server_key.data()), verifier.server_key.size()
        );
        text += password;
        digest out{};
        unsigned int size = out.size();
        HMAC(
            EVP_sha256(),
            key.data(),
            static_cast<int>(key.size()),
            reinterpret_cast<const unsigned char*>(text.data()),
            text.size(),
            out.data(),
            &size
        );
        OPENSSL_cleanse(text.data(), text.size());
        return out;
    }

    std::mutex mutex_;
    std::set<digest> known_;
};

}  // namespace signalbox::proxy
