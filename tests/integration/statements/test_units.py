"""A batch is one implicit transaction when sent whole, one transaction per unit when split."""

import threading

import pytest

from harness import eventually
from harness.messages import query
from harness.replies import codes, committed, kinds, status, tags, values

WHOLE = ["direct", "pass_session", "pass_transaction"]
WHOLE += ["split_on_rpc_session", "split_on_rpc_transaction", "default"]
SPLIT = ["split_session", "split_transaction"]

XID = "SELECT pg_current_xact_id()::text"


def insert(number):
    return f"INSERT INTO ledger VALUES ({number})"


def batch(*statements):
    return "; ".join(statements)


@pytest.mark.parametrize("route", WHOLE)
def test_whole_is_all_or_nothing(clients, ledger, route):
    client = clients(route)
    found = client.query(batch(insert(1), "SELECT 1/0", insert(2)))
    assert kinds(found) == "CEZ" and status(found) == "I"
    assert ledger() == []


@pytest.mark.parametrize("route", SPLIT)
def test_split_keeps_what_was_committed_before_the_error(clients, ledger, route):
    client = clients(route)
    found = client.query(batch(insert(1), "SELECT 1/0", insert(2)))
    assert kinds(found) == "CENZ" and status(found) == "I"
    assert codes(found) == ["22012"] and committed(found) == 1
    assert ledger() == [1]
    assert client.value("SELECT 'usable'") == "usable"


@pytest.mark.parametrize("route", WHOLE)
def test_whole_is_one_transaction(clients, route):
    first, second = values(clients(route).query(batch(XID, XID)))
    assert first == second


@pytest.mark.parametrize("route", SPLIT)
def test_split_is_one_transaction_per_statement(clients, route):
    found = clients(route).query(batch(XID, XID, XID))
    assert kinds(found) == "TDCTDCTDCZ"
    assert len(set(values(found))) == 3


@pytest.mark.parametrize("route", SPLIT)
@pytest.mark.parametrize(
    "statements, count, kept",
    [
        (["SELECT 1/0", insert(1)], None, []),
        ([insert(1), insert(2), "SELECT 1/0", insert(3)], 2, [1, 2]),
        (["SELECT 1", "SET work_mem = '5MB'", "SELECT 1/0"], 2, []),
        (["BEGIN", insert(1), "COMMIT", "SELECT 1/0"], 3, [1]),
        ([insert(1), "BEGIN", insert(2), "END", insert(3), "SELECT 1/0"], 5, [1, 2, 3]),
        # What was rolled back was not committed.
        ([insert(1), "BEGIN", insert(2), "ROLLBACK", "SELECT 1/0"], 1, [1]),
        (["BEGIN", insert(1), "ABORT", "SELECT 1/0"], None, []),
        ([";", insert(1), "", "-- a comment\n", "SELECT 1/0"], 1, [1]),
        ([insert(1), "TABLE no_such_table", insert(2)], 1, [1]),
        ([insert(1), "SELECT 1/(g-3) FROM generate_series(1, 5) g", insert(2)], 1, [1]),
        # An error at the commit.
        ([insert(1), "INSERT INTO child VALUES (1)", insert(2)], 1, [1]),
        ([insert(1), "BEGIN", "INSERT INTO child VALUES (1)", "COMMIT", insert(2)], 1, [1]),
    ],
)
def test_the_warning_counts_what_was_committed(clients, ledger, route, statements, count, kept):
    found = clients(route).query(batch(*statements))
    assert committed(found) == count
    assert status(found) == "I"
    assert ledger() == kept


@pytest.mark.parametrize("route", SPLIT)
@pytest.mark.parametrize("begin, end", [("BEGIN", "COMMIT"), ("START TRANSACTION", "END WORK")])
def test_a_block_in_the_middle_is_kept_whole(clients, route, begin, end):
    found = clients(route).query(batch(XID, begin, XID, XID, end, XID))
    assert tags(found) == ["SELECT 1", begin, "SELECT 1", "SELECT 1", "COMMIT", "SELECT 1"]
    before, first, second, after = values(found)
    assert first == second and len({before, first, after}) == 3
    assert status(found) == "I"


