#include "proxy/login.hpp"

#include "parser/lexer.hpp"
#include "proxy/auth_lookup.hpp"
#include "proxy/log.hpp"
#include "proxy/session.hpp"
#include "proxy/worker.hpp"
#include "wire/limits.hpp"
#include "wire/messages.hpp"

#include <openssl/crypto.h>
#include <openssl/rand.h>

#include <algorithm>
#include <cstring>

namespace signalbox::proxy {

using auth_type = wire::authentication_request::type;

namespace {

/// As PostgreSQL reads one: a word or what is unmistakably its beginning, in any case.
std::optional<bool> parse_boolean(std::string_view value) {
    const auto begins = [&](std::string_view word, std::size_t least) {
        return value.size() >= least && value.size() <= word.size() &&
               parser::equals_ignoring_case(value, word.substr(0, value.size()));
    };
    if (begins("true", 1) || begins("yes", 1) || begins("on", 2) || value == "1") {
        return true;
    }
    if (begins("false", 1) || begins("no", 1) || begins("off", 2) || value == "0") {
        return false;
    }
    return std::nullopt;
}

}  // namespace

login::login(session& owner, worker& home, std::string address, bool is_local)
    : owner_(owner),
      home_(home),
      runtime_(home.current()),
      address_(std::move(address)),
      is_local_(is_local) {}

login::~login() {
    *alive_ = false;
    if (plain_password_) {
        auto& password = *plain_password_;
        OPENSSL_cleanse(password.data(), password.size());
    }
}

void login::refuse(
    std::string_view sqlstate, std::string message, std::string hint, std::string detail
) {
    log::info(
        "login refused",
        {{"session", owner_.id()},
         {"user", user_},
         {"database", database_},
         {"address", address_},
         {"cause", message}}
    );
    owner_.fatal(
        {.severity = "FATAL",
         .sqlstate = std::string{sqlstate},
         .message = std::move(message),
         .detail = std::move(detail),
         .hint = std::move(hint)}
    );
}

void login::on_startup_bytes(std::string_view bytes) {
    input_.append(bytes);
    if (!has_tls_ && !ssl_asked_ && !gss_asked_ &&
        input_.starts_with(backend::tls_handshake_record)) {
        on_direct_tls();
        return;
    }
    const auto size = wire::startup_packet_size(input_);
    if (!size) {
        log::info(
            "login refused",
            {{"session", owner_.id()},
             {"address", address_},
             {"cause", "invalid length of startup packet"}}
        );
        owner_.begin_closing();  // as PostgreSQL does: whoever this is does not speak the protocol
        return;
    }
    if (*size == 0 || input_.size() < *size) {
        return;
    }
    const std::string packet_bytes = input_.substr(0, *size);
    input_.erase(0, *size);
    const auto packet = wire::parse_startup_packet(packet_bytes);
    if (!packet) {
        if (wire::load_u32(packet_bytes.data() + 4) == wire::cancel_request_code) {
            owner_.begin_closing();  // no answer tells anything about keys
            return;
        }
        refuse(
            wire::sqlstate::protocol_violation,
            packet.error() == wire::wire_errc::truncated ||
                    packet.error() == wire::wire_errc::trailing_bytes
                ? "invalid startup packet layout: expected terminator as last byte"
                : "invalid length of startup packet"
        );
        return;
    }
    if (std::holds_alternative<wire::ssl_request>(*packet) && !ssl_asked_) {
        on_ssl_request(!input_.empty());
        return;
    }
    if (std::holds_alternative<wire::gssenc_request>(*packet) && !gss_asked_ &&
        (!has_tls_ || is_direct_)) {
        gss_asked_ = true;
        if (!input_.empty()) {
            refuse(
                wire::sqlstate::protocol_violation,
                "received unencrypted data after GSSAPI encryption request",
                {},
                "This could be either a client-software bug or evidence of an attempted "
                "man-in-the-middle attack."
            );
            return;
        }
        owner_.send_to_client("N");
        return;
    }
    if (const auto* const cancel = std::get_if<wire::cancel_request>(&*packet)) {
        home_.route_cancel(
            {.process_id = cancel->process_id, .secret = std::string{cancel->secret}}, owner_.id()
        );
        return;
    }
    if (const auto* const msg = std::get_if<wire::startup_message>(&*packet)) {
        on_startup_message(*msg);
        return;
    }
    // The second SSLRequest or GSSENCRequest: PostgreSQL takes it for a version, and so do we.
    const auto code = wire::load_u32(packet_bytes.data() + 4);
    refuse(
        wire::sqlstate::feature_not_supported,
        "unsupported frontend protocol " + std::to_string(code >> 16U) + "." +
            std::to_string(code & 0xffffU) + ": server supports 3.0 to 3.2"
    );
}

/// TLS without asking, as PostgreSQL 17's sslnegotiation=direct has it. Who is refused is told
/// nothing, since nothing says yet that it would understand us.
void login::on_direct_tls() {
    if (is_local_ || runtime_->client_tls() == nullptr) {
        log::info(
            "login refused",
            {{"session", owner_.id()},
             {"address", address_},
             {"cause", "direct TLS, which is not to be had here"}}
        );
        owner_.begin_closing();
        return;
    }
    const std::string hello = std::exchange(input_, {});
    is_direct_ = true;
    owner_.client_.start_tls(*runtime_->client_tls(), true, "", false);
    owner_.phase_ = session::phase::tls_handshake;
    std::string_view early;
    const auto status = owner_.client_.handshake(hello, home_.io().scratch, early);
    owner_.on_handshake(status, early);
}

void login::on_ssl_request(bool more_follows) {
    ssl_asked_ = true;
    if (more_follows) {
        refuse(
            wire::sqlstate::protocol_violation,
            "received unencrypted data after SSL request",
            {},
            "This could be either a client-software bug or evidence of an attempted "
            "man-in-the-middle attack."
        );
        return;
    }
    if (is_local_ || is_direct_ || runtime_->client_tls() == nullptr) {
        owner_.send_to_client("N");
        return;
    }
    if (owner_.send_to_client("S")) {
        owner_.client_.start_tls(*runtime_->client_tls(), true, "", false);
        owner_.phase_ = session::phase::tls_handshake;
    }
}

bool login::on_tls_ready() {
    has_tls_ = true;
    if (is_direct_ && !owner_.client_.tls()->has_alpn()) {
        log::info(
            "login refused",
            {{"session", owner_.id()},
             {"address", address_},
             {"cause", "direct TLS without ALPN protocol negotiation extension"}}
        );
        owner_.begin_closing();
        return false;
    }
    return true;
}

void login::on_startup_message(const wire::startup_message& msg) {
    if (msg.major != 3) {
        refuse(
            wire::sqlstate::feature_not_supported,
            "unsupported frontend protocol " + std::to_string(msg.major) + "." +
                std::to_string(msg.minor) + ": server supports 3.0 to 3.2"
        );
        return;
    }
    if (!read_parameters(msg)) {
        return;
    }
    const auto& tls = runtime_->config().tls;
    const bool needs_tls = tls.mode == client_tls_mode::require ||
                           tls.mode == client_tls_mode::verify_ca ||
                           tls.mode == client_tls_mode::verify_full;
    if (needs_tls && !has_tls_ && !is_local_) {
        refuse(
            wire::sqlstate::invalid_authorization,
            "connection requires TLS",
            "Connect with sslmode=require or stronger."
        );
        return;
    }
    if (!check_limits()) {
        return;
    }
    route_ = runtime_->resolve(database_);
    owner_.phase_ = session::phase::authenticating;
    choose_method();
    if (!input_.empty() && owner_.phase_ == session::phase::authenticating) {
        on_auth_bytes({});
    }
}

bool login::read_parameters(const wire::startup_message& msg) {
    std::vector<std::string_view> unknown;
    std::vector<wire::option_setting> options;
    rewrite::parameter_set direct;
    for (const auto& [name, value] : msg.parameters) {
        if (name == "user") {
            user_ = value;
        } else if (name == "database") {
            database_ = value;
        } else if (name == "options") {
            auto parsed = wire::parse_startup_options(value);
            if (const auto* const error = std::get_if<wire::options_error>(&parsed)) {
                refuse(wire::sqlstate::syntax_error, error->message);
                return false;
            }
            options = std::get<0>(std::move(parsed));
        } else if (name == "replication") {
            const auto wanted = value == "database" ? true : parse_boolean(value);
            if (!wanted) {
                refuse(
                    wire::sqlstate::invalid_parameter_value,
                    R"(invalid value for parameter "replication": ")" + std::string{value} + '"',
                    R"(Valid values are: "false", 0, "true", 1, "database".)"
                );
                return false;
            }
            replication_ = *wanted ? value : std::string_view{};
        } else if (name.starts_with("_pq_.")) {
            unknown.push_back(name);
        } else {
            direct.set(rewrite::parameter_key(name), value);
        }
    }
    if (user_.empty()) {
        refuse(
            wire::sqlstate::invalid_authorization,
            "no PostgreSQL user name specified in startup packet"
        );
        return false;
    }
    if (database_.empty()) {
        database_ = user_;
    }
    for (const auto& option : options) {
        parameters_.set(rewrite::parameter_key(option.name), option.value);
    }
    for (const auto& [name, value] : direct.items()) {
        parameters_.set(name, value);
    }
    const auto asked = wire::protocol_3_0 + msg.minor;
    protocol_ = std::min(asked, wire::newest_protocol);
    if (asked > protocol_ || !unknown.empty()) {
        std::string answer;
        wire::write_negotiate_protocol_version(answer, protocol_, unknown);
        return owner_.send_to_client(answer);
    }
    return true;
}

