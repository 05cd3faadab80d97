"""What is sent for statements that read relations of Signalbox's, against real tables.

Each case runs twice on PostgreSQL: as it is in a database that has the two schemas with tables, and
as the program signalbox_relations_sql rewrites it in a database that has no such schema; there with
the rows as literals and, where that is possible, with the rows as a parameter. Columns, types, rows
(text and binary) and errors are the same.
"""

import contextlib
import subprocess

import pytest
from psycopg import pq

from harness.signalbox import binary

ODD = "it's \"odd\" \\ \n\t ä€🚂 $1 ?\x1d\x1e\x1f\x1c"
DAY = "2024-02-29 01:02:03.000001+00"
NOTICE_COLUMNS = (
    "notice_type text, message text, hint text, action text, redacted_message text, redacted_hint text, "
    "redacted_action text, action_type text, object_id text, dependency_ids text[], created_at timestamptz, "
    "updated_at timestamptz, fingerprint uuid, status text"
)
TABLES = {
    "mz_catalog.mz_connections": (
        "id text, name text, type text, owner text, create_sql text, generation int8, created_at timestamptz, "
        "altered_at timestamptz",
        [
            ("u1", "main", "postgres", None, "CREATE CONNECTION main", 1, DAY, DAY),
            ("u2", ODD, "kafka", "app", ODD, 9007199254740993, DAY, "1970-01-01 00:00+00"),
        ],
    ),
    "mz_catalog.mz_objects": (
        "id text, oid oid, connection_id text, database_name text, schema_name text, name text, type text, owner text",
        [("o1", 4294967295, "u1", "app", "public", "v", "view", "app")],
    ),
    "mz_catalog.mz_aws_privatelink_connections": ("id text, principal text", []),
    "mz_internal.mz_connection_statuses": (
        "id text, name text, type text, last_status_change_at timestamptz, status text, error text",
        [
            ("u1", "main", "postgres", DAY, "available", None),
            ("u2", ODD, "kafka", None, "unknown", ODD),
        ],
    ),
    "mz_internal.mz_notices": (
        NOTICE_COLUMNS,
        [
            ("Empty index key", ODD, *[None] * 7, ["o1", ODD, "", "NULL"], None, None,
             "6ba7b810-9dad-51d1-80b4-00c04fd430c8", None),
            (*[None] * 9, [], *[None] * 4),
        ],
    ),
}
USERS_TABLES = """
    CREATE TABLE t (id text PRIMARY KEY, n int);
    INSERT INTO t VALUES ('u1', 1), ('u3', 3);
    CREATE TABLE mz_objects (id text);
    INSERT INTO mz_objects VALUES ('own');
    CREATE SCHEMA evil;
    CREATE FUNCTION evil.string_to_array(text, text, text) RETURNS text[] LANGUAGE sql AS 'SELECT NULL::text[]';
    CREATE FUNCTION evil.unnest(text[]) RETURNS SETOF text LANGUAGE sql AS 'SELECT 1::text WHERE false';
    CREATE DOMAIN evil.text AS int;
    CREATE DOMAIN evil.bytea AS int;
    CREATE DOMAIN evil.int4 AS text;
"""

