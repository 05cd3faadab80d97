// Timestamps as text, and that text as timestamptz's binary form.
#include "catalog/timestamps.hpp"

#include <catch2/catch.hpp>

#include <random>

using namespace signalbox::catalog;
using namespace std::chrono;

namespace {

constexpr std::int64_t second_us = 1'000'000;
/// 2000-01-01, where timestamptz begins to count, in seconds since 1970.
constexpr std::int64_t epoch_2000 = 946'684'800;

timestamp at(std::int64_t us) {
    return timestamp{microseconds{us}};
}

timestamp at(year_month_day day, microseconds of_day = {}) {
    return sys_days{day} + of_day;
}

}  // namespace

TEST_CASE("timestamps: as PostgreSQL writes them in UTC", "[catalog][timestamps]") {
    struct example {
        timestamp when;
        std::string text;
    };

    const auto [when, text] = GENERATE(values<example>(
        {{at(0), "1970-01-01 00:00:00.000000+00"},
         {at(1), "1970-01-01 00:00:00.000001+00"},
         {at(999'999), "1970-01-01 00:00:00.999999+00"},
         {at(second_us), "1970-01-01 00:00:01.000000+00"},
         {at(2026y / 2 / 7, 9h + 30min), "2026-02-07 09:30:00.000000+00"},
         {at(2026y / 12 / 31, 23h + 59min + 59s + 500ms), "2026-12-31 23:59:59.500000+00"},
         // Fractions count forwards before 1970, too.
         {at(-1), "1969-12-31 23:59:59.999999+00"},
         {at(-999'999), "1969-12-31 23:59:59.000001+00"},
         {at(-second_us), "1969-12-31 23:59:59.000000+00"},
         {at(-second_us - 1), "1969-12-31 23:59:58.999999+00"},
         {at(1900y / 3 / 1, -1us), "1900-02-28 23:59:59.999999+00"},  // no leap year
         {at(2000y / 2 / 29), "2000-02-29 00:00:00.000000+00"},       // one
         {at(2024y / 2 / 29, 23h + 59min + 59s), "2024-02-29 23:59:59.000000+00"},
         {at(2024y / 2 / 29, 24h), "2024-03-01 00:00:00.000000+00"},
         {at(2038y / 1 / 19, 3h + 14min + 8s), "2038-01-19 03:14:08.000000+00"},  // 2^31 s
         {at(9999y / 12 / 31, 24h - 1us), "9999-12-31 23:59:59.999999+00"}}
    ));
    CAPTURE(text);
    CHECK(timestamp_text(when) == text);
    CHECK(postgres_microseconds(text) == when.time_since_epoch().count() - epoch_2000 * second_us);
}

TEST_CASE("timestamps: the binary form counts from 2000", "[catalog][timestamps]") {
    CHECK(postgres_microseconds("2000-01-01 00:00:00.000000+00") == 0);
    CHECK(postgres_microseconds("2000-01-01 00:00:00.000001+00") == 1);
    CHECK(postgres_microseconds("1999-12-31 23:59:59.999999+00") == -1);
    CHECK(postgres_microseconds("1999-12-31 23:59:59.000000+00") == -second_us);
    CHECK(postgres_microseconds("2000-01-02 00:00:00.000000+00") == 86'400 * second_us);
}

TEST_CASE("timestamps: random ones come back", "[catalog][timestamps]") {
    std::mt19937_64 random{20240229};
    // From 1000 to 9999: years of four digits.
    const auto earliest = at(1000y / 1 / 1).time_since_epoch().count();
    const auto latest = at(9999y / 12 / 31).time_since_epoch().count();
    std::uniform_int_distribution<std::int64_t> any{earliest, latest};
    for (int i = 0; i < 2'000; ++i) {
        const auto us = any(random);
        CAPTURE(us);
        REQUIRE(postgres_microseconds(timestamp_text(at(us))) == us - epoch_2000 * second_us);
    }
}

TEST_CASE("timestamps: any other text is 0", "[catalog][timestamps]") {
    const auto* const text = GENERATE(
        "",
        "infinity",
        "now",
        "2026-02-07",
        "2026-02-07 09:30:00",
        "2026-02-07 09:30:00+00",
        "2026-02-07T09:30:00.000000+00",
        "2026-02-07 09:30:00.5+00",  // half a second, not five microseconds
        "2026-02-07 09:30:00.-00005+00",
        "2026-02-07 09:30:00.000000",
        "2026-02-07 09:30:00.000000+01",
        "2026-02-07 09:30:00.000000+00 BC",
        " 2026-02-07 09:30:00.000000+00",
        "2026-2-7 9:30:00.000000+00",
        "2026-02-30 09:30:00.000000+00",  // no such day
        "2025-02-29 09:30:00.000000+00",
        "2026-13-01 09:30:00.000000+00",
        "2026-02-07 24:30:00.000000+00",
        "2026-02-07 09:30:00.0000000+00"
    );
    CAPTURE(text);
    CHECK(postgres_microseconds(text) == 0);
}

TEST_CASE("timestamps: now is now", "[catalog][timestamps]") {
    const auto before = floor<microseconds>(system_clock::now());
    const auto now = current_time();
    CHECK(before <= now);
    CHECK(now <= system_clock::now());
}