bool login::check_limits() {
    auto& shared = home_.shared();
    const auto& limits = runtime_->config().listen;
    owner_.admitted_ = true;
    if (shared.clients.fetch_add(1) >= limits.max_clients) {
        refuse(
            wire::sqlstate::too_many_connections,
            "sorry, too many clients already",
            "The limit is max_clients in the section [listen]."
        );
        return false;
    }
    if (limits.max_clients_per_user == 0 && limits.max_clients_per_database == 0 &&
        limits.max_clients_per_address == 0) {
        return true;
    }
    owner_.counted_ = std::make_unique<session::counted_names>();
    auto& counted = *owner_.counted_;
    const auto add = [&](client_counts& counts,
                         const std::string& name,
                         std::size_t limit,
                         std::string& kept,
                         std::string_view what) {
        if (limit == 0) {
            return true;
        }
        if (!counts.try_add(name, limit)) {
            refuse(
                wire::sqlstate::too_many_connections,
                "too many connections for " + std::string{what} + " \"" + name + "\""
            );
            return false;
        }
        kept = name;
        return true;
    };
    return add(shared.per_user, user_, limits.max_clients_per_user, counted.user, "role") &&
           add(shared.per_database,
               database_,
               limits.max_clients_per_database,
               counted.database,
               "database") &&
           add(shared.per_address,
               address_,
               limits.max_clients_per_address,
               counted.address,
               "address");
}

