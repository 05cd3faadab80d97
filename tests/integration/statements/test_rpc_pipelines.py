"""A pipeline without Sync is one implicit transaction, too: around an RPC call it is cut."""

import psycopg
import pytest

from harness.messages import (
    bind,
    close_portal,
    describe_portal,
    describe_statement,
    execute,
    flush,
    parse,
    query,
    sync,
)
from harness.replies import codes, committed, kinds, status, tags, values, warnings

MODES = ["session", "transaction"]
WHOLE = ["direct", *(f"pass_{mode}" for mode in MODES)]
CUT = [f"{policy}_{mode}" for policy in ("split_on_rpc", "split") for mode in MODES]
CUT += ["split_on_rpc_one", "default"]

INSERT = "INSERT INTO ledger VALUES ($1::int)"
COUNT = "SELECT rpc_count()"
FAIL = "SELECT 1/0"


def run(sql, *parameters):
    return parse(sql) + bind(parameters) + describe_portal() + execute()


@pytest.mark.parametrize("route, seen", [(r, "0") for r in WHOLE] + [(r, "1") for r in CUT])
def test_the_call_sees_what_stands_before_it(clients, ledger, route, seen):
    client = clients(route)
    client.send(run(INSERT, 1) + run(COUNT) + sync())
    found = client.read_until(b"Z")
    assert kinds(found) == "12nC12TDCZ" and values(found) == [seen]
    client.expect_silence(0.05)
    assert ledger() == [1]


@pytest.mark.parametrize("route", WHOLE)
def test_whole_the_engine_does_not_get_its_lock(clients, ledger, route):
    client = clients(route)
    client.send(run(INSERT, 1) + run("SELECT rpc_alter_table()") + sync())
    assert codes(client.read_until(b"Z")) == ["55P03"] and ledger() == []


@pytest.mark.parametrize("route", CUT)
def test_the_engine_gets_its_lock(clients, ledger, route):
    client = clients(route)
    client.send(run(INSERT, 1) + run("SELECT rpc_alter_table()") + run(INSERT, 2) + sync())
    found = client.read_until(b"Z", timeout=1)
    assert kinds(found) == "12nC12TDC12nCZ" and values(found) == ["ALTER TABLE"]
    assert ledger() == [1, 2]


@pytest.mark.parametrize("route", [*WHOLE, *CUT])
def test_one_ready_for_query_for_each_sync(clients, ledger, route):
    client = clients(route)
    client.send(
        run(INSERT, 1) + run(COUNT) + sync() + sync() + run(COUNT) + sync() + query("SELECT 'q'")
    )
    found = client.read_until(b"Z", 4)
    assert kinds(found) == "12nC12TDCZ" + "Z" + "12TDCZ" + "TDCZ"
    client.expect_silence(0.05)


@pytest.mark.parametrize("route", CUT)
def test_an_error_before_the_call_skips_up_to_the_sync(clients, ledger, route):
    client = clients(route)
    client.send(run(INSERT, 1) + run(FAIL) + run("SELECT rpc_mark('x')") + run(INSERT, 2) + sync())
    found = client.read_until(b"Z")
    assert codes(found) == ["22012"] and committed(found) is None and status(found) == "I"
    assert tags(found) == ["INSERT 0 1"]
    assert ledger() == [] and client.value("SELECT count(*) FROM marks") == "0"


@pytest.mark.parametrize("route", CUT)
@pytest.mark.parametrize(
    "statements, count, kept",
    [
        ([(INSERT, 1), (COUNT,), (FAIL,), (INSERT, 2)], 2, [1]),
        ([(INSERT, 1), (COUNT,), (INSERT, 2), (FAIL,), (COUNT,)], 2, [1]),
        ([(INSERT, 1), (INSERT, 2), (COUNT,), (INSERT, 3), (COUNT,), (FAIL,)], 5, [1, 2, 3]),
        ([(COUNT,), (FAIL,)], 1, []),
        # An error in the call itself.
        ([(INSERT, 1), ("SELECT rpc_echo((1/0)::text)",), (INSERT, 2)], 1, [1]),
    ],
)
def test_an_error_behind_the_call_says_what_was_committed(
    clients, ledger, route, statements, count, kept
):
    client = clients(route)
    client.send(b"".join(run(*statement) for statement in statements) + sync() + query("SELECT 9"))
    found = client.read_until(b"Z")
    assert committed(found) == count and status(found) == "I"
    assert ledger() == kept
    assert values(client.read_until(b"Z")) == ["9"]


