"""Statuses and their history: what is written, when, how often, and what survives."""

import itertools
import random
import re
import socket
import sqlite3
import threading
import time

import psycopg
import pytest

from boxes import NO_CHECKS, QUICK_CHECKS, UNCHECKED, config, create, to
from harness import FakeServer, RawClient, eventually, messages
from harness.postgres import ROLES
from harness.replies import errors, refused, rows, succeeded

SHOWS = [
    "SHOW CONNECTIONS",
    "SHOW CONNECTIONS LIKE 'main'",
    "SHOW CREATE CONNECTION main",
    "SHOW CONNECTION STATUS",
    "SHOW CONNECTION STATUS FOR main",
    "SHOW CONNECTION HISTORY",
    "SHOW CONNECTION HISTORY FOR main",
]


def becomes(box, name, status, timeout=10):
    eventually(lambda: box.status(name)[0] == status, f"{name} is {status}", timeout)
    return box.status(name)


def changes_only(history):
    """No event repeats the one before it."""
    return all(a[0] != b[0] for a, b in zip(history, history[1:]))


@pytest.fixture
def checked(pg, victim, closed_port, start_box):
    """A Signalbox that checks often: main to `pg`, others to what their names say."""
    connections = {
        "victim": to(victim),
        "nobody": to(victim, port=closed_port),
        "stranger": to(victim, password="other"),
        "nowhere": to(victim, database="no_such_database"),
    }
    return start_box(config(pg, {"connections": connections}, checks=QUICK_CHECKS))


# --- what is written


def test_statuses_by_checks(checked):
    assert becomes(checked, "main", "available") == ("available", None)
    assert becomes(checked, "victim", "available") == ("available", None)
    for name, text in {
        "nobody": "refused",
        "stranger": "password authentication failed",
        "nowhere": 'database "no_such_database" does not exist',
    }.items():
        _, error = becomes(checked, name, "failed")
        assert text in error.lower(), (name, error)
        # Many checks, one event.
        assert checked.history(name) == [("failed", error)]
    assert checked.history("main") == [("available", None)]


def test_a_server_goes_and_comes(checked, victim):
    becomes(checked, "victim", "available")
    victim.kill()
    _, error = becomes(checked, "victim", "failed")
    assert error
    time.sleep(1.2)  # four intervals: checks that the log does not tell
    victim.start()
    becomes(checked, "victim", "available")
    told = re.findall(r'(\w+)  (connection (?:failed|available again)) connection="victim"(.*)',
                      checked.wait_log('available again connection="victim"').string)
    assert [line[:2] for line in told] == [
        ("warn", "connection failed"),
        ("info", "connection available again"),
    ]
    assert told[0][2].startswith(' cause="') and not told[1][2]
    found = checked.history("victim")
    assert [status for status, _ in found] == ["available", "failed", "available"]
    assert found[1][1] and found[2][1] is None
    ((changed,),) = checked.run(
        "SELECT last_status_change_at = (SELECT max(occurred_at) FROM "
        "mz_internal.mz_connection_status_history h WHERE h.connection_id = s.id) "
        "FROM mz_internal.mz_connection_statuses s WHERE name = 'victim'"
    )
    assert changed


def test_the_log_knows_a_dropped_connection_no_more(checked, closed_port):
    for _ in range(2):
        since = len(checked.log_text())
        checked.run(create("gone", closed_port))
        checked.wait_log('connection failed connection="gone" cause="Connection refused"', since=since)
        checked.run("DROP CONNECTION gone")


def test_unknown_before_the_first_check(checked):
    with socket.create_server(("127.0.0.1", 0)) as silent:
        checked.run(create("silent", silent.getsockname()[1], ", CONNECT TIMEOUT '60s'"))
        assert checked.status("silent") == ("unknown", None)
        assert checked.history("silent") == []
        ((_, _, _, changed, status, _),) = checked.run("SHOW CONNECTION STATUS FOR silent")
        assert changed is None and status == "unknown"
        # A slow target delays no other.
        becomes(checked, "nobody", "failed")
        checked.run("DROP CONNECTION silent")


