"""What the PostgreSQL store keeps of notices: several processes, each with the store of its own."""

import time

import pytest

from harness import eventually
from harness.stores import Refused

# What the first version of the program made.
FIRST_SCHEMA = """
CREATE SCHEMA signalbox;
SET search_path = signalbox;
CREATE TABLE store_state (
  only_row bigint NOT NULL PRIMARY KEY CHECK (only_row = 1),
  version bigint NOT NULL,
  last_connection bigint NOT NULL,
  leader_epoch bigint NOT NULL);
INSERT INTO store_state VALUES (1, 41, 3, 0);
CREATE TABLE connections (
  id text NOT NULL PRIMARY KEY,
  number bigint NOT NULL UNIQUE,
  name text NOT NULL UNIQUE,
  type text NOT NULL,
  is_from_file bigint NOT NULL,
  owner text NOT NULL,
  overrides text NOT NULL,
  generation bigint NOT NULL,
  created_at bigint NOT NULL,
  altered_at bigint NOT NULL);
INSERT INTO connections VALUES ('u3', 3, 'main', 'postgres', 0, 'me', '{}', 5, 1, 2);
CREATE TABLE connection_status_history (
  number bigint NOT NULL PRIMARY KEY,
  connection_id text NOT NULL,
  status text NOT NULL,
  error text,
  occurred_at bigint NOT NULL);
CREATE INDEX connection_status_history_by_connection
  ON connection_status_history (connection_id, number);
CREATE TABLE schema_version (version bigint NOT NULL);
INSERT INTO schema_version VALUES (1);
"""


def refused(kind, call, *arguments, **options):
    with pytest.raises(Refused) as error:
        call(*arguments, **options)
    assert error.value.kind == kind, error.value


# --- the store


def test_an_older_schema_is_brought_up_to_date(shared_store):
    with shared_store.connect() as client:
        client.execute(FIRST_SCHEMA)
    first = shared_store.start()
    # By two at once: the second finds it done.
    second = shared_store.start()
    for process in (first, second):
        assert [c["name"] for c in process.load()["connections"]] == ["main"]
    assert first.put_notices(0, "a") == 1
    assert second.load_notices() == {
        "whole": True,
        "notices": ["a"],
        "texts": ["words"],
        "removed": [],
        "version": 1,
    }
    with shared_store.connect() as client:
        assert client.execute("SELECT version FROM signalbox.schema_version").fetchall() == [(2,)]


def test_a_change_needs_the_newest_version(shared_store):
    first, second = shared_store.start(), shared_store.start()
    assert first.put_notices(0, "a", "b") == 1
    refused("concurrent", second.put_notices, 0, "c")
    assert second.put_notices(1, "b", remove=["a"], text="other words") == 2
    refused("concurrent", first.put_notices, 1, remove=["b"])
    assert first.load_notices(1)["removed"] == ["a"]
    assert first.load_notices(1)["texts"] == ["other words"]
    assert first.load_notices(2) == {
        "whole": False,
        "notices": [],
        "texts": [],
        "removed": [],
        "version": 2,
    }
    assert first.load_notices()["notices"] == ["b"]
    assert first.load()["version"] == 0


def test_others_hear_of_it(shared_store):
    first, second, third = shared_store.start(), shared_store.start(), shared_store.start()
    for process in (first, second, third):
        process.load()
    second.load_notices()
    first.put_notices(0, "a")
    started = time.monotonic()
    assert second.news(5000) == (True, False, True)
    print(f"heard of within {(time.monotonic() - started) * 1000:.0f} ms")
    assert second.load_notices(0)["notices"] == ["a"]
    assert second.news(1500) == (False, False, False)
    # Who has never asked for notices is not woken for them, nor who made the change.
    assert third.news(1500) == (False, False, False)
    first.load_notices()
    assert first.news(1500) == (False, False, False)
    first.call("create", name="main", host="h")
    assert second.news(5000) == (True, True, False)
    second.put_notices(1, "b")
    assert first.news(5000) == (True, False, True)


