// Host names to addresses, off the event loops.
//
// Every lookup asks the system anew: nothing is remembered here, so that a name may lead elsewhere
// with the next server connection. Who asks for a name whose lookup is under way gets that one's
// answer.
//
// getaddrinfo() can neither be given a time limit nor be interrupted. So each name has a thread of
// its own while it is looked up: one that hangs holds up nobody but those who ask for the same, and
// the end of the resolver does not wait for it.
#pragma once

#include "backend/address.hpp"

#include <functional>
#include <memory>
#include <string>
#include <variant>
#include <vector>

namespace signalbox::backend {

class resolver {
public:
    /// All addresses of a name, or why there are none.
    using answer = std::variant<std::vector<socket_address>, std::string>;
    using lookup = std::function<answer(const catalog::host_port&)>;
    using callback = std::function<void(const answer&)>;

    /// Names at a time; further ones wait for a thread.
    static constexpr unsigned max_threads = 64;

    explicit resolver(lookup how = resolve_addresses);
    ~resolver();
    resolver(const resolver&) = delete;
    resolver& operator=(const resolver&) = delete;

    /// Any thread. `done` is called once, on a thread of the resolver's or from inside, and must do
    /// no more than post to an event loop.
    void resolve(const catalog::host_port& name, callback done);

    /// From here on nobody is called; before the loops go to which the callbacks post. Does not
    /// wait for lookups. The destructor does the same.
    void stop();

private:
    struct state;

    static void run(const std::shared_ptr<state>& shared);

    std::shared_ptr<state> state_;  // outlives the resolver while a lookup hangs
};

}  // namespace signalbox::backend
