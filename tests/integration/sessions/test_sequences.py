"""currval() and lastval() give what the session itself has drawn, or nothing; in transaction mode.

The database `app` has functions that read; in `other` also a view, a default, a constraint and a
trigger do, so that there whatever is read or written may lead to one. Every pool has one server
connection, which the sessions share.
"""

import pytest

from harness import Postgres, RawClient, Signalbox
from harness.messages import bind, execute, function_call, parse, query, sync
from harness.postgres import ROLES
from harness.replies import codes, extended, simple, status, values
from harness.signalbox import standard_config

TABLES = """
CREATE SEQUENCE s;
CREATE TABLE serial_ids (id serial, note text);
CREATE TABLE identities (id int GENERATED ALWAYS AS IDENTITY, note text);
CREATE TABLE plain (id bigint);
CREATE FUNCTION reads() RETURNS bigint LANGUAGE sql AS 'SELECT lastval()';
CREATE FUNCTION reads_atomic() RETURNS bigint LANGUAGE sql BEGIN ATOMIC SELECT currval('s'); END;
CREATE FUNCTION reads_in_plpgsql() RETURNS bigint LANGUAGE plpgsql AS
    $$ BEGIN RETURN currval('s'); END $$;
CREATE FUNCTION reads_within() RETURNS bigint LANGUAGE plpgsql AS
    $$ BEGIN RETURN reads_in_plpgsql(); END $$;
CREATE FUNCTION reads_by_default(bigint DEFAULT lastval()) RETURNS bigint LANGUAGE sql AS 'SELECT $1';
CREATE FUNCTION runs(statement text) RETURNS bigint LANGUAGE plpgsql AS
    $$ DECLARE found bigint; BEGIN EXECUTE statement INTO found; RETURN found; END $$;
CREATE FUNCTION harmless(bigint) RETURNS bigint LANGUAGE plpgsql AS $$ BEGIN RETURN $1; END $$;
"""
PLACES = """
CREATE VIEW reading_view AS SELECT lastval() AS id;
CREATE TABLE with_default (id bigint DEFAULT currval('s'), note text);
CREATE TABLE with_check (id bigint CHECK (currval('s') > 0));
CREATE TABLE with_trigger (id bigint);
CREATE FUNCTION on_insert() RETURNS trigger LANGUAGE plpgsql AS
    $$ BEGIN NEW.id := currval('s'); RETURN NEW; END $$;
CREATE TRIGGER t BEFORE INSERT ON with_trigger FOR EACH ROW EXECUTE FUNCTION on_insert();
"""
OWNED = """
DO $$
DECLARE name text;
BEGIN
    FOR name IN SELECT relname FROM pg_class WHERE relnamespace = 'public'::regnamespace
        AND relkind IN ('r', 'v')
    LOOP EXECUTE format('ALTER TABLE %I OWNER TO app', name); END LOOP;
END $$;
ALTER SEQUENCE s OWNER TO app;
"""

DRAWS = [
    "SELECT nextval('s'), setval('s', 42)",
    "INSERT INTO serial_ids (note) SELECT nextval('s')::text",
    "INSERT INTO identities (note) VALUES (nextval('s'))",
]
READS = [
    "SELECT lastval()",
    "SELECT pg_catalog.CurrVal('s')",
    "SELECT \"currval\"('s')",
    "SELECT U&\"last\\0076al\"()",
    "SELECT 1 FROM generate_series(1, 2) WHERE lastval() > 0",
    "COPY (SELECT lastval()) TO STDOUT",
    "EXPLAIN ANALYZE SELECT lastval()",
    "DO $$ BEGIN PERFORM lastval(); END $$",
    "DO $$ BEGIN EXECUTE 'SELECT last' || 'val()'; END $$",
    "INSERT INTO plain VALUES (lastval())",
    "SELECT reads()",
    "SELECT reads_atomic()",
    "SELECT reads_in_plpgsql()",
    "SELECT reads_within()",
    "SELECT reads_by_default()",
    "SELECT runs('SELECT last' || 'val()')",
]
READS_BY_PLACES = [
    "TABLE reading_view",
    "INSERT INTO with_default (note) VALUES ('x')",
    "INSERT INTO with_check VALUES (1)",
    "INSERT INTO with_trigger VALUES (1)",
]
ROUTES = {
    "app_one": {"backend_database": "app", "pool_size": 1},
    "app_two": {"backend_database": "app", "pool_size": 2},
    "other_one": {"backend_database": "other", "pool_size": 1},
    "split_one": {"backend_database": "app", "pool_size": 1, "multi_statement": "split"},
}
NOT_YET = ["55000"]


@pytest.fixture(scope="module")
def server():
    with Postgres("sequences") as made:
        made.admin(TABLES + OWNED)
        made.admin(TABLES + PLACES + OWNED, database="other")
        yield made


