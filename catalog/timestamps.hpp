// Timestamps as PostgreSQL writes them.
#pragma once

#include <chrono>
#include <cstdint>
#include <string>
#include <string_view>

namespace signalbox::catalog {

/// Wall-clock time, microseconds since 1970 in UTC: what a timestamptz holds.
using timestamp = std::chrono::sys_time<std::chrono::microseconds>;

/// Now, in microseconds.
timestamp current_time();

/// In UTC with all microseconds: `2026-02-07 09:30:00.000000+00`.
std::string timestamp_text(timestamp when);

/// What timestamp_text() has written, in microseconds since 2000-01-01: timestamptz's binary form.
/// 0 for any other text.
std::int64_t postgres_microseconds(std::string_view text);

}  // namespace signalbox::catalog
