"""Where a call of an RPC function can stand, and what only looks like one.

Whether one is found shows in the transactions of the batch: with a call each statement has its
own, without one all share the same.
"""

import pytest

from harness.messages import copy_data, copy_done, query
from harness.replies import codes, values

ROUTES = ["split_on_rpc_session", "split_on_rpc_transaction"]
XID = "SELECT pg_current_xact_id()::text"

CALLS = [
    "SELECT rpc_echo('x')",
    "select rpc_echo ('x')",
    "SELECT public.rpc_echo('x')",
    "SELECT engine.rpc_echo('x')",
    "SELECT app.public.rpc_echo('x')",
    "SELECT engine . /* x */ rpc_echo -- y\n ('x')",
    "SELECT RPC_ECHO('x')",
    "SELECT Public.Rpc_Echo('x')",
    "SELECT \"rpc_echo\"('x')",
    'SELECT "public"."rpc_echo"(\'x\')',
    "SELECT engine.\"rpc_Mixed\"('x')",
    "SELECT U&\"rpc\\005fecho\"('x')",
    "SELECT U&\"\\+000072pc_echo\"('x')",
    "SELECT U&\"rpc!005fecho\" UESCAPE '!' ('x')",
    "SELECT rpc_echo(value => 'x')",
    "SELECT rpc_echo(VARIADIC 'x')",
    "SELECT (SELECT rpc_echo('x'))",
    "SELECT upper(rpc_echo('x'))",
    "SELECT rpc_echo(upper(rpc_echo('x')))",
    "SELECT 'x' || rpc_echo('y') || 'z'",
    "SELECT rpc_echo('1')::int + 1",
    "SELECT CASE WHEN true THEN rpc_echo('x') END",
    "SELECT CASE rpc_echo('x') WHEN 'x' THEN 1 END",
    "SELECT coalesce(NULL, rpc_echo('x'))",
    "SELECT greatest('a', rpc_echo('x'))",
    "SELECT ARRAY[rpc_echo('x')]",
    "SELECT ROW(1, rpc_echo('x'))",
    "SELECT (ARRAY['a', 'b'])[length(rpc_echo('x'))]",
    "SELECT rpc_echo('x') IS NULL",
    "SELECT 'x' IN ('y', rpc_echo('x'))",
    "SELECT 'x' = ANY (ARRAY[rpc_echo('x')])",
    "SELECT NOT rpc_echo('x') = 'x'",
    "SELECT EXISTS (SELECT rpc_echo('x'))",
    "SELECT rpc_echo('x') COLLATE \"C\"",
    "SELECT * FROM rpc_echo('x')",
    "SELECT * FROM rpc_echo('x') AS a(b)",
    "SELECT * FROM ROWS FROM (rpc_echo('x'), generate_series(1, 2))",
    "SELECT * FROM generate_series(1, length(rpc_echo('x')))",
    "SELECT * FROM gate, LATERAL rpc_echo(gate.id::text)",
    "SELECT * FROM gate JOIN gate g ON rpc_echo('x') = 'x'",
    "SELECT * FROM (SELECT rpc_echo('x')) q",
    "SELECT * FROM (VALUES (rpc_echo('x'))) q",
    "SELECT 1 FROM gate WHERE rpc_echo('x') = 'y'",
    "SELECT 1 FROM gate GROUP BY rpc_echo('x')",
    "SELECT 1 FROM gate HAVING rpc_echo('x') = 'x'",
    "SELECT 1 FROM gate ORDER BY rpc_echo('x')",
    "SELECT 1 FROM gate LIMIT rpc_count()",
    "SELECT 1 FROM gate OFFSET rpc_count()",
    "SELECT DISTINCT ON (rpc_echo('x')) 1 FROM gate",
    "SELECT count(*) FILTER (WHERE rpc_echo('x') = 'x') FROM gate",
    "SELECT count(rpc_echo('x')) OVER (PARTITION BY rpc_echo('y')) FROM gate",
    "SELECT string_agg('x', ',' ORDER BY rpc_echo('x')) FROM gate",
    "SELECT 1 UNION ALL SELECT length(rpc_echo('x'))",
    "WITH q AS (SELECT rpc_echo('x')) SELECT * FROM q",
    "WITH q AS MATERIALIZED (INSERT INTO ledger VALUES (1, rpc_echo('x')) RETURNING id) TABLE q",
    "WITH RECURSIVE q AS (SELECT 1 AS n UNION ALL SELECT n + length(rpc_echo('x')) FROM q "
    "WHERE n < 3) SELECT * FROM q",
    "VALUES (rpc_echo('x'))",
    "INSERT INTO ledger VALUES (1, rpc_echo('x'))",
    "INSERT INTO ledger SELECT 1, rpc_echo('x')",
    "INSERT INTO ledger VALUES (1) RETURNING rpc_echo(note)",
    "INSERT INTO parent VALUES (1) ON CONFLICT (id) DO UPDATE SET id = rpc_count()",
    "UPDATE ledger SET note = rpc_echo('x')",
    "UPDATE ledger SET (id, note) = (SELECT 1, rpc_echo('x'))",
    "UPDATE ledger SET id = 1 FROM rpc_echo('x')",
    "DELETE FROM ledger WHERE note = rpc_echo('x')",
    "DELETE FROM ledger USING rpc_echo('x') q WHERE note = q",
    "MERGE INTO ledger USING rpc_echo('x') q ON note = q WHEN MATCHED THEN DO NOTHING",
    "MERGE INTO ledger USING gate ON false WHEN NOT MATCHED THEN INSERT VALUES (1, rpc_echo('x'))",
    "CALL rpc_run(NULL)",
    "CALL public.rpc_run(NULL)",
    "call \"rpc_run\"(NULL)",
    "CALL rpc_run(rpc_count())",
    "EXPLAIN ANALYZE SELECT rpc_echo('x')",
    "COPY (SELECT rpc_echo('x')) TO STDOUT",
    "CREATE TABLE names_made AS SELECT rpc_echo('x')",
    "SELECT rpc_echo('x') INTO names_made",
    "CREATE MATERIALIZED VIEW names_view AS SELECT rpc_echo('x')",
    "EXECUTE names_statement(rpc_echo('x'))",
    "SELECT 'a;b' AS \"c;d\", $$;$$, rpc_echo(';') /* ; */ -- ;\n",
    "SELECT l.rpc_of_row FROM ledger AS l",
    "SELECT (l).rpc_of_row FROM ledger AS l",
    "SELECT public.ledger.rpc_of_row FROM ledger",
    "SELECT 1 FROM ledger AS l WHERE l.\"rpc_of_row\" > 0",
    # A column: nothing in the text says that it is not a function.
    "SELECT t.rpc_echo FROM rpc_table AS t",
]

