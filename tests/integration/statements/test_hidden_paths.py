"""The ways on which a statement can come to a function that makes state, each in a database alone.

Beside others none of them would prove anything: one view that leads to such a function has every
statement of its database cleaned behind.
"""

import pytest

from harness import Postgres, Signalbox, eventually
from harness.cleanings import cleanings
from harness.signalbox import standard_config

BASE = """
CREATE TABLE plain (id int, note text);
INSERT INTO plain VALUES (1, 'a');
CREATE FUNCTION quiet_set() RETURNS int LANGUAGE plpgsql AS
    $$ BEGIN PERFORM set_config('work_mem', '77MB', false); RETURN 1; END $$;
CREATE FUNCTION quiet_is_true(int) RETURNS bool LANGUAGE plpgsql IMMUTABLE AS
    $$ BEGIN PERFORM quiet_set(); RETURN true; END $$;
GRANT ALL ON SCHEMA public TO app;
"""
ROWS_OF_SETTINGS = "UPDATE {} SET setting = '9999' WHERE name = 'work_mem'"

# name: (what there is, the statement that makes the state)
PATHS = {
    "a_call": ("", "SELECT quiet_set()"),
    "an_argument": (
        "CREATE FUNCTION f(int DEFAULT quiet_set()) RETURNS int LANGUAGE sql AS 'SELECT $1'",
        "SELECT f()",
    ),
    "an_argument_without_a_function": (
        "CREATE FUNCTION f(text DEFAULT set_config('work_mem', '9MB', false)) RETURNS text "
        "LANGUAGE sql AS 'SELECT $1'",
        "SELECT f()",
    ),
    "a_domain": (
        "CREATE DOMAIN d AS int CHECK (quiet_is_true(VALUE))",
        "SELECT 5::d",
    ),
    "a_domain_without_a_function": (
        "CREATE DOMAIN d AS int CHECK (set_config('work_mem', '9MB', false) <> '')",
        "SELECT 5::d",
    ),
    "a_domains_default": (
        "CREATE DOMAIN d AS text DEFAULT set_config('work_mem', '9MB', false);"
        "CREATE TABLE t (id int, note d); GRANT ALL ON t TO app",
        "INSERT INTO t VALUES (1)",
    ),
    "a_check": (
        "CREATE TABLE t (id int CHECK (set_config('work_mem', '9MB', false) <> ''));"
        "GRANT ALL ON t TO app",
        "INSERT INTO t VALUES (1)",
    ),
    "a_view": (
        "CREATE VIEW v AS SELECT quiet_set(); GRANT ALL ON v TO app",
        "TABLE v",
    ),
    "an_operator": (
        "CREATE OPERATOR === (RIGHTARG = int, FUNCTION = quiet_is_true)",
        "SELECT === id FROM plain",
    ),
    "an_index": (
        "CREATE INDEX ON plain (quiet_is_true(id))",
        "INSERT INTO plain VALUES (2)",
    ),
    "settings": ("", ROWS_OF_SETTINGS.format("pg_settings")),
    "settings_behind_a_comment": ("", "/* x */ " + ROWS_OF_SETTINGS.format("pg_settings")),
    "settings_explained": ("", "EXPLAIN ANALYZE " + ROWS_OF_SETTINGS.format('"pg_settings"')),
    "settings_in_a_batch": ("", "SELECT 1; " + ROWS_OF_SETTINGS.format("pg_settings")),
    "settings_in_a_function": (
        "CREATE FUNCTION f() RETURNS void LANGUAGE sql AS $$ "
        + ROWS_OF_SETTINGS.format("pg_settings")
        + " $$",
        "SELECT f()",
    ),
    "a_view_of_settings": (
        "CREATE VIEW v AS SELECT name, setting FROM pg_settings; GRANT ALL ON v TO app",
        ROWS_OF_SETTINGS.format("v"),
    ),
}
HARMLESS = "SELECT count(*), lower('A') FROM plain"


# Where one of these is, every statement is cleaned behind; and so it is as long as nothing is known
# of a database. They are made when it is known, and what changes then is seen.
CLEANED_BEHIND = {"a_domain", "a_domain_without_a_function", "a_view", "an_operator", "an_index"}


def database(name):
    return f"path_{name}"


@pytest.fixture(scope="module")
def server():
    """One of its own, whose log has every statement."""
    with Postgres("paths", settings={"log_statement": "all"}) as made:
        for name, (objects, _) in PATHS.items():
            made.admin(f"CREATE DATABASE {database(name)}")
            made.admin(f"{BASE}; GRANT ALL ON plain TO app", database=database(name))
            if name not in CLEANED_BEHIND and objects:
                made.admin(objects, database=database(name))
        yield made


@pytest.fixture(scope="module")
def box(server):
    routes = {
        database(name): {
            "pool_mode": "transaction",
            "pool_size": 1,
            "backend_database": database(name),
        }
        for name in PATHS
    }
    # What is known of a database, each worker knows by itself.
    with Signalbox(standard_config(server, {"listen": {"workers": 1}}, routes=routes)) as process:
        yield process


@pytest.mark.parametrize("name", PATHS)
def test_nobody_else_sees_it(server, box, name):
    objects, statement = PATHS[name]
    maker, other = box.raw(database(name)), box.raw(database(name))
    eventually(lambda: cleanings(server, maker, HARMLESS) == 0, "its catalogs are known")
    if name in CLEANED_BEHIND:
        server.admin(objects, database=database(name))
        # The longer a look at the catalogs takes, the later is the next one.
        eventually(lambda: cleanings(server, maker, HARMLESS) > 0, "what is new is seen", 60)
    found = maker.query(statement)
    assert b"E" not in [kind for kind, _ in found], found
    assert other.value("SHOW work_mem") == "4MB"
    maker.terminate()
    assert other.value("SHOW work_mem") == "4MB"
    other.terminate()
    # A question about the catalogs that fails has everything cleaned behind, too.
    assert "ERROR:  " not in server.log_text()


@pytest.mark.parametrize("name", PATHS)
def test_the_paths_lead_there(server, name):
    """Guards the list: on a plain connection the parameter is set behind the statement."""
    objects, statement = PATHS[name]
    with (
        server.admin_connection(database(name)) as connection,
        connection.transaction(force_rollback=True),
    ):
        if name in CLEANED_BEHIND:
            connection.execute("DROP SCHEMA public CASCADE; CREATE SCHEMA public")
            connection.execute(f"{BASE}; {objects}")
        connection.execute(statement)
        assert connection.execute("SHOW work_mem").fetchone() != ("4MB",)
