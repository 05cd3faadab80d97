// libFuzzer target: where the prefilter says no, decide() finds nothing to decide; and of what
// libpg_query can parse, every call in the tree is found. The first byte chooses the RPC patterns;
// the dictionary tests/fuzz/sql.dict has the words.
#include "parser/limits.hpp"
#include "tests/fuzz/choices.hpp"
#include "tests/support/exact_buffer.hpp"
#include "tests/support/statement_properties.hpp"

#include <array>

using namespace signalbox::parser;
using namespace signalbox::tests;

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    static const std::array<statement_rules, 5> all{
        statement_rules{{}},
        statement_rules{{"iasql_.*", "ops\\.run"}},
        statement_rules{{"(?i)(loud|kick|x\"y)", "a.b"}},
        statement_rules{{".*"}},
        statement_rules{{"\xc3\xa4[\xc3\xb6-\xc3\xbc]?", "(?i)\xc3\x84h", "f\\d"}}};
    choices input{{reinterpret_cast<const char*>(data), size}};
    const auto& rules = all[input.below(all.size())];
    const exact_buffer text{input.remainder()};
    const auto sql = text.view();
    const auto found = rules.decide(sql, backslashes::plain);
    require(rebuilds(found, sql) && adds_up(found) && prefilter_is_proof(rules, sql, found));
    require(prefilter_is_proof(rules, sql, rules.decide(sql, backslashes::escape)));
    if (sql.find('\0') == std::string_view::npos && scanner_steps(sql) <= max_scanner_steps &&
        sql.size() <= max_light_bytes) {
        require(calls_agree(rules, sql, found));
    }
    return 0;
}
