"""asyncpg: all binary, prepared from the first execution on, with introspection of types."""

import asyncio
import contextlib
import datetime
import decimal
import functools
import ssl
import uuid

import asyncpg
import pytest


def asynchronous(test):
    """Runs a test that is a coroutine, within half a minute."""

    @functools.wraps(test)
    def run(*arguments, **keywords):
        asyncio.run(asyncio.wait_for(test(*arguments, **keywords), 30))

    return run


@pytest.fixture
def settings(target, schema):
    return {
        "host": target.host,
        "port": target.port,
        "user": target.user,
        "password": target.password,
        "database": target.database,
        "ssl": ssl.create_default_context(cafile=target.ca),
        "server_settings": {"search_path": schema, "application_name": "asyncpg test"},
    }


@contextlib.asynccontextmanager
async def connected(settings, **more):
    connection = await asyncpg.connect(**{**settings, **more})
    try:
        yield connection
    finally:
        await connection.close(timeout=10)


@asynchronous
async def test_types(settings):
    now = datetime.datetime(2024, 2, 29, 12, 30, 1, 5, datetime.timezone.utc)
    values = [
        (2**40, "int8"),
        (1.5, "float8"),
        (decimal.Decimal("-12345678901234567890.000100"), "numeric"),
        ("grün\n", "text"),
        (b"\0\xff", "bytea"),
        (now, "timestamptz"),
        (datetime.timedelta(days=3, seconds=5), "interval"),
        (uuid.UUID(int=2**100), "uuid"),
        ([[1, None], [3, 4]], "int4[]"),
        (asyncpg.Range(1, 10), "int8range"),
        ('{"a": [1]}', "json"),
        (True, "bool"),
        (asyncpg.BitString("10110"), "varbit"),
        (asyncpg.Point(1, 2.5), "point"),
    ]
    async with connected(settings) as connection:
        assert connection.get_settings().application_name == "asyncpg test"
        assert connection.get_server_version().major == 15
        for value, kind in values:
            assert await connection.fetchval(f"SELECT $1::{kind}", value) == value
            assert await connection.fetchval(f"SELECT $1::{kind} IS NULL", None) is True
        row = await connection.fetchrow("SELECT 1 AS a, 'x'::text AS b")
        assert dict(row) == {"a": 1, "b": "x"}
        assert await connection.fetch("SELECT generate_series(1, 3)") == [(1,), (2,), (3,)]
        assert await connection.execute("SELECT 1; SELECT 2") == "SELECT 1"


@asynchronous
async def test_types_of_ones_own(settings, schema):
    """Composites, enums and domains: asyncpg asks the catalogs with a long recursive statement."""
    async with connected(settings) as connection:
        await connection.execute(
            "CREATE TYPE mood AS ENUM ('glad', 'sad');"
            "CREATE DOMAIN positive AS int CHECK (VALUE > 0);"
            "CREATE TYPE person AS (name text, moods mood[], age positive)"
        )
        person = ("Ä", ["sad", "glad"], 7)
        found = await connection.fetchval("SELECT $1::person", person)
        assert tuple(found) == person
        with pytest.raises(asyncpg.CheckViolationError):
            await connection.fetchval("SELECT (-1)::positive")
        # A type that is altered makes a prepared statement stale.
        assert await connection.fetchval("SELECT $1::person", person) is not None
        await connection.execute("ALTER TYPE person ADD ATTRIBUTE more int")
        with pytest.raises((asyncpg.OutdatedSchemaCacheError, asyncpg.DatatypeMismatchError)):
            await connection.fetchval("SELECT $1::person", person)
        await connection.reload_schema_state()
        found = await connection.fetchval("SELECT ROW('a', NULL, 1, 2)::person")
        assert tuple(found) == ("a", None, 1, 2)
        await connection.set_type_codec(
            "mood", schema=schema, encoder=str.lower, decoder=str.upper, format="text"
        )
        assert await connection.fetchval("SELECT 'sad'::mood") == "SAD"


@asynchronous
async def test_prepared_statements(settings):
    """More than the cache holds, in several connections with the same texts."""
    async with contextlib.AsyncExitStack() as stack:
        opened = [
            await stack.enter_async_context(connected(settings, statement_cache_size=10))
            for _ in range(3)
        ]
        for turn in range(3):
            for n in range(25):
                got = await asyncio.gather(
                    *(c.fetchval(f"SELECT $1::int * {n}", turn) for c in opened)
                )
                assert got == [turn * n] * 3
        statement = await opened[0].prepare("SELECT $1::int AS a, $2::text AS b")
        assert [p.name for p in statement.get_parameters()] == ["int4", "text"]
        assert [a.name for a in statement.get_attributes()] == ["a", "b"]
        for n in range(10):
            assert await statement.fetchrow(n, "x") == (n, "x")
        assert (await statement.explain(1, "x"))[0]["Plan"]["Node Type"] == "Result"


