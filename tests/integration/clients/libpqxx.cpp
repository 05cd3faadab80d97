// libpqxx through Signalbox: connection data by the libpq environment, one line `ok` at the end.

#include <algorithm>
#include <chrono>
#include <cstdlib>
#include <iostream>
#include <pqxx/pqxx>
#include <stdexcept>
#include <string>
#include <sys/select.h>
#include <thread>
#include <tuple>
#include <vector>

namespace {

void check(bool holds, const std::string& what) {
    if (!holds) {
        throw std::runtime_error{what};
    }
}

template <class Error, class Action>
void expect(Action action, const std::string& what) {
    try {
        action();
    } catch (const Error&) {
        return;
    }
    throw std::runtime_error{what + " did not fail as it should"};
}

void prepared(pqxx::connection& connection) {
    for (int n = 0; n < 20; ++n) {
        connection.prepare("s" + std::to_string(n), "SELECT $1::int + " + std::to_string(n));
    }
    for (int turn = 0; turn < 3; ++turn) {
        for (int n = 0; n < 20; ++n) {
            pqxx::work work{connection};
            const auto row = work.exec_prepared1("s" + std::to_string(n), turn);
            check(row[0].as<int>() == turn + n, "prepared");
            work.commit();
        }
    }
    connection.unprepare("s0");
    expect<pqxx::argument_error>(
        [&] { pqxx::work{connection}.exec_prepared("s0", 1); }, "a statement that is gone"
    );
    pqxx::work work{connection};
    const pqxx::binarystring bytes{std::string{"\0\xff", 2}};
    const auto row =
        work.exec_params1("SELECT $1::text, $2::bytea, $3::int IS NULL", "grün", bytes, nullptr);
    check(row[0].as<std::string>() == "grün" && row[2].as<bool>(), "parameters");
    check(pqxx::binarystring{row[1]} == bytes, "bytea");
}

void transactions(pqxx::connection& connection) {
    {
        pqxx::work work{connection};
        work.exec("CREATE TABLE kept (id int PRIMARY KEY, note text)");
        work.exec("INSERT INTO kept SELECT g, 'note' FROM generate_series(1, 1000) g");
        try {
            pqxx::subtransaction inner{work, "inner"};
            inner.exec("INSERT INTO kept VALUES (1)");
            check(false, "a key twice");
        } catch (const pqxx::unique_violation&) {
        }
        work.commit();
    }
    {
        pqxx::work work{connection};
        work.exec("DELETE FROM kept");  // never committed
    }
    pqxx::read_transaction reading{connection};
    check(reading.exec1("SELECT count(*) FROM kept")[0].as<int>() == 1000, "rows");
    expect<pqxx::sql_error>([&] { reading.exec("DELETE FROM kept"); }, "a write while reading");
    reading.abort();
    // Commits through a log table of its own, asks about the outcome if the connection is lost.
    pqxx::robusttransaction<pqxx::isolation_level::serializable> robust{connection};
    check(
        robust.exec1("SHOW transaction_isolation")[0].as<std::string>() == "serializable", "level"
    );
    robust.exec("UPDATE kept SET note = 'changed' WHERE id = 1");
    robust.commit();
    pqxx::nontransaction plain{connection};
    check(
        plain.exec1("SELECT note FROM kept WHERE id = 1")[0].as<std::string>() == "changed",
        "robust"
    );
    plain.exec("VACUUM kept");
}

void cursors(pqxx::connection& connection) {
    pqxx::work work{connection};
    pqxx::icursorstream stream{work, "SELECT id FROM kept ORDER BY id", "walk", 70};
    int sum = 0;
    for (pqxx::result rows; stream >> rows;) {
        for (const auto& row : rows) {
            sum += row[0].as<int>();
        }
    }
    check(sum == 500500, "a stream of rows");
    using cursor = pqxx::stateless_cursor<pqxx::cursor_base::read_only, pqxx::cursor_base::owned>;
    cursor seeking{work, "SELECT id FROM kept ORDER BY id", "seek", false};
    check(seeking.size() == 1000 && seeking.retrieve(500, 502)[1][0].as<int>() == 502, "seek");
    work.commit();
}

void copies(pqxx::connection& connection) {
    pqxx::work work{connection};
    work.exec("CREATE TABLE copied (id int PRIMARY KEY, note text)");
    {
        pqxx::stream_to out{work, "copied", std::vector<std::string>{"id", "note"}};
        for (int n = 0; n < 5000; ++n) {
            out << std::make_tuple(n, std::string(static_cast<std::size_t>(n % 100), 'x'));
        }
        out.complete();
    }
    std::tuple<int, std::string> row;
    int count = 0;
    pqxx::stream_from in{work, "copied"};
    while (in >> row) {
        ++count;
    }
    in.complete();
    check(count == 5000, "copy");
    work.commit();
}

// Many statements under way, retained or in any order; an error ends the transaction.
void pipelines(pqxx::connection& connection) {
    {
        pqxx::work work{connection};
        pqxx::pipeline pipe{work};
        pipe.retain(20);
        std::vector<pqxx::pipeline::query_id> ids;
        for (int n = 0; n < 100; ++n) {
            ids.push_back(pipe.insert("SELECT " + std::to_string(n)));
        }
        for (int n = 99; n >= 0; --n) {
            const auto found = pipe.retrieve(ids[static_cast<std::size_t>(n)]);
            check(found[0][0].as<int>() == n, "pipeline");
        }
        pipe.complete();
        work.commit();
    }
    expect<pqxx::sql_error>(
        [&] {
            pqxx::work work{connection};
            pqxx::pipeline pipe{work};
            const auto before = pipe.insert("SELECT 1");
            const auto bad = pipe.insert("SELECT 1 / 0");
            pipe.insert("SELECT 2");
            check(pipe.retrieve(before)[0][0].as<int>() == 1, "before the error");
            pipe.retrieve(bad);
        },
        "a division by zero in a pipeline"
    );
    check(pqxx::nontransaction{connection}.exec1("SELECT 3")[0].as<int>() == 3, "afterwards");
}

void large_objects(pqxx::connection& connection) {
    pqxx::work work{connection};
    pqxx::largeobjectaccess object{work, std::ios::in | std::ios::out};
    const std::string data(100000, '\x01');
    object.write(data);
    object.seek(0, std::ios::beg);
    std::string found(data.size(), '\0');
    std::size_t total = 0;
    while (total < found.size()) {
        const auto got = object.read(&found[total], found.size() - total);
        check(got > 0, "a large object is too short");
        total += static_cast<std::size_t>(got);
    }
    check(found == data, "large object");
    object.remove(work);
    work.commit();
}

class receiver : public pqxx::notification_receiver {
public:
    using notification_receiver::notification_receiver;

