// What all workers share: a few counters, the groups behind their pools, the identity of
// statements. Everything here is thread-safe; nothing is touched on the path of a forwarded
// message.
#pragma once

#include "backend/pool.hpp"
#include "backend/resolver.hpp"
#include "backend/work_pool.hpp"
#include "proxy/commands.hpp"
#include "proxy/connection_statuses.hpp"
#include "proxy/examinations.hpp"
#include "proxy/relation_source.hpp"
#include "proxy/right_passwords.hpp"
#include "rewrite/parameters.hpp"
#include "rewrite/statements.hpp"
#include "wire/scram.hpp"

#include <atomic>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

namespace signalbox::proxy {

class worker;

/// Counts clients by a name (user, database, address); a limit of 0 is no limit.
class client_counts {
public:
    /// False: the limit is reached, and nothing was counted.
    bool try_add(const std::string& name, std::size_t limit) {
        if (limit == 0) {
            return true;
        }
        const std::lock_guard lock{mutex_};
        auto& count = counts_[name];
        if (count >= limit) {
            return false;
        }
        ++count;
        return true;
    }

    void remove(const std::string& name) {
        const std::lock_guard lock{mutex_};
        const auto it = counts_.find(name);
        if (it != counts_.end() && --it->second == 0) {
            counts_.erase(it);
        }
    }

private:
    std::mutex mutex_;
    std::map<std::string, std::size_t> counts_;
};

struct shared_state {
    shared_state(
        std::size_t worker_count,
        unsigned threads,
        command_handler& handler,
        connection_statuses& known_statuses,
        relation_source& provided,
        examinations& examiner_of_all
    )
        : commands(handler),
          statuses(known_statuses),
          relations(provided),
          examined(examiner_of_all),
          jobs(threads),
          count(worker_count) {}

    command_handler& commands;
    connection_statuses& statuses;
    relation_source& relations;
    examinations& examined;
    backend::work_pool jobs;
    backend::resolver names;
    const std::size_t count;
    std::vector<worker*> workers;  // complete before the first loop runs
    rewrite::statement_registry statements;
    wire::scram_key mock_key{};
    right_passwords passwords;
    std::atomic<std::size_t> clients{0};
    std::atomic<std::size_t> buffered_bytes{
        0};  // of all sessions; counted only where max_memory is set
    client_counts per_user;
    client_counts per_database;
    client_counts per_address;

    std::shared_ptr<backend::pool_group> group(const std::string& key) {
        const std::lock_guard lock{groups_mutex_};
        auto& group = groups_[key];
        if (!group) {
            group = std::make_shared<backend::pool_group>(key, count);
        }
        return group;
    }

    /// What servers report under a set of startup parameters, by pool and parameters.
    std::shared_ptr<const rewrite::parameter_set> find_profile(const std::string& key) {
        const std::lock_guard lock{profiles_mutex_};
        const auto it = profiles_.find(key);
        return it == profiles_.end() ? nullptr : it->second;
    }

    void remember_profile(
        const std::string& key, const std::shared_ptr<const rewrite::parameter_set>& reported
    ) {
        const std::lock_guard lock{profiles_mutex_};
        if (profiles_.size() >= max_profiles) {
            profiles_.clear();
        }
        profiles_[key] = reported;
    }

private:
    static constexpr std::size_t max_profiles = 4096;

    std::mutex profiles_mutex_;
    std::map<std::string, std::shared_ptr<const rewrite::parameter_set>> profiles_;
    std::mutex groups_mutex_;
    std::map<std::string, std::shared_ptr<backend::pool_group>> groups_;
};

}  // namespace signalbox::proxy