OTHERS = [
    "SELECT 'rpc_echo(1)'",
    "SELECT E'\\'rpc_echo(1)'",
    "SELECT U&'rpc\\005fecho(1)'",
    "SELECT $$rpc_echo('x')$$",
    "SELECT $tag$ rpc_echo('x') $$ $tag$",
    "SELECT 1 -- rpc_echo('x')\n",
    "SELECT 1 /* rpc_echo('x') /* rpc_count() */ rpc_count() */",
    "SELECT 'a' /* no */ || 'rpc_echo('\n'1)' || 'x' || 'rpc_echo(1)'",
    "SELECT \"rpc_echo\" FROM rpc_table",
    "SELECT rpc_echo FROM rpc_table",
    "SELECT rpc_table.* FROM public.rpc_table",
    "SELECT 1 AS rpc_echo",
    'SELECT 1 AS "rpc_echo(1)"',
    "SELECT not_rpc_echo('x')",
    "SELECT \"RPC_ECHO\".id FROM gate AS \"RPC_ECHO\"",
    "WITH rpc_echo(x) AS (SELECT 1) SELECT x FROM rpc_echo",
    "INSERT INTO ledger (id, note) VALUES (1, 'rpc_echo(''x'')')",
    "CREATE FUNCTION names_made() RETURNS text LANGUAGE sql AS 'SELECT rpc_echo(''x'')'",
    "CREATE FUNCTION names_made() RETURNS text LANGUAGE sql AS $$ SELECT rpc_echo('x') $$",
    "CREATE FUNCTION names_made() RETURNS text LANGUAGE sql BEGIN ATOMIC SELECT rpc_echo('x'); END",
    "CREATE FUNCTION names_made() RETURNS text LANGUAGE sql RETURN rpc_echo('x')",
    "CREATE FUNCTION rpc_made() RETURNS int LANGUAGE sql AS $$ SELECT 1 $$",
    "DO $$ BEGIN PERFORM rpc_echo('x'); END $$",
    "COMMENT ON TABLE ledger IS 'rpc_echo(1)'",
]


