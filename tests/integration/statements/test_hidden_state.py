"""No state of one session is ever seen by another: many kinds of it, also where no parser sees it.

Every kind is made in transaction mode over one server connection; then others ask for it: one while
the maker is idle (unless it is pinned, which a NOTICE says), one after it has left. The same list
is shown to leave something behind on a plain connection, so that the questions mean something.
"""

import time

import pytest

from harness import eventually
from harness.messages import bind, execute, function_call, parse, sync
from harness.raw_client import notices
from harness.replies import PROTOCOLS, codes, simple, values

# Functions that do what their names say, and places from which one is called unseen. They are made
# over a connection of their own, so that Signalbox learns nothing of them on the way.
OBJECTS = """
CREATE FUNCTION quiet_set() RETURNS int LANGUAGE plpgsql AS
    $$ BEGIN PERFORM set_config('work_mem', '77MB', false); RETURN 1; END $$;
CREATE FUNCTION quiet_set_sql() RETURNS text LANGUAGE sql AS
    $$ SELECT set_config('work_mem', '77MB', false) $$;
CREATE FUNCTION quiet_custom() RETURNS int LANGUAGE plpgsql AS
    $$ BEGIN EXECUTE 'SET app.hidden = ''seen'''; RETURN 1; END $$;
CREATE FUNCTION quiet_run(statement text) RETURNS int LANGUAGE plpgsql AS
    $$ BEGIN EXECUTE statement; RETURN 1; END $$;
CREATE FUNCTION quiet_trigger() RETURNS trigger LANGUAGE plpgsql AS
    $$ BEGIN PERFORM quiet_set(); RETURN coalesce(NEW, OLD); END $$;
CREATE FUNCTION quiet_is_true(int) RETURNS bool LANGUAGE plpgsql AS
    $$ BEGIN PERFORM quiet_set(); RETURN true; END $$;
CREATE FUNCTION quiet_immutable(int) RETURNS int LANGUAGE plpgsql IMMUTABLE AS
    $$ BEGIN PERFORM quiet_set(); RETURN $1; END $$;
CREATE FUNCTION quiet_transition(int, int) RETURNS int LANGUAGE plpgsql AS
    $$ BEGIN PERFORM quiet_set(); RETURN 1; END $$;
CREATE FUNCTION quiet_equal(int, int) RETURNS bool LANGUAGE plpgsql AS
    $$ BEGIN PERFORM quiet_set(); RETURN true; END $$;
CREATE FUNCTION quiet_argument(int DEFAULT quiet_set()) RETURNS int LANGUAGE sql AS 'SELECT $1';
CREATE PROCEDURE quiet_procedure() LANGUAGE plpgsql AS $$ BEGIN PERFORM quiet_set(); END $$;
CREATE PROCEDURE quiet_procedure_commits() LANGUAGE plpgsql AS
    $$ BEGIN PERFORM quiet_set(); COMMIT; PERFORM 1; END $$;
CREATE AGGREGATE quiet_aggregate(int) (SFUNC = quiet_transition, STYPE = int, INITCOND = '0');
CREATE OPERATOR === (LEFTARG = int, RIGHTARG = int, FUNCTION = quiet_equal);
CREATE DOMAIN quiet_domain AS int CHECK (quiet_is_true(VALUE));
CREATE TYPE quiet_type AS (id int);
CREATE FUNCTION quiet_cast(quiet_type) RETURNS int LANGUAGE sql AS 'SELECT quiet_set()';
CREATE CAST (quiet_type AS int) WITH FUNCTION quiet_cast(quiet_type);

CREATE VIEW quiet_view AS SELECT quiet_set() AS id;
CREATE VIEW quiet_lock_view AS SELECT 1 AS id FROM pg_advisory_lock(818181);
CREATE VIEW quiet_settings AS SELECT name, setting FROM pg_settings;
CREATE TABLE quiet_triggered (id int);
CREATE TRIGGER t BEFORE INSERT OR UPDATE OR DELETE ON quiet_triggered
    FOR EACH ROW EXECUTE FUNCTION quiet_trigger();
CREATE TABLE quiet_truncated (id int);
CREATE TRIGGER t AFTER TRUNCATE ON quiet_truncated EXECUTE FUNCTION quiet_trigger();
CREATE TABLE quiet_deferred (id int);
CREATE CONSTRAINT TRIGGER t AFTER INSERT ON quiet_deferred DEFERRABLE INITIALLY DEFERRED
    FOR EACH ROW EXECUTE FUNCTION quiet_trigger();
CREATE TABLE quiet_default (id int DEFAULT quiet_set(), other int);
CREATE TABLE quiet_check (id int CHECK (quiet_is_true(id)));
CREATE TABLE quiet_generated (id int, g int GENERATED ALWAYS AS (quiet_immutable(id)) STORED);
CREATE TABLE quiet_indexed (id int);
CREATE INDEX ON quiet_indexed (quiet_immutable(id));
CREATE TABLE quiet_secured (id int);
INSERT INTO quiet_secured VALUES (1);
ALTER TABLE quiet_secured ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
CREATE POLICY p ON quiet_secured USING (quiet_is_true(id));
CREATE TABLE quiet_ruled (id int);
CREATE RULE r AS ON INSERT TO quiet_ruled DO ALSO SELECT quiet_set();
CREATE TABLE quiet_parent (id int PRIMARY KEY);
CREATE TABLE quiet_child (id int REFERENCES quiet_parent ON DELETE CASCADE);
CREATE TRIGGER t AFTER DELETE ON quiet_child FOR EACH ROW EXECUTE FUNCTION quiet_trigger();
CREATE SEQUENCE quiet_sequence;
CREATE TABLE quiet_serial (id serial);
CREATE FUNCTION quiet_event() RETURNS event_trigger LANGUAGE plpgsql AS
    $$ BEGIN PERFORM quiet_set(); END $$;
CREATE EVENT TRIGGER quiet_event ON ddl_command_end WHEN TAG IN ('COMMENT')
    EXECUTE FUNCTION quiet_event();
COMMENT ON TABLE quiet_serial IS 'state is made behind this one';
DO $$
DECLARE name text;
BEGIN
    FOR name IN SELECT relname FROM pg_class WHERE relname ~ '^quiet_' AND relkind IN ('r', 'v')
    LOOP EXECUTE format('ALTER TABLE %I OWNER TO app', name); END LOOP;
END $$;
ALTER SEQUENCE quiet_sequence OWNER TO app;
"""

