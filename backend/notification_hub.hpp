// The connection that listens for all sessions of a pool group with one client_encoding, outside of
// the pool's limit.
//
//   closed -> connecting -> open -> closed       (nobody has listened for a while)
//                  |         |
//                  v         v
//                    waiting -> connecting       (refused, lost or silent; with a back-off)
//
//   a changed target: connecting, whatever the state was but closed
//
// Invariants
//   - used on one event loop; sessions live on any, and are named by worker and number;
//   - what a session is told arrives in the server's order: notifications and confirmations leave
//   through the same hooks;
//   - notifications of one connection carry its epoch; what was notified between two connections
//   nobody has heard;
//   - a connection on which an answer is due for 10 s, or the question after 30 s of silence, is
//   lost.
#pragma once

#include "backend/notification.hpp"
#include "backend/notification_subscriptions.hpp"
#include "backend/pool.hpp"

#include <memory>
#include <string>
#include <string_view>
#include <vector>

namespace signalbox::backend {

/// Where a hub's answers go. Called on its loop, also from inside set_channels().
class notification_hooks {
public:
    using session_list = notification_subscriptions::session_list;

    virtual void on_heard(
        std::size_t worker, const session_list& sessions, const notification_ptr& heard
    ) = 0;
    /// What `request` asked for is listened to; not `ok`: it is not.
    virtual void on_channels_set(std::size_t worker, std::uint64_t request, bool ok) = 0;
    /// Told once, until on_listener_back().
    virtual void on_listener_lost(const server_target& target, const std::string& cause) = 0;
    virtual void on_listener_back(const server_target& target) = 0;

protected:
    ~notification_hooks() = default;
};

class notification_hub final : public connect_observer, public server_user {
public:
    /// `group` is configured: somebody has logged in through it. Names and payloads are in
    /// `client_encoding`; "" = the server's default for the role and the database.
    notification_hub(
        std::shared_ptr<pool_group> group,
        std::string client_encoding,
        io_context& io,
        notification_hooks& hooks
    );
    ~notification_hub();
    notification_hub(const notification_hub&) = delete;
    notification_hub& operator=(const notification_hub&) = delete;

    /// Replaces the whole set of a session; an empty one ends it. Names as pg_listening_channels()
    /// gives them. Every `request` but 0 gets one on_channels_set(); a set that a newer one
    /// replaces before it is confirmed gets its false. Whoever waits for it keeps the time.
    void set_channels(
        std::size_t worker,
        std::uint64_t session,
        std::vector<std::string> channels,
        std::uint64_t request
    );

    /// Once a second, and when the target may have changed.
    void maintain();

    void on_connected(server_connection& connection) override;
    void on_connect_failed(server_connection& connection, const connect_failure& why) override;
    void on_server_events(server_connection& connection, std::uint32_t events) override;

private:
    enum class phase { closed, connecting, open, waiting };

    void connect();
    void disconnect();
    void lost(const std::string& cause);
    void retry();
    void pump();
    void tell_due();
    void ask(std::string& queries, std::string_view sql);
    bool send(std::string_view queries);

    [[nodiscard]] bool is_asking() const noexcept {
        return own_questions_ > 0 || subscriptions_.is_asking();
    }

    /// Why the connection cannot be used any more; "" = it can.
    std::string on_bytes(std::string_view bytes);
    std::string on_message(std::string_view message);
    std::string on_error(std::string_view body);
    std::string on_notification(std::string_view message, std::string_view body);

    std::shared_ptr<pool_group> group_;
    const std::string client_encoding_;
    io_context& io_;
    notification_hooks& hooks_;
    notification_subscriptions subscriptions_;
    phase phase_ = phase::closed;
    std::shared_ptr<const server_target> target_;  // of the last connection
    connection_ptr connection_;
    std::uint64_t generation_ = 0;  // of the target
    std::uint64_t epoch_ = 0;
    std::string input_;
    int own_questions_ = 0;  // sent before all statements of subscriptions_ that are not answered
    time_point
        quiet_since_;  // the last byte from the server, or the question that broke the silence
    time_point unused_since_;
    timer retry_;
    unsigned failures_ = 0;
    bool is_lost_ = false;  // told, and not back
};

}  // namespace signalbox::backend
