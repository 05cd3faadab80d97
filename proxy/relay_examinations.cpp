// What was just created is examined before its maker is told that it is done: the CommandComplete
// of CREATE VIEW and CREATE INDEX waits, with the ReadyForQuery behind it, for what there is to
// say.
//
// Inside a transaction nobody else can see the object yet: the examination comes with the commit,
// and what it finds is kept, not sent.
#include "parser/lexer.hpp"
#include "proxy/relay.hpp"
#include "wire/messages.hpp"

namespace signalbox::proxy {
namespace {

constexpr std::string_view least_messages = "client_min_messages";

/// Above NOTICE.
bool is_quiet(std::string_view least) noexcept {
    return parser::equals_ignoring_case(least, "warning") ||
           parser::equals_ignoring_case(least, "error");
}

bool makes_object(std::string_view tag) noexcept {
    return tag == "CREATE VIEW" || tag == "CREATE INDEX" || tag == "CREATE MATERIALIZED VIEW";
}

bool is_ddl(std::string_view tag) noexcept {
    return tag.starts_with("CREATE ") || tag.starts_with("ALTER ") || tag.starts_with("DROP ");
}

}  // namespace

/// A text is about to be sent. True: it begins with EXPLAIN.
bool relay::note_made(std::string_view sql) {
    if (!settings_.examines) {
        return false;
    }
    // A SELECT, most often: SET counts in session mode only.
    if (sql.starts_with(renames() ? "S" : "SEL") || sql.starts_with(renames() ? "s" : "sel")) {
        return false;
    }
    parser::lexer tokens{sql};
    const auto first = tokens.next().text;
    if (parser::equals_ignoring_case(first, "explain")) {
        return true;
    }
    if (parser::equals_ignoring_case(first, "create")) {
        makes_matview_ =
            makes_matview_ || parser::equals_ignoring_case(tokens.next().text, "materialized");
    } else if (!renames() && parser::equals_ignoring_case(first, "set")) {
        note_least_messages(tokens);
    } else if (examination_ && (parser::equals_ignoring_case(first, "reset") ||
                                parser::equals_ignoring_case(first, "discard"))) {
        examination_->is_quiet = false;
    }
    return false;
}

/// In session mode nobody asks the server what was set: SET's own words have to do.
void relay::note_least_messages(parser::lexer& rest) {
    auto name = rest.next().text;
    if (parser::equals_ignoring_case(name, "session") ||
        parser::equals_ignoring_case(name, "local")) {
        name = rest.next().text;
    }
    if (!parser::equals_ignoring_case(name, least_messages)) {
        return;
    }
    rest.next();  // = or TO
    auto value = rest.next().text;
    if (value.size() >= 2 && value.front() == '\'') {
        value = value.substr(1, value.size() - 2);
    }
    in_examination().is_quiet = is_quiet(value);
}

/// True: the CommandComplete waits for the ReadyForQuery behind it.
bool relay::hold_completion(std::string_view whole, std::string_view tag) {
    if (!settings_.examines) {
        return false;
    }
    // CREATE MATERIALIZED VIEW … AS says how many rows it has selected.
    const bool is_made = makes_object(tag) || (makes_matview_ && tag.starts_with("SELECT"));
    is_examined_ = is_examined_ || is_made || is_ddl(tag);
    if (!is_made || status() != 'I' || begun_) {
        return false;
    }
    in_examination().completion = whole;
    return true;
}

/// Something else comes behind it.
void relay::release_completion(outbox& to_client) {
    to_client.copied() += examination_->completion;
    examination_->completion.clear();
}

/// The client's batch has ended. True: it is told later, by examined().
bool relay::hold_ready(char status, outbox& to_client) {
    if (status != 'I') {
        if (has_held_completion()) {
            release_completion(to_client);
        }
        return false;
    }
    if (!std::exchange(is_examined_, false)) {
        return false;
    }
    in_examination().is_due = true;
    if (!has_held_completion()) {
        return false;
    }
    examination_->awaited = status;
    return true;
}

relay::examination_state& relay::in_examination() {
    if (!examination_) {
        examination_ = std::make_unique<examination_state>();
    }
    return *examination_;
}

bool relay::take_examination() noexcept {
    examination_->is_due = false;
    return examination_->awaited != '\0';
}

bool relay::wants_notices() const {
    const auto* const least = parameters_->find(least_messages);
    return !(examination_ && examination_->is_quiet) && (least == nullptr || !is_quiet(*least));
}

void relay::examined(const std::vector<wire::report>& found, outbox& to_client) {
    if (!awaits_examination()) {
        return;
    }
    const char status = std::exchange(examination_->awaited, '\0');
    if (wants_notices()) {
        for (const auto& each : found) {
            wire::write_notice_response(to_client.copied(), each);
        }
    }
    release_completion(to_client);
    write_ready(status, to_client);
}

void relay::finish_examination(outbox& to_client) {
    if (awaits_examination()) {
        examined({}, to_client);
    } else if (has_held_completion()) {
        release_completion(to_client);
    }
}

}  // namespace signalbox::proxy
