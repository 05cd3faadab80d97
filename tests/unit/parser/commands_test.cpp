// The grammar of our statements: each production, every way to write a value, and each error with
// its position.
#include "parser/commands.hpp"

#include "parser/split.hpp"
#include "tests/support/exact_buffer.hpp"

#include <catch2/catch.hpp>

#include <stdexcept>

using namespace signalbox::parser;
using signalbox::tests::exact_buffer;

namespace {

using settings = std::vector<option_setting>;
using changes = std::vector<option_change>;
using list = std::vector<std::string>;
using parsed = std::variant<command, command_error>;

constexpr auto set = option_change::action_kind::set;
constexpr auto drop = option_change::action_kind::drop;
constexpr auto reset = option_change::action_kind::reset;

parsed parse(std::string_view sql, backslashes strings = backslashes::plain) {
    const exact_buffer text{sql};
    return parse_command(text, strings);
}

command read(std::string_view sql, backslashes strings = backslashes::plain) {
    auto found = parse(sql, strings);
    if (const auto* error = std::get_if<command_error>(&found)) {
        throw std::runtime_error{error->message};
    }
    CHECK(kind_of(sql, strings) == statement_kind::signalbox);
    return std::get<command>(std::move(found));
}

/// "SQLSTATE position message".
std::string error_of(std::string_view sql, backslashes strings = backslashes::plain) {
    const auto found = parse(sql, strings);
    if (const auto* error = std::get_if<command_error>(&found)) {
        return std::string{error->sqlstate} + " " + std::to_string(error->position) + " " +
               error->message;
    }
    return "none";
}

std::string syntax_error(std::size_t position, const std::string& near) {
    return "42601 " + std::to_string(position) + " syntax error at or near \"" + near + "\"";
}

std::string at_end(std::size_t position) {
    return "42601 " + std::to_string(position) + " syntax error at end of input";
}

command set_host(option_value value) {
    return alter_connection{false, "a", {{set, "HOST", std::move(value)}}, std::nullopt};
}

/// What HOST is set to by this text.
command host(const std::string& value, backslashes strings = backslashes::plain) {
    return read("alter connection a set (host " + value + ")", strings);
}

constexpr std::size_t host_position = 30;  // of the value, in host()'s text

std::string host_error(const std::string& value, backslashes strings = backslashes::plain) {
    return error_of("alter connection a set (host " + value + ")", strings);
}

}  // namespace

TEST_CASE("CREATE CONNECTION", "[parser][commands]") {
    CHECK(
        read("CREATE CONNECTION Main TO POSTGRES (HOST 'db', PORT = 5433)") ==
        command{create_connection{
            false,
            "main",
            connection_type::postgres,
            settings{{"HOST", "db"}, {"PORT", "5433"}},
            std::nullopt}}
    );
    CHECK(
        read("create connection if not exists \"My Conn\" to aws privatelink (service name = 'n', "
             "availability zones ('use1-az1', 'use1-az4')) with (validate = false);") ==
        command{create_connection{
            true,
            "My Conn",
            connection_type::aws_privatelink,
            settings{{"SERVICE NAME", "n"}, {"AVAILABILITY ZONES", list{"use1-az1", "use1-az4"}}},
            false}}
    );
    CHECK(
        read("create connection k to kafka (brokers ['a:1', 'b:2'], broker 'c', sasl password = "
             "secret Key) with (validate)") == command{create_connection{
                                                   false,
                                                   "k",
                                                   connection_type::kafka,
                                                   settings{
                                                       {"BROKERS", list{"a:1", "b:2"}},
                                                       {"BROKER", "c"},
                                                       {"SASL PASSWORD", secret_name{"key"}}},
                                                   true}}
    );
}

TEST_CASE("errors carry what helps to mend them", "[parser][commands]") {
    const auto error = [](std::string_view sql) { return std::get<command_error>(parse(sql)); };
    CHECK(error("alter connection a set (prot = 1)").unknown_option == "PROT");
    CHECK(error("alter connection a set (ssl_mod = 'x')").unknown_option == "SSL MOD");
    CHECK(error("alter connection a drop (ssl nothing)").unknown_option == "SSL NOTHING");
    CHECK(error("create connection a to postgres (host 'b', 5)").unknown_option.empty());
    CHECK(error("alter connection a set (port 1) prot").unknown_option.empty());
    CHECK(error("alter connection a set (ssl 'x").unknown_option.empty());  // not closed

    CHECK(error("show connection status main").hint == "Write SHOW CONNECTION STATUS FOR main.");
    CHECK(
        error("show connection history \"A b\"").hint ==
        "Write SHOW CONNECTION HISTORY FOR \"A b\"."
    );
    CHECK(error("show connection status 'main'").hint.empty());
    CHECK(error("show connection status for main x").hint.empty());
    CHECK(error_of("show connection status main") == syntax_error(24, "main"));
}

