"""Clients that vanish, crawl, stop half-way or come by the thousand."""

import itertools
import pathlib
import resource
import signal
import subprocess
import threading
import time

import pytest

from harness import ConnectionClosed, RawClient, Signalbox, eventually
from harness.messages import bind, copy_data, execute, flush, parse, query, sync
from harness.postgres import ROLES
from harness.processes import cpu_seconds, resident_bytes
from harness.signalbox import is_instrumented, standard_config


@pytest.fixture(scope="module")
def table(pg):
    pg.admin(
        "CREATE TABLE IF NOT EXISTS left_behind (id int); ALTER TABLE left_behind OWNER TO app"
    )


@pytest.fixture(scope="module")
def box(pg, table):
    routes = {"one": {"pool_mode": "transaction", "pool_size": 1}}
    with Signalbox(standard_config(pg, routes=routes)) as process:
        yield process


def active(pg, text):
    return pg.admin(
        "SELECT pid FROM pg_stat_activity WHERE query LIKE %s AND state <> 'idle' "
        "AND pid <> pg_backend_pid()",
        [f"%{text}%"],
    )


def gone(pg, text, timeout=10):
    eventually(lambda: not active(pg, text), f"nothing runs {text!r}", timeout)


WAYS = ["abort", "close", "terminate"]


@pytest.mark.parametrize("way", WAYS)
def test_gone_inside_a_transaction(pg, box, mode, way):
    client = box.raw(mode)
    client.query("BEGIN")
    client.query("LOCK TABLE left_behind; INSERT INTO left_behind VALUES (1)")
    getattr(client, way)()
    gone(pg, "LOCK TABLE left_behind")
    assert pg.admin("SELECT count(*) FROM left_behind") == [(0,)]  # the lock is free as well


@pytest.mark.parametrize("way", WAYS)
def test_gone_inside_a_long_statement(pg, box, mode, way):
    """The statement does not live on: it is cancelled, and its transaction rolled back."""
    mark = f"gone by {way} in {mode}"
    client = box.raw(mode)
    client.query("BEGIN")
    client.query("INSERT INTO left_behind VALUES (2)")
    client.send(query(f"SELECT pg_sleep(60), '{mark}'"))
    eventually(lambda: active(pg, mark), "it runs")
    getattr(client, way)()
    gone(pg, mark)
    assert pg.admin("SELECT count(*) FROM left_behind") == [(0,)]


