// Prints the notices of a database, one JSON object per line. For the tests in
// tests/integration/notices.
//
//   signalbox_notices URL          of every object
//   signalbox_notices URL schema.name     as if that object had just been made
#include "catalog/notices/facts_sql.hpp"
#include "catalog/notices/types.hpp"

#include <boost/json.hpp>
#include <libpq-fe.h>

#include <charconv>
#include <chrono>
#include <iostream>
#include <memory>
#include <stdexcept>

namespace {

namespace json = boost::json;
namespace catalog = signalbox::catalog;

struct freer {
    void operator()(PGconn* connection) const noexcept { ::PQfinish(connection); }

    void operator()(PGresult* result) const noexcept { ::PQclear(result); }
};

using connection_ptr = std::unique_ptr<PGconn, freer>;
using rows = std::vector<catalog::fact_row>;

rows ask(PGconn* server, const std::string& sql, const char* parameter = nullptr) {
    const std::unique_ptr<PGresult, freer> result{
        parameter == nullptr
            ? ::PQexec(server, sql.c_str())
            : ::PQexecParams(server, sql.c_str(), 1, nullptr, &parameter, nullptr, nullptr, 0)};
    if (::PQresultStatus(result.get()) != PGRES_TUPLES_OK) {
        throw std::runtime_error{::PQerrorMessage(server)};
    }
    rows found;
    for (int row = 0; row < ::PQntuples(result.get()); ++row) {
        auto& fields = found.emplace_back();
        for (int column = 0; column < ::PQnfields(result.get()); ++column) {
            if (::PQgetisnull(result.get(), row, column) != 0) {
                fields.emplace_back();
            } else {
                fields.emplace_back(::PQgetvalue(result.get(), row, column));
            }
        }
    }
    return found;
}

catalog::object_oid oid_of(PGconn* server, const char* name) {
    const auto found = ask(server, "SELECT pg_catalog.to_regclass($1)::pg_catalog.oid", name);
    catalog::object_oid oid = 0;
    if (const auto& text = found.at(0).at(0)) {
        std::from_chars(text->data(), text->data() + text->size(), oid);
    }
    return oid;
}

json::value or_null(const std::optional<std::string>& text) {
    return text ? json::value(json::string{*text}) : json::value(nullptr);
}

json::object describe(const catalog::notice& n) {
    json::array dependencies;
    for (const auto oid : n.dependencies) {
        dependencies.emplace_back(oid);
    }
    return {
        {"type", n.type},
        {"page", catalog::notice_page(n.type)},
        {"message", n.text.message},
        {"hint", n.text.hint},
        {"action", n.text.action},
        {"action_type", catalog::action_type_name(n.text.action_type)},
        {"redacted_message", or_null(n.redacted_message)},
        {"redacted_hint", or_null(n.redacted_hint)},
        {"redacted_action", or_null(n.redacted_action)},
        {"oid", n.object},
        {"kind", catalog::kind_name(n.kind)},
        {"schema", n.schema},
        {"name", n.name},
        {"dependencies", dependencies},
        {"fingerprint", n.fingerprint}};
}

int run(const char* url, const char* created) {
    const connection_ptr server{::PQconnectdb(url)};
    if (::PQstatus(server.get()) != CONNECTION_OK) {
        throw std::runtime_error{::PQerrorMessage(server.get())};
    }
    ask(server.get(), catalog::facts_settings_sql);
    const auto begin = std::chrono::steady_clock::now();
    std::vector<catalog::object_oid> about;
    if (created != nullptr) {
        about.push_back(oid_of(server.get(), created));
    }
    const auto queries = catalog::facts_sql(about);
    catalog::facts_reader reader;
    for (std::size_t query = 0; query < queries.size(); ++query) {
        for (const auto& row : ask(server.get(), queries[query])) {
            if (!reader.add(query, row)) {
                throw std::runtime_error{"a row is not understood: " + queries[query]};
            }
        }
    }
    const auto read = std::chrono::steady_clock::now();
    const auto facts = std::move(reader).finish();
    const catalog::notice_place place{::PQhost(server.get()), ::PQdb(server.get())};
    const auto notices = created == nullptr ? catalog::examine_all(facts, place)
                                            : catalog::examine_created(about.front(), facts, place);
    const auto end = std::chrono::steady_clock::now();
    for (const auto& n : notices) {
        std::cout << json::serialize(describe(n)) << '\n';
    }
    const auto us = [](auto time) {
        return std::chrono::duration_cast<std::chrono::microseconds>(time).count();
    };
    std::cerr << facts.objects().size() << " objects, read in " << us(read - begin)
              << " us, examined in " << us(end - read) << " us\n";
    return 0;
}

}  // namespace

int main(int argc, char** argv) {
    try {
        if (argc < 2) {
            throw std::runtime_error{"usage: signalbox_notices URL [schema.name]"};
        }
        return run(argv[1], argc > 2 ? argv[2] : nullptr);
    } catch (const std::exception& error) {
        std::cerr << error.what() << '\n';
        return 1;
    }
}
