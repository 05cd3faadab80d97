"""One Signalbox for the folder, raw clients of it and of PostgreSQL, a table, a gate."""

import pytest

from harness import RawClient, Signalbox, eventually
from harness.postgres import ROLES
from policies import SCHEMA, config


# Long lists of cases that walk the same paths: the sanitizer builds leave them out.
LONG_LISTS = {
    "test_batch_differential",
    "test_batches_of_clients",
    "test_hidden_paths",
    "test_hidden_state",
    "test_random_batches",
    "test_rpc_names",
}


def pytest_collection_modifyitems(items):
    for item in items:
        if item.path.stem in LONG_LISTS:
            item.add_marker(pytest.mark.slow)


@pytest.fixture(scope="session")
def schema(pg):
    pg.admin(SCHEMA)
    return pg


@pytest.fixture(scope="session")
def box(schema):
    with Signalbox(config(schema)) as process:
        yield process


@pytest.fixture
def clients(pg, box, schema):
    """clients(route, **startup) gives a logged-in RawClient, closed at the end of the test."""
    opened = []

    def connect(route, **startup):
        if route == "direct":
            opened.append(RawClient("127.0.0.1", pg.port))
            opened[-1].login("app", "app", ROLES["app"], **startup)
        else:
            opened.append(box.raw(route, **startup))
        return opened[-1]

    yield connect
    for client in opened:
        client.terminate()


@pytest.fixture(scope="session")
def admin(schema):
    with schema.admin_connection() as connection:
        connection.execute("SET lock_timeout = '5s'")
        yield connection


@pytest.fixture
def ledger(admin):
    """An empty table `ledger`; ledger() gives the ids in it."""
    admin.execute("DELETE FROM ledger; DELETE FROM marks; DELETE FROM child; DELETE FROM parent")
    return lambda: [row[0] for row in admin.execute("SELECT id FROM ledger ORDER BY id")]


class Gate:
    """A row that is locked until open(): a statement WAIT stops at it."""

    WAIT = "SELECT id FROM public.gate FOR UPDATE"

    def __init__(self, pg):
        self._pg = pg
        self._holder = pg.admin_connection()
        self._holder.execute("BEGIN")
        self._holder.execute(self.WAIT)

    def reached(self):
        """Waits until somebody waits; gives the pid of the server process."""
        return eventually(self.waiting, "somebody waits at the gate")[0][0]

    def waiting(self):
        return self._pg.admin(
            "SELECT pid FROM pg_stat_activity WHERE wait_event_type = 'Lock' "
            "AND query LIKE '%FROM public.gate%' AND pid <> pg_backend_pid()"
        )

    def open(self):
        self._holder.close()


@pytest.fixture
def gate(pg, schema):
    closed = Gate(pg)
    yield closed
    closed.open()
