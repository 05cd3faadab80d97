"""pgbench in its three query modes, with transactions, and its pipelines."""

import re
import subprocess

import pytest

from harness import Signalbox
from harness.signalbox import standard_config


@pytest.fixture(scope="module", autouse=True)
def tables(pg):
    pg.admin("CREATE DATABASE bench OWNER app", database="postgres")
    subprocess.run(
        [
            "pgbench",
            "-i",
            "-s",
            "2",
            "-q",
            "-h",
            "127.0.0.1",
            "-p",
            str(pg.port),
            "-U",
            "postgres",
            "bench",
        ],
        check=True,
        capture_output=True,
    )
    pg.admin("GRANT ALL ON ALL TABLES IN SCHEMA public TO app", database="bench")


@pytest.fixture(scope="module")
def box(pg):
    config = standard_config(pg, route={"backend_database": "bench", "pool_size": 8})
    for route in config["routes"]:
        if route["pool_mode"] == "session":
            route["pool_size"] = 8  # as many as there are clients
    with Signalbox(config) as process:
        yield process


@pytest.mark.parametrize("query_mode", ["simple", "extended", "prepared"])
@pytest.mark.parametrize("script", ["select-only", "tpcb-like"])
def test_query_modes(run_tool, pg, query_mode, script):
    pg.admin("TRUNCATE pgbench_history", database="bench")
    count = 100 if script == "tpcb-like" else 300
    done = run_tool(
        "pgbench", "-n", "-M", query_mode, "-b", script, "-c", "8", "-j", "2", "-t", count
    )
    assert f"number of transactions actually processed: {8 * count}/{8 * count}" in done.stdout
    assert re.search(r"number of failed transactions: 0 ", done.stdout), done.stdout
    if script == "tpcb-like":
        rows = pg.admin("SELECT count(*) FROM pgbench_history", database="bench")
        assert rows == [(8 * count,)]
        sums = pg.admin(
            "SELECT (SELECT sum(abalance) FROM pgbench_accounts), "
            "(SELECT sum(bbalance) FROM pgbench_branches)",
            database="bench",
        )
        assert sums[0][0] == sums[0][1]


@pytest.mark.parametrize("query_mode", ["extended", "prepared"])
def test_pipelines(run_tool, tmp_path, query_mode):
    script = tmp_path / "pipeline.sql"
    script.write_text(
        "\\set aid random(1, 100000)\n\\startpipeline\nBEGIN;\n"
        + "SELECT abalance FROM pgbench_accounts WHERE aid = :aid;\n" * 5
        + "COMMIT;\n\\endpipeline\n"
    )
    done = run_tool("pgbench", "-n", "-M", query_mode, "-f", script, "-c", "8", "-t", "50")
    assert "number of transactions actually processed: 400/400" in done.stdout


def test_a_connection_per_transaction(run_tool):
    done = run_tool("pgbench", "-n", "-C", "-S", "-c", "4", "-t", "25")
    assert "number of transactions actually processed: 100/100" in done.stdout
