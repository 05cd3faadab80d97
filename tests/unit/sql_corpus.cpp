// Splits all SQL files of a folder, statement by statement, in random batches and whole: our tokens
// cut as libpg_query's parser does, the prefilter lets nothing through that needs a decision, every
// call in a tree is found, and where a table's name is put in for one of ours, all references that
// read it are replaced.
//
//     signalbox_sql_corpus FOLDER      exit status 0, 1 (a property fails), 77 (no such folder)
//
// scripts/fetch_regression_sql brings PostgreSQL's own regression tests. They are written for psql:
// its commands and COPY's data are taken out first.
#include "tests/support/deep_stack.hpp"
#include "tests/support/relation_properties.hpp"
#include "tests/support/statement_properties.hpp"

#include <array>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <random>
#include <sstream>

using namespace signalbox::parser;
using namespace signalbox::tests;

namespace {

namespace fs = std::filesystem;

bool contains_ignoring_case(std::string_view line, std::string_view lower) {
    for (std::size_t i = 0; i + lower.size() <= line.size(); ++i) {
        if (equals_ignoring_case(line.substr(i, lower.size()), lower)) {
            return true;
        }
    }
    return false;
}

std::string without_psql(std::istream& file) {
    std::string sql;
    std::string line;
    while (std::getline(file, line)) {
        const auto first = line.find_first_not_of(" \t");
        if (first != std::string::npos && line[first] == '\\') {
            continue;
        }
        // select 1 \gset: sends the statement; select 1\; select 2: both in one Query.
        if (const auto send = line.find("\\g"); send != std::string::npos) {
            line.replace(send, std::string::npos, ";");
        }
        for (auto at = line.find("\\;"); at != std::string::npos; at = line.find("\\;", at)) {
            line.erase(at, 1);
        }
        sql += line + '\n';
        if (contains_ignoring_case(line, "from stdin") && line.find(';') != std::string::npos) {
            while (std::getline(file, line) && line != "\\.") {
            }
        }
    }
    return sql;
}

/// The statement with some of the tests' tables and views exchanged for a relation of ours, also
/// where they name a column's table.
std::string with_relations(const std::string& sql) {
    static const std::array<std::string_view, 16> tables{
        "tenk1",
        "tenk2",
        "onek",
        "int4_tbl",
        "int8_tbl",
        "text_tbl",
        "j1_tbl",
        "person",
        "float8_tbl",
        "road",
        "emp",
        "a",
        "b",
        "c",
        "t1",
        "foo"};
    std::string out;
    std::size_t at = 0;
    lexer tokens{sql};
    token before;
    for (token t = tokens.next(); t.kind != token_kind::end; t = tokens.next()) {
        const bool is_table = t.kind == token_kind::word && before.text != "." &&
                              std::any_of(tables.begin(), tables.end(), [&](auto table) {
                                  return equals_ignoring_case(t.text, table);
                              });
        const auto offset =
            static_cast<std::size_t>(std::distance(std::string_view{sql}.data(), t.text.data()));
        if (is_table) {
            out += sql.substr(at, offset - at);
            out += "mz_catalog.mz_objects";
            at = offset + t.text.size();
        }
        before = t;
    }
    return out + sql.substr(at);
}

class checker {
public:
    void check_file(const fs::path& path) {
        std::ifstream file{path};
        const auto sql = without_psql(file);
        file_ = path.filename().string();
        ++files_;
        check(sql);
        std::vector<std::string> valid;
        for (const auto& piece : split_by_tokens(sql, backslashes::plain).statements) {
            auto text = sql.substr(piece.offset, piece.size);
            ++statements_;
            check(text);
            check_relations(with_relations(text));
            for (const auto& rules : rules_) {
                const auto found = rules->decide(text, backslashes::plain);
                expect(calls_agree(*rules, text, found), "every call is found", text);
            }
            if (const auto ends = parsed_statement_ends(text)) {
                expect(ends->size() == 1, "one statement by tokens is one to the parser", text);
                valid.push_back(std::move(text));
            }
        }
        parsed_ += valid.size();
        check_batches(valid);
    }

