"""Cancels, lost servers and vanished clients in the middle of a split batch."""

import pytest

from harness import eventually
from harness.messages import query
from harness.replies import codes, committed, kinds, status, tags, values

SPLIT = ["split_session", "split_transaction", "split_one"]
POOLED = ["split_transaction", "split_one"]
LOST = {"08006", "57P01"}  # the connection broke; or the server said goodbye first


def insert(number):
    return f"INSERT INTO ledger VALUES ({number})"


@pytest.fixture
def at_the_gate(clients, ledger, gate):
    """at_the_gate(route) gives a client whose batch has committed 1 and waits before 2."""

    def start(route, behind=b""):
        client = clients(route)
        client.send(query(f"{insert(1)}; {gate.WAIT}; {insert(2)}") + behind)
        gate.reached()
        return client

    return start


@pytest.fixture
def between_units(request, clients, ledger, gate):
    """(client, other): the batch's next unit waits for the connection that the other one holds."""
    route = getattr(request, "param", "split_one")
    client, other = clients(route), clients(route)
    client.send(query(f"{insert(1)}; {gate.WAIT}; {insert(2)}; SELECT 'end'"))
    gate.reached()
    other.send(query("BEGIN"))
    other.expect_silence(0.1)
    gate.open()
    assert status(other.read_until(b"Z")) == "T"
    return client, other


@pytest.mark.parametrize("route", SPLIT)
def test_cancel_of_a_later_unit(ledger, at_the_gate, route):
    client = at_the_gate(route)
    client.cancel()
    found = client.read_until(b"Z")
    assert codes(found) == ["57014"] and committed(found) == 1 and status(found) == "I"
    assert ledger() == [1]
    assert client.value("SELECT 'usable'") == "usable"


@pytest.mark.parametrize("route", SPLIT)
def test_cancel_inside_a_block_of_the_batch(clients, ledger, gate, route):
    client = clients(route)
    client.send(query(f"{insert(1)}; BEGIN; {insert(2)}; {gate.WAIT}; COMMIT; {insert(3)}"))
    gate.reached()
    client.cancel()
    found = client.read_until(b"Z")
    assert codes(found) == ["57014"] and committed(found) == 1 and status(found) == "E"
    client.query("ROLLBACK")
    assert ledger() == [1]


@pytest.mark.parametrize("route", SPLIT)
def test_cancel_does_not_reach_what_is_pipelined_behind(ledger, at_the_gate, route):
    client = at_the_gate(route, query("SELECT 'behind'"))
    client.cancel()
    assert codes(client.read_until(b"Z")) == ["57014"]
    assert values(client.read_until(b"Z")) == ["behind"]
    assert ledger() == [1]


def test_cancel_while_the_next_unit_waits_for_a_connection(ledger, between_units):
    client, other = between_units
    client.cancel()
    found = client.read_until(b"Z")
    assert codes(found) == ["57014"] and committed(found) == 2 and status(found) == "I"
    other.query("COMMIT")
    assert client.value("SELECT 'usable'") == "usable"
    assert ledger() == [1]


@pytest.mark.parametrize("between_units", ["split_impatient"], indirect=True)
def test_waiting_too_long_for_a_connection_ends_the_batch(ledger, between_units):
    """query_wait_timeout holds for every unit."""
    client, other = between_units
    found = client.read_until(b"Z", timeout=15)
    assert codes(found) == ["53300"] and committed(found) == 2 and status(found) == "I"
    other.query("COMMIT")
    assert client.value("SELECT 'usable'") == "usable"
    assert ledger() == [1]


@pytest.mark.parametrize("route", POOLED)
def test_a_server_connection_that_dies_under_a_unit(pg, gate, ledger, at_the_gate, route):
    client = at_the_gate(route)
    pg.admin("SELECT pg_terminate_backend(%s)", [gate.reached()])
    found = client.read_until(b"Z")
    assert set(codes(found)) <= LOST and committed(found) == 1 and status(found) == "I"
    gate.open()
    assert client.value("SELECT 'usable'") == "usable"
    assert ledger() == [1]


