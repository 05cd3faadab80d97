// What a server's catalogs say about views, indexes and their tables: all that notices are found
// from.
//
// catalog/notices/facts_sql.hpp has the queries and makes these values from their rows. Definitions
// are the server's own text, written with search_path = pg_catalog: every name outside pg_catalog
// carries its schema.
#pragma once

#include "parser/query.hpp"

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace signalbox::catalog {

using object_oid = std::uint32_t;

enum class object_kind : std::uint8_t { table, view, materialized_view, index };

/// As in mz_objects.type: table, view, materialized-view, index.
std::string_view kind_name(object_kind kind) noexcept;

struct column_facts {
    int number = 0;  // pg_attribute.attnum
    std::string name;
    std::string type;  // pg_type.typname; of a domain, that of the type below it
    bool is_not_null = false;

    bool operator==(const column_facts&) const = default;
};

struct index_key {
    int column = 0;          // of the table; 0 = an expression
    std::string expression;  // SQL; a column's name as SQL
    std::string operator_class;
    std::string operator_class_options;
    std::string collation;
    bool is_descending = false;
    bool nulls_first = false;
    std::shared_ptr<const parser::expression> tree;  // of an expression, null if it cannot be read

    /// The tree is the expression once more.
    bool operator==(const index_key& other) const;
};

struct foreign_key {
    std::string name;
    object_oid referenced = 0;
    std::vector<int> columns;
    std::vector<int> referenced_columns;  // beside the columns
};

struct object_facts {
    object_oid oid = 0;
    object_kind kind = object_kind::table;
    std::string schema;
    std::string name;
    std::string owner;
    std::string definition;             // "" for a table
    std::vector<column_facts> columns;  // of all but indexes, in their order
    std::vector<object_oid> dependencies;
    bool is_examined = false;  // a view or index that belongs to no extension and no parent index

    // A view or materialized view; null: its definition could not be read.
    std::shared_ptr<const parser::query> query;

    // A table.
    std::vector<foreign_key> foreign_keys;

    // An index.
    object_oid table = 0;
    std::string method;
    std::vector<index_key> keys;
    std::vector<int> included;                                 // columns of the table
    std::string predicate;                                     // SQL
    std::shared_ptr<const parser::expression> predicate_tree;  // null if it cannot be read
    bool is_unique = false;
    bool is_primary = false;
    bool is_exclusion = false;
    bool is_valid = true;
    bool is_immediate = true;
    bool nulls_are_distinct = true;
    bool is_replica_identity = false;
    bool is_referenced = false;  // by a foreign key
    std::string constraint;      // that it belongs to

    [[nodiscard]] bool is_view() const noexcept {
        return kind == object_kind::view || kind == object_kind::materialized_view;
    }

    /// schema.name as SQL.
    [[nodiscard]] std::string sql_name() const;

    [[nodiscard]] const column_facts* column(std::string_view called) const noexcept;
    [[nodiscard]] const column_facts* column(int number) const noexcept;
};

/// The objects of one database, or those around one of them. Look-ups cost a map's.
class server_facts {
public:
    /// Not after a look-up.
    object_facts& add(object_facts object);
    object_facts* edit(object_oid oid) noexcept;
    void add_binary_cast(std::string from, std::string to);

    /// Where the operator class gin_trgm_ops is.
    std::optional<std::string> trigram_schema;

    [[nodiscard]] const object_facts* find(object_oid oid) const noexcept;
    /// A table, view or materialized view.
    [[nodiscard]] const object_facts* relation(std::string_view schema, std::string_view name)
        const noexcept;
    [[nodiscard]] std::vector<const object_facts*> indexes_of(object_oid table) const;
    /// The views and materialized views that read it.
    [[nodiscard]] std::vector<const object_facts*> views_of(object_oid table) const;
    /// A value of the one type is one of the other as it lies, and an index serves both.
    [[nodiscard]] bool is_binary_coercible(std::string_view from, std::string_view to) const;

    [[nodiscard]] const std::map<object_oid, object_facts>& objects() const noexcept {
        return objects_;
    }

    /// Makes the look-ups of what was added.
    void finish();

private:
    std::map<object_oid, object_facts> objects_;
    std::map<std::pair<std::string, std::string>, object_oid> relations_;
    std::multimap<object_oid, object_oid> indexes_;
    std::multimap<object_oid, object_oid> views_;
    std::set<std::pair<std::string, std::string>> casts_;
};

}  // namespace signalbox::catalog
