// The same finding in the same definition has the same fingerprint, and no other has it.
#include "tests/unit/catalog/notice_world.hpp"

#include <catch2/catch.hpp>

#include <random>
#include <set>

using namespace signalbox::catalog;
using signalbox::parser::canonical_form;

TEST_CASE("notices: the canonical form does not depend on names of sources, blanks or comments") {
    const auto [one, other] = GENERATE(table<std::string, std::string>({
        {"SELECT a.x FROM s.t a", "select b.x\n  from s.t as b -- c"},
        {"SELECT t.x FROM s.t", "SELECT u.x FROM s.t u"},
        {"SELECT a.x FROM s.t a JOIN s.t b ON a.x = b.y",
         "SELECT p.x FROM s.t p JOIN s.t q ON p.x = q.y"},
        {"SELECT a.x FROM s.t a WHERE EXISTS (SELECT 1 FROM s.u b WHERE b.y = a.x)",
         "SELECT b.x FROM s.t b WHERE EXISTS (SELECT 1 FROM s.u a WHERE a.y = b.x)"},
        {"SELECT q.x FROM (SELECT a.x FROM s.t a) q", "SELECT r.x FROM (SELECT r.x FROM s.t r) r"},
        {"SELECT a.x FROM s.t a UNION SELECT a.x FROM s.u a",
         "SELECT b.x FROM s.t b UNION SELECT c.x FROM s.u c"},
        {"WITH w AS (SELECT 1 AS x) SELECT w.x FROM w",
         "WITH z AS (SELECT 1 AS x) SELECT k.x FROM z k"},
    }));
    CHECK(canonical_form(one) == canonical_form(other));
}

TEST_CASE("notices: the canonical form of another query is another") {
    const auto [one, other] = GENERATE(table<std::string, std::string>({
        {"SELECT a.x FROM s.t a", "SELECT a.y FROM s.t a"},
        {"SELECT a.x FROM s.t a", "SELECT a.x FROM s.u a"},
        {"SELECT a.x FROM s.t a", "SELECT a.x AS y FROM s.t a"},
        {"SELECT a.x FROM s.t a", "SELECT a.x FROM s.t a LIMIT 1"},
        {"SELECT a.x FROM s.t a WHERE a.x = 1", "SELECT a.x FROM s.t a WHERE a.x = 2"},
        {"SELECT a.x FROM s.t a WHERE a.x = '1'", "SELECT a.x FROM s.t a WHERE a.x = 1"},
        {"SELECT a.x FROM s.t a, s.t b", "SELECT b.x FROM s.t a, s.t b"},
        {"SELECT a.x FROM s.t a UNION SELECT 1", "SELECT a.x FROM s.t a UNION ALL SELECT 1"},
        {"not SQL", "not  SQL"},
    }));
    CHECK(canonical_form(one) != canonical_form(other));
}

TEST_CASE("notices: a query that nests too deep is its own canonical form") {
    std::string sql = "SELECT 1";
    for (int i = 0; i < 600; ++i) {
        sql = "SELECT (" + sql + ")";
    }
    CHECK(canonical_form(sql) == sql);
    CHECK_FALSE(signalbox::parser::parse_query(sql));
}

namespace {

std::string fingerprint(
    const std::string& definition,
    const std::string& name = "v",
    const notice_place& place = {"main", "app"},
    const std::vector<std::string>& facts = {"f"},
    std::string_view type = "type"
) {
    object_facts object;
    object.kind = object_kind::view;
    object.schema = "s";
    object.name = name;
    object.definition = definition;
    return notice_fingerprint(type, place, object, facts);
}

}  // namespace

TEST_CASE("notices: a fingerprint is a UUID of version 5 that has always been the same") {
    // Statuses in stores of earlier versions are kept under it.
    CHECK(fingerprint("SELECT a.x FROM s.t a") == "5b2874dd-985b-582e-af23-281799debb40");
}

TEST_CASE("notices: each part of a finding makes another fingerprint") {
    const std::string sql = "SELECT a.x FROM s.t a";
    const std::set<std::string> all{
        fingerprint(sql),
        fingerprint("SELECT a.y FROM s.t a"),
        fingerprint(sql, "w"),
        fingerprint(sql, "v", {"other", "app"}),
        fingerprint(sql, "v", {"main", "apple"}),
        fingerprint(sql, "v", {"mainapp", ""}),
        fingerprint(sql, "v", {"main", "app"}, {}),
        fingerprint(sql, "v", {"main", "app"}, {"f", "g"}),
        fingerprint(sql, "v", {"main", "app"}, {"fg"}),
        fingerprint(sql, "v", {"main", "app"}, {"f"}, "another")};
    CHECK(all.size() == 10);
}

TEST_CASE("notices: fingerprints of random aliases are the same, of random literals are not") {
    std::mt19937 random{11};
    const auto word = [&] {
        std::string out = "a";
        for (int i = 0; i < 6; ++i) {
            out += static_cast<char>('a' + random() % 26);
        }
        return out;
    };
    const auto definition = [](const std::string& a, const std::string& b, const std::string& n) {
        return " SELECT " + a + ".x\n   FROM (s.t " + a + "\n     LEFT JOIN s.u " + b + " ON ((" +
               a + ".x = " + b + ".y)))\n  WHERE (" + b + ".z = " + n + ") LIMIT " + n;
    };
    const auto known = fingerprint(definition("p", "q", "0"));
    std::set<std::string> others;
    for (int round = 1; round <= 300; ++round) {
        const auto a = word();
        const auto b = word() + "b";
        CHECK(fingerprint(definition(a, b, "0")) == known);
        others.insert(fingerprint(definition(a, b, std::to_string(round))));
    }
    CHECK(others.size() == 300);
    CHECK_FALSE(others.contains(known));
}
