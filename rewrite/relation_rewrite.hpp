// A statement that reads relations of Signalbox's, made into one that the server can run.
//
//   find_relations()         what the statement does with them: nothing, something refused, or
//                            reading; the result holds for every other time the text is met
//   render_with_literals()   the rows travel in the text: the simple protocol, and COPY
//   render_with_parameter()  … in one more bind parameter: the extended protocol
//
// Each reference becomes a row source, `(SELECT … FROM (SELECT unnest(…), … ) AS …)`, under the
// client's alias or the relation's own name; all other bytes stay as they are. The row source names
// everything with pg_catalog, so that no search_path changes its meaning.
//
// Not refused although it cannot work, since the server says it best: a name in our schemas that
// does not exist, a database before the schema, statements that nobody here can parse.
#pragma once

#include "parser/lexer.hpp"
#include "rewrite/relation_rows.hpp"
#include "rewrite/relations.hpp"
#include "wire/error_response.hpp"

#include <cstddef>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace signalbox::rewrite {

/// Stands for `size` bytes of the statement: `before`, a row source where `source` says which, and
/// `after`.
struct relation_edit {
    std::size_t offset = 0;
    std::size_t size = 0;
    std::string before;
    std::optional<std::size_t> source;  // relation_rewrite::used
    std::string after;
    std::size_t name_offset = 0;  // of the relation's name: what an error inside refers to
};

struct relation_refusal {
    wire::report what;
    std::size_t position = 0;  // bytes from the statement's beginning, + 1; 0 = none
};

struct relation_rewrite {
    std::vector<const relation*> used;  // that are read; distinct, in the order of first use
    std::optional<relation_refusal> refused;
    bool needs_literals = false;        // COPY: the server takes no parameters in it
    std::size_t highest_parameter = 0;  // $n that the client's text has
    std::vector<relation_edit> edits;   // in the text's order, apart from each other

    /// Nothing to replace: the statement is sent as it is, unless it is refused.
    [[nodiscard]] bool is_needed() const noexcept { return !edits.empty(); }
};

/// `statement`: one statement, with or without its semicolon. Needs
/// parser::statement_rules::deep_stack_bytes of stack where !statement_rules::is_light().
relation_rewrite find_relations(
    std::string_view statement, parser::backslashes strings, const schema_names& names
);

/// How the server counts the characters of what the client sends.
enum class character_size : std::uint8_t { utf8, one_byte };

class rendered_statement {
public:
    [[nodiscard]] const std::string& sql() const noexcept { return sql_; }

    /// The position in the client's text of an error's position in sql(); both in characters from
    /// 1. Inside what was replaced: the relation's name.
    [[nodiscard]] std::size_t original_position(std::size_t sent_position, character_size size)
        const noexcept;

private:
    friend class statement_renderer;

    /// A stretch of sql() that stands for one of the client's text.
    struct replacement {
        std::size_t offset = 0;  // bytes in sql()
        std::size_t size = 0;
        std::size_t name_bytes = 0;  // before the name, of what was replaced
        std::size_t name_characters = 0;
        std::size_t original_bytes = 0;
        std::size_t original_characters = 0;
    };

    std::string sql_;
    std::vector<replacement> replacements_;
};

/// `rows[k]`: rows_text() of `found.used[k]`.
rendered_statement render_with_literals(
    std::string_view statement, const relation_rewrite& found, std::span<const relation_text> rows
);

/// The rows travel as $`parameter`, which is above all that the client's text has and its Parse
/// declares.
rendered_statement render_with_parameter(
    std::string_view statement, const relation_rewrite& found, std::size_t parameter
);

/// That parameter's value, of type bytea and in binary format, so that no client_encoding touches
/// it: offset and size of each relation's text, and the texts.
///
/// Errors    more than 9,999,999,999 bytes cannot be told; a message holds less
std::string parameter_value(const relation_rewrite& found, std::span<const relation_text> rows);

/// OID of the parameter's type, bytea.
inline constexpr std::uint32_t parameter_type = 17;

}  // namespace signalbox::rewrite
