// libFuzzer target: the session machine.
//
// Layout    first byte modulo 4: what is done with the rest
//   0, 1    two clients send well-formed messages in any order, through relays that share one or
//   two
//           model servers, in transaction (0) or session (1) mode; replies are delivered in pieces
//           of any size. The policies of multi_statement and of RPC calls in a block are chosen,
//           too
//   2       the same, and server connections break, or cannot be had
//   3       messages with any content on both sides
// Properties
//   - each client's replies are those that tests/support/model_reference.hpp gives, and the same
//     rows are committed; a server connection is given back only when it holds nothing of its
//     session (tests/support/model_world.hpp);
//   - where server connections are lost: one ReadyForQuery per Query and Sync, each reply in its
//     place, nothing is executed twice;
//   - nothing hangs: when all servers have answered, nobody waits, nothing is held back, every
//     ledger is empty
#include "tests/fuzz/choices.hpp"
#include "tests/support/model_world.hpp"

#include <algorithm>
#include <cstdio>
#include <map>
#include <string>
#include <vector>

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

/// Who sends what.
struct author {
    std::size_t client = 0;
    bool with_faults = false;
    bool follows_names = false;  // else a name of an RPC call, or of ours, stays one
    int& labels;                 // the last one that was given to a statement

    [[nodiscard]] std::string labelled(std::string_view word) const {
        return std::string{word} + " " + std::to_string(++labels);
    }
};

/// What both protocols can run.
std::string any_sql(choices& input, const author& by) {
    static constexpr const char* texts[] = {
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
        "listen d",
        "unlisten *",
        "select hidden()",
        "select pg_advisory_lock(1)",
        "select pg_advisory_unlock_all()",
        "create table t ()"};
    switch (const auto which = input.below(std::size(texts) + 10)) {
        case 0:
        case 1:
        case 2:
            return by.labelled("select");
        case 3:
        case 4:
        case 5:
        case 6:
            return by.labelled("insert");
        case 7:
        case 8:
            return by.follows_names ? "select rpc()" : "select 1";
        case 9:
            return "notify c " + std::to_string(by.client);
        default:
            return by.with_faults && std::string_view{texts[which - 10]} == "copy in"
                       ? "copy out"
                       : texts[which - 10];
    }
}

std::string own_sql(choices& input) {
    static constexpr const char* texts[] = {
        "show connections", "alter connection main set (port 1)", "drop connection bad"};
    return texts[input.below(3)];
}

std::string one_simple(choices& input, const author& by) {
    static constexpr const char* texts[] = {
        "discard all",
        "deallocate a",
        "deallocate b",
        "deallocate all",
        "execute a",
        "prepare s as select 5",
        "execute s",
        "deallocate s",
        "select rpc()",
        "select rpc()"};
    switch (input.below(6)) {
        case 0:
            return texts[input.below(std::size(texts))];
        case 1:
            return own_sql(input);
        default:
            return any_sql(input, by);
    }
}

/// What a Query must have for itself: names that the protocol has given, and RESET, which takes a
/// parameter to the startup packet's value only when the Query has ended.
std::string of_several(std::string sql) {
    const bool stands_alone =
        sql == "deallocate a" || sql == "deallocate b" || sql.starts_with("reset ");
    return stands_alone ? "select 7" : sql;
}

std::string simple_sql(choices& input, const author& by) {
    const auto more = input.below(8);
    auto sql = one_simple(input, by);
    if (more < 3) {
        return sql;
    }
    sql = of_several(std::move(sql));
    for (std::size_t i = 0; i < more - 2; ++i) {
        sql += "; " + of_several(one_simple(input, by));
    }
    return sql;
}

/// A statement of ours, or DEALLOCATE, in messages that belong together.
std::string whole_statement(choices& input, const author& by) {
    switch (input.below(4)) {
        case 0:
            // Bound once: what the name means is looked up at the Parse, not at each Execute.
            return parse("", "deallocate a") + bind_to("", "") + execute() + close('S', "");
        case 1:
            return parse("", own_sql(input)) + bind_to("", "") + describe('P', "") +
                   execute("", static_cast<std::uint32_t>(input.below(3)));
        default:
            return parse("", any_sql(input, by)) + bind_to("", "") + execute();
    }
}

