#include "rewrite/hidden_state.hpp"

#include "parser/names.hpp"
#include "parser/strings.hpp"

#include <algorithm>
#include <array>
#include <utility>

namespace signalbox::rewrite {
namespace {

using parser::backslashes;
using parser::equals_ignoring_case;
using parser::token;
using parser::token_kind;

/// pg_catalog's own functions that make session state.
constexpr auto state_makers = std::to_array<std::string_view>(
    {"set_config",
     "pg_advisory_lock",
     "pg_advisory_lock_shared",
     "pg_try_advisory_lock",
     "pg_try_advisory_lock_shared"}
);

/// Those that give what the server connection has drawn from sequences.
constexpr auto sequence_readers = std::to_array<std::string_view>({"currval", "lastval"});

/// Those whose state no DISCARD ALL takes back: the seed of random(), connections of dblink.
constexpr auto lasting_makers =
    std::to_array<std::string_view>({"setseed", "dblink_connect", "dblink_connect_u"});

/// Words of a function's body that make state, or may.
constexpr auto risky_words = std::to_array<std::string_view>(
    {"reset",
     "listen",
     "prepare",
     "execute",
     "load",
     "discard",
     "deallocate",
     "hold",
     "temp",
     "temporary",
     "pg_temp",
     "call",
     "do"}
);

constexpr auto state_openers = std::to_array<std::string_view>({"set"});
constexpr auto lasting_openers = std::to_array<std::string_view>({"load"});

constexpr auto write_words =
    std::to_array<std::string_view>({"insert", "update", "delete", "merge", "copy", "truncate"});

/// Words that may stand before a parenthesis and are no functions.
constexpr auto no_functions =
    std::to_array<std::string_view>({"all",       "and",         "any",
                                     "array",     "as",          "between",
                                     "bigint",    "bit",         "boolean",
                                     "by",        "case",        "cast",
                                     "char",      "character",   "coalesce",
                                     "conflict",  "dec",         "decimal",
                                     "default",   "distinct",    "else",
                                     "except",    "exists",      "extract",
                                     "filter",    "float",       "from",
                                     "greatest",  "group",       "grouping",
                                     "having",    "ilike",       "in",
                                     "intersect", "interval",    "is",
                                     "key",       "lateral",     "least",
                                     "like",      "limit",       "materialized",
                                     "national",  "nchar",       "not",
                                     "nullif",    "numeric",     "offset",
                                     "on",        "only",        "or",
                                     "over",      "overlay",     "position",
                                     "primary",   "returning",   "row",
                                     "rows",      "select",      "set",
                                     "similar",   "some",        "substring",
                                     "table",     "then",        "time",
                                     "timestamp", "treat",       "trim",
                                     "union",     "unique",      "using",
                                     "values",    "varchar",     "varying",
                                     "when",      "where",       "window",
                                     "with",      "within",      "xmlattributes",
                                     "xmlconcat", "xmlelement",  "xmlexists",
                                     "xmlforest", "xmlparse",    "xmlpi",
                                     "xmlroot",   "xmlserialize"});

bool is_one_of(std::span<const std::string_view> words, std::string_view word) {
    return std::any_of(words.begin(), words.end(), [&](std::string_view each) {
        return equals_ignoring_case(word, each);
    });
}

/// A longer text may make state: a millisecond of an event loop.
constexpr std::size_t max_walked_tokens = 20'000;
constexpr std::size_t max_walked_bytes = std::size_t{128} << 10U;

/// The tokens of an SQL text, with the two before the present one.
class walk {
public:
    explicit walk(std::string_view sql, backslashes strings = backslashes::plain)
        : tokens_(sql, strings), now_(tokens_.next()) {}

    [[nodiscard]] bool at_end() const noexcept { return now_.kind == token_kind::end; }

    [[nodiscard]] const token& now() const noexcept { return now_; }

    [[nodiscard]] std::string_view before() const noexcept { return before_; }

