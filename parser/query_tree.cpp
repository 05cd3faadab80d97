#include "parser/query_tree.hpp"

#include "parser/quoting.hpp"
#include "parser/tree.hpp"

#include <pg_query/pg_query.pb-c.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <utility>

namespace signalbox::parser {
namespace {

/// A level of nesting is up to three calls, each of a few hundred bytes of stack.
constexpr std::size_t max_depth = 400;

class too_deep {};

/// Counts how deep the walk is, and ends it in time.
class nesting {
public:
    explicit nesting(std::size_t& depth) : depth_(depth) {
        if (++depth_ > max_depth) {
            --depth_;
            throw too_deep{};
        }
    }

    ~nesting() { --depth_; }

    nesting(const nesting&) = delete;
    nesting& operator=(const nesting&) = delete;

private:
    std::size_t& depth_;
};

tree_message message_in(const tree_field& f) noexcept {
    return f.is_message() ? tree_message{f.type(), f.bytes} : tree_message{};
}

tree_message child(const tree_message& m, std::string_view name) noexcept {
    return message_in(field_of(m, name));
}

/// What the Node in that field holds.
tree_message node_child(const tree_message& m, std::string_view name) noexcept {
    const auto f = field_of(m, name);
    return f.is_message() ? in_node(f.bytes) : tree_message{};
}

std::vector<tree_message> nodes_of(const tree_message& m, std::string_view name) {
    std::vector<tree_message> found;
    if (m.type == nullptr) {
        return found;
    }
    for (tree_reader in{m}; !in.at_end();) {
        const auto f = in.next();
        if (f.name() == name && f.is_message()) {
            found.push_back(in_node(f.bytes));
        }
    }
    return found;
}

std::vector<std::string> strings_of(const tree_message& m, std::string_view name) {
    std::vector<std::string> found;
    for (const auto& node : nodes_of(m, name)) {
        if (node.is(pg_query__string__descriptor)) {
            found.emplace_back(tree_reader{node}.next().bytes);
        }
    }
    return found;
}

bool has(const tree_message& m, std::string_view name) noexcept {
    return field_of(m, name).about != nullptr;
}

/// As the server writes the types that the grammar names otherwise.
std::string type_word(const std::string& name) {
    using pair = std::pair<std::string_view, std::string_view>;
    static constexpr std::array<pair, 10> words{
        pair{"bool", "boolean"},
        pair{"float4", "real"},
        pair{"float8", "double precision"},
        pair{"int2", "smallint"},
        pair{"int4", "integer"},
        pair{"int8", "bigint"},
        pair{"timestamp", "timestamp without time zone"},
        pair{"timestamptz", "timestamp with time zone"},
        pair{"timetz", "time with time zone"},
        pair{"varchar", "character varying"}};
    for (const auto& [from, to] : words) {
        if (name == from) {
            return std::string{to};
        }
    }
    return quoted_name(name);
}

struct type_name {
    std::string sql;
    std::string name;  // as pg_type has it
    bool is_plain = true;
};

type_name read_type(const tree_message& m) {
    type_name type;
    const auto names = strings_of(m, "names");
    if (names.empty()) {
        return {.sql = {}, .name = {}, .is_plain = false};
    }
    const bool is_system = names.size() == 1 || names.front() == "pg_catalog";
    type.sql = is_system ? type_word(names.back())
                         : quoted_name(names.front()) + "." + quoted_name(names.back());
    type.name = names.back();
    std::string modifiers;
    for (const auto& modifier : nodes_of(m, "typmods")) {
        const auto number = child(modifier, "ival");
        if (!modifier.is(pg_query__a__const__descriptor) || number.type == nullptr) {
            type.is_plain = false;
            continue;
        }
        modifiers += modifiers.empty() ? "" : ",";
        modifiers += std::to_string(static_cast<std::int32_t>(field_of(number, "ival").number));
    }
    // timestamp(3) without time zone, interval day: the modifier stands within.
    if (!modifiers.empty()) {
        type.is_plain =
            type.is_plain && type.name.find("time") == std::string::npos && type.name != "interval";
        type.sql += "(" + modifiers + ")";
    }
    if (has(m, "array_bounds")) {
        type.sql += "[]";
        type.name.insert(0, 1, '_');
    }
    return type;
}

class query_reader {
public:
    query read(const tree_message& statement) {
        read_select(statement, no_level);
        return std::move(found_);
    }

private:
    std::size_t read_select(const tree_message& m, std::size_t parent, bool is_in_exists = false) {
        const nesting deeper{depth_};
        const auto at = found_.levels.size();
        found_.levels.emplace_back();
        // The list of levels grows meanwhile: this one is put in its place at the end.
        query_select level;
        level.parent = parent;
        level.is_in_exists = is_in_exists;
        found_.levels[at].parent = parent;
        const auto op = field_of(m, "op").number;
        if (op > PG_QUERY__SET_OPERATION__SETOP_NONE) {
            static constexpr std::array<std::string_view, 5> words{
                "", "", "UNION", "INTERSECT", "EXCEPT"};
            level.operation = op < words.size() ? words[op] : "";
            level.keeps_duplicates = field_of(m, "all").number != 0;
            for (const auto* const side : {"larg", "rarg"}) {
                if (const auto s = child(m, side); s.type != nullptr) {
                    level.sides.push_back(read_select(s, parent, is_in_exists));
                }
            }
        }
        for (tree_reader in{m}; !in.at_end();) {
            const auto f = in.next();
            if (f.is_message() && f.name() != "larg" && f.name() != "rarg") {
                read_clause(level, at, f);
            }
        }
        found_.levels[at] = std::move(level);
        return at;
    }

