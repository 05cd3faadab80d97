#include "parser/relation_tree.hpp"

#include "parser/tree.hpp"

#include <pg_query/pg_query.pb-c.h>

#include <algorithm>
#include <array>
#include <limits>
#include <set>
#include <tuple>
#include <utility>

namespace signalbox::parser {
namespace {

constexpr std::size_t nowhere = std::numeric_limits<std::size_t>::max();

/// A SELECT, INSERT, UPDATE, DELETE or MERGE: what its column references may mean, and which of its
/// items are locked.
struct scope {
    std::size_t parent = nowhere;
    bool is_item = false;                  // of its parent's FROM …
    std::string_view alias;                // … under this name
    bool locks_all = false;                // FOR UPDATE
    std::vector<std::string_view> locked;  // FOR UPDATE OF
    std::vector<std::size_t> read;         // relations without an alias
};

/// A message on the way down.
struct step {
    tree_message m;
    const ProtobufCMessageDescriptor* owner = nullptr;  // that has it, but for Nodes
    std::string_view field;                             // of the owner
    std::size_t scope = nowhere;
    relation_role query = relation_role::read;  // what becomes of the query around it
    bool is_item = false;                       // a query in FROM …
    std::string_view alias;                     // … and its alias
    bool is_copied_from = false;                // COPY … FROM
};

struct relation_at_scope {
    named_relation relation;
    std::size_t scope = nowhere;
    std::string_view alias;
};

struct column_at_scope {
    qualified_column column;
    std::size_t scope = nowhere;
};

std::size_t location(const tree_field& f) noexcept {
    const auto at = static_cast<std::int32_t>(f.number);
    return at < 0 ? nowhere : static_cast<std::size_t>(at);
}

bool opens_scope(const step& s) noexcept {
    if (s.m.is(pg_query__select_stmt__descriptor)) {
        // The two sides of a UNION belong to the statement that it is.
        return s.field != "larg" && s.field != "rarg";
    }
    return s.m.is(pg_query__insert_stmt__descriptor) || s.m.is(pg_query__update_stmt__descriptor) ||
           s.m.is(pg_query__delete_stmt__descriptor) || s.m.is(pg_query__merge_stmt__descriptor);
}

/// What becomes of a query within `m`.
relation_role query_role(const tree_message& m) noexcept {
    if (m.is(pg_query__prepare_stmt__descriptor)) {
        return relation_role::prepared;
    }
    const bool is_materialized_view =
        m.is(pg_query__create_table_as_stmt__descriptor) &&
        field_of(m, "objtype").number == PG_QUERY__OBJECT_TYPE__OBJECT_MATVIEW;
    return is_materialized_view || only_defines(m) ? relation_role::stored : relation_role::read;
}

/// Objects that these statements name by a list of strings: DROP TABLE a.b, COMMENT ON COLUMN
/// a.b.c, DROP TRIGGER c ON a.b.
bool names_by_list(const ProtobufCMessageDescriptor* owner) noexcept {
    static const std::array owners{
        &pg_query__drop_stmt__descriptor,
        &pg_query__comment_stmt__descriptor,
        &pg_query__sec_label_stmt__descriptor,
        &pg_query__rename_stmt__descriptor,
        &pg_query__alter_owner_stmt__descriptor,
        &pg_query__alter_object_schema_stmt__descriptor,
        &pg_query__alter_object_depends_stmt__descriptor,
        &pg_query__alter_extension_contents_stmt__descriptor};
    return std::find(owners.begin(), owners.end(), owner) != owners.end();
}

class tree_walk {
public:
    explicit tree_walk(const relation_predicate& is_wanted) : is_wanted_(is_wanted) {}

    relation_names walk(std::string_view tree) {
        step root;
        root.m = {&pg_query__parse_result__descriptor, tree};
        open_.push_back(root);
        while (!open_.empty()) {
            auto s = open_.back();
            open_.pop_back();
            enter(s);
            push_children(s);
        }
        mark_locked();
        resolve_columns();
        for (auto& r : relations_) {
            found_.relations.push_back(std::move(r.relation));
        }
        const auto by_offset = [](const auto& a, const auto& b) {
            return a.range.offset < b.range.offset;
        };
        std::sort(found_.relations.begin(), found_.relations.end(), by_offset);
        std::sort(found_.columns.begin(), found_.columns.end(), by_offset);
        // The source of SET (a, b) = (…) is in the tree once for each of the columns.
        const auto keep_once = [](auto& list) {
            list.erase(std::unique(list.begin(), list.end()), list.end());
        };
        keep_once(found_.relations);
        keep_once(found_.columns);
        return std::move(found_);
    }

private:
    void enter(step& s) {
        if (opens_scope(s)) {
            scopes_.push_back({s.scope, s.is_item, s.alias, false, {}, {}});
            s.scope = scopes_.size() - 1;
        }
        if (s.query == relation_role::read) {
            s.query = query_role(s.m);
        }
        if (s.m.is(pg_query__range_var__descriptor)) {
            on_relation(s);
        } else if (s.m.is(pg_query__column_ref__descriptor)) {
            on_column(s);
        } else if (s.m.is(pg_query__locking_clause__descriptor)) {
            on_locking(s);
        } else if (s.m.is(pg_query__list__descriptor) && names_by_list(s.owner)) {
            on_name_list(s);
        } else if (s.m.is(pg_query__alias__descriptor)) {
            visible_.push_back(field_of(s.m, "aliasname").bytes);
        } else if (s.m.is(pg_query__copy_stmt__descriptor)) {
            found_.is_copy = true;
        } else if (s.m.is(pg_query__param_ref__descriptor)) {
            const auto number = static_cast<std::int32_t>(field_of(s.m, "number").number);
            found_.highest_parameter =
                std::max(found_.highest_parameter, static_cast<std::size_t>(std::max(number, 0)));
        }
    }