/// By its common name, or by what a map says of that.
bool login::has_certificate_of_user(const name_map* map) const {
    const std::string name = has_tls_ ? owner_.client_.tls()->peer_common_name() : std::string{};
    if (name.empty() || map == nullptr) {
        return name == user_;
    }
    if (map->allows(name, user_)) {
        return true;
    }
    log::info(
        "no entry of [[auth.maps]] fits",
        {{"session", owner_.id()}, {"user", user_}, {"certificate", name}, {"address", address_}}
    );
    return false;
}

void login::choose_method() {
    const auto rule = runtime_->rule_for({address_, is_local_, has_tls_}, database_, user_);
    method_ = rule.method;
    if (method_ == auth_method::reject) {
        refuse(
            wire::sqlstate::invalid_authorization,
            "no entry of [[auth.rules]] lets user \"" + user_ + "\" connect to database \"" +
                database_ + "\""
        );
        return;
    }
    if (method_ == auth_method::cert) {
        if (!has_certificate_of_user(rule.map)) {
            refuse(
                wire::sqlstate::invalid_authorization,
                "certificate authentication failed for user \"" + user_ + "\""
            );
            return;
        }
        authenticated();
        return;
    }
    if (runtime_->config().tls.mode == client_tls_mode::verify_full && !is_local_ &&
        !has_certificate_of_user(nullptr)) {
        refuse(
            wire::sqlstate::invalid_authorization,
            "the client certificate's common name is not the user \"" + user_ + "\""
        );
        return;
    }
    if (method_ == auth_method::trust) {
        if (const auto* const known = runtime_->find_user(user_); known != nullptr) {
            credentials_.password = known->settings->password;
        }
        authenticated();
        return;
    }
    if (const auto* const known = runtime_->find_user(user_); known != nullptr) {
        is_known_ = true;
        scram_verifier_ = known->scram;
        plain_password_ = known->settings->password;
        if (wire::is_md5_verifier(known->settings->verifier)) {
            md5_verifier_ = known->settings->verifier;
        }
        begin_exchange();
        return;
    }
    auto* const pool = route_ ? home_.find_auth_pool(*route_, database_) : nullptr;
    if (pool == nullptr) {
        begin_exchange();
        return;
    }
    lookup_ = std::make_unique<auth_lookup>(
        home_,
        *pool,
        route_->settings->auth_query,
        user_,
        [this, alive = alive_](const auth_lookup::answer& answer) {
            if (!*alive) {
                return;
            }
            if (!answer.error.empty()) {
                log::warn(
                    "auth_query failed",
                    {{"session", owner_.id()},
                     {"user", user_},
                     {"database", database_},
                     {"cause", answer.error}}
                );
            }
            lookup_.reset();
            with_verifier(answer.stored);
        }
    );
    lookup_->start();
}

