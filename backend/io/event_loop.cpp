#include "backend/io/event_loop.hpp"

#include <cerrno>
#include <sys/eventfd.h>
#include <system_error>
#include <unistd.h>
#include <utility>

namespace signalbox::backend {

void timer::start(event_loop& loop, time_point when, callback call, void* context) {
    cancel();
    loop_ = &loop;
    when_ = when;
    call_ = call;
    context_ = context;
    loop.insert(*this);
}

void timer::cancel() noexcept {
    if (running()) {
        loop_->erase(*this);
    }
}

event_loop::event_loop()
    : epoll_fd_(::epoll_create1(EPOLL_CLOEXEC)),
      wake_fd_(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)) {
    if (epoll_fd_ < 0 || wake_fd_ < 0) {
        throw std::system_error(errno, std::generic_category(), "cannot create an event loop");
    }
    epoll_event event{};
    event.events = EPOLLIN;
    event.data.ptr = nullptr;  // the loop itself
    if (::epoll_ctl(epoll_fd_, EPOLL_CTL_ADD, wake_fd_, &event) != 0) {
        throw std::system_error(errno, std::generic_category(), "cannot create an event loop");
    }
}

event_loop::~event_loop() {
    ::close(wake_fd_);
    ::close(epoll_fd_);
}

void event_loop::add(int fd, std::uint32_t events, event_handler& handler) const {
    epoll_event event{};
    event.events = events;
    event.data.ptr = &handler;
    if (::epoll_ctl(epoll_fd_, EPOLL_CTL_ADD, fd, &event) != 0) {
        throw std::system_error(errno, std::generic_category(), "cannot watch a socket");
    }
}

void event_loop::modify(int fd, std::uint32_t events, event_handler& handler) const noexcept {
    epoll_event event{};
    event.events = events;
    event.data.ptr = &handler;
    ::epoll_ctl(epoll_fd_, EPOLL_CTL_MOD, fd, &event);
}

void event_loop::remove(int fd, event_handler& handler) noexcept {
    ::epoll_ctl(epoll_fd_, EPOLL_CTL_DEL, fd, nullptr);
    for (int i = 0; i < batch_count_; ++i) {
        if (batch_[static_cast<std::size_t>(i)].data.ptr == &handler) {
            batch_[static_cast<std::size_t>(i)].events = 0;
        }
    }
}

void event_loop::post(std::function<void()> work) {
    bool wake = false;
    {
        const std::lock_guard lock{posted_mutex_};
        wake = posted_.empty();
        posted_.push_back(std::move(work));
    }
    if (wake) {
        const std::uint64_t one = 1;
        [[maybe_unused]] const auto written = ::write(wake_fd_, &one, sizeof one);
    }
}

void event_loop::stop() {
    post([this] { stopping_ = true; });
}

void event_loop::run() {
    while (!stopping_) {
        const int count =
            ::epoll_wait(epoll_fd_, batch_.data(), static_cast<int>(batch_size), timeout_ms());
        now_ = clock::now();
        if (count > 0) {
            dispatch(count);
        }
        run_timers();
        run_deferred();
    }
    run_posted();
    run_deferred();
    stopping_ = false;  // it may be run again
}

void event_loop::dispatch(int count) {
    batch_count_ = count;
    bool posted = false;
    for (const bool first : {true, false}) {
        for (int i = 0; i < count; ++i) {
            auto& event = batch_[static_cast<std::size_t>(i)];
            if (event.events == 0) {
                continue;
            }
            auto* handler = static_cast<event_handler*>(event.data.ptr);
            if (handler == nullptr) {
                posted = true;
                event.events = 0;
                continue;
            }
            if (first && !handler->first) {
                continue;
            }
            // Cleared before the call: the second pass must not see it again, and remove() may run
            // inside.
            const std::uint32_t events = event.events;
            event.events = 0;
            handler->on_events(events);
        }
    }
    batch_count_ = 0;
    if (posted) {
        run_posted();
    }
}

void event_loop::run_posted() {
    std::uint64_t count = 0;
    [[maybe_unused]] const auto n = ::read(wake_fd_, &count, sizeof count);
    std::vector<std::function<void()>> work;
    {
        const std::lock_guard lock{posted_mutex_};
        work.swap(posted_);
    }
    for (auto& item : work) {
        item();
    }
}

void event_loop::run_deferred() {
    while (!deferred_.empty()) {
        std::vector<std::function<void()>> work;
        work.swap(deferred_);
        for (auto& item : work) {
            item();
        }
    }
}

int event_loop::timeout_ms() const noexcept {
    if (!deferred_.empty()) {
        return 0;
    }
    if (heap_.empty()) {
        return -1;
    }
    const auto left = heap_.front()->when_ - clock::now();
    if (left <= clock::duration::zero()) {
        return 0;
    }
    const auto ms = std::chrono::ceil<std::chrono::milliseconds>(left).count();
    return ms > 60'000 ? 60'000 : static_cast<int>(ms);
}

void event_loop::run_timers() {
    while (!heap_.empty() && heap_.front()->when_ <= now_) {
        timer& due = *heap_.front();
        erase(due);
        due.call_(due.context_);
    }
}

void event_loop::place(timer* t, std::uint32_t index) noexcept {
    heap_[index] = t;
    t->index_ = index;
}

void event_loop::insert(timer& t) {
    heap_.push_back(&t);
    t.index_ = static_cast<std::uint32_t>(heap_.size() - 1);
    sift_up(t.index_);
}

void event_loop::erase(timer& t) noexcept {
    const auto index = std::exchange(t.index_, timer::none);
    timer* const last = heap_.back();
    heap_.pop_back();
    if (last != &t) {
        place(last, index);
        sift_up(index);
        sift_down(last->index_);
    }
}

void event_loop::sift_up(std::uint32_t index) noexcept {
    timer* const t = heap_[index];
    while (index > 0) {
        const std::uint32_t parent = (index - 1) / 2;
        if (heap_[parent]->when_ <= t->when_) {
            break;
        }
        place(heap_[parent], index);
        index = parent;
    }
    place(t, index);
}

void event_loop::sift_down(std::uint32_t index) noexcept {
    timer* const t = heap_[index];
    const auto size = static_cast<std::uint32_t>(heap_.size());
    for (;;) {
        std::uint32_t child = 2 * index + 1;
        if (child >= size) {
            break;
        }
        if (child + 1 < size && heap_[child + 1]->when_ < heap_[child]->when_) {
            ++child;
        }
        if (t->when_ <= heap_[child]->when_) {
            break;
        }
        place(heap_[child], index);
        index = child;
    }
    place(t, index);
}

}  // namespace signalbox::backend
