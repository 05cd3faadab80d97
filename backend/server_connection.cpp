#include "backend/server_connection.hpp"

#include "wire/bytes.hpp"
#include "wire/error_response.hpp"
#include "wire/limits.hpp"
#include "wire/messages.hpp"
#include "wire/startup.hpp"

#include <algorithm>
#include <cerrno>
#include <sys/socket.h>
#include <system_error>

namespace signalbox::backend {
namespace {

constexpr const char* took_too_long = "timeout expired";
constexpr const char* resolving_took_too_long = "timeout expired while resolving the host name";

/// The target cannot be reached for now, in the system's words or ours.
connect_failure unreachable(std::string message) {
    return {.unreachable = true, .sqlstate = {}, .message = std::move(message), .detail = {}};
}

std::string system_text(int error) {
    return std::generic_category().message(error);
}

bool wants_tls_first(catalog::ssl_mode mode) {
    return mode != catalog::ssl_mode::disable && mode != catalog::ssl_mode::allow;
}

bool requires_tls(catalog::ssl_mode mode) {
    return mode == catalog::ssl_mode::require || mode == catalog::ssl_mode::verify_ca ||
           mode == catalog::ssl_mode::verify_full;
}

}  // namespace

std::shared_ptr<SSL_CTX> make_server_tls_context(const catalog::postgres_connection& connection) {
    if (connection.tls == catalog::ssl_mode::disable) {
        return nullptr;
    }
    // libpq: "require" with a root certificate checks it, for the sake of old set-ups; "prefer" and
    // "allow" do not.
    const bool check = requires_tls(connection.tls);
    return {
        make_tls_client_context({.ca = check ? connection.tls_ca : "",
                                 .certificate = connection.tls_certificate,
                                 .key = connection.tls_key})
            .release(),
        ssl_ctx_deleter{}};
}

server_connection::server_connection(
    io_context& io,
    std::shared_ptr<const server_target> target,
    server_credentials credentials,
    connect_observer& observer
)
    : io_(&io),
      target_(std::move(target)),
      credentials_(std::move(credentials)),
      observer_(&observer) {}

server_connection::~server_connection() {
    *alive_ = false;
}

std::string server_connection::place() const {
    return "host " + at().host + ", port " + std::to_string(at().port);
}

catalog::target_session_attrs server_connection::wanted() const noexcept {
    return search_->takes_unfit ? catalog::target_session_attrs::any : target_->connection->target;
}

void server_connection::start() {
    search_ = std::make_unique<host_search>();
    search_->order = io_->silent.order(target_->connection->hosts, clock::now());
    next_host();
}

void server_connection::expire() {
    if (phase_ == phase::ready || phase_ == phase::failed) {
        return;
    }
    const auto why =
        unreachable(phase_ == phase::resolving ? resolving_took_too_long : took_too_long);
    remember(why, weight::silence);
    host_failed(why);
    fail_with_best();
}

void server_connection::next_host() {
    phase_ = phase::resolving;
    host_index_ = search_->order[search_->next++];
    search_->has_answered = false;
    address_index_ = 0;
    addresses_ = numeric_addresses(at());
    if (!addresses_.empty()) {
        first_address();
        return;
    }
    if (target_->connect_timeout.count() > 0) {
        deadline_.start(
            io_->loop,
            clock::now() + target_->connect_timeout,
            [](void* self) {
                static_cast<server_connection*>(self)->attempt_failed(
                    unreachable(resolving_took_too_long)
                );
            },
            this
        );
    }
    io_->names.resolve(
        at(),
        [this, alive = alive_, turn = ++turn_, &loop = io_->loop](const resolver::answer& found) {
            loop.post([this, alive, turn, found] {
                if (!*alive || phase_ != phase::resolving || turn != turn_) {
                    return;
                }
                if (const auto* const reason = std::get_if<std::string>(&found)) {
                    attempt_failed(unreachable(*reason));
                    return;
                }
                addresses_ = std::get<0>(found);
                first_address();
            });
        }
    );
}

void server_connection::first_address() {
    choice_ = wants_tls_first(target_->connection->tls) ? tls_choice::tls : tls_choice::plain;
    tls_retried_ = false;
    open_socket();
}

void server_connection::open_socket() {
    socket.close();
    input_.clear();
    reported.clear();
    search_->facts = {};
    scram_.reset();
    ++turn_;
    phase_ = phase::connecting;
    const int fd = begin_connect(addresses_[address_index_], target_->connection->tcp_user_timeout);
    if (fd < 0) {
        attempt_failed(unreachable(system_text(errno)));
        return;
    }
    socket = stream{fd};
    socket.set_writing(true);
    socket.attach(io_->loop, *this);
    if (target_->connect_timeout.count() > 0) {
        deadline_.start(
            io_->loop,
            clock::now() + target_->connect_timeout,
            [](void* self) {
                static_cast<server_connection*>(self)->attempt_failed(unreachable(took_too_long));
            },
            this
        );
    }
}

void server_connection::hang_up() {
    deadline_.cancel();
    if (is_logging_in() && socket.is_open()) {
        socket.shut_down(io_->scratch);  // else the server's log has a TLS error
    }
    socket.close();
}

void server_connection::attempt_failed(connect_failure why) {
    hang_up();
    if (!why.unreachable) {
        give_up(std::move(why));
        return;
    }
    remember(why, why.sqlstate.empty() ? weight::silence : weight::refusal);
    if (address_index_ + 1 < addresses_.size()) {
        ++address_index_;
        first_address();
        return;
    }
    host_failed(why);
    after_host();
}

void server_connection::after_host() {
    if (search_->next == search_->order.size() && !search_->unfit.empty() &&
        target_->connection->target == catalog::target_session_attrs::prefer_standby) {
        search_->order = std::exchange(search_->unfit, {});
        search_->next = 0;
        search_->takes_unfit = true;
    }
    if (search_->next < search_->order.size()) {
        next_host();
    } else {
        fail_with_best();
    }
}

void server_connection::remember(const connect_failure& why, weight how) {
    if (how >= search_->best_weight) {
        search_->best_weight = how;
        search_->best = why;
        search_->best.at = at();
    }
}

void server_connection::note_answer() {
    if (!search_->has_answered) {
        search_->has_answered = true;
        if (target_->connection->hosts.size() > 1) {
            io_->silent.note_answer(at());
        }
    }
}

void server_connection::host_failed(const connect_failure& why) {
    if (target_->connection->hosts.size() == 1) {
        return;
    }
    if (!search_->has_answered) {
        io_->silent.note_silence(at(), clock::now());
    }
    search_->all += (search_->all.empty() ? "" : "; ") + place() + ": " + why.message;
}

void server_connection::fail_with_best() {
    auto why = std::move(search_->best);
    if (!search_->all.empty()) {
        why.detail = "Connection \"" + target_->connection->name + "\": " + search_->all + '.';
    }
    give_up(std::move(why));
}

void server_connection::give_up(connect_failure why) {
    hang_up();
    phase_ = phase::failed;
    if (why.at.host.empty()) {
        why.at = at();
    }
    if (why.detail.empty()) {
        why.detail = "Connection \"" + target_->connection->name + "\": " + place() + '.';
    }
    // Not from inside a call that the owner makes: it may destroy us.
    io_->loop.defer([this, alive = alive_, why = std::move(why)] {
        if (*alive) {
            observer_->on_connect_failed(*this, why);
        }
    });
}

void server_connection::attach(io_context& io) {
    io_ = &io;
    socket.attach(io.loop, *this);
}

void server_connection::set_user(server_user* user) noexcept {
    user_ = user;
}

void server_connection::terminate(io_scratch& scratch) {
    if (socket.is_open() && !socket.has_pending()) {
        std::string bye;
        wire::write_terminate(bye);
        socket.write(bye, scratch);
    }
    socket.close();
}

bool server_connection::looks_alive() const noexcept {
    char byte = 0;
    const auto n = ::recv(socket.fd(), &byte, 1, MSG_PEEK | MSG_DONTWAIT);
    return n < 0 && (errno == EAGAIN || errno == EINTR);
}

void server_connection::on_events(std::uint32_t events) {
    switch (phase_) {
        case phase::ready:
            if (user_ != nullptr) {
                user_->on_server_events(*this, events);
            }
            return;
        case phase::connecting:
            on_connect_finished();
            return;
        case phase::asking_for_tls:
            on_tls_answer();
            return;
        case phase::tls_handshake:
        case phase::authenticating:
        case phase::checking_session:
            if ((events & EPOLLOUT) != 0 && !socket.flush()) {
                attempt_failed(unreachable(system_text(socket.error())));
            } else if (phase_ == phase::tls_handshake) {
                continue_handshake();
            } else {
                read_login();
            }
            return;
        case phase::resolving:
        case phase::failed:
            return;
    }
}

void server_connection::on_connect_finished() {
    int error = 0;
    socklen_t size = sizeof error;
    ::getsockopt(socket.fd(), SOL_SOCKET, SO_ERROR, &error, &size);
    if (error != 0) {
        attempt_failed(unreachable(system_text(error)));
        return;
    }
    socket.set_writing(false);
    if (choice_ == tls_choice::tls && addresses_[address_index_].family() != AF_UNIX) {
        if (target_->connection->negotiation == catalog::ssl_negotiation::direct) {
            begin_handshake();
            return;
        }
        output_.clear();
        wire::write_ssl_request(output_);
        phase_ = phase::asking_for_tls;
        send(output_);
        return;
    }
    if (requires_tls(target_->connection->tls) && addresses_[address_index_].family() == AF_UNIX) {
        choice_ = tls_choice::plain;  // libpq: TLS is not used over Unix-domain sockets
    }
    begin_session();
}

void server_connection::on_tls_answer() {
    // One byte and no more: what a man in the middle might have put behind it must not be read as
    // the server's.
    char answer = 0;
    const auto n = ::recv(socket.fd(), &answer, 1, MSG_DONTWAIT);
    if (n < 0 && (errno == EAGAIN || errno == EINTR)) {
        return;
    }
    if (n <= 0) {
        attempt_failed(
            unreachable(n < 0 ? system_text(errno) : "server closed the connection unexpectedly")
        );
        return;
    }
    if (answer == 'S') {
        begin_handshake();
        return;
    }
    if (answer == 'N' && !requires_tls(target_->connection->tls)) {
        choice_ = tls_choice::plain;
        begin_session();
        return;
    }
    if (answer == 'N') {
        give_up(
            {.unreachable = false,
             .sqlstate = std::string{wire::sqlstate::connection_failure},
             .message = "server does not support SSL, but SSL was required",
             .detail = {}}
        );
        return;
    }
    attempt_failed(unreachable("received invalid response to SSL negotiation"));
}

void server_connection::begin_handshake() {
    try {
        socket.start_tls(
            *target_->tls_context,
            false,
            host(),
            target_->connection->tls == catalog::ssl_mode::verify_full
        );
    } catch (const std::exception& e) {
        give_up({.unreachable = false, .sqlstate = {}, .message = e.what(), .detail = {}});
        return;
    }
    phase_ = phase::tls_handshake;
    continue_handshake();
}

void server_connection::continue_handshake() {
    std::string_view early;
    switch (socket.handshake(io_->scratch, early)) {
        case io_status::again:
            return;
        case io_status::ok:
            if (target_->connection->negotiation == catalog::ssl_negotiation::direct &&
                !socket.tls()->has_alpn()) {
                give_up(
                    {.unreachable = false,
                     .sqlstate = std::string{wire::sqlstate::connection_failure},
                     .message = "direct SSL connection was established without ALPN protocol "
                                "negotiation extension",
                     .detail = {}}
                );
                return;
            }
            begin_session();
            if (!early.empty() && phase_ == phase::authenticating) {
                on_login_bytes(early);
            }
            return;
        case io_status::closed:
            attempt_failed(
                unreachable("server closed the connection unexpectedly during the TLS handshake")
            );
            return;
        case io_status::failed:
            give_up(
                {.unreachable = false,
                 .sqlstate = std::string{wire::sqlstate::connection_failure},
                 .message = "SSL error: " +
                            (socket.error() != 0 ? system_text(socket.error()) : last_tls_error()),
                 .detail = {}}
            );
            return;
    }
}

void server_connection::begin_session() {
    phase_ = phase::authenticating;
    output_.clear();
    // Nothing of one client's startup packet: whoever uses the connection brings its own
    // parameters.
    std::vector<std::pair<std::string_view, std::string_view>> parameters{
        {"user", target_->user}, {"database", target_->database}};
    parameters.insert(parameters.end(), target_->parameters.begin(), target_->parameters.end());
    wire::write_startup_message(output_, parameters, target_->connection->protocol);
    send(output_);
}

bool server_connection::send(std::string_view bytes) {
    if (socket.write(bytes, io_->scratch)) {
        return true;
    }
    attempt_failed(unreachable(system_text(socket.error())));
    return false;
}

void server_connection::read_login() {
    const auto got = socket.read(io_->scratch);
    if (got.status == io_status::again) {
        return;
    }
    if (!got.bytes.empty()) {
        on_login_bytes(got.bytes);
        if (!is_logging_in()) {
            return;
        }
    }
    if (got.status != io_status::ok) {
        attempt_failed(unreachable(
            got.status == io_status::closed || socket.error() == 0
                ? "server closed the connection unexpectedly"
                : system_text(socket.error())
        ));
    }
}

void server_connection::on_login_bytes(std::string_view bytes) {
    input_.append(bytes);
    std::size_t at = 0;
    while (is_logging_in() && input_.size() - at >= wire::header_bytes) {
        const char type = input_[at];
        const std::size_t length = wire::load_u32(input_.data() + at + 1);
        if (length < 4 || length > wire::max_server_control_bytes ||
            !wire::is_server_message(type)) {
            give_up(
                {.unreachable = false,
                 .sqlstate = std::string{wire::sqlstate::protocol_violation},
                 .message = "the server does not speak the PostgreSQL protocol",
                 .detail = {}}
            );
            return;
        }
        if (input_.size() - at < length + 1) {
            break;
        }
        // A copy of the place, since a handler may reconnect and clear the input.
        const std::string body = input_.substr(at + wire::header_bytes, length - 4);
        at += length + 1;
        note_answer();
        if (!(phase_ == phase::authenticating ? on_login_message(type, body)
                                              : on_check_message(type, body))) {
            return;
        }
    }
    if (is_logging_in()) {
        input_.erase(0, at);
    } else {
        wire::free_buffer(input_);
    }
}

bool server_connection::on_login_message(char type, std::string_view body) {
    namespace m = wire::server_message;
    switch (type) {
        case m::authentication:
            return on_authentication(body);
        case m::parameter_status:
            if (const auto status = wire::parse_parameter_status(body)) {
                reported.emplace_back(status->name, status->value);
                search_->facts.note(status->name, status->value);
            }
            return true;
        case m::backend_key_data:
            if (auto data = wire::parse_backend_key_data(body)) {
                key = std::move(*data);
            }
            return true;
        case m::notice_response:
        case m::negotiate_protocol_version:
            return true;
        case m::ready_for_query:
            return on_session_open();
        case m::error_response: {
            const auto report = wire::parse_report(body);
            connect_failure why{
                .unreachable = false,
                .sqlstate = report ? std::string{report->sqlstate} : std::string{},
                .message = report ? std::string{report->message} : "the server refused the login",
                .detail = report ? std::string{report->detail} : std::string{}};
            if (retry_with_other_tls(why.sqlstate)) {
                return false;
            }
            // Starting up, shutting down, in recovery, no free slot: it passes.
            why.unreachable = why.sqlstate.starts_with("57P0") ||
                              why.sqlstate == wire::sqlstate::too_many_connections;
            attempt_failed(std::move(why));
            return false;
        }
        default:
            give_up(
                {.unreachable = false,
                 .sqlstate = std::string{wire::sqlstate::protocol_violation},
                 .message = "unexpected message during the login to the server",
                 .detail = {}}
            );
            return false;
    }
}

bool server_connection::on_session_open() {
    const auto question = session_question(wanted(), search_->facts);
    if (question.empty()) {
        return on_session_checked();
    }
    phase_ = phase::checking_session;
    output_.clear();
    wire::write_query(output_, question);
    return send(output_);
}

bool server_connection::on_check_message(char type, std::string_view body) {
    namespace m = wire::server_message;
    switch (type) {
        case m::parameter_status:
            if (const auto status = wire::parse_parameter_status(body)) {
                reported.emplace_back(status->name, status->value);
            }
            return true;
        case m::data_row: {
            std::vector<std::optional<std::string_view>> fields;
            if (wire::parse_data_row(body, fields) && fields.size() == 1 && fields[0]) {
                search_->facts.answer = *fields[0] == "on" || *fields[0] == "t";
            }
            return true;
        }
        case m::row_description:
        case m::command_complete:
        case m::notice_response:
            return true;
        case m::ready_for_query:
            if (search_->facts.answer) {
                return on_session_checked();
            }
            break;
        case m::error_response:
            if (const auto report = wire::parse_report(body)) {
                attempt_failed(
                    {.unreachable = true,
                     .sqlstate = std::string{report->sqlstate},
                     .message = std::string{report->message},
                     .detail = std::string{report->detail}}
                );
                return false;
            }
            break;
        default:
            break;
    }
    attempt_failed(unreachable("the server did not say whether it fits target_session_attrs"));
    return false;
}

bool server_connection::on_session_checked() {
    const auto misfit = session_misfit(wanted(), search_->facts);
    if (misfit.empty()) {
        become_ready();
        return true;
    }
    output_.clear();
    wire::write_terminate(output_);
    socket.write(output_, io_->scratch);
    hang_up();
    const auto why = unreachable(std::string{misfit});
    remember(why, weight::misfit);
    host_failed(why);
    search_->unfit.push_back(host_index_);
    after_host();  // its other addresses lead to the same server
    return false;
}

void server_connection::become_ready() {
    deadline_.cancel();
    phase_ = phase::ready;
    connected_at = clock::now();
    credentials_ = {};
    scram_.reset();
    search_.reset();
    wire::free_buffer(output_);
    io_->loop.defer([this, alive = alive_] {
        if (*alive) {
            observer_->on_connected(*this);
        }
    });
}

bool server_connection::retry_with_other_tls(std::string_view sqlstate) {
    const auto mode = target_->connection->tls;
    const bool may = (mode == catalog::ssl_mode::allow && choice_ == tls_choice::plain) ||
                     (mode == catalog::ssl_mode::prefer && choice_ == tls_choice::tls &&
                      socket.tls() != nullptr);
    if (tls_retried_ || !may || sqlstate != wire::sqlstate::invalid_authorization) {
        return false;
    }
    tls_retried_ = true;
    choice_ = choice_ == tls_choice::plain ? tls_choice::tls : tls_choice::plain;
    open_socket();
    return true;
}

}  // namespace signalbox::backend
