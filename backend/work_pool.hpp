// Threads for work that would block an event loop: PBKDF2, name resolution, files.
#pragma once

#include <condition_variable>
#include <deque>
#include <functional>
#include <mutex>
#include <thread>
#include <vector>

namespace signalbox::backend {

/// Jobs run in the order they came. The destructor finishes the running ones and drops the waiting
/// ones.
class work_pool {
public:
    explicit work_pool(unsigned threads);
    ~work_pool();
    work_pool(const work_pool&) = delete;
    work_pool& operator=(const work_pool&) = delete;

    /// Any thread. The job gives its result back by posting it to an event loop.
    void submit(std::function<void()> job);

private:
    void run();

    std::mutex mutex_;
    std::condition_variable ready_;
    std::deque<std::function<void()>> jobs_;
    bool stopping_ = false;
    std::vector<std::thread> threads_;
};

}  // namespace signalbox::backend