    void operator()(const std::string& payload, int /*process*/) override {
        heard.push_back(payload);
    }

    std::vector<std::string> heard;
};

void notifications(pqxx::connection& connection, const std::string& channel) {
    receiver listening{connection, channel};
    pqxx::connection other;
    pqxx::nontransaction{other}.exec("NOTIFY " + channel + ", 'payload'");
    const auto end = std::chrono::steady_clock::now() + std::chrono::seconds{10};
    while (listening.heard.empty() && std::chrono::steady_clock::now() < end) {
        connection.await_notification(0, 100000);
    }
    check(listening.heard == std::vector<std::string>{"payload"}, "notification");
}

void cancels(pqxx::connection& connection) {
    std::thread later{[&] {
        std::this_thread::sleep_for(std::chrono::milliseconds{500});
        connection.cancel_query();
    }};
    try {
        pqxx::nontransaction{connection}.exec("SELECT pg_sleep(30)");
        later.join();
        check(false, "not cancelled");
    } catch (const pqxx::sql_error& error) {
        later.join();
        check(error.sqlstate() == "57014", "cancel: " + error.sqlstate());
    }
    check(pqxx::nontransaction{connection}.exec1("SELECT 1")[0].as<int>() == 1, "after the cancel");
}

void signalbox(pqxx::connection& connection) {
    connection.prepare("lines", "SELECT type FROM mz_catalog.mz_connections WHERE name = $1");
    for (int turn = 0; turn < 3; ++turn) {
        pqxx::work work{connection};
        check(
            work.exec_prepared1("lines", "main")[0].as<std::string>() == "postgres",
            "mz_connections"
        );
    }
    expect<pqxx::insufficient_privilege>(
        [&] { pqxx::work{connection}.exec("DELETE FROM mz_catalog.mz_connections"); }, "a DELETE"
    );
}

}  // namespace

int main() {
    try {
        pqxx::connection connection;
        // Session state by the driver: it is the session's on every server connection.
        connection.set_variable("search_path", std::getenv("SCHEMA"));
        connection.set_client_encoding("UTF8");
        check(connection.get_variable("search_path") == std::getenv("SCHEMA"), "search_path");
        prepared(connection);
        transactions(connection);
        cursors(connection);
        copies(connection);
        pipelines(connection);
        large_objects(connection);
        notifications(connection, std::string{"libpqxx_"} + std::getenv("PGDATABASE"));
        cancels(connection);
        signalbox(connection);
        expect<pqxx::broken_connection>(
            [] { pqxx::connection{"password=wrong"}; }, "a wrong password"
        );
    } catch (const std::exception& error) {
        std::cerr << error.what() << '\n';
        return 1;
    }
    std::cout << "ok\n";
    return 0;
}
