// The prefilter: a proof that there is nothing to decide, at the cost of a few searches for single
// bytes where that is enough.
//
//   a second statement    stands behind a semicolon
//   a statement of ours   has its words first
//   an RPC call           has a parenthesis, and a name that holds what its pattern needs: one
//                         regular expression over the bytes (a client's encoding may be any)
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

    /// False: the text has at most one statement, which is not ours and calls no RPC function.
    [[nodiscard]] bool finds(std::string_view sql) const noexcept;

    /// False: no statement of the text calls an RPC function.
    [[nodiscard]] bool may_call(std::string_view sql) const noexcept;

private:
    bool looks_for_calls_;
    std::unique_ptr<re2::RE2> names_;  // null: any name may be one
};

}  // namespace signalbox::parser
