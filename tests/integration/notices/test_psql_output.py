"""psql as a user sees it: golden/*.out is the whole output, errors and notices included.

What is created is created again until its notice has come in time.
"""

import os
import pathlib
import shutil
import subprocess

from harness import eventually
from harness.postgres import ROLES
from watching import told_in_time

GOLDEN = pathlib.Path(__file__).parent / "golden"


def psql(box, mode, script):
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
            "PGDATABASE": mode,
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


def test_create(client, watched, mode):
    told = ""
    for script, undo in CREATE:
        if undo is None:
            told += psql(watched, mode, script)
            continue
        before = client.count()

        def make():
            found = psql(watched, mode, script)
            return found if "NOTICE:  " in found else None

        told += told_in_time(make, lambda: client.run(undo), client.count)
        eventually(lambda: client.count() == before + 1, "it is kept", 60)
    assert told == golden("create")


EXPLAIN = """\
EXPLAIN (COSTS OFF) SELECT * FROM noted.v;
EXPLAIN (COSTS OFF) SELECT id FROM noted.rows WHERE note LIKE '%17' AND id <> NULL;
SELECT notice_type, message, action FROM mz_internal.mz_notices \\gx
"""


def test_explain(client, watched, mode):
    client.run("CREATE VIEW noted.v AS SELECT id FROM noted.rows WHERE note LIKE '%4711'")
    eventually(lambda: client.count() == 1, "the notice is kept", 60)
    assert psql(watched, mode, EXPLAIN) == golden("explain")
