// Model servers behind relays, and beside each client a model of its own that it talks to directly.
//
// The replies through the relay must be those of the direct model, apart from when ParameterStatus
// comes and from the notice about pinning; and a server connection that is given back must hold
// nothing of the session.
#pragma once

#include "tests/support/model_server.hpp"
#include "tests/support/relay_world.hpp"

#include <map>
#include <memory>
#include <stdexcept>
#include <string>
#include <string_view>
#include <vector>

namespace signalbox::tests {

class model_world {
public:
    struct client {
        explicit client(test_client& through, model_server::settings startup)
            : relayed(through), direct(std::move(startup)) {}

        test_client& relayed;
        model_server direct;
        std::string sent;
        std::string expected;  // what the direct model has answered
        std::string received;  // what came through the relay
    };

    struct server {
        explicit server(test_server& of) : link(of) {}

        test_server& link;
        model_server model;
        std::string replies;  // not delivered yet
    };

    explicit model_world(
        std::size_t chunk = 0, proxy::pool_mode mode = proxy::pool_mode::transaction
    )
        : world(chunk, mode) {}

    client& add_client(const model_server::settings& startup = {}) {
        auto& made = *clients.emplace_back(std::make_unique<client>(world.add_client(), startup));
        std::vector<rewrite::parameter_set::item> items{startup.begin(), startup.end()};
        made.relayed.relay.set_startup(world.parameters(items));
        const auto& told = made.direct.reported();
        made.relayed.relay.set_reported(world.parameters({told.begin(), told.end()}));
        return made;
    }

    server& add_server() {
        ++wanted_;
        auto& made = *servers.emplace_back(std::make_unique<server>(world.add_server()));
        const auto& told = made.model.reported();
        made.link.state.reported = world.parameters({told.begin(), told.end()});
        return made;
    }

    /// The client sends `bytes`, whole messages.
    void send(client& from, std::string_view bytes) {
        from.sent += bytes;
        from.expected += from.direct.feed(bytes);
        from.relayed.send(bytes);
        collect();
    }

    /// Delivers up to `limit` bytes of a server's replies. False: there are none.
    bool deliver(server& of, std::size_t limit) {
        if (of.replies.empty()) {
            return false;
        }
        const auto part = of.replies.substr(0, limit);
        of.replies.erase(0, part.size());
        of.link.reply(part);
        collect();
        return true;
    }

    /// Delivers everything, lets everybody go on, until nothing moves any more.
    void settle() {
        for (bool moved = true; moved;) {
            moved = false;
            replace_lost();
            for (auto& each : servers) {
                while (deliver(*each, each->replies.size())) {
                    moved = true;
                }
            }
            for (auto& each : clients) {
                if (each->relayed.waits && !world.idle.empty()) {
                    each->relayed.resume();
                    moved = true;
                }
            }
            collect();
        }
    }

    /// A pool opens another server connection for one that is gone.
    void replace_lost() {
        std::size_t usable = 0;
        for (const auto& each : servers) {
            usable += each->link.lost ? 0 : 1;
        }
        for (const auto wanted = wanted_; usable < wanted; ++usable) {
            add_server();
        }
        wanted_ = usable;
    }

    /// Moves what the relays have sent to where it goes; throws std::logic_error when a given back
    /// connection is not clean.
    void collect() {
        for (auto& each : servers) {
            if (each->link.lost) {
                each->replies.clear();
                continue;
            }
            const auto whole = detail::take_whole(each->link.received);
            if (!whole.empty()) {
                each->replies += each->model.feed(whole);
            }
            const auto& known = each->link.state.channels;
            const bool hears_more =
                each->model.channels() != std::set<std::string>{known.begin(), known.end()};
            if (each->link.is_idle() &&
                (!each->model.is_clean() || hears_more || !each->replies.empty())) {
                throw std::logic_error(
                    "a server connection was given back with something of its session"
                );
            }
        }
        for (auto& each : clients) {
            each->received += std::exchange(each->relayed.received, {});
        }
    }

    /// Without what may differ.
    static std::string comparable(std::string_view stream) {
        std::string out;
        for (const auto& f : split_frames(stream)) {
            const bool is_pin =
                f.type == 'N' && f.body.find("keeps its server connection") != std::string::npos;
            if (f.type != 'S' && !is_pin) {
                out += (out.empty() ? "" : " ") + detail::describe_server_frame(f);
            }
        }
        return out;
    }

    /// What the client believes the reported parameters to be.
    static model_server::settings believed(std::string_view stream, model_server::settings known) {
        for (const auto& f : split_frames(stream)) {
            if (f.type == 'S') {
                const auto s = wire::parse_parameter_status(f.body).value();
                known[std::string{s.name}] = s.value;
            }
        }
        return known;
    }

    relay_world world;
    std::vector<std::unique_ptr<client>> clients;
    std::vector<std::unique_ptr<server>> servers;

private:
    std::size_t wanted_ = 0;
};

}  // namespace signalbox::tests
