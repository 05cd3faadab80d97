// What stands in the configuration file: durations, sizes, networks, names that are nearly right.
#include "proxy/config_units.hpp"

#include <catch2/catch.hpp>

#include <array>
#include <chrono>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

using namespace signalbox::proxy;
using namespace std::chrono_literals;

TEST_CASE("config: durations", "[config]") {
    struct row {
        std::string_view text;
        std::optional<std::chrono::milliseconds> value;
    };

    const auto [text, value] = GENERATE(
        row{"60s", 60s},
        row{"5min", 5min},
        row{"500ms", 500ms},
        row{"1h", 1h},
        row{"2d", 48h},
        row{"0", 0ms},
        row{"7", 7s},
        row{"7 s", 7s},
        row{"3650d", 87600h},
        row{"3651d", std::nullopt},
        row{"99999999999999999999s", std::nullopt},
        row{"18446744073709551615d", std::nullopt},
        row{"", std::nullopt},
        row{"s", std::nullopt},
        row{"-1s", std::nullopt},
        row{"1.5s", std::nullopt},
        row{"5m", std::nullopt},
        row{"5 ", std::nullopt},
        row{"1s ", std::nullopt}
    );
    CAPTURE(text);
    CHECK(parse_duration(text) == value);
}

TEST_CASE("config: sizes", "[config]") {
    struct row {
        std::string_view text;
        std::optional<std::uint64_t> value;
    };

    const auto [text, value] = GENERATE(
        row{"1GiB", 1ULL << 30},
        row{"64KiB", 65'536},
        row{"10MB", 10'000'000},
        row{"1kB", 1'000},
        row{"17", 17},
        row{"17B", 17},
        row{"0", 0},
        row{"1TiB", 1ULL << 40},
        row{"1024TiB", 1ULL << 50},
        row{"1025TiB", std::nullopt},
        row{"18446744073709551615KiB", std::nullopt},
        row{"1G", std::nullopt},
        row{"1GiBB", std::nullopt},
        row{"-1", std::nullopt},
        row{"", std::nullopt}
    );
    CAPTURE(text);
    CHECK(parse_size(text) == value);
}

TEST_CASE("config: addresses and networks", "[config]") {
    CHECK(is_address_or_network("10.0.0.0/8"));
    CHECK(is_address_or_network("10.0.0.1"));
    CHECK(is_address_or_network("::1/128"));
    CHECK(is_address_or_network("2001:db8::"));
    CHECK_FALSE(is_address_or_network("10.0.0.0/33"));
    CHECK_FALSE(is_address_or_network("::/129"));
    CHECK_FALSE(is_address_or_network("10.0.0.0/"));
    CHECK_FALSE(is_address_or_network("10.0.0.0/-1"));
    CHECK_FALSE(is_address_or_network("10.0.0/8"));
    CHECK_FALSE(is_address_or_network("example.org"));
    CHECK_FALSE(is_address_or_network(""));
    CHECK_FALSE(is_address_or_network(std::string(200, '1')));
}

TEST_CASE("config: nearest name", "[config]") {
    constexpr auto names = std::to_array<std::string_view>({"pool_size", "pool_mode", "port"});
    CHECK(nearest_name("pool_sise", names) == "pool_size");
    CHECK(nearest_name("Pool-Size", names) == "pool_size");
    CHECK(nearest_name("prot", names) == "port");
    CHECK(nearest_name("workers", names).empty());
    CHECK(nearest_name(std::string(100'000, 'p'), names).empty());
}
