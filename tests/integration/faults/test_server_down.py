"""PostgreSQL is killed, restarted, frozen: statements are held, and nothing is ever sent twice."""

import threading
import time

import pytest

from harness import ConnectionClosed, RawClient, eventually
from harness.messages import (
    bind,
    copy_data,
    copy_done,
    error_fields,
    execute,
    parse,
    password,
    query,
    startup,
    sync,
)
from harness.postgres import ROLES
from harness.processes import cpu_seconds
from harness.raw_client import Scram, ServerError, first_error, notices
from harness.signalbox import standard_config

LOST = {"08006", "57P01"}  # the connection broke; or the server said goodbye first


@pytest.fixture
def box(victim, start_box):
    return start_box(
        standard_config(victim, route={"hold_timeout": "20s", "connect_timeout": "2s"})
    )


def lost(found):
    """The statement failed once, plainly, and the session is idle."""
    assert [kind for kind, _ in found].count(b"E") == 1, found
    fields = first_error(found)
    assert fields["C"] in LOST and fields["V"] == "ERROR", fields
    assert found[-1] == (b"Z", b"I"), found
    return fields


def when_running(victim, text):
    """Waits until the statement with this text runs on the server."""
    eventually(
        lambda: victim.admin(
            "SELECT 1 FROM pg_stat_activity WHERE state = 'active' AND query LIKE %s "
            "AND pid <> pg_backend_pid()",
            [f"%{text}%"],
            database="postgres",
        ),
        f"{text} runs",
    )


@pytest.mark.parametrize("way", ["kill", "stop"])
def test_lost_while_idle_is_not_noticed(victim, box, way):
    clients = [box.raw("transaction") for _ in range(3)]
    for client in clients:
        client.query("SET work_mem = '9MB'")
    getattr(victim, way)()
    victim.start()
    for client in clients:
        found = client.query("SHOW work_mem")
        assert found[1] == (b"D", b"\0\1\0\0\0\x039MB"), found


@pytest.mark.parametrize("way", ["kill", "stop"])
def test_lost_inside_a_query(victim, box, way):
    client = box.raw("transaction")
    client.send(query("SELECT pg_sleep(30), 'lost in query'"))
    when_running(victim, "lost in query")
    getattr(victim, way)()
    found = client.read_until(b"Z")
    lost([m for m in found if m[0] != b"T"])
    victim.start()
    assert client.value("SELECT 1") == "1"


@pytest.mark.parametrize("way", ["kill", "stop"])
def test_lost_inside_a_transaction(victim, box, way):
    client = box.raw("transaction")
    client.query("BEGIN")
    client.query("INSERT INTO marks (note) VALUES ('gone')")
    getattr(victim, way)()
    victim.start()
    # The error belongs to the next request: the protocol has no place for it before.
    client.expect_silence(0.1)
    told = lost(client.query("SELECT 1"))
    assert "The transaction was rolled back" in told["H"] and "outside of it" in told["H"]
    assert client.value("SELECT count(*) FROM marks") == "0"


def test_lost_inside_a_pipeline(victim, box):
    client = box.raw("transaction")
    pipeline = b"".join(
        parse(sql) + bind() + execute()
        for sql in (
            "INSERT INTO marks (note) VALUES ('gone')",
            "SELECT pg_sleep(30), 'lost in pipeline'",
            "INSERT INTO marks (note) VALUES ('gone too')",
        )
    )
    client.send(pipeline + sync() + parse("SELECT 'behind'") + bind() + execute() + sync())
    when_running(victim, "lost in pipeline")
    victim.kill()
    first = client.read_until(b"Z")
    assert first_error(first)["C"] in LOST and first[-1] == (b"Z", b"I")
    victim.start()
    second = client.read_until(b"Z")
    # The second batch was in flight as well: it is answered once, by its result or by an error.
    kinds = [kind for kind, _ in second]
    assert kinds in ([b"1", b"2", b"D", b"C", b"Z"], [b"E", b"Z"]), second
    assert client.value("SELECT count(*) FROM marks") == "0"


def test_lost_inside_a_copy(victim, box):
    client = box.raw("transaction")
    client.send(query("COPY marks (note) FROM STDIN"))
    assert client.read_message()[0] == b"G"
    client.send(copy_data(b"one\n"))
    victim.kill()
    for _ in range(5):
        client.send(copy_data(b"more\n" * 100))
    client.send(copy_done())
    lost(client.read_until(b"Z"))
    victim.start()
    assert client.value("SELECT count(*) FROM marks") == "0"


