// Session state that no statement shows: made inside a function, a trigger, a view, a default.
//
// The catalogs say which functions could make any, and whether a table or a view leads to one of
// them. A statement that calls nothing but functions known to be harmless needs no cleaning; one
// that might have made state is followed by tidy_sql() before its server connection is another
// session's. In the same way they say what may lead to lastval() and currval(), whose values may be
// another session's.
//
//   fingerprint_sql()  cheap; a different answer: the catalogs have changed
//   catalog_sql()      what learn() takes, row by row
//
// Cost      effects_of(): one pass over the text where it has a parenthesis, else a memchr
// Errs      on the safe side: an unknown name, a body in another language, a quoted name.
//           What it cannot see: state of extensions' C functions (docs/sessions.md).
#pragma once

#include "parser/lexer.hpp"
#include "rewrite/statements.hpp"

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <unordered_map>
#include <unordered_set>
#include <vector>

namespace signalbox::rewrite {

std::string fingerprint_sql();
std::string catalog_sql();

/// Takes a server connection, between transactions, to what a new session would find, but for
/// prepared statements; rows are names that SQL's PREPARE has made inside a function.
std::string tidy_sql();

/// What a statement may do that it does not show.
struct hidden_effects {
    bool makes_state = false;
    bool reads_sequences = false;  // the values that lastval() and currval() give
    bool lasts = false;            // as long as the server process: LOAD, setseed() and their like

    bool operator==(const hidden_effects&) const = default;
};

class hidden_state_rules {
public:
    hidden_state_rules();

    /// A row of catalog_sql(): kind, name, body. Rows go in before finish().
    void learn(std::string_view kind, std::string_view name, std::string_view text);
    void finish();

    /// What makes state of a kind that is not known may read, too.
    [[nodiscard]] hidden_effects effects_of(std::string_view sql) const;

    /// As above; where the rest of the effects cannot be told, this can. Of a long text the first
    /// 20,000 tokens and 128 KiB are read.
    [[nodiscard]] bool may_last(
        std::string_view sql, parser::backslashes strings = parser::backslashes::plain
    ) const;

    /// A view or a policy leads to such state, so that whatever reads may make it.
    [[nodiscard]] bool lasts_by_reading() const noexcept { return lasting_.by_reading; }

    /// Nothing is known: everything may make state.
    [[nodiscard]] bool is_empty() const noexcept { return known_.empty(); }

private:
    using name_set = std::unordered_set<std::string, string_hash, std::equal_to<>>;

    struct body {
        std::string name;
        std::string text;
    };

    /// Functions of a kind, and what leads to them.
    struct reach {
        name_set functions;
        std::span<const std::string_view> words;    // of a body, that are as good as a call
        std::span<const std::string_view> openers;  // the same, where a statement begins
        bool by_reading = false;                    // whatever is read may lead to one
        bool by_writing = false;                    // whatever is written may
    };

    [[nodiscard]] hidden_effects effects_of_calls(std::string_view sql) const;
    void spread(reach& kind) const;
    static bool leads_to(const reach& kind, std::string_view body);
    static bool is_sign(const reach& kind, const parser::token& t, std::string_view before);

    name_set known_;       // every function's name
    reach makers_;         // those that may make state
    reach readers_;        // those that may read sequence values, all makers among them
    reach lasting_;        // those that make state which lasts, all of them makers
    name_set read_uses_;   // functions that a view, an operator, a type … calls
    name_set write_uses_;  // … that a trigger, a default or a constraint calls
    std::vector<body> bodies_;
};

}  // namespace signalbox::rewrite
