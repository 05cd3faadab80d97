"""node-postgres and pgjdbc: each runs one program of this folder that asserts by itself."""

import pathlib

from harness.tools import NODE_PATH, compiled_java

HERE = pathlib.Path(__file__).resolve().parent


def test_node_postgres(run_tool):
    found = run_tool(
        "node", "-e", "require('pg')", check=False, environment={"NODE_PATH": NODE_PATH}
    )
    assert (
        found.returncode == 0
    ), f"node-postgres is not installed (node-pg, or npm pg): {found.stderr[:300]}"
    # localhost must be 127.0.0.1: node prefers the resolver's order.
    done = run_tool(
        "node",
        "--dns-result-order=ipv4first",
        HERE / "node_postgres.js",
        environment={"NODE_PATH": NODE_PATH},
    )
    assert done.stdout.strip() == "ok", done.stdout + done.stderr


def test_pgjdbc(run_tool, target):
    url = (
        f"jdbc:postgresql://localhost:{target.port}/{target.database}"
        f"?sslmode=verify-full&sslrootcert={target.ca}&socketTimeout=30"
    )
    done = run_tool(
        "java",
        *compiled_java(HERE / "PgJdbc.java"),
        url,
        target.user,
        target.password,
        environment={"JAVA_TOOL_OPTIONS": ""},
    )
    assert done.stdout.strip() == "ok", done.stdout + done.stderr