WORK_MEM = "SELECT current_setting('work_mem') <> '4MB'"
CUSTOM = "SELECT coalesce(current_setting('app.hidden', true), '') <> ''"
ROLE = "SELECT current_user <> 'app' OR session_user <> 'app'"
CURSORS = "SELECT count(*) > 0 FROM pg_cursors WHERE name = 'held'"
PREPARED = "SELECT count(*) > 0 FROM pg_prepared_statements WHERE name = 'kept'"
LISTENS = "SELECT count(*) > 0 FROM pg_listening_channels()"
LOCKS = "SELECT count(*) > 0 FROM pg_locks WHERE locktype = 'advisory'"
LASTVAL = "SELECT lastval() > 0"
CURRVAL = "SELECT currval('quiet_sequence') > 0"


def shows(name, default):
    return f"SELECT current_setting('{name}') <> '{default}'"


def temporary(name):
    return f"SELECT to_regclass('pg_temp.{name}') IS NOT NULL"


class Kind:
    """`make`: statements one by one; `leaked` gives 't' with the state, 'f' or an error without."""

    def __init__(self, leaked, *make, fails=None):
        self.leaked, self.make, self.fails = leaked, make, fails


def quiet(statement):
    """A call that runs the statement inside a function."""
    escaped = statement.replace("'", "''")
    return f"SELECT quiet_run('{escaped}')"


def do(statement):
    escaped = statement.replace("'", "''")
    return f"DO $do$ BEGIN EXECUTE '{escaped}'; END $do$"


