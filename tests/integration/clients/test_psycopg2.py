"""psycopg2: its extras, COPY, named cursors, large objects, asynchronous connections, cancel."""

import io
import select
import threading
import uuid

import psycopg2
import psycopg2.errorcodes
import psycopg2.extensions
import psycopg2.extras
import psycopg2.pool
import pytest


@pytest.fixture
def connection(target, schema):
    options = f"-c search_path={schema}"
    opened = psycopg2.connect(target.conninfo, options=options)
    with opened, opened.cursor() as cursor:
        cursor.execute("CREATE TABLE items (id int PRIMARY KEY, note text)")
    yield opened
    opened.close()


def fetch(connection, sql, parameters=None):
    with connection.cursor() as cursor:
        cursor.execute(sql, parameters)
        return cursor.fetchall()


def test_types_and_parameters(connection):
    psycopg2.extras.register_uuid()
    values = (42, "grün", b"\0\xff", [1, None], psycopg2.extras.Json({"a": [1]}), uuid.UUID(int=7))
    found = fetch(connection, "SELECT %s, %s, %s, %s::int[], %s::jsonb, %s", values)[0]
    assert found[:2] == (42, "grün") and bytes(found[2]) == b"\0\xff"
    assert found[3:] == ([1, None], {"a": [1]}, uuid.UUID(int=7))
    assert connection.info.ssl_in_use and connection.info.parameter_status("TimeZone") == "UTC"
    connection.set_client_encoding("LATIN1")
    assert fetch(connection, "SELECT %s, current_setting('client_encoding')", ("ä",)) == [
        ("ä", "LATIN1")
    ]
    with connection.cursor(cursor_factory=psycopg2.extras.RealDictCursor) as cursor:
        cursor.execute("SELECT 1 AS a, 'x' AS b")
        assert cursor.fetchone() == {"a": 1, "b": "x"}
        assert [column.name for column in cursor.description] == ["a", "b"]


def test_composites(connection):
    """A composite's oids are asked from the catalogs, on whichever server connection."""
    with connection.cursor() as cursor:
        cursor.execute("CREATE TYPE pair AS (number int, word text)")
        psycopg2.extras.register_composite("pair", cursor)
        cursor.execute("SELECT ROW(1, 'a,b')::pair")
        assert tuple(cursor.fetchone()[0]) == (1, "a,b")
        psycopg2.extras.register_default_jsonb(connection)
        psycopg2.extras.execute_batch(
            cursor, "INSERT INTO items VALUES (%s, %s)", [(n, f"n{n}") for n in range(250)]
        )
        found = psycopg2.extras.execute_values(
            cursor,
            "INSERT INTO items VALUES %s RETURNING id",
            [(n, None) for n in range(1000, 1250)],
            page_size=50,
            fetch=True,
        )
        assert [row[0] for row in found] == list(range(1000, 1250))
    connection.commit()
    assert fetch(connection, "SELECT count(*), count(note) FROM items") == [(500, 250)]


def test_cursors(connection):
    with connection, connection.cursor() as cursor:
        cursor.execute("INSERT INTO items SELECT g, 'n' FROM generate_series(0, 499) g")
    with connection, connection.cursor(name="server side", scrollable=True) as cursor:
        cursor.itersize = 40
        cursor.execute("SELECT id FROM items ORDER BY id")
        assert [row[0] for row in cursor] == list(range(500))
        cursor.scroll(100, mode="absolute")
        assert cursor.fetchmany(2) == [(100,), (101,)]
    # A cursor WITH HOLD outlives its transaction, with others between.
    held = connection.cursor("held", withhold=True)
    held.execute("SELECT id FROM items ORDER BY id")
    connection.commit()
    assert held.fetchone() == (0,)
    assert fetch(connection, "SELECT 1") == [(1,)]
    connection.commit()
    assert held.fetchmany(3) == [(1,), (2,), (3,)]
    held.close()
    connection.commit()
    assert fetch(connection, "SELECT count(*) FROM pg_cursors") == [(0,)]


def test_copy(connection):
    with connection, connection.cursor() as cursor:
        cursor.copy_from(io.StringIO("1\ta\n2\t\\N\n"), "items", columns=("id", "note"))
        out = io.StringIO()
        cursor.copy_to(out, "items", sep="|")
        assert out.getvalue() == "1|a\n2|\\N\n"
        rows = "".join(f"{n},{'x' * 500}\n" for n in range(1000, 5000))
        cursor.copy_expert("COPY items FROM STDIN (FORMAT csv)", io.StringIO(rows), size=4096)
        assert cursor.rowcount == 4000
        out = io.BytesIO()
        cursor.copy_expert("COPY items TO STDOUT (FORMAT binary)", out)
        assert out.getvalue()[:11] == b"PGCOPY\n\xff\r\n\0"
    with pytest.raises(psycopg2.errors.InvalidTextRepresentation), connection:
        connection.cursor().copy_expert("COPY items FROM STDIN", io.StringIO("x\ty\n"))

    class Broken:
        def read(self, _):
            raise ZeroDivisionError("in the middle")

    with pytest.raises(psycopg2.errors.QueryCanceled, match="in the middle"), connection:
        connection.cursor().copy_expert("COPY items FROM STDIN", Broken())
    assert fetch(connection, "SELECT count(*) FROM items") == [(4002,)]


