#include "backend/work_pool.hpp"

namespace signalbox::backend {

work_pool::work_pool(unsigned threads) {
    for (unsigned i = 0; i < threads; ++i) {
        threads_.emplace_back([this] { run(); });
    }
}

work_pool::~work_pool() {
    {
        const std::lock_guard lock{mutex_};
        stopping_ = true;
        jobs_.clear();
    }
    ready_.notify_all();
    for (auto& thread : threads_) {
        thread.join();
    }
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
