// The options of connections: which there are, what each refuses, and the SQL that makes a
// connection again.
#include "catalog/connection_kind.hpp"

#include "catalog/option_changes.hpp"
#include "tests/support/certificates.hpp"
#include "tests/support/connection_world.hpp"

#include <catch2/catch.hpp>

#include <fstream>
#include <iterator>

namespace {

using namespace signalbox::catalog;
using namespace signalbox::tests;
using namespace std::chrono_literals;
using Catch::Contains;

/// The smallest options of each type.
option_map required_of(connection_type type) {
    switch (type) {
        case postgres:
            return {{"HOST", "h"}};
        case aws_privatelink:
            return {{"SERVICE NAME", "s"}, {"AVAILABILITY ZONES", texts{"z"}}};
        case kafka:
            return {{"BROKER", "b:9092"}};
    }
    return {};
}

option_map with(option_map options, const std::string& name, option_value value) {
    options.insert_or_assign(name, std::move(value));
    return options;
}

/// As planned when nothing but the host is given.
postgres_connection only_host(const std::string& host) {
    postgres_connection out;
    out.name = "c";
    out.hosts = {{host, 5432}};
    return out;
}

std::string file_text(const std::string& path) {
    std::ifstream in{path};
    return {std::istreambuf_iterator<char>{in}, {}};
}

}  // namespace

TEST_CASE("connections: the types and their options", "[catalog]") {
    struct row {
        connection_type type;
        std::string label;
        std::string type_name;
        std::vector<std::string_view> options;
        bool is_supported;
    };

    const auto expected = GENERATE(
        row{postgres,
            "POSTGRES",
            "postgres",
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
             "AWS PRIVATELINK"},
            true},
        row{aws_privatelink,
            "AWS PRIVATELINK",
            "aws-privatelink",
            {"SERVICE NAME", "AVAILABILITY ZONES"},
            false},
        row{kafka,
            "KAFKA",
            "kafka",
            {"BROKER",
             "BROKERS",
             "SECURITY PROTOCOL",
             "SASL MECHANISMS",
             "SASL USERNAME",
             "SASL PASSWORD",
             "SSL CERTIFICATE AUTHORITY",
             "AWS PRIVATELINK"},
            false}
    );
    const connection_kind& kind = kind_of(expected.type);
    CHECK(kind.type() == expected.type);
    CHECK(kind.label() == expected.label);
    CHECK(kind.type_name() == expected.type_name);
    CHECK(std::vector(kind.options().begin(), kind.options().end()) == expected.options);
    CHECK(kind.is_supported() == expected.is_supported);
    for (const auto option : kind.options()) {
        REQUIRE(kind.find_option(option) != nullptr);
        CHECK(kind.find_option(option)->name == option);
    }
    CHECK(kind.find_option("TYPE") == nullptr);
    CHECK(all_kinds()[static_cast<std::size_t>(expected.type)] == &kind);
}

TEST_CASE("connections: the smallest POSTGRES connection has the defaults", "[catalog]") {
    const planned_connection planned = plan(postgres, {{"HOST", "h"}});
    CHECK(planned.name == "c");
    CHECK(planned.type == postgres);
    CHECK(planned.options == option_map{{"HOST", "h"}});
    CHECK(planned.depends_on.empty());
    REQUIRE(planned.postgres);
    CHECK(*planned.postgres == only_host("h"));
    CHECK_FALSE(planned.postgres->connect_timeout);
    CHECK(planned.postgres->tls == ssl_mode::prefer);
}