TEST_CASE("ALTER CONNECTION", "[parser][commands]") {
    CHECK(
        read("ALTER CONNECTION a SET (HOST = 'x', PORT 1), DROP (PASSWORD, SSL KEY), RESET (USER), "
             "SET (HOST "
             "'y') WITH (VALIDATE = true)") == command{alter_connection{
                                                   false,
                                                   "a",
                                                   changes{
                                                       {set, "HOST", "x"},
                                                       {set, "PORT", "1"},
                                                       {drop, "PASSWORD", std::nullopt},
                                                       {drop, "SSL KEY", std::nullopt},
                                                       {reset, "USER", std::nullopt},
                                                       {set, "HOST", "y"}},
                                                   true}}
    );
    CHECK(
        read("alter connection if exists a reset (ssl certificate authority)") ==
        command{alter_connection{
            true, "a", changes{{reset, "SSL CERTIFICATE AUTHORITY", std::nullopt}}, std::nullopt}}
    );
    CHECK(
        read("alter connection if exists a rename to \"B\"") ==
        command{rename_connection{true, "a", "B"}}
    );
    CHECK(read("alter connection a rename to to") == command{rename_connection{false, "a", "to"}});
    CHECK(
        read("alter connection a owner to Joe") ==
        command{change_connection_owner{false, "a", "joe", false}}
    );
    CHECK(
        read("alter connection if exists a owner to \"current_user\"") ==
        command{change_connection_owner{true, "a", "current_user", false}}
    );
    for (const std::string role : {"CURRENT_USER", "current_role", "Session_User"}) {
        CAPTURE(role);
        std::string lower = role;
        std::transform(lower.begin(), lower.end(), lower.begin(), [](unsigned char c) {
            return static_cast<char>(std::tolower(c));
        });
        CHECK(
            read("alter connection a owner to " + role) ==
            command{change_connection_owner{false, "a", lower, true}}
        );
    }
}

TEST_CASE("DROP, VALIDATE and the SHOW forms", "[parser][commands]") {
    CHECK(read("DROP CONNECTION a") == command{drop_connection{false, {"a"}, false}});
    CHECK(
        read("drop connection if exists a, \"B\" ,c cascade") ==
        command{drop_connection{true, {"a", "B", "c"}, true}}
    );
    CHECK(read("drop connection a restrict;") == command{drop_connection{false, {"a"}, false}});
    CHECK(read("validate connection a") == command{validate_connection{"a"}});
    CHECK(read("SHOW CONNECTIONS") == command{show_connections{}});
    CHECK(read("show connections like 'a%'") == command{show_connections{"a%"}});
    CHECK(read("show create connection a") == command{show_create_connection{"a"}});
    CHECK(read("show connection status") == command{show_connection_status{}});
    CHECK(read("show connection status for A") == command{show_connection_status{"a"}});
    CHECK(read("show connection history") == command{show_connection_history{}});
    CHECK(read("show connection history for a") == command{show_connection_history{"a"}});
    CHECK(read("show notices") == command{show_notices{false}});
    CHECK(read("show notices all") == command{show_notices{true}});
}

TEST_CASE("ALTER NOTICE", "[parser][commands]") {
    CHECK(read("ALTER NOTICE 'f' SET STATUS = 'ignored'") == command{alter_notice{"f", "ignored"}});
    CHECK(read("alter notice $$f$$ set status e'new'") == command{alter_notice{"f", "new"}});
    CHECK(read("alter notice u&'\\0066' reset status") == command{alter_notice{"f", std::nullopt}});
}

