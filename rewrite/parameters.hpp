// Run-time parameters (GUCs) that follow a session from server connection to server connection.
//
// A session's parameters are what its server would list with source = 'session'. They are asked
// from the server, not guessed from text, so SET in a rolled-back transaction, SET LOCAL and
// functions that call set_config() come out right. Sets are immutable and interned: equal sets are
// one object, and comparing two is comparing pointers.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

namespace signalbox::rewrite {

/// Sorted by name. Names are compared as they stand: who sets a run-time parameter gives its name
/// in lower case.
class parameter_set {
public:
    using item = std::pair<std::string, std::string>;

    [[nodiscard]] const std::vector<item>& items() const noexcept { return items_; }

    [[nodiscard]] bool empty() const noexcept { return items_.empty(); }

    [[nodiscard]] const std::string* find(std::string_view name) const noexcept;
    void set(std::string_view name, std::string_view value);
    void erase(std::string_view name);

    bool operator==(const parameter_set&) const = default;

    [[nodiscard]] std::size_t hash() const noexcept;
    /// Of what can change the meaning of an SQL text: application_name does not.
    [[nodiscard]] std::size_t parsing_hash() const noexcept;

private:
    std::vector<item> items_;
};

using parameter_set_ptr = std::shared_ptr<const parameter_set>;

/// Not thread-safe; one per worker. A set from another worker is interned again when its connection
/// arrives.
class parameter_pool {
public:
    parameter_pool() : empty_(std::make_shared<const parameter_set>()) {}

    parameter_set_ptr intern(const parameter_set& set);

    const parameter_set_ptr& empty() const noexcept { return empty_; }

private:
    static constexpr std::size_t max_entries = 4096;

    parameter_set_ptr empty_;
    std::unordered_multimap<std::size_t, parameter_set_ptr> known_;
};

/// SQL that takes a server connection from one set to another; "" when there is nothing to do.
std::string switch_parameters_sql(const parameter_set& from, const parameter_set& to);

/// The same for the channels that it listens to; both are sorted.
std::string switch_channels_sql(
    const std::vector<std::string>& from, const std::vector<std::string>& to
);

/// SQL that gives parameters their value of the startup packet: what RESET must return to.
/// `target`: the one that was reset, or "*" for all; "" where that is not known: then every one
/// that is not set in the session (any more).
std::string restore_startup_sql(const parameter_set& startup, std::string_view target);

/// SQL that lists the session's state, one row (kind, name, value) each. `custom`: parameters with
/// a dot to ask for, since pg_settings does not list them. `user`: the role that the server
/// connection logged in as.
std::string inspection_sql(const std::vector<std::string>& custom, std::string_view user);

/// SQL that lists the statements that the protocol has prepared, one row ('carried', name, text)
/// each: the text is `OIDs, separated by blanks` NEWLINE `SQL`.
std::string prepared_statements_sql();

/// A prepared statement that is taken to another server.
struct carried_statement {
    std::string name;
    std::string tail;  // of its Parse: text NUL, count, OIDs
};

/// What the rows of inspection_sql() and prepared_statements_sql() say.
struct session_state {
    parameter_set parameters;
    std::vector<std::string> channels;  // that the connection listens to
    std::string pinned_by;              // "" = nothing that cannot be carried
    std::vector<carried_statement> statements;

    void add(std::string_view kind, std::string_view name, std::string_view value);
};

/// Parameter names are matched without regard to case; this is their one spelling here.
std::string parameter_key(std::string_view name);

/// An SQL literal that reads the same whatever standard_conforming_strings says.
std::string quote_literal(std::string_view value);

}  // namespace signalbox::rewrite
