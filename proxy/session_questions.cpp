// What a session asks of other threads: the answer finds it by its id, if it is still there.
#include "proxy/session.hpp"

namespace signalbox::proxy {
namespace {

/// How long a client waits for notices about what it has created.
constexpr auto examination_timeout = std::chrono::milliseconds{50};

}  // namespace

/// A statement that is addressed to Signalbox, and may take its time.
void session::carry_out_command() {
    if (!relay_->has_new_command()) {
        return;
    }
    owner_.carry_out(relay_->take_command(), [&owner = owner_, id = id_](command_reply reply) {
        auto* const self = owner.find_session(id);
        if (self == nullptr || self->phase_ != phase::serving) {
            return;
        }
        self->relay_->command_done(std::move(reply), owner.to_server, owner.to_client);
        if (self->flush()) {
            self->note_activity();
            self->resume();
        }
    });
}

/// A text that would hold the event loop for too long, or its stack would be too small for.
void session::ask_for_verdict() {
    const auto question = relay_->undecided();
    deciding_ = true;
    owner_.decide(
        pool_->relay.rules,
        std::string{question.sql},
        question.strings,
        [&owner = owner_, id = id_](parser::verdict_ptr found) {
            auto* const self = owner.find_session(id);
            if (self == nullptr || self->phase_ != phase::serving) {
                return;
            }
            self->deciding_ = false;
            self->relay_->decided(std::move(found));
            self->resume();
        }
    );
}

/// Something was created, altered or dropped. A client waits for what there is to say of what it
/// has created, but not for long.
void session::ask_for_examination() {
    if (!relay_->take_examination()) {
        owner_.examine(*pool_, {});
        return;
    }
    examining_ = std::make_unique<backend::timer>();
    examining_->start(
        owner_.io().loop,
        owner_.io().loop.now() + examination_timeout,
        [](void* self) { static_cast<session*>(self)->examined({}); },
        this
    );
    owner_.examine(
        *pool_,
        [&owner = owner_, id = id_, serial = ++examination_](const std::vector<wire::report>& found
        ) {
            // One that comes too late is not the answer to the next.
            auto* const self = owner.find_session(id);
            if (self != nullptr && self->phase_ == phase::serving && self->examining_ &&
                self->examination_ == serial) {
                self->examined(found);
            }
        }
    );
}

void session::examined(const std::vector<wire::report>& found) {
    const auto ended = std::move(examining_);
    relay_->examined(found, owner_.to_client);
    if (flush()) {
        note_activity();
        resume();
    }
}

}  // namespace signalbox::proxy
