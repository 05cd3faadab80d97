// Looks for what notices say: reads a server's catalogs through a control connection, on a thread
// of its own.
//
//   known: of each database, the views and indexes with the version of their rows
//   changed()   what is new or other since then is examined, what is gone is told
//   all()       everything
//
// Executor  the public functions: any thread. `tell` and `done` are called on the examiner's.
#pragma once

#include "backend/control_connection.hpp"
#include "backend/work_pool.hpp"
#include "catalog/notices.hpp"
#include "catalog/notices/types.hpp"

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <set>
#include <string>
#include <utility>
#include <vector>

namespace signalbox::proxy {

/// A database, and how to ask its server.
struct examined_database {
    std::string connection;  // its name
    std::string connection_id;
    std::string database;
    std::shared_ptr<const backend::server_target> target;
    backend::server_credentials credentials;
};

/// What was found, and what is gone.
struct examined {
    catalog::examination found;
    std::vector<std::uint32_t> gone;
};

class examiner {
public:
    using teller = std::function<void(examined)>;
    /// Of an object that was just made: what its maker is to hear.
    using maker = std::function<void(std::vector<wire::report>)>;

    /// `warn`: an examination has failed.
    examiner(
        teller tell, std::function<void(const std::string& what, const std::string& cause)> warn
    );
    ~examiner();
    examiner(const examiner&) = delete;
    examiner& operator=(const examiner&) = delete;

    /// `is_all`: not only what has changed. `done` may be empty.
    void examine(examined_database where, bool is_all, maker done);
    void stop();

private:
    struct known_database {
        std::unique_ptr<backend::control_connection> server;
        std::shared_ptr<const catalog::postgres_connection> of;
        std::map<std::uint32_t, std::string> versions;  // by oid
        bool is_known = false;
    };

    bool ask(backend::control_connection* server);
    void work(const examined_database& where, bool is_all, const maker& done);
    void look(
        known_database& known, const examined_database& where, bool is_all, const maker& done
    );
    void look_at_all(known_database& known, const examined_database& where);

    teller tell_;
    std::function<void(const std::string&, const std::string&)> warn_;
    std::map<std::pair<std::string, std::string>, known_database> known_;
    std::mutex mutex_;  // what follows
    backend::control_connection* asking_ = nullptr;
    bool is_stopped_ = false;
    std::set<std::pair<std::string, std::string>>
        waiting_;  // that nobody waits for: once is enough
    backend::work_pool thread_;
};

}  // namespace signalbox::proxy
