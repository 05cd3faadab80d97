"""psycopg 3: prepared and binary, pipelines, COPY, cursors, two-phase commit, asyncio."""

import asyncio
import threading

import psycopg
import pytest
from psycopg import sql
from psycopg.rows import dict_row

from harness import eventually


@pytest.fixture(scope="module", autouse=True)
def tables(pg):
    pg.admin("CREATE TABLE IF NOT EXISTS python_rows (id int PRIMARY KEY, note text)")
    pg.admin("ALTER TABLE python_rows OWNER TO app")


@pytest.fixture
def connection(target):
    with psycopg.connect(target.conninfo) as connected:
        connected.execute("TRUNCATE python_rows")
        connected.commit()
        yield connected


def test_psycopg_basics(connection):
    assert connection.pgconn.ssl_in_use
    cursor = connection.cursor(row_factory=dict_row)
    cursor.execute("INSERT INTO python_rows VALUES (%s, %s) RETURNING *", (1, "ä"))
    assert cursor.fetchone() == {"id": 1, "note": "ä"}
    connection.rollback()
    assert connection.execute("SELECT count(*) FROM python_rows").fetchone() == (0,)
    with pytest.raises(psycopg.errors.DivisionByZero):
        connection.execute("SELECT 1/0")
    with pytest.raises(psycopg.errors.InFailedSqlTransaction):
        connection.execute("SELECT 1")
    connection.rollback()
    with connection.transaction():
        connection.execute("INSERT INTO python_rows VALUES (1, 'kept')")
        with pytest.raises(ZeroDivisionError), connection.transaction():
            connection.execute("INSERT INTO python_rows VALUES (2, 'not kept')")
            raise ZeroDivisionError
    assert connection.execute("SELECT id FROM python_rows").fetchall() == [(1,)]


def test_psycopg_prepares(target):
    """Prepared from the first execution on, by several connections, with many statements each."""
    connections = [
        psycopg.connect(target.conninfo, prepare_threshold=0, autocommit=True) for _ in range(3)
    ]
    for turn in range(5):
        for connected in connections:
            for n in range(15):
                found = connected.execute(f"SELECT {n} + %s::int", (turn,)).fetchone()
                assert found == (n + turn,)
    for connected in connections:
        connected.prepared_max = 3  # psycopg deallocates by itself now
        for n in range(15):
            assert connected.execute(f"SELECT {n} * %s::int", (2,)).fetchone() == (n * 2,)
        connected.close()


def test_psycopg_binary(connection):
    found = connection.execute(
        "SELECT %b::int8, %b::bytea, %b::text", (2**40, b"\0\xff", "x")
    ).fetchone()
    assert found == (2**40, b"\0\xff", "x")
    cursor = connection.cursor(binary=True)
    cursor.execute("SELECT now(), 1.5::numeric, ARRAY[1, NULL, 3], '{\"a\": 1}'::jsonb")
    assert cursor.fetchone()[1:] == (pytest.approx(1.5), [1, None, 3], {"a": 1})


def test_psycopg_pipeline(connection):
    connection.autocommit = True
    with connection.pipeline() as pipeline:
        cursors = [
            connection.execute("INSERT INTO python_rows VALUES (%s, 'p') RETURNING id", (i,))
            for i in range(100)
        ]
        pipeline.sync()
        assert [cursor.fetchone()[0] for cursor in cursors] == list(range(100))
        with pytest.raises(psycopg.errors.UniqueViolation):
            connection.execute("INSERT INTO python_rows VALUES (1, 'twice')")
            pipeline.sync()
    assert connection.execute("SELECT count(*) FROM python_rows").fetchone() == (100,)


