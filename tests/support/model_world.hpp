// Model servers behind relays, and beside each client a reference of its own that it talks to
// directly.
//
// The replies through the relay must be the reference's, apart from when ParameterStatus comes and
// from what is said about pinning and about RPC calls in a block; and a server connection that is
// given back must hold nothing of the session.
//
// What is notified reaches the other sessions by the connection that listens for all: its messages
// wait in a queue until hear_next().
#pragma once

#include "tests/support/model_reference.hpp"
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
        client(
            test_client& through,
            model_server::settings startup,
            const proxy::relay_settings& settings
        )
            : relayed(through), direct(std::move(startup), settings) {}

        test_client& relayed;
        model_reference direct;
        std::string sent;
        std::string expected;  // what the direct model has answered
        std::string received;  // what came through the relay
    };

    struct server {
        explicit server(test_server& of) : link(of) {}

        test_server& link;
        model_server model;
        std::string received;
        std::string replies;  // not delivered yet
    };

    explicit model_world(
        std::size_t chunk = 0, proxy::pool_mode mode = proxy::pool_mode::transaction
    )
        : world(chunk, mode) {
        world.on_release = [this](test_server& link, bool may_hide_state) {
            for (auto& each : servers) {
                if (&each->link == &link) {
                    on_release(*each, may_hide_state);
                }
            }
        };
    }

    client& add_client(const model_server::settings& startup = {}) {
        auto& made = *clients.emplace_back(
            std::make_unique<client>(world.add_client(), startup, world.settings)
        );
        std::vector<rewrite::parameter_set::item> items{startup.begin(), startup.end()};
        made.relayed.relay.set_startup(world.parameters(items));
        const auto& told = made.direct.reported();
        made.relayed.relay.set_reported(world.parameters({told.begin(), told.end()}));
        return made;
    }

    server& add_server() {
        ++wanted_;
        auto& made = *servers.emplace_back(std::make_unique<server>(world.add_server()));
        made.model.process_id = static_cast<std::uint32_t>(100 + servers.size());
        made.link.state.process_id = made.model.process_id;
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

    /// The shared connection hears the next notification. False: there is none.
    bool hear_next() {
        if (heard_.empty()) {
            return false;
        }
        const auto said = heard_.front();
        heard_.erase(heard_.begin());
        for (auto* const each : said.listeners) {
            if (listens(*each, said.what.channel)) {
                const auto& [process_id, channel, payload] = said.what;
                each->relayed.hear(notification(process_id, channel, payload));
            }
        }
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
            while (hear_next()) {
                moved = true;
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
                each->received += whole;
                each->replies += each->model.feed(whole);
                tell(*each);
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

    /// Without what may differ. Of notifications those count that have this payload: the client's
    /// own.
    static std::string comparable(std::string_view stream, std::string_view own_payload = {}) {
        std::string out;
        for (const auto& f : split_frames(stream)) {
            const bool is_extra =
                f.type == 'N' &&
                (f.body.find("keeps its server connection") != std::string::npos ||
                 f.body.find("an RPC function is called inside") != std::string::npos);
            const bool is_foreign =
                f.type == 'A' && wire::parse_notification(f.body).value().payload != own_payload;
            if (f.type != 'S' && !is_extra && !is_foreign) {
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
    struct heard_item {
        model_server::notified what;
        std::vector<client*> listeners;
    };

    static bool listens(const client& who, const std::string& channel) {
        const auto& channels = who.relayed.channels;
        return std::find(channels.begin(), channels.end(), channel) != channels.end();
    }

    /// What a server has notified goes to those that listen.
    void tell(server& from) {
        for (const auto& said : from.model.take_notified()) {
            for (auto& each : servers) {
                if (each.get() != &from && !each->link.is_idle()) {
                    each->model.hear(said);
                }
            }
            // Who begins to listen with the very transaction that notifies is told by its server;
            // the model's shared connection does not tell it once more.
            heard_item item{said, {}};
            for (auto& each : clients) {
                if (listens(*each, said.channel)) {
                    item.listeners.push_back(each.get());
                }
            }
            heard_.push_back(std::move(item));
        }
    }

    static void on_release(server& given, bool may_hide_state) {
        given.replies += given.model.feed(detail::take_whole(given.link.received));
        if (!given.model.is_clean() || !given.replies.empty() || !given.link.received.empty()) {
            throw std::logic_error("a server connection is given back with something unfinished");
        }
        if (given.model.has_hidden_state() && !may_hide_state) {
            throw std::logic_error("a server connection is given back with hidden state");
        }
        if (may_hide_state) {
            given.model.tidy();
            given.link.state.sequences_of = 0;
        }
    }

    std::size_t wanted_ = 0;
    std::vector<heard_item> heard_;  // and not told yet
};

}  // namespace signalbox::tests