KINDS = {
    # --- parameters in plain sight
    "statement_timeout": Kind(shows("statement_timeout", "0"), "SET statement_timeout = '50s'"),
    "lock_timeout": Kind(shows("lock_timeout", "0"), "SET SESSION lock_timeout TO '50s'"),
    "search_path": Kind(shows("search_path", '"$user", public'), "SET search_path = pg_catalog"),
    "schema": Kind(shows("search_path", '"$user", public'), "SET SCHEMA 'pg_catalog'"),
    "read_only": Kind(
        shows("default_transaction_read_only", "off"), "SET default_transaction_read_only = on"
    ),
    "isolation": Kind(
        shows("default_transaction_isolation", "read committed"),
        "SET SESSION CHARACTERISTICS AS TRANSACTION ISOLATION LEVEL SERIALIZABLE",
    ),
    "time_zone_interval": Kind(
        shows("timezone", "UTC"), "SET TIME ZONE INTERVAL '+05:30' HOUR TO MINUTE"
    ),
    "encoding": Kind(shows("client_encoding", "UTF8"), "SET NAMES 'LATIN1'"),
    "xml_option": Kind(shows("xmloption", "content"), "SET XML OPTION DOCUMENT"),
    "committed_in_a_block": Kind(WORK_MEM, "BEGIN", "SET work_mem = '9MB'", "COMMIT"),
    "by_the_settings_view": Kind(
        WORK_MEM, "UPDATE pg_settings SET setting = '9999' WHERE name = 'work_mem'"
    ),
    "by_a_view_of_the_settings_view": Kind(
        WORK_MEM, "UPDATE quiet_settings SET setting = '9999' WHERE name = 'work_mem'"
    ),
    "set_config_in_where": Kind(
        WORK_MEM, "SELECT 1 FROM gate WHERE set_config('work_mem', '9MB', false) <> ''"
    ),
    "set_config_in_a_cte": Kind(
        WORK_MEM, "WITH q AS (SELECT set_config('work_mem', '9MB', false)) SELECT * FROM q"
    ),
    "set_config_with_a_computed_name": Kind(
        WORK_MEM, "SELECT set_config('work' || '_mem', '9MB', false)"
    ),
    "set_config_by_unicode_escapes": Kind(
        WORK_MEM, "SELECT U&\"set\\005fconfig\"('work_mem', '9MB', false)"
    ),
    "set_config_computed_flag": Kind(
        WORK_MEM, "SELECT set_config('work_mem', '9MB', 1 = 2) FROM gate"
    ),
    "set_config_custom": Kind(CUSTOM, "SELECT set_config('app.hidden', 'seen', false)"),
    "set_config_in_insert": Kind(
        CUSTOM, "INSERT INTO ledger VALUES (1, set_config('app.hidden', 'seen', false))"
    ),
    "custom_in_do": Kind(CUSTOM, do("SET app.hidden = 'seen'")),
    "set_in_do": Kind(WORK_MEM, do("SET work_mem = '9MB'")),
    "set_config_in_do": Kind(
        WORK_MEM, "DO $$ BEGIN PERFORM set_config('work_mem', '9MB', false); END $$"
    ),
    # --- parameters out of sight
    "in_a_function": Kind(WORK_MEM, "SELECT quiet_set()"),
    "in_a_function_of_sql": Kind(WORK_MEM, "SELECT quiet_set_sql()"),
    "in_a_function_in_from": Kind(WORK_MEM, "SELECT * FROM gate, quiet_set()"),
    "in_a_default_argument": Kind(WORK_MEM, "SELECT quiet_argument()"),
    "custom_in_a_function": Kind(CUSTOM, "SELECT quiet_custom()"),
    "in_a_function_in_a_block": Kind(WORK_MEM, "BEGIN", "SELECT quiet_set()", "COMMIT"),
    "in_a_procedure": Kind(WORK_MEM, "CALL quiet_procedure()"),
    "in_a_procedure_that_commits": Kind(WORK_MEM, "CALL quiet_procedure_commits()"),
    "in_a_view": Kind(WORK_MEM, "SELECT * FROM quiet_view"),
    "in_an_aggregate": Kind(WORK_MEM, "SELECT quiet_aggregate(id) FROM gate"),
    "in_an_operator": Kind(WORK_MEM, "SELECT id === id FROM gate"),
    "in_a_domain": Kind(WORK_MEM, "SELECT 5::quiet_domain"),
    "in_a_cast": Kind(WORK_MEM, "SELECT ROW(1)::quiet_type::int"),
    "in_a_trigger": Kind(WORK_MEM, "INSERT INTO quiet_triggered VALUES (1)"),
    "in_a_trigger_of_truncate": Kind(WORK_MEM, "TRUNCATE quiet_truncated"),
    "in_a_trigger_at_commit": Kind(
        WORK_MEM, "BEGIN", "INSERT INTO quiet_deferred VALUES (1)", "COMMIT"
    ),
    "in_a_trigger_by_merge": Kind(
        WORK_MEM,
        "MERGE INTO quiet_triggered USING gate ON false WHEN NOT MATCHED THEN INSERT VALUES (1)",
    ),
    "in_a_trigger_by_cascade": Kind(
        WORK_MEM,
        "INSERT INTO quiet_parent VALUES (1)",
        "INSERT INTO quiet_child VALUES (1)",
        "DELETE FROM quiet_parent",
    ),
    "in_an_event_trigger": Kind(WORK_MEM, "COMMENT ON TABLE quiet_serial IS 'x'"),
    "in_a_default": Kind(WORK_MEM, "INSERT INTO quiet_default (other) VALUES (1)"),
    "in_a_check": Kind(WORK_MEM, "INSERT INTO quiet_check VALUES (1)"),
    "in_a_generated_column": Kind(WORK_MEM, "INSERT INTO quiet_generated VALUES (1)"),
    "in_an_index": Kind(WORK_MEM, "INSERT INTO quiet_indexed VALUES (1)"),
    "in_a_policy": Kind(WORK_MEM, "SELECT * FROM quiet_secured"),
    "in_a_rule": Kind(WORK_MEM, "INSERT INTO quiet_ruled VALUES (1)"),
    "in_copy_to": Kind(WORK_MEM, "COPY (SELECT quiet_set()) TO STDOUT"),
    "in_explain_analyze": Kind(WORK_MEM, "EXPLAIN ANALYZE SELECT quiet_set()"),
    "in_create_table_as": Kind(
        WORK_MEM, "CREATE TABLE quiet_made AS SELECT quiet_set()", "DROP TABLE quiet_made"
    ),
    "in_a_cursor": Kind(
        WORK_MEM, "BEGIN", "DECLARE c CURSOR FOR SELECT * FROM quiet_view", "FETCH c", "COMMIT"
    ),
    "in_a_batch": Kind(WORK_MEM, "SELECT 1; SELECT quiet_set(); SELECT 2"),
    # --- roles
    "role": Kind(ROLE, "SET ROLE other"),
    "role_by_set_config": Kind(ROLE, "SELECT set_config('role', 'other', false)"),
    "role_in_do": Kind(ROLE, do("SET ROLE other")),
    "role_in_a_function": Kind(ROLE, quiet("SET ROLE other")),
    "role_in_a_block": Kind(ROLE, "BEGIN", "SET ROLE other", "COMMIT"),
    # --- temporary objects
    "temporary_view": Kind(temporary("quiet_v"), "CREATE TEMP VIEW quiet_v AS SELECT 1"),
    "temporary_sequence": Kind(temporary("quiet_s"), "CREATE TEMPORARY SEQUENCE quiet_s"),
    "temporary_table_as": Kind(
        temporary("quiet_t"), "CREATE LOCAL TEMPORARY TABLE quiet_t AS SELECT 1"
    ),
    "temporary_by_schema": Kind(temporary("quiet_t"), "CREATE TABLE pg_temp.quiet_t (id int)"),
    "temporary_by_search_path": Kind(
        temporary("quiet_t"), "SET search_path = pg_temp", "CREATE TABLE quiet_t (id int)"
    ),
    "temporary_by_into": Kind(temporary("quiet_t"), "SELECT 1 AS id INTO TEMP TABLE quiet_t"),
    "temporary_type": Kind(
        "SELECT to_regtype('pg_temp.quiet_y') IS NOT NULL",
        "CREATE TYPE pg_temp.quiet_y AS ENUM ('a')",
    ),
    "temporary_function": Kind(
        "SELECT to_regproc('pg_temp.quiet_f') IS NOT NULL",
        "CREATE FUNCTION pg_temp.quiet_f() RETURNS int LANGUAGE sql AS 'SELECT 1'",
    ),
    "temporary_table_in_do": Kind(temporary("quiet_t"), do("CREATE TEMP TABLE quiet_t (id int)")),
    "temporary_table_in_a_function": Kind(
        temporary("quiet_t"), quiet("CREATE TEMP TABLE quiet_t (id int)")
    ),
    "temporary_view_in_a_function": Kind(
        temporary("quiet_v"), quiet("CREATE TEMP VIEW quiet_v AS SELECT 1")
    ),
    "temporary_sequence_in_a_function": Kind(
        temporary("quiet_s"), quiet("CREATE SEQUENCE pg_temp.quiet_s")
    ),
    # --- cursors, statements
    "hold_cursor": Kind(CURSORS, "DECLARE held CURSOR WITH HOLD FOR SELECT 1"),
    "hold_cursor_in_a_block": Kind(
        CURSORS, "BEGIN", "DECLARE held CURSOR WITH HOLD FOR SELECT 1", "COMMIT"
    ),
    "hold_cursor_in_a_function": Kind(
        CURSORS, quiet("DECLARE held CURSOR WITH HOLD FOR SELECT 1")
    ),
    "sql_prepare": Kind(PREPARED, "PREPARE kept AS SELECT 1"),
    "prepare_in_a_rolled_back_block": Kind(
        PREPARED, "BEGIN", "PREPARE kept AS SELECT 1", "ROLLBACK"
    ),
    "prepare_in_do": Kind(PREPARED, do("PREPARE kept AS SELECT 1")),
    "prepare_in_a_function": Kind(PREPARED, quiet("PREPARE kept AS SELECT 1")),
    # --- locks
    "advisory_lock": Kind(LOCKS, "SELECT pg_advisory_lock(818181)"),
    "advisory_lock_of_two_keys": Kind(LOCKS, "SELECT pg_catalog.pg_advisory_lock(81, 81)"),
    "advisory_lock_shared": Kind(LOCKS, "SELECT pg_advisory_lock_shared(818181)"),
    "advisory_lock_try": Kind(LOCKS, "SELECT 1 FROM gate WHERE pg_try_advisory_lock(id)"),
    "advisory_lock_try_shared": Kind(LOCKS, "SELECT pg_try_advisory_lock_shared(8, 1)"),
    "advisory_lock_twice": Kind(
        LOCKS,
        "SELECT pg_advisory_lock(818181), pg_advisory_lock(818181)",
        "SELECT pg_advisory_unlock(818181)",
    ),
    "advisory_lock_in_a_rolled_back_block": Kind(
        LOCKS, "BEGIN", "SELECT pg_advisory_lock(818181)", "ROLLBACK"
    ),
    "advisory_lock_in_a_failed_statement": Kind(
        LOCKS,
        "SELECT pg_advisory_lock(818181), 1 / (g - 1) FROM generate_series(1, 1) g",
        fails="22012",
    ),
    "advisory_lock_by_unicode_escapes": Kind(LOCKS, "SELECT U&\"pg\\005fadvisory_lock\"(818181)"),
    "advisory_lock_in_do": Kind(LOCKS, "DO $$ BEGIN PERFORM pg_advisory_lock(818181); END $$"),
    "advisory_lock_in_a_function": Kind(LOCKS, quiet("SELECT pg_advisory_lock(818181)")),
    "advisory_lock_in_a_view": Kind(LOCKS, "SELECT * FROM quiet_lock_view"),
    # --- channels
    "listen": Kind(LISTENS, "LISTEN quiet_channel"),
    "listen_in_do": Kind(LISTENS, do("LISTEN quiet_channel")),
    "listen_in_a_function": Kind(LISTENS, quiet("LISTEN quiet_channel")),
    # --- sequences
    "lastval": Kind(LASTVAL, "SELECT nextval('quiet_sequence')"),
    "lastval_by_a_default": Kind(LASTVAL, "INSERT INTO quiet_serial DEFAULT VALUES"),
    "currval": Kind(CURRVAL, "SELECT nextval('quiet_sequence')"),
    "currval_by_setval": Kind(CURRVAL, "SELECT setval('quiet_sequence', 42)"),
    "currval_in_a_function": Kind(CURRVAL, quiet("SELECT nextval('quiet_sequence')")),
}