std::string next_message(choices& input, const model_reference& direct, const author& by) {
    if (direct.is_copying()) {
        switch (input.below(8)) {
            case 0:
            case 1:
                return copy_done();
            case 2:
                return copy_fail("no");
            case 3:
                return flush();
            case 4:
                return sync_message();
            default:
                return copy_data("data");
        }
    }
    switch (input.below(24)) {
        case 0:
        case 1:
        case 2:
        case 3:
        case 4: {
            // What a lost connection leaves of a batch without Sync is not known here.
            const auto before = by.with_faults && direct.has_open_batch() ? sync_message() : "";
            return before + query(simple_sql(input, by));
        }
        case 5:
        case 6:
            return whole_statement(input, by);
        case 7:
        case 8: {
            const auto name = statement_name(input);
            if (input.below(8) == 0) {
                return parse(by.follows_names ? name : "", own_sql(input));
            }
            return parse(name, any_sql(input, by), std::vector<std::uint32_t>(input.below(2), 23));
        }
        case 9:
        case 10:
        case 11: {
            const auto portal = portal_name(input);
            return bind_to(portal, statement_name(input));
        }
        case 12:
            return describe('S', statement_name(input));
        case 13:
            return describe('P', portal_name(input));
        case 14:
        case 15:
        case 16: {
            const auto portal = portal_name(input);
            return execute(portal, static_cast<std::uint32_t>(input.below(3)));
        }
        case 17:
            return close('S', statement_name(input));
        case 18:
            return close('P', portal_name(input));
        case 19:
            return flush();
        case 20:
            if (input.below(4) == 0) {
                return (by.with_faults && direct.has_open_batch() ? sync_message() : "") +
                       function_call();
            }
            return copy_data("late");
        case 21:
            return input.below(2) == 0 ? copy_done() : copy_fail("late");
        default:
            return sync_message();
    }
}

