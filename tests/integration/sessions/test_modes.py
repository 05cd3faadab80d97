"""What the pool modes promise about transactions and server connections."""

import threading

import pytest

from harness.messages import bind, execute, parse, query, sync
from harness.raw_client import first_error


def refused(found):
    """The error is ours, plain, and leaves the client connected and idle."""
    fields = first_error(found)
    assert (fields["S"], fields["V"], fields["C"]) == ("ERROR", "ERROR", "0A000"), fields
    assert found[-1] == (b"Z", b"I"), found
    return fields


@pytest.mark.parametrize(
    "sql",
    [
        "BEGIN",
        "START TRANSACTION READ ONLY",
        "begin /* hidden */ isolation level serializable",
        "BEGIN; INSERT INTO things VALUES (77, 'never'); COMMIT",
        "INSERT INTO things VALUES (77, 'never'); BEGIN; SELECT 1; COMMIT",
    ],
)
def test_statement_mode_refuses_transactions(clients, sql):
    client = clients("statement_one")
    refused(client.query(sql))
    assert client.value("SELECT count(*) FROM things WHERE id = 77") == "0"
    assert clients("statement_one").value("SELECT 1") == "1"


def test_statement_mode_refuses_in_the_extended_protocol(clients):
    client = clients("statement_one")
    client.send(
        parse("BEGIN") + bind() + execute() + parse("SELECT 1") + bind() + execute() + sync()
    )
    refused(client.read_until(b"Z"))
    client.send(parse("SELECT 1") + bind() + execute() + sync())
    assert [kind for kind, _ in client.read_until(b"Z")] == [b"1", b"2", b"D", b"C", b"Z"]


def test_statement_mode_does_the_rest(clients):
    client = clients("statement_one")
    assert client.rows("SELECT 1; SELECT 2") == [("1",), ("2",)]
    client.send(parse("SELECT $1::int", "s") + sync())
    client.read_until(b"Z")
    clients("statement_one").value("SELECT 1")
    client.send(bind([5], statement="s") + execute() + sync())
    assert (b"D", b"\0\1\0\0\0\0015") in client.read_until(b"Z")
    client.query("SET work_mem = '5MB'")
    assert client.value("SHOW work_mem") == "5MB"


def test_a_transaction_stays_on_one_server_connection(clients):
    client, other = clients("two"), clients("two")
    client.query("BEGIN")
    pid = client.value("SELECT pg_backend_pid()")
    for _ in range(5):
        assert other.value("SELECT pg_backend_pid()") != pid
        assert client.value("SELECT pg_backend_pid()") == pid
    client.query("COMMIT")


def test_a_waiting_session_gets_its_turn(clients):
    holder, waiter = clients("one"), clients("one")
    holder.query("BEGIN")
    waiter.send(query("SELECT 'waited'"))
    waiter.expect_silence()
    holder.query("COMMIT")
    assert b"waited" in waiter.read_until(b"Z")[1][1]


def test_the_pool_never_grows_past_its_size(pg, clients):
    sessions = [clients("two", application_name="crowd") for _ in range(12)]
    pids, lock = set(), threading.Lock()

    def work(client):
        for _ in range(20):
            pid = client.value("SELECT pg_backend_pid()")
            with lock:
                pids.add(pid)

    threads = [threading.Thread(target=work, args=(client,)) for client in sessions]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert 1 <= len(pids) <= 2
    assert len(pg.backends("application_name = 'crowd'")) <= 2


def test_session_mode_gives_each_session_its_own(clients):
    sessions = [clients("session") for _ in range(4)]
    pids = [client.value("SELECT pg_backend_pid()") for client in sessions]
    assert len(set(pids)) == 4
    assert [client.value("SELECT pg_backend_pid()") for client in sessions] == pids


def test_an_abandoned_transaction_is_rolled_back(pg, clients):
    for how in ("terminate", "close", "abort"):
        client = clients("one")
        client.query("BEGIN")
        client.query("INSERT INTO things VALUES (88, 'abandoned')")
        getattr(client, how)()
        assert clients("one").value("SELECT count(*) FROM things WHERE id = 88") == "0"


def test_databases_and_users_have_pools_of_their_own(box, clients):
    mine, theirs = clients("one"), box.raw("one", user="other")
    assert mine.value("SELECT current_user") == "app"
    # The connection names a user, so both reach the server as that one.
    assert theirs.value("SELECT current_user") == "app"
    theirs.query("BEGIN")
    assert mine.value("SELECT 1") == "1"  # another pool: nobody waits
    theirs.terminate()
