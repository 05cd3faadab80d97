#include "rewrite/notice_relations.hpp"

#include "parser/quoting.hpp"

#include <algorithm>
#include <array>

namespace signalbox::rewrite {
namespace {

using rows_of = std::vector<relation_row> (*)(const catalog::notice_snapshot&);

struct notice_relation {
    std::string_view name;
    std::string_view redacted_name;  // what support may read in its place; "" = nothing
    rows_of rows;
};

constexpr std::array notice_relations{
    notice_relation{"mz_objects", "", object_rows},
    notice_relation{"mz_optimizer_notices", "mz_optimizer_notices_redacted", notice_rows},
    notice_relation{"mz_notices", "mz_notices_redacted", notice_rows},
    notice_relation{
        "mz_optimizer_notices_redacted", "mz_optimizer_notices_redacted", redacted_notice_rows},
    notice_relation{"mz_notices_redacted", "mz_notices_redacted", redacted_notice_rows},
    notice_relation{"mz_ignored_optimizer_notices", "", ignored_notice_rows}};

const notice_relation* find(const relation& which) noexcept {
    const auto* const found =
        std::find_if(notice_relations.begin(), notice_relations.end(), [&](const auto& each) {
            return each.name == which.name;
        });
    return found != notice_relations.end() ? found : nullptr;
}

relation_value or_null(const std::string& text) {
    return text.empty() ? relation_value{} : relation_value{text};
}

relation_value or_null(const std::optional<std::string>& text) {
    return text ? relation_value{*text} : relation_value{};
}

enum class wording { plain, redacted };

std::vector<relation_row> rows_in(wording words, const catalog::notice_snapshot& known) {
    const auto worded = [&](const std::string& plain, const std::optional<std::string>& redacted) {
        return or_null(words == wording::redacted ? redacted.value_or(plain) : plain);
    };
    std::vector<relation_row> out;
    out.reserve(known.notices.size());
    for (const auto* const each : known.in_order()) {
        out.push_back(
            {each->type,
             worded(each->message, each->redacted_message),
             worded(each->hint, each->redacted_hint),
             worded(each->action, each->redacted_action),
             or_null(each->redacted_message),
             or_null(each->redacted_hint),
             or_null(each->redacted_action),
             or_null(each->action_type),
             each->object_id,
             each->dependency_ids,
             each->created_at,
             each->updated_at,
             each->fingerprint,
             std::string{known.status_of(*each)}}
        );
    }
    return out;
}

}  // namespace

bool is_notice_relation(const relation& which) noexcept {
    return find(which) != nullptr;
}

std::optional<wire::report> refuse_reading(
    const relation& which, catalog::notice_reader who, const schema_names& names
) {
    const auto* const found = find(which);
    if (found == nullptr || who == catalog::notice_reader::superuser ||
        (who == catalog::notice_reader::support && found->redacted_name == found->name)) {
        return std::nullopt;
    }
    std::string hint = "Only a user with the role \"superuser\" may read it.";
    if (const auto* const redacted = find_relation(found->redacted_name)) {
        const auto instead = parser::quoted_identifier(names.of(*redacted)) + "." +
                             parser::quoted_identifier(redacted->name);
        hint = who == catalog::notice_reader::support
                   ? "Read " + instead + " in its place."
                   : "A user with the role \"support\" may read " + instead + ".";
    }
    return wire::report{
        .severity = "ERROR",
        .sqlstate = "42501",
        .message = "permission denied for table " + std::string{which.name},
        .detail = {},
        .hint = std::move(hint)};
}

std::vector<relation_row> object_rows(const catalog::notice_snapshot& known) {
    std::vector<const catalog::stored_object*> objects;
    for (const auto& [id, object] : known.objects) {
        objects.push_back(object.get());
    }
    // o2 before o10.
    std::sort(objects.begin(), objects.end(), [](const auto* a, const auto* b) {
        return a->id.size() != b->id.size() ? a->id.size() < b->id.size() : a->id < b->id;
    });
    std::vector<relation_row> out;
    out.reserve(objects.size());
    for (const auto* const each : objects) {
        out.push_back(
            {each->id,
             std::int64_t{each->oid},
             each->connection_id,
             each->database,
             each->schema,
             each->name,
             each->type,
             or_null(each->owner)}
        );
    }
    return out;
}

std::vector<relation_row> notice_rows(const catalog::notice_snapshot& known) {
    return rows_in(wording::plain, known);
}

std::vector<relation_row> redacted_notice_rows(const catalog::notice_snapshot& known) {
    return rows_in(wording::redacted, known);
}

std::vector<relation_row> ignored_notice_rows(const catalog::notice_snapshot& known) {
    std::vector<relation_row> out;
    for (const auto& [fingerprint, ignored] : known.ignored) {
        out.push_back({fingerprint, ignored.ignored_by, ignored.ignored_at});
    }
    return out;
}

std::vector<relation_row> notice_relation_rows(
    const relation& which, const catalog::notice_snapshot& known
) {
    const auto* const found = find(which);
    return found != nullptr ? found->rows(known) : std::vector<relation_row>{};
}

}  // namespace signalbox::rewrite
