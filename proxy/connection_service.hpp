// The catalog at work: its thread, its store, the checks, and the way from a changed connection to
// the workers.
//
//   workers --carry_out(), on_outcome()--> jobs --> the catalog's thread --> store
//                                                        |
//   workers <------------- a new runtime ----------------+
//
// Executor  carry_out(), answer(), describe(), on_outcome(), describe_status(), rows(), section():
//           any thread. Everything else runs on the catalog's thread, which may block.
#pragma once

#include "backend/prober.hpp"
#include "catalog/connections.hpp"
#include "catalog/store.hpp"
#include "proxy/commands.hpp"
#include "proxy/config.hpp"
#include "proxy/connection_statuses.hpp"
#include "proxy/examinations.hpp"
#include "proxy/examiner.hpp"
#include "proxy/relation_source.hpp"
#include "proxy/runtime.hpp"
#include "rewrite/connection_relations.hpp"
#include "rewrite/notice_relations.hpp"

#include <chrono>
#include <deque>
#include <filesystem>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <random>
#include <set>
#include <string>
#include <thread>
#include <utility>
#include <vector>

namespace signalbox::proxy {

class connection_service final : public command_handler,
                                 public connection_statuses,
                                 public relation_source,
                                 public examinations,
                                 public catalog::connection_user {
public:
    /// Opens the store. Throws catalog::store_error, or what runtime() throws.
    explicit connection_service(configuration config);
    ~connection_service() override;
    connection_service(const connection_service&) = delete;
    connection_service& operator=(const connection_service&) = delete;

    /// The configuration with what SQL has changed.
    [[nodiscard]] runtime_ptr current() const;

    /// From here on `apply` hears of every new runtime, on the catalog's thread.
    void start(std::function<void(runtime_ptr)> apply);
    void stop();

    /// The file has been changed: `done` hears why it cannot be used, or "".
    void reload(std::filesystem::path file, std::function<void(std::string)> done);

    command_shape describe(std::string_view sql, parser::backslashes strings) override;
    std::optional<command_reply> answer(const command_request& asked) override;
    void carry_out(command_request asked, std::function<void(command_reply)> done) override;

    void on_outcome(
        std::shared_ptr<const catalog::postgres_connection> connection,
        const backend::connect_failure* why
    ) override;
    [[nodiscard]] std::string describe_status(const std::string& connection) const override;

    [[nodiscard]] const rewrite::schema_names& schemas() const override { return schemas_; }

    [[nodiscard]] std::optional<wire::report> refusal(
        const rewrite::relation& of, const client_identity& who
    ) const override;
    [[nodiscard]] rewrite::relation_text rows(const rewrite::relation& of) const override;

    void examine(
        const std::string& connection,
        const std::string& database,
        std::function<void(std::vector<wire::report>)> done
    ) override;

    [[nodiscard]] std::vector<std::string> section(
        const catalog::explained_statement& what,
        const catalog::plan_lines& plan,
        const std::string& connection,
        const std::string& database,
        const client_identity& who
    ) const override;

    [[nodiscard]] catalog::snapshot_ptr snapshot() const { return catalog_->snapshot(); }

private:
    using clock = std::chrono::steady_clock;

    void run();
    void work();
    void tell_of_store();
    void post(std::function<void()> job);
    bool run_jobs();
    void check_connections();
    void report_met(
        const catalog::postgres_connection& connection,
        std::string_view status,
        std::optional<std::string> error
    );
    void keep_ways();
    void examine_routes();
    void reload_notices();
    void forget_dropped(const std::vector<std::string>& connection_ids);
    void keep_notices(const examined& what);
    void examine_unkept();
    bool submit_examination(
        const std::string& connection,
        const std::string& database,
        bool is_all,
        std::function<void(std::vector<wire::report>)> done
    );
    void load(configuration next);
    void execute(const command_request& asked, const std::function<void(command_reply)>& done);
    void validate_first(
        const catalog::planned_connection& connection,
        command_request asked,
        std::function<void(command_reply)> done
    );
    [[nodiscard]] backend::probe_request probe_of(const catalog::planned_connection& connection
    ) const;
    [[nodiscard]] clock::duration jittered(duration interval);

    check validate(const catalog::planned_connection& connection) override;
    [[nodiscard]] std::optional<std::string> find_route_to(std::string_view name) const override;
    std::function<void()> prepare(const catalog::postgres_connections& connections) override;
    [[nodiscard]] std::optional<std::string> find_secret(std::string_view name) const override;
    [[nodiscard]] std::filesystem::path resolve_path(const std::string& path) const override;
    void warn(const std::string& what, const std::string& cause) override;

    configuration config_;  // the file's, in force
    const rewrite::schema_names schemas_;
    std::unique_ptr<catalog::store> store_;
    std::unique_ptr<catalog::connection_catalog> catalog_;
    std::unique_ptr<catalog::notice_catalog> notices_;
    mutable rewrite::relation_texts<catalog::connection_snapshot> connection_texts_{
        &rewrite::connection_relation_rows};
    mutable rewrite::relation_texts<catalog::notice_snapshot> notice_texts_{
        &rewrite::notice_relation_rows};
    backend::prober prober_;
    examiner examiner_;
    clock::time_point next_reconcile_ = clock::time_point::min();
    /// Asked for whole, since it became the leader: connection's name and database.
    std::set<std::pair<std::string, std::string>> examined_;

    /// A database with findings that the store did not take.
    struct unkept_findings {
        clock::duration pause{};  // before the next try
        clock::time_point next;
    };

    std::map<std::pair<std::string, std::string>, unkept_findings>
        unkept_;  // by connection's id and database
    catalog::snapshot_ptr ways_of_;
    mutable std::mutex mutex_;  // what follows, up to ways_
    runtime_ptr runtime_;
    std::deque<std::function<void()>> jobs_;
    bool stopping_ = false;
    std::map<std::string, examined_database> ways_;  // by the connection's name; no database yet
    std::function<void(runtime_ptr)> apply_;

    /// Of the statement that is being carried out, once more.
    struct validation {
        catalog::planned_connection connection;
        backend::probe_outcome outcome;
    };

    std::optional<validation> validated_;
    std::map<std::string, clock::time_point> next_check_;  // by name
    std::set<std::string, std::less<>> down_;  // names of those whose failure the log has told
    bool has_checked_ = false;                 // all that there were when it became the leader
    bool is_store_away_ = false;               // as it was last told
    std::minstd_rand random_{std::random_device{}()};
    std::thread thread_;
};

}  // namespace signalbox::proxy
