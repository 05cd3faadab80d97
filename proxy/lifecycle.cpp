#include "proxy/lifecycle.hpp"

#include "proxy/connection_service.hpp"
#include "proxy/listener.hpp"
#include "proxy/log.hpp"
#include "proxy/passed_sockets.hpp"
#include "proxy/shared.hpp"
#include "proxy/worker.hpp"

#include <openssl/rand.h>

#include <algorithm>
#include <chrono>
#include <condition_variable>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <ctime>
#include <fcntl.h>
#include <latch>
#include <memory>
#include <mutex>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <thread>
#include <unistd.h>

namespace signalbox::proxy {
namespace {

constexpr unsigned blocking_threads = 2;
constexpr auto longest_apply = std::chrono::seconds{1};

/// systemd's sd_notify(3), which is one datagram.
void notify_service_manager(const std::string& message) {
    const char* const path =
        std::getenv("NOTIFY_SOCKET");  // NOLINT(concurrency-mt-unsafe): nothing sets it
    if (path == nullptr || *path == '\0') {
        return;
    }
    sockaddr_un to{};
    to.sun_family = AF_UNIX;
    const std::string_view name{path};
    if (name.size() >= sizeof to.sun_path) {
        return;
    }
    std::memcpy(to.sun_path, name.data(), name.size());
    if (to.sun_path[0] == '@') {
        to.sun_path[0] = '\0';
    }
    const int fd = ::socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    if (fd < 0) {
        return;
    }
    ::sendto(
        fd,
        message.data(),
        message.size(),
        MSG_NOSIGNAL,
        reinterpret_cast<const sockaddr*>(&to),
        static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + name.size())
    );
    ::close(fd);
}

/// Every client is a descriptor, and so is every server connection: as many as the hard limit
/// allows.
void raise_descriptor_limit(std::size_t wanted) {
    rlimit limit{};
    if (::getrlimit(RLIMIT_NOFILE, &limit) != 0 || limit.rlim_cur >= wanted) {
        return;
    }
    limit.rlim_cur = std::min<rlim_t>(limit.rlim_max, wanted);
    ::setrlimit(RLIMIT_NOFILE, &limit);
    if (limit.rlim_cur < wanted) {
        log::warn(
            "the limit of open files is lower than max_clients needs",
            {{"limit", std::uint64_t{limit.rlim_cur}}, {"wanted", wanted}}
        );
    }
}

void apply_log_settings(const configuration& config) {
    log::set_level(log::parse_level(config.log.level).value_or(log::level::info));
    log::set_format(config.log.format == log_format::json ? log::format::json : log::format::text);
    for (const auto& warning : config.warnings) {
        log::warn("configuration", {{"cause", warning}});
    }
}

class server {
public:
    explicit server(std::filesystem::path file) : file_(std::move(file)) {}

    ~server() {
        for (auto& each : workers_) {
            each->join();
        }
        if (shared_) {
            shared_->jobs.stop();
            shared_->names.stop();
        }
        if (service_) {
            service_->stop();  // before the workers that it speaks to
        }
        workers_.clear();
        for (const auto& path : unix_paths_) {
            ::unlink(path.c_str());
        }
    }

    server(const server&) = delete;
    server& operator=(const server&) = delete;

