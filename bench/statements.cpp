// What statement handling costs for one text, in microseconds:
//
//     cmake --preset release && cmake --build --preset release --target signalbox_bench_statements
//     build/release/signalbox_bench_statements
//
// Each text is one statement with a list of numbers as long as it takes, or a batch of pgbench's
// statements. The best of nine rounds.
#include "parser/limits.hpp"
#include "parser/pg_query.hpp"
#include "parser/split.hpp"

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstring>
#include <functional>

using namespace signalbox::parser;

namespace {

volatile std::size_t sink = 0;

double microseconds(const std::function<std::size_t()>& work) {
    using clock = std::chrono::steady_clock;
    std::vector<double> rounds;
    std::size_t repeats = 1;
    while (rounds.size() < 9) {
        const auto start = clock::now();
        for (std::size_t i = 0; i < repeats; ++i) {
            sink = sink + work();
        }
        const std::chrono::duration<double, std::micro> taken = clock::now() - start;
        if (taken.count() < 5'000) {
            repeats *= 2;
        } else {
            rounds.push_back(taken.count() / static_cast<double>(repeats));
        }
    }
    return *std::min_element(rounds.begin(), rounds.end());
}

std::string statement_of(std::size_t bytes, const std::string& column) {
    auto sql = "SELECT " + column + " FROM t WHERE b IN (1";
    for (int i = 1000; sql.size() + 7 < bytes; ++i) {
        sql += ", " + std::to_string(i);
    }
    return sql + ");";
}

std::string batch_of(std::size_t bytes) {
    std::string sql;
    while (sql.size() < bytes) {
        sql += "UPDATE tellers SET b = b + 5 WHERE t = 7;";
    }
    return sql;
}

}  // namespace

int main() {
    const statement_rules none{{}};
    const statement_rules rpc{{"iasql_.*", "ops\\.run"}};
    std::printf(
        "| bytes | memchr | filter | filter, `(` and RPC patterns | cache hit | tokens | split by "
        "parser "
        "(statements) | tree | decide() without trees | decide() with a call |\n"
        "|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|\n"
    );
    for (const std::size_t bytes : {50U, 500U, 5'000U, 50'000U, 100'000U}) {
        const auto plain = statement_of(bytes, "a");
        const auto batch = batch_of(bytes);
        const auto call = statement_of(bytes, "iasql_x()");
        verdict_cache cache{std::size_t{16} << 20U};
        for (int i = 0; i < 1000; ++i) {
            const auto other = std::to_string(i) + plain.substr(0, 1'000);
            cache.add(other, std::make_shared<const verdict>());
        }
        cache.add(batch, std::make_shared<const verdict>(rpc.decide(batch, backslashes::plain)));
        const auto no_call = [](std::string_view, std::string_view) { return false; };
        const bool has_tree = tree_tokens(plain, max_tree_tokens) <= max_tree_tokens;
        std::printf("| %zu", plain.size());
        std::printf(" | %.3f", microseconds([&] {
                        return std::memchr(plain.data(), '\n', plain.size()) == nullptr ? 1 : 0;
                    }));
        std::printf(" | %.3f", microseconds([&] { return none.needs_decision(plain); }));
        std::printf(" | %.3f", microseconds([&] { return rpc.needs_decision(plain); }));
        if (cache.find(batch)) {
            std::printf(" | %.2f", microseconds([&] {
                            return cache.find(batch)->statements.size();
                        }));
        } else {
            std::printf(" | not kept");
        }
        std::printf(" | %.2f", microseconds([&] {
                        return split_by_tokens(batch, backslashes::plain).tokens;
                    }));
        std::printf(
            " | %.1f (%zu)",
            microseconds([&] { return parsed_statement_ends(batch)->size(); }),
            parsed_statement_ends(batch)->size()
        );
        std::printf(
            " | %.1f%s",
            microseconds([&] { return makes_call(plain, no_call).has_value(); }),
            has_tree ? "" : "¹"
        );
        std::printf(" | %.1f", microseconds([&] {
                        return rpc.decide(batch, backslashes::plain).statements.size();
                    }));
        std::printf(" | %.1f |\n", microseconds([&] {
                        return rpc.decide(call, backslashes::plain).statements.size();
                    }));
    }
    std::puts("\n¹ longer than what decide() asks a tree for");
}