    void push_children(const step& s) {
        const bool is_node = s.m.is(pg_query__node__descriptor);
        const bool is_subselect = s.m.is(pg_query__range_subselect__descriptor);
        const bool is_copied_from =
            s.m.is(pg_query__copy_stmt__descriptor) && field_of(s.m, "is_from").number != 0;
        const auto alias = is_subselect ? alias_of(s.m) : std::string_view{};
        for (tree_reader in{s.m}; !in.at_end();) {
            const auto f = in.next();
            if (!f.is_message()) {
                continue;
            }
            step child = s;
            child.m = {f.type(), f.bytes};
            if (!is_node) {
                child.owner = s.m.type;
                child.field = f.name();
                child.is_item = is_subselect && f.name() == "subquery";
                child.alias = alias;
                child.is_copied_from = is_copied_from;
            }
            open_.push_back(child);
        }
    }

    static std::string_view alias_of(const tree_message& m) noexcept {
        const auto alias = field_of(m, "alias");
        return alias.is_message() ? field_of({alias.type(), alias.bytes}, "aliasname").bytes
                                  : std::string_view{};
    }

    static bool is_item_of_from(const step& s) noexcept {
        const auto is = [&](const ProtobufCMessageDescriptor& owner, std::string_view field) {
            return s.owner == &owner && s.field == field;
        };
        return is(pg_query__select_stmt__descriptor, "from_clause") ||
               is(pg_query__update_stmt__descriptor, "from_clause") ||
               is(pg_query__delete_stmt__descriptor, "using_clause") ||
               is(pg_query__merge_stmt__descriptor, "source_relation") ||
               is(pg_query__join_expr__descriptor, "larg") ||
               is(pg_query__join_expr__descriptor, "rarg");
    }

    static relation_role role_of(const step& s) noexcept {
        if (is_item_of_from(s)) {
            return s.query;
        }
        if (s.owner == &pg_query__range_table_sample__descriptor) {
            return relation_role::sampled;
        }
        return s.owner == &pg_query__copy_stmt__descriptor && !s.is_copied_from
                   ? relation_role::copied
                   : relation_role::changed;
    }

    void on_relation(const step& s) {
        if (s.owner == &pg_query__locking_clause__descriptor) {
            return;  // FOR UPDATE OF takes no schema: the server says so
        }
        named_relation found;
        bool has_database = false;
        for (tree_reader in{s.m}; !in.at_end();) {
            const auto f = in.next();
            if (f.name() == "catalogname") {
                has_database = true;
            } else if (f.name() == "schemaname") {
                found.schema = f.bytes;
            } else if (f.name() == "relname") {
                found.name = f.bytes;
            } else if (f.name() == "location") {
                found.range.offset = location(f);
            }
        }
        const auto alias = alias_of(s.m);
        found.has_alias = !alias.empty();
        if (!has_database && !found.schema.empty() && is_wanted_(found.schema, found.name)) {
            found.role = role_of(s);
            if (s.scope != nowhere && alias.empty() && found.role != relation_role::changed) {
                scopes_[s.scope].read.push_back(relations_.size());
            }
            relations_.push_back({std::move(found), s.scope, alias});
        } else if (alias.empty()) {
            visible_.push_back(field_of(s.m, "relname").bytes);
        }
    }

    void on_name_list(const step& s) {
        std::vector<std::string_view> parts;
        for (tree_reader in{s.m}; !in.at_end();) {
            parts.push_back(string_in(in.next().bytes));
        }
        if (parts.size() >= 2 && is_wanted_(parts[0], parts[1])) {
            named_relation found;
            found.schema = parts[0];
            found.name = parts[1];
            found.role = relation_role::changed;
            relations_.push_back({std::move(found), s.scope, {}});
        }
    }

