"""ALTER CONNECTION under load: what uses the connection moves, and no statement is lost or doubled.

Two servers, north and south, with the same schema: `current_setting('port')` says which answers.
"""

import re
import subprocess
import threading
import time

import psycopg
import pytest

from boxes import UNCHECKED, Box, config
from harness import ConnectionClosed, Postgres, eventually
from harness.messages import bind, execute, parse, query, sync
from harness.postgres import ROLES
from harness.raw_client import first_error
from harness.replies import errors, kinds, refused, rows, status, succeeded

HERE = "SELECT current_setting('port')"
READING = "SELECT DISTINCT 'known'"  # of the catalogs
ASKING = "concat_ws(':'"  # whether they have changed
LONGEST_PAUSE = 5.0  # seconds; generous: what was measured is printed and recorded
SCHEMA = """
CREATE TABLE keys (client int, number int, PRIMARY KEY (client, number));
ALTER TABLE keys OWNER TO app;
"""


@pytest.fixture(scope="module")
def servers():
    made = [Postgres(name) for name in ("north", "south")]
    for server in made:
        server.admin(SCHEMA)
    yield made
    for server in made:
        server.remove()


@pytest.fixture
def north(servers):
    return ready(servers[0])


@pytest.fixture
def south(servers):
    return ready(servers[1])


def ready(server):
    if not server.is_running:
        server.start()
    server.admin("TRUNCATE keys")
    return server


@pytest.fixture
def box(north, south):
    with Box(settings(north)) as process:
        yield process


def settings(north, **route):
    """main leads north; 20 server connections for whoever comes."""
    return config(north, route={"pool_size": 20, "hold_timeout": "20s", **route})


def move(box, server, how=""):
    box.run(f"ALTER CONNECTION main SET (PORT = {server.port}) {how}")


def where(client):
    return int(client.value(HERE, timeout=20))


def keys(*servers):
    """The keys of all servers together, each as often as it is there."""
    return [row for server in servers for row in server.admin("SELECT client, number FROM keys")]


# --- what is learned of a target


@pytest.fixture
def telling(north, south):
    """Both log every statement."""
    for server in (north, south):
        server.admin("ALTER SYSTEM SET log_statement = 'all'")
        server.admin("SELECT pg_reload_conf()")
    yield north, south
    for server in (north, south):
        server.admin("ALTER SYSTEM RESET log_statement")
        server.admin("SELECT pg_reload_conf()")


def test_what_was_learned_of_a_target_is_known_on_the_way_back(telling):
    """Its catalogs are read once more only where they have changed meanwhile."""
    north, south = telling
    before = [server.log_text() for server in telling]

    def said(text):
        """How often the servers were asked it."""
        client.query("SELECT lower('A')")
        return [
            server.log_text().count(text) - old.count(text) for server, old in zip(telling, before)
        ]

    # What is known of a database, each worker knows by itself.
    with Box(config(north, {"listen": {"workers": 1}})) as box:
        client, busy = box.raw("transaction"), box.raw("transaction")
        eventually(lambda: said(READING) == [1, 0], "north's catalogs are read")
        busy.query("BEGIN")
        asked = said(ASKING)
        move(box, south)
        assert status(busy.query("COMMIT")) == "I"
        eventually(lambda: said(READING) == [1, 1], "south's are read")
        assert said(ASKING)[0] == asked[0], "what comes back from north says nothing of south"
        asked = said(ASKING)
        move(box, north)
        eventually(lambda: said(ASKING)[0] > asked[0], "it is asked whether north's have changed")
        assert said(READING) == [1, 1]
        south.admin("CREATE FUNCTION added() RETURNS void LANGUAGE sql AS 'SELECT 1'")
        move(box, south)
        eventually(lambda: said(READING) == [1, 2], "south's, which have changed, are read anew")
        client.terminate()
        busy.terminate()
    south.admin("DROP FUNCTION added()")


# --- under load


def pgbench(box, folder, query_mode, seconds, clients=64):
    """Each client inserts its number and 1, 2, 3, …; a statement that fails ends its client."""
    script = folder / "keys.sql"
    script.write_text(
        "\\set number :number + 1\nINSERT INTO keys VALUES (:client_id, :number);\n"
    )
    command = ["pgbench", "-n", "-M", query_mode, "-f", script, "-D", "number=0"]
    command += ["-c", clients, "-j", 2, "-T", seconds, "--max-tries=1", "-l"]
    command += [f"--log-prefix={folder}/latency"]
    return subprocess.Popen(
        [str(part) for part in command],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        cwd=folder,
        env={
            "PATH": "/usr/bin:/bin",
            "PGHOST": "127.0.0.1",
            "PGPORT": str(box.port),
            "PGUSER": "app",
            "PGPASSWORD": ROLES["app"],
            "PGDATABASE": "transaction",
            "PGSSLMODE": "disable",
        },
    )


