// libFuzzer target: relations of ours in any statement. The prefilter misses none, all that is
// outside of the row sources stays byte for byte, and what libpg_query can parse it still can when
// it is sent, with nothing of ours left in it. The first byte chooses how strings read; the
// dictionary tests/fuzz/sql.dict has the words.
#include "tests/fuzz/choices.hpp"
#include "tests/support/exact_buffer.hpp"
#include "tests/support/relation_properties.hpp"

using namespace signalbox;
using namespace signalbox::tests;

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    static const parser::statement_rules rules{{}};
    choices input{{reinterpret_cast<const char*>(data), size}};
    const auto strings =
        input.below(2) == 0 ? parser::backslashes::plain : parser::backslashes::escape;
    const exact_buffer text{input.remainder()};
    if (parser::statement_rules::is_light(text)) {
        require(relations_are_sound(rules, text, strings));
    }
    return 0;
}
