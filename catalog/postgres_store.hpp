// The store that several Signalboxes share: a PostgreSQL database, in its schema `signalbox`.
//
// Changes      every writer sends a NOTIFY; who waits also asks for the version once a second.
// Leader       who holds a session-level advisory lock, on a connection of its own. Whoever gets it
//              takes a new epoch, and append() writes only while the epoch is its own: a leader
//              that lost the lock and does not know it yet cannot write.
// Its end      a leader that dies closes its connection. One that is frozen or cut off does not:
//              the server ends a session that has been silent for 5 s (idle_session_timeout,
//              PostgreSQL 14), and the leader asks it something every second; where no answer comes
//              within 2 s it steps down by itself.
// Deadlines    every call ends within about 5 s. libpq is used asynchronously; only the look-up of
//              a host's name is not bounded by us, since libpq makes it on the way.
#pragma once

#include "catalog/store.hpp"

#include <chrono>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

namespace signalbox::catalog {

class sql_transaction;

class postgres_store final : public store {
public:
    /// Tries to connect and to migrate. A server that cannot be reached is no error here. Throws
    /// store_error for a URL that is none, a newer schema, or a schema that may not be made.
    explicit postgres_store(const store_settings& settings);
    ~postgres_store() override;
    postgres_store(const postgres_store&) = delete;
    postgres_store& operator=(const postgres_store&) = delete;

    stored_catalog load() override;
    std::vector<stored_connection> commit(
        const std::vector<connection_change>& changes, const std::vector<status_event>& events
    ) override;
    void append(const std::vector<status_event>& events) override;
    void truncate_history(std::size_t per_connection) override;
    stored_notices load_notices(std::optional<std::uint64_t> since) override;
    std::uint64_t commit_notices(const notice_changes& changes, std::uint64_t seen) override;
    bool is_leader() override;
    bool wait_for_change(std::chrono::milliseconds timeout) override;

    [[nodiscard]] store_news news() const noexcept override { return news_; }

    [[nodiscard]] std::string trouble() const override { return trouble_; }

    void interrupt() noexcept override;

private:
    class session;
    class waker;
    using clock = std::chrono::steady_clock;

    void open();
    void begin(std::string_view how);
    void tell_and_commit(sql_transaction& transaction, std::uint64_t version);
    void finish(sql_transaction& transaction, std::uint64_t version, bool is_all_written);
    void migrate();
    void take_lead();
    void keep_lead();
    void lose_lead() noexcept;
    bool has_news();

    std::unique_ptr<waker> waker_;
    std::unique_ptr<session> main_;
    std::unique_ptr<session> lead_;  // holds the lock, or asks for it
    std::uint64_t seen_ = 0;         // the version in the caller's memory
    bool must_load_ = true;          // there is a newer one, or something in between was missed
    bool reads_notices_ = false;
    std::uint64_t seen_notices_ = 0;  // once they were read
    store_news news_;
    std::string trouble_;               // with the last attempt to open main_
    std::optional<std::string> epoch_;  // of a leader
    clock::time_point lead_checked_ = clock::time_point::min();
    clock::time_point next_lead_attempt_ = clock::time_point::min();
    clock::time_point next_version_check_ = clock::time_point::min();
    clock::time_point next_news_ = clock::time_point::min();
};

}  // namespace signalbox::catalog
