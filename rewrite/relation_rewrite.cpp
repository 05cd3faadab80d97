#include "rewrite/relation_rewrite.hpp"

#include "parser/relation_names.hpp"

#include <algorithm>
#include <functional>
#include <iterator>
#include <utility>

namespace signalbox::rewrite {
namespace {

using parser::named_relation;
using parser::relation_role;

constexpr std::string_view insufficient_privilege = "42501";
constexpr std::string_view ambiguous_alias = "42P09";

std::string quoted(std::string_view name) {
    return "\"" + std::string{name} + "\"";
}

wire::report report_of(std::string_view sqlstate, std::string message) {
    wire::report what;
    what.sqlstate = sqlstate;
    what.message = std::move(message);
    return what;
}

/// Worded as PostgreSQL does for its own catalogs.
wire::report denied(const relation& r, const std::string& full_name) {
    auto what = report_of(
        insufficient_privilege, "permission denied: " + quoted(r.name) + " is a system catalog"
    );
    what.detail = "Signalbox provides " + full_name + ", which can only be read.";
    if (!r.changed_by.empty()) {
        what.hint = "Use " + std::string{r.changed_by} + ".";
    }
    return what;
}

/// Why the statement may not do this with the relation; nothing where it may.
std::optional<relation_refusal> refusal_of(
    const named_relation& named, const relation& r, bool is_binary_copy
) {
    const auto full_name = named.schema + "." + named.name;
    relation_refusal refused;
    switch (named.role) {
        case relation_role::read:
            return std::nullopt;
        case relation_role::copied:
            if (!is_binary_copy) {
                return std::nullopt;
            }
            refused.what = report_of(
                wire::sqlstate::feature_not_supported, "COPY BINARY cannot read " + full_name
            );
            refused.what.hint = "Use COPY … TO … WITH (FORMAT binary).";
            break;
        case relation_role::sampled:
            refused.what = report_of(
                wire::sqlstate::feature_not_supported,
                "TABLESAMPLE clause can only be applied to tables and materialized views"
            );
            refused.position = named.range.offset + 1;
            break;
        case relation_role::locked:
            refused.what = denied(r, full_name);
            refused.what.hint =
                "Leave the locking clause out, or name the other tables in FOR UPDATE OF.";
            break;
        case relation_role::stored:
            refused.what = report_of(
                wire::sqlstate::feature_not_supported,
                full_name + " cannot be part of a view, function, rule or policy"
            );
            refused.what.detail = "The definition would keep the rows of this moment.";
            break;
        case relation_role::prepared:
            refused.what = report_of(
                wire::sqlstate::feature_not_supported, "PREPARE cannot read " + full_name
            );
            refused.what.detail = "The prepared statement would keep the rows of this moment.";
            refused.what.hint =
                "Prepare the statement in the extended query protocol, as drivers do.";
            break;
        case relation_role::changed:
            refused.what = denied(r, full_name);
            break;
    }
    return refused;
}

/// A character in front that might read as one token with what is put there: u& before a quoted
/// name would make it U&"…", and a letter before SELECT a longer word.
std::string blank_after(std::string_view statement, std::size_t offset) {
    static constexpr std::string_view safe = " \t\n\r\f(,";
    return offset == 0 || safe.find(statement[offset - 1]) != std::string_view::npos ? "" : " ";
}

class edit_maker {
public:
    edit_maker(std::string_view statement, relation_rewrite& found)
        : statement_(statement), found_(found) {}

    void read(const named_relation& named, std::size_t source) {
        const auto blank = blank_after(statement_, named.item.offset);
        found_.edits.push_back(
            {named.item.offset,
             named.item.size,
             named.is_table_command ? blank + "SELECT * FROM " : blank,
             source,
             named.has_alias ? "" : " AS " + quoted(named.name),
             named.range.offset}
        );
    }

    /// COPY name (a, b) TO: the list becomes a query's.
    void copy(const named_relation& named, std::size_t source) {
        const auto alias = " AS " + quoted(named.name) + ")";
        const auto& [offset, size] = named.range;
        if (!named.column_list) {
            found_.edits.push_back({offset, size, "(SELECT * FROM ", source, alias, offset});
            return;
        }
        const auto& list = *named.column_list;
        found_.edits.push_back(
            {offset, list.offset + 1 - offset, "(SELECT ", std::nullopt, "", offset}
        );
        found_.edits.push_back({list.end() - 1, 1, " FROM ", source, alias, list.end() - 1});
    }

