"""The relations of mz_catalog and mz_internal, read with every kind of SELECT and never written."""

import datetime
import json
import re
import sqlite3
import time

import psycopg
import pytest
import sqlalchemy as sa
from sqlalchemy import orm

from boxes import ANYONE, BOSS, HELPER, PLAIN, QUICK_CHECKS, config
from harness import eventually
from harness.messages import (
    bind,
    close_statement,
    copy_data,
    copy_done,
    describe_portal,
    describe_statement,
    execute,
    parse,
    query,
    row_values,
    sync,
)
from harness.postgres import ROLES
from harness.replies import (
    INT8,
    OID,
    PROTOCOLS,
    TEXT,
    TEXT_ARRAY,
    TIMESTAMPTZ,
    UUID,
    columns,
    errors,
    kinds,
    parameters,
    refused,
    rows,
    status,
    succeeded,
    tags,
)

CONNECTIONS = "mz_catalog.mz_connections"
STATUSES = "mz_internal.mz_connection_statuses"
HISTORY = "mz_internal.mz_connection_status_history"
RELATIONS = {
    CONNECTIONS: [
        ("id", TEXT),
        ("name", TEXT),
        ("type", TEXT),
        ("owner", TEXT),
        ("create_sql", TEXT),
        ("generation", INT8),
        ("created_at", TIMESTAMPTZ),
        ("altered_at", TIMESTAMPTZ),
    ],
    "mz_catalog.mz_aws_privatelink_connections": [("id", TEXT), ("principal", TEXT)],
    "mz_catalog.mz_objects": [
        ("id", TEXT),
        ("oid", OID),
        ("connection_id", TEXT),
        ("database_name", TEXT),
        ("schema_name", TEXT),
        ("name", TEXT),
        ("type", TEXT),
        ("owner", TEXT),
    ],
    HISTORY: [
        ("connection_id", TEXT),
        ("status", TEXT),
        ("occurred_at", TIMESTAMPTZ),
        ("error", TEXT),
    ],
    STATUSES: [
        ("id", TEXT),
        ("name", TEXT),
        ("type", TEXT),
        ("last_status_change_at", TIMESTAMPTZ),
        ("status", TEXT),
        ("error", TEXT),
    ],
    "mz_internal.mz_aws_privatelink_connection_status_history": [
        ("connection_id", TEXT),
        ("status", TEXT),
        ("occurred_at", TIMESTAMPTZ),
    ],
    "mz_internal.mz_aws_privatelink_connection_statuses": [
        ("id", TEXT),
        ("name", TEXT),
        ("last_status_change_at", TIMESTAMPTZ),
        ("status", TEXT),
    ],
}
NOTICE_COLUMNS = [
    *((name, TEXT) for name in ("notice_type", "message", "hint", "action")),
    *((f"redacted_{name}", TEXT) for name in ("message", "hint", "action")),
    ("action_type", TEXT),
    ("object_id", TEXT),
    ("dependency_ids", TEXT_ARRAY),
    ("created_at", TIMESTAMPTZ),
    ("updated_at", TIMESTAMPTZ),
    ("fingerprint", UUID),
    ("status", TEXT),
]
NOTICE_RELATIONS = {
    **{
        f"mz_internal.mz_{name}notices{redacted}": NOTICE_COLUMNS
        for name in ("", "optimizer_")
        for redacted in ("", "_redacted")
    },
    "mz_internal.mz_ignored_optimizer_notices": [
        ("fingerprint", UUID),
        ("ignored_by", TEXT),
        ("ignored_at", TIMESTAMPTZ),
    ],
}
FILLED = [CONNECTIONS, STATUSES, HISTORY]
RELATION = pytest.mark.parametrize("relation", RELATIONS)
MAIN = f"FROM {CONNECTIONS} WHERE name = 'main'"


@pytest.fixture(scope="module", autouse=True)
def some_history(box):
    """One event at least: a client's statement has shown that main is available."""
    eventually(lambda: box.run("SELECT 1") and box.history("main"), "main has a history")


@pytest.fixture(params=["session", "transaction"])
def reader(request, clients):
    return clients(request.param)


@pytest.fixture
def connection(box):
    with box.connect() as opened:
        yield opened


# --- columns and types


@RELATION
@PROTOCOLS
def test_columns(reader, relation, ask):
    found = succeeded(ask(reader, f"SELECT * FROM {relation}"))
    assert columns(found) == RELATIONS[relation]
    assert tags(found) == [f"SELECT {len(rows(found))}"]


@RELATION
def test_types_as_the_server_sees_them(client, relation):
    """pg_typeof of every column, over an outer join, so that an empty relation answers too."""
    expressions = ", ".join(f"pg_typeof(r.{name})::oid" for name, _ in RELATIONS[relation])
    sql = f"SELECT {expressions} FROM (SELECT 1) one LEFT JOIN {relation} r ON true LIMIT 1"
    assert [int(v) for v in rows(client.query(sql))[0]] == [t for _, t in RELATIONS[relation]]