@pytest.fixture(scope="module")
def box(server):
    routes = {name: {"pool_mode": "transaction", **own} for name, own in ROUTES.items()}
    with Signalbox(standard_config(server, {"listen": {"workers": 1}}, routes=routes)) as process:
        yield process


@pytest.fixture
def clients(server, box):
    """clients(route), closed at the end; `direct_app` and `direct_other` are PostgreSQL itself."""
    opened = []

    def connect(route):
        if route.startswith("direct_"):
            opened.append(RawClient("127.0.0.1", server.port))
            opened[-1].login("app", route.removeprefix("direct_"), ROLES["app"])
        else:
            opened.append(box.raw(route))
        return opened[-1]

    yield connect
    for client in opened:
        client.terminate()


def prepared(client, sql):
    """Named, and parsed before anybody draws anything."""
    client.send(bind(statement="p") + execute() + sync())
    return client.read_until(b"Z")


CASES = [("app", sql) for sql in READS] + [("other", sql) for sql in READS_BY_PLACES]


@pytest.mark.parametrize("ask", [simple, extended, prepared])
@pytest.mark.parametrize("database, sql", CASES)
def test_nobody_reads_what_another_has_drawn(clients, database, sql, ask):
    maker, other = clients(f"{database}_one"), clients(f"{database}_one")
    if ask is prepared:
        other.send(parse(sql, name="p") + sync())
        assert codes(other.read_until(b"Z")) == []
    for draw in DRAWS:
        assert codes(maker.query(draw)) == []
        assert codes(ask(other, sql)) == NOT_YET, draw
    # Its own, in a transaction of its own.
    other.query("BEGIN")
    for draw in DRAWS:
        assert codes(other.query(draw)) == []
    found = ask(other, sql)
    assert codes(found) == [] and status(found) == "T"
    other.query("ROLLBACK")


@pytest.mark.parametrize("database, sql", CASES)
def test_the_statements_read(clients, database, sql):
    """Guards the list: on a plain connection each gives what it has drawn, and else an error."""
    client = clients(f"direct_{database}")
    assert codes(client.query(sql)) == NOT_YET
    for draw in DRAWS:
        client.query(draw)
    assert codes(client.query(sql)) == []


def draw(client, sql="SELECT nextval('s')"):
    assert codes(client.query(sql)) == []


def test_a_block_reads_its_own_only(clients):
    maker, other = clients("app_one"), clients("app_one")
    draw(maker)
    other.query("BEGIN")
    other.query("INSERT INTO plain VALUES (1)")
    assert codes(other.query("SELECT lastval()")) == NOT_YET
    other.query("ROLLBACK")
    draw(maker)
    other.query("BEGIN")
    (drawn,) = values(other.query("INSERT INTO serial_ids (note) VALUES ('x') RETURNING id"))
    assert other.value("SELECT lastval()") == drawn
    # The other sequence's value is another's.
    assert codes(other.query("SELECT currval('s')")) == NOT_YET
    other.query("ROLLBACK")


@pytest.mark.parametrize("first", ["BEGIN", "CREATE TEMP TABLE kept (id int)"])
def test_its_own_in_the_block_that_follows(clients, first):
    """Also where the connection is kept for another reason, and in later transactions."""
    maker, other = clients("app_one"), clients("app_one")
    for _ in range(3):
        draw(maker)
        other.query(first)
        (drawn,) = values(other.query("INSERT INTO serial_ids (note) VALUES ('x') RETURNING id"))
        other.query("SELECT 1")
        assert other.value("SELECT lastval()") == drawn
        assert other.value("SELECT lastval()") == drawn
        other.query("DROP TABLE IF EXISTS kept; COMMIT")


def test_its_own_where_nobody_was_between(clients):
    client = clients("app_one")
    draw(client)
    assert client.value("SELECT lastval()") == client.value("SELECT currval('s')")


def test_in_one_query(clients):
    maker, other = clients("app_one"), clients("app_one")
    draw(maker)
    found = other.query("SELECT nextval('s'); SELECT lastval()")
    assert codes(found) == [] and values(found)[0] == values(found)[1]
    draw(maker)
    found = other.query("BEGIN; SELECT nextval('s'); SELECT lastval(); COMMIT; SELECT lastval()")
    assert codes(found) == [] and len(set(values(found))) == 1
    draw(maker)
    assert codes(other.query("SELECT 1; SELECT lastval()")) == NOT_YET


def test_in_units(clients):
    maker, other = clients("split_one"), clients("split_one")
    draw(maker)
    assert codes(other.query("SELECT 1; SELECT lastval(); SELECT 2")) == NOT_YET
    draw(maker)
    found = other.query("SELECT nextval('s'); BEGIN; SELECT lastval(); COMMIT; SELECT lastval()")
    assert codes(found) == [] and len(set(values(found))) == 1