@pytest.fixture
def client(request, clients, ledger):
    """What the statements make is gone at the end."""
    yield clients(request.param)
    clients("direct").query(
        "DROP MATERIALIZED VIEW IF EXISTS names_view; DROP TABLE IF EXISTS names_made; "
        "DROP FUNCTION IF EXISTS names_made(); DROP FUNCTION IF EXISTS rpc_made()"
    )


def transactions(client, statement):
    if "EXECUTE" in statement:
        client.query("PREPARE names_statement(text) AS SELECT $1")
    found = client.query(f"{XID}; {statement}; {XID}")
    assert codes(found) == [], found
    return values(found)[0], values(found)[-1]


@pytest.mark.parametrize("client", ROUTES, indirect=True)
@pytest.mark.parametrize("statement", CALLS)
def test_found(client, statement):
    first, last = transactions(client, statement)
    assert first != last


@pytest.mark.parametrize("client", ROUTES, indirect=True)
@pytest.mark.parametrize("statement", OTHERS)
def test_not_found(client, statement):
    first, last = transactions(client, statement)
    assert first == last


@pytest.mark.parametrize("statement", CALLS + OTHERS)
def test_the_list_itself(clients, ledger, statement):
    """Guards the lists: PostgreSQL accepts each of them, and a batch of it is one transaction."""
    client = clients("direct")
    client.query("BEGIN")
    first, last = transactions(client, statement)
    assert first == last
    client.query("ROLLBACK")


def test_a_schema_in_the_pattern(clients):
    client = clients("qualified")
    for statement, is_found in (
        ("SELECT engine.run_task('x')", True),
        ('SELECT "engine"."run_task"(\'x\')', True),
        ("SELECT ENGINE.RUN_TASK('x')", True),
        ("SELECT run_task('x')", False),
        ("SELECT public.run_task('x')", False),
        ("SELECT engine.rpc_echo('x')", False),
        ("SELECT rpc_echo('x')", False),
    ):
        first, last = transactions(client, statement)
        assert (first != last) == is_found, statement


@pytest.mark.parametrize("client", ROUTES, indirect=True)
def test_found_beside_what_cannot_be_parsed(client, ledger):
    """Newer syntax, or a typing error: never refused by Signalbox; PostgreSQL's word counts."""
    found = client.query("INSERT INTO ledger VALUES (1); SELECT rpc_count(); SELEKT 1")
    assert codes(found) == ["42601"]
    found = client.query("SELECT JSON_TABLE(FROM rpc_echo('x'); SELECT 2")
    assert codes(found) == ["42601"]
    assert client.value("SELECT 1") == "1"


@pytest.mark.parametrize("client", ROUTES, indirect=True)
def test_found_beside_a_copy(client, ledger):
    batch = query("COPY ledger (id) FROM STDIN; SELECT rpc_count()")
    client.send(batch + copy_data(b"1\n2\n") + copy_done())
    assert values(client.read_until(b"Z")) == ["2"]
