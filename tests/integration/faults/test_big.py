"""Large values and streams pass with little memory."""

import threading

import pytest

from harness import Signalbox
from harness.messages import bind, copy_data, copy_done, execute, parse, query, sync
from harness.processes import resident_bytes
from harness.raw_client import tls_context
from harness.signalbox import is_instrumented, standard_config

GROWTH = (96 if is_instrumented() else 24) << 20


@pytest.fixture(scope="module")
def box(pg):
    pg.admin("CREATE TABLE IF NOT EXISTS bulk (t text); ALTER TABLE bulk OWNER TO app")
    with Signalbox(standard_config(pg)) as process:
        yield process


class Peak:
    """The most anonymous memory that the process had within the block, over what it had before."""

    def __init__(self, box):
        self._pid, self._stop = box.pid, threading.Event()
        self._thread = threading.Thread(target=self._watch)
        self.growth = 0

    def _watch(self):
        while not self._stop.wait(0.01):
            self.growth = max(self.growth, resident_bytes(self._pid) - self._before)

    def __enter__(self):
        self._before = resident_bytes(self._pid)
        self._thread.start()
        return self

    def __exit__(self, kind, *_):
        self._stop.set()
        self._thread.join()
        if kind is None:
            assert self.growth < GROWTH, f"grew by {self.growth >> 20} MiB"


def count_bytes(client, kind):
    """Reads up to ReadyForQuery; the bytes and the number of messages of one type."""
    size = number = 0
    while True:
        found, body = client.read_message(60)
        assert found != b"E", body[:200]
        if found == kind:
            size += len(body)
            number += 1
        elif found == b"Z":
            return size, number


def test_copy_out_of_one_gibibyte(box, mode):
    client = box.raw(mode, timeout=60)
    client.value("SELECT 1")
    rows, width = (1024, 1 << 20) if mode == "transaction" else (131072, 1 << 10)
    with Peak(box):
        client.send(
            query(
                f"COPY (SELECT repeat('x', {width - 1}) FROM generate_series(1, {rows})) TO STDOUT"
            )
        )
        size, number = count_bytes(client, b"d")
    assert (size, number) == (rows * width, rows)
    assert client.value("SELECT 1") == "1"
    client.terminate()


def test_copy_in(pg, box, mode):
    client = box.raw(mode, timeout=60)
    pg.admin("TRUNCATE bulk")
    row = copy_data(b"y" * 65535 + b"\n")
    with Peak(box):
        client.send(query("COPY bulk FROM STDIN"))
        assert client.read_message()[0] == b"G"
        for _ in range(64):
            client.send(row * 32)
        client.send(copy_done())
        assert client.read_until(b"Z", timeout=60)[0] == (b"C", b"COPY 2048\0")
    assert pg.admin("SELECT count(*), sum(length(t)) FROM bulk") == [(2048, 2048 * 65535)]
    pg.admin("TRUNCATE bulk")
    client.terminate()


def test_a_value_of_256_mebibytes_out(box):
    client = box.raw("transaction", timeout=60)
    with Peak(box):
        client.send(query(f"SELECT repeat('z', {256 << 20})"))
        size, _ = count_bytes(client, b"D")
    assert size == (256 << 20) + 6
    client.terminate()


def test_a_value_of_256_mebibytes_in(box):
    client = box.raw("transaction", timeout=60)
    value = b"w" * (256 << 20)
    with Peak(box):
        client.send(parse("SELECT length($1)") + bind([value]) + execute() + sync())
        found = client.read_until(b"Z", timeout=60)
    assert (b"D", b"\0\1\0\0\0\x09" + str(len(value)).encode()) in found
    assert client.value("SELECT 1") == "1"
    client.terminate()


def test_bulk_over_tls(box):
    """Data may be left inside the TLS layer without a socket event: nothing must stall."""
    client = box.raw("transaction", tls=tls_context(), timeout=60)
    with Peak(box):
        client.send(
            query("COPY (SELECT repeat('x', 16383) FROM generate_series(1, 8192)) TO STDOUT")
        )
        size, _ = count_bytes(client, b"d")
    assert size == 8192 * 16384
    for length in (1, 16380, 16383, 16384, 16385, 16390, 32768, 65537):
        assert len(client.value(f"SELECT repeat('x', {length})")) == length
        assert client.value(f"SELECT length('{'q' * length}')") == str(length)
    client.terminate()


@pytest.mark.parametrize("size", [100, 8192, 16384, 70000, 1 << 20])
def test_copy_in_over_tls(pg, box, mode, size):
    """Many small messages in large records, and messages over many records."""
    pg.admin("TRUNCATE bulk")
    client = box.raw(mode, tls=tls_context(), timeout=30)
    count = (8 << 20) // size // 8 * 8
    row = copy_data(b"t" * (size - 1) + b"\n")
    client.send(query("COPY bulk FROM STDIN"))
    assert client.read_message()[0] == b"G"
    for _ in range(count // 8):
        client.send(row * 8)
    client.send(copy_done())
    assert client.read_until(b"Z")[0] == (b"C", f"COPY {count}\0".encode())
    assert client.value("SELECT sum(length(t)) FROM bulk") == str(count * (size - 1))
    client.terminate()


def test_buffers_shrink_again(box):
    """What bulk work has grown is given back to the next ones."""
    before = resident_bytes(box.pid)
    for _ in range(3):
        clients = [box.raw("transaction", timeout=60) for _ in range(10)]
        for client in clients:
            client.send(query("SELECT repeat('x', 4000000)"))
        for client in clients:
            count_bytes(client, b"D")
            client.terminate()
    assert resident_bytes(box.pid) - before < GROWTH
