"""Replication connections: a walsender of one's own through a route in session mode."""

import filecmp
import os
import pathlib
import re
import signal
import struct
import subprocess
import time

import psycopg2
import psycopg2.extras
import pytest

from harness import Postgres, RawClient, Signalbox, eventually, messages
from harness.postgres import BIN, HBA, ROLES
from harness.processes import resident_bytes
from harness.raw_client import ServerError
from harness.signalbox import is_instrumented, standard_config

SETTINGS = {
    "wal_level": "logical",
    "max_wal_senders": "20",
    "max_replication_slots": "20",
    "wal_keep_size": "1GB",
}


@pytest.fixture(scope="module")
def wal():
    """A server that replicates. `app` may, `other` may not."""
    hba = HBA + "host replication all all scram-sha-256\n"
    server = Postgres("wal", settings=SETTINGS, hba=hba)
    server.admin("ALTER ROLE app REPLICATION")
    server.admin("CREATE TABLE marks (id int PRIMARY KEY, note text)")
    server.admin("ALTER TABLE marks OWNER TO app; ALTER TABLE marks REPLICA IDENTITY FULL")
    yield server
    server.remove()


@pytest.fixture(autouse=True)
def tidy(wal, box):
    """No test leaves a slot, a walsender or rows behind."""
    yield
    box.close_clients()
    if not wal.is_running:
        wal.start()
    eventually(lambda: not walsenders(wal), "all walsenders have ended")
    wal.admin("SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots")
    wal.admin("TRUNCATE marks")


def configuration(server, changes=None):
    """`replication` is the database that tools of physical replication name."""
    return standard_config(
        server,
        changes,
        routes={
            "replication": {"pool_mode": "session"},
            "narrow": {"pool_mode": "session", "pool_size": 1},
        },
    )


@pytest.fixture(scope="module")
def box(wal):
    with Signalbox(configuration(wal)) as process:
        yield process


def walsenders(server):
    """Rows (pid, application_name, state of pg_stat_activity)."""
    return server.admin(
        "SELECT pid, application_name, state FROM pg_stat_activity "
        "WHERE backend_type = 'walsender' ORDER BY pid",
        database="postgres",
    )


def replicating(box, database="session", mode="database", **startup):
    return box.raw(database, replication=mode, **startup)


def direct(server, mode="database", **startup):
    client = RawClient("127.0.0.1", server.port)
    return client.login("app", "app", ROLES["app"], replication=mode, **startup)


