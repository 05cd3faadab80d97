// Decides which status events are written, and when. Pure: time is passed in, nothing is read.
//
//   report()  a status was seen  ─┐
//   due()     time has passed    ─┴─> events to append() now ──> written() or failed()
//
// Of each connection there is the status that was last written (or is about to be), and at most one
// newer that is held back:
//
//   - a status is written only if it differs from the last one written;
//   - a token bucket bounds the events of a connection. What it holds back is coalesced: only the
//     newest status counts, with its newest error, and it is written when there is a token, unless
//     it is the last written again by then;
//   - `deleted` is written at once, whatever the bucket says, and nothing behind it;
//   - occurred_at grows from event to event of a connection, wherever the wall clock jumps.
//
// Events go out in batches, one at a time: until the caller says what became of it, nothing more
// comes. What failed() returns, comes again with what has gathered meanwhile; beyond a limit the
// oldest events are forgotten, each connection's newest never.
//
// A Signalbox that does not lead goes on reporting after follow(), and writes nothing; lead()
// compares what it saw last with what the others have written.
#pragma once

#include "catalog/store.hpp"

#include <chrono>
#include <cstddef>
#include <deque>
#include <functional>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace signalbox::catalog {

/// Per connection: `events` in each `per`, and `burst` at once after a rest. All from 1.
struct status_quota {
    std::size_t events = 20;
    std::chrono::milliseconds per = std::chrono::minutes{1};
    std::size_t burst = 20;
};

/// One moment on both clocks: one that only goes forward, and one that people read.
struct moment {
    std::chrono::steady_clock::time_point steady;
    timestamp wall{};
};

class status_tracker {
public:
    /// `max_unwritten` bounds what waits for the store, beyond one event per connection.
    explicit status_tracker(
        status_quota quota = {},
        std::size_t max_unwritten = 10'000,
        std::chrono::milliseconds retry = std::chrono::seconds{1}
    );

    /// Takes over what is written: at start, and whenever the store was loaded again. `history` is
    /// in the order of writing. Not between a batch and its written() or failed().
    void restore(const std::vector<status_event>& history);

    /// Leading is how it starts. lead() is restore() with what the store holds now; due() follows.
    void lead(const std::vector<status_event>& history);
    void follow();

    /// Returns a batch to write now; often nothing.
    std::vector<status_event> report(
        std::string_view connection_id,
        std::string_view status,
        std::optional<std::string> error,
        moment now
    );

    std::vector<status_event> due(moment now);

    /// When due() has something to do; absent: not before the next report.
    [[nodiscard]] std::optional<std::chrono::steady_clock::time_point> next_due() const;

    void written(const std::vector<status_event>& batch);
    void failed(const std::vector<status_event>& batch, moment now);

    /// The connection was dropped, and whoever did has written `deleted`.
    void forget(std::string_view connection_id);

private:
    using steady_time = std::chrono::steady_clock::time_point;

    struct tracked {
        std::string last_status;  // written, or to be written before anything else; "" = none
        timestamp last_at = timestamp::min();
        std::optional<status_event> held;
        steady_time full_at = steady_time::min();  // when the bucket has all its tokens again
        bool is_deleted = false;
    };

    using tracked_map = std::map<std::string, tracked, std::less<>>;

    tracked& find(std::string_view connection_id);
    [[nodiscard]] steady_time next_token(const tracked& connection) const;
    void release(tracked& connection, steady_time now);
    void emit(tracked& connection, status_event event);
    void hold_unwritten();
    void bound_unwritten();
    std::vector<status_event> take(steady_time now);

    status_quota quota_;
    std::size_t max_unwritten_;
    std::chrono::milliseconds retry_;
    std::chrono::nanoseconds token_time_{};
    bool is_leading_ = true;
    bool is_writing_ = false;
    steady_time retry_at_ = steady_time::min();
    tracked_map connections_;
    std::deque<status_event> unwritten_;
};

}  // namespace signalbox::catalog
