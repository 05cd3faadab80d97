"""Limits on clients, files and messages: each has an error, and the process outlives it."""

import time

import pytest

from harness import ConnectionClosed, RawClient, eventually, messages
from harness.postgres import ROLES
from harness.processes import cpu_seconds, open_files
from harness.raw_client import ServerError, first_error
from harness.signalbox import standard_config


def test_out_of_file_descriptors(pg, start_box):
    """EMFILE in accept: no end, no hot loop, and it accepts again when some are free."""
    box = start_box(standard_config(pg), nofile=(64, 64))
    working = box.raw("transaction")
    assert working.value("SELECT 1") == "1"
    crowd = []
    for _ in range(90):
        crowd.append(RawClient("127.0.0.1", box.port))  # the kernel's backlog takes what we do not
    eventually(lambda: open_files(box.pid) >= 60, "the descriptors are used up", 5)
    before = cpu_seconds(box.pid)
    time.sleep(1.0)  # the time over which processor use is measured
    assert cpu_seconds(box.pid) - before < 0.5, "a hot loop around accept"
    assert working.value("SELECT 2") == "2"
    for client in crowd:
        client.close()

    def accepted():
        try:
            with RawClient("127.0.0.1", box.port, timeout=2) as client:
                client.login("app", "transaction", ROLES["app"])
                return client.value("SELECT 3") == "3"
        except (ConnectionClosed, ConnectionError, TimeoutError):
            return False

    eventually(accepted, "newcomers are served again", 10)
    assert working.value("SELECT 4") == "4"
    working.terminate()


def refused(box, **who):
    with pytest.raises(ServerError) as caught:
        box.raw(**who)
    assert (caught.value.fields["V"], caught.value.code) == ("FATAL", "53300"), caught.value


@pytest.mark.parametrize(
    "limit, inside, outside, freed",
    [
        ("max_clients", {}, {"user": "other"}, {"user": "other"}),
        ("max_clients_per_user", {}, {}, {}),
        ("max_clients_per_database", {}, {"user": "other"}, {}),
        ("max_clients_per_address", {}, {"user": "other"}, {}),
    ],
)
def test_client_limits(pg, start_box, limit, inside, outside, freed):
    box = start_box(standard_config(pg, {"listen": {limit: 3}}))
    clients = [box.raw("transaction", **inside) for _ in range(3)]
    refused(box, database="transaction", **outside)
    if limit == "max_clients_per_user":
        box.raw("transaction", user="other").terminate()
    if limit == "max_clients_per_database":
        box.raw("session").terminate()
    clients.pop().terminate()

    def again():
        try:
            return box.raw("transaction", **freed)
        except ServerError:
            return None

    clients.append(eventually(again, "the freed place is given away"))
    for client in clients:
        assert client.value("SELECT 1") == "1"
        client.terminate()


def test_cancel_requests_pass_a_full_house(pg, start_box):
    """Who may not log in any more may still cancel what he has started."""
    box = start_box(standard_config(pg, {"listen": {"max_clients": 1}}))
    client = box.raw("transaction")
    client.send(messages.query("SELECT pg_sleep(60), 'full house'"))
    eventually(lambda: pg.backends("query LIKE '%full house%' AND state = 'active'"), "it runs")
    client.cancel()
    assert first_error(client.read_until(b"Z"))["C"] == "57014"
    client.terminate()


@pytest.mark.parametrize("kind", [b"Q", b"P", b"B", b"d"])
def test_messages_over_the_limit(pg, start_box, kind):
    """Refused by their announced length, before their bytes have come."""
    box = start_box(standard_config(pg, {"listen": {"max_message_size": "1MiB"}}))
    client, other = box.raw("transaction"), box.raw("transaction")
    assert len(client.value(f"SELECT '{'x' * 500_000}'")) == 500_000
    if kind == b"d":
        client.send(messages.query("CREATE TABLE IF NOT EXISTS limits (t text)"))
        client.read_until(b"Z")
        client.send(messages.query("COPY limits FROM STDIN"))
        assert client.read_message()[0] == b"G"
    client.send(kind + (2 << 20).to_bytes(4, "big") + b"x")
    found = client.read_to_end(timeout=5)
    fields = [b for k, b in found if k == b"E"]
    assert fields and (b"C08P01" in fields[-1] or b"C54000" in fields[-1]), found
    assert other.value("SELECT 1") == "1"
    other.terminate()


def test_small_messages_before_authentication(pg, start_box):
    """10,000 bytes are enough for any startup; a password message may not be larger either."""
    box = start_box(standard_config(pg))
    client = RawClient("127.0.0.1", box.port)
    client.send(messages.startup("app", "transaction", application_name="x" * 20_000))
    assert not [m for m in client.read_to_end(timeout=5) if m[0] == b"R"]
    client = RawClient("127.0.0.1", box.port)
    client.send(messages.startup("app", "transaction"))
    assert client.read_message()[0] == b"R"
    client.send(b"p" + (100_000).to_bytes(4, "big") + b"x" * 100)
    found = client.read_to_end(timeout=5)
    assert first_error(found)["V"] == "FATAL"
    client = RawClient("127.0.0.1", box.port)
    client.login("app", "transaction", ROLES["app"], application_name="y" * 8000)
    client.terminate()
