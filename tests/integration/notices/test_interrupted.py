"""An examination that fails halfway is made once more: nothing of it counts as known. Neither does
what the store has not taken."""

import contextlib
import sqlite3

import pytest

from harness import eventually
from watching import NOTICES, Told, config

WAITING = "SELECT pid FROM pg_stat_activity WHERE wait_event_type = 'Lock'"


@pytest.fixture
def noted(server):
    """A schema on the server; what is made there this way is made behind Signalbox's back."""
    server.admin("CREATE SCHEMA noted AUTHORIZATION app")
    server.admin("CREATE TABLE noted.rows (id int, note text)")
    yield
    server.admin("DROP SCHEMA noted CASCADE")


def make_view(server, name):
    """One with a notice."""
    server.admin(f"CREATE VIEW noted.{name} AS SELECT id FROM noted.rows WHERE note = NULL")


@contextlib.contextmanager
def locked(server, name):
    """The view is locked meanwhile, and it alone, as by an ALTER VIEW in an open transaction."""
    with server.admin_connection() as holder, holder.transaction(force_rollback=True):
        holder.execute(f"ALTER VIEW noted.{name} RENAME TO other")
        yield


def waiting(server, but=None):
    """The server process of an examination that waits for a lock."""
    return eventually(
        lambda: [pid for (pid,) in server.admin(WAITING) if pid != but],
        "an examination waits for the lock",
    )[0]


def noticed(told):
    sql = f"SELECT o.name FROM {NOTICES} n JOIN mz_catalog.mz_objects o ON o.id = n.object_id"
    return {name for (name,) in told.run(sql)}


@pytest.fixture
def settled(server, noted, start_box):
    """A Signalbox that knows the database, with the view `first` in it; and a client."""
    make_view(server, "first")
    box = start_box(config(server))
    told = Told(box)
    eventually(lambda: noticed(told) == {"first"}, "the start's examination is over")
    return box, told


def test_a_lost_connection(server, settled):
    """The second try, on a new one, has the same to do."""
    _, told = settled
    make_view(server, "second")
    with locked(server, "second"):
        told.run("CREATE TABLE noted.any (id int)")
        first = waiting(server)
        server.admin(f"SELECT pg_terminate_backend({first})")
        waiting(server, but=first)
    eventually(lambda: noticed(told) == {"first", "second"}, "the second view is examined")


def test_a_failed_query(server, settled):
    """The next DDL's examination has it to do as well; and what is gone is not forgotten either."""
    box, told = settled
    make_view(server, "second")
    server.admin("DROP VIEW noted.first")
    since = len(box.log_text())
    with locked(server, "second"):
        told.run("CREATE TABLE noted.any (id int)")
        server.admin(f"SELECT pg_cancel_backend({waiting(server)})")
        box.wait_log("an examination for notices has failed", since=since)
    assert noticed(told) == {"first"}
    told.run("CREATE TABLE noted.another (id int)")
    eventually(lambda: noticed(told) == {"second"}, "all that has changed is known")


def test_at_the_start(server, noted, start_box):
    """The first examination is of everything, when it succeeds."""
    make_view(server, "first")
    make_view(server, "second")
    with locked(server, "second"):
        box = start_box(config(server))
        server.admin(f"SELECT pg_cancel_backend({waiting(server)})")
        box.wait_log("an examination for notices has failed")
    told = Told(box)
    assert noticed(told) == set()
    told.run("CREATE TABLE noted.any (id int)")
    eventually(lambda: noticed(told) == {"first", "second"}, "both views are examined")


def test_the_store_takes_nothing(server, settled):
    """Another process writes in its file for long; then all is kept, without another DDL."""
    box, told = settled
    with contextlib.closing(sqlite3.connect(box.folder / "signalbox.db", isolation_level=None)) as db:
        db.execute("BEGIN IMMEDIATE")
        make_view(server, "second")
        server.admin("DROP VIEW noted.first")
        told.run("CREATE TABLE noted.any (id int)")
        box.wait_log("notices cannot be stored.*held by another process")
        db.execute("ROLLBACK")
    eventually(lambda: noticed(told) == {"second"}, "what was found is kept")