@pytest.mark.parametrize("relation", NOTICE_RELATIONS)
@PROTOCOLS
def test_columns_of_notices(reader, relation, ask):
    expected = NOTICE_RELATIONS[relation]
    assert columns(succeeded(ask(reader, f"SELECT * FROM {relation}"))) == expected
    expressions = ", ".join(f"pg_typeof(r.{name})::oid" for name, _ in expected)
    sql = f"SELECT {expressions} FROM (SELECT 1) one LEFT JOIN {relation} r ON true LIMIT 1"
    assert [int(v) for v in rows(ask(reader, sql))[0]] == [t for _, t in expected]
    refused(ask(reader, f"DELETE FROM {relation}"), "42501")


@RELATION
@pytest.mark.parametrize("binary", [False, True])
def test_drivers_in_text_and_binary(connection, relation, binary):
    cursor = connection.execute(f"SELECT * FROM {relation}", binary=binary)
    assert [(c.name, c.type_code) for c in cursor.description] == RELATIONS[relation]
    for row in cursor:
        for value, (name, oid) in zip(row, RELATIONS[relation]):
            wanted = {INT8: int, OID: int, TIMESTAMPTZ: datetime.datetime}.get(oid, str)
            assert value is None or isinstance(value, wanted), (name, value)


@pytest.mark.parametrize("relation", FILLED)
def test_text_and_binary_agree(connection, relation):
    sql = f"SELECT r::text, r.* FROM {relation} r ORDER BY 1"
    text, binary = (connection.execute(sql, binary=b).fetchall() for b in (False, True))
    assert text == binary and text


def test_what_stands_in_them(connection, make, box, pg):
    name = make()
    now = datetime.datetime.now(datetime.timezone.utc)
    found = {r[1]: r for r in connection.execute(f"SELECT * FROM {CONNECTIONS}").fetchall()}
    made, main = found[name], found["main"]
    for row in found.values():
        assert re.fullmatch(r"u[1-9]\d*", row[0]) and row[2] == "postgres"
        assert abs(now - row[6]) < datetime.timedelta(minutes=5) and row[7] >= row[6]
    assert len({row[0] for row in found.values()}) == len(found)
    assert made[3] == BOSS and made[5] == 1 and not main[3]
    assert made[4] == box.create_sql(name) and f"PORT = {pg.port}" in made[4]
    statuses = connection.execute(f"SELECT * FROM {STATUSES}").fetchall()
    assert {(r[0], r[1], r[2]) for r in statuses} == {(r[0], r[1], r[2]) for r in found.values()}
    by_name = {row[1]: row for row in statuses}
    assert by_name["main"][4:] == ("available", None)
    # Not checked yet, or just now.
    assert (by_name[name][4] == "unknown") == (by_name[name][3] is None)
    assert by_name[name][4] in ("unknown", "available") and by_name[name][5] is None
    events = connection.execute(
        f"SELECT status, occurred_at, error FROM {HISTORY} WHERE connection_id = %s", [main[0]]
    ).fetchall()
    assert events[-1] == ("available", by_name["main"][3], None)


def test_show_and_tables_agree(connection):
    for show, sql in {
        "SHOW CONNECTION STATUS": f"SELECT * FROM {STATUSES}",
        "SHOW CONNECTIONS": f"SELECT c.name, c.type, c.owner, s.status FROM {CONNECTIONS} c "
        f"JOIN {STATUSES} s USING (id)",
        "SHOW CONNECTION HISTORY": "SELECT c.name, h.* "
        f"FROM {HISTORY} h LEFT JOIN {CONNECTIONS} c ON c.id = h.connection_id",
    }.items():
        shown, read = connection.execute(show), connection.execute(sql)
        assert [(c.name, c.type_code) for c in shown.description] == [
            (c.name, c.type_code) for c in read.description
        ]
        assert sorted(map(str, shown.fetchall())) == sorted(map(str, read.fetchall()))


# --- every kind of SELECT