def test_session_mode_survives_for_new_sessions(victim, box):
    """An old session may move or be told; a new one must work."""
    old = box.raw("session")
    old.query("SELECT 1")
    victim.kill()
    victim.start()
    try:
        found = old.query("SELECT 1")
        assert found[-1] == (b"Z", b"I")
    except (ConnectionClosed, OSError):
        pass
    assert box.raw("session").value("SELECT 1") == "1"


def test_statements_are_held_until_the_server_is_back(victim, box):
    simple, extended, block, newcomer = (box.raw("transaction") for _ in range(4))
    newcomer.terminate()
    extended.send(parse("SELECT $1::int + 1", "s") + sync())
    extended.read_until(b"Z")
    victim.stop()
    simple.send(query("SELECT 'held'"))
    extended.send(bind([41], statement="s") + execute() + sync())
    block.send(query("BEGIN"))
    late = RawClient("127.0.0.1", box.port).login("app", "transaction", ROLES["app"])
    late.send(query("SELECT 'late'"))
    for client in (simple, extended, block, late):
        client.expect_silence(0.15)
    victim.start()
    assert (b"D", b"\0\1\0\0\0\x04held") in simple.read_until(b"Z")
    assert (b"D", b"\0\1\0\0\0\x0242") in extended.read_until(b"Z")
    assert (b"D", b"\0\1\0\0\0\x04late") in late.read_until(b"Z")
    assert block.read_until(b"Z")[-1] == (b"Z", b"T")
    block.query("INSERT INTO marks (note) VALUES ('kept')")
    block.query("COMMIT")
    assert simple.value("SELECT count(*) FROM marks") == "1"


def test_holding_ends(victim, start_box):
    """A NOTICE after 5 s; ERROR 57P03 for a statement and FATAL for a login after hold_timeout."""
    config = standard_config(victim, route={"hold_timeout": "6s", "connect_timeout": "1s"})
    seen = start_box(config)
    client = seen.raw("transaction")
    client.value("SELECT 1")
    victim.stop()
    unseen = start_box(config)  # ready although its only server is down
    outcomes = {}

    def log_in():
        try:
            RawClient("127.0.0.1", unseen.port, timeout=15).login(
                "app", "transaction", ROLES["app"]
            )
        except ServerError as error:
            outcomes["login"] = error.fields

    waiting = threading.Thread(target=log_in)
    waiting.start()
    started = time.monotonic()
    client.send(query("SELECT 'never'"))
    found = client.read_until(b"Z", timeout=15)
    took = time.monotonic() - started
    waiting.join(15)
    assert 5 <= took < 9, took
    fields = first_error(found)
    assert (fields["V"], fields["C"]) == ("ERROR", "57P03"), fields
    assert fields.get("D"), "the DETAIL with the connection's last status is missing"
    assert [(n["S"], n["C"]) for n in notices(found)] == [("NOTICE", "00000")], found
    assert found[-1] == (b"Z", b"I")
    assert (outcomes["login"]["V"], outcomes["login"]["C"]) == ("FATAL", "57P03"), outcomes
    victim.start()
    assert client.value("SELECT 'alive'") == "alive"
    assert unseen.raw("transaction").value("SELECT 1") == "1"


def test_a_held_client_that_leaves_is_forgotten(victim, box):
    client = box.raw("transaction")
    client.value("SELECT 1")
    victim.stop()
    client.send(query("INSERT INTO marks (note) VALUES ('from the dead')"))
    time.sleep(0.1)  # so that it is held, not in a buffer
    client.abort()
    other = box.raw("transaction")
    other.send(query("SELECT 1"))
    victim.start()
    other.read_until(b"Z")
    assert victim.admin("SELECT count(*) FROM marks") == [(0,)]


def test_a_login_storm_against_a_dead_server(victim, box):
    """Hundreds wait without a hot loop, and all are served when the server is back."""
    warm = box.raw("transaction")
    warm.value("SELECT 1")
    victim.stop()
    before = cpu_seconds(box.pid)
    storm = [RawClient("127.0.0.1", box.port, timeout=30) for _ in range(200)]
    for client in storm:
        client.login("app", "transaction", ROLES["app"])
        client.send(query("SELECT 'served'"))
    settled = cpu_seconds(box.pid)
    time.sleep(1.0)  # the time over which processor use is measured
    assert cpu_seconds(box.pid) - settled < 0.3
    assert settled - before < 10
    victim.start()
    for client in storm:
        assert (b"D", b"\0\1\0\0\0\x06served") in client.read_until(b"Z", timeout=30)
        client.terminate()


