// Names to addresses, with lookups that the test answers when it likes.
#include "backend/resolver.hpp"

#include <catch2/catch.hpp>

#include <arpa/inet.h>
#include <atomic>
#include <chrono>
#include <condition_variable>
#include <cstring>
#include <future>
#include <map>
#include <mutex>
#include <netinet/in.h>
#include <set>
#include <string>
#include <thread>
#include <vector>

using namespace signalbox::backend;
using signalbox::catalog::host_port;
using namespace std::chrono_literals;

namespace {

constexpr auto long_enough = 20s;

socket_address ipv4(const char* text) {
    socket_address made;
    sockaddr_in in{};
    in.sin_family = AF_INET;
    ::inet_pton(AF_INET, text, &in.sin_addr);
    std::memcpy(&made.storage, &in, sizeof in);
    made.size = sizeof in;
    return made;
}

/// A system's resolver in which a name hangs until it is let go. Shared with threads that outlive
/// the test's own resolver.
struct fake_names {
    std::mutex mutex;
    std::condition_variable changed;
    std::map<std::string, std::string> address_of;
    std::set<std::string> hanging;
    std::map<std::string, int> begun;

    resolver::answer look_up(const host_port& name) {
        std::unique_lock lock{mutex};
        ++begun[name.host];
        changed.notify_all();
        changed.wait(lock, [&] { return !hanging.contains(name.host); });
        const auto found = address_of.find(name.host);
        if (found == address_of.end()) {
            return "no such name: " + name.host;
        }
        return std::vector{ipv4(found->second.c_str())};
    }

    void set(const std::string& name, const std::string& address) {
        const std::lock_guard lock{mutex};
        address_of[name] = address;
    }

    void hang(const std::string& name) {
        const std::lock_guard lock{mutex};
        hanging.insert(name);
    }

    void let_go() {
        const std::lock_guard lock{mutex};
        hanging.clear();
        changed.notify_all();
    }

    void wait_begun(const std::string& name, int count) {
        std::unique_lock lock{mutex};
        REQUIRE(changed.wait_for(lock, long_enough, [&] { return begun[name] >= count; }));
    }

    int begun_of(const std::string& name) {
        const std::lock_guard lock{mutex};
        return begun[name];
    }
};

struct world {
    ~world() { names->let_go(); }

    std::future<std::string> ask(const std::string& name, std::uint16_t port = 5432) {
        auto promise = std::make_shared<std::promise<std::string>>();
        auto future = promise->get_future();
        tested.resolve({.host = name, .port = port}, [promise](const resolver::answer& found) {
            const auto* const reason = std::get_if<std::string>(&found);
            promise->set_value(
                reason != nullptr ? *reason : address_text(std::get<0>(found).front())
            );
        });
        return future;
    }

    std::shared_ptr<fake_names> names = std::make_shared<fake_names>();
    resolver tested{[names = names](const host_port& name) { return names->look_up(name); }};
};

std::string text_of(std::future<std::string> asked) {
    REQUIRE(asked.wait_for(long_enough) == std::future_status::ready);
    return asked.get();
}

}  // namespace

TEST_CASE("resolver: every lookup is a new one", "[backend][resolver]") {
    world w;
    w.names->set("db", "10.0.0.1");
    CHECK(text_of(w.ask("db")) == "10.0.0.1");
    w.names->set("db", "10.0.0.2");
    CHECK(text_of(w.ask("db")) == "10.0.0.2");
    CHECK(w.names->begun_of("db") == 2);
}

TEST_CASE("resolver: a failure is told, and not remembered", "[backend][resolver]") {
    world w;
    CHECK(text_of(w.ask("db")) == "no such name: db");
    w.names->set("db", "10.0.0.1");
    CHECK(text_of(w.ask("db")) == "10.0.0.1");
}

TEST_CASE("resolver: who asks meanwhile gets the answer under way", "[backend][resolver]") {
    world w;
    w.names->set("db", "10.0.0.1");
    w.names->hang("db");
    std::vector<std::future<std::string>> asked;
    for (int i = 0; i < 100; ++i) {
        asked.push_back(w.ask("db"));
    }
    auto other_port = w.ask("db", 5433);  // its addresses carry another port
    w.names->wait_begun("db", 2);
    w.names->let_go();
    for (auto& each : asked) {
        CHECK(text_of(std::move(each)) == "10.0.0.1");
    }
    CHECK(text_of(std::move(other_port)) == "10.0.0.1");
    CHECK(w.names->begun_of("db") == 2);
}

TEST_CASE("resolver: a name that hangs holds no other up", "[backend][resolver]") {
    world w;
    w.names->set("db", "10.0.0.1");
    std::vector<std::future<std::string>> hanging;
    for (unsigned i = 0; i + 1 < resolver::max_threads; ++i) {
        const auto name = "slow" + std::to_string(i);
        w.names->hang(name);
        hanging.push_back(w.ask(name));
    }
    for (int i = 0; i < 10; ++i) {
        CHECK(text_of(w.ask("db")) == "10.0.0.1");
    }
    for (auto& each : hanging) {
        CHECK(each.wait_for(0s) == std::future_status::timeout);
    }
}

TEST_CASE("resolver: too many that hang: the next one waits for its turn", "[backend][resolver]") {
    world w;
    w.names->set("db", "10.0.0.1");
    std::vector<std::future<std::string>> hanging;
    for (unsigned i = 0; i < resolver::max_threads; ++i) {
        const auto name = "slow" + std::to_string(i);
        w.names->hang(name);
        hanging.push_back(w.ask(name));
        w.names->wait_begun(name, 1);
    }
    auto waits = w.ask("db");
    CHECK(waits.wait_for(20ms) == std::future_status::timeout);
    w.names->let_go();
    CHECK(text_of(std::move(waits)) == "10.0.0.1");
    for (auto& each : hanging) {
        CHECK(text_of(std::move(each)).starts_with("no such name: slow"));
    }
}

TEST_CASE("resolver: its end does not wait, and calls nobody", "[backend][resolver]") {
    const auto names = std::make_shared<fake_names>();
    const auto called = std::make_shared<std::atomic<int>>(0);
    names->set("db", "10.0.0.1");
    names->hang("db");
    {
        resolver ends{[names](const host_port& name) { return names->look_up(name); }};
        ends.resolve({.host = "db", .port = 5432}, [called](const auto&) { ++*called; });
        names->wait_begun("db", 1);
        ends.stop();
        ends.resolve({.host = "db", .port = 5432}, [called](const auto&) { ++*called; });
    }
    names->let_go();
    // The lookup's thread gives `names` back when it has ended.
    for (int i = 0; i < 2000 && names.use_count() > 1; ++i) {
        std::this_thread::sleep_for(10ms);
    }
    CHECK(names.use_count() == 1);
    CHECK(*called == 0);
}