QUERIES = [
    f"SELECT name {MAIN}",
    f"SELECT {CONNECTIONS}.name FROM {CONNECTIONS} WHERE {CONNECTIONS}.name = 'main'",
    f"SELECT mz_connections.name FROM {CONNECTIONS} WHERE mz_connections.name = 'main'",
    "SELECT (c).name FROM mz_catalog.mz_connections c WHERE c.name = 'main'",
    "SELECT c.name FROM mz_catalog.mz_connections AS c WHERE c.name = 'main'",
    f"SELECT b FROM {CONNECTIONS} AS c(a, b) WHERE c.b = 'main' AND c.type = 'postgres'",
    'SELECT name FROM "mz_catalog"."mz_connections" WHERE name = $$main$$',
    "SELECT name FROM MZ_CATALOG . /* a */ Mz_Connections -- b\n WHERE name = 'main'",
    'SELECT name FROM U&"mz\\005fcatalog".mz_connections WHERE name = \'main\'',
    f"SELECT to_jsonb(c)->>'name' FROM {CONNECTIONS} c WHERE c.name = 'main'",
    f"SELECT max(name) FILTER (WHERE name = 'main') FROM {CONNECTIONS} GROUP BY type",
    f"WITH c AS (SELECT * {MAIN}) SELECT name FROM c",
    f"WITH c AS MATERIALIZED (SELECT * {MAIN}) SELECT a.name FROM c a JOIN c b USING (id)",
    f"SELECT (SELECT name {MAIN})",
    f"SELECT 'main' WHERE EXISTS (SELECT {MAIN})",
    f"SELECT 'main' WHERE 'main' IN (SELECT name FROM {CONNECTIONS})",
    f"SELECT 'main' WHERE 'main' = ANY (ARRAY(SELECT name FROM {CONNECTIONS}))",
    f"SELECT name {MAIN} UNION SELECT name {MAIN}",
    f"SELECT name FROM (TABLE {CONNECTIONS}) t WHERE name = 'main'",
    f"SELECT c.name FROM {CONNECTIONS} c JOIN {STATUSES} s ON s.id = c.id AND c.name = 'main'",
    f"SELECT c.name FROM {CONNECTIONS} c, LATERAL (SELECT * FROM {STATUSES} s WHERE s.id = c.id) x "
    "WHERE c.name = 'main'",
    f"SELECT a.name FROM {CONNECTIONS} a JOIN {CONNECTIONS} b USING (id, name, created_at) "
    "WHERE b.name = 'main'",
    f"SELECT name FROM {CONNECTIONS} WHERE name LIKE 'mai_' ORDER BY created_at LIMIT 1",
    f"SELECT string_agg(name, ',') OVER () {MAIN}",
    f"VALUES ((SELECT name {MAIN}))",
    f"SELECT name FROM LABELS l JOIN {CONNECTIONS} c ON c.name = l.label",
    f"SELECT l.label FROM labels l WHERE EXISTS (SELECT 1 FROM {CONNECTIONS} c "
    "WHERE c.name = l.label)",
]


@pytest.fixture(scope="module", autouse=True)
def labels(pg):
    pg.admin("DROP TABLE IF EXISTS labels; CREATE TABLE labels (label text)")
    pg.admin("INSERT INTO labels VALUES ('main'), ('no such')")
    pg.admin("ALTER TABLE labels OWNER TO app; GRANT SELECT ON labels TO other")


@pytest.mark.parametrize("sql", QUERIES)
@PROTOCOLS
def test_queries(client, sql, ask):
    assert rows(ask(client, sql)) == [("main",)]


@pytest.mark.parametrize("policy", ["pass", "split_on_rpc", "split"])
def test_in_batches(clients, policy):
    client = clients(f"policy_{policy}")
    found = client.query(f"SELECT 1; SELECT name {MAIN}; SELECT name {MAIN}; SELECT 2")
    assert rows(found) == [("1",), ("main",), ("main",), ("2",)]


def test_whole_rows(client):
    assert rows(client.query(f"SELECT (c.*) = (c) FROM {CONNECTIONS} c WHERE name = 'main'")) == [
        ("t",)
    ]
    found = rows(client.query(f"SELECT row_to_json(c)::text FROM {CONNECTIONS} c"))
    assert list(json.loads(found[0][0])) == [name for name, _ in RELATIONS[CONNECTIONS]]


def test_one_snapshot_per_statement(client):
    sql = f"SELECT count(*) FROM {CONNECTIONS} a FULL JOIN {CONNECTIONS} b USING (id, altered_at)"
    assert rows(client.query(sql)) == rows(client.query(f"SELECT count(*) FROM {CONNECTIONS}"))


# --- cursors, COPY, EXPLAIN, tables made from them


@pytest.mark.parametrize("kind", ["CURSOR", "SCROLL CURSOR", "CURSOR WITH HOLD"])
@PROTOCOLS
def test_cursors(reader, kind, ask):
    succeeded(reader.query("BEGIN"))
    expected = rows(reader.query(f"SELECT name FROM {CONNECTIONS} ORDER BY name"))
    sql = f"DECLARE shown {kind} FOR SELECT name FROM {CONNECTIONS} ORDER BY name"
    succeeded(ask(reader, sql), "DECLARE CURSOR")
    assert rows(reader.query("FETCH 1 FROM shown")) == expected[:1]
    if "HOLD" in kind:
        succeeded(reader.query("COMMIT"))
    assert rows(reader.query("FETCH ALL FROM shown")) == expected[1:]
    succeeded(reader.query("CLOSE shown"))
    succeeded(reader.query("ROLLBACK"))


