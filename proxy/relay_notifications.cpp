// LISTEN and NOTIFY where sessions share server connections.
//
//   - LISTEN and UNLISTEN go to the leased server connection, which knows what a rollback or a
//     savepoint makes of them; behind the transaction it is asked what the session listens to;
//   - the session's ReadyForQuery waits until the shared listening connection hears the same;
//   - a server connection is lent to a listening session with its channels on: so the session's own
//     notifications come before its ReadyForQuery, as on a private connection. What it hears from
//     others there is dropped, since the shared connection brings it, and what the shared one
//     brings of the session's own is dropped, since it has been told.
#include "proxy/relay.hpp"
#include "wire/limits.hpp"

#include <algorithm>

namespace signalbox::proxy {

/// A NotificationResponse of the leased server connection.
void relay::on_direct_notification(std::string_view whole, std::string_view body, outbox& out) {
    if (!renames()) {
        out.pass(whole);
        return;
    }
    const auto said = wire::parse_notification(body);
    if (!said || said->process_id != server_->process_id) {
        return;  // from another session: the shared connection brings it
    }
    out.pass(whole);
    auto& r = rare();
    // The shared connection may have been faster.
    if (const auto early = std::find(r.heard.begin(), r.heard.end(), whole);
        early != r.heard.end()) {
        r.heard.erase(early);
    } else if (std::binary_search(r.channels.begin(), r.channels.end(), said->channel)) {
        r.told.emplace_back(whole);
    }
}

bool relay::listens_to(std::string_view message) const {
    const auto said = wire::parse_notification(message.substr(wire::header_bytes));
    const auto& known = channels();
    return said && std::binary_search(known.begin(), known.end(), said->channel);
}

void relay::hear(std::string_view message, std::uint64_t epoch, outbox& to_client) {
    auto& r = rare();
    if (r.heard_epoch != 0 && r.heard_epoch != epoch) {
        r.told.clear();  // what was told then may never be heard again
    }
    r.heard_epoch = epoch;
    if (!listens_to(message)) {
        return;  // the shared connection does not know yet that the session has left the channel
    }
    if (const auto own = std::find(r.told.begin(), r.told.end(), message); own != r.told.end()) {
        r.told.erase(own);
        return;
    }
    if (is_busy() || in_transaction() || is_blocked()) {
        r.heard.emplace_back(message);
    } else {
        to_client.pass(message);
    }
}

/// Between transactions, what was heard meanwhile comes first.
void relay::write_ready(char status, outbox& to_client) {
    end_batch(status);
    if (hold_ready(status, to_client)) {
        return;
    }
    tell_heard(status, to_client);
    wire::write_ready_for_query(to_client.copied(), status);
}

void relay::tell_heard(char status, outbox& to_client) {
    if (status == 'I' && rare_ && !rare_->heard.empty()) {
        // Of the session's own, the server connection may still bring the first copy.
        const bool more_comes = server_ != nullptr && !server_->requests.empty();
        std::vector<std::string> kept;
        for (auto& each : std::exchange(rare_->heard, {})) {
            const auto said =
                wire::parse_notification(std::string_view{each}.substr(wire::header_bytes));
            if (!listens_to(each)) {
                continue;
            }
            if (more_comes && said && said->process_id == server_->process_id) {
                kept.push_back(std::move(each));
            } else {
                to_client.copied() += each;
            }
        }
        rare_->heard = std::move(kept);
    }
}

/// True: the session listens to something else than before.
bool relay::change_channels() {
    auto& r = rare();
    auto& now = r.inspected.channels;
    std::sort(now.begin(), now.end());
    server_->channels = now;
    auto encoding = client_encoding();
    if (now == r.channels && (now.empty() || encoding == r.channels_encoding)) {
        return false;
    }
    r.channels_encoding = std::move(encoding);
    std::erase_if(r.told, [&](const std::string& each) {
        const auto said =
            wire::parse_notification(std::string_view{each}.substr(wire::header_bytes));
        return !said || !std::binary_search(now.begin(), now.end(), said->channel);
    });
    r.channels = std::move(now);
    return true;
}

std::string relay::client_encoding() const {
    const auto* const name = reported_ ? reported_->find("client_encoding") : nullptr;
    return name != nullptr ? *name : std::string{};
}

std::vector<std::string> relay::take_new_channels() {
    channels_due_ = false;
    return rare().channels;
}

void relay::channels_set(bool heard, outbox& to_client) {
    if (awaiting_channels_ == '\0') {
        return;
    }
    const char status = std::exchange(awaiting_channels_, '\0');
    if (!heard) {
        wire::write_notice_response(
            to_client.copied(),
            {.severity = "WARNING",
             .sqlstate = std::string{wire::sqlstate::warning},
             .message = "notifications cannot be heard now",
             .detail = "The connection that listens for all sessions is not there. What is "
                       "notified until it is back will be missed.",
             .hint = {}}
        );
    }
    tell_ready(status, to_client);
}

}  // namespace signalbox::proxy
