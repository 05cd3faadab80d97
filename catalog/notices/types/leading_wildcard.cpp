#include "catalog/notices/types/leading_wildcard.hpp"

#include "catalog/notices/views.hpp"
#include "parser/quoting.hpp"

#include <algorithm>

namespace signalbox::catalog {
namespace {

using parser::expression;
using parser::expression_kind;

bool begins_with_wildcard(const expression& pattern) {
    return pattern.kind == expression_kind::constant && !pattern.text.empty() &&
           (pattern.text.front() == '%' || pattern.text.front() == '_') &&
           pattern.text.find_first_not_of("%_") != std::string::npos;
}

/// Patterns that have to match, or may: not those under NOT, which no index answers.
void collect(const expression& what, std::vector<const expression*>& into) {
    if (what.kind == expression_kind::conjunction || what.kind == expression_kind::disjunction) {
        for (const auto& part : what.arguments) {
            collect(part, into);
        }
    } else if (what.kind == expression_kind::operation && what.arguments.size() == 2 && (what.name == "~~" || what.name == "~~*") && begins_with_wildcard(what.arguments[1])) {
        into.push_back(&what);
    }
}

/// Of one level.
std::vector<const expression*> patterns_of(const parser::query_select& level) {
    std::vector<const expression*> found;
    for (const auto& condition : level.conditions) {
        collect(condition.what, found);
    }
    return found;
}

std::string condition_sql(const std::string& subject, const expression& match) {
    return subject + (match.name == "~~" ? " LIKE " : " ILIKE ") + sql_or_dots(match.arguments[1]);
}

bool is_case_function(const expression& subject) noexcept {
    return subject.kind == expression_kind::call &&
           (subject.name == "lower" || subject.name == "upper");
}

/// A column, casts and lower() or upper() around it included.
bool is_about_column(const expression& subject) noexcept {
    if (subject.kind == expression_kind::cast || is_case_function(subject)) {
        return subject.arguments.size() == 1 && is_about_column(subject.arguments.front());
    }
    return subject.kind == expression_kind::column;
}

bool has_trigrams(
    const server_facts& facts, const used_column& column, const std::string& sql, bool is_column
) {
    const auto indexes = facts.indexes_of(column.relation->oid);
    return std::any_of(indexes.begin(), indexes.end(), [&](const object_facts* index) {
        return index->is_valid &&
               std::any_of(index->keys.begin(), index->keys.end(), [&](const index_key& k) {
                   const bool is_same =
                       is_column ? k.column == column.column->number
                                 : k.tree != nullptr && parser::expression_sql(*k.tree) == sql;
                   return is_same && (k.operator_class.ends_with(".gin_trgm_ops") ||
                                      k.operator_class.ends_with(".gist_trgm_ops"));
               });
    });
}

}  // namespace

std::vector<leading_wildcard::finding> leading_wildcard::examine(
    const object_facts& object, const server_facts& facts
) {
    std::vector<finding> out;
    const view_reader view{object, facts};
    const auto examine_one = [&](const expression& match, std::size_t level) {
        const auto& subject = match.arguments.front();
        const auto column = view.column_of(subject, level);
        const auto inside = view.columns_in(subject, level);
        const auto sql = parser::expression_sql(subject);
        if ((!column && !(is_case_function(subject) && sql && inside.size() == 1)) ||
            inside.empty() || inside.front().relation->kind == object_kind::view ||
            has_trigrams(facts, inside.front(), sql.value_or(""), column.has_value())) {
            return;
        }
        const auto& about = inside.front();
        finding found;
        found.dependencies = {about.relation->oid};
        found.view = shown_object(object);
        found.table = shown_name(*about.relation);
        found.sql_table = about.relation->sql_name();
        const auto subject_sql = column ? parser::quoted_name(about.column->name) : *sql;
        found.condition = condition_sql(subject_sql, match);
        const auto& type = about.column->type;
        if (type == "text" || type == "varchar") {
            found.key = subject_sql;
        }
        found.trigrams = facts.trigram_schema.value_or("");
        found.facts = {found.sql_table, found.condition};
        out.push_back(std::move(found));
    };
    for (std::size_t level = 0; level < view.levels(); ++level) {
        for (const auto* const match : patterns_of(view.level(level))) {
            examine_one(*match, level);
        }
    }
    return out;
}

std::vector<leading_wildcard::finding> leading_wildcard::examine_query(const parser::query& query) {
    std::vector<finding> out;
    for (const auto& level : query.levels) {
        for (const auto* const match : patterns_of(level)) {
            const auto& subject = match->arguments.front();
            if (is_about_column(subject)) {
                finding found;
                found.view = "the query";
                found.condition = condition_sql(sql_or_dots(subject), *match);
                out.push_back(std::move(found));
            }
        }
    }
    return out;
}

notice_text leading_wildcard::render(const finding& found, redaction mode) {
    notice_text text;
    text.message = found.view + " matches " + shown(found.condition, mode) +
                   (found.table.empty() ? "" : " on table " + found.table) +
                   ", a pattern with a leading wildcard";
    text.hint =
        "A B-tree is searched from the first letter on. An index of trigrams (extension pg_trgm) "
        "answers such patterns.";
    if (found.table.empty()) {
        text.action = "Match the beginning of the text, or create an index of trigrams.";
        return text;
    }
    if (found.key.empty()) {
        text.action = "Store the column as text, and create an index of trigrams on it.";
        return text;
    }
    const auto schema = found.trigrams.empty() ? std::string{"public"} : found.trigrams;
    text.action = found.trigrams.empty() ? "CREATE EXTENSION pg_trgm WITH SCHEMA public;\n" : "";
    text.action += "CREATE INDEX ON " + found.sql_table + " USING gin (" + shown(found.key, mode) +
                   " " + parser::quoted_name(schema) + ".gin_trgm_ops);";
    text.action_type = action_type::sql_statements;
    return text;
}

}  // namespace signalbox::catalog
