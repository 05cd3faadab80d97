// The packets that open a connection, and the startup parameter "options".
#include "wire/startup.hpp"

#include "tests/support/exact_buffer.hpp"
#include "wire/limits.hpp"

#include <catch2/catch.hpp>

#include <string>
#include <utility>
#include <vector>

using namespace signalbox::wire;
using namespace std::string_view_literals;
using signalbox::tests::exact_buffer;

namespace {

std::string packet(std::uint32_t code, std::string_view rest) {
    std::string out;
    message_writer{out}.u32(code).bytes(rest);
    return out;
}

std::string with_length(std::uint32_t length) {
    std::string out(4, '\0');
    store_u32(out.data(), length);
    return out;
}

using pairs = std::vector<std::pair<std::string, std::string>>;

pairs settings_of(std::string_view text) {
    const exact_buffer input{text};
    const auto parsed = parse_startup_options(input);
    pairs out;
    if (const auto* const error = std::get_if<options_error>(&parsed)) {
        return {{"error", error->message}};
    }
    for (const auto& setting : std::get<std::vector<option_setting>>(parsed)) {
        out.emplace_back(setting.name, setting.value);
    }
    return out;
}

}  // namespace

TEST_CASE("the size of a startup packet", "[wire][startup]") {
    for (std::size_t n = 0; n < 4; ++n) {
        CHECK(startup_packet_size(exact_buffer{with_length(8).substr(0, n)}).value() == 0);
    }
    const auto good = GENERATE(8U, 9U, 16U, 9'999U, 10'000U);
    CHECK(startup_packet_size(exact_buffer{with_length(good)}).value() == good);
    const auto bad = GENERATE(0U, 1U, 4U, 7U, 10'001U, 0x7fffffffU, 0x80000000U, 0xffffffffU);
    CHECK(startup_packet_size(exact_buffer{with_length(bad)}).error() == wire_errc::bad_length);
}

TEST_CASE("an HTTP request is no startup packet", "[wire][startup]") {
    CHECK(startup_packet_size("GET / HTTP/1.1\r\n").error() == wire_errc::bad_length);
}

TEST_CASE("SSLRequest and GSSENCRequest are eight bytes and no more", "[wire][startup]") {
    std::string written;
    write_ssl_request(written);
    CHECK(written == "\0\0\0\x08\x04\xd2\x16\x2f"sv);
    CHECK(std::holds_alternative<ssl_request>(parse_startup_packet(exact_buffer{written}).value()));
    CHECK(std::holds_alternative<gssenc_request>(
        parse_startup_packet(exact_buffer{packet(gssenc_request_code, {})}).value()
    ));
    for (const auto code : {ssl_request_code, gssenc_request_code}) {
        CHECK(
            parse_startup_packet(exact_buffer{packet(code, "x")}).error() == wire_errc::bad_length
        );
    }
}

TEST_CASE("a CancelRequest goes round, and every other length is refused", "[wire][startup]") {
    std::string written;
    const auto size = GENERATE(as<std::size_t>{}, 4, 5, 32, 256);
    const std::string secret(size, '\x07');
    write_cancel_request(written, {.process_id = 0xfffefdfc, .secret = secret});
    const exact_buffer input{written};
    CHECK(startup_packet_size(input).value() == 12 + size);
    const auto parsed = parse_startup_packet(input).value();
    CHECK(std::get<cancel_request>(parsed).process_id == 0xfffefdfc);
    CHECK(std::get<cancel_request>(parsed).secret == secret);
    for (std::size_t n = 0; n < 8; ++n) {
        CHECK(
            parse_startup_packet(exact_buffer{packet(cancel_request_code, std::string(n, 'x'))})
                .error() == wire_errc::truncated
        );
    }
    CHECK(
        parse_startup_packet(exact_buffer{packet(cancel_request_code, std::string(261, 'x'))})
            .error() == wire_errc::bad_length
    );
}

TEST_CASE("a startup message keeps its parameters in order", "[wire][startup]") {
    std::string written;
    write_startup_message(
        written, {{"user", "u"}, {"database", ""}, {"_pq_.feature", "on"}, {"user", "again"}}
    );
    const exact_buffer input{written};
    CHECK(startup_packet_size(input).value() == written.size());
    const auto parsed = parse_startup_packet(input).value();
    const auto& message = std::get<startup_message>(parsed);
    CHECK(message.major == 3);
    CHECK(message.minor == 0);
    using view = std::pair<std::string_view, std::string_view>;
    CHECK(
        message.parameters ==
        std::vector<view>{
            {"user", "u"}, {"database", ""}, {"_pq_.feature", "on"}, {"user", "again"}}
    );
}

TEST_CASE("a startup message cut anywhere is refused", "[wire][startup]") {
    std::string whole;
    write_startup_message(whole, {{"user", "joe"}, {"options", "-c a=b"}});
    for (std::size_t n = 0; n < whole.size(); ++n) {
        CAPTURE(n);
        // As it arrives: its length says more than is there.
        CHECK(
            parse_startup_packet(exact_buffer{whole.substr(0, n)}).error() == wire_errc::bad_length
        );
        if (n < 8) {
            continue;
        }
        // With a length that fits what is there.
        auto cut = whole.substr(0, n);
        store_u32(cut.data(), static_cast<std::uint32_t>(n));
        CHECK(parse_startup_packet(exact_buffer{cut}).error() == wire_errc::truncated);
    }
    auto longer = whole + "x";
    store_u32(longer.data(), static_cast<std::uint32_t>(longer.size()));
    CHECK(parse_startup_packet(exact_buffer{longer}).error() == wire_errc::trailing_bytes);
}

TEST_CASE(
    "newer minor versions are told, other major versions are not looked into", "[wire][startup]"
) {
    const auto newer =
        parse_startup_packet(exact_buffer{packet((3U << 16U) | 9'999U, "user\0joe\0\0"sv)}).value();
    CHECK(std::get<startup_message>(newer).minor == 9'999);
    CHECK(std::get<startup_message>(newer).parameters.size() == 1);
    const auto major = GENERATE(0U, 2U, 4U, 0xffffU);
    const auto other =
        parse_startup_packet(exact_buffer{packet(major << 16U, "\xff\xff"sv)}).value();
    CHECK(std::get<startup_message>(other).major == major);
    CHECK(std::get<startup_message>(other).parameters.empty());
}

TEST_CASE("a startup message without parameters is one NUL", "[wire][startup]") {
    const auto parsed = parse_startup_packet(exact_buffer{packet(protocol_3_0, "\0"sv)}).value();
    CHECK(std::get<startup_message>(parsed).parameters.empty());
    CHECK(
        parse_startup_packet(exact_buffer{packet(protocol_3_0, {})}).error() == wire_errc::truncated
    );
}

TEST_CASE("options are read as PostgreSQL reads them", "[wire][startup]") {
    CHECK(settings_of("").empty());
    CHECK(settings_of(" \t\n ").empty());
    CHECK(settings_of("-c a=b") == pairs{{"a", "b"}});
    CHECK(settings_of("  -c   a=b  ") == pairs{{"a", "b"}});
    CHECK(settings_of("-ca=b") == pairs{{"a", "b"}});
    CHECK(settings_of("--a=b") == pairs{{"a", "b"}});
    CHECK(settings_of("-c a=1 --b=2 -cc=3") == pairs{{"a", "1"}, {"b", "2"}, {"c", "3"}});
    CHECK(settings_of("-c Search-Path=X,y") == pairs{{"search_path", "X,y"}});
    CHECK(settings_of("--Work-Mem=4MB") == pairs{{"work_mem", "4MB"}});
    CHECK(settings_of("-c a=b=c") == pairs{{"a", "b=c"}});
    CHECK(settings_of("-c a=") == pairs{{"a", ""}});
}

TEST_CASE("a backslash takes the next character as it is", "[wire][startup]") {
    CHECK(settings_of(R"(-c a=x\ y)") == pairs{{"a", "x y"}});
    CHECK(settings_of(R"(-c a=x\\y)") == pairs{{"a", R"(x\y)"}});
    CHECK(settings_of(R"(-c a=\'q\')") == pairs{{"a", "'q'"}});
    CHECK(settings_of(R"(-c a=b\)") == pairs{{"a", "b"}});
    CHECK(settings_of(R"(\-c a=b)") == pairs{{"a", "b"}});
}

TEST_CASE("an empty name is kept for the server to refuse", "[wire][startup]") {
    CHECK(settings_of("-c=") == pairs{{"", ""}});
    CHECK(settings_of("-c =x") == pairs{{"", "x"}});
    CHECK(settings_of("--=x") == pairs{{"", "x"}});
}

TEST_CASE("options that cannot be read are refused in PostgreSQL's words", "[wire][startup]") {
    CHECK(settings_of("-c") == pairs{{"error", "option requires an argument -- 'c'"}});
    CHECK(settings_of("-c a=b -c") == pairs{{"error", "option requires an argument -- 'c'"}});
    CHECK(settings_of("-c a") == pairs{{"error", "-c a requires a value"}});
    CHECK(settings_of("-ca") == pairs{{"error", "-c a requires a value"}});
    CHECK(settings_of("--a") == pairs{{"error", "--a requires a value"}});
    CHECK(
        settings_of("-x") ==
        pairs{{"error", "invalid command-line argument for server process: -x"}}
    );
    CHECK(
        settings_of("--") ==
        pairs{{"error", "invalid command-line argument for server process: --"}}
    );
    CHECK(
        settings_of("a=b") ==
        pairs{{"error", "invalid command-line argument for server process: a=b"}}
    );
}
