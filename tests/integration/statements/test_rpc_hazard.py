"""An RPC call inside an explicit transaction: warned of, allowed or refused, in both protocols."""

import pytest

from harness.messages import bind, close_statement, execute, flush, parse, query, sync
from harness.raw_client import first_error
from harness.replies import PROTOCOLS, codes, kinds, status, tags, values, warnings

MODES = ["session", "transaction"]
WARN = [f"{policy}_{mode}" for policy in ("pass", "split_on_rpc", "split") for mode in MODES]
QUIET = ["direct", *(f"allow_{mode}" for mode in MODES)]
REFUSE = [f"refuse_{mode}" for mode in MODES]


def warned(found):
    """The WARNING names the hazard and comes before its statement is complete."""
    (text,) = warnings(found)
    assert "RPC" in text, text
    types = kinds(found)
    at = next(i for i, m in enumerate(found) if m[0] == b"N")
    assert at < types.rindex("C"), types


@PROTOCOLS
@pytest.mark.parametrize("route", WARN)
def test_a_warning(clients, ledger, route, ask):
    client = clients(route)
    assert not warnings(ask(client, "SELECT rpc_echo('outside')"))
    client.query("BEGIN")
    found = ask(client, "SELECT rpc_echo('inside')")
    warned(found)
    assert values(found) == ["inside"] and status(found) == "T"
    assert not warnings(ask(client, "SELECT 'rpc_echo(1)'"))
    client.query("COMMIT")
    assert not warnings(ask(client, "SELECT rpc_echo('outside')"))


@PROTOCOLS
@pytest.mark.parametrize("route", WARN)
def test_a_warning_wherever_the_call_stands(clients, route, ask):
    client = clients(route)
    client.query("BEGIN")
    warned(ask(client, "SELECT engine.\"rpc_Mixed\"('x')"))
    warned(ask(client, "CALL RPC_RUN(NULL)"))
    warned(ask(client, "WITH q AS (SELECT upper(U&\"rpc\\005fecho\"('x'))) TABLE q"))
    client.query("ROLLBACK")


@PROTOCOLS
@pytest.mark.parametrize("route", QUIET)
def test_nothing_where_it_is_allowed(clients, ledger, route, ask):
    client = clients(route)
    client.query("BEGIN")
    found = ask(client, "SELECT rpc_echo('inside')")
    assert b"N" not in [kind for kind, _ in found] and values(found) == ["inside"]
    client.query("COMMIT")
    found = client.query("BEGIN; SELECT rpc_echo('inside'); COMMIT")
    assert kinds(found) == "CTDCCZ"


@PROTOCOLS
@pytest.mark.parametrize("route", REFUSE)
def test_refused(clients, ledger, route, ask):
    """It is not called, and the block has failed."""
    client = clients(route)
    client.query("BEGIN")
    client.query("INSERT INTO ledger VALUES (1)")
    found = ask(client, "SELECT rpc_mark('never')")
    fields = first_error(found)
    assert (fields["S"], fields["V"], fields["C"]) == ("ERROR", "ERROR", "25001"), fields
    assert "RPC" in fields["M"] and kinds(found).count("E") == 1 and status(found) == "E"
    assert client.error("SELECT 1")["C"] == "25P02"
    assert tags(client.query("COMMIT")) == ["ROLLBACK"]
    assert ledger() == []
    assert client.value("SELECT count(*) FROM marks") == "0"
    # Outside of a block it is welcome.
    assert values(ask(client, "SELECT rpc_mark('now')")) == ["INSERT 0 1"]
    assert client.value("SELECT count(*) FROM marks") == "1"


@pytest.mark.parametrize("route", WARN)
def test_a_warning_for_a_block_in_one_query(clients, ledger, route):
    client = clients(route)
    found = client.query("BEGIN; SELECT rpc_echo('x'); COMMIT")
    assert values(found) == ["x"] and status(found) == "I"
    (text,) = warnings(found)
    types, at = kinds(found), [kind for kind, _ in found].index(b"N")
    assert "RPC" in text and types.replace("N", "") == "CTDCCZ"
    assert at < types.index("C", types.index("D")), "behind the result that it is about"


@pytest.mark.parametrize("route", REFUSE)
def test_refused_for_a_block_in_one_query(clients, ledger, route):
    client = clients(route)
    found = client.query("BEGIN; INSERT INTO ledger VALUES (1); SELECT rpc_mark('never'); COMMIT")
    assert codes(found) == ["25001"] and status(found) == "E"
    assert tags(client.query("COMMIT")) == ["ROLLBACK"]
    assert ledger() == [] and client.value("SELECT count(*) FROM marks") == "0"


@pytest.mark.parametrize("route", REFUSE)
def test_refused_for_a_batch_inside_a_transaction(clients, ledger, route):
    client = clients(route)
    client.query("BEGIN")
    found = client.query("INSERT INTO ledger VALUES (1); SELECT rpc_mark('never')")
    assert codes(found) == ["25001"] and status(found) == "E"
    client.query("ROLLBACK")
    assert ledger() == [] and client.value("SELECT count(*) FROM marks") == "0"


