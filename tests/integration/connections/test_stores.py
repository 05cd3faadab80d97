"""The stores, each in a process of its own: changes, leadership, a server that goes away, kill -9."""

import itertools
import random
import sqlite3
import time

import pytest

from harness import scratch
from harness.gate import Gate
from harness.stores import (
    PASSWORD,
    ConcurrentChange,
    StoreError,
    StoreProcess,
    empty_database,
    store_url,
)

_numbers = itertools.count(1)


@pytest.fixture(params=["sqlite", "postgresql"])
def process(request, pg):
    """A process with a fresh store of each kind."""
    if request.param == "sqlite":
        opened = StoreProcess(f"sqlite:{scratch()}/store{next(_numbers)}.db")
    else:
        opened = StoreProcess(store_url(pg.port, empty_database(pg)), PASSWORD)
    yield opened
    opened.close()


def known(catalog):
    return {c["name"]: (c["id"], c["generation"], c["overrides"]) for c in catalog["connections"]}


def history(catalog):
    return [(event["id"], event["status"], event["at"]) for event in catalog["history"]]


# A call ends within 5 s, and then some, whatever the store does. Milliseconds.
LONGEST_CALL = 6_500


def seconds_until(condition, timeout, message):
    """How long it took."""
    begin = time.monotonic()
    while not condition():
        assert time.monotonic() - begin < timeout, f"not within {timeout} s: {message}"
        time.sleep(0.05)
    return time.monotonic() - begin


# --- both kinds


def test_a_connection_lives_and_its_history_outlives_it(process):
    assert process.leads()
    first = process.create("main", "one")
    assert (first["id"], first["generation"]) == ("u1", 1)
    second = process.alter(first, "two")
    assert (second["id"], second["generation"]) == ("u1", 2)
    process.create("other")
    assert known(process.load()) == {
        "main": ("u1", 2, {"HOST": "two"}),
        "other": ("u2", 1, {"HOST": "h"}),
    }
    process.append(("u1", "available", 10), ("u1", "failed", 20))
    process.call("drop", before=second, at=30)
    assert list(known(process.load())) == ["other"]
    assert history(process.load()) == [
        ("u1", "available", 10),
        ("u1", "failed", 20),
        ("u1", "deleted", 30),
    ]
    # The name is free, the id is not given again.
    assert process.create("main")["id"] == "u3"
    process.call("truncate", keep=1)
    assert history(process.load()) == [("u1", "deleted", 30)]


def test_versions_and_names_are_compared(process):
    first = process.create("main", "one")
    process.alter(first, "two")
    with pytest.raises(ConcurrentChange):
        process.alter(first, "three")
    with pytest.raises(ConcurrentChange):
        process.call("drop", before=first, at=1)
    with pytest.raises(ConcurrentChange):
        process.create("main")
    assert known(process.load()) == {"main": ("u1", 2, {"HOST": "two"})}
    assert process.load()["history"] == []


def test_a_retried_event_is_written_once(process):
    assert process.leads()
    events = [("u1", "failed", 10), ("u1", "available", 20), ("u1", "failed", 30)]
    process.append(*events)
    process.load()
    process.append(*events)
    process.append(("u1", "failed", 40))
    assert history(process.load()) == events


def test_one_s_own_changes_are_no_news(process):
    process.leads()
    process.load()
    first = process.create("main")
    process.alter(first, "two")
    process.append(("u1", "failed", 10))
    assert not process.waits(1_300)


# --- SQLite


