// libFuzzer target: the packets that open a connection, and the startup parameter "options".
//
// Layout    first byte modulo 2: a packet, or "options"; the rest: its input
#include "tests/fuzz/choices.hpp"
#include "tests/support/exact_buffer.hpp"
#include "wire/limits.hpp"
#include "wire/startup.hpp"

#include <string>

namespace {

using namespace signalbox::wire;
using namespace signalbox::tests;

void packet(std::string_view text) {
    const exact_buffer input{text};
    const auto size = startup_packet_size(input);
    if (!size) {
        return;
    }
    require(*size == 0 || (*size >= 8 && *size <= max_startup_bytes));
    const auto parsed = parse_startup_packet(input);
    if (!parsed) {
        return;
    }
    require(*size == text.size());
    std::string again;
    if (const auto* const cancel = std::get_if<cancel_request>(&*parsed)) {
        write_cancel_request(again, *cancel);
        require(again == text);
    } else if (std::holds_alternative<ssl_request>(*parsed)) {
        write_ssl_request(again);
        require(again == text);
    } else if (const auto* const startup = std::get_if<startup_message>(&*parsed)) {
        if (startup->major == 3 && startup->minor == 0) {
            write_startup_message(again, startup->parameters);
            require(again == text);
        }
    }
}

void options(std::string_view text) {
    const exact_buffer input{text};
    const auto parsed = parse_startup_options(input);
    if (const auto* const settings = std::get_if<std::vector<option_setting>>(&parsed)) {
        // What was read can be written so that it is read again.
        std::string again;
        for (const auto& setting : *settings) {
            again += " -c ";
            for (const char c : setting.name + "=" + setting.value) {
                again += '\\';
                again += c;
            }
        }
        const auto reread = parse_startup_options(again);
        const auto* const same = std::get_if<std::vector<option_setting>>(&reread);
        require(same != nullptr && same->size() == settings->size());
        for (std::size_t i = 0; i < settings->size(); ++i) {
            require(
                (*same)[i].name == (*settings)[i].name && (*same)[i].value == (*settings)[i].value
            );
        }
    } else {
        require(!std::get<options_error>(parsed).message.empty());
    }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    choices input{{reinterpret_cast<const char*>(data), size}};
    if (input.below(2) == 0) {
        packet(input.remainder());
    } else {
        options(input.remainder());
    }
    return 0;
}