TEST_CASE("keywords are not reserved", "[parser][commands]") {
    for (const std::string name :
         {"set",
          "connection",
          "if",
          "exists",
          "not",
          "to",
          "postgres",
          "with",
          "validate",
          "for",
          "secret",
          "status",
          "cascade",
          "restrict",
          "rename",
          "owner",
          "all",
          "notices",
          "connections"}) {
        CAPTURE(name);
        CHECK(read("drop connection " + name) == command{drop_connection{false, {name}, false}});
        CHECK(
            read("drop connection " + name + ", " + name + " cascade") ==
            command{drop_connection{false, {name, name}, true}}
        );
        CHECK(
            read("alter connection " + name + " rename to " + name) ==
            command{rename_connection{false, name, name}}
        );
        CHECK(
            read("alter connection if exists " + name + " owner to " + name) ==
            command{change_connection_owner{true, name, name, false}}
        );
        CHECK(
            read("create connection " + name + " to kafka (broker " + name + ")") ==
            command{create_connection{
                false, name, connection_type::kafka, settings{{"BROKER", name}}, std::nullopt}}
        );
        CHECK(
            read(
                "create connection if not exists " + name + " to kafka (broker secret " + name + ")"
            ) == command{create_connection{
                     true,
                     name,
                     connection_type::kafka,
                     settings{{"BROKER", secret_name{name}}},
                     std::nullopt}}
        );
        CHECK(read("show connection status for " + name) == command{show_connection_status{name}});
        CHECK(
            read("alter connection " + name + " drop (host)") ==
            command{alter_connection{false, name, {{drop, "HOST", std::nullopt}}, std::nullopt}}
        );
    }
}

TEST_CASE("names fold and are cut as PostgreSQL's are", "[parser][commands]") {
    const auto name = [](const std::string& text) {
        return std::get<validate_connection>(read("validate connection " + text)).name;
    };
    CHECK(name("MAIN") == "main");
    CHECK(name("\"MAIN\"") == "MAIN");
    CHECK(name("\"a\"\"b\"") == "a\"b");
    CHECK(name("\xc3\x84") == "\xc3\x84");
    CHECK(name("U&\"d\\0061t\\+000061\"") == "data");
    CHECK(name("u&\"d!0061ta\" /* */ uescape '!'") == "data");
    CHECK(name("\"u&\"") == "u&");
    CHECK(name(std::string(70, 'A')) == std::string(63, 'a'));
    CHECK(name("uescape") == "uescape");
}

TEST_CASE("comments and blanks may stand everywhere", "[parser][commands]") {
    CHECK(
        read("-- ;\n;/**/ALTER/* /* */ ' "
             "*/CONNECTION--\na/**/SET/**/(/**/SSL/**/MODE--\r=/**/require/**/)"
             "/**/WITH(VALIDATE=/**/off)--;\n;/* ; */;"
        ) == command{alter_connection{false, "a", {{set, "SSL MODE", "require"}}, false}}
    );
    CHECK(read("show\vconnections\flike'a'") == command{show_connections{"a"}});
    CHECK(read("drop connection\"A\",b") == command{drop_connection{false, {"A", "b"}, false}});
    CHECK(read("\tShow\r\nNotices\n") == command{show_notices{}});
}

TEST_CASE("values that are strings of every kind", "[parser][commands]") {
    CHECK(host("'it''s'") == set_host("it's"));
    CHECK(host("''") == set_host(""));
    CHECK(host("'a\\n'") == set_host("a\\n"));
    CHECK(host("'a\\n'", backslashes::escape) == set_host("a\n"));
    CHECK(host("'a\\'b'", backslashes::escape) == set_host("a'b"));
    CHECK(host("E'a\\n\\x41\\u00e4'") == set_host("a\nA\xc3\xa4"));
    CHECK(host("U&'d\\0061ta'") == set_host("data"));
    CHECK(host("U&'d!0061ta\\' UESCAPE '!'") == set_host("data\\"));
    CHECK(host("$$it's$$") == set_host("it's"));
    CHECK(host("$a$x$$y$a$") == set_host("x$$y"));
    CHECK(host("'a'\n'b' -- '\n 'c'") == set_host("abc"));
    CHECK(host("'a\\n'\n'\\t'", backslashes::escape) == set_host("a\n\t"));
    CHECK(host("E'a'\n'\\x42'") == set_host("aB"));
    CHECK(host("U&'\\0041'\n'!\\0042'") == set_host("A!B"));
    CHECK(host("U&'!0041'\n'!0042' uescape '!'") == set_host("AB"));
    CHECK(host("\xc3\xa4\xff") == set_host("\xc3\xa4\xff"));
}

