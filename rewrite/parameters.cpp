#include "rewrite/parameters.hpp"

#include "wire/bytes.hpp"

#include <algorithm>
#include <cctype>
#include <sstream>

namespace signalbox::rewrite {
namespace {

std::string quote_name_part(std::string_view name) {
    std::string out = "\"";
    for (const char c : name) {
        out += c;
        if (c == '"') {
            out += c;
        }
    }
    return out += '"';
}

/// A parameter's name as an identifier, each part quoted.
std::string quote_name(std::string_view name) {
    const auto dot = name.find('.');
    if (dot == std::string_view::npos) {
        return quote_name_part(name);
    }
    return quote_name_part(name.substr(0, dot)) + "." + quote_name(name.substr(dot + 1));
}

std::string set_config_call(const parameter_set::item& item) {
    return "pg_catalog.set_config(" + quote_literal(item.first) + ", " +
           quote_literal(item.second) + ", false)";
}

}  // namespace

std::string parameter_key(std::string_view name) {
    std::string lower{name};
    std::transform(lower.begin(), lower.end(), lower.begin(), [](unsigned char c) {
        return static_cast<char>(std::tolower(c));
    });
    return lower;
}

std::string quote_literal(std::string_view value) {
    std::string out = "E'";
    for (const char c : value) {
        if (c == '\'' || c == '\\') {
            out += c;
        }
        out += c;
    }
    return out += '\'';
}

const std::string* parameter_set::find(std::string_view name) const noexcept {
    for (const auto& [known, value] : items_) {
        if (known == name) {
            return &value;
        }
    }
    return nullptr;
}

void parameter_set::set(std::string_view name, std::string_view value) {
    const auto at = std::lower_bound(items_.begin(), items_.end(), name, [](const item& a, auto b) {
        return a.first < b;
    });
    if (at != items_.end() && at->first == name) {
        at->second = value;
    } else {
        items_.emplace(at, std::string{name}, std::string{value});
    }
}

void parameter_set::erase(std::string_view name) {
    std::erase_if(items_, [&](const item& i) { return i.first == name; });
}

namespace {

std::size_t mix(std::size_t h, const parameter_set::item& item) noexcept {
    h = h * 1'099'511'628'211ULL ^ std::hash<std::string>{}(item.first);
    return h * 1'099'511'628'211ULL ^ std::hash<std::string>{}(item.second);
}

}  // namespace

std::size_t parameter_set::hash() const noexcept {
    std::size_t h = items_.size();
    for (const auto& each : items_) {
        h = mix(h, each);
    }
    return h;
}

std::size_t parameter_set::parsing_hash() const noexcept {
    std::size_t h = 0;
    for (const auto& each : items_) {
        if (each.first != "application_name") {
            h = mix(h, each);
        }
    }
    return h;
}

parameter_set_ptr parameter_pool::intern(const parameter_set& set) {
    if (set.empty()) {
        return empty_;
    }
    const auto h = set.hash();
    const auto [begin, end] = known_.equal_range(h);
    for (auto it = begin; it != end; ++it) {
        if (*it->second == set) {
            return it->second;
        }
    }
    if (known_.size() >= max_entries) {
        std::erase_if(known_, [](const auto& item) { return item.second.use_count() == 1; });
    }
    auto made = std::make_shared<const parameter_set>(set);
    known_.emplace(h, made);
    return made;
}

std::string switch_parameters_sql(const parameter_set& from, const parameter_set& to) {
    std::string sql;
    for (const auto& [name, value] : from.items()) {
        if (to.find(name) == nullptr) {
            sql += "RESET " + quote_name(name) + ";";
        }
    }
    bool first = true;
    for (const auto& item : to.items()) {
        const auto* const present = from.find(item.first);
        if (present == nullptr || *present != item.second) {
            sql += first ? "SELECT " : ", ";
            sql += set_config_call(item);
            first = false;
        }
    }
    return sql;
}

std::string switch_channels_sql(
    const std::vector<std::string>& from, const std::vector<std::string>& to
) {
    if (from == to) {
        return {};
    }
    std::string sql = from.empty() ? "" : ";UNLISTEN *";
    for (const auto& channel : to) {
        sql += ";LISTEN " + quote_name_part(channel);
    }
    return sql;
}

std::string restore_startup_sql(const parameter_set& startup, std::string_view target) {
    if (!target.empty()) {
        parameter_set wanted = startup;
        if (target != "*") {
            const auto* const value = startup.find(target);
            wanted = {};
            if (value != nullptr) {
                wanted.set(target, *value);
            }
        }
        return switch_parameters_sql({}, wanted);
    }
    if (startup.empty()) {
        return {};
    }
    std::string sql = "SELECT pg_catalog.set_config(v.n, v.s, false) FROM (VALUES ";
    bool first = true;
    for (const auto& [name, value] : startup.items()) {
        sql += first ? "(" : ", (";
        sql += quote_literal(name) + ", " + quote_literal(value) + ")";
        first = false;
    }
    // A custom parameter is in no catalog: it has been reset when it is empty.
    sql +=
        ") v(n, s) WHERE NOT EXISTS (SELECT 1 FROM pg_catalog.pg_settings s"
        " WHERE pg_catalog.lower(s.name) OPERATOR(pg_catalog.=) v.n"
        " AND s.source OPERATOR(pg_catalog.=) 'session')"
        " AND (pg_catalog.strpos(v.n, '.') OPERATOR(pg_catalog.=) 0"
        " OR COALESCE(pg_catalog.current_setting(v.n, true), '') OPERATOR(pg_catalog.=) '')";
    return sql;
}

std::string inspection_sql(const std::vector<std::string>& custom, std::string_view user) {
    std::string sql =
        "SELECT 'set', s.name::text, s.setting FROM pg_catalog.pg_settings s"
        " WHERE s.source OPERATOR(pg_catalog.=) 'session'"
        " UNION ALL SELECT 'prepared statement', p.name, '' FROM pg_catalog.pg_prepared_statements "
        "p"
        " WHERE p.from_sql"
        " UNION ALL SELECT 'cursor WITH HOLD', c.name, '' FROM pg_catalog.pg_cursors c"
        " WHERE c.is_holdable"
        // What DISCARD TEMP would drop, of whatever kind: all that depends on the schema.
        " UNION ALL SELECT 'temporary object',"
        " o.object_names[pg_catalog.cardinality(o.object_names)], '' FROM pg_catalog.pg_depend d,"
        " LATERAL pg_catalog.pg_identify_object_as_address(d.classid, d.objid, 0) o"
        " WHERE d.refclassid OPERATOR(pg_catalog.=) 'pg_catalog.pg_namespace'::pg_catalog.regclass"
        " AND d.refobjid OPERATOR(pg_catalog.=) pg_catalog.pg_my_temp_schema()"
        " UNION ALL SELECT 'advisory lock', '', '' FROM pg_catalog.pg_locks l"
        " WHERE l.locktype OPERATOR(pg_catalog.=) 'advisory'"
        " AND l.pid OPERATOR(pg_catalog.=) pg_catalog.pg_backend_pid() AND l.granted"
        " UNION ALL SELECT 'LISTEN', n, '' FROM pg_catalog.pg_listening_channels() n"
        " UNION ALL SELECT 'SET ROLE', pg_catalog.current_setting('role'), ''"
        " WHERE pg_catalog.current_setting('role') OPERATOR(pg_catalog.<>) 'none'"
        " UNION ALL SELECT 'SET SESSION AUTHORIZATION', session_user::text, ''"
        " WHERE session_user::text OPERATOR(pg_catalog.<>) ";
    sql += quote_literal(user);
    if (!custom.empty()) {
        sql += " UNION ALL SELECT 'set', v.n, pg_catalog.current_setting(v.n, true) FROM (VALUES ";
        bool first = true;
        for (const auto& name : custom) {
            sql += first ? "(" : ", (";
            sql += quote_literal(name) + ")";
            first = false;
        }
        sql +=
            ") v(n) WHERE COALESCE(pg_catalog.current_setting(v.n, true), '')"
            " OPERATOR(pg_catalog.<>) ''";
    }
    return sql;
}

std::string prepared_statements_sql() {
    // A row must fit into wire::max_server_control_bytes, in whatever encoding.
    return "SELECT 'carried', p.name, "
           "pg_catalog.array_to_string(p.parameter_types::pg_catalog.oid[],"
           " ' ') OPERATOR(pg_catalog.||) pg_catalog.chr(10) OPERATOR(pg_catalog.||) p.statement"
           " FROM pg_catalog.pg_prepared_statements p WHERE NOT p.from_sql"
           " AND pg_catalog.octet_length(p.statement) OPERATOR(pg_catalog.<=) 200000"
           " UNION ALL SELECT 'long prepared statement', p.name, ''"
           " FROM pg_catalog.pg_prepared_statements p WHERE NOT p.from_sql"
           " AND pg_catalog.octet_length(p.statement) OPERATOR(pg_catalog.>) 200000";
}

namespace {

carried_statement carried(std::string_view name, std::string_view value) {
    const auto line = value.find('\n');
    std::istringstream types{std::string{value.substr(0, line)}};
    std::vector<std::uint32_t> oids;
    for (std::uint32_t oid = 0; types >> oid;) {
        oids.push_back(oid);
    }
    carried_statement out{std::string{name}, std::string{value.substr(line + 1)}};
    const auto text_size = out.tail.size() + 1;
    out.tail.resize(text_size + 2 + 4 * oids.size());
    wire::store_u16(out.tail.data() + text_size, static_cast<std::uint16_t>(oids.size()));
    for (std::size_t i = 0; i < oids.size(); ++i) {
        wire::store_u32(out.tail.data() + text_size + 2 + 4 * i, oids[i]);
    }
    return out;
}

}  // namespace

void session_state::add(std::string_view kind, std::string_view name, std::string_view value) {
    if (kind == "set") {
        parameters.set(parameter_key(name), value);
    } else if (kind == "carried") {
        statements.push_back(carried(name, value));
    } else if (kind == "LISTEN") {
        channels.emplace_back(name);
    } else if (pinned_by.empty()) {
        pinned_by = kind;
        if (!name.empty()) {
            pinned_by += " \"" + std::string{name} + '"';
        }
    }
}

}  // namespace signalbox::rewrite
