#include "proxy/replication_traffic.hpp"

#include "wire/bytes.hpp"
#include "wire/messages.hpp"

#include <algorithm>
#include <cstring>

namespace signalbox::proxy {

namespace cm = wire::client_message;
namespace sm = wire::server_message;

/// Of a ReadyForQuery: itself and the transaction status.
constexpr std::uint32_t ready_length = 5;

replication_traffic::walk::stretch replication_traffic::walk::take(
    std::string_view in, std::size_t& size
) noexcept {
    if (body_left > 0) {
        size = std::min(body_left, in.size());
        body_left -= size;
        return stretch::body;
    }
    size = std::min(header.size() - header_size, in.size());
    std::memcpy(header.data() + header_size, in.data(), size);
    header_size += size;
    return header_size < header.size() ? stretch::part_of_header : stretch::header;
}

void replication_traffic::walk::enter() noexcept {
    header_size = 0;
    body_left = length() - 4;
}

std::uint32_t replication_traffic::walk::length() const noexcept {
    return wire::load_u32(header.data() + 1);
}

std::size_t replication_traffic::on_client(std::string_view in) {
    std::size_t done = 0;
    while (done < in.size()) {
        std::size_t size = 0;
        const auto what = from_client_.take(in.substr(done), size);
        if (what != walk::stretch::body) {
            const bool is_whole = what == walk::stretch::header;
            if (!may_enter_client_message(is_whole)) {
                return done;
            }
            if (is_whole) {
                from_client_.enter();
                note_client_message();
            }
        }
        done += size;
    }
    return done;
}

bool replication_traffic::may_enter_client_message(bool has_length) {
    const char type = from_client_.type();
    if (!wire::is_client_message(type)) {
        refusal_ =
            "invalid frontend message type " + std::to_string(static_cast<unsigned char>(type));
    } else if (has_length && static_cast<std::int32_t>(from_client_.length()) < 4) {
        refusal_ = "invalid message length";
    } else if (has_length && from_client_.length() > max_message_size_) {
        refusal_ = "message of " + std::to_string(from_client_.length()) + " bytes is too long";
        too_long_ = true;
    }
    return refusal_.empty();
}

void replication_traffic::note_client_message() noexcept {
    switch (from_client_.type()) {
        case cm::query:
        case cm::function_call:
            ++commands_;
            break;
        case cm::sync:
            commands_ += streaming_ || copying_in_ ? 0 : 1;  // inside a COPY it is ignored
            break;
        case cm::terminate:
            goodbye_ = true;
            break;
        default:
            break;
    }
}

std::size_t replication_traffic::on_server(std::string_view in, bool to_boundary) {
    std::size_t done = 0;
    while (done < in.size()) {
        std::size_t size = 0;
        const auto what = from_server_.take(in.substr(done), size);
        if (what == walk::stretch::body) {
            if (from_server_.type() == sm::ready_for_query) {
                status_ = in[done];
            }
        } else if (!may_enter_server_message(what == walk::stretch::header)) {
            broken_ = true;
            from_server_.header_size -= size;  // none of it is passed
            return done;
        } else if (what == walk::stretch::header) {
            from_server_.enter();
            note_server_message();
        }
        done += size;
        if (to_boundary && from_server_.at_boundary()) {
            break;
        }
    }
    return done;
}

bool replication_traffic::may_enter_server_message(bool has_length) const noexcept {
    const char type = from_server_.type();
    if (!wire::is_server_message(type)) {
        return false;
    }
    const bool is_short = has_length && static_cast<std::int32_t>(from_server_.length()) < 4;
    const bool is_odd =
        has_length && type == sm::ready_for_query && from_server_.length() != ready_length;
    return !is_short && !is_odd;
}

void replication_traffic::note_server_message() noexcept {
    last_of_server_ = from_server_.type();
    switch (last_of_server_) {
        case sm::copy_both_response:
            streaming_ = true;
            break;
        case sm::copy_in_response:
            copying_in_ = true;
            break;
        case sm::command_complete:
        case sm::error_response:
            copying_in_ = false;
            break;
        case sm::ready_for_query:
            commands_ -= commands_ > 0 ? 1 : 0;
            streaming_ = false;
            copying_in_ = false;
            break;
        default:
            break;
    }
}

}  // namespace signalbox::proxy
