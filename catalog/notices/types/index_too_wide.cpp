#include "catalog/notices/types/index_too_wide.hpp"

#include "catalog/notices/views.hpp"
#include "parser/quoting.hpp"

#include <algorithm>
#include <map>
#include <set>

namespace signalbox::catalog {
namespace {

using parser::expression;
using parser::expression_kind;
using columns = std::set<int>;

/// What a view says about one of its sources.
struct constraints {
    std::map<int, std::string> literals;  // column -> condition as SQL
    columns given;                        // the literals' columns, and those that joins give
};

bool is_boolean_test(const expression& what) {
    return what.kind == expression_kind::column ||
           (what.kind == expression_kind::negation &&
            what.arguments.front().kind == expression_kind::column);
}

void add_condition(
    constraints& into,
    const view_reader& view,
    const expression& what,
    std::size_t level,
    std::size_t source
) {
    const auto mine = [&](const expression& e) -> std::optional<int> {
        const auto column = view.column_of(e, level);
        return column && column->is_of(level, source) ? std::optional{column->column->number}
                                                      : std::nullopt;
    };
    if (is_boolean_test(what)) {
        const bool is_negated = what.kind == expression_kind::negation;
        const auto& tested = is_negated ? what.arguments.front() : what;
        if (const auto column = mine(tested)) {
            into.given.insert(*column);
            into.literals.try_emplace(*column, (is_negated ? "NOT " : "") + sql_or_dots(tested));
        }
        return;
    }
    if (what.kind == expression_kind::is_null) {
        if (const auto column = mine(what.arguments.front())) {
            into.given.insert(*column);
        }
        return;
    }
    const bool is_equality =
        (what.kind == expression_kind::operation || what.kind == expression_kind::any) &&
        what.name == "=" && what.arguments.size() == 2;
    if (!is_equality) {
        return;
    }
    for (const std::size_t side : {0U, 1U}) {
        const auto& other = what.arguments[1 - side];
        const auto column = mine(what.arguments[side]);
        if (!column) {
            continue;
        }
        const auto others = view.columns_in(other, level);
        const bool is_own = std::any_of(others.begin(), others.end(), [&](const auto& c) {
            return c.is_of(level, source);
        });
        if (is_literal(other)) {
            into.literals.try_emplace(*column, sql_or_dots(what));
        }
        if (!is_own) {
            into.given.insert(*column);
        }
    }
}

constraints constraints_of(const view_reader& view, std::size_t level, std::size_t source) {
    constraints found;
    for (const auto& c : view.level(level).conditions) {
        if (std::find(c.restricts.begin(), c.restricts.end(), source) != c.restricts.end()) {
            add_condition(found, view, c.what, level, source);
        }
    }
    for (const auto& [left, right] : view.equalities(level)) {
        if (left.is_of(level, source) && !right.is_of(level, source)) {
            found.given.insert(left.column->number);
        } else if (right.is_of(level, source) && !left.is_of(level, source)) {
            found.given.insert(right.column->number);
        }
    }
    return found;
}

/// A literal's column stands in the predicate: it may say the same.
bool may_be_chosen(const object_facts& table, const object_facts& index, const constraints& c) {
    bool is_there = false;
    if (index.predicate_tree != nullptr) {
        parser::for_each_expression(*index.predicate_tree, [&](const expression& e) {
            const auto* const column =
                e.kind == expression_kind::column ? table.column(e.name) : nullptr;
            is_there = is_there || (column != nullptr && c.literals.contains(column->number));
        });
    }
    return is_there;
}

/// Whether a search can use all of the literals' columns. Of indexes whose use is not ours to
/// judge, it says yes.
bool can_search(const object_facts& table, const object_facts& index, const constraints& c) {
    const auto is_literal_column = [&](int column) { return c.literals.contains(column); };
    columns key;
    for (const auto& k : index.keys) {
        key.insert(k.column);
    }
    if (!index.predicate.empty() || index.method != "btree") {
        return std::any_of(key.begin(), key.end(), is_literal_column) ||
               may_be_chosen(table, index, c);
    }
    if (index.is_unique && std::all_of(key.begin(), key.end(), is_literal_column)) {
        return true;
    }
    columns prefix;
    for (const auto& k : index.keys) {
        if (!c.given.contains(k.column)) {
            break;
        }
        prefix.insert(k.column);
    }
    return std::all_of(c.literals.begin(), c.literals.end(), [&](const auto& literal) {
        return prefix.contains(literal.first);
    });
}

/// Its key has all of the literals' columns, and more.
bool is_too_wide(const object_facts& index, const constraints& c) {
    if (!index.predicate.empty() || index.method != "btree" ||
        index.keys.size() <= c.literals.size()) {
        return false;
    }
    return std::all_of(
               index.keys.begin(), index.keys.end(), [](const auto& k) { return k.column > 0; }
           ) &&
           std::all_of(c.literals.begin(), c.literals.end(), [&](const auto& literal) {
               return std::any_of(index.keys.begin(), index.keys.end(), [&](const auto& k) {
                   return k.column == literal.first;
               });
           });
}

const object_facts* too_wide_index(
    const object_facts& table, const server_facts& facts, const constraints& c
) {
    const object_facts* chosen = nullptr;
    for (const auto* const index : facts.indexes_of(table.oid)) {
        if (!index->is_valid) {
            continue;
        }
        if (can_search(table, *index, c)) {
            return nullptr;
        }
        if (is_too_wide(*index, c) &&
            (chosen == nullptr || index->keys.size() < chosen->keys.size())) {
            chosen = index;
        }
    }
    return chosen;
}

index_too_wide::finding describe(
    const object_facts& view,
    const object_facts& table,
    const object_facts& index,
    const constraints& c
) {
    index_too_wide::finding found;
    found.index = shown_name(index);
    found.view = shown_object(view);
    found.table = shown_name(table);
    found.sql_table = table.sql_name();
    for (const auto& k : index.keys) {
        const auto* const column = table.column(k.column);
        found.keys.push_back(column != nullptr ? column->name : k.expression);
    }
    for (const auto& [number, condition] : c.literals) {
        const auto* const column = table.column(number);
        found.columns.push_back(column != nullptr ? column->name : "");
        found.constraints += (found.constraints.empty() ? "" : " AND ") + condition;
    }
    found.facts = {
        view.schema,
        view.name,
        table.schema,
        table.name,
        index.name,
        column_list(found.keys),
        found.constraints};
    return found;
}

/// With the index chosen for each.
std::vector<std::pair<index_too_wide::finding, const object_facts*>> findings_of(
    const object_facts& view, const server_facts& facts
) {
    std::vector<std::pair<index_too_wide::finding, const object_facts*>> all;
    const view_reader reader{view, facts};
    for (std::size_t level = 0; level < reader.levels(); ++level) {
        const auto& sources = reader.level(level).sources;
        for (std::size_t source = 0; source < sources.size(); ++source) {
            const auto* const table = reader.relation(sources[source]);
            if (table == nullptr || table->kind == object_kind::view) {
                continue;
            }
            const auto c = constraints_of(reader, level, source);
            if (c.literals.empty()) {
                continue;
            }
            if (const auto* const index = too_wide_index(*table, facts, c)) {
                all.emplace_back(describe(view, *table, *index, c), index);
                all.back().first.dependencies = {table->oid};
            }
        }
    }
    return all;
}

}  // namespace

std::vector<index_too_wide::finding> index_too_wide::examine(
    const object_facts& object, const server_facts& facts
) {
    std::vector<finding> out;
    const bool is_index = object.kind == object_kind::index;
    if (is_index && (object.keys.size() < 2 || !object.predicate.empty())) {
        return {};
    }
    const auto views =
        is_index ? facts.views_of(object.table) : std::vector<const object_facts*>{&object};
    for (const auto* const view : views) {
        for (auto& [found, index] : findings_of(*view, facts)) {
            const bool is_newer = index->oid > view->oid;
            if (is_index != is_newer || (is_index && index->oid != object.oid)) {
                continue;
            }
            found.dependencies.push_back(is_index ? view->oid : index->oid);
            out.push_back(std::move(found));
        }
    }
    return out;
}

notice_text index_too_wide::render(const finding& found, redaction mode) {
    notice_text text;
    text.message = "index " + found.index + " is too wide for the literal constraints of " +
                   found.view + " on table " + found.table + ": " + shown(found.constraints, mode);
    text.hint = "The index is on (" + column_list(found.keys) + "), and no index begins with (" +
                column_list(found.columns) + "): the table or the whole index is read.";
    text.action = "CREATE INDEX ON " + found.sql_table + " (" + column_list(found.columns) + ");";
    text.action_type = action_type::sql_statements;
    return text;
}

}  // namespace signalbox::catalog