def test_server_side_cursor_of_a_driver(box):
    with box.connect(autocommit=False) as connection:
        with connection.cursor("shown") as cursor:
            cursor.itersize = 2
            cursor.execute(f"SELECT name FROM {CONNECTIONS} WHERE name <> %s", ["nope"])
            assert "main" in [row[0] for row in cursor]


def test_portal_with_a_row_limit(client):
    expected = rows(client.query(f"SELECT name FROM {CONNECTIONS} ORDER BY name"))
    client.send(
        parse(f"SELECT name FROM {CONNECTIONS} ORDER BY name")
        + bind()
        + execute(max_rows=2)
        + execute()
        + sync()
    )
    found = client.read_until(b"Z")
    assert re.fullmatch("12DDsD+CZ", kinds(found)) and rows(found) == expected


def copied(found):
    succeeded(found)
    return b"".join(body for kind, body in found if kind == b"d").decode()


@PROTOCOLS
def test_copy_out(reader, ask):
    assert copied(ask(reader, f"COPY (SELECT name, generation {MAIN}) TO STDOUT")).startswith(
        "main\t"
    )
    names = sorted(n for (n,) in rows(reader.query(f"SELECT name FROM {CONNECTIONS}")))
    found = copied(ask(reader, f"COPY {CONNECTIONS} TO STDOUT (FORMAT csv, HEADER)"))
    assert found.splitlines()[0] == "id,name,type,owner,create_sql,generation,created_at,altered_at"
    found = copied(ask(reader, f"COPY {CONNECTIONS} (name) TO STDOUT"))
    assert sorted(found.splitlines()) == names
    succeeded(ask(reader, f"COPY {STATUSES} TO STDOUT WITH (FORMAT binary)"))


def test_copy_of_a_driver(connection):
    with connection.cursor().copy(f"COPY {STATUSES} TO STDOUT") as copy:
        found = b"".join(bytes(part) for part in copy).decode()
    assert "\tmain\tpostgres\t" in found


@PROTOCOLS
@pytest.mark.parametrize("how", ["", "ANALYZE", "(FORMAT json)", "(ANALYZE, VERBOSE)"])
def test_explain(reader, how, ask):
    found = succeeded(ask(reader, f"EXPLAIN {how} SELECT name {MAIN}"), "EXPLAIN")
    assert len(columns(found)) == 1 and rows(found)


def test_tables_made_from_them(client, pg):
    succeeded(client.query(f"CREATE TABLE kept AS SELECT * FROM {CONNECTIONS}"))
    try:
        succeeded(client.query(f"INSERT INTO kept SELECT * {MAIN}"), "INSERT 0 1")
        count = client.value("SELECT count(*) FROM kept")
        assert int(count) == int(client.value(f"SELECT count(*) + 1 FROM {CONNECTIONS}"))
        succeeded(client.query(f"UPDATE kept SET owner = c.name FROM {CONNECTIONS} c"))
        succeeded(client.query(f"DELETE FROM kept USING {STATUSES} s WHERE s.id = kept.id"))
        assert client.value("SELECT count(*) FROM kept") == "0"
        found = client.query("SELECT * FROM kept")
        assert columns(found) == RELATIONS[CONNECTIONS]
    finally:
        pg.admin("DROP TABLE kept")


@pytest.mark.parametrize(
    "sql",
    [
        f"CREATE VIEW frozen AS SELECT * FROM {CONNECTIONS}",
        f"CREATE OR REPLACE VIEW frozen AS SELECT 1 FROM (SELECT * FROM {HISTORY}) h",
        "CREATE FUNCTION frozen() RETURNS bigint "
        f"BEGIN ATOMIC SELECT count(*) FROM {STATUSES}; END",
        f"CREATE RULE frozen AS ON INSERT TO labels DO ALSO SELECT * FROM {CONNECTIONS}",
        f"CREATE POLICY frozen ON labels USING (EXISTS (SELECT FROM {CONNECTIONS}))",
    ],
)
@PROTOCOLS
def test_rows_are_never_frozen(client, sql, ask):
    refused(ask(client, sql), "0A000")
    assert client.value("SELECT 'usable'") == "usable"


# --- prepared statements


