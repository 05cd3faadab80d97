#include "catalog/postgres_store.hpp"

#include "catalog/store_sql.hpp"

#include <libpq-fe.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <poll.h>
#include <string>
#include <sys/eventfd.h>
#include <system_error>
#include <unistd.h>
#include <utility>

namespace signalbox::catalog {
namespace {

using std::chrono::milliseconds;
using steady = std::chrono::steady_clock;
using deadline = steady::time_point;

/// Of a whole call, connecting included.
constexpr milliseconds call_time{5'000};
/// Of a look after the lock. With `lead_interval` it is less than `lead_silence`.
constexpr milliseconds lead_call_time{2'000};
constexpr milliseconds lead_interval{1'000};
/// After which the server ends the session of a leader that says nothing. Milliseconds.
constexpr const char* lead_silence = "5000";
constexpr milliseconds version_interval{1'000};
/// How long a call inside wait_for_change() may still take after interrupt().
constexpr milliseconds interrupted_call_time{250};

/// `Signalbo` and `Signalbp`: advisory locks are numbers, and a database's users share them.
constexpr std::string_view lead_lock = "6010476489108286063";
constexpr std::string_view migration_lock = "6010476489108286064";

constexpr std::string_view begin_writing = "BEGIN ISOLATION LEVEL READ COMMITTED READ WRITE";

constexpr const char* not_leading = "this Signalbox does not lead, another may";

/// The connection failed, or there is none: another try on a new one may succeed.
class connection_lost : public store_error {
public:
    using store_error::store_error;
};

struct freer {
    void operator()(PGconn* connection) const noexcept { ::PQfinish(connection); }

    void operator()(PGresult* result) const noexcept { ::PQclear(result); }

    void operator()(PQconninfoOption* options) const noexcept { ::PQconninfoFree(options); }

    void operator()(PGnotify* notification) const noexcept { ::PQfreemem(notification); }

    void operator()(char* text) const noexcept { ::PQfreemem(text); }
};

template <typename T>
using libpq_ptr = std::unique_ptr<T, freer>;

/// In one line: libpq ends its texts with a newline, and breaks them where it gives a hint or tries
/// another host.
std::string one_line(const char* text) {
    std::string out;
    bool is_pending = false;
    for (const char c : std::string_view{text == nullptr ? "" : text}) {
        if (c == '\n' || c == '\r' || c == '\t' || c == ' ') {
            is_pending = !out.empty();
            continue;
        }
        if (std::exchange(is_pending, false)) {
            out += ' ';
        }
        out += c;
    }
    return out;
}

/// The server's own sentence, without the DETAIL that may quote data; libpq's own text else.
std::string error_text(const PGresult* result) {
    const char* message = ::PQresultErrorField(result, PG_DIAG_MESSAGE_PRIMARY);
    const char* sqlstate = ::PQresultErrorField(result, PG_DIAG_SQLSTATE);
    if (message == nullptr || sqlstate == nullptr) {
        return one_line(::PQresultErrorMessage(result));
    }
    return one_line(message) + " (" + sqlstate + ")";
}

/// The password that the URL holds, if any. Throws store_error where it is no URL; its text never
/// quotes the URL.
std::string password_of(const std::string& url) {
    char* message = nullptr;
    const libpq_ptr<PQconninfoOption> options{::PQconninfoParse(url.c_str(), &message)};
    const libpq_ptr<char> owned{message};
    if (!options) {
        // libpq puts what it does not like behind a colon: the URL, or a part of it.
        std::string text = one_line(message);
        text.resize(std::min(text.size(), text.find(": \"")));
        throw store_error{"the store's URL is not valid: " + text};
    }
    for (const PQconninfoOption* option = options.get(); option->keyword != nullptr; ++option) {
        if (std::strcmp(option->keyword, "password") == 0 && option->val != nullptr) {
            return option->val;
        }
    }
    return {};
}

}  // namespace

/// Wakes a wait from another thread; stays awake until the wait has seen it.
class postgres_store::waker {
public:
    waker() : fd_(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)) {
        if (fd_ < 0) {
            throw std::system_error{errno, std::generic_category(), "eventfd"};
        }
    }

    ~waker() { ::close(fd_); }

    waker(const waker&) = delete;
    waker& operator=(const waker&) = delete;

    [[nodiscard]] int fd() const noexcept { return fd_; }

    void wake() const noexcept { [[maybe_unused]] const int ignored = ::eventfd_write(fd_, 1); }

    /// Whether it was woken.
    [[nodiscard]] bool consume() const noexcept {
        eventfd_t count = 0;
        return ::eventfd_read(fd_, &count) == 0;
    }

private:
    int fd_;
};

/// One libpq connection. Everything ends by `deadline`, which the caller sets for each of its
/// calls.
class postgres_store::session final : public sql_connection {
public:
    session(const store_settings& settings, const waker& wake)
        : settings_(settings), url_password_(password_of(settings.url)), waker_(wake) {}

    void set_deadline(milliseconds time) { deadline_ = steady::now() + time; }

    /// Whether an interrupt() cuts the session's calls short.
    void set_interruptible(bool interruptible) { is_interruptible_ = interruptible; }

    [[nodiscard]] bool is_open() const noexcept { return connection_ != nullptr; }

    [[nodiscard]] int fd() const noexcept { return ::PQsocket(connection_.get()); }

    void close() noexcept { connection_.reset(); }

    void connect();

    std::vector<sql_row> execute(std::string_view sql, const std::vector<sql_value>& parameters)
        override;
    using sql_connection::execute;

    void rollback() noexcept override;

    /// Whether a notification has come since the last time.
    bool has_notification();

private:
    void wait(short events);
    void flush();
    libpq_ptr<PGresult> next_result();
    [[noreturn]] void lose(const std::string& why);
    [[nodiscard]] std::string redacted(std::string text) const;

    store_settings settings_;
    std::string url_password_;
    const waker& waker_;
    libpq_ptr<PGconn> connection_;
    deadline deadline_ = deadline::min();
    bool is_interruptible_ = false;
};

void postgres_store::session::connect() {
    close();
    // Of a keyword that comes twice libpq takes the last: ours that a URL may overrule stand before
    // it, those that overrule the URL behind.
    const std::string password = settings_.password.value_or("");
    constexpr std::size_t count = 13;
    const std::array<std::pair<const char*, const char*>, count - 1> parameters{{
        {"sslmode", settings_.ssl_mode.c_str()},
        {"fallback_application_name", "signalbox"},
        {"target_session_attrs", "read-write"},
        {"connect_timeout", "3"},
        {"keepalives", "1"},
        {"keepalives_idle", "2"},
        {"keepalives_interval", "1"},
        {"keepalives_count", "3"},
        {"tcp_user_timeout", "3000"},
        {"dbname", settings_.url.c_str()},
        {"password", password.c_str()},
        {"client_encoding", "UTF8"},
    }};
    std::array<const char*, count> keywords{};
    std::array<const char*, count> values{};
    for (std::size_t i = 0; i < parameters.size(); ++i) {
        keywords.at(i) = parameters.at(i).first;
        values.at(i) = parameters.at(i).second;
    }
    connection_.reset(::PQconnectStartParams(keywords.data(), values.data(), 1));
    if (!connection_ || ::PQstatus(connection_.get()) == CONNECTION_BAD) {
        lose(one_line(::PQerrorMessage(connection_.get())));
    }
    // libpq would print notices on the standard error.
    ::PQsetNoticeProcessor(
        connection_.get(), [](void*, const char*) {}, nullptr
    );
    PostgresPollingStatusType status = PGRES_POLLING_WRITING;
    while (status != PGRES_POLLING_OK) {
        wait(status == PGRES_POLLING_READING ? POLLIN : POLLOUT);
        status = ::PQconnectPoll(connection_.get());
        if (status == PGRES_POLLING_FAILED) {
            lose(one_line(::PQerrorMessage(connection_.get())));
        }
    }
    ::PQsetnonblocking(connection_.get(), 1);
    // A frozen writer must not hold up the others, nor a lock of theirs it; and what is
    // acknowledged is durable, whatever the database is set to.
    execute(
        "SELECT set_config('search_path', 'signalbox, pg_temp', false),"
        " set_config('idle_in_transaction_session_timeout', '3000', false),"
        " set_config('lock_timeout', '4000', false),"
        " set_config('statement_timeout', '5000', false),"
        " CASE WHEN current_setting('synchronous_commit') = 'off'"
        " THEN set_config('synchronous_commit', 'on', false) END"
    );
}

std::vector<sql_row> postgres_store::session::execute(
    std::string_view sql, const std::vector<sql_value>& parameters
) {
    if (!connection_) {
        throw connection_lost{"the store is not connected"};
    }
    std::vector<const char*> values;
    values.reserve(parameters.size());
    for (const sql_value& parameter : parameters) {
        values.push_back(parameter ? parameter->c_str() : nullptr);
    }
    const std::string text{sql};
    if (::PQsendQueryParams(
            connection_.get(),
            text.c_str(),
            static_cast<int>(values.size()),
            nullptr,
            values.data(),
            nullptr,
            nullptr,
            0
        ) == 0) {
        lose(one_line(::PQerrorMessage(connection_.get())));
    }
    flush();
    std::vector<sql_row> rows;
    std::string error;
    while (const libpq_ptr<PGresult> result = next_result()) {
        const ExecStatusType status = ::PQresultStatus(result.get());
        if (status != PGRES_TUPLES_OK && status != PGRES_COMMAND_OK) {
            error = error_text(result.get());
            continue;
        }
        const int columns = ::PQnfields(result.get());
        for (int row = 0; row < ::PQntuples(result.get()); ++row) {
            sql_row& out = rows.emplace_back(static_cast<std::size_t>(columns));
            for (int column = 0; column < columns; ++column) {
                if (::PQgetisnull(result.get(), row, column) == 0) {
                    out[static_cast<std::size_t>(column)].emplace(
                        ::PQgetvalue(result.get(), row, column),
                        static_cast<std::size_t>(::PQgetlength(result.get(), row, column))
                    );
                }
            }
        }
    }
    if (::PQstatus(connection_.get()) != CONNECTION_OK) {
        lose(error.empty() ? one_line(::PQerrorMessage(connection_.get())) : error);
    }
    if (!error.empty()) {
        throw store_error{redacted("the store failed: " + error)};
    }
    return rows;
}

void postgres_store::session::rollback() noexcept {
    if (!connection_ || ::PQtransactionStatus(connection_.get()) == PQTRANS_IDLE) {
        return;
    }
    try {
        execute("ROLLBACK");
    } catch (const store_error&) {
        close();
    }
}

bool postgres_store::session::has_notification() {
    // Until nothing is left: a connection's end stands behind its last words.
    pollfd polled{.fd = fd(), .events = POLLIN, .revents = 0};
    do {
        if (::PQconsumeInput(connection_.get()) == 0) {
            lose(one_line(::PQerrorMessage(connection_.get())));
        }
    } while (::poll(&polled, 1, 0) > 0);
    bool found = false;
    while (const libpq_ptr<PGnotify> notification{::PQnotifies(connection_.get())}) {
        found = true;
    }
    return found;
}

/// Until the socket is ready, or the deadline.
void postgres_store::session::wait(short events) {
    std::array<pollfd, 2> polled{
        {{.fd = fd(), .events = events, .revents = 0},
         {.fd = is_interruptible_ ? waker_.fd() : -1, .events = POLLIN, .revents = 0}}};
    while (true) {
        const auto left = std::chrono::ceil<milliseconds>(deadline_ - steady::now());
        const int ready =
            left.count() <= 0
                ? 0
                : ::poll(polled.data(), polled.size(), static_cast<int>(left.count()));
        if (ready == 0) {
            lose("no answer in time");
        }
        if (ready < 0 && errno != EINTR) {
            lose(std::generic_category().message(errno));
        }
        if (ready > 0 && polled[0].revents != 0) {
            return;
        }
        if (ready > 0 && polled[1].revents != 0) {
            // Seen, and left for the wait to consume.
            polled[1].fd = -1;
            deadline_ = std::min(deadline_, steady::now() + interrupted_call_time);
        }
    }
}

void postgres_store::session::flush() {
    while (true) {
        const int left = ::PQflush(connection_.get());
        if (left == 0) {
            return;
        }
        if (left < 0) {
            lose(one_line(::PQerrorMessage(connection_.get())));
        }
        wait(POLLIN | POLLOUT);
        // The server may be unable to read until we have read.
        if (::PQconsumeInput(connection_.get()) == 0) {
            lose(one_line(::PQerrorMessage(connection_.get())));
        }
    }
}

libpq_ptr<PGresult> postgres_store::session::next_result() {
    while (::PQisBusy(connection_.get()) != 0) {
        wait(POLLIN);
        if (::PQconsumeInput(connection_.get()) == 0) {
            break;  // PQgetResult() then gives the error that the server may have left
        }
    }
    return libpq_ptr<PGresult>{::PQgetResult(connection_.get())};
}

void postgres_store::session::lose(const std::string& why) {
    const std::string host = connection_ && ::PQhost(connection_.get()) != nullptr
                                 ? std::string{::PQhost(connection_.get())}
                                 : std::string{};
    std::string text = "the store cannot be reached: " + why;
    // libpq's own texts name the server while it connects only.
    if (!host.empty() && why.find(host) == std::string::npos) {
        text += " (" + host + " port " + ::PQport(connection_.get()) + ")";
    }
    close();
    throw connection_lost{redacted(std::move(text))};
}

/// Neither libpq nor PostgreSQL quotes passwords; an odd server behind the name might.
std::string postgres_store::session::redacted(std::string text) const {
    for (const std::string& secret : {settings_.password.value_or(""), url_password_}) {
        for (std::size_t at = 0;
             !secret.empty() && (at = text.find(secret, at)) != std::string::npos;) {
            text.replace(at, secret.size(), "********");
            at += 8;
        }
    }
    return text;
}

postgres_store::postgres_store(const store_settings& settings)
    : waker_(std::make_unique<waker>()),
      main_(std::make_unique<session>(settings, *waker_)),
      lead_(std::make_unique<session>(settings, *waker_)) {
    try {
        main_->set_deadline(call_time);
        open();
    } catch (const connection_lost&) {
        // Later calls try again.
    }
}

postgres_store::~postgres_store() = default;

stored_catalog postgres_store::load() {
    next_news_ = steady::now() + version_interval;  // who fails is not called back at once
    begin("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY");
    sql_transaction transaction{*main_};
    stored_catalog catalog = read_catalog(*main_);
    transaction.commit();
    seen_ = catalog.version;
    must_load_ = false;
    next_news_ = steady::now();
    return catalog;
}

std::vector<stored_connection> postgres_store::commit(
    const std::vector<connection_change>& changes, const std::vector<status_event>& events
) {
    begin(begin_writing);
    sql_transaction transaction{*main_};
    written_changes written = write_changes(*main_, changes, events);
    finish(transaction, written.version, written.all_events);
    return std::move(written.afters);
}

void postgres_store::append(const std::vector<status_event>& events) {
    if (events.empty()) {
        return;
    }
    if (!epoch_) {
        throw store_error{not_leading};
    }
    begin(begin_writing);
    sql_transaction transaction{*main_};
    const auto written = write_events(*main_, events, epoch_);
    if (!written) {
        lose_lead();
        throw store_error{not_leading};
    }
    finish(transaction, written->version, written->count == events.size());
}

void postgres_store::truncate_history(std::size_t per_connection) {
    begin(begin_writing);
    sql_transaction transaction{*main_};
    if (cut_history(*main_, per_connection) > 0) {
        finish(transaction, read_versions(*main_).connections, true);
    }
}

stored_notices postgres_store::load_notices(std::optional<std::uint64_t> since) {
    begin("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY");
    sql_transaction transaction{*main_};
    stored_notices notices = read_notices(*main_, since);
    transaction.commit();
    reads_notices_ = true;
    seen_notices_ = notices.version;
    return notices;
}

std::uint64_t postgres_store::commit_notices(const notice_changes& changes, std::uint64_t seen) {
    begin(begin_writing);
    sql_transaction transaction{*main_};
    const std::uint64_t version = write_notices(*main_, changes, seen);
    tell_and_commit(transaction, version);
    seen_notices_ = version;  // the caller had all that was before it
    return version;
}

bool postgres_store::is_leader() {
    try {
        if (epoch_) {
            keep_lead();
        } else if (steady::now() >= next_lead_attempt_) {
            take_lead();
            next_lead_attempt_ = steady::now() + lead_interval;
        }
    } catch (const store_error&) {
        lose_lead();
    }
    return epoch_.has_value();
}

bool postgres_store::wait_for_change(milliseconds timeout) {
    const auto end = steady::now() + std::min<milliseconds>(timeout, std::chrono::hours{24});
    main_->set_interruptible(true);
    lead_->set_interruptible(true);
    news_ = {};
    bool is_changed = false;
    while (!waker_->consume()) {
        is_changed = has_news();
        if (epoch_) {
            is_leader();
        }
        if (is_changed || steady::now() >= end) {
            break;
        }
        auto until = std::min(end, next_version_check_);
        if (must_load_ && main_->is_open()) {
            until = std::min(until, next_news_);
        }
        if (epoch_) {
            until = std::min(until, lead_checked_ + lead_interval);
        }
        std::array<pollfd, 2> polled{
            {{.fd = main_->is_open() ? main_->fd() : -1, .events = POLLIN, .revents = 0},
             {.fd = waker_->fd(), .events = POLLIN, .revents = 0}}};
        const auto left = std::chrono::ceil<milliseconds>(until - steady::now()).count();
        if (left > 0) {
            ::poll(polled.data(), polled.size(), static_cast<int>(left));
        }
    }
    main_->set_interruptible(false);
    lead_->set_interruptible(false);
    return is_changed;
}

void postgres_store::interrupt() noexcept {
    waker_->wake();
}

/// Connects, unless connected; a new connection looks after the schema.
void postgres_store::open() {
    if (main_->is_open()) {
        return;
    }
    try {
        main_->connect();
        migrate();
        main_->execute("LISTEN signalbox_store");
    } catch (const std::exception& why) {
        main_->close();
        trouble_ = why.what();
        throw;
    }
    trouble_.clear();
}

/// Without a lock where there is nothing to do, and without the right to make a schema where there
/// is one.
void postgres_store::migrate() {
    const auto version = [this]() -> std::uint64_t {
        const auto rows = main_->execute("SELECT to_regclass('signalbox.schema_version')");
        return rows.at(0).at(0) ? read_schema_version(*main_) : 0;
    };
    const std::uint64_t found = version();
    refuse_newer_schema(found);
    if (found == known_schema()) {
        return;
    }
    sql_transaction transaction{*main_, begin_writing};
    main_->execute("SELECT pg_advisory_xact_lock(" + std::string{migration_lock} + ")");
    const auto encoding = main_->execute("SHOW server_encoding");
    if (encoding.at(0).at(0) != "UTF8") {
        throw store_error{
            "the store's database must have the encoding UTF8, and has " +
            encoding.at(0).at(0).value_or("none")};
    }
    if (!main_->execute("SELECT to_regnamespace('signalbox')").at(0).at(0)) {
        main_->execute("CREATE SCHEMA signalbox");
    }
    migrate_schema(*main_, version());
    transaction.commit();
}

/// Opens a transaction, on a new connection where the old one turns out to be gone: nothing was
/// asked of it yet.
void postgres_store::begin(std::string_view how) {
    main_->set_deadline(call_time);
    const bool was_open = main_->is_open();
    try {
        open();
        main_->execute(how);
    } catch (const connection_lost&) {
        if (!was_open) {
            throw;
        }
        open();
        main_->execute(how);
    }
}

void postgres_store::tell_and_commit(sql_transaction& transaction, std::uint64_t version) {
    main_->execute("SELECT pg_notify('signalbox_store', $1)", {std::to_string(version)});
    transaction.commit();
}

/// The caller's memory has its own change already; it is as new as the store only if nobody else
/// wrote since its last load().
void postgres_store::finish(
    sql_transaction& transaction, std::uint64_t version, bool is_all_written
) {
    tell_and_commit(transaction, version);
    if (is_all_written && seen_ + 1 == version) {
        seen_ = version;
    } else {
        must_load_ = true;
    }
}

void postgres_store::take_lead() {
    main_->set_deadline(lead_call_time);
    open();  // there is nothing to lead before there are tables
    lead_->set_deadline(lead_call_time);
    if (!lead_->is_open()) {
        lead_->connect();
        // An older server does not know this setting: a frozen leader then stays leader.
        lead_->execute(
            "SELECT set_config(name, $1, false) FROM pg_settings WHERE name = "
            "'idle_session_timeout'",
            {lead_silence}
        );
    }
    const auto asked = steady::now();
    const auto locked =
        lead_->execute("SELECT pg_try_advisory_lock(" + std::string{lead_lock} + ")");
    if (locked.at(0).at(0) != "t") {
        return;
    }
    const auto rows = lead_->execute(
        "UPDATE store_state SET leader_epoch = leader_epoch + 1 RETURNING leader_epoch"
    );
    epoch_ = rows.at(0).at(0).value();
    lead_checked_ = asked;
    must_load_ = true;  // what the one before has written comes first
}

/// Asked on the connection that has the lock: an answer says that it has it still.
void postgres_store::keep_lead() {
    lead_->has_notification();  // throws where the connection's end has arrived
    const auto asked = steady::now();
    if (asked - lead_checked_ < lead_interval) {
        return;
    }
    lead_->set_deadline(lead_call_time);
    const auto rows = lead_->execute("SELECT leader_epoch FROM store_state");
    if (rows.at(0).at(0) != epoch_) {
        throw store_error{not_leading};
    }
    lead_checked_ = asked;
}

/// Closing the connection gives the lock back.
void postgres_store::lose_lead() noexcept {
    lead_->close();
    epoch_.reset();
    next_lead_attempt_ = steady::now() + lead_interval;
}

/// At most one question per `version_interval`, unless a notification came. Without a store there
/// is no news, however old the caller's memory is: it could not load.
bool postgres_store::has_news() {
    news_.notices = false;
    try {
        const bool is_notified = main_->is_open() && main_->has_notification();
        news_.is_notified = news_.is_notified || is_notified;
        if (is_notified || steady::now() >= next_version_check_) {
            next_version_check_ = steady::now() + version_interval;
            main_->set_deadline(call_time);
            open();
            const store_versions found = read_versions(*main_);
            must_load_ = must_load_ || found.connections != seen_;
            news_.notices = reads_notices_ && found.notices != seen_notices_;
            next_version_check_ = steady::now() + version_interval;
        }
    } catch (const store_error&) {
        next_version_check_ = steady::now() + version_interval;
    }
    news_.connections = must_load_ && main_->is_open() && steady::now() >= next_news_;
    news_.notices = news_.notices && main_->is_open();
    return news_.connections || news_.notices;
}

}  // namespace signalbox::catalog
