// The pool against a server that only answers logins: who is served, in which order, how many
// connections there are, and what becomes of those who wait when a login fails. Both workers' parts
// run on one loop, so that the order of things is the same in every run.
#include "backend/pool.hpp"

#include "tests/support/frames.hpp"

#include <catch2/catch.hpp>

#include <algorithm>
#include <arpa/inet.h>
#include <functional>
#include <string>
#include <string_view>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>
#include <utility>
#include <vector>

using namespace signalbox;
using namespace signalbox::backend;
using namespace std::chrono_literals;
using namespace std::string_view_literals;
using signalbox::tests::frame;
using signalbox::tests::split_frames;

namespace {

/// One client of the server below.
class login_session final : public event_handler {
public:
    login_session(event_loop& loop, int fd, std::string_view answer)
        : loop_(loop), fd_(fd), answer_(answer) {
        loop_.add(fd_, EPOLLIN, *this);
    }

    ~login_session() { hang_up(); }

    login_session(const login_session&) = delete;
    login_session& operator=(const login_session&) = delete;

    void hang_up() {
        if (fd_ >= 0) {
            loop_.remove(fd_, *this);
            ::close(fd_);
            fd_ = -1;
        }
    }

    void on_events(std::uint32_t /*events*/) override {
        char bytes[4096];
        const auto size = ::recv(fd_, bytes, sizeof bytes, MSG_DONTWAIT);
        if (size <= 0) {
            hang_up();
        } else if (!has_answered_) {  // what came is the startup packet, in one piece
            has_answered_ = true;
            (void)!::send(fd_, answer_.data(), answer_.size(), MSG_NOSIGNAL);
        } else {
            received.append(bytes, static_cast<std::size_t>(size));
        }
    }

    void say(std::string_view bytes) const {
        REQUIRE(
            ::send(fd_, bytes.data(), bytes.size(), MSG_NOSIGNAL) ==
            static_cast<ssize_t>(bytes.size())
        );
    }

    [[nodiscard]] bool is_open() const { return fd_ >= 0; }

    std::string received;  // behind the startup packet

private:
    event_loop& loop_;
    int fd_;
    std::string_view answer_;
    bool has_answered_ = false;
};

constexpr std::string_view welcome = "R\0\0\0\x08\0\0\0\0Z\0\0\0\x05I"sv;
constexpr std::string_view refusal = "E\0\0\0\x1eSFATAL\0VFATAL\0C28P01\0Mno\0\0"sv;

class login_server final : public event_handler {
public:
    explicit login_server(event_loop& loop)
        : loop_(loop), fd_(::socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0)) {
        sockaddr_in address{};
        address.sin_family = AF_INET;
        address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
        socklen_t size = sizeof address;
        auto* const generic = reinterpret_cast<sockaddr*>(&address);
        REQUIRE(::bind(fd_, generic, size) == 0);
        REQUIRE(::getsockname(fd_, generic, &size) == 0);
        port = ntohs(address.sin_port);
    }

    ~login_server() {
        if (is_listening_) {
            loop_.remove(fd_, *this);
        }
        ::close(fd_);
    }

    login_server(const login_server&) = delete;
    login_server& operator=(const login_server&) = delete;

    /// Before, connections are refused.
    void listen() {
        REQUIRE(::listen(fd_, 64) == 0);
        loop_.add(fd_, EPOLLIN, *this);
        is_listening_ = true;
    }

    void on_events(std::uint32_t /*events*/) override {
        for (int fd = 0; (fd = ::accept4(fd_, nullptr, nullptr, SOCK_CLOEXEC)) >= 0;) {
            sessions.push_back(std::make_unique<login_session>(loop_, fd, answer));
        }
    }

    [[nodiscard]] std::size_t open_sessions() const {
        return static_cast<std::size_t>(std::count_if(
            sessions.begin(), sessions.end(), [](const auto& each) { return each->is_open(); }
        ));
    }