TEST_CASE("connections: every option of POSTGRES arrives", "[catalog]") {
    const signalbox::tests::self_signed pair{"h"};
    known_things known;
    known.secrets.emplace("key_path", pair.key());
    const option_map options{
        {"HOST", "h"},
        {"PORT", "5433"},
        {"DATABASE", "d"},
        {"USER", "u"},
        {"PASSWORD", secret("pw")},
        {"SSL MODE", "verify-full"},
        {"SSL CERTIFICATE AUTHORITY", pair.certificate()},
        {"SSL CERTIFICATE", pair.certificate()},
        {"SSL KEY", secret("key_path")},
        {"SSL NEGOTIATION", "direct"},
        {"CHANNEL BINDING", "require"},
        {"TARGET SESSION ATTRS", "read-write"},
        {"CONNECT TIMEOUT", "3"},
        {"MAX PROTOCOL VERSION", "3.2"},
        {"AWS PRIVATELINK", "tunnel"}};
    const planned_connection planned = plan(postgres, options, known);
    CHECK(planned.options == options);
    CHECK(planned.depends_on == texts{"tunnel"});
    const postgres_connection expected{
        .name = "c",
        .hosts = {{"h", 5433}},
        .user = "u",
        .password = "hunter2",
        .database = "d",
        .tls = ssl_mode::verify_full,
        .tls_ca = pair.certificate(),
        .tls_certificate = pair.certificate(),
        .tls_key = pair.key(),
        .negotiation = ssl_negotiation::direct,
        .binding = channel_binding::require,
        .target = target_session_attrs::read_write,
        .connect_timeout = 3s,
        .protocol = signalbox::wire::protocol_3_2};
    CHECK(*planned.postgres == expected);

    known.secrets["key_path"] = file_text(pair.key());
    CHECK(plan(postgres, options, known).postgres->tls_key == file_text(pair.key()));

    // without TLS no file is looked for, and relative paths are the configuration's
    const auto off = plan(
        postgres,
        {{"HOST", "h"}, {"SSL MODE", "disable"}, {"SSL CERTIFICATE AUTHORITY", "ca.crt"}},
        known
    );
    CHECK(off.postgres->tls_ca == "/config/ca.crt");
}

TEST_CASE("connections: the words of SSL MODE and TARGET SESSION ATTRS", "[catalog]") {
    const signalbox::tests::self_signed pair{"h"};
    option_map options{{"HOST", "h"}, {"SSL CERTIFICATE AUTHORITY", pair.certificate()}};
    const auto [mode, tls] = GENERATE(table<std::string, ssl_mode>(
        {{"disable", ssl_mode::disable},
         {"allow", ssl_mode::allow},
         {"prefer", ssl_mode::prefer},
         {"require", ssl_mode::require},
         {"verify-ca", ssl_mode::verify_ca},
         {"verify-full", ssl_mode::verify_full}}
    ));
    const auto [word, target] = GENERATE(table<std::string, target_session_attrs>(
        {{"any", target_session_attrs::any},
         {"read-write", target_session_attrs::read_write},
         {"read-only", target_session_attrs::read_only},
         {"primary", target_session_attrs::primary},
         {"standby", target_session_attrs::standby},
         {"prefer-standby", target_session_attrs::prefer_standby}}
    ));
    options.emplace("SSL MODE", mode);
    options.emplace("TARGET SESSION ATTRS", word);
    const auto planned = plan(postgres, options);
    CHECK(planned.postgres->tls == tls);
    CHECK(planned.postgres->target == target);
}

TEST_CASE("connections: HOST and PORT take lists as libpq does", "[catalog]") {
    using hosts = std::vector<host_port>;

    struct row {
        option_map options;
        hosts expected;
    };

    const auto [options, expected] = GENERATE(
        row{{{"HOST", "a,b"}}, hosts{{"a", 5432}, {"b", 5432}}},
        row{{{"HOST", " a , b "}, {"PORT", "7"}}, hosts{{"a", 7}, {"b", 7}}},
        row{{{"HOST", "a,b"}, {"PORT", "7,8"}}, hosts{{"a", 7}, {"b", 8}}},
        row{{{"HOST", "a,b"}, {"PORT", ",8"}}, hosts{{"a", 5432}, {"b", 8}}},
        row{{{"HOST", texts{"a", "b"}}, {"PORT", texts{"7", "8"}}}, hosts{{"a", 7}, {"b", 8}}},
        row{{{"HOST", "::1,10.0.0.1"}, {"PORT", "65535"}},
            hosts{{"::1", 65535}, {"10.0.0.1", 65535}}},
        row{{{"HOST", "/run/my sockets"}, {"PORT", ""}}, hosts{{"/run/my sockets", 5432}}},
        row{{{"HOST", "@abstract"}, {"PORT", "1"}}, hosts{{"@abstract", 1}}}
    );
    CHECK(plan(postgres, options).postgres->hosts == expected);
}