@asynchronous
async def test_ddl_under_prepared_statements(settings):
    async with connected(settings) as connection:
        await connection.execute("CREATE TABLE changing (a int); INSERT INTO changing VALUES (1)")
        for _ in range(3):
            assert await connection.fetchrow("SELECT * FROM changing") == (1,)
        await connection.execute("ALTER TABLE changing ADD COLUMN b text DEFAULT 'new'")
        # asyncpg prepares anew by itself, outside a transaction.
        assert await connection.fetchrow("SELECT * FROM changing") == (1, "new")
        # Inside one, it cannot.
        with pytest.raises(asyncpg.InvalidCachedStatementError):
            async with connection.transaction():
                assert await connection.fetchrow("SELECT * FROM changing") == (1, "new")
                await connection.execute("ALTER TABLE changing ADD COLUMN c int")
                await connection.fetchrow("SELECT * FROM changing")
        assert await connection.fetchrow("SELECT * FROM changing") == (1, "new")


@asynchronous
async def test_copy(settings):
    rows = [(n, f"note {n}\t", None if n % 2 else 1.5) for n in range(5000)]
    async with connected(settings) as connection:
        await connection.execute("CREATE TABLE copied (id int PRIMARY KEY, note text, f float8)")
        done = await connection.copy_records_to_table("copied", records=rows)
        assert done == "COPY 5000"
        out = bytearray()

        async def collect(data):
            out.extend(data)

        query = "SELECT id FROM copied WHERE id < $1 ORDER BY id"
        assert await connection.copy_from_query(query, 3, output=collect) == "COPY 3"
        assert bytes(out) == b"0\n1\n2\n"
        out.clear()
        await connection.copy_from_table("copied", output=collect, format="binary")
        assert out[:11] == b"PGCOPY\n\xff\r\n\0"

        async def source():
            for n in range(5000, 5010):
                yield f"{n},x,\n".encode()

        done = await connection.copy_to_table("copied", source=source(), format="csv")
        assert done == "COPY 10"

        async def broken():
            yield b"6000,x,\n"
            raise ZeroDivisionError

        with pytest.raises(ZeroDivisionError):
            await connection.copy_to_table("copied", source=broken(), format="csv")
        with pytest.raises(asyncpg.UniqueViolationError):
            await connection.copy_records_to_table("copied", records=rows[:10])
        assert await connection.fetchval("SELECT count(*) FROM copied") == 5010


@asynchronous
async def test_many(settings):
    """executemany is one pipeline, and atomic."""
    async with connected(settings) as connection:
        await connection.execute("CREATE TABLE many (id int PRIMARY KEY, note text)")
        insert = "INSERT INTO many VALUES ($1, $2)"
        await connection.executemany(insert, [(n, "x") for n in range(3000)])
        with pytest.raises(asyncpg.UniqueViolationError):
            await connection.executemany(insert, [(3000 + n % 900, "y") for n in range(1000)])
        assert await connection.fetchval("SELECT count(*) FROM many") == 3000


@asynchronous
async def test_cursors_and_transactions(settings):
    async with connected(settings) as connection:
        await connection.execute("CREATE TABLE kept (id int)")
        with pytest.raises(asyncpg.NoActiveSQLTransactionError):
            async for _ in connection.cursor("SELECT 1"):
                pass
        async with connection.transaction():
            total = 0
            series = "SELECT generate_series(1, $1::int)"
            async for row in connection.cursor(series, 1000, prefetch=40):
                total += row[0]
            assert total == 500500
            cursor = await connection.cursor("SELECT generate_series(1, 100)")
            assert await cursor.fetch(3) == [(1,), (2,), (3,)]
            await cursor.forward(10)
            # Another statement while the portal is open.
            assert await connection.fetchval("SELECT 7") == 7
            assert await cursor.fetchrow() == (14,)
        async with connection.transaction(isolation="serializable", readonly=True, deferrable=True):
            assert await connection.fetchval("SHOW transaction_isolation") == "serializable"
            with pytest.raises(asyncpg.ReadOnlySQLTransactionError):
                async with connection.transaction():
                    await connection.execute("INSERT INTO kept VALUES (0)")
        async with connection.transaction():
            await connection.execute("INSERT INTO kept VALUES (1)")
            with pytest.raises(asyncpg.DivisionByZeroError):
                async with connection.transaction():
                    await connection.execute("INSERT INTO kept VALUES (2)")
                    await connection.fetchval("SELECT 1 / $1::int", 0)
        assert await connection.fetch("SELECT id FROM kept") == [(1,)]


