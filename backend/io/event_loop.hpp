// One level-triggered epoll loop: sockets, timers, and work posted from other threads.
//
// Ours, because the order of a batch matters (see `first` below), because a session has no pending
// operation objects while it is idle, and because a readiness event should cost one read and one
// write and nothing else. Asio was measured first: docs/performance.md.
//
// Invariants
//   - everything but post() and stop() is called on the loop's own thread;
//   - a handler that is removed gets no further event, not even one of the batch under way;
//   - handlers marked `first` see their events of a batch before all others: an idle server
//   connection that has died
//     is noticed before any client of the same batch could be given it;
//   - defer() runs after the batch: the place to destroy what might still be on the call stack.
#pragma once

#include <array>
#include <chrono>
#include <cstdint>
#include <functional>
#include <mutex>
#include <sys/epoll.h>
#include <vector>

namespace signalbox::backend {

using clock = std::chrono::steady_clock;
using time_point = clock::time_point;

class event_handler {
public:
    event_handler() = default;
    event_handler(const event_handler&) = delete;
    event_handler& operator=(const event_handler&) = delete;
    event_handler(event_handler&&) = delete;
    event_handler& operator=(event_handler&&) = delete;

    /// `events`: EPOLLIN, EPOLLOUT, EPOLLRDHUP, EPOLLHUP, EPOLLERR.
    virtual void on_events(std::uint32_t events) = 0;

    bool first = false;

protected:
    ~event_handler() = default;
};

class event_loop;

/// A one-shot timer. Destroying it cancels it. 40 bytes, no allocation of its own.
class timer {
public:
    using callback = void (*)(void* context);

    timer() = default;
    timer(const timer&) = delete;
    timer& operator=(const timer&) = delete;

    ~timer() { cancel(); }

    void start(event_loop& loop, time_point when, callback call, void* context);
    void cancel() noexcept;

    [[nodiscard]] bool running() const noexcept { return index_ != none; }

    [[nodiscard]] time_point when() const noexcept { return when_; }

private:
    friend class event_loop;
    static constexpr std::uint32_t none = ~std::uint32_t{0};

    event_loop* loop_ = nullptr;
    callback call_ = nullptr;
    void* context_ = nullptr;
    time_point when_;
    std::uint32_t index_ = none;
};

class event_loop {
public:
    /// Throws std::system_error when the kernel has no descriptor left.
    event_loop();
    ~event_loop();
    event_loop(const event_loop&) = delete;
    event_loop& operator=(const event_loop&) = delete;

    void add(int fd, std::uint32_t events, event_handler& handler) const;
    void modify(int fd, std::uint32_t events, event_handler& handler) const noexcept;
    void remove(int fd, event_handler& handler) noexcept;

    /// Runs `work` on the loop's thread, in the order of posting. Any thread.
    void post(std::function<void()> work);

    /// Runs `work` on this thread once the events at hand are served.
    void defer(std::function<void()> work) { deferred_.push_back(std::move(work)); }

    /// The time when the batch under way began.
    [[nodiscard]] time_point now() const noexcept { return now_; }

    void run();
    /// Any thread.
    void stop();

private:
    friend class timer;
    static constexpr std::size_t batch_size = 256;

    void insert(timer& t);
    void erase(timer& t) noexcept;
    void sift_up(std::uint32_t index) noexcept;
    void sift_down(std::uint32_t index) noexcept;
    void place(timer* t, std::uint32_t index) noexcept;
    [[nodiscard]] int timeout_ms() const noexcept;
    void run_timers();
    void run_posted();
    void run_deferred();
    void dispatch(int count);

    int epoll_fd_ = -1;
    int wake_fd_ = -1;
    bool stopping_ = false;
    time_point now_ = clock::now();
    std::array<epoll_event, batch_size> batch_{};
    int batch_count_ = 0;
    std::vector<timer*> heap_;
    std::vector<std::function<void()>> deferred_;
    std::mutex posted_mutex_;
    std::vector<std::function<void()>> posted_;
};

}  // namespace signalbox::backend
