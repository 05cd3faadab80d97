#include "proxy/notifications.hpp"

#include "proxy/log.hpp"
#include "proxy/session.hpp"
#include "proxy/worker.hpp"

#include <algorithm>

namespace signalbox::proxy {
namespace {

/// Opening the listening connection takes its time also where hold_timeout is 0.
constexpr duration shortest_wait = std::chrono::seconds{5};

}  // namespace

notifications::notifications(worker& owner, std::size_t index) : owner_(owner), index_(index) {}

notifications::~notifications() = default;

void notifications::set_channels(
    pool_entry& pool,
    std::uint64_t session,
    std::vector<std::string> channels,
    std::string client_encoding,
    std::function<void(bool)> confirmed
) {
    // A session that is about to be ended has nothing to wait for, and the hub's loop may be gone.
    if (owner_.is_draining() || (channels.empty() && !listening_.contains(session))) {
        if (confirmed) {
            owner_.io().loop.defer([this, session, confirmed = std::move(confirmed)] {
                if (owner_.find_session(session) != nullptr) {
                    confirmed(true);
                }
            });
        }
        return;
    }
    const hub_name to{pool.pool->group().name(), std::move(client_encoding)};
    if (const auto it = listening_.find(session); it != listening_.end() && it->second != to) {
        send(it->second, session, {}, 0);
    }
    if (channels.empty()) {
        listening_.erase(session);
    } else {
        listening_[session] = to;
    }
    std::uint64_t request = 0;
    if (confirmed) {
        request = ++last_request_;
        auto made = std::make_unique<waiting>(*this, request, session, std::move(confirmed));
        made->deadline.start(
            owner_.io().loop,
            owner_.io().loop.now() + std::max(pool.route->hold_timeout, shortest_wait),
            [](void* self) {
                const auto& late = *static_cast<waiting*>(self);
                late.desk.settle(late.request, false);
            },
            made.get()
        );
        waiting_.emplace(request, std::move(made));
    }
    send(to, session, std::move(channels), request);
}

void notifications::session_gone(std::uint64_t session) {
    if (const auto node = listening_.extract(session); !node.empty()) {
        send(node.mapped(), session, {}, 0);
    }
}

/// To the hub, wherever it lives. Also where that is here: two calls keep their order.
void notifications::send(
    const hub_name& to,
    std::uint64_t session,
    std::vector<std::string> channels,
    std::uint64_t request
) {
    auto& shared = owner_.shared();
    auto& home = *shared.workers[std::hash<std::string>{}(to.group) % shared.count];
    home.post([&desk = home.notified(),
               from = index_,
               to,
               session,
               channels = std::move(channels),
               request]() mutable {
        desk.hub(to).set_channels(from, session, std::move(channels), request);
    });
}

backend::notification_hub& notifications::hub(const hub_name& name) {
    auto& found = hubs_[name];
    if (!found) {
        found = std::make_unique<backend::notification_hub>(
            owner_.shared().group(name.group), name.client_encoding, owner_.io(), *this
        );
    }
    return *found;
}

void notifications::settle(std::uint64_t request, bool ok) {
    const auto node = waiting_.extract(request);
    if (!node.empty() && owner_.find_session(node.mapped()->session) != nullptr) {
        node.mapped()->confirmed(ok);
    }
}

void notifications::maintain() {
    for (auto& [name, each] : hubs_) {
        each->maintain();
    }
}

void notifications::drain() {
    std::vector<std::uint64_t> requests;
    for (const auto& [request, each] : waiting_) {
        requests.push_back(request);
    }
    for (const auto request : requests) {
        settle(request, true);
    }
}

void notifications::close() {
    waiting_.clear();
    hubs_.clear();
}

// ---- what the hubs of this worker say to the sessions of any

void notifications::on_heard(
    std::size_t worker_index, const session_list& sessions, const backend::notification_ptr& heard
) {
    auto& to = *owner_.shared().workers[worker_index];
    to.post([&to, sessions, heard] {
        for (const auto id : *sessions) {
            if (auto* const each = to.find_session(id); each != nullptr) {
                each->on_notification(heard);
            }
        }
    });
}

void notifications::on_channels_set(std::size_t worker_index, std::uint64_t request, bool ok) {
    auto& to = *owner_.shared().workers[worker_index];
    to.post([&desk = to.notified(), request, ok] { desk.settle(request, ok); });
}

void notifications::on_listener_lost(
    const backend::server_target& target, const std::string& cause
) {
    log::warn(
        "listening connection lost, notifications may be missed",
        {{"connection", target.connection->name},
         {"user", target.user},
         {"database", target.database},
         {"cause", cause}}
    );
}

void notifications::on_listener_back(const backend::server_target& target) {
    log::info(
        "listening again",
        {{"connection", target.connection->name},
         {"user", target.user},
         {"database", target.database}}
    );
}

}  // namespace signalbox::proxy
