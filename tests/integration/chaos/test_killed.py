"""Signalbox and servers are killed, frozen and restarted under a load of sessions with unique keys."""

import collections
import os
import random
import signal
import threading
import time

import pytest

import workload
from harness import ConnectionClosed, Postgres, RawClient, Signalbox, eventually, free_port
from harness.messages import query
from harness.postgres import ROLES
from harness.processes import children
from harness.raw_client import ServerError
from harness.signalbox import is_instrumented, standard_config
from workload import LOST, QUIET, ROUTE, SCRIPTS, TABLE, Session

pytestmark = pytest.mark.slow

CLIENTS = 8
# A server that starts or has crashed says so itself, to whoever is on it.
CRASHED = LOST | {"57P02", "57P03"}
PAUSE = 1.0 if is_instrumented() else 0.4  # seconds of traffic between two events


@pytest.fixture(scope="module")
def server():
    # Acknowledged means written: a server that is killed must have it when it is back.
    made = Postgres("killed", settings={"synchronous_commit": "on"})
    made.admin(TABLE)
    yield made
    made.remove()


@pytest.fixture
def box(server):
    """On a port of its own choice, so that clients find it again."""
    if not server.is_running:
        server.start()
    changes = {"listen": {"port": free_port()}, **QUIET}
    with Signalbox(standard_config(server, changes, route={**ROUTE, "pool_size": 4})) as process:
        yield process


class Load:
    """Clients that run one session after the other; `codes` are the errors that may come."""

    def __init__(self, server, box, mode, codes=frozenset()):
        self._server, self._port, self._mode, self._codes = server, box.port, mode, codes
        self._stop = threading.Event()
        self._numbers = iter(range(1, 10**6))
        self._lock = threading.Lock()
        self.sessions, self.failures = [], []
        self.counts = collections.Counter()
        self._threads = [threading.Thread(target=self._work, args=(n,)) for n in range(CLIENTS)]

    def _next(self):
        with self._lock:
            session = Session(next(self._numbers), self._port, self._mode, patience=30)
            self.sessions.append(session)
            return session

    def _work(self, seed):
        choose = random.Random(seed)
        while not self._stop.is_set() and not self.failures:
            session, script = self._next(), choose.choice(SCRIPTS)
            try:
                if session.run(script):
                    self.counts["finished"] += 1
                else:
                    self.counts["broken"] += 1
                    assert session.error is None or session.error["C"] in self._codes, session.error
                    time.sleep(0.01)  # nobody may be there: no hot loop
                session.leave()
            except Exception as error:  # pylint: disable=broad-except
                self.failures.append(f"{script.__name__}: {error!r}")

    def goes_on(self, sessions=40):
        """Waits until this many more have come to their end."""
        wanted = self.counts["finished"] + sessions
        eventually(
            lambda: self.counts["finished"] >= wanted or self.failures, "the load goes on", 60
        )
        assert not self.failures, self.failures

    def __enter__(self):
        self._server.admin("TRUNCATE chaos")
        for thread in self._threads:
            thread.start()
        self.goes_on()
        return self

    def __exit__(self, kind, *_):
        self._stop.set()
        for thread in self._threads:
            thread.join(60)
        if kind is None:
            assert not any(thread.is_alive() for thread in self._threads), "a client hangs"
            assert not self.failures, self.failures
            self.check()

    def check(self):
        """Behind the load: every key, and nothing that goes on at the server."""
        eventually(
            lambda: not self._server.backends("state <> 'idle' AND usename = 'app'"),
            "the server is idle",
            20,
        )
        rows = collections.defaultdict(list)
        for run, key in self._server.admin("SELECT run, key FROM chaos"):
            rows[run].append(key)
        for session in self.sessions:
            session.check(rows.pop(session.number, []))
        assert not rows, f"nobody's rows: {rows}"


def _accepts(server):
    try:
        with RawClient("127.0.0.1", server.port) as client:
            client.login("app", "app", ROLES["app"])
            return client.value("SELECT 1") == "1"
    except (ConnectionClosed, ConnectionError, ServerError):
        return False


def serves(box, mode):
    found = Session(999_999, box.port, mode)
    assert found.run(workload.newcomer), found.error
    found.leave()