TEST_CASE("connections: CONNECT TIMEOUT is seconds or has a unit", "[catalog]") {
    const auto [text, expected] = GENERATE(table<std::string, std::chrono::milliseconds>(
        {{"3", 3s}, {"0", 0s}, {"500ms", 500ms}, {"5min", 5min}, {"2 s", 2s}, {"3650d", 87600h}}
    ));
    const auto planned = plan(postgres, {{"HOST", "h"}, {"CONNECT TIMEOUT", text}});
    CHECK(planned.postgres->connect_timeout == expected);
}

TEST_CASE("connections: an empty text is none, as in libpq", "[catalog]") {
    const auto planned = plan(
        postgres,
        {{"HOST", "h"},
         {"USER", ""},
         {"DATABASE", ""},
         {"SSL CERTIFICATE AUTHORITY", ""},
         {"SSL CERTIFICATE", ""}}
    );
    CHECK(*planned.postgres == only_host("h"));
}

TEST_CASE("connections: values that are refused", "[catalog]") {
    struct row {
        connection_type type;
        option_map options;  // beside the required ones
        std::string sqlstate;
        std::string message;
        std::string hint;
        std::string option;
    };

    const std::string bad = "22023";
    const auto [type, more, sqlstate, message, hint, option] = GENERATE_COPY(
        row{postgres,
            {{"PORT", "0"}},
            bad,
            R"(invalid PORT option value: "0")",
            "1 to 65535",
            "PORT"},
        row{postgres, {{"PORT", "65536"}}, bad, R"("65536")", "1 to 65535", "PORT"},
        row{postgres, {{"PORT", "-1"}}, bad, R"("-1")", "1 to 65535", "PORT"},
        row{postgres, {{"PORT", "x"}}, bad, R"("x")", "1 to 65535", "PORT"},
        row{postgres, {{"PORT", "5432x"}}, bad, R"("5432x")", "1 to 65535", "PORT"},
        row{postgres, {{"PORT", texts{}}}, bad, "the list is empty", "at least one", "PORT"},
        row{postgres,
            {{"PORT", "1,2"}},
            bad,
            "invalid PORT option value: 2 ports for 1 hosts",
            "one for each",
            "PORT"},
        row{postgres,
            {{"HOST", "a,b,c"}, {"PORT", texts{"1", "2"}}},
            bad,
            "2 ports for 3 hosts",
            "one for each",
            "PORT"},
        row{postgres,
            {{"HOST", ""}},
            bad,
            "invalid HOST option value: it is empty",
            "one host",
            "HOST"},
        row{postgres, {{"HOST", texts{}}}, bad, "the list is empty", "at least one", "HOST"},
        row{postgres, {{"HOST", "a,,b"}}, bad, "an empty element", "'a,b'", "HOST"},
        row{postgres, {{"HOST", texts{"a,b", "c"}}}, bad, "an empty element", "'a,b'", "HOST"},
        row{postgres, {{"HOST", "a b"}}, bad, "neither a name", "db.example.com", "HOST"},
        row{postgres, {{"HOST", "h:5432"}}, bad, "neither a name", "options of their own", "HOST"},
        row{postgres,
            {{"SSL MODE", "requrie"}},
            bad,
            R"(invalid SSL MODE option value: "requrie")",
            R"(One of disable, allow, prefer, require, verify-ca, verify-full. Did you mean "require"?)",
            "SSL MODE"},
        row{postgres, {{"SSL MODE", ""}}, bad, R"("")", "One of disable", "SSL MODE"},
        row{postgres, {{"SSL MODE", "Require"}}, bad, R"("Require")", "Did you mean", "SSL MODE"},
        row{postgres,
            {{"SSL MODE", "verify-ca"}},
            bad,
            "invalid SSL MODE option value: verify-ca needs SSL CERTIFICATE AUTHORITY",
            "Set it",
            "SSL MODE"},
        row{postgres,
            {{"SSL MODE", "verify-full"}},
            bad,
            "verify-full needs SSL CERTIFICATE AUTHORITY",
            "Set it",
            "SSL MODE"},
        row{postgres,
            {{"TARGET SESSION ATTRS", "master"}},
            bad,
            R"(invalid TARGET SESSION ATTRS option value: "master")",
            "One of any, read-write, read-only, primary, standby, prefer-standby.",
            "TARGET SESSION ATTRS"},
        row{postgres,
            {{"CONNECT TIMEOUT", "5 fortnights"}},
            bad,
            R"(invalid CONNECT TIMEOUT option value: "5 fortnights")",
            "ms, s, min, h, d",
            "CONNECT TIMEOUT"},
        row{postgres, {{"CONNECT TIMEOUT", "-1"}}, bad, R"("-1")", "'500ms'", "CONNECT TIMEOUT"},
        row{postgres, {{"CONNECT TIMEOUT", "3651d"}}, bad, "3651d", "3650", "CONNECT TIMEOUT"},
        row{postgres, {{"TCP USER TIMEOUT", "-1"}}, bad, R"("-1")", "system", "TCP USER TIMEOUT"},
        row{postgres, {{"USER", texts{"a"}}}, bad, "a list is not allowed", "one value", "USER"},
        row{postgres,
            {{"SSL CERTIFICATE AUTHORITY", "no.crt"}},
            bad,
            "invalid SSL CERTIFICATE AUTHORITY option value: cannot read \"/config/no.crt\": No "
            "such "
            "file or directory",
            "path",
            "SSL CERTIFICATE AUTHORITY"},
        row{postgres,
            {{"SSL CERTIFICATE", "a.crt"}},
            bad,
            "SSL CERTIFICATE and SSL KEY must be given together",
            "secret",
            "SSL CERTIFICATE"},
        row{postgres,
            {{"SSL KEY", secret("pw")}},
            bad,
            "SSL CERTIFICATE and SSL KEY must be given together",
            "secret",
            "SSL KEY"},
        row{postgres,
            {{"SSL NEGOTIATION", "starttls"}, {"SSL MODE", "require"}},
            bad,
            R"(invalid SSL NEGOTIATION option value: "starttls")",
            "One of postgres, direct",
            "SSL NEGOTIATION"},
        row{postgres,
            {{"SSL NEGOTIATION", "direct"}},
            bad,
            "invalid SSL NEGOTIATION option value: direct goes without a way back to plain text",
            "Set SSL MODE to require",
            "SSL NEGOTIATION"},
        row{postgres,
            {{"SSL NEGOTIATION", "direct"}, {"SSL MODE", "disable"}},
            bad,
            "a way back",
            "verify-full",
            "SSL NEGOTIATION"},
        row{postgres,
            {{"CHANNEL BINDING", "always"}},
            bad,
            R"(invalid CHANNEL BINDING option value: "always")",
            "disable, prefer, require",
            "CHANNEL BINDING"},
        row{postgres,
            {{"CHANNEL BINDING", "require"}, {"SSL MODE", "disable"}},
            bad,
            "invalid CHANNEL BINDING option value: require needs TLS, and SSL MODE is disable",
            "verify-full",
            "CHANNEL BINDING"},
        row{postgres,
            {{"PASSWORD", secret("x")}},
            "42704",
            R"(secret "x" does not exist)",
            "[secrets]",
            "PASSWORD"},
        row{postgres,
            {{"SSL KEY", secret("x")}},
            "42704",
            R"(secret "x" does)",
            "[secrets]",
            "SSL KEY"},
        row{postgres,
            {{"AWS PRIVATELINK", "nobody"}},
            "42704",
            R"(connection "nobody" does not exist)",
            "AWS PRIVATELINK",
            "AWS PRIVATELINK"},
        row{postgres,
            {{"AWS PRIVATELINK", "other"}},
            bad,
            R"(invalid AWS PRIVATELINK option value: connection "other" is of type postgres)",
            "an AWS PRIVATELINK connection",
            "AWS PRIVATELINK"},
        row{postgres, {{"AWS PRIVATELINK", ""}}, bad, R"("")", "takes the name", "AWS PRIVATELINK"},
        row{postgres,
            {{"BROKER", "b"}},
            "42601",
            "POSTGRES connections do not support BROKER values",
            "",
            "BROKER"},
        row{aws_privatelink,
            {{"SERVICE NAME", "a b"}},
            bad,
            R"(invalid SERVICE NAME option value: "a b")",
            "com.amazonaws.vpce",
            "SERVICE NAME"},
        row{aws_privatelink, {{"SERVICE NAME", ""}}, bad, R"("")", "vpce", "SERVICE NAME"},
        row{aws_privatelink,
            {{"AVAILABILITY ZONES", texts{"a", ""}}},
            bad,
            R"(invalid AVAILABILITY ZONES option value: "")",
            "use1-az1",
            "AVAILABILITY ZONES"},
        row{aws_privatelink,
            {{"AVAILABILITY ZONES", texts{}}},
            bad,
            "the list is empty",
            "at least",
            "AVAILABILITY ZONES"},
        row{aws_privatelink,
            {{"AVAILABILITY ZONES", texts{"a", "b", "a"}}},
            bad,
            R"("a" stands there twice)",
            "once",
            "AVAILABILITY ZONES"},
        row{aws_privatelink,
            {{"HOST", "h"}},
            "42601",
            "AWS PRIVATELINK connections do not support HOST values",
            "",
            "HOST"},
        row{kafka,
            {{"BROKERS", "b"}},
            bad,
            "BROKER and BROKERS cannot be given together",
            "takes several",
            "BROKERS"},
        row{kafka, {{"BROKER", "b:0"}}, bad, "invalid BROKER option value", "9092", "BROKER"},
        row{kafka, {{"BROKER", "b:65536"}}, bad, "not a host with a port", "9092", "BROKER"},
        row{kafka, {{"BROKER", "a:1,"}}, bad, "not a host with a port", "9092", "BROKER"},
        row{kafka, {{"BROKER", ":1"}}, bad, "not a host with a port", "9092", "BROKER"},
        row{kafka, {{"BROKER", "::1"}}, bad, "not a host with a port", "9092", "BROKER"},
        row{kafka, {{"BROKER", "[]:1"}}, bad, "not a host with a port", "9092", "BROKER"},
        row{kafka, {{"BROKER", "[::1"}}, bad, "not a host with a port", "9092", "BROKER"},
        row{kafka, {{"BROKER", "[::1]x1"}}, bad, "not a host with a port", "9092", "BROKER"},
        row{kafka,
            {{"SECURITY PROTOCOL", "TLS"}},
            bad,
            R"(invalid SECURITY PROTOCOL option value: "TLS")",
            "One of PLAINTEXT, SSL, SASL_PLAINTEXT, SASL_SSL.",
            "SECURITY PROTOCOL"},
        row{kafka,
            {{"SASL MECHANISMS", "GSSAPI"}},
            bad,
            R"(invalid SASL MECHANISMS option value: "GSSAPI")",
            "One of PLAIN, SCRAM-SHA-256, SCRAM-SHA-512.",
            "SASL MECHANISMS"},
        row{kafka,
            {{"SECURITY PROTOCOL", "SASL_SSL"}},
            bad,
            "SASL MECHANISMS option is required",
            "PLAIN",
            "SASL MECHANISMS"},
        row{kafka,
            {{"SASL MECHANISMS", "PLAIN"}},
            bad,
            "SASL USERNAME option is required",
            "password",
            "SASL USERNAME"},
        row{kafka,
            {{"SASL MECHANISMS", "PLAIN"}, {"SASL USERNAME", "u"}},
            bad,
            "SASL PASSWORD option is required",
            "password",
            "SASL PASSWORD"},
        row{kafka,
            {{"SASL PASSWORD", secret("x")}},
            "42704",
            R"(secret "x" does not exist)",
            "[secrets]",
            "SASL PASSWORD"},
        row{kafka,
            {{"SSL CERTIFICATE AUTHORITY", "no.crt"}},
            bad,
            "invalid SSL CERTIFICATE AUTHORITY option value: cannot read",
            "path",
            "SSL CERTIFICATE AUTHORITY"},
        row{kafka,
            {{"AWS PRIVATELINK", "nobody"}},
            "42704",
            R"(connection "nobody" does not exist)",
            "AWS PRIVATELINK",
            "AWS PRIVATELINK"},
        row{kafka,
            {{"HOST", "h"}},
            "42601",
            "KAFKA connections do not support HOST values",
            "",
            "HOST"}
    );
    option_map options = required_of(type);
    for (const auto& [name, value] : more) {
        options.insert_or_assign(name, value);
    }
    const refusal found = refusal_of(type, options);
    CAPTURE(found.message, found.hint);
    CHECK(found.sqlstate == sqlstate);
    CHECK_THAT(found.message, Contains(message));
    CHECK_THAT(found.hint, Contains(hint));
    CHECK(found.option == option);
}

