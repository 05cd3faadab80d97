// The SQLite store: what is written comes back, a change is whole or not at all, versions are
// compared, and a file that will not do is refused with a clear text.
#include "catalog/sqlite_store.hpp"

#include "catalog/option_json.hpp"
#include "tests/support/temporary_folder.hpp"

#include <catch2/catch.hpp>

#include <array>
#include <chrono>
#include <csignal>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <memory>
#include <sqlite3.h>
#include <string>
#include <sys/resource.h>
#include <sys/stat.h>
#include <thread>

using namespace signalbox::catalog;
using Catch::Matchers::Contains;
using signalbox::tests::temporary_folder;
using std::chrono::microseconds;

namespace {

timestamp at(std::int64_t us) {
    return timestamp{microseconds{us}};
}

stored_connection named(std::string name) {
    return {.id = {}, .name = std::move(name), .owner = "me", .overrides = {}};
}

stored_connection made(store& in, const std::string& name) {
    return in.commit({{.before = {}, .after = named(name)}}, {}).at(0);
}

/// Runs SQL beside any store; returns the last value.
std::string raw(const std::string& file, const std::string& sql) {
    sqlite3* opened = nullptr;
    REQUIRE(::sqlite3_open(file.c_str(), &opened) == SQLITE_OK);
    std::string last;
    char* message = nullptr;
    const int status = ::sqlite3_exec(
        opened,
        sql.c_str(),
        [](void* out, int, char** values, char**) {
            *static_cast<std::string*>(out) = values[0] == nullptr ? "" : values[0];
            return 0;
        },
        &last,
        &message
    );
    INFO((message == nullptr ? "" : message));
    ::sqlite3_free(message);
    ::sqlite3_close(opened);
    REQUIRE(status == SQLITE_OK);
    return last;
}

unsigned mode_of(const std::string& file) {
    struct stat found {};

    REQUIRE(::stat(file.c_str(), &found) == 0);
    return found.st_mode & 0777U;
}

/// Writes that would make any file longer than this fail, while it lives.
class file_size_limit {
public:
    explicit file_size_limit(std::uintmax_t bytes) {
        std::signal(SIGXFSZ, SIG_IGN);
        ::getrlimit(RLIMIT_FSIZE, &old_);
        rlimit narrow = old_;
        narrow.rlim_cur = bytes;
        ::setrlimit(RLIMIT_FSIZE, &narrow);
    }

    ~file_size_limit() { ::setrlimit(RLIMIT_FSIZE, &old_); }

    file_size_limit(const file_size_limit&) = delete;
    file_size_limit& operator=(const file_size_limit&) = delete;

private:
    rlimit old_{};
};

}  // namespace

TEST_CASE("overrides become JSON and come back") {
    const option_overrides overrides{
        {"HOST", option_value{"a \"b\" \\ ü\n"}},
        {"PASSWORD", option_value{secret_name{"pw"}}},
        {"BROKERS", option_value{std::vector<std::string>{"a:1", "b:2"}}},
        {"AVAILABILITY ZONES", option_value{std::vector<std::string>{}}},
        {"USER", option_value{""}},
        {"PORT", std::nullopt},
    };
    CHECK(parse_overrides(serialize_overrides(overrides)) == overrides);
    CHECK(
        serialize_overrides({{"PASSWORD", option_value{secret_name{"pw"}}}, {"PORT", {}}}) ==
        R"({"PASSWORD":{"secret":"pw"},"PORT":null})"
    );

    const auto* text = GENERATE(
        "",
        "[]",
        "{",
        "{\"A\":1}",
        "{\"A\":{}}",
        "{\"A\":{\"secret\":\"a\",\"b\":1}}",
        "{\"A\":[1]}",
        "{\"A\":true}"
    );
    CAPTURE(text);
    CHECK_THROWS_AS(parse_overrides(text), store_error);
}

