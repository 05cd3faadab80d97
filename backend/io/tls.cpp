#include "backend/io/tls.hpp"

#include <openssl/bio.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>

#include <algorithm>
#include <arpa/inet.h>
#include <array>
#include <cstring>
#include <stdexcept>

namespace signalbox::backend {

std::string last_tls_error() {
    const auto code = ERR_peek_last_error();
    ERR_clear_error();
    if (code == 0) {
        return "unknown TLS error";
    }
    const char* reason = ERR_reason_error_string(code);
    return reason != nullptr ? reason : "TLS error " + std::to_string(code);
}

/// The callbacks of the memory BIO, which need the engine's insides.
struct tls_engine::bio_access {
    static int read(BIO* bio, char* room, int size) {
        auto& engine = *static_cast<tls_engine*>(BIO_get_data(bio));
        BIO_clear_retry_flags(bio);
        if (engine.in_.empty()) {
            BIO_set_retry_read(bio);
            return -1;
        }
        const auto n = std::min(engine.in_.size(), static_cast<std::size_t>(size));
        std::memcpy(room, engine.in_.data(), n);
        engine.in_.remove_prefix(n);
        return static_cast<int>(n);
    }

    static int write(BIO* bio, const char* bytes, int size) {
        auto& engine = *static_cast<tls_engine*>(BIO_get_data(bio));
        engine.out_->append(bytes, static_cast<std::size_t>(size));
        return size;
    }

    static long control(BIO* /*bio*/, int command, long /*number*/, void* /*pointer*/) {
        return command == BIO_CTRL_FLUSH ? 1 : 0;
    }

    static int create(BIO* bio) {
        BIO_set_init(bio, 1);
        return 1;
    }

