"""COPY as a unit in the middle of a batch: the client's data goes to the unit that asks for it."""

import pytest

from harness.messages import copy_data, copy_done, copy_fail, query
from harness.replies import codes, committed, kinds, status, tags, values

ROUTES = ["direct", "pass_session", "pass_transaction", "split_session", "split_transaction"]
SPLIT = ["split_session", "split_transaction", "split_one"]
BATCH = (
    "INSERT INTO ledger VALUES (1); COPY ledger (id) FROM STDIN; "
    "SELECT count(*) FROM ledger; COPY ledger (id) FROM STDIN; SELECT count(*) FROM ledger"
)


@pytest.mark.parametrize("route", ROUTES)
def test_copy_in_when_asked(clients, ledger, route):
    client = clients(route)
    client.send(query(BATCH))
    found = client.read_until(b"G")
    client.send(copy_data(b"2\n3\n") + copy_done())
    found += client.read_until(b"G")
    client.send(copy_data(b"4\n") + copy_data(b"5\n") + copy_done())
    found += client.read_until(b"Z")
    assert kinds(found) == "CGCTDCGCTDCZ"
    assert tags(found) == ["INSERT 0 1", "COPY 2", "SELECT 1", "COPY 2", "SELECT 1"]
    assert values(found) == ["3", "5"] and ledger() == [1, 2, 3, 4, 5]


@pytest.mark.parametrize("route", ROUTES)
def test_copy_in_ahead_of_the_question(clients, ledger, route):
    """A client that knows what comes sends everything at once, and more requests behind it."""
    client = clients(route)
    client.send(
        query(BATCH)
        + copy_data(b"2\n3\n")
        + copy_done()
        + copy_data(b"4\n")
        + copy_data(b"5\n")
        + copy_done()
        + query("SELECT 'behind'")
    )
    found = client.read_until(b"Z", 2)
    assert kinds(found) == "CGCTDCGCTDCZ" + "TDCZ"
    assert values(found) == ["3", "5", "behind"] and ledger() == [1, 2, 3, 4, 5]


@pytest.mark.parametrize("route", SPLIT)
@pytest.mark.parametrize(
    "data, code",
    [
        (copy_data(b"2\n") + copy_fail("no more"), "57014"),
        (copy_data(b"x\n") + copy_done(), "22P02"),
    ],
)
def test_a_copy_that_fails_ends_the_batch(clients, ledger, route, data, code):
    client = clients(route)
    client.send(query(BATCH))
    found = client.read_until(b"G")
    client.send(data)
    found += client.read_until(b"Z")
    assert kinds(found) == "CGENZ" and codes(found) == [code]
    assert committed(found) == 1 and status(found) == "I"
    assert ledger() == [1]
    assert client.value("SELECT 'usable'") == "usable"


@pytest.mark.parametrize("route", SPLIT)
def test_copy_in_inside_a_block_of_the_batch(clients, ledger, route):
    client = clients(route)
    client.send(query(f"SELECT 1; BEGIN; {BATCH}; ROLLBACK; SELECT count(*) FROM ledger"))
    found = client.read_until(b"G")
    client.send(copy_data(b"2\n3\n") + copy_done())
    found += client.read_until(b"G")
    client.send(copy_data(b"4\n") + copy_done())
    found += client.read_until(b"Z")
    assert values(found) == ["1", "3", "4", "0"] and ledger() == []


@pytest.mark.parametrize("route", ROUTES)
def test_copy_out(clients, route):
    """Not buffered by anyone: as long as it is."""
    found = clients(route).query(
        "SELECT 'a'; COPY (SELECT repeat('x', 1000) FROM generate_series(1, 20000)) TO STDOUT; "
        "SELECT 'b'; COPY (SELECT 1) TO STDOUT"
    )
    assert kinds(found) == "TDCH" + "d" * 20000 + "cCTDCHdcCZ"
    assert values(found) == ["a", "b"]


@pytest.mark.parametrize("route", SPLIT)
def test_large_copy_in(clients, ledger, route):
    client = clients(route)
    client.send(query("SELECT 1; COPY ledger FROM STDIN; SELECT count(*) FROM ledger"))
    found = client.read_until(b"G")
    rows = [b"%d\t%s\n" % (i, b"n" * 500) for i in range(20000)]
    for start in range(0, len(rows), 1000):
        client.send(copy_data(b"".join(rows[start : start + 1000])))
    client.send(copy_done())
    found += client.read_until(b"Z")
    assert kinds(found) == "TDCGCTDCZ" and values(found) == ["1", "20000"]
