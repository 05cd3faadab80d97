// What is given to libpg_query: texts that it can neither crash on nor hang in.
#pragma once

#include <cstddef>
#include <string_view>

namespace signalbox::parser {

constexpr std::size_t max_light_bytes = std::size_t{32} << 10U;
constexpr std::size_t max_light_tokens = 2000;

constexpr std::size_t max_parsed_bytes = std::size_t{1} << 20U;
constexpr std::size_t max_parsed_tokens = 100000;

/// Steps that libpg_query's scanner wastes on a text. It reads a run of operator characters to its
/// end for every operator and every comment that begins in it: quadratic on /*/*/*… and on +++….
constexpr std::size_t max_scanner_steps = std::size_t{4} << 20U;
std::size_t scanner_steps(std::string_view sql) noexcept;

}  // namespace signalbox::parser
