// Facts as a server would give them, made by hand.
#pragma once

#include "catalog/notices/facts_sql.hpp"
#include "catalog/notices/types.hpp"

#include <algorithm>
#include <string>
#include <vector>

namespace signalbox::catalog {

/// Objects in schema s, made in order. Definitions are the server's text.
class notice_world {
public:
    /// Columns are "name", "name type", or "name type!" where it is NOT NULL. The type is int4.
    object_oid table(const std::string& name, const std::vector<std::string>& columns) {
        auto& made = add(object_kind::table, name);
        set_columns(made, columns);
        return made.oid;
    }

    /// Keys are columns, else expressions.
    object_oid index(
        object_oid table, const std::string& name, const std::vector<std::string>& keys
    ) {
        auto& made = add(object_kind::index, name);
        made.table = table;
        made.method = "btree";
        made.definition = "CREATE INDEX " + name;
        made.dependencies = {table};
        for (const auto& text : keys) {
            index_key key;
            key.expression = text;
            if (const auto* const column = facts_.find(table)->column(text)) {
                key.column = column->number;
            }
            key.operator_class = "pg_catalog.int4_ops";
            made.keys.push_back(key);
        }
        return made.oid;
    }

    object_oid view(
        const std::string& name,
        const std::string& definition,
        const std::vector<object_oid>& reads,
        const std::vector<std::string>& columns = {},
        object_kind kind = object_kind::view
    ) {
        auto& made = add(kind, name);
        made.definition = definition;
        made.dependencies = reads;
        set_columns(made, columns);
        return made.oid;
    }

    object_facts& operator[](object_oid oid) { return *facts_.edit(oid); }

    server_facts& facts() { return facts_; }

    std::vector<notice> notices() {
        parse();
        return examine_all(facts_, {"main", "app"});
    }

    /// The messages of all notices.
    std::vector<std::string> messages() {
        std::vector<std::string> out;
        for (const auto& n : notices()) {
            out.push_back(n.text.message);
        }
        return out;
    }

    /// As facts_reader::finish() does.
    void parse() {
        for (const auto& [oid, object] : facts_.objects()) {
            auto& mine = *facts_.edit(oid);
            const auto tree = [](const std::string& sql) {
                auto parsed = parser::parse_expression(sql);
                return parsed ? std::make_shared<const parser::expression>(std::move(*parsed))
                              : nullptr;
            };
            if (object.is_view()) {
                if (auto query = parser::parse_query(object.definition)) {
                    mine.query = std::make_shared<const parser::query>(std::move(*query));
                }
            }
            for (auto& key : mine.keys) {
                key.tree = key.column == 0 ? tree(key.expression) : nullptr;
            }
            mine.predicate_tree = mine.predicate.empty() ? nullptr : tree(mine.predicate);
        }
        facts_.finish();
    }

private:
    object_facts& add(object_kind kind, const std::string& name) {
        object_facts object;
        object.oid = next_++;
        object.kind = kind;
        object.schema = "s";
        object.name = name;
        object.is_examined = kind != object_kind::table;
        return facts_.add(std::move(object));
    }

    static void set_columns(object_facts& object, const std::vector<std::string>& columns) {
        for (const auto& text : columns) {
            column_facts column;
            column.number = static_cast<int>(object.columns.size()) + 1;
            const auto blank = std::min(text.find(' '), text.size());
            column.name = text.substr(0, blank);
            column.type = blank == text.size() ? "int4" : text.substr(blank + 1);
            column.is_not_null = column.type.back() == '!';
            if (column.is_not_null) {
                column.type.pop_back();
            }
            object.columns.push_back(column);
        }
    }

    server_facts facts_;
    object_oid next_ = 20'000;
};

}  // namespace signalbox::catalog