    static BIO_METHOD* method() {
        static BIO_METHOD* const made = [] {
            BIO_METHOD* m = BIO_meth_new(BIO_get_new_index() | BIO_TYPE_SOURCE_SINK, "memory");
            BIO_meth_set_read(m, &bio_access::read);
            BIO_meth_set_write(m, &bio_access::write);
            BIO_meth_set_ctrl(m, &bio_access::control);
            BIO_meth_set_create(m, &bio_access::create);
            return m;
        }();
        return made;
    }
};

namespace {

[[noreturn]] void fail(const std::string& what) {
    throw std::runtime_error(what + ": " + last_tls_error());
}

/// Plaintext of one record towards a client, as PostgreSQL sends it. libpq makes room for so much
/// before it reads; of a larger record a part stays inside OpenSSL, where who waits for the socket
/// with select() or poll() never sees it (pg_basebackup, the asynchronous API of drivers).
constexpr long client_record_bytes = 8192;

/// As in the handshake: the length, and the name.
constexpr std::string_view alpn_list = "\x0apostgresql";
constexpr std::string_view alpn_name = alpn_list.substr(1);

int select_alpn(
    SSL* /*ssl*/,
    const unsigned char** out,
    unsigned char* out_size,
    const unsigned char* in,
    unsigned in_size,
    void* /*argument*/
) {
    for (unsigned at = 0; at < in_size; at += 1U + in[at]) {
        const unsigned size = std::min<unsigned>(in[at], in_size - at - 1);
        const std::string_view name{reinterpret_cast<const char*>(in + at + 1), size};
        if (name == alpn_name) {
            *out = in + at + 1;
            *out_size = static_cast<unsigned char>(size);
            return SSL_TLSEXT_ERR_OK;
        }
    }
    return SSL_TLSEXT_ERR_ALERT_FATAL;
}

void set_common(SSL_CTX* ctx) {
    SSL_CTX_set_mode(
        ctx,
        SSL_MODE_RELEASE_BUFFERS | SSL_MODE_ENABLE_PARTIAL_WRITE |
            SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER
    );
    SSL_CTX_set_options(ctx, SSL_OP_NO_RENEGOTIATION | SSL_OP_NO_COMPRESSION | SSL_OP_NO_TICKET);
    SSL_CTX_set_session_cache_mode(ctx, SSL_SESS_CACHE_OFF);
    // A ticket would cost a signature-free but not allocation-free message per login, and libpq
    // never resumes.
    SSL_CTX_set_num_tickets(ctx, 0);
    SSL_CTX_set_min_proto_version(ctx, TLS1_2_VERSION);
    SSL_CTX_set_read_ahead(ctx, 0);
}

void use_key_pair(SSL_CTX* ctx, const std::string& certificate, const std::string& key) {
    if (SSL_CTX_use_certificate_chain_file(ctx, certificate.c_str()) != 1) {
        fail("cannot read the certificate \"" + certificate + "\"");
    }
    if (key.starts_with("-----BEGIN")) {
        const std::unique_ptr<BIO, decltype(&BIO_free)> bio{
            BIO_new_mem_buf(key.data(), static_cast<int>(key.size())), &BIO_free};
        const std::unique_ptr<EVP_PKEY, decltype(&EVP_PKEY_free)> parsed{
            PEM_read_bio_PrivateKey(bio.get(), nullptr, nullptr, nullptr), &EVP_PKEY_free};
        if (!parsed || SSL_CTX_use_PrivateKey(ctx, parsed.get()) != 1) {
            fail("cannot read the private key");
        }
    } else if (SSL_CTX_use_PrivateKey_file(ctx, key.c_str(), SSL_FILETYPE_PEM) != 1) {
        fail("cannot read the private key \"" + key + "\"");
    }
    if (SSL_CTX_check_private_key(ctx) != 1) {
        fail("the private key does not match the certificate \"" + certificate + "\"");
    }
}

}  // namespace

ssl_ctx_ptr make_tls_server_context(const tls_server_settings& settings) {
    ssl_ctx_ptr ctx{SSL_CTX_new(TLS_server_method())};
    if (!ctx) {
        fail("cannot make a TLS context");
    }
    set_common(ctx.get());
    SSL_CTX_set_options(ctx.get(), SSL_OP_CIPHER_SERVER_PREFERENCE);
    SSL_CTX_set_alpn_select_cb(ctx.get(), &select_alpn, nullptr);
    SSL_CTX_ctrl(ctx.get(), SSL_CTRL_SET_MAX_SEND_FRAGMENT, client_record_bytes, nullptr);
    if (settings.tls_1_3_only) {
        SSL_CTX_set_min_proto_version(ctx.get(), TLS1_3_VERSION);
    }
    use_key_pair(ctx.get(), settings.certificate, settings.key);
    if (!settings.client_ca.empty()) {
        if (SSL_CTX_load_verify_locations(ctx.get(), settings.client_ca.c_str(), nullptr) != 1) {
            fail("cannot read the client CA \"" + settings.client_ca + "\"");
        }
        SSL_CTX_set_client_CA_list(ctx.get(), SSL_load_client_CA_file(settings.client_ca.c_str()));
        SSL_CTX_set_verify(
            ctx.get(),
            SSL_VERIFY_PEER | (settings.require_client ? SSL_VERIFY_FAIL_IF_NO_PEER_CERT : 0),
            nullptr
        );
    }
    return ctx;
}

ssl_ctx_ptr make_tls_client_context(const tls_client_settings& settings) {
    ssl_ctx_ptr ctx{SSL_CTX_new(TLS_client_method())};
    if (!ctx) {
        fail("cannot make a TLS context");
    }
    set_common(ctx.get());
    // Zero is success here.
    if (SSL_CTX_set_alpn_protos(
            ctx.get(),
            reinterpret_cast<const unsigned char*>(alpn_list.data()),
            static_cast<unsigned>(alpn_list.size())
        ) != 0) {
        fail("cannot ask for the protocol");
    }
    if (!settings.certificate.empty()) {
        use_key_pair(ctx.get(), settings.certificate, settings.key);
    }
    if (!settings.ca.empty()) {
        if (SSL_CTX_load_verify_locations(ctx.get(), settings.ca.c_str(), nullptr) != 1) {
            fail("cannot read the CA \"" + settings.ca + "\"");
        }
        SSL_CTX_set_verify(ctx.get(), SSL_VERIFY_PEER, nullptr);
    }
    return ctx;
}

tls_engine::tls_engine(
    SSL_CTX& context, bool is_server, const std::string& server_name, bool check_name
)
    : ssl_(SSL_new(&context)) {
    BIO* const bio = ssl_ ? BIO_new(bio_access::method()) : nullptr;
    if (bio == nullptr) {
        throw std::bad_alloc{};
    }
    BIO_set_data(bio, this);
    SSL_set_bio(ssl_.get(), bio, bio);
    if (is_server) {
        SSL_set_accept_state(ssl_.get());
        return;
    }
    SSL_set_connect_state(ssl_.get());
    if (server_name.empty()) {
        return;
    }
    unsigned char address[16];
    const bool is_address = inet_pton(AF_INET, server_name.c_str(), address) == 1 ||
                            inet_pton(AF_INET6, server_name.c_str(), address) == 1;
    if (!is_address) {
        // SSL_set_tlsext_host_name() without the C cast that the macro makes.
        std::string name = server_name;
        SSL_ctrl(ssl_.get(), SSL_CTRL_SET_TLSEXT_HOSTNAME, TLSEXT_NAMETYPE_host_name, name.data());
    }
    if (check_name) {
        X509_VERIFY_PARAM* const param = SSL_get0_param(ssl_.get());
        if (is_address) {
            X509_VERIFY_PARAM_set1_ip_asc(param, server_name.c_str());
        } else {
            X509_VERIFY_PARAM_set1_host(param, server_name.c_str(), 0);
        }
    }
}

tls_engine::state tls_engine::translate(int rc) const noexcept {
    switch (SSL_get_error(ssl_.get(), rc)) {
        case SSL_ERROR_NONE:
            return state::ready;
        case SSL_ERROR_WANT_READ:
        case SSL_ERROR_WANT_WRITE:
            return state::again;
        case SSL_ERROR_ZERO_RETURN:
            return state::closed;
        default:
            return state::failed;
    }
}

tls_engine::state tls_engine::handshake(std::string& out) {
    out_ = &out;
    ERR_clear_error();
    return translate(SSL_do_handshake(ssl_.get()));
}

tls_engine::decrypted tls_engine::decrypt(char* room, std::size_t size, std::string& out) {
    out_ = &out;
    ERR_clear_error();
    decrypted done;
    while (done.bytes < size) {
        std::size_t n = 0;
        const int rc = SSL_read_ex(ssl_.get(), room + done.bytes, size - done.bytes, &n);
        if (rc != 1) {
            done.status = translate(rc);
            return done;
        }
        done.bytes += n;
    }
    done.status = state::ready;
    return done;
}

bool tls_engine::encrypt(std::string_view plain, std::string& out) {
    out_ = &out;
    ERR_clear_error();
    while (!plain.empty()) {
        std::size_t n = 0;
        if (SSL_write_ex(ssl_.get(), plain.data(), plain.size(), &n) != 1) {
            return false;
        }
        plain.remove_prefix(n);
    }
    return true;
}

void tls_engine::close(std::string& out) {
    out_ = &out;
    ERR_clear_error();
    SSL_shutdown(ssl_.get());
    ERR_clear_error();
}

bool tls_engine::has_alpn() const noexcept {
    const unsigned char* name = nullptr;
    unsigned size = 0;
    SSL_get0_alpn_selected(ssl_.get(), &name, &size);
    return std::string_view{reinterpret_cast<const char*>(name), size} == alpn_name;
}

std::string tls_engine::peer_common_name() const {
    const std::unique_ptr<X509, decltype(&X509_free)> certificate{
        SSL_get1_peer_certificate(ssl_.get()), &X509_free};
    if (!certificate || SSL_get_verify_result(ssl_.get()) != X509_V_OK) {
        return {};
    }
    X509_NAME* const subject = X509_get_subject_name(certificate.get());
    const int at = X509_NAME_get_index_by_NID(subject, NID_commonName, -1);
    if (at < 0) {
        return {};
    }
    unsigned char* utf8 = nullptr;
    const int size =
        ASN1_STRING_to_UTF8(&utf8, X509_NAME_ENTRY_get_data(X509_NAME_get_entry(subject, at)));
    if (size < 0) {
        return {};
    }
    std::string name{reinterpret_cast<char*>(utf8), static_cast<std::size_t>(size)};
    OPENSSL_free(utf8);
    // A NUL inside a name is an attack on C code that compares it.
    return name.find('\0') == std::string::npos ? name : std::string{};
}

std::string tls_engine::server_end_point() const {
    const std::unique_ptr<X509, decltype(&X509_free)> peer{
        SSL_is_server(ssl_.get()) == 1 ? nullptr : SSL_get1_peer_certificate(ssl_.get()),
        &X509_free};
    X509* const certificate =
        SSL_is_server(ssl_.get()) == 1 ? SSL_get_certificate(ssl_.get()) : peer.get();
    int hash = NID_undef;
    if (certificate == nullptr ||
        X509_get_signature_info(certificate, &hash, nullptr, nullptr, nullptr) != 1) {
        ERR_clear_error();
        return {};
    }
    if (hash == NID_md5 || hash == NID_sha1) {
        hash = NID_sha256;  // the RFC's rule for hashes that are too weak
    }
    const EVP_MD* const digest = EVP_get_digestbynid(hash);
    std::array<unsigned char, EVP_MAX_MD_SIZE> out{};
    unsigned size = 0;
    if (digest == nullptr || X509_digest(certificate, digest, out.data(), &size) != 1) {
        ERR_clear_error();
        return {};
    }
    return {reinterpret_cast<const char*>(out.data()), size};
}

}  // namespace signalbox::backend