def test_a_login_storm_before_the_server_was_seen(victim, start_box):
    """Nothing is known of the server yet: the logins themselves wait, and none is lost."""
    victim.stop()
    box = start_box(standard_config(victim, route={"hold_timeout": "20s", "connect_timeout": "2s"}))
    storm = [RawClient("127.0.0.1", box.port, timeout=30) for _ in range(200)]
    for client in storm:
        client.send(startup("app", "transaction"))
    proofs = []
    for client in storm:
        scram = Scram(ROLES["app"])
        first = scram.first()
        assert client.read_message()[0] == b"R"
        size = len(first).to_bytes(4, "big")
        client.send(password(b"SCRAM-SHA-256\0" + size + first))
        proofs.append(scram)
    for client, scram in zip(storm, proofs):
        client.send(password(scram.final(client.read_message()[1][4:])))
    settled = cpu_seconds(box.pid)
    time.sleep(1.0)  # the time over which processor use is measured
    assert cpu_seconds(box.pid) - settled < 0.3
    victim.start()
    for client in storm:
        found = client.read_until(b"Z", timeout=30)
        assert [kind for kind, _ in found][:2] == [b"R", b"R"] and found[-1] == (b"Z", b"I"), found
        assert client.value("SELECT 'served'", timeout=30) == "served"
        client.terminate()


def test_frozen_while_idle(victim, box):
    client = box.raw("transaction")
    client.value("SELECT 1")
    victim.freeze()
    client.send(query("SELECT 'thawed'"))
    client.expect_silence()
    late = box.raw("transaction")  # what the server reports is remembered
    late.send(query("SELECT 'late'"))
    late.expect_silence(0.1)
    victim.thaw()
    assert (b"D", b"\0\1\0\0\0\x06thawed") in client.read_until(b"Z")
    assert (b"D", b"\0\1\0\0\0\x04late") in late.read_until(b"Z", timeout=20)


def test_frozen_inside_a_transaction(victim, box):
    client = box.raw("transaction")
    client.query("BEGIN")
    client.query("INSERT INTO marks (note) VALUES ('cold')")
    victim.freeze()
    client.send(query("COMMIT"))
    client.expect_silence()
    victim.thaw()
    assert client.read_until(b"Z")[-1] == (b"Z", b"I")
    assert client.value("SELECT count(*) FROM marks") == "1"


def test_frozen_inside_a_query_with_a_timeout(victim, start_box):
    """The cancel goes nowhere either; the client must get its error all the same."""
    box = start_box(standard_config(victim, route={"query_timeout": "1s", "connect_timeout": "1s"}))
    client = box.raw("transaction")
    client.value("SELECT 1")
    victim.freeze()
    started = time.monotonic()
    client.send(query("SELECT 1"))
    try:
        fields = first_error(client.read_until(b"Z", timeout=20))
        assert fields["C"] in {"57014", "08006"}, fields
    except ConnectionClosed:
        raise AssertionError("a query timeout must not end the session") from None
    assert time.monotonic() - started < 15
    victim.thaw()
    # Its own time counts from its own beginning: half a second is inside the limit.
    assert client.value("SELECT 'again' FROM pg_sleep(0.5)", timeout=20) == "again"


def test_frozen_and_the_client_leaves(victim, box):
    client = box.raw("transaction")
    client.query("BEGIN")
    client.query("LOCK TABLE marks")
    victim.freeze()
    client.abort()
    victim.thaw()
    assert box.raw("transaction").value("SELECT count(*) FROM marks") == "0"


def test_restart_under_load(victim, box):
    """Every statement is answered; an INSERT that was reported done is there, none is doubled."""
    done, failed, stop = [], [], threading.Event()

    def work(number):
        client = box.raw("transaction", timeout=30)
        count = 0
        while not stop.is_set():
            count += 1
            note = f"{number}-{count}"
            found = client.query(f"INSERT INTO marks (note) VALUES ('{note}')")
            assert found[-1] == (b"Z", b"I")
            errors = [error_fields(b)["C"] for k, b in found if k == b"E"]
            (failed if errors else done).append(note)
        client.terminate()

    threads = [threading.Thread(target=work, args=(n,)) for n in range(6)]
    for thread in threads:
        thread.start()
    for _ in range(3):
        reached = len(done) + 50
        eventually(lambda: len(done) >= reached, "work goes on", 20)  # noqa: B023
        victim.restart()
    reached = len(done) + 50
    eventually(lambda: len(done) >= reached, "work goes on after the last restart", 20)
    stop.set()
    for thread in threads:
        thread.join(30)
        assert not thread.is_alive()
    notes = [row[0] for row in victim.admin("SELECT note FROM marks")]
    assert len(notes) == len(set(notes)), "a statement was sent twice"
    assert set(done) <= set(notes)
