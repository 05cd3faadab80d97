#include "backend/silent_hosts.hpp"

#include <algorithm>
#include <numeric>

namespace signalbox::backend {

void silent_hosts::note_silence(const catalog::host_port& host, time_point now) {
    std::erase_if(known_, [&](const silence& s) { return s.until <= now || s.host == host; });
    known_.push_back({.host = host, .until = now + memory});
}

void silent_hosts::note_answer(const catalog::host_port& host) noexcept {
    std::erase_if(known_, [&](const silence& s) { return s.host == host; });
}

std::vector<std::size_t> silent_hosts::order(
    const std::vector<catalog::host_port>& hosts, time_point now
) const {
    std::vector<std::size_t> places(hosts.size());
    std::iota(places.begin(), places.end(), std::size_t{0});
    if (hosts.size() > 1 && !known_.empty()) {
        std::stable_partition(places.begin(), places.end(), [&](std::size_t place) {
            return std::none_of(known_.begin(), known_.end(), [&](const silence& s) {
                return s.until > now && s.host == hosts[place];
            });
        });
    }
    return places;
}

}  // namespace signalbox::backend