TEST_CASE("values that are not strings", "[parser][commands]") {
    CHECK(host("Localhost") == set_host("localhost"));
    CHECK(host("\"Local Host\"") == set_host("Local Host"));
    CHECK(host("=5432") == set_host("5432"));
    CHECK(host("= -5") == set_host("-5"));
    CHECK(host("=+ 5") == set_host("5"));
    CHECK(host("1.5e3") == set_host("1.5e3"));
    CHECK(host("TRUE") == set_host("true"));
    CHECK(host("off") == set_host("off"));
    CHECK(host("verify-CA") == set_host("verify-ca"));
    CHECK(host("us-east-1a") == set_host("us-east-1a"));
    CHECK(host("a-1-b") == set_host("a-1-b"));
    CHECK(host("secret-x") == set_host("secret-x"));
    CHECK(host("secret") == set_host("secret"));
    CHECK(host("= SECRET a") == set_host(secret_name{"a"}));
    CHECK(host("secret \"A b\"") == set_host(secret_name{"A b"}));
    CHECK(host("secret/**/secret") == set_host(secret_name{"secret"}));
    CHECK(host("= ('a')") == set_host(list{"a"}));
    CHECK(host("[a-b, \"C\", 'd', 5, -6]") == set_host(list{"a-b", "C", "d", "5", "-6"}));
    CHECK(host("('a'\n'b', 'c')") == set_host(list{"ab", "c"}));
}

TEST_CASE("option names", "[parser][commands]") {
    for (const std::string name :
         {"HOST",
          "PORT",
          "DATABASE",
          "USER",
          "PASSWORD",
          "SSL MODE",
          "SSL CERTIFICATE AUTHORITY",
          "SSL CERTIFICATE",
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
          "SASL PASSWORD"}) {
        CAPTURE(name);
        const command dropped =
            alter_connection{false, "a", {{drop, name, std::nullopt}}, std::nullopt};
        const command given = alter_connection{false, "a", {{set, name, "v"}}, std::nullopt};
        std::string other = name;
        std::transform(other.begin(), other.end(), other.begin(), [](unsigned char c) {
            return c == ' ' ? '_' : static_cast<char>(std::tolower(c));
        });
        for (const auto& spelling : {name, other}) {
            CHECK(read("alter connection a drop (" + spelling + ")") == dropped);
            CHECK(read("alter connection a set (" + spelling + " v)") == given);
            CHECK(read("alter connection a set (" + spelling + "= 'v')") == given);
        }
    }
    CHECK(
        read("alter connection a set (ssl mode mode, ssl certificate certificate, "
             "SSL_CERTIFICATE authority 'x', TARGET SESSION ATTRS = 'read-write')"
        ) == command{alter_connection{
                 false,
                 "a",
                 changes{
                     {set, "SSL MODE", "mode"},
                     {set, "SSL CERTIFICATE", "certificate"},
                     {set, "SSL CERTIFICATE AUTHORITY", "x"},
                     {set, "TARGET SESSION ATTRS", "read-write"}},
                 std::nullopt}}
    );
}

TEST_CASE("VALIDATE is true, false or an error", "[parser][commands]") {
    const auto validate = [](const std::string& value) {
        return std::get<alter_connection>(
                   read("alter connection a drop (host) with (validate" + value + ")")
        )
            .validate;
    };
    CHECK(validate("") == true);
    for (const auto* value :
         {" true", "=ON", "= yes", " 1", "'True'", "=E'on'", "= \"yes\"", " $$1$$"}) {
        CAPTURE(value);
        CHECK(validate(value) == true);
    }
    for (const auto* value : {" FALSE", "=off", "= no", " 0", "'No'", "= U&'\\0030'", "=\"OFF\""}) {
        CAPTURE(value);
        CHECK(validate(value) == false);
    }
    CHECK(
        error_of("alter connection a drop (host) with (validate maybe)") ==
        "22023 0 invalid VALIDATE option value: maybe"
    );
    CHECK(
        error_of("create connection a to kafka (broker b) with (validate = '')") ==
        "22023 0 invalid VALIDATE option value: "
    );
    CHECK(
        error_of("alter connection a drop (host) with (validate = -1)") ==
        "22023 0 invalid VALIDATE option value: -1"
    );
    CHECK(
        error_of("alter connection a drop (host) with (validate = maybe) x") ==
        syntax_error(56, "x")
    );
}

