// How a server connection logs in: passwords, md5, SCRAM, and what binds the login to its TLS
// connection.
#include "backend/server_connection.hpp"
#include "wire/bytes.hpp"
#include "wire/error_response.hpp"
#include "wire/messages.hpp"

#include <array>
#include <cstring>
#include <map>
#include <mutex>

namespace signalbox::backend {
namespace {

/// Keys derived from (password, salt, iterations), since every connection of a pool asks for the
/// same.
class derived_keys {
public:
    wire::result<wire::scram_keys> derive(
        const std::string& password, const std::string& salt, int iterations
    ) {
        const auto key =
            std::to_string(iterations) + ':' + std::to_string(salt.size()) + ':' + salt + password;
        {
            const std::lock_guard lock{mutex_};
            if (const auto it = known_.find(key); it != known_.end()) {
                return it->second;
            }
        }
        auto keys = wire::derive_scram_keys(password, salt, iterations);
        if (keys) {
            const std::lock_guard lock{mutex_};
            if (known_.size() >= max_entries) {
                known_.clear();
            }
            known_.emplace(key, *keys);
        }
        return keys;
    }

private:
    static constexpr std::size_t max_entries = 1024;
    std::mutex mutex_;
    std::map<std::string, wire::scram_keys> known_;
};

derived_keys& key_cache() {
    static derived_keys cache;
    return cache;
}

}  // namespace

/// Always false: nothing more is read.
bool server_connection::refuse_login(std::string message) {
    give_up(
        {.unreachable = false,
         .sqlstate = std::string{wire::sqlstate::invalid_authorization},
         .message = std::move(message),
         .detail = {}}
    );
    return false;
}

bool server_connection::on_authentication(std::string_view body) {
    using kind = wire::authentication_request::type;
    const auto request = wire::parse_authentication(body);
    if (!request) {
        give_up(
            {.unreachable = false,
             .sqlstate = std::string{wire::sqlstate::protocol_violation},
             .message = "malformed authentication request from the server",
             .detail = {}}
        );
        return false;
    }
    output_.clear();
    // libpq: nobody who is not the server of the TLS connection may learn a password, nor let us
    // in.
    if (requires_binding() &&
        (request->kind == kind::cleartext_password || request->kind == kind::md5_password)) {
        return refuse_login(
            "channel binding required but not supported by server's authentication request"
        );
    }
    switch (request->kind) {
        case kind::ok:
            if (scram_ && !scram_->is_server_verified()) {
                return refuse_login("the server could not prove that it knows the password (SCRAM)"
                );
            }
            if (requires_binding() && !(scram_ && scram_->is_bound())) {
                return refuse_login(
                    "channel binding required, but server authenticated client "
                    "without channel binding"
                );
            }
            return true;
        case kind::cleartext_password:
            if (!credentials_.password) {
                return refuse_login(
                    "the server asks for a password, and there is none for this user"
                );
            }
            wire::write_password(output_, *credentials_.password);
            return send(output_);
        case kind::md5_password: {
            if (!credentials_.password || request->data.size() != 4) {
                return refuse_login(
                    "the server asks for an md5 password, and there is none for this user"
                );
            }
            std::array<std::uint8_t, 4> salt{};
            std::memcpy(salt.data(), request->data.data(), salt.size());
            const auto verifier = wire::make_md5_verifier(*credentials_.password, target_->user);
            const auto answer = verifier ? wire::make_md5_response(*verifier, salt) : verifier;
            if (!answer) {
                return refuse_login("md5 is not available");
            }
            wire::write_password(output_, *answer);
            return send(output_);
        }
        case kind::sasl:
            return on_sasl(request->data);
        case kind::sasl_continue:
            return on_sasl_challenge(request->data);
        case kind::sasl_final:
            if (!scram_ || !scram_->on_server_final(request->data)) {
                return refuse_login("the server could not prove that it knows the password (SCRAM)"
                );
            }
            return true;
    }
    return refuse_login(
        "the server asks for an authentication method that is not supported (" +
        std::to_string(static_cast<std::uint32_t>(request->kind)) + ")"
    );
}

bool server_connection::on_sasl(std::string_view mechanisms) {
    wire::byte_reader in{mechanisms};
    bool has_plain = false;
    bool has_plus = false;
    for (auto name = in.cstring(); !in.failed() && !name.empty(); name = in.cstring()) {
        has_plain = has_plain || name == wire::scram_mechanism;
        has_plus = has_plus || name == wire::scram_plus_mechanism;
    }
    const tls_engine* const tls = socket.tls();
    if (has_plus && tls == nullptr) {
        // Somebody has taken the TLS away: the server believes that it is there.
        return refuse_login(
            "server offered SCRAM-SHA-256-PLUS authentication over a non-SSL connection"
        );
    }
    wire::scram_channel channel;
    if (tls != nullptr && target_->connection->binding != catalog::channel_binding::disable) {
        channel.end_point = tls->server_end_point();
    }
    channel.is_bound = has_plus && !channel.end_point.empty();
    if (requires_binding() && !channel.is_bound) {
        if (tls == nullptr) {
            return refuse_login("channel binding required, but SSL not in use");
        }
        return refuse_login(
            has_plus ? "channel binding is required, and the signature of the server's certificate "
                       "has no hash to bind to"
                     : "channel binding is required, but server did not offer an authentication "
                       "method that supports channel binding"
        );
    }
    if (!channel.is_bound && !has_plain) {
        return refuse_login("none of the server's SASL authentication mechanisms are supported");
    }
    auto nonce = wire::make_scram_nonce();
    if (!nonce || (!credentials_.password && !credentials_.keys)) {
        return refuse_login("the server asks for a password, and there is none for this user");
    }
    const auto mechanism = channel.is_bound ? wire::scram_plus_mechanism : wire::scram_mechanism;
    scram_.emplace(std::move(*nonce), std::move(channel));
    wire::write_sasl_initial_response(output_, mechanism, scram_->first_message());
    return send(output_);
}

bool server_connection::on_sasl_challenge(std::string_view data) {
    auto challenge =
        scram_ ? scram_->on_server_first(data)
               : wire::result<wire::scram_client::challenge>{wire::wire_errc::bad_scram_message};
    if (!challenge) {
        give_up(
            {.unreachable = false,
             .sqlstate = std::string{wire::sqlstate::protocol_violation},
             .message = "SCRAM: " + challenge.error().message(),
             .detail = {}}
        );
        return false;
    }
    if (credentials_.keys) {
        answer_challenge(*credentials_.keys);
    } else {
        derive_keys(std::move(challenge->salt), challenge->iterations);
    }
    return phase_ == phase::authenticating;
}

void server_connection::derive_keys(std::string salt, int iterations) {
    io_->workers.submit([this,
                         alive = alive_,
                         turn = turn_,
                         &loop = io_->loop,
                         password = *credentials_.password,
                         salt = std::move(salt),
                         iterations] {
        auto keys = key_cache().derive(password, salt, iterations);
        loop.post([this, alive, turn, keys] {
            if (!*alive || phase_ != phase::authenticating || turn != turn_) {
                return;
            }
            if (!keys) {
                give_up(
                    {.unreachable = false,
                     .sqlstate = std::string{wire::sqlstate::internal_error},
                     .message = "SCRAM: " + keys.error().message(),
                     .detail = {}}
                );
                return;
            }
            answer_challenge(*keys);
        });
    });
}

void server_connection::answer_challenge(const wire::scram_keys& keys) {
    const auto answer = scram_->final_message(keys);
    if (!answer) {
        give_up(
            {.unreachable = false,
             .sqlstate = std::string{wire::sqlstate::internal_error},
             .message = "SCRAM: " + answer.error().message(),
             .detail = {}}
        );
        return;
    }
    output_.clear();
    wire::write_sasl_response(output_, *answer);
    send(output_);
}

}  // namespace signalbox::backend
