// What other sessions notify, on its way to this session's client.
#include "proxy/session.hpp"

namespace signalbox::proxy {

void session::on_notification(const backend::notification_ptr& heard) {
    if (phase_ == phase::serving) {
        send_to_client(heard->message);
    }
}

}  // namespace signalbox::proxy
