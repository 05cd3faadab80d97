// See scram.hpp. The grammar is RFC 5802's section 7, read as PostgreSQL reads it: the user name in
// the message is ignored, an authorization identity is refused, unknown optional attributes are
// skipped.
//
// Hashes are built on a context per thread and digests fetched once. In OpenSSL 3.0 the one-shot
// calls (SHA256(), HMAC()) look the algorithm up by name each time, under locks: 1,010 ns instead
// of 390 ns for an HMAC of 200 bytes. The low-level SHA256_Update() would save 40 ns per hash, and
// is deprecated.
#include "wire/scram.hpp"

#include "wire/base64.hpp"
#include "wire/saslprep.hpp"

#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/rand.h>

#include <algorithm>
#include <charconv>
#include <initializer_list>
#include <memory>
#include <optional>
#include <span>
#include <utility>

namespace signalbox::wire {
namespace {

constexpr std::string_view verifier_scheme = "SCRAM-SHA-256$";
constexpr std::string_view binding_type = "tls-server-end-point";
constexpr std::string_view unable_gs2_header = "n,,";
constexpr std::string_view able_gs2_header = "y,,";  // and thinks that the server is not
constexpr std::string_view bound_gs2_header = "p=tls-server-end-point,,";
constexpr std::string_view md5_scheme = "md5";
constexpr std::size_t md5_verifier_bytes = 35;
constexpr std::size_t nonce_random_bytes = 18;  // SCRAM_RAW_NONCE_LEN of PostgreSQL
constexpr std::size_t mock_salt_bytes = 16;     // SCRAM_DEFAULT_SALT_LEN of PostgreSQL
constexpr std::size_t sha256_block_bytes = 64;

template <class Bytes>
std::string_view as_text(const Bytes& bytes) noexcept {
    return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

// Fetched once and never freed: OPENSSL_cleanup() may run before the destructors of statics.
const EVP_MD* sha256_digest() noexcept {
    static const EVP_MD* const digest = EVP_MD_fetch(nullptr, "SHA256", nullptr);
    return digest;
}

const EVP_MD* md5_digest() noexcept {
    static const EVP_MD* const digest = EVP_MD_fetch(nullptr, "MD5", nullptr);
    return digest;
}

struct context_free {
    void operator()(EVP_MD_CTX* context) const noexcept { EVP_MD_CTX_free(context); }
};

EVP_MD_CTX* thread_context() noexcept {
    thread_local const std::unique_ptr<EVP_MD_CTX, context_free> context{EVP_MD_CTX_new()};
    return context.get();
}

// The hash of the parts as if they were one. `digest` is null where libcrypto does not offer it.
bool hash(
    const EVP_MD* digest, std::initializer_list<std::string_view> parts, std::uint8_t* out
) noexcept {
    EVP_MD_CTX* const context = thread_context();
    if (digest == nullptr || context == nullptr ||
        EVP_DigestInit_ex2(context, digest, nullptr) != 1) {
        return false;
    }
    for (const std::string_view part : parts) {
        if (EVP_DigestUpdate(context, part.data(), part.size()) != 1) {
            return false;
        }
    }
    return EVP_DigestFinal_ex(context, out, nullptr) == 1;
}

// RFC 2104. A key is never longer than a block here, so it is never hashed first.
bool hmac(
    const scram_key& key, std::initializer_list<std::string_view> parts, scram_key& out
) noexcept {
    constexpr std::uint8_t inner = 0x36;
    constexpr std::uint8_t outer = 0x5c;
    EVP_MD_CTX* const context = thread_context();
    const EVP_MD* const digest = sha256_digest();
    if (digest == nullptr || context == nullptr) {
        return false;
    }
    std::array<std::uint8_t, sha256_block_bytes> pad{};
    const auto start = [&](std::uint8_t filler) {
        pad.fill(filler);
        for (std::size_t i = 0; i < key.size(); ++i) {
            pad[i] ^= key[i];
        }
        return EVP_DigestInit_ex2(context, digest, nullptr) == 1 &&
               EVP_DigestUpdate(context, pad.data(), pad.size()) == 1;
    };
    bool good = start(inner);
    for (const std::string_view part : parts) {
        good = good && EVP_DigestUpdate(context, part.data(), part.size()) == 1;
    }
    scram_key inner_hash;
    good = good && EVP_DigestFinal_ex(context, inner_hash.data(), nullptr) == 1 && start(outer) &&
           EVP_DigestUpdate(context, inner_hash.data(), inner_hash.size()) == 1 &&
           EVP_DigestFinal_ex(context, out.data(), nullptr) == 1;
    // The context outlives this call and still holds the result, which may be half of a secret.
    good = EVP_DigestInit_ex2(context, digest, nullptr) == 1 && good;
    OPENSSL_cleanse(pad.data(), pad.size());
    return good;
}

scram_key exclusive_or(const scram_key& a, const scram_key& b) noexcept {
    scram_key out;
    for (std::size_t i = 0; i < out.size(); ++i) {
        out[i] = a[i] ^ b[i];
    }
    return out;
}

bool is_letter(char c) noexcept {
    return (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z');
}

bool is_digit(char c) noexcept {
    return c >= '0' && c <= '9';
}

// RFC 5802's `printable`: visible ASCII but for the comma.
bool is_nonce(std::string_view text) noexcept {
    return !text.empty() &&
           std::ranges::all_of(text, [](char c) { return c > ' ' && c <= '~' && c != ','; });
}

bool is_message(std::string_view text) noexcept {
    return text.size() <= max_scram_message_bytes && text.find('\0') == std::string_view::npos;
}

// RFC 5802's posit-number, and zero, which is well written but outside the limits.
result<int> parse_iterations(std::string_view text, wire_errc malformed) noexcept {
    if (text.empty() || !std::ranges::all_of(text, is_digit) ||
        (text[0] == '0' && text.size() > 1)) {
        return malformed;
    }
    int value = 0;
    const auto [end, ec] = std::from_chars(text.data(), text.data() + text.size(), value);
    if (ec != std::errc{} || value < 1 || value > max_scram_iterations) {
        return wire_errc::scram_iterations;
    }
    return value;
}

struct attribute {
    char name = '\0';
    std::string_view value;
    std::size_t offset = 0;  // of the name, in the text
};

// Walks `name=value` pairs between commas. No name may come twice; values are not judged.
class attribute_reader {
public:
    explicit attribute_reader(std::string_view text) noexcept : text_{text} {}

    [[nodiscard]] bool at_end() const noexcept { return offset_ > text_.size(); }

    // Nothing at the end, and nothing where no attribute stands.
    std::optional<attribute> next() noexcept {
        if (at_end()) {
            return std::nullopt;
        }
        const std::size_t start = offset_;
        const std::size_t end = std::min(text_.find(',', start), text_.size());
        const std::string_view token = text_.substr(start, end - start);
        if (token.size() < 2 || !is_letter(token[0]) || token[1] != '=') {
            return std::nullopt;
        }
        const std::uint64_t bit = std::uint64_t{1} << (token[0] - 'A');
        if ((seen_ & bit) != 0) {
            return std::nullopt;
        }
        seen_ |= bit;
        offset_ = end + 1;
        return attribute{token[0], token.substr(2), start};
    }

    std::optional<std::string_view> expect(char name) noexcept {
        const auto found = next();
        if (!found || found->name != name) {
            return std::nullopt;
        }
        return found->value;
    }

    bool skip_extensions() noexcept {
        while (!at_end()) {
            const auto found = next();
            if (!found || !is_extension(*found)) {
                return false;
            }
        }
        return true;
    }

    // `m` means: whoever does not know this extension must fail.
    static bool is_extension(const attribute& a) noexcept {
        return a.name != 'm' && !a.value.empty();
    }

private:
    std::string_view text_;
    std::size_t offset_ = 0;
    std::uint64_t seen_ = 0;
};

bool is_usable(const scram_verifier& verifier) noexcept {
    return verifier.iterations >= 1 && !verifier.salt.empty();
}

// What client-first begins with. An authorization identity would stand between the commas.
result<std::string_view> parse_gs2_header(
    std::string_view message, const scram_channel& channel
) noexcept {
    if (message.starts_with("p=")) {
        const std::string_view type = message.substr(2, message.find(',') - 2);
        if (!channel.is_bound || channel.end_point.empty() || type != binding_type) {
            return wire_errc::scram_channel_binding;
        }
        if (!message.starts_with(bound_gs2_header)) {
            return wire_errc::bad_scram_message;
        }
        return bound_gs2_header;
    }
    // The mechanism and the header must say the same.
    if (channel.is_bound) {
        return wire_errc::bad_scram_message;
    }
    if (message.starts_with(unable_gs2_header)) {
        return unable_gs2_header;
    }
    if (!message.starts_with(able_gs2_header)) {
        return wire_errc::bad_scram_message;
    }
    if (!channel.end_point.empty()) {
        return wire_errc::scram_downgrade;
    }
    return able_gs2_header;
}

}  // namespace

scram_key::~scram_key() {
    OPENSSL_cleanse(data(), size());
}

result<scram_verifier> parse_scram_verifier(std::string_view text) {
    if (text.size() > max_scram_message_bytes || !text.starts_with(verifier_scheme)) {
        return wire_errc::bad_verifier;
    }
    text.remove_prefix(verifier_scheme.size());
    const std::size_t salt_at = text.find(':');
    const std::size_t stored_at = text.find('$');
    if (salt_at == std::string_view::npos || stored_at == std::string_view::npos ||
        stored_at < salt_at) {
        return wire_errc::bad_verifier;
    }
    const std::size_t server_at = text.find(':', stored_at);
    if (server_at == std::string_view::npos) {
        return wire_errc::bad_verifier;
    }
    auto salt = decode_base64(text.substr(salt_at + 1, stored_at - salt_at - 1));
    scram_verifier verifier;
    if (!salt || salt->empty() ||
        !decode_base64_into(
            text.substr(stored_at + 1, server_at - stored_at - 1), verifier.stored_key
        ) ||
        !decode_base64_into(text.substr(server_at + 1), verifier.server_key)) {
        return wire_errc::bad_verifier;
    }
    const auto iterations = parse_iterations(text.substr(0, salt_at), wire_errc::bad_verifier);
    if (!iterations) {
        return iterations.error();
    }
    verifier.iterations = *iterations;
    verifier.salt = *std::move(salt);
    return verifier;
}

std::string serialize_scram_verifier(const scram_verifier& verifier) {
    std::string text{verifier_scheme};
    text += std::to_string(verifier.iterations);
    text += ':';
    append_base64(text, verifier.salt);
    text += '$';
    append_base64(text, verifier.stored_key);
    text += ':';
    append_base64(text, verifier.server_key);
    return text;
}

result<scram_keys> derive_scram_keys(
    std::string_view password, std::string_view salt, int iterations
) {
    if (iterations < 1 || iterations > max_scram_iterations) {
        return wire_errc::scram_iterations;
    }
    if (salt.empty()) {
        return wire_errc::bad_verifier;
    }
    std::string prepared = saslprep(password);
    if (!std::in_range<int>(prepared.size()) || !std::in_range<int>(salt.size())) {
        OPENSSL_cleanse(prepared.data(), prepared.size());
        return wire_errc::too_large;
    }
    const EVP_MD* const digest = sha256_digest();
    scram_key salted;
    const bool is_salted =
        digest != nullptr && PKCS5_PBKDF2_HMAC(
                                 prepared.data(),
                                 static_cast<int>(prepared.size()),
                                 reinterpret_cast<const unsigned char*>(salt.data()),
                                 static_cast<int>(salt.size()),
                                 iterations,
                                 digest,
                                 static_cast<int>(salted.size()),
                                 salted.data()
                             ) == 1;
    OPENSSL_cleanse(prepared.data(), prepared.size());
    scram_keys keys;
    if (!is_salted || !hmac(salted, {"Client Key"}, keys.client_key) ||
        !hmac(salted, {"Server Key"}, keys.server_key)) {
        return wire_errc::crypto_failure;
    }
    return keys;
}

result<scram_verifier> make_scram_verifier(
    const scram_keys& keys, std::string_view salt, int iterations
) {
    if (iterations < 1 || iterations > max_scram_iterations) {
        return wire_errc::scram_iterations;
    }
    if (salt.empty()) {
        return wire_errc::bad_verifier;
    }
    scram_verifier verifier{
        .iterations = iterations,
        .salt = std::string{salt},
        .stored_key = {},
        .server_key = keys.server_key};
    if (!hash(sha256_digest(), {as_text(keys.client_key)}, verifier.stored_key.data())) {
        return wire_errc::crypto_failure;
    }
    return verifier;
}

result<std::string> make_scram_nonce() {
    std::array<std::uint8_t, nonce_random_bytes> random{};
    if (RAND_bytes(random.data(), static_cast<int>(random.size())) != 1) {
        return wire_errc::crypto_failure;
    }
    std::string nonce;
    append_base64(nonce, random);
    return nonce;
}

result<scram_verifier> make_mock_verifier(std::string_view user, const scram_key& process_key) {
    scram_verifier verifier;
    scram_key salt;
    if (!hmac(process_key, {"salt ", user}, salt) ||
        !hmac(process_key, {"stored ", user}, verifier.stored_key) ||
        !hmac(process_key, {"server ", user}, verifier.server_key)) {
        return wire_errc::crypto_failure;
    }
    verifier.salt = as_text(salt).substr(0, mock_salt_bytes);
    return verifier;
}

scram_server::scram_server(scram_verifier verifier, std::string nonce, scram_channel channel)
    : verifier_{std::move(verifier)}, nonce_{std::move(nonce)}, channel_{std::move(channel)} {}

result<std::string> scram_server::on_client_first(std::string_view message) {
    if (std::exchange(step_, step::finished) != step::client_first || !is_message(message)) {
        return wire_errc::bad_scram_message;
    }
    const auto header = parse_gs2_header(message, channel_);
    if (!header) {
        return header.error();
    }
    gs2_header_ = *header;
    const std::string_view bare = message.substr(gs2_header_.size());
    attribute_reader in{bare};
    if (!in.expect('n')) {
        return wire_errc::bad_scram_message;
    }
    const auto client_nonce = in.expect('r');
    if (!client_nonce || !is_nonce(*client_nonce) || !in.skip_extensions()) {
        return wire_errc::bad_scram_message;
    }
    if (!is_usable(verifier_) || !is_nonce(nonce_)) {
        return wire_errc::bad_verifier;
    }

    full_nonce_ = *client_nonce;
    full_nonce_ += nonce_;
    std::string server_first = "r=" + full_nonce_ + ",s=";
    append_base64(server_first, verifier_.salt);
    server_first += ",i=";
    server_first += std::to_string(verifier_.iterations);

    auth_message_ = bare;
    auth_message_ += ',';
    auth_message_ += server_first;
    step_ = step::client_final;
    return server_first;
}

result<std::string> scram_server::on_client_final(std::string_view message) {
    if (std::exchange(step_, step::finished) != step::client_final || !is_message(message)) {
        return wire_errc::bad_scram_message;
    }
    attribute_reader in{message};
    const auto binding = in.expect('c');
    const auto nonce = in.expect('r');
    if (!binding || !nonce || !is_nonce(*nonce)) {
        return wire_errc::bad_scram_message;
    }
    std::optional<attribute> last = in.next();
    while (last && last->name != 'p' && attribute_reader::is_extension(*last)) {
        last = in.next();
    }
    scram_key proof;
    const auto bound_to = decode_base64(*binding);
    if (!last || last->name != 'p' || !in.at_end() || !bound_to || bound_to->empty() ||
        !decode_base64_into(last->value, proof)) {
        return wire_errc::bad_scram_message;
    }
    // Another header here than in client-first, or another certificate than ours: someone in
    // between has changed one of the two.
    if (!bound_to->starts_with(gs2_header_)) {
        return wire_errc::scram_channel_binding;
    }
    const std::string_view seen = std::string_view{*bound_to}.substr(gs2_header_.size());
    if (seen != (channel_.is_bound ? std::string_view{channel_.end_point} : std::string_view{})) {
        return channel_.is_bound ? wire_errc::scram_wrong_binding
                                 : wire_errc::scram_channel_binding;
    }
    if (*nonce != full_nonce_) {
        return wire_errc::scram_nonce_mismatch;
    }

    const std::string_view without_proof = message.substr(0, last->offset - 1);
    scram_key client_signature;
    scram_key stored_key;
    scram_key server_signature;
    if (!hmac(verifier_.stored_key, {auth_message_, ",", without_proof}, client_signature) ||
        !hmac(verifier_.server_key, {auth_message_, ",", without_proof}, server_signature)) {
        return wire_errc::crypto_failure;
    }
    const scram_key client_key = exclusive_or(proof, client_signature);
    if (!hash(sha256_digest(), {as_text(client_key)}, stored_key.data())) {
        return wire_errc::crypto_failure;
    }
    if (!equal_in_constant_time(as_text(stored_key), as_text(verifier_.stored_key))) {
        return wire_errc::scram_wrong_proof;
    }
    keys_ = {.client_key = client_key, .server_key = verifier_.server_key};
    std::string server_final = "v=";
    append_base64(server_final, server_signature);
    return server_final;
}

scram_client::scram_client(std::string nonce, scram_channel channel)
    : nonce_{std::move(nonce)}, channel_{std::move(channel)} {}

std::string_view scram_client::gs2_header() const noexcept {
    if (channel_.is_bound) {
        return bound_gs2_header;
    }
    return channel_.end_point.empty() ? unable_gs2_header : able_gs2_header;
}

// PostgreSQL takes the user from the startup packet, so the name stays empty, as libpq leaves it.
std::string scram_client::first_message() const {
    return std::string{gs2_header()} + "n=,r=" + nonce_;
}

result<scram_client::challenge> scram_client::on_server_first(std::string_view message) {
    if (std::exchange(step_, step::failed) != step::server_first || !is_message(message)) {
        return wire_errc::bad_scram_message;
    }
    attribute_reader in{message};
    const auto nonce = in.expect('r');
    const auto salt_text = in.expect('s');
    const auto iterations_text = in.expect('i');
    if (!nonce || !is_nonce(*nonce) || !salt_text || !iterations_text || !in.skip_extensions()) {
        return wire_errc::bad_scram_message;
    }
    auto salt = decode_base64(*salt_text);
    if (!salt || salt->empty()) {
        return wire_errc::bad_scram_message;
    }
    const auto iterations = parse_iterations(*iterations_text, wire_errc::bad_scram_message);
    if (!iterations) {
        return iterations.error();
    }
    // A server that adds nothing of its own lets a recorded exchange be replayed.
    if (!nonce->starts_with(nonce_) || nonce->size() == nonce_.size()) {
        return wire_errc::scram_nonce_mismatch;
    }
    full_nonce_ = *nonce;
    server_first_ = message;
    step_ = step::final_message;
    return challenge{.salt = *std::move(salt), .iterations = *iterations};
}

result<std::string> scram_client::final_message(const scram_keys& keys) {
    if (std::exchange(step_, step::failed) != step::final_message) {
        return wire_errc::bad_scram_message;
    }
    std::string bound_to{gs2_header()};
    if (channel_.is_bound) {
        bound_to += channel_.end_point;
    }
    std::string message = "c=";
    append_base64(message, bound_to);
    message += ",r=";
    message += full_nonce_;

    const std::initializer_list<std::string_view> auth_message = {
        "n=,r=", nonce_, ",", server_first_, ",", message};
    scram_key stored_key;
    scram_key client_signature;
    if (!hash(sha256_digest(), {as_text(keys.client_key)}, stored_key.data()) ||
        !hmac(stored_key, auth_message, client_signature) ||
        !hmac(keys.server_key, auth_message, server_signature_)) {
        return wire_errc::crypto_failure;
    }
    const scram_key proof = exclusive_or(keys.client_key, client_signature);
    message += ",p=";
    append_base64(message, proof);
    step_ = step::server_final;
    return message;
}

result<void> scram_client::on_server_final(std::string_view message) {
    if (std::exchange(step_, step::failed) != step::server_final || !is_message(message)) {
        return wire_errc::bad_scram_message;
    }
    attribute_reader in{message};
    const auto first = in.next();
    if (!first || first->value.empty() || !in.skip_extensions()) {
        return wire_errc::bad_scram_message;
    }
    if (first->name == 'e') {
        return wire_errc::scram_server_error;
    }
    scram_key signature;
    if (first->name != 'v' || !decode_base64_into(first->value, signature)) {
        return wire_errc::bad_scram_message;
    }
    if (!equal_in_constant_time(as_text(signature), as_text(server_signature_))) {
        return wire_errc::scram_wrong_signature;
    }
    step_ = step::finished;
    return {};
}

namespace {

result<std::string> md5_text(std::string_view first, std::string_view second) {
    constexpr std::string_view hex = "0123456789abcdef";
    std::array<std::uint8_t, 16> digest{};
    if (!hash(md5_digest(), {first, second}, digest.data())) {
        return wire_errc::crypto_failure;
    }
    std::string text{md5_scheme};
    for (const std::uint8_t byte : digest) {
        text += hex[byte >> 4];
        text += hex[byte & 15];
    }
    return text;
}

}  // namespace

result<std::string> make_md5_verifier(std::string_view password, std::string_view user) {
    return md5_text(password, user);
}

result<std::string> make_md5_response(std::string_view verifier, std::array<std::uint8_t, 4> salt) {
    if (!is_md5_verifier(verifier)) {
        return wire_errc::bad_verifier;
    }
    return md5_text(verifier.substr(md5_scheme.size()), as_text(salt));
}

bool is_md5_verifier(std::string_view text) noexcept {
    return text.size() == md5_verifier_bytes && text.starts_with(md5_scheme) &&
           text.find_first_not_of("0123456789abcdef", md5_scheme.size()) == std::string_view::npos;
}

bool equal_in_constant_time(std::string_view a, std::string_view b) noexcept {
    return a.size() == b.size() && CRYPTO_memcmp(a.data(), b.data(), a.size()) == 0;
}

}  // namespace signalbox::wire
