#include "catalog/timestamps.hpp"

#include <cstdio>
#include <ctime>

namespace signalbox::catalog {
namespace {

using std::chrono::microseconds;

constexpr std::int64_t per_second = 1'000'000;
constexpr std::int64_t postgres_epoch = 946'684'800;  // 2000-01-01 in seconds since 1970

}  // namespace

timestamp current_time() {
    return std::chrono::time_point_cast<microseconds>(std::chrono::system_clock::now());
}

std::string timestamp_text(timestamp when) {
    const auto seconds = std::chrono::floor<std::chrono::seconds>(when);
    const std::time_t whole = seconds.time_since_epoch().count();
    std::tm parts{};
    gmtime_r(&whole, &parts);
    char text[64];
    const auto size = std::strftime(text, sizeof text, "%Y-%m-%d %H:%M:%S", &parts);
    char fraction[16];
    std::snprintf(
        fraction, sizeof fraction, ".%06lld+00", static_cast<long long>((when - seconds).count())
    );
    return std::string{text, size} + fraction;
}

std::int64_t postgres_microseconds(std::string_view text) {
    std::tm parts{};
    const std::string whole{text};
    const char* const rest = strptime(whole.c_str(), "%Y-%m-%d %H:%M:%S", &parts);
    long long fraction = 0;
    if (rest == nullptr || std::sscanf(rest, ".%6lld+00", &fraction) != 1) {
        return 0;
    }
    const std::int64_t seconds = timegm(&parts);
    // What was read loosely, as a 30 February or a fraction of one digit, is written otherwise.
    if (timestamp_text(timestamp{microseconds{seconds * per_second + fraction}}) != text) {
        return 0;
    }
    return (seconds - postgres_epoch) * per_second + fraction;
}

}  // namespace signalbox::catalog
