"""Every timeout of a route, and the sizes of its pool, each on a route of its own."""

import threading
import time

import pytest

from harness import RawClient, Signalbox, eventually, messages
from harness.messages import query
from harness.postgres import ROLES
from harness.raw_client import first_error
from harness.signalbox import standard_config

TRANSACTION = {"pool_mode": "transaction"}
ROUTES = {
    "query_limit": {"query_timeout": "400ms"},
    "query_limit_session": {"query_timeout": "400ms", "pool_mode": "session"},
    "idle_in_transaction": {"idle_transaction_timeout": "400ms"},
    "long_transaction": {"transaction_timeout": "500ms"},
    "idle_client": {"client_idle_timeout": "500ms"},
    "queue": {"pool_size": 1, "query_wait_timeout": "400ms"},
    "fair": {"pool_size": 1},
    "short_lives": {"pool_size": 2, "server_lifetime": "500ms"},
    "single_use": {"pool_size": 2, "server_lifetime": "1ms"},
    "short_idles": {"pool_size": 3, "server_idle_timeout": "500ms"},
}


@pytest.fixture(scope="module")
def box(pg):
    pg.admin(
        "CREATE TABLE IF NOT EXISTS turns (at serial, who int); ALTER TABLE turns OWNER TO app"
    )
    routes = {name: {**TRANSACTION, **own} for name, own in ROUTES.items()}
    with Signalbox(standard_config(pg, routes=routes)) as process:
        yield process


@pytest.mark.parametrize("route", ["query_limit", "query_limit_session"])
def test_query_timeout(pg, box, route):
    client = box.raw(route)
    for _ in range(2):
        started = time.monotonic()
        found = client.query("SELECT pg_sleep(30), 'too long'")
        assert 0.35 < time.monotonic() - started < 5
        assert first_error(found)["C"] == "57014", found
        assert found[-1] == (b"Z", b"I")
        assert client.value("SELECT 1") == "1"
    eventually(
        lambda: not pg.backends("query LIKE '%too long%' AND state = 'active'"), "it is cancelled"
    )
    # The clock starts anew with every statement.
    for _ in range(4):
        assert client.value("SELECT 1 FROM pg_sleep(0.2)") == "1"
    client.terminate()


def test_query_timeout_leaves_the_block_failed(box):
    client = box.raw("query_limit")
    client.query("BEGIN")
    found = client.query("SELECT pg_sleep(30)")
    assert first_error(found)["C"] == "57014" and found[-1] == (b"Z", b"E")
    assert client.query("COMMIT")[0] == (b"C", b"ROLLBACK\0")
    client.terminate()


def test_idle_transaction_timeout(pg, box):
    client = box.raw("idle_in_transaction")
    client.query("BEGIN")
    client.query("LOCK TABLE turns")
    started = time.monotonic()
    found = client.read_to_end(timeout=5)
    assert 0.2 < time.monotonic() - started < 5
    fields = first_error(found)
    assert (fields["V"], fields["C"]) == ("FATAL", "25P03"), fields
    assert pg.admin("SELECT count(*) FROM turns")  # the lock is free
    # A transaction that works is not idle.
    client = box.raw("idle_in_transaction")
    client.query("BEGIN")
    for _ in range(4):
        client.query("SELECT pg_sleep(0.2)")
    assert client.query("COMMIT")[-1] == (b"Z", b"I")
    time.sleep(0.6)  # idle outside a transaction is none of this limit's business
    assert client.value("SELECT 1") == "1"
    client.terminate()


def test_transaction_timeout(pg, box):
    for busy in (False, True):
        client = box.raw("long_transaction")
        started = time.monotonic()
        client.query("BEGIN")
        client.query("LOCK TABLE turns")
        if busy:
            client.send(query("SELECT pg_sleep(0.01)") * 500)  # it counts under way, too
        fields = first_error(client.read_to_end(timeout=10))
        assert (fields["V"], fields["C"]) == ("FATAL", "25P04"), fields
        assert 0.3 < time.monotonic() - started < 5
        assert pg.admin("SELECT count(*) FROM turns")  # the lock is free
        client.close()
    quick = box.raw("long_transaction")
    for _ in range(3):
        for sql in ("BEGIN", "SELECT pg_sleep(0.2)", "COMMIT"):
            assert not [m for m in quick.query(sql) if m[0] == b"E"]
    quick.terminate()


def test_client_idle_timeout(box):
    client, busy = box.raw("idle_client"), box.raw("idle_client")
    for _ in range(8):
        assert busy.value("SELECT 1 FROM pg_sleep(0.1)") == "1"
    found = client.read_to_end(timeout=5)
    fields = first_error(found)
    assert (fields["V"], fields["C"]) == ("FATAL", "57P05"), fields
    busy.terminate()


def test_query_wait_timeout(box):
    holder, waiter = box.raw("queue"), box.raw("queue")
    holder.query("BEGIN")
    started = time.monotonic()
    found = waiter.query("SELECT 1")
    assert 0.3 < time.monotonic() - started < 5
    fields = first_error(found)
    assert (fields["V"], fields["C"]) == ("ERROR", "53300"), fields
    assert found[-1] == (b"Z", b"I")
    holder.query("COMMIT")
    assert waiter.value("SELECT 1") == "1"
    holder.terminate()
    waiter.terminate()


