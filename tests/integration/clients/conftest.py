"""Every client of this folder talks TLS and SCRAM, verified, and runs in both pool modes."""

import os
import pathlib
import subprocess

import pytest

from harness import Signalbox
from harness.postgres import ROLES
from harness.signalbox import REPOSITORY, client_certificates, merge, standard_config
from harness.tools import tool

HERE = pathlib.Path(__file__).resolve().parent


@pytest.fixture(scope="module")
def box(pg):
    routes = {"transaction_one": {"pool_mode": "transaction", "pool_size": 1}}
    config = merge(standard_config(pg, routes=routes), {"tls": {"mode": "require"}})
    with Signalbox(config) as process:
        yield process


class Target:
    """What a client needs to know, in the forms that clients ask for."""

    def __init__(self, box, database):
        self.host, self.port, self.database = "localhost", box.port, database
        self.user, self.password = "app", ROLES["app"]
        self.ca = str(client_certificates().ca)
        self.conninfo = (
            f"host=localhost hostaddr=127.0.0.1 port={box.port} user=app password={self.password} "
            f"dbname={database} sslmode=verify-full sslrootcert={self.ca}"
        )
        self.environment = {
            **os.environ,
            "PGHOST": "localhost",
            "PGHOSTADDR": "127.0.0.1",
            "PGPORT": str(box.port),
            "PGUSER": "app",
            "PGPASSWORD": self.password,
            "PGDATABASE": database,
            "PGSSLMODE": "verify-full",
            "PGSSLROOTCERT": self.ca,
            "PGCHANNELBINDING": "prefer",
        }


@pytest.fixture
def target(box, mode):
    return Target(box, mode)


@pytest.fixture
def schema(pg, mode, request):
    """An empty schema of this client's and mode's own, which belongs to app."""
    name = f"{request.path.stem.removeprefix('test_')}_{mode}"
    pg.admin(f"DROP SCHEMA IF EXISTS {name} CASCADE; CREATE SCHEMA {name} AUTHORIZATION app")
    return name


@pytest.fixture
def run_tool(target):
    """run_tool(name, *arguments, input=text) in an environment that leads to Signalbox."""

    def run(name, *arguments, text=None, check=True, timeout=60, environment=None):
        done = subprocess.run(
            [tool(name), *map(str, arguments)],
            input=text,
            capture_output=True,
            text=True,
            timeout=timeout,
            env={**target.environment, **(environment or {})},
            cwd=HERE,
        )
        if check:
            assert done.returncode == 0, f"{name}: {done.stdout[-2000:]}\n{done.stderr[-4000:]}"
        return done

    return run


@pytest.fixture
def run_program(run_tool):
    """run_program(name, *arguments): a program that asserts by itself and says `ok` at the end."""

    def run(name, *arguments, **options):
        done = run_tool(name, *arguments, **options)
        assert done.stdout.strip() == "ok", done.stdout + done.stderr

    return run


@pytest.fixture
def run_node(run_program):
    """run_node(script, **environment): with what scripts/install has put under build/node."""

    def run(script, **environment):
        modules = REPOSITORY / "build/node/node_modules"
        assert modules.exists(), "package.json is not installed: scripts/install test"
        # localhost must be 127.0.0.1: node prefers the resolver's order.
        environment["NODE_PATH"] = str(modules)
        run_program("node", "--dns-result-order=ipv4first", script, environment=environment)

    return run


@pytest.fixture
def run_go(run_program, schema):
    """run_go(name): builds and runs a command of the module go/, offline."""

    def run(name):
        program = REPOSITORY / "build/go" / name
        settings = {
            **os.environ,
            "GOMODCACHE": str(REPOSITORY / "build/go/modules"),
            "GOFLAGS": "-mod=readonly",
            "GOPROXY": "off",
            "GOTOOLCHAIN": "local",
        }
        built = subprocess.run(
            [tool("go"), "build", "-o", program, f"./{name}"],
            cwd=HERE / "go",
            env=settings,
            capture_output=True,
            text=True,
            timeout=400,
        )
        assert built.returncode == 0, built.stderr[-4000:]
        run_program(program, environment={"SCHEMA": schema})

    return run


# The others walk the same paths of Signalbox, from other languages: left out under a sanitizer.
UNDER_SANITIZERS = {"test_pgbench", "test_psql", "test_psycopg"}


def pytest_collection_modifyitems(items):
    for item in items:
        if item.path.parent == HERE and item.path.stem not in UNDER_SANITIZERS:
            item.add_marker(pytest.mark.slow)