    void column(const parser::qualified_column& column) {
        const auto& [offset, size] = column.range;
        found_.edits.push_back(
            {offset,
             size,
             blank_after(statement_, offset) + quoted(column.name),
             std::nullopt,
             "",
             offset}
        );
    }

private:
    std::string_view statement_;
    relation_rewrite& found_;
};

std::size_t index_of(std::vector<const relation*>& used, const relation* r) {
    const auto known = std::find(used.begin(), used.end(), r);
    const auto index = static_cast<std::size_t>(std::distance(used.begin(), known));
    if (known == used.end()) {
        used.push_back(r);
    }
    return index;
}

std::optional<relation_refusal> refusal_in(
    const parser::relation_names& in_statement, const schema_names& names
) {
    for (const auto& named : in_statement.relations) {
        const auto* const r = find_relation(named.schema, named.name, names);
        if (auto refused = refusal_of(named, *r, in_statement.is_binary_copy)) {
            return refused;
        }
    }
    for (const auto& column : in_statement.columns) {
        if (column.is_ambiguous) {
            relation_refusal refused;
            refused.what = report_of(
                ambiguous_alias, "table reference " + quoted(column.name) + " is ambiguous"
            );
            refused.what.hint = "Give " + column.schema + "." + column.name + " an alias.";
            refused.position = column.range.offset + 1;
            return refused;
        }
    }
    return std::nullopt;
}

std::size_t characters(std::string_view text) noexcept {
    return static_cast<std::size_t>(std::count_if(text.begin(), text.end(), [](char c) {
        return (static_cast<unsigned char>(c) & 0xC0U) != 0x80U;
    }));
}

void append_hex(std::string& out, char kind, std::uint32_t code, unsigned digits) {
    static constexpr std::string_view hex = "0123456789abcdef";
    out += '\\';
    out += kind;
    while (digits-- > 0) {
        out += hex[(code >> (4 * digits)) & 0xFU];
    }
}

/// The first character, beyond ASCII, is taken from the text.
void append_escape(std::string& out, std::string_view& text) {
    const auto code = take_character(text);
    if (code < 0x10000) {
        append_hex(out, 'u', code, 4);
    } else {
        append_hex(out, 'U', code, 8);
    }
}

/// With E'…', backslashes read the same whatever standard_conforming_strings is. All ASCII, so that
/// it means the same in every client_encoding; the server's encoding has to have the characters.
std::string string_literal(std::string_view text) {
    std::string literal = "E'";
    literal.reserve(text.size() + text.size() / 8);
    while (!text.empty()) {
        const auto* const plain = std::find_if(text.begin(), text.end(), [](char c) {
            return static_cast<signed char>(c) < 0 || c == '\'' || c == '\\';
        });
        literal.append(text.begin(), plain);
        text.remove_prefix(static_cast<std::size_t>(plain - text.begin()));
        if (!text.empty() && static_cast<signed char>(text[0]) > 0) {
            literal += {text[0], text[0]};
            text.remove_prefix(1);
        } else if (!text.empty()) {
            append_escape(literal, text);
        }
    }
    return literal + '\'';
}

/// `text`: an expression with what rows_text() has written. Each OFFSET 0 keeps the server from
/// taking the text apart once per column. The casts stand outside of the rows' making, so that
/// columns that nobody asks for are not cast.
std::string row_source(const relation& r, const std::string& text) {
    std::string source = "(SELECT ";
    std::string columns;
    std::size_t part = 5;  // see rows_text()
    for (const auto& column : r.columns) {
        const auto name = quoted(column.name);
        if (!columns.empty()) {
            source += ',';
            columns += ',';
        }
        source += name;
        if (column.type != "text") {
            source += "::pg_catalog." + std::string{column.type} + " AS " + name;
        }
        columns += "pg_catalog.unnest((pg_catalog.string_to_array(p[" + std::to_string(part) +
                   "],p[2],p[3]))[1:p[4]::pg_catalog.int4]) AS " + name;
        ++part;
    }
    source += " FROM (SELECT " + columns;
    source += " FROM (SELECT pg_catalog.string_to_array(t,pg_catalog.left(t,1)) AS p FROM (SELECT ";
    source.reserve(source.size() + text.size() + 100);
    source += text;
    return source + " AS t OFFSET 0) AS t OFFSET 0) AS p) AS r)";
}

constexpr std::size_t offset_digits = 10;

std::string digits_of(std::size_t number) {
    auto digits = std::to_string(number);
    return digits.insert(0, offset_digits - std::min(digits.size(), offset_digits), '0');
}

/// The k-th relation's text in the parameter: see parameter_value().
std::string parameter_part(std::size_t parameter, std::size_t k) {
    const auto part = [&](const std::string& offset, const std::string& size) {
        return "pg_catalog.convert_from(pg_catalog.substr($" + std::to_string(parameter) +
               "::pg_catalog.bytea," + offset + ',' + size + "),'UTF8')";
    };
    const auto number = [&](std::size_t index) {
        return part(std::to_string(1 + index * offset_digits), std::to_string(offset_digits)) +
               "::pg_catalog.int4";
    };
    return part(number(2 * k), number(2 * k + 1));
}

}  // namespace

class statement_renderer {
public:
    statement_renderer(std::string_view statement, const relation_rewrite& found)
        : statement_(statement), found_(found) {}