def test_transactions(connection):
    with pytest.raises(psycopg2.errors.UniqueViolation) as violation, connection:
        fetch(connection, "INSERT INTO items VALUES (1), (1) RETURNING id")
    assert violation.value.pgcode == psycopg2.errorcodes.UNIQUE_VIOLATION
    assert violation.value.diag.constraint_name == "items_pkey"
    connection.set_session(isolation_level="REPEATABLE READ", readonly=True, deferrable=True)
    with connection:
        assert fetch(connection, "SHOW transaction_isolation") == [("repeatable read",)]
        with pytest.raises(psycopg2.errors.ReadOnlySqlTransaction):
            fetch(connection, "DELETE FROM items RETURNING id")
    # In autocommit psycopg2 sets default_transaction_*, which are the session's.
    connection.set_session(isolation_level="SERIALIZABLE", readonly=True, autocommit=True)
    for _ in range(3):
        assert fetch(connection, "SHOW transaction_isolation") == [("serializable",)]
        assert fetch(connection, "SHOW transaction_read_only") == [("on",)]
    connection.set_session(isolation_level="DEFAULT", readonly="DEFAULT", autocommit=False)
    with connection:
        assert fetch(connection, "SHOW transaction_isolation") == [("read committed",)]
    connection.reset()
    assert connection.get_transaction_status() == psycopg2.extensions.TRANSACTION_STATUS_IDLE
    # reset() sends RESET ALL, and the startup packet's values come back.
    assert fetch(connection, "SELECT count(*) FROM items") == [(0,)]
    connection.rollback()
    xid = connection.xid(7, connection.info.dbname, "psycopg2")
    connection.tpc_begin(xid)
    fetch(connection, "INSERT INTO items VALUES (9) RETURNING id")
    connection.tpc_prepare()
    connection.reset()
    assert str(xid) in [str(found) for found in connection.tpc_recover()]
    connection.tpc_commit(xid)
    assert fetch(connection, "SELECT id FROM items") == [(9,)]


def test_large_objects(connection):
    with connection:
        written = connection.lobject(0, "wb")
        written.write(bytes(range(256)) * 1000)
        written.close()
    with connection:
        read = connection.lobject(written.oid, "rb")
        assert read.seek(-1, 2) == 255999 and read.read() == b"\xff"
        read.unlink()


def test_notices_and_notifications(connection, target, mode):
    connection.autocommit = True
    with connection.cursor() as cursor:
        cursor.execute("DO $$ BEGIN RAISE NOTICE 'noticed'; END $$")
        assert connection.notices == ["NOTICE:  noticed\n"]
        channel = f"psycopg2_{connection.info.dbname}"
        cursor.execute(f"LISTEN {channel}")
        cursor.execute(f"NOTIFY {channel}, 'own'")
    # One's own comes with the answer, another's by itself.
    assert [(n.channel, n.payload) for n in connection.notifies] == [(channel, "own")]
    other = psycopg2.connect(target.conninfo)
    with other, other.cursor() as cursor:
        cursor.execute("SELECT pg_notify(%s, 'other')", (channel,))
    other.close()
    assert select.select([connection], [], [], 10)[0], "no notification within 10 s"
    connection.poll()
    assert [n.payload for n in connection.notifies] == ["own", "other"]
    if mode == "session":  # else the process is that of a server connection that anybody uses
        assert connection.notifies[0].pid == connection.info.backend_pid


def test_cancel_and_errors(connection, target):
    timer = threading.Timer(0.5, connection.cancel)
    timer.start()
    with pytest.raises(psycopg2.errors.QueryCanceled), connection:
        fetch(connection, "SELECT pg_sleep(30)")
    assert fetch(connection, "SELECT 1") == [(1,)]
    with pytest.raises(psycopg2.OperationalError, match="password authentication failed"):
        psycopg2.connect(target.conninfo, password="wrong")


def test_asynchronous(target):
    """Its oldest way of not waiting: poll() and select()."""

    def wait(opened):
        while True:
            state = opened.poll()
            if state == psycopg2.extensions.POLL_OK:
                return
            reading = state == psycopg2.extensions.POLL_READ
            found = select.select([opened] * reading, [opened] * (not reading), [], 10)
            assert any(found), "nothing within 10 s"

    opened = [psycopg2.connect(target.conninfo, async_=1) for _ in range(5)]
    cursors = []
    for number, connected in enumerate(opened):
        wait(connected)
        cursors.append(connected.cursor())
        cursors[-1].execute("SELECT pg_sleep(0.1), %s", (number,))
    for number, connected in enumerate(opened):
        wait(connected)
        assert cursors[number].fetchone()[1] == number
        connected.close()


def test_pool_of_threads(target):
    pool = psycopg2.pool.ThreadedConnectionPool(2, 8, target.conninfo)
    sums, failures = [], []

    def work(number):
        try:
            for turn in range(20):
                connection = pool.getconn(key=number)
                sums.append(fetch(connection, "SELECT %s + %s", (number, turn))[0][0])
                pool.putconn(connection, key=number)
        except Exception as error:
            failures.append(error)

    threads = [threading.Thread(target=work, args=(n,)) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    pool.closeall()
    assert not failures and sum(sums) == sum(n + t for n in range(8) for t in range(20))
