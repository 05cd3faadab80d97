// What other sessions notify, on its way to this session's client.
#include "proxy/session.hpp"

namespace signalbox::proxy {

void session::on_notification(const backend::notification_ptr& heard) {
    if (phase_ != phase::serving) {
        return;
    }
    relay_->hear(heard->message, heard->epoch, owner_.to_client);
    flush();
}

/// The session listens to other channels than before. Its client is told when they are heard.
void session::set_channels() {
    owner_.set_channels(
        *pool_,
        id_,
        relay_->take_new_channels(),
        [&owner = owner_, id = id_](bool heard) {
            auto* const self = owner.find_session(id);
            if (self == nullptr || self->phase_ != phase::serving) {
                return;
            }
            self->relay_->channels_set(heard, owner.to_client);
            if (!self->flush()) {
                return;
            }
            self->note_activity();
            self->resume();
            if (self->phase_ == phase::serving) {
                self->maybe_release();
            }
        },
        relay_->client_encoding()
    );
}

}  // namespace signalbox::proxy