class TestPrepared:
    def generation(self, client, name):
        client.send(bind([name], statement="asked") + execute() + sync())
        return int(rows(client.read_until(b"Z"))[0][0])

    @pytest.mark.parametrize("route", ["session", "transaction"])
    def test_fresh_rows_at_every_execution(self, clients, make, client, route):
        name, asking = make(), clients(route)
        sql = f"SELECT generation FROM {CONNECTIONS} WHERE name = $1"
        asking.send(parse(sql, "asked") + sync())
        succeeded(asking.read_until(b"Z"))
        for expected in range(1, 8):  # more than the five behind which a server plans generically
            assert self.generation(asking, name) == expected
            change = f"SET (PORT = {expected}) WITH (VALIDATE = false)"
            succeeded(client.query(f"ALTER CONNECTION {name} {change}"))
        assert self.generation(asking, name) == 8

    def test_on_whatever_server_connection(self, clients, make, client):
        name, asking = make(), clients("transaction")
        sql = f"SELECT generation FROM {CONNECTIONS} WHERE name = $1"
        asking.send(parse(sql, "asked") + sync())
        succeeded(asking.read_until(b"Z"))
        holders = [clients("transaction") for _ in range(3)]
        for holder in holders:
            succeeded(holder.query("BEGIN; SELECT 1"))
            assert self.generation(asking, name) == 1

    @pytest.mark.parametrize(
        "sql, types, expected",
        [
            (f"SELECT name FROM {CONNECTIONS}", (), []),
            (f"SELECT name FROM {CONNECTIONS} WHERE name = $1", (), [TEXT]),
            (f"SELECT name FROM {CONNECTIONS} WHERE generation < $1", (), [INT8]),
            (f"SELECT name FROM {CONNECTIONS} WHERE generation < $1", (23,), [23]),
            (
                f"SELECT c.name FROM {CONNECTIONS} c JOIN {STATUSES} s USING (id) "
                "WHERE c.name = $2 AND c.generation >= $1",
                (0, 0),
                [INT8, TEXT],
            ),
            (f"SELECT $1::int4 FROM {CONNECTIONS} LIMIT $2", (), [23, INT8]),
        ],
    )
    def test_only_the_clients_parameters(self, client, sql, types, expected):
        client.send(parse(sql, "asked", types) + describe_statement("asked") + sync())
        found = succeeded(client.read_until(b"Z"))
        assert kinds(found) == "1tTZ" and parameters(found) == expected
        client.send(describe_statement("asked") + sync())
        assert parameters(client.read_until(b"Z")) == expected

    def test_formats_of_parameters(self, client):
        """One format for all, one for each, none: the hidden parameter disturbs none of them."""
        sql = f"SELECT name FROM {CONNECTIONS} WHERE name = $1 AND generation >= $2"
        one = (1).to_bytes(8, "big")
        for values, formats in (
            (["main", 1], ()),
            (["main", 1], (0,)),
            ([b"main", one], (1,)),
            (["main", one], (0, 1)),
        ):
            client.send(parse(sql) + bind(values, formats=formats) + execute() + sync())
            assert rows(client.read_until(b"Z")) == [("main",)]

    def test_wrong_number_of_parameters(self, client):
        sql = f"SELECT name FROM {CONNECTIONS} WHERE name = $1"
        for values in ([], ["main", "main"]):
            client.send(parse(sql) + bind(values) + execute() + sync())
            (fields,) = errors(client.read_until(b"Z"))
            assert fields["C"] == "08P01", fields
            counts = re.findall(r"\b\d+ parameters?|requires \d+", fields["M"])
            assert [int(re.search(r"\d+", c).group()) for c in counts] == [len(values), 1], fields

    def test_null_parameters(self, client):
        client.send(
            parse(f"SELECT $1::text IS NULL, name {MAIN}") + bind([None]) + execute() + sync()
        )
        assert rows(client.read_until(b"Z")) == [("t", "main")]

    def test_result_formats(self, client):
        sql = f"SELECT name, generation {MAIN}"
        client.send(
            parse(sql) + bind(result_formats=(0, 1)) + describe_portal() + execute() + sync()
        )
        found = succeeded(client.read_until(b"Z"))
        (row,) = [row_values(body) for kind, body in found if kind == b"D"]
        assert row[0] == b"main" and len(row[1]) == 8

    def test_closed_and_parsed_again(self, client):
        for sql, expected in ((f"SELECT name {MAIN}", "main"), ("SELECT 'plain'", "plain")) * 2:
            client.send(parse(sql, "asked") + bind(statement="asked") + execute() + sync())
            assert rows(client.read_until(b"Z")) == [(expected,)]
            client.send(close_statement("asked") + sync())
            assert kinds(client.read_until(b"Z")) == "3Z"

    def test_pipelined_with_others(self, client):
        texts = ["SELECT 'a'", f"SELECT name {MAIN}", "SELECT 'b'", f"SELECT name {MAIN}"]
        client.send(b"".join(parse(text) + bind() + execute() for text in texts) + sync())
        assert rows(client.read_until(b"Z")) == [("a",), ("main",), ("b",), ("main",)]

    def test_of_a_driver(self, box, make):
        name = make()
        with box.connect(prepare_threshold=0) as connection, box.connect() as boss:
            for expected in range(1, 9):
                found = connection.execute(
                    f"SELECT generation FROM {CONNECTIONS} WHERE name = %s", [name]
                )
                assert found.fetchone() == (expected,)
                boss.execute(f"ALTER CONNECTION {name} SET (PORT 1) WITH (VALIDATE = false)")

    def test_in_sql(self, clients, make, client):
        """PREPARE of SQL over a relation: fresh rows, or an honest refusal."""
        name, asking = make(), clients("session")
        sql = f"SELECT generation FROM {CONNECTIONS} WHERE name = '{name}'"
        found = asking.query(f"PREPARE p AS {sql}")
        if errors(found):
            refused(found, "0A000")
            return
        succeeded(client.query(f"ALTER CONNECTION {name} SET (PORT 1) WITH (VALIDATE = false)"))
        assert rows(asking.query("EXECUTE p")) == [("2",)]