    std::uint16_t port = 0;
    std::string_view answer = welcome;
    std::vector<std::unique_ptr<login_session>> sessions;  // in the order of their logins

private:
    event_loop& loop_;
    int fd_;
    bool is_listening_ = false;
};

struct waiter final : lease_waiter {
    waiter(int n, std::vector<int>& served) : number(n), order(&served) {}

    void on_lease(connection_ptr connection) override {
        order->push_back(number);
        lease = std::move(connection);
    }

    void on_lease_failed(const connect_failure& why) override { failures.push_back(why); }

    int number;
    std::vector<int>* order;
    connection_ptr lease;
    std::vector<connect_failure> failures;
};

/// Counts what the pools report.
struct counting_hooks final : pool_hooks {
    explicit counting_hooks(std::shared_ptr<pool_group> of) : group(std::move(of)) {}

    bool on_idle_bytes(server_connection& /*connection*/, std::string_view /*bytes*/) override {
        return true;
    }

    void on_adopted(server_connection& /*connection*/) override { ++adopted; }

    void on_outcome(const server_target& /*target*/, const connect_failure* why) override {
        ++(why == nullptr ? opened : failed);
        totals.push_back(group->total());
    }

    std::shared_ptr<pool_group> group;
    std::vector<std::size_t> totals;  // of the group, at each outcome
    int adopted = 0;
    int opened = 0;
    int failed = 0;
};

/// One group with the parts of two workers.
struct world {
    explicit world(pool_settings settings = {}) {
        configure(settings);
        group->set_credentials({});
        for (std::size_t i = 0; i < 2; ++i) {
            parts.push_back(std::make_unique<pool>(group, i, io, hooks));
        }
        server.listen();
    }

    void configure(pool_settings settings, const std::string& database = "app") {
        const catalog::postgres_connection connection{
            .name = "main",
            .hosts = {{.host = "127.0.0.1", .port = server.port}},
            .user = "app",
            .password = std::nullopt,
            .database = {},
            .tls = catalog::ssl_mode::disable,
            .tls_ca = {},
            .tls_certificate = {},
            .tls_key = {},
            .connect_timeout = std::nullopt};
        group->configure(
            settings,
            std::make_shared<server_target>(server_target{
                .connection = std::make_shared<catalog::postgres_connection>(connection),
                .database = database,
                .user = "app",
                .parameters = {},
                .tls_context = nullptr})
        );
    }

    waiter& wait(std::size_t worker = 0) {
        waiters.push_back(std::make_unique<waiter>(static_cast<int>(waiters.size()) + 1, served));
        tickets.push_back(parts[worker]->wait(*waiters.back()));
        return *waiters.back();
    }

    /// Runs the loop until it holds; fails after five seconds.
    void until(const std::function<bool()>& condition) {
        struct watch {
            const std::function<bool()>& condition;
            event_loop& loop;
            time_point end = clock::now() + 5s;
            timer next{};

            void look() {
                if (condition() || clock::now() > end) {
                    loop.stop();
                } else {
                    next.start(
                        loop,
                        clock::now() + 1ms,
                        [](void* self) { static_cast<watch*>(self)->look(); },
                        this
                    );
                }
            }
        } watched{condition, loop};

        watched.look();
        loop.run();
        REQUIRE(condition());
    }

    /// All that is under way has happened: a login takes a few rounds of the loop.
    void settle() {
        const auto end = clock::now() + 30ms;
        until([end] { return clock::now() > end; });
    }

    /// A connection that is idle in `worker`'s part.
    void make_idle(std::size_t worker = 0) {
        auto& first = wait(worker);
        until([&] { return first.lease != nullptr; });
        parts[worker]->release(std::move(first.lease));
    }

