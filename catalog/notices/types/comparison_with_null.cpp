#include "catalog/notices/types/comparison_with_null.hpp"

#include "catalog/notices/views.hpp"

#include <algorithm>

namespace signalbox::catalog {
namespace {

using parser::expression;
using parser::expression_kind;

bool is_null(const expression& what) {
    return what.kind == expression_kind::null ||
           (what.kind == expression_kind::cast && is_null(what.arguments.front()));
}

/// NOT IN (1, NULL): as one of the list is not equal, it is NULL or false.
bool has_null(const expression& what) {
    if (what.kind == expression_kind::cast) {
        return has_null(what.arguments.front());
    }
    return what.kind == expression_kind::array &&
           std::any_of(what.arguments.begin(), what.arguments.end(), is_null);
}

std::optional<comparison_with_null::finding> find_in(const expression& e) {
    comparison_with_null::finding found;
    if (e.kind == expression_kind::all && e.name == "<>" && e.arguments.size() == 2 &&
        has_null(e.arguments[1])) {
        found.comparison =
            sql_or_dots(e.arguments[0]) + " <> ALL (" + sql_or_dots(e.arguments[1]) + ")";
    } else if (is_comparison(e) && (is_null(e.arguments[0]) || is_null(e.arguments[1]))) {
        found.comparison =
            sql_or_dots(e.arguments[0]) + " " + e.name + " " + sql_or_dots(e.arguments[1]);
        const bool is_inequality = e.name == "<>" || e.name == "!=";
        if (e.name == "=" || is_inequality) {
            const auto& other = is_null(e.arguments[0]) ? e.arguments[1] : e.arguments[0];
            found.instead = sql_or_dots(other) + (is_inequality ? " IS NOT NULL" : " IS NULL");
        }
    } else {
        return std::nullopt;
    }
    found.facts = {found.comparison};
    return found;
}

}  // namespace

std::vector<comparison_with_null::finding> comparison_with_null::examine(
    const object_facts& object, const server_facts& /*facts*/
) {
    std::vector<finding> out;
    const auto visit = [&](const expression& e) {
        if (auto found = find_in(e)) {
            found->object = shown_object(object);
            found->dependencies = object.dependencies;
            out.push_back(std::move(*found));
        }
    };
    if (object.query != nullptr) {
        for (const auto& level : object.query->levels) {
            parser::for_each_expression(level, visit);
        }
    }
    for (const auto& key : object.keys) {
        if (key.tree != nullptr) {
            parser::for_each_expression(*key.tree, visit);
        }
    }
    if (object.predicate_tree != nullptr) {
        parser::for_each_expression(*object.predicate_tree, visit);
    }
    return out;
}

notice_text comparison_with_null::render(const finding& found, redaction mode) {
    const auto comparison = shown(found.comparison, mode);
    notice_text text;
    text.message = found.object + " compares with NULL: " + comparison + " is never true";
    text.hint = "An operator that gets NULL gives NULL, which a condition takes as false.";
    text.action = found.instead.empty()
                      ? "Take the NULL out of " + comparison + "."
                      : "Write " + shown(found.instead, mode) + " instead of " + comparison + ".";
    return text;
}

}  // namespace signalbox::catalog