# --- who may read, and that nobody writes


@pytest.mark.parametrize("user", [PLAIN, ANYONE, HELPER, BOSS])
@RELATION
def test_everybody_reads(clients, user, relation):
    """But for the objects that notices are about: those are for who reads notices."""
    found = clients(user=user).query(f"SELECT * FROM {relation}")
    if relation.endswith(".mz_objects") and user != BOSS:
        refused(found, "42501")
    else:
        succeeded(found)


WRITES = [
    f"INSERT INTO {HISTORY} VALUES ('u1', 'failed', now(), NULL)",
    f"INSERT INTO {HISTORY} SELECT * FROM {HISTORY}",
    f"UPDATE {CONNECTIONS} SET name = 'x'",
    f"UPDATE {CONNECTIONS} c SET name = l.label FROM labels l",
    f"DELETE FROM {HISTORY}",
    f"DELETE FROM {HISTORY} h USING labels l",
    f"TRUNCATE {HISTORY}",
    f"TRUNCATE labels, {HISTORY}",
    f"MERGE INTO {CONNECTIONS} c USING labels l ON c.name = l.label WHEN MATCHED THEN DELETE",
    f"COPY {HISTORY} FROM STDIN",
    f"WITH gone AS (DELETE FROM {HISTORY} RETURNING *) SELECT * FROM gone",
    f"EXPLAIN ANALYZE DELETE FROM {HISTORY}",
    f"WITH h AS (SELECT 1) INSERT INTO {HISTORY} SELECT 'u1', 'failed', now(), NULL FROM h",
]
LOCKS = [
    f"LOCK TABLE {CONNECTIONS}",
    f"SELECT * FROM {CONNECTIONS} FOR UPDATE",
    f"SELECT * FROM {CONNECTIONS} c JOIN labels l ON true FOR SHARE OF c",
]


@pytest.mark.parametrize("user", [BOSS, PLAIN])
@pytest.mark.parametrize("sql", WRITES)
@PROTOCOLS
def test_writes_are_refused(clients, sql, user, ask):
    client = clients(user=user)
    refused(ask(client, sql), "42501")
    assert client.value("SELECT 'usable'") == "usable"


@pytest.mark.parametrize("sql", LOCKS)
@PROTOCOLS
def test_locks_are_refused(client, sql, ask):
    refused(ask(client, sql), {"42501", "0A000"})
    assert client.value("SELECT 'usable'") == "usable"


def test_locking_the_other_side_of_a_join(client):
    sql = f"SELECT l.label FROM labels l JOIN {CONNECTIONS} c ON c.name = l.label FOR UPDATE OF l"
    assert rows(client.query(sql)) == [("main",)]


@PROTOCOLS
def test_a_refusal_fails_the_transaction(reader, ask):
    succeeded(reader.query("BEGIN"))
    assert rows(reader.query(f"SELECT name {MAIN}")) == [("main",)]
    found = ask(reader, f"DELETE FROM {HISTORY}")
    refused(found, "42501")
    assert status(found) == "E"
    refused(reader.query(f"SELECT name {MAIN}"), "25P02")
    assert tags(reader.query("COMMIT")) == ["ROLLBACK"]
    assert rows(reader.query(f"SELECT name {MAIN}")) == [("main",)]


def test_a_refused_copy_takes_no_data(client):
    client.send(query(f"COPY {HISTORY} FROM STDIN"))
    refused(client.read_until(b"Z"), "42501")
    client.send(copy_data(b"x\n") + copy_done() + query("SELECT 'in step'"))
    assert rows(client.read_until(b"Z")) == [("in step",)]


# --- names


def test_they_are_not_in_the_servers_catalogs(client):
    assert rows(client.query(f"SELECT to_regclass('{CONNECTIONS}')")) == [(None,)]
    sql = "SELECT count(*) FROM pg_namespace WHERE nspname LIKE 'mz\\_%'"
    assert rows(client.query(sql)) == [("0",)]


