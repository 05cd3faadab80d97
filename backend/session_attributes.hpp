// target_session_attrs: whether a server will do, once the login is through.
//
// Servers since PostgreSQL 14 report what is needed during the login; of the others, and of those
// that report less, one question is asked.
//
// Source    libpq's fe-connect.c (CONNECTION_CHECK_TARGET and the states behind it)
#pragma once

#include "catalog/connection.hpp"

#include <optional>
#include <string_view>

namespace signalbox::backend {

/// What is known of a session. Absent: not reported.
struct session_facts {
    std::optional<bool> in_hot_standby;
    std::optional<bool> default_read_only;
    std::optional<bool> answer;  // to session_question()

    /// Takes in_hot_standby and default_transaction_read_only; anything else is ignored.
    void note(std::string_view parameter, std::string_view value) noexcept;
};

/// SQL whose one value, a boolean, decides; "" where enough is known without.
std::string_view session_question(
    catalog::target_session_attrs wanted, const session_facts& known
) noexcept;

/// What makes the session unfit, in libpq's words; "" where it fits. Where there is a question, its
/// answer must be known.
std::string_view session_misfit(
    catalog::target_session_attrs wanted, const session_facts& known
) noexcept;

}  // namespace signalbox::backend