    void read_clause(query_select& level, std::size_t at, const tree_field& f) {
        const auto name = f.name();
        if (name == "with_clause") {
            for (const auto& cte : nodes_of(message_in(f), "ctes")) {
                level.others.push_back(read(cte, at));
            }
            return;
        }
        const auto node = in_node(f.bytes);
        if (name == "target_list") {
            level.targets.push_back(
                {std::string{field_of(node, "name").bytes}, read(node_child(node, "val"), at)}
            );
        } else if (name == "from_clause") {
            read_source(level, at, node, false);
        } else if (name == "where_clause") {
            std::vector<std::size_t> all(level.sources.size());
            for (std::size_t i = 0; i < all.size(); ++i) {
                all[i] = i;
            }
            add_conditions(level, read(node, at), all, true);
        } else if (name == "group_clause") {
            level.is_grouped = true;
            level.group_by.push_back(read(node, at));
        } else if (name == "limit_count") {
            level.limit = read(node, at);
            level.others.push_back(*level.limit);
        } else {
            level.is_grouped = level.is_grouped || name == "having_clause";
            level.is_ordered = level.is_ordered || name == "sort_clause";
            level.is_distinct =
                level.is_distinct || (name == "distinct_clause" && node.type == nullptr);
            level.others.push_back(read(node, at));
        }
    }

    static void add_conditions(
        query_select& level, expression what, const std::vector<std::size_t>& restricts, bool where
    ) {
        if (what.kind == expression_kind::conjunction) {
            for (auto& part : what.arguments) {
                add_conditions(level, std::move(part), restricts, where);
            }
            return;
        }
        level.conditions.push_back({std::move(what), restricts, where});
    }

    /// Returns the sources added.
    std::vector<std::size_t> read_source(
        query_select& level, std::size_t at, const tree_message& m, bool may_be_missing
    ) {
        const nesting deeper{depth_};
        if (m.is(pg_query__join_expr__descriptor)) {
            return read_join(level, at, m, may_be_missing);
        }
        if (m.is(pg_query__range_table_sample__descriptor)) {
            level.others.push_back(read_children(m, at, "relation"));
            return read_source(level, at, node_child(m, "relation"), may_be_missing);
        }
        query_source source;
        source.may_be_missing = may_be_missing;
        const auto alias = child(m, "alias");
        if (alias.type != nullptr) {
            source.alias = field_of(alias, "aliasname").bytes;
            source.column_aliases = strings_of(alias, "colnames");
        }
        if (m.is(pg_query__range_var__descriptor)) {
            source.schema = field_of(m, "schemaname").bytes;
            source.relation = field_of(m, "relname").bytes;
            if (source.alias.empty()) {
                source.alias = source.relation;
            }
        } else if (m.is(pg_query__range_subselect__descriptor)) {
            const auto inner = node_child(m, "subquery");
            if (inner.is(pg_query__select_stmt__descriptor)) {
                source.level = read_select(inner, at);
            }
        } else {
            level.others.push_back(read_children(m, at, "alias"));
        }
        level.sources.push_back(std::move(source));
        return {level.sources.size() - 1};
    }

