"""Batches as clients send them: psql, node-postgres, pgjdbc, psycopg 3, SQLAlchemy, pgbench."""

import logging
import os
import pathlib
import subprocess

import psycopg
import pytest
import sqlalchemy as sa

from harness.postgres import ROLES
from harness.tools import NODE_PATH, compiled_java, tool
from policies import MODES, POLICIES

HERE = pathlib.Path(__file__).resolve().parent
ROUTES = [f"{policy}_{mode}" for policy in POLICIES for mode in MODES]
COUNTED = "INSERT INTO ledger VALUES (1); SELECT rpc_count()"
FAILING = "INSERT INTO ledger VALUES (1); SELECT 1/0; INSERT INTO ledger VALUES (2)"
SEEN = {"pass": 0, "split_on_rpc": 1, "split": 1}
KEPT = {"pass": [], "split_on_rpc": [], "split": [1]}


def policy_of(route):
    return route.rpartition("_")[0]


@pytest.fixture
def run_tool(box, ledger):
    """run_tool(name, *arguments, route=…, text=…): its environment leads to Signalbox."""

    def run(name, *arguments, route="", text=None):
        environment = {
            **os.environ,
            "PGHOST": "127.0.0.1",
            "PGPORT": str(box.port),
            "PGUSER": "app",
            "PGPASSWORD": ROLES["app"],
            "PGDATABASE": route,
            "PGSSLMODE": "disable",
            "NODE_PATH": NODE_PATH,
            "JAVA_TOOL_OPTIONS": "",
        }
        return subprocess.run(
            [tool(name), *map(str, arguments)],
            input=text,
            capture_output=True,
            text=True,
            timeout=60,
            env=environment,
        )

    return run


@pytest.mark.parametrize("route", ROUTES)
def test_psql_command(run_tool, ledger, route):
    """-c sends its text as one Query."""
    done = run_tool("psql", "-XAt", "-c", COUNTED, route=route)
    if policy_of(route) == "single":
        assert done.returncode == 1 and "HINT:" in done.stderr and ledger() == []
        return
    assert done.stdout.split() == ["INSERT", "0", "1", str(SEEN[policy_of(route)])], done
    run_tool("psql", "-X", "-c", "DELETE FROM ledger", route=route)
    done = run_tool("psql", "-X", "-c", FAILING, route=route)
    assert "division by zero" in done.stderr and done.returncode == 1
    assert ("WARNING:" in done.stderr) == (policy_of(route) == "split"), done
    assert ledger() == KEPT[policy_of(route)]


@pytest.mark.parametrize("route", ROUTES)
def test_psql_script(run_tool, ledger, tmp_path, route):
    r"""A script is sent statement by statement; \; joins several into one Query."""
    script = tmp_path / "script.sql"
    script.write_text(
        "INSERT INTO ledger VALUES (1);\nSELECT rpc_count();\n"
        "INSERT INTO ledger VALUES (2) \\; SELECT rpc_count();\n"
        "BEGIN;\nSELECT rpc_echo('inside');\nCOMMIT;\n"
        "COPY ledger (id) FROM stdin;\n3\n\\.\n"
        "SELECT 'end';\n"
    )
    done = run_tool("psql", "-XAtq", "-f", script, route=route)
    policy = policy_of(route)
    joined = [] if policy == "single" else [str(1 + SEEN[policy])]
    assert done.stdout.split() == ["1", *joined, "inside", "end"], done
    assert done.stderr.count("WARNING:") == 1 and "RPC" in done.stderr
    assert ledger() == ([1, 3] if policy == "single" else [1, 2, 3])


@pytest.mark.parametrize("route", ["split_session", "split_transaction"])
def test_psql_points_at_the_place_of_an_error(run_tool, route):
    done = run_tool("psql", "-X", "-c", "SELECT 'ä';\nSELECT 'ü',\n  nope;", route=route)
    assert "LINE 3:   nope;" in done.stderr, done.stderr
    lines = done.stderr.splitlines()
    at = next(i for i, line in enumerate(lines) if line.startswith("LINE 3:"))
    assert lines[at + 1].index("^") == lines[at].index("nope")


def test_node_postgres(run_tool):
    done = run_tool("node", "--dns-result-order=ipv4first", HERE / "node_batches.js", *ROUTES)
    assert done.stdout.strip() == "ok", done.stdout + done.stderr


@pytest.mark.parametrize("query_mode", ["simple", "extended"])
def test_pgjdbc(box, run_tool, query_mode):
    done = run_tool(
        "java",
        *compiled_java(HERE / "JdbcBatches.java"),
        box.port,
        "app",
        ROLES["app"],
        query_mode,
        *ROUTES,
    )
    assert done.stdout.strip() == "ok", done.stdout + done.stderr