TEST_CASE("connections: required options", "[catalog]") {
    const auto [type, option] = GENERATE(table<connection_type, std::string>(
        {{postgres, "HOST"},
         {aws_privatelink, "SERVICE NAME"},
         {aws_privatelink, "AVAILABILITY ZONES"},
         {kafka, "BROKER"}}
    ));
    option_map options = required_of(type);
    REQUIRE(refusal_of(type, options).message == "planned");
    options.erase(option);
    const refusal found = refusal_of(type, options);
    CHECK(found.sqlstate == "22023");
    CHECK(found.message == option + " option is required");
    CHECK(found.option == option);
    CHECK_FALSE(found.hint.empty());
}

TEST_CASE("connections: KAFKA is planned", "[catalog]") {
    const auto options = GENERATE(
        option_map{{"BROKERS", "a:9092, b:9093,[::1]:9094,c"}},
        option_map{{"BROKERS", texts{"a", "b"}}, {"SECURITY PROTOCOL", "plaintext"}},
        option_map{
            {"BROKER", "a:1"},
            {"SECURITY PROTOCOL", "SASL_SSL"},
            {"SASL MECHANISMS", "scram-sha-256"},
            {"SASL USERNAME", "u"},
            {"SASL PASSWORD", secret_name{"pw"}}}
    );
    const planned_connection planned = plan(kafka, with(options, "AWS PRIVATELINK", "tunnel"));
    CHECK(planned.type == kafka);
    CHECK_FALSE(planned.postgres);
    CHECK(planned.depends_on == texts{"tunnel"});
    CHECK(plan(kafka, options).options == options);
}

