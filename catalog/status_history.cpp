#include "catalog/status_history.hpp"

#include <algorithm>
#include <iterator>
#include <utility>

namespace signalbox::catalog {
namespace {

constexpr std::string_view deleted = "deleted";

}  // namespace

status_tracker::status_tracker(
    status_quota quota, std::size_t max_unwritten, std::chrono::milliseconds retry
)
    : quota_(quota), max_unwritten_(max_unwritten), retry_(retry) {
    quota_.events = std::max<std::size_t>(quota_.events, 1);
    quota_.burst = std::max<std::size_t>(quota_.burst, 1);
    // Rounded up, so that a whole period never has one token too many.
    const auto events = static_cast<std::chrono::nanoseconds::rep>(quota_.events);
    const std::chrono::nanoseconds per = quota_.per;
    token_time_ = std::chrono::nanoseconds{(per.count() + events - 1) / events};
}

void status_tracker::restore(const std::vector<status_event>& history) {
    for (auto& [id, connection] : connections_) {
        connection.last_status.clear();
    }
    for (const status_event& event : history) {
        tracked& connection = find(event.connection_id);
        connection.last_status = event.status;
        connection.last_at = std::max(connection.last_at, event.occurred_at);
        connection.is_deleted = connection.is_deleted || event.status == deleted;
    }
    // What waits comes behind what is written: another may have written the same meanwhile.
    std::deque<status_event> waiting = std::exchange(unwritten_, {});
    for (status_event& event : waiting) {
        tracked& connection = find(event.connection_id);
        const bool is_obsolete = connection.is_deleted && event.status != deleted;
        if (!is_obsolete && connection.last_status != event.status) {
            emit(connection, std::move(event));
        }
    }
    for (auto& [id, connection] : connections_) {
        const bool is_known =
            connection.held && is_leading_ && connection.held->status == connection.last_status;
        if (connection.is_deleted || is_known) {
            connection.held.reset();
        }
    }
}

void status_tracker::lead(const std::vector<status_event>& history) {
    is_leading_ = true;
    restore(history);
}

void status_tracker::follow() {
    if (!is_leading_) {
        return;
    }
    is_leading_ = false;
    is_writing_ = false;
    retry_at_ = steady_time::min();
    hold_unwritten();
}

std::vector<status_event> status_tracker::report(
    std::string_view connection_id,
    std::string_view status,
    std::optional<std::string> error,
    moment now
) {
    tracked& connection = find(connection_id);
    if (connection.is_deleted) {
        return take(now.steady);
    }
    status_event event{
        .connection_id = std::string{connection_id},
        .status = std::string{status},
        .error = std::move(error),
        .occurred_at = now.wall};
    if (status == deleted) {
        connection.held.reset();
        connection.is_deleted = true;
        if (is_leading_) {
            emit(connection, std::move(event));
        }
    } else if (is_leading_ && status == connection.last_status) {
        connection.held.reset();
    } else if (connection.held && connection.held->status == status) {
        connection.held->error = std::move(event.error);  // since when it is so stays
    } else {
        connection.held = std::move(event);
    }
    release(connection, now.steady);
    return take(now.steady);
}

std::vector<status_event> status_tracker::due(moment now) {
    for (auto& [id, connection] : connections_) {
        release(connection, now.steady);
    }
    return take(now.steady);
}

std::optional<std::chrono::steady_clock::time_point> status_tracker::next_due() const {
    if (!is_leading_) {
        return std::nullopt;
    }
    std::optional<steady_time> next;
    const auto consider = [&](steady_time time) { next = next ? std::min(*next, time) : time; };
    if (!is_writing_ && !unwritten_.empty()) {
        consider(retry_at_);
    }
    for (const auto& [id, connection] : connections_) {
        if (connection.held) {
            consider(next_token(connection));
        }
    }
    return next;
}

void status_tracker::written(const std::vector<status_event>& /*batch*/) {
    is_writing_ = false;
    retry_at_ = steady_time::min();
}

void status_tracker::failed(const std::vector<status_event>& batch, moment now) {
    is_writing_ = false;
    retry_at_ = now.steady + retry_;
    auto place = unwritten_.begin();
    for (const status_event& event : batch) {
        // One may have been forgotten meanwhile.
        if (event.status == deleted || !find(event.connection_id).is_deleted) {
            place = std::next(unwritten_.insert(place, event));
        }
    }
    if (is_leading_) {
        bound_unwritten();
    } else {
        hold_unwritten();
    }
}

void status_tracker::forget(std::string_view connection_id) {
    tracked& connection = find(connection_id);
    connection.held.reset();
    connection.is_deleted = true;
    connection.last_status = deleted;
    std::erase_if(unwritten_, [&](const status_event& event) {
        return event.connection_id == connection_id;
    });
}

status_tracker::tracked& status_tracker::find(std::string_view connection_id) {
    const auto found = connections_.find(connection_id);
    if (found != connections_.end()) {
        return found->second;
    }
    return connections_.emplace(connection_id, tracked{}).first->second;
}

/// The bucket as one number: with `full_at` the time at which it is full again, a token is there
/// while no more than the others are missing.
status_tracker::steady_time status_tracker::next_token(const tracked& connection) const {
    if (connection.full_at == steady_time::min()) {
        return connection.full_at;
    }
    const auto others = static_cast<std::chrono::nanoseconds::rep>(quota_.burst - 1);
    return connection.full_at - std::chrono::nanoseconds{token_time_.count() * others};
}

/// Writes what is held, if it may be.
void status_tracker::release(tracked& connection, steady_time now) {
    if (!is_leading_ || !connection.held || next_token(connection) > now) {
        return;
    }
    connection.full_at = std::max(connection.full_at, now) + token_time_;
    status_event event = std::move(*connection.held);
    connection.held.reset();
    emit(connection, std::move(event));
}

void status_tracker::emit(tracked& connection, status_event event) {
    if (event.occurred_at <= connection.last_at) {
        event.occurred_at = connection.last_at + std::chrono::microseconds{1};
    }
    connection.last_status = event.status;
    connection.last_at = event.occurred_at;
    unwritten_.push_back(std::move(event));
    bound_unwritten();
}

/// The newest of what was not written is what lead() compares later, as if it was just reported.
void status_tracker::hold_unwritten() {
    for (status_event& event : std::exchange(unwritten_, {})) {
        tracked& connection = find(event.connection_id);
        if (!connection.held && event.status == connection.last_status && !connection.is_deleted) {
            connection.held = std::move(event);
        }
    }
}

/// Forgets the oldest, but for each connection's newest. What is left of a connection may then
/// begin with the status that is written already: append() passes over that one.
void status_tracker::bound_unwritten() {
    if (unwritten_.size() <= max_unwritten_) {
        return;
    }
    std::size_t excess = unwritten_.size() - max_unwritten_;
    std::map<std::string, std::size_t, std::less<>> left;
    for (const status_event& event : unwritten_) {
        ++left[event.connection_id];
    }
    std::deque<status_event> kept;
    for (status_event& event : unwritten_) {
        std::size_t& of_connection = left[event.connection_id];
        if (excess > 0 && of_connection > 1) {
            --excess;
            --of_connection;
        } else {
            kept.push_back(std::move(event));
        }
    }
    unwritten_ = std::move(kept);
}

std::vector<status_event> status_tracker::take(steady_time now) {
    if (!is_leading_ || is_writing_ || unwritten_.empty() || now < retry_at_) {
        return {};
    }
    is_writing_ = true;
    std::vector<status_event> batch{
        std::make_move_iterator(unwritten_.begin()), std::make_move_iterator(unwritten_.end())};
    unwritten_.clear();
    return batch;
}

}  // namespace signalbox::catalog