@pytest.mark.parametrize("route", ROUTES)
def test_psycopg_client_cursor(box, ledger, route):
    """Without parameters, and with ClientCursor also with them, psycopg sends a simple Query."""
    heard = []
    with box.connect(route, cursor_factory=psycopg.ClientCursor) as connection:
        connection.add_notice_handler(lambda diagnostic: heard.append(diagnostic.sqlstate))
        batch = "INSERT INTO ledger VALUES (%s); SELECT rpc_count(), %s"
        if policy_of(route) == "single":
            with pytest.raises(psycopg.errors.FeatureNotSupported):
                connection.execute(batch, (1, "a;b"))
            assert connection.execute("SELECT %s", (5,)).fetchone() == (5,)
            return
        cursor = connection.execute(batch, (1, "a;b"))
        assert cursor.statusmessage == "INSERT 0 1" and cursor.nextset()
        assert cursor.fetchall() == [(SEEN[policy_of(route)], "a;b")] and not cursor.nextset()
        connection.execute("DELETE FROM ledger")
        with pytest.raises(psycopg.errors.DivisionByZero):
            connection.execute(FAILING)
        assert ledger() == KEPT[policy_of(route)]
        assert heard == (["01000"] if policy_of(route) == "split" else [])
        connection.autocommit = False
        connection.execute("DELETE FROM ledger")
        cursor = connection.execute(COUNTED)
        cursor.nextset()
        assert cursor.fetchone()[0] == len(KEPT[policy_of(route)]), "in a transaction"
        connection.rollback()


@pytest.mark.parametrize("route", ROUTES)
def test_psycopg_pipeline(box, ledger, route):
    with box.connect(route) as connection, connection.pipeline():
        connection.execute("INSERT INTO ledger VALUES (%s)", (1,))
        seen = connection.execute("SELECT rpc_count() + %s", (0,)).fetchone()
    assert seen == (SEEN.get(policy_of(route), 0),) and ledger() == [1]


@pytest.mark.parametrize("route", ROUTES)
def test_sqlalchemy(box, ledger, caplog, route):
    engine = sa.create_engine(
        f"postgresql+psycopg2://app:{ROLES['app']}@127.0.0.1:{box.port}/{route}"
    )
    policy = policy_of(route)
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        if policy == "single":
            with pytest.raises(sa.exc.NotSupportedError):
                connection.exec_driver_sql(COUNTED)
        else:
            assert connection.exec_driver_sql(COUNTED).scalar() == SEEN[policy]
            connection.exec_driver_sql("DELETE FROM ledger")
            with pytest.raises(sa.exc.DataError):
                connection.exec_driver_sql(FAILING)
            assert ledger() == KEPT[policy]
        assert connection.execute(sa.text("SELECT rpc_echo(:x)"), {"x": "y"}).scalar() == "y"
    with engine.begin() as connection:
        connection.exec_driver_sql("DELETE FROM ledger")
        # The driver's own BEGIN is an explicit transaction: nothing is cut, and it is warned of.
        connection.exec_driver_sql("INSERT INTO ledger VALUES (7)")
        with caplog.at_level(logging.INFO, "sqlalchemy.dialects.postgresql"):
            assert connection.exec_driver_sql("SELECT rpc_echo('x')").scalar() == "x"
        assert caplog.text.count("WARNING:") == 1 and "RPC" in caplog.text
    assert ledger() == [7]
    engine.dispose()


@pytest.mark.parametrize("route", ROUTES)
def test_pgbench_pipelines(run_tool, ledger, tmp_path, route):
    """libpq's pipeline mode as pgbench uses it, with several clients at once."""
    script = tmp_path / "pipeline.sql"
    script.write_text(
        "\\set n random(1, 1000000)\n"
        "\\startpipeline\n"
        "INSERT INTO ledger VALUES (:n);\n"
        "SELECT rpc_echo('x');\n"
        "INSERT INTO ledger VALUES (:n);\n"
        "SELECT count(*) FROM ledger WHERE id = :n;\n"
        "\\endpipeline\n"
    )
    for protocol in ("extended", "prepared"):
        done = run_tool(
            "pgbench", "-n", "-M", protocol, "-c", 4, "-t", 20, "-f", script, route=route
        )
        assert done.returncode == 0, done.stderr
        assert "number of transactions actually processed: 80/80" in done.stdout, done.stdout
    assert len(ledger()) == 2 * 2 * 80
