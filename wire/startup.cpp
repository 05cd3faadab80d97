#include "wire/startup.hpp"

#include "wire/limits.hpp"

#include <algorithm>
#include <cctype>

namespace signalbox::wire {

result<std::size_t> startup_packet_size(bytes_view in) noexcept {
    if (in.size() < 4) {
        return std::size_t{0};
    }
    const std::size_t size = load_u32(in.data());
    if (size < 8 || size > max_startup_bytes) {
        return wire_errc::bad_length;
    }
    return size;
}

result<startup_packet> parse_startup_packet(bytes_view packet) {
    byte_reader in{packet};
    const auto size = in.u32();
    const auto code = in.u32();
    if (in.failed() || size != packet.size()) {
        return wire_errc::bad_length;
    }
    switch (code) {
        case ssl_request_code:
            return in.remaining() == 0 ? result<startup_packet>{ssl_request{}}
                                       : wire_errc::bad_length;
        case gssenc_request_code:
            return in.remaining() == 0 ? result<startup_packet>{gssenc_request{}}
                                       : wire_errc::bad_length;
        case cancel_request_code: {
            const auto process_id = in.u32();
            if (in.remaining() > max_secret_bytes) {
                return wire_errc::bad_length;
            }
            const cancel_request msg{
                .process_id = process_id,
                .secret = in.bytes(std::max(in.remaining(), min_secret_bytes))};
            if (const auto ec = in.finish()) {
                return ec;
            }
            return startup_packet{msg};
        }
        default:
            break;
    }
    startup_message msg{
        .major = static_cast<std::uint16_t>(code >> 16U),
        .minor = static_cast<std::uint16_t>(code & 0xffffU),
        .parameters = {}};
    if (msg.major != 3) {
        return startup_packet{msg};  // the caller refuses the version; its layout may be another
    }
    for (;;) {
        const auto name = in.cstring();
        if (in.failed()) {
            return wire_errc::truncated;
        }
        if (name.empty()) {
            break;
        }
        const auto value = in.cstring();
        msg.parameters.emplace_back(name, value);
    }
    if (const auto ec = in.finish()) {
        return ec;
    }
    return startup_packet{std::move(msg)};
}

namespace {

std::vector<std::string> split_options(std::string_view text) {
    std::vector<std::string> words;
    std::size_t i = 0;
    const auto is_space = [](char c) { return std::isspace(static_cast<unsigned char>(c)) != 0; };
    while (i < text.size()) {
        while (i < text.size() && is_space(text[i])) {
            ++i;
        }
        if (i == text.size()) {
            break;
        }
        std::string word;
        for (; i < text.size() && !is_space(text[i]); ++i) {
            if (text[i] == '\\') {
                if (++i == text.size()) {
                    break;
                }
            }
            word.push_back(text[i]);
        }
        words.push_back(std::move(word));
    }
    return words;
}

}  // namespace

std::variant<std::vector<option_setting>, options_error> parse_startup_options(std::string_view text
) {
    std::vector<option_setting> settings;
    const auto words = split_options(text);
    for (std::size_t i = 0; i < words.size(); ++i) {
        const std::string& word = words[i];
        std::string_view assignment;
        const bool is_long = word.starts_with("--") && word.size() > 2;
        if (word == "-c") {
            if (i + 1 == words.size()) {
                return options_error{"option requires an argument -- 'c'"};
            }
            assignment = words[++i];
        } else if (is_long || word.starts_with("-c")) {
            assignment = std::string_view{word}.substr(2);
        } else {
            return options_error{"invalid command-line argument for server process: " + word};
        }
        const auto equals = assignment.find('=');
        if (equals == std::string_view::npos) {
            return options_error{
                (is_long ? "--" : "-c ") + std::string{assignment} + " requires a value"};
        }
        std::string name{assignment.substr(0, equals)};
        std::transform(name.begin(), name.end(), name.begin(), [](unsigned char c) {
            return c == '-' ? '_' : static_cast<char>(std::tolower(c));
        });
        settings.push_back({std::move(name), std::string{assignment.substr(equals + 1)}});
    }
    return settings;
}

void write_ssl_request(std::string& out) {
    message_writer{out}.u32(ssl_request_code);
}

void write_cancel_request(std::string& out, cancel_request request) {
    message_writer{out}.u32(cancel_request_code).u32(request.process_id).bytes(request.secret);
}

void write_startup_message(
    std::string& out,
    const std::vector<std::pair<std::string_view, std::string_view>>& parameters,
    std::uint32_t version
) {
    message_writer msg{out};
    msg.u32(version);
    for (const auto& [name, value] : parameters) {
        msg.cstring(name).cstring(value);
    }
    msg.u8(0);
}

}  // namespace signalbox::wire