@pytest.mark.parametrize("route", CUT)
def test_a_call_that_cannot_be_parsed(clients, ledger, route):
    """Whether it counts as one is not promised, only that the WARNING tells the truth."""
    client = clients(route)
    client.send(run(INSERT, 1) + run("SELECT rpc_count(1, 2)") + run(INSERT, 2) + sync())
    found = client.read_until(b"Z")
    assert codes(found) == ["42883"] and status(found) == "I"
    assert ledger() == [1] * (committed(found) or 0)


@pytest.mark.parametrize("route", CUT)
def test_flush_in_the_middle(clients, ledger, route):
    client = clients(route)
    client.send(run(INSERT, 1) + flush())
    assert kinds(client.read_until(b"C")) == "12nC"
    client.send(run(COUNT) + flush())
    found = client.read_until(b"C")
    assert kinds(found) == "12TDC" and values(found) == ["1"]
    client.send(run(INSERT, 2) + flush())
    assert kinds(client.read_until(b"C")) == "12nC"
    client.expect_silence(0.05)
    client.send(sync())
    assert client.read_until(b"Z") == [(b"Z", b"I")]
    assert ledger() == [1, 2]


@pytest.mark.parametrize("route", CUT)
def test_message_by_message(clients, ledger, route):
    """Flush behind each of them: every reply comes before the next request."""
    client = clients(route)
    for request, answer in (
        (parse(INSERT), b"1"),
        (bind([1]), b"2"),
        (execute(), b"C"),
        (parse(COUNT, "call"), b"1"),
        (describe_statement("call"), b"T"),
        (bind(statement="call"), b"2"),
        (describe_portal(), b"T"),
        (execute(), b"C"),
    ):
        client.send(request + flush())
        found = client.read_until(answer)
    assert values(found) == ["1"]
    client.send(sync())
    assert client.read_until(b"Z") == [(b"Z", b"I")]


@pytest.mark.parametrize("route", CUT)
def test_one_statement_executed_many_times(clients, ledger, route):
    client = clients(route)
    client.send(parse(INSERT, "add") + parse(COUNT, "call") + sync())
    assert kinds(client.read_until(b"Z")) == "11Z"
    turn = bind([7], statement="add") + execute() + bind(statement="call") + execute()
    client.send(turn * 5 + sync() + turn * 2 + sync())
    found = client.read_until(b"Z", 2)
    assert kinds(found) == "2C2DC" * 5 + "Z" + "2C2DC" * 2 + "Z"
    assert values(found) == ["1", "2", "3", "4", "5", "6", "7"]


@pytest.mark.parametrize("route", CUT)
def test_parsed_ahead(clients, ledger, route):
    """All of the Parse messages first, then the rest: as drivers do it for executemany."""
    client = clients(route)
    client.send(
        parse(INSERT, "add")
        + parse(COUNT, "call")
        + describe_statement("call")
        + bind([1], statement="add")
        + execute()
        + bind(statement="call")
        + execute()
        + bind([2], statement="add")
        + execute()
        + bind(statement="call")
        + execute()
        + sync()
    )
    found = client.read_until(b"Z")
    assert kinds(found) == "11tT2C2DC2C2DCZ" and values(found) == ["1", "2"]


@pytest.mark.parametrize("route", CUT)
def test_named_portals(clients, ledger, route):
    client = clients(route)
    client.send(
        parse(INSERT, "add")
        + bind([1], "p_add", "add")
        + execute("p_add")
        + close_portal("p_add")
        + parse(COUNT, "call")
        + bind([], "p_call", "call")
        + describe_portal("p_call")
        + execute("p_call")
        + close_portal("p_call")
        + sync()
    )
    found = client.read_until(b"Z")
    assert kinds(found) == "12C312TDC3Z" and values(found) == ["1"]


@pytest.mark.parametrize("route", CUT)
def test_a_call_with_parameters_and_binary_results(clients, ledger, route):
    client = clients(route)
    client.send(
        run(INSERT, 1)
        + parse("SELECT rpc_count(), rpc_echo($1), $2::int4", types=[25, 23])
        + bind(["ä;", b"\0\0\0\7"], formats=[0, 1], result_formats=[1])
        + execute()
        + sync()
    )
    found = client.read_until(b"Z")
    row = next(body for kind, body in found if kind == b"D")
    assert row == (
        b"\0\3" + b"\0\0\0\x08" + b"\0" * 7 + b"\1" + b"\0\0\0\3\xc3\xa4;" + b"\0\0\0\4\0\0\0\7"
    )


