// Streams over socket pairs: reading, writing more than the peer takes, the end, moving to another
// loop.
#include "backend/io/stream.hpp"

#include <catch2/catch.hpp>

#include <algorithm>
#include <array>
#include <cstdint>
#include <string>
#include <sys/socket.h>
#include <unistd.h>

using namespace signalbox::backend;

namespace {

struct pair_of_streams {
    pair_of_streams() {
        std::array<int, 2> ends{};
        REQUIRE(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, ends.data()) == 0);
        near = stream{ends[0]};
        far = stream{ends[1]};
    }

    io_scratch scratch;
    stream near;
    stream far;
};

struct counter final : event_handler {
    explicit counter(event_loop& l) : loop(l) {}

    void on_events(std::uint32_t e) override {
        events |= e;
        ++calls;
        loop.stop();
    }

    event_loop& loop;
    std::uint32_t events = 0;
    int calls = 0;
};

/// Reads until there is nothing more.
std::string drain(stream& from, io_scratch& scratch) {
    std::string got;
    for (;;) {
        const auto part = from.read(scratch);
        if (part.status != io_status::ok) {
            return got;
        }
        got.append(part.bytes);
    }
}

}  // namespace

TEST_CASE("buffers begin in the middle of a page, and are apart", "[backend][stream]") {
    const io_scratch scratch;
    for (const auto* const begin : {scratch.plain.get(), scratch.cipher.get()}) {
        CHECK(reinterpret_cast<std::uintptr_t>(begin) % io_buffer::page_bytes == io_buffer::offset);
    }
    std::fill_n(scratch.plain.get(), io_scratch::plain_bytes, 'p');
    std::fill_n(scratch.cipher.get(), io_scratch::cipher_bytes, 'c');
    const auto is_p = [](char c) { return c == 'p'; };
    CHECK(std::all_of(scratch.plain.get(), scratch.plain.get() + io_scratch::plain_bytes, is_p));
}

TEST_CASE("what is written is read; nothing is `again`; the end is `closed`", "[backend][stream]") {
    pair_of_streams p;
    CHECK(p.far.read(p.scratch).status == io_status::again);
    CHECK(p.near.write("hello", p.scratch));
    CHECK(p.near.write("", p.scratch));
    const auto got = p.far.read(p.scratch);
    CHECK(got.status == io_status::ok);
    CHECK(got.bytes == "hello");
    p.near.close();
    CHECK_FALSE(p.near.is_open());
    CHECK(p.far.read(p.scratch).status == io_status::closed);
}

TEST_CASE("what the peer does not take is kept, in order, and sent later", "[backend][stream]") {
    pair_of_streams p;
    std::string all;
    for (int i = 0; !p.near.has_pending() && i < 10'000; ++i) {
        const std::string part(10'000, static_cast<char>('a' + i % 26));
        REQUIRE(p.near.write(part, p.scratch));
        all += part;
    }
    REQUIRE(p.near.has_pending());
    REQUIRE(p.near.write("behind", p.scratch));
    all += "behind";
    CHECK(p.near.pending_bytes() >= 6);
    std::string got;
    while (p.near.has_pending()) {
        got += drain(p.far, p.scratch);
        REQUIRE(p.near.flush());
    }
    got += drain(p.far, p.scratch);
    CHECK(got == all);
    CHECK(p.near.pending_bytes() == 0);
}

TEST_CASE("writing to a peer that is gone fails and does not kill", "[backend][stream]") {
    pair_of_streams p;
    p.far.close();
    CHECK_FALSE(p.near.write("x", p.scratch));
    CHECK(p.near.error() == EPIPE);
}

TEST_CASE("an attached stream is told what it asks for", "[backend][stream]") {
    pair_of_streams p;
    event_loop loop;
    counter seen{loop};
    p.near.attach(loop, seen);
    CHECK(p.near.is_attached());
    SECTION("readable") {
        p.far.write("x", p.scratch);
        loop.run();
        CHECK((seen.events & EPOLLIN) != 0);
    }
    SECTION("not while reading is off") {
        p.near.set_reading(false);
        CHECK_FALSE(p.near.reading());
        p.far.write("x", p.scratch);
        loop.stop();
        loop.run();
        CHECK(seen.calls == 0);
    }
    SECTION("writable, when something is pending") {
        while (!p.near.has_pending()) {
            REQUIRE(p.near.write(std::string(100'000, 'x'), p.scratch));
        }
        drain(p.far, p.scratch);
        loop.run();
        CHECK((seen.events & EPOLLOUT) != 0);
    }
    SECTION("the peer's end, also while reading is off") {
        p.near.set_reading(false);
        p.far.close();
        loop.run();
        CHECK((seen.events & (EPOLLRDHUP | EPOLLHUP)) != 0);
    }
    SECTION("nothing once it is detached") {
        p.near.detach();
        CHECK_FALSE(p.near.is_attached());
        p.far.write("x", p.scratch);
        loop.stop();
        loop.run();
        CHECK(seen.calls == 0);
    }
}

TEST_CASE("a stream that is moved takes its pending bytes along", "[backend][stream]") {
    pair_of_streams p;
    std::string all;
    while (!p.near.has_pending()) {
        const std::string part(100'000, 'x');
        REQUIRE(p.near.write(part, p.scratch));
        all += part;
    }
    stream moved{std::move(p.near)};
    CHECK(moved.has_pending());
    std::string got;
    while (moved.has_pending()) {
        got += drain(p.far, p.scratch);
        REQUIRE(moved.flush());
    }
    got += drain(p.far, p.scratch);
    CHECK(got.size() == all.size());
}

TEST_CASE("the end of what we send is said behind what is pending", "[backend][stream]") {
    pair_of_streams p;
    p.near.write("bye", p.scratch);
    p.near.shut_down(p.scratch);
    CHECK(p.far.read(p.scratch).bytes == "bye");
    CHECK(p.far.read(p.scratch).status == io_status::closed);
    p.far.write("still heard", p.scratch);
    CHECK(p.near.read(p.scratch).bytes == "still heard");
}
