#include "backend/prober.hpp"

#include "wire/error_response.hpp"
#include "wire/messages.hpp"

#include <algorithm>
#include <future>
#include <string_view>
#include <utility>

namespace signalbox::backend {
namespace {

/// For SCRAM's PBKDF2.
constexpr unsigned blocking_threads = prober::parallel;
constexpr std::size_t blocking_stack_bytes = std::size_t{1} << 20U;

/// The server wants some name in the startup packet, and refuses an empty one before it says
/// whether it takes sessions at all.
constexpr std::string_view nobody = "signalbox";

/// Shorter passwords are found in the words of many a message by chance.
constexpr std::size_t shortest_hidden = 8;

/// A server that was told the password in the clear may say it again.
std::string without_password(std::string text, const std::optional<std::string>& password) {
    if (password && password->size() >= shortest_hidden) {
        for (auto at = text.find(*password); at != std::string::npos; at = text.find(*password)) {
            text.replace(at, password->size(), "***");
        }
    }
    return text;
}

std::shared_ptr<const server_target> probe_target(const probe_request& request) {
    auto target = std::make_shared<server_target>(*request.target);
    const auto hosts =
        static_cast<std::chrono::milliseconds::rep>(target->connection->hosts.size());
    const auto share = std::max(request.timeout / hosts, std::chrono::milliseconds{1});
    if (target->connect_timeout.count() == 0 || target->connect_timeout > share) {
        target->connect_timeout = share;
    }
    if (target->user.empty()) {
        target->user = nobody;
    }
    target->parameters.emplace_back("application_name", "signalbox check");
    return target;
}

}  // namespace

probe_outcome judge_failure(const connect_failure& why, const probe_request& request) {
    const bool has_answered = !request.has_login && why.sqlstate.starts_with("28");
    const bool has_no_such_database =
        request.target->database.empty() && why.sqlstate == wire::sqlstate::invalid_catalog_name;
    probe_outcome outcome{
        .is_available = has_answered || has_no_such_database,
        .error = {},
        .sqlstate = {},
        .host = why.at.host,
        .port = why.at.port};
    if (!outcome.is_available) {
        outcome.error = without_password(why.message, request.credentials.password);
        outcome.sqlstate = why.sqlstate;
    }
    return outcome;
}

namespace {

probe_outcome cancelled() {
    return {
        .is_available = false,
        .error = "the check was cancelled",
        .sqlstate = std::string{wire::sqlstate::query_canceled},
        .host = {},
        .port = 0,
        .is_cancelled = true};
}

}  // namespace

// ---- one probe

class prober::attempt final : public connect_observer {
public:
    attempt(prober& owner, job work)
        : work_(std::move(work)),
          owner_(owner),
          connection_(
              owner.io_,
              probe_target(work_.request),
              work_.request.has_login ? work_.request.credentials : server_credentials{},
              *this
          ) {}

    void start() {
        deadline_.start(
            owner_.loop_,
            clock::now() + work_.request.timeout,
            [](void* self) { static_cast<attempt*>(self)->connection_.expire(); },
            this
        );
        connection_.start();
    }

    void on_connected(server_connection& connection) override {
        std::string bye;
        wire::write_terminate(bye);
        if (connection.socket.write(bye, owner_.scratch_)) {
            connection.socket.shut_down(owner_.scratch_);
        }
        connection.socket.close();
        probe_outcome outcome{
            .is_available = true,
            .error = {},
            .sqlstate = {},
            .host = connection.host(),
            .port = connection.port()};
        owner_.finish(*this, std::move(outcome));
    }

    void on_connect_failed(server_connection&, const connect_failure& why) override {
        owner_.finish(*this, judge_failure(why, work_.request));
    }

    void tell(probe_outcome outcome) const { work_.done(std::move(outcome)); }

private:
    job work_;
    prober& owner_;
    timer deadline_;
    server_connection connection_;
};

// ---- all of them

prober::prober()
    : workers_(blocking_threads, blocking_stack_bytes),
      io_{.loop = loop_, .scratch = scratch_, .workers = workers_, .names = names_},
      thread_([this] { run(); }) {}

prober::~prober() {
    stop();
}

void prober::stop() {
    loop_.stop();
    if (thread_.joinable()) {
        thread_.join();
    }
}

void prober::probe(probe_request request, callback done) {
    {
        const std::lock_guard lock{mutex_};
        if (!is_stopped_) {
            waiting_.push_back({std::move(request), std::move(done)});
            loop_.post([this] { start_waiting(); });
            return;
        }
    }
    done(cancelled());
}

probe_outcome prober::probe_and_wait(probe_request request) {
    // Shared: the thread that sets it may still be at it when the one that waits has got it.
    const auto promise = std::make_shared<std::promise<probe_outcome>>();
    auto outcome = promise->get_future();
    probe(std::move(request), [promise](probe_outcome told) {
        promise->set_value(std::move(told));
    });
    return outcome.get();
}

void prober::run() {
    loop_.run();
    cancel_all();
}

void prober::start_waiting() {
    while (running_.size() < parallel) {
        job next;
        {
            const std::lock_guard lock{mutex_};
            if (waiting_.empty()) {
                return;
            }
            next = std::move(waiting_.front());
            waiting_.pop_front();
        }
        running_.push_back(std::make_unique<attempt>(*this, std::move(next)));
        running_.back()->start();
    }
}

void prober::finish(attempt& ended, probe_outcome outcome) {
    const auto at = std::find_if(running_.begin(), running_.end(), [&](const auto& a) {
        return a.get() == &ended;
    });
    const auto mine = std::move(*at);
    running_.erase(at);
    mine->tell(std::move(outcome));
    start_waiting();
}

void prober::cancel_all() {
    for (const auto& each : std::exchange(running_, {})) {
        each->tell(cancelled());
    }
    for (;;) {
        job next;
        {
            const std::lock_guard lock{mutex_};
            if (waiting_.empty()) {
                is_stopped_ = true;
                return;
            }
            next = std::move(waiting_.front());
            waiting_.pop_front();
        }
        next.done(cancelled());
    }
}

}  // namespace signalbox::backend