def test_the_queue_is_fair(pg, box):
    """First come, first served, whichever worker a session lives on."""
    for _ in range(3):
        pg.admin("TRUNCATE turns RESTART IDENTITY")
        holder = box.raw("fair")
        waiters = [box.raw("fair") for _ in range(12)]
        holder.query("BEGIN")
        for number, waiter in enumerate(waiters):
            waiter.send(query(f"INSERT INTO turns (who) VALUES ({number})"))
            waiter.expect_silence(0.02)  # so that the order of arrival is certain
        holder.query("COMMIT")
        for waiter in waiters:
            assert waiter.read_until(b"Z")[-1] == (b"Z", b"I")
        order = [who for (who,) in pg.admin("SELECT who FROM turns ORDER BY at")]
        assert order == list(range(12))
        for client in (holder, *waiters):
            client.terminate()


def test_nobody_starves(box):
    """A greedy session that never pauses does not keep the only server connection."""
    stop, greedy_count = threading.Event(), []

    def be_greedy():
        client = box.raw("fair")
        while not stop.is_set():
            # Always several requests ahead.
            client.send(query("SELECT 1") * 20)
            client.read_until(b"Z", 20)
            greedy_count.append(20)
        client.terminate()

    threads = [threading.Thread(target=be_greedy) for _ in range(4)]
    for thread in threads:
        thread.start()
    try:
        modest = box.raw("fair")
        worst = 0
        for _ in range(20):
            started = time.monotonic()
            assert modest.value("SELECT 1") == "1"
            worst = max(worst, time.monotonic() - started)
        modest.terminate()
    finally:
        stop.set()
        for thread in threads:
            thread.join(20)
    assert worst < 2, worst
    assert greedy_count


def test_server_lifetime(box):
    client = box.raw("short_lives")
    first = client.value("SELECT pg_backend_pid()")
    eventually(
        lambda: client.value("SELECT pg_backend_pid()") != first, "a new server connection", 5, 0.05
    )
    # Never in the middle of a transaction.
    client.query("BEGIN")
    pid = client.value("SELECT pg_backend_pid()")
    for _ in range(8):
        assert client.value("SELECT pg_backend_pid() FROM pg_sleep(0.1)") == pid
    client.query("COMMIT")
    client.terminate()


def test_a_short_server_lifetime_counts_with_every_return(box):
    """It was looked at once a second at most."""
    client = box.raw("single_use")
    pids = [client.value("SELECT pg_backend_pid() FROM pg_sleep(0.01)") for _ in range(10)]
    assert len(set(pids)) == 10, pids
    client.terminate()


def test_server_idle_timeout(pg, box):
    clients = [box.raw("short_idles", application_name="idles") for _ in range(3)]
    for client in clients:
        client.query("BEGIN")
    assert len(pg.backends("application_name = 'idles'")) == 3
    for client in clients:
        client.query("COMMIT")
    eventually(lambda: not pg.backends("application_name = 'idles'"), "idle ones are closed", 5)
    assert clients[0].value("SELECT 1") == "1"
    for client in clients:
        client.terminate()


def test_min_pool_size(pg, start_box):
    """Opened without being asked for, and opened again."""
    name = "min_pool_of_this_test"
    pg.admin(f"CREATE DATABASE {name} OWNER app", database="postgres")
    route = {"min_pool_size": 3, "pool_size": 5, "server_idle_timeout": "500ms"}
    config = standard_config(pg)
    config["routes"] = [
        {"database": name, "connection": "main", "pool_mode": "transaction", **route}
    ]
    box = start_box(config)
    client = box.raw(name)
    client.value("SELECT 1")
    eventually(lambda: len(pg.backends(database=name)) == 3, "three server connections", 10)
    pg.admin(f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{name}'")
    eventually(lambda: len(pg.backends(database=name)) == 3, "three again", 10)
    time.sleep(1.2)  # twice the idle timeout: the minimum stays
    assert len(pg.backends(database=name)) == 3
    client.terminate()
    box.stop()
    eventually(lambda: not pg.backends(database=name), "none is left at the end")


def test_startup_timeout(pg, start_box):
    box = start_box(standard_config(pg, {"listen": {"startup_timeout": "500ms"}}))
    silent = RawClient("127.0.0.1", box.port)
    halfway = RawClient("127.0.0.1", box.port)
    halfway.send(b"\0\0\0\x50\0\3\0\0user\0")
    unproved = RawClient("127.0.0.1", box.port)
    unproved.send(messages.startup("app", "transaction"))
    assert unproved.read_message()[0] == b"R"
    started = time.monotonic()
    for client in (silent, halfway, unproved):
        client.read_to_end(timeout=5)
        client.close()
    assert 0.2 < time.monotonic() - started < 4
    working = RawClient("127.0.0.1", box.port).login("app", "transaction", ROLES["app"])
    time.sleep(0.7)  # logged in: the limit is over
    assert working.value("SELECT 1") == "1"
    working.terminate()
