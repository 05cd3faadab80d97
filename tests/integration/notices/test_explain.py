"""The `Notices:` section behind a plan in text format."""

import psycopg
import pytest

from harness import eventually
from harness.messages import bind, error_fields, execute, parse, query, row_values, sync
from harness.signalbox import standard_config
from watching import connect

WILDCARD = [
    "  NOTICE:  view \"noted.v\" matches note LIKE '%4711'::text on table \"noted.rows\","
    " a pattern with a leading wildcard",
    "    HINT:  A B-tree is searched from the first letter on. An index of trigrams (extension"
    " pg_trgm) answers such patterns.",
    "    ACTION:  CREATE EXTENSION pg_trgm WITH SCHEMA public;",
    "             CREATE INDEX ON noted.rows USING gin (note public.gin_trgm_ops);",
]
OWN = [
    "  NOTICE:  the query compares with NULL: id = NULL is never true",
    "    HINT:  An operator that gets NULL gives NULL, which a condition takes as false.",
    "    ACTION:  Write id IS NULL instead of id = NULL.",
]


@pytest.fixture(scope="module")
def kept(watched):
    """A view with a notice, and an index that is identical to another; both are known by now."""
    with connect(watched) as app:
        app.execute("CREATE SCHEMA noted")
        app.execute("CREATE TABLE noted.rows (id int, note text)")
        app.execute("CREATE VIEW noted.v AS SELECT id FROM noted.rows WHERE note LIKE '%4711'")
        app.execute("CREATE INDEX first ON noted.rows (id)")
        app.execute("CREATE INDEX second ON noted.rows (id)")
        app.execute("GRANT USAGE ON SCHEMA noted TO other, reader")
        app.execute("GRANT SELECT ON noted.v, noted.rows TO other, reader")
        found = "SELECT count(*) FROM mz_internal.mz_notices"
        eventually(lambda: app.execute(found).fetchone() == (2,), "both notices are kept", 20)


@pytest.fixture
def client(kept, watched, mode):
    with connect(watched, database=mode) as connection:
        yield connection


def lines(connection, sql, **options):
    return [line for (line,) in connection.execute(sql, **options).fetchall()]


def split(found):
    """What stands before the section, and the section without its head."""
    at = found.index("Notices:") if "Notices:" in found else len(found)
    return found[:at], found[at + 1 :]


@pytest.mark.parametrize("prepare", [False, True])
@pytest.mark.parametrize("name", ["noted.v", "v"])
def test_a_view_of_the_query(client, name, prepare):
    client.execute("SET search_path = noted, public")
    sql = f"EXPLAIN (COSTS OFF) SELECT * FROM {name}"
    for _ in range(3):
        plan, notices = split(lines(client, sql, prepare=prepare))
        assert plan == ["Seq Scan on rows", "  Filter: (note ~~ '%4711'::text)"]
        assert notices == WILDCARD


def test_the_query_itself_and_its_view(client):
    _, notices = split(lines(client, "EXPLAIN SELECT * FROM noted.v WHERE id = NULL"))
    assert notices == OWN + WILDCARD


def test_nothing_to_say(client):
    assert "Notices:" not in lines(client, "EXPLAIN SELECT * FROM noted.rows WHERE note IS NULL")
    with_a_cte = "EXPLAIN WITH v AS (SELECT 1) SELECT * FROM v"
    assert "Notices:" not in lines(client, with_a_cte)


def test_an_index_of_the_plan(client):
    """In a transaction block too, on what it sees: without the first, the second index is used."""
    with client.transaction(force_rollback=True):
        client.execute("DROP INDEX noted.first")
        client.execute("SET LOCAL enable_seqscan = off")
        for force in ("enable_bitmapscan", "enable_indexscan"):
            client.execute(f"SET LOCAL {force} = off")
            found = lines(client, "EXPLAIN ANALYZE SELECT id FROM noted.rows WHERE id = 1")
            plan, notices = split(found)
            assert any("second" in line for line in plan), plan
            assert plan[-1].startswith("Execution Time")
            assert notices == [
                '  NOTICE:  index "noted.second" is identical to index "noted.first"',
                '    HINT:  Every write to table "noted.rows" maintains both, and no query gains'
                " from the second.",
                "    ACTION:  DROP INDEX noted.second;",
            ]
            client.execute(f"SET LOCAL {force} = on")


def test_who_reads_what(kept, watched):
    sql = "EXPLAIN SELECT * FROM noted.v WHERE id = NULL"
    with connect(watched, "other") as support:
        _, notices = split(lines(support, sql))
        redacted = [line.replace("'%4711'", "█") for line in WILDCARD]
        assert notices == OWN + redacted
        support.execute("SET client_encoding = 'LATIN1'")
        _, notices = split(lines(support, sql))
        assert notices == OWN + [line.replace("█", "?") for line in redacted]
    with connect(watched, "reader") as nobody:
        _, notices = split(lines(nobody, sql))
        assert notices == OWN