    std::vector<std::size_t> read_join(
        query_select& level, std::size_t at, const tree_message& m, bool may_be_missing
    ) {
        const auto type = field_of(m, "jointype").number;
        const bool fills_left =
            type == PG_QUERY__JOIN_TYPE__JOIN_RIGHT || type == PG_QUERY__JOIN_TYPE__JOIN_FULL;
        const bool fills_right =
            type == PG_QUERY__JOIN_TYPE__JOIN_LEFT || type == PG_QUERY__JOIN_TYPE__JOIN_FULL;
        auto left = read_source(level, at, node_child(m, "larg"), may_be_missing || fills_left);
        const auto right =
            read_source(level, at, node_child(m, "rarg"), may_be_missing || fills_right);
        for (auto& column : strings_of(m, "using_clause")) {
            level.usings.push_back({std::move(column), left, right});
        }
        // What ON says about the side that is kept whole chooses none of its rows.
        std::vector<std::size_t> restricts;
        if (type == PG_QUERY__JOIN_TYPE__JOIN_INNER || type == PG_QUERY__JOIN_TYPE__JOIN_RIGHT) {
            restricts = left;
        }
        if (type == PG_QUERY__JOIN_TYPE__JOIN_INNER || type == PG_QUERY__JOIN_TYPE__JOIN_LEFT) {
            restricts.insert(restricts.end(), right.begin(), right.end());
        }
        if (const auto on = node_child(m, "quals"); on.type != nullptr) {
            add_conditions(level, read(on, at), restricts, false);
        }
        left.insert(left.end(), right.begin(), right.end());
        if (const auto alias = child(m, "alias"); alias.type != nullptr) {
            // Its columns are known by this name alone, and which source has one is not: those of
            // no source match.
            for (const auto i : left) {
                level.sources[i].alias.clear();
            }
        }
        return left;
    }

    expression read_all(const std::vector<tree_message>& nodes, std::size_t at, expression into) {
        for (const auto& node : nodes) {
            into.arguments.push_back(read(node, at));
        }
        return into;
    }

    /// `other`: everything below, but for one field.
    expression read_children(const tree_message& m, std::size_t at, std::string_view but = {}) {
        expression found;
        if (m.type == nullptr) {
            return found;
        }
        for (tree_reader in{m}; !in.at_end();) {
            const auto f = in.next();
            if (f.is_message() && f.name() != but) {
                const auto below = message_in(f);
                found.arguments.push_back(
                    read(below.is(pg_query__node__descriptor) ? in_node(f.bytes) : below, at)
                );
            }
        }
        return found;
    }

    expression read(const tree_message& m, std::size_t at) {
        const nesting deeper{depth_};
        if (m.is(pg_query__column_ref__descriptor)) {
            return read_column(m);
        }
        if (m.is(pg_query__a__const__descriptor)) {
            return read_constant(m);
        }
        if (m.is(pg_query__type_cast__descriptor)) {
            return read_cast(m, at);
        }
        if (m.is(pg_query__a__expr__descriptor)) {
            return read_operation(m, at);
        }
        if (m.is(pg_query__bool_expr__descriptor)) {
            const auto op = field_of(m, "boolop").number;
            expression found;
            found.kind = op == PG_QUERY__BOOL_EXPR_TYPE__AND_EXPR  ? expression_kind::conjunction
                         : op == PG_QUERY__BOOL_EXPR_TYPE__OR_EXPR ? expression_kind::disjunction
                                                                   : expression_kind::negation;
            return read_all(nodes_of(m, "args"), at, std::move(found));
        }
        if (m.is(pg_query__null_test__descriptor)) {
            expression found;
            found.kind = field_of(m, "nulltesttype").number == PG_QUERY__NULL_TEST_TYPE__IS_NULL
                             ? expression_kind::is_null
                             : expression_kind::is_not_null;
            found.arguments.push_back(read(node_child(m, "arg"), at));
            return found;
        }
        if (m.is(pg_query__func_call__descriptor)) {
            return read_call(m, at);
        }
        if (m.is(pg_query__coalesce_expr__descriptor)) {
            expression found;
            found.kind = expression_kind::call;
            found.name = "coalesce";
            return read_all(nodes_of(m, "args"), at, std::move(found));
        }
        if (m.is(pg_query__a__array_expr__descriptor)) {
            expression found;
            found.kind = expression_kind::array;
            return read_all(nodes_of(m, "elements"), at, std::move(found));
        }
        if (m.is(pg_query__sub_link__descriptor)) {
            return read_sublink(m, at);
        }
        if (m.is(pg_query__select_stmt__descriptor)) {
            expression found;
            found.kind = expression_kind::sublink;
            found.link = sublink_kind::other;
            found.level = read_select(m, at);
            return found;
        }
        if (m.is(pg_query__case_expr__descriptor)) {
            return read_case(m, at);
        }
        return read_children(m, at);
    }