TEST_CASE("a syntax error is at the first token that does not fit", "[parser][commands]") {
    const std::vector<std::tuple<std::string, std::size_t, std::string>> cases{
        {"select 1", 1, "select"},
        {" ; \"show\" notices", 4, "\"show\""},
        {"create table a", 8, "table"},
        {"create connection 'a' to postgres (host b)", 19, "'a'"},
        {"create connection a.b to postgres (host b)", 20, "."},
        {"create connection if exists a to postgres (host b)", 22, "exists"},
        {"create connection if not exist a to postgres (host b)", 26, "exist"},
        {"create connection a for postgres (host b)", 21, "for"},
        {"create connection a to mysql (host b)", 24, "mysql"},
        {"create connection a to \"postgres\" (host b)", 24, "\"postgres\""},
        {"create connection a to aws (host b)", 28, "("},
        {"create connection a to postgres host b", 33, "host"},
        {"create connection a to postgres ()", 34, ")"},
        {"create connection a to postgres (host b,)", 41, ")"},
        {"create connection a to postgres (host b port 1)", 41, "port"},
        {"create connection a to postgres (host = = b)", 41, "="},
        {"create connection a to postgres (host b) with ()", 48, ")"},
        {"create connection a to postgres (host b) with (host)", 48, "host"},
        {"create connection a to postgres (host b) with (validate, validate)", 56, ","},
        {"create connection a to postgres (host b) with (validate =)", 58, ")"},
        {"create connection a to postgres (host b) with (validate secret x)", 64, "x"},
        {"create connection a to postgres (host b) with (validate (1))", 57, "("},
        {"create connection a to postgres (host b) x", 42, "x"},
        {"create connection a to postgres (host b; select 1", 40, ";"},
        {"alter connection", 0, ""},
        {"alter connection a", 0, ""},
        {"alter connection a add (host b)", 20, "add"},
        {"alter connection a set host b", 24, "host"},
        {"alter connection a set (host)", 29, ")"},
        {"alter connection a set (host b), (port 1)", 34, "("},
        {"alter connection a set (host b) drop (port)", 33, "drop"},
        {"alter connection a drop (host b)", 31, "b"},
        {"alter connection a drop (host = 1)", 31, "="},
        {"alter connection a reset ()", 27, ")"},
        {"alter connection a drop (host), rename to b", 33, "rename"},
        {"alter connection a rename b", 27, "b"},
        {"alter connection a rename to b.c", 31, "."},
        {"alter connection a rename to b with (validate)", 32, "with"},
        {"alter connection a owner b", 26, "b"},
        {"alter connection a owner to 'b'", 29, "'b'"},
        {"alter connection if not exists a drop (host)", 21, "not"},
        {"alter connection a set (hsot 'b')", 25, "hsot"},
        {"alter connection a set (\"HOST\" 'b')", 25, "\"HOST\""},
        {"alter connection a set (ssl 'b')", 29, "'b'"},
        {"alter connection a set (ssl foo 'b')", 29, "foo"},
        {"alter connection a set (ssl_foo 'b')", 25, "ssl_foo"},
        {"alter connection a set (ssl__mode 'b')", 25, "ssl__mode"},
        {"alter connection a set (host_ 'b')", 25, "host_"},
        {"alter connection a set (target session = 'b')", 40, "="},
        {"alter connection a set (aws_ privatelink b)", 25, "aws_"},
        {"alter notice a reset status", 14, "a"},
        {"alter notice 'a' set", 0, ""},
        {"alter notice 'a' set state 'b'", 22, "state"},
        {"alter notice 'a' set status new", 29, "new"},
        {"alter notice 'a' reset status 'b'", 31, "'b'"},
        {"drop connection", 0, ""},
        {"drop connection;", 16, ";"},
        {"drop connection if exists", 0, ""},
        {"drop connection a b", 19, "b"},
        {"drop connection a,", 0, ""},
        {"drop connection a cascade restrict", 27, "restrict"},
        {"drop connection if not exists a", 20, "not"},
        {"validate a", 10, "a"},
        {"validate connection a, b", 22, ","},
        {"show connection", 0, ""},
        {"show connection stats", 17, "stats"},
        {"show connection status a", 24, "a"},
        {"show connection history for", 0, ""},
        {"show connections like a", 23, "a"},
        {"show connections like", 0, ""},
        {"show create connection", 0, ""},
        {"show notices any", 14, "any"},
        {"show notices; select 1", 15, "select"},
        {"show notices;; show notices", 16, "show"},
        {"", 0, ""},
        {" /* */ ; ", 0, ""},
        {"show notices $1", 14, "$1"}};
    for (const auto& [sql, position, near] : cases) {
        CAPTURE(sql);
        const auto expected = position == 0 ? at_end(sql.size() + 1) : syntax_error(position, near);
        CHECK(error_of(sql) == expected);
    }
}

