#include "catalog/sqlite_store.hpp"

#include "catalog/store_sql.hpp"

#include <array>
#include <cerrno>
#include <fcntl.h>
#include <sqlite3.h>
#include <string_view>
#include <sys/file.h>
#include <sys/stat.h>
#include <system_error>
#include <thread>
#include <unistd.h>
#include <utility>

namespace signalbox::catalog {
namespace {

/// `SgBx`, at a fixed place of the file's header: what tells our files from those of others.
constexpr std::string_view application_id = "1399276152";

/// How long an earlier Signalbox, which is still ending, is waited for; and the lock of a foreign
/// process on the database.
constexpr std::chrono::milliseconds patience{1'000};

std::string system_text(int error) {
    return std::generic_category().message(error);
}

/// SQLite gives the files beside the database the database's own mode. An existing file is not
/// opened here: closing it again would drop the locks that SQLite holds in this process (POSIX
/// advisory locks belong to process and file, not to descriptors).
void prepare_file(const std::string& file) {
    const int fd = ::open(file.c_str(), O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, S_IRUSR | S_IWUSR);
    if (fd >= 0) {
        ::close(fd);
        return;
    }
    if (errno != EEXIST) {
        throw store_error{"could not create \"" + file + "\": " + system_text(errno)};
    }
    for (const std::string_view suffix : {"", "-wal", "-shm", "-journal"}) {
        const std::string path = file + std::string{suffix};
        if (::chmod(path.c_str(), S_IRUSR | S_IWUSR) != 0 && errno != ENOENT) {
            throw store_error{"could not set mode 0600 of \"" + path + "\": " + system_text(errno)};
        }
    }
}

/// Keeps a second Signalbox away. A lock of the kernel's on a file of its own: it ends with the
/// process, however that ends, and does not mix with SQLite's locks. The file stays.
class process_lock {
public:
    explicit process_lock(const std::string& file)
        : fd_(::open((file + "-lock").c_str(), O_RDWR | O_CREAT | O_CLOEXEC, S_IRUSR | S_IWUSR)) {
        if (fd_ < 0) {
            throw store_error{"could not open \"" + file + "-lock\": " + system_text(errno)};
        }
        const auto end = std::chrono::steady_clock::now() + patience;
        while (::flock(fd_, LOCK_EX | LOCK_NB) != 0) {
            const int error = errno;
            if (error != EWOULDBLOCK && error != EINTR) {
                ::close(fd_);
                throw store_error{"could not lock \"" + file + "-lock\": " + system_text(error)};
            }
            if (std::chrono::steady_clock::now() >= end) {
                ::close(fd_);
                throw store_error{"the store \"" + file + "\" is in use by another Signalbox"};
            }
            std::this_thread::sleep_for(std::chrono::milliseconds{20});
        }
    }

    ~process_lock() { ::close(fd_); }

    process_lock(const process_lock&) = delete;
    process_lock& operator=(const process_lock&) = delete;

private:
    int fd_;
};

}  // namespace

class sqlite_store::database final : public sql_connection {
public:
    explicit database(std::string file) : file_(std::move(file)), lock_(file_) {
        prepare_file(file_);
        sqlite3* opened = nullptr;
        const int status = ::sqlite3_open_v2(
            file_.c_str(), &opened, SQLITE_OPEN_READWRITE | SQLITE_OPEN_EXRESCODE, nullptr
        );
        handle_.reset(opened);  // also after a failure: it has the error's text
        if (status != SQLITE_OK) {
            fail(status);
        }
        ::sqlite3_busy_timeout(opened, static_cast<int>(patience.count()));
        configure();
        check();
        migrate();
    }

    std::vector<sql_row> execute(std::string_view sql, const std::vector<sql_value>& parameters)
        override {
        const statement prepared{prepare(sql)};
        sqlite3_stmt* const raw = prepared.get();
        for (std::size_t i = 0; i < parameters.size(); ++i) {
            // Bound without a copy: the parameters outlive the statement.
            const std::string name = "$" + std::to_string(i + 1);
            const int index = ::sqlite3_bind_parameter_index(raw, name.c_str());
            const int status = parameters[i] ? ::sqlite3_bind_text64(
                                                   raw,
                                                   index,
                                                   parameters[i]->data(),
                                                   parameters[i]->size(),
                                                   nullptr,
                                                   SQLITE_UTF8
                                               )
                                             : ::sqlite3_bind_null(raw, index);
            if (status != SQLITE_OK) {
                fail(status);
            }
        }
        std::vector<sql_row> rows;
        int status = SQLITE_OK;
        while ((status = ::sqlite3_step(raw)) == SQLITE_ROW) {
            rows.push_back(read_row(raw));
        }
        if (status != SQLITE_DONE) {
            fail(status);
        }
        return rows;
    }

    using sql_connection::execute;

    void rollback() noexcept override {
        // Some errors have rolled back already.
        if (::sqlite3_get_autocommit(handle_.get()) == 0) {
            ::sqlite3_exec(handle_.get(), "ROLLBACK", nullptr, nullptr, nullptr);
        }
    }

private:
    struct closer {
        void operator()(sqlite3* handle) const noexcept { ::sqlite3_close_v2(handle); }

        void operator()(sqlite3_stmt* prepared) const noexcept { ::sqlite3_finalize(prepared); }
    };

    using statement = std::unique_ptr<sqlite3_stmt, closer>;

