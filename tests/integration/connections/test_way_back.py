"""SQL has led a connection nowhere and nobody can log in through it: the ways docs/connections.md
gives."""

import re
import sqlite3

import pytest

from boxes import UNCHECKED, Box, config, create, to
from harness import free_port
from harness.raw_client import ServerError
from harness.signalbox import REPOSITORY

MANUAL = (REPOSITORY / "docs/connections.md").read_text()
(STATEMENT,) = re.findall(r"^sqlite3 signalbox\.db \"(UPDATE .*)\"$", MANUAL, re.M)


def locked_out(server, **changes):
    """One whose connection `main` leads to a dead port, after a restart. Route `aside` works."""
    changes["connections"] = {"spare": to(server)}
    routes = {"aside": {"connection": "spare", "pool_mode": "transaction"}}
    box = Box(config(server, changes, routes=routes, route={"hold_timeout": "500ms"}))
    box.run(f"ALTER CONNECTION main SET (PORT = {free_port()}) {UNCHECKED}")
    box.restart()
    with pytest.raises(ServerError) as failed:
        box.raw("transaction")
    assert failed.value.code == "57P03"
    return box


def test_through_another_route(pg):
    with locked_out(pg) as box:
        box.run("ALTER CONNECTION main RESET (HOST, PORT)", route="aside")
        assert box.run("SELECT 1") == [(1,)]


def test_in_the_store(pg):
    """What else is in the store stays."""
    with locked_out(pg) as box:
        box.run(create("kept", pg.port), route="aside")
        box.stop()
        with sqlite3.connect(box.folder / "signalbox.db") as store:
            assert store.execute(STATEMENT).rowcount == 1
        store.close()
        box.start()
        assert box.run("SELECT 1") == [(1,)]
        assert box.options("main")["PORT"] == str(pg.port)
        assert box.facts("kept")


def test_in_a_store_on_postgresql(pg, store_for_one):
    with locked_out(pg, catalog=store_for_one) as box:
        box.stop()
        sql = STATEMENT.replace("UPDATE connections", "UPDATE signalbox.connections")
        pg.admin(sql, database="way_back")
        box.start()
        assert box.run("SELECT 1") == [(1,)]


@pytest.fixture
def store_for_one(pg):
    pg.admin("CREATE DATABASE way_back OWNER app", database="postgres")
    yield {
        "url": f"postgresql://app@127.0.0.1:{pg.port}/way_back",
        "password": "app",
        "ssl_mode": "disable",
    }
    pg.admin("DROP DATABASE way_back WITH (FORCE)", database="postgres")
