// Who listens to what: statements, confirmations and audiences, through failures and lost
// connections; and a long random run against the promises.
#include "backend/notification_subscriptions.hpp"

#include "tests/support/frames.hpp"

#include <catch2/catch.hpp>

#include <algorithm>
#include <deque>
#include <map>
#include <random>
#include <set>
#include <string>
#include <vector>

using namespace signalbox::backend;
using signalbox::tests::split_frames;
using confirmation = notification_subscriptions::confirmation;
using names = std::vector<std::string>;
using sessions = std::map<std::size_t, std::vector<std::uint64_t>>;

namespace {

struct world {
    /// The statements of the next batch.
    names batch() {
        std::string out;
        const bool any = all.next_batch(out);
        names statements;
        for (const auto& frame : split_frames(out)) {
            REQUIRE(frame.type == 'Q');
            REQUIRE(frame.body.back() == '\0');
            statements.push_back(frame.body.substr(0, frame.body.size() - 1));
        }
        REQUIRE(any == !statements.empty());
        return statements;
    }

    void complete() {
        all.on_complete();
        all.on_ready();
    }

    bool fail() {
        const bool usable = all.on_error();
        all.on_ready();
        return usable;
    }

    std::vector<confirmation> due() { return all.take_due(); }

    sessions hear(std::string_view channel) {
        sessions found;
        for (const auto& each : all.audiences(channel)) {
            REQUIRE_FALSE(each.sessions->empty());
            found[each.worker] = *each.sessions;
        }
        return found;
    }

    notification_subscriptions all;
};

const std::vector<confirmation> none;

}  // namespace

TEST_CASE("LISTEN is sent once, and confirmed when it is answered", "[backend][notifications]") {
    world w;
    CHECK(w.all.empty());
    w.all.set_channels(1, 7, {"jobs"}, 100);
    CHECK_FALSE(w.all.empty());
    CHECK(w.batch() == names{"LISTEN \"jobs\""});
    CHECK(w.batch().empty());
    CHECK(w.all.is_asking());
    CHECK(w.due() == none);
    CHECK(w.hear("jobs").empty());
    w.all.on_complete();
    CHECK(w.due() == std::vector<confirmation>{{1, 100, true}});
    CHECK(w.hear("jobs") == sessions{{1, {7}}});
    CHECK(w.hear("other").empty());
    w.all.on_ready();
    CHECK_FALSE(w.all.is_asking());
    CHECK(w.batch().empty());
    CHECK(w.due() == none);
}

TEST_CASE("names are quoted", "[backend][notifications]") {
    world w;
    w.all.set_channels(0, 1, {"a\"b", "Big Name", "ünï", ""}, 1);
    CHECK(
        w.batch() ==
        names{"LISTEN \"\"", "LISTEN \"Big Name\"", "LISTEN \"a\"\"b\"", "LISTEN \"ünï\""}
    );
}

TEST_CASE(
    "a set of several channels is confirmed with the last of them", "[backend][notifications]"
) {
    world w;
    w.all.set_channels(0, 1, {"b", "a", "b"}, 5);
    CHECK(w.batch() == names{"LISTEN \"a\"", "LISTEN \"b\""});
    w.complete();
    CHECK(w.due() == none);
    CHECK(w.hear("a") == sessions{{0, {1}}});
    CHECK(w.hear("b").empty());
    w.complete();
    CHECK(w.due() == std::vector<confirmation>{{0, 5, true}});
}

TEST_CASE(
    "a channel that others hear already is joined behind a LISTEN", "[backend][notifications]"
) {
    world w;
    w.all.set_channels(0, 1, {"c"}, 1);
    REQUIRE(w.batch().size() == 1);
    // These come too late for the batch under way, and share the next.
    w.all.set_channels(1, 2, {"c"}, 2);
    w.all.set_channels(0, 3, {"c"}, 3);
    CHECK(w.batch().empty());
    w.complete();
    CHECK(w.due() == std::vector<confirmation>{{0, 1, true}});
    CHECK(w.hear("c") == sessions{{0, {1}}});
    CHECK(w.batch() == names{"LISTEN \"c\""});
    CHECK(w.hear("c") == sessions{{0, {1}}});
    w.complete();
    CHECK(w.due() == std::vector<confirmation>{{1, 2, true}, {0, 3, true}});
    CHECK(w.hear("c") == sessions{{0, {1, 3}}, {1, {2}}});
    CHECK(w.batch().empty());
}