    static expression read_column(const tree_message& m) {
        expression found;
        const auto fields = nodes_of(m, "fields");
        const auto names = strings_of(m, "fields");
        if (names.empty() || names.size() != fields.size() || names.size() > 2) {
            return found;  // a.*, or a column's own field
        }
        found.kind = expression_kind::column;
        found.name = names.back();
        if (names.size() == 2) {
            found.qualifier = names.front();
        }
        return found;
    }

    static expression read_constant(const tree_message& m) {
        expression found;
        found.kind = expression_kind::constant;
        for (tree_reader in{m}; !in.at_end();) {
            const auto f = in.next();
            const auto value = message_in(f);
            if (f.name() == "isnull") {
                found.kind = expression_kind::null;
            } else if (f.name() == "ival") {
                found.text =
                    std::to_string(static_cast<std::int32_t>(field_of(value, "ival").number));
                found.name = found.text;
            } else if (f.name() == "fval") {
                found.text = field_of(value, "fval").bytes;
                found.name = found.text;
            } else if (f.name() == "boolval") {
                found.text = field_of(value, "boolval").number != 0 ? "true" : "false";
                found.name = found.text;
            } else if (f.name() == "sval") {
                found.text = field_of(value, "sval").bytes;
                found.name = quoted_literal(found.text);
            } else if (f.name() == "bsval") {
                found.text = field_of(value, "bsval").bytes;
                if (!found.text.empty()) {
                    found.name = found.text.substr(0, 1) + quoted_literal(found.text.substr(1));
                }
            }
        }
        return found;
    }

    expression read_cast(const tree_message& m, std::size_t at) {
        expression found;
        found.kind = expression_kind::cast;
        const auto type = read_type(child(m, "type_name"));
        found.name = type.sql;
        found.text = type.name;
        found.is_plain = type.is_plain;
        found.arguments.push_back(read(node_child(m, "arg"), at));
        auto& below = found.arguments.front();
        if (below.kind == expression_kind::null) {
            return below;
        }
        // TRUE and FALSE come as casts of 't' and 'f' from some versions.
        if (below.kind == expression_kind::constant && found.is_plain) {
            below.name += "::" + found.name;
            return below;
        }
        return found;
    }

    expression read_operation(const tree_message& m, std::size_t at) {
        expression found;
        const auto names = strings_of(m, "name");
        found.name = names.empty() ? "" : names.back();
        switch (field_of(m, "kind").number) {
            case PG_QUERY__A__EXPR__KIND__AEXPR_OP:
            case PG_QUERY__A__EXPR__KIND__AEXPR_LIKE:
            case PG_QUERY__A__EXPR__KIND__AEXPR_ILIKE:
                found.kind = expression_kind::operation;
                found.qualifier = names.size() > 1 ? names.front() : "";
                break;
            case PG_QUERY__A__EXPR__KIND__AEXPR_OP_ANY:
                found.kind = expression_kind::any;
                break;
            case PG_QUERY__A__EXPR__KIND__AEXPR_OP_ALL:
                found.kind = expression_kind::all;
                break;
            case PG_QUERY__A__EXPR__KIND__AEXPR_IN:
                return read_list(m, at, found.name);
            default:
                return read_children(m, at, "name");
        }
        for (const auto* const side : {"lexpr", "rexpr"}) {
            if (const auto operand = node_child(m, side); operand.type != nullptr) {
                found.arguments.push_back(read(operand, at));
            }
        }
        return found;
    }

