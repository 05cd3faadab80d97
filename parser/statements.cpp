#include "parser/statements.hpp"

#include "parser/calls.hpp"
#include "parser/limits.hpp"
#include "parser/prefilter.hpp"
#include "parser/split.hpp"
#include "parser/sql_names.hpp"

#include <re2/re2.h>

#include <algorithm>
#include <stdexcept>

namespace signalbox::parser {
namespace {

/// What libpg_query reads as the server does, and can be trusted with.
bool can_be_parsed(std::string_view sql, std::size_t tokens, backslashes strings) noexcept {
    return strings == backslashes::plain && sql.size() <= max_parsed_bytes &&
           tokens <= max_parsed_tokens && scanner_steps(sql) <= max_scanner_steps &&
           sql.find('\0') == std::string_view::npos;
}

std::vector<statement_piece> pieces_until(
    const std::vector<std::size_t>& ends, std::string_view sql
) {
    std::vector<statement_piece> pieces;
    std::size_t start = 0;
    for (const auto end : ends) {
        const auto size = end - start;
        pieces.push_back({start, size, kind_of(sql.substr(start, size), backslashes::plain), false}
        );
        start = end;
    }
    return pieces;
}

}  // namespace

struct statement_rules::parts {
    parts(const std::vector<std::string>& rpc_functions, const std::vector<std::string>& schemas)
        : filter(rpc_functions, schemas) {}

    [[nodiscard]] bool matches(std::string_view name) const {
        return std::any_of(patterns.begin(), patterns.end(), [&](const auto& pattern) {
            return re2::RE2::FullMatch({name.data(), name.size()}, *pattern);
        });
    }

    std::vector<std::unique_ptr<re2::RE2>> patterns;
    prefilter filter;
};

statement_rules::statement_rules(
    const std::vector<std::string>& rpc_functions, const std::vector<std::string>& schemas
) {
    std::vector<std::unique_ptr<re2::RE2>> patterns;
    for (const auto& pattern : rpc_functions) {
        patterns.push_back(std::make_unique<re2::RE2>(pattern, re2::RE2::Quiet));
        if (!patterns.back()->ok()) {
            throw std::invalid_argument{"\"" + pattern + "\": " + patterns.back()->error()};
        }
    }
    parts_ = std::make_unique<parts>(rpc_functions, schemas);
    parts_->patterns = std::move(patterns);
}

statement_rules::~statement_rules() = default;

bool statement_rules::needs_decision(std::string_view sql) const noexcept {
    return parts_->filter.finds(sql);
}

bool statement_rules::may_use_relations(std::string_view sql) const noexcept {
    return parts_->filter.may_name_schema(sql);
}

bool statement_rules::looks_for_rpc() const noexcept {
    return !parts_->patterns.empty();
}

bool statement_rules::is_rpc(std::string_view schema, std::string_view function) const {
    return parts_->matches(function) ||
           (!schema.empty() && parts_->matches(std::string{schema} + "." + std::string{function}));
}

bool statement_rules::is_light(std::string_view sql) {
    return sql.size() <= max_light_bytes && tree_tokens(sql, max_light_tokens) <= max_light_tokens;
}

verdict statement_rules::decide(std::string_view sql, backslashes strings) const {
    if (sql.find('\\') == std::string_view::npos) {
        strings = backslashes::plain;  // both readings are the same
    }
    auto split = split_by_tokens(sql, strings);
    const bool can_parse = can_be_parsed(sql, split.tokens, strings);
    if (can_parse && (split.statements.size() > 1 || split.has_inner_semicolons)) {
        if (const auto ends = parsed_statement_ends(std::string{sql})) {
            split.statements = pieces_until(*ends, sql);
        }
    }
    verdict found{.statements = std::move(split.statements), .names = {}};
    const bool may_call = parts_->filter.may_call(sql);
    const bool has_names = looks_for_rpc() && may_use_sql_names(sql);
    auto tokens_left = can_parse ? max_tree_tokens : 0;
    for (auto& piece : found.statements) {
        const auto text = sql.substr(piece.offset, piece.size);
        auto used = has_names ? find_sql_name(text, strings) : std::nullopt;
        const bool prepares = used && used->use == name_use::prepares;
        const bool has_call =
            may_call && calls_rpc(prepares ? used->body : text, strings, tokens_left);
        if (used) {
            const auto number = static_cast<std::size_t>(&piece - found.statements.data());
            found.names.push_back({number, used->use, std::move(used->name), prepares && has_call});
        }
        piece.calls_rpc = has_call && !prepares;
        found.calls_rpc = found.calls_rpc || piece.calls_rpc;
        found.is_ours = found.is_ours || piece.kind == statement_kind::signalbox;
    }
    return found;
}

/// `tokens_left` is what may still be spent on trees.
bool statement_rules::calls_rpc(
    std::string_view statement, backslashes strings, std::size_t& tokens_left
) const {
    const call_predicate is_wanted = [this](std::string_view schema, std::string_view function) {
        return is_rpc(schema, function);
    };
    const auto mentioned = find_mention(statement, strings, is_wanted);
    if (mentioned == mention::none) {
        return false;
    }
    if (statement.size() <= max_tree_bytes) {
        if (const auto tokens = tree_tokens(statement, tokens_left); tokens <= tokens_left) {
            tokens_left -= tokens;
            if (const auto made = makes_call(std::string{statement}, is_wanted)) {
                return *made;
            }
        }
    }
    return mentioned == mention::likely;
}

}  // namespace signalbox::parser
