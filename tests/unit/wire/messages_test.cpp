// Every message that is looked into: read, cut at every byte, with a byte too many; and every one
// that is made.
#include "wire/messages.hpp"

#include "tests/support/exact_buffer.hpp"
#include "tests/support/frames.hpp"

#include <catch2/catch.hpp>

#include <string>
#include <vector>

using namespace signalbox::wire;
using namespace std::string_view_literals;
using signalbox::tests::exact_buffer;
using signalbox::tests::split_frames;

namespace {

template <auto Parse>
boost::system::error_code error_of(std::string_view body) {
    return Parse(body).error();
}

boost::system::error_code error_of_data_row(std::string_view body) {
    std::vector<std::optional<std::string_view>> fields;
    return parse_data_row(body, fields).error();
}

struct layout {
    std::string name;
    std::string_view body;
    boost::system::error_code (*parse)(std::string_view);
};

/// Those whose every field has an end of its own.
const std::vector<layout> exact_layouts = {
    {"Query", "select 1\0"sv, &error_of<&parse_query>},
    {"empty Query", "\0"sv, &error_of<&parse_query>},
    {"Parse", "s1\0select $1\0\0\x02\0\0\0\x17\0\0\0\x19"sv, &error_of<&parse_parse>},
    {"unnamed Parse", "\0\0\0\0"sv, &error_of<&parse_parse>},
    {"Describe", "Ss1\0"sv, &error_of<&parse_named_target>},
    {"Close", "P\0"sv, &error_of<&parse_named_target>},
    {"Execute", "portal\0\0\0\0\x05"sv, &error_of<&parse_execute_portal>},
    {"PasswordMessage", "secret\0"sv, &error_of<&parse_password>},
    {"SASLInitialResponse",
     "SCRAM-SHA-256\0\0\0\0\x05n,,n="sv,
     &error_of<&parse_sasl_initial_response>},
    {"ParameterStatus", "TimeZone\0UTC\0"sv, &error_of<&parse_parameter_status>},
    {"NotificationResponse", "\0\0\x10\x01jobs\0done\0"sv, &error_of<&parse_notification>},
    {"NotificationResponse without a payload", "\0\0\0\x01c\0\0"sv, &error_of<&parse_notification>},
    {"ReadyForQuery", "T"sv, &error_of<&parse_ready_for_query>},
    {"CommandComplete", "SELECT 1\0"sv, &error_of<&parse_command_complete>},
    {"DataRow", "\0\x03\0\0\0\x02hi\xff\xff\xff\xff\0\0\0\0"sv, &error_of_data_row},
    {"empty DataRow", "\0\0"sv, &error_of_data_row},
};

/// The body of the one message that `write` makes, which must be of `type`.
template <class Write>
std::string body_of(char type, Write write) {
    std::string out = "x";
    write(out);
    CHECK(out[0] == 'x');
    const auto frames = split_frames(std::string_view{out}.substr(1));
    REQUIRE(frames.size() == 1);
    CHECK(frames[0].type == type);
    return frames[0].body;
}

}  // namespace

TEST_CASE(
    "every message is refused when it is cut, and when it has a byte too many", "[wire][messages]"
) {
    for (const auto& each : exact_layouts) {
        CAPTURE(each.name);
        CHECK_FALSE(each.parse(exact_buffer{each.body}));
        for (std::size_t n = 0; n < each.body.size(); ++n) {
            CAPTURE(n);
            CHECK(each.parse(exact_buffer{each.body.substr(0, n)}) == wire_errc::truncated);
        }
        CHECK(
            each.parse(exact_buffer{std::string{each.body} + "\x01"}) == wire_errc::trailing_bytes
        );
    }
}

TEST_CASE("Parse gives name, text, and the tail that tells statements apart", "[wire][messages]") {
    const exact_buffer body{"s1\0select $1\0\0\x01\0\0\0\x17"sv};
    const auto message = parse_parse(body).value();
    CHECK(message.name == "s1");
    CHECK(message.text == "select $1");
    CHECK(message.tail == "select $1\0\0\x01\0\0\0\x17"sv);
    // 65,535 types are announced, and none is there.
    CHECK(parse_parse(exact_buffer{"\0\0\xff\xff"sv}).error() == wire_errc::truncated);
}

TEST_CASE("the names of Bind are found as soon as they are there", "[wire][messages]") {
    constexpr auto body = "portal\0statement\0\0\0\0\x01\0\0\0\x04"sv;
    const std::size_t names = 17;
    for (std::size_t n = 0; n <= body.size(); ++n) {
        CAPTURE(n);
        const exact_buffer input{body.substr(0, n)};
        const auto found = parse_bind_names(input);
        if (n < names) {
            CHECK(found.error() == wire_errc::truncated);
            continue;
        }
        REQUIRE(found.has_value());
        CHECK(found->portal == "portal");
        CHECK(found->statement == "statement");
        CHECK(found->bytes == names);
    }
}

