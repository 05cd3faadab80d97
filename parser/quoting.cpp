#include "parser/quoting.hpp"

#include <algorithm>
#include <array>

namespace signalbox::parser {
namespace {

bool is_letter(char c) noexcept {
    return (c >= 'a' && c <= 'z') || c == '_';
}

bool is_plain(std::string_view name) noexcept {
    return !name.empty() && is_letter(name[0]) && std::all_of(name.begin(), name.end(), [](char c) {
        return is_letter(c) || (c >= '0' && c <= '9') || c == '$';
    });
}

/// IF before EXISTS, SECRET before a name, the roles of OWNER TO.
bool may_be_keyword(std::string_view name) noexcept {
    static constexpr std::array<std::string_view, 5> words{
        "current_role", "current_user", "if", "secret", "session_user"};
    return std::find(words.begin(), words.end(), name) != words.end();
}

/// Of PostgreSQL 14 to 18, all but the unreserved ones. Source: src/include/parser/kwlist.h
bool is_reserved(std::string_view name) noexcept {
    static constexpr std::array<std::string_view, 164> words{
        "all",
        "analyse",
        "analyze",
        "and",
        "any",
        "array",
        "as",
        "asc",
        "asymmetric",
        "authorization",
        "between",
        "bigint",
        "binary",
        "bit",
        "boolean",
        "both",
        "case",
        "cast",
        "char",
        "character",
        "check",
        "coalesce",
        "collate",
        "collation",
        "column",
        "concurrently",
        "constraint",
        "create",
        "cross",
        "current_catalog",
        "current_date",
        "current_role",
        "current_schema",
        "current_time",
        "current_timestamp",
        "current_user",
        "dec",
        "decimal",
        "default",
        "deferrable",
        "desc",
        "distinct",
        "do",
        "else",
        "end",
        "except",
        "exists",
        "extract",
        "false",
        "fetch",
        "float",
        "for",
        "foreign",
        "freeze",
        "from",
        "full",
        "grant",
        "greatest",
        "group",
        "grouping",
        "having",
        "ilike",
        "in",
        "initially",
        "inner",
        "inout",
        "int",
        "integer",
        "intersect",
        "interval",
        "into",
        "is",
        "isnull",
        "join",
        "json",
        "json_array",
        "json_arrayagg",
        "json_exists",
        "json_object",
        "json_objectagg",
        "json_query",
        "json_scalar",
        "json_serialize",
        "json_table",
        "json_value",
        "lateral",
        "leading",
        "least",
        "left",
        "like",
        "limit",
        "localtime",
        "localtimestamp",
        "merge_action",
        "national",
        "natural",
        "nchar",
        "none",
        "normalize",
        "not",
        "notnull",
        "null",
        "nullif",
        "numeric",
        "offset",
        "on",
        "only",
        "or",
        "order",
        "out",
        "outer",
        "overlaps",
        "overlay",
        "placing",
        "position",
        "precision",
        "primary",
        "real",
        "references",
        "returning",
        "right",
        "row",
        "select",
        "session_user",
        "setof",
        "similar",
        "smallint",
        "some",
        "substring",
        "symmetric",
        "system_user",
        "table",
        "tablesample",
        "then",
        "time",
        "timestamp",
        "to",
        "trailing",
        "treat",
        "trim",
        "true",
        "union",
        "unique",
        "user",
        "using",
        "values",
        "varchar",
        "variadic",
        "verbose",
        "when",
        "where",
        "window",
        "with",
        "xmlattributes",
        "xmlconcat",
        "xmlelement",
        "xmlexists",
        "xmlforest",
        "xmlnamespaces",
        "xmlparse",
        "xmlpi",
        "xmlroot",
        "xmlserialize",
        "xmltable"};
    return std::binary_search(words.begin(), words.end(), name);
}

void append_doubling(std::string& out, std::string_view text, std::string_view doubled) {
    for (const char c : text) {
        if (doubled.find(c) != std::string_view::npos) {
            out += c;
        }
        out += c;
    }
}

}  // namespace

std::string quoted_identifier(std::string_view name) {
    if (is_plain(name) && !may_be_keyword(name)) {
        return std::string{name};
    }
    std::string out = "\"";
    append_doubling(out, name, "\"");
    return out += '"';
}

std::string quoted_name(std::string_view name) {
    if (is_plain(name) && name.find('$') == std::string_view::npos && !is_reserved(name)) {
        return std::string{name};
    }
    std::string out = "\"";
    append_doubling(out, name, "\"");
    return out += '"';
}

std::string quoted_literal(std::string_view value) {
    std::string out = value.find('\\') == std::string_view::npos ? "'" : "E'";
    append_doubling(out, value, "'\\");
    return out += '\'';
}

}  // namespace signalbox::parser