# Made as superuser, on a route of its own.
ROOT_KINDS = {
    "session_authorization": Kind(
        "SELECT session_user <> 'postgres'", "SET SESSION AUTHORIZATION app"
    ),
    "session_authorization_in_do": Kind(
        "SELECT session_user <> 'postgres'", do("SET SESSION AUTHORIZATION app")
    ),
    "session_authorization_by_set_config": Kind(
        "SELECT session_user <> 'postgres'",
        "SELECT set_config('session_authorization', 'app', false)",
    ),
    "replication_role": Kind(
        shows("session_replication_role", "origin"), "SET session_replication_role = replica"
    ),
    "replication_role_in_a_function": Kind(
        shows("session_replication_role", "origin"), quiet("SET session_replication_role = replica")
    ),
    "load": Kind(shows("auto_explain.log_min_duration", ""), "LOAD 'auto_explain'"),
    "superuser_setting": Kind(shows("log_statement", "none"), "SET log_statement = 'all'"),
}

ALL = {**KINDS, **ROOT_KINDS}


def route_of(name):
    return "root_one" if name in ROOT_KINDS else "one"


@pytest.fixture(scope="module")
def objects(schema):
    schema.admin(OBJECTS)
    # What was made behind Signalbox's back counts from two seconds on.
    time.sleep(2.2)
    yield
    schema.admin("DROP EVENT TRIGGER quiet_event")  # it is the whole database's


