"""PostgreSQL's own test of pipelines, on every version: the same messages through Signalbox.

The program libpq_pipeline is compiled from the sources that scripts/fetch_regression_sql gets. It
writes down what libpq sends and receives. Two tests fill the socket's buffers, so that what they
send depends on the time: of those, that they pass.
"""

import difflib
import subprocess

import pytest

from harness import Signalbox, scratch
from harness.postgres import BIN, VERSIONS, installed
from harness.signalbox import REPOSITORY, standard_config

SOURCE = REPOSITORY / "build/regression_sql/src/test/modules/libpq_pipeline/libpq_pipeline.c"
TESTS = """
    disallowed_in_pipeline multi_pipelines nosync pipeline_abort pipeline_idle prepared
    simple_pipeline singlerow transaction
""".split()
CLEAN = "DROP TABLE IF EXISTS pq_pipeline_demo, pq_pipeline_tst, ppln_uniqviol"


def configured(what):
    done = subprocess.run([BIN / "pg_config", what], capture_output=True, text=True, check=True)
    return done.stdout.strip()


@pytest.fixture(scope="module", params=VERSIONS)
def server(request):
    with installed(request.param, "pipelines") as made:
        yield made


@pytest.fixture(scope="module")
def box(server):
    # As the superuser, whom it needs to be for one of its settings.
    target = {"user": "postgres", "password": None}
    config = standard_config(server, {"auth": {"method": "trust"}}, connection=target)
    with Signalbox(config) as process:
        yield process


@pytest.fixture(scope="module")
def program(server):
    """The program for this server: 16 has renamed a parameter that it sets."""
    if not SOURCE.exists():
        pytest.skip("no libpq_pipeline.c: scripts/fetch_regression_sql")
    headers = configured("--includedir-server")
    name = "force_parallel_mode" if server.version < 16 else "debug_parallel_query"
    path = scratch() / f"libpq_pipeline-{name}"
    if not path.exists():
        source = path.with_suffix(".c")
        source.write_text(SOURCE.read_text().replace("force_parallel_mode", name))
        command = ["gcc", "-O1", "-w", f"-I{headers}", f"-I{configured('--includedir')}"]
        command += [source, "-o", path, f"-L{BIN.parent}/lib", "-lpgcommon", "-lpgport", "-lpq"]
        built = subprocess.run(command, capture_output=True, text=True)
        assert built.returncode == 0, built.stderr
    listed = subprocess.run([path, "tests"], capture_output=True, text=True, check=True)
    assert sorted(listed.stdout.split()) == sorted([*TESTS, "pipelined_insert", "uniqviol"])
    return path


def run(program, test, server, port, database, options=()):
    """Its exit status and words."""
    target = f"host=127.0.0.1 port={port} dbname={database} user=postgres sslmode=disable"
    command = [program, "-r", "700", *options, test, target]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    except subprocess.TimeoutExpired as late:
        said = (late.stdout or b"") + (late.stderr or b"")
        why = f"it hangs behind {said[-300:]}; the server: {under_way(server)}"
        raise AssertionError(why) from late
    return done.returncode, (done.stdout + done.stderr).splitlines()


def under_way(server):
    return server.admin(
        "SELECT pid, state, wait_event_type, wait_event, now() - state_change, query "
        "FROM pg_stat_activity WHERE backend_type = 'client backend'"
    )


def traced(program, test, server, port, database):
    """What it prints, and its messages."""
    trace = scratch() / "libpq_pipeline.trace"
    trace.write_text("")
    status, words = run(program, test, server, port, database, ["-t", trace])
    messages = trace.read_text().splitlines()
    assert status == 0 and messages, words
    return words + messages


@pytest.mark.parametrize("test", TESTS)
def test_the_same_messages(server, box, program, mode, test):
    directly = traced(program, test, server, server.port, "app")
    server.admin(CLEAN)
    through = traced(program, test, server, box.port, mode)
    server.admin(CLEAN)
    differences = list(difflib.unified_diff(directly, through, "directly", mode, lineterm=""))
    assert not differences, "\n".join(differences)


def test_pipelined_insert(server, box, program, mode):
    assert run(program, "pipelined_insert", server, box.port, mode)[0] == 0
    assert server.admin("SELECT count(*) FROM pq_pipeline_demo") == [(700,)]
    server.admin(CLEAN)


@pytest.mark.parametrize("server", [15], indirect=True)
def test_some_hundred_thousand_statements_in_one_pipeline(server, box, program, mode):
    """Of 15 alone, for it takes a while: statements are sent until the server reads no more."""
    status, words = run(program, "uniqviol", server, box.port, mode)
    assert status == 0 and words[-1] == "ok", words[-3:]
    server.admin(CLEAN)
