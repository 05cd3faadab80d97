"""A PostgreSQL per module that may be killed, and is whole again before every test."""

import pytest

from harness import Postgres


@pytest.fixture(scope="module")
def victim(request):
    server = Postgres("victim-" + request.module.__name__.rpartition(".")[2])
    server.admin("CREATE TABLE marks (id serial, note text); ALTER TABLE marks OWNER TO app")
    yield server
    server.remove()


@pytest.fixture
def server(victim):
    """The module's PostgreSQL, running."""
    if victim._process is None:
        victim.start()
    victim.thaw()
    victim.admin("TRUNCATE marks")
    yield victim
    if victim._process is not None:
        victim.thaw()
