#include "backend/pool.hpp"

#include "wire/messages.hpp"

#include <algorithm>

namespace signalbox::backend {
namespace {

constexpr auto first_backoff = std::chrono::milliseconds{100};
constexpr auto last_backoff = std::chrono::milliseconds{2'000};
/// An idle time from which on a connection is asked whether it is still there before it is lent.
constexpr auto unchecked_idle = std::chrono::milliseconds{100};

}  // namespace

pool_group::pool_group(std::string name, std::size_t workers) : name_(std::move(name)) {
    for (std::size_t i = 0; i < workers; ++i) {
        shards_.push_back(std::make_unique<shard>());
    }
}

void pool_group::configure(pool_settings settings, std::shared_ptr<const server_target> target) {
    const std::lock_guard lock{mutex_};
    settings_ = settings;
    lifetime_.store(settings.lifetime, std::memory_order_relaxed);
    const bool same = target_ && target_->database == target->database &&
                      target_->user == target->user && *target_->connection == *target->connection;
    if (target_ && !same) {
        generation_.fetch_add(1);
        next_attempt_ = {};
        failures_ = 0;
        // What is on its way to the old target does not count: it may hang there.
        opening_ = 0;
    }
    target_ = std::move(target);
}

void pool_group::set_credentials(server_credentials credentials) {
    const std::lock_guard lock{mutex_};
    credentials_ = std::move(credentials);
    has_credentials_ = true;
}

bool pool_group::has_credentials() const {
    const std::lock_guard lock{mutex_};
    return has_credentials_;
}

pool_group::opening pool_group::current() const {
    const std::lock_guard lock{mutex_};
    return {.target = target_, .credentials = credentials_, .generation = generation_.load()};
}

connect_failure pool_group::last_failure() const {
    const std::lock_guard lock{mutex_};
    return last_failure_;
}

pool::pool(std::shared_ptr<pool_group> group, std::size_t worker, io_context& io, pool_hooks& hooks)
    : group_(std::move(group)), worker_(worker), io_(io), hooks_(hooks) {
    const std::lock_guard lock{group_->mutex_};
    group_->shards_[worker_]->part = this;
    group_->shards_[worker_]->loop = &io_.loop;
}

pool::~pool() {
    *alive_ = false;
    const std::lock_guard lock{group_->mutex_};
    group_->shards_[worker_]->part = nullptr;
    group_->shards_[worker_]->loop = nullptr;
}

bool pool::is_usable(const server_connection& connection) const {
    return connection.generation == group_->generation_.load(std::memory_order_relaxed);
}

/// `is_checked`: also one that has been idle for a moment only.
connection_ptr pool::pop_idle(bool is_checked) {
    while (!idle_.empty()) {
        auto connection = std::move(idle_.back());
        idle_.pop_back();
        group_->shards_[worker_]->idle.store(idle_.size());
        connection->first = false;
        connection->set_user(nullptr);
        const bool is_fresh = io_.loop.now() - connection->idle_since < unchecked_idle;
        if (is_usable(*connection) && ((is_fresh && !is_checked) || connection->looks_alive())) {
            return connection;
        }
        discard(std::move(connection));
    }
    return nullptr;
}

void pool::push_idle(connection_ptr connection) {
    connection->idle_since = io_.loop.now();
    connection->first = true;
    connection->set_user(this);
    connection->socket.set_reading(true);
    idle_.push_back(std::move(connection));
    group_->shards_[worker_]->idle.store(idle_.size());
}

connection_ptr pool::try_acquire() {
    if (idle_.empty() || group_->waiting_.load() != 0) {
        return nullptr;
    }
    return pop_idle(false);
}

std::uint64_t pool::wait(lease_waiter& waiter) {
    std::uint64_t id = 0;
    {
        const std::lock_guard lock{group_->mutex_};
        id = group_->next_ticket_++;
        group_->queue_.push_back({worker_, id});
        group_->waiting_.store(group_->queue_.size());
    }
    waiters_.emplace(id, &waiter);
    serve_waiters();
    if (!waiters_.contains(id)) {
        return id;
    }
    // Another worker may hold an idle connection: it gives it away itself.
    for (std::size_t i = 0; i < group_->shards_.size(); ++i) {
        auto& shard = *group_->shards_[i];
        if (i == worker_ || shard.idle.load() == 0) {
            continue;
        }
        const std::lock_guard lock{group_->mutex_};
        if (shard.part != nullptr) {
            shard.loop->post([part = shard.part, alive = shard.part->alive_] {
                if (*alive) {
                    part->serve_waiters();
                }
            });
        }
    }
    open_as_needed();
    return id;
}

void pool::cancel_wait(std::uint64_t id) {
    waiters_.erase(id);
    const std::lock_guard lock{group_->mutex_};
    std::erase_if(group_->queue_, [id](const auto& t) { return t.id == id; });
    group_->waiting_.store(group_->queue_.size());
}

void pool::serve_waiters() {
    while (!idle_.empty() && group_->waiting_.load() != 0) {
        // Who waits may be another worker's: this one has perhaps not heard yet that it is lost.
        auto connection = pop_idle(true);
        if (!connection) {
            return;
        }
        pool_group::ticket ticket;
        {
            const std::lock_guard lock{group_->mutex_};
            if (!group_->queue_.empty()) {
                ticket = group_->queue_.front();
                group_->queue_.pop_front();
                group_->waiting_.store(group_->queue_.size());
            }
        }
        if (ticket.id == 0) {
            push_idle(std::move(connection));
            return;
        }
        hand_over(std::move(connection), ticket);
    }
}

void pool::hand_over(connection_ptr connection, pool_group::ticket ticket) {
    if (ticket.worker == worker_) {
        deliver(std::move(connection), ticket.id);
        return;
    }
    event_loop* loop = nullptr;
    pool* part = nullptr;
    {
        const std::lock_guard lock{group_->mutex_};
        auto& shard = *group_->shards_[ticket.worker];
        loop = shard.loop;
        part = shard.part;
    }
    if (part == nullptr) {
        discard(std::move(connection));
        return;
    }
    connection->detach();
    auto moved = std::make_shared<connection_ptr>(std::move(connection));
    loop->post([part, alive = part->alive_, moved, id = ticket.id] {
        if (*alive) {
            (*moved)->attach(part->io_);
            part->hooks_.on_adopted(**moved);
            part->deliver(std::move(*moved), id);
        }
    });
}

void pool::deliver(connection_ptr connection, std::uint64_t id) {
    const auto it = waiters_.find(id);
    if (it == waiters_.end()) {  // it has given up since
        release(std::move(connection));
        return;
    }
    auto* const waiter = it->second;
    waiters_.erase(it);
    waiter->on_lease(std::move(connection));
}

void pool::release(connection_ptr connection) {
    const auto lifetime = group_->lifetime_.load(std::memory_order_relaxed);
    const bool is_old =
        lifetime.count() > 0 && io_.loop.now() - connection->connected_at > lifetime;
    if (is_old || !is_usable(*connection)) {
        discard(std::move(connection));
        return;
    }
    push_idle(std::move(connection));
    if (group_->waiting_.load() != 0) {
        serve_waiters();
    }
}

void pool::discard(connection_ptr connection) {
    connection->set_user(nullptr);
    connection->terminate(io_.scratch);
    // The caller may be one of its events.
    auto dead = std::make_shared<connection_ptr>(std::move(connection));
    io_.loop.defer([dead] { dead->reset(); });
    connection_gone();
}

void pool::connection_gone() {
    group_->total_.fetch_sub(1);
    if (group_->waiting_.load() != 0) {
        open_as_needed();
    }
}

bool pool::open_as_needed(bool for_minimum) {
    std::shared_ptr<const server_target> target;
    server_credentials credentials;
    std::uint64_t generation = 0;
    {
        const std::lock_guard lock{group_->mutex_};
        const auto now = clock::now();
        const bool wanted = for_minimum ? group_->total_.load() < group_->settings_.min_size
                                        : group_->opening_ < group_->queue_.size();
        if (!wanted || !group_->has_credentials_ ||
            group_->total_.load() >= group_->settings_.size) {
            return false;
        }
        if (now < group_->next_attempt_) {
            if (!for_minimum) {
                schedule_retry(group_->next_attempt_);
            }
            return false;
        }
        // A dead target is knocked at by one, however many wait.
        if (group_->failures_ > 0 && group_->opening_ > 0) {
            return false;
        }
        group_->total_.fetch_add(1);
        ++group_->opening_;
        target = group_->target_;
        credentials = group_->credentials_;
        generation = group_->generation_.load();
    }
    auto connection =
        std::make_unique<server_connection>(io_, std::move(target), std::move(credentials), *this);
    connection->generation = generation;
    auto* const raw = connection.get();
    opening_.emplace(raw, std::move(connection));
    raw->start();
    return true;
}

void pool::open_all_needed() {
    while (group_->waiting_.load() != 0 && open_as_needed()) {
    }
}

void pool::schedule_retry(time_point when) {
    if (!retry_.running() || retry_.when() > when) {
        retry_.start(
            io_.loop, when, [](void* self) { static_cast<pool*>(self)->open_as_needed(); }, this
        );
    }
}

void pool::on_connected(server_connection& connection) {
    auto node = opening_.extract(&connection);
    bool is_current = false;
    {
        const std::lock_guard lock{group_->mutex_};
        is_current = is_usable(connection);
        if (is_current) {
            --group_->opening_;
            group_->failures_ = 0;
            group_->next_attempt_ = {};
            group_->last_failure_ = {};
            group_->down_.store(false);
        }
    }
    if (!is_current) {
        discard(std::move(node.mapped()));
        return;
    }
    hooks_.on_adopted(connection);
    hooks_.on_outcome(connection.target(), nullptr);
    release(std::move(node.mapped()));
    // The target may be back: those who waited behind the one attempt get theirs.
    open_all_needed();
}

void pool::on_connect_failed(server_connection& connection, const connect_failure& why) {
    auto node = opening_.extract(&connection);
    hooks_.on_outcome(connection.target(), &why);
    std::deque<pool_group::ticket> refused;
    bool is_current = false;
    {
        const std::lock_guard lock{group_->mutex_};
        is_current = is_usable(connection);
        if (is_current) {
            --group_->opening_;
            group_->total_.fetch_sub(1);
            const auto backoff = std::min<std::chrono::milliseconds>(
                last_backoff, first_backoff * (1U << std::min(group_->failures_, 8U))
            );
            ++group_->failures_;
            group_->next_attempt_ = clock::now() + backoff;
            group_->last_failure_ = why;
            group_->down_.store(why.unreachable && group_->total_.load() == 0);
            if (!why.unreachable) {
                refused.swap(group_->queue_);
                group_->waiting_.store(0);
                group_->failures_ = 0;
                group_->next_attempt_ = {};
            } else if (!group_->queue_.empty()) {
                schedule_retry(group_->next_attempt_);
            }
        }
    }
    if (!is_current) {
        // It says nothing about the target of today: nobody is refused or made to wait for it.
        connection_gone();
        return;
    }
    for (const auto& ticket : refused) {
        const auto fail = [why, id = ticket.id](pool& part) {
            if (const auto it = part.waiters_.find(id); it != part.waiters_.end()) {
                auto* const waiter = it->second;
                part.waiters_.erase(it);
                waiter->on_lease_failed(why);
            }
        };
        if (ticket.worker == worker_) {
            fail(*this);
            continue;
        }
        const std::lock_guard lock{group_->mutex_};
        auto& shard = *group_->shards_[ticket.worker];
        if (shard.part != nullptr) {
            shard.loop->post([part = shard.part, alive = shard.part->alive_, fail] {
                if (*alive) {
                    fail(*part);
                }
            });
        }
    }
}

connection_ptr pool::take_from_idle(server_connection& connection) {
    const auto it = std::find_if(idle_.begin(), idle_.end(), [&](const auto& c) {
        return c.get() == &connection;
    });
    if (it == idle_.end()) {
        return nullptr;
    }
    auto taken = std::move(*it);
    idle_.erase(it);
    group_->shards_[worker_]->idle.store(idle_.size());
    taken->first = false;
    return taken;
}

void pool::on_server_events(server_connection& connection, std::uint32_t events) {
    if ((events & EPOLLOUT) != 0 && !connection.socket.flush()) {
        if (auto dead = take_from_idle(connection)) {
            discard(std::move(dead));
        }
        return;
    }
    if ((events & (EPOLLIN | EPOLLRDHUP | EPOLLHUP | EPOLLERR)) == 0) {
        return;
    }
    const auto got = connection.socket.read(io_.scratch);
    const bool alive = got.status == io_status::again ||
                       (got.status == io_status::ok && hooks_.on_idle_bytes(connection, got.bytes));
    if (!alive) {
        if (auto dead = take_from_idle(connection)) {
            discard(std::move(dead));
        }
    }
}

void pool::maintain() {
    pool_settings settings;
    {
        const std::lock_guard lock{group_->mutex_};
        settings = group_->settings_;
    }
    // One that is on its way to the old target may hang there until its timeout, and takes the room
    // of another.
    auto stale =
        std::erase_if(opening_, [this](const auto& each) { return !is_usable(*each.second); });
    for (; stale > 0; --stale) {
        connection_gone();
    }
    const auto now = io_.loop.now();
    for (std::size_t i = 0; i < idle_.size();) {
        auto& c = *idle_[i];
        const bool too_many = group_->total_.load() > settings.size;
        const bool old = settings.lifetime.count() > 0 && now - c.connected_at > settings.lifetime;
        const bool unused = settings.idle_timeout.count() > 0 &&
                            now - c.idle_since > settings.idle_timeout &&
                            group_->total_.load() > settings.min_size;
        if (too_many || old || unused || !is_usable(c)) {
            discard(take_from_idle(c));
        } else {
            ++i;
        }
    }
    for (auto missing = settings.min_size; missing > 0 && group_->total_.load() < settings.min_size;
         --missing) {
        open_as_needed(true);
    }
}

void pool::close_idle() {
    while (!idle_.empty()) {
        discard(take_from_idle(*idle_.back()));
    }
    opening_.clear();
}

}  // namespace signalbox::backend
