// The store of a single Signalbox: one SQLite file.
//
//   WAL, synchronous=FULL     what commit() and append() acknowledge survives kill -9 and power
//   loss locking_mode=EXCLUSIVE    nobody else opens the file while we have it, and the kernel
//   takes the
//                             lock back from a process that dies, however it does
//   mode 0600                 the file and what SQLite puts beside it
#pragma once

#include "catalog/store.hpp"

#include <condition_variable>
#include <memory>
#include <mutex>
#include <string>

namespace signalbox::catalog {

class sqlite_store final : public store {
public:
    /// Makes the file where there is none. Throws store_error: in use, not a store, corrupt, of a
    /// newer schema, or whatever SQLite or the system says.
    explicit sqlite_store(std::string file);
    ~sqlite_store() override;
    sqlite_store(const sqlite_store&) = delete;
    sqlite_store& operator=(const sqlite_store&) = delete;

    stored_catalog load() override;
    std::vector<stored_connection> commit(
        const std::vector<connection_change>& changes, const std::vector<status_event>& events
    ) override;
    void append(const std::vector<status_event>& events) override;
    void truncate_history(std::size_t per_connection) override;

    stored_notices load_notices(std::optional<std::uint64_t> since) override;
    std::uint64_t commit_notices(const notice_changes& changes, std::uint64_t seen) override;

    /// There is nobody else.
    bool is_leader() override { return true; }

    /// Nobody else changes anything; it only waits, unless append() passed over an event.
    bool wait_for_change(std::chrono::milliseconds timeout) override;

    [[nodiscard]] store_news news() const noexcept override {
        return {.connections = must_load_, .notices = false, .is_notified = false};
    }

    void interrupt() noexcept override;

private:
    class database;

    std::unique_ptr<database> database_;
    bool must_load_ = false;
    bool is_load_failing_ = false;
    std::mutex mutex_;
    std::condition_variable wake_;
    bool interrupted_ = false;
};

}  // namespace signalbox::catalog
