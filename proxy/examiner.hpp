// Looks for what notices say: reads a server's catalogs through a control connection, on a thread
// of its own.
//
//   known: of each database, the views and indexes with the version of their rows, as of the last
//   examination that was told. What is new or other since then is examined, what is gone is told;
//   at first sight, and whenever it is asked for, everything. An examination that fails halfway
//   leaves all that as it was: the next one has it to do once more.
//
// Where everything is examined, a part at a time and the server rests in between: traffic must not
// feel it. Who waits for an answer meanwhile has it between two parts.
//
// Executor  the public functions: any thread. `tell` and `done` are called on the examiner's.
#pragma once

#include "backend/control_connection.hpp"
#include "backend/work_pool.hpp"
#include "catalog/notices.hpp"
#include "catalog/notices/types.hpp"

#include <condition_variable>
#include <cstdint>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
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

    /// `warn`: an examination for notices has failed.
    examiner(
        teller tell, std::function<void(const std::string& what, const std::string& cause)> warn
    );
    ~examiner();
    examiner(const examiner&) = delete;
    examiner& operator=(const examiner&) = delete;

    /// `is_all`: not only what has changed; owed until it was told. `done` is called once; it may
    /// be empty.
    void examine(examined_database where, bool is_all, maker done);
    void stop();

private:
    struct known_database {
        std::unique_ptr<backend::control_connection> server;
        std::shared_ptr<const catalog::postgres_connection> of;
        std::map<std::uint32_t, std::string> versions;  // by oid, of what was told
        bool is_known = false;                          // the versions
        bool owes_all = true;    // everything is to be examined, not only what has changed
        unsigned connected = 0;  // how often
    };

    struct question {
        examined_database where;
        maker done;
    };

    using database_key = std::pair<std::string, std::string>;  // connection's id, database

    bool ask(backend::control_connection* server);
    void work(const examined_database& where, bool is_all, maker done);
    void look(known_database& known, const examined_database& where, maker& done);
    void answer_makers();
    void sweep(
        known_database& known, const catalog::notice_place& place, catalog::examination& out
    );
    void rest(known_database& known, std::chrono::steady_clock::duration pause);

    teller tell_;
    std::function<void(const std::string&, const std::string&)> warn_;
    std::map<database_key, known_database> known_;
    bool is_sweeping_ = false;  // and rests: nothing else is examined, makers are answered
    std::mutex mutex_;          // what follows
    std::condition_variable urged_;
    std::deque<question> urgent_;  // their makers wait
    backend::control_connection* asking_ = nullptr;
    bool is_stopped_ = false;
    std::map<database_key, bool>
        waiting_;  // that nobody waits for, and whether all: once is enough
    backend::work_pool thread_;
};

}  // namespace signalbox::proxy
