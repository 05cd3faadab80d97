"""Statements about connections in batches, and in transactions."""

import pytest

from boxes import PLAIN, SHOWS, TO, UNCHECKED
from harness.messages import bind, execute, parse, query, sync
from harness.replies import (
    PROTOCOLS,
    columns,
    errors,
    kinds,
    notices,
    refused,
    rows,
    simple,
    status,
    succeeded,
    tags,
)

# --- batches


def mark(number):
    return f"INSERT INTO ledger_of_cuts VALUES ({number})"


@pytest.fixture
def ledger_of_cuts(pg):
    pg.admin("TRUNCATE ledger_of_cuts")
    return lambda: [row[0] for row in pg.admin("SELECT id FROM ledger_of_cuts ORDER BY id")]


@pytest.mark.parametrize("policy", ["pass", "split_on_rpc", "split"])
class TestBatches:
    """Cut before and behind, whatever the policy."""

    def test_in_the_middle(self, clients, make, ledger_of_cuts, box, policy):
        name, client = make(), clients(f"policy_{policy}")
        change = f"ALTER CONNECTION {name} SET (PORT 77) {UNCHECKED}"
        found = succeeded(
            client.query(f"{mark(1)}; {change}; SHOW CREATE CONNECTION {name}; {mark(2)}")
        )
        assert tags(found) == ["INSERT 0 1", "ALTER CONNECTION", "SHOW", "INSERT 0 1"]
        assert kinds(found) == "CCTDCCZ" and "PORT = 77" in rows(found)[0][1]
        assert ledger_of_cuts() == [1, 2] and box.generation(name) == 2

    def test_an_error_of_ours(self, clients, ledger_of_cuts, policy):
        client = clients(f"policy_{policy}")
        found = client.query(f"{mark(1)}; {mark(2)}; DROP CONNECTION nope; {mark(3)}")
        assert kinds(found) == "CCENZ" and errors(found)[0]["C"] == "42704"
        assert notices(found)[0]["C"] == "01000" and "2" in notices(found)[0]["M"]
        assert ledger_of_cuts() == [1, 2]

    def test_an_error_before_it(self, clients, make, box, policy):
        name, client = make(), clients(f"policy_{policy}")
        found = client.query(f"SELECT 1/0; ALTER CONNECTION {name} SET (PORT 77) {UNCHECKED}")
        assert [e["C"] for e in errors(found)] == ["22012"]
        assert box.generation(name) == 1

    def test_an_error_behind_it(self, clients, make, box, policy):
        """What was changed before stays changed."""
        name, client = make(), clients(f"policy_{policy}")
        found = client.query(f"ALTER CONNECTION {name} SET (PORT 77) {UNCHECKED}; SELECT 1/0")
        assert [e["C"] for e in errors(found)] == ["22012"] and tags(found) == ["ALTER CONNECTION"]
        assert box.generation(name) == 2

    def test_pipelined(self, clients, make, ledger_of_cuts, policy):
        name, client = make(), clients(f"policy_{policy}")
        texts = [mark(1), f"ALTER CONNECTION {name} SET (PORT 1) {UNCHECKED}", mark(2)]
        run = b"".join(parse(text) + bind() + execute() for text in texts)
        client.send(run + sync() + query("SHOW CONNECTIONS") + query("SELECT 'behind'"))
        found = succeeded(client.read_until(b"Z"))
        assert tags(found) == ["INSERT 0 1", "ALTER CONNECTION", "INSERT 0 1"]
        assert ledger_of_cuts() == [1, 2]
        assert tags(client.read_until(b"Z")) == ["SHOW"]
        assert rows(client.read_until(b"Z")) == [("behind",)]


def test_single_refuses_a_batch(clients, make, box):
    name, client = make(), clients("policy_single")
    change = f"ALTER CONNECTION {name} SET (PORT 77) {UNCHECKED}"
    for batch in (f"SELECT 1; {change}", f"{change}; {change}", "SHOW CONNECTIONS; SELECT 1"):
        assert refused(client.query(batch), "0A000")["H"]
    assert box.generation(name) == 1
    succeeded(client.query(f"{change};"), "ALTER CONNECTION")
    succeeded(client.query("SHOW CONNECTIONS"), "SHOW")