def latencies(folder):
    """Of every transaction, in seconds, sorted."""
    found = [
        int(line.split()[2]) / 1e6
        for path in folder.glob("latency.*")
        for line in path.read_text().splitlines()
    ]
    return sorted(found)


@pytest.mark.slow
@pytest.mark.parametrize("query_mode", ["simple", "prepared"])
def test_back_and_forth_under_load(box, north, south, tmp_path, query_mode, record_property):
    load = pgbench(box, tmp_path, query_mode, seconds=6)
    answered = []
    try:
        eventually(lambda: north.admin("SELECT 1 FROM keys LIMIT 1"), "the load has begun")
        with box.connect() as boss:
            for number in range(10):
                server = (south, north)[number % 2]
                seen = server.admin("SELECT count(*) FROM keys")
                started = time.monotonic()
                boss.execute(f"ALTER CONNECTION main SET (PORT = {server.port})")
                answered.append(time.monotonic() - started)
                eventually(
                    lambda: server.admin("SELECT count(*) FROM keys") > seen,  # noqa: B023
                    "the load has moved",
                )
                assert load.poll() is None, "the load ended before its time"
                # A part of the load's time at each server, so that both see a steady state.
                time.sleep(0.2)
        output, _ = load.communicate(timeout=60)
    finally:
        load.kill()
        load.wait()
    assert load.returncode == 0 and "aborted" not in output, output
    assert re.search(r"number of failed transactions: 0 ", output), output
    done = int(re.search(r"actually processed: (\d+)", output).group(1))
    at_north, at_south = keys(north), keys(south)
    everything = at_north + at_south
    assert len(everything) == len(set(everything)), "a statement ran twice"
    assert len(everything) == done, "a statement was lost, or its answer"
    assert at_north and at_south
    last = {}
    for client, number in everything:
        last[client] = max(number, last.get(client, 0))
    assert len(last) == 64 and sum(last.values()) == done, "a client has left out a key"
    waits = latencies(tmp_path)
    p99, worst = waits[int(len(waits) * 0.99)], waits[-1]
    measured = (
        f"{query_mode}: {done} statements, p50 {waits[len(waits) // 2] * 1000:.1f} ms, "
        f"p99 {p99 * 1000:.1f} ms, longest {worst * 1000:.0f} ms, "
        f"ALTER {min(answered) * 1000:.0f} to {max(answered) * 1000:.0f} ms"
    )
    record_property("latency", measured)
    print(measured)
    assert worst < LONGEST_PAUSE and max(answered) < LONGEST_PAUSE, measured


class Writer(threading.Thread):
    """Inserts (number, 1), (number, 2), … until stop(); keeps what was answered and how."""

    def __init__(self, box, number, **options):
        super().__init__(daemon=True)
        self.number, self.done, self.failed, self.longest = number, 0, [], 0.0
        self._stopped = threading.Event()
        self._connection = box.connect(**options)
        self.start()

    def run(self):
        try:
            while not self._stopped.is_set():
                started = time.monotonic()
                self.insert(self.done + 1)
                self.longest = max(self.longest, time.monotonic() - started)
                self.done += 1
        except psycopg.Error as error:
            self.failed.append(error)

    def insert(self, key):
        self._connection.execute("INSERT INTO keys VALUES (%s, %s)", [self.number, key])

    def stop(self):
        self._stopped.set()
        self.join(30)
        assert not self.is_alive()
        self._connection.close()
        return self


def finished(writers, *servers):
    """All is well: nothing failed, and each key that was answered is there once."""
    for writer in writers:
        writer.stop()
    assert not [error for writer in writers for error in writer.failed]
    expected = [(w.number, n) for w in writers for n in range(1, w.done + 1)]
    assert sorted(keys(*servers)) == sorted(expected)
    print(f"longest wait {max(writer.longest for writer in writers) * 1000:.0f} ms")