TEST_CASE("the last one who leaves ends it", "[backend][notifications]") {
    world w;
    w.all.set_channels(0, 1, {"c"}, 0);
    w.all.set_channels(0, 2, {"c", "d"}, 0);
    REQUIRE(w.batch().size() == 2);
    w.complete();
    w.complete();
    CHECK(w.due() == none);
    w.all.set_channels(0, 1, {}, 9);
    CHECK(w.due() == std::vector<confirmation>{{0, 9, true}});
    CHECK(w.batch().empty());
    CHECK(w.hear("c") == sessions{{0, {2}}});
    w.all.set_channels(0, 2, {"d"}, 10);
    CHECK(w.due() == std::vector<confirmation>{{0, 10, true}});
    CHECK(w.hear("c").empty());
    CHECK(w.hear("d") == sessions{{0, {2}}});
    CHECK_FALSE(w.all.empty());
    CHECK(w.batch() == names{"UNLISTEN \"c\""});
    w.complete();
    w.all.set_channels(0, 2, {}, 0);
    CHECK(w.all.empty());
    CHECK(w.batch() == names{"UNLISTEN \"d\""});
    w.complete();
    CHECK(w.batch().empty());
}

TEST_CASE("leaving and coming back", "[backend][notifications]") {
    world w;
    w.all.set_channels(0, 1, {"c"}, 1);
    SECTION("before anything is sent") {
        w.all.set_channels(0, 1, {}, 2);
        CHECK(w.due() == std::vector<confirmation>{{0, 1, false}, {0, 2, true}});
        CHECK(w.batch().empty());
        CHECK(w.all.empty());
    }
    SECTION("while LISTEN is under way: it is taken back") {
        REQUIRE(w.batch().size() == 1);
        w.all.set_channels(0, 1, {}, 2);
        CHECK(w.due() == std::vector<confirmation>{{0, 1, false}, {0, 2, true}});
        w.complete();
        CHECK(w.hear("c").empty());
        CHECK(w.batch() == names{"UNLISTEN \"c\""});
        w.complete();
        CHECK(w.batch().empty());
    }
    SECTION("left and joined again while LISTEN is under way: the next one counts") {
        REQUIRE(w.batch().size() == 1);
        w.all.set_channels(0, 1, {}, 0);
        w.all.set_channels(0, 1, {"c"}, 3);
        CHECK(w.due() == std::vector<confirmation>{{0, 1, false}});
        w.complete();
        CHECK(w.hear("c").empty());
        CHECK(w.due() == none);
        CHECK(w.batch() == names{"LISTEN \"c\""});
        w.complete();
        CHECK(w.due() == std::vector<confirmation>{{0, 3, true}});
        CHECK(w.hear("c") == sessions{{0, {1}}});
    }
    SECTION("joined while UNLISTEN is under way") {
        REQUIRE(w.batch().size() == 1);
        w.complete();
        w.all.set_channels(0, 1, {}, 0);
        REQUIRE(w.batch() == names{"UNLISTEN \"c\""});
        w.all.set_channels(0, 2, {"c"}, 4);
        w.complete();
        CHECK(w.hear("c").empty());
        CHECK(w.batch() == names{"LISTEN \"c\""});
        w.complete();
        CHECK(w.hear("c") == sessions{{0, {2}}});
    }
    SECTION("joined before UNLISTEN is sent") {
        REQUIRE(w.batch().size() == 1);
        w.complete();
        w.all.set_channels(0, 1, {}, 0);
        w.all.set_channels(0, 2, {"c"}, 4);
        CHECK(w.batch() == names{"LISTEN \"c\""});
    }
}

TEST_CASE("a newer set replaces one that is not confirmed", "[backend][notifications]") {
    world w;
    w.all.set_channels(0, 1, {"a"}, 1);
    REQUIRE(w.batch().size() == 1);
    w.all.set_channels(0, 1, {"a", "b"}, 2);
    CHECK(w.due() == std::vector<confirmation>{{0, 1, false}});
    w.complete();
    CHECK(w.hear("a") == sessions{{0, {1}}});
    CHECK(w.due() == none);
    CHECK(w.batch() == names{"LISTEN \"b\""});
    w.complete();
    CHECK(w.due() == std::vector<confirmation>{{0, 2, true}});
}