    /// `rows_of(k)`: an expression of type text with the rows of `found.used[k]`.
    rendered_statement render(const std::function<std::string(std::size_t)>& rows_of) const {
        std::vector<std::string> sources;
        for (std::size_t k = 0; k < found_.used.size(); ++k) {
            sources.push_back(row_source(*found_.used[k], rows_of(k)));
        }
        rendered_statement made;
        std::size_t at = 0;
        for (const auto& edit : found_.edits) {
            made.sql_ += statement_.substr(at, edit.offset - at);
            at = edit.offset + edit.size;
            const auto offset = made.sql_.size();
            made.sql_ += edit.before;
            made.sql_ += edit.source ? sources[*edit.source] : std::string{};
            made.sql_ += edit.after;
            const auto original = statement_.substr(edit.offset, edit.size);
            const auto before_name = original.substr(0, edit.name_offset - edit.offset);
            made.replacements_.push_back(
                {offset,
                 made.sql_.size() - offset,
                 before_name.size(),
                 characters(before_name),
                 original.size(),
                 characters(original)}
            );
        }
        made.sql_ += statement_.substr(at);
        return made;
    }

private:
    std::string_view statement_;
    const relation_rewrite& found_;
};

relation_rewrite find_relations(
    std::string_view statement, parser::backslashes strings, const schema_names& names
) {
    const auto in_statement = parser::find_relation_names(
        statement,
        strings,
        [&](std::string_view schema, std::string_view name) {
            return find_relation(schema, name, names) != nullptr;
        }
    );
    relation_rewrite found;
    found.refused = refusal_in(in_statement, names);
    if (found.refused) {
        return found;
    }
    found.needs_literals = in_statement.is_copy;
    found.highest_parameter = in_statement.highest_parameter;
    edit_maker edits{statement, found};
    for (const auto& named : in_statement.relations) {
        const auto source = index_of(found.used, find_relation(named.schema, named.name, names));
        if (named.role == relation_role::copied) {
            edits.copy(named, source);
        } else {
            edits.read(named, source);
        }
    }
    for (const auto& column : in_statement.columns) {
        edits.column(column);
    }
    std::sort(found.edits.begin(), found.edits.end(), [](const auto& a, const auto& b) {
        return a.offset < b.offset;
    });
    return found;
}

std::size_t rendered_statement::original_position(std::size_t sent_position, character_size size)
    const noexcept {
    const auto count = [&](std::string_view text) {
        return size == character_size::utf8 ? characters(text) : text.size();
    };
    const std::string_view sent{sql_};
    std::size_t sent_characters = 0;    // before the place that is looked at
    std::size_t characters_before = 0;  // the same place in the client's text
    std::size_t at = 0;
    for (const auto& r : replacements_) {
        const auto kept = count(sent.substr(at, r.offset - at));
        if (sent_position <= sent_characters + kept) {
            break;
        }
        sent_characters += kept;
        characters_before += kept;
        const bool is_utf8 = size == character_size::utf8;
        const auto replaced = count(sent.substr(r.offset, r.size));
        if (sent_position <= sent_characters + replaced) {
            return characters_before + (is_utf8 ? r.name_characters : r.name_bytes) + 1;
        }
        sent_characters += replaced;
        characters_before += is_utf8 ? r.original_characters : r.original_bytes;
        at = r.offset + r.size;
    }
    return sent_position - sent_characters + characters_before;
}

rendered_statement render_with_literals(
    std::string_view statement, const relation_rewrite& found, std::span<const relation_text> rows
) {
    return statement_renderer{statement, found}.render([&](std::size_t k) {
        return string_literal(*rows[k]) + "::pg_catalog.text";
    });
}

rendered_statement render_with_parameter(
    std::string_view statement, const relation_rewrite& found, std::size_t parameter
) {
    return statement_renderer{statement, found}.render([&](std::size_t k) {
        return parameter_part(parameter, k);
    });
}

std::string parameter_value(const relation_rewrite& found, std::span<const relation_text> rows) {
    std::string value;
    auto at = 1 + 2 * offset_digits * found.used.size();
    for (std::size_t k = 0; k < found.used.size(); ++k) {
        value += digits_of(at) + digits_of(rows[k]->size());
        at += rows[k]->size();
    }
    value.reserve(at);
    for (std::size_t k = 0; k < found.used.size(); ++k) {
        value += *rows[k];
    }
    return value;
}

}  // namespace signalbox::rewrite