def test_status(client):
    fingerprint = client.execute(
        "SELECT fingerprint::text FROM mz_internal.mz_notices WHERE notice_type LIKE '%wildcard'"
    ).fetchone()[0]
    sql = "EXPLAIN SELECT * FROM noted.v"
    for status in ("ignored", "resolved"):
        client.execute(f"ALTER NOTICE '{fingerprint}' SET STATUS = '{status}'")
        assert "Notices:" not in lines(client, sql)
    client.execute(f"ALTER NOTICE '{fingerprint}' SET STATUS = 'new'")
    assert split(lines(client, sql))[1] == WILDCARD


def test_quiet_clients_see_nothing(client):
    client.execute("SET client_min_messages = warning")
    assert "Notices:" not in lines(client, "EXPLAIN SELECT * FROM noted.v")
    client.execute("SET client_min_messages = notice")
    assert "Notices:" in lines(client, "EXPLAIN SELECT * FROM noted.v")


@pytest.mark.parametrize("form", ["json", "xml", "yaml"])
def test_other_formats(server, client, form):
    sql = f"EXPLAIN (FORMAT {form}, COSTS OFF) SELECT * FROM noted.v WHERE id = NULL"
    with server.admin_connection() as direct:
        assert client.execute(sql).fetchall() == direct.execute(sql).fetchall()


def test_errors(client):
    with pytest.raises(psycopg.errors.UndefinedTable):
        client.execute("EXPLAIN SELECT * FROM noted.v, noted.gone")
    with pytest.raises(psycopg.errors.DivisionByZero):
        client.execute("EXPLAIN ANALYZE SELECT 1/count(*) FROM noted.v")
    assert "Notices:" in lines(client, "EXPLAIN SELECT * FROM noted.v")


def test_explain_execute(client):
    client.execute("PREPARE p AS SELECT * FROM noted.v WHERE id = NULL")
    assert "Notices:" not in lines(client, "EXPLAIN EXECUTE p")
    client.execute("DEALLOCATE p")


def test_batches(client):
    """Each plan has its own section, and a batch that creates something keeps its order."""
    cursor = client.execute(
        "EXPLAIN (COSTS OFF) SELECT * FROM noted.v; SELECT 1;"
        " EXPLAIN (COSTS OFF, FORMAT JSON) SELECT * FROM noted.v;"
        " EXPLAIN (COSTS OFF) SELECT id FROM noted.rows WHERE id = NULL"
    )
    results = [cursor.fetchall()]
    while cursor.nextset():
        results.append(cursor.fetchall())
    assert len(results) == 4 and results[1] == [(1,)] and len(results[2]) == 1
    assert split([line for (line,) in results[0]])[1] == WILDCARD
    assert split([line for (line,) in results[3]])[1] == OWN


def rows(found):
    return [row_values(body)[0].decode() for kind, body in found if kind == b"D"]


def test_over_the_extended_protocol(kept, watched, mode):
    """With binary results, in a pipeline, by parts."""
    raw = watched.raw(database=mode)
    explain = "EXPLAIN (COSTS OFF) SELECT * FROM noted.v"
    plan = ["Seq Scan on rows", "  Filter: (note ~~ '%4711'::text)"]
    section = ["Notices:", *WILDCARD]

    def run(data):
        raw.send(data)
        found = raw.read_until(b"Z")
        assert not [error_fields(body) for kind, body in found if kind == b"E"]
        return b"".join(kind for kind, _ in found), rows(found)

    once = parse(explain) + bind(result_formats=(1,)) + execute() + sync()
    assert run(once) == (b"12" + b"D" * 7 + b"CZ", plan + section)
    two = parse(explain) + bind() + execute()
    two += parse("SELECT 'plain'") + bind() + execute() + parse(explain) + bind() + execute()
    order, found = run(two + sync())
    assert order == b"12" + b"D" * 7 + b"C12DC12" + b"D" * 7 + b"CZ"
    assert found == plan + section + ["plain"] + plan + section
    parts = parse(explain) + bind() + execute(max_rows=1) + execute() + sync()
    assert run(parts) == (b"12DsDCZ", plan)
    assert run(query(explain))[1] == plan + section
    raw.terminate()


def test_not_where_notices_are_off(server, kept, start_box):
    box = start_box(standard_config(server, {"catalog": {"notices": False}}))
    with connect(box) as app:
        assert "Notices:" not in lines(app, "EXPLAIN SELECT * FROM noted.v WHERE id = NULL")