@pytest.mark.parametrize("route", ["session", "transaction", "statement"])
def test_drivers_move(box, north, south, route):
    """Half of them with prepared statements; in every pool mode."""
    thresholds = [None, 0] * 4
    writers = [
        Writer(box, n, database=route, prepare_threshold=threshold)
        for n, threshold in enumerate(thresholds)
    ]
    for number in range(4):
        server = (south, north)[number % 2]
        before = len(keys(server))
        move(box, server)
        eventually(lambda: len(keys(server)) > before + 50, "they have moved")  # noqa: B023
    finished(writers, north, south)


def test_statements_wait_for_an_operator(box, north, south):
    """The old server is killed first: what comes then waits, and succeeds on the new one."""
    clients = [box.raw() for _ in range(16)]
    drivers = [box.connect(prepare_threshold=0) for _ in range(8)]
    for client in clients:
        assert where(client) == north.port
    for connection in drivers:
        connection.execute("SELECT %s::int", [1])
    boss = box.connect()
    north.kill()
    for number, client in enumerate(clients):
        client.send(query(f"INSERT INTO keys VALUES ({number}, 1)"))
    failed = []

    def insert(number, connection):
        try:
            connection.execute("INSERT INTO keys VALUES (%s, %s)", [number, 1])
        except psycopg.Error as error:
            failed.append(error)

    threads = [
        threading.Thread(target=insert, args=(100 + n, connection))
        for n, connection in enumerate(drivers)
    ]
    for thread in threads:
        thread.start()
    clients[0].expect_silence(0.3)
    started = time.monotonic()
    boss.execute(f"ALTER CONNECTION main SET (PORT = {south.port})")
    for client in clients:
        succeeded(client.read_until(b"Z"), "INSERT 0 1")
    for thread in threads:
        thread.join(20)
    print(f"served {(time.monotonic() - started) * 1000:.0f} ms after the ALTER was sent")
    assert not failed and time.monotonic() - started < LONGEST_PAUSE
    for connection in (*drivers, boss):
        connection.close()
    expected = [(n, 1) for n in (*range(16), *range(100, 108))]
    assert sorted(keys(south)) == expected
    north.start()
    assert keys(north) == []


class Survivor(Writer):
    """Goes on behind a statement that was lost with its server."""

    def __init__(self, box, number, cursor):
        self.lost = []
        super().__init__(box, number, prepare_threshold=0, cursor_factory=cursor)

    @property
    def answered(self):
        return self.done - len(self.lost)

    def insert(self, key):
        try:
            super().insert(key)
        except psycopg.errors.ConnectionFailure as error:
            if error.sqlstate != "08006" or self._connection.broken:
                raise
            self.lost.append(key)


@pytest.fixture(scope="module")
def durable():
    """What it has acknowledged is there after it was killed."""
    made = Postgres("durable", settings={"synchronous_commit": "on"})
    made.admin(SCHEMA)
    yield made
    made.remove()


def test_the_old_server_is_killed_under_load(durable, south):
    """64 clients, half of them with prepared statements: who waits succeeds on the new server; who was
    in the middle of something is told so, once, and it is not sent again.
    """
    with Box(settings(ready(durable))) as box, box.connect() as boss:
        clients = [
            Survivor(box, n, (psycopg.Cursor, psycopg.ClientCursor)[n % 2]) for n in range(64)
        ]
        eventually(lambda: all(c.answered >= 5 for c in clients), "the load has begun", 60)
        durable.kill()
        answered = [-1]

        def is_quiet():
            answered.append(sum(client.answered for client in clients))
            return answered[-1] == answered[-2]

        eventually(is_quiet, "everybody waits", 30, interval=0.5)
        waiting = [client.done + 1 for client in clients]
        started = time.monotonic()
        boss.execute(f"ALTER CONNECTION main SET (PORT = {south.port})")
        eventually(
            lambda: all(c.done >= n + 5 for c, n in zip(clients, waiting)), "they go on", 60
        )
        print(f"all served {(time.monotonic() - started) * 1000:.0f} ms after the ALTER was sent")
        for client in clients:
            client.stop()
        assert not [error for client in clients for error in client.failed]
    lost = {(client.number, n) for client in clients for n in client.lost}
    acknowledged = {(c.number, n) for c in clients for n in range(1, c.done + 1)} - lost
    # A server connection each, and nobody for whom one is opened in vain.
    assert len(lost) <= 20
    assert {(c.number, n) for c, n in zip(clients, waiting)} <= acknowledged
    durable.start()
    old, new = keys(durable), keys(south)
    everything = old + new
    assert len(everything) == len(set(everything)), "a statement ran twice"
    assert acknowledged <= set(everything) <= acknowledged | lost
    assert not lost & set(new), "what was lost was sent again"
    assert {(c.number, n) for c, n in zip(clients, waiting)} <= set(new)