@pytest.fixture(autouse=True)
def fresh(admin):
    """New server connections: what one test fails to keep in must not fail the next one."""
    theirs = (
        "FROM pg_stat_activity WHERE backend_type = 'client backend' AND client_addr IS NOT NULL"
    )
    admin.execute(f"SELECT count(pg_terminate_backend(pid)) {theirs}")
    eventually(
        lambda: not admin.execute(f"SELECT pid {theirs}").fetchall(), "they end", interval=0.002
    )


def make(client, kind, ask):
    """Makes the state; whether a NOTICE said that the session is pinned."""
    found = []
    for statement in kind.make:
        found += (simple if ";" in statement and "DO" not in statement else ask)(client, statement)
    assert codes(found) == ([kind.fails] if kind.fails else []), found
    return any((n["S"], n["C"]) == ("NOTICE", "00000") for n in notices(found))


def leaked(client, kind):
    found = client.query(kind.leaked)
    if codes(found):
        # A parameter that is not known here, or a sequence that was not used.
        assert codes(found)[0] in ("42704", "55000"), found
        return False
    return values(found) != ["f"]


@PROTOCOLS
@pytest.mark.parametrize("name", ALL)
def test_nobody_else_sees_it(clients, ledger, objects, name, ask):
    kind, route = ALL[name], route_of(name)
    maker = clients(route)
    if not make(maker, kind, ask):
        assert not leaked(clients(route), kind), "while its maker is idle"
    maker.terminate()
    assert not leaked(clients(route), kind), "after its maker has left"