    event_loop loop;
    io_scratch scratch;
    work_pool workers{1};
    resolver names;
    io_context io{loop, scratch, workers, names};
    std::shared_ptr<pool_group> group = std::make_shared<pool_group>("main", 2);
    counting_hooks hooks{group};
    login_server server{loop};
    std::vector<std::unique_ptr<pool>> parts;
    std::vector<int> served;  // the waiters' numbers
    std::vector<std::unique_ptr<waiter>> waiters;
    std::vector<std::uint64_t> tickets;
};

constexpr pool_settings of_size(std::size_t size) {
    return {.size = size};
}

}  // namespace

TEST_CASE("pool: a connection is opened for who waits, and lent again", "[backend][pool]") {
    world w;
    CHECK(w.parts[0]->try_acquire() == nullptr);
    CHECK(w.group->total() == 0);
    auto& first = w.wait();
    w.until([&] { return first.lease != nullptr; });
    CHECK(w.group->total() == 1);
    CHECK(w.hooks.opened == 1);
    CHECK(w.hooks.adopted == 1);
    const auto* const lent = first.lease.get();
    CHECK(w.parts[0]->try_acquire() == nullptr);
    w.parts[0]->release(std::move(first.lease));
    CHECK(w.parts[1]->try_acquire() == nullptr);  // the other worker has to wait for it
    const auto again = w.parts[0]->try_acquire();
    CHECK(again.get() == lent);
    CHECK(w.server.sessions.size() == 1);
}

TEST_CASE("pool: the one used last is lent first", "[backend][pool]") {
    world w{of_size(2)};
    auto& first = w.wait();
    auto& second = w.wait();
    w.until([&] { return first.lease && second.lease; });
    const auto* const last = first.lease.get();
    w.parts[0]->release(std::move(second.lease));
    w.parts[0]->release(std::move(first.lease));
    CHECK(w.parts[0]->try_acquire().get() == last);
}

TEST_CASE("pool: no more than its size, and first come, first served", "[backend][pool]") {
    world w{of_size(2)};
    for (int i = 0; i < 6; ++i) {
        w.wait(i < 2 ? 0 : static_cast<std::size_t>(i) % 2);  // of both workers in turn
    }
    w.until([&] { return w.served.size() == 2; });
    w.settle();
    CHECK(w.served == std::vector{1, 2});
    CHECK(w.group->total() == 2);
    CHECK(w.server.sessions.size() == 2);
    for (std::size_t done = 0; done < 4; ++done) {
        auto& holder = *w.waiters[done];
        const std::size_t worker = done < 2 ? 0 : done % 2;
        w.parts[worker]->release(std::move(holder.lease));
        CHECK(w.parts[worker]->try_acquire() == nullptr);  // others were there before
        w.until([&] { return w.served.size() == done + 3; });
    }
    CHECK(w.served == std::vector{1, 2, 3, 4, 5, 6});
    CHECK(w.server.sessions.size() == 2);
}

TEST_CASE("pool: who waits gets what is idle at another worker", "[backend][pool]") {
    world w{of_size(1)};
    w.make_idle(0);
    const int adopted = w.hooks.adopted;
    auto& other = w.wait(1);
    CHECK(w.parts[0]->try_acquire() == nullptr);  // it is not for who comes later
    w.until([&] { return other.lease != nullptr; });
    CHECK(w.hooks.adopted == adopted + 1);
    CHECK(w.server.sessions.size() == 1);
}

TEST_CASE("pool: who gives up is not called, and holds up nobody", "[backend][pool]") {
    world w{of_size(1)};
    auto& holder = w.wait();
    w.until([&] { return holder.lease != nullptr; });
    w.wait(0);
    w.wait(1);
    w.wait(0);
    w.parts[0]->cancel_wait(w.tickets[1]);
    w.parts[1]->cancel_wait(w.tickets[2]);
    w.parts[0]->release(std::move(holder.lease));
    w.until([&] { return w.served.size() == 2; });
    CHECK(w.served == std::vector{1, 4});
    // One that has been served has nothing to take back.
    w.parts[0]->cancel_wait(w.tickets[3]);
    REQUIRE(w.waiters[3]->lease != nullptr);
    w.parts[0]->release(std::move(w.waiters[3]->lease));
    CHECK(w.parts[0]->try_acquire() != nullptr);
}

