"""What stands before a Terminate is done, as PostgreSQL does it, though nobody waits for the answer."""

import pytest

from harness.messages import bind, execute, parse, query, sync, terminate
from harness.waiting import eventually

ROUNDS = 20


def insert(number):
    return f"INSERT INTO ledger VALUES ({number})"


@pytest.mark.parametrize("route", ["direct", "pass_transaction", "split_transaction", "pass_session"])
@pytest.mark.parametrize("how", ["simple", "batch", "extended"])
def test_nothing_is_lost(clients, ledger, route, how):
    for i in range(ROUNDS):
        client = clients(route)
        if how == "simple":
            asked = query(insert(i))
        elif how == "batch":
            asked = query(f"SELECT 1; SELECT pg_sleep(0.01); {insert(i)}")
        else:
            asked = parse(insert(i)) + bind() + execute() + sync()
        client.send(asked + terminate())
        client.close()
    eventually(lambda: ledger() == list(range(ROUNDS)), "every INSERT is there")


@pytest.mark.parametrize("route", ["pass_transaction", "pass_session"])
def test_an_open_transaction_is_rolled_back(clients, ledger, route):
    client = clients(route)
    client.send(query("BEGIN") + query(insert(1)) + terminate())
    client.close()
    other = clients(route)
    eventually(lambda: other.value("SELECT count(*) FROM ledger") == "0", "it is rolled back")
    assert ledger() == []


@pytest.mark.parametrize("route", ["pass_transaction", "split_transaction"])
def test_a_copy_that_gets_no_data_ends(clients, pg, route):
    client = clients(route)
    mark = f"/* left {route} */"
    client.send(query(f"COPY ledger FROM STDIN {mark}") + terminate())
    client.close()
    # The server's log has a statement once it has failed: it did come that far.
    eventually(lambda: mark in pg.log_text(), "it has failed")
    eventually(
        lambda: not pg.backends(f"query LIKE '%{mark}%' AND state = 'active'"), "it has ended"
    )