void login::with_verifier(std::optional<std::string> stored) {
    if (stored) {
        if (const auto parsed = wire::parse_scram_verifier(*stored)) {
            scram_verifier_ = *parsed;
            is_known_ = true;
        } else if (wire::is_md5_verifier(*stored)) {
            md5_verifier_ = *stored;
            is_known_ = true;
        }
    }
    begin_exchange();
    if (!input_.empty() && owner_.phase_ == session::phase::authenticating) {
        on_auth_bytes({});
    }
}

/// The first message towards the client. What a user has decides as in PostgreSQL: md5 turns into
/// SCRAM where only a SCRAM verifier is known. An unknown user gets the method that a known one
/// would.
void login::begin_exchange() {
    std::string out;
    if (method_ == auth_method::md5 && scram_verifier_ && !plain_password_ &&
        md5_verifier_.empty()) {
        method_ = auth_method::scram_sha_256;
    }
    switch (method_) {
        case auth_method::password:
            wire::write_authentication(out, auth_type::cleartext_password);
            break;
        case auth_method::md5:
            if (RAND_bytes(md5_salt_.data(), static_cast<int>(md5_salt_.size())) != 1) {
                refuse(wire::sqlstate::internal_error, "no random numbers to be had");
                return;
            }
            wire::write_authentication(
                out,
                auth_type::md5_password,
                {reinterpret_cast<const char*>(md5_salt_.data()), md5_salt_.size()}
            );
            break;
        default: {
            if (has_tls_) {
                end_point_ = owner_.client_.tls()->server_end_point();
            }
            std::string mechanisms;
            if (!end_point_.empty()) {
                mechanisms.append(wire::scram_plus_mechanism).push_back('\0');
            }
            mechanisms.append(wire::scram_mechanism).append(2, '\0');
            wire::write_authentication(out, auth_type::sasl, mechanisms);
            break;
        }
    }
    owner_.send_to_client(out);
}

void login::on_auth_bytes(std::string_view bytes) {
    input_.append(bytes);
    if ((checking_ || lookup_) && input_.size() > wire::max_auth_message_bytes) {
        refuse(wire::sqlstate::protocol_violation, "received data before the login was answered");
        return;
    }
    while (!checking_ && !lookup_ && owner_.phase_ == session::phase::authenticating &&
           input_.size() >= wire::header_bytes) {
        const std::size_t length = wire::load_u32(input_.data() + 1);
        if (input_[0] != wire::client_message::password) {
            refuse(
                wire::sqlstate::protocol_violation,
                "expected password response, got message type " +
                    std::to_string(static_cast<unsigned char>(input_[0]))
            );
            return;
        }
        if (length < 4 || length > wire::max_auth_message_bytes) {
            refuse(wire::sqlstate::protocol_violation, "invalid message length");
            return;
        }
        if (input_.size() < length + 1) {
            return;
        }
        std::string body = input_.substr(wire::header_bytes, length - 4);
        input_.erase(0, length + 1);
        on_message(body);
        OPENSSL_cleanse(body.data(), body.size());
    }
}

