// The event loop: who is called, in which order, and who is not called any more.
#include "backend/io/event_loop.hpp"

#include <catch2/catch.hpp>

#include <functional>
#include <string>
#include <sys/socket.h>
#include <thread>
#include <unistd.h>
#include <utility>
#include <vector>

using namespace signalbox::backend;
using namespace std::chrono_literals;

namespace {

class socket_pair {
public:
    socket_pair() {
        REQUIRE(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, ends.data()) == 0);
    }

    ~socket_pair() {
        ::close(ends[0]);
        ::close(ends[1]);
    }

    socket_pair(const socket_pair&) = delete;
    socket_pair& operator=(const socket_pair&) = delete;

    /// Makes the first end readable.
    void poke() { REQUIRE(::write(ends[1], "x", 1) == 1); }

    std::array<int, 2> ends{};
};

struct recorder final : event_handler {
    explicit recorder(std::function<void(std::uint32_t)> f) : call(std::move(f)) {}

    void on_events(std::uint32_t events) override { call(events); }

    std::function<void(std::uint32_t)> call;
};

}  // namespace

TEST_CASE(
    "posted work runs in its order, from any thread, and stop ends the loop",
    "[backend][event_loop]"
) {
    event_loop loop;
    std::vector<int> seen;
    std::thread other{[&] {
        for (int i = 0; i < 100; ++i) {
            loop.post([&seen, i] { seen.push_back(i); });
        }
        loop.stop();
    }};
    loop.run();
    other.join();
    REQUIRE(seen.size() == 100);
    CHECK(std::is_sorted(seen.begin(), seen.end()));
}

TEST_CASE("timers run when they are due, in the order of their times", "[backend][event_loop]") {
    event_loop loop;

    struct entry {
        timer t;
        int number = 0;
        std::vector<int>* seen = nullptr;
    };

    std::vector<int> seen;
    std::vector<entry> entries(50);
    const auto start = clock::now();
    for (int i = 0; i < 50; ++i) {
        auto& e = entries[static_cast<std::size_t>(i)];
        e.number = (i * 37) % 50;
        e.seen = &seen;
        e.t.start(
            loop,
            start + std::chrono::microseconds{100 * e.number},
            [](void* self) {
                auto& mine = *static_cast<entry*>(self);
                mine.seen->push_back(mine.number);
            },
            &e
        );
    }
    for (auto& e : entries) {
        if (e.number % 3 == 0) {
            e.t.cancel();
            CHECK_FALSE(e.t.running());
        }
    }
    timer end;
    end.start(
        loop, start + 10ms, [](void* l) { static_cast<event_loop*>(l)->stop(); }, &loop
    );
    loop.run();
    std::vector<int> expected;
    for (int i = 0; i < 50; ++i) {
        if (i % 3 != 0) {
            expected.push_back(i);
        }
    }
    CHECK(seen == expected);
    CHECK(clock::now() - start >= 10ms);
}

TEST_CASE("a timer may be started again and destroyed from its own call", "[backend][event_loop]") {
    event_loop loop;

    struct state {
        event_loop& loop;
        std::unique_ptr<timer> t = std::make_unique<timer>();
        int calls = 0;

        static void call(void* self) {
            auto& s = *static_cast<state*>(self);
            if (++s.calls < 3) {
                s.t->start(s.loop, clock::now(), &state::call, self);
            } else {
                s.t.reset();
                s.loop.stop();
            }
        }
    } s{loop};

    s.t->start(loop, clock::now(), &state::call, &s);
    loop.run();
    CHECK(s.calls == 3);
}

TEST_CASE(
    "a handler that is removed gets no event of the batch under way", "[backend][event_loop]"
) {
    event_loop loop;
    std::array<socket_pair, 2> pairs;
    int calls = 0;
    std::vector<std::unique_ptr<recorder>> handlers;
    for (std::size_t i = 0; i < 2; ++i) {
        handlers.push_back(std::make_unique<recorder>([&, i](std::uint32_t) {
            ++calls;
            const auto other = 1 - i;
            loop.remove(pairs[other].ends[0], *handlers[other]);
            loop.remove(pairs[i].ends[0], *handlers[i]);
            handlers[other].reset();
            loop.stop();
        }));
        pairs[i].poke();
        loop.add(pairs[i].ends[0], EPOLLIN, *handlers[i]);
    }
    loop.run();
    CHECK(calls == 1);
}

TEST_CASE("handlers marked first see their events before all others", "[backend][event_loop]") {
    event_loop loop;
    std::array<socket_pair, 3> pairs;
    std::string order;
    std::vector<std::unique_ptr<recorder>> handlers;
    for (std::size_t i = 0; i < 3; ++i) {
        handlers.push_back(std::make_unique<recorder>([&, i](std::uint32_t) {
            order += std::to_string(i);
            loop.remove(pairs[i].ends[0], *handlers[i]);
            loop.stop();
        }));
        handlers[i]->first = i == 2;
        pairs[i].poke();
        loop.add(pairs[i].ends[0], EPOLLIN, *handlers[i]);
    }
    loop.run();
    CHECK(order == "201");
}

TEST_CASE(
    "deferred work runs behind the batch, with what it defers itself", "[backend][event_loop]"
) {
    event_loop loop;
    socket_pair pair;
    std::string order;
    recorder handler{[&](std::uint32_t) {
        loop.remove(pair.ends[0], handler);
        loop.defer([&] {
            order += "d";
            loop.defer([&] { order += "e"; });
        });
        order += "h";
        loop.stop();
    }};
    pair.poke();
    loop.add(pair.ends[0], EPOLLIN, handler);
    loop.run();
    CHECK(order == "hde");
}

TEST_CASE("a descriptor that cannot be watched is an exception", "[backend][event_loop]") {
    event_loop loop;
    recorder handler{[](std::uint32_t) {}};
    CHECK_THROWS_AS(loop.add(-1, EPOLLIN, handler), std::system_error);
}
