// Which hosts did not answer lately, so that a connection with several hosts tries them last.
//
// Belongs to one thread: what a thread has found out costs the others one attempt of their own, and
// no lock.
#pragma once

#include "backend/io/event_loop.hpp"
#include "catalog/connection.hpp"

#include <chrono>
#include <cstddef>
#include <vector>

namespace signalbox::backend {

class silent_hosts {
public:
    /// How long a silence counts. Longer than the pools' longest pause between two attempts, so
    /// that a second attempt need not find out again.
    static constexpr auto memory = std::chrono::seconds{5};

    /// The host refused, or let the time pass.
    void note_silence(const catalog::host_port& host, time_point now);
    void note_answer(const catalog::host_port& host) noexcept;

    /// The places in `hosts`, in their order, with those that were silent lately behind the others.
    [[nodiscard]] std::vector<std::size_t> order(
        const std::vector<catalog::host_port>& hosts, time_point now
    ) const;

private:
    struct silence {
        catalog::host_port host;
        time_point until;
    };

    std::vector<silence> known_;
};

}  // namespace signalbox::backend