def test_statements_wait_while_the_new_target_is_down(box, north, south):
    client, boss = box.raw(), box.connect()
    assert where(client) == north.port
    south.stop()
    boss.execute(f"ALTER CONNECTION main SET (PORT = {south.port}) {UNCHECKED}")
    client.send(query("INSERT INTO keys VALUES (1, 1)"))
    client.expect_silence(0.3)
    south.start()
    succeeded(client.read_until(b"Z", timeout=20), "INSERT 0 1")
    assert keys(north) == [] and keys(south) == [(1, 1)]
    boss.close()


def test_waiting_statements_go_to_the_newest_target(box, north, south, closed_port):
    """They were held for one target; another change gives them one that is up."""
    client, boss = box.raw(), box.connect()
    assert where(client) == north.port
    boss.execute(f"ALTER CONNECTION main SET (PORT = {closed_port}) {UNCHECKED}")
    client.send(query("INSERT INTO keys VALUES (1, 1)"))
    client.expect_silence(0.3)
    boss.execute(f"ALTER CONNECTION main SET (PORT = {south.port})")
    succeeded(client.read_until(b"Z"), "INSERT 0 1")
    assert keys(north) == [] and keys(south) == [(1, 1)]
    boss.close()


# --- from the commit on


@pytest.mark.parametrize("route", ["session", "transaction", "statement"])
def test_the_next_statement_is_at_the_new_target(box, north, south, route):
    """Also that of the session that made the change, of others, and of a new one."""
    client, other = box.raw(route), box.raw(route)
    assert where(client) == where(other) == north.port
    for server in (south, north, south):
        succeeded(client.query(f"ALTER CONNECTION main SET (PORT = {server.port})"))
        assert where(client) == where(other) == where(box.raw(route)) == server.port
    eventually(lambda: not north.backends(), "nothing is left at the old target")


def test_in_one_batch(box, north, south):
    client = box.raw()
    change = f"ALTER CONNECTION main SET (PORT = {south.port})"
    found = succeeded(client.query(f"{HERE}; {change}; {HERE}"))
    assert rows(found) == [(str(north.port),), (str(south.port),)]


def test_a_failed_change_moves_nobody(box, north, closed_port):
    client = box.raw()
    here = int(client.value("SELECT pg_backend_pid()"))
    refused(client.query(f"ALTER CONNECTION main SET (PORT = {closed_port})"), "08001")
    assert where(client) == north.port
    assert here in [row[0] for row in north.backends()], "its server connection was closed"


def test_prepared_statements_and_parameters_come_along(box, north, south):
    for route in ("session", "transaction"):
        move(box, north)
        client = box.raw(route)
        succeeded(client.query("SET work_mem = '77MB'"))
        client.send(parse("SELECT current_setting('port')::int + $1::int", "mine") + sync())
        succeeded(client.read_until(b"Z"))
        for server in (north, south):
            move(box, server)
            assert client.value("SHOW work_mem") == "77MB"
            client.send(bind([1], statement="mine") + execute() + sync())
            assert rows(client.read_until(b"Z")) == [(str(server.port + 1),)]


def test_listeners_hear_the_new_target(box, south):
    client = box.raw()
    succeeded(client.query("LISTEN news"))
    move(box, south)

    def heard():
        south.admin("NOTIFY news, 'from the south'")
        try:
            return client.read_message(0.2)[0] == b"A"
        except TimeoutError:
            return False

    eventually(heard, "a notification of the new server comes")


# --- what is running


@pytest.mark.parametrize("route", ["session", "transaction"])
def test_a_running_transaction_finishes_where_it_began(box, north, south, route):
    client = box.raw(route)
    succeeded(client.query("BEGIN"))
    succeeded(client.query("INSERT INTO keys VALUES (1, 1)"))
    move(box, south)
    assert where(client) == north.port
    succeeded(client.query("INSERT INTO keys VALUES (1, 2)"))
    succeeded(client.query("COMMIT"), "COMMIT")
    assert where(client) == south.port
    assert sorted(keys(north)) == [(1, 1), (1, 2)] and keys(south) == []


