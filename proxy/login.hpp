// What a client goes through before it is served: startup packet, TLS, authentication. Owned by its
// session and dropped when the client is in.
//
// An unknown user goes through the same steps as a known one, against a verifier that no password
// matches, and gets the same answer at the same point.
#pragma once

#include "backend/pool.hpp"
#include "proxy/runtime.hpp"
#include "rewrite/parameters.hpp"
#include "wire/error_response.hpp"
#include "wire/scram.hpp"
#include "wire/startup.hpp"

#include <array>
#include <memory>
#include <optional>
#include <string>
#include <vector>

namespace signalbox::proxy {

class session;
class worker;
struct pool_entry;
class auth_lookup;

class login {
public:
    login(session& owner, worker& home, std::string address, bool is_local);
    ~login();
    login(const login&) = delete;
    login& operator=(const login&) = delete;

    /// Startup packets. Takes the bytes of one packet and what follows it.
    void on_startup_bytes(std::string_view bytes);
    /// Messages of the authentication exchange.
    void on_auth_bytes(std::string_view bytes);
    /// False: the session ends.
    bool on_tls_ready();

    [[nodiscard]] const std::string& user() const noexcept { return user_; }

    [[nodiscard]] const std::string& database() const noexcept { return database_; }

    [[nodiscard]] const std::string& address() const noexcept { return address_; }

    [[nodiscard]] const rewrite::parameter_set& startup_parameters() const noexcept {
        return parameters_;
    }

    /// What to send before AuthenticationOk: NegotiateProtocolVersion has been sent; the SASL
    /// outcome has not.
    /// What the client has sent behind the login, without waiting for its answer.
    std::string take_input() noexcept { return std::exchange(input_, {}); }

    std::string take_farewell() { return std::move(farewell_); }

    /// The version that client and Signalbox speak, as the startup message writes it.
    [[nodiscard]] std::uint32_t protocol() const noexcept { return protocol_; }

private:
    void on_direct_tls();
    void on_ssl_request(bool more_follows);
    void on_startup_message(const wire::startup_message& msg);
    bool read_parameters(const wire::startup_message& msg);
    bool check_limits();
    void choose_method();
    [[nodiscard]] bool has_certificate_of_user(const name_map* map) const;
    void with_verifier(std::optional<std::string> stored);
    void begin_exchange();
    void on_message(std::string_view body);
    void on_password(std::string_view password);
    void on_sasl(std::string_view body);
    void scram_failed(const boost::system::error_code& why);
    void check_password_elsewhere(std::string password);
    void wrong_password(std::string_view cause);
    void authenticated();
    void refuse(
        std::string_view sqlstate,
        std::string message,
        std::string hint = {},
        std::string detail = {}
    );

    session& owner_;
    worker& home_;
    runtime_ptr runtime_;
    std::string address_;
    bool is_local_;
    std::uint32_t protocol_ = wire::protocol_3_0;
    bool ssl_asked_ = false;
    bool gss_asked_ = false;
    bool has_tls_ = false;
    bool is_direct_ = false;  // TLS from the first byte on
    std::string input_;
    std::string user_;
    std::string database_;
    rewrite::parameter_set parameters_;
    std::string replication_;  // as the client has asked for it; "" = an ordinary session
    std::optional<resolved_route> route_;
    auth_method method_ = auth_method::scram_sha_256;
    std::optional<wire::scram_verifier> scram_verifier_;
    std::string md5_verifier_;
    std::optional<std::string> plain_password_;
    bool is_known_ = false;
    std::array<std::uint8_t, 4> md5_salt_{};
    std::string end_point_;  // what SCRAM can be bound to, as offered; "" = nothing
    std::optional<wire::scram_server> scram_;
    bool scram_started_ = false;
    bool checking_ = false;
    backend::server_credentials credentials_;
    std::string farewell_;
    std::unique_ptr<auth_lookup> lookup_;
    std::shared_ptr<bool> alive_ = std::make_shared<bool>(true);
};

}  // namespace signalbox::proxy