# --- transactions


def changes(name):
    return [
        f"CREATE CONNECTION {name}_c {TO} {UNCHECKED}",
        f"ALTER CONNECTION {name} SET (PORT 9) {UNCHECKED}",
        f"ALTER CONNECTION {name} RENAME TO {name}_b",
        f"ALTER CONNECTION {name} OWNER TO {PLAIN}",
        f"DROP CONNECTION {name}",
        "DROP CONNECTION IF EXISTS nope",
        f"VALIDATE CONNECTION {name}",
    ]


@PROTOCOLS
@pytest.mark.parametrize("route", ["session", "transaction"])
def test_changes_are_refused_inside_a_transaction(clients, make, ledger_of_cuts, box, route, ask):
    name, client = make(), clients(route)
    before = box.facts(name)
    for number, sql in enumerate(changes(name)):
        succeeded(client.query("BEGIN"))
        succeeded(client.query(mark(number)))
        found = ask(client, sql)
        refused(found, "25001")
        assert status(found) == "E"
        refused(ask(client, sql), "25P02")
        refused(ask(client, "SHOW CONNECTIONS"), "25P02")
        assert tags(client.query("COMMIT")) == ["ROLLBACK"]
    assert ledger_of_cuts() == [] and box.facts(name) == before


@PROTOCOLS
@pytest.mark.parametrize("route", ["session", "transaction"])
def test_all_are_refused_in_a_block_that_the_server_has_failed(clients, make, box, route, ask):
    name, client = make(), clients(route)
    before = box.facts(name)
    succeeded(client.query("BEGIN"))
    refused(client.query("SELECT 1/0"), "22012")
    for sql in (*changes(name), *SHOWS):
        found = ask(client, sql)
        refused(found, "25P02")
        assert status(found) == "E"
    succeeded(client.query("ROLLBACK"))
    assert box.facts(name) == before


@PROTOCOLS
@pytest.mark.parametrize("route", ["session", "transaction"])
def test_show_works_inside_a_transaction(clients, ledger_of_cuts, route, ask):
    client = clients(route)
    succeeded(client.query("BEGIN"))
    succeeded(client.query(mark(1)))
    for sql, expected in SHOWS.items():
        found = succeeded(ask(client, sql), "SHOW")
        assert columns(found) == expected and status(found) == "T"
    succeeded(client.query("COMMIT"), "COMMIT")
    assert ledger_of_cuts() == [1]


@PROTOCOLS
def test_an_error_of_show_fails_the_transaction(client, ledger_of_cuts, ask):
    succeeded(client.query("BEGIN"))
    succeeded(client.query(mark(1)))
    found = ask(client, "SHOW CREATE CONNECTION nope")
    refused(found, "42704", 'connection "nope" does not exist')
    assert status(found) == "E"
    refused(client.query("SELECT 1"), "25P02")
    assert tags(client.query("COMMIT")) == ["ROLLBACK"] and ledger_of_cuts() == []


def test_inside_a_block_of_a_batch(client, make, box, ledger_of_cuts):
    name = make()
    change = f"ALTER CONNECTION {name} SET (PORT 9) {UNCHECKED}"
    found = client.query(f"BEGIN; {mark(1)}; {change}; COMMIT; {mark(2)}")
    assert [e["C"] for e in errors(found)] == ["25001"] and status(found) == "E"
    succeeded(client.query("ROLLBACK"))
    assert ledger_of_cuts() == [] and box.generation(name) == 1


def test_in_statement_mode(clients, make, box):
    name, client = make(), clients("statement")
    succeeded(client.query(f"ALTER CONNECTION {name} SET (PORT 9) {UNCHECKED}"), "ALTER CONNECTION")
    succeeded(simple(client, "SHOW CONNECTION STATUS"), "SHOW")
    assert box.generation(name) == 2
