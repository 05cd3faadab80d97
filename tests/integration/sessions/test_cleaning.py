"""What may have made session state that no statement shows is cleaned behind it, and nothing else is."""

import time

import pytest

from harness import Postgres, Signalbox
from harness.cleanings import CLEANING, cleanings
from harness.messages import bind, execute, parse, sync
from harness.signalbox import standard_config
from harness.waiting import eventually

SCHEMA = """
CREATE TABLE plain (id serial, note text DEFAULT now());
CREATE TABLE guarded (id int);
CREATE FUNCTION harmless(a int) RETURNS int LANGUAGE plpgsql AS
    $$ BEGIN UPDATE plain SET note = 'x' WHERE id = a; RETURN a; END $$;
CREATE FUNCTION set_it() RETURNS void LANGUAGE plpgsql AS
    $$ BEGIN PERFORM set_config('app.hidden', 'seen', false); END $$;
CREATE FUNCTION calls_it() RETURNS void LANGUAGE sql AS 'SELECT set_it()';
CREATE FUNCTION loads() RETURNS void LANGUAGE plpgsql SECURITY DEFINER AS
    $$ BEGIN LOAD 'auto_explain'; END $$;
CREATE FUNCTION seeds() RETURNS void LANGUAGE sql AS 'SELECT setseed(0.5)';
CREATE EXTENSION dblink;
CREATE SCHEMA mine;
CREATE FUNCTION mine."Odd Name"() RETURNS void LANGUAGE sql BEGIN ATOMIC SELECT public.set_it(); END;
ALTER TABLE plain OWNER TO app;
ALTER TABLE guarded OWNER TO app;
GRANT ALL ON SCHEMA mine, public TO app;
"""
QUESTION = "concat_ws"
PROCESS = "SELECT pg_backend_pid()"


@pytest.fixture(scope="module")
def server():
    with Postgres("cleaning", settings={"log_statement": "all"}) as made:
        made.admin(SCHEMA)
        yield made


@pytest.fixture(scope="module")
def box(server):
    routes = {"one": {"pool_mode": "transaction", "pool_size": 1, "backend_database": "app"}}
    # What is known of a database, each worker knows by itself.
    with Signalbox(standard_config(server, {"listen": {"workers": 1}}, routes=routes)) as process:
        client = process.raw("one")
        # The catalogs are read behind the first transaction.
        eventually(lambda: cleanings(server, client, "SELECT 1") == 0, "the catalogs are read")
        client.terminate()
        yield process


@pytest.fixture
def client(box):
    opened = box.raw("one")
    yield opened
    opened.terminate()


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT 1",
        "SELECT count(*), lower('A') FROM plain WHERE id IN (1, 2)",
        "INSERT INTO plain (note) VALUES (now())",
        "UPDATE plain SET note = 'y'",
        "SELECT harmless(1)",
        "SET application_name = 'x'",
        "BEGIN; SELECT now(); COMMIT",
        "SELECT 'set_it()'",
    ],
)
def test_what_cannot_have_made_state_costs_nothing(server, client, sql):
    assert cleanings(server, client, sql) == 0


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT setseed(0.5)",
        "SELECT seeds()",
        "DO $$BEGIN PERFORM setseed(0.5); END$$",
        "SELECT loads()",
        "SELECT dblink_connect('theirs', 'dbname=app')",
    ],
)
@pytest.mark.parametrize("extended", [False, True])
def test_what_lasts_as_long_as_its_server_process_ends_with_it(client, sql, extended):
    process = client.value(PROCESS)
    assert client.value(PROCESS) == process
    if extended:
        client.send(parse(sql) + bind() + execute() + sync())
        client.read_until(b"Z")
    else:
        client.query(sql)
    assert client.value(PROCESS) != process


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT set_it()",
        "SELECT calls_it()",
        'SELECT mine."Odd Name"()',
        "SELECT public . Set_It /* here */ ()",
        "WITH a AS (SELECT set_it()) SELECT 1 FROM a",
        "DO $$ BEGIN PERFORM set_it(); END $$",
        "UPDATE pg_settings SET setting = '77MB' WHERE name = 'work_mem'",
    ],
)
def test_what_may_have_made_state_is_cleaned(server, client, sql):
    assert cleanings(server, client, sql) == 1
    assert client.value("SELECT current_setting('app.hidden', true)") in (None, "")


def test_a_prepared_statement_is_known_by_its_text(server, client):
    client.send(parse("SELECT set_it()", name="p") + sync())
    client.read_until()
    before = server.log_text().count(CLEANING)
    for _ in range(3):
        client.send(bind(statement="p") + execute() + sync())
        client.read_until()
    client.value("SELECT 1")
    assert server.log_text().count(CLEANING) - before == 3


def test_a_function_made_now_is_known_at_once(server, box, client):
    client.query("CREATE OR REPLACE FUNCTION fresh() RETURNS int LANGUAGE sql AS 'SELECT 1'")
    eventually(lambda: cleanings(server, client, "SELECT fresh()") == 0, "it is known")
    client.query(
        "CREATE OR REPLACE FUNCTION fresh() RETURNS int LANGUAGE plpgsql AS"
        " $$ BEGIN PERFORM set_config('app.hidden', 'x', false); RETURN 1; END $$"
    )
    client.query("SELECT fresh()")
    assert client.value("SELECT current_setting('app.hidden', true)") in (None, "")


def test_made_behind_the_back_it_is_known_soon(server, client):
    """A direct connection makes a trigger: writing to its table may make state from then on."""
    assert cleanings(server, client, "INSERT INTO guarded VALUES (1)") == 0
    server.admin(
        "CREATE FUNCTION on_insert() RETURNS trigger LANGUAGE plpgsql AS"
        " $$ BEGIN PERFORM set_config('app.hidden', 'x', false); RETURN new; END $$;"
        "CREATE TRIGGER guard BEFORE INSERT ON guarded FOR EACH ROW EXECUTE FUNCTION on_insert()"
    )
    insert = "INSERT INTO guarded VALUES (1)"
    eventually(lambda: cleanings(server, client, insert) == 1, "the trigger is known")
    assert cleanings(server, client, "SELECT * FROM guarded") == 0
    server.admin("DROP TRIGGER guard ON guarded; DROP FUNCTION on_insert")
    eventually(lambda: cleanings(server, client, insert) == 0, "it is known to be gone")


def test_a_default_that_lasts(server, client):
    """Whatever writes may come by it."""

    def changes():
        process = client.value(PROCESS)
        client.query("INSERT INTO guarded VALUES (1)")
        return client.value(PROCESS) != process

    assert not changes()
    server.admin("CREATE TABLE seeding (id int DEFAULT length(setseed(0.5)::text))")
    eventually(changes, "the default is known")
    server.admin("DROP TABLE seeding")
    eventually(lambda: not changes(), "it is known to be gone")


def test_the_catalogs_are_not_asked_all_the_time(server, client):
    client.query("SELECT 1")
    before = server.log_text().count(QUESTION)
    until = time.monotonic() + 3
    count = 0
    while time.monotonic() < until:
        client.query("SELECT 1")
        count += 1
    asked = server.log_text().count(QUESTION) - before
    assert 1 <= asked <= 3, (asked, count)