@pytest.mark.parametrize("route", SPLIT)
def test_a_block_is_rolled_back_as_a_whole(clients, ledger, route):
    found = clients(route).query(
        batch(insert(1), "BEGIN", insert(2), insert(3), "ROLLBACK", insert(4))
    )
    assert codes(found) == [] and ledger() == [1, 4]


@pytest.mark.parametrize("route", SPLIT)
def test_a_block_left_open(clients, ledger, route):
    client = clients(route)
    found = client.query(batch(insert(1), "BEGIN", insert(2)))
    assert kinds(found) == "CCCZ" and status(found) == "T"
    assert ledger() == [1]
    pid = client.value("SELECT pg_backend_pid()")
    client.query(insert(3))
    assert client.value("SELECT pg_backend_pid()") == pid
    assert ledger() == [1]
    found = client.query(batch("COMMIT", insert(4)))
    assert tags(found) == ["COMMIT", "INSERT 0 1"] and status(found) == "I"
    assert ledger() == [1, 2, 3, 4]


@pytest.mark.parametrize("route", SPLIT)
def test_an_error_inside_a_block_of_the_batch(clients, ledger, route):
    """The rest is dropped, COMMIT included, and the session is left in the failed block."""
    client = clients(route)
    found = client.query(
        batch(insert(1), "BEGIN", insert(2), "SELECT 1/0", insert(3), "COMMIT", insert(4))
    )
    assert kinds(found) == "CCCENZ" and committed(found) == 1
    assert status(found) == "E"
    assert client.error("SELECT 1")["C"] == "25P02"
    assert tags(client.query("COMMIT")) == ["ROLLBACK"]
    assert ledger() == [1]


@pytest.mark.parametrize("route", ["direct", *SPLIT])
def test_a_batch_inside_an_open_transaction_is_not_split(clients, ledger, route):
    client = clients(route)
    client.query("BEGIN")
    own = client.value(XID)
    assert values(client.query(batch(XID, XID))) == [own, own]
    found = client.query(batch(insert(1), "SELECT 1/0", insert(2)))
    assert kinds(found) == "CEZ" and status(found) == "E"
    client.query("ROLLBACK")
    assert ledger() == []


@pytest.mark.parametrize("route", ["direct", *SPLIT])
def test_a_batch_that_ends_the_open_transaction_is_not_split(clients, ledger, route):
    client = clients(route)
    client.query("BEGIN")
    found = client.query(batch(insert(1), "COMMIT", insert(2), "SELECT 1/0"))
    assert kinds(found) == "CCCEZ" and status(found) == "I"
    assert ledger() == [1]


@pytest.mark.parametrize("route", ["direct", *SPLIT])
def test_a_batch_inside_a_failed_transaction(clients, ledger, route):
    client = clients(route)
    client.query("BEGIN")
    client.query("SELECT 1/0")
    found = client.query(batch(insert(1), insert(2)))
    assert kinds(found) == "EZ" and codes(found) == ["25P02"] and status(found) == "E"
    client.query("ROLLBACK")
    assert ledger() == []


@pytest.mark.parametrize("route", SPLIT)
@pytest.mark.parametrize("chain", ["COMMIT AND CHAIN", "ROLLBACK AND CHAIN", "END AND CHAIN"])
def test_a_chained_transaction_is_the_same_block(clients, ledger, route, chain):
    found = clients(route).query(
        batch(
            "BEGIN ISOLATION LEVEL SERIALIZABLE",
            insert(1),
            chain,
            "SHOW transaction_isolation",
            insert(2),
            "ROLLBACK",
            "SHOW transaction_isolation",
        )
    )
    assert codes(found) == []
    assert values(found) == ["serializable", "read committed"]
    assert ledger() == ([] if "ROLLBACK" in chain else [1])


