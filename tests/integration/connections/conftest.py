"""A Signalbox per module with superusers and others, clients of it, connections that go away."""

import itertools

import pytest

from boxes import BOSS, Box, config, create
from harness import free_port
from harness.replies import succeeded
from harness.signalbox import several


# Long, and mostly about one process or about PostgreSQL: left out under a sanitizer.
LONG_LISTS = {
    "test_prober",
    "test_relations_sql",
    "test_shared_store",
    "test_stores",
    "test_target_session_attrs",
}


def pytest_collection_modifyitems(items):
    for item in items:
        if item.path.parent.name == "connections" and item.path.stem in LONG_LISTS:
            item.add_marker(pytest.mark.slow)


@pytest.fixture(scope="module")
def box(pg):
    pg.admin("CREATE TABLE IF NOT EXISTS ledger_of_cuts (id int); ALTER TABLE ledger_of_cuts OWNER TO app")
    changes = {
        "connections": {
            "spare": {"type": "postgres", "host": "127.0.0.1", "port": pg.port, "user": "app"},
            "own_role": {"type": "postgres", "host": "127.0.0.1", "port": pg.port},
            "as_root": {
                "type": "postgres",
                "host": "127.0.0.1",
                "port": pg.port,
                "user": "postgres",
            },
        }
    }
    routes = {
        "own_role": {"connection": "own_role", "pool_mode": "transaction"},
        "as_root": {"connection": "as_root", "pool_mode": "transaction"},
        # Only the catalog has this one, once a test has made it.
        "later": {"connection": "later", "pool_mode": "transaction"},
    }
    with Box(config(pg, changes, routes=routes)) as process:
        yield process


@pytest.fixture
def start_box():
    """Starts further ones: start_box(config, **Signalbox's arguments). All must end cleanly."""
    with several(Box) as start:
        yield start


@pytest.fixture
def clients(box):
    """clients(route, user) gives a logged-in RawClient, closed at the end of the test."""
    opened = []

    def connect(route="transaction", user=BOSS, **startup):
        opened.append(box.raw(route, user, **startup))
        return opened[-1]

    yield connect
    for client in opened:
        client.terminate()


@pytest.fixture
def client(clients):
    return clients()


_numbers = itertools.count(1)


@pytest.fixture
def new_name(box):
    """new_name() gives the name of no connection yet; what has it at the end is dropped."""
    given = []

    def name():
        given.append(f"c{next(_numbers)}")
        return given[-1]

    yield name
    if given:
        with box.connect() as boss:
            for sql in [f"DROP CONNECTION IF EXISTS {name}" for name in given]:
                boss.execute(sql)


@pytest.fixture
def make(new_name, client, pg):
    """make(options, port) creates a connection, not validated, that belongs to BOSS."""

    def one(options="", port=None):
        name = new_name()
        succeeded(client.query(create(name, port or pg.port, options)), "CREATE CONNECTION")
        return name

    return one


@pytest.fixture
def closed_port():
    """Where nobody listens."""
    return free_port()
