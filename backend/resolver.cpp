#include "backend/resolver.hpp"

#include <deque>
#include <map>
#include <mutex>
#include <system_error>
#include <thread>
#include <utility>

namespace signalbox::backend {

struct resolver::state {
    using name = std::pair<std::string, std::uint16_t>;

    explicit state(lookup with) : how(std::move(with)) {}

    const lookup how;
    std::mutex mutex;
    std::map<name, std::vector<callback>> asked;  // those under way and those that wait
    std::deque<catalog::host_port> waiting;
    unsigned threads = 0;
    bool is_stopped = false;

    /// With the mutex held: nobody is called once stop() has returned.
    void tell(const catalog::host_port& about, const answer& found) {
        const auto node = asked.extract(name{about.host, about.port});
        if (!node.empty() && !is_stopped) {
            for (const auto& done : node.mapped()) {
                done(found);
            }
        }
    }
};

resolver::resolver(lookup how) : state_(std::make_shared<state>(std::move(how))) {}

resolver::~resolver() {
    stop();
}

void resolver::stop() {
    const std::lock_guard lock{state_->mutex};
    state_->is_stopped = true;
    state_->asked.clear();
    state_->waiting.clear();
}

void resolver::resolve(const catalog::host_port& name, callback done) {
    auto& s = *state_;
    const std::lock_guard lock{s.mutex};
    if (s.is_stopped) {
        return;
    }
    const auto [asked, is_new] = s.asked.try_emplace(state::name{name.host, name.port});
    asked->second.push_back(std::move(done));
    if (!is_new) {
        return;
    }
    s.waiting.push_back(name);
    if (s.threads == max_threads) {
        return;
    }
    try {
        std::thread{&resolver::run, state_}.detach();
        ++s.threads;
    } catch (const std::system_error& e) {
        if (s.threads == 0) {
            s.waiting.pop_back();
            s.tell(name, "could not look up host name \"" + name.host + "\": " + e.what());
        }
    }
}

void resolver::run(const std::shared_ptr<state>& shared) {
    auto& s = *shared;
    std::unique_lock lock{s.mutex};
    while (!s.waiting.empty()) {
        const auto name = std::move(s.waiting.front());
        s.waiting.pop_front();
        lock.unlock();
        const auto found = s.how(name);
        lock.lock();
        s.tell(name, found);
    }
    --s.threads;
}

}  // namespace signalbox::backend