TEST_CASE(
    "a LISTEN that fails is refused to those who joined with it", "[backend][notifications]"
) {
    world w;
    w.all.set_channels(0, 1, {"a", "b"}, 1);
    w.all.set_channels(1, 2, {"b"}, 2);
    REQUIRE(w.batch() == names{"LISTEN \"a\"", "LISTEN \"b\""});
    w.all.set_channels(1, 3, {"a"}, 3);
    CHECK(w.fail());
    CHECK(w.due() == std::vector<confirmation>{{0, 1, false}});
    w.complete();
    CHECK(w.due() == std::vector<confirmation>{{1, 2, true}});
    CHECK(w.hear("b") == sessions{{0, {1}}, {1, {2}}});
    // The one who came later gets a try of its own; it fails, too, and nothing is left.
    CHECK(w.batch() == names{"LISTEN \"a\""});
    CHECK(w.fail());
    CHECK(w.due() == std::vector<confirmation>{{1, 3, false}});
    CHECK(w.batch().empty());
    w.all.set_channels(0, 1, {}, 0);
    w.all.set_channels(1, 2, {}, 0);
    CHECK(w.all.empty());
}

TEST_CASE("a LISTEN that fails takes nothing from those who hear", "[backend][notifications]") {
    world w;
    w.all.set_channels(0, 1, {"a"}, 1);
    REQUIRE(w.batch().size() == 1);
    w.complete();
    w.all.set_channels(0, 2, {"a"}, 2);
    REQUIRE(w.batch().size() == 1);
    CHECK(w.fail());
    CHECK(w.due() == std::vector<confirmation>{{0, 1, true}, {0, 2, false}});
    CHECK(w.hear("a") == sessions{{0, {1}}});
    CHECK(w.batch().empty());
}

TEST_CASE(
    "an error of no statement, or to an UNLISTEN, ends the connection", "[backend][notifications]"
) {
    world w;
    CHECK_FALSE(w.all.on_error());
    w.all.set_channels(0, 1, {"a"}, 1);
    REQUIRE(w.batch().size() == 1);
    w.all.on_complete();
    CHECK_FALSE(w.all.on_error());
    w.all.on_ready();
    w.all.set_channels(0, 1, {}, 2);
    REQUIRE(w.batch().size() == 1);
    CHECK_FALSE(w.fail());
    w.all.on_lost();
    CHECK(w.batch().empty());
}

TEST_CASE("a lost connection: everything is asked again", "[backend][notifications]") {
    world w;
    w.all.set_channels(0, 1, {"a", "gone"}, 1);
    w.all.set_channels(1, 2, {"b"}, 2);
    REQUIRE(w.batch().size() == 3);
    w.complete();
    SECTION("in the middle of a batch") {
        w.all.on_lost();
        CHECK(w.due() == none);
        CHECK(w.batch() == names{"LISTEN \"a\"", "LISTEN \"b\"", "LISTEN \"gone\""});
        w.complete();
        w.complete();
        CHECK(w.due() == std::vector<confirmation>{{1, 2, true}});
        w.complete();
        CHECK(w.due() == std::vector<confirmation>{{0, 1, true}});
        CHECK(w.hear("a") == sessions{{0, {1}}});
        CHECK(w.hear("b") == sessions{{1, {2}}});
    }
    SECTION("with changes while it is away") {
        w.complete();
        w.complete();
        REQUIRE(w.due().size() == 2);
        w.all.on_lost();
        w.all.set_channels(0, 1, {"a", "new"}, 3);
        w.all.set_channels(1, 2, {}, 4);
        CHECK(w.due() == std::vector<confirmation>{{1, 4, true}});
        CHECK(w.batch() == names{"LISTEN \"a\"", "LISTEN \"new\""});
        w.complete();
        CHECK(w.due() == none);
        CHECK(w.hear("a") == sessions{{0, {1}}});
        w.complete();
        CHECK(w.due() == std::vector<confirmation>{{0, 3, true}});
    }
    SECTION("a server that does not take what the old one took") {
        w.complete();
        w.complete();
        w.all.on_lost();
        REQUIRE(w.batch().size() == 3);
        CHECK_FALSE(w.fail());
        w.all.on_lost();
        CHECK(w.batch().size() == 3);
    }
    SECTION("nobody wants to wait any more") {
        w.all.on_lost();
        w.all.refuse_waiting();
        auto refused = w.due();
        CHECK(refused.size() == 2);
        for (const auto& each : refused) {
            CHECK_FALSE(each.ok);
        }
        // What they want stays wanted, and nothing is said twice.
        CHECK(w.batch().size() == 3);
        w.complete();
        w.complete();
        w.complete();
        CHECK(w.due() == none);
        CHECK(w.hear("b") == sessions{{1, {2}}});
    }
}

TEST_CASE("a list that is being delivered does not change", "[backend][notifications]") {
    world w;
    w.all.set_channels(0, 1, {"a"}, 1);
    w.all.set_channels(0, 2, {"a"}, 2);
    REQUIRE(w.batch().size() == 1);
    w.complete();
    const auto before = w.all.audiences("a").at(0).sessions;
    CHECK(w.all.audiences("a").at(0).sessions == before);  // made once, not at every notification
    w.all.set_channels(0, 1, {}, 3);
    CHECK(*before == std::vector<std::uint64_t>{1, 2});
    CHECK(w.hear("a") == sessions{{0, {2}}});
}