void login::on_message(std::string_view body) {
    if (method_ == auth_method::scram_sha_256) {
        on_sasl(body);
        return;
    }
    const auto password = wire::parse_password(body);
    if (!password) {
        refuse(wire::sqlstate::protocol_violation, "invalid password packet size");
        return;
    }
    on_password(*password);
}

void login::wrong_password(std::string_view cause) {
    log::info(
        "login refused",
        {{"session", owner_.id()},
         {"user", user_},
         {"database", database_},
         {"address", address_},
         {"cause", cause}}
    );
    owner_.fatal(
        {.severity = "FATAL",
         .sqlstate = std::string{wire::sqlstate::invalid_password},
         .message = "password authentication failed for user \"" + user_ + "\"",
         .detail = {},
         .hint = {}}
    );
}

void login::on_password(std::string_view password) {
    if (method_ == auth_method::md5) {
        if (plain_password_) {
            const auto made = wire::make_md5_verifier(*plain_password_, user_);
            md5_verifier_ = made ? *made : std::string{};
        }
        // An unknown user's digest is computed as well, over something that cannot be met.
        const auto mock = wire::make_md5_verifier(password, user_);
        const auto& verifier = md5_verifier_.empty() && mock ? *mock : md5_verifier_;
        const auto expected = wire::make_md5_response(verifier, md5_salt_);
        const bool equal = expected && wire::equal_in_constant_time(*expected, password);
        if (!is_known_ || md5_verifier_.empty() || !equal) {
            wrong_password(is_known_ ? "wrong password" : "unknown user");
            return;
        }
        credentials_.password = plain_password_;
        authenticated();
        return;
    }
    if (password.empty()) {
        wrong_password("empty password");
        return;
    }
    check_password_elsewhere(std::string{password});
}

/// A cleartext password against a verifier costs PBKDF2: on another thread, for unknown users, too.
void login::check_password_elsewhere(std::string password) {
    checking_ = true;
    auto mock = wire::make_mock_verifier(user_, home_.shared().mock_key);
    if (!mock) {
        refuse(wire::sqlstate::internal_error, "cannot check the password");
        return;
    }
    const bool usable = is_known_ && scram_verifier_.has_value();
    auto& shared = home_.shared();
    if (usable && shared.passwords.contains(shared.mock_key, *scram_verifier_, password)) {
        checking_ = false;
        credentials_.password = std::move(password);
        authenticated();
        return;
    }
    shared.jobs.submit([this,
                        alive = alive_,
                        &home = home_,
                        verifier = usable ? *scram_verifier_ : *mock,
                        md5 = md5_verifier_,
                        user = user_,
                        usable,
                        password = std::move(password)]() mutable {
        bool right = false;
        const auto keys = wire::derive_scram_keys(password, verifier.salt, verifier.iterations);
        if (usable && keys) {
            right = wire::equal_in_constant_time(
                {reinterpret_cast<const char*>(keys->server_key.data()), keys->server_key.size()},
                {reinterpret_cast<const char*>(verifier.server_key.data()),
                 verifier.server_key.size()}
            );
            if (right) {
                home.shared().passwords.remember(home.shared().mock_key, verifier, password);
            }
        } else if (!md5.empty()) {
            const auto made = wire::make_md5_verifier(password, user);
            right = made && wire::equal_in_constant_time(*made, md5);
        }
        home.post([this, alive, right, password = std::move(password)]() mutable {
            if (!*alive) {
                return;
            }
            checking_ = false;
            if (!right) {
                wrong_password(is_known_ ? "wrong password" : "unknown user");
                return;
            }
            credentials_.password = std::move(password);
            authenticated();
        });
    });
}