@PROTOCOLS
def test_an_unqualified_name_belongs_to_the_user(client, pg, ask):
    refused(ask(client, "SELECT * FROM mz_connections"), "42P01")
    sql = "WITH mz_connections(name) AS (VALUES ('mine')) SELECT name FROM mz_connections"
    assert rows(ask(client, sql)) == [("mine",)]
    # A CTE of that name does not hide the qualified one, nor the other way round.
    sql = (
        "WITH mz_connections(name) AS (VALUES ('main')) "
        f"SELECT c.name FROM mz_connections JOIN {CONNECTIONS} c USING (name)"
    )
    assert rows(ask(client, sql)) == [("main",)]
    succeeded(client.query("CREATE TABLE mz_connections (id int)"))
    try:
        assert rows(ask(client, "SELECT count(*) FROM mz_connections")) == [("0",)]
        assert rows(ask(client, "SELECT count(*) FROM public.mz_connections")) == [("0",)]
        succeeded(ask(client, "INSERT INTO mz_connections VALUES (1)"))
    finally:
        pg.admin("DROP TABLE mz_connections")


def test_names_inside_strings_and_comments(client):
    sql = f"SELECT '{CONNECTIONS}', $${HISTORY}$$ /* FROM {HISTORY} */ -- {CONNECTIONS}"
    assert rows(client.query(sql)) == [(CONNECTIONS, HISTORY)]


def test_schemas_under_other_names(pg, start_box):
    """For servers that own such a schema: that one is then left alone."""
    schemas = {"catalog": "sb_catalog", "internal": "Sb Internal"}
    box = start_box(config(pg, {"catalog": {"schemas": schemas}}))
    client = box.raw()
    sql = "SELECT name FROM {} WHERE name = 'main'"
    assert rows(client.query(sql.format("sb_catalog.mz_connections"))) == [("main",)]
    assert rows(client.query(sql.format('"Sb Internal".mz_connection_statuses'))) == [("main",)]
    refused(client.query(sql.format(CONNECTIONS)), "42P01")
    pg.admin("CREATE SCHEMA mz_catalog CREATE TABLE mz_connections (name text)")
    try:
        pg.admin(f"GRANT ALL ON SCHEMA mz_catalog TO app; GRANT ALL ON {CONNECTIONS} TO app")
        succeeded(client.query(f"INSERT INTO {CONNECTIONS} VALUES ('main')"), "INSERT 0 1")
        assert rows(client.query(sql.format(CONNECTIONS))) == [("main",)]
    finally:
        pg.admin("DROP SCHEMA mz_catalog CASCADE")


# --- error positions


@pytest.mark.parametrize(
    "sql, word, code",
    [
        (f"SELECT nope FROM {CONNECTIONS}", "nope", "42703"),
        (f"SELECT name FROM {CONNECTIONS} WHERE nope = 1", "nope", "42703"),
        (f"SELECT name FROM {CONNECTIONS} c JOIN {STATUSES} s ON c.id = s.nope", "s.nope", "42703"),
        (f"SELECT 'ä', name FROM {CONNECTIONS} JOIN nowhere ON true", "nowhere", "42P01"),
        (f"SELECT name FROM {CONNECTIONS} ORDER BY nope()", "nope", "42883"),
        (f"SELECT name FROM {CONNECTIONS} GROUP BY type", "name", "42803"),
    ],
)
@PROTOCOLS
def test_error_positions(client, sql, word, code, ask):
    """They refer to the client's own text, also behind what was replaced."""
    fields = refused(ask(client, sql), code)
    assert fields["P"] == str(sql.index(word) + 1), (fields, sql)


def test_error_positions_in_batches(clients):
    batch = f"SELECT 'ä'; SELECT name FROM {CONNECTIONS}; SELECT name, nope FROM {CONNECTIONS}"
    for policy in ("pass", "split"):
        (fields,) = errors(clients(f"policy_{policy}").query(batch))
        assert fields["P"] == str(batch.index("nope") + 1), fields


@PROTOCOLS
def test_an_error_inside_a_transaction(reader, ask):
    succeeded(reader.query("BEGIN"))
    found = ask(reader, f"SELECT 1 / (generation - generation) FROM {CONNECTIONS}")
    assert errors(found)[0]["C"] == "22012" and status(found) == "E"
    succeeded(reader.query("ROLLBACK"))
    assert rows(reader.query(f"SELECT name {MAIN}")) == [("main",)]


# --- models (Django's are in ../clients/django_site)