# A case: a statement, or several of one transaction with the last one's parameters (bytes) behind it.
CASES = [
    "SELECT * FROM mz_catalog.mz_connections",
    "SELECT * FROM mz_internal.mz_notices ORDER BY notice_type",
    "SELECT * FROM mz_catalog.mz_objects",
    "SELECT * FROM mz_catalog.mz_aws_privatelink_connections",
    "TABLE mz_internal.mz_connection_statuses",
    "TABLE ONLY (mz_internal.mz_connection_statuses) ORDER BY id DESC LIMIT 1",
    "(TABLE mz_catalog.mz_connections *) UNION ALL TABLE mz_catalog.mz_connections ORDER BY 1",
    "SELECT count(*), max(generation), array_agg(name ORDER BY id) FROM mz_catalog.mz_connections",
    "SELECT type, count(*) FROM mz_catalog.mz_connections GROUP BY type HAVING count(*) > 0 ORDER BY 1",
    "SELECT c FROM mz_catalog.mz_connections c ORDER BY (c).id",
    "SELECT mz_connections FROM mz_catalog.mz_connections ORDER BY mz_connections.id",
    "SELECT row_to_json(s) FROM mz_internal.mz_connection_statuses s ORDER BY id",
    "SELECT (c.*) IS NULL, c.* FROM mz_catalog.mz_connections AS c (a, b) ORDER BY a",
    "SELECT mz_catalog.mz_connections.id, u&mz_catalog.mz_connections.generation FROM mz_catalog.mz_connections, "
    "(SELECT 3::int8 u) x ORDER BY 1",
    "SELECT mz_catalog.mz_connections.* FROM mz_catalog.mz_connections WHERE mz_catalog.mz_connections.id = 'u1'",
    "SELECT (SELECT mz_catalog.mz_connections.name FROM t LIMIT 1) FROM mz_catalog.mz_connections ORDER BY 1",
    'SELECT"id"FROM"mz_catalog"."mz_connections"WHERE id = \'u1\'',
    "SELECT id FROM U&\"mz!005fcatalog\" UESCAPE '!' . MZ_connections ORDER BY 1",
    "SELECT * FROM t JOIN mz_catalog.mz_connections USING (id) NATURAL JOIN mz_internal.mz_connection_statuses",
    "SELECT t.id, c.name FROM t FULL JOIN mz_catalog.mz_connections c ON c.id = t.id ORDER BY 1, 2",
    "SELECT * FROM t, LATERAL (SELECT * FROM mz_catalog.mz_connections c WHERE c.id = t.id) x",
    "SELECT o.id, mz_objects.id FROM mz_catalog.mz_objects o, mz_objects",
    "WITH mz_connections AS (SELECT 1 a) SELECT * FROM mz_connections, mz_catalog.mz_connections c ORDER BY c.id",
    "WITH RECURSIVE r AS (SELECT id, 1 n FROM mz_catalog.mz_connections UNION ALL SELECT id, n + 1 FROM r WHERE n < 3) "
    "SELECT * FROM r ORDER BY 1, 2",
    "SELECT id FROM t WHERE id IN (SELECT id FROM mz_catalog.mz_connections) FOR UPDATE",
    "SELECT t.id, c.id FROM t, mz_catalog.mz_connections c ORDER BY 1, 2 FOR UPDATE OF t",
    "SELECT *, row_number() OVER (PARTITION BY type ORDER BY id) FROM mz_catalog.mz_connections ORDER BY id",
    "SELECT DISTINCT ON (type) type, id FROM mz_catalog.mz_connections ORDER BY type, id",
    "VALUES ((SELECT count(*) FROM mz_catalog.mz_connections))",
    "SELECT pg_typeof(oid), pg_typeof(id), pg_typeof(name) FROM mz_catalog.mz_objects",
    "SELECT unnest(dependency_ids), cardinality(dependency_ids), fingerprint FROM mz_internal.mz_notices",
    "COPY mz_catalog.mz_connections TO STDOUT",
    "COPY mz_internal.mz_notices (fingerprint, dependency_ids, \"message\") TO STDOUT WITH (FORMAT csv, HEADER)",
    "COPY (SELECT id, name FROM mz_catalog.mz_connections ORDER BY 1 DESC) TO STDOUT (FORMAT binary)",
    ("INSERT INTO t (id) SELECT 'x' || id FROM mz_catalog.mz_connections RETURNING id, (SELECT count(*) FROM "
     "mz_catalog.mz_objects)",),
    ("UPDATE t SET (id, n) = (SELECT c.id || t.id, generation FROM mz_catalog.mz_connections c WHERE c.id = t.id) "
     "WHERE id = 'u1'", "TABLE t"),
    ("UPDATE t SET n = c.generation + 10 FROM mz_catalog.mz_connections c WHERE c.id = t.id RETURNING *",),
    ("DELETE FROM t USING mz_catalog.mz_connections WHERE mz_catalog.mz_connections.id = t.id", "TABLE t"),
    ("MERGE INTO t USING mz_catalog.mz_connections c ON c.id = t.id WHEN MATCHED THEN UPDATE SET n = 9 WHEN NOT "
     "MATCHED THEN INSERT VALUES (c.id, 8)", "SELECT * FROM t ORDER BY id"),
    ("CREATE TABLE made AS TABLE mz_internal.mz_notices", "SELECT * FROM made ORDER BY 1",
     "SELECT attname::text, atttypid FROM pg_attribute WHERE attrelid = 'made'::regclass AND attnum > 0"),
    ("SELECT * INTO TEMP made FROM mz_catalog.mz_connections", "SELECT * FROM made ORDER BY 1"),
    ("DECLARE c SCROLL CURSOR FOR SELECT id, name FROM mz_catalog.mz_connections ORDER BY id", "FETCH 1 FROM c",
     "FETCH LAST FROM c", "MOVE FIRST FROM c", "FETCH PRIOR FROM c"),
    ("SET search_path = evil, public, pg_catalog", "SELECT * FROM mz_catalog.mz_connections ORDER BY 1"),
    ("SET standard_conforming_strings = off",
     "SELECT '\\'', id, name FROM mz_catalog.mz_connections WHERE name <> 'from mz_catalog.mz_connections \\'' ORDER BY 2"),
    ("SET DateStyle = 'SQL, DMY'", "SET TimeZone = 'Asia/Kathmandu'",
     "SELECT created_at, altered_at FROM mz_catalog.mz_connections ORDER BY id"),
    ("SET client_encoding = 'LATIN1'", "SELECT length(name), octet_length(name) FROM mz_catalog.mz_connections"),
    ("PREPARE p AS SELECT 1", "EXPLAIN (COSTS OFF) SELECT count(*) FROM t"),
    ("SELECT $1::int, c.* FROM mz_catalog.mz_connections c WHERE c.id = $2", b"7", b"u1"),
    ("SELECT c.id FROM mz_catalog.mz_connections c WHERE c.name = $1", ODD.encode()),
    # Errors are the server's own.
    "SELECT nosuch FROM mz_catalog.mz_connections",
    "SELECT mz_catalog.mz_connections.id FROM mz_catalog.mz_connections c",
    "SELECT 1 / (generation - 1) FROM mz_catalog.mz_connections",
    "SELECT * FROM mz_internal.nosuch, mz_catalog.mz_connections",
    "SELECT * FROM mz_catalog.mz_connections c, mz_catalog.mz_objects c",
    "SELECT name::int FROM mz_catalog.mz_connections",
    "SELECT * FROM mz_catalog.mz_connections WHERE",
    "COPY mz_catalog.mz_connections (nosuch) TO STDOUT",
]
ERRORS = 8  # the last ones
REFUSED = {
    "DELETE FROM mz_catalog.mz_connections": "42501",
    "SELECT * FROM mz_catalog.mz_connections FOR UPDATE": "42501",
    "CREATE VIEW v AS SELECT * FROM mz_catalog.mz_connections": "0A000",
    "SELECT * FROM mz_catalog.mz_connections TABLESAMPLE system (1)": "0A000",
}