def test_a_killed_client_process(pg, box):
    """kill -9 of a real psql in a long statement."""
    child = subprocess.Popen(
        [
            "psql",
            "-X",
            f"host=127.0.0.1 port={box.port} user=app dbname=transaction sslmode=require",
            "-c",
            "SELECT pg_sleep(60), 'killed psql'",
        ],
        env={"PGPASSWORD": ROLES["app"], "PATH": "/usr/bin:/bin"},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        eventually(lambda: active(pg, "killed psql"), "it runs")
    finally:
        child.send_signal(signal.SIGKILL)
        child.wait()
    gone(pg, "killed psql")


@pytest.mark.parametrize("way", WAYS)
def test_gone_inside_a_copy_in(pg, box, mode, way):
    client = box.raw(mode)
    client.send(query("COPY left_behind FROM STDIN"))
    assert client.read_message()[0] == b"G"
    client.send(copy_data(b"1\n2\n3\n"))
    getattr(client, way)()
    gone(pg, "COPY left_behind")
    assert pg.admin("SELECT count(*) FROM left_behind") == [(0,)]


@pytest.mark.parametrize("way", ["abort", "close"])
def test_gone_inside_a_copy_out(pg, box, mode, way):
    client = box.raw(mode)
    client.send(
        query("COPY (SELECT repeat('x', 10000) FROM generate_series(1, 1000000)) TO STDOUT")
    )
    assert client.read_message()[0] == b"H"
    assert active(pg, "generate_series(1, 1000000)")
    getattr(client, way)()
    gone(pg, "generate_series(1, 1000000)")


def test_gone_while_waiting_for_a_server_connection(box):
    """The place in the queue goes with the client."""
    holder, waiter, next_one = (box.raw("one") for _ in range(3))
    holder.query("BEGIN")
    waiter.send(query("INSERT INTO left_behind VALUES (3)"))
    next_one.send(query("SELECT count(*) FROM left_behind"))
    waiter.expect_silence(0.1)
    waiter.abort()
    next_one.expect_silence(0.1)
    holder.query("COMMIT")
    assert (b"D", b"\0\1\0\0\0\x010") in next_one.read_until(b"Z")
    holder.terminate()
    next_one.terminate()


def test_a_half_closed_client_gets_its_answers(box, mode):
    """shutdown(SHUT_WR) behind a pipeline: every answer comes, then the end."""
    client = box.raw(mode)
    client.send(
        query("SELECT 1; SELECT repeat('y', 3000000)")
        + b"".join(parse(f"SELECT {i}") + bind() + execute() + sync() for i in range(20))
        + query("SELECT pg_sleep(0.2), 'last'")
    )
    client.half_close()
    found = client.read_to_end()
    assert sum(kind == b"Z" for kind, _ in found) == 22
    assert b"last" in found[-3][1]


@pytest.mark.parametrize(
    "behind, unfinished",
    [
        (b"", parse("SELECT 1") + bind() + execute()),
        (b"", parse("SELECT 1")),
        (query("SELECT 'before' FROM pg_sleep(0.2)"), parse("SELECT 1") + bind() + flush()),
        (query("SELECT 'before' FROM pg_sleep(0.2)"), query("SELECT 'cut'")[:-3]),
        (b"", query("COPY left_behind FROM STDIN") + copy_data(b"7\n")),
    ],
    ids=["execute", "parse", "batch behind a query", "half a message", "copy in"],
)
def test_a_half_closed_client_that_owes_something(
    pg, table, start_box, mode, behind, unfinished
):
    """What has no end will never get one: the session ends, and its server connection is free."""
    box = start_box(standard_config(pg, route={"pool_size": 1}))
    client = box.raw(mode)
    client.send(behind + unfinished)
    client.half_close()
    found = client.read_to_end(timeout=5)
    if behind:
        assert any(b"before" in body for kind, body in found if kind == b"D"), found
    assert not any(b"cut" in body for _, body in found), found
    assert box.raw(mode).value("SELECT count(*) FROM left_behind", timeout=5) == "0"


def test_half_sent_messages(box, mode):
    """They wait without harm to others; their end is harmless too."""
    whole = query("SELECT 'late but whole'")
    for cut in (1, 3, 5, 9, len(whole) - 1):
        client, other = box.raw(mode), box.raw(mode)
        client.send(whole[:cut])
        client.expect_silence(0.02)
        assert other.value("SELECT 1") == "1"
        client.send(whole[cut:])
        assert b"late but whole" in client.read_until(b"Z")[1][1]
        client.send(whole[:cut])
        client.abort()
        assert other.value("SELECT 2") == "2"
        other.terminate()


def test_half_sent_startup(box):
    for part in (b"", b"\0", b"\0\0\0", b"\0\0\0\x50\0\3\0\0user\0ap"):
        client = RawClient("127.0.0.1", box.port)
        client.send(part)
        client.abort() if part else client.close()
    assert box.raw("transaction").value("SELECT 1") == "1"


def test_half_sent_in_a_transaction_ends_with_a_rollback(pg, box):
    client = box.raw("transaction")
    client.query("BEGIN")
    client.query("INSERT INTO left_behind VALUES (4)")
    client.send(query("COMMIT")[:-1])
    client.abort()
    gone(pg, "left_behind VALUES (4)")
    assert pg.admin("SELECT count(*) FROM left_behind") == [(0,)]


def malformed():
    """Post-login bytes with PostgreSQL's answer to them: FATAL 08P01, and the end."""
    return {
        "unknown type": b"y\0\0\0\4",
        "length below four": b"Q\0\0\0\3",
        "length zero": b"Q\0\0\0\0",
        "negative length": b"Q\xff\xff\xff\xff",
        "huge length": b"Q\x7f\xff\xff\xff",
        "huge length of a small message": b"S\x7f\xff\xff\xff",
    }


@pytest.mark.parametrize("name", malformed())
def test_malformed_messages_end_only_their_client(box, mode, name):
    client, other = box.raw(mode), box.raw(mode)
    client.send(malformed()[name])
    found = client.read_to_end(timeout=5)
    fields = [b for k, b in found if k == b"E"]
    # A length that could be one is over max_message_size: that is a limit's error.
    codes = (b"C08P01", b"C54000") if "huge" in name else (b"C08P01",)
    assert len(fields) == 1 and any(code in fields[0] for code in codes), found
    assert b"VFATAL" in fields[0]
    assert other.value("SELECT 1") == "1"
    other.terminate()


@pytest.mark.parametrize(
    "data",
    [
        b"Q\0\0\0\x09abcde",  # no terminator
        b"Q\0\0\0\x0aab\0cd\0",  # bytes behind it
        b"P\0\0\0\x06a\0",  # no text
        b"P\0\0\0\x0c\0SELECT\0",  # no count
        b"B\0\0\0\x06\0\0",
        b"B\0\0\0\x0a\0\0\0\0\xff\xff",  # a negative count
        b"B\0\0\0\x0e\0\0\0\0\0\1\x7f\xff\xff\xff",  # a value longer than the message
        b"D\0\0\0\x06X\0",
        b"C\0\0\0\x06X\0",
        b"E\0\0\0\x05\0",
        b"D\0\0\0\4",
        b"C\0\0\0\x04",
        b"S\0\0\0\x05\0",  # a Sync with a body
    ],
)
def test_malformed_bodies_are_answered_as_by_the_server(pg, box, mode, data):
    """08P01 as an ERROR, with a session that goes on: as PostgreSQL does it."""
    replies = []
    for port, database in ((pg.port, "app"), (box.port, mode)):
        client = RawClient("127.0.0.1", port).login("app", database, ROLES["app"])
        client.send(data + sync() + query("SELECT 'end'"))
        found = []
        try:
            while not (
                found and found[-1][0] == b"Z" and any(b"end" in b for k, b in found if k == b"D")
            ):
                found.append(client.read_message(5))
        except ConnectionClosed:
            found.append((b"closed", b""))
        codes = [
            dict((chr(f[0]), f[1:]) for f in b.split(b"\0") if f)["C"]
            for k, b in found
            if k == b"E"
        ]
        replies.append(([kind for kind, _ in found], codes))
        client.close()
    assert replies[1] == replies[0]


def test_a_slow_reader_does_not_fill_the_memory(pg, box, mode):
    """A result of 400 MB that nobody reads stays in the server, not in the proxy."""
    fast = box.raw(mode)
    before = resident_bytes(box.pid)
    slow = box.raw(mode, timeout=60)
    slow.send(query("SELECT repeat('z', 100000) FROM generate_series(1, 4000)"))
    peak = 0
    for _ in range(20):
        assert fast.value("SELECT 1") == "1"
        peak = max(peak, resident_bytes(box.pid))
        time.sleep(0.03)  # lets the proxy read as much as it will
    assert peak - before < 32 << 20, f"{(peak - before) >> 20} MiB held for one slow reader"
    rows = 0
    for kind, _ in iter(slow.read_message, None):
        rows += kind == b"D"
        if kind == b"Z":
            break
    assert rows == 4000
    slow.terminate()
    fast.terminate()


def test_both_ends_blocked_on_write(box, mode):
    """Long requests and long replies at once: reading must never stop because a write waits."""
    client = box.raw(mode, timeout=60)
    value = b"v" * 20000
    batch = parse("SELECT $1::text, 1 / ($2::int % 7)", "big") + sync()
    client.send(batch)
    client.read_until(b"Z")
    count = 1500  # 30 MB in each direction
    work = b"".join(bind([value, i], statement="big") + execute() + sync() for i in range(count))
    sender = threading.Thread(target=client.send, args=(work,))
    sender.start()
    time.sleep(0.3)  # both directions fill up before the first read
    found = client.read_until(b"Z", count, timeout=60)
    sender.join(30)
    assert not sender.is_alive()
    assert sum(kind == b"E" for kind, _ in found) == len([i for i in range(count) if i % 7 == 0])
    client.terminate()


def test_one_client_in_single_bytes_beside_a_fast_one(box, mode):
    slow, fast = box.raw(mode), box.raw(mode)
    slow.send_chunks(query("SELECT 'slow'"), itertools.repeat(1))
    for _ in range(20):
        assert fast.value("SELECT 1") == "1"
    assert b"slow" in slow.read_until(b"Z")[1][1]


IDLE = 5000


def test_thousands_of_idle_clients(pg, start_box):
    """They cost little memory, no processor time, and each still works."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = IDLE + 500
    assert hard == resource.RLIM_INFINITY or hard >= wanted, f"RLIMIT_NOFILE's hard limit is {hard}"
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, wanted), hard))
    clients = []
    try:
        # trust: this is about idle clients, not about 5,000 key derivations in the test itself.
        box = start_box(standard_config(pg, {"auth": {"method": "trust"}}), nofile=(wanted, wanted))
        with box.raw("transaction") as warm:
            warm.value("SELECT 1")
        before = resident_bytes(box.pid)
        for _ in range(IDLE):
            clients.append(RawClient("127.0.0.1", box.port))
            clients[-1].login("app", "transaction")
        per_client = (resident_bytes(box.pid) - before) / IDLE
        if not is_instrumented():
            assert per_client < 16 << 10, f"{per_client:.0f} bytes per idle client"
        cpu = cpu_seconds(box.pid)
        time.sleep(1.0)  # the time over which processor use is measured
        assert cpu_seconds(box.pid) - cpu < 0.3
        for client in clients[:: IDLE // 100]:
            assert client.value("SELECT 1") == "1"
        for client in clients:
            client.terminate()
        clients.clear()
        eventually(lambda: box.raw("transaction").value("SELECT 1") == "1", "a newcomer is served")
    finally:
        for client in clients:
            client.close()
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_connections_without_a_word(box):
    """Port scanners, load balancers' checks, a browser."""
    for data in (b"", b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", b"\0" * 64, b"\xff" * 64):
        client = RawClient("127.0.0.1", box.port)
        if data:
            client.send(data)
            client.read_to_end(timeout=5)
        client.close()
    assert box.raw("transaction").value("SELECT 1") == "1"


def test_a_handshake_that_is_none(box):
    """TLS is answered in TLS: with an alert."""
    client = RawClient("127.0.0.1", box.port)
    client.send(bytes.fromhex("16030100c8010000c40303") + b"\0" * 200)
    client.socket.settimeout(5)
    answer = b""
    while data := client.socket.recv(100):
        answer += data
    assert answer[:1] == b"\x15" and len(answer) == 7, answer
    client.close()


def test_keepalive_towards_both_sides(pg, box):
    """Linux says which timer an established socket has: 2 is keepalive."""
    client = box.raw("session")
    mine = client.socket.getsockname()[1]

    def timers():
        """Of Signalbox's ends: (the client's, those towards the server)."""
        client_side, server_side = [], []
        for line in pathlib.Path("/proc/net/tcp").read_text().splitlines()[1:]:
            _, local, remote, state, _, timer, *_ = line.split()
            ends = tuple(int(end.split(":")[1], 16) for end in (local, remote))
            if state == "01" and ends == (box.port, mine):
                client_side.append(int(timer.split(":")[0]))
            elif state == "01" and ends[1] == pg.port:
                server_side.append(int(timer.split(":")[0]))
        return client_side, server_side

    def both_kept_alive():
        client_side, server_side = timers()
        return client_side == [2] and server_side and set(server_side) == {2}

    eventually(both_kept_alive, "keepalive on both sides")
    client.terminate()
