// Random statements of ours, from a fixed seed, written in random ways: what is read is what was
// meant, and the detection sees each of them.
#include "parser/commands.hpp"
#include "parser/split.hpp"
#include "tests/support/chooser.hpp"
#include "tests/support/command_text.hpp"

#include <catch2/catch.hpp>

using namespace signalbox::parser;
using namespace signalbox::tests;

namespace {

constexpr std::string_view names[] = {
    "main",
    "My Conn",
    "set",
    "connection",
    "if",
    "exists",
    "not",
    "to",
    "secret",
    "create",
    "with",
    "validate",
    "for",
    "current_user",
    "restrict",
    "cascade",
    "a\"b",
    "a'b",
    "\\",
    "\xc3\xa4\xe2\x82\xac",
    "\xf0\x9f\x9a\x82",
    "a$1",
    "_",
    "Select",
    "9",
    "--",
    "/*",
    ";",
    "uescape",
    "e",
    "u&",
    "rename",
    "owner",
    "reset",
    "drop",
    "like",
    "all",
    "status",
    "aws",
    "privatelink"};

constexpr std::string_view options[] = {
    "HOST",
    "PORT",
    "DATABASE",
    "USER",
    "PASSWORD",
    "SSL MODE",
    "SSL CERTIFICATE",
    "SSL CERTIFICATE AUTHORITY",
    "SSL KEY",
    "SSL NEGOTIATION",
    "CHANNEL BINDING",
    "TARGET SESSION ATTRS",
    "CONNECT TIMEOUT",
    "TCP USER TIMEOUT",
    "MAX PROTOCOL VERSION",
    "AWS PRIVATELINK",
    "SERVICE NAME",
    "AVAILABILITY ZONES",
    "BROKER",
    "BROKERS",
    "SECURITY PROTOCOL",
    "SASL MECHANISMS",
    "SASL USERNAME",
    "SASL PASSWORD"};

constexpr std::string_view strings[] = {
    "",
    "a",
    "5432",
    "-1",
    "require",
    "verify-ca",
    "read-write",
    "authority",
    "mode",
    "true",
    "db.example.com:5432",
    "it's",
    "''",
    "\\'",
    "a\\b\\\\c",
    "a\nb\t\r",
    "$$",
    "$q$",
    "/* ; */",
    "-- ;",
    "\xc3\xa4\xe2\x82\xac\xf0\x9f\x9a\x82",
    "!0041",
    "a much longer value than any name may have, so that it is never written as a name: 63 bytes"};

std::optional<std::string> maybe_name(chooser& choose) {
    return choose.coin() ? std::optional{choose.one_of(names)} : std::nullopt;
}

std::optional<bool> maybe_bool(chooser& choose) {
    return choose.coin() ? std::optional{choose.coin()} : std::nullopt;
}

option_value random_value(chooser& choose) {
    switch (choose.below(4)) {
        case 0:
            return secret_name{choose.one_of(names)};
        case 1: {
            std::vector<std::string> items{choose.one_of(strings)};
            for (auto more = choose.below(3); more > 0; --more) {
                items.push_back(choose.one_of(strings));
            }
            return items;
        }
        default:
            return choose.one_of(strings);
    }
}

command random_create(chooser& choose) {
    create_connection c{
        choose.coin(),
        choose.one_of(names),
        static_cast<connection_type>(choose.below(3)),
        {},
        maybe_bool(choose)};
    for (auto count = 1 + choose.below(4); count > 0; --count) {
        c.options.push_back({choose.one_of(options), random_value(choose)});
    }
    return c;
}

command random_alter(chooser& choose) {
    alter_connection c{choose.coin(), choose.one_of(names), {}, maybe_bool(choose)};
    for (auto count = 1 + choose.below(5); count > 0; --count) {
        const auto action = static_cast<option_change::action_kind>(choose.below(3));
        option_change change{action, choose.one_of(options), std::nullopt};
        if (action == option_change::action_kind::set) {
            change.value = random_value(choose);
        }
        c.changes.push_back(std::move(change));
    }
    return c;
}

command random_owner(chooser& choose) {
    static constexpr std::string_view current[] = {"current_user", "current_role", "session_user"};
    const bool is_current = choose.coin();
    return change_connection_owner{
        choose.coin(),
        choose.one_of(names),
        is_current ? choose.one_of(current) : choose.one_of(names),
        is_current};
}

command random_drop(chooser& choose) {
    drop_connection c{choose.coin(), {choose.one_of(names)}, choose.coin()};
    for (auto more = choose.below(3); more > 0; --more) {
        c.names.push_back(choose.one_of(names));
    }
    return c;
}

command random_command(chooser& choose) {
    switch (choose.below(std::variant_size_v<command>)) {
        case 0:
            return random_create(choose);
        case 1:
            return random_alter(choose);
        case 2:
            return rename_connection{choose.coin(), choose.one_of(names), choose.one_of(names)};
        case 3:
            return random_owner(choose);
        case 4:
            return random_drop(choose);
        case 5:
            return validate_connection{choose.one_of(names)};
        case 6:
            return show_connections{
                choose.coin() ? std::optional{choose.one_of(strings)} : std::nullopt};
        case 7:
            return show_create_connection{choose.one_of(names)};
        case 8:
            return show_connection_status{maybe_name(choose)};
        case 9:
            return show_connection_history{maybe_name(choose)};
        case 10:
            return alter_notice{
                choose.one_of(strings),
                choose.coin() ? std::optional{choose.one_of(strings)} : std::nullopt};
        default:
            return show_notices{choose.coin()};
    }
}

/// What a text is read as; where it is none of ours, the error as an exception for Catch2 to show.
command read(std::string_view sql, backslashes mode) {
    auto parsed = parse_command(sql, mode);
    if (const auto* error = std::get_if<command_error>(&parsed)) {
        throw std::runtime_error{error->message};
    }
    return std::get<command>(std::move(parsed));
}

}  // namespace

