// Relays without sockets: clients and server connections whose bytes are strings, driven as the
// session drives them.
//
// A client that needs a server connection takes the idle one that was given back last, or waits.
// Whatever arrives is fed in chunks of `chunk` bytes (0: as a whole), so that each scenario can be
// run again cut at every byte.
#pragma once

#include "proxy/relay.hpp"
#include "tests/support/messages.hpp"

#include <algorithm>
#include <functional>
#include <memory>
#include <stdexcept>
#include <string>
#include <string_view>
#include <vector>

/// Each scenario: as a whole, byte by byte, and in pieces that fit no message.
#define SIGNALBOX_CHUNKS GENERATE(as<std::size_t>{}, 0, 1, 7)

namespace signalbox::tests {

class relay_world;
class test_client;

/// SHOW CONNECTIONS has two rows; everything else succeeds, but for the connection "bad".
class test_commands final : public proxy::command_handler {
public:
    proxy::command_shape describe(
        std::string_view sql, parser::backslashes /*strings*/
    ) override {
        proxy::command_shape shape;
        if (sql.find("wrong") != std::string_view::npos) {
            shape.error = wire::report{
                .severity = "ERROR",
                .sqlstate = "42601",
                .message = "syntax error",
                .detail = {},
                .hint = {},
                .position = sql.find("wrong") + 1};
        } else if (proxy::is_show_command(sql)) {
            shape.columns = {{.name = "name"}};
        }
        return shape;
    }

    /// The SHOW forms; what changes something takes its time.
    std::optional<proxy::command_reply> answer(const proxy::command_request& asked) override {
        if (!proxy::is_show_command(asked.sql)) {
            return std::nullopt;
        }
        return run(asked);
    }

    void carry_out(proxy::command_request asked, std::function<void(proxy::command_reply)> done)
        override {
        done(run(asked));
    }

    proxy::command_reply run(const proxy::command_request& asked) {
        const std::string_view sql = asked.sql;
        ran.emplace_back(sql);
        proxy::command_reply reply;
        reply.tag = proxy::command_name(sql);
        if (sql.find("bad") != std::string_view::npos) {
            reply.error = wire::report{
                .severity = "ERROR",
                .sqlstate = "42704",
                .message = "no such connection",
                .detail = {},
                .hint = {}};
        } else if (proxy::is_show_command(sql)) {
            reply.columns = describe(sql, asked.strings).columns;
            reply.rows = {{"main"}, {std::nullopt}};
            reply.tag = "SHOW";
        }
        return reply;
    }

    std::vector<std::string> ran;
};

class test_server {
public:
    explicit test_server(relay_world& world) : world_(world) {}

    /// What has been sent to the server since the last call, as text.
    std::string got();
    /// The server's answer goes to whoever holds the connection.
    void reply(std::string_view bytes);

    bool is_idle() const noexcept { return holder == nullptr; }

    proxy::server_state state;
    test_client* holder = nullptr;
    bool lost = false;
    std::string received;  // not looked at yet
    std::string held;      // of the server's bytes, not taken by the relay yet

private:
    relay_world& world_;
};

class test_client {
public:
    explicit test_client(relay_world& world);

    void send(std::string_view bytes);
    /// What has been sent to the client since the last call, as text.
    std::string got();
    /// The server connection breaks.
    proxy::relay::loss lose_server();
    /// The wait for a server connection ends without one.
    void fail_wait();

    /// The channels that the relay has asked for are heard.
    void confirm_channels() {
        relay.channels_set(true, to_client_);
        deliver();
        pump();
    }

    /// The shared connection has heard something.
    void hear(std::string_view message, std::uint64_t epoch = 1) {
        relay.hear(message, epoch, to_client_);
        deliver();
    }

    /// The statement of ours that is under way ends.
    void finish_command();

    /// The target has changed: as the session asks whether it can be left. False: not now.
    bool ask_to_move() {
        if (!relay.may_move()) {
            return false;
        }
        relay.begin_move(to_server_);
        deliver();
        return true;
    }

    /// What was created has been examined.
    void examined(const std::vector<wire::report>& found) {
        relay.examined(found, to_client_);
        deliver();
        pump();
    }

    /// Tries again where something was waited for.
    void resume() {
        waits = false;
        pump();
    }

