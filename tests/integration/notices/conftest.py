"""A server whose notices are those of one test module, the Signalbox that watches it, a client."""

import pytest

from harness import Postgres, Signalbox, eventually
from watching import Told, config

# What notices are found from is long, and about PostgreSQL: left out under a sanitizer.
LONG_LISTS = {"test_notice_store", "test_other_servers", "test_types"}


def pytest_collection_modifyitems(items):
    for item in items:
        if item.path.parent.name == "notices" and item.path.stem in LONG_LISTS:
            item.add_marker(pytest.mark.slow)


@pytest.fixture(scope="module")
def server(request):
    """Its own: all notices of it are about what the module makes."""
    with Postgres(f"watched-{request.module.__name__}") as made:
        yield made


@pytest.fixture(scope="module")
def watched(server):
    with Signalbox(config(server)) as process:
        yield process


@pytest.fixture
def client(watched, mode):
    """With a schema `noted` and a table `noted.rows` in it, without notices so far."""
    told = Told(watched, mode)
    told.run("CREATE SCHEMA noted; CREATE TABLE noted.rows (id int, note text)")
    yield told
    if told.connection.info.transaction_status != 0:
        told.connection.rollback()
    told.run("DROP SCHEMA noted CASCADE")
    eventually(lambda: told.count() == 0, "all notices are gone with their objects", 60)
    told.connection.close()
