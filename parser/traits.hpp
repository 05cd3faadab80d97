// What a statement's text says about the session state that it may leave behind.
//
// Most of that is read from the server's command tags, which cannot lie. Only what no tag shows is
// looked for here: a parameter set or a lock taken by a function call, a temporary object, the
// names of custom parameters (which pg_settings does not list), and the word that opens a
// transaction block.
//
// scan_text() first asks quick_scan(), one pass that looks for a few rare letters; only a text that
// might matter is cut into tokens. False positives cost one round trip when the server connection
// is given back; false negatives are bugs.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace signalbox::parser {

struct text_traits {
    bool needs_inspection =
        false;  // ask the server for the session's state before its connection is shared
    bool dynamic_parameter = false;  // set_config() with a name that is not a literal
    bool assigns_default = false;    // SET … TO DEFAULT: a RESET in another dress
    bool only_local_set =
        false;                 // the one statement is SET LOCAL, SET TRANSACTION or SET CONSTRAINTS
    bool opens_block = false;  // BEGIN or START TRANSACTION
    bool forgets_statements = false;  // DEALLOCATE ALL, DISCARD ALL
    bool resets_parameters = false;   // RESET, DISCARD ALL
    bool is_cut = false;              // only its beginning was read: there may be more of anything
    std::string_view
        uncarryable;  // what makes state that only this server connection has; "" = nothing
    std::string
        reset_target;  // the parameter that the one statement resets; "*" = all; "" = not known
    std::vector<std::string> custom_parameters;  // names with a dot, lower case
    std::vector<std::string> deallocated;        // names in DEALLOCATE, as PostgreSQL folds them
    std::string only_deallocated;  // the one statement is DEALLOCATE of this name; "" = it is not

    bool operator==(const text_traits&) const = default;

    /// The server connection stays the session's own behind it.
    [[nodiscard]] bool keeps_connection() const noexcept {
        return opens_block || !uncarryable.empty();
    }
};

/// False: the text has none of the traits. Cost: about half a nanosecond a byte.
bool quick_scan(std::string_view sql) noexcept;

/// A text, and what quick_scan() says of it, asked once.
struct scanned_text {
    scanned_text() = default;

    explicit scanned_text(std::string_view text) noexcept
        : sql(text), may_have_traits(quick_scan(text)) {}

    std::string_view sql;
    bool may_have_traits = false;
};

/// False: the text names neither lastval nor currval, in code or in a string. Cost: two or three
/// searches for a byte.
bool may_name_sequence_values(std::string_view sql) noexcept;

/// The text is one statement that begins, ends or marks a transaction, or sets or shows a
/// parameter: no function is called in it. Cost: the first tokens, and a search for a byte.
bool calls_nothing(std::string_view sql) noexcept;

/// What is read of a text: a millisecond of an event loop.
constexpr std::size_t max_scanned_tokens = 20'000;
constexpr std::size_t max_scanned_bytes = std::size_t{128} << 10U;

text_traits scan_text(std::string_view sql);

}  // namespace signalbox::parser
