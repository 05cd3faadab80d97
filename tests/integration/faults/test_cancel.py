"""A cancel reaches exactly the statement that it means, and never the next one."""

import os
import random
import signal
import threading
import time

import pytest

from harness import RawClient, Signalbox, eventually, messages
from harness.messages import bind, execute, parse, query, sync
from harness.postgres import ROLES
from harness.raw_client import first_error, tls_context
from harness.signalbox import standard_config


@pytest.fixture(scope="module")
def box(pg):
    routes = {
        "one": {"pool_mode": "transaction", "pool_size": 1},
        "two": {"pool_mode": "transaction", "pool_size": 2},
        "statement_one": {"pool_mode": "statement", "pool_size": 1},
    }
    with Signalbox(standard_config(pg, routes=routes)) as process:
        yield process


def running(pg, mark):
    return pg.admin(
        "SELECT pid FROM pg_stat_activity WHERE query LIKE %s AND state = 'active' "
        "AND pid <> pg_backend_pid()",
        [f"%{mark}%"],
    )


@pytest.fixture(params=["session", "transaction", "one"])
def block_route(request):
    """Where transaction blocks are."""
    return request.param


@pytest.fixture(params=["session", "transaction", "one", "statement_one"])
def route(request):
    return request.param


def test_cancel_of_a_running_statement(pg, box, route):
    client = box.raw(route)
    client.send(query("SELECT pg_sleep(60), 'to be cancelled'"))
    eventually(lambda: running(pg, "to be cancelled"), "it runs")
    client.cancel()
    found = client.read_until(b"Z")
    assert first_error(found)["C"] == "57014"
    assert client.value("SELECT 1") == "1"
    client.terminate()


def test_cancel_of_a_pipeline(pg, box, route):
    """What stands behind the statement up to the Sync is skipped, and nothing behind that."""
    client = box.raw(route)
    texts = ["SELECT pg_sleep(60), 'batch to cancel'", "SELECT 'skipped'"]
    batch = b"".join(parse(text) + bind() + execute() for text in texts) + sync()
    client.send(batch + parse("SELECT 'behind'") + bind() + execute() + sync())
    eventually(lambda: running(pg, "batch to cancel"), "it runs")
    client.cancel()
    found = client.read_until(b"Z")
    assert first_error(found)["C"] == "57014" and not any(b"skipped" in body for _, body in found)
    assert any(b"behind" in body for _, body in client.read_until(b"Z"))
    assert client.value("SELECT 1") == "1"
    client.terminate()


def test_cancel_inside_a_transaction_and_a_pipeline(pg, box, block_route):
    client = box.raw(block_route)
    client.query("BEGIN")
    client.send(
        parse("SELECT pg_sleep(60), 'pipeline to cancel'")
        + bind()
        + execute()
        + parse("SELECT 'skipped'")
        + bind()
        + execute()
        + sync()
        + query("ROLLBACK")
        + query("SELECT 'behind'")
    )
    eventually(lambda: running(pg, "pipeline to cancel"), "it runs")
    client.cancel()
    assert first_error(client.read_until(b"Z"))["C"] == "57014"
    assert client.read_until(b"Z")[-1] == (b"Z", b"I")
    assert b"behind" in client.read_until(b"Z")[1][1]
    client.terminate()


def test_cancel_over_tls(pg, box):
    context = tls_context()
    client = box.raw("transaction", tls=context)
    client.send(query("SELECT pg_sleep(60), 'tls cancel'"))
    eventually(lambda: running(pg, "tls cancel"), "it runs")
    client.cancel(tls=context)
    assert first_error(client.read_until(b"Z"))["C"] == "57014"
    client.terminate()


@pytest.mark.parametrize("shared", ["one", "statement_one"])
def test_cancel_of_a_finished_statement_hits_nothing(pg, box, shared):
    """The server connection belongs to another session by then."""
    client, other = box.raw(shared), box.raw(shared)
    assert client.value("SELECT 1") == "1"
    other.send(query("SELECT pg_sleep(0.5), 'not yours'"))
    eventually(lambda: running(pg, "not yours"), "it runs")
    for _ in range(5):
        client.cancel()
    found = other.read_until(b"Z")
    assert b"not yours" in found[1][1], found
    client.terminate()
    other.terminate()


