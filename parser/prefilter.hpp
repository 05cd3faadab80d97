// The prefilter: a proof, in one pass over the text, that there is nothing to decide.
//
// It holds one regular expression, the union of what a text must contain for decide() to find
// something: a second statement, a word of Signalbox's own statements, and for RPC functions the
// substrings without which no name can match their patterns. It reads bytes, since a client's
// encoding may be any.
#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <vector>

namespace re2 {
class RE2;
}

namespace signalbox::parser {

class prefilter {
public:
    /// The patterns compile.
    explicit prefilter(const std::vector<std::string>& rpc_functions);
    ~prefilter();
    prefilter(const prefilter&) = delete;
    prefilter& operator=(const prefilter&) = delete;

    [[nodiscard]] bool finds(std::string_view sql) const noexcept;

private:
    std::unique_ptr<re2::RE2> expression_;
};

}  // namespace signalbox::parser
