#include "catalog/notices/explained.hpp"

#include "catalog/notices/types.hpp"

#include <algorithm>
#include <array>
#include <tuple>

namespace signalbox::catalog {
namespace {

/// A result that is no plan may have any lines.
constexpr std::size_t max_indexes = 1000;

/// Takes `prefix` away. False: the text does not begin with it.
bool skip(std::string_view& text, std::string_view prefix) noexcept {
    if (!text.starts_with(prefix)) {
        return false;
    }
    text.remove_prefix(prefix.size());
    return true;
}

void skip_blanks(std::string_view& text) noexcept {
    text.remove_prefix(std::min(text.find_first_not_of(' '), text.size()));
}

/// The name at the beginning of the text, as quote_identifier() in PostgreSQL writes it.
std::string leading_name(std::string_view text) {
    if (!skip(text, "\"")) {
        return std::string{text.substr(0, text.find(' '))};
    }
    std::string name;
    for (std::size_t i = 0; i < text.size(); ++i) {
        if (text[i] == '"') {
            if (i + 1 >= text.size() || text[i + 1] != '"') {
                return name;
            }
            ++i;
        }
        name += text[i];
    }
    return {};
}

/// By name, and by schema where it is given. Null: none, or one of several.
template <typename Condition>
const stored_object* find_one(
    const std::vector<const stored_object*>& objects, const Condition& is_wanted
) {
    const stored_object* found = nullptr;
    for (const auto* const each : objects) {
        if (is_wanted(*each)) {
            if (found != nullptr) {
                return nullptr;
            }
            found = each;
        }
    }
    return found;
}

std::set<std::string_view> used_objects(
    const explained_statement& what,
    const plan_lines& plan,
    const notice_snapshot& known,
    const explained_place& place
) {
    const std::string index{kind_name(object_kind::index)};
    std::vector<const stored_object*> relations;
    std::vector<const stored_object*> indexes;
    for (const auto& [id, object] : known.objects) {
        if (object->connection_id == place.connection_id && object->database == place.database) {
            (object->type == index ? indexes : relations).push_back(object.get());
        }
    }
    std::set<std::string_view> used;
    const auto add = [&](const stored_object* found) {
        if (found != nullptr) {
            used.insert(found->id);
        }
    };
    for (const auto& wanted : what.relations) {
        const auto* const found = find_one(relations, [&](const stored_object& each) {
            return each.name == wanted.name &&
                   (wanted.schema.empty() || each.schema == wanted.schema);
        });
        add(found);
    }
    for (const auto& wanted : plan.indexes) {
        add(find_one(indexes, [&](const stored_object& each) { return each.name == wanted; }));
    }
    return used;
}

std::vector<const stored_notice*> new_notices_of(
    const std::set<std::string_view>& objects, const notice_snapshot& known
) {
    std::vector<const stored_notice*> found;
    if (objects.empty()) {
        return found;
    }
    for (const auto& [fingerprint, notice] : known.notices) {
        if (objects.contains(notice->object_id) && known.status_of(*notice) == notice_new) {
            found.push_back(notice.get());
        }
    }
    std::sort(found.begin(), found.end(), [](const auto* a, const auto* b) {
        return std::tie(a->created_at, a->fingerprint) < std::tie(b->created_at, b->fingerprint);
    });
    return found;
}

/// A row has one line: the others of the text stand below its first.
void add_text(
    std::vector<std::string>& lines,
    std::size_t indent,
    std::string_view label,
    std::string_view text
) {
    std::string before = std::string(indent, ' ').append(label);
    for (auto rest = text; !rest.empty();) {
        const auto end = std::min(rest.find('\n'), rest.size());
        lines.push_back(before + std::string{rest.substr(0, end)});
        before.assign(indent + label.size(), ' ');
        rest.remove_prefix(std::min(end + 1, rest.size()));
    }
}

void add_notice(
    std::vector<std::string>& lines,
    std::string_view message,
    std::string_view hint,
    std::string_view action
) {
    if (lines.empty()) {
        lines.emplace_back("Notices:");
    }
    add_text(lines, 2, "NOTICE:  ", message);
    add_text(lines, 4, "HINT:  ", hint);
    add_text(lines, 4, "ACTION:  ", action);
}

}  // namespace

explained_statement examine_explained(std::string_view query, parser::backslashes strings) {
    explained_statement out;
    if (auto found = parser::parse_explained(query, strings)) {
        out.relations = std::move(found->relations);
        if (found->select) {
            auto texts = examine_query(std::move(*found->select));
            out.findings = std::move(texts.certain);
            out.patterns = std::move(texts.patterns);
        }
    }
    return out;
}

void plan_lines::add(std::string_view line) {
    static constexpr std::array<std::string_view, 5> scans{
        "Index Scan using ",
        "Index Scan Backward using ",
        "Index Only Scan using ",
        "Index Only Scan Backward using ",
        "Bitmap Index Scan on "};
    skip_blanks(line);
    if (skip(line, "->")) {
        skip_blanks(line);
    }
    skip(line, "Async ");
    skip(line, "Parallel ");
    for (const auto scan : scans) {
        if (skip(line, scan) && indexes.size() < max_indexes) {
            indexes.insert(leading_name(line));
            return;
        }
    }
    const bool has_pattern = line.find(" ~~") != std::string_view::npos;
    searches_by_pattern = searches_by_pattern || (has_pattern && line.starts_with("Index Cond: "));
    filters_by_pattern =
        filters_by_pattern ||
        (has_pattern && (line.starts_with("Filter: ") || line.starts_with("Join Filter: ")));
}

std::vector<std::string> notices_section(
    const explained_statement& what,
    const plan_lines& plan,
    const notice_snapshot& known,
    const explained_place& place,
    notice_reader who
) {
    std::vector<std::string> lines;
    const auto add_all = [&](const std::vector<notice_text>& texts) {
        for (const auto& each : texts) {
            add_notice(lines, each.message, each.hint, each.action);
        }
    };
    add_all(what.findings);
    if (plan.filters_by_pattern && !plan.searches_by_pattern) {
        add_all(what.patterns);
    }
    if (who == notice_reader::other) {
        return lines;
    }
    const bool is_plain = who == notice_reader::superuser;
    const auto worded = [&](const std::string& plain, const std::optional<std::string>& redacted) {
        return std::string_view{is_plain || !redacted ? plain : *redacted};
    };
    for (const auto* const each : new_notices_of(used_objects(what, plan, known, place), known)) {
        add_notice(
            lines,
            worded(each->message, each->redacted_message),
            worded(each->hint, each->redacted_hint),
            worded(each->action, each->redacted_action)
        );
    }
    return lines;
}

}  // namespace signalbox::catalog
