#include "backend/notification_subscriptions.hpp"

#include "wire/messages.hpp"

#include <algorithm>

namespace signalbox::backend {
namespace {

/// As quote_identifier() does; a channel's name arrives as the server has folded and cut it.
std::string quoted(std::string_view name) {
    std::string out = "\"";
    for (const char c : name) {
        if (c == '"') {
            out += c;
        }
        out += c;
    }
    out += '"';
    return out;
}

const std::vector<notification_subscriptions::audience> nobody;

}  // namespace

void notification_subscriptions::set_channels(
    std::size_t worker,
    std::uint64_t session,
    std::vector<std::string> channels,
    std::uint64_t request
) {
    std::sort(channels.begin(), channels.end());
    channels.erase(std::unique(channels.begin(), channels.end()), channels.end());
    auto& who = sessions_[session];
    settle(who, false);
    who.worker = worker;
    for (auto it = who.channels.begin(); it != who.channels.end();) {
        if (std::binary_search(channels.begin(), channels.end(), it->first)) {
            ++it;
            continue;
        }
        leave(session, who, it->first);
        who.joining -= it->second != 0 ? 1 : 0;
        it = who.channels.erase(it);
    }
    for (const auto& channel : channels) {
        if (who.channels.try_emplace(channel, batch_ + 1).second) {
            ++who.joining;
            join(session, channel);
        }
    }
    who.request = request;
    if (who.joining == 0) {
        settle(who, true);
    }
    if (who.channels.empty()) {
        sessions_.erase(session);
    }
}

void notification_subscriptions::join(std::uint64_t session, const std::string& channel) {
    channels_[channel].joining.push_back(session);
    to_ask_.insert(channel);
}

void notification_subscriptions::leave(
    std::uint64_t session, const session_entry& who, const std::string& channel
) {
    const auto at = channels_.find(channel);
    auto& entry = at->second;
    if (entry.active.erase({who.worker, session}) != 0) {
        entry.stale = true;
    } else {
        std::erase(entry.joining, session);
    }
    forget_if_unwanted(at);
}

void notification_subscriptions::forget_if_unwanted(channel_map::iterator at) {
    const auto& entry = at->second;
    if (entry.is_wanted()) {
        return;
    }
    if (entry.listening || entry.asked) {
        to_ask_.insert(at->first);
        return;
    }
    to_ask_.erase(at->first);
    channels_.erase(at);
}

/// Its request, where it has one, has got its answer.
void notification_subscriptions::settle(session_entry& who, bool ok) {
    if (who.request != 0) {
        due_.push_back({who.worker, std::exchange(who.request, 0), ok});
    }
}

bool notification_subscriptions::next_batch(std::string& out) {
    if (!asked_.empty() || to_ask_.empty()) {
        return false;
    }
    ++batch_;
    for (const auto& name : std::exchange(to_ask_, {})) {
        auto& entry = channels_.find(name)->second;
        const bool listen = entry.is_wanted();
        if (listen && entry.listening && entry.joining.empty()) {
            continue;  // it was left, and somebody came back before it was said
        }
        entry.asked = true;
        asked_.push_back({name, listen, false});
        wire::write_query(out, (listen ? "LISTEN " : "UNLISTEN ") + quoted(name));
    }
    return !asked_.empty();
}

void notification_subscriptions::activate(const std::string& name, channel_entry& channel) {
    std::erase_if(channel.joining, [&](std::uint64_t session) {
        auto& who = sessions_.find(session)->second;
        auto& since = who.channels.find(name)->second;
        if (since > batch_) {
            return false;  // it came while the LISTEN was under way
        }
        since = 0;
        channel.active.emplace(who.worker, session);
        channel.stale = true;
        if (--who.joining == 0) {
            settle(who, true);
        }
        return true;
    });
}

void notification_subscriptions::on_complete() {
    if (asked_.empty() || asked_.front().done) {
        return;
    }
    auto& answered = asked_.front();
    answered.done = true;
    const auto at = channels_.find(answered.channel);
    auto& entry = at->second;
    entry.asked = false;
    entry.listening = answered.listen;
    if (answered.listen) {
        activate(at->first, entry);
    }
    forget_if_unwanted(at);
}

/// Those who joined with the LISTEN that failed do not get the channel.
void notification_subscriptions::refuse(const std::string& name, channel_entry& channel) {
    std::erase_if(channel.joining, [&](std::uint64_t session) {
        const auto it = sessions_.find(session);
        auto& who = it->second;
        const auto wish = who.channels.find(name);
        if (wish->second > batch_) {
            return false;
        }
        settle(who, false);
        --who.joining;
        who.channels.erase(wish);
        if (who.channels.empty()) {
            sessions_.erase(it);
        }
        return true;
    });
}

bool notification_subscriptions::on_error() {
    if (asked_.empty() || asked_.front().done) {
        return false;
    }
    auto& answered = asked_.front();
    answered.done = true;
    const auto at = channels_.find(answered.channel);
    auto& entry = at->second;
    entry.asked = false;
    if (!answered.listen || (!entry.listening && !entry.active.empty())) {
        return false;
    }
    refuse(at->first, entry);
    forget_if_unwanted(at);
    return true;
}

void notification_subscriptions::on_ready() {
    if (!asked_.empty()) {
        asked_.pop_front();
    }
}

void notification_subscriptions::on_lost() {
    asked_.clear();
    for (auto it = channels_.begin(); it != channels_.end();) {
        const auto at = it++;
        at->second.asked = false;
        at->second.listening = false;
        to_ask_.insert(at->first);
        forget_if_unwanted(at);
    }
}

void notification_subscriptions::refuse_waiting() {
    for (auto& [session, who] : sessions_) {
        settle(who, false);
    }
}

const std::vector<notification_subscriptions::audience>& notification_subscriptions::audiences(
    std::string_view channel
) {
    const auto at = channels_.find(channel);
    if (at == channels_.end()) {
        return nobody;
    }
    auto& entry = at->second;
    if (entry.stale) {
        entry.stale = false;
        entry.audiences.clear();
        for (auto it = entry.active.begin(); it != entry.active.end();) {
            const auto worker = it->first;
            std::vector<std::uint64_t> sessions;
            for (; it != entry.active.end() && it->first == worker; ++it) {
                sessions.push_back(it->second);
            }
            entry.audiences.push_back(
                {worker, std::make_shared<const std::vector<std::uint64_t>>(std::move(sessions))}
            );
        }
    }
    return entry.audiences;
}

}  // namespace signalbox::backend