def begin(name, *arguments):
    """A program of PostgreSQL's, with the password of `app`."""
    return subprocess.Popen(
        [str(BIN / name), *map(str, arguments)],
        env={"PGPASSWORD": ROLES["app"], "PATH": "/usr/bin:/bin"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )


def run(server, name, *arguments):
    """What such a program says; it ends well, and soon."""
    process = begin(name, *arguments)
    try:
        said, _ = process.communicate(timeout=120)
    except subprocess.TimeoutExpired as late:
        left = f"walsenders {walsenders(server)}, unread {unread()}"
        os.killpg(process.pid, signal.SIGKILL)  # pg_basebackup has a child that would go on
        process.wait()
        raise AssertionError(f"{name} hangs behind {late.stdout}; {left}") from late
    assert process.returncode == 0, said
    return said


def unread():
    """The host's TCP sockets with bytes that wait to be sent or read."""
    lines = pathlib.Path("/proc/net/tcp").read_text().splitlines()[1:]
    return [" ".join(line.split()[1:5]) for line in lines if " 00000000:00000000 " not in line]


def end(process):
    """Ends a tool as a user would; it must say that all is well."""
    process.send_signal(signal.SIGINT)
    said, _ = process.communicate(timeout=20)
    assert process.returncode == 0, said


def conninfo(box, **more):
    keys = {"host": "127.0.0.1", "port": box.port, "user": "app", "sslmode": "require", **more}
    keys["sslcert"] = "/nonexistent"  # a server that we start cannot look into our home
    return " ".join(f"{key}={value}" for key, value in keys.items())


def lsn(server):
    return server.admin("SELECT pg_current_wal_lsn()::text")[0][0]


def status_update(reply):
    """Standby status update: nothing has been written yet."""
    return messages.copy_data(b"r" + struct.pack("!qqqqB", 0, 0, 0, 0, reply))


# --- startup


def test_login_says_what_the_server_says(wal, box):
    """Parameters, in the server's order; then commands and SQL, bytes for bytes."""
    options = {"application_name": "rep", "options": "-c work_mem=5MB", "DateStyle": "German"}
    pair = (direct(wal, **options), replicating(box, **options))
    said = [[m for m in client.log if m[0] not in b"RK"] for client in pair]
    assert said[1] == said[0]
    for sql in (
        "SHOW work_mem",
        "SHOW wal_segment_size",
        "SELECT current_database(), current_date > '01.02.2020'",
        "NONSENSE",
        "START_REPLICATION SLOT nowhere LOGICAL 0/0",
        "SELECT 1; SELECT 2",
        "BEGIN",
        "SELECT 1/0",
        "ROLLBACK",
        "",
    ):
        answers = [client.query(sql) for client in pair]
        assert answers[1] == answers[0], sql
    identity = [client.rows("IDENTIFY_SYSTEM")[0] for client in pair]
    assert identity[1][:2] == identity[0][:2] and identity[1][3] == "app"
    for client in pair:  # the extended protocol is not for walsenders
        client.send(messages.parse("SELECT 1") + messages.sync())
    refusals = [client.read_until() for client in pair]
    assert refusals[1] == refusals[0] and refusals[0][0][0] == b"E"
    assert (pair[1].backend_key[0], "rep") in [row[:2] for row in walsenders(wal)]
    for client in pair:
        client.terminate()


@pytest.mark.parametrize("value", ["true", "1", "on", "YES", "t"])
def test_physical(box, value):
    client = replicating(box, "replication", mode=value)
    assert client.rows("IDENTIFY_SYSTEM")[0][3] is None  # of no database
    assert client.error("SELECT 1")["C"] == "0A000"
    client.terminate()


@pytest.mark.parametrize("value", ["false", "0", "off", "NO", "f"])
@pytest.mark.parametrize("database", ["session", "transaction"])
def test_no_replication(box, database, value):
    client = replicating(box, database, mode=value)
    assert client.error("IDENTIFY_SYSTEM")["C"] == "42601"
    client.terminate()


@pytest.mark.parametrize("value", ["", "o", "databases", "2", "truely"])
def test_values_that_are_none(wal, box, value):
    said = []
    for connect in (lambda: direct(wal, mode=value), lambda: replicating(box, mode=value)):
        with pytest.raises(ServerError) as caught:
            connect()
        said.append({key: caught.value.fields.get(key) for key in "VCMDH"})
    assert said[1] == said[0]


@pytest.mark.parametrize("database", ["transaction", "statement"])
def test_other_pool_modes_refuse(box, database):
    with pytest.raises(ServerError) as caught:
        replicating(box, database)
    assert caught.value.code == "0A000" and caught.value.fields["V"] == "FATAL"
    assert 'pool_mode = "session"' in caught.value.fields["H"]
    with pytest.raises(ServerError) as caught:
        box.raw(database, password="wrong", replication="database")
    assert caught.value.code == "28P01"  # a route's mode is told behind a good password only


def test_a_role_that_may_not(wal, start_box):
    """The server's own words."""
    with pytest.raises(ServerError) as caught:
        RawClient("127.0.0.1", wal.port).login("other", "app", ROLES["other"], replication="true")
    config = configuration(wal)
    del config["connections"]["main"]["user"], config["connections"]["main"]["password"]
    box = start_box(config)
    with pytest.raises(ServerError) as refused:
        box.raw("session", user="other", replication="true")
    assert refused.value.code == caught.value.code == "42501"
    assert refused.value.fields["M"] == caught.value.fields["M"]
    # With the client's own role, its SCRAM proof opens the walsender, too.
    client = replicating(box)
    assert client.rows("IDENTIFY_SYSTEM")[0][3] == "app"
    client.terminate()


def test_a_server_that_is_not_there(wal, start_box):
    config = configuration(wal)
    config["connections"]["main"]["port"] = 1
    box = start_box(config)
    with pytest.raises(ServerError) as caught:
        replicating(box)
    assert caught.value.code == "57P03" and "Connection refused" in caught.value.fields["M"]


def test_a_connection_of_its_own(wal, box):
    """It needs no place in the pool, and nobody gets it after."""
    plain = box.raw("narrow")  # the pool's only connection
    first, second = replicating(box, "narrow"), replicating(box, "narrow")
    pids = {plain.backend_key[0], first.backend_key[0], second.backend_key[0]}
    assert len(pids) == 3
    assert {row[0] for row in walsenders(wal)} == pids - {plain.backend_key[0]}
    first.terminate()
    second.terminate()
    eventually(lambda: not walsenders(wal), "the walsenders have ended")
    third = replicating(box, "narrow")
    assert third.backend_key[0] not in pids
    third.terminate()
    assert plain.value("SELECT pg_backend_pid()") == str(plain.backend_key[0])
    plain.terminate()


# --- streams


def test_both_ends_may_end_a_stream(wal, box):
    """CopyDone from the client is answered, and the session goes on; message for message."""
    kinds = []
    for slot, client in (("by_direct", direct(wal)), ("by_box", replicating(box))):
        client.query(f"CREATE_REPLICATION_SLOT {slot} TEMPORARY LOGICAL test_decoding")
        client.send(messages.query(f"START_REPLICATION SLOT {slot} LOGICAL 0/0"))
        assert client.read_message()[0] == b"W"
        client.send(status_update(1))
        kind, body = client.read_message(5)
        assert (kind, body[:1]) == (b"d", b"k")
        client.send(messages.copy_done())
        found = [kind for kind, _ in client.read_until() if kind != b"d"]
        assert client.rows("SELECT 7") == [("7",)]
        kinds.append(found)
        client.terminate()
    assert kinds[1] == kinds[0] and kinds[0][0] == b"c" and kinds[0][-1] == b"Z"


def test_keepalives_pass_at_once(wal, box):
    client = replicating(box, "replication", mode="true")
    client.send(messages.query(f"START_REPLICATION PHYSICAL {lsn(wal)}"))
    assert client.read_message()[0] == b"W"
    slowest = 0
    for _ in range(20):
        started = time.monotonic()
        client.send(status_update(1))
        while client.read_message(5)[1][:1] != b"k":
            pass
        slowest = max(slowest, time.monotonic() - started)
    assert slowest < 1, slowest
    client.terminate()


def test_a_slow_reader_fills_no_memory(wal, box):
    wal.admin("SELECT pg_switch_wal()")
    start = lsn(wal)
    wal.admin("CREATE TABLE big AS SELECT repeat('x', 1000) AS t FROM generate_series(1, 40000)")
    wal.admin("DROP TABLE big")
    client = replicating(box, "replication", mode="true")
    before = resident_bytes(box.pid)
    client.send(messages.query(f"START_REPLICATION PHYSICAL {start}"))
    time.sleep(1)
    grown = resident_bytes(box.pid) - before
    assert grown < (64 if is_instrumented() else 4) * 2**20, grown
    size = 0
    while size < 30 * 2**20:  # nothing of it was lost
        size += len(client.read_message(10)[1])
    client.terminate()


# --- tools


def test_psql(wal, box):
    said = run(
        wal, "psql", "-XAtq", conninfo(box, dbname="session", replication="database"), "-c",
        "IDENTIFY_SYSTEM", "-c", "CREATE_REPLICATION_SLOT s TEMPORARY LOGICAL test_decoding", "-c",
        "SELECT count(*) FROM marks",
    )  # fmt: skip
    lines = said.splitlines()
    assert re.fullmatch(r"\d+\|1\|[0-9A-F]+/[0-9A-F]+\|app", lines[0]), lines
    assert lines[1].startswith("s|") and lines[2] == "0", lines


def test_pg_receivewal(wal, box, tmp_path):
    """What it has received is the server's own segment."""
    run(wal, "pg_receivewal", "-d", conninfo(box), "--slot", "receiver", "--create-slot")
    wal.admin("SELECT pg_switch_wal()")
    name = wal.admin("SELECT pg_walfile_name(pg_current_wal_lsn() + 1)")[0][0]
    process = begin(
        "pg_receivewal", "-d", conninfo(box), "-D", tmp_path, "--slot", "receiver", "--synchronous",
        "--status-interval", "1",
    )  # fmt: skip
    try:
        eventually(
            lambda: wal.admin("SELECT active FROM pg_replication_slots") == [(True,)], "it receives"
        )
        wal.admin("INSERT INTO marks SELECT g, repeat('w', 1000) FROM generate_series(1, 5000) g")
        wal.admin("SELECT pg_switch_wal()")
        eventually((tmp_path / name).exists, "the segment is complete", 30)
        assert filecmp.cmp(tmp_path / name, wal.data / "pg_wal" / name, shallow=False)
        position = lsn(wal)
        sql = "SELECT flush_lsn >= %s::pg_lsn FROM pg_stat_replication"
        eventually(lambda: wal.admin(sql, [position]) == [(True,)], "its answers reach the server")
    finally:
        end(process)


def test_pg_recvlogical(wal, box, tmp_path):
    options = ["-d", conninfo(box, dbname="session"), "--slot", "decoder"]
    run(wal, "pg_recvlogical", *options, "--create-slot", "-P", "test_decoding")
    out = tmp_path / "out"
    process = begin("pg_recvlogical", *options, "--start", "-f", out, "-F", "1", "-s", "1")
    try:
        wal.admin("INSERT INTO marks VALUES (1, 'one'), (2, 'two')")
        wal.admin("UPDATE marks SET note = 'deux' WHERE id = 2")
        eventually(lambda: out.exists() and "'deux'" in out.read_text(), "changes arrive")
        written = lsn(wal)
        wal.admin("SELECT pg_logical_emit_message(true, 'test', 'goes past it')")
        sql = "SELECT confirmed_flush_lsn >= %s::pg_lsn FROM pg_replication_slots"
        eventually(lambda: wal.admin(sql, [written]) == [(True,)], "it has confirmed them")
    finally:
        end(process)
    lines = out.read_text().splitlines()
    changes = [line for line in lines if line.startswith("table ")]
    assert changes == [
        "table public.marks: INSERT: id[integer]:1 note[text]:'one'",
        "table public.marks: INSERT: id[integer]:2 note[text]:'two'",
        "table public.marks: UPDATE: old-key: id[integer]:2 note[text]:'two' "
        "new-tuple: id[integer]:2 note[text]:'deux'",
    ], lines
    # What it has confirmed is not sent again.
    again = tmp_path / "again"
    end_position = lsn(wal)
    run(wal, "pg_recvlogical", *options, "--start", "-f", again, "--endpos", end_position)
    assert "table " not in again.read_text()
    run(wal, "pg_recvlogical", *options, "--drop-slot")
    assert wal.admin("SELECT count(*) FROM pg_replication_slots") == [(0,)]


def test_pg_basebackup(wal, box, tmp_path):
    """With the log streamed beside it: two connections at a time."""
    wal.admin("INSERT INTO marks SELECT g, 'backed up' FROM generate_series(1, 1000) g")
    target = tmp_path / "backup"
    options = ["-D", target, "-X", "stream", "-c", "fast", "-P", "-v"]
    run(wal, "pg_basebackup", "-d", conninfo(box), *options)
    assert "backup successfully verified" in run(wal, "pg_verifybackup", target)


def test_psycopg2(wal, box):
    """A stream that is fed back, in the driver's own terms."""
    connection = psycopg2.connect(
        conninfo(box, dbname="session", password=ROLES["app"]),
        connection_factory=psycopg2.extras.LogicalReplicationConnection,
    )
    cursor = connection.cursor()
    cursor.create_replication_slot("fed", output_plugin="test_decoding")
    cursor.start_replication(slot_name="fed", decode=True)
    wal.admin("INSERT INTO marks VALUES (1, 'streamed')")
    seen = []
    fed = 0

    def read():
        nonlocal fed
        message = cursor.read_message()
        if message is not None:
            seen.append(message.payload)
            fed = message.data_start
            cursor.send_feedback(flush_lsn=fed, reply=True, force=True)
        return any(text.startswith("COMMIT") for text in seen)

    eventually(read, "the transaction arrives")
    assert seen[1] == "table public.marks: INSERT: id[integer]:1 note[text]:'streamed'"

    def confirmed():
        cursor.read_message()
        sql = "SELECT confirmed_flush_lsn >= %s::pg_lsn FROM pg_replication_slots"
        return wal.admin(sql, [f"{fed >> 32:X}/{fed & 0xFFFFFFFF:X}"]) == [(True,)]

    eventually(confirmed, "the feedback arrives")
    connection.close()


def test_subscription(wal, box):
    """Workers that copy the table and apply changes, each over Signalbox."""
    with Postgres("subscriber", settings={"wal_level": "logical"}) as subscriber:
        wal.admin("INSERT INTO marks SELECT g, 'before' FROM generate_series(1, 500) g")
        wal.admin("CREATE PUBLICATION all_marks FOR TABLE marks")
        subscriber.admin("CREATE TABLE marks (id int PRIMARY KEY, note text)")
        subscriber.admin(
            "CREATE SUBSCRIPTION through CONNECTION "
            f"'{conninfo(box, dbname='session', password=ROLES['app'])}' PUBLICATION all_marks"
        )

        def rows():
            sql = "SELECT count(*), count(*) FILTER (WHERE note = 'after') FROM marks"
            return subscriber.admin(sql)

        eventually(lambda: rows() == [(500, 0)], "the copy", 30)
        wal.admin("INSERT INTO marks SELECT g, 'after' FROM generate_series(501, 600) g")
        eventually(lambda: rows() == [(600, 100)], "the changes", 30)
        subscriber.admin("DROP SUBSCRIPTION through")
        wal.admin("DROP PUBLICATION all_marks")
    assert wal.admin("SELECT count(*) FROM pg_replication_slots") == [(0,)]


def test_standby(wal, box):
    """A hot standby whose walreceiver comes through Signalbox, and comes again."""
    standby = Postgres("standby", start=False, standby_of=wal)
    auto = standby.data / "postgresql.auto.conf"
    text = re.sub(r"^primary_conninfo.*$", "", auto.read_text(), flags=re.M)
    password = f"password={ROLES['app']}"
    auto.write_text(text + f"primary_conninfo = '{conninfo(box)} {password}'\n")
    try:
        standby.start()
        wal.admin("INSERT INTO marks VALUES (1, 'before')")
        count = "SELECT count(*) FROM marks"
        eventually(lambda: standby.admin(count) == [(1,)], "the row is there", 30)
        ports = standby.admin("SELECT sender_port, status FROM pg_stat_wal_receiver")
        assert ports == [(box.port, "streaming")]
        for pid, *_ in walsenders(wal):
            wal.admin("SELECT pg_terminate_backend(%s)", [pid])
        wal.admin("INSERT INTO marks VALUES (2, 'after')")
        eventually(lambda: standby.admin(count) == [(2,)], "it has come again", 30)
    finally:
        standby.remove()


# --- ends


@pytest.fixture
def waiting(wal, box):
    """A command that waits: its slot needs all running transactions to end."""
    with wal.admin_connection() as holder:
        holder.execute("BEGIN")
        holder.execute("INSERT INTO marks VALUES (99, 'open')")
        client = replicating(box, application_name="waiting")
        client.send(messages.query("CREATE_REPLICATION_SLOT w TEMPORARY LOGICAL test_decoding"))
        eventually(
            lambda: [row for row in walsenders(wal) if row[1:] == ("waiting", "active")], "it waits"
        )
        client.expect_silence(0.1)
        yield client, holder


def test_cancel(wal, box, waiting):
    client, _ = waiting
    client.cancel(port=box.port)
    found = client.read_until()
    assert messages.error_fields(found[0][1])["C"] == "57014"
    assert client.rows("SELECT 1") == [("1",)]
    client.terminate()


@pytest.mark.parametrize("way", ["abort", "close", "terminate"])
def test_a_client_that_vanishes_inside_a_command(wal, waiting, way):
    client, _ = waiting
    getattr(client, way)()
    eventually(lambda: not walsenders(wal), "the walsender has ended")


@pytest.mark.parametrize("way", ["abort", "close", "terminate"])
def test_a_client_that_vanishes_inside_a_stream(wal, box, way):
    client = replicating(box, "replication", mode="true")
    client.send(messages.query(f"START_REPLICATION PHYSICAL {lsn(wal)}"))
    assert client.read_message()[0] == b"W"
    getattr(client, way)()
    eventually(lambda: not walsenders(wal), "the walsender has ended")


def test_cancel_inside_a_stream(wal, box):
    """As on a direct connection."""
    said = []
    for port, client in (
        (wal.port, direct(wal, mode="true")),
        (box.port, replicating(box, "replication", mode="true")),
    ):
        client.send(messages.query(f"START_REPLICATION PHYSICAL {lsn(wal)}"))
        assert client.read_message()[0] == b"W"
        client.cancel(port=port)
        found = [m for m in client.read_until() if m[0] != b"d"]
        said.append(found)
        client.terminate()
    assert said[1] == said[0] and messages.error_fields(said[0][0][1])["C"] == "57014"


def test_a_server_that_dies(wal, box):
    client = replicating(box)
    os.kill(client.backend_key[0], signal.SIGKILL)
    (found,) = client.read_to_end()
    fields = messages.error_fields(found[1])
    assert (fields["V"], fields["C"]) == ("FATAL", "08006")

    def works():
        try:
            return replicating(box).rows("SELECT 1") == [("1",)]
        except ServerError as error:
            assert error.code in ("57P02", "57P03"), error  # it recovers from the crash
            return False

    eventually(works, "the server is back")


def test_a_server_that_stops(wal, box):
    """Its last words and none of ours behind them."""
    client = replicating(box)
    wal.admin("SELECT pg_terminate_backend(%s)", [client.backend_key[0]])
    found = client.read_to_end()
    assert [kind for kind, _ in found] == [b"E"]
    assert messages.error_fields(found[0][1])["C"] == "57P01"


def test_a_client_that_does_not_keep_the_protocol(wal, box):
    client = replicating(box)
    client.send(b"!")
    fields = messages.error_fields(client.read_to_end()[0][1])
    assert (fields["V"], fields["C"]) == ("FATAL", "08P01")
    assert fields["M"] == "invalid frontend message type 33"


def expect_shutdown(found):
    assert [kind for kind, _ in found if kind != b"d"] == [b"E"], found
    fields = messages.error_fields(found[-1][1])
    assert (fields["V"], fields["C"]) == ("FATAL", "57P01")


def test_sigterm(wal, start_box):
    """An idle session and a stream end at once; a command is answered first."""
    box = start_box(configuration(wal))
    idle, stream = replicating(box), replicating(box, "replication", mode="true")
    stream.send(messages.query(f"START_REPLICATION PHYSICAL {lsn(wal)}"))
    assert stream.read_message()[0] == b"W"
    with wal.admin_connection() as holder:
        holder.execute("BEGIN")
        holder.execute("INSERT INTO marks VALUES (98, 'open')")
        command = replicating(box)
        command.send(messages.query("CREATE_REPLICATION_SLOT w TEMPORARY LOGICAL test_decoding"))
        eventually(
            lambda: [row for row in walsenders(wal) if row[2] == "active"], "the command waits"
        )
        command.expect_silence(0.2)
        box.send_signal(signal.SIGTERM)
        expect_shutdown(idle.read_to_end())
        expect_shutdown(stream.read_to_end())
        command.expect_silence(0.2)
        holder.execute("ROLLBACK")
    found = command.read_to_end()
    assert [kind for kind, _ in found][:2] == [b"T", b"D"] and found[-2][0] == b"Z", found
    expect_shutdown(found[-1:])
    assert box.wait_exit(5) == 0


def test_a_busy_stream_ends_between_two_messages(wal, start_box):
    box = start_box(configuration(wal))
    start = lsn(wal)
    wal.admin("CREATE TABLE big AS SELECT repeat('x', 1000) AS t FROM generate_series(1, 20000)")
    wal.admin("DROP TABLE big")
    client = replicating(box, "replication", mode="true")
    client.send(messages.query(f"START_REPLICATION PHYSICAL {start}"))
    assert client.read_message()[0] == b"W"
    box.send_signal(signal.SIGTERM)
    expect_shutdown(client.read_to_end())  # which fails on a message that is cut
    assert box.wait_exit(10) == 0


def test_an_altered_connection(wal, start_box):
    """A stream to the old target ends at once, so that its client can come to the new one."""
    box = start_box(configuration(wal))
    stream = replicating(box, "replication", mode="true")
    stream.send(messages.query(f"START_REPLICATION PHYSICAL {lsn(wal)}"))
    assert stream.read_message()[0] == b"W"
    config = configuration(wal)
    config["connections"]["main"]["host"] = "localhost"
    box.reload(config)
    found = stream.read_to_end()
    expect_shutdown(found)
    assert "old target" in messages.error_fields(found[-1][1])["M"]
    client = replicating(box)
    assert client.rows("SELECT 1") == [("1",)]
    client.terminate()