    int run() {
        std::optional<configuration> config;
        try {
            config = load_configuration(file_);
            apply_log_settings(*config);
            const runtime usable{*config, nullptr};  // whatever it names can be read
        } catch (const std::exception& e) {
            log::error("the configuration cannot be used", {{"cause", e.what()}});
            return exit_usage;
        }
        passed_ = take_passed_sockets();
        for (const auto& each : passed_) {
            if (each.fd < 0) {
                log::error("cannot listen", {{"cause", each.error}});
                return exit_fault;
            }
        }
        // Before any thread exists, so that all inherit it: signals are read here and nowhere else.
        sigset_t handled;
        sigemptyset(&handled);
        for (const int signal : {SIGHUP, SIGTERM, SIGINT}) {
            sigaddset(&handled, signal);
        }
        pthread_sigmask(SIG_BLOCK, &handled, nullptr);
        std::signal(SIGPIPE, SIG_IGN);

        try {
            service_ = std::make_unique<connection_service>(*std::move(config));
        } catch (const std::exception& e) {
            log::error("the catalog cannot be used", {{"cause", e.what()}});
            return exit_fault;
        }
        if (!start_workers()) {
            return exit_fault;
        }
        service_->start([this](const runtime_ptr& next) { apply(next); });
        log::ready(addresses_);
        notify_service_manager("READY=1");
        const int status = wait_for_signals(handled);
        notify_service_manager("STOPPING=1");
        return status;
    }

private:
    bool start_workers() {
        const auto runtime = service_->current();
        const auto& listen = runtime->config().listen;
        const std::size_t count =
            listen.workers > 0 ? listen.workers : std::max(1U, std::thread::hardware_concurrency());
        raise_descriptor_limit(listen.max_clients + 4096);
        shared_ = std::make_unique<shared_state>(
            count, blocking_threads, *service_, *service_, *service_, *service_
        );
        if (RAND_bytes(shared_->mock_key.data(), static_cast<int>(shared_->mock_key.size())) != 1) {
            log::error("no random numbers to be had", {});
            return false;
        }
        for (std::size_t i = 0; i < count; ++i) {
            workers_.push_back(std::make_unique<worker>(i, *shared_, runtime));
            shared_->workers.push_back(workers_.back().get());
        }
        if (!open_sockets(listen)) {
            return false;
        }
        for (auto& each : workers_) {
            each->start();
        }
        return true;
    }

    /// Returns when all workers have it: who is told that a connection was changed finds it so on
    /// every worker. One that ends does not hear any more, and is not waited for long.
    void apply(const runtime_ptr& next) {
        struct countdown {
            std::mutex mutex;
            std::condition_variable all;
            std::size_t left = 0;
        };

        const auto waits = std::make_shared<countdown>();
        waits->left = workers_.size();
        for (auto& each : workers_) {
            each->post([w = each.get(), next, waits] {
                w->apply(next);
                const std::lock_guard lock{waits->mutex};
                if (--waits->left == 0) {
                    waits->all.notify_one();
                }
            });
        }
        std::unique_lock lock{waits->mutex};
        waits->all.wait_for(lock, longest_apply, [&waits] { return waits->left == 0; });
    }

    bool open_sockets(const listen_settings& listen) {
        const client_timeouts timeouts{
            .keepalive = listen.tcp_keepalive, .unacknowledged = listen.tcp_user_timeout};
        if (!passed_.empty()) {
            log::info("listening on the sockets that the service manager has passed", {});
            for (const auto& each : passed_) {
                if (!each.is_local) {
                    prepare_clients(each.fd, timeouts);
                }
                addresses_.push_back(each.address);
                share(each.fd);
            }
            return true;
        }
        for (const auto& host : listen.addresses) {
            const auto problem = listen.port == 0 ? std::string{} : taken_port(host, listen.port);
            if (!problem.empty()) {
                log::error("cannot listen", {{"cause", problem}});
                return false;
            }
        }
        auto port = listen.port;
        for (const auto& host : listen.addresses) {
            for (auto& each : workers_) {
                for (const auto& made : listen_tcp(host, port, timeouts)) {
                    if (made.fd < 0) {
                        log::error("cannot listen", {{"cause", made.error}});
                        return false;
                    }
                    port = bound_port(made.fd);
                    if (each == workers_.front()) {
                        addresses_.push_back(made.address);
                    }
                    each->listen_on(made.fd, false);
                }
            }
        }
        if (!listen.unix_socket_dir.empty()) {
            const auto made = listen_unix(listen.unix_socket_dir, port);
            if (made.fd < 0) {
                log::error("cannot listen", {{"cause", made.error}});
                return false;
            }
            unix_paths_.push_back(made.address);
            addresses_.push_back(made.address);
            share(made.fd);
        }
        return true;
    }

