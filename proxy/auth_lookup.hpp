// Asks a server for a user's stored password (auth_query).
#pragma once

#include "backend/pool.hpp"

#include <functional>
#include <optional>
#include <string>

namespace signalbox::proxy {

class worker;
struct pool_entry;

class auth_lookup final : public backend::lease_waiter, public backend::server_user {
public:
    /// What came of it: the stored password, or nothing where there is no such user (or it has
    /// none).
    struct answer {
        std::optional<std::string> stored;
        std::string error;  // the lookup itself failed; in words for the log
    };

    auth_lookup(
        worker& home,
        pool_entry& pool,
        std::string sql,
        std::string user,
        std::function<void(const answer&)> done
    );
    ~auth_lookup();
    auth_lookup(const auth_lookup&) = delete;
    auth_lookup& operator=(const auth_lookup&) = delete;

    void start();
    void on_lease(backend::connection_ptr connection) override;
    void on_lease_failed(const backend::connect_failure& why) override;
    void on_server_events(backend::server_connection& connection, std::uint32_t events) override;

private:
    bool on_bytes(std::string_view bytes);
    void finish();

    worker& home_;
    pool_entry& pool_;
    std::string sql_;
    std::string user_;
    std::function<void(const answer&)> done_;
    answer answer_;
    backend::connection_ptr server_;
    std::uint64_t ticket_ = 0;
    std::string input_;
    bool ready_ = false;
};

}  // namespace signalbox::proxy