TEST_CASE("connections: a plain value and a SECRET are not exchanged", "[catalog]") {
    for (const connection_kind* const kind : all_kinds()) {
        for (const option_description& option : kind->descriptions()) {
            CAPTURE(kind->label(), option.name);
            const std::string name{option.name};
            const bool is_secret = option.form == option_form::secret;
            option_map options = required_of(kind->type());
            if (name == "BROKERS") {
                options.erase("BROKER");
            }
            if (!is_secret) {
                options = with(options, name, secret("pw"));
                const refusal found = refusal_of(kind->type(), options);
                CHECK(found.sqlstate == "22023");
                CHECK(
                    found.message ==
                    "invalid " + name + " option value: a SECRET is not allowed here"
                );
                CHECK(found.option == name);
                continue;
            }
            for (const option_value& plain :
                 {option_value{"hunter2"}, option_value{texts{"hunter2"}}}) {
                const refusal found = refusal_of(kind->type(), with(options, name, plain));
                CHECK(found.sqlstate == "22023");
                CHECK(found.message == "invalid " + name + " option value: must be a SECRET");
                CHECK_THAT(found.hint, Contains(name + " = SECRET name") && !Contains("hunter2"));
            }
        }
    }
}

TEST_CASE("connections: certificates and keys", "[catalog]") {
    const signalbox::tests::self_signed pair{"h"};
    const signalbox::tests::self_signed other{"h"};
    known_things known;
    known.secrets.emplace("key", pair.key());
    known.secrets.emplace("other_key", other.key());
    known.secrets.emplace("other_text", file_text(other.key()));
    known.secrets.emplace("no_key", "hunter2");
    known.secrets.emplace("broken", "-----BEGIN PRIVATE KEY-----\nhunter2\n");
    option_map options{
        {"HOST", "h"}, {"SSL CERTIFICATE", pair.certificate()}, {"SSL KEY", secret("key")}};
    REQUIRE(refusal_of(postgres, options, known).message == "planned");

    SECTION("another certificate's key") {
        const auto name = GENERATE(as<std::string>{}, "other_key", "other_text");
        options = with(options, "SSL KEY", secret(name));
        const refusal found = refusal_of(postgres, options, known);
        CHECK(found.sqlstate == "22023");
        CHECK_THAT(
            found.message,
            Catch::StartsWith("invalid SSL KEY option value: ") &&
                Contains("is not the key of the certificate")
        );
        CHECK(found.option == "SSL KEY");
        CHECK_THAT(found.message, !Contains(other.key()) && !Contains("BEGIN"));
    }
    SECTION("no key") {
        const auto name = GENERATE(as<std::string>{}, "no_key", "broken");
        options = with(options, "SSL KEY", secret(name));
        const refusal found = refusal_of(postgres, options, known);
        CHECK(found.sqlstate == "22023");
        CHECK_THAT(found.message, Catch::StartsWith("invalid SSL KEY option value: "));
        CHECK_THAT(found.message + found.hint, !Contains("hunter2"));
    }
    SECTION("no certificate") {
        const auto option =
            GENERATE(as<std::string>{}, "SSL CERTIFICATE", "SSL CERTIFICATE AUTHORITY");
        options = with(options, option, pair.key());
        const refusal found = refusal_of(postgres, options, known);
        CHECK(found.sqlstate == "22023");
        CHECK_THAT(
            found.message,
            Catch::StartsWith("invalid " + option + " option value: ") &&
                Contains("holds no certificate")
        );
        CHECK(found.option == option);
    }
    SECTION("a key in PEM where a path belongs is not repeated") {
        const auto option =
            GENERATE(as<std::string>{}, "SSL CERTIFICATE", "SSL CERTIFICATE AUTHORITY");
        options = with(options, option, "-----BEGIN PRIVATE KEY-----\nhunter2\n");
        const refusal found = refusal_of(postgres, options, known);
        CHECK(found.message == "invalid " + option + " option value: must be the path of a file");
        CHECK_THAT(found.hint, !Contains("hunter2"));
    }
    SECTION("with SSL MODE disable nothing is looked at") {
        options = with(with(options, "SSL KEY", secret("no_key")), "SSL MODE", "disable");
        CHECK(refusal_of(postgres, options, known).message == "planned");
    }
}

