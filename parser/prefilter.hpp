// The prefilter: a proof that there is nothing to decide, at the cost of a few searches for bytes.
//
//   a second statement    stands behind a semicolon
//   a statement of ours   has its words first
//   an RPC call           has a parenthesis or a dot, and before the first or behind the second a
//                         name that holds what its pattern needs
//   a relation of ours    has its schema's name before it
#pragma once

#include "parser/literals.hpp"

#include <string>
#include <string_view>
#include <vector>

namespace signalbox::parser {

class prefilter {
public:
    /// The patterns compile. `schemas`: those of relations that Signalbox provides.
    prefilter(
        const std::vector<std::string>& rpc_functions, const std::vector<std::string>& schemas
    );

    /// False: the text has at most one statement, which is not ours, calls no RPC function and
    /// names none of the schemas.
    [[nodiscard]] bool finds(std::string_view sql) const noexcept;

    /// False: no statement of the text calls an RPC function.
    [[nodiscard]] bool may_call(std::string_view sql) const noexcept;

    /// False: no name in the text is one of the schemas'.
    [[nodiscard]] bool may_name_schema(std::string_view sql) const noexcept;

private:
    enum class calls : std::uint8_t { none, with_parts, any };

    calls wanted_ = calls::none;
    literals parts_;
    literals schema_parts_{{}};
    bool has_odd_schema_ = false;  // nothing is known of its spelling
};

}  // namespace signalbox::parser
