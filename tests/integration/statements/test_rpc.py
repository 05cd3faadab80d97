"""A function whose work happens on another connection sees what the batch has written before it."""

import pytest

from harness.messages import query
from harness.replies import codes, committed, kinds, status, tags, values, warnings

MODES = ["session", "transaction"]
WHOLE = ["direct", *(f"pass_{mode}" for mode in MODES)]
SPLIT = [f"{policy}_{mode}" for policy in ("split_on_rpc", "split") for mode in MODES]
ON_RPC = [f"split_on_rpc_{mode}" for mode in MODES] + ["split_on_rpc_one", "default"]


def insert(number):
    return f"INSERT INTO ledger VALUES ({number})"


@pytest.mark.parametrize(
    "route, seen", [(r, "0") for r in WHOLE] + [(r, "1") for r in (*SPLIT, *ON_RPC)]
)
class TestCount:
    def test_a_function(self, clients, ledger, route, seen):
        found = clients(route).query(f"{insert(1)}; SELECT rpc_count()")
        assert kinds(found) == "CTDCZ" and values(found) == [seen]
        assert ledger() == [1]

    def test_a_procedure(self, clients, ledger, route, seen):
        found = clients(route).query(f"{insert(1)}; CALL rpc_run(NULL)")
        assert kinds(found) == "CTDCZ" and values(found) == [seen]

    @pytest.mark.parametrize("call", ["l.rpc_of_row", "(l).rpc_of_row"])
    def test_attribute_notation(self, clients, ledger, route, seen, call):
        found = clients(route).query(f"{insert(1)}; SELECT {call} FROM ledger AS l")
        assert kinds(found) == "CTDCZ" and values(found) == [seen]


@pytest.mark.parametrize("route", WHOLE)
def test_the_engine_waits_for_the_batch_that_waits_for_it(clients, ledger, route):
    """What Signalbox is for: nobody but the engine's own lock_timeout ends this."""
    found = clients(route).query(f"{insert(1)}; SELECT rpc_alter_table()")
    assert codes(found) == ["55P03"] and ledger() == []


@pytest.mark.parametrize("route", [*SPLIT, *ON_RPC])
def test_the_engine_gets_its_lock(clients, ledger, route):
    client = clients(route)
    found = client.query(f"{insert(1)}; SELECT rpc_alter_table(); {insert(2)}", timeout=1)
    assert kinds(found) == "CTDCCZ" and values(found) == ["ALTER TABLE"]
    assert ledger() == [1, 2]


@pytest.mark.parametrize("route", ON_RPC)
def test_without_an_rpc_call_the_batch_is_whole(clients, ledger, route):
    client = clients(route)
    found = client.query(f"{insert(1)}; SELECT 1/0; {insert(2)}")
    assert kinds(found) == "CEZ" and ledger() == []


@pytest.mark.parametrize("route", ON_RPC)
def test_with_an_rpc_call_the_batch_is_split_as_by_split(clients, ledger, route):
    client = clients(route)
    found = client.query(
        f"{insert(1)}; BEGIN; {insert(2)}; COMMIT; SELECT rpc_count(); {insert(3)}; SELECT 1/0; "
        f"{insert(4)}"
    )
    assert values(found) == ["2"] and committed(found) == 6 and status(found) == "I"
    assert ledger() == [1, 2, 3]
    # Wherever the call stands, also behind the error.
    found = client.query(f"{insert(5)}; SELECT 1/0; SELECT rpc_count()")
    assert committed(found) == 1 and ledger() == [1, 2, 3, 5]


@pytest.mark.parametrize("route", ON_RPC)
def test_a_call_inside_a_block_does_not_split(clients, ledger, route):
    """Sent whole: PostgreSQL's BEGIN takes over what stands before it, and the rest is one, too."""
    client = clients(route)
    found = client.query(
        f"{insert(1)}; BEGIN; SELECT rpc_count(); COMMIT; {insert(2)}; SELECT 1/0"
    )
    assert values(found) == ["0"], "the hazard is there"
    assert len(warnings(found)) == 1 and kinds(found)[-2:] == "EZ"
    assert ledger() == [1]


@pytest.mark.parametrize("route", ON_RPC)
def test_calls_inside_and_outside_a_block(clients, ledger, route):
    client = clients(route)
    found = client.query(
        f"{insert(1)}; SELECT rpc_count(); BEGIN; {insert(2)}; SELECT rpc_count(); COMMIT; "
        "SELECT rpc_count()"
    )
    assert values(found) == ["1", "1", "2"] and len(warnings(found)) == 1


