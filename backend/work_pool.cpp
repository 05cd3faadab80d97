#include "backend/work_pool.hpp"

#include <system_error>

namespace signalbox::backend {

work_pool::work_pool(unsigned threads, std::size_t stack_bytes) {
    // std::thread cannot be given a stack size.
    pthread_attr_t attributes;
    pthread_attr_init(&attributes);
    int error = pthread_attr_setstacksize(&attributes, stack_bytes);
    while (error == 0 && threads_.size() < threads) {
        pthread_t thread{};
        error = pthread_create(&thread, &attributes, &work_pool::start, this);
        if (error == 0) {
            threads_.push_back(thread);
        }
    }
    pthread_attr_destroy(&attributes);
    if (error != 0) {
        stop();
        throw std::system_error(error, std::generic_category(), "cannot start a thread");
    }
}

work_pool::~work_pool() {
    stop();
}

void work_pool::stop() {
    {
        const std::lock_guard lock{mutex_};
        stopping_ = true;
        jobs_.clear();
    }
    ready_.notify_all();
    for (const auto thread : threads_) {
        pthread_join(thread, nullptr);
    }
    threads_.clear();
}

void* work_pool::start(void* self) {
    static_cast<work_pool*>(self)->run();
    return nullptr;
}

void work_pool::submit(std::function<void()> job) {
    {
        const std::lock_guard lock{mutex_};
        if (stopping_) {
            return;
        }
        jobs_.push_back(std::move(job));
    }
    ready_.notify_one();
}

void work_pool::run() {
    for (;;) {
        std::function<void()> job;
        {
            std::unique_lock lock{mutex_};
            ready_.wait(lock, [this] { return stopping_ || !jobs_.empty(); });
            if (stopping_) {
                return;
            }
            job = std::move(jobs_.front());
            jobs_.pop_front();
        }
        job();
    }
}

}  // namespace signalbox::backend
