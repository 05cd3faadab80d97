// libFuzzer target: everything that a peer or a stored verifier can hand to wire/scram.
//
// Layout    first byte modulo 8: which target; the rest: its input. Targets that take two messages
// split the input at
//           the first line feed, which no message of a real peer holds.
// Corpus    tests/fuzz/corpus/scram; the server's and the client's nonces are fixed, so that whole
// exchanges are there
#include "wire/base64.hpp"
#include "wire/saslprep.hpp"
#include "wire/scram.hpp"

#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <string>
#include <string_view>
#include <utility>

namespace {

using namespace signalbox::wire;

void require(bool holds) {
    if (!holds) {
        std::abort();
    }
}

constexpr std::string_view client_nonce = "rOprNGfwEbeRWgbNEkqO";
constexpr std::string_view server_nonce = "%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0";

const scram_keys& fixed_keys() {
    static const scram_keys keys = derive_scram_keys("pencil", "salt", 1).value();
    return keys;
}

const scram_verifier& fixed_verifier() {
    static const scram_verifier verifier = make_scram_verifier(fixed_keys(), "salt", 1).value();
    return verifier;
}

// A hash that the server's certificate may have.
const scram_channel bound{.end_point = "0123456789abcdef0123456789abcdef", .is_bound = true};
const scram_channel able{.end_point = bound.end_point, .is_bound = false};

std::pair<std::string_view, std::string_view> split(std::string_view input) {
    const std::size_t at = input.find('\n');
    if (at == std::string_view::npos) {
        return {input, {}};
    }
    return {input.substr(0, at), input.substr(at + 1)};
}

void server_side(std::string_view input, const scram_channel& channel) {
    const auto [first, last] = split(input);
    scram_server server{fixed_verifier(), std::string{server_nonce}, channel};
    const auto server_first = server.on_client_first(first);
    if (server_first) {
        if (channel.is_bound) {
            require(first.starts_with("p=tls-server-end-point,,"));
        } else {
            // Who could bind has to, where it was offered.
            require(
                first.starts_with("n,,") || (first.starts_with("y,,") && channel.end_point.empty())
            );
        }
        require(server_first->starts_with("r=") && server_first->ends_with(",s=c2FsdA==,i=1"));
    }
    const auto server_final = server.on_client_final(last);
    require(server_first.has_value() || server_final.has_error());
    // Who has the proof has the key.
    const bool has_key = server.keys().client_key == fixed_keys().client_key;
    require(server_final.has_value() == has_key);
    if (server_final && channel.is_bound) {
        std::string seen = "c=";
        append_base64(seen, "p=tls-server-end-point,," + channel.end_point);
        require(last.starts_with(seen + ","));
    }
    require(server.on_client_final(last).error() == wire_errc::bad_scram_message);
}

void client_side(std::string_view input, const scram_channel& channel) {
    const auto [first, last] = split(input);
    scram_client client{std::string{client_nonce}, channel};
    const auto challenge = client.on_server_first(first);
    if (challenge) {
        require(!challenge->salt.empty());
        require(challenge->iterations >= 1 && challenge->iterations <= max_scram_iterations);
    }
    const auto client_final = client.final_message(fixed_keys());
    require(client_final.has_value() == challenge.has_value());
    const auto verified = client.on_server_final(last);
    require(verified.has_value() == client.is_server_verified());
    require(challenge.has_value() || verified.has_error());
}

void stored_verifier(std::string_view input) {
    static_cast<void>(make_md5_response(input, {1, 2, 3, 4}));
    const auto verifier = parse_scram_verifier(input);
    if (!verifier) {
        return;
    }
    require(!is_md5_verifier(input));
    require(serialize_scram_verifier(*verifier) == input);
    // What can be parsed can be served, and our own client understands it.
    scram_server server{*verifier, std::string{server_nonce}};
    scram_client client{std::string{client_nonce}};
    const auto server_first = server.on_client_first(client.first_message());
    require(server_first.has_value());
    if (server_first->size() <= max_scram_message_bytes) {
        const auto challenge = client.on_server_first(*server_first);
        require(challenge.has_value());
        require(challenge->salt == verifier->salt);
        require(challenge->iterations == verifier->iterations);
    }
}

void text_forms(std::string_view input) {
    if (const auto bytes = decode_base64(input)) {
        std::string again;
        append_base64(again, *bytes);
        require(again == input);
    }
    std::string encoded;
    append_base64(encoded, input);
    require(decode_base64(encoded) == input);
    const std::string prepared = saslprep(input);
    require(prepared.empty() == input.empty());
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    if (size == 0) {
        return 0;
    }
    const std::string_view input{reinterpret_cast<const char*>(data + 1), size - 1};
    switch (data[0] % 8) {
        case 0:
            server_side(input, {});
            break;
        case 1:
            client_side(input, {});
            break;
        case 2:
            stored_verifier(input);
            break;
        case 4:
            server_side(input, bound);
            break;
        case 5:
            client_side(input, bound);
            break;
        case 6:
            server_side(input, able);
            break;
        case 7:
            client_side(input, able);
            break;
        default:
            text_forms(input);
            break;
    }
    return 0;
}