def test_kill_9_loses_nothing_that_was_acknowledged():
    file = f"{scratch()}/store{next(_numbers)}.db"
    chance = random.Random(20240229)
    process = StoreProcess(f"sqlite:{file}")
    process.create("main")
    process.close()
    acknowledged, rounds_with_progress = 1, 0
    for turn in range(30):
        process = StoreProcess(f"sqlite:{file}")
        connection = process.load()["connections"][0]
        # The one that was not acknowledged any more may have been written.
        assert acknowledged <= connection["generation"] <= acknowledged + 1, turn
        before = acknowledged = connection["generation"]
        process.storm(connection)
        end = time.monotonic() + chance.uniform(0, 0.12)
        while time.monotonic() < end:
            acknowledged = int(process.line())
        for line in process.kill().splitlines(keepends=True):
            if line.endswith("\n"):
                acknowledged = int(line)
        rounds_with_progress += acknowledged > before
        process.close()
        if turn % 3 == 0:  # the others leave the recovery to Signalbox
            with sqlite3.connect(file) as checked:
                assert checked.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
            checked.close()
    assert rounds_with_progress >= 15


def test_a_second_process_is_told_that_the_file_is_in_use():
    file = f"{scratch()}/store{next(_numbers)}.db"
    first = StoreProcess(f"sqlite:{file}")
    try:
        with pytest.raises(StoreError, match="in use by another Signalbox"):
            StoreProcess(f"sqlite:{file}")
        first.create("main")
        # Reading is nobody's harm, and does not stand in a successor's way.
        reader = sqlite3.connect(file)
        assert reader.execute("SELECT name FROM connections").fetchall() == [("main",)]
        first.kill()
        second = StoreProcess(f"sqlite:{file}")
        assert list(known(second.load())) == ["main"]
        second.close()
        reader.close()
    finally:
        first.close()


# --- PostgreSQL


def test_others_are_told_of_a_change(shared_store):
    one, two = shared_store.start(), shared_store.start()
    for process in (one, two):
        process.load()
        assert not process.waits(0)
    one.leads()
    one.load()
    made = []
    changes = [
        lambda: made.append(one.create("main")),
        lambda: one.append(("u1", "failed", 10)),
        lambda: one.alter(made[0], "two"),
        lambda: one.append(("u1", "available", 20)),
    ]
    told = 0
    for change in changes:
        two.send("wait", ms=10_000)
        time.sleep(0.3)
        change()
        found = two.receive()
        assert found["changed"]
        told += found["notified"]
        assert two.waits(0), "until it is loaded"
        assert two.load() == one.load()
        assert not two.waits(0)
    # It asks once a second as well, and may do so in the moment of a change.
    assert told >= len(changes) - 1
    assert not one.waits(0)


def test_without_notifications_polling_sees_a_change(shared_store):
    one = shared_store.start()
    one.load()
    one.send("wait", ms=10_000)
    time.sleep(0.3)
    begin = time.monotonic()
    shared_store.server.admin(
        "UPDATE signalbox.store_state SET version = version + 1", database=shared_store.database
    )
    found = one.receive()
    assert (found["changed"], found["notified"]) == (True, False)
    assert time.monotonic() - begin < 1.5


def test_of_concurrent_changes_one_succeeds(shared_store):
    processes = [shared_store.start() for _ in range(4)]
    connection = processes[0].create("main")
    for _ in range(10):
        for i, process in enumerate(processes):
            process.send("alter", before=connection, host=f"h{i}")
        winners = []
        for process in processes:
            try:
                winners.append(process.receive())
            except ConcurrentChange:
                pass
        assert len(winners) == 1
        assert winners[0]["generation"] == connection["generation"] + 1
        connection = winners[0]
    for process in processes:
        assert known(process.load())["main"] == ("u1", 11, connection["overrides"])


def test_of_concurrent_creations_one_succeeds(shared_store):
    processes = [shared_store.start() for _ in range(4)]
    for turn in range(5):
        for process in processes:
            process.send("create", name=f"c{turn}", host="h")
        ids = []
        for process in processes:
            try:
                ids.append(process.receive()["id"])
            except ConcurrentChange:
                pass
        assert ids == [f"u{turn + 1}"]


def test_many_start_at_once_on_an_empty_database(shared_store):
    for _ in range(5):
        empty_database(shared_store.server)
        processes = [shared_store.start(wait=False) for _ in range(6)]
        for process in processes:
            process.receive()
        assert {tuple(known(process.load())) for process in processes} == {()}
        assert [p.create(f"c{i}")["id"] for i, p in enumerate(processes)] == [
            f"u{i + 1}" for i in range(6)
        ]