def test_client_traffic_shows_it_too(pg, victim, start_box):
    """Without any check: from the outcomes of real connections."""
    box = start_box(
        config(
            pg,
            {"connections": {"main": {"port": victim.port}}},
            route={"hold_timeout": "2s", "connect_timeout": "1s"},
        )
    )
    client = box.raw()
    assert client.value("SELECT 1") == "1"
    becomes(box, "main", "available")
    victim.kill()
    client.query("SELECT 1", timeout=20)
    status, error = becomes(box, "main", "failed")
    assert "refused" in error.lower() or "closed" in error.lower(), error
    victim.start()
    eventually(lambda: not errors(client.query("SELECT 1", timeout=20)), "all is well", 20)
    becomes(box, "main", "available")
    assert changes_only(box.history("main"))


def test_a_rejected_change_does_not_count(box, client, closed_port):
    client.value("SELECT 1")
    becomes(box, "main", "available")
    before = box.history("main"), rows(client.query("SHOW CONNECTION STATUS FOR main"))
    for change in (f"SET (PORT = {closed_port})", "SET (USER = 'no_such_role')"):
        refused(client.query(f"ALTER CONNECTION main {change}"), "08001")
    assert (box.history("main"), rows(client.query("SHOW CONNECTION STATUS FOR main"))) == before


def test_validation_on_request_counts(box, client, make, closed_port):
    name = make()
    succeeded(client.query(f"VALIDATE CONNECTION {name}"), "VALIDATE CONNECTION")
    becomes(box, name, "available")
    succeeded(client.query(f"ALTER CONNECTION {name} SET (PORT = {closed_port}) {UNCHECKED}"))
    refused(client.query(f"VALIDATE CONNECTION {name}"), "08001")
    becomes(box, name, "failed")
    assert [status for status, _ in box.history(name)] == ["available", "failed"]


def test_a_drop_writes_deleted_and_keeps_the_rest(box, client, make):
    name = make()
    succeeded(client.query(f"VALIDATE CONNECTION {name}"))
    becomes(box, name, "available")
    number = box.facts(name)[4]
    succeeded(client.query(f"DROP CONNECTION {name}"))
    sql = (
        "SELECT status FROM mz_internal.mz_connection_status_history "
        f"WHERE connection_id = '{number}' ORDER BY occurred_at"
    )
    eventually(
        lambda: rows(client.query(sql)) == [("available",), ("deleted",)], "the drop is written"
    )
    assert name not in [row[0] for row in rows(client.query("SHOW CONNECTIONS"))]


def test_a_moved_connection_has_the_new_targets_status(checked, closed_port, victim):
    checked.run(create("moving", victim.port))
    becomes(checked, "moving", "available")
    checked.run(f"ALTER CONNECTION moving SET (PORT = {closed_port}) {UNCHECKED}")
    becomes(checked, "moving", "failed")
    checked.run(f"ALTER CONNECTION moving SET (PORT = {victim.port})")
    becomes(checked, "moving", "available")
    found = [status for status, _ in checked.history("moving")]
    assert found == ["available", "failed", "available"]


def test_a_check_that_an_alter_overtakes(pg, start_box):
    """What the old target says in the end is not the new one's status."""
    moved = threading.Event()

    def hang(session):
        moved.wait(30)
        session.send(messages.error("57P03", "too late", "FATAL"))
        return False

    with FakeServer(authenticate=hang) as old, FakeServer() as new:
        connections = {"moved": to(old, connect_timeout="60s")}
        box = start_box(config(pg, {"connections": connections}, checks=QUICK_CHECKS))
        old.wait_sessions(1)
        box.run(f"ALTER CONNECTION moved SET (PORT = {new.port}) {UNCHECKED}")
        moved.set()
        # The checks of the old target were begun, or waited, before these.
        new.wait_sessions(3)
        becomes(box, "moved", "available")
        assert box.history("moved") == [("available", None)]


# --- with every server down


