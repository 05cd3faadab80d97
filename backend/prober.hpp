// Whether a PostgreSQL server answers: connects as a pool would, and says good-bye.
//
//   waiting -> connecting -> told        at most `parallel` connect at a time, first come, first
//                                        served
//
// A probe with a login succeeds when the server is ready for a query, and a host fits
// target_session_attrs. Without one it succeeds as soon as a server asks for a password or refuses
// the made-up login (SQLSTATE class 28): it has got past its start and takes sessions. A server
// that starts up, shuts down or has no connection left (57P03, 53300) refuses before that. A login
// that succeeds for everybody is taken to its end, as the others are.
//
// A missing database (3D000) comes behind the login and counts only where the target names one:
// else it is the server's own choice (the role's name), and nobody's wish.
//
// Invariants
//   - every accepted request gets exactly one outcome; at the end, `is_cancelled`;
//   - no outcome holds the password.
#pragma once

#include "backend/server_connection.hpp"

#include <chrono>
#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

namespace signalbox::backend {

struct probe_request {
    /// `user` may be empty without a login, `database` always.
    std::shared_ptr<const server_target> target;
    server_credentials credentials;
    /// Of the whole probe from its first connect() on, waiting not counted. Each of several hosts
    /// has its share, so that the last one's turn comes.
    std::chrono::milliseconds timeout{5'000};
    bool has_login = true;
};

struct probe_outcome {
    bool is_available = false;
    std::string error;  // the server's or the system's own text; "" when available
    std::string sqlstate;
    std::string host;  // that has answered, or whose error it is
    std::uint16_t port = 0;
    bool is_cancelled = false;  // nothing is known; the prober ends
};

/// What a failed attempt to connect says about the target.
probe_outcome judge_failure(const connect_failure& why, const probe_request& request);

class prober {
public:
    static constexpr std::size_t parallel = 3;

    using callback = std::function<void(probe_outcome)>;

    /// Throws std::system_error (no thread or descriptor left).
    prober();
    ~prober();

    /// What has no outcome yet is cancelled, and so is all that is asked from now on. Any thread
    /// but the prober's own; waits for a name that is being resolved.
    void stop();

    prober(const prober&) = delete;
    prober& operator=(const prober&) = delete;

    /// Any thread. `done` is called on the prober's own; it must not block or throw, and may probe
    /// again unless the outcome was cancelled.
    void probe(probe_request request, callback done);
    /// Any thread but the prober's own.
    probe_outcome probe_and_wait(probe_request request);

private:
    class attempt;

    struct job {
        probe_request request;
        callback done;
    };

    void run();
    void start_waiting();
    void finish(attempt& ended, probe_outcome outcome);
    void cancel_all();

    event_loop loop_;
    io_scratch scratch_;
    work_pool workers_;  // these two end before the loop to which they post
    resolver names_;
    io_context io_;
    std::vector<std::unique_ptr<attempt>> running_;
    std::mutex mutex_;
    std::deque<job> waiting_;
    bool is_stopped_ = false;  // nobody takes what waits
    std::thread thread_;
};

}  // namespace signalbox::backend
