#include "parser/relation_names.hpp"

#include "parser/limits.hpp"
#include "parser/names.hpp"
#include "parser/pg_query.hpp"

#include <algorithm>
#include <array>
#include <iterator>
#include <utility>

namespace signalbox::parser {
namespace {

/// schema.name among the tokens.
struct name_pair {
    std::string schema;
    std::string name;
    std::size_t begin = 0;  // tokens
    std::size_t end = 0;    // behind the last
};

class statement_tokens {
public:
    statement_tokens(std::string_view statement, backslashes strings) : text_(statement) {
        lexer tokens{statement, strings};
        for (token t = tokens.next(); t.kind != token_kind::end; t = tokens.next()) {
            tokens_.push_back(t);
        }
    }

    [[nodiscard]] std::size_t size() const noexcept { return tokens_.size(); }

    /// Beyond either end of the statement: a token of kind `end`.
    [[nodiscard]] token at(std::size_t i) const noexcept {
        return i < tokens_.size() ? tokens_[i] : token{};
    }

    [[nodiscard]] bool is_word(std::size_t i, std::string_view lower) const noexcept {
        return at(i).kind == token_kind::word && equals_ignoring_case(at(i).text, lower);
    }

    template <std::size_t N>
    [[nodiscard]] bool is_one_of(std::size_t i, const std::array<std::string_view, N>& lower)
        const noexcept {
        return std::any_of(lower.begin(), lower.end(), [&](std::string_view word) {
            return is_word(i, word);
        });
    }

    [[nodiscard]] bool is_symbol(std::size_t i, std::string_view symbol) const noexcept {
        return at(i).kind == token_kind::symbol && at(i).text == symbol;
    }

    [[nodiscard]] std::size_t offset(std::size_t i) const noexcept {
        return static_cast<std::size_t>(std::distance(text_.data(), tokens_[i].text.data()));
    }

    /// The text from token `begin` until before token `end`.
    [[nodiscard]] text_range range(std::size_t begin, std::size_t end) const noexcept {
        const auto from = offset(begin);
        return {from, offset(end - 1) + tokens_[end - 1].text.size() - from};
    }

    /// The token that begins at `offset`; size() if none does.
    [[nodiscard]] std::size_t token_at(std::size_t offset) const noexcept {
        const auto found = std::lower_bound(
            tokens_.begin(),
            tokens_.end(),
            offset,
            [&](const token& t, std::size_t wanted) {
                return static_cast<std::size_t>(std::distance(text_.data(), t.text.data())) <
                       wanted;
            }
        );
        const auto i = static_cast<std::size_t>(std::distance(tokens_.begin(), found));
        return i < size() && this->offset(i) == offset ? i : size();
    }

    /// Two names with a dot between that begin at token `i`.
    [[nodiscard]] std::optional<name_pair> pair_at(std::size_t i) const {
        name_pair found;
        found.begin = found.end = i;
        found.schema = name_at(found.end);
        if (found.end == i || !is_symbol(found.end, ".")) {
            return std::nullopt;
        }
        const auto second = ++found.end;
        found.name = name_at(found.end);
        if (found.end == second) {
            return std::nullopt;
        }
        return found;
    }

private:
    /// Moves `i` behind the name, and behind the UESCAPE that belongs to it.
    std::string name_at(std::size_t& i) const {
        const auto name = at(i);
        if (!is_name(name)) {
            return {};
        }
        ++i;
        char escape = '\\';
        const bool is_unicode =
            name.kind == token_kind::quoted_identifier && name.text.front() != '"';
        if (is_unicode && is_word(i, "uescape") && at(i + 1).kind == token_kind::string) {
            escape = escape_of(at(i + 1).text);
            i += 2;
        }
        return folded_name(name, escape);
    }