def test_cancel_of_a_waiting_statement(pg, box):
    """It is answered at once, and never reaches the server."""
    holder, waiter = box.raw("one"), box.raw("one")
    holder.query("BEGIN")
    waiter.send(query("CREATE TABLE never_made ()"))
    waiter.expect_silence(0.1)
    waiter.cancel()
    assert first_error(waiter.read_until(b"Z", timeout=3))["C"] == "57014"
    holder.query("COMMIT")
    assert waiter.value("SELECT to_regclass('never_made') IS NULL") == "t"
    holder.terminate()
    waiter.terminate()


def test_cancel_of_a_waiting_statement_in_statement_mode(pg, box):
    holder, waiter = box.raw("statement_one"), box.raw("statement_one")
    holder.send(query("SELECT pg_sleep(60), 'holds the only one'"))
    eventually(lambda: running(pg, "holds the only one"), "it runs")
    waiter.send(query("CREATE TABLE never_made ()"))
    waiter.expect_silence(0.1)
    waiter.cancel()
    assert first_error(waiter.read_until(b"Z", timeout=3))["C"] == "57014"
    holder.cancel()
    assert first_error(holder.read_until(b"Z"))["C"] == "57014"
    assert waiter.value("SELECT to_regclass('never_made') IS NULL") == "t"
    holder.terminate()
    waiter.terminate()


def test_cancel_in_an_idle_transaction_is_void(box, block_route):
    client = box.raw(block_route)
    client.query("BEGIN")
    client.cancel()
    assert client.value("SELECT pg_sleep(0.1) IS NULL") == "f"
    assert client.query("COMMIT")[-1] == (b"Z", b"I")
    client.terminate()


def test_long_keys_of_protocol_3_2(pg, box, route):
    client = RawClient("127.0.0.1", box.port)
    client.login("app", route, ROLES["app"], version=messages.VERSION_3 + 2)
    pid, secret = client.backend_key
    assert len(secret) == 32
    client.send(query("SELECT pg_sleep(30), 'long key'"))
    eventually(lambda: running(pg, "long key"), "it runs")
    for wrong in (secret[:4], secret[:31], secret + b"\0", secret[:31] + bytes([secret[31] ^ 1])):
        with RawClient("127.0.0.1", box.port) as stranger:
            stranger.send(messages.cancel_request(pid, wrong))
            assert stranger.read_to_end() == []
    assert running(pg, "long key")
    client.cancel()
    assert first_error(client.read_until(b"Z"))["C"] == "57014"
    client.terminate()


@pytest.mark.parametrize("what", ["secret", "pid", "nothing", "length", "short", "huge"])
def test_wrong_cancel_requests_are_ignored(pg, box, what):
    client = box.raw("transaction")
    mark = f"wrong {what}"
    client.send(query(f"SELECT pg_sleep(0.4), '{mark}'"))
    eventually(lambda: running(pg, mark), "it runs")
    pid, secret = client.backend_key
    packet = {
        "secret": messages.cancel_request(pid, bytes(b ^ 1 for b in secret)),
        "pid": messages.cancel_request(pid ^ 1, secret),
        "nothing": messages.cancel_request(0, b"\0\0\0\0"),
        "length": messages.cancel_request(pid, secret)[:4] + messages.cancel_request(pid, b"")[4:],
        "short": messages.cancel_request(pid, secret[:3]),
        "huge": messages.cancel_request(pid, secret + bytes(253)),
    }[what]
    with RawClient("127.0.0.1", box.port) as stranger:
        stranger.send(packet)
        if what == "length":
            stranger.half_close()
        assert stranger.read_to_end() == []  # no answer tells whether it was right
    assert mark.encode() in client.read_until(b"Z")[1][1]
    client.terminate()


