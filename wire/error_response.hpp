// ErrorResponse ('E') and NoticeResponse ('N'): read for what they say, made with all the fields
// that PostgreSQL sends.
//
// Layout    repeated: byte field code, value NUL; then one NUL
// Source    PostgreSQL manual, "Error and Notice Message Fields", appendix "PostgreSQL Error Codes"
#pragma once

#include "wire/bytes.hpp"

#include <string>
#include <string_view>

namespace signalbox::wire {

/// The SQLSTATEs that Signalbox itself raises.
namespace sqlstate {
inline constexpr std::string_view successful_completion = "00000";
inline constexpr std::string_view connection_failure = "08006";
inline constexpr std::string_view warning = "01000";
inline constexpr std::string_view protocol_violation = "08P01";
inline constexpr std::string_view feature_not_supported = "0A000";
inline constexpr std::string_view invalid_parameter_value = "22023";
inline constexpr std::string_view active_sql_transaction = "25001";
inline constexpr std::string_view in_failed_sql_transaction = "25P02";
inline constexpr std::string_view idle_in_transaction_timeout = "25P03";
inline constexpr std::string_view transaction_timeout = "25P04";
inline constexpr std::string_view undefined_prepared_statement = "26000";
inline constexpr std::string_view invalid_authorization = "28000";
inline constexpr std::string_view invalid_password = "28P01";
inline constexpr std::string_view invalid_catalog_name = "3D000";
inline constexpr std::string_view serialization_failure = "40001";
inline constexpr std::string_view syntax_error = "42601";
inline constexpr std::string_view undefined_object = "42704";
inline constexpr std::string_view duplicate_prepared_statement = "42P05";
inline constexpr std::string_view out_of_memory = "53200";
inline constexpr std::string_view too_many_connections = "53300";
inline constexpr std::string_view program_limit_exceeded = "54000";
inline constexpr std::string_view query_canceled = "57014";
inline constexpr std::string_view admin_shutdown = "57P01";
inline constexpr std::string_view cannot_connect_now = "57P03";
inline constexpr std::string_view idle_session_timeout = "57P05";
inline constexpr std::string_view internal_error = "XX000";
}  // namespace sqlstate

/// What Signalbox says, before it is written. Empty fields are left out.
struct report {
    std::string_view severity = "ERROR";  // ERROR, FATAL, WARNING, NOTICE
    std::string sqlstate;
    std::string message;
    std::string detail;
    std::string hint;
    std::string routine = {};  // of PostgreSQL's source, where drivers look at it
    std::size_t position = 0;  // in the statement, 1-based, in characters; 0 = none
};

void write_error_response(std::string& out, const report& what);
void write_notice_response(std::string& out, const report& what);

/// The fields that decide something, as views into the body. A field that is missing is empty: some
/// servers and proxies leave out the SQLSTATE.
struct report_view {
    std::string_view severity;  // V where present (never translated), else S
    std::string_view sqlstate;
    std::string_view message;
    std::string_view detail;
    std::string_view hint;
    std::string_view routine;
    std::size_t position = 0;  // in the statement; 0 = none

    [[nodiscard]] bool is_fatal() const noexcept {
        return severity == "FATAL" || severity == "PANIC";
    }
};

/// Errors: truncated (no end), trailing_bytes.
result<report_view> parse_report(bytes_view body) noexcept;

/// What is different when a report is sent on. Empty: as it was.
struct report_edit {
    std::string_view severity;
    std::string_view from;     // in the message text, the first one …
    std::string_view to;       // … becomes this
    std::size_t position = 0;  // takes the place of the error's, where that has one; 0 = stays
};

/// The whole message again, edited.
void write_edited_report(std::string& out, char type, bytes_view body, const report_edit& edit);

}  // namespace signalbox::wire
