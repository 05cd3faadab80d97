"""One Signalbox for the folder, with small pools, so that sessions have to share."""

import pytest

from harness import Signalbox
from harness.signalbox import standard_config

ROUTES = {
    "one": {"pool_size": 1},
    "two": {"pool_size": 2},
    "cache": {"pool_size": 1, "max_prepared_statements": 2},
    "refuse": {"pool_size": 2, "session_state": "refuse"},
    "session_one": {"pool_mode": "session", "pool_size": 1},
    "statement_one": {"pool_mode": "statement", "pool_size": 1},
    # As superuser: some state only a superuser can make.
    "root_two": {"connection": "root", "pool_size": 2},
    "root_refuse": {"connection": "root", "pool_size": 2, "session_state": "refuse"},
}

SCHEMA = """
CREATE TABLE IF NOT EXISTS things (id int, note text);
ALTER TABLE things OWNER TO app;
CREATE OR REPLACE FUNCTION hidden_set() RETURNS void LANGUAGE plpgsql AS
    $$ BEGIN PERFORM set_config('work_mem', '77MB', false); END $$;
CREATE OR REPLACE FUNCTION hidden_custom() RETURNS void LANGUAGE plpgsql AS
    $$ BEGIN EXECUTE 'SET app.hidden = ''seen'''; END $$;
CREATE OR REPLACE FUNCTION hidden_role() RETURNS void LANGUAGE plpgsql AS
    $$ BEGIN EXECUTE 'SET ROLE other'; END $$;
CREATE OR REPLACE FUNCTION hidden_lock() RETURNS void LANGUAGE plpgsql AS
    $$ BEGIN PERFORM pg_advisory_lock(616161); END $$;
CREATE OR REPLACE FUNCTION hidden_table() RETURNS void LANGUAGE plpgsql AS
    $$ BEGIN EXECUTE 'CREATE TEMP TABLE hidden_table_made (id int)'; END $$;
CREATE OR REPLACE FUNCTION hidden_prepare() RETURNS void LANGUAGE plpgsql AS
    $$ BEGIN EXECUTE 'PREPARE hidden_statement AS SELECT 1'; END $$;
"""


@pytest.fixture(scope="session")
def box(pg):
    # Over the standard settings: a wait that should not be is an error soon, not after two minutes.
    routes = {
        name: {"pool_mode": "transaction", "query_wait_timeout": "5s", **own}
        for name, own in ROUTES.items()
    }
    pg.admin(SCHEMA)
    # Some of what pins is for superusers.
    routes["root_one"] = {**routes["one"], "connection": "root"}
    root = {"host": "127.0.0.1", "port": pg.port, "user": "postgres", "ssl_mode": "disable"}
    tables = standard_config(pg, {"connections": {"root": root}}, routes=routes)
    with Signalbox(tables) as process:
        yield process


@pytest.fixture
def clients(box):
    """clients(route, **startup) gives a logged-in RawClient, closed at the end of the test."""
    opened = []

    def connect(database, **startup):
        opened.append(box.raw(database, **startup))
        return opened[-1]

    yield connect
    for client in opened:
        client.terminate()


@pytest.fixture
def elsewhere(clients):
    """elsewhere(client, route) makes the client's next statement run on another server connection.

    The route must have pool_size = 2. Two others take both connections; the one that the client had
    last is given back only behind its next transaction.
    """

    def move(client, route="two"):
        here = client.value("SELECT pg_backend_pid()")
        blockers = [clients(route), clients(route)]
        for blocker in blockers:
            blocker.query("BEGIN")
        held = {b.value("SELECT pg_backend_pid()"): b for b in blockers}
        assert len(held) == 2 and here in held
        for pid, blocker in held.items():
            if pid != here:
                blocker.terminate()
        now = client.value("SELECT pg_backend_pid()")
        assert now != here
        # Until the test ends the old one stays taken, so the client cannot drift back.
        return now

    return move
