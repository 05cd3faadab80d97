"""scripts/run: one command to a session over TLS and SCRAM, and nothing left behind by Ctrl-C."""

import contextlib
import os
import pathlib
import re
import shlex
import signal
import socket
import subprocess

import pytest

from harness import eventually
from harness.processes import is_alive
from harness.signalbox import REPOSITORY, binary

pytestmark = pytest.mark.slow


def family(folder):
    """The processes that were started with something of the folder."""
    found = []
    for entry in filter(str.isdigit, os.listdir("/proc")):
        try:
            arguments = pathlib.Path(f"/proc/{entry}/cmdline").read_bytes()
        except OSError:
            continue
        if folder.encode() in arguments and is_alive(int(entry)):
            found.append(int(entry))
    return found


@pytest.fixture
def script(tmp_path):
    """The running script, as a terminal would run it: a process group of its own."""
    with open(tmp_path / "said", "wb") as said:
        process = subprocess.Popen(
            [str(REPOSITORY / "scripts/run")],
            stdin=subprocess.DEVNULL,
            stdout=said,
            stderr=said,
            cwd="/",
            env={**os.environ, "SIGNALBOX_BINARY": str(binary())},
            start_new_session=True,
        )
    yield process, tmp_path / "said"
    if process.poll() is None:
        process.terminate()
        process.wait(30)


@pytest.fixture
def taken_port():
    """The script's first choice, listened on by this test or by somebody else."""
    try:
        taken = socket.create_server(("127.0.0.1", 6432))
    except OSError:
        taken = contextlib.nullcontext()
    with taken:
        yield


@pytest.mark.parametrize("end", [signal.SIGINT, signal.SIGTERM])
def test_from_start_to_end(taken_port, script, end):
    process, said = script

    def ready():
        assert process.poll() is None, said.read_text()
        return "Ctrl-C stops it." in said.read_text()

    eventually(ready, "it is ready", 60)
    text = said.read_text()
    password, line = re.search(r"PGPASSWORD=(\S+) (psql .*)", text).groups()
    port = re.search(r"^Port 6432 is in use; using (\d+)\.$", text, re.M)[1]
    assert f"port={port} " in line
    done = subprocess.run(
        [*shlex.split(line), "-X", "-At", "-c", "\\conninfo", "-c", "SELECT current_user"],
        env={"PGPASSWORD": password, "PATH": os.environ["PATH"]},
        capture_output=True,
        text=True,
        timeout=30,
    )
    assert "SSL connection" in done.stdout and done.stdout.endswith("\napp\n"), done
    folder = str(pathlib.Path(re.search(r"Log: +(\S+)", text)[1]).parent)
    assert len(family(folder)) >= 2  # PostgreSQL and Signalbox
    assert password not in (pathlib.Path(folder) / "signalbox.log").read_text()
    # A terminal sends SIGINT to all of them.
    os.killpg(process.pid, end) if end == signal.SIGINT else process.send_signal(end)
    assert process.wait(30) == 128 + end, said.read_text()
    assert not pathlib.Path(folder).exists()
    assert not family(folder)
