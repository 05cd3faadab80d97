#include "catalog/notices/types.hpp"

#include "catalog/notices/types/comparison_with_null.hpp"
#include "catalog/notices/types/empty_index_key.hpp"
#include "catalog/notices/types/function_on_indexed_column.hpp"
#include "catalog/notices/types/identical_index.hpp"
#include "catalog/notices/types/index_too_wide.hpp"
#include "catalog/notices/types/leading_wildcard.hpp"
#include "catalog/notices/types/limit_without_order.hpp"
#include "catalog/notices/types/matview_without_unique_index.hpp"
#include "catalog/notices/types/not_in_nullable.hpp"
#include "catalog/notices/types/unindexed_foreign_key.hpp"

#include <algorithm>
#include <cctype>
#include <iterator>
#include <set>
#include <tuple>

namespace signalbox::catalog {
namespace {

using all_types = std::tuple<
    identical_index,
    index_too_wide,
    empty_index_key,
    comparison_with_null,
    function_on_indexed_column,
    leading_wildcard,
    not_in_nullable,
    matview_without_unique_index,
    limit_without_order,
    unindexed_foreign_key>;

std::optional<std::string> unless_equal(std::string redacted, const std::string& plain) {
    return redacted == plain ? std::nullopt : std::optional{std::move(redacted)};
}

template <typename Type>
void examine_by(
    const object_facts& object,
    const server_facts& facts,
    const notice_place& place,
    std::vector<notice>& out
) {
    std::set<std::vector<std::string>> seen;
    for (auto& found : Type::examine(object, facts)) {
        if (!seen.insert(found.facts).second) {
            continue;
        }
        notice n;
        n.type = Type::name;
        n.text = Type::render(found, redaction::plain);
        auto redacted = Type::render(found, redaction::literals);
        n.redacted_message = unless_equal(std::move(redacted.message), n.text.message);
        n.redacted_hint = unless_equal(std::move(redacted.hint), n.text.hint);
        n.redacted_action = unless_equal(std::move(redacted.action), n.text.action);
        n.object = object.oid;
        n.kind = object.kind;
        n.schema = object.schema;
        n.name = object.name;
        n.dependencies = std::move(found.dependencies);
        std::sort(n.dependencies.begin(), n.dependencies.end());
        n.dependencies.erase(
            std::unique(n.dependencies.begin(), n.dependencies.end()), n.dependencies.end()
        );
        n.fingerprint = notice_fingerprint(Type::name, place, object, found.facts);
        out.push_back(std::move(n));
    }
}

}  // namespace

std::vector<std::string_view> notice_type_names() {
    return std::apply(
        [](const auto&... type) {
            return std::vector<std::string_view>{std::decay_t<decltype(type)>::name...};
        },
        all_types{}
    );
}

std::string notice_page(std::string_view type) {
    std::string page;
    for (const char c : type) {
        page += c == ' ' ? '-' : static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
    }
    return page;
}

std::vector<notice> examine_object(
    const object_facts& object, const server_facts& facts, const notice_place& place
) {
    std::vector<notice> out;
    if (object.is_examined) {
        std::apply(
            [&](const auto&... type) {
                (examine_by<std::decay_t<decltype(type)>>(object, facts, place, out), ...);
            },
            all_types{}
        );
    }
    return out;
}

query_notices examine_query(parser::query query) {
    object_facts unnamed;
    unnamed.query = std::make_shared<const parser::query>(std::move(query));
    query_notices out;
    const auto render = [](const auto& findings, const auto& as_text, auto& into) {
        for (const auto& found : findings) {
            if (auto text = as_text(found, redaction::plain);
                std::find(into.begin(), into.end(), text) == into.end()) {
                into.push_back(std::move(text));
            }
        }
    };
    render(comparison_with_null::examine(unnamed, {}), comparison_with_null::render, out.certain);
    render(leading_wildcard::examine_query(*unnamed.query), leading_wildcard::render, out.patterns);
    return out;
}

std::vector<notice> examine_all(const server_facts& facts, const notice_place& place) {
    std::vector<notice> out;
    for (const auto& [oid, object] : facts.objects()) {
        auto found = examine_object(object, facts, place);
        std::move(found.begin(), found.end(), std::back_inserter(out));
    }
    return out;
}

std::vector<notice> examine_created(
    object_oid created, const server_facts& facts, const notice_place& place
) {
    const auto* const object = facts.find(created);
    if (object == nullptr) {
        return {};
    }
    auto out = examine_object(*object, facts, place);
    if (!object->is_view()) {
        return out;
    }
    for (const auto used : object->dependencies) {
        for (const auto* const index : facts.indexes_of(used)) {
            for (auto& n : examine_object(*index, facts, place)) {
                if (std::binary_search(n.dependencies.begin(), n.dependencies.end(), created)) {
                    out.push_back(std::move(n));
                }
            }
        }
    }
    return out;
}

}  // namespace signalbox::catalog
