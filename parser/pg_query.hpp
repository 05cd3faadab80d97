// libpg_query behind one wall: SQL text in, plain values out.
//
// Its parser recurses and its scanner is quadratic on some texts, so that callers keep to the
// limits in parser/limits.hpp. A text holds no NUL. Everything that libpg_query allocates is freed
// before these functions return.
#pragma once

#include "parser/explain.hpp"
#include "parser/query.hpp"
#include "parser/relation_names.hpp"

#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace signalbox::parser {

/// Bytes of a text up to and including each statement's semicolon; the last statement ends with the
/// text. No value: it does not parse.
std::optional<std::vector<std::size_t>> parsed_statement_ends(const std::string& sql);

/// Asked about a called function, with names as PostgreSQL folds them; `schema` may be empty.
using call_predicate = std::function<bool(std::string_view schema, std::string_view function)>;

/// Whether the statements make a call that `is_wanted` says yes to. A call that is only defined (in
/// the body of a view or function, a column's default, PREPARE) is not made. No value: the text
/// does not parse.
std::optional<bool> makes_call(const std::string& sql, const call_predicate& is_wanted);

/// The relations that the statements name, as relations_in_tree() has them: with offsets only. No
/// value: the text does not parse.
std::optional<relation_names> parsed_relation_names(
    const std::string& sql, const relation_predicate& is_wanted
);

/// What parse_query() gives. No value: the text does not parse, or is no SELECT.
std::optional<query> parsed_query(const std::string& sql);

/// What parse_explained() gives. No value: the text does not parse, or is not one statement.
std::optional<explained> parsed_explained(const std::string& sql);

/// What canonical_form() gives. No value: the text does not parse.
std::optional<std::string> parsed_canonical_form(const std::string& sql);

}  // namespace signalbox::parser