@pytest.mark.parametrize("route", SPLIT)
def test_what_a_chain_has_committed_counts(clients, ledger, route):
    client = clients(route)
    found = client.query(
        batch(insert(1), "BEGIN", insert(2), "COMMIT AND CHAIN", insert(3), "SELECT 1/0", "COMMIT")
    )
    assert committed(found) == 4 and status(found) == "E"
    client.query("ROLLBACK")
    assert ledger() == [1, 2]
    found = client.query(
        batch("BEGIN", insert(3), "ROLLBACK AND CHAIN", insert(4), "COMMIT", "SELECT 1/0")
    )
    assert committed(found) == 2 and status(found) == "I"
    assert ledger() == [1, 2, 4]


@pytest.mark.parametrize("route", SPLIT)
def test_savepoints_stay_inside_the_block(clients, ledger, route):
    client = clients(route)
    found = client.query(
        batch(
            "BEGIN",
            insert(1),
            "SAVEPOINT s",
            insert(2),
            "ROLLBACK TO SAVEPOINT s",
            insert(3),
            "ROLLBACK WORK TO s",
            insert(4),
            "RELEASE s",
            "COMMIT",
            insert(5),
        )
    )
    assert codes(found) == [] and status(found) == "I"
    assert ledger() == [1, 4, 5]


@pytest.mark.parametrize("route", SPLIT)
def test_two_phase_commit_ends_the_block(clients, ledger, route):
    found = clients(route).query(
        batch(
            "BEGIN",
            insert(1),
            "PREPARE TRANSACTION 'units'",
            insert(2),
            "COMMIT PREPARED 'units'",
            insert(3),
        )
    )
    assert codes(found) == [] and status(found) == "I"
    assert ledger() == [1, 2, 3]


@pytest.mark.parametrize("route", SPLIT)
def test_what_cannot_run_in_a_transaction_can_be_a_unit(clients, ledger, route):
    found = clients(route).query(batch(insert(1), "VACUUM ledger", insert(2)))
    assert kinds(found) == "CCCZ"
    assert clients("direct").error(batch(insert(3), "VACUUM ledger"))["C"] == "25001"
    assert ledger() == [1, 2]


@pytest.mark.parametrize("route", SPLIT)
def test_units_are_visible_to_others_while_the_batch_runs(clients, ledger, gate, route):
    client = clients(route)
    client.send(query(batch(insert(1), gate.WAIT, insert(2))))
    gate.reached()
    assert ledger() == [1]
    gate.open()
    assert kinds(client.read_until(b"Z")) == "CTDCCZ"
    assert ledger() == [1, 2]


@pytest.mark.parametrize("route", SPLIT)
def test_results_come_as_they_are_produced(clients, gate, route):
    client = clients(route)
    client.send(query(batch("SELECT 'first'", gate.WAIT, "SELECT 'last'")))
    assert values(client.read_until(b"C")) == ["first"]
    gate.reached()
    gate.open()
    found = client.read_until(b"Z")
    assert values(found) == ["1", "last"]


@pytest.mark.parametrize("route", SPLIT)
def test_the_first_result_does_not_wait_for_a_sleeping_statement(pg, clients, route):
    client = clients(route)
    client.send(query("SELECT 1; SELECT pg_sleep(5)"))
    assert values(client.read_until(b"C", timeout=2)) == ["1"]
    # PostgreSQL ignores a cancel that comes between two statements.
    sleeping = "SELECT 1 FROM pg_stat_activity WHERE state = 'active' AND query ~ '^ ?SELECT pg_s'"
    eventually(lambda: pg.admin(sleeping), "it sleeps")
    client.cancel()
    assert codes(client.read_until(b"Z")) == ["57014"]


@pytest.mark.parametrize("route", SPLIT)
def test_one_ready_for_query_per_batch(clients, route):
    client = clients(route)
    client.query("SELECT 1; SELECT 2; BEGIN; SELECT 3; COMMIT; SELECT 4")
    client.expect_silence(0.1)
    client.query("SELECT 1; SELECT 1/0; SELECT 2")
    client.expect_silence(0.1)


