#include "parser/pg_query.hpp"

#include "parser/called_functions.hpp"
#include "parser/query_tree.hpp"
#include "parser/relation_tree.hpp"

#include <pg_query.h>

namespace signalbox::parser {
namespace {

/// Owns a result of libpg_query.
template <class Result, void (*Free)(Result)>
class owned {
public:
    explicit owned(Result result) noexcept : result_(result) {}

    ~owned() { Free(result_); }

    owned(const owned&) = delete;
    owned& operator=(const owned&) = delete;

    const Result* operator->() const noexcept { return &result_; }

private:
    Result result_;
};

using split_result = owned<PgQuerySplitResult, pg_query_free_split_result>;
using tree_result = owned<PgQueryProtobufParseResult, pg_query_free_protobuf_parse_result>;

}  // namespace

std::optional<std::vector<std::size_t>> parsed_statement_ends(const std::string& sql) {
    const split_result found{pg_query_split_with_parser(sql.c_str())};
    if (found->error != nullptr) {
        return std::nullopt;
    }
    std::vector<std::size_t> ends;
    const auto count = static_cast<std::size_t>(found->n_stmts);
    for (std::size_t i = 0; i + 1 < count; ++i) {
        const auto& stmt = *found->stmts[i];
        const auto semicolon =
            static_cast<std::size_t>(stmt.stmt_location) + static_cast<std::size_t>(stmt.stmt_len);
        if (semicolon >= sql.size() || sql[semicolon] != ';') {
            return std::nullopt;
        }
        ends.push_back(semicolon + 1);
    }
    if (count > 0) {
        ends.push_back(sql.size());
    }
    return ends;
}

std::optional<bool> makes_call(const std::string& sql, const call_predicate& is_wanted) {
    const tree_result found{pg_query_parse_protobuf(sql.c_str())};
    if (found->error != nullptr) {
        return std::nullopt;
    }
    return tree_makes_call({found->parse_tree.data, found->parse_tree.len}, is_wanted);
}

std::optional<relation_names> parsed_relation_names(
    const std::string& sql, const relation_predicate& is_wanted
) {
    const tree_result found{pg_query_parse_protobuf(sql.c_str())};
    if (found->error != nullptr) {
        return std::nullopt;
    }
    return relations_in_tree({found->parse_tree.data, found->parse_tree.len}, is_wanted);
}

std::optional<query> parsed_query(const std::string& sql) {
    const tree_result found{pg_query_parse_protobuf(sql.c_str())};
    if (found->error != nullptr) {
        return std::nullopt;
    }
    return query_in_tree({found->parse_tree.data, found->parse_tree.len});
}

std::optional<explained> parsed_explained(const std::string& sql) {
    const tree_result found{pg_query_parse_protobuf(sql.c_str())};
    if (found->error != nullptr) {
        return std::nullopt;
    }
    const std::string_view tree{found->parse_tree.data, found->parse_tree.len};
    auto relations = all_relations_in_tree(tree);
    if (!relations) {
        return std::nullopt;
    }
    return explained{.relations = std::move(*relations), .select = query_in_tree(tree)};
}

std::optional<std::string> parsed_canonical_form(const std::string& sql) {
    const tree_result found{pg_query_parse_protobuf(sql.c_str())};
    if (found->error != nullptr) {
        return std::nullopt;
    }
    return canonical_tree({found->parse_tree.data, found->parse_tree.len});
}

}  // namespace signalbox::parser
