// The words behind wire_errc. One sentence per code, for the operator's log; never what a client
// reads.
#include "wire/error.hpp"

#include <string>

namespace signalbox::wire {
namespace {

const char* sentence(wire_errc code) noexcept {
    switch (code) {
        case wire_errc::truncated:
            return "the message's body ends before its last field does";
        case wire_errc::trailing_bytes:
            return "the message's body goes on behind its last field";
        case wire_errc::bad_length:
            return "a length or count in the message is one that the protocol does not allow";
        case wire_errc::too_large:
            return "the message is larger than its limit";
        case wire_errc::unknown_message:
            return "the message's type is not one that this peer may send";
        case wire_errc::bad_startup:
            return "the first packet is not a startup packet of any kind";
        case wire_errc::bad_options:
            return "the startup parameter \"options\" cannot be read";
        case wire_errc::bad_scram_message:
            return "the SCRAM message does not follow RFC 5802";
        case wire_errc::scram_nonce_mismatch:
            return "the peer answered with a SCRAM nonce of another exchange";
        case wire_errc::scram_channel_binding:
            return "the peer asked for a SCRAM channel binding that was not offered";
        case wire_errc::scram_downgrade:
            return "the client supports SCRAM channel binding and does not know that it was "
                   "offered";
        case wire_errc::scram_wrong_binding:
            return "the client's TLS connection ends at another certificate than the server's";
        case wire_errc::scram_iterations:
            return "the SCRAM iteration count is outside the limits";
        case wire_errc::scram_wrong_proof:
            return "the client's SCRAM proof does not match the verifier";
        case wire_errc::scram_wrong_signature:
            return "the server's SCRAM signature is wrong: it does not know the verifier";
        case wire_errc::scram_server_error:
            return "the server ended the SCRAM exchange with an error";
        case wire_errc::bad_verifier:
            return "the stored password is neither a SCRAM-SHA-256 nor an md5 verifier";
        case wire_errc::crypto_failure:
            return "libcrypto could not do what was asked of it";
    }
    return "unknown error of the protocol codec";
}

// Boost's base has a protected destructor and friends that may use it: nothing deletes through it.
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wnon-virtual-dtor"

class wire_error_category final : public boost::system::error_category {
public:
    const char* name() const noexcept override { return "signalbox.wire"; }

    std::string message(int value) const override {
        return sentence(static_cast<wire_errc>(value));
    }

    const char* message(int value, char*, std::size_t) const noexcept override {
        return sentence(static_cast<wire_errc>(value));
    }
};

#pragma GCC diagnostic pop

}  // namespace

const boost::system::error_category& wire_category() noexcept {
    static const wire_error_category category;
    return category;
}

}  // namespace signalbox::wire