    void on_column(const step& s) {
        std::vector<std::string_view> names;
        std::size_t at = 0;
        for (tree_reader in{s.m}; !in.at_end();) {
            const auto f = in.next();
            if (f.name() == "fields") {
                names.push_back(string_in(f.bytes));
            } else if (f.name() == "location") {
                at = location(f);
            }
        }
        if (names.size() == 3 && is_wanted_(names[0], names[1])) {
            columns_.push_back(
                {{std::string{names[0]}, std::string{names[1]}, {at, 0}, false}, s.scope}
            );
        }
    }

    void on_locking(const step& s) {
        if (s.scope == nowhere) {
            return;
        }
        auto& locking = scopes_[s.scope];
        bool has_list = false;
        for (tree_reader in{s.m}; !in.at_end();) {
            const auto f = in.next();
            if (f.name() == "locked_rels") {
                has_list = true;
                locking.locked.push_back(field_of(in_node(f.bytes), "relname").bytes);
            }
        }
        locking.locks_all = locking.locks_all || !has_list;
    }

    /// FOR UPDATE reaches into the queries in FROM, not into those in expressions and in WITH.
    void mark_locked() {
        for (auto& [relation, at, alias] : relations_) {
            if (relation.role != relation_role::read) {
                continue;
            }
            std::string_view name = alias.empty() ? relation.name : alias;
            for (auto i = at; i != nowhere; i = scopes_[i].parent) {
                const auto& s = scopes_[i];
                if (s.locks_all ||
                    std::find(s.locked.begin(), s.locked.end(), name) != s.locked.end()) {
                    relation.role = relation_role::locked;
                }
                if (!s.is_item) {
                    break;
                }
                name = s.alias;
            }
        }
    }

    /// Whether the statement at `from`, or one around it, reads the relation without an alias.
    [[nodiscard]] bool is_visible(const qualified_column& column, std::size_t from) const {
        for (auto i = from; i != nowhere; i = scopes_[i].parent) {
            const auto& read = scopes_[i].read;
            const bool has_it = std::any_of(read.begin(), read.end(), [&](std::size_t at) {
                const auto& relation = relations_[at].relation;
                return relation.schema == column.schema && relation.name == column.name;
            });
            if (has_it) {
                return true;
            }
        }
        return false;
    }

    /// The names under which relations of the two schemas are visible count too.
    [[nodiscard]] bool is_ambiguous(const qualified_column& column) const {
        return std::find(visible_.begin(), visible_.end(), column.name) != visible_.end() ||
               std::any_of(relations_.begin(), relations_.end(), [&](const auto& r) {
                   return !r.relation.has_alias && r.relation.name == column.name &&
                          r.relation.schema != column.schema;
               });
    }

    void resolve_columns() {
        for (auto& [column, at] : columns_) {
            if (is_visible(column, at)) {
                column.is_ambiguous = is_ambiguous(column);
                found_.columns.push_back(std::move(column));
            }
        }
    }

    const relation_predicate& is_wanted_;
    std::vector<step> open_;
    std::vector<scope> scopes_;
    std::vector<relation_at_scope> relations_;
    std::vector<column_at_scope> columns_;
    std::vector<std::string_view> visible_;  // names of tables without alias, and aliases
    relation_names found_;
};

}  // namespace

relation_names relations_in_tree(std::string_view tree, const relation_predicate& is_wanted) {
    return tree_walk{is_wanted}.walk(tree);
}

std::optional<std::vector<relation_name>> all_relations_in_tree(std::string_view tree) {
    std::vector<relation_name> found;
    std::set<std::string_view> ctes;
    std::size_t statements = 0;
    std::vector<tree_message> open{{&pg_query__parse_result__descriptor, tree}};
    while (!open.empty()) {
        const auto m = open.back();
        open.pop_back();
        statements += m.is(pg_query__raw_stmt__descriptor) ? 1 : 0;
        if (m.is(pg_query__range_var__descriptor)) {
            found.push_back(
                {std::string{field_of(m, "schemaname").bytes},
                 std::string{field_of(m, "relname").bytes}}
            );
        } else if (m.is(pg_query__common_table_expr__descriptor)) {
            ctes.insert(field_of(m, "ctename").bytes);
        }
        for (tree_reader in{m}; !in.at_end();) {
            if (const auto f = in.next(); f.is_message()) {
                open.push_back({f.type(), f.bytes});
            }
        }
    }
    if (statements != 1) {
        return std::nullopt;
    }
    std::erase_if(found, [&](const relation_name& each) {
        return each.schema.empty() && ctes.contains(each.name);
    });
    const auto by_name = [](const relation_name& a, const relation_name& b) {
        return std::tie(a.schema, a.name) < std::tie(b.schema, b.name);
    };
    std::sort(found.begin(), found.end(), by_name);
    found.erase(std::unique(found.begin(), found.end()), found.end());
    return found;
}

}  // namespace signalbox::parser
