// Which status events are written: on change only, within the quota, ending with the truth.
#include "catalog/status_history.hpp"

#include <catch2/catch.hpp>

#include <map>
#include <random>

using namespace signalbox::catalog;
using std::chrono::milliseconds;
using std::chrono::minutes;
using std::chrono::seconds;

namespace {

/// A clock that a test moves; the wall may jump by itself.
struct test_clock {
    moment now{
        .steady = std::chrono::steady_clock::time_point{std::chrono::hours{1}},
        .wall = timestamp{std::chrono::hours{500'000}}};

    void advance(std::chrono::microseconds by) {
        now.steady += by;
        now.wall += by;
    }
};

std::vector<std::string> statuses(const std::vector<status_event>& events) {
    std::vector<std::string> out;
    for (const status_event& event : events) {
        out.push_back(event.status);
    }
    return out;
}

using texts = std::vector<std::string>;

/// A tracker whose batches are always written.
struct world {
    test_clock clock;
    status_tracker tracker;
    std::vector<status_event> log;

    explicit world(status_quota quota = {}) : tracker{quota} {}

    std::vector<status_event> keep(std::vector<status_event> batch) {
        if (!batch.empty()) {
            log.insert(log.end(), batch.begin(), batch.end());
            tracker.written(batch);
        }
        return batch;
    }

    std::vector<status_event> report(
        std::string_view id, std::string_view status, std::optional<std::string> error = {}
    ) {
        return keep(tracker.report(id, status, std::move(error), clock.now));
    }

    std::vector<status_event> due() { return keep(tracker.due(clock.now)); }
};

}  // namespace

TEST_CASE("a status is written when it differs from the last one written") {
    world w;
    CHECK(statuses(w.report("u1", "available")) == texts{"available"});
    CHECK(w.report("u1", "available").empty());
    CHECK(statuses(w.report("u2", "available")) == texts{"available"});
    const auto failed = w.report("u1", "failed", "refused");
    REQUIRE(failed.size() == 1);
    CHECK(failed[0].connection_id == "u1");
    CHECK(failed[0].error == "refused");
    CHECK(failed[0].occurred_at == w.clock.now.wall + std::chrono::microseconds{1});
    // Only the status counts.
    CHECK(w.report("u1", "failed", "another text").empty());
    CHECK_FALSE(w.tracker.next_due());
}

TEST_CASE("the last statuses are read back at start") {
    world w;
    const timestamp earlier = w.clock.now.wall - minutes{1};
    w.tracker.restore(
        {{.connection_id = "u1", .status = "failed", .error = "x", .occurred_at = earlier},
         {.connection_id = "u1", .status = "available", .error = {}, .occurred_at = earlier},
         {.connection_id = "u2", .status = "failed", .error = "x", .occurred_at = earlier},
         {.connection_id = "u3", .status = "deleted", .error = {}, .occurred_at = earlier}}
    );
    CHECK(w.report("u1", "available").empty());
    CHECK(statuses(w.report("u2", "available")) == texts{"available"});
    CHECK(w.report("u3", "available").empty());
    CHECK(w.report("u3", "deleted").empty());
}

TEST_CASE("what the bucket holds back is coalesced, and the newest is written") {
    world w{{.events = 60, .per = minutes{1}, .burst = 2}};
    CHECK(w.report("u1", "a").size() == 1);
    CHECK(w.report("u1", "b").size() == 1);
    CHECK(w.report("u1", "c").empty());
    w.clock.advance(milliseconds{100});
    CHECK(w.report("u1", "d", "first").empty());
    const timestamp since = w.clock.now.wall;
    w.clock.advance(milliseconds{100});
    CHECK(w.report("u1", "d", "second").empty());
    REQUIRE(w.tracker.next_due());
    CHECK(*w.tracker.next_due() == w.clock.now.steady + milliseconds{800});
    w.clock.advance(milliseconds{799});
    CHECK(w.due().empty());
    w.clock.advance(milliseconds{1});
    const auto written = w.due();
    REQUIRE(statuses(written) == texts{"d"});
    CHECK(written[0].error == "second");
    CHECK(written[0].occurred_at == since);
    CHECK_FALSE(w.tracker.next_due());
}

TEST_CASE("a status that has come back by the time of its token is not written") {
    world w{{.events = 1, .per = seconds{1}, .burst = 1}};
    CHECK(w.report("u1", "available").size() == 1);
    CHECK(w.report("u1", "failed").empty());
    CHECK(w.report("u1", "available").empty());
    CHECK_FALSE(w.tracker.next_due());
    w.clock.advance(seconds{5});
    CHECK(w.due().empty());
    // The unused token is there.
    CHECK(w.report("u1", "failed").size() == 1);
}

TEST_CASE("one connection's bucket is not another's") {
    world w{{.events = 1, .per = minutes{1}, .burst = 1}};
    CHECK(w.report("u1", "a").size() == 1);
    CHECK(w.report("u1", "b").empty());
    CHECK(w.report("u2", "a").size() == 1);
}

TEST_CASE("deleted is written at once, and nothing after it") {
    world w{{.events = 1, .per = minutes{1}, .burst = 1}};
    CHECK(w.report("u1", "a").size() == 1);
    CHECK(w.report("u1", "b").empty());
    CHECK(statuses(w.report("u1", "deleted")) == texts{"deleted"});
    CHECK(w.report("u1", "a").empty());
    CHECK(w.report("u1", "deleted").empty());
    w.clock.advance(minutes{5});
    CHECK(w.due().empty());
    CHECK_FALSE(w.tracker.next_due());
}

TEST_CASE("a dropped connection is forgotten with what waits for it") {
    world w;
    const auto batch = w.tracker.report("u1", "a", {}, w.clock.now);
    CHECK(w.tracker.report("u1", "b", {}, w.clock.now).empty());
    CHECK(w.tracker.report("u2", "a", {}, w.clock.now).empty());
    w.tracker.forget("u1");
    w.tracker.failed(batch, w.clock.now);
    w.clock.advance(seconds{2});
    const auto rest = w.due();
    REQUIRE(rest.size() == 1);
    CHECK(rest[0].connection_id == "u2");
    CHECK(w.report("u1", "c").empty());
}

TEST_CASE("occurred_at never goes back") {
    world w;
    w.report("u1", "a");
    w.clock.now.wall -= std::chrono::hours{3};
    w.report("u1", "b");
    w.report("u1", "a");
    w.clock.now.wall += std::chrono::hours{6};
    w.report("u1", "b");
    REQUIRE(w.log.size() == 4);
    for (std::size_t i = 1; i < w.log.size(); ++i) {
        CHECK(w.log[i - 1].occurred_at < w.log[i].occurred_at);
    }
    CHECK(w.log[3].occurred_at == w.clock.now.wall);
}

TEST_CASE("while the store is away events gather, and go out in order when it is back") {
    world w;
    auto batch = w.tracker.report("u1", "a", {}, w.clock.now);
    REQUIRE(batch.size() == 1);
    // One batch at a time.
    CHECK(w.tracker.report("u1", "b", {}, w.clock.now).empty());
    CHECK(w.tracker.due(w.clock.now).empty());
    w.tracker.failed(batch, w.clock.now);
    CHECK(w.tracker.report("u1", "c", {}, w.clock.now).empty());
    REQUIRE(w.tracker.next_due());
    CHECK(*w.tracker.next_due() == w.clock.now.steady + seconds{1});
    w.clock.advance(seconds{1});
    batch = w.tracker.due(w.clock.now);
    CHECK(statuses(batch) == texts{"a", "b", "c"});
    w.tracker.failed(batch, w.clock.now);
    w.clock.advance(seconds{1});
    CHECK(statuses(w.due()) == texts{"a", "b", "c"});
    CHECK_FALSE(w.tracker.next_due());
}

TEST_CASE("what gathers is bounded; each connection's newest stays") {
    test_clock clock;
    status_tracker tracker{{.events = 1'000, .per = seconds{1}, .burst = 1'000}, 10};
    auto batch = tracker.report("quiet", "available", {}, clock.now);
    tracker.failed(batch, clock.now);
    for (int i = 0; i < 101; ++i) {
        clock.advance(milliseconds{2});
        tracker.report("loud", i % 2 == 0 ? "failed" : "available", {}, clock.now);
    }
    clock.advance(seconds{2});
    batch = tracker.due(clock.now);
    REQUIRE(batch.size() == 10);
    CHECK(batch.front().connection_id == "quiet");
    CHECK(batch.back().status == "failed");
    for (std::size_t i = 2; i < batch.size(); ++i) {
        CHECK(batch[i].status != batch[i - 1].status);
    }
}

TEST_CASE("who does not lead writes nothing, and knows what is true when it leads again") {
    world w;
    w.report("u1", "available");
    w.report("u2", "available");
    w.tracker.follow();
    CHECK(w.report("u1", "failed", "x").empty());
    CHECK(w.report("u2", "failed", "x").empty());
    CHECK(w.report("u3", "available").empty());
    CHECK_FALSE(w.tracker.next_due());
    // The other has seen u1 fail as well.
    auto history = w.log;
    history.push_back(
        {.connection_id = "u1",
         .status = "failed",
         .error = "y",
         .occurred_at = w.clock.now.wall + seconds{5}}
    );
    w.tracker.lead(history);
    const auto written = w.due();
    REQUIRE(statuses(written) == texts{"failed", "available"});
    CHECK(written[0].connection_id == "u2");
    CHECK(written[1].connection_id == "u3");
    // Behind what the other wrote, although our clock is behind.
    const auto next = w.report("u1", "available");
    REQUIRE(next.size() == 1);
    CHECK(next[0].occurred_at > w.clock.now.wall + seconds{5});
}

TEST_CASE("a leader that loses its place in the middle of a write takes its events along") {
    world w;
    const auto batch = w.tracker.report("u1", "failed", "x", w.clock.now);
    REQUIRE(batch.size() == 1);
    w.tracker.failed(batch, w.clock.now);
    w.tracker.follow();
    w.clock.advance(seconds{10});
    CHECK(w.due().empty());
    w.tracker.lead({});
    CHECK(statuses(w.due()) == texts{"failed"});
}

TEST_CASE("a load in between drops what has been written by another") {
    world w;
    const auto batch = w.tracker.report("u1", "failed", "x", w.clock.now);
    w.tracker.failed(batch, w.clock.now);
    w.tracker.report("u1", "available", {}, w.clock.now);
    // Our first write had arrived, although its answer was lost.
    w.tracker.restore(batch);
    w.clock.advance(seconds{1});
    CHECK(statuses(w.due()) == texts{"available"});
}

TEST_CASE("random flips: within the quota, never the same twice in a row, the truth in the end") {
    const auto seed = GENERATE(range(0, 200));
    CAPTURE(seed);
    std::mt19937 random{static_cast<unsigned>(seed)};
    const auto pick = [&](int n) { return static_cast<int>(random() % static_cast<unsigned>(n)); };
    const status_quota quota{
        .events = static_cast<std::size_t>(1 + pick(30)),
        .per = milliseconds{1 + pick(60'000)},
        .burst = static_cast<std::size_t>(1 + pick(30))};
    const std::vector<std::string> ids{"u1", "u2", "u3"};
    const std::vector<std::string> words{"available", "failed", "unknown"};

    test_clock clock;
    status_tracker tracker{quota};

    struct emission {
        std::chrono::steady_clock::time_point when;
        status_event event;
    };

    std::map<std::string, std::vector<emission>> log;  // as the store has it
    std::map<std::string, std::string> truth;
    std::map<std::string, std::size_t> reported;
    int away = 0;  // the store fails this many more times
    std::vector<status_event> history;
    bool was_away = false;

    const auto store = [&](const std::vector<status_event>& batch) {
        if (batch.empty()) {
            return;
        }
        if (away > 0) {
            --away;
            was_away = true;
            tracker.failed(batch, clock.now);
            return;
        }
        for (const status_event& event : batch) {
            log[event.connection_id].push_back({clock.now.steady, event});
            history.push_back(event);
        }
        tracker.written(batch);
    };
    for (int step = 0; step < 1'500; ++step) {
        clock.advance(std::chrono::microseconds{pick(60'000)});
        if (pick(200) == 0) {
            clock.now.wall += seconds{pick(2'000) - 1'000};
        }
        if (seed % 2 == 1 && pick(300) == 0) {
            away = 1 + pick(3);
        }
        if (pick(5) == 0) {
            store(tracker.due(clock.now));
        } else if (pick(400) == 0) {
            tracker.restore(history);
        } else {
            const std::string& id = ids[static_cast<std::size_t>(pick(3))];
            truth[id] = words[static_cast<std::size_t>(pick(3))];
            ++reported[id];
            store(tracker.report(id, truth[id], std::to_string(step), clock.now));
        }
    }
    // From now on only what next_due() asks for.
    away = 0;
    for (int turns = 0; tracker.next_due(); ++turns) {
        REQUIRE(turns < 1'000);
        const auto wait = std::max(
            *tracker.next_due() - clock.now.steady, std::chrono::steady_clock::duration::zero()
        );
        clock.advance(std::chrono::ceil<std::chrono::microseconds>(wait));
        store(tracker.due(clock.now));
    }
    for (const auto& [id, status] : truth) {
        CAPTURE(id);
        const auto& written = log[id];
        REQUIRE_FALSE(written.empty());
        CHECK(written.back().event.status == status);
        CHECK(written.size() <= reported[id]);
        for (std::size_t i = 1; i < written.size(); ++i) {
            CHECK(written[i].event.status != written[i - 1].event.status);
            CHECK(written[i].event.occurred_at > written[i - 1].event.occurred_at);
        }
        if (was_away) {
            continue;  // a backlog is written at once
        }
        // Every span of time holds at most its tokens and the burst.
        for (std::size_t first = 0; first < written.size(); ++first) {
            for (std::size_t last = first; last < written.size(); ++last) {
                const std::chrono::duration<double> span = written[last].when - written[first].when;
                const double tokens = span.count() * static_cast<double>(quota.events) /
                                      std::chrono::duration<double>{quota.per}.count();
                REQUIRE(
                    static_cast<double>(last - first + 1) <=
                    static_cast<double>(quota.burst) + tokens + 1e-6
                );
            }
        }
    }
}

TEST_CASE("a thousand flips a minute write the quota, not more") {
    world w;
    for (int i = 0; i < 1'000; ++i) {
        w.clock.advance(milliseconds{60});
        w.report("u1", i % 2 == 0 ? "failed" : "available");
        w.due();
    }
    CHECK(w.log.size() <= 40);  // the burst, and a minute's worth
    CHECK(w.log.size() >= 35);
    w.clock.advance(seconds{3});
    w.due();
    CHECK(w.log.back().status == "available");
}
