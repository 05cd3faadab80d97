// What holds for every SQL text: used over random text, over PostgreSQL's regression tests and by
// the fuzz targets.
#pragma once

#include "parser/pg_query.hpp"
#include "parser/split.hpp"
#include "parser/statements.hpp"

#include <algorithm>
#include <string>

namespace signalbox::tests {

/// The pieces joined are the text; none of them is empty.
inline bool rebuilds(const parser::verdict& found, std::string_view sql) {
    std::size_t end = 0;
    for (const auto& piece : found.statements) {
        if (piece.offset != end || piece.size == 0) {
            return false;
        }
        end += piece.size;
    }
    return found.statements.empty() || end == sql.size();
}

/// The sums say what the pieces say.
inline bool adds_up(const parser::verdict& found) {
    const auto any = [&](auto property) {
        return std::any_of(found.statements.begin(), found.statements.end(), property);
    };
    return found.calls_rpc == any([](const auto& piece) { return piece.calls_rpc; }) &&
           found.is_ours == any([](const auto& piece) {
               return piece.kind == parser::statement_kind::signalbox;
           });
}

/// Where the prefilter says no, there is nothing to decide.
inline bool prefilter_is_proof(
    const parser::statement_rules& rules, std::string_view sql, const parser::verdict& found
) {
    return rules.needs_decision(sql) ||
           (found.statements.size() <= 1 && !found.is_ours && !found.calls_rpc);
}

/// Our own tokens cut a text that libpg_query can parse as it does. True for one that it cannot.
inline bool splits_agree(std::string_view sql) {
    const auto ends = parser::parsed_statement_ends(std::string{sql});
    if (!ends) {
        return true;
    }
    const auto pieces = parser::split_by_tokens(sql, parser::backslashes::plain).statements;
    return std::equal(
        pieces.begin(),
        pieces.end(),
        ends->begin(),
        ends->end(),
        [](const parser::statement_piece& piece, std::size_t end) {
            return piece.offset + piece.size == end;
        }
    );
}

/// Each piece that libpg_query can parse calls an RPC function where its tree says so: no call
/// escapes the search for names that comes first.
inline bool calls_agree(
    const parser::statement_rules& rules, std::string_view sql, const parser::verdict& found
) {
    const auto is_rpc = [&](std::string_view schema, std::string_view function) {
        return rules.is_rpc(schema, function);
    };
    return std::all_of(found.statements.begin(), found.statements.end(), [&](const auto& piece) {
        const std::string text{sql.substr(piece.offset, piece.size)};
        const auto made = parser::makes_call(text, is_rpc);
        return !made || *made == piece.calls_rpc;
    });
}

}  // namespace signalbox::tests
