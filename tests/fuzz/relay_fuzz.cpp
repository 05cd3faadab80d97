// libFuzzer target: the session machine.
//
// Layout    first byte modulo 4: what is done with the rest
//   0, 1    two clients send well-formed messages in any order, through relays that share two model
//   servers, in
//           transaction (0) or session (1) mode; replies are delivered in pieces of any size
//   2       the same, and server connections break
//   3       messages with any content on both sides
// Properties
//   - each client's replies are those of a model server that it talks to directly
//   (tests/support/model_world.hpp);
//   - a server connection is given back only when it holds nothing of its session;
//   - nothing hangs: when all servers have answered, nobody waits, nothing is held back, every
//   ledger is empty
#include "tests/fuzz/choices.hpp"
#include "tests/support/model_world.hpp"

#include <cstdio>
#include <string>

namespace {

using namespace signalbox::proxy;
using namespace signalbox::tests;

constexpr std::size_t max_steps = 300;

std::string statement_name(choices& input) {
    static constexpr const char* names[] = {"", "", "a", "b", "c"};
    return names[input.below(5)];
}

std::string portal_name(choices& input) {
    static constexpr const char* names[] = {"", "", "p", "q"};
    return names[input.below(4)];
}

/// What both protocols can run.
std::string any_sql(choices& input) {
    static constexpr const char* texts[] = {
        "select 1",
        "select 2",
        "rows 3",
        "",
        "fail",
        "bad",
        "begin",
        "begin",
        "commit",
        "rollback",
        "copy in",
        "copy out",
        "set work_mem = 1",
        "set work_mem = 2",
        "set local work_mem = 3",
        "reset work_mem",
        "show work_mem",
        "set my.x = 1",
        "show my.x",
        "set application_name = x",
        "reset application_name",
        "reset all",
        "show application_name",
        "show datestyle",
        "set datestyle = y",
        "reset datestyle",
        "listen c",
        "unlisten *",
        "select pg_advisory_lock(1)",
        "select pg_advisory_unlock_all()",
        "create table t ()"};
    return texts[input.below(std::size(texts))];
}

std::string simple_sql(choices& input) {
    static constexpr const char* texts[] = {
        "deallocate a",
        "deallocate b",
        "deallocate all",
        "discard all",
        "prepare s as select 5",
        "execute s",
        "deallocate s"};
    return input.below(3) == 0 ? texts[input.below(std::size(texts))] : any_sql(input);
}

// Left out: EXECUTE of a statement that the protocol has prepared (SQL cannot see its name),
// DEALLOCATE by the extended protocol (its name is rewritten, and known to be gone only at the Sync
// behind it), and a simple DEALLOCATE inside a batch without Sync (it is answered here, and does
// not end the batch).
std::string next_message(choices& input, const model_server& direct) {
    if (direct.is_copying()) {
        switch (input.below(8)) {
            case 0:
                return copy_done();
            case 1:
                return copy_fail("no");
            case 2:
                return flush();
            case 3:
                return sync_message();
            default:
                return copy_data("data");
        }
    }
    switch (input.below(20)) {
        case 0:
        case 1:
        case 2:
            return (direct.has_open_batch() ? query("") : "") + query(simple_sql(input));
        case 3:
        case 4:
        case 5: {
            const auto name = statement_name(input);
            return parse(name, any_sql(input), std::vector<std::uint32_t>(input.below(2), 23));
        }
        case 6:
        case 7:
        case 8: {
            const auto portal = portal_name(input);
            return bind_to(portal, statement_name(input));
        }
        case 9:
            return describe('S', statement_name(input));
        case 10:
            return describe('P', portal_name(input));
        case 11:
        case 12: {
            const auto portal = portal_name(input);
            return execute(portal, static_cast<std::uint32_t>(input.below(3)));
        }
        case 13:
            return close('S', statement_name(input));
        case 14:
            return close('P', portal_name(input));
        case 15:
            return flush();
        case 16:
            return input.below(4) == 0 ? function_call() : copy_data("late");
        case 17:
            return input.below(2) == 0 ? copy_done() : copy_fail("late");
        default:
            return sync_message();
    }
}

/// Brings a client to rest, whatever it is in the middle of, and gives up what would keep its
/// server connection.
void finish(model_world& models, model_world::client& client) {
    if (client.direct.is_copying()) {
        models.send(client, copy_done());
    }
    for (const auto& last :
         {sync_message(),
          query("rollback"),
          query("unlisten *"),
          query("select pg_advisory_unlock_all()"),
          query("deallocate s"),
          query("select 1")}) {
        models.send(client, last);
    }
}

/// Ends the run with all that is needed to understand why.
void check(bool holds, const char* what, const model_world& models) {
    if (holds) {
        return;
    }
    std::fprintf(stderr, "violated: %s\n", what);
    for (const auto& each : models.clients) {
        std::fprintf(
            stderr,
            "  sent:     %s\n  received: %s\n  expected: %s\n",
            describe_client(each->sent).c_str(),
            describe_server(each->received).c_str(),
            describe_server(each->expected).c_str()
        );
    }
    std::abort();
}

/// The steps that the input asks for, and what brings everybody to rest. `is_whole`: no server
/// connection was lost.
/// False: a client had to be closed.
bool run(choices& input, model_world& models, bool with_faults, bool& is_whole) {
    const bool may_lose = models.world.settings.mode != pool_mode::session;
    for (std::size_t step = 0; step < max_steps && !input.empty(); ++step) {
        const auto what = input.below(16);
        if (what < 9) {
            auto& client = *models.clients[input.below(2)];
            auto bytes = next_message(input, client.direct);
            if (with_faults &&
                (client.direct.is_copying() || bytes.find("copy in") != std::string::npos)) {
                // Where replies are lost the direct model does not know whether the client is in a
                // COPY.
                bytes = sync_message();
            }
            models.send(client, bytes);
        } else if (what < 14) {
            models.deliver(*models.servers[input.below(models.servers.size())], 1 + input.byte());
        } else if (what == 14 || !with_faults) {
            models.settle();
        } else {
            auto& client = *models.clients[input.below(2)];
            if (client.relayed.server != nullptr && may_lose &&
                !client.relayed.relay.carries_state()) {
                if (client.relayed.lose_server() == relay::loss::close_client) {
                    return false;
                }
                is_whole = false;
                models.replace_lost();
                models.collect();
            }
        }
    }
    for (const auto& each : models.clients) {
        finish(models, *each);
    }
    models.settle();
    return true;
}

void by_the_rules(choices& input, pool_mode mode, bool with_faults) {
    static constexpr std::size_t chunks[] = {0, 1, 5};
    model_world models{chunks[input.below(3)], mode};
    models.world.settings.max_prepared_statements = 1 + input.below(3);
    models.add_server();
    models.add_server();
    models.add_client({{"datestyle", "iso"}});
    models.add_client();
    std::vector<model_server::settings> known;
    for (const auto& each : models.clients) {
        known.push_back(each->direct.reported());
        if (mode == pool_mode::session) {
            models.send(
                *each, query("select 0")
            );  // the login: where a session meets its server connection
            models.settle();
        }
    }
    bool is_whole = true;
    try {
        if (!run(input, models, with_faults, is_whole)) {
            return;
        }
    } catch (const std::logic_error& broken) {
        check(false, broken.what(), models);
    }
    for (std::size_t i = 0; i < models.clients.size(); ++i) {
        const auto& client = *models.clients[i];
        check(client.relayed.held.empty(), "everything is taken", models);
        check(!client.relayed.waits && !client.relayed.fatal, "nobody waits", models);
        check(
            !client.relayed.relay.is_blocked() && !client.relayed.relay.is_busy(),
            "every ledger is empty",
            models
        );
        if (!is_whole) {
            continue;
        }
        check(
            mode == pool_mode::session || client.relayed.server == nullptr,
            "everything is given back",
            models
        );
        check(
            model_world::comparable(client.received) == model_world::comparable(client.expected),
            "replies are the same",
            models
        );
        check(
            model_world::believed(client.received, known[i]) ==
                model_world::believed(client.expected, known[i]),
            "reported parameters are the same",
            models
        );
    }
}

std::string any_message(choices& input, std::string_view types) {
    const char type =
        input.below(16) == 0 ? static_cast<char>(input.byte()) : types[input.below(types.size())];
    return message(type, input.bytes(input.byte()));
}

void any_content(choices& input) {
    relay_world world{input.below(4), static_cast<pool_mode>(input.below(3))};
    world.settings.max_prepared_statements = 2;
    world.settings.max_message_size = 10'000;
    auto& server = world.add_server();
    auto& client = world.add_client();
    client.relay.set_startup(world.parameters({{"a", "1"}}));
    for (std::size_t step = 0; step < max_steps && !input.empty(); ++step) {
        switch (input.below(8)) {
            case 0:
                client.send(input.bytes(input.byte()));
                break;
            case 1:
                if (client.server != nullptr && client.step == relay::server_step::fine) {
                    server.held.append(input.bytes(input.byte()));
                    server.reply("");
                }
                break;
            case 2:
            case 3:
            case 4:
                client.send(any_message(input, "QPBDECSHFdcf"));
                break;
            default: {
                const auto bytes = any_message(input, "123ACDEGHINSTVWZcdnst") +
                                   (input.below(2) == 0 ? ready() : "");
                for (const char c : bytes) {
                    if (client.server != nullptr && client.step == relay::server_step::fine) {
                        server.reply(std::string_view{&c, 1});
                    }
                }
                break;
            }
        }
        if (client.fatal || client.terminated || client.step != relay::server_step::fine) {
            break;
        }
    }
    if (client.server != nullptr) {
        client.lose_server();
    }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    choices input{{reinterpret_cast<const char*>(data), size}};
    switch (input.below(4)) {
        case 0:
            by_the_rules(input, pool_mode::transaction, false);
            break;
        case 1:
            by_the_rules(input, pool_mode::session, false);
            break;
        case 2:
            by_the_rules(input, pool_mode::transaction, true);
            break;
        default:
            any_content(input);
            break;
    }
    return 0;
}