TEST_CASE("pool: what was opened for who has given up stays for the next", "[backend][pool]") {
    world w;
    w.wait();
    w.parts[0]->cancel_wait(w.tickets[0]);
    w.until([&] { return w.hooks.opened == 1; });
    CHECK(w.served.empty());
    CHECK(w.parts[0]->try_acquire() != nullptr);
}

TEST_CASE("pool: a connection on its way to who gives up is not lost", "[backend][pool]") {
    world w{of_size(1)};
    w.make_idle(0);
    w.wait(1);
    // Worker 0 has been asked to hand it over; it has done so when this runs.
    w.loop.post([&] { w.parts[1]->cancel_wait(w.tickets.back()); });
    w.settle();
    CHECK(w.served == std::vector{1});
    CHECK(w.group->total() == 1);
    CHECK(w.parts[1]->try_acquire() != nullptr);
    CHECK(w.server.sessions.size() == 1);
}

TEST_CASE("pool: a discarded connection makes room for another", "[backend][pool]") {
    world w{of_size(1)};
    auto& holder = w.wait();
    auto& next = w.wait();
    w.until([&] { return holder.lease != nullptr; });
    w.parts[0]->discard(std::move(holder.lease));
    w.until([&] { return next.lease != nullptr; });
    CHECK(w.group->total() == 1);
    CHECK(w.server.sessions.size() == 2);
    w.until([&] { return w.server.open_sessions() == 1; });
    CHECK(split_frames(w.server.sessions[0]->received) == std::vector<frame>{{'X', ""}});
}

TEST_CASE("pool: the minimum is opened, and no more", "[backend][pool]") {
    world w{{.size = 5, .min_size = 3}};
    w.parts[0]->maintain();
    w.until([&] { return w.hooks.opened == 3; });
    w.parts[0]->maintain();
    w.parts[1]->maintain();
    w.settle();
    CHECK(w.group->total() == 3);
    CHECK(w.server.sessions.size() == 3);
}

TEST_CASE("pool: a minimum above the size stops at the size", "[backend][pool]") {
    world w{{.size = 2, .min_size = 3}};
    w.parts[0]->maintain();
    w.until([&] { return w.hooks.opened == 2; });
    w.settle();
    CHECK(w.group->total() == 2);
}

TEST_CASE("pool: what is unused is closed down to the minimum", "[backend][pool]") {
    world w{{.size = 3, .min_size = 1, .idle_timeout = 1min}};
    for (int i = 0; i < 3; ++i) {
        w.wait();
    }
    w.until([&] { return w.served.size() == 3; });
    for (const auto& each : w.waiters) {
        auto* const connection = each->lease.get();
        w.parts[0]->release(std::move(each->lease));
        connection->idle_since -= 59s;
    }
    w.parts[0]->maintain();
    CHECK(w.group->total() == 3);
    // The same a little later.
    std::vector<connection_ptr> taken;
    while (auto connection = w.parts[0]->try_acquire()) {
        taken.push_back(std::move(connection));
    }
    REQUIRE(taken.size() == 3);
    for (auto& each : taken) {
        auto* const connection = each.get();
        w.parts[0]->release(std::move(each));
        connection->idle_since -= 61s;
    }
    w.parts[0]->maintain();
    CHECK(w.group->total() == 1);
    w.until([&] { return w.server.open_sessions() == 1; });
    CHECK(w.parts[0]->try_acquire() != nullptr);
    CHECK(w.server.sessions.size() == 3);  // it is one of them
}