    /// IN (…) as the server writes it: = ANY (ARRAY[…]), or <> ALL.
    expression read_list(const tree_message& m, std::size_t at, const std::string& name) {
        expression found;
        found.kind = name == "<>" ? expression_kind::all : expression_kind::any;
        found.name = name;
        found.arguments.push_back(read(node_child(m, "lexpr"), at));
        expression list;
        list.kind = expression_kind::array;
        found.arguments.push_back(
            read_all(nodes_of(node_child(m, "rexpr"), "items"), at, std::move(list))
        );
        return found;
    }

    expression read_call(const tree_message& m, std::size_t at) {
        auto found = read_children(m, at, "funcname");
        found.kind = expression_kind::call;
        const auto names = strings_of(m, "funcname");
        found.name = names.empty() ? "" : names.back();
        found.qualifier = names.size() > 1 ? names.front() : "";
        for (const auto* const more :
             {"agg_order",
              "agg_filter",
              "over",
              "agg_within_group",
              "agg_star",
              "agg_distinct",
              "func_variadic"}) {
            found.is_plain = found.is_plain && !has(m, more);
        }
        return found;
    }

    expression read_sublink(const tree_message& m, std::size_t at) {
        expression found;
        found.kind = expression_kind::sublink;
        const auto type = field_of(m, "sub_link_type").number;
        found.link = type == PG_QUERY__SUB_LINK_TYPE__EXISTS_SUBLINK ? sublink_kind::exists
                     : type == PG_QUERY__SUB_LINK_TYPE__ANY_SUBLINK  ? sublink_kind::any
                     : type == PG_QUERY__SUB_LINK_TYPE__ALL_SUBLINK  ? sublink_kind::all
                                                                     : sublink_kind::other;
        const auto names = strings_of(m, "oper_name");
        found.name = names.empty() ? "=" : names.back();
        if (const auto before = node_child(m, "testexpr"); before.type != nullptr) {
            found.arguments.push_back(read(before, at));
        }
        const auto inner = node_child(m, "subselect");
        if (inner.is(pg_query__select_stmt__descriptor)) {
            found.level = read_select(inner, at, found.link == sublink_kind::exists);
        }
        return found;
    }

    /// CASE x WHEN y is x = y as well.
    expression read_case(const tree_message& m, std::size_t at) {
        auto found = read_children(m, at);
        const auto arg = node_child(m, "arg");
        if (arg.type == nullptr) {
            return found;
        }
        for (const auto& when : nodes_of(m, "args")) {
            auto value = node_child(when, "expr");
            while (value.is(pg_query__type_cast__descriptor)) {
                value = node_child(value, "arg");
            }
            // Columns only: a copy of the whole at each level would grow without bound.
            if (value.is(pg_query__a__const__descriptor) &&
                arg.is(pg_query__column_ref__descriptor)) {
                expression equal;
                equal.kind = expression_kind::operation;
                equal.name = "=";
                equal.arguments = {read_column(arg), read_constant(value)};
                found.arguments.push_back(std::move(equal));
            }
        }
        return found;
    }

    query found_;
    std::size_t depth_ = 0;
};

tree_message statement_in(std::string_view tree) {
    const auto statement = child({&pg_query__parse_result__descriptor, tree}, "stmts");
    return statement.type == nullptr ? tree_message{} : node_child(statement, "stmt");
}

/// Writes every field but locations. Sources and CTEs are written as numbers, where they are named
/// and where they are used. The form is that of this libpg_query: fingerprints in stores hang on
/// it.
class canonical_writer {
public:
    std::string write(const tree_message& m) {
        write_message(m);
        return std::move(out_);
    }

private:
    using names = std::vector<std::pair<std::string_view, std::size_t>>;

