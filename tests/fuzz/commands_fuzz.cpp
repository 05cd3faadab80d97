// libFuzzer target: whatever the text and however its strings read, the grammar of our statements
// accepts it or says where it is wrong; what it accepts is seen by the detection, as one statement,
// and written anew it reads the same. The dictionary tests/fuzz/commands.dict has the words.
#include "parser/commands.hpp"
#include "parser/split.hpp"
#include "tests/fuzz/choices.hpp"
#include "tests/support/command_text.hpp"
#include "tests/support/exact_buffer.hpp"

using namespace signalbox::parser;
using namespace signalbox::tests;

namespace {

using parsed = std::variant<command, command_error>;

void check(std::string_view sql, backslashes strings) {
    static const statement_rules rules{{}};
    const auto found = parse_command(sql, strings);
    if (const auto* error = std::get_if<command_error>(&found)) {
        require(error->position <= sql.size() + 1 && error->sqlstate.size() == 5);
        require(!error->message.empty());
        return;
    }
    const auto verdict = rules.decide(sql, strings);
    require(verdict.is_ours && verdict.statements.size() == 1);
    require(rules.needs_decision(sql) && kind_of(sql, strings) == statement_kind::signalbox);
    for (const auto reading : {backslashes::plain, backslashes::escape}) {
        require(parse_command(command_text{}.of(std::get<command>(found)), reading) == found);
    }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    const exact_buffer text{{reinterpret_cast<const char*>(data), size}};
    check(text, backslashes::plain);
    check(text, backslashes::escape);
    return 0;
}
