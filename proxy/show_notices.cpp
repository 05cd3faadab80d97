#include "proxy/show_notices.hpp"

#include "catalog/timestamps.hpp"
#include "parser/quoting.hpp"
#include "proxy/show_commands.hpp"

namespace signalbox::proxy {
namespace {

std::optional<std::string> or_null(const std::string& text) {
    return text.empty() ? std::nullopt : std::optional{text};
}

std::optional<std::string> object_name(const catalog::stored_object* object) {
    if (object == nullptr) {
        return std::nullopt;
    }
    return parser::quoted_identifier(object->schema) + "." +
           parser::quoted_identifier(object->name);
}

}  // namespace

command_reply show(
    const parser::show_notices& asked,
    const catalog::notice_snapshot& known,
    catalog::notice_reader who
) {
    command_reply out;
    if (who == catalog::notice_reader::other) {
        out.error = wire::report{
            .severity = "ERROR",
            .sqlstate = "42501",
            .message = "permission denied to show notices",
            .detail = {},
            .hint = "Only a user with the role \"superuser\" or \"support\" may."};
        return out;
    }
    const bool is_plain = who == catalog::notice_reader::superuser;
    const auto worded = [&](const std::string& plain, const std::optional<std::string>& redacted) {
        return or_null(is_plain ? plain : redacted.value_or(plain));
    };
    for (const auto* const each : known.in_order()) {
        const auto status = known.status_of(*each);
        if (!asked.all && status != catalog::notice_new) {
            continue;
        }
        out.rows.push_back(
            {each->fingerprint,
             each->type,
             worded(each->message, each->redacted_message),
             worded(each->hint, each->redacted_hint),
             worded(each->action, each->redacted_action),
             object_name(known.find_object(each->object_id)),
             std::string{status},
             catalog::timestamp_text(each->created_at)}
        );
    }
    out.columns = columns_of(asked);
    out.tag = "SHOW";
    return out;
}

}  // namespace signalbox::proxy
