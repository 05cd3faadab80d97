// One CancelRequest to a server, on a connection of its own.
//
// The postmaster signals the backend before it closes that connection: when finished is called, the
// signal has been sent, and a statement sent afterwards cannot be hit by it. Source    PostgreSQL
// manual, "Canceling Requests in Progress"; src/backend/postmaster/postmaster.c
// (processCancelRequest)
#pragma once

#include "backend/server_connection.hpp"

#include <functional>
#include <memory>

namespace signalbox::backend {

class cancel_call final : public event_handler {
public:
    /// `finished` is called exactly once, after which the call may be destroyed (not inside).
    cancel_call(
        io_context& io, const server_connection& victim, std::function<void(cancel_call&)> finished
    );

    void start();

    /// False: it was sent, and the server has not said that it has dealt with it. It may hit
    /// whatever the victim runs by then.
    [[nodiscard]] bool is_settled() const noexcept { return is_settled_; }

    void on_events(std::uint32_t events) override;

private:
    enum class phase { connecting, asking_for_tls, tls_handshake, waiting, done };

    void begin_handshake();
    void continue_handshake();
    void send_request();
    void finish();

    io_context& io_;
    socket_address address_;
    wire::backend_key_data key_;
    std::shared_ptr<SSL_CTX> tls_context_;  // null: plain
    bool is_direct_;
    std::string host_;
    std::function<void(cancel_call&)> finished_;
    stream socket_;
    timer deadline_;
    phase phase_ = phase::connecting;
    bool is_settled_ = true;
};

}  // namespace signalbox::backend
