// Errors of the protocol codec as values.
//
// Anything a peer can cause is a `result<T>`, checked at once with a plain `if`; nothing in this
// folder throws. `message()` of a code is a sentence for the operator; the words that a client
// reads are made where the ErrorResponse is made.
#pragma once

#include <boost/system/error_code.hpp>
#include <boost/system/result.hpp>

namespace signalbox::wire {

enum class wire_errc {
    truncated = 1,          // the body ends before the message does
    trailing_bytes,         // the message ends before the body does
    bad_length,             // a length or count that the protocol does not allow
    too_large,              // over a named limit
    unknown_message,        // a type byte that this direction does not have
    bad_startup,            // not a startup packet of any kind
    bad_options,            // the startup parameter "options" cannot be read
    bad_scram_message,      // a SCRAM message that does not follow RFC 5802
    scram_nonce_mismatch,   // the peer answered with another nonce
    scram_channel_binding,  // the peer asked for a channel binding that was not offered
    scram_downgrade,        // the client can bind, and was told that the server cannot
    scram_wrong_binding,    // the client's TLS connection does not end at this server
    scram_iterations,       // an iteration count outside the limits
    scram_wrong_proof,      // the client does not know the password
    scram_wrong_signature,  // the server does not know the verifier
    scram_server_error,     // the server answered with "e=..."
    bad_verifier,           // not a SCRAM-SHA-256$... or md5... verifier
    crypto_failure,         // libcrypto refused
};

const boost::system::error_category& wire_category() noexcept;

inline boost::system::error_code make_error_code(wire_errc code) noexcept {
    return {static_cast<int>(code), wire_category()};
}

template <class T>
using result = boost::system::result<T>;

}  // namespace signalbox::wire

namespace boost::system {
template <>
struct is_error_code_enum<signalbox::wire::wire_errc> : std::true_type {};
}  // namespace boost::system