@pytest.mark.parametrize("route", CUT)
def test_rows_in_portions(clients, ledger, route):
    """A portal that is suspended within the call's own transaction goes on there."""
    client = clients(route)
    client.send(
        run(INSERT, 1)
        + parse("SELECT g FROM generate_series(rpc_count(), 5) g")
        + bind([], "part")
        + execute("part", 2)
        + execute("part", 2)
        + execute("part", 2)
        + sync()
    )
    found = client.read_until(b"Z")
    assert kinds(found) == "12nC" + "12DDs" + "DDs" + "DC" + "Z"
    assert values(found) == ["1", "2", "3", "4", "5"]


@pytest.mark.parametrize("route", [*WHOLE, *CUT])
def test_inside_an_explicit_transaction_nothing_is_cut(clients, ledger, route):
    client = clients(route)
    client.query("BEGIN")
    client.send(run(INSERT, 1) + run(COUNT) + sync())
    found = client.read_until(b"Z")
    assert values(found) == ["0"] and status(found) == "T"
    assert len(warnings(found)) == (route != "direct")
    client.query("ROLLBACK")
    client.send(run("BEGIN") + run(INSERT, 1) + run(COUNT) + run("ROLLBACK") + sync())
    found = client.read_until(b"Z")
    assert values(found) == ["0"] and status(found) == "I" and ledger() == []


@pytest.mark.parametrize("route", CUT)
def test_settings_before_the_call_hold_behind_it(clients, ledger, route):
    client = clients(route)
    client.send(
        run("SET work_mem = '5MB'") + run(COUNT) + run("SHOW work_mem") + run(INSERT, 1) + sync()
    )
    assert values(client.read_until(b"Z")) == ["0", "5MB"]
    assert client.value("SHOW work_mem") == "5MB"


@pytest.mark.parametrize("route", CUT)
def test_a_query_behind_the_call_without_sync(clients, ledger, route):
    """A simple Query ends the implicit transaction, too."""
    client = clients(route)
    client.send(run(INSERT, 1) + run(COUNT) + query("SELECT 'simple'") + sync())
    found = client.read_until(b"Z", 2)
    assert kinds(found) == "12nC12TDCTDCZZ" and values(found) == ["1", "simple"]


@pytest.mark.parametrize("route", CUT)
def test_a_pipeline_without_a_call_is_one_transaction(clients, ledger, route):
    client = clients(route)
    client.send(run(INSERT, 1) + run("SELECT 'rpc_count()'") + run(FAIL) + sync())
    found = client.read_until(b"Z")
    assert codes(found) == ["22012"] and not warnings(found) and ledger() == []


@pytest.mark.parametrize("route", CUT)
def test_a_client_that_goes_in_the_middle(clients, ledger, route):
    """What was committed stays; without the Sync the rest is not."""
    client = clients(route)
    client.send(run(INSERT, 1) + run(COUNT) + run(INSERT, 2) + flush())
    client.read_until(b"C", 3)
    client.abort()
    assert clients(route).value("SELECT count(*) FROM ledger") == "1"
    assert ledger() == [1]


@pytest.mark.parametrize("route", CUT)
def test_psycopg_pipeline(box, ledger, route):
    with box.connect(route) as connection:
        with connection.pipeline() as pipeline:
            connection.execute("INSERT INTO ledger VALUES (%s)", (1,))
            seen = connection.execute("SELECT rpc_count()")
            connection.execute("INSERT INTO ledger VALUES (%s)", (2,))
            again = connection.execute("SELECT rpc_count()", prepare=True)
            assert seen.fetchone() == (1,) and again.fetchone() == (2,)
            pipeline.sync()
            heard = []
            connection.add_notice_handler(lambda d: heard.append((d.severity, d.sqlstate)))
            connection.execute("INSERT INTO ledger VALUES (%s)", (3,))
            connection.execute("SELECT rpc_echo('x')")
            connection.execute("INSERT INTO ledger VALUES (%s)", (4,))
            with pytest.raises(psycopg.errors.DivisionByZero):
                connection.execute("SELECT 1/0")
                pipeline.sync()
        assert heard == [("WARNING", "01000")]
    assert ledger() == [1, 2, 3]


@pytest.mark.parametrize("route, seen", [("pass_transaction", 0), ("split_on_rpc_transaction", 1)])
def test_executemany_around_a_call(box, ledger, route, seen):
    """executemany is one pipeline of its own in psycopg 3.1."""
    with box.connect(route) as connection, connection.pipeline():
        connection.cursor().executemany("INSERT INTO ledger VALUES (%s)", [(i,) for i in range(50)])
        found = connection.execute("SELECT rpc_count()").fetchone()
    assert found == (50 * seen,)
