// The prober as a program, for tests against real servers.
//
//   signalbox_probe <requests
//
// A request is a line of NAME=VALUE words: id, host and port (comma lists), user, password,
// database, ssl_mode, ca, target_session_attrs, timeout (milliseconds), login (yes, no), wait (yes:
// probe_and_wait on the main thread). The line `quit` ends the prober at once, the input's end once
// everything is answered. An outcome is a line: id, available | failed | cancelled, SQLSTATE, host,
// port and error, with tabs between; in the order of the answers.
#include "backend/prober.hpp"

#include <condition_variable>
#include <cstdio>
#include <iostream>
#include <map>
#include <mutex>
#include <sstream>
#include <stdexcept>
#include <string>
#include <vector>

namespace {

using signalbox::backend::probe_outcome;
using signalbox::backend::probe_request;
namespace backend = signalbox::backend;
namespace catalog = signalbox::catalog;

using words = std::map<std::string, std::string>;

template <class T>
T choice(const words& from, const std::string& name, const std::map<std::string, T>& choices) {
    const auto it = from.find(name);
    return it == from.end() ? choices.begin()->second : choices.at(it->second);
}

std::string text(const words& from, const std::string& name) {
    const auto it = from.find(name);
    return it == from.end() ? std::string{} : it->second;
}

std::vector<std::string> list(const std::string& from) {
    std::vector<std::string> parts;
    std::istringstream in{from};
    for (std::string part; std::getline(in, part, ',');) {
        parts.push_back(part);
    }
    return parts;
}

probe_request read_request(const words& line) {
    auto connection = std::make_shared<catalog::postgres_connection>();
    connection->name = "probed";
    const auto ports = list(line.at("port"));
    const auto hosts = list(line.at("host"));
    for (std::size_t i = 0; i < hosts.size(); ++i) {
        const auto& port = ports.size() == 1 ? ports.front() : ports.at(i);
        connection->hosts.push_back(
            {.host = hosts[i], .port = static_cast<std::uint16_t>(std::stoul(port))}
        );
    }
    connection->tls = choice<catalog::ssl_mode>(
        line,
        "ssl_mode",
        {{"disable", catalog::ssl_mode::disable},
         {"require", catalog::ssl_mode::require},
         {"verify-full", catalog::ssl_mode::verify_full}}
    );
    connection->tls_ca = text(line, "ca");
    connection->target = choice<catalog::target_session_attrs>(
        line,
        "target_session_attrs",
        {{"any", catalog::target_session_attrs::any},
         {"prefer-standby", catalog::target_session_attrs::prefer_standby},
         {"primary", catalog::target_session_attrs::primary},
         {"read-only", catalog::target_session_attrs::read_only},
         {"read-write", catalog::target_session_attrs::read_write},
         {"standby", catalog::target_session_attrs::standby}}
    );
    auto target = std::make_shared<backend::server_target>();
    target->tls_context = backend::make_server_tls_context(*connection);
    target->connection = std::move(connection);
    target->user = text(line, "user");
    target->database = text(line, "database");
    probe_request request;
    request.target = std::move(target);
    if (line.contains("password")) {
        request.credentials.password = line.at("password");
    }
    if (line.contains("timeout")) {
        request.timeout = std::chrono::milliseconds{std::stoi(line.at("timeout"))};
    }
    request.has_login = text(line, "login") != "no";
    return request;
}

/// Who waits until every request has its outcome.
class tally {
public:
    void expect() {
        const std::lock_guard lock{mutex_};
        ++open_;
    }

    void tell(const std::string& id, const probe_outcome& o) {
        const std::lock_guard lock{mutex_};
        const char* const verdict =
            o.is_available ? "available" : (o.is_cancelled ? "cancelled" : "failed");
        std::cout << id << '\t' << verdict << '\t' << o.sqlstate << '\t' << o.host << '\t' << o.port
                  << '\t' << o.error << std::endl;
        --open_;
        done_.notify_all();
    }

    void wait() {
        std::unique_lock lock{mutex_};
        done_.wait(lock, [this] { return open_ == 0; });
    }

private:
    std::mutex mutex_;
    std::condition_variable done_;
    std::size_t open_ = 0;
};

void serve() {
    tally outcomes;
    backend::prober prober;
    for (std::string line; std::getline(std::cin, line);) {
        if (line == "quit") {
            return;
        }
        words found;
        std::istringstream in{line};
        for (std::string word; in >> word;) {
            const auto at = word.find('=');
            found[word.substr(0, at)] = at == std::string::npos ? "" : word.substr(at + 1);
        }
        const auto id = found.at("id");
        outcomes.expect();
        if (text(found, "wait") == "yes") {
            outcomes.tell(id, prober.probe_and_wait(read_request(found)));
        } else {
            prober.probe(read_request(found), [id, &outcomes](const probe_outcome& outcome) {
                outcomes.tell(id, outcome);
            });
        }
    }
    outcomes.wait();
}

}  // namespace

int main() {
    try {
        serve();
        return 0;
    } catch (const std::exception& error) {
        std::cerr << "signalbox_probe: " << error.what() << '\n';
        return 1;
    }
}