def test_secrets_are_not_guessable(box):
    """Different for every session, and not a counter."""
    keys = []
    for _ in range(20):
        client = box.raw("transaction")
        keys.append(client.backend_key)
        client.terminate()
    secrets = [int.from_bytes(secret, "big") for _, secret in keys]
    assert len(set(secrets)) == 20
    steps = {b - a for a, b in zip(secrets, secrets[1:])}
    assert len(steps) > 15


@pytest.mark.parametrize("route", ["one", "two", "session", "statement_one"])
def test_cancels_race_with_the_end_of_their_statement(box, route):
    """Cancels at random moments: only statements that take long are cancelled, and only the
    canceller's own. A bystander on the same pool never sees a 57014."""
    stop, troubles, cancelled = threading.Event(), [], []

    def stand_by():
        client = box.raw(route, timeout=30)
        while not stop.is_set():
            found = client.query("SELECT 'bystander' FROM pg_sleep(0.002)")
            if any(kind == b"E" for kind, _ in found):
                troubles.append(first_error(found))
        client.terminate()

    def race(seed):
        choose = random.Random(seed)
        client = box.raw(route, timeout=30)
        for _ in range(40):
            # The statement of the cancel, then one that must survive whatever the cancel does.
            client.send(query("SELECT pg_sleep(0.004)"))
            sender = threading.Timer(choose.random() * 0.01, client.cancel)
            sender.start()
            found = client.read_until(b"Z")
            if any(kind == b"E" for kind, _ in found):
                cancelled.append(first_error(found)["C"])
            sender.join()  # the cancel has been dealt with: from here on it must hit nothing
            found = client.query("SELECT 'next' FROM pg_sleep(0.001)")
            if any(kind == b"E" for kind, _ in found):
                troubles.append(("next", first_error(found)))
        client.terminate()

    threads = [threading.Thread(target=stand_by) for _ in range(2)]
    racers = [threading.Thread(target=race, args=(seed,)) for seed in range(3)]
    for thread in threads + racers:
        thread.start()
    for thread in racers:
        thread.join(60)
    stop.set()
    for thread in threads:
        thread.join(30)
    assert not any(thread.is_alive() for thread in threads + racers)
    assert not troubles, troubles[:5]
    assert set(cancelled) <= {"57014"}
    # Otherwise the race was none: some cancels come in time, some too late.
    assert 0 < len(cancelled) < 120


def test_a_cancel_storm(pg, box):
    """A hundred cancels at once for one statement cancel it once and leave no debris."""
    client = box.raw("transaction")
    client.send(query("SELECT pg_sleep(60), 'storm'"))
    eventually(lambda: running(pg, "storm"), "it runs")
    strangers = [RawClient("127.0.0.1", box.port) for _ in range(100)]
    for stranger in strangers:
        stranger.send(messages.cancel_request(*client.backend_key))
    for stranger in strangers:
        stranger.read_to_end()
        stranger.close()
    assert first_error(client.read_until(b"Z"))["C"] == "57014"
    for _ in range(20):
        assert client.value("SELECT 1 FROM pg_sleep(0.001)") == "1"
    client.terminate()


def test_a_cancel_that_nobody_answers_hits_nobody_later(private_pg):
    """The postmaster stands still: the signal may come at any time, so the connection is left."""
    config = standard_config(private_pg, routes={"one": {"pool_mode": "transaction", "pool_size": 1}})
    with Signalbox(config) as box:
        client, other = box.raw("one"), box.raw("one")
        client.send(query("SELECT pg_sleep(6.5), 'first'"))
        eventually(lambda: running(private_pg, "first"), "it runs")
        os.kill(private_pg.pid, signal.SIGSTOP)
        try:
            canceller = threading.Thread(target=client.cancel)
            canceller.start()
            assert b"first" in client.read_until(b"Z")[1][1]
            other.send(query("SELECT pg_sleep(2), 'second'"))
            time.sleep(0.5)  # on the connection of the first it would run by now
        finally:
            os.kill(private_pg.pid, signal.SIGCONT)
        assert b"second" in other.read_until(b"Z")[1][1]
        canceller.join()