    /// One listening socket for all workers.
    void share(int fd) {
        for (auto& each : workers_) {
            each->listen_on(each == workers_.front() ? fd : ::fcntl(fd, F_DUPFD_CLOEXEC, 0), true);
        }
    }

    int wait_for_signals(const sigset_t& handled) {
        bool draining = false;
        std::thread drained;
        int status = exit_success;
        for (bool running = true; running;) {
            int signal = 0;
            if (sigwait(&handled, &signal) != 0) {
                continue;
            }
            if (signal == SIGHUP && !draining) {
                reload();
            } else if (signal == SIGTERM && !draining) {
                draining = true;
                drain();
                // When all workers have ended, this thread is woken as by a second signal.
                drained = std::thread{[this, main = pthread_self()] {
                    for (auto& each : workers_) {
                        each->join();
                    }
                    pthread_kill(main, SIGINT);
                }};
            } else if (signal == SIGTERM || signal == SIGINT) {
                running = false;
                for (auto& each : workers_) {
                    each->post([w = each.get()] { w->stop_now(); });
                }
            }
        }
        if (drained.joinable()) {
            drained.join();
        }
        for (auto& each : workers_) {
            each->join();
        }
        log::info("stopped", {});
        return status;
    }

    /// Returns when no worker accepts any more: who reads the log may let the next process listen.
    void drain() {
        const auto until = backend::clock::now() + drain_timeout();
        // Shared: the last to count may still be inside when this thread goes on.
        const auto deaf = std::make_shared<std::latch>(std::ptrdiff_t(workers_.size()));
        for (auto& each : workers_) {
            each->post([w = each.get(), until, deaf] {
                w->drain(until);
                deaf->count_down();
            });
        }
        deaf->wait();
        log::info("draining: no new clients, running transactions may finish", {});
    }

    [[nodiscard]] duration drain_timeout() const {
        duration longest{0};
        const auto current = service_->current();  // a reload may be putting another in its place
        for (const auto& route : current->config().routes) {
            longest = std::max(longest, route->drain_timeout);
        }
        return longest;
    }

    void reload() {
        timespec now{};
        clock_gettime(CLOCK_MONOTONIC, &now);
        notify_service_manager(
            "RELOADING=1\nMONOTONIC_USEC=" +
            std::to_string(std::int64_t{now.tv_sec} * 1'000'000 + now.tv_nsec / 1000)
        );
        service_->reload(file_, [this](const std::string& problem) {
            if (problem.empty()) {
                apply_log_settings(service_->current()->config());
                log::info("configuration reloaded", {});
            } else {
                log::error("reload failed, the old configuration stays", {{"cause", problem}});
            }
            notify_service_manager("READY=1");
        });
    }

    std::filesystem::path file_;
    std::unique_ptr<connection_service> service_;
    std::unique_ptr<shared_state> shared_;
    std::vector<std::unique_ptr<worker>> workers_;
    std::vector<std::string> addresses_;
    std::vector<std::string> unix_paths_;
    std::vector<listen_result> passed_;
};

}  // namespace

int serve(const std::filesystem::path& config_file) {
    try {
        return server{config_file}.run();
    } catch (const std::exception& e) {
        log::error("fault", {{"cause", e.what()}});
        return exit_fault;
    }
}

int check(const std::filesystem::path& config_file) {
    try {
        auto config = load_configuration(config_file);
        for (const auto& warning : config.warnings) {
            std::fprintf(stderr, "warning: %s\n", warning.c_str());
        }
        const runtime usable{std::move(config), nullptr};
        std::printf("%s: the configuration is fine\n", config_file.c_str());
        return exit_success;
    } catch (const std::exception& e) {
        std::fprintf(stderr, "error: %s\n", e.what());
        return exit_usage;
    }
}

}  // namespace signalbox::proxy
