// Threads for work that would block an event loop: PBKDF2, large texts, files.
#pragma once

#include <condition_variable>
#include <cstddef>
#include <deque>
#include <functional>
#include <mutex>
#include <pthread.h>
#include <vector>

namespace signalbox::backend {

/// Jobs run in the order they came, each with `stack_bytes` of stack (reserved, not used up).
class work_pool {
public:
    static constexpr std::size_t job_stack_bytes = std::size_t{256} << 20U;

    /// Throws std::system_error where a thread cannot be made.
    explicit work_pool(unsigned threads, std::size_t stack_bytes = job_stack_bytes);
    ~work_pool();
    work_pool(const work_pool&) = delete;
    work_pool& operator=(const work_pool&) = delete;

    /// Any thread. The job gives its result back by posting it to an event loop.
    void submit(std::function<void()> job);

    /// Finishes the running jobs and drops the waiting ones, as the destructor does. Before the
    /// loops go to which jobs post their results.
    void stop();

private:
    static void* start(void* self);
    void run();

    std::mutex mutex_;
    std::condition_variable ready_;
    std::deque<std::function<void()>> jobs_;
    bool stopping_ = false;
    std::vector<pthread_t> threads_;
};

}  // namespace signalbox::backend
