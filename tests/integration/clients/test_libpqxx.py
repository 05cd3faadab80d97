"""libpqxx: builds and runs libpqxx.cpp."""

import subprocess

from harness import scratch
from harness.signalbox import REPOSITORY


def test_libpqxx(run_program, schema):
    program = scratch() / "libpqxx"
    if not program.exists():
        source = REPOSITORY / "tests/integration/clients/libpqxx.cpp"
        built = subprocess.run(
            ["g++", "-std=c++17", "-o", program, source, "-lpqxx", "-lpq"],
            capture_output=True,
            text=True,
            timeout=300,
        )
        assert built.returncode == 0, built.stderr[:4000]
    run_program(program, environment={"SCHEMA": schema})
