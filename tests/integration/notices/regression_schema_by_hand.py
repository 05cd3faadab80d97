"""What is found in the schema that PostgreSQL's regression tests leave: by hand, about two minutes.

    SIGNALBOX_BINARY=build/release/signalbox /usr/bin/python3 -m pytest \
        tests/integration/notices/regression_schema_by_hand.py

56 views and materialized views, 239 indexes. Every finding was looked at with the definition of its
object beside it, and holds; docs/notices/README.md has them with the reasons.
"""

import pathlib
import shutil
import subprocess

import psycopg

from harness import Postgres, Signalbox, eventually, scratch
from harness.postgres import BIN
from harness.signalbox import REPOSITORY, standard_config
from watching import NOTICES

SOURCES = REPOSITORY / "build/regression_sql/src/test/regress"
NO_INDEX = "Materialized view without a unique index"
IDENTICAL = "An identical index already exists"
FOUND = [
    (IDENTICAL, "reloptions_test_idx3"),
    (IDENTICAL, "tbl_include_unique1_c1_c2_c3_c4_key"),
    (IDENTICAL, "typically_sized_index"),
    ("Empty index key", "vacuum_in_leader_small_index"),
    (NO_INDEX, "compressmv"),
    (NO_INDEX, "mvtest_bb"),
    (NO_INDEX, "mvtest_tmm"),
    (NO_INDEX, "mvtest_tvm"),
    (NO_INDEX, "mvtest_tvmm"),
    (NO_INDEX, "mvtest_tvvm"),
    (NO_INDEX, "tableam_tblmv_heap2"),
    ("Unindexed foreign key", "my_credit_card_normal"),
    ("Unindexed foreign key", "my_credit_card_secure"),
]


def pg_config(what):
    done = subprocess.run([BIN / "pg_config", what], capture_output=True, text=True, check=True)
    return pathlib.Path(done.stdout.strip())


def run_regression_tests(server):
    """As the account postgres, for the server reads and writes files there."""
    work = scratch() / "regress"
    shutil.copytree(SOURCES, work)
    library = work / "lib"
    library.mkdir()
    headers = pg_config("--includedir-server")
    command = ["cc", "-O2", "-w", "-fPIC", "-shared", f"-I{headers}", SOURCES / "regress.c"]
    subprocess.run([*command, "-o", library / "regress.so"], check=True)
    for name in ("autoinc", "refint"):
        shutil.copy(pg_config("--pkglibdir") / f"{name}.so", library)
    subprocess.run(["chown", "-R", "postgres:", work], check=True)
    server.admin("CREATE DATABASE regression TEMPLATE template0 LOCALE 'C'", database="postgres")
    program = pg_config("--pgxs").parents[1] / "test/regress/pg_regress"
    options = [f"--dlpath={library}", f"--inputdir={work}", f"--outputdir={work}"]
    options += ["--use-existing", f"--bindir={BIN}", f"--schedule={work}/parallel_schedule"]
    options += ["--max-connections=6", "--host=127.0.0.1", f"--port={server.port}"]
    options += ["--user=postgres", "--dbname=regression"]
    account = ["setpriv", "--reuid", "postgres", "--regid", "postgres", "--clear-groups"]
    done = subprocess.run([*account, program, *options], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-2000:]


def test_no_false_alarm():
    with Postgres("corpus") as server:
        run_regression_tests(server)
        changes = {"auth": {"method": "trust"}, "catalog": {"notices": True}}
        changes["users"] = [{"name": "postgres", "roles": ["superuser"]}]
        target = {"user": "postgres", "password": None}
        route = {"backend_database": "regression"}
        config = standard_config(server, changes, route=route, connection=target)
        with Signalbox(config) as box:
            client = psycopg.connect(
                f"host=127.0.0.1 port={box.port} user=postgres dbname=session", autocommit=True
            )
            sql = f"SELECT notice_type, o.name FROM {NOTICES} n JOIN mz_catalog.mz_objects o"
            sql += " ON o.id = n.object_id ORDER BY notice_type, o.name"
            eventually(lambda: client.execute(sql).fetchall(), "the schema is examined", 60)
            assert sorted(client.execute(sql).fetchall()) == sorted(FOUND)
            client.close()
