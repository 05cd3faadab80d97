// TLS without a socket: ciphertext in, ciphertext out, through OpenSSL's state machine.
//
// OpenSSL reads from and writes to memory that the stream gives it, so that a readiness event costs
// one recv() and one send() whatever the number of records, and nothing can stay inside OpenSSL
// unseen: decrypt() is called until it has no more, before the next wait.
//
// Memory    SSL_MODE_RELEASE_BUFFERS: an idle connection holds no record buffers.
// ALPN      "postgresql" (IANA's name, as PostgreSQL 17 has it): asked for towards servers, and
//           selected towards clients that ask. A client that asks for something else is refused
//           with the alert of RFC 7301.
#pragma once

#include <openssl/ssl.h>

#include <memory>
#include <string>
#include <string_view>

namespace signalbox::backend {

struct ssl_ctx_deleter {
    void operator()(SSL_CTX* p) const noexcept { SSL_CTX_free(p); }
};

using ssl_ctx_ptr = std::unique_ptr<SSL_CTX, ssl_ctx_deleter>;

/// The settings of a context towards clients. Paths; PEM.
struct tls_server_settings {
    std::string certificate;
    std::string key;
    std::string client_ca;        // "" = client certificates are not asked for
    bool require_client = false;  // verify-ca, verify-full
    bool tls_1_3_only = false;
};

/// The settings of a context towards servers.
struct tls_client_settings {
    std::string ca;  // a path; "" = the server's certificate is not checked
    std::string certificate;
    std::string key;  // a path or PEM text
};

/// Throws std::runtime_error with OpenSSL's own reason.
ssl_ctx_ptr make_tls_server_context(const tls_server_settings& settings);
ssl_ctx_ptr make_tls_client_context(const tls_client_settings& settings);

/// The first byte of a TLS handshake's record, which no startup packet begins with.
inline constexpr char tls_handshake_record = 0x16;

/// The last error of OpenSSL on this thread, as text.
std::string last_tls_error();

class tls_engine {
public:
    enum class state { again, ready, closed, failed };

    /// `server_name`: for SNI and, with `check_name`, for the certificate. "" towards clients.
    tls_engine(SSL_CTX& context, bool is_server, const std::string& server_name, bool check_name);

    /// Ciphertext to work on next; it must live until decrypt() or handshake() has answered
    /// `again`.
    void feed(std::string_view ciphertext) noexcept { in_ = ciphertext; }

    /// One step of the handshake. What must be sent is appended to `out`.
    state handshake(std::string& out);

    struct decrypted {
        std::size_t bytes = 0;
        state status = state::again;
    };

    /// Fills `room` from what was fed.
    decrypted decrypt(char* room, std::size_t size, std::string& out);
    /// Encrypts all of `plain`. False: the connection is broken.
    bool encrypt(std::string_view plain, std::string& out);
    /// Appends a close_notify.
    void close(std::string& out);

    /// Both ends mean PostgreSQL's protocol: what is not asked for in plain text (an SSLRequest)
    /// has to be said here, else another protocol's client or server could be made to talk to us.
    [[nodiscard]] bool has_alpn() const noexcept;

    /// The common name of the peer's verified certificate; "" without one.
    [[nodiscard]] std::string peer_common_name() const;

    /// The hash of the server's certificate, ours or the peer's, that SCRAM is bound to. "" where
    /// there is none to be had: its signature's algorithm has no hash of its own (Ed25519).
    ///
    /// Source    RFC 5929 section 4.1 (tls-server-end-point)
    [[nodiscard]] std::string server_end_point() const;

    [[nodiscard]] const char* version() const noexcept { return SSL_get_version(ssl_.get()); }

private:
    struct ssl_deleter {
        void operator()(SSL* p) const noexcept { SSL_free(p); }
    };

    struct bio_access;
    friend struct bio_access;

    [[nodiscard]] state translate(int rc) const noexcept;

    std::unique_ptr<SSL, ssl_deleter> ssl_;
    std::string_view in_;
    std::string* out_ = nullptr;
};

}  // namespace signalbox::backend