/// In PostgreSQL's words.
void login::scram_failed(const boost::system::error_code& why) {
    if (why == wire::wire_errc::scram_downgrade) {
        refuse(
            wire::sqlstate::invalid_authorization,
            "SCRAM channel binding negotiation error",
            {},
            "The client supports SCRAM channel binding but thinks the server does not.  However, "
            "this server does support channel binding."
        );
    } else if (why == wire::wire_errc::scram_wrong_binding) {
        refuse(wire::sqlstate::invalid_authorization, "SCRAM channel binding check failed");
    } else {
        refuse(wire::sqlstate::protocol_violation, "malformed SCRAM message", {}, why.message());
    }
}

void login::on_sasl(std::string_view body) {
    std::string out;
    if (!scram_started_) {
        const auto initial = wire::parse_sasl_initial_response(body);
        if (!initial) {
            refuse(wire::sqlstate::protocol_violation, "invalid SASL authentication message");
            return;
        }
        const bool is_bound =
            !end_point_.empty() && initial->mechanism == wire::scram_plus_mechanism;
        if (!is_bound && initial->mechanism != wire::scram_mechanism) {
            refuse(
                wire::sqlstate::protocol_violation,
                "client selected an invalid SASL authentication mechanism"
            );
            return;
        }
        auto verifier = is_known_ && scram_verifier_
                            ? wire::result<wire::scram_verifier>{*scram_verifier_}
                            : wire::make_mock_verifier(user_, home_.shared().mock_key);
        auto nonce = wire::make_scram_nonce();
        if (!verifier || !nonce) {
            refuse(wire::sqlstate::internal_error, "cannot begin the SCRAM exchange");
            return;
        }
        scram_.emplace(
            std::move(*verifier),
            std::move(*nonce),
            wire::scram_channel{.end_point = end_point_, .is_bound = is_bound}
        );
        scram_started_ = true;
        const auto answer = scram_->on_client_first(initial->data);
        if (!answer) {
            scram_failed(answer.error());
            return;
        }
        wire::write_authentication(out, auth_type::sasl_continue, *answer);
        owner_.send_to_client(out);
        return;
    }
    const auto answer = scram_->on_client_final(body);
    if (!answer && answer.error() != wire::wire_errc::scram_wrong_proof) {
        scram_failed(answer.error());
        return;
    }
    if (!answer || !is_known_ || !scram_verifier_) {
        wrong_password(is_known_ ? "wrong password" : "unknown user");
        return;
    }
    wire::write_authentication(farewell_, auth_type::sasl_final, *answer);
    if (plain_password_) {
        credentials_.password =
            plain_password_;  // our salt is not the server's: its keys are others
    } else {
        credentials_.keys = scram_->keys();
    }
    authenticated();
}

void login::authenticated() {
    wire::write_authentication(farewell_, auth_type::ok);
    if (!route_) {
        refuse(
            wire::sqlstate::invalid_catalog_name, "database \"" + database_ + "\" does not exist"
        );
        return;
    }
    if (!replication_.empty() && route_->settings->mode != pool_mode::session) {
        refuse(
            wire::sqlstate::feature_not_supported,
            "replication connections cannot share server connections",
            "Connect to a database whose route has pool_mode = \"session\".",
            "The route of database \"" + database_ + "\" has another pool mode."
        );
        return;
    }
    auto* const pool = home_.find_pool(*route_, database_, user_);
    if (pool == nullptr) {
        refuse(
            wire::sqlstate::cannot_connect_now,
            "connection \"" + route_->connection_name + "\" does not exist",
            "The route of database \"" + database_ + "\" names a connection that is not configured."
        );
        return;
    }
    // A login by trust or certificate knows none: those of another login are still good.
    const bool knows_any = credentials_.password || credentials_.keys;
    if (!pool->own_credentials && (knows_any || !pool->pool->group().has_credentials())) {
        pool->pool->group().set_credentials(std::move(credentials_));
    }
    owner_.pool_ = pool;
    if (replication_.empty()) {
        owner_.join();
    } else {
        owner_.replicate(replication_);
    }
}

}  // namespace signalbox::proxy
