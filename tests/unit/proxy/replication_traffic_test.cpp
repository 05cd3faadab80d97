// A replication connection's bytes: where messages end, and what the walsender is doing.
#include "proxy/replication_traffic.hpp"

#include <catch2/catch.hpp>

#include <algorithm>
#include <random>
#include <string>
#include <vector>

using signalbox::proxy::replication_traffic;

namespace {

constexpr std::uint64_t longest = 1000;

std::string message(char type, const std::string& body = {}) {
    const auto length = static_cast<std::uint32_t>(body.size() + 4);
    std::string out(1, type);
    for (const unsigned shift : {24U, 16U, 8U, 0U}) {
        out += static_cast<char>(length >> shift & 0xffU);
    }
    return out + body;
}

std::string header(char type, std::uint32_t length) {
    std::string out(1, type);
    for (const unsigned shift : {24U, 16U, 8U, 0U}) {
        out += static_cast<char>(length >> shift & 0xffU);
    }
    return out;
}

const std::string start = message('Q', std::string{"START_REPLICATION 0/0\0", 22});
const std::string copy_both = message('W', std::string{"\0\0\0", 3});

}  // namespace

TEST_CASE("replication: what the walsender is doing", "[proxy][replication]") {
    replication_traffic t{longest};
    const auto client = [&t](const std::string& bytes) {
        CHECK(t.on_client(bytes) == bytes.size());
    };
    const auto server = [&t](const std::string& bytes) {
        CHECK(t.on_server(bytes) == bytes.size());
    };
    CHECK_FALSE(t.is_busy());

    SECTION("a command") {
        client(message('Q', std::string{"IDENTIFY_SYSTEM\0", 16}));
        CHECK(t.is_busy());
        server(message('T') + message('D') + message('C'));
        CHECK(t.is_busy());
        server(message('Z', "I"));
        CHECK_FALSE(t.is_busy());
    }
    SECTION("two commands at once") {
        client(start + start);
        server(message('C') + message('Z', "I"));
        CHECK(t.is_busy());
        server(message('C') + message('Z', "I"));
        CHECK_FALSE(t.is_busy());
    }
    SECTION("a transaction block") {
        client(message('Q', std::string{"BEGIN\0", 6}));
        server(message('C') + message('Z', "T"));
        CHECK(t.is_busy());
        client(message('Q', std::string{"COMMIT\0", 7}));
        server(message('C') + message('Z', "I"));
        CHECK_FALSE(t.is_busy());
    }
    SECTION("a stream that the client ends") {
        client(start);
        CHECK_FALSE(t.is_streaming());
        server(copy_both + message('d', "k"));
        CHECK(t.is_streaming());
        client(message('d', "r") + message('S') + message('c'));
        server(message('d', "w") + message('c'));
        CHECK(t.is_streaming());
        server(message('C') + message('Z', "I"));
        CHECK_FALSE(t.is_streaming());
        CHECK_FALSE(t.is_busy());  // the Sync inside the stream is not answered
    }
    SECTION("a Sync inside COPY FROM STDIN is not answered, one outside is") {
        client(message('Q', std::string{"COPY t FROM STDIN\0", 18}));
        server(message('G', std::string{"\0\0\0", 3}));
        client(message('S') + message('c'));
        server(message('C') + message('Z', "I"));
        CHECK_FALSE(t.is_busy());
        client(message('P') + message('S'));
        CHECK(t.is_busy());
        server(message('E') + message('Z', "I"));
        CHECK_FALSE(t.is_busy());
    }
    SECTION("Terminate") {
        CHECK_FALSE(t.has_said_goodbye());
        client(message('X'));
        CHECK(t.has_said_goodbye());
    }
    SECTION("the last word") {
        CHECK(t.last_of_server() == '\0');
        server(message('E', "SFATAL"));
        CHECK(t.last_of_server() == 'E');
    }
}

TEST_CASE("replication: a message that is none is not passed", "[proxy][replication]") {
    const std::string before = message('d', "abc");

    struct bad_message {
        std::string bytes;
        std::string refusal;
        bool is_too_long;
    };

    const auto bad = GENERATE(
        bad_message{"!", "invalid frontend message type 33", false},
        bad_message{header('Z', 5), "invalid frontend message type 90", false},
        bad_message{header('d', 3), "invalid message length", false},
        bad_message{header('d', 0x80000000U), "invalid message length", false},
        bad_message{header('d', longest + 1), "message of 1001 bytes is too long", true}
    );
    CAPTURE(bad.refusal);
    SECTION("of the client") {
        replication_traffic t{longest};
        CHECK(t.on_client(before + bad.bytes + "rest") == before.size());
        CHECK(t.refusal() == bad.refusal);
        CHECK(t.is_too_long() == bad.is_too_long);
    }
    SECTION("of the client, byte by byte: a part of its header may have been passed") {
        replication_traffic t{longest};
        std::size_t passed = 0;
        for (const char each : before + bad.bytes) {
            const auto n = t.on_client({&each, 1});
            passed += n;
            if (n == 0) {
                break;
            }
        }
        const bool is_no_type = bad.refusal.starts_with("invalid frontend");
        CHECK(passed == before.size() + (is_no_type ? 0 : 4));
        CHECK(t.refusal() == bad.refusal);
    }
}

TEST_CASE("replication: a server that does not keep the protocol", "[proxy][replication]") {
    const std::string before = message('d', "abc");
    const auto bad =
        GENERATE(as<std::string>{}, "!", header('d', 3), header('d', 0xffffffffU), header('Z', 6));
    replication_traffic t{longest};
    CHECK(t.on_server(before + bad) == before.size());
    CHECK(t.is_broken());
    CHECK_FALSE(t.is_mid_message());
}

TEST_CASE("replication: the longest message allowed passes", "[proxy][replication]") {
    replication_traffic t{longest};
    const auto whole = message('d', std::string(longest - 4, 'x'));
    CHECK(t.on_client(whole) == whole.size());
    CHECK(t.refusal().empty());
}

TEST_CASE("replication: random messages cut anywhere pass whole", "[proxy][replication]") {
    std::mt19937 random{20240607};
    const auto below = [&random](std::size_t n) { return random() % n; };
    for (int round = 0; round < 200; ++round) {
        replication_traffic t{longest};
        CHECK(t.on_client(start) == start.size());
        std::string all = copy_both;
        std::vector<std::size_t> ends{all.size()};
        for (auto left = 1 + below(20); left > 0; --left) {
            all += message('d', std::string(below(4) == 0 ? 0 : below(300), 'w'));
            ends.push_back(all.size());
        }
        std::size_t at = 0;
        while (at < all.size()) {
            const auto piece = std::string_view{all}.substr(at, 1 + below(64));
            const bool to_boundary = below(3) == 0;
            const auto passed = t.on_server(piece, to_boundary);
            const auto next_end = *std::upper_bound(ends.begin(), ends.end(), at);
            CAPTURE(round, at, piece.size(), passed);
            REQUIRE(passed == (to_boundary ? std::min(piece.size(), next_end - at) : piece.size()));
            at += passed;
            const bool is_end = std::find(ends.begin(), ends.end(), at) != ends.end();
            REQUIRE(t.is_mid_message() != is_end);
        }
        CHECK(t.is_streaming());
        CHECK_FALSE(t.is_broken());
    }
}
