"""A server of each version that Debian does not have, and a Signalbox in front of it.

Of 15 all other tests speak. The servers come from scripts/fetch_servers; without them these tests
are skipped, which says that nothing is known about those versions.
"""

import pytest

from harness import Signalbox
from harness.gate import Gate
from harness.postgres import ROLES, VERSIONS, installed
from harness.signalbox import connection_to, standard_config


def pytest_collection_modifyitems(items):
    """They are about servers, which a sanitizer of Signalbox's sees nothing of."""
    for item in items:
        if item.path.parent.name == "versions":
            item.add_marker(pytest.mark.slow)


OTHERS = [version for version in VERSIONS if version != 15]

SCHEMA = """
CREATE TABLE things (id int PRIMARY KEY, note text);
ALTER TABLE things OWNER TO app;
CREATE FUNCTION hidden_set() RETURNS int LANGUAGE plpgsql AS
    $$ BEGIN PERFORM set_config('app.hidden', 'seen', false); RETURN 1; END $$;
CREATE FUNCTION hidden_body() RETURNS int LANGUAGE sql BEGIN ATOMIC SELECT hidden_set(); END;
CREATE VIEW hidden_view AS SELECT hidden_body() AS one;
GRANT SELECT ON hidden_view TO app;
"""


@pytest.fixture(scope="module", params=OTHERS)
def server(request):
    with installed(request.param, "version") as made:
        made.admin(SCHEMA)
        yield made


@pytest.fixture(scope="module")
def gate(server):
    """The way to the server of the route `newest`: it knows what was said there."""
    way = Gate(server.port)
    yield way
    way.close()


@pytest.fixture(scope="module")
def box(server, gate):
    lookup = {"auth_query": "default", "auth_user": "reader", "auth_password": "reader"}
    routes = {
        "one": {"pool_mode": "transaction", "pool_size": 1},
        "two": {"pool_mode": "transaction", "pool_size": 2},
        "session_one": {"pool_mode": "session", "pool_size": 1},
        # Nobody's password is known here: the server is asked, and the client's own keys open it.
        "asked_session": {"pool_mode": "session", "connection": "asked", **lookup},
        "asked_transaction": {"pool_mode": "transaction", "connection": "asked", **lookup},
        "newest": {"pool_mode": "transaction", "connection": "newest"},
    }
    # A wait that should not be is an error soon, not after two minutes.
    config = standard_config(server, routes=routes, route={"query_wait_timeout": "5s"})
    config["connections"]["asked"] = {
        "host": "127.0.0.1",
        "port": server.port,
        "ssl_mode": "require",
    }
    config["connections"]["newest"] = connection_to(
        server, {"port": gate.port, "max_protocol_version": "latest"}
    )
    config["secrets"]["reader"] = {"value": ROLES["reader"]}
    with Signalbox(config) as process:
        yield process


@pytest.fixture
def clients(box):
    """clients(route, **startup) gives a logged-in RawClient, closed at the end of the test."""
    opened = []

    def connect(database, **options):
        opened.append(box.raw(database, **options))
        return opened[-1]

    yield connect
    for client in opened:
        client.terminate()
