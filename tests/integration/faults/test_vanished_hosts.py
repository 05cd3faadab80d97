"""Hosts that vanish without a word: no FIN, no reset, no acknowledgement."""

import pathlib
import socket
import time

import pytest

from harness import ConnectionClosed, FakeServer, eventually, messages
from harness.cleanings import CLEANING
from harness.raw_client import tls_context
from harness.signalbox import standard_config
from harness.vanishing import vanish


def is_open(box, client):
    """Signalbox's end of the client's connection, as the kernel has it."""
    ends = (box.port, client.socket.getsockname()[1])
    for line in pathlib.Path("/proc/net/tcp").read_text().splitlines()[1:]:
        _, local, remote, state, *_ = line.split()
        found = tuple(int(end.split(":")[1], 16) for end in (local, remote))
        if found == ends and state == "01":
            return True
    return False


def impatient(server, **listen):
    return standard_config(server, {"listen": {"tcp_user_timeout": "1s", **listen}})


@pytest.mark.parametrize("encrypted", [False, True])
def test_a_client_with_data_on_their_way(pg, start_box, certificates, encrypted):
    """The client's kernel acknowledges nothing: its session ends, unless nobody has set a limit."""
    boxes = [start_box(impatient(pg)), start_box(standard_config(pg))]
    clients = []
    for box in boxes:
        client = box.raw("session", tls=tls_context(certificates.ca) if encrypted else None)
        client.send(messages.query("SELECT pg_sleep(0.3), repeat('x', 100000)"))
        vanish(client.socket)
        clients.append(client)
    started = time.monotonic()
    eventually(lambda: not is_open(boxes[0], clients[0]), "the session has ended", 15)
    assert time.monotonic() - started > 0.9
    assert is_open(boxes[1], clients[1])  # the system waits a quarter of an hour
    for client in clients:
        client.close()


@pytest.mark.slow
def test_an_idle_client(pg, start_box):
    """Nothing is on its way: keepalive asks. The limit counts for its questions, too."""
    box = start_box(impatient(pg, tcp_keepalive="1s"))
    client = box.raw("session")
    vanish(client.socket)
    time.sleep(3)
    assert is_open(box, client)
    # The second question comes 15 s after the first.
    eventually(lambda: not is_open(box, client), "the session has ended", 25)
    client.close()


def test_a_slow_reader(pg, start_box):
    """What the limit costs, and why there is none by default: it ends those who do not read, too."""
    boxes = [start_box(impatient(pg)), start_box(standard_config(pg))]
    size = 40 * 2**20
    clients = []
    for box in boxes:
        client = box.raw("session")
        client.send(messages.query(f"SELECT repeat('x', {size})"))
        assert client.socket.recv(1, socket.MSG_PEEK)
        clients.append(client)
    eventually(lambda: not is_open(boxes[0], clients[0]), "the session has ended", 30)
    with pytest.raises(ConnectionClosed):
        clients[0].read_exact(size)
    clients[1].read_until(b"Z")
    assert clients[1].value("SELECT 1") == "1"


def test_a_server(start_box):
    """A statement that reaches nobody fails, and the session goes on with another connection."""

    def script(session):
        for kind, body in session.requests():
            heard = [session.sql(*each) for each in session.seen]
            if CLEANING in heard[-1] and "SELECT last_words" in heard:
                vanish(session.socket)  # before the answer: what comes at once is not heard either
            session.answer(kind, body)

    with FakeServer(script) as server:
        # One server connection: what comes next waits until it is clean.
        config = standard_config(
            server, route={"pool_size": 1}, connection={"tcp_user_timeout": "1s"}
        )
        box = start_box(config)
        client = box.raw("transaction")
        assert client.value("SELECT last_words") == "x"
        started = time.monotonic()
        error = client.error("SELECT into_the_void", timeout=15)
        assert error["C"] == "08006" and "timed out" in error["M"], error
        assert 0.9 < time.monotonic() - started
        assert client.value("SELECT again") == "x"
        client.terminate()