def test_a_change_is_whole_or_not_at_all(shared_store):
    watcher = shared_store.start()
    many = [f"n{i}" for i in range(3000)]
    sizes = set()
    for delay in (0.02, 0.05, 0.08, 0.12, 0.2, 0.3):
        writer = shared_store.start()
        before = watcher.load_notices()
        writer.send(
            "put_notices",
            put=[] if before["notices"] else many,
            remove=before["notices"],
            text="x" * 200,
            seen=before["version"],
        )
        time.sleep(delay)
        writer.kill()
        eventually(lambda: lock_free(shared_store), "the killed one's transaction has ended", 10)
        after = watcher.load_notices()
        sizes.add(len(after["notices"]))
        changed = len(after["notices"]) != len(before["notices"])
        assert (after["version"] != before["version"]) == changed
    assert sizes <= {0, 3000}


def lock_free(shared_store):
    return not shared_store.server.admin(
        "SELECT 1 FROM pg_stat_activity WHERE datname = %s AND state <> 'idle'"
        " AND pid <> pg_backend_pid()",
        [shared_store.database],
        database="postgres",
    )


# --- catalogs of notices on it


def test_two_catalogs_agree(shared_store):
    first, second = shared_store.start(), shared_store.start()
    first.known_notices(), second.known_notices()
    first.call("found", oid=10, name="v", count=2)
    # The second has not loaded it yet, and knows what to do with it all the same.
    fingerprint = sorted(first.known_notices())[0]
    second.call("set_status", fingerprint=fingerprint, status="ignored")
    second.call("found", oid=11, name="w", count=1)
    assert first.known_notices() == second.known_notices()
    assert first.known_notices()[fingerprint]["status"] == "ignored"
    first.call("found", oid=12, name="x", count=1)
    second.call("removed", oid=12)
    first.call("removed", oid=10)
    assert [n["oid"] for n in second.known_notices().values()] == [11]
    third = shared_store.start()
    assert third.known_notices() == second.known_notices()
    # It comes back, and is ignored still.
    third.call("found", oid=20, name="v", count=2)
    assert third.known_notices()[fingerprint]["status"] == "ignored"
    assert third.known_notices()[fingerprint]["object_id"] == "o4"
    refused("42704", first.call, "set_status", fingerprint="0" * 32, status="new")


def test_only_one_writes(shared_store):
    """The same said by all is written once."""
    processes = [shared_store.start() for _ in range(3)]
    for process in processes:
        process.send("found", oid=10, name="v", count=50)
    for process in processes:
        process.receive()
    assert [p.call("notices")["version"] for p in processes] == [1, 1, 1]
    assert len(processes[0].known_notices()) == 50


def test_many_at_the_same_time(shared_store):
    processes = [shared_store.start() for _ in range(3)]
    for number, process in enumerate(processes):
        for step in range(20):
            oid = 100 * (number + 1) + step
            process.send("found", oid=oid, name=f"v{oid}", count=2)
    for process in processes:
        for _ in range(20):
            process.receive()
    known = [process.known_notices() for process in processes]
    assert known[0] == known[1] == known[2]
    assert len(known[0]) == 120
    ids = {(n["oid"], n["object_id"]) for n in known[0].values()}
    assert len(ids) == len({oid for oid, _ in ids}) == len({of for _, of in ids}) == 60


def test_ten_thousand(shared_store):
    first, second = shared_store.start(), shared_store.start()
    first.call("found", oid=10, name="v", count=10_000)
    written = first.milliseconds
    second.load_notices()
    loaded = second.milliseconds
    assert len(second.known_notices()) == 10_000
    first.call("found", oid=11, name="w", count=1)
    more = second.load_notices(1)
    print(f"written in {written} ms, loaded in {loaded} ms, one more in {second.milliseconds} ms")
    # What is new, and no more than that.
    assert (more["whole"], len(more["notices"]), more["removed"]) == (False, 1, [])


def test_the_store_goes_away_and_comes_back(own_store):
    first, second = own_store.start(), own_store.start()
    first.call("found", oid=10, name="v", count=1)
    second.known_notices()
    own_store.server.stop()
    refused("store", first.call, "found", oid=11, name="w", count=1)
    refused("58000", second.call, "set_status", fingerprint="0" * 32, status="new")
    assert second.news(100) == (False, False, False)
    own_store.server.start()
    first.call("found", oid=11, name="w", count=1)
    assert len(second.known_notices()) == 2