def test_show_with_every_server_down(victim, start_box):
    """To sessions from before and to new ones; and the error of others says why."""
    settings = config(
        victim,
        checks=QUICK_CHECKS,
        route={"hold_timeout": "1s", "connect_timeout": "1s"},
    )
    box = start_box(settings)
    old = {mode: box.raw(mode) for mode in ("session", "transaction", "statement")}
    for client in old.values():
        client.value("SELECT 1")
    becomes(box, "main", "available")
    victim.kill()
    _, error = becomes(box, "main", "failed")
    for clients in ((old["transaction"], old["statement"]), (box.raw(), box.raw("session"))):
        for client in clients:
            for sql in SHOWS:
                assert rows(client.query(sql)), sql
            (row,) = rows(client.query("SHOW CONNECTION STATUS FOR main"))
            assert row[4] == "failed" and row[5]
    client = old["transaction"]
    for sql in ("SELECT 1", "SELECT * FROM mz_catalog.mz_connections"):
        fields = refused(client.query(sql, timeout=20), "57P03")
        texts = {error, box.status("main")[1]}
        assert "failed" in fields["D"] and any(text in fields["D"] for text in texts), fields
    # Whoever repairs it can do so over a session of Signalbox itself.
    succeeded(client.query(f"ALTER CONNECTION main SET (CONNECT TIMEOUT = '1s') {UNCHECKED}"))
    victim.start()
    eventually(lambda: not errors(client.query("SELECT 1", timeout=20)), "all is well", 20)


def test_the_status_in_the_detail_of_a_login(victim, start_box, closed_port):
    settings = config(
        victim,
        {"connections": {"main": {"port": closed_port}}},
        checks=QUICK_CHECKS,
        route={"hold_timeout": "2s", "connect_timeout": "1s"},
    )
    box = start_box(settings)
    client = RawClient("127.0.0.1", box.port, timeout=20)
    client.send(messages.startup("app", "transaction"))
    with pytest.raises(Exception) as refusal:
        client.authenticate("app", ROLES["app"])
    fields = refusal.value.fields
    assert fields["C"] == "57P03" and "failed" in fields["D"], fields
    client.close()


def test_a_store_that_takes_nothing_for_long(checked, victim):
    """What it is to be told waits, and the log says so once for each."""
    settings = checked.config
    settings["connections"]["fresh"] = to(victim)
    becomes(checked, "victim", "available")
    store = sqlite3.connect(checked.folder / "signalbox.db", timeout=10, isolation_level=None)
    store.execute("BEGIN IMMEDIATE")
    victim.kill()
    checked.reload(settings)
    for what in ("file's connections cannot be stored", "status events wait"):
        checked.wait_log(f"{what}.*held by another process", timeout=20)
    time.sleep(4)  # each try takes a second of waiting for the file
    store.execute("ROLLBACK")
    store.close()
    becomes(checked, "victim", "failed", timeout=20)
    eventually(lambda: checked.facts("fresh")[4], "the new connection has its id", 20)
    log = checked.log_text()
    assert log.count("file's connections cannot be stored") == 1, log
    assert log.count("status events wait") == 1, log


# --- how often


class Flipper:
    """A target whose logins fail and succeed in turn, until it is told to stay well."""

    def __init__(self):
        self.count, self.stays, self._lock = 0, False, threading.Lock()
        self.server = FakeServer(authenticate=self._greet)

    def _greet(self, session):
        with self._lock:
            self.count += 1
            well = self.stays or self.count % 2 == 0
        if well:
            session.greet()
            return True
        session.send(messages.error("53300", f"flip {self.count}", "FATAL"))
        return False


@pytest.mark.slow
def test_a_flipping_target_writes_no_more_than_its_quota(pg, start_box):
    flipper = Flipper()
    with flipper.server as server:
        checks = {"interval": "50ms", "window": "10ms", "failure_window": "10ms", "parallel": 3}
        limits = {"status_quota": "2/s", "history_per_connection": 1000}
        connections = {"flips": to(server), "steady": to(pg)}
        changes = {"catalog": limits, "connections": connections}
        box = start_box(config(pg, changes, checks=checks))
        started = time.monotonic()
        eventually(lambda: flipper.count > 40, "it has flipped often", 20)
        flipper.stays = True
        becomes(box, "flips", "available")
        eventually(
            lambda: box.history("flips")[-1:] == [("available", None)], "the last state is written"
        )
        found = box.history("flips")
        allowed = 2 + 2 * (time.monotonic() - started) + 1
        assert 2 <= len(found) <= allowed, (len(found), allowed, flipper.count)
        assert changes_only(found)
        assert box.history("steady") == [("available", None)]


