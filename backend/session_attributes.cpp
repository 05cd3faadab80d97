#include "backend/session_attributes.hpp"

namespace signalbox::backend {
namespace {

using wanted_session = catalog::target_session_attrs;

bool is_about_writing(wanted_session wanted) noexcept {
    return wanted == wanted_session::read_write || wanted == wanted_session::read_only;
}

}  // namespace

void session_facts::note(std::string_view parameter, std::string_view value) noexcept {
    if (parameter == "in_hot_standby") {
        in_hot_standby = value == "on";
    } else if (parameter == "default_transaction_read_only") {
        default_read_only = value == "on";
    }
}

std::string_view session_question(wanted_session wanted, const session_facts& known) noexcept {
    if (wanted == wanted_session::any) {
        return {};
    }
    if (is_about_writing(wanted)) {
        return known.in_hot_standby && known.default_read_only ? std::string_view{}
                                                               : "SHOW transaction_read_only";
    }
    return known.in_hot_standby ? std::string_view{} : "SELECT pg_catalog.pg_is_in_recovery()";
}

std::string_view session_misfit(wanted_session wanted, const session_facts& known) noexcept {
    const bool asked = !session_question(wanted, known).empty();
    const bool read_only =
        asked ? known.answer.value_or(false)
              : known.in_hot_standby.value_or(false) || known.default_read_only.value_or(false);
    const bool standby = (asked ? known.answer : known.in_hot_standby).value_or(false);
    switch (wanted) {
        case wanted_session::any:
            return {};
        case wanted_session::read_write:
            return read_only ? "session is read-only" : std::string_view{};
        case wanted_session::read_only:
            return read_only ? std::string_view{} : "session is not read-only";
        case wanted_session::primary:
            return standby ? "server is in hot standby mode" : std::string_view{};
        case wanted_session::standby:
        case wanted_session::prefer_standby:
            return standby ? std::string_view{} : "server is not in hot standby mode";
    }
    return {};
}

}  // namespace signalbox::backend