@pytest.mark.parametrize("name", ALL)
def test_the_questions_mean_something(pg, clients, ledger, objects, name):
    """Guards the list: on a plain connection each kind is there once it was made, not before."""
    kind = ALL[name]
    if name in ROOT_KINDS:
        client = type(clients("direct"))("127.0.0.1", pg.port).login("postgres", "app")
    else:
        client = clients("direct")
    assert not leaked(client, kind)
    make(client, kind, simple)
    assert leaked(client, kind)
    client.terminate()


@pytest.mark.parametrize("how", ["abort", "close"])
@pytest.mark.parametrize("name", ["in_a_function", "role_in_do", "advisory_lock_in_a_function"])
def test_nobody_sees_it_after_a_crash_of_its_maker(clients, ledger, objects, name, how):
    kind = KINDS[name]
    maker = clients("one")
    make(maker, kind, simple)
    getattr(maker, how)()
    assert not leaked(clients("one"), kind)


def test_a_call_by_function_call_message(pg, clients, objects):
    (oid,) = pg.admin("SELECT 'quiet_set'::regproc::oid::int")[0]
    maker = clients("one")
    maker.send(function_call(oid))
    assert codes(maker.read_until(b"Z")) == []
    assert not leaked(clients("one"), KINDS["in_a_function"])