def rewritten(statements, escape=False):
    """Of each statement: SQLSTATE of a refusal, text with literals, text with a parameter, its number and value."""
    program = binary().parent / "tests/unit/signalbox_relations_sql"
    sent = b"".join(statement.encode() + b"\0" for statement in statements)
    done = subprocess.run(
        [program, *(["escape"] if escape else [])], input=sent, capture_output=True, check=True, timeout=60
    )
    fields = done.stdout.split(b"\0")[:-1]
    assert len(fields) == 5 * len(statements)
    return [fields[i : i + 5] for i in range(0, len(fields), 5)]


@pytest.fixture(scope="module")
def databases(pg):
    """`real` has the schemas and their tables, `sent` has neither."""
    for name in ("real", "sent"):
        pg.admin(f"CREATE DATABASE relations_{name}")
        pg.admin(USERS_TABLES, database=f"relations_{name}")
    with pg.admin_connection("relations_real") as connection:
        connection.execute("CREATE SCHEMA mz_catalog; CREATE SCHEMA mz_internal")
        for table, (columns, rows) in TABLES.items():
            connection.execute(f"CREATE TABLE {table} ({columns})")
            for row in rows:
                connection.execute(f"INSERT INTO {table} VALUES ({', '.join(['%s'] * len(row))})", row)
    return pg