@pytest.mark.parametrize("route", REFUSE)
def test_a_batch_with_both_kinds_of_calls(clients, ledger, route):
    client = clients(route)
    found = client.query(
        "INSERT INTO ledger VALUES (1); SELECT rpc_mark('first'); "
        "BEGIN; SELECT rpc_mark('never'); COMMIT; SELECT rpc_mark('never')"
    )
    assert codes(found) == ["25001"] and status(found) == "E"
    client.query("ROLLBACK")
    assert ledger() == [1] and client.value("SELECT count(*) FROM marks") == "1"


@pytest.mark.parametrize("route", WARN)
def test_a_prepared_call_is_judged_when_it_is_executed(clients, route):
    client = clients(route)
    client.send(parse("SELECT rpc_echo($1)", "call") + sync())
    client.read_until(b"Z")
    run = bind(["x"], statement="call") + execute() + sync()
    client.send(run)
    assert kinds(client.read_until(b"Z")) == "2DCZ"
    client.query("BEGIN")
    for _ in range(2):
        client.send(run)
        warned(client.read_until(b"Z"))
    client.query("COMMIT")
    client.send(run)
    assert kinds(client.read_until(b"Z")) == "2DCZ"
    # The name is the client's: another statement under it is another matter.
    client.send(close_statement("call") + parse("SELECT upper($1)", "call") + sync())
    client.read_until(b"Z")
    client.query("BEGIN")
    client.send(run)
    assert kinds(client.read_until(b"Z")) == "2DCZ"
    client.query("COMMIT")


@pytest.mark.parametrize("route", REFUSE)
def test_a_prepared_call_is_refused_when_it_is_executed(clients, ledger, route):
    client = clients(route)
    client.send(parse("SELECT rpc_mark($1)", "call") + sync())
    client.read_until(b"Z")
    run = bind(["x"], statement="call") + execute() + sync()
    client.query("BEGIN")
    client.send(run)
    found = client.read_until(b"Z")
    assert codes(found) == ["25001"] and status(found) == "E"
    client.query("ROLLBACK")
    client.send(run)
    assert kinds(client.read_until(b"Z")) == "2DCZ"
    assert client.value("SELECT count(*) FROM marks") == "1"


@pytest.mark.parametrize("route", WARN)
def test_a_block_in_one_pipeline(clients, ledger, route):
    client = clients(route)
    statements = ["BEGIN", "SELECT rpc_echo('x')", "COMMIT", "SELECT rpc_echo('y')"]
    client.send(b"".join(parse(sql) + bind() + execute() for sql in statements) + sync())
    found = client.read_until(b"Z")
    assert values(found) == ["x", "y"] and len(warnings(found)) == 1
    assert kinds(found).replace("N", "") == "12C12DC12C12DCZ" and status(found) == "I"


@pytest.mark.parametrize("route", REFUSE)
def test_a_block_in_one_pipeline_refused(clients, ledger, route):
    """The rest up to the Sync is skipped, COMMIT included, and the block has failed."""
    client = clients(route)
    statements = ["BEGIN", "INSERT INTO ledger VALUES (1)", "SELECT rpc_mark('x')", "COMMIT"]
    client.send(b"".join(parse(sql) + bind() + execute() for sql in statements) + sync())
    client.send(query("SELECT 'behind'"))
    found = client.read_until(b"Z")
    assert codes(found) == ["25001"] and status(found) == "E"
    assert tags(found) == ["BEGIN", "INSERT 0 1"]
    assert codes(client.read_until(b"Z")) == ["25P02"]
    client.query("ROLLBACK")
    assert ledger() == [] and client.value("SELECT count(*) FROM marks") == "0"


@pytest.mark.parametrize("route", REFUSE)
def test_refused_behind_a_flush(clients, ledger, route):
    client = clients(route)
    client.send(parse("BEGIN") + bind() + execute() + flush())
    client.read_until(b"C")
    client.send(parse("SELECT rpc_mark('x')") + bind() + execute() + flush())
    assert first_error(client.read_until(b"E"))["C"] == "25001"
    client.send(parse("SELECT 1") + bind() + execute() + flush() + sync())
    assert client.read_until(b"Z") == [(b"Z", b"E")]
    client.query("ROLLBACK")
    assert client.value("SELECT count(*) FROM marks") == "0"


@pytest.mark.parametrize("route", [*WARN, *REFUSE])
def test_in_a_failed_block_the_servers_error_is_enough(clients, route):
    client = clients(route)
    client.query("BEGIN")
    client.query("SELECT 1/0")
    found = client.query("SELECT rpc_echo('x')")
    assert codes(found) == ["25P02"] and status(found) == "E"
    client.query("ROLLBACK")
