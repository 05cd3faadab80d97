// Prints what is sent for statements that read relations of ours, with the rows of
// tests/integration/connections/test_relations_sql.py, which runs it on a real PostgreSQL.
//
//     signalbox_relations_sql [escape] <STATEMENTS
//
// Statements end with NUL. Each gives five texts that end with NUL: the SQLSTATE of a refusal, the
// text with literals, the text with a parameter, its number, its value; those that do not apply are
// empty. `escape`: standard_conforming_strings is off.
#include "rewrite/relation_rewrite.hpp"
#include "rewrite/relation_rows.hpp"

#include <iostream>
#include <string>
#include <vector>

using namespace signalbox;
using namespace signalbox::rewrite;

namespace {

catalog::timestamp at(std::int64_t microseconds) {
    return catalog::timestamp{std::chrono::microseconds{microseconds}};
}

std::vector<relation_row> rows_of(const relation& r) {
    const std::monostate null;
    const std::string odd =
        "it's \"odd\" \\ \n\t \xc3\xa4\xe2\x82\xac\xf0\x9f\x9a\x82 $1 ?\x1d\x1e\x1f\x1c";
    const auto day = at(1709168523000001);  // 2024-02-29 01:02:03.000001 UTC
    if (r.name == "mz_connections") {
        return {
            {"u1", "main", "postgres", null, "CREATE CONNECTION main", std::int64_t{1}, day, day},
            {"u2", odd, "kafka", "app", odd, std::int64_t{9007199254740993}, day, at(0)}};
    }
    if (r.name == "mz_connection_statuses") {
        return {
            {"u1", "main", "postgres", day, "available", null},
            {"u2", odd, "kafka", null, "unknown", odd}};
    }
    if (r.name == "mz_objects") {
        return {{"o1", std::int64_t{4294967295}, "u1", "app", "public", "v", "view", "app"}};
    }
    if (r.name == "mz_notices") {
        relation_row notice(r.columns.size(), null);
        notice[0] = "Empty index key";
        notice[1] = odd;
        notice[9] = std::vector<std::string>{"o1", odd, "", "NULL"};
        notice[12] = "6ba7b810-9dad-51d1-80b4-00c04fd430c8";
        relation_row other(r.columns.size(), null);
        other[9] = std::vector<std::string>{};
        return {notice, other};
    }
    return {};
}

}  // namespace

int main(int count, char** arguments) {
    const bool escapes = count > 1 && std::string_view{arguments[1]} == "escape";
    const auto strings = escapes ? parser::backslashes::escape : parser::backslashes::plain;
    std::string statement;
    while (std::getline(std::cin, statement, '\0')) {
        const auto found = find_relations(statement, strings, {});
        const std::string sqlstate = found.refused ? found.refused->what.sqlstate : "";
        std::vector<relation_text> rows;
        for (const auto* const r : found.used) {
            rows.push_back(std::make_shared<const std::string>(rows_text(*r, rows_of(*r))));
        }
        const auto parameter = found.highest_parameter + 1;
        std::cout << sqlstate << '\0' << render_with_literals(statement, found, rows).sql() << '\0';
        if (found.is_needed() && !found.needs_literals) {
            std::cout << render_with_parameter(statement, found, parameter).sql() << '\0'
                      << parameter << '\0' << parameter_value(found, rows) << '\0';
        } else {
            std::cout << '\0' << '\0' << '\0';
        }
    }
    return 0;
}
