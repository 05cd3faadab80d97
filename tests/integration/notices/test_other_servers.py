"""Notices on servers 14, 16, 17 and 18: each has catalogs and renders definitions its own way.

A firing case per type, and their life as clients see it. All cases of a type on one of them:
`PG_BIN=build/servers/18/bin /usr/bin/python3 -m pytest tests/integration/notices/test_types.py`.
"""

import psycopg
import pytest

from cases import (
    FIRES,
    FIRES_AND_IS_CURED,
    IDENTICAL,
    NOTED_TWICE,
    NULLS,
    TABLES,
    Database,
)
from harness import eventually
from harness.postgres import VERSIONS, installed
from watching import Told, config, told_in_time

VIEW = "CREATE VIEW noted.{} AS SELECT * FROM noted.rows WHERE note = NULL"


@pytest.fixture(scope="module", params=[version for version in VERSIONS if version != 15])
def server(request):
    with installed(request.param, "noted") as made:
        yield made


@pytest.fixture
def mode():
    """One is enough: what differs between the servers are their catalogs."""
    return "transaction"


def first_of_each_type(cases):
    return list({kind: case for case in reversed(cases) for kind in [case[1]]}.values())


def test_every_type(server):
    """What fires on 15 fires here, in the same words, and is cured by the same SQL."""
    with server.admin_connection("postgres") as admin:
        admin.execute("CREATE DATABASE types")
    database = Database(server, "types")
    cases = first_of_each_type(FIRES_AND_IS_CURED + FIRES)
    assert len(cases) == 10
    for ddl, kind, message, action in cases:
        database.run(TABLES)
        database.run(ddl)
        found = database.only("s.x")
        assert (found["type"], found["message"], found["action"]) == (kind, message, action)
        if found["action_type"] == "sql_statements":
            database.run(action)
            assert database.notices() == [], kind
        database.run("DROP SCHEMA s CASCADE; DROP EXTENSION IF EXISTS pg_trgm")
    database.connection.close()


def test_told_kept_and_gone_with_its_object(client):
    heard = told_in_time(
        lambda: client.hear(VIEW.format("v")),
        lambda: client.run("DROP VIEW noted.v"),
        client.count,
    )
    told = 'view "noted.v" compares with NULL: note = NULL is never true'
    assert heard == [("NOTICE", "00000", told)]
    client.run(VIEW.format("w"))
    eventually(lambda: client.count() == 2, "both are kept", 20)
    client.run("DROP VIEW noted.v")
    eventually(lambda: client.count() == 1, "one is gone", 20)
    client.run("DROP TABLE noted.rows CASCADE")
    eventually(lambda: client.count() == 0, "the other is gone with its table", 20)


def test_the_action_cures(client):
    client.run("CREATE INDEX first ON noted.rows (id)")
    client.run("CREATE INDEX second ON noted.rows (id)")
    assert list(eventually(client.kept, "the notice is kept", 20)) == [IDENTICAL]
    ((message, action),) = client.run("SELECT message, action FROM mz_internal.mz_notices")
    assert (message, action) == (NOTED_TWICE, "DROP INDEX noted.second;")
    client.run(action)
    eventually(lambda: not client.kept(), "it is cured", 20)


def test_drop_schema_and_drop_owned(client):
    client.run("CREATE SCHEMA more; GRANT ALL ON SCHEMA more, noted TO other")
    client.run("CREATE TABLE more.rows (note text); GRANT SELECT ON noted.rows TO other")
    client.run("CREATE VIEW more.v AS SELECT * FROM more.rows WHERE note = NULL")
    client.run(VIEW.format("owned"))
    client.run("ALTER VIEW noted.owned OWNER TO other")
    eventually(lambda: client.count() == 2, "both are kept", 20)
    client.run("DROP SCHEMA more CASCADE")
    eventually(lambda: client.count() == 1, "one is gone with its schema", 20)
    client.run("DROP OWNED BY other")
    eventually(lambda: client.count() == 0, "the other is gone with what its owner had", 20)


def test_rename(client):
    client.run(VIEW.format("before"))
    eventually(client.kept, "it is kept", 20)

    def speaks_of(view, column):
        text = f'view "noted.{view}" compares with NULL: {column} = NULL is never true'
        return client.run("SELECT message FROM mz_internal.mz_notices") == [(text,)]

    # One after the other: each is seen by itself.
    client.run("ALTER VIEW noted.before RENAME TO behind")
    eventually(lambda: speaks_of("behind", "note"), "it speaks of the view's new name", 20)
    client.run("ALTER TABLE noted.rows RENAME COLUMN note TO remark")
    eventually(lambda: speaks_of("behind", "remark"), "it speaks of the column's new name", 20)


def test_transactions(client):
    with pytest.raises(psycopg.errors.DivisionByZero), client.connection.transaction():
        client.run(VIEW.format("gone"))
        client.run("SELECT 1/0")
    with client.connection.transaction():
        client.run("CREATE MATERIALIZED VIEW noted.stays AS SELECT * FROM noted.rows")
        assert client.notices == []
    kept = eventually(client.kept, "what was committed is found", 20)
    assert NULLS not in kept
    with client.connection.transaction():
        client.run("DROP MATERIALIZED VIEW noted.stays")
    eventually(lambda: not client.kept(), "what a transaction drops is gone", 20)


def test_status_outlives_the_object(client):
    client.run(VIEW.format("v"))
    _, fingerprint = eventually(client.kept, "it is kept", 20)[NULLS]
    client.run(f"ALTER NOTICE '{fingerprint}' SET STATUS = 'ignored'")
    client.run("DROP VIEW noted.v")
    eventually(lambda: not client.kept(), "it is gone", 20)
    client.run(VIEW.format("v").replace("*", " * /* again */ "))
    again = eventually(client.kept, "it is found again", 20)
    assert again == {NULLS: ("ignored", fingerprint)}
    client.run(f"ALTER NOTICE '{fingerprint}' RESET STATUS")


def test_behind_its_back(server, client, start_box):
    """Past Signalbox: noticed with the next DDL through it, and at the start of another."""
    server.admin(VIEW.format("direct"))
    server.admin("ALTER VIEW noted.direct OWNER TO app")
    client.run("CREATE TABLE noted.other (a int)")
    assert list(eventually(client.kept, "it is found with the next DDL", 20)) == [NULLS]
    fresh = Told(start_box(config(server)))
    assert list(eventually(fresh.kept, "it is found at the start", 20)) == [NULLS]
    fresh.connection.close()
    server.admin("DROP VIEW noted.direct")
    client.run("DROP TABLE noted.other")
    eventually(lambda: not client.kept(), "it is gone with the next DDL", 20)


def test_the_server_understood_all(server, watched):
    assert "examination has failed" not in watched.log_text()
    for sign in ("syntax error", "does not exist", "operator is not unique"):
        assert sign not in server.log_text()