def test_a_running_statement_finishes_where_it_began(box, north, south):
    client = box.raw()
    client.send(query(f"SELECT pg_sleep(0.5); {HERE}"))
    eventually(lambda: north.backends("query LIKE '%pg_sleep%'"), "it runs")
    started = time.monotonic()
    move(box, south)
    assert time.monotonic() - started < LONGEST_PAUSE
    assert rows(client.read_until(b"Z"))[-1] == (str(north.port),)
    assert where(client) == south.port


@pytest.fixture
def impatient(north, south, start_box):
    return start_box(settings(north, drain_timeout="1s"))


def test_the_end_of_a_long_transaction(impatient, north, south):
    """After drain_timeout: 57P01, and the client stays connected."""
    idle, busy = impatient.raw(), impatient.raw()
    succeeded(idle.query("BEGIN"))
    succeeded(idle.query("INSERT INTO keys VALUES (1, 1)"))
    busy.send(query("SELECT pg_sleep(60)"))
    eventually(lambda: north.backends("query LIKE '%pg_sleep%'"), "it runs")
    move(impatient, south)
    started = time.monotonic()
    found = [m for m in busy.read_until(b"Z", timeout=10) if m[0] != b"T"]
    refused(found, "57P01")
    assert 0.5 < time.monotonic() - started < 6
    eventually(lambda: not north.backends(), "the old target is empty")
    # The protocol has no place for an error between two statements: it answers the next one.
    found = idle.query("SELECT 1")
    refused(found, "57P01")
    if status(found) == "E":
        succeeded(idle.query("ROLLBACK"))
    assert where(idle) == where(busy) == south.port
    assert keys(north, south) == []


def test_session_mode_keeps_what_cannot_move(impatient, north, south):
    """A temporary table: at the old target for drain_timeout, then FATAL 57P01."""
    for route in ("session", "transaction"):
        move(impatient, north)
        client, free = impatient.raw(route), impatient.raw(route)
        succeeded(client.query("CREATE TEMP TABLE mine AS SELECT 1 AS number"))
        assert where(free) == north.port
        move(impatient, south)
        assert where(free) == south.port
        assert client.value("SELECT number FROM mine") == "1" and where(client) == north.port
        try:
            found = client.read_to_end(timeout=10)
        except ConnectionClosed:
            found = []
        fields = first_error(found)
        assert (fields["V"], fields["C"]) == ("FATAL", "57P01"), fields
        assert kinds(found) == "E"
        eventually(lambda: not north.backends(), "the old target is empty")


def test_session_mode_moves_once_its_cause_is_gone(box, north, south):
    client = box.raw("session")
    succeeded(client.query("CREATE TEMP TABLE mine AS SELECT 1 AS number"))
    move(box, south)
    assert where(client) == north.port
    succeeded(client.query("DROP TABLE mine"))
    assert where(client) == south.port


def test_a_change_in_the_middle_of_a_change(box, north, south):
    """Twice while a transaction runs: it keeps its server, the rest goes to the newest."""
    client, other = box.raw(), box.raw()
    succeeded(client.query("BEGIN"))
    assert where(client) == north.port
    for server in (south, north, south):
        move(box, server)
        assert where(other) == server.port and where(client) == north.port
    succeeded(client.query("COMMIT"))
    assert where(client) == south.port


def test_only_what_the_change_concerns_is_restarted(box, north, south):
    """A change of another connection moves no server connection."""
    client = box.raw()
    here = int(client.value("SELECT pg_backend_pid()"))
    succeeded(client.query(f"CREATE CONNECTION other TO POSTGRES (HOST 'h') {UNCHECKED}"))
    succeeded(client.query(f"ALTER CONNECTION other SET (PORT = 1) {UNCHECKED}"))
    assert client.value("SELECT 1") == "1"
    assert here in [row[0] for row in north.backends()], "its server connection was closed"
    assert not errors(client.query("DROP CONNECTION other"))


def test_cancel_reaches_a_statement_at_the_old_target(box, north, south):
    client = box.raw()
    client.send(query("SELECT pg_sleep(30)"))
    eventually(lambda: north.backends("query LIKE '%pg_sleep%'"), "it runs")
    move(box, south)
    client.cancel()
    assert first_error(client.read_until(b"Z"))["C"] == "57014"
    assert where(client) == south.port
