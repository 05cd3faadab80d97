// libFuzzer target: a replication connection's bytes, whole and cut anywhere: the same is known of
// them, and the same is passed.
//
// Layout    first byte modulo 2: the client's bytes, or the server's; the second: how many pieces
// are cut; for each the size of one; the rest: the bytes
#include "proxy/replication_traffic.hpp"
#include "tests/fuzz/choices.hpp"
#include "tests/support/exact_buffer.hpp"
#include "wire/limits.hpp"

#include <vector>

namespace {

using namespace signalbox::tests;
using signalbox::proxy::replication_traffic;

constexpr std::uint64_t longest = 4096;

struct run {
    replication_traffic traffic{longest};
    std::size_t passed = 0;

    /// False: no more may follow.
    bool feed(bool of_client, std::string_view piece) {
        const exact_buffer input{piece};
        const auto n = of_client ? traffic.on_client(input) : traffic.on_server(input);
        passed += n;
        const bool is_over = !traffic.refusal().empty() || traffic.is_broken();
        require(n <= piece.size() && (n == piece.size()) == !is_over);
        return !is_over;
    }
};

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    choices input{{reinterpret_cast<const char*>(data), size}};
    const bool of_client = input.below(2) == 0;
    std::vector<std::size_t> sizes(input.below(32));
    for (auto& each : sizes) {
        each = std::size_t{1} + input.byte();
    }
    const auto bytes = input.remainder();
    run whole;
    run cut;
    const bool goes_on = bytes.empty() || whole.feed(of_client, bytes);
    bool cut_goes_on = true;
    auto rest = bytes;
    for (std::size_t i = 0; cut_goes_on && !rest.empty(); ++i) {
        const auto piece = rest.substr(0, i < sizes.size() ? sizes[i] : rest.size());
        rest.remove_prefix(piece.size());
        cut_goes_on = cut.feed(of_client, piece);
    }
    const auto& a = whole.traffic;
    const auto& b = cut.traffic;
    require(goes_on == cut_goes_on);
    require(a.refusal() == b.refusal() && a.is_broken() == b.is_broken());
    require(a.is_too_long() == b.is_too_long());
    require(a.is_busy() == b.is_busy() && a.is_streaming() == b.is_streaming());
    require(a.has_said_goodbye() == b.has_said_goodbye());
    require(a.last_of_server() == b.last_of_server());
    // A part of a header may have been passed before it was seen to be none.
    require(whole.passed <= cut.passed);
    require(cut.passed < whole.passed + signalbox::wire::header_bytes);
    require(!goes_on || (whole.passed == cut.passed && a.is_mid_message() == b.is_mid_message()));
    return 0;
}
