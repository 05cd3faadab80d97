// The codec's errors.
#include "wire/error.hpp"

#include <catch2/catch.hpp>

#include <set>
#include <string>

using namespace signalbox::wire;
using namespace std::string_literals;

TEST_CASE("each error has its own words", "[wire][error]") {
    std::set<std::string> seen;
    for (int value = static_cast<int>(wire_errc::truncated);
         value <= static_cast<int>(wire_errc::crypto_failure);
         ++value) {
        const boost::system::error_code code = static_cast<wire_errc>(value);
        CHECK(code.category() == wire_category());
        CHECK(code.failed());
        seen.insert(code.message());
    }
    CHECK(seen.size() == static_cast<std::size_t>(wire_errc::crypto_failure));
    CHECK(wire_category().name() == "signalbox.wire"s);
    CHECK(seen.count(wire_category().message(0)) == 0);
    CHECK(wire_category().message(0) == wire_category().message(999));
}
