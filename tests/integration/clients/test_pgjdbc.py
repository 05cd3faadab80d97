"""pgjdbc: runs PgJdbc.java."""

import pathlib

from harness.tools import compiled_java

HERE = pathlib.Path(__file__).resolve().parent


def test_pgjdbc(run_program, target):
    url = (
        f"jdbc:postgresql://localhost:{target.port}/{target.database}"
        f"?sslmode=verify-full&sslrootcert={target.ca}&socketTimeout=30"
    )
    run_program(
        "java",
        *compiled_java(HERE / "PgJdbc.java"),
        url,
        target.user,
        target.password,
        environment={"JAVA_TOOL_OPTIONS": ""},
    )
