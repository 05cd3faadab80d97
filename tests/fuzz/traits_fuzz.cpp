// libFuzzer target: the lexer ends, its tokens lie in the text, and the quick scan never says no
// where the tokens say yes. The dictionary tests/fuzz/traits.dict has the words.
#include "parser/lexer.hpp"
#include "parser/traits.hpp"
#include "tests/fuzz/choices.hpp"
#include "tests/support/exact_buffer.hpp"

#include <string>

using namespace signalbox::parser;
using namespace signalbox::tests;

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    const exact_buffer text{{reinterpret_cast<const char*>(data), size}};
    const auto view = text.view();
    lexer tokens{view};
    const char* at = view.data();
    for (token t = tokens.next(); t.kind != token_kind::end; t = tokens.next()) {
        require(!t.text.empty());
        require(t.text.data() >= at && t.text.data() + t.text.size() <= view.data() + view.size());
        at = t.text.data() + t.text.size();
    }
    const auto traits = scan_text(view);
    if (!quick_scan(view)) {
        require(traits == text_traits{});
        // A comment in front is no token, and makes the quick scan say yes.
        require(scan_text("--\n" + std::string{view}) == text_traits{});
    }
    return 0;
}