TEST_CASE("a random run keeps its promises", "[backend][notifications]") {
    const auto seed = GENERATE(range(0U, 40U));
    std::mt19937 random{seed};
    const auto below = [&](unsigned n) { return static_cast<unsigned>(random() % n); };
    world w;
    std::map<std::uint64_t, std::set<std::string>> wanted;
    std::map<std::uint64_t, std::set<std::string>> doubted;  // refused: may or may not be heard
    std::map<std::uint64_t, std::uint64_t> open;             // request -> session
    std::map<std::uint64_t, std::uint64_t> newest;           // session -> its last request
    std::set<std::string> server;                            // what it listens to
    std::deque<std::string> sent;
    std::uint64_t request = 0;

    const auto settle = [&] {
        for (const auto& done : w.due()) {
            CAPTURE(seed, done.request, done.ok);
            REQUIRE(open.count(done.request) == 1);
            const auto session = open[done.request];
            open.erase(done.request);
            CHECK(done.worker == session % 3);
            if (newest[session] != done.request) {
                CHECK_FALSE(done.ok);
                continue;
            }
            if (!done.ok) {
                doubted[session] = wanted[session];
                continue;
            }
            for (const auto& channel : wanted[session]) {
                const auto heard = w.hear(channel);
                const auto at = heard.find(done.worker);
                REQUIRE(at != heard.end());
                CHECK(std::count(at->second.begin(), at->second.end(), session) == 1);
            }
        }
    };
    const auto answer = [&](bool may_fail) {
        const auto statement = sent.front();
        sent.pop_front();
        const bool listen = statement.rfind("LISTEN", 0) == 0;
        const auto channel = statement.substr(statement.find('"'));
        bool usable = true;
        if (may_fail && listen && below(8) == 0) {
            usable = w.fail();
        } else {
            listen ? void(server.insert(channel)) : void(server.erase(channel));
            w.complete();
        }
        if (!usable) {
            server.clear();
            sent.clear();
            w.all.on_lost();
        }
        settle();
    };
    const auto ask = [&] {
        for (auto& statement : w.batch()) {
            sent.push_back(std::move(statement));
        }
    };

    for (int step = 0; step < 400; ++step) {
        switch (below(8)) {
            case 0:
            case 1:
            case 2: {
                const std::uint64_t session = 1 + below(6);
                names channels;
                for (const char* each : {"a", "b", "c", "d"}) {
                    if (below(3) == 0) {
                        channels.emplace_back(each);
                    }
                }
                ++request;
                open[request] = session;
                newest[session] = request;
                wanted[session] = {channels.begin(), channels.end()};
                doubted.erase(session);
                w.all.set_channels(session % 3, session, channels, request);
                settle();
                break;
            }
            case 3:
                if (below(6) == 0) {
                    sent.clear();
                    server.clear();
                    w.all.on_lost();
                }
                break;
            case 4:
                ask();
                break;
            default:
                if (!sent.empty()) {
                    answer(true);
                }
                break;
        }
        // Nobody hears what it does not want, on no account.
        for (const std::string channel : {"a", "b", "c", "d"}) {
            for (const auto& [worker, ids] : w.hear(channel)) {
                for (const auto id : ids) {
                    CAPTURE(seed, step, channel, id);
                    CHECK(wanted[id].count(channel) == 1);
                    CHECK(id % 3 == worker);
                }
            }
        }
    }
    // At the end everything is answered, and the server listens to what somebody wants.
    for (int i = 0; i < 3; ++i) {
        ask();
        while (!sent.empty()) {
            answer(false);
        }
    }
    CHECK(open.empty());
    std::set<std::string> heard;
    for (const auto& [session, channels] : wanted) {
        for (const auto& channel : channels) {
            const auto found = w.hear(channel);
            const auto at = found.find(session % 3);
            const bool hears =
                at != found.end() && std::count(at->second.begin(), at->second.end(), session) == 1;
            CAPTURE(seed, session, channel);
            CHECK((hears || doubted.count(session) == 1));
            if (hears) {
                heard.insert("\"" + channel + "\"");
            }
        }
    }
    CHECK(server == heard);
    for (const auto& [session, channels] : wanted) {
        w.all.set_channels(session % 3, session, {}, 0);
    }
    CHECK(w.all.empty());
    ask();
    while (!sent.empty()) {
        answer(false);
    }
    CHECK(server.empty());
}