@asynchronous
async def test_cancel_and_timeout(settings):
    async with connected(settings) as connection:
        # A timeout of the driver's is a cancel request on a connection of its own.
        with pytest.raises(asyncio.TimeoutError):
            await connection.fetchval("SELECT pg_sleep(30)", timeout=0.3)
        assert await connection.fetchval("SELECT 1") == 1
        task = asyncio.create_task(connection.fetchval("SELECT pg_sleep(30)"))
        await asyncio.sleep(0.3)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert await connection.fetchval("SELECT 2") == 2
        async with connection.transaction():
            with pytest.raises(asyncio.TimeoutError):
                async with connection.transaction():
                    await connection.execute("SELECT pg_sleep(30)", timeout=0.3)
            assert await connection.fetchval("SELECT 3") == 3


@asynchronous
async def test_listeners(settings):
    heard, logged = asyncio.Queue(), []
    channel = f"asyncpg_{settings['database']}"
    async with connected(settings) as connection, connected(settings) as other:
        await connection.add_listener(channel, lambda *notification: heard.put_nowait(notification))
        connection.add_log_listener(lambda _, message: logged.append(message.message))
        await connection.execute("DO $$ BEGIN RAISE WARNING 'noticed'; END $$")
        for payload in ("one", "two"):
            await other.execute("SELECT pg_notify($1, $2)", channel, payload)
        await connection.execute(f"NOTIFY {channel}, 'three'")
        got = [await asyncio.wait_for(heard.get(), 10) for _ in range(3)]
        # Where the shared connection brings them, others' may come behind one's own.
        assert {n[2] for n in got} == {channel}
        assert [n[3] for n in got if n[3] != "three"] == ["one", "two"]
        assert logged == ["noticed"]


@asynchronous
async def test_pool(settings):
    """A connection that goes back is reset by statements of asyncpg's, among them UNLISTEN *."""

    async def prepare(connection):
        await connection.execute("SET work_mem = '7MB'")

    async with asyncpg.create_pool(**settings, min_size=2, max_size=6, setup=prepare) as pool:
        await pool.execute("CREATE TABLE pooled (id int PRIMARY KEY)")

        async def work(number):
            async with pool.acquire() as connection, connection.transaction():
                await connection.execute("INSERT INTO pooled VALUES ($1)", number)
                assert await connection.fetchval("SHOW work_mem") == "7MB"
                if number % 7 == 0:
                    await connection.execute("SET search_path = nowhere")
            return number

        assert await asyncio.gather(*(work(n) for n in range(150))) == list(range(150))
        assert await pool.fetchval("SELECT count(*) FROM pooled") == 150
        await pool.expire_connections()
        assert await pool.fetchval("SHOW search_path") == settings["server_settings"]["search_path"]


@asynchronous
async def test_errors(settings):
    async with connected(settings) as connection:
        with pytest.raises(asyncpg.PostgresSyntaxError) as error:
            await connection.fetch("SELEKT $1", 1)
        assert (error.value.sqlstate, error.value.position) == ("42601", "1")
        with pytest.raises(asyncpg.DataError):
            await connection.fetch("SELECT $1::int", "not a number")
        await connection.execute("CREATE TABLE checked (a int CONSTRAINT small CHECK (a < 5))")
        with pytest.raises(asyncpg.CheckViolationError) as error:
            await connection.execute("INSERT INTO checked VALUES ($1)", 9)
        assert (error.value.constraint_name, error.value.table_name) == ("small", "checked")
        assert await connection.fetchval("SELECT 1") == 1
    with pytest.raises(asyncpg.InvalidPasswordError):
        await asyncpg.connect(**{**settings, "password": "wrong"})
    with pytest.raises(asyncpg.InvalidCatalogNameError):
        await asyncpg.connect(**{**settings, "database": "nowhere"})


@asynchronous
async def test_tables_of_signalbox(settings):
    """Rows of Signalbox's own by prepared statements, in binary, with parameters and a cursor."""
    async with connected(settings) as connection:
        for _ in range(3):
            row = await connection.fetchrow(
                "SELECT name, type, generation, created_at FROM mz_catalog.mz_connections"
                " WHERE name = $1",
                "main",
            )
            assert tuple(row)[:2] == ("main", "postgres") and isinstance(row["generation"], int)
            assert row["created_at"].tzinfo is not None
        async with connection.transaction():
            cursor = connection.cursor("SELECT name FROM mz_internal.mz_connection_statuses")
            assert "main" in [row["name"] async for row in cursor]
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await connection.execute("DELETE FROM mz_catalog.mz_connections WHERE name = $1", "x")