    std::string_view text_;
    std::vector<token> tokens_;
};

/// What a relation's item in FROM has about its name: ONLY with or without parentheses, or a star;
/// and TABLE, where that is the whole query.
void find_item(const statement_tokens& tokens, const name_pair& name, named_relation& found) {
    auto begin = name.begin;
    auto end = name.end;
    if (tokens.is_word(begin - 1, "only")) {
        --begin;
    } else if (tokens.is_symbol(begin - 1, "(") && tokens.is_word(begin - 2, "only") &&
               tokens.is_symbol(end, ")")) {
        begin -= 2;
        ++end;
    } else if (tokens.is_symbol(end, "*")) {
        ++end;
    }
    if (tokens.is_word(begin - 1, "table")) {
        --begin;
        found.is_table_command = true;
    }
    found.item = tokens.range(begin, end);
}

/// Of COPY name (a, b). False: the list is not closed.
bool find_column_list(
    const statement_tokens& tokens, const name_pair& name, named_relation& found
) {
    if (!tokens.is_symbol(name.end, "(")) {
        return true;
    }
    for (auto i = name.end + 1; i < tokens.size(); ++i) {
        if (tokens.is_symbol(i, ")")) {
            found.column_list = tokens.range(name.end, i + 1);
            return true;
        }
    }
    return false;
}

/// Gives what the tree has found its extent in the text. False: our tokens do not agree with it.
bool find_ranges(const statement_tokens& tokens, relation_names& found) {
    for (auto& relation : found.relations) {
        if (relation.role == relation_role::changed) {
            continue;  // nothing of it is replaced
        }
        const auto name = tokens.pair_at(tokens.token_at(relation.range.offset));
        if (!name || name->schema != relation.schema || name->name != relation.name) {
            return false;
        }
        relation.range = tokens.range(name->begin, name->end);
        relation.item = relation.range;
        if (relation.role != relation_role::copied) {
            find_item(tokens, *name, relation);
        } else if (!find_column_list(tokens, *name, relation)) {
            return false;
        } else {
            found.is_binary_copy = !tokens.is_word(name->begin - 1, "copy");
        }
    }
    return std::all_of(found.columns.begin(), found.columns.end(), [&](qualified_column& column) {
        const auto name = tokens.pair_at(tokens.token_at(column.range.offset));
        if (!name || name->schema != column.schema || name->name != column.name) {
            return false;
        }
        column.range = tokens.range(name->begin, name->end);
        return true;
    });
}

/// The same text with the same tokens, in which no plain string has a backslash.
std::string without_backslashes(std::string_view statement, const statement_tokens& tokens) {
    std::string masked{statement};
    for (std::size_t i = 0; i < tokens.size(); ++i) {
        const auto t = tokens.at(i);
        const auto open = t.text.find('\'');
        if (t.kind == token_kind::string &&
            (t.text[0] == '\'' || t.text[0] == 'n' || t.text[0] == 'N') &&
            open + 1 < t.text.size() && t.text.back() == '\'' &&
            t.text.find('\\') != std::string_view::npos) {
            const auto from = tokens.offset(i) + open + 1;
            const auto to = tokens.offset(i) + t.text.size() - 1;
            std::fill(
                masked.begin() + static_cast<std::ptrdiff_t>(from),
                masked.begin() + static_cast<std::ptrdiff_t>(to),
                'x'
            );
        }
    }
    return masked;
}

bool may_be_parsed(std::string_view statement) {
    return statement.size() <= max_tree_bytes &&
           tree_tokens(statement, max_tree_tokens) <= max_tree_tokens &&
           scanner_steps(statement) <= max_scanner_steps &&
           statement.find('\0') == std::string_view::npos;
}

std::optional<relation_names> find_by_tree(
    std::string_view statement,
    backslashes strings,
    const statement_tokens& tokens,
    const relation_predicate& is_wanted
) {
    const auto text = strings == backslashes::escape ? without_backslashes(statement, tokens)
                                                     : std::string{statement};
    if (!may_be_parsed(text)) {
        return std::nullopt;
    }
    auto found = parsed_relation_names(text, is_wanted);
    if (found && !find_ranges(tokens, *found)) {
        return std::nullopt;
    }
    return found;
}

/// A query that only reads, as far as tokens tell: of a statement with none of these words nothing
/// is written, defined, locked or sampled.
bool only_reads(const statement_tokens& tokens) noexcept {
    static constexpr std::array<std::string_view, 4> readers{"select", "with", "explain", "values"};
    static constexpr std::array<std::string_view, 15> others{
        "insert",
        "update",
        "delete",
        "merge",
        "truncate",
        "create",
        "alter",
        "drop",
        "into",
        "copy",
        "tablesample",
        "prepare",
        "declare",
        "for",
        "execute"};
    std::size_t first = 0;
    while (tokens.at(first).kind == token_kind::semicolon || tokens.is_symbol(first, "(")) {
        ++first;
    }
    bool reads = tokens.is_one_of(first, readers);
    for (auto i = first; i < tokens.size() && reads; ++i) {
        reads = !tokens.is_one_of(i, others);
    }
    return reads;
}

/// Whether an alias begins at token `i`, behind a relation. No value: that is not known.
std::optional<bool> begins_alias(const statement_tokens& tokens, std::size_t i) noexcept {
    // Words that are no alias without AS.
    static constexpr std::array<std::string_view, 19> followers{
        "where",
        "group",
        "having",
        "window",
        "union",
        "intersect",
        "except",
        "order",
        "limit",
        "offset",
        "fetch",
        "join",
        "inner",
        "left",
        "right",
        "full",
        "cross",
        "natural",
        "on"};
    const auto next = tokens.at(i);
    switch (next.kind) {
        case token_kind::end:
        case token_kind::semicolon:
            return false;
        case token_kind::quoted_identifier:
            return true;
        case token_kind::symbol:
            return next.text == ")" || next.text == "," ? std::optional{false} : std::nullopt;
        case token_kind::word:
            return !tokens.is_one_of(i, followers) && !tokens.is_word(i, "using");
        default:
            return std::nullopt;
    }
}

/// Each name stands behind FROM or JOIN and before what may follow an item there. Should FROM
/// belong to EXTRACT or to IS DISTINCT FROM, what is made of it is an error to the server.
relation_names find_by_tokens(const statement_tokens& tokens, const relation_predicate& is_wanted) {
    relation_names found;
    if (!only_reads(tokens)) {
        return found;
    }
    for (std::size_t i = 1; i < tokens.size(); ++i) {
        if (const auto t = tokens.at(i); t.kind == token_kind::parameter) {
            // More digits than a number of parameters has are the server's to refuse.
            const auto digits = t.text.substr(1, 6);
            std::size_t number = 0;
            for (const char digit : digits) {
                number = number * 10 + static_cast<std::size_t>(digit - '0');
            }
            found.highest_parameter = std::max(found.highest_parameter, number);
        }
        const auto name = tokens.pair_at(i);
        if (!name || tokens.is_symbol(i - 1, ".") || !is_wanted(name->schema, name->name)) {
            continue;
        }
        named_relation relation;
        relation.schema = name->schema;
        relation.name = name->name;
        relation.range = relation.item = tokens.range(name->begin, name->end);
        const auto alias = begins_alias(tokens, name->end);
        if (!alias || !(tokens.is_word(i - 1, "from") || tokens.is_word(i - 1, "join"))) {
            return {};
        }
        relation.has_alias = *alias;
        found.relations.push_back(std::move(relation));
    }
    return found;
}

}  // namespace

relation_names find_relation_names(
    std::string_view statement, backslashes strings, const relation_predicate& is_wanted
) {
    const statement_tokens tokens{statement, strings};
    if (auto found = find_by_tree(statement, strings, tokens, is_wanted)) {
        return std::move(*found);
    }
    return find_by_tokens(tokens, is_wanted);
}

}  // namespace signalbox::parser