TEST_CASE("random commands are read as they were meant", "[parser][commands][properties]") {
    chooser choose{2024};
    const statement_rules rules{{}};
    const auto mode = GENERATE(backslashes::plain, backslashes::escape);
    command_text writer{[&](std::size_t count) { return choose.below(count); }, mode};
    for (int i = 0; i < 30'000; ++i) {
        const auto meant = random_command(choose);
        const auto sql = writer.of(meant);
        const auto parsed = parse_command(sql, mode);
        const auto found = rules.decide(sql, mode);
        const bool is_seen = found.is_ours && found.statements.size() == 1 &&
                             rules.needs_decision(sql) &&
                             kind_of(sql, mode) == statement_kind::signalbox;
        if (parsed != std::variant<command, command_error>{meant} || !is_seen) {
            CAPTURE(sql, mode == backslashes::escape);
            CHECK(read(sql, mode) == meant);
            CHECK(is_seen);
        }
    }
}

TEST_CASE("a random command cut short is an error, or another command", "[parser][commands]") {
    chooser choose{99};
    command_text writer{[&](std::size_t count) { return choose.below(count); }};
    std::size_t errors = 0;
    for (int i = 0; i < 2'000; ++i) {
        const auto sql = writer.of(random_command(choose));
        for (std::size_t size = 0; size < sql.size(); ++size) {
            const auto parsed = parse_command(std::string_view{sql}.substr(0, size));
            if (const auto* error = std::get_if<command_error>(&parsed)) {
                ++errors;
                const bool is_in_text = error->position == 0 || error->position <= size + 1;
                if (!is_in_text || error->sqlstate.size() != 5 || error->message.empty()) {
                    CAPTURE(sql, size, error->message, error->position);
                    CHECK(is_in_text);
                    CHECK(error->sqlstate.size() == 5);
                }
            }
        }
    }
    CHECK(errors > 10'000);
}
