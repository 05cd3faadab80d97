// SCRAM-SHA-256 (RFC 5802, RFC 7677), with channel binding (-PLUS) or without, and md5 password
// authentication, both ends, as step machines without I/O.
//
// Source    PostgreSQL manual, "SASL Authentication"; RFC 5802 section 7 for the grammar
// Limits    iteration counts outside 1 to max_scram_iterations are refused before any work is done;
//           so are messages over max_scram_message_bytes
// Secrets   buffers that hold keys are cleansed when they are destroyed
#pragma once

#include "wire/error.hpp"

#include <array>
#include <cstdint>
#include <string>
#include <string_view>

namespace signalbox::wire {

inline constexpr int default_scram_iterations = 4096;   // PostgreSQL 15's own
inline constexpr int max_scram_iterations = 1'000'000;  // a fifth of a second of one core
inline constexpr std::size_t max_scram_message_bytes = 10'000;

/// 32 bytes that are cleansed when they are destroyed; a new one holds zeros.
struct scram_key : std::array<std::uint8_t, 32> {
    scram_key() noexcept : array{} {}

    scram_key(const std::array<std::uint8_t, 32>& bytes) noexcept : array{bytes} {}

    scram_key(const scram_key&) noexcept = default;
    scram_key(scram_key&&) noexcept = default;
    scram_key& operator=(const scram_key&) noexcept = default;
    scram_key& operator=(scram_key&&) noexcept = default;
    ~scram_key();
};

/// What lets its holder log in as a client (client_key) and check a server (server_key), without
/// the password.
struct scram_keys {
    scram_key client_key{};
    scram_key server_key{};
};

/// `SCRAM-SHA-256$<iterations>:<salt>$<StoredKey>:<ServerKey>`, as pg_authid.rolpassword holds it.
struct scram_verifier {
    int iterations = default_scram_iterations;
    std::string salt;  // raw bytes, any length from 1 to what a message can carry
    scram_key stored_key{};
    scram_key server_key{};
};

/// Errors: bad_verifier, scram_iterations. Accepts exactly what serialize_scram_verifier writes.
result<scram_verifier> parse_scram_verifier(std::string_view text);
std::string serialize_scram_verifier(const scram_verifier& verifier);

/// PBKDF2 and the two HMACs: a millisecond per 4,096 iterations. Never call it on an event loop.
/// Errors: scram_iterations, bad_verifier (an empty salt), crypto_failure.
/// The password is normalised with SASLprep where it can be; otherwise it is taken as it is, as
/// PostgreSQL does.
result<scram_keys> derive_scram_keys(
    std::string_view password, std::string_view salt, int iterations
);
result<scram_verifier> make_scram_verifier(
    const scram_keys& keys, std::string_view salt, int iterations
);

/// A printable random nonce (24 base64 characters of 18 random bytes).
result<std::string> make_scram_nonce();

/// A verifier for a user that does not exist: the same salt for the same user each time (HMAC of
/// the name under a key of this process), so that an answer tells nothing. No password matches it.
result<scram_verifier> make_mock_verifier(std::string_view user, const scram_key& process_key);

inline constexpr std::string_view scram_mechanism = "SCRAM-SHA-256";
inline constexpr std::string_view scram_plus_mechanism = "SCRAM-SHA-256-PLUS";

/// The TLS connection below an exchange, as one end of it sees it. A man in the middle has two,
/// with a certificate of his own towards the client.
///
/// Source    RFC 5929 section 4 (tls-server-end-point); RFC 5802 section 6
struct scram_channel {
    /// The hash of the server's certificate. "": no TLS, or this end does not bind.
    std::string end_point;
    /// The mechanism is SCRAM-SHA-256-PLUS. Needs an end_point.
    bool is_bound = false;
};

/// The server's side of one exchange. Give it client messages in order; each answer is sent as
/// SASL data. After an error, or out of order, everything is bad_scram_message.
class scram_server {
public:
    /// With an end_point SCRAM-SHA-256-PLUS has been offered, whatever the client has chosen.
    scram_server(scram_verifier verifier, std::string nonce, scram_channel channel = {});

    /// client-first -> server-first. Errors: bad_scram_message, scram_channel_binding,
    /// scram_downgrade, bad_verifier (no salt or iterations, or a nonce that is not printable).
    result<std::string> on_client_first(std::string_view message);
    /// client-final -> server-final. Errors: bad_scram_message, scram_nonce_mismatch,
    /// scram_channel_binding, scram_wrong_binding, scram_wrong_proof, crypto_failure. The time
    /// taken does not depend on where the proof differs.
    result<std::string> on_client_final(std::string_view message);

    /// After on_client_final succeeded: the keys with which to log in to a server that has the same
    /// verifier.
    [[nodiscard]] const scram_keys& keys() const noexcept { return keys_; }

private:
    enum class step { client_first, client_final, finished };

    scram_verifier verifier_;
    std::string nonce_;
    scram_channel channel_;
    step step_ = step::client_first;  // an error ends the exchange
    std::string gs2_header_;
    std::string auth_message_;  // client-first-bare "," server-first
    std::string full_nonce_;
    scram_keys keys_;
};

/// The client's side of one exchange. After an error, or out of order, everything is
/// bad_scram_message.
class scram_client {
public:
    struct challenge {
        std::string salt;  // raw bytes
        int iterations = 0;
    };

    /// With an end_point that is not bound the server hears that we could bind, so that it refuses
    /// where somebody in between has kept its offer from us.
    explicit scram_client(std::string nonce, scram_channel channel = {});

    [[nodiscard]] std::string first_message() const;
    /// server-first -> what the keys must be derived from. Errors: bad_scram_message,
    /// scram_nonce_mismatch, scram_iterations.
    result<challenge> on_server_first(std::string_view message);
    /// client-final, once the keys are there.
    result<std::string> final_message(const scram_keys& keys);
    /// server-final. Errors: bad_scram_message, scram_wrong_signature, scram_server_error.
    result<void> on_server_final(std::string_view message);

    /// The server has proved that it knows the verifier. Until then AuthenticationOk must not be
    /// believed.
    [[nodiscard]] bool is_server_verified() const noexcept { return step_ == step::finished; }

    [[nodiscard]] bool is_bound() const noexcept { return channel_.is_bound; }

private:
    enum class step { server_first, final_message, server_final, finished, failed };

    [[nodiscard]] std::string_view gs2_header() const noexcept;

    std::string nonce_;
    scram_channel channel_;
    step step_ = step::server_first;  // an error ends the exchange
    std::string server_first_;
    std::string full_nonce_;
    scram_key server_signature_{};
};

/// "md5" and 32 hex digits: md5(password user), as pg_authid holds it.
result<std::string> make_md5_verifier(std::string_view password, std::string_view user);
/// The answer to AuthenticationMD5Password: "md5" and md5(verifier's digits, salt).
result<std::string> make_md5_response(std::string_view verifier, std::array<std::uint8_t, 4> salt);
bool is_md5_verifier(std::string_view text) noexcept;

/// Equal content, in a time that depends on the lengths only.
bool equal_in_constant_time(std::string_view a, std::string_view b) noexcept;

}  // namespace signalbox::wire
