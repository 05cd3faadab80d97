#include "catalog/notices/facts_sql.hpp"

#include <charconv>
#include <utility>

namespace signalbox::catalog {
namespace {

/// Where relations are that anybody made to stay.
constexpr std::string_view is_ours =
    " n.nspname OPERATOR(pg_catalog.!~) '^pg_'"
    " AND n.nspname OPERATOR(pg_catalog.<>) 'information_schema'"
    " AND c.relpersistence OPERATOR(pg_catalog.<>) 't'"
    " AND c.relkind OPERATOR(pg_catalog.=) ANY ('{r,p,f,v,m,i,I}'::pg_catalog.\"char\"[])";

/// What views and materialized views read: pg_depend, from their rules to relations, with one row
/// per column. Not materialized, so that a question about one view looks at its rows only.
constexpr std::string_view reads =
    "reads AS NOT MATERIALIZED (SELECT w.ev_class AS reader, d.refobjid AS used"
    " FROM pg_catalog.pg_rewrite w"
    " JOIN pg_catalog.pg_depend d ON d.classid OPERATOR(pg_catalog.=)"
    " 'pg_catalog.pg_rewrite'::pg_catalog.regclass"
    " AND d.objid OPERATOR(pg_catalog.=) w.oid"
    " AND d.refclassid OPERATOR(pg_catalog.=) 'pg_catalog.pg_class'::pg_catalog.regclass"
    " AND d.refobjid OPERATOR(pg_catalog.<>) w.ev_class"
    " WHERE w.rulename OPERATOR(pg_catalog.=) '_RETURN')";

std::string oid_array(const std::vector<object_oid>& oids) {
    std::string out = "'{";
    for (const auto oid : oids) {
        out += (out.back() == '{' ? "" : ",") + std::to_string(oid);
    }
    return out + "}'::pg_catalog.oid[]";
}

/// WITH …, related (oid): what the queries are about.
std::string related_sql(const std::vector<object_oid>& about) {
    std::string out = "WITH " + std::string{reads};
    if (about.empty()) {
        out += ", related AS (SELECT c.oid FROM pg_catalog.pg_class c";
    } else {
        const auto asked = oid_array(about);
        const auto is_asked = [&](std::string_view what) {
            return std::string{what} + " OPERATOR(pg_catalog.=) ANY (" + asked + ")";
        };
        out += ", tables AS (SELECT used AS oid FROM reads WHERE " + is_asked("reader") +
               " UNION SELECT indrelid FROM pg_catalog.pg_index WHERE " + is_asked("indexrelid") +
               " UNION SELECT pg_catalog.unnest(" + asked + "))" +
               ", related AS (SELECT c.oid FROM pg_catalog.pg_class c WHERE c.oid IN"
               " (SELECT t.oid FROM tables t"
               " UNION SELECT i.indexrelid FROM pg_catalog.pg_index i"
               " JOIN tables t ON t.oid OPERATOR(pg_catalog.=) i.indrelid"
               // Whoever reads the table, but only for an index that can be too wide for it.
               " UNION SELECT r.reader FROM reads r JOIN pg_catalog.pg_index i"
               " ON i.indrelid OPERATOR(pg_catalog.=) r.used AND i.indpred IS NULL"
               " AND i.indnkeyatts OPERATOR(pg_catalog.>) 1 AND " +
               is_asked("i.indexrelid") + ")";
    }
    out += about.empty() ? " WHERE EXISTS" : " AND EXISTS";
    out +=
        " (SELECT FROM pg_catalog.pg_namespace n WHERE n.oid OPERATOR(pg_catalog.=)"
        " c.relnamespace AND" +
        std::string{is_ours} + "))\n";
    return out;
}

constexpr std::string_view objects_sql =
    "SELECT c.oid, c.relkind, n.nspname, c.relname, pg_catalog.pg_get_userbyid(c.relowner),"
    " CASE WHEN i.indexrelid IS NOT NULL THEN pg_catalog.pg_get_indexdef(c.oid)"
    " WHEN c.relkind OPERATOR(pg_catalog.=) ANY ('{v,m}'::pg_catalog.\"char\"[])"
    " THEN pg_catalog.pg_get_viewdef(c.oid) END,"
    " NOT c.relispartition AND NOT EXISTS (SELECT FROM pg_catalog.pg_depend d"
    " WHERE d.classid OPERATOR(pg_catalog.=) 'pg_catalog.pg_class'::pg_catalog.regclass"
    " AND d.objid OPERATOR(pg_catalog.=) c.oid AND d.deptype OPERATOR(pg_catalog.=) 'e'),"
    " i.indrelid, a.amname, pg_catalog.pg_get_expr(i.indpred, i.indrelid),"
    " i.indisunique, i.indisprimary, i.indisexclusion,"
    " i.indisvalid AND i.indisready AND i.indislive, i.indimmediate,"
    // From version 15 on.
    " COALESCE((pg_catalog.to_jsonb(i) OPERATOR(pg_catalog.->>) 'indnullsnotdistinct')"
    "::pg_catalog.bool, false),"
    " i.indisreplident,"
    " EXISTS (SELECT FROM pg_catalog.pg_constraint f WHERE f.conindid OPERATOR(pg_catalog.=) c.oid"
    " AND f.contype OPERATOR(pg_catalog.=) 'f'),"
    " (SELECT k.conname FROM pg_catalog.pg_constraint k"
    " WHERE k.conindid OPERATOR(pg_catalog.=) c.oid"
    " AND k.contype OPERATOR(pg_catalog.=) ANY ('{p,u,x}'::pg_catalog.\"char\"[]) LIMIT 1)"
    " FROM related r"
    " JOIN pg_catalog.pg_class c ON c.oid OPERATOR(pg_catalog.=) r.oid"
    " JOIN pg_catalog.pg_namespace n ON n.oid OPERATOR(pg_catalog.=) c.relnamespace"
    " LEFT JOIN pg_catalog.pg_index i ON i.indexrelid OPERATOR(pg_catalog.=) c.oid"
    " LEFT JOIN pg_catalog.pg_am a ON i.indexrelid IS NOT NULL"
    " AND a.oid OPERATOR(pg_catalog.=) c.relam";
constexpr std::size_t object_fields = 19;

constexpr std::string_view columns_sql =
    "SELECT a.attrelid, a.attnum, a.attname, COALESCE(b.typname, t.typname),"
    " a.attnotnull OR t.typnotnull"
    " FROM related r"
    " JOIN pg_catalog.pg_class c ON c.oid OPERATOR(pg_catalog.=) r.oid"
    " AND c.relkind OPERATOR(pg_catalog.=) ANY ('{r,p,f,v,m}'::pg_catalog.\"char\"[])"
    " JOIN pg_catalog.pg_attribute a ON a.attrelid OPERATOR(pg_catalog.=) r.oid"
    " AND a.attnum OPERATOR(pg_catalog.>) 0 AND NOT a.attisdropped"
    " JOIN pg_catalog.pg_type t ON t.oid OPERATOR(pg_catalog.=) a.atttypid"
    " LEFT JOIN pg_catalog.pg_type b ON t.typtype OPERATOR(pg_catalog.=) 'd'"
    " AND b.oid OPERATOR(pg_catalog.=) t.typbasetype"
    " ORDER BY a.attrelid, a.attnum";
constexpr std::size_t column_fields = 5;

constexpr std::string_view keys_sql =
    "SELECT i.indexrelid, i.indkey[k.n OPERATOR(pg_catalog.-) 1],"
    " pg_catalog.pg_get_indexdef(i.indexrelid, k.n, false),"
    " k.n OPERATOR(pg_catalog.<=) i.indnkeyatts,"
    " (SELECT n.nspname OPERATOR(pg_catalog.||) '.' OPERATOR(pg_catalog.||) o.opcname"
    " FROM pg_catalog.pg_opclass o JOIN pg_catalog.pg_namespace n"
    " ON n.oid OPERATOR(pg_catalog.=) o.opcnamespace"
    " WHERE o.oid OPERATOR(pg_catalog.=) i.indclass[k.n OPERATOR(pg_catalog.-) 1]),"
    " a.attoptions,"
    " (SELECT n.nspname OPERATOR(pg_catalog.||) '.' OPERATOR(pg_catalog.||) o.collname"
    " FROM pg_catalog.pg_collation o JOIN pg_catalog.pg_namespace n"
    " ON n.oid OPERATOR(pg_catalog.=) o.collnamespace"
    " WHERE o.oid OPERATOR(pg_catalog.=) i.indcollation[k.n OPERATOR(pg_catalog.-) 1]),"
    " COALESCE(i.indoption[k.n OPERATOR(pg_catalog.-) 1], 0)"
    " FROM related r"
    " JOIN pg_catalog.pg_index i ON i.indexrelid OPERATOR(pg_catalog.=) r.oid"
    " CROSS JOIN LATERAL pg_catalog.generate_series(1, i.indnatts::pg_catalog.int4) k(n)"
    " LEFT JOIN pg_catalog.pg_attribute a ON a.attrelid OPERATOR(pg_catalog.=) i.indexrelid"
    " AND a.attnum OPERATOR(pg_catalog.=) k.n"
    " ORDER BY i.indexrelid, k.n";
constexpr std::size_t key_fields = 8;

constexpr std::string_view foreign_keys_sql =
    "SELECT k.conrelid, k.conname, k.confrelid, k.conkey, k.confkey"
    " FROM pg_catalog.pg_constraint k"
    " JOIN related r ON r.oid OPERATOR(pg_catalog.=) k.conrelid"
    " WHERE k.contype OPERATOR(pg_catalog.=) 'f'"
    // A partitioned table has one more for each partition that it refers to.
    " AND NOT EXISTS (SELECT FROM pg_catalog.pg_constraint p"
    " WHERE p.oid OPERATOR(pg_catalog.=) k.conparentid"
    " AND p.conrelid OPERATOR(pg_catalog.=) k.conrelid)"
    " ORDER BY k.conrelid, k.conname";
constexpr std::size_t foreign_key_fields = 5;

constexpr std::string_view dependencies_sql =
    "SELECT DISTINCT d.reader, d.used FROM reads d"
    " JOIN related r ON r.oid OPERATOR(pg_catalog.=) d.reader ORDER BY 1, 2";
constexpr std::size_t dependency_fields = 2;

/// Casts that change nothing, and where trigrams are.
constexpr std::string_view known_sql =
    "SELECT s.typname, t.typname FROM pg_catalog.pg_cast k"
    " JOIN pg_catalog.pg_type s ON s.oid OPERATOR(pg_catalog.=) k.castsource"
    " JOIN pg_catalog.pg_type t ON t.oid OPERATOR(pg_catalog.=) k.casttarget"
    " WHERE k.castmethod OPERATOR(pg_catalog.=) 'b'"
    " UNION ALL (SELECT NULL, n.nspname FROM pg_catalog.pg_opclass o"
    " JOIN pg_catalog.pg_am m ON m.oid OPERATOR(pg_catalog.=) o.opcmethod"
    " AND m.amname OPERATOR(pg_catalog.=) 'gin'"
    " JOIN pg_catalog.pg_namespace n ON n.oid OPERATOR(pg_catalog.=) o.opcnamespace"
    " WHERE o.opcname OPERATOR(pg_catalog.=) 'gin_trgm_ops')";
constexpr std::size_t known_fields = 2;

template <typename Integer>
bool read_number(const std::optional<std::string>& field, Integer& into) {
    if (!field) {
        return false;
    }
    const auto* const end = field->data() + field->size();
    const auto [at, failure] = std::from_chars(field->data(), end, into);
    return failure == std::errc{} && at == end;
}

/// `{1,2}`, or `1 2`.
std::vector<int> numbers_in(const std::optional<std::string>& field) {
    std::vector<int> found;
    const std::string text = field.value_or("");
    for (const char* at = text.data(); at < text.data() + text.size();) {
        int number = 0;
        const auto [end, failure] = std::from_chars(at, text.data() + text.size(), number);
        if (failure == std::errc{}) {
            found.push_back(number);
            at = end;
        } else {
            ++at;
        }
    }
    return found;
}

bool is_true(const std::optional<std::string>& field) {
    return field == "t";
}

std::optional<object_kind> kind_of(const std::optional<std::string>& relkind) {
    if (!relkind || relkind->size() != 1) {
        return std::nullopt;
    }
    switch (relkind->front()) {
        case 'r':
        case 'p':
        case 'f':
            return object_kind::table;
        case 'v':
            return object_kind::view;
        case 'm':
            return object_kind::materialized_view;
        case 'i':
        case 'I':
            return object_kind::index;
        default:
            return std::nullopt;
    }
}

std::shared_ptr<const parser::expression> tree_of(const std::string& sql) {
    auto tree = parser::parse_expression(sql);
    return tree ? std::make_shared<const parser::expression>(std::move(*tree)) : nullptr;
}

}  // namespace

const char* const facts_settings_sql =
    "SELECT pg_catalog.set_config('search_path', 'pg_catalog', false),"
    " pg_catalog.set_config('client_encoding', 'UTF8', false),"
    " pg_catalog.set_config('standard_conforming_strings', 'on', false),"
    " pg_catalog.set_config('quote_all_identifiers', 'off', false),"
    " pg_catalog.set_config('datestyle', 'ISO, YMD', false),"
    " pg_catalog.set_config('intervalstyle', 'postgres', false),"
    " pg_catalog.set_config('timezone', 'UTC', false),"
    " pg_catalog.set_config('extra_float_digits', '1', false),"
    " pg_catalog.set_config('bytea_output', 'hex', false),"
    " pg_catalog.set_config('jit', 'off', false)";

const char* const examined_objects_sql =
    "SELECT c.oid FROM pg_catalog.pg_class c"
    " JOIN pg_catalog.pg_namespace n ON n.oid OPERATOR(pg_catalog.=) c.relnamespace"
    " WHERE c.relkind OPERATOR(pg_catalog.=) ANY ('{v,m,i,I}'::pg_catalog.\"char\"[])"
    " AND n.nspname OPERATOR(pg_catalog.!~) '^pg_'"
    " AND n.nspname OPERATOR(pg_catalog.<>) 'information_schema'"
    " AND c.relpersistence OPERATOR(pg_catalog.<>) 't' ORDER BY c.oid";

std::vector<std::string> facts_sql(const std::vector<object_oid>& about) {
    const auto related = related_sql(about);
    std::vector<std::string> queries;
    for (const auto sql :
         {objects_sql, columns_sql, keys_sql, foreign_keys_sql, dependencies_sql}) {
        queries.push_back(related + std::string{sql});
    }
    queries.emplace_back(known_sql);
    return queries;
}

std::string dependent_objects_sql(const std::vector<object_oid>& changed) {
    const auto asked = oid_array(changed);
    return "WITH " + std::string{reads} + ", changed AS (SELECT pg_catalog.unnest(" + asked +
           ") AS oid UNION SELECT indrelid FROM pg_catalog.pg_index"
           " WHERE indexrelid OPERATOR(pg_catalog.=) ANY (" +
           asked +
           ")) SELECT c.oid FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n"
           " ON n.oid OPERATOR(pg_catalog.=) c.relnamespace WHERE" +
           std::string{is_ours} +
           " AND c.relkind OPERATOR(pg_catalog.=) ANY ('{v,m,i,I}'::pg_catalog.\"char\"[])"
           " AND c.oid IN (SELECT oid FROM changed"
           " UNION SELECT i.indexrelid FROM pg_catalog.pg_index i"
           " JOIN changed ON changed.oid OPERATOR(pg_catalog.=) i.indrelid"
           " UNION SELECT r.reader FROM reads r"
           " JOIN changed ON changed.oid OPERATOR(pg_catalog.=) r.used) ORDER BY 1";
}

bool facts_reader::add(std::size_t query, const fact_row& row) {
    switch (query) {
        case 0:
            return add_object(row);
        case 1:
            return add_column(row);
        case 2:
            return add_key(row);
        case 3:
            return add_foreign_key(row);
        case 4:
            return add_dependency(row);
        case 5:
            return add_known(row);
        default:
            return false;
    }
}

bool facts_reader::add_object(const fact_row& row) {
    object_facts object;
    if (row.size() != object_fields || !read_number(row[0], object.oid) || !row[2] || !row[3]) {
        return false;
    }
    const auto kind = kind_of(row[1]);
    if (!kind) {
        return false;
    }
    object.kind = *kind;
    object.schema = *row[2];
    object.name = *row[3];
    object.owner = row[4].value_or("");
    object.definition = row[5].value_or("");
    object.is_examined = object.kind != object_kind::table && is_true(row[6]);
    if (object.kind == object_kind::index) {
        if (!read_number(row[7], object.table)) {
            return false;
        }
        object.method = row[8].value_or("");
        object.predicate = row[9].value_or("");
        object.is_unique = is_true(row[10]);
        object.is_primary = is_true(row[11]);
        object.is_exclusion = is_true(row[12]);
        object.is_valid = is_true(row[13]);
        object.is_immediate = is_true(row[14]);
        object.nulls_are_distinct = !is_true(row[15]);
        object.is_replica_identity = is_true(row[16]);
        object.is_referenced = is_true(row[17]);
        object.constraint = row[18].value_or("");
        object.dependencies.push_back(object.table);
    }
    facts_.add(std::move(object));
    return true;
}

bool facts_reader::add_column(const fact_row& row) {
    object_oid relation = 0;
    column_facts column;
    if (row.size() != column_fields || !read_number(row[0], relation) ||
        !read_number(row[1], column.number) || !row[2] || !row[3]) {
        return false;
    }
    column.name = *row[2];
    column.type = *row[3];
    column.is_not_null = is_true(row[4]);
    if (auto* const object = facts_.edit(relation)) {
        object->columns.push_back(std::move(column));
    }
    return true;
}

bool facts_reader::add_key(const fact_row& row) {
    object_oid index = 0;
    index_key key;
    int options = 0;
    if (row.size() != key_fields || !read_number(row[0], index) ||
        !read_number(row[1], key.column) || !read_number(row[7], options)) {
        return false;
    }
    auto* const object = facts_.edit(index);
    if (object == nullptr) {
        return true;
    }
    if (!is_true(row[3])) {
        object->included.push_back(key.column);
        return true;
    }
    key.expression = row[2].value_or("");
    key.operator_class = row[4].value_or("");
    key.operator_class_options = row[5].value_or("");
    key.collation = row[6].value_or("");
    // Source: INDOPTION_DESC and INDOPTION_NULLS_FIRST, src/include/catalog/pg_index.h
    key.is_descending = options % 2 == 1;
    key.nulls_first = options / 2 % 2 == 1;
    object->keys.push_back(std::move(key));
    return true;
}

bool facts_reader::add_foreign_key(const fact_row& row) {
    object_oid table = 0;
    foreign_key key;
    if (row.size() != foreign_key_fields || !read_number(row[0], table) || !row[1] ||
        !read_number(row[2], key.referenced)) {
        return false;
    }
    key.name = *row[1];
    key.columns = numbers_in(row[3]);
    key.referenced_columns = numbers_in(row[4]);
    if (key.columns.size() != key.referenced_columns.size()) {
        return false;
    }
    if (auto* const object = facts_.edit(table)) {
        object->foreign_keys.push_back(std::move(key));
    }
    return true;
}

bool facts_reader::add_dependency(const fact_row& row) {
    object_oid reader = 0;
    object_oid used = 0;
    if (row.size() != dependency_fields || !read_number(row[0], reader) ||
        !read_number(row[1], used)) {
        return false;
    }
    if (auto* const object = facts_.edit(reader)) {
        object->dependencies.push_back(used);
    }
    return true;
}

bool facts_reader::add_known(const fact_row& row) {
    if (row.size() != known_fields || !row[1]) {
        return false;
    }
    if (row[0]) {
        facts_.add_binary_cast(*row[0], *row[1]);
    } else {
        facts_.trigram_schema = *row[1];
    }
    return true;
}

server_facts facts_reader::finish() && {
    for (const auto& [oid, object] : facts_.objects()) {
        auto& mine = *facts_.edit(oid);
        if (object.is_view()) {
            if (auto query = parser::parse_query(object.definition)) {
                mine.query = std::make_shared<const parser::query>(std::move(*query));
            }
        }
        if (!object.predicate.empty()) {
            mine.predicate_tree = tree_of(object.predicate);
        }
        for (auto& key : mine.keys) {
            if (key.column == 0) {
                key.tree = tree_of(key.expression);
            }
        }
    }
    facts_.finish();
    return std::move(facts_);
}

}  // namespace signalbox::catalog