@pytest.mark.parametrize("route", [*SPLIT, *ON_RPC])
def test_an_error_in_the_call(clients, ledger, route):
    client = clients(route)
    found = client.query(f"{insert(1)}; SELECT rpc_count(1, 2, 3); {insert(2)}")
    assert codes(found) == ["42883"] and committed(found) == 1 and ledger() == [1]


@pytest.mark.parametrize("route", [*SPLIT, *ON_RPC])
def test_a_call_alone_changes_nothing(clients, ledger, route):
    client = clients(route)
    assert client.value("SELECT rpc_echo('x')") == "x"
    assert client.rows("SELECT rpc_count(), rpc_echo('y');") == [("0", "y")]


@pytest.mark.parametrize("route", [*SPLIT, *ON_RPC])
def test_batches_in_a_pipeline(clients, ledger, route):
    client = clients(route)
    client.send(
        query(f"{insert(1)}; SELECT rpc_count()") * 3
        + query("SELECT 'plain'")
        + query(f"{insert(2)}; SELECT rpc_count(); SELECT 1/0")
    )
    found = client.read_until(b"Z", 5)
    assert values(found) == ["1", "2", "3", "plain", "4"]
    assert kinds(found) == "CTDCZ" * 3 + "TDCZ" + "CTDCENZ"


@pytest.mark.parametrize("route", [*SPLIT, *ON_RPC])
def test_the_same_text_again(clients, ledger, route):
    """Verdicts are remembered by text; what they say depends on the session all the same."""
    client, text = clients(route), f"{insert(1)}; SELECT rpc_count()"
    for turn in range(3):
        assert values(client.query(text)) == [str(turn + 1)]
    client.query("BEGIN")
    found = client.query(text)
    assert values(found) == ["3"] and status(found) == "T" and len(warnings(found)) == 1
    client.query("ROLLBACK")
    assert values(client.query(text)) == ["4"]
    assert tags(client.query(text)) == ["INSERT 0 1", "SELECT 1"]


@pytest.mark.parametrize("route", [*SPLIT, *ON_RPC])
class TestNamesInSql:
    """EXECUTE of a statement that SQL's PREPARE has made from a call."""

    def test_in_a_later_batch(self, clients, ledger, route):
        client = clients(route)
        client.query("PREPARE p AS SELECT rpc_count()")
        assert values(client.query(f"{insert(1)}; EXECUTE p")) == ["1"]
        assert values(client.query(f"{insert(2)}; EXECUTE \"p\"")) == ["2"]
        client.query(f"{insert(3)}; CREATE TABLE IF NOT EXISTS marks_made AS EXECUTE p")
        assert client.value("SELECT * FROM marks_made") == "3"
        client.query("DROP TABLE marks_made")

    def test_in_the_batch_that_makes_it(self, clients, ledger, route):
        found = clients(route).query(f"PREPARE p AS SELECT rpc_count(); {insert(1)}; EXECUTE p")
        assert codes(found) == [] and values(found) == ["1"]

    def test_with_parameters(self, clients, ledger, route):
        client = clients(route)
        client.query("PREPARE p (int) AS SELECT rpc_count() + $1")
        assert values(client.query(f"{insert(1)}; EXECUTE p (10)")) == ["11"]

    def test_in_a_block(self, clients, ledger, route):
        client = clients(route)
        client.query("PREPARE p AS SELECT rpc_count()")
        client.query("BEGIN")
        assert len(warnings(client.query("EXECUTE p"))) == 1
        client.query("ROLLBACK")


@pytest.mark.parametrize("route", ON_RPC)
def test_a_name_in_sql_is_the_sessions_own_and_ends(clients, ledger, route):
    """Whether the batch is one transaction shows in what an error takes back."""
    client, other = clients(route), clients(route.replace("_one", "_transaction"))

    def is_whole(asked):
        ledger_before = ledger()
        found = asked.query(f"{insert(1)}; EXECUTE p; SELECT 1/0")
        assert len(codes(found)) == 1
        return ledger() == ledger_before

    client.query("PREPARE p AS SELECT rpc_count()")
    other.query("PREPARE p AS SELECT 1")
    assert not is_whole(client) and is_whole(other)
    client.query("DEALLOCATE p")
    client.query("PREPARE p AS SELECT 1")
    assert is_whole(client)
    client.query("DEALLOCATE p; PREPARE p AS SELECT rpc_count()")
    assert not is_whole(client)
    assert codes(client.query("PREPARE p AS SELECT 1")) == ["42P05"]
    assert not is_whole(client)
    client.query("DISCARD ALL")
    client.query("PREPARE p AS SELECT 1")
    assert is_whole(client)
