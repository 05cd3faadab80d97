// What the notice types ask of a view's tree: which table's column an expression is, and what
// becomes of it.
#pragma once

#include "catalog/notices/facts.hpp"

#include <cstddef>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace signalbox::catalog {

/// A column of a relation in a view's FROM.
struct used_column {
    const object_facts* relation = nullptr;
    const column_facts* column = nullptr;
    std::size_t level = 0;
    std::size_t source = 0;

    bool operator==(const used_column&) const = default;

    [[nodiscard]] bool is_of(std::size_t of_level, std::size_t of_source) const noexcept {
        return level == of_level && source == of_source;
    }
};

/// left = right, within one level.
struct column_pair {
    used_column left;
    used_column right;
};

class view_reader {
public:
    /// Both stay with the caller. The view's query may be missing: then it has no levels.
    view_reader(const object_facts& view, const server_facts& facts) noexcept
        : query_(view.query.get()), facts_(facts) {}

    [[nodiscard]] std::size_t levels() const noexcept {
        return query_ == nullptr ? 0 : query_->levels.size();
    }

    [[nodiscard]] const parser::query_select& level(std::size_t at) const {
        return query_->levels[at];
    }

    /// Null: no relation, or one that the facts do not have.
    [[nodiscard]] const object_facts* relation(const parser::query_source& source) const noexcept;

    /// The column that the expression is, casts that change nothing left out.
    [[nodiscard]] std::optional<used_column> column_of(
        const parser::expression& what, std::size_t level
    ) const;

    /// Every column in it that can be told; sub-selects are not entered.
    [[nodiscard]] std::vector<used_column> columns_in(
        const parser::expression& what, std::size_t level
    ) const;

    /// Whether any column stands in it, told or not, or a sub-select.
    [[nodiscard]] static bool depends_on_rows(const parser::expression& what);

    /// What joins compare with =.
    [[nodiscard]] std::vector<column_pair> equalities(std::size_t level) const;

private:
    [[nodiscard]] std::optional<used_column> find(
        const parser::expression& column, std::size_t level
    ) const;
    [[nodiscard]] const column_facts* column_in(
        const parser::query_source& source, std::string_view name
    ) const;

    const parser::query* query_;
    const server_facts& facts_;
};

/// A literal, or an array of literals, casts included.
bool is_literal(const parser::expression& what);

/// A comparison with two sides.
bool is_comparison(const parser::expression& what) noexcept;

/// One of the server's own common aggregates.
bool is_aggregate(const parser::expression& what) noexcept;

/// One of the server's own common functions that give one value; for their immutable forms see
/// catalog/notices/types/function_on_indexed_column.cpp.
bool is_scalar_function(const parser::expression& what) noexcept;

/// SQL, or `…` for what cannot be written on its own.
std::string sql_or_dots(const parser::expression& what);

/// As messages name it: "schema.name".
std::string shown_name(const object_facts& object);

/// The same with its kind before it: view "s.v". What has no name is a client's query.
std::string shown_object(const object_facts& object);

/// The names as a list in SQL.
std::string column_list(const std::vector<std::string>& names);

}  // namespace signalbox::catalog