def test_a_prepared_call(clients, objects):
    """Parsed once, executed later: it is the execution that makes the state."""
    maker = clients("one")
    maker.send(parse("SELECT quiet_set()", "s") + sync())
    maker.read_until(b"Z")
    for _ in range(3):
        maker.send(bind(statement="s") + execute() + sync())
        assert codes(maker.read_until(b"Z")) == []
        other = clients("one")
        assert not leaked(other, KINDS["in_a_function"])
        other.terminate()


def test_in_the_middle_of_a_pipeline(clients, objects):
    maker = clients("one")
    texts = ["SELECT 1", "TABLE quiet_view", "INSERT INTO quiet_triggered VALUES (1)", "SELECT 2"]
    maker.send(b"".join(parse(text) + bind() + execute() for text in texts) + sync())
    assert codes(maker.read_until(b"Z")) == []
    assert not leaked(clients("one"), KINDS["in_a_view"])


def test_a_function_that_is_replaced(pg, clients, objects):
    """Harmless when it was called first; what it does now counts."""
    create = "CREATE OR REPLACE FUNCTION quiet_changes() RETURNS int LANGUAGE sql AS "
    pg.admin(create + "'SELECT 1'")
    maker = clients("one")
    assert maker.value("SELECT quiet_changes()") == "1"
    pg.admin(create + "'SELECT quiet_set()'")
    time.sleep(2.2)  # as above
    assert maker.value("SELECT quiet_changes()") == "1"
    assert not leaked(clients("one"), KINDS["in_a_function"])


def test_nothing_is_heard_of_a_hidden_listen(pg, clients, objects):
    maker = clients("one")
    maker.query(quiet("LISTEN quiet_channel"))
    maker.terminate()
    other = clients("one")
    other.query("SELECT 1")
    pg.admin("NOTIFY quiet_channel")
    assert b"A" not in [kind for kind, _ in other.query("SELECT 1")]
    other.expect_silence(0.1)


def test_what_ends_with_its_transaction_is_gone(clients, objects):
    """Nothing of these stays on a server connection, and nobody is pinned by them."""
    maker, other = clients("one"), clients("one")
    for statements in (
        ("BEGIN", "SET LOCAL work_mem = '9MB'", "COMMIT"),
        ("BEGIN", "SELECT set_config('work_mem', '9MB', true)", "COMMIT"),
        ("BEGIN", "SET LOCAL ROLE other", "COMMIT"),
        ("BEGIN", "SET work_mem = '9MB'", "ROLLBACK"),
        ("BEGIN", "SELECT quiet_set()", "ROLLBACK"),
        ("BEGIN", "CREATE TEMP TABLE quiet_t (id int)", "ROLLBACK"),
        ("BEGIN", "SELECT pg_advisory_xact_lock(818181), pg_try_advisory_xact_lock(1)", "COMMIT"),
        ("SELECT pg_advisory_xact_lock_shared(818181)",),
        ("BEGIN", "DECLARE held CURSOR FOR SELECT 1", "COMMIT"),
        ("BEGIN", "LISTEN quiet_channel", "ROLLBACK"),
    ):
        for statement in statements:
            assert codes(maker.query(statement)) == []
        for question in (WORK_MEM, ROLE, temporary("quiet_t"), LOCKS, CURSORS, LISTENS):
            assert other.value(question) == "f", (statements, question)


def test_the_maker_of_a_carried_setting_keeps_it(clients, objects):
    """Seen by nobody else does not mean lost: what the parser sees goes along."""
    maker, other = clients("one"), clients("one")
    for change, shown, expected in (
        ("SET search_path = pg_catalog", "SHOW search_path", "pg_catalog"),
        ("SET default_transaction_read_only = on", "SHOW transaction_read_only", "on"),
        ("SET TIME ZONE INTERVAL '+05:30' HOUR TO MINUTE", "SHOW timezone", "<+05:30>-05:30"),
        ("SELECT set_config('app.hidden', 'mine', false)", "SHOW app.hidden", "mine"),
    ):
        maker.query(change)
        assert other.value("SELECT 1") == "1"
        assert maker.value(shown) == expected