TEST_CASE("Describe, Close and Execute name their targets", "[wire][messages]") {
    const exact_buffer target{"Pp1\0"sv};
    CHECK(parse_named_target(target).value().kind == 'P');
    CHECK(parse_named_target(target).value().name == "p1");
    const exact_buffer execute{"p2\0\0\0\0\0"sv};
    CHECK(parse_execute_portal(execute).value() == "p2");
}

TEST_CASE("NotificationResponse says who, where and what", "[wire][messages]") {
    const exact_buffer body{"\0\x01\0\x02Some \"channel\"\0a payload\0"sv};
    const auto heard = parse_notification(body).value();
    CHECK(heard.process_id == 65'538);
    CHECK(heard.channel == "Some \"channel\"");
    CHECK(heard.payload == "a payload");
}

TEST_CASE("SASLInitialResponse: no data, empty data, bad lengths", "[wire][messages]") {
    CHECK(parse_sasl_initial_response("M\0\xff\xff\xff\xff"sv).value().data.empty());
    CHECK(parse_sasl_initial_response("M\0\0\0\0\0"sv).value().data.empty());
    CHECK(parse_sasl_initial_response("M\0\xff\xff\xff\xfe"sv).error() == wire_errc::bad_length);
    CHECK(parse_sasl_initial_response("M\0\x80\0\0\0"sv).error() == wire_errc::bad_length);
    CHECK(
        parse_sasl_initial_response(exact_buffer{"M\0\x7f\xff\xff\xff"sv}).error() ==
        wire_errc::truncated
    );
    CHECK(
        parse_sasl_initial_response("M\0\xff\xff\xff\xff!"sv).error() == wire_errc::trailing_bytes
    );
}

TEST_CASE("Authentication keeps what is behind its kind", "[wire][messages]") {
    for (std::size_t n = 0; n < 4; ++n) {
        CHECK(
            parse_authentication(exact_buffer{"\0\0\0\x05"sv.substr(0, n)}).error() ==
            wire_errc::truncated
        );
    }
    using type = authentication_request::type;
    const auto md5 = parse_authentication("\0\0\0\x05salt"sv).value();
    CHECK(md5.kind == type::md5_password);
    CHECK(md5.data == "salt");
    CHECK(parse_authentication("\0\0\0\0"sv).value().kind == type::ok);
}

TEST_CASE("ReadyForQuery knows three states", "[wire][messages]") {
    for (int c = 0; c < 256; ++c) {
        const char status = static_cast<char>(c);
        const exact_buffer body{std::string_view{&status, 1}};
        const auto parsed = parse_ready_for_query(body);
        if (status == 'I' || status == 'T' || status == 'E') {
            CHECK(parsed.value() == status);
        } else {
            CHECK(parsed.error() == wire_errc::bad_length);
        }
    }
}

TEST_CASE("DataRow tells NULL from empty and refuses other negative lengths", "[wire][messages]") {
    std::vector<std::optional<std::string_view>> fields;
    const exact_buffer body{"\0\x03\0\0\0\x02hi\xff\xff\xff\xff\0\0\0\0"sv};
    REQUIRE(parse_data_row(body, fields).has_value());
    CHECK(fields == std::vector<std::optional<std::string_view>>{"hi", std::nullopt, ""});
    fields.clear();
    CHECK(parse_data_row("\0\x01\xff\xff\xff\xfe"sv, fields).error() == wire_errc::bad_length);
    CHECK(parse_data_row("\0\x01\x80\0\0\0"sv, fields).error() == wire_errc::bad_length);
    CHECK(parse_data_row(exact_buffer{"\xff\xff"sv}, fields).error() == wire_errc::truncated);
}

TEST_CASE("the only field of a DataRow", "[wire][messages]") {
    CHECK(parse_only_field(exact_buffer{"\0\x01\0\0\0\x02hi"sv}) == "hi");
    CHECK(parse_only_field(exact_buffer{"\0\x01\0\0\0\0"sv}) == "");
    const auto other = GENERATE(
        ""sv,
        "\0\0"sv,
        "\0\x01"sv,
        "\0\x01\xff\xff\xff\xff"sv,         // NULL
        "\0\x01\0\0\0\x03hi"sv,             // truncated
        "\0\x01\0\0\0\x02hi!"sv,            // too long
        "\0\x02\0\0\0\x02hi\0\0\0\x02ho"sv  // two
    );
    CHECK(parse_only_field(exact_buffer{other}) == std::nullopt);
}

TEST_CASE("type bytes belong to one direction or both", "[wire][messages]") {
    const std::string client = "BCDEFHPQSXcdf";
    const std::string server = "123ACDEGHIKNRSTVWZcdnstv";
    for (int c = 0; c < 256; ++c) {
        const char type = static_cast<char>(c);
        CAPTURE(c);
        CHECK(is_client_message(type) == (type != '\0' && client.find(type) != std::string::npos));
        CHECK(is_server_message(type) == (type != '\0' && server.find(type) != std::string::npos));
    }
}

TEST_CASE("what a client sends goes round", "[wire][messages]") {
    CHECK(parse_query(body_of('Q', [](auto& out) {
              write_query(out, "select 1");
          })).value() == "select 1");
    const auto parse = body_of('P', [](auto& out) { write_parse(out, "n", "t\0\0\0"sv); });
    CHECK(parse_parse(parse).value().name == "n");
    CHECK(parse_parse(parse).value().tail == "t\0\0\0"sv);
    const auto close = body_of('C', [](auto& out) { write_named_target(out, 'C', 'S', "n"); });
    CHECK(parse_named_target(close).value().name == "n");
    CHECK(body_of('S', [](auto& out) { write_sync(out); }).empty());
    CHECK(body_of('X', [](auto& out) { write_terminate(out); }).empty());
    const auto password = body_of('p', [](auto& out) { write_password(out, "pw"); });
    CHECK(parse_password(password).value() == "pw");
    const auto sasl =
        body_of('p', [](auto& out) { write_sasl_initial_response(out, "M", "\0d"sv); });
    CHECK(parse_sasl_initial_response(sasl).value().mechanism == "M");
    CHECK(parse_sasl_initial_response(sasl).value().data == "\0d"sv);
    CHECK(body_of('p', [](auto& out) { write_sasl_response(out, "c=biws"); }) == "c=biws");
}

TEST_CASE("what a server sends goes round", "[wire][messages]") {
    using type = authentication_request::type;
    const auto auth =
        body_of('R', [](auto& out) { write_authentication(out, type::sasl, "M\0\0"sv); });
    CHECK(parse_authentication(auth).value().kind == type::sasl);
    CHECK(parse_authentication(auth).value().data == "M\0\0"sv);
    const auto status = body_of('S', [](auto& out) { write_parameter_status(out, "a", "b"); });
    CHECK(parse_parameter_status(status).value().name == "a");
    CHECK(parse_parameter_status(status).value().value == "b");
    for (const std::size_t size : {4U, 32U, 256U}) {
        const std::string secret(size, 's');
        const auto key = body_of('K', [&](auto& out) {
            write_backend_key_data(out, {0xfedcba98, secret});
        });
        CHECK(parse_backend_key_data(key).value().process_id == 0xfedcba98);
        CHECK(parse_backend_key_data(key).value().secret == secret);
    }
    CHECK(parse_backend_key_data(std::string(7, 'x')).error() == wire_errc::truncated);
    CHECK(parse_backend_key_data(std::string(261, 'x')).error() == wire_errc::bad_length);
    for (const char state : {'I', 'T', 'E'}) {
        const auto ready = body_of('Z', [state](auto& out) { write_ready_for_query(out, state); });
        CHECK(parse_ready_for_query(ready).value() == state);
    }
    const auto tag = body_of('C', [](auto& out) { write_command_complete(out, "INSERT 0 1"); });
    CHECK(parse_command_complete(tag).value() == "INSERT 0 1");
    CHECK(body_of('1', [](auto& out) { write_empty(out, '1'); }).empty());
    CHECK(body_of('v', [](auto& out) {
              write_negotiate_protocol_version(out, 0, {"_pq_.a", "_pq_.b"});
          }) == "\0\0\0\0\0\0\0\x02_pq_.a\0_pq_.b\0"sv);
}

TEST_CASE("a parameterized query is one whole batch", "[wire][messages]") {
    std::string out;
    write_parameterized_query(out, "select $1", {"joe", ""});
    const auto frames = split_frames(out);
    REQUIRE(frames.size() == 4);
    CHECK(frames[0].type == 'P');
    CHECK(parse_parse(frames[0].body).value().text == "select $1");
    CHECK(frames[1].type == 'B');
    CHECK(frames[1].body == "\0\0\0\0\0\x02\0\0\0\x03joe\0\0\0\0\0\0"sv);
    CHECK(frames[2].type == 'E');
    CHECK(parse_execute_portal(frames[2].body).value().empty());
    CHECK(frames[3].type == 'S');
}
