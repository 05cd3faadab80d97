"""psql as a user sees it: golden/*.out is the whole output, errors and notices included.

What is created is created again until its notice has come in time.
"""

import os
import pathlib
import shutil
import subprocess

import pytest

from harness import eventually
from harness.postgres import ROLES
from watching import connect, pg, told_in_time, watched  # noqa: F401

GOLDEN = pathlib.Path(__file__).parent / "golden"


@pytest.fixture(params=["transaction", "session"])
def client(watched, request):
    with connect(watched, database=request.param) as connection:
        connection.execute("CREATE SCHEMA noted; CREATE TABLE noted.rows (id int, note text)")
        yield connection
        connection.execute("DROP SCHEMA noted CASCADE")
        eventually(lambda: count(connection) == 0, "all notices are gone", 60)


def count(connection):
    return connection.execute("SELECT count(*) FROM mz_internal.mz_notices").fetchone()[0]


def psql(box, client, script):
    """What psql prints for the script, its standard error where it comes."""
    done = subprocess.run(
        [shutil.which("psql"), "-X", "-a", "-v", "ON_ERROR_STOP=1", "-f", "-"],
        input=script,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=60,
        env={
            **os.environ,
            "PGHOST": "127.0.0.1",
            "PGPORT": str(box.port),
            "PGUSER": "app",
            "PGPASSWORD": ROLES["app"],
            "PGDATABASE": client.info.dbname,
            "PGSSLMODE": "disable",
            "PGTZ": "UTC",
            "LC_ALL": "C.UTF-8",
        },
    )
    assert done.returncode == 0, done.stdout
    return done.stdout


def golden(name):
    return (GOLDEN / f"{name}.out").read_text(encoding="utf-8")


# What is made, and how it is taken back.
CREATE = [
    (
        "CREATE VIEW noted.unknown AS SELECT id FROM noted.rows WHERE note = NULL;\n",
        "DROP VIEW noted.unknown",
    ),
    (
        "CREATE MATERIALIZED VIEW noted.counted AS"
        " SELECT id, count(*) FROM noted.rows GROUP BY id;\n",
        "DROP MATERIALIZED VIEW noted.counted",
    ),
    ("CREATE INDEX first ON noted.rows (id);\n", None),
    ("CREATE INDEX second ON noted.rows (id);\n", "DROP INDEX noted.second"),
]


def test_create(client, watched):
    told = ""
    for script, undo in CREATE:
        if undo is None:
            told += psql(watched, client, script)
            continue
        before = count(client)

        def make():
            found = psql(watched, client, script)
            return found if "NOTICE:  " in found else None

        told += told_in_time(make, lambda: client.execute(undo), lambda: count(client))
        eventually(lambda: count(client) == before + 1, "it is kept", 60)
    assert told == golden("create")


EXPLAIN = """\
EXPLAIN (COSTS OFF) SELECT * FROM noted.v;
EXPLAIN (COSTS OFF) SELECT id FROM noted.rows WHERE note LIKE '%17' AND id <> NULL;
SELECT notice_type, message, action FROM mz_internal.mz_notices \\gx
"""


def test_explain(client, watched):
    client.execute("CREATE VIEW noted.v AS SELECT id FROM noted.rows WHERE note LIKE '%4711'")
    eventually(lambda: count(client) == 1, "the notice is kept", 60)
    assert psql(watched, client, EXPLAIN) == golden("explain")