def test_sqlalchemy_models(box, make):
    base = orm.declarative_base()

    class Connection(base):
        __tablename__ = "mz_connections"
        __table_args__ = {"schema": "mz_catalog"}
        id = sa.Column(sa.Text, primary_key=True)
        name = sa.Column(sa.Text)
        type = sa.Column(sa.Text)
        create_sql = sa.Column(sa.Text)
        generation = sa.Column(sa.BigInteger)
        created_at = sa.Column(sa.DateTime(timezone=True))
        events = orm.relationship("Event", order_by="Event.occurred_at")

    class Event(base):
        __tablename__ = "mz_connection_status_history"
        __table_args__ = {"schema": "mz_internal"}
        connection_id = sa.Column(sa.ForeignKey(Connection.id), primary_key=True)
        occurred_at = sa.Column(sa.DateTime(timezone=True), primary_key=True)
        status = sa.Column(sa.Text)
        error = sa.Column(sa.Text)

    name = make()
    url = sa.engine.URL.create(
        "postgresql+psycopg2", BOSS, ROLES[BOSS], "127.0.0.1", box.port, "transaction"
    )
    engine = sa.create_engine(url)
    with orm.Session(engine) as session:
        main = session.query(Connection).filter_by(name="main").one()
        assert main.type == "postgres" and main.created_at.tzinfo is not None
        assert [event.status for event in main.events][-1] == "available"
        found = session.execute(
            sa.select(Connection.name, sa.func.count(Event.status))
            .outerjoin(Event)
            .where(Connection.name.in_(["main", name]))
            .group_by(Connection.name)
            .order_by(sa.desc(Connection.name))
        ).all()
        assert [row[0] for row in found] == ["main", name] and found[1][1] == 0
        assert session.query(Connection).options(orm.joinedload(Connection.events)).count() >= 2
        session.get(Connection, main.id).name = "other"
        with pytest.raises(sa.exc.ProgrammingError) as refusal:
            session.flush()
        assert refusal.value.orig.pgcode == "42501"
        session.rollback()
    engine.dispose()


# --- many rows


def multiply_history(path, count):
    """Copies one event in a stopped box's store until there are `count`."""
    with sqlite3.connect(path) as store:
        found = store.execute("SELECT name FROM sqlite_master WHERE type = 'table'").fetchall()
        tables = [row[0] for row in found]
        for table in tables:
            about = store.execute(f"PRAGMA table_info({table})").fetchall()
            names = [column[1] for column in about]
            if {"connection_id", "status", "occurred_at"} <= set(names):
                others = ", ".join(name for name in names if name != "number")
                store.execute(
                    "WITH RECURSIVE n(i) AS "
                    f"(SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {count})"
                    f" INSERT INTO {table} (number, {others})"
                    f" SELECT (SELECT max(number) FROM {table}) + i, {others} FROM"
                    f" (SELECT * FROM {table} LIMIT 1), n"
                )
                return
    raise AssertionError(f"no table of events in {path}: {tables}")


@pytest.mark.slow
def test_many_rows_are_read_fast(pg, start_box):
    """10,000 history rows in at most 100 ms more than the same rows from a real table."""
    count = 10000
    box = start_box(config(pg, {"catalog": {"history_per_connection": 20000}}, checks=QUICK_CHECKS))
    eventually(lambda: box.history("main"), "main has a history")
    box.stop()
    multiply_history(box.folder / "signalbox.db", count)
    box.start()
    with box.connect() as connection:
        connection.execute("CREATE TEMP TABLE rows_kept AS SELECT * FROM " + HISTORY)

        def best_of(sql):
            times = []
            for _ in range(5):
                started = time.monotonic()
                assert len(connection.execute(sql).fetchall()) > count
                times.append(time.monotonic() - started)
            return min(times)

        ours, theirs = best_of(f"SELECT * FROM {HISTORY}"), best_of("SELECT * FROM rows_kept")
        joined = best_of(
            f"SELECT h.* FROM {HISTORY} h JOIN {CONNECTIONS} c ON c.id = h.connection_id"
        )
    figures = [f"{seconds * 1000:.0f} ms" for seconds in (ours, joined, theirs)]
    print("history {}, joined {}, a real table {}".format(*figures))
    # A time that noise cannot break; the bound is for whoever reads what was printed.
    assert ours < theirs + 5, (ours, theirs)


@pytest.mark.parametrize("what", ["bytes", "tokens"])
@PROTOCOLS
def test_a_statement_that_is_too_long(client, what, ask):
    """Refused; the hint says what would be short enough, since alone it is no shorter."""
    piece, count = {"bytes": (" ", 33_000), "tokens": (" OR name = ''", 400)}[what]
    fields = refused(ask(client, f"SELECT name {MAIN}{piece * count}"), "54000")
    assert rows(ask(client, f"SELECT name {MAIN}{piece * (count // 2)}")) == [("main",)]
    assert "32768 bytes" in fields["H"] and "1000 tokens" in fields["H"], fields


def test_psycopg_errors_are_the_usual_ones(box):
    with box.connect() as connection:
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            connection.execute(f"DELETE FROM {HISTORY}")
        with pytest.raises(psycopg.errors.UndefinedColumn):
            connection.execute(f"SELECT nope FROM {HISTORY}")
