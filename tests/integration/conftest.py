"""Fixtures that every folder shares. The harness is imported from this folder."""

import os
import zlib

import pytest

from harness import Postgres, Signalbox
from harness.signalbox import client_certificates, several, standard_config
from harness.stores import SharedStore


def pytest_collection_modifyitems(config, items):
    """SIGNALBOX_SHARE=1/3: the first third. Of what, the names alone decide: it is the same every time."""
    part, parts = map(int, os.environ.get("SIGNALBOX_SHARE", "1/1").split("/"))
    if not 1 <= part <= parts:
        raise pytest.UsageError("SIGNALBOX_SHARE is PART/PARTS, as 1/3")
    shares = [[] for _ in range(parts)]
    for item in items:
        shares[zlib.crc32(item.nodeid.encode()) % parts].append(item)
    items[:] = shares.pop(part - 1)
    config.hook.pytest_deselected(items=sum(shares, []))


@pytest.fixture(scope="session")
def pg():
    """A PostgreSQL that no test may stop or reconfigure: `private_pg` is for those."""
    server = Postgres("shared")
    yield server
    server.remove()


@pytest.fixture
def private_pg(request):
    """A PostgreSQL that belongs to one test."""
    server = Postgres(f"own-{abs(hash(request.node.nodeid)) % 10**8}")
    yield server
    server.remove()


@pytest.fixture(scope="module")
def _victim(request):
    server = Postgres("victim-" + request.module.__name__.rpartition(".")[2])
    server.admin("CREATE TABLE marks (id serial, note text); ALTER TABLE marks OWNER TO app")
    yield server
    server.remove()


@pytest.fixture
def victim(_victim):
    """The module's PostgreSQL that a test may stop, kill and freeze: at its beginning it runs."""
    if not _victim.is_running:
        _victim.start()
    _victim.thaw()
    _victim.admin("TRUNCATE marks")
    yield _victim
    if _victim.is_running:
        _victim.thaw()


@pytest.fixture
def shared_store(pg):
    """An empty store on PostgreSQL."""
    store = SharedStore(pg)
    yield store
    store.close()


@pytest.fixture
def own_store(private_pg):
    """One whose server the test may stop."""
    store = SharedStore(private_pg)
    yield store
    store.close()


@pytest.fixture(scope="module")
def box(pg):
    """One Signalbox per module, with the standard configuration."""
    with Signalbox(standard_config(pg)) as process:
        yield process


@pytest.fixture(autouse=True)
def alive(request):
    """A shared process that dies fails the test in which it did, and no other."""
    process = request.getfixturevalue("box") if "box" in request.fixturenames else None
    yield
    if process is not None:
        process.close_clients()
        process.check_alive()


@pytest.fixture
def start_box():
    """Starts further ones: start_box(config, **Signalbox's arguments). All must end cleanly."""
    with several(Signalbox) as start:
        yield start


@pytest.fixture(scope="session")
def certificates():
    """The CA that signed Signalbox's certificate and signs its clients'."""
    return client_certificates()


@pytest.fixture(params=["session", "transaction"])
def mode(request):
    """The pool mode, which is also the name of the route."""
    return request.param
