"""TLS towards the server: bulk, cancel and lost connections, with and without TLS to the client."""

import threading
import time

import pytest

from harness import Signalbox, eventually
from harness.messages import bind, copy_data, copy_done, execute, parse, query, sync
from harness.raw_client import first_error, tls_context
from harness.signalbox import standard_config


@pytest.fixture(scope="module")
def box(pg):
    pg.admin("CREATE TABLE IF NOT EXISTS bulk (t text); ALTER TABLE bulk OWNER TO app")
    with Signalbox(standard_config(pg, connection={"ssl_mode": "require"})) as process:
        yield process


@pytest.fixture(params=["plain", "tls"])
def client(request, box, mode):
    opened = box.raw(mode, tls=tls_context() if request.param == "tls" else None, timeout=30)
    assert opened.value("SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()") == "t"
    yield opened
    opened.terminate()


def test_results_of_every_size(client):
    """Records and reads end at different places: what the TLS layer still holds must not wait."""
    for length in (1, 8150, 16380, 16383, 16384, 16385, 32768, 65537, 300_000, 5_000_000):
        assert len(client.value(f"SELECT repeat('x', {length})")) == length


def test_copy_out(client):
    client.send(query("COPY (SELECT repeat('x', 16383) FROM generate_series(1, 4096)) TO STDOUT"))
    size = sum(len(body) for kind, body in client.read_until(b"Z") if kind == b"d")
    assert size == 4096 * 16384


@pytest.mark.parametrize("size", [100, 16384, 1 << 20])
def test_copy_in(pg, client, size):
    pg.admin("TRUNCATE bulk")
    count = (8 << 20) // size // 8 * 8
    client.send(query("COPY bulk FROM STDIN"))
    assert client.read_message()[0] == b"G"
    for _ in range(count // 8):
        client.send(copy_data(b"t" * (size - 1) + b"\n") * 8)
    client.send(copy_done())
    assert client.read_until(b"Z")[0] == (b"C", f"COPY {count}\0".encode())
    assert client.value("SELECT sum(length(t)) FROM bulk") == str(count * (size - 1))


def test_both_ends_blocked_on_write(client):
    client.send(parse("SELECT $1::text", "big") + sync())
    client.read_until(b"Z")
    count = 500  # 10 MB in each direction
    work = (bind([b"v" * 20000], statement="big") + execute() + sync()) * count
    sender = threading.Thread(target=client.send, args=(work,))
    sender.start()
    time.sleep(0.3)  # both directions fill up before the first read
    found = client.read_until(b"Z", count)
    sender.join(30)
    assert not sender.is_alive()
    assert sum(kind == b"D" for kind, _ in found) == count


def test_cancel(pg, client):
    client.send(query("SELECT pg_sleep(60), 'over server tls'"))
    eventually(
        lambda: pg.backends("query LIKE '%over server tls%' AND state = 'active'"), "it runs"
    )
    client.cancel(tls=tls_context())
    assert first_error(client.read_until(b"Z"))["C"] == "57014"
    assert client.value("SELECT 1") == "1"


def test_lost_while_idle_is_not_noticed(pg, box):
    client = box.raw("transaction", application_name="idle over tls")
    for _ in range(3):
        pid = client.value("SELECT pg_backend_pid()")
        pg.admin("SELECT pg_terminate_backend(%s)", [int(pid)])
        eventually(lambda: not pg.backends(f"pid = {pid}"), "it is gone")  # noqa: B023
        assert client.value("SELECT pg_backend_pid()") != pid
    client.terminate()
