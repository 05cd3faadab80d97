// The prefilter: a proof that there is nothing to decide, at the cost of a few searches for bytes.
//
//   a second statement    stands behind a semicolon
//   a statement of ours   has its words first
//   an RPC call           has a parenthesis, and before it a name that holds what its pattern needs
#pragma once

#include "parser/literals.hpp"

#include <string>
#include <string_view>
#include <vector>

namespace signalbox::parser {

class prefilter {
public:
    /// The patterns compile.
    explicit prefilter(const std::vector<std::string>& rpc_functions);

    /// False: the text has at most one statement, which is not ours and calls no RPC function.
    [[nodiscard]] bool finds(std::string_view sql) const noexcept;

    /// False: no statement of the text calls an RPC function.
    [[nodiscard]] bool may_call(std::string_view sql) const noexcept;

private:
    enum class calls : std::uint8_t { none, with_parts, any };

    calls wanted_ = calls::none;
    literals parts_;
};

}  // namespace signalbox::parser
