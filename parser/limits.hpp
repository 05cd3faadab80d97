// What is given to libpg_query, and how much of it to one statement: texts that it can neither
// crash on nor hang in. Measured with libpg_query 15-4.0.0 (-O2) on chains of operators, casts,
// joins, UNIONs and CTEs, nested parentheses, calls, CASEs and sub-selects:
//
//   split    no recursion: 16 KiB of stack at any size (the grammar gives up at 10,000 levels), 60
//   to
//            250 ns a token
//   tree     1 to 4 us a token; it is written by recursion, up to 356 bytes of stack a token, and
//   each
//            level moves all that lies below: `- - -…` takes 2.5 ms at 1,000 tokens, 41 ms at 8,000
//   scanner  2.2 ns for each step counted below
#pragma once

#include <cstddef>
#include <string_view>

namespace signalbox::parser {

constexpr std::size_t max_parsed_bytes = std::size_t{1} << 20U;
constexpr std::size_t max_parsed_tokens = 200'000;

/// How many tokens' worth of tree libpg_query writes; counting stops behind `most`. It writes the
/// source of SET (a, b, c) = (…) once for each of the columns, so that nested ones would grow a
/// tree without bound: 600 bytes took 6 s.
std::size_t tree_tokens(std::string_view sql, std::size_t most);

/// Of one tree, and of all trees for one text: 45 ms, 3 MiB of stack (of the 256 that decide() asks
/// for: sanitizers and other builds may take a multiple).
constexpr std::size_t max_tree_bytes = std::size_t{64} << 10U;
constexpr std::size_t max_tree_tokens = 8'000;

/// 3.5 ms, 360 KiB of stack.
constexpr std::size_t max_light_bytes = std::size_t{32} << 10U;
constexpr std::size_t max_light_tokens = 1'000;

/// Steps that libpg_query's scanner wastes on a text: it reads a run of operator characters to its
/// end for each operator and each comment that begins in it, which is quadratic on /*/*/*… and
/// +++….
constexpr std::size_t max_scanner_steps = 500'000;
std::size_t scanner_steps(std::string_view sql) noexcept;

}  // namespace signalbox::parser