@pytest.mark.slow
def test_checks_do_not_keep_step(pg, start_box):
    """Two connections with the same interval and start: ±10 % at each turn leads them apart."""
    times = {"left": [], "right": []}

    def greet(session):
        times[session.startup["database"]].append(time.monotonic())
        session.greet()
        return True

    with FakeServer(authenticate=greet) as server:
        connections = {name: to(server, database=name) for name in times}
        checks = {"interval": "100ms", "window": "1ms", "failure_window": "1ms"}
        start_box(config(pg, {"connections": connections}, checks=checks))
        eventually(lambda: min(map(len, times.values())) > 40, "forty checks of each", 30)
    apart = [abs(a - b) for a, b in zip(times["left"], times["right"])]
    # Without chance both would be asked in one turn of the catalog's thread, every time.
    assert max(apart) > 0.02, apart


# --- over restarts


def history_rows(box):
    return box.run(
        "SELECT connection_id, status, occurred_at, error "
        "FROM mz_internal.mz_connection_status_history ORDER BY 1, 3"
    )


@pytest.mark.parametrize("ending", ["stop", "kill"])
def test_a_restart_repeats_nothing_and_misses_nothing(checked, victim, ending):
    for name in ("main", "victim"):
        becomes(checked, name, "available")
    for name in ("nobody", "stranger", "nowhere"):
        becomes(checked, name, "failed")
    before = eventually(
        lambda: len(history_rows(checked)) == 5 and history_rows(checked), "an event of each"
    )
    getattr(checked, ending)()
    victim.kill()
    checked.start()
    becomes(checked, "victim", "failed")
    for name in ("nobody", "stranger", "nowhere"):
        becomes(checked, name, "failed")
    eventually(lambda: len(history_rows(checked)) > 5, "the new event is written")
    after = history_rows(checked)
    assert [row for row in after if row in before] == before and len(after) == 6
    assert [s for s, _ in checked.history("victim")] == ["available", "failed"]


def test_the_history_is_cut_at_start(pg, start_box):
    box = start_box(config(pg, {"catalog": {"history_per_connection": 3}}))
    with socket.create_server(("127.0.0.1", 0)) as unused:
        closed = unused.getsockname()[1]
    box.run(create("busy", pg.port))
    box.run(create("calm", pg.port))
    box.run("VALIDATE CONNECTION calm")
    for port in (pg.port, closed) * 4:
        box.run(f"ALTER CONNECTION busy SET (PORT = {port}) {UNCHECKED}")
        try:
            box.run("VALIDATE CONNECTION busy")
        except psycopg.errors.OperationalError as error:
            assert error.sqlstate == "08001"
        becomes(box, "busy", "available" if port == pg.port else "failed")
    eventually(lambda: len(box.history("busy")) == 8, "eight events")
    before = [row for row in history_rows(box) if row[0] == box.facts("busy")[4]]
    calm = box.history("calm")
    box.restart()
    after = [row for row in history_rows(box) if row[0] == box.facts("busy")[4]]
    assert after == before[-3:]
    assert box.history("calm") == calm == [("available", None)]
    assert box.status("busy")[0] == "failed"


@pytest.mark.slow
def test_kill_9_while_altering(pg, start_box):
    """Every acknowledged change is there after the restart; at most the one under way besides."""
    box = start_box(config(pg, {"connections": {"moved": to(pg)}}, checks=NO_CHECKS))
    chance = random.Random(4)
    numbers = itertools.count(1)
    acknowledged = {"moved": pg.port, "made": pg.port}
    sent = {}

    def alter():
        """Until the connection breaks; ports tell the changes apart."""
        try:
            with box.connect() as boss:
                for number in numbers:
                    name = ("moved", "made")[number % 2]
                    sent[name] = number
                    boss.execute(f"ALTER CONNECTION {name} SET (PORT = {number}) {UNCHECKED}")
                    acknowledged[name] = number
        except psycopg.OperationalError:
            pass

    box.run(create("made", pg.port))
    for _ in range(8):
        working = threading.Thread(target=alter)
        before = dict(acknowledged)
        working.start()
        eventually(lambda: acknowledged != before, "a change is acknowledged")  # noqa: B023
        time.sleep(chance.uniform(0, 0.15))  # the moment of death is to be any
        box.kill()
        working.join(10)
        assert not working.is_alive()
        with sqlite3.connect(box.folder / "signalbox.db") as store:
            assert store.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        box.start()
        for name in acknowledged:
            port = int(box.options(name)["PORT"])
            assert port in (acknowledged[name], sent.get(name)), (name, port, acknowledged, sent)
            acknowledged[name] = port
    assert changes_only(box.history("main"))