@pytest.mark.parametrize("route", SPLIT)
def test_what_is_pipelined_behind_a_batch_keeps_its_order(clients, ledger, route):
    client = clients(route)
    client.send(
        query(batch(insert(1), "SELECT 'a'", insert(2)))
        + query("SELECT 'b'")
        + query(batch(insert(3), "SELECT 1/0", insert(4)))
        + query(batch("SELECT 'c'", "BEGIN", "SELECT 'd'"))
        + query(batch("SELECT 'e'", "COMMIT", "SELECT 'f'"))
        + query("SELECT count(*) FROM ledger")
    )
    found = client.read_until(b"Z", 6)
    assert values(found) == ["a", "b", "c", "d", "e", "f", "3"]
    assert kinds(found) == "CTDCCZ" + "TDCZ" + "CENZ" + "TDCCTDCZ" + "TDCCTDCZ" + "TDCZ"
    assert [body for kind, body in found if kind == b"Z"] == [b"I", b"I", b"I", b"T", b"I", b"I"]
    assert ledger() == [1, 2, 3]


def test_every_unit_takes_its_connection_anew(clients, ledger, gate):
    """With one server connection, somebody who waits is served between two units."""
    client, other = clients("split_one"), clients("split_one")
    client.send(query(batch(insert(1), gate.WAIT, insert(2))))
    gate.reached()
    other.send(query("BEGIN"))
    other.expect_silence(0.1)
    gate.open()
    assert status(other.read_until(b"Z")) == "T"
    assert ledger() == [1]
    other.query("COMMIT")
    assert kinds(client.read_until(b"Z")) == "CTDCCZ"
    assert ledger() == [1, 2]


def test_a_block_does_not_give_its_connection_away(clients, ledger, gate):
    client, other = clients("split_one"), clients("split_one")
    client.send(query(batch("BEGIN", gate.WAIT, insert(1), "COMMIT", insert(2))))
    gate.reached()
    other.send(query("SELECT count(*) FROM ledger"))
    gate.open()
    assert values(other.read_until(b"Z")) != ["0"]
    assert codes(client.read_until(b"Z")) == []
    assert ledger() == [1, 2]


@pytest.mark.parametrize("route", ["split_one", "split_transaction"])
def test_many_sessions_split_at_once(clients, ledger, route):
    """Each sees its own rows only, all of them, whoever takes turns with it."""
    failures = []

    def work(number):
        try:
            client = clients(route)
            for turn in range(15):
                found = client.query(
                    batch(
                        insert(number),
                        f"SELECT count(*) FROM ledger WHERE id = {number}",
                        "BEGIN",
                        insert(number),
                        f"SELECT count(*) FROM ledger WHERE id = {number}",
                        "ROLLBACK",
                        f"SELECT 'session {number}'",
                    )
                )
                expected = [str(turn + 1), str(turn + 2), f"session {number}"]
                assert values(found) == expected and kinds(found) == "CTDCCCTDCCTDCZ", found
        except Exception as error:  # pylint: disable=broad-except
            failures.append((number, repr(error)))

    threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert not failures
    assert len(ledger()) == 8 * 15


def test_statement_mode_splits_and_refuses_blocks(clients, ledger):
    client = clients("split_statement")
    found = client.query(batch(insert(1), "SELECT 1/0", insert(2)))
    assert committed(found) == 1 and ledger() == [1]
    found = client.query(batch(insert(3), "BEGIN", insert(4), "COMMIT"))
    assert kinds(found) == "EZ" and codes(found) == ["0A000"], "before anything is sent"
    assert status(found) == "I" and ledger() == [1]


def test_a_long_batch(clients, ledger):
    found = clients("split_transaction").query(batch(*map(insert, range(3000))), timeout=30)
    assert kinds(found) == "C" * 3000 + "Z"
    assert ledger() == list(range(3000))
