"""The routes, tables and functions of this folder.

There is a route for every policy in every pool mode. The route `direct` (see conftest.py) is
PostgreSQL itself: what holds for `pass` is first shown to hold there.

The stand-in for an RPC engine are the functions rpc_*: each does its work over dblink, on a
connection of its own, while its caller waits. The engine waits for a lock for one second only, so
that a batch that blocks itself is an error (55P03) and not a hang.
"""

from harness.signalbox import standard_config

POLICIES = ("pass", "split_on_rpc", "split", "single")
MODES = ("session", "transaction")

RPC = ["rpc_.*"]
OFF = {"statement_handling": False, "rpc_functions": []}
ROUTES = {
    **{f"{p}_{m}": {"multi_statement": p, "pool_mode": m} for p in POLICIES for m in MODES},
    **{
        f"{answer}_{m}": {"rpc_in_transaction": answer, "pool_mode": m}
        for answer in ("allow", "refuse")
        for m in MODES
    },
    "default": {},
    "split_statement": {"multi_statement": "split", "pool_mode": "statement"},
    "one": {"pool_size": 1},
    "split_one": {"multi_statement": "split", "pool_size": 1},
    "split_impatient": {
        "multi_statement": "split",
        "pool_size": 1,
        "query_wait_timeout": "1s",
    },
    "split_on_rpc_one": {"multi_statement": "split_on_rpc", "pool_size": 1},
    "split_refuse_state": {"multi_statement": "split", "session_state": "refuse"},
    "off_session": {**OFF, "pool_mode": "session"},
    "off_one": {**OFF, "pool_size": 1},
    "qualified": {"rpc_functions": ["engine\\.run_.*"]},
    # As superuser: some state only a superuser can make.
    "root_one": {"connection": "root", "pool_size": 1},
}

SCHEMA = """
CREATE EXTENSION dblink;
CREATE TABLE ledger (id int, note text);
CREATE TABLE marks (note text);
CREATE TABLE gate (id int);
INSERT INTO gate VALUES (1);
CREATE TABLE parent (id int PRIMARY KEY);
CREATE TABLE child (id int REFERENCES parent DEFERRABLE INITIALLY DEFERRED);
ALTER TABLE ledger OWNER TO app;
ALTER TABLE marks OWNER TO app;
ALTER TABLE gate OWNER TO app;
GRANT SELECT, UPDATE ON gate TO other;
ALTER TABLE parent OWNER TO app;
ALTER TABLE child OWNER TO app;

CREATE FUNCTION ask_engine(statement text) RETURNS text LANGUAGE plpgsql SECURITY DEFINER AS $$
DECLARE
    target text := format(
        'host=127.0.0.1 port=%s user=postgres dbname=app options=''-c lock_timeout=1s''',
        current_setting('port'));
    answer text;
BEGIN
    SELECT value INTO answer FROM dblink(target, statement) AS engine(value text);
    RETURN answer;
END $$;
CREATE FUNCTION rpc_count() RETURNS bigint LANGUAGE sql AS
    $$ SELECT ask_engine('SELECT count(*)::text FROM ledger')::bigint $$;
CREATE FUNCTION rpc_of_row(ledger) RETURNS bigint LANGUAGE sql AS $$ SELECT rpc_count() $$;
CREATE FUNCTION rpc_alter_table() RETURNS text LANGUAGE sql AS
    $$ SELECT ask_engine('ALTER TABLE ledger ALTER COLUMN note SET DEFAULT NULL') $$;
CREATE FUNCTION rpc_mark(text) RETURNS text LANGUAGE sql AS
    $$ SELECT ask_engine(format('INSERT INTO marks VALUES (%L)', $1)) $$;
CREATE FUNCTION rpc_echo(value text) RETURNS text LANGUAGE plpgsql AS
    $$ BEGIN RETURN value; END $$;
CREATE PROCEDURE rpc_run(INOUT answer bigint) LANGUAGE plpgsql AS
    $$ BEGIN answer := rpc_count(); END $$;

CREATE SCHEMA engine;
GRANT USAGE ON SCHEMA engine TO app;
CREATE FUNCTION engine.rpc_echo(text) RETURNS text LANGUAGE sql AS $$ SELECT $1 $$;
CREATE FUNCTION engine."rpc_Mixed"(text) RETURNS text LANGUAGE sql AS $$ SELECT $1 $$;
CREATE FUNCTION engine.run_task(text) RETURNS text LANGUAGE sql AS $$ SELECT $1 $$;
CREATE FUNCTION run_task(text) RETURNS text LANGUAGE sql AS $$ SELECT $1 $$;
CREATE FUNCTION not_rpc_echo(text) RETURNS text LANGUAGE sql AS $$ SELECT $1 $$;
CREATE FUNCTION say(text) RETURNS text LANGUAGE plpgsql AS
    $$ BEGIN RAISE NOTICE 'saying %', $1; RETURN $1; END $$;
CREATE TABLE rpc_table (rpc_echo text);
INSERT INTO rpc_table VALUES ('a column');
GRANT SELECT ON rpc_table TO app;
"""


def config(server, **changes):
    routes = {
        name: {
            "pool_mode": "transaction",
            "query_wait_timeout": "5s",
            "rpc_functions": RPC,
            **own,
        }
        for name, own in ROUTES.items()
    }
    tables = standard_config(server, routes=routes)
    tables["connections"]["root"] = {
        "host": "127.0.0.1",
        "port": server.port,
        "user": "postgres",
        "ssl_mode": "disable",
    }
    tables["listen"].update(changes)
    return tables
