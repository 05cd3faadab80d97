// Hosts that were silent lately come last; the order is otherwise the connection's.
#include "backend/silent_hosts.hpp"

#include <catch2/catch.hpp>

#include <vector>

using namespace signalbox::backend;
using places = std::vector<std::size_t>;

namespace {

std::vector<signalbox::catalog::host_port> abc() {
    return {{.host = "a", .port = 1}, {.host = "b", .port = 1}, {.host = "c", .port = 1}};
}

}  // namespace

TEST_CASE("the silent come last, each part in its order", "[backend][silent_hosts]") {
    const time_point now{std::chrono::hours{1}};
    const auto hosts = abc();
    silent_hosts silent;
    CHECK(silent.order(hosts, now) == places{0, 1, 2});
    silent.note_silence(hosts[0], now);
    CHECK(silent.order(hosts, now) == places{1, 2, 0});
    silent.note_silence(hosts[1], now);
    CHECK(silent.order(hosts, now) == places{2, 0, 1});
    silent.note_silence(hosts[2], now);
    CHECK(silent.order(hosts, now) == places{0, 1, 2});
    silent.note_answer(hosts[1]);
    CHECK(silent.order(hosts, now) == places{1, 0, 2});
}

TEST_CASE("a silence is forgotten after a while, and counts anew", "[backend][silent_hosts]") {
    const time_point now{std::chrono::hours{1}};
    const auto later = now + silent_hosts::memory;
    const auto hosts = abc();
    silent_hosts silent;
    silent.note_silence(hosts[0], now);
    CHECK(silent.order(hosts, later - std::chrono::milliseconds{1}) == places{1, 2, 0});
    CHECK(silent.order(hosts, later) == places{0, 1, 2});
    silent.note_silence(hosts[0], now + std::chrono::seconds{1});
    CHECK(silent.order(hosts, later) == places{1, 2, 0});
    silent.note_answer(hosts[0]);
    CHECK(silent.order(hosts, later) == places{0, 1, 2});
}

TEST_CASE("a host is its name and its port", "[backend][silent_hosts]") {
    const time_point now{std::chrono::hours{1}};
    silent_hosts silent;
    silent.note_silence({.host = "a", .port = 2}, now);
    CHECK(silent.order(abc(), now) == places{0, 1, 2});
    const std::vector<signalbox::catalog::host_port> same{
        {.host = "a", .port = 2}, {.host = "a", .port = 1}};
    CHECK(silent.order(same, now) == places{1, 0});
}
