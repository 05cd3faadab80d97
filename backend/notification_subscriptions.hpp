// Who listens to what on one shared listening connection, and what is to be said to the server
// next. No socket, clock or thread: notification_hub.hpp drives it.
//
//   channel   wanted -> asked -> listening -> asked -> gone
//             (LISTEN sent)   (completed)  (UNLISTEN sent, when the last session has left)
//   session   joining -> active, per channel; its request is confirmed when nothing of it is
//   joining
//
// Statements go out in batches: what comes while one is under way waits for the next. Their answers
// come in order, one ReadyForQuery for each.
//
// Every join costs a LISTEN, also of a channel that others hear already: a session becomes active
// with a LISTEN that was sent after it had joined. What was committed before it joined has then
// been read and is not delivered to it; what is committed behind that LISTEN is delivered.
//
// Invariants
//   - a channel that is in no session's set and on which nothing is asked or listening is
//   forgotten;
//   - every request (a number other than 0) becomes due exactly once: at the answer, when a newer
//   one replaces it, or when waiting is of no use.
#pragma once

#include <cstddef>
#include <cstdint>
#include <deque>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <vector>

namespace signalbox::backend {

class notification_subscriptions {
public:
    struct confirmation {
        std::size_t worker = 0;
        std::uint64_t request = 0;
        bool ok = false;

        bool operator==(const confirmation&) const = default;
    };

    using session_list = std::shared_ptr<const std::vector<std::uint64_t>>;

    /// The sessions of one worker that hear a channel.
    struct audience {
        std::size_t worker = 0;
        session_list sessions;
    };

    /// Replaces the whole set of a session; an empty one ends it. `request` 0: nobody asks whether
    /// it is done.
    void set_channels(
        std::size_t worker,
        std::uint64_t session,
        std::vector<std::string> channels,
        std::uint64_t request
    );

    /// Appends the Query messages that are due, when the batch before is answered. False: there are
    /// none.
    bool next_batch(std::string& out);

    /// Statements are sent and not answered.
    [[nodiscard]] bool is_asking() const noexcept { return !asked_.empty(); }

    /// CommandComplete of the oldest statement.
    void on_complete();
    /// ErrorResponse to the oldest statement. False: the connection is of no use, since it does not
    /// take what it took before.
    bool on_error();
    /// ReadyForQuery of the oldest statement.
    void on_ready();
    /// The connection is gone: everything is to be asked again.
    void on_lost();
    /// It makes no sense to wait: all who do get their false. What they want stays wanted.
    void refuse_waiting();

    [[nodiscard]] std::vector<confirmation> take_due() { return std::exchange(due_, {}); }

    /// Who hears the channel now.
    const std::vector<audience>& audiences(std::string_view channel);

    /// No session wants anything.
    [[nodiscard]] bool empty() const noexcept { return sessions_.empty(); }

private:
    struct session_entry {
        std::size_t worker = 0;
        std::uint64_t request = 0;  // 0: confirmed
        std::size_t joining = 0;    // channels that are not active yet
        /// 0: active; else the number of the first batch whose LISTEN makes it so.
        std::map<std::string, std::uint64_t, std::less<>> channels;
    };

    struct channel_entry {
        bool asked = false;  // a statement is under way
        bool listening = false;
        std::vector<std::uint64_t> joining;
        std::set<std::pair<std::size_t, std::uint64_t>> active;  // worker, session
        std::vector<audience> audiences;  // made of `active` when it is asked for
        bool stale = false;               // it has changed since

        [[nodiscard]] bool is_wanted() const noexcept {
            return !joining.empty() || !active.empty();
        }
    };

    struct statement {
        std::string channel;
        bool listen = true;
        bool done = false;  // completed or failed; its ReadyForQuery is to come
    };

    using channel_map = std::map<std::string, channel_entry, std::less<>>;

    void join(std::uint64_t session, const std::string& channel);
    void leave(std::uint64_t session, const session_entry& who, const std::string& channel);
    void forget_if_unwanted(channel_map::iterator at);
    void settle(session_entry& who, bool ok);
    void activate(const std::string& name, channel_entry& channel);
    void refuse(const std::string& name, channel_entry& channel);

    std::unordered_map<std::uint64_t, session_entry> sessions_;
    channel_map channels_;
    std::set<std::string, std::less<>> to_ask_;  // channels that may need a statement
    std::deque<statement> asked_;
    std::uint64_t batch_ = 0;  // the number of the last one
    std::vector<confirmation> due_;
};

}  // namespace signalbox::backend