    int report() const {
        std::printf(
            "%zu files, %zu statements (%zu of them libpg_query can parse), %zu batches; %zu texts "
            "needed no decision; relations replaced in %zu statements, refused in %zu; %zu "
            "failures\n",
            files_,
            statements_,
            parsed_,
            batches_,
            undecided_,
            replaced_,
            refused_,
            failures_
        );
        return failures_ == 0 && parsed_ > 0 && replaced_ > 0 ? 0 : 1;
    }

private:
    void check_batches(const std::vector<std::string>& valid) {
        std::string whole;
        for (std::size_t i = 0; i < valid.size();) {
            std::string batch;
            std::size_t count = 0;
            for (auto left = 1 + random_() % 20; left > 0 && i < valid.size(); --left, ++i) {
                // The last piece of a file may lack its semicolon.
                batch += valid[i] + ";";
                ++count;
            }
            ++batches_;
            check(batch);
            const auto found = rules_[0]->decide(batch, backslashes::plain);
            expect(found.statements.size() == count, "a batch is its statements", batch);
            whole += batch;
        }
        check(whole);
    }

    void check(const std::string& sql) {
        expect(splits_agree(sql), "tokens cut as the parser", sql);
        for (const auto& rules : rules_) {
            const auto found = rules->decide(sql, backslashes::plain);
            expect(rebuilds(found, sql) && adds_up(found), "the pieces are the text", sql);
            expect(prefilter_is_proof(*rules, sql, found), "the prefilter is a proof", sql);
            const auto escaped = rules->decide(sql, backslashes::escape);
            expect(rebuilds(escaped, sql), "the pieces are the text, with backslashes", sql);
            expect(prefilter_is_proof(*rules, sql, escaped), "a proof, with backslashes", sql);
            undecided_ += rules->needs_decision(sql) ? 0 : 1;
        }
    }

    void check_relations(const std::string& sql) {
        expect(
            relations_are_sound(*rules_[0], sql, backslashes::plain), "all of ours is replaced", sql
        );
        expect(relations_are_sound(*rules_[0], sql, backslashes::escape), "with backslashes", sql);
        const auto found = signalbox::rewrite::find_relations(sql, backslashes::plain, {});
        replaced_ += found.is_needed() ? 1 : 0;
        refused_ += found.refused ? 1 : 0;
    }

    void expect(bool holds, const char* what, std::string_view sql) {
        if (!holds) {
            ++failures_;
            std::printf(
                "%s: not so: %s\n%.600s\n----\n", file_.c_str(), what, std::string{sql}.c_str()
            );
        }
    }

    static std::unique_ptr<statement_rules> rules_of(std::vector<std::string> patterns) {
        return std::make_unique<statement_rules>(patterns);
    }

    std::vector<std::unique_ptr<statement_rules>> rules_ = [] {
        std::vector<std::unique_ptr<statement_rules>> rules;
        rules.push_back(rules_of({}));
        rules.push_back(rules_of({"pg_.*", "(?i)COUNT|sum", "public\\..*"}));
        rules.push_back(rules_of({".*_fn|.*func.*", "test_\\w+", "f\\d*", "now"}));
        rules.push_back(rules_of({".*"}));
        return rules;
    }();
    std::mt19937 random_{1};
    std::string file_;
    std::size_t files_ = 0;
    std::size_t statements_ = 0;
    std::size_t parsed_ = 0;
    std::size_t batches_ = 0;
    std::size_t undecided_ = 0;
    std::size_t replaced_ = 0;
    std::size_t refused_ = 0;
    std::size_t failures_ = 0;
};

}  // namespace

int main(int count, char** arguments) {
    const fs::path folder = count > 1 ? arguments[1] : ".";
    if (!fs::is_directory(folder)) {
        std::printf("left out: there is no folder %s\n", folder.c_str());
        return 77;
    }
    checker all;
    on_deep_stack([&] {
        for (const auto& entry : fs::recursive_directory_iterator{folder}) {
            if (entry.path().extension() == ".sql") {
                all.check_file(entry.path());
            }
        }
    });
    return all.report();
}