TEST_CASE("a value that is none", "[parser][commands]") {
    const auto p = host_position;
    CHECK(host_error("b'01'") == syntax_error(p, "b'01'"));
    CHECK(host_error("X'ff'") == syntax_error(p, "X'ff'"));
    CHECK(host_error("N'a'") == syntax_error(p, "N'a'"));
    CHECK(host_error("'a' 'b'") == syntax_error(p + 4, "'b'"));
    CHECK(host_error("'a'\n/* */'b'") == syntax_error(p + 9, "'b'"));
    CHECK(host_error("$$a$$\n'b'") == syntax_error(p + 6, "'b'"));
    CHECK(host_error("$1") == syntax_error(p, "$1"));
    CHECK(host_error("a.b") == syntax_error(p + 1, "."));
    CHECK(host_error("a -b") == syntax_error(p + 2, "-"));
    CHECK(host_error("a- b") == syntax_error(p + 1, "-"));
    CHECK(host_error("a-'b'") == syntax_error(p + 1, "-"));
    CHECK(host_error("a-/**/b") == syntax_error(p + 1, "-"));
    CHECK(host_error("\"a\"-b") == syntax_error(p + 3, "-"));
    CHECK(host_error("a-") == syntax_error(p + 1, "-"));
    CHECK(host_error("- a") == syntax_error(p + 2, "a"));
    CHECK(host_error("5x") == syntax_error(p + 1, "x"));
    CHECK(host_error("secret 'a'") == syntax_error(p + 7, "'a'"));
    CHECK(host_error("secret a b") == syntax_error(p + 9, "b"));
    CHECK(host_error("(secret a)") == syntax_error(p + 8, "a"));
    CHECK(host_error("()") == syntax_error(p + 1, ")"));
    CHECK(host_error("[]") == syntax_error(p + 1, "]"));
    CHECK(host_error("(a]") == syntax_error(p + 2, "]"));
    CHECK(host_error("[a)") == syntax_error(p + 2, ")"));
    CHECK(host_error("(a,)") == syntax_error(p + 3, ")"));
    CHECK(host_error("((a))") == syntax_error(p + 1, "("));
    CHECK(error_of("alter connection a set (host -") == at_end(p + 1));
}

TEST_CASE("positions are counted in characters", "[parser][commands]") {
    CHECK(
        error_of("/* \xc3\xa4\xe2\x82\xac\xf0\x9f\x9a\x82 */ drop connection \xc3\xa4 \xc3\xb6") ==
        syntax_error(29, "\xc3\xb6")
    );
    CHECK(error_of("drop connection \xc3\xa4,") == at_end(19));
    CHECK(error_of("drop connection a \xff\xfe") == syntax_error(19, "\xff\xfe"));
    CHECK(error_of("show notices \x80\x80 x") == syntax_error(14, "\x80\x80"));
}