    proxy::relay relay;
    test_server* server = nullptr;
    std::vector<std::string> channels;  // as the relay has asked for them
    bool waits = false;
    std::optional<bool> movable;  // as the server has said last
    bool terminated = false;
    bool fatal = false;
    proxy::relay::server_step step = proxy::relay::server_step::fine;
    std::size_t largest_output = 0;  // of one step, to either side
    std::string received;            // not looked at yet
    std::string held;                // of the client's bytes, not taken by the relay yet

private:
    friend class test_server;
    friend class relay_world;

    void pump();
    void carry_out_command();
    bool acquire();
    void advance_units();
    void maybe_release();
    void on_server_bytes();
    void deliver();

    relay_world& world_;
    std::optional<proxy::command_request> command_;
    proxy::outbox to_server_;
    proxy::outbox to_client_;
};

class relay_world {
public:
    explicit relay_world(
        std::size_t chunk_bytes = 0, proxy::pool_mode mode = proxy::pool_mode::transaction
    )
        : chunk(chunk_bytes) {
        settings.mode = mode;
        environment.commands = &commands;
    }

    /// Statements are looked at from now on.
    void look_at_statements(
        rewrite::multi_statement_policy policy, const std::vector<std::string>& rpc_functions = {}
    ) {
        settings.multi_statement = policy;
        settings.rules = std::make_shared<const parser::statement_rules>(rpc_functions);
        settings.verdicts = std::make_shared<parser::verdict_cache>();
    }

    relay_world(const relay_world&) = delete;
    relay_world& operator=(const relay_world&) = delete;

    test_server& add_server() {
        servers_.push_back(std::make_unique<test_server>(*this));
        idle.push_back(servers_.back().get());
        return *servers_.back();
    }

    test_client& add_client() {
        clients_.push_back(std::make_unique<test_client>(*this));
        return *clients_.back();
    }

    /// Feeds `bytes` to `take`, in chunks.
    template <class Take>
    void in_chunks(std::string_view bytes, Take take) const {
        const std::size_t size = chunk == 0 ? std::max<std::size_t>(1, bytes.size()) : chunk;
        for (std::size_t at = 0; at < bytes.size(); at += size) {
            take(bytes.substr(at, size));
        }
    }

    rewrite::parameter_set_ptr parameters(const std::vector<rewrite::parameter_set::item>& items) {
        rewrite::parameter_set set;
        for (const auto& [name, value] : items) {
            set.set(name, value);
        }
        return environment.parameters.intern(set);
    }