def test_signalbox_is_killed(server, box, mode):
    """Nobody is told, and what runs at the server goes on there: at most once, never torn."""
    with Load(server, box, mode) as load:
        for _ in range(4):
            time.sleep(random.random() * PAUSE)
            box.kill()
            box.start()
            load.goes_on()
        assert load.counts["broken"], "the kills met nobody"
    serves(box, mode)
    # The server connections of those that were killed are gone.
    assert len(server.backends("usename = 'app'")) <= 4 + 1


def test_signalbox_is_killed_in_open_transactions(server, box, mode):
    """Locks and rows of sessions that had not committed are gone at once; a statement that runs ends
    by itself, and its transaction with it, unless it is one of its own."""
    server.admin("TRUNCATE chaos")
    clients = [box.raw(mode) for _ in range(3)]
    for number, client in enumerate(clients):
        client.query("BEGIN")
        client.query(f"INSERT INTO chaos VALUES ({number}, 'never')")
    clients[1].send(query("SELECT pg_sleep(1.5), 'slow in a block'"))
    alone = box.raw(mode)
    alone.send(query("INSERT INTO chaos SELECT 9, 'alone' FROM pg_sleep(1.5)"))
    eventually(
        lambda: len(server.backends("state = 'active' AND query LIKE '%pg_sleep(1.5)%'")) == 2,
        "both run",
    )
    box.kill()
    box.start()
    serves(box, mode)
    eventually(lambda: not server.backends("state <> 'idle' AND usename = 'app'"), "all has ended")
    keys = [key for (key,) in server.admin("SELECT key FROM chaos WHERE run <> 999999")]
    assert "never" not in keys and keys.count("alone") <= 1, keys


def test_signalbox_is_frozen(server, box, mode):
    """SIGSTOP and SIGCONT: everything waits, nothing fails."""
    with Load(server, box, mode) as load:
        for _ in range(3):
            time.sleep(random.random() * PAUSE)
            box.send_signal(signal.SIGSTOP)
            time.sleep(0.5)
            box.send_signal(signal.SIGCONT)
            load.goes_on()
    assert not load.counts["broken"], load.counts
    serves(box, mode)


def test_signalbox_is_restarted(server, box, mode):
    """SIGTERM and a new start: a client gets a FATAL 57P01 or finds nobody, and nothing is lost."""
    with Load(server, box, mode, {"57P01"}) as load:
        for _ in range(3):
            time.sleep(random.random() * PAUSE)
            box.restart()
            load.goes_on()
    serves(box, mode)


@pytest.mark.parametrize("way", ["kill", "stop"])
def test_a_server_goes_and_comes(server, box, mode, way):
    with Load(server, box, mode, CRASHED) as load:
        for _ in range(3):
            time.sleep(random.random() * PAUSE)
            getattr(server, way)()
            server.start()
            load.goes_on()
        assert load.counts["broken"], "the server's end met nobody"
    serves(box, mode)


def test_a_server_is_frozen(server, box, mode):
    """No error: there is no query_timeout, and whoever waits is answered when it thaws."""
    with Load(server, box, mode) as load:
        for _ in range(3):
            time.sleep(random.random() * PAUSE)
            server.freeze()
            time.sleep(0.5)
            server.thaw()
            load.goes_on()
    assert not load.counts["broken"], load.counts
    serves(box, mode)


def test_one_backend_is_killed(server, box, mode):
    """kill -9 of one process: PostgreSQL ends all the others, recovers, and refuses logins meanwhile."""
    with Load(server, box, mode, CRASHED) as load:
        for _ in range(3):
            time.sleep(random.random() * PAUSE)
            victims = [pid for pid, *_ in server.backends("usename = 'app'")]
            assert victims[0] in children(server.pid)
            os.kill(victims[0], signal.SIGKILL)
            eventually(lambda: _accepts(server), "the server has recovered", 30)
            load.goes_on()
        assert load.counts["broken"], "the crash met nobody"
    serves(box, mode)


def test_both_are_killed(server, box, mode):
    with Load(server, box, mode, CRASHED) as load:
        for first in (server, box):
            time.sleep(random.random() * PAUSE)
            second = box if first is server else server
            first.kill()
            second.kill()
            second.start()
            first.start()
            load.goes_on()
    serves(box, mode)
