"""A part of PostgreSQL's own regression tests: psql prints the same directly and through Signalbox.

All of them, with the list of those that differ: scripts/pg_regress and docs/conformance.md. The files
come from scripts/fetch_regression_sql.
"""

import difflib
import os
import re
import shutil
import subprocess

import pytest

from harness import Signalbox
from harness.postgres import BIN
from harness.signalbox import REPOSITORY, standard_config

SOURCES = REPOSITORY / "build/regression_sql/src/test/regress"
TESTS = """
    boolean char name varchar text int2 int4 int8 oid float4 bit numeric txid uuid enum strings
    errors copydml copyselect psql prepare portals transactions rowtypes plancache advisory_lock
""".split()

# How pg_regress calls psql.
PSQL = [str(BIN / "psql"), "-X", "-a", "-q", "-v", "HIDE_TABLEAM=on"]
PSQL += ["-v", "HIDE_TOAST_COMPRESSION=on"]
ENVIRONMENT = {
    "PGTZ": "PST8PDT",
    "PGDATESTYLE": "Postgres, MDY",
    "PGOPTIONS": "-c intervalstyle=postgres_verbose",
    "PG_DLSUFFIX": ".so",
    "PG_LIBDIR": "/nonexistent",  # the C functions are not built: the same errors everywhere
}
PIN = re.compile(r"^(NOTICE:  this session keeps its|HINT:  Session state that cannot be).*\n", re.M)

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        not (SOURCES / "parallel_schedule").exists(),
        reason="no regression SQL: scripts/fetch_regression_sql",
    ),
]


@pytest.fixture(scope="module")
def folder(pg):
    """The server reads its data from there and writes there."""
    path = pg.folder / "regress"
    path.mkdir(mode=0o777)
    shutil.copytree(SOURCES / "data", path / "data")
    (path / "results").mkdir()
    for each in (path, path / "data", path / "results"):
        each.chmod(0o777)
    return path


@pytest.fixture(scope="module")
def box(pg):
    # In transaction mode server connections are closed all the time, so that sessions have to move.
    routes = {
        f"regression_{mode}": {
            "pool_mode": mode,
            "connection": "root",
            "backend_database": f"regression_{mode}",
            "rpc_functions": ["rpc_.*"],
            **own,
        }
        for mode, own in (("session", {}), ("transaction", {"server_lifetime": "1ms"}))
    }
    root = {"host": "127.0.0.1", "port": pg.port, "user": "postgres", "ssl_mode": "disable"}
    changes = {"connections": {"root": root}, "auth": {"method": "trust"}}
    with Signalbox(standard_config(pg, changes=changes, routes=routes)) as process:
        yield process


@pytest.fixture(scope="module")
def run(pg, box, folder):
    """run(test, where) gives what psql prints; where: direct, session, transaction."""

    def psql(test, where):
        port = pg.port if where == "direct" else box.port
        environment = {name: v for name, v in os.environ.items() if not name.startswith("LC_")}
        with open(SOURCES / "sql" / f"{test}.sql", "rb") as script:
            done = subprocess.run(
                [*PSQL, "-h", "127.0.0.1", "-p", str(port), "-U", "postgres"]
                + ["-d", f"regression_{where}"],
                stdin=script,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                timeout=60,
                cwd=folder,
                env={
                    **environment,
                    **ENVIRONMENT,
                    "PG_ABS_SRCDIR": str(folder),
                    "PG_ABS_BUILDDIR": str(folder),
                },
            )
        return done.stdout.decode(errors="replace")

    def server(sql):
        pg.admin(sql, database="postgres")

    server("CREATE DATABASE regression_direct TEMPLATE template0 LOCALE 'C'")
    psql("test_setup", "direct")
    assert pg.admin("SELECT count(*) FROM tenk1", database="regression_direct") == [(10000,)]
    for mode in ("session", "transaction"):
        server(f"CREATE DATABASE regression_{mode} TEMPLATE regression_direct")
    yield psql
    for where in ("direct", "session", "transaction"):
        server(f"DROP DATABASE regression_{where} WITH (FORCE)")


@pytest.mark.parametrize("test", TESTS)
def test_psql_prints_the_same(run, test):
    expected = run(test, "direct").splitlines()
    for mode in ("session", "transaction"):
        printed = run(test, mode)
        if mode == "transaction":
            printed = PIN.sub("", printed)
        differences = list(difflib.unified_diff(expected, printed.splitlines(), "direct", mode))
        assert not differences, "\n".join(differences)