def test_a_newer_schema_is_refused(shared_store):
    shared_store.start().close()
    shared_store.server.admin(
        "UPDATE signalbox.schema_version SET version = 7", database=shared_store.database
    )
    with pytest.raises(StoreError, match="schema version 7, .* no version after 2"):
        shared_store.start()


def test_a_role_without_the_right_to_make_the_schema_is_told_so(shared_store):
    shared_store.server.admin("CREATE DATABASE foreign_store", database="postgres")
    shared_store.database = "foreign_store"
    with pytest.raises(StoreError, match="permission denied for database"):
        shared_store.start()
    # One that is there will do.
    shared_store.server.admin("CREATE SCHEMA signalbox AUTHORIZATION app", database=shared_store.database)
    assert known(shared_store.start().load()) == {}


def test_a_wrong_password_is_told_and_not_shown(shared_store):
    process = StoreProcess(store_url(shared_store.server.port, shared_store.database), "wrong-Pw-77")
    try:
        with pytest.raises(StoreError, match="password authentication failed") as error:
            process.load()
        assert "wrong-Pw-77" not in str(error.value)
    finally:
        process.close()


def test_exactly_one_leads_and_a_killed_connection_hands_over(shared_store):
    processes = [shared_store.start() for _ in range(3)]
    for process in processes:
        process.load()
    for _ in range(3):
        assert [p.leads() for p in processes].count(True) == 1
        time.sleep(0.4)
    leader = next(p for p in processes if p.leads())
    others = [p for p in processes if p is not leader]
    assert not any(p.waits(0) for p in others)
    assert leader.waits(0), "a new leader has to load first"
    leader.load()
    leader.append(("u1", "failed", 10))
    for other in others:
        with pytest.raises(StoreError, match="does not lead"):
            other.append(("u1", "available", 20))

    (holder,) = shared_store.lock_holders()
    shared_store.server.admin("SELECT pg_terminate_backend(%s)", [holder])
    took = seconds_until(lambda: any(p.leads() for p in others), 5, "another leads")
    assert took < 3
    # The old one has not asked yet: what it writes is refused all the same.
    with pytest.raises(StoreError, match="does not lead"):
        leader.append(("u1", "available", 30))
    assert [p.leads() for p in processes].count(True) == 1
    assert history(processes[0].load()) == [("u1", "failed", 10)]


def test_a_dead_leader_hands_over(shared_store):
    one, two = shared_store.start(), shared_store.start()
    assert one.leads() and not two.leads()
    one.kill()
    assert seconds_until(two.leads, 5, "the other leads") < 3


def test_a_frozen_leader_is_replaced_and_cannot_write_when_it_wakes(shared_store):
    one, two = shared_store.start(), shared_store.start()
    assert one.leads() and not two.leads()
    one.load()
    one.append(("u1", "failed", 10))
    one.stop()
    one.send("append", events=[{"id": "u1", "status": "available", "at": 20}])
    took = seconds_until(two.leads, 15, "the other leads")
    assert 3 < took < 9
    two.load()
    two.append(("u1", "unknown", 30))
    one.resume()
    with pytest.raises(StoreError, match="does not lead"):
        one.receive()
    assert not one.leads()
    assert two.leads()
    assert history(two.load()) == [("u1", "failed", 10), ("u1", "unknown", 30)]