TEST_CASE("SQLite store: what is committed is there when it is opened again") {
    const temporary_folder folder;
    stored_connection first;
    stored_connection second;
    {
        sqlite_store opened{folder.file()};
        CHECK(opened.load().connections.empty());
        CHECK(opened.load().version == 0);
        stored_connection after = named("main");
        after.type = connection_type::kafka;
        after.is_from_file = true;
        after.overrides = {{"HOST", option_value{"h"}}, {"PORT", std::nullopt}};
        after.created_at = at(1'700'000'000'000'001);
        after.altered_at = at(-5);
        after.id = "ignored";
        after.generation = 77;
        first = opened.commit({{.before = {}, .after = after}}, {}).at(0);
        CHECK(first.id == "u1");
        CHECK(first.generation == 1);
        after.id = first.id;
        after.generation = 1;
        CHECK(first == after);
        second = made(opened, "Another \"one\"");
        CHECK(second.id == "u2");
    }
    sqlite_store again{folder.file()};
    const stored_catalog catalog = again.load();
    CHECK(catalog.connections == std::vector{first, second});
    CHECK(catalog.version == 2);
    CHECK(again.is_leader());
}

TEST_CASE("SQLite store: a change needs the version that it was made from") {
    const temporary_folder folder;
    sqlite_store opened{folder.file()};
    const stored_connection v1 = made(opened, "main");
    stored_connection after = v1;
    after.overrides["HOST"] = option_value{"two"};
    const stored_connection v2 = opened.commit({{.before = v1, .after = after}}, {}).at(0);
    CHECK(v2.generation == 2);
    CHECK(v2.id == v1.id);

    CHECK_THROWS_AS(opened.commit({{.before = v1, .after = after}}, {}), concurrent_change);
    CHECK_THROWS_AS(opened.commit({{.before = v1, .after = {}}}, {}), concurrent_change);
    stored_connection other_name = v2;
    other_name.name = "old";
    CHECK_THROWS_AS(opened.commit({{.before = other_name, .after = v2}}, {}), concurrent_change);
    CHECK_THROWS_WITH(
        opened.commit({{.before = {}, .after = named("main")}}, {}),
        "connection \"main\" was changed concurrently"
    );
    CHECK(opened.load().connections == std::vector{v2});
    CHECK(opened.load().version == 2);
}

TEST_CASE("SQLite store: names are unique, also by renaming; a freed one can be taken at once") {
    const temporary_folder folder;
    sqlite_store opened{folder.file()};
    const stored_connection a = made(opened, "a");
    const stored_connection b = made(opened, "b");
    stored_connection renamed = b;
    renamed.name = "a";
    CHECK_THROWS_AS(opened.commit({{.before = b, .after = renamed}}, {}), concurrent_change);
    // In one change, and whatever its order.
    const auto afters =
        opened.commit({{.before = b, .after = renamed}, {.before = a, .after = {}}}, {});
    REQUIRE(afters.size() == 1);
    CHECK(afters[0].name == "a");
    CHECK(opened.load().connections == afters);
}

TEST_CASE("SQLite store: a change is whole or not at all") {
    const temporary_folder folder;
    sqlite_store opened{folder.file()};
    const stored_connection a = made(opened, "a");
    stored_connection stale = a;
    stale.generation = 9;
    const status_event gone{
        .connection_id = a.id, .status = "deleted", .error = {}, .occurred_at = at(1)};
    CHECK_THROWS_AS(
        opened.commit(
            {{.before = {}, .after = named("new")},
             {.before = a, .after = {}},
             {.before = stale, .after = stale}},
            {gone}
        ),
        concurrent_change
    );
    CHECK(opened.load().connections == std::vector{a});
    CHECK(opened.load().history.empty());
    // The refused one has used up no id.
    CHECK(made(opened, "b").id == "u2");
}

TEST_CASE("SQLite store: an id is never given twice") {
    const temporary_folder folder;
    {
        sqlite_store opened{folder.file()};
        const stored_connection a = made(opened, "a");
        opened.commit({{.before = a, .after = {}}}, {});
        CHECK(made(opened, "a").id == "u2");
        opened.commit({{.before = opened.load().connections.at(0), .after = {}}}, {});
    }
    sqlite_store again{folder.file()};
    CHECK(made(again, "a").id == "u3");
}

TEST_CASE("SQLite store: the history keeps its order, and the newest when it is cut") {
    const temporary_folder folder;
    sqlite_store opened{folder.file()};
    std::vector<status_event> events;
    for (int i = 0; i < 20; ++i) {
        events.push_back(
            {.connection_id = i % 4 == 0 ? "u1" : "u2",
             .status = "s" + std::to_string(i),
             .error = i % 3 == 0 ? std::optional<std::string>{"e"} : std::nullopt,
             .occurred_at = at(1'000 - i)}
        );
    }
    opened.append(events);
    CHECK(opened.load().history == events);
    opened.truncate_history(3);
    std::vector<status_event> kept;
    for (const std::size_t i : {8U, 12U, 16U, 17U, 18U, 19U}) {
        kept.push_back(events[i]);
    }
    CHECK(opened.load().history == kept);
    const auto version = opened.load().version;
    opened.truncate_history(3);
    CHECK(opened.load().version == version);
}

TEST_CASE("SQLite store: an event is written once, however often it is tried") {
    const temporary_folder folder;
    sqlite_store opened{folder.file()};
    const std::vector<status_event> events{
        {.connection_id = "u1", .status = "failed", .error = "x", .occurred_at = at(1)},
        {.connection_id = "u1", .status = "available", .error = {}, .occurred_at = at(2)},
        {.connection_id = "u1", .status = "failed", .error = "y", .occurred_at = at(3)}};
    opened.append(events);
    CHECK_FALSE(opened.wait_for_change(std::chrono::milliseconds{0}));
    opened.append(events);
    CHECK(opened.load().history == events);
    // The connection's last status again, from somebody who did not know.
    opened.append({{.connection_id = "u1", .status = "failed", .error = "z", .occurred_at = at(9)}}
    );
    CHECK(opened.wait_for_change(std::chrono::milliseconds{0}));
    CHECK(opened.load().history == events);
    CHECK_FALSE(opened.wait_for_change(std::chrono::milliseconds{0}));
    // Nothing follows `deleted`.
    const status_event gone{
        .connection_id = "u1", .status = "deleted", .error = {}, .occurred_at = at(10)};
    opened.append({gone});
    opened.append(
        {{.connection_id = "u1", .status = "available", .error = {}, .occurred_at = at(11)}}
    );
    CHECK(opened.load().history.back() == gone);
}

TEST_CASE("stored text is UTF-8: an error is made so, the rest is refused") {
    const temporary_folder folder;
    sqlite_store opened{folder.file()};
    const auto [given, kept] = GENERATE(table<std::string, std::string>({
        {"gr\xc3\xbc\xc3\x9f", "gr\xc3\xbc\xc3\x9f"},
        {"\xe2\x82\xac \xf0\x9f\x9a\x82", "\xe2\x82\xac \xf0\x9f\x9a\x82"},
        {"gr\xfc\xdf", "gr\xef\xbf\xbd\xef\xbf\xbd"},
        {std::string{"a\0b", 3},
         "a\xef\xbf\xbd"
         "b"},
        {"\xc0\xaf", "\xef\xbf\xbd\xef\xbf\xbd"},
        {"\xed\xa0\x80", "\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd"},
        {"cut \xe2\x82", "cut \xef\xbf\xbd\xef\xbf\xbd"},
    }));
    CAPTURE(kept);
    opened.append(
        {{.connection_id = "u1", .status = "failed", .error = given, .occurred_at = at(1)}}
    );
    CHECK(opened.load().history.at(0).error == kept);

    stored_connection after = named("main");
    after.overrides["HOST"] = option_value{given};
    if (given == kept) {
        opened.commit({{.before = {}, .after = after}}, {});
        CHECK(opened.load().connections.at(0).overrides == after.overrides);
    } else {
        CHECK_THROWS_AS(opened.commit({{.before = {}, .after = after}}, {}), store_error);
        CHECK(opened.load().connections.empty());
    }
}

TEST_CASE("SQLite store: its files are for their owner only") {
    const temporary_folder folder;
    const auto old_mask = ::umask(0);
    {
        sqlite_store opened{folder.file()};
        made(opened, "a");
        for (const auto& entry : std::filesystem::directory_iterator{
                 std::filesystem::path{folder.file()}.parent_path()}) {
            CAPTURE(entry.path());
            CHECK(mode_of(entry.path().string()) == 0600);
        }
        CHECK(std::filesystem::exists(folder.file("box.db-wal")));
        CHECK(std::filesystem::exists(folder.file("box.db-shm")));
    }
    // One that was copied carelessly.
    REQUIRE(::chmod(folder.file().c_str(), 0644) == 0);
    {
        sqlite_store opened{folder.file()};
        made(opened, "b");
        CHECK(mode_of(folder.file()) == 0600);
        CHECK(mode_of(folder.file("box.db-wal")) == 0600);
    }
    ::umask(old_mask);
}

TEST_CASE("SQLite store: one file has one Signalbox") {
    const temporary_folder folder;
    auto first = std::make_unique<sqlite_store>(folder.file());
    const stored_connection a = made(*first, "a");
    CHECK_THROWS_WITH(
        sqlite_store{folder.file()},
        Contains("is in use by another Signalbox") && Contains(folder.file())
    );
    // The one that has it is not disturbed.
    CHECK(first->load().connections == std::vector{a});
    made(*first, "b");
    first.reset();
    CHECK(sqlite_store{folder.file()}.load().connections.size() == 2);
}

TEST_CASE("SQLite store: others may read, and one that holds a lock is waited for, not for long") {
    const temporary_folder folder;
    sqlite_store opened{folder.file()};
    const stored_connection a = made(opened, "a");
    CHECK(raw(folder.file(), "SELECT name FROM connections") == "a");
    sqlite3* other = nullptr;
    REQUIRE(::sqlite3_open(folder.file().c_str(), &other) == SQLITE_OK);
    REQUIRE(::sqlite3_exec(other, "BEGIN IMMEDIATE", nullptr, nullptr, nullptr) == SQLITE_OK);
    CHECK_THROWS_WITH(made(opened, "b"), Contains("is held by another process"));
    CHECK(opened.load().connections == std::vector{a});
    ::sqlite3_close(other);
    CHECK(made(opened, "b").id == "u2");
}

TEST_CASE("SQLite store: the next one waits for one that is still ending") {
    const temporary_folder folder;
    auto first = std::make_unique<sqlite_store>(folder.file());
    std::thread ending{[&] {
        std::this_thread::sleep_for(std::chrono::milliseconds{200});
        first.reset();
    }};
    CHECK_NOTHROW(sqlite_store{folder.file()});
    ending.join();
}

TEST_CASE("SQLite store: files that will not do") {
    const temporary_folder folder;
    const std::string file = folder.file();
    SECTION("no folder") {
        CHECK_THROWS_WITH(
            sqlite_store{folder.file("none/box.db")},
            Contains("No such file or directory") && Contains("none/box.db")
        );
    }
    SECTION("text") {
        std::ofstream{file} << std::string(5'000, 'x');
        CHECK_THROWS_WITH(sqlite_store{file}, Contains("file is not a database"));
    }
    SECTION("somebody else's database") {
        raw(file, "CREATE TABLE connections (a)");
        CHECK_THROWS_WITH(sqlite_store{file}, Contains("not a store of Signalbox"));
        CHECK(raw(file, "SELECT count(*) FROM sqlite_schema") == "1");
    }
    SECTION("a newer schema") {
        { const sqlite_store made_now{file}; }
        raw(file, "UPDATE schema_version SET version = 99");
        CHECK_THROWS_WITH(
            sqlite_store{file}, Contains("schema version 99") && Contains("no version after 2")
        );
        CHECK(raw(file, "SELECT version FROM schema_version") == "99");
    }
    SECTION("damaged") {
        {
            sqlite_store opened{file};
            for (int i = 0; i < 200; ++i) {
                made(opened, "connection " + std::to_string(i));
            }
        }
        // The pages behind the first two: it still looks like a database from its beginning.
        std::fstream damaged{file, std::ios::in | std::ios::out | std::ios::binary};
        damaged.seekp(std::streamoff{2} * 4096);
        damaged << std::string(std::size_t{6} * 4096, '\x5a');
        damaged.close();
        CHECK_THROWS_WITH(sqlite_store{file}, Contains("corrupt") || Contains("malformed"));
    }
    SECTION("empty, as a full disk leaves it") {
        std::ofstream{file}.close();
        CHECK_NOTHROW(sqlite_store{file});
    }
}

TEST_CASE("SQLite store: what cannot be written fails whole, and the next change succeeds") {
    const temporary_folder folder;
    auto opened = std::make_unique<sqlite_store>(folder.file());
    const stored_connection a = made(*opened, "a");
    stored_connection big = a;
    big.overrides["HOST"] = option_value{std::string(200'000, 'x')};
    {
        const file_size_limit limit{std::filesystem::file_size(folder.file("box.db-wal")) + 9'000};
        CHECK_THROWS_WITH(
            opened->commit({{.before = a, .after = big}}, {}),
            Contains("I/O error") || Contains("full")
        );
    }
    CHECK(opened->load().connections == std::vector{a});
    CHECK(opened->commit({{.before = a, .after = big}}, {}).at(0).generation == 2);
    opened.reset();
    CHECK(raw(folder.file(), "PRAGMA integrity_check") == "ok");
}

TEST_CASE("SQLite store: waiting ends with the time, or with interrupt()") {
    const temporary_folder folder;
    sqlite_store opened{folder.file()};
    const auto begin = std::chrono::steady_clock::now();
    CHECK_FALSE(opened.wait_for_change(std::chrono::milliseconds{30}));
    CHECK(std::chrono::steady_clock::now() - begin >= std::chrono::milliseconds{30});
    opened.interrupt();
    CHECK_FALSE(opened.wait_for_change(std::chrono::minutes{1}));
    std::thread interrupter{[&] { opened.interrupt(); }};
    CHECK_FALSE(opened.wait_for_change(std::chrono::minutes{1}));
    interrupter.join();
    CHECK(std::chrono::steady_clock::now() - begin < std::chrono::seconds{30});
}

TEST_CASE("a store's URL says which it is") {
    const temporary_folder folder;
    const auto open = [&](std::string url) {
        return open_store(
            {.url = std::move(url), .folder = folder.file(""), .password = "s3cret-pw"}
        );
    };
    CHECK(open("sqlite:relative.db") != nullptr);
    CHECK(std::filesystem::exists(folder.file("relative.db")));
    CHECK(open("sqlite:" + folder.file("absolute.db")) != nullptr);
    CHECK(std::filesystem::exists(folder.file("absolute.db")));
    CHECK_THROWS_AS(open("sqlite:"), store_error);
    CHECK_THROWS_AS(open("mysql://x"), store_error);
    // Nobody listens there: no error before it is used.
    const auto away = open("postgresql://u@127.0.0.1:1/db");
    CHECK_FALSE(away->is_leader());
    CHECK_FALSE(away->wait_for_change(std::chrono::milliseconds{1}));
    CHECK_THROWS_WITH(away->load(), Contains("127.0.0.1"));

    const auto* bad = GENERATE(
        "postgresql://user:in-url-pw@[::1/db",
        "postgresql://user:in-url-pw@h:5432x/db%zz",
        "postgresql://user:in-url-pw%zz@h/db",
        "postgresql://user@h/db?password=in-url-pw&nonsense=in-url-pw"
    );
    CAPTURE(bad);
    CHECK_THROWS_WITH(open(bad), Contains("URL is not valid") && !Contains("in-url-pw"));
}
