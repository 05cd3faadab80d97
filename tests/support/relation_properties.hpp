// What holds for every statement that relations are looked for in: used over random text, over
// PostgreSQL's regression tests and by a fuzz target.
#pragma once

#include "parser/pg_query.hpp"
#include "parser/statements.hpp"
#include "rewrite/relation_rewrite.hpp"

#include <algorithm>
#include <string>
#include <vector>

namespace signalbox::tests {

/// Where the prefilter says no, there is nothing to find.
inline bool relation_filter_is_proof(
    const parser::statement_rules& rules,
    std::string_view statement,
    const rewrite::relation_rewrite& found
) {
    return rules.may_use_relations(statement) ||
           (found.used.empty() && !found.refused && !found.is_needed());
}

/// The edits lie in the text, in its order and apart; each relation that is read has one.
inline bool edits_are_sound(std::string_view statement, const rewrite::relation_rewrite& found) {
    std::vector<bool> has_source(found.used.size(), false);
    std::size_t end = 0;
    for (const auto& edit : found.edits) {
        if (edit.offset < end || edit.size == 0 || edit.offset + edit.size > statement.size() ||
            edit.name_offset < edit.offset || edit.name_offset >= edit.offset + edit.size) {
            return false;
        }
        end = edit.offset + edit.size;
        if (edit.source) {
            has_source.at(*edit.source) = true;
        }
    }
    return std::find(has_source.begin(), has_source.end(), false) == has_source.end() &&
           (!found.refused || found.edits.empty());
}

/// What lies outside of the edits is in the sent text byte for byte, and a position in it means
/// the same byte of the client's text.
inline bool keeps_the_rest(
    std::string_view statement,
    const rewrite::relation_rewrite& found,
    const rewrite::rendered_statement& made
) {
    // The sent text without what stands for the edits, found from both of its ends.
    const std::string_view sent{made.sql()};
    const auto bytes = rewrite::character_size::one_byte;
    std::size_t at = 0;
    std::size_t sent_at = 0;
    const auto is_kept = [&](std::size_t size) {
        return sent.substr(sent_at, size) == statement.substr(at, size) &&
               (size == 0 || (made.original_position(sent_at + 1, bytes) == at + 1 &&
                              made.original_position(sent_at + size, bytes) == at + size));
    };
    for (const auto& edit : found.edits) {
        const auto size = edit.offset - at;
        if (!is_kept(size)) {
            return false;
        }
        sent_at += size;
        // Inside what was replaced every position is the name's; behind it, it is greater.
        auto end = sent.size();
        for (auto begin = sent_at; begin < end;) {
            const auto middle = begin + (end - begin) / 2;
            if (made.original_position(middle + 1, bytes) > edit.name_offset + 1) {
                end = middle;
            } else {
                begin = middle + 1;
            }
        }
        if (end == sent_at || made.original_position(sent_at + 1, bytes) != edit.name_offset + 1) {
            return false;
        }
        sent_at = end;
        at = edit.offset + edit.size;
    }
    return is_kept(statement.size() - at) && sent.size() - sent_at == statement.size() - at;
}

/// A statement that libpg_query can parse is still one when it is sent, and nothing of ours is left
/// in it.
inline bool is_replaced_whole(
    std::string_view statement, const rewrite::relation_rewrite& found, const std::string& sent
) {
    const auto none = [](std::string_view, std::string_view) { return false; };
    if (found.needs_literals || !parser::parsed_relation_names(std::string{statement}, none)) {
        return true;  // COPY has an old form that takes no query
    }
    const auto again = rewrite::find_relations(sent, parser::backslashes::plain, {});
    return parser::parsed_relation_names(sent, none).has_value() && !again.is_needed() &&
           !again.refused;
}

/// All of these, for one statement.
inline bool relations_are_sound(
    const parser::statement_rules& rules, std::string_view statement, parser::backslashes strings
) {
    const auto found = rewrite::find_relations(statement, strings, {});
    if (!relation_filter_is_proof(rules, statement, found) || !edits_are_sound(statement, found)) {
        return false;
    }
    if (!found.is_needed()) {
        return true;
    }
    const std::vector rows(
        found.used.size(), std::make_shared<const std::string>(R"([{"id":"\u00e4'\\"}])")
    );
    const auto simple = render_with_literals(statement, found, rows);
    const auto extended = render_with_parameter(statement, found, found.highest_parameter + 1);
    return keeps_the_rest(statement, found, simple) && keeps_the_rest(statement, found, extended) &&
           (strings == parser::backslashes::escape ||
            (is_replaced_whole(statement, found, simple.sql()) &&
             is_replaced_whole(statement, found, extended.sql())));
}

}  // namespace signalbox::tests