    token step() {
        const auto passed = now_;
        before_ = passed.text;
        now_ = tokens_.next();
        return passed;
    }

private:
    parser::lexer tokens_;
    token now_;
    std::string_view before_;
};

/// SET as a statement of its own, not of an UPDATE.
bool begins_statement(std::string_view word_before) {
    constexpr auto openers =
        std::to_array<std::string_view>({"", ";", "begin", "then", "else", "loop", "atomic", ">"});
    return is_one_of(openers, word_before);
}

/// An UPDATE of it is SET in another dress.
constexpr std::string_view settings_view = "pg_settings";

bool stands_in(std::string_view sql, std::string_view word, char rare, std::size_t rare_at) {
    for (auto at = sql.find(rare); at != std::string_view::npos; at = sql.find(rare, at + 1)) {
        if (at >= rare_at && equals_ignoring_case(sql.substr(at - rare_at, word.size()), word)) {
            return true;
        }
    }
    return false;
}

/// A string stands in it, which may be the body of a DO. A dollar sign before a digit is a
/// parameter's, and begins none.
bool has_body(std::string_view sql) noexcept {
    for (auto at = sql.find('$'); at != std::string_view::npos; at = sql.find('$', at + 1)) {
        if (at + 1 == sql.size() || sql[at + 1] < '0' || sql[at + 1] > '9') {
            return true;
        }
    }
    return sql.find('\'') != std::string_view::npos;
}

/// Behind a comment, EXPLAIN ANALYZE or another statement, too.
bool updates_settings(std::string_view sql) {
    return stands_in(sql, settings_view, '_', 2) &&
           (stands_in(sql, "update", 'u', 0) || stands_in(sql, "update", 'U', 0));
}

std::string counted(std::string_view relation) {
    std::string sql =
        "(SELECT pg_catalog.concat(pg_catalog.count(*), '.', "
        "pg_catalog.sum(c.xmin::pg_catalog.text::pg_catalog.int8)) FROM pg_catalog.";
    return sql.append(relation) + " c)";
}

std::string wanted_names() {
    std::string list;
    const auto add = [&](std::string_view name) {
        list += list.empty() ? "'" : ", '";
        list += name;
        list += "'";
    };
    std::for_each(state_makers.begin(), state_makers.end(), add);
    std::for_each(lasting_makers.begin(), lasting_makers.end(), add);
    std::for_each(sequence_readers.begin(), sequence_readers.end(), add);
    return list;
}

}  // namespace

std::string fingerprint_sql() {
    std::string sql = "SELECT pg_catalog.concat_ws(':'";
    for (const auto* relation :
         {"pg_proc",
          "pg_depend",
          "pg_rewrite",
          "pg_attrdef",
          "pg_policy",
          "pg_constraint",
          "pg_trigger",
          "pg_index"}) {
        sql += ", " + counted(relation);
    }
    return sql + ")";
}

std::string catalog_sql() {
    // An expression tree names functions by OID.
    const std::string pattern =
        "(SELECT pg_catalog.concat(':funcid (', pg_catalog.string_agg(p.oid::pg_catalog.text, '|'),"
        " ') ') FROM pg_catalog.pg_proc p WHERE p.pronamespace OPERATOR(pg_catalog.=) 11"
        " AND p.proname = ANY (ARRAY[" +
        wanted_names() + "]::pg_catalog.name[]))";
    // Which of them stand in the trees of a catalog's rows, for a condition on these.
    const auto named_in = [&](std::string_view from, std::string_view tree) {
        return " FROM pg_catalog." + std::string{from} +
               " t CROSS JOIN LATERAL pg_catalog.regexp_matches(t." + std::string{tree} +
               "::pg_catalog.text, " + pattern +
               ", 'g') m(oids) JOIN pg_catalog.pg_proc f ON f.oid = m.oids[1]::pg_catalog.oid"
               " WHERE t.oid >= 16384";
    };
    const auto direct = [&](std::string_view kind,
                            std::string_view tree,
                            std::string_view from,
                            std::string_view which = {}) {
        return " UNION ALL SELECT DISTINCT '" + std::string{kind} +
               "', f.proname::pg_catalog.text, ''" + named_in(from, tree) + std::string{which};
    };
    return "SET LOCAL search_path = pg_catalog;"
           "SELECT DISTINCT 'known', p.proname::pg_catalog.text, '' FROM pg_catalog.pg_proc p"
           " UNION ALL SELECT CASE"
           " WHEN l.lanname IN ('c', 'internal') AND EXISTS (SELECT 1 FROM pg_catalog.pg_depend d"
           " WHERE d.classid = 'pg_catalog.pg_proc'::pg_catalog.regclass AND d.objid = p.oid"
           " AND d.deptype = 'e') THEN 'harmless'"
           " WHEN l.lanname IN ('sql', 'plpgsql') AND pg_catalog.length(p.prosrc) < 100000"
           " THEN 'body' ELSE 'risky' END, p.proname::pg_catalog.text,"
           " COALESCE(pg_catalog.pg_get_function_sqlbody(p.oid), p.prosrc)"
           " FROM pg_catalog.pg_proc p JOIN pg_catalog.pg_language l ON l.oid = p.prolang"
           " WHERE p.oid >= 16384 AND p.prokind <> 'a'"
           // What an aggregate is made of, and the defaults of a function's arguments.
           " UNION ALL SELECT 'body', p.proname::pg_catalog.text,"
           " pg_catalog.string_agg(f.proname::pg_catalog.text, ' ')"
           " FROM pg_catalog.pg_proc p JOIN pg_catalog.pg_depend d ON d.objid = p.oid"
           " AND d.classid = 'pg_catalog.pg_proc'::pg_catalog.regclass"
           " AND d.refclassid = 'pg_catalog.pg_proc'::pg_catalog.regclass"
           " JOIN pg_catalog.pg_proc f ON f.oid = d.refobjid"
           " WHERE p.oid >= 16384 GROUP BY p.oid, p.proname"
           " UNION ALL SELECT DISTINCT 'body', t.proname::pg_catalog.text,"
           " f.proname::pg_catalog.text" +
           named_in("pg_proc", "proargdefaults") +
           // A domain's constraint is looked at by every cast.
           " UNION ALL SELECT DISTINCT CASE WHEN d.classid IN"
           " ('pg_catalog.pg_trigger'::pg_catalog.regclass,"
           " 'pg_catalog.pg_attrdef'::pg_catalog.regclass,"
           " 'pg_catalog.pg_constraint'::pg_catalog.regclass) AND NOT EXISTS (SELECT 1"
           " FROM pg_catalog.pg_constraint c WHERE c.oid = d.objid AND c.contypid <> 0"
           " AND d.classid = 'pg_catalog.pg_constraint'::pg_catalog.regclass)"
           " THEN 'written' ELSE 'read' END,"
           " p.proname::pg_catalog.text, ''"
           " FROM pg_catalog.pg_depend d JOIN pg_catalog.pg_proc p ON p.oid = d.refobjid"
           " WHERE d.refclassid = 'pg_catalog.pg_proc'::pg_catalog.regclass AND p.oid >= 16384"
           " AND d.classid <> 'pg_catalog.pg_proc'::pg_catalog.regclass" +
           direct("read", "ev_action", "pg_rewrite") + direct("read", "polqual", "pg_policy") +
           direct("written", "polwithcheck", "pg_policy") +
           direct("written", "adbin", "pg_attrdef") +
           direct("written", "conbin", "pg_constraint", " AND t.contypid = 0") +
           direct("read", "conbin", "pg_constraint", " AND t.contypid <> 0") +
           direct("written", "typdefaultbin", "pg_type") +
           direct("written", "tgqual", "pg_trigger") +
           // A view of pg_settings can be updated as that can.
           " UNION ALL SELECT 'written', 'set_config', '' WHERE EXISTS (SELECT 1"
           " FROM pg_catalog.pg_depend d WHERE d.objid >= 16384"
           " AND d.classid = 'pg_catalog.pg_rewrite'::pg_catalog.regclass"
           " AND d.refclassid = 'pg_catalog.pg_class'::pg_catalog.regclass"
           " AND d.refobjid = 'pg_catalog.pg_settings'::pg_catalog.regclass)";
}

std::string tidy_sql() {
    return "SET SESSION AUTHORIZATION DEFAULT;RESET ALL;CLOSE ALL;UNLISTEN *;"
           "SELECT pg_catalog.pg_advisory_unlock_all();DISCARD TEMP;DISCARD SEQUENCES;"
           "SELECT p.name FROM pg_catalog.pg_prepared_statements p WHERE p.from_sql";
}

hidden_state_rules::hidden_state_rules() {
    makers_.words = readers_.words = risky_words;
    makers_.openers = readers_.openers = state_openers;
    lasting_.openers = lasting_openers;
    lasting_.functions.insert(lasting_makers.begin(), lasting_makers.end());
}

void hidden_state_rules::learn(
    std::string_view kind, std::string_view name, std::string_view text
) {
    if (kind == "known") {
        known_.emplace(name);
    } else if (kind == "body") {
        bodies_.push_back({std::string{name}, std::string{text}});
    } else if (kind == "risky") {
        makers_.functions.emplace(name);
    } else if (kind == "read") {
        read_uses_.emplace(name);
    } else if (kind == "written") {
        write_uses_.emplace(name);
    }
}

void hidden_state_rules::finish() {
    for (const auto each : state_makers) {
        makers_.functions.emplace(each);
    }
    makers_.functions.emplace(settings_view);
    spread(lasting_);
    makers_.functions.insert(lasting_.functions.begin(), lasting_.functions.end());
    spread(makers_);
    readers_.functions = makers_.functions;
    for (const auto each : sequence_readers) {
        readers_.functions.emplace(each);
    }
    spread(readers_);
    bodies_ = {};
    read_uses_ = {};
    write_uses_ = {};
}

/// A function that calls one of a kind is of that kind; so is one that writes, where writing leads
/// to one.
void hidden_state_rules::spread(reach& kind) const {
    const auto is_of_kind = [&](const auto& name) { return kind.functions.contains(name); };
    std::vector<const body*> others;
    others.reserve(bodies_.size());
    for (const auto& each : bodies_) {
        others.push_back(&each);
    }
    bool grows = true;
    while (std::exchange(grows, false)) {
        std::erase_if(others, [&](const body* each) {
            const bool found = is_of_kind(each->name) || leads_to(kind, each->text);
            grows = grows || found;
            if (found) {
                kind.functions.insert(each->name);
            }
            return found;
        });
        const bool by_writing = std::any_of(write_uses_.begin(), write_uses_.end(), is_of_kind);
        grows = grows || by_writing != kind.by_writing;
        kind.by_writing = by_writing;
        kind.by_reading = std::any_of(read_uses_.begin(), read_uses_.end(), is_of_kind);
    }
}

bool hidden_state_rules::leads_to(const reach& kind, std::string_view body) {
    walk at{body};
    while (!at.at_end()) {
        const auto before = at.before();
        if (is_sign(kind, at.step(), before)) {
            return true;
        }
    }
    return false;
}

bool hidden_state_rules::is_sign(
    const reach& kind, const parser::token& t, std::string_view before
) {
    if (!parser::is_name(t)) {
        return false;
    }
    const bool is_word = t.kind == token_kind::word;
    return parser::has_unicode_escapes(t) || kind.functions.contains(parser::folded_name(t)) ||
           (is_word && is_one_of(kind.words, t.text)) ||
           (is_word && kind.by_writing && is_one_of(write_words, t.text)) ||
           (is_word && is_one_of(kind.openers, t.text) && begins_statement(before));
}

hidden_effects hidden_state_rules::effects_of(std::string_view sql) const {
    auto found = effects_of_calls(sql);
    found.lasts = found.makes_state && may_last(sql);
    return found;
}

bool hidden_state_rules::may_last(std::string_view sql, backslashes strings) const {
    if (lasting_.by_reading) {
        return true;
    }
    bool is_do = false;
    walk at{sql.substr(0, max_walked_bytes), strings};
    for (auto left = max_walked_tokens; left > 0 && !at.at_end(); --left) {
        const auto before = at.before();
        const auto t = at.step();
        if (is_sign(lasting_, t, before)) {
            return true;
        }
        if (is_do && t.kind == token_kind::string && parser::is_closed(t, strings)) {
            const auto content = parser::string_content(t.text, strings);
            const auto* const sql_inside = std::get_if<std::string>(&content);
            if (sql_inside != nullptr && leads_to(lasting_, *sql_inside)) {
                return true;
            }
        }
        is_do = parser::is_word(t, "do") || (is_do && t.kind != token_kind::semicolon);
    }
    return false;
}

hidden_effects hidden_state_rules::effects_of_calls(std::string_view sql) const {
    constexpr hidden_effects any{.makes_state = true, .reads_sequences = true};
    if (known_.empty() || makers_.by_reading || updates_settings(sql)) {
        return any;
    }
    hidden_effects found{.makes_state = false, .reads_sequences = readers_.by_reading};
    const bool has_call = sql.find('(') != std::string_view::npos;
    if (!has_call && !readers_.by_writing && !has_body(sql)) {
        return found;
    }
    if (sql.size() > max_walked_bytes) {
        return any;
    }
    walk at{sql};
    for (auto left = max_walked_tokens; !at.at_end(); --left) {
        if (left == 0) {
            return any;
        }
        const auto before = at.before();
        const auto t = at.step();
        const bool is_word = t.kind == token_kind::word;
        if (equals_ignoring_case(t.text, "do") && (before.empty() || before == ";")) {
            return any;
        }
        if (is_word && readers_.by_writing && is_one_of(write_words, t.text)) {
            if (makers_.by_writing) {
                return any;
            }
            found.reads_sequences = true;
        }
        if (at.now().text != "(" || !parser::is_name(t) ||
            equals_ignoring_case(before, "into") ||  // INSERT INTO t (…)
            (is_word && is_one_of(no_functions, t.text))) {
            continue;
        }
        if (parser::has_unicode_escapes(t)) {  // can spell anything
            return any;
        }
        const auto name = parser::folded_name(t);
        if (!known_.contains(name) || makers_.functions.contains(name)) {
            return any;
        }
        found.reads_sequences = found.reads_sequences || readers_.functions.contains(name);
    }
    return found;
}

}  // namespace signalbox::rewrite