def test_in_pipelines(clients):
    maker, other = clients("app_one"), clients("app_one")
    texts = ["INSERT INTO serial_ids (note) VALUES ('x') RETURNING id", "SELECT lastval()"]
    statements = [parse(text) + bind() + execute() for text in texts]
    draw(maker)
    other.send(b"".join(statements) + sync())
    found = other.read_until(b"Z")
    assert codes(found) == [] and len(set(values(found))) == 1
    draw(maker)
    other.send(b"".join(query(text) for text in texts))
    (drawn,) = values(other.read_until(b"Z"))
    assert values(other.read_until(b"Z")) == [drawn]
    draw(maker)
    other.send(statements[1] + sync() + statements[1] + sync())
    assert codes(other.read_until(b"Z")) == codes(other.read_until(b"Z")) == NOT_YET
    # A batch that fails before it has got there has discarded nothing.
    draw(maker)
    other.send(parse("SELECT wrong") + statements[1] + sync() + statements[1] + sync())
    assert codes(other.read_until(b"Z")) == ["42703"]
    assert codes(other.read_until(b"Z")) == NOT_YET


def test_what_has_to_stand_alone(clients):
    """PostgreSQL refuses it behind another Execute. A name in a comment may be read, as any."""
    maker, other = clients("app_one"), clients("app_one")
    for statement in ["VACUUM plain", "CREATE INDEX CONCURRENTLY ON plain (id)"]:
        draw(maker)
        assert codes(extended(other, statement + " -- lastval")) == []
    draw(maker)
    text = "VACUUM plain /* currval */"
    other.send(parse(text, name="v") + bind(statement="v") + execute() + sync())
    assert codes(other.read_until(b"Z")) == []


def test_a_transaction_is_set_up_just_behind_ddl(clients):
    maker, other, third = (clients("app_two") for _ in range(3))
    for ask in [simple, extended]:
        draw(maker)
        other.query("BEGIN")
        draw(third, "CREATE TABLE changed ()")
        draw(third, "DROP TABLE changed")
        assert codes(ask(other, "SET TRANSACTION ISOLATION LEVEL SERIALIZABLE")) == []
        assert other.value("SHOW transaction_isolation") == "serializable"
        assert codes(other.query("SELECT 1/0")) == ["22012"]
        assert status(ask(other, "ROLLBACK")) == "I"


def test_by_a_function_call_message(server, clients):
    (oid,) = server.admin("SELECT 'lastval'::regproc::oid::int")[0]
    maker, other = clients("app_one"), clients("app_one")
    draw(maker)
    other.send(function_call(oid))
    assert codes(other.read_until(b"Z")) == NOT_YET
    assert codes(other.query("SELECT 1")) == []


def test_by_sql_prepare_and_cursors(clients):
    maker, other = clients("app_one"), clients("app_one")
    draw(maker)
    other.query("PREPARE p AS SELECT lastval()")
    assert codes(other.query("EXECUTE p")) == NOT_YET
    draw(other)
    assert codes(other.query("EXECUTE p")) == []
    other.query("DEALLOCATE p")
    draw(maker)
    other.query("BEGIN")
    other.query("DECLARE c CURSOR FOR SELECT lastval()")
    assert codes(other.query("FETCH c")) == NOT_YET
    other.query("ROLLBACK")


def test_behind_the_end_of_a_failed_block(clients):
    maker, other = clients("app_one"), clients("app_one")
    draw(maker)
    assert codes(other.query("SELECT lastval()")) == NOT_YET  # by now blocks are expected to read
    draw(maker)
    other.query("BEGIN")
    other.query("SELECT 1/0")
    assert codes(other.query("SELECT lastval()")) == ["25P02"]
    assert codes(other.query("ROLLBACK; SELECT lastval()")) == NOT_YET
    other.query("ROLLBACK")
    assert codes(other.query("SELECT 1")) == []


def test_in_a_read_only_transaction(clients):
    maker, other = clients("app_one"), clients("app_one")
    draw(maker)
    other.query("SET default_transaction_read_only = on")
    assert codes(other.query("SELECT lastval()")) == NOT_YET
    draw(maker)
    other.query("SELECT 1; BEGIN ISOLATION LEVEL SERIALIZABLE READ ONLY")
    assert codes(extended(other, "SELECT lastval()")) == NOT_YET
    other.query("ROLLBACK")


def test_a_session_that_comes_after(clients):
    maker = clients("app_one")
    draw(maker)
    maker.terminate()
    assert codes(clients("app_one").query("SELECT lastval()")) == NOT_YET