    void write_message(const tree_message& m) {
        const nesting deeper{depth_};
        const bool is_select = m.is(pg_query__select_stmt__descriptor);
        if (is_select) {
            scopes_.emplace_back();
            ctes_.emplace_back();
            for (const auto& cte : nodes_of(child(m, "with_clause"), "ctes")) {
                ctes_.back().emplace_back(field_of(cte, "ctename").bytes, ++count_);
            }
            for (const auto& source : nodes_of(m, "from_clause")) {
                name_sources(source);
            }
        }
        out_ += m.type->short_name;
        out_ += '(';
        if (m.is(pg_query__column_ref__descriptor)) {
            write_column(m);
        } else {
            for (tree_reader in{m}; !in.at_end();) {
                write_field(m, in.next());
            }
            // An alias is behind the name, and the name is one where there is no other.
            if (m.is(pg_query__range_var__descriptor) && child(m, "alias").type == nullptr) {
                out_ += "alias=Alias(aliasname=";
                write_name(field_of(m, "relname").bytes, scopes_);
                out_ += ')';
            }
        }
        out_ += ')';
        if (is_select) {
            scopes_.pop_back();
            ctes_.pop_back();
        }
    }

    void write_field(const tree_message& m, const tree_field& f) {
        if (f.about == nullptr || f.name() == "location") {
            return;
        }
        out_ += f.name();
        out_ += '=';
        if (m.is(pg_query__alias__descriptor) && f.name() == "aliasname") {
            write_name(f.bytes, scopes_);
            return;
        }
        const bool is_cte = m.is(pg_query__common_table_expr__descriptor) && f.name() == "ctename";
        if (is_cte || (m.is(pg_query__range_var__descriptor) && f.name() == "relname" &&
                       !has(m, "schemaname"))) {
            write_name(f.bytes, ctes_);
            return;
        }
        if (f.is_message()) {
            write_message(message_in(f));
        } else if (f.about->type == PROTOBUF_C_TYPE_STRING) {
            write_text(f.bytes);
        } else {
            out_ += std::to_string(f.number) + ";";
        }
    }

    void write_text(std::string_view text) {
        out_ += std::to_string(text.size()) + ":";
        out_ += text;
    }

    void write_column(const tree_message& m) {
        const auto fields = nodes_of(m, "fields");
        for (std::size_t i = 0; i < fields.size(); ++i) {
            if (i == 0 && fields.size() > 1 && fields[0].is(pg_query__string__descriptor)) {
                write_name(tree_reader{fields[0]}.next().bytes, scopes_);
            } else {
                write_message(fields[i]);
            }
        }
    }

    void write_name(std::string_view name, const std::vector<names>& in) {
        for (auto i = in.size(); i > 0; --i) {
            for (const auto& [known, number] : in[i - 1]) {
                if (known == name) {
                    out_ += "#" + std::to_string(number) + ";";
                    return;
                }
            }
        }
        write_text(name);
    }

    void name_sources(const tree_message& m) {
        const nesting deeper{depth_};
        if (m.is(pg_query__join_expr__descriptor)) {
            name_sources(node_child(m, "larg"));
            name_sources(node_child(m, "rarg"));
        } else if (m.is(pg_query__range_table_sample__descriptor)) {
            name_sources(node_child(m, "relation"));
        }
        if (m.type == nullptr) {
            return;
        }
        for (const auto* const field : {"alias", "join_using_alias"}) {
            if (const auto alias = child(m, field); alias.type != nullptr) {
                scopes_.back().emplace_back(field_of(alias, "aliasname").bytes, ++count_);
                return;
            }
        }
        if (m.is(pg_query__range_var__descriptor)) {
            scopes_.back().emplace_back(field_of(m, "relname").bytes, ++count_);
        }
    }

    std::string out_;
    std::vector<names> scopes_;  // sources, by statement
    std::vector<names> ctes_;
    std::size_t count_ = 0;
    std::size_t depth_ = 0;
};

}  // namespace

std::optional<query> query_in_tree(std::string_view tree) {
    const auto statement = statement_in(tree);
    if (!statement.is(pg_query__select_stmt__descriptor)) {
        return std::nullopt;
    }
    try {
        return query_reader{}.read(statement);
    } catch (const too_deep&) {
        return std::nullopt;
    }
}

std::optional<std::string> canonical_tree(std::string_view tree) {
    const auto statement = statement_in(tree);
    if (statement.type == nullptr) {
        return std::nullopt;
    }
    try {
        return canonical_writer{}.write(statement);
    } catch (const too_deep&) {
        return std::nullopt;
    }
}

}  // namespace signalbox::parser
