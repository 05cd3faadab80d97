// What a simple Query or a Parse asks for: its statements, and which of them need a decision.
//
//   text --needs_decision()--> no: one statement that is nobody's business: forwarded unparsed
//                         \--> yes: decide() -> verdict: statements, their kinds, RPC calls
//
// needs_decision() is the prefilter, a proof: where it says no, decide() would find at most one
// statement, not of kind `signalbox`, that calls no RPC function, and find_relation_names() none of
// a relation in our schemas. (It may begin or end a block: of
// a text's only statement the server tells that itself.) decide() cuts the text with libpg_query's
// parser; where that cannot parse it (newer syntax, a typing error) or the text is hostile (see
// parser/limits.hpp), our own tokens give the boundaries. No text is ever refused, and the pieces
// joined are the text.
//
// Threads   statement_rules is immutable and shared; verdict_cache belongs to one worker.
#pragma once

#include "parser/lexer.hpp"

#include <cstddef>
#include <cstdint>
#include <list>
#include <memory>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

namespace signalbox::parser {

enum class statement_kind : std::uint8_t {
    other,
    begin,      // BEGIN, START TRANSACTION
    end_block,  // COMMIT, END, ROLLBACK, ABORT, PREPARE TRANSACTION; not AND CHAIN, not TO a
                // savepoint, not … PREPARED
    signalbox   // addressed to Signalbox: CREATE CONNECTION and its family
};

/// One statement with its semicolon and what stands before it: white space, comments, empty
/// statements. What follows the last semicolon belongs to the last statement.
struct statement_piece {
    std::size_t offset = 0;  // bytes from the text's beginning
    std::size_t size = 0;
    statement_kind kind = statement_kind::other;
    bool calls_rpc = false;

    bool operator==(const statement_piece&) const = default;
};

enum class name_use : std::uint8_t { prepares, executes, deallocates };

/// What a statement does with the name of a prepared statement, in SQL.
struct sql_name {
    std::size_t statement = 0;  // which of the text's
    name_use use = name_use::executes;
    std::string name;        // as PostgreSQL folds it
    bool calls_rpc = false;  // PREPARE: to execute it is a call

    bool operator==(const sql_name&) const = default;
};

struct verdict {
    std::vector<statement_piece> statements;  // joined they are the text; none: it has no statement
    std::vector<sql_name> names;              // in their order
    bool calls_rpc = false;                   // any of the statements, but for EXECUTE
    bool is_ours = false;                     // any of them is of kind `signalbox`

    bool operator==(const verdict&) const = default;
};

using verdict_ptr = std::shared_ptr<const verdict>;

class statement_rules {
public:
    /// `rpc_functions`: RE2 patterns, matched in full against a called function's name and against
    /// schema.name. Throws std::invalid_argument for one that does not compile. `schemas`: of the
    /// relations that Signalbox provides.
    explicit statement_rules(
        const std::vector<std::string>& rpc_functions,
        const std::vector<std::string>& schemas = {"mz_catalog", "mz_internal"}
    );
    ~statement_rules();
    statement_rules(const statement_rules&) = delete;
    statement_rules& operator=(const statement_rules&) = delete;

    /// The prefilter. Linear; no allocation. Holds for both readings of strings.
    [[nodiscard]] bool needs_decision(std::string_view sql) const noexcept;

    /// Linear, but for what libpg_query does with at most max_parsed_bytes and max_parsed_tokens.
    /// Needs deep_stack_bytes of stack where !is_light().
    [[nodiscard]] verdict decide(std::string_view sql, backslashes strings) const;

    /// May be decided on an event loop: at most a few milliseconds, with an ordinary stack.
    [[nodiscard]] static bool is_light(std::string_view sql);

    /// False: no statement of the text names a relation that Signalbox provides. Linear, no
    /// allocation.
    [[nodiscard]] bool may_use_relations(std::string_view sql) const noexcept;

    /// The route has RPC patterns.
    [[nodiscard]] bool looks_for_rpc() const noexcept;

    /// Whether a function of this name (as PostgreSQL folds it) is an RPC function. `schema` may be
    /// empty.
    [[nodiscard]] bool is_rpc(std::string_view schema, std::string_view function) const;

    static constexpr std::size_t deep_stack_bytes = std::size_t{256} << 20U;

private:
    bool calls_rpc(std::string_view statement, backslashes strings, std::size_t& tokens_left) const;

    struct parts;
    std::unique_ptr<parts> parts_;
};

/// Verdicts by text, least recently used go first. Bounded by the bytes it holds; long texts are
/// not kept. One cache serves one statement_rules and one reading of strings.
class verdict_cache {
public:
    explicit verdict_cache(std::size_t max_bytes = std::size_t{4} << 20U) : max_bytes_(max_bytes) {}

    verdict_ptr find(std::string_view sql);
    void add(std::string_view sql, verdict_ptr found);

    [[nodiscard]] std::size_t bytes() const noexcept { return bytes_; }

private:
    struct entry {
        std::string sql;
        verdict_ptr found;
    };

    std::size_t max_bytes_;
    std::size_t bytes_ = 0;
    std::list<entry> entries_;  // the most recently used first
    std::unordered_map<std::string_view, std::list<entry>::iterator> index_;
};

}  // namespace signalbox::parser