def test_a_leader_that_is_cut_off_steps_down_before_another_leads(shared_store):
    gate = Gate(shared_store.server.port)
    try:
        one, two = shared_store.start(gate.port), shared_store.start()
        assert one.leads() and not two.leads()
        one.load()
        gate.shut()
        begin = time.monotonic()
        down = up = None
        while down is None or up is None:
            assert time.monotonic() - begin < 20
            # Each asks in a process of its own, so that a slow answer of one holds up no other.
            one.send("leader")
            two_leads = two.leads()
            one_leads = one.receive()["leads"]
            assert not (one_leads and two_leads)
            if down is None and not one_leads:
                down = time.monotonic() - begin
            if up is None and two_leads:
                up = time.monotonic() - begin
            time.sleep(0.05)
        assert down < 4 and up < 9
        two.load()
        two.send("wait", ms=9_000)  # a leader that is not asked anything does not last
        with pytest.raises(StoreError):
            one.append(("u1", "failed", 10))
        with pytest.raises(StoreError, match="no answer in time"):
            one.load()
        assert one.milliseconds < LONGEST_CALL
        assert not one.waits(100)
        gate.open()
        two.receive()
        two.append(("u1", "available", 20))
        assert history(one.load()) == [("u1", "available", 20)]
        assert not one.leads()
    finally:
        gate.close()


def test_a_leader_that_only_waits_keeps_its_place(shared_store):
    one, two = shared_store.start(), shared_store.start()
    assert one.leads()
    one.load()
    one.send("wait", ms=7_000)
    begin = time.monotonic()
    while time.monotonic() - begin < 6.5:
        assert not two.leads()
        time.sleep(0.3)
    assert not one.receive()["changed"]
    assert one.leads()
    one.append(("u1", "failed", 10))


def test_a_frozen_writer_does_not_hold_up_the_others(shared_store):
    one, two = shared_store.start(), shared_store.start()
    one.storm(one.create("main"))
    in_transaction = "state = 'idle in transaction' AND backend_xid IS NOT NULL"
    for _ in range(500):
        one.stop()
        time.sleep(0.02)  # what is on its way arrives
        if shared_store.server.backends(in_transaction, shared_store.database):
            break
        one.resume()
        time.sleep(0.005)
    else:
        raise AssertionError("never frozen between two statements of a transaction")
    two.create("other")
    assert 1_000 < two.milliseconds < 4_500
    one.kill()


def test_a_server_that_is_gone_and_comes_back(own_store):
    one, two = own_store.start(), own_store.start()
    assert one.leads()
    connection = one.create("main")
    own_store.server.kill()
    for process in (one, two):
        with pytest.raises(StoreError, match="127.0.0.1"):
            process.load()
        assert process.milliseconds < LONGEST_CALL
        with pytest.raises(StoreError):
            process.alter(connection, "x")
        assert not process.leads()
        assert not process.waits(100)
        assert process.milliseconds < LONGEST_CALL
    started_meanwhile = own_store.start()
    with pytest.raises(StoreError):
        started_meanwhile.load()

    own_store.server.start()
    connection = one.alter(connection, "two")
    for process in (two, started_meanwhile):
        assert seconds_until(lambda p=process: p.waits(200), 5, "there is something to load") < 3
        assert known(process.load())["main"][1] == 2
    everybody = [one, two, started_meanwhile]
    seconds_until(lambda: any([p.leads() for p in everybody]), 5, "somebody leads")
    assert [p.leads() for p in everybody].count(True) == 1


def test_a_restarted_server_fails_no_call(own_store):
    one = own_store.start()
    connection = one.create("main")
    for turn in range(3):
        own_store.server.restart()
        connection = one.alter(connection, f"h{turn}")
    assert known(one.load())["main"][1] == 4


def test_a_frozen_server_is_given_up_within_the_deadline(own_store):
    one = own_store.start()
    assert one.leads()
    connection = one.create("main")
    one.load()
    own_store.server.freeze()
    for call in (one.load, lambda: one.alter(connection, "x")):
        with pytest.raises(StoreError, match="no answer in time"):
            call()
        assert 3_000 < one.milliseconds < LONGEST_CALL
    assert not one.leads()
    assert one.milliseconds < 3_000
    own_store.server.thaw()
    # Whether the change arrived is the store's to say.
    generation = known(one.load())["main"][1]
    assert generation == 1
    assert one.alter(connection, "y")["generation"] == 2