@contextlib.contextmanager
def transaction(pg, database):
    """A connection in a transaction that leaves nothing behind."""
    with pg.admin_connection(database) as connection:
        connection.execute("BEGIN")
        yield connection.pgconn
        connection.execute("ROLLBACK")


def type_of(oid):
    """A whole row has the table's own type, or is a record."""
    return 2249 if oid >= 16384 else oid


def answer(connection, sql, values=None, binary_result=False, rows=None):
    """All that a client can tell of the answer. `rows`: the value among them that is binary."""
    if values is None:
        result = connection.exec_(sql)
    else:
        formats = [int(v is rows) for v in values]
        result = connection.exec_params(sql, values, None, formats, int(binary_result))
    data = []
    if result.status == pq.ExecStatus.COPY_OUT:
        size, chunk = connection.get_copy_data(0)
        while size > 0:
            data.append(bytes(chunk))
            size, chunk = connection.get_copy_data(0)
        result = connection.get_result()
        while connection.get_result():
            pass
    return {
        "status": result.status,
        "tag": result.command_status,
        "columns": [(result.fname(i), type_of(result.ftype(i)), result.fmod(i)) for i in range(result.nfields)],
        "rows": [[result.get_value(r, c) for c in range(result.nfields)] for r in range(result.ntuples)],
        "sqlstate": result.error_field(pq.DiagnosticField.SQLSTATE),
        "data": data,
    }


def parts(case):
    """The statements of a case, and the last one's parameters."""
    case = (case,) if isinstance(case, str) else case
    return [part for part in case if isinstance(part, str)], [part for part in case if isinstance(part, bytes)]


@pytest.mark.parametrize("case", CASES, ids=lambda case: parts(case)[0][-1][:60])
@pytest.mark.parametrize("way", ["literals", "parameter", "binary"])
def test_same_as_a_table(databases, case, way):
    statements, values = parts(case)
    if values and way == "literals":
        pytest.skip("the simple protocol has no parameters")
    plans = rewritten(statements, escape=any("standard_conforming" in s for s in statements))
    assert not any(plan[0] for plan in plans)
    with transaction(databases, "relations_real") as real, transaction(databases, "relations_sent") as sent:
        for i, (statement, plan) in enumerate(zip(statements, plans)):
            _, literals, with_parameter, number, value = plan
            given = values if i + 1 == len(statements) else []
            as_binary = way == "binary"
            if way == "literals" or not with_parameter:
                simple = way == "literals"
                expected = answer(real, statement.encode(), None if simple else given, as_binary)
                got = answer(sent, literals, None if simple else given, as_binary)
            else:
                assert int(number) == len(given) + 1
                expected = answer(real, statement.encode(), given, as_binary)
                got = answer(sent, with_parameter, [*given, value], as_binary, value)
            assert got == expected


def test_the_cases_do_something(databases):
    """A comparison of two errors proves nothing: only the last cases are meant to fail."""
    for number, case in enumerate(CASES):
        statements, values = parts(case)
        with transaction(databases, "relations_real") as real:
            outcomes = [
                answer(real, s.encode(), values if values and s is statements[-1] else None)["sqlstate"]
                for s in statements
            ]
        failing = [outcome for outcome in outcomes if outcome is not None]
        assert bool(failing) == (number >= len(CASES) - ERRORS), (case, outcomes)


def test_refused():
    plans = rewritten(list(REFUSED))
    assert [plan[0].decode() for plan in plans] == list(REFUSED.values())


def test_a_prepared_statement_reads_fresh_rows(databases):
    (plan,) = rewritten(["SELECT count(*) FROM mz_catalog.mz_connections"])
    with transaction(databases, "relations_sent") as connection:
        assert connection.prepare(b"p", plan[2]).status == pq.ExecStatus.COMMAND_OK
        for rows in range(12):  # beyond the five executions after which a generic plan may be made
            text = b"\x1d\x1f\x1d\x1e\x1d%d" % rows + 8 * (b"\x1d" + rows * b"\x1e\x1f")
            value = b"%010d%010d%s" % (21, len(text), text)
            result = connection.exec_prepared(b"p", [value], [1])
            assert result.get_value(0, 0) == str(rows).encode()