    std::size_t chunk;
    std::string login_role = "app";
    rewrite::statement_registry registry;
    proxy::relay_environment environment{registry};
    proxy::relay_settings settings;
    test_commands commands;
    bool hold_commands = false;      // they end by finish_command()
    bool hold_channels = false;      // new channels are not confirmed by themselves
    std::vector<test_server*> idle;  // the most recently used last
    /// A server connection is given back; `may_hide_state`: the worker would clean it.
    std::function<void(test_server&, bool may_hide_state)> on_release;

private:
    std::vector<std::unique_ptr<test_server>> servers_;
    std::vector<std::unique_ptr<test_client>> clients_;
};

namespace detail {

/// Takes the whole messages from the front of `stream`.
inline std::string take_whole(std::string& stream) {
    std::size_t at = 0;
    while (stream.size() - at >= wire::header_bytes) {
        const auto total = std::size_t{wire::load_u32(stream.data() + at + 1)} + 1;
        if (stream.size() - at < total) {
            break;
        }
        at += total;
    }
    auto whole = stream.substr(0, at);
    stream.erase(0, at);
    return whole;
}

}  // namespace detail

inline std::string test_server::got() {
    return describe_client(detail::take_whole(received));
}

inline std::string test_client::got() {
    return describe_server(detail::take_whole(received));
}

inline void test_server::reply(std::string_view bytes) {
    world_.in_chunks(bytes, [this](std::string_view part) {
        if (holder == nullptr) {
            throw std::logic_error(
                "the server connection is idle: nobody takes " + describe_server(part)
            );
        }
        held.append(part);
        holder->on_server_bytes();
    });
}

inline test_client::test_client(relay_world& world)
    : relay(world.environment, world.settings), world_(world) {}

inline void test_client::send(std::string_view bytes) {
    world_.in_chunks(bytes, [this](std::string_view part) {
        held.append(part);
        pump();
    });
}

inline void test_client::deliver() {
    largest_output = std::max({largest_output, to_server_.data().size(), to_client_.data().size()});
    if (!to_server_.empty()) {
        if (server == nullptr) {
            throw std::logic_error("bytes for a server, and there is none");
        }
        server->received.append(to_server_.data());
        to_server_.clear();
    }
    received.append(to_client_.data());
    to_client_.clear();
}

inline bool test_client::acquire() {
    if (world_.idle.empty()) {
        waits = true;
        return false;
    }
    waits = false;
    server = world_.idle.back();
    world_.idle.pop_back();
    server->holder = this;
    relay.attach(server->state, world_.login_role, to_server_, to_client_);
    deliver();
    return true;
}

/// What the relay has asked for is carried out: at once, or by finish_command().
inline void test_client::carry_out_command() {
    if (relay.has_new_command()) {
        command_ = relay.take_command();
    }
    if (command_ && !world_.hold_commands) {
        world_.commands.carry_out(
            *std::exchange(command_, std::nullopt),
            [this](proxy::command_reply reply) {
                relay.command_done(std::move(reply), to_server_, to_client_);
            }
        );
        deliver();
    }
}

inline void test_client::finish_command() {
    world_.hold_commands = false;
    carry_out_command();
    advance_units();
    pump();
}

inline void test_client::pump() {
    while (!terminated && !fatal && step == proxy::relay::server_step::fine) {
        const auto taken = relay.on_client(held, to_server_, to_client_);
        const auto demand = relay.demanded();
        deliver();
        held.erase(0, taken);
        carry_out_command();
        if (demand == proxy::relay::demand::terminate) {
            terminated = true;
        } else if (demand == proxy::relay::demand::fatal) {
            fatal = true;
        } else if (demand == proxy::relay::demand::server) {
            if (!acquire()) {
                break;
            }
            continue;
        }
        if (demand == proxy::relay::demand::verdict) {
            const auto question = relay.undecided();
            relay.decided(std::make_shared<const parser::verdict>(
                world_.settings.rules->decide(question.sql, question.strings)
            ));
            continue;
        }
        advance_units();
        if (taken == 0 || held.empty()) {
            break;
        }
    }
    maybe_release();
}

inline void test_client::advance_units() {
    while (relay.has_unit_due() && !relay.is_blocked() && !waits) {
        maybe_release();
        if (relay.unit_needs_server() && server == nullptr) {
            if (!acquire()) {
                return;
            }
            continue;
        }
        relay.send_unit(to_server_, to_client_);
        deliver();
        carry_out_command();
    }
}

inline void test_client::maybe_release() {
    if (server == nullptr || !relay.may_release() || !server->held.empty()) {
        return;
    }
    if (!server->state.requests.empty() || server->state.status != 'I') {
        throw std::logic_error("released while something was under way");
    }
    const bool may_hide_state = relay.may_hide_state();
    const auto* const state = relay.detach();
    if (state->doubtful || state->tainted) {
        server->lost = true;  // closed
    } else {
        if (world_.on_release) {
            world_.on_release(*server, may_hide_state);
        }
        world_.idle.push_back(server);
    }
    server->holder = nullptr;
    server = nullptr;
}

inline void test_client::on_server_bytes() {
    auto& s = *server;
    std::size_t consumed = 0;
    step = relay.on_server(s.held, to_client_, to_server_, consumed);
    deliver();
    s.held.erase(0, consumed);
    if (step != proxy::relay::server_step::fine) {
        return;
    }
    if (relay.has_new_channels()) {
        channels = relay.take_new_channels();
        if (!world_.hold_channels) {
            relay.channels_set(true, to_client_);
            deliver();
        }
    }
    advance_units();
    if (const auto found = relay.take_movable()) {
        movable = found;
        if (*found) {
            relay.detach();
            s.holder = nullptr;
            s.lost = true;  // closed
            server = nullptr;
        }
    }
    maybe_release();
    if (!relay.is_blocked()) {
        pump();
    }
}

inline proxy::relay::loss test_client::lose_server() {
    auto& lost = *server;
    const auto outcome = relay.server_lost(
        {.severity = "ERROR", .sqlstate = "08006", .message = "lost", .detail = {}, .hint = {}},
        to_client_
    );
    step = proxy::relay::server_step::fine;
    lost.holder = nullptr;  // closed: it is not given back
    lost.lost = true;
    lost.held.clear();
    server = nullptr;
    deliver();
    if (outcome != proxy::relay::loss::close_client) {
        pump();
    }
    return outcome;
}

inline void test_client::fail_wait() {
    waits = false;
    relay.fail_waiting(
        {.severity = "ERROR",
         .sqlstate = "53300",
         .message = "none free",
         .detail = {},
         .hint = {}},
        to_client_
    );
    deliver();
    pump();
}

}  // namespace signalbox::tests