/// Brings a client to rest, whatever it is in the middle of, and gives up what would keep its
/// server connection.
void finish(model_world& models, model_world::client& client) {
    while (client.direct.is_copying()) {
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
    const auto& settings = models.world.settings;
    std::fprintf(
        stderr,
        "violated: %s (mode %d, policy %d, RPC in a block %d, %zu servers)\n",
        what,
        static_cast<int>(settings.mode),
        static_cast<int>(settings.multi_statement),
        static_cast<int>(settings.rpc),
        models.servers.size()
    );
    for (const auto& each : models.clients) {
        std::fprintf(
            stderr,
            "  sent:     %s\n  received: %s\n  expected: %s\n",
            describe_client(each->sent).c_str(),
            describe_server(each->received).c_str(),
            describe_server(each->expected).c_str()
        );
    }
    for (const auto& each : models.servers) {
        std::fprintf(stderr, "  a server: %s\n", describe_client(each->received).c_str());
    }
    std::abort();
}

std::vector<std::string> labels_in(std::string_view sql, std::string_view word) {
    std::vector<std::string> found;
    for (auto at = sql.find(word); at != std::string_view::npos; at = sql.find(word, at)) {
        at += word.size();
        const auto label = sql.substr(at, sql.find_first_not_of("0123456789", at) - at);
        if (label.size() > 1) {  // the smaller numbers are not labels
            found.emplace_back(label);
        }
    }
    return found;
}

/// Where replies may be missing: each batch has its ReadyForQuery, and what a Query selects comes
/// before its own.
void check_places(const model_world& models, const model_world::client& client) {
    std::map<std::string, std::size_t> place_of;  // of what a Query selects
    std::size_t batches = 0;
    for (const auto& f : split_frames(client.sent)) {
        if (f.type == 'Q') {
            for (const auto& label : labels_in(f.body, "select ")) {
                place_of[label] = batches;
            }
        }
        batches += f.type == 'Q' || f.type == 'S' || f.type == 'F' ? 1U : 0U;
    }
    std::size_t place = 0;
    std::size_t completed = 0;
    for (const auto& f : split_frames(client.received)) {
        if (f.type == 'Z') {
            ++place;
            completed = 0;
        } else if (f.type == 'C') {
            ++completed;
        } else if (f.type == 'N' && f.body.find("had been committed before") != std::string::npos) {
            const auto text = std::string{signalbox::wire::parse_report(f.body).value().message};
            check(std::stoul(text) <= completed, "only what was answered is committed", models);
        } else if (f.type == 'D') {
            std::vector<std::optional<std::string_view>> fields;
            check(
                static_cast<bool>(signalbox::wire::parse_data_row(f.body, fields)), "a row", models
            );
            if (const auto it = place_of.find(std::string{fields.at(0).value_or("")});
                it != place_of.end()) {
                check(it->second == place, "rows come in their place", models);
            }
        }
    }
    check(place == batches, "one ReadyForQuery for each batch", models);
}

/// Rows that are committed, or statements that were executed; sorted.
template <class Of>
std::vector<std::string> on_servers(const model_world& models, Of of) {
    std::vector<std::string> all;
    for (const auto& each : models.servers) {
        const auto& some = of(each->model);
        all.insert(all.end(), some.begin(), some.end());
    }
    std::sort(all.begin(), all.end());
    return all;
}

void check_rows(const model_world& models) {
    std::vector<std::string> expected;
    for (const auto& each : models.clients) {
        const auto& some = each->direct.model.rows();
        expected.insert(expected.end(), some.begin(), some.end());
    }
    std::sort(expected.begin(), expected.end());
    check(
        on_servers(models, [](const model_server& s) { return s.rows(); }) == expected,
        "the same rows are committed",
        models
    );
}

/// What was sent in a Query is executed once, whatever is lost.
void check_once(const model_world& models) {
    std::map<std::string, int> executed;
    for (const auto& each :
         on_servers(models, [](const model_server& s) { return s.inserted(); })) {
        ++executed[each];
    }
    for (const auto& client : models.clients) {
        for (const auto& f : split_frames(client->sent)) {
            if (f.type == 'Q') {
                for (const auto& label : labels_in(f.body, "insert ")) {
                    check(executed[label] <= 1, "nothing is executed twice", models);
                }
            }
        }
    }
}

/// The steps that the input asks for, and what brings everybody to rest. `is_whole`: no server
/// connection was lost.
/// False: a client had to be closed.
bool run(choices& input, model_world& models, bool with_faults, bool& is_whole) {
    const bool may_lose = models.world.settings.mode != pool_mode::session;
    int labels = 9;
    for (std::size_t step = 0; step < max_steps && !input.empty(); ++step) {
        const auto what = input.below(20);
        if (what < 11) {
            const auto index = input.below(2);
            auto& client = *models.clients[index];
            models.send(
                client, next_message(input, client.direct, {index, with_faults, may_lose, labels})
            );
        } else if (what < 16) {
            models.deliver(*models.servers[input.below(models.servers.size())], 1 + input.byte());
        } else if (what == 16) {
            models.hear_next();
        } else if (what == 17 || !with_faults) {
            models.settle();
        } else {
            auto& client = *models.clients[input.below(2)];
            if (client.relayed.waits && what == 18) {
                client.relayed.fail_wait();
                is_whole = false;
                models.collect();
            } else if (client.relayed.server != nullptr && may_lose && !client.relayed.relay.carries_state()) {
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

/// Between sessions at rest, a notification is told once to each that listens.
void check_notifications(model_world& models) {
    for (const auto& each : models.clients) {
        models.send(*each, query("listen z"));
        models.settle();
        each->received.clear();
    }
    models.send(*models.clients[0], query("notify z said"));
    models.settle();
    for (const auto& each : models.clients) {
        const auto told = describe_server(each->received);
        const auto at = told.find("Notification(z,said)");
        check(
            at != std::string::npos && told.find("Notification", at + 1) == std::string::npos,
            "a notification is told once",
            models
        );
    }
}

void by_the_rules(choices& input, pool_mode mode, bool with_faults) {
    using signalbox::rewrite::multi_statement_policy;
    static constexpr std::size_t chunks[] = {0, 1, 5};
    model_world models{chunks[input.below(3)], mode};
    auto& settings = models.world.settings;
    settings.max_prepared_statements = 1 + input.below(3);
    models.world.look_at_statements(static_cast<multi_statement_policy>(input.below(4)), {"rpc"});
    settings.rpc = static_cast<rpc_in_transaction>(input.below(3));
    auto rules = std::make_shared<signalbox::rewrite::hidden_state_rules>();
    rules->learn("known", "hidden", "");
    rules->learn("known", "rpc", "");
    rules->learn("risky", "hidden", "");
    rules->finish();
    settings.watch = std::make_shared<state_watch>();
    settings.watch->rules = rules;
    models.add_server();
    if (mode == pool_mode::session || input.below(2) == 0) {
        models.add_server();
    }
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
            check_once(models);
            return;
        }
    } catch (const std::logic_error& broken) {
        check(false, broken.what(), models);
    }
    check_once(models);
    for (std::size_t i = 0; i < models.clients.size(); ++i) {
        const auto& client = *models.clients[i];
        check(client.relayed.held.empty(), "everything is taken", models);
        check(!client.relayed.waits && !client.relayed.fatal, "nobody waits", models);
        check(
            !client.relayed.relay.is_blocked() && !client.relayed.relay.is_busy(),
            "every ledger is empty",
            models
        );
        if (with_faults) {
            check_places(models, client);
        }
        if (!is_whole) {
            continue;
        }
        check(
            mode == pool_mode::session || client.relayed.server == nullptr,
            "everything is given back",
            models
        );
        const auto own = std::to_string(i);
        check(
            model_world::comparable(client.received, own) ==
                model_world::comparable(client.expected, own),
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
    if (is_whole) {
        check_rows(models);
    }
    if (mode == pool_mode::transaction && is_whole) {
        check_notifications(models);
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
    world.look_at_statements(
        static_cast<signalbox::rewrite::multi_statement_policy>(input.below(4)), {"rpc"}
    );
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