    sqlite3_stmt* prepare(std::string_view sql) {
        sqlite3_stmt* prepared = nullptr;
        const int status = ::sqlite3_prepare_v2(
            handle_.get(), sql.data(), static_cast<int>(sql.size()), &prepared, nullptr
        );
        if (status != SQLITE_OK) {
            fail(status);
        }
        return prepared;
    }

    static sql_row read_row(sqlite3_stmt* raw) {
        const int columns = ::sqlite3_column_count(raw);
        sql_row row(static_cast<std::size_t>(columns));
        for (int column = 0; column < columns; ++column) {
            if (::sqlite3_column_type(raw, column) == SQLITE_NULL) {
                continue;
            }
            const unsigned char* text = ::sqlite3_column_text(raw, column);
            const int size = ::sqlite3_column_bytes(raw, column);
            if (text != nullptr) {
                row[static_cast<std::size_t>(column)].emplace(text, text + size);
            }
        }
        return row;
    }

    [[noreturn]] void fail(int status) const {
        const std::string text =
            handle_ ? ::sqlite3_errmsg(handle_.get()) : ::sqlite3_errstr(status);
        const int primary = status & 0xff;
        if (primary == SQLITE_BUSY || primary == SQLITE_LOCKED) {
            throw store_error{"the store \"" + file_ + "\" is held by another process: " + text};
        }
        throw store_error{"the store \"" + file_ + "\" failed: " + text};
    }

    void configure() {
        const auto rows = execute("PRAGMA journal_mode = WAL");
        if (rows.empty() || rows.front().at(0) != "wal") {
            throw store_error{"the store \"" + file_ + "\" cannot use a write-ahead log there"};
        }
        execute("PRAGMA synchronous = FULL");
        execute("PRAGMA trusted_schema = OFF");
    }

    void check() {
        const auto found = execute("PRAGMA quick_check(1)");
        if (found.empty() || found.front().at(0) != "ok") {
            throw store_error{
                "the store \"" + file_ +
                "\" is corrupt: " + (found.empty() ? "" : found.front().at(0).value_or(""))};
        }
    }

    void migrate() {
        sql_transaction transaction{*this, "BEGIN IMMEDIATE"};
        const bool is_ours = execute("PRAGMA application_id").at(0).at(0) == application_id;
        if (!is_ours && !execute("SELECT 1 FROM sqlite_schema").empty()) {
            throw store_error{"\"" + file_ + "\" is a database, but not a store of Signalbox"};
        }
        migrate_schema(*this, is_ours ? read_schema_version(*this) : 0);
        if (!is_ours) {
            execute("PRAGMA application_id = " + std::string{application_id});
        }
        transaction.commit();
    }

    std::string file_;
    process_lock lock_;  // given back last
    std::unique_ptr<sqlite3, closer> handle_;
};

sqlite_store::sqlite_store(std::string file)
    : database_(std::make_unique<database>(std::move(file))) {}

sqlite_store::~sqlite_store() = default;

stored_catalog sqlite_store::load() {
    is_load_failing_ = true;
    sql_transaction transaction{*database_, "BEGIN"};
    stored_catalog catalog = read_catalog(*database_);
    transaction.commit();
    must_load_ = false;
    is_load_failing_ = false;
    return catalog;
}

std::vector<stored_connection> sqlite_store::commit(
    const std::vector<connection_change>& changes, const std::vector<status_event>& events
) {
    sql_transaction transaction{*database_, "BEGIN IMMEDIATE"};
    written_changes written = write_changes(*database_, changes, events);
    transaction.commit();
    must_load_ = must_load_ || !written.all_events;
    return std::move(written.afters);
}

void sqlite_store::append(const std::vector<status_event>& events) {
    if (events.empty()) {
        return;
    }
    sql_transaction transaction{*database_, "BEGIN IMMEDIATE"};
    const auto written = write_events(*database_, events, std::nullopt);
    transaction.commit();
    must_load_ = must_load_ || !written || written->count != events.size();
}

void sqlite_store::truncate_history(std::size_t per_connection) {
    sql_transaction transaction{*database_, "BEGIN IMMEDIATE"};
    if (cut_history(*database_, per_connection) > 0) {
        transaction.commit();
    }
}

stored_notices sqlite_store::load_notices(std::optional<std::uint64_t> since) {
    sql_transaction transaction{*database_, "BEGIN"};
    stored_notices notices = read_notices(*database_, since);
    transaction.commit();
    return notices;
}

std::uint64_t sqlite_store::commit_notices(const notice_changes& changes, std::uint64_t seen) {
    sql_transaction transaction{*database_, "BEGIN IMMEDIATE"};
    const std::uint64_t version = write_notices(*database_, changes, seen);
    transaction.commit();
    return version;
}

bool sqlite_store::wait_for_change(std::chrono::milliseconds timeout) {
    // Who has just failed to load waits before the next try.
    if (must_load_ && !is_load_failing_) {
        return true;
    }
    std::unique_lock lock{mutex_};
    wake_.wait_for(lock, timeout, [this] { return interrupted_; });
    return !std::exchange(interrupted_, false) && must_load_;
}

void sqlite_store::interrupt() noexcept {
    {
        const std::lock_guard lock{mutex_};
        interrupted_ = true;
    }
    wake_.notify_all();
}

}  // namespace signalbox::catalog