def test_psycopg_pipeline_with_errors_between(connection):
    """executemany uses a pipeline; one bad row rolls the whole back."""
    with pytest.raises(psycopg.errors.UniqueViolation):
        connection.cursor().executemany(
            "INSERT INTO python_rows VALUES (%s, %s)", [(i % 50, "x") for i in range(100)]
        )
    connection.rollback()
    assert connection.execute("SELECT count(*) FROM python_rows").fetchone() == (0,)


def test_psycopg_copy(connection):
    rows = [(i, f"note {i}\twith tab") for i in range(5000)]
    with connection.cursor().copy("COPY python_rows FROM STDIN") as copy:
        for row in rows:
            copy.write_row(row)
    with connection.cursor().copy("COPY python_rows TO STDOUT (FORMAT binary)") as copy:
        copy.set_types(["int4", "text"])
        assert sorted(copy.rows()) == rows
    # Which of the two comes out is the library's choice.
    with pytest.raises((ZeroDivisionError, psycopg.errors.QueryCanceled)):
        with connection.cursor().copy("COPY python_rows FROM STDIN") as copy:
            copy.write_row((99999, "never"))
            raise ZeroDivisionError
    connection.rollback()
    assert connection.execute("SELECT count(*) FROM python_rows").fetchone() == (0,)


def test_psycopg_server_cursor(connection):
    with connection.cursor("named", scrollable=True) as cursor:
        cursor.execute("SELECT generate_series(1, 1000)")
        cursor.itersize = 50
        assert sum(row[0] for row in cursor) == 500500
        cursor.scroll(10, mode="absolute")
        assert cursor.fetchmany(2) == [(11,), (12,)]


def test_psycopg_cancel(connection):
    # Once the server has it, so that the cancel is not early.
    timer = threading.Timer(0.5, connection.cancel)
    timer.start()
    with pytest.raises(psycopg.errors.QueryCanceled):
        connection.execute("SELECT pg_sleep(30)")
    connection.rollback()
    assert connection.execute("SELECT 1").fetchone() == (1,)


def test_psycopg_notices_and_notifies(connection):
    seen = []
    connection.add_notice_handler(lambda diagnostic: seen.append(diagnostic.message_primary))
    connection.autocommit = True
    connection.execute("DO $$ BEGIN RAISE NOTICE 'noticed'; END $$")
    assert seen == ["noticed"]
    connection.execute("LISTEN python_channel")
    got = []
    connection.add_notify_handler(lambda n: got.append((n.channel, n.payload)))
    connection.execute("NOTIFY python_channel, 'payload'")

    def arrived():
        connection.execute("SELECT 1")
        return got

    assert eventually(arrived, "the notification") == [("python_channel", "payload")]


def test_psycopg_composed_and_isolation(connection):
    connection.isolation_level = psycopg.IsolationLevel.SERIALIZABLE
    connection.read_only = True
    query = sql.SQL("SELECT current_setting('transaction_isolation'), {}").format(
        sql.Literal("x'y")
    )
    assert connection.execute(query).fetchone() == ("serializable", "x'y")
    with pytest.raises(psycopg.errors.ReadOnlySqlTransaction):
        connection.execute("INSERT INTO python_rows VALUES (1, 'x')")
    connection.rollback()


def test_psycopg_two_phase(connection, mode):
    xid = connection.xid(1, f"gtrid-{mode}", "bqual")
    connection.tpc_begin(xid)
    connection.execute("INSERT INTO python_rows VALUES (7, 'two-phase')")
    connection.tpc_prepare()
    connection.tpc_commit()
    assert connection.execute("SELECT note FROM python_rows").fetchall() == [("two-phase",)]


def test_psycopg_async(target):
    async def work(number):
        async with await psycopg.AsyncConnection.connect(target.conninfo) as connected:
            for turn in range(10):
                cursor = await connected.execute("SELECT %s::int + %s::int", (number, turn))
                assert await cursor.fetchone() == (number + turn,)
                await connected.commit()

    async def everybody():
        await asyncio.gather(*(work(number) for number in range(20)))

    asyncio.run(everybody())