TEST_CASE("pool: a connection that is too old is not lent again", "[backend][pool]") {
    const auto [lifetime, age, is_kept] = GENERATE(table<std::chrono::minutes, int, bool>(
        {{60min, 59, true}, {60min, 61, false}, {0min, 10'000, true}}
    ));
    CAPTURE(age);
    world w{{.size = 1, .lifetime = lifetime}};

    SECTION("when it comes back") {
        auto& holder = w.wait();
        w.until([&] { return holder.lease != nullptr; });
        holder.lease->connected_at -= std::chrono::minutes{age};
        w.parts[0]->release(std::move(holder.lease));
    }
    SECTION("when it is idle") {
        auto& holder = w.wait();
        w.until([&] { return holder.lease != nullptr; });
        auto* const connection = holder.lease.get();
        w.parts[0]->release(std::move(holder.lease));
        connection->connected_at -= std::chrono::minutes{age};
        w.parts[0]->maintain();
    }
    CHECK(w.group->total() == (is_kept ? 1 : 0));
    CHECK((w.parts[0]->try_acquire() != nullptr) == is_kept);
}

TEST_CASE("pool: a smaller size closes what is idle", "[backend][pool]") {
    world w{of_size(3)};
    for (int i = 0; i < 3; ++i) {
        w.wait();
    }
    w.until([&] { return w.served.size() == 3; });
    w.configure(of_size(1));
    for (const auto& each : w.waiters) {
        w.parts[0]->release(std::move(each->lease));
    }
    w.parts[0]->maintain();
    CHECK(w.group->total() == 1);
}

TEST_CASE("pool: after a change of the target no old connection is lent", "[backend][pool]") {
    world w{of_size(2)};
    auto& idle = w.wait();
    auto& busy = w.wait();
    w.until([&] { return idle.lease && busy.lease; });
    w.parts[0]->release(std::move(idle.lease));
    const auto before = w.group->generation();

    w.configure(of_size(2));  // the same again
    CHECK(w.group->generation() == before);
    idle.lease = w.parts[0]->try_acquire();
    REQUIRE(idle.lease != nullptr);
    w.parts[0]->release(std::move(idle.lease));

    w.configure(of_size(2), "other");
    CHECK(w.group->generation() > before);
    CHECK(w.parts[0]->try_acquire() == nullptr);
    w.parts[0]->release(std::move(busy.lease));
    CHECK(w.group->total() == 0);
    CHECK(w.parts[0]->try_acquire() == nullptr);
    auto& next = w.wait();
    w.until([&] { return next.lease != nullptr; });
    CHECK(next.lease->target().database == "other");
}

TEST_CASE("pool: what is on its way to the old target counts no more", "[backend][pool]") {
    world w{of_size(1)};
    login_server old{w.loop};
    old.answer = "";  // it keeps them waiting
    old.listen();
    const auto port = std::exchange(w.server.port, old.port);
    w.configure(of_size(1));
    auto& first = w.wait();
    w.until([&] { return !old.sessions.empty(); });
    w.server.port = port;
    w.configure(of_size(1));
    SECTION("its login is refused now") {
        old.sessions[0]->say(refusal);
    }
    SECTION("it lets us in now") {
        old.sessions[0]->say(welcome);
    }
    SECTION("it hangs up") {
        old.sessions[0]->hang_up();
    }
    SECTION("nothing comes") {
        w.parts[0]->maintain();
    }
    w.until([&] { return first.lease != nullptr || !first.failures.empty(); });
    CHECK(first.failures.empty());
    REQUIRE(first.lease != nullptr);
    CHECK(first.lease->target().connection->hosts[0].port == port);
    CHECK(w.group->total() == 1);
    first.lease.reset();
}

TEST_CASE("pool: an idle connection that the server closes is gone", "[backend][pool]") {
    world w;
    w.make_idle();
    w.server.sessions[0]->hang_up();
    w.until([&] { return w.group->total() == 0; });
    CHECK(w.parts[0]->try_acquire() == nullptr);
}

TEST_CASE(
    "pool: a refused login fails all who wait, and the next one asks again", "[backend][pool]"
) {
    world w{of_size(2)};
    w.server.answer = refusal;
    for (const std::size_t worker : {0U, 1U, 0U}) {
        w.wait(worker);
    }
    w.until([&] {
        return std::all_of(w.waiters.begin(), w.waiters.end(), [](const auto& each) {
            return each->failures.size() == 1;
        });
    });
    for (const auto& each : w.waiters) {
        CHECK(each->failures[0].sqlstate == "28P01");
        CHECK(each->failures[0].message == "no");
        CHECK_FALSE(each->failures[0].unreachable);
    }
    w.until([&] { return w.group->total() == 0; });
    CHECK(w.served.empty());
    CHECK(w.hooks.opened == 0);
    CHECK(w.hooks.failed >= 1);
    CHECK_FALSE(w.group->is_down());

    w.server.answer = welcome;
    auto& next = w.wait();
    w.until([&] { return next.lease != nullptr; });
    CHECK(w.served == std::vector{4});
}

TEST_CASE("pool: without credentials nothing is opened", "[backend][pool]") {
    world w;
    const auto bare = std::make_shared<pool_group>("bare", 1);
    pool part{bare, 0, w.io, w.hooks};
    bare->configure({}, w.group->current().target);
    CHECK_FALSE(bare->has_credentials());
    waiter first{1, w.served};
    const auto ticket = part.wait(first);
    w.settle();
    CHECK(w.server.sessions.empty());
    CHECK(bare->total() == 0);
    part.cancel_wait(ticket);
    bare->set_credentials({});
    part.wait(first);
    w.until([&] { return first.lease != nullptr; });
    first.lease.reset();
}

TEST_CASE(
    "pool: who waits for a server that is down is served when it is back", "[backend][pool]"
) {
    world w{of_size(2)};
    login_server away{w.loop};  // a port where nobody listens yet
    w.server.port = away.port;
    w.configure(of_size(2));
    for (int i = 0; i < 3; ++i) {
        w.wait(static_cast<std::size_t>(i) % 2);
    }
    w.until([&] { return w.hooks.failed >= 4; });
    CHECK(w.group->is_down());
    CHECK(w.group->last_failure().unreachable);
    CHECK(w.group->last_failure().at.port == away.port);
    // Both connections were tried at first; since then one knocks, however many wait.
    const std::vector<std::size_t> later{w.hooks.totals.begin() + 2, w.hooks.totals.end()};
    CHECK(later == std::vector<std::size_t>(later.size(), 1));
    for (const auto& each : w.waiters) {
        CHECK(each->failures.empty());
    }

    away.listen();
    w.until([&] { return w.served.size() == 2; });
    CHECK_FALSE(w.group->is_down());
    CHECK(w.group->last_failure().message.empty());
    CHECK(w.served == std::vector{1, 2});
    w.parts[0]->release(std::move(w.waiters[0]->lease));
    w.until([&] { return w.served.size() == 3; });
    w.waiters.clear();  // before the server that they lead to
}

TEST_CASE("pool: nobody knocks for who has given up", "[backend][pool]") {
    world w;
    const login_server away{w.loop};
    w.server.port = away.port;
    w.configure({});
    w.wait();
    w.until([&] { return w.hooks.failed == 1; });
    w.parts[0]->cancel_wait(w.tickets[0]);
    const auto end = clock::now() + 250ms;  // the next attempt would have been after 100 ms
    w.until([end] { return clock::now() > end; });
    CHECK(w.hooks.failed == 1);
    CHECK(w.group->total() == 0);
}

TEST_CASE("pool: what is idle is closed at the end", "[backend][pool]") {
    world w;
    w.make_idle();
    w.parts[0]->close_idle();
    CHECK(w.group->total() == 0);
    w.until([&] { return w.server.open_sessions() == 0; });
    CHECK(split_frames(w.server.sessions[0]->received) == std::vector<frame>{{'X', ""}});
}