@pytest.mark.parametrize("route", POOLED)
def test_a_unit_that_ends_its_own_server_connection(clients, ledger, route):
    client = clients(route)
    found = client.query(f"{insert(1)}; SELECT pg_terminate_backend(pg_backend_pid()); {insert(2)}")
    assert set(codes(found)) <= LOST and committed(found) == 1 and status(found) == "I"
    assert ledger() == [1]
    assert client.value("SELECT 'usable'") == "usable"


def test_a_server_connection_that_dies_between_units_is_replaced(pg, ledger, between_units):
    client, other = between_units
    pid = other.value("SELECT pg_backend_pid()")
    pg.admin("SELECT pg_terminate_backend(%s, 5000)", [pid])
    found = client.read_until(b"Z")
    assert tags(found) == ["INSERT 0 1", "SELECT 1", "INSERT 0 1", "SELECT 1"]
    assert ledger() == [1, 2]


def test_idle_server_connections_that_die_between_units_are_not_noticed(pg, clients, ledger):
    """A unit ends every connection of the pool that is idle; the next ones need one."""
    warm = [clients("split_transaction") for _ in range(3)]
    for client in warm:
        client.send(query("SELECT pg_sleep(0.1)"))
    for client in warm:
        client.read_until(b"Z")
    found = warm[0].query(
        f"{insert(1)}; SELECT count(pg_terminate_backend(pid, 5000)) FROM pg_stat_activity "
        "WHERE usename = 'app' AND state = 'idle' AND pid <> pg_backend_pid(); "
        f"{insert(2)}; {insert(3)}"
    )
    assert kinds(found) == "CTDCCCZ"
    assert ledger() == [1, 2, 3]


@pytest.mark.parametrize("route", SPLIT)
@pytest.mark.parametrize("way", ["abort", "close", "terminate"])
def test_nothing_more_is_run_for_who_is_gone(clients, gate, ledger, at_the_gate, route, way):
    getattr(at_the_gate(route), way)()
    eventually(lambda: not gate.waiting(), "the statement is cancelled", timeout=20)
    gate.open()
    # Behind it in the same pool: served once the connection is free of the batch.
    assert clients(route).value("SELECT count(*) FROM ledger") == "1"
    assert ledger() == [1]


@pytest.mark.parametrize("way", ["abort", "close"])
def test_a_client_that_goes_between_units(box, ledger, between_units, way):
    client, other = between_units
    since = len(box.log_text())
    getattr(client, way)()
    box.wait_log("client gone while something was under way", since=since)
    other.query("COMMIT")
    assert other.value("SELECT count(*) FROM ledger") == "1"
    assert ledger() == [1]


@pytest.mark.parametrize("route", ["direct", *SPLIT])
def test_a_half_closed_client_gets_all(clients, ledger, route):
    client = clients(route)
    client.send(query(f"{insert(1)}; SELECT 'a'; {insert(2)}; SELECT 'b'"))
    client.half_close()
    found = client.read_to_end()
    # A ParameterStatus that says nothing new asks whether the client is still there.
    assert values(found) == ["a", "b"] and kinds(found).replace("S", "") == "CTDCCTDCZ"
    assert ledger() == [1, 2]


def test_a_slow_reader_of_a_batch_holds_nobody_else(clients, ledger):
    """Results of 40 MB that nobody reads yet, over several units."""
    slow, fast = clients("split_transaction"), clients("split_transaction")
    big = "SELECT repeat('x', 10000) FROM generate_series(1, 1000)"
    slow.send(query("; ".join([big] * 4 + ["SELECT 'end'"])))
    for _ in range(20):
        assert fast.value("SELECT 1") == "1"
    found = slow.read_until(b"Z", timeout=30)
    assert kinds(found) == ("T" + "D" * 1000 + "C") * 4 + "TDCZ"
