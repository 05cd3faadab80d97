// A notification on its way from a listening connection to every session that hears it.
#pragma once

#include "wire/limits.hpp"
#include "wire/messages.hpp"

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>

namespace signalbox::backend {

/// Immutable, shared by all who hear it, whatever their thread.
struct notification {
    /// `whole`: the server's message with its header, found to be well formed.
    notification(std::string_view whole, std::uint64_t listening_epoch)
        : epoch(listening_epoch),
          message(whole),
          content(*wire::parse_notification(std::string_view{message}.substr(wire::header_bytes))) {
    }

    notification(const notification&) = delete;
    notification& operator=(const notification&) = delete;
    ~notification() = default;

    const std::uint64_t
        epoch;  // of the connection that heard it: between two of them some are lost
    const std::string message;         // as it goes to a client
    const wire::notification content;  // views into `message`
};

using notification_ptr = std::shared_ptr<const notification>;

}  // namespace signalbox::backend