TEST_CASE("connections: a URI with a password is not repeated", "[catalog]") {
    const refusal host = refusal_of(postgres, {{"HOST", "postgres://u:hunter2@h/d"}});
    CHECK_THAT(host.message, Contains("invalid HOST") && !Contains("hunter2"));
    const refusal broker = refusal_of(kafka, {{"BROKER", "kafka://u:hunter2@h:1"}});
    CHECK_THAT(broker.message, Contains("invalid BROKER") && !Contains("hunter2"));
}

TEST_CASE("connections: the SQL that makes a connection again", "[catalog]") {
    struct row {
        std::string name;
        connection_type type;
        option_map options;
        std::string sql;
    };

    const auto [name, type, options, sql] = GENERATE(
        row{"main",
            postgres,
            {{"CONNECT TIMEOUT", "3"},
             {"SSL MODE", "require"},
             {"PASSWORD", secret("pw")},
             {"USER", "1"},
             {"PORT", "5433"},
             {"HOST", "h"},
             {"AWS PRIVATELINK", "tunnel"}},
            "CREATE CONNECTION main TO POSTGRES (HOST = 'h', PORT = 5433, USER = '1', PASSWORD = "
            "SECRET pw, SSL MODE = 'require', CONNECT TIMEOUT = 3, AWS PRIVATELINK = tunnel)"},
        row{"Main \"one\"",
            postgres,
            {{"HOST", texts{"a", "it's"}},
             {"PORT", texts{"1", "2"}},
             {"DATABASE", R"(a\b)"},
             {"PASSWORD", secret("My pw")},
             {"CONNECT TIMEOUT", "5min"},
             {"AWS PRIVATELINK", "secret"}},
            "CREATE CONNECTION \"Main \"\"one\"\"\" TO POSTGRES (HOST = ('a', 'it''s'), PORT = (1, "
            "2), DATABASE = E'a\\\\b', PASSWORD = SECRET \"My pw\", CONNECT TIMEOUT = '5min', AWS "
            "PRIVATELINK = \"secret\")"},
        row{"if",
            postgres,
            {{"HOST", "a,b"}, {"PORT", "1,2"}},
            R"(CREATE CONNECTION "if" TO POSTGRES (HOST = 'a,b', PORT = '1,2'))"},
        row{"1st",
            aws_privatelink,
            {{"SERVICE NAME", "s"}, {"AVAILABILITY ZONES", texts{"z"}}},
            R"(CREATE CONNECTION "1st" TO AWS PRIVATELINK (SERVICE NAME = 's', AVAILABILITY ZONES = ('z')))"},
        row{"k",
            kafka,
            {{"BROKERS", "a:1,b:2"}, {"SASL PASSWORD", secret("pw")}},
            "CREATE CONNECTION k TO KAFKA (BROKERS = 'a:1,b:2', SASL PASSWORD = SECRET pw)"}
    );
    CHECK(create_sql(name, type, options) == sql);
}