TEST_CASE("a command with what is never closed", "[parser][commands]") {
    CHECK(
        error_of("alter notice 'a reset status") ==
        "42601 14 unterminated quoted string at or near \"'a reset status\""
    );
    CHECK(
        error_of("alter notice e'a\\' reset") ==
        "42601 14 unterminated quoted string at or near \"e'a\\' reset\""
    );
    CHECK(
        error_of("alter notice 'a\\' reset", backslashes::escape) ==
        "42601 14 unterminated quoted string at or near \"'a\\' reset\""
    );
    CHECK(
        error_of("alter notice $a$b$$") ==
        "42601 14 unterminated dollar-quoted string at or near \"$a$b$$\""
    );
    CHECK(
        error_of("drop connection \"a") ==
        "42601 17 unterminated quoted identifier at or near \"\"a\""
    );
    CHECK(
        error_of("show notices /* a /* b */ ") ==
        "42601 14 unterminated /* comment at or near \"/* a /* b */ \""
    );
    CHECK(
        error_of("alter notice 'a'\n'b") == "42601 18 unterminated quoted string at or near \"'b\""
    );
    CHECK(
        error_of("drop connection \"\"") ==
        "42601 17 zero-length delimited identifier at or near \"\"\"\""
    );
    CHECK(
        error_of("drop connection u&\"\"") ==
        "42601 17 zero-length delimited identifier at or near \"u&\"\"\""
    );
    // The first error counts.
    CHECK(error_of("drop table 'a") == syntax_error(6, "table"));
}

TEST_CASE("escapes that cannot be read", "[parser][commands]") {
    const auto at = [](std::string_view sqlstate, std::size_t position) {
        return std::string{sqlstate} + " " + std::to_string(position) + " ";
    };
    const auto p = host_position;
    CHECK(host_error("E'\\u12'") == at("22025", p) + "invalid Unicode escape");
    CHECK(host_error("E'\\uD800'") == at("42601", p) + "invalid Unicode surrogate pair");
    CHECK(
        host_error("E'\\xff'") ==
        at("22021", p) + "invalid byte sequence for encoding \"UTF8\": 0xff"
    );
    CHECK(host_error("U&'\\12'") == at("42601", p) + "invalid Unicode escape");
    CHECK(
        host_error("U&'a'", backslashes::escape) ==
        at("0A000", p) + "unsafe use of string constant with Unicode escapes"
    );
    CHECK(host_error("U&\"\\12\"") == at("42601", p) + "invalid Unicode escape");
    CHECK(host_error("U&\"\\d800\"") == at("42601", p) + "invalid Unicode surrogate pair");
    CHECK(host_error("U&\"\\+000000\"") == at("42601", p) + "invalid Unicode escape value");
    CHECK(
        host_error("U&'a' uescape 'bc'") ==
        at("42601", p + 14) + "invalid Unicode escape character at or near \"'bc'\""
    );
    CHECK(
        host_error("U&\"a\" uescape '+'") ==
        at("42601", p + 14) + "invalid Unicode escape character at or near \"'+'\""
    );
    CHECK(
        host_error("U&\"a\" uescape a") ==
        at("42601", p + 14) + "UESCAPE must be followed by a simple string literal at or near \"a\""
    );
    CHECK(error_of("drop connection U&\"a\" uescape") == at_end(30));
    CHECK(host_error("'a' uescape '!'") == syntax_error(p + 4, "uescape"));
}

TEST_CASE("hostile commands take linear time", "[parser][commands]") {
    const auto unit = GENERATE(
        as<std::string>{},
        "a-",
        "a-1",
        "'a'\n",
        "'a'\n--\n",
        "host a,",
        "secret ",
        "(",
        "a,",
        ";",
        "/*",
        "ssl_",
        "- ",
        "u&'a' uescape "
    );
    CAPTURE(unit);
    std::string text;
    while (text.size() < (std::size_t{1} << 20U)) {
        text += unit;
    }
    for (const std::string start :
         {"alter connection a set (",
          "alter connection a set (host ",
          "drop connection ",
          "show notices ",
          ""}) {
        const auto found = parse_command(start + text + " (");
        CHECK(std::holds_alternative<command_error>(found));
    }
}

TEST_CASE("a command that would be read for too long is refused", "[parser][commands]") {
    const auto with_options = [](int count) {
        std::string sql = "create connection a to postgres (host 'h'";
        for (int i = 0; i < count; ++i) {
            sql += ", port 1";
        }
        return parse_command(sql + ")");
    };
    CHECK(std::holds_alternative<command>(with_options(1'000)));
    const auto found = with_options(10'000);
    REQUIRE(std::holds_alternative<command_error>(found));
    CHECK(std::get<command_error>(found).sqlstate == "54001");
    // A literal is one token, however long.
    CHECK(std::holds_alternative<command>(
        parse_command("create connection a to postgres (host '" + std::string(200'000, 'h') + "')")
    ));
}
