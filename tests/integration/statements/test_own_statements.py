"""CREATE CONNECTION and its family are answered here, in their place, and never by the server.

What they do is tested in tests/integration/connections and notices: here a client without a role asks, and nothing that
it names exists.
"""

import time

import pytest

from harness.messages import bind, execute, flush, parse, query, sync
from harness.raw_client import first_error
from harness.replies import (
    PROTOCOLS,
    codes,
    committed,
    extended,
    kinds,
    simple,
    status,
    tags,
    values,
)
from harness.signalbox import standard_config

# Each with its SQLSTATE; None: it succeeds.
CHANGES = {
    "CREATE CONNECTION c TO POSTGRES (HOST 'h')": "42501",
    "create connection if not exists c to postgres (host = 'h', port 5432)": "42501",
    "CREATE CONNECTION c TO POSTGRES (HOST 'a;b', PASSWORD SECRET pw) WITH (VALIDATE = false);": "42501",
    "CREATE CONNECTION \"My; Conn\" TO KAFKA (BROKERS ('b:1', 'c:2'))": "42501",
    "CREATE CONNECTION c TO AWS PRIVATELINK (SERVICE NAME 's', AVAILABILITY ZONES ('a', 'b'))": "42501",
    "/* a; */ Create -- b;\n Connection /* /* c */ d */ c TO POSTGRES (HOST 'h')": "42501",
    "ALTER CONNECTION c SET (HOST = 'h')": "42704",
    "ALTER CONNECTION IF EXISTS c SET (HOST 'h'), DROP (PORT), RESET (USER)": None,
    "alter connection c rename to d": "42704",
    "ALTER CONNECTION c OWNER TO app ;": "42704",
    "DROP CONNECTION c": "42704",
    "DROP CONNECTION IF EXISTS a, b CASCADE": None,
    "VALIDATE CONNECTION c": "42704",
    "ALTER NOTICE '9f2c1a34-0000-4000-8000-000000000000' SET STATUS = 'ignored'": "42501",
    "ALTER NOTICE '9f2c1a34-0000-4000-8000-000000000000' RESET STATUS": "42501",
}
SHOWS = {
    "SHOW CONNECTIONS": None,
    "show connections like 'a%';": None,
    "SHOW CREATE CONNECTION c": "42704",
    "SHOW CONNECTION STATUS": None,
    "SHOW CONNECTION STATUS FOR c": "42704",
    "SHOW CONNECTION HISTORY": None,
    "SHOW CONNECTION HISTORY FOR \"My; Conn\"": "42704",
    "SHOW NOTICES": "42501",
    "SHOW NOTICES ALL": "42501",
    "/* a */ Show /* b; */ Notices -- c": "42501",
}
ALL = {**CHANGES, **SHOWS}
CREATE = "CREATE CONNECTION c TO POSTGRES (HOST 'h')"

MODES = ["session", "transaction"]
POLICIES = ["pass", "split_on_rpc", "split"]
ROUTES = [f"{policy}_{mode}" for policy in POLICIES for mode in MODES]
XID = "SELECT pg_current_xact_id()::text"


def insert(number):
    return f"INSERT INTO ledger VALUES ({number})"


def ours(found, code):
    """Refused with this SQLSTATE, by an error with all its fields; or done, where that is None."""
    if code is None:
        assert codes(found) == [] and kinds(found).count("C") == 1, found
        return
    fields = first_error(found)
    assert (fields["S"], fields["V"], fields["C"]) == ("ERROR", "ERROR", code), fields
    assert kinds(found).count("E") == 1


@PROTOCOLS
@pytest.mark.parametrize("sql", ALL)
@pytest.mark.parametrize("route", ["split_on_rpc_session", "split_on_rpc_transaction"])
def test_alone(clients, route, sql, ask):
    client = clients(route)
    found = ask(client, sql)
    ours(found, ALL[sql])
    assert kinds(found).endswith("CZ" if ALL[sql] is None else "EZ") and status(found) == "I"
    assert client.value("SELECT 'usable'") == "usable"


@pytest.mark.parametrize("sql", [CREATE, "SHOW CONNECTIONS"])
@pytest.mark.parametrize("route", ["single_session", "single_transaction", "split_statement"])
def test_on_every_route(clients, route, sql):
    client = clients(route)
    ours(client.query(sql), ALL[sql])
    assert client.value("SELECT 'usable'") == "usable"


def test_they_need_no_server_connection(clients):
    """With the only one taken, they are answered all the same, inside a pipeline too."""
    holder, client = clients("one"), clients("one")
    holder.query("BEGIN")
    ours(client.query("SHOW CONNECTIONS"), None)
    ours(extended(client, CREATE), "42501")
    holder.query("COMMIT")
    assert client.value("SELECT 1") == "1"


@pytest.mark.parametrize("sql", [CREATE, "VALIDATE CONNECTION c", "SHOW CREATE CONNECTION c"])
@pytest.mark.parametrize("route", ROUTES)
class TestBatches:
    """Cut before and behind, whatever the policy."""

    def test_what_stands_before_is_committed(self, clients, ledger, route, sql):
        client = clients(route)
        found = client.query(f"{insert(1)}; {insert(2)}; {sql}; {insert(3)}")
        ours(found, ALL[sql])
        assert kinds(found) == "CCENZ" and committed(found) == 2 and status(found) == "I"
        assert ledger() == [1, 2]

    def test_first_in_its_batch(self, clients, ledger, route, sql):
        found = clients(route).query(f"{sql}; {insert(1)}")
        ours(found, ALL[sql])
        assert kinds(found) == "EZ" and ledger() == []

    def test_the_parts_keep_to_the_policy(self, clients, ledger, route, sql):
        found = clients(route).query(f"{XID}; {XID}; {sql}; {XID}")
        ours(found, ALL[sql])
        first, second = values(found)
        assert (first == second) == ("split_session" != route != "split_transaction")

    def test_an_error_before_it(self, clients, ledger, route, sql):
        found = clients(route).query(f"{insert(1)}; SELECT 1/0; {sql}")
        assert codes(found) == ["22012"] and status(found) == "I"
        split = route in ("split_session", "split_transaction")
        assert committed(found) == (1 if split else None)
        assert ledger() == ([1] if split else [])

    def test_behind_a_block(self, clients, ledger, route, sql):
        found = clients(route).query(f"BEGIN; {insert(1)}; COMMIT; {sql}")
        ours(found, ALL[sql])
        assert committed(found) == 3 and status(found) == "I" and ledger() == [1]

    def test_pipelined(self, clients, route, sql):
        client = clients(route)
        client.send(
            query("SELECT 'a'") + query(sql) + query(f"SELECT 'b'; {sql}") + query("SELECT 'c'")
        )
        found = client.read_until(b"Z", 4)
        assert kinds(found) == "TDCZ" + "EZ" + "TDCENZ" + "TDCZ"
        assert values(found) == ["a", "b", "c"]


@pytest.mark.parametrize("route", ["single_session", "single_transaction"])
def test_single_refuses_a_batch_with_one(clients, ledger, route):
    client = clients(route)
    one = insert(1)
    for batch in (f"{one}; SHOW CONNECTIONS", f"{CREATE}; {one}", f"{CREATE}; {CREATE}"):
        fields = client.error(batch)
        assert fields["C"] == "0A000" and fields.get("H"), fields
        assert not fields["M"].startswith(("SHOW", "CREATE"))
    assert ledger() == []


@PROTOCOLS
@pytest.mark.parametrize("sql", CHANGES)
@pytest.mark.parametrize("route", ["split_on_rpc_session", "split_on_rpc_transaction"])
def test_refused_inside_a_transaction(clients, ledger, route, sql, ask):
    client = clients(route)
    client.query("BEGIN")
    client.query(insert(1))
    found = ask(client, sql)
    assert codes(found) == ["25001"] and status(found) == "E"
    # As in any failed block.
    assert codes(ask(client, sql)) == ["25P02"]
    assert client.error("SELECT 1")["C"] == "25P02"
    assert tags(client.query("COMMIT")) == ["ROLLBACK"]
    assert ledger() == []
    ours(ask(client, sql), CHANGES[sql])


@PROTOCOLS
@pytest.mark.parametrize("sql", SHOWS)
@pytest.mark.parametrize("route", ["split_on_rpc_session", "split_on_rpc_transaction"])
def test_show_inside_a_transaction(clients, ledger, route, sql, ask):
    """It works; and its error is one: the block fails, and nobody commits past it."""
    client = clients(route)
    client.query("BEGIN")
    client.query(insert(1))
    found = ask(client, sql)
    ours(found, SHOWS[sql])
    if SHOWS[sql] is None:
        assert status(found) == "T"
        assert tags(client.query("COMMIT")) == ["COMMIT"]
        assert ledger() == [1]
        return
    assert status(found) == "E"
    assert codes(ask(client, sql)) == ["25P02"]
    assert tags(client.query("COMMIT")) == ["ROLLBACK"]
    assert ledger() == []


@pytest.mark.parametrize("route", ROUTES)
def test_in_a_batch_inside_a_transaction(clients, ledger, route):
    client = clients(route)
    client.query("BEGIN")
    found = client.query(f"{insert(1)}; {CREATE}; {insert(2)}")
    assert kinds(found) == "CEZ" and codes(found) == ["25001"] and status(found) == "E"
    assert tags(client.query("COMMIT")) == ["ROLLBACK"]
    assert ledger() == []


@pytest.mark.parametrize("route", ROUTES)
def test_inside_a_block_of_the_batch(clients, ledger, route):
    client = clients(route)
    found = client.query(f"BEGIN; {insert(1)}; {CREATE}; COMMIT; {insert(2)}")
    assert codes(found) == ["25001"] and committed(found) is None and status(found) == "E"
    assert tags(client.query("COMMIT")) == ["ROLLBACK"]
    assert ledger() == []


@pytest.mark.parametrize("route", ["split_session", "split_transaction"])
def test_inside_a_later_block_of_the_batch(clients, ledger, route):
    client = clients(route)
    found = client.query(f"{insert(1)}; BEGIN; {insert(2)}; {CREATE}; COMMIT")
    assert codes(found) == ["25001"] and committed(found) == 1 and status(found) == "E"
    client.query("ROLLBACK")
    assert ledger() == [1]


@pytest.mark.parametrize("sql", [CREATE, "SHOW CREATE CONNECTION c"])
@pytest.mark.parametrize("route", ROUTES)
class TestPipelines:
    """Extended requests without Sync between them: what stands before is committed."""

    def test_what_stands_before_is_committed(self, clients, ledger, route, sql):
        client = clients(route)
        run = [parse(text) + bind() + execute() for text in (insert(1), sql, insert(2))]
        client.send(b"".join(run) + sync() + query("SELECT 'behind'"))
        found = client.read_until(b"Z")
        ours(found, ALL[sql])
        assert committed(found) == 1 and status(found) == "I"
        assert tags(found) == ["INSERT 0 1"]
        assert values(client.read_until(b"Z")) == ["behind"]
        assert ledger() == [1]

    def test_an_error_before_it_skips_it(self, clients, ledger, route, sql):
        client = clients(route)
        run = [parse(text) + bind() + execute() for text in (insert(1), "SELECT 1/0", sql)]
        client.send(b"".join(run) + sync())
        found = client.read_until(b"Z")
        assert codes(found) == ["22012"] and ledger() == []

    def test_with_flush(self, clients, route, sql):
        client = clients(route)
        client.send(parse("SELECT 'a'") + bind() + execute() + flush())
        assert values(client.read_until(b"C")) == ["a"]
        client.send(parse(sql) + bind() + execute() + flush())
        ours(client.read_until(b"E"), ALL[sql])
        client.send(parse("SELECT 'skipped'") + bind() + execute() + sync())
        assert client.read_until(b"Z")[-1] == (b"Z", b"I")
        assert client.value("SELECT 'usable'") == "usable"

    def test_prepared(self, clients, route, sql):
        """Parsed by name and executed twice, in batches of their own."""
        client = clients(route)
        client.send(parse(sql, "own") + sync())
        prepared = client.read_until(b"Z")
        for _ in range(2):
            client.send(bind(statement="own") + execute() + sync())
            found = client.read_until(b"Z")
            # Where Parse has refused it already, there is nothing to bind.
            if codes(prepared):
                ours(prepared, ALL[sql])
                assert codes(found) == ["26000"]
            else:
                ours(found, ALL[sql])
            assert status(found) == "I"

    def test_inside_a_block(self, clients, ledger, route, sql):
        client = clients(route)
        run = [parse(text) + bind() + execute() for text in ("BEGIN", insert(1), sql, "COMMIT")]
        client.send(b"".join(run) + sync())
        found = client.read_until(b"Z")
        assert codes(found) == (["42704"] if sql.startswith("SHOW") else ["25001"])
        assert status(found) == "E"
        client.query("ROLLBACK")
        assert ledger() == []


@pytest.mark.parametrize(
    "sql",
    [
        "SHOW max_connections",
        "SHOW connection_limit",
        # plpgsql has settings of its own, once a session has loaded it.
        "DO $$ BEGIN END $$; SHOW ALL; SELECT 1",
        "SELECT 'SHOW CONNECTIONS; CREATE CONNECTION c'",
        "SELECT 1 AS connections, 2 AS notices",
        "SELECT 1 -- ; SHOW CONNECTIONS",
        "SELECT 1 /* ; DROP CONNECTION c; */",
        "SELECT $$; SHOW NOTICES; $$; SELECT 2",
        'SELECT 1 AS "; SHOW NOTICES"; SELECT 2',
        "BEGIN; CREATE TABLE connection (id int); ALTER TABLE connection RENAME TO notice; "
        "DROP TABLE notice; ROLLBACK",
        "EXPLAIN SHOW CONNECTIONS",
        "SHOW CONNECTIONS_",
        "SHOW \"CONNECTIONS\"",
        "SHOW my.connections",
        "CREATE CONNECTIONLESS c",
        "CREATE TABLE CONNECTION",
        "ALTER NOTICES 'x'",
        "DROP CONNECTIONS c",
        "VALIDATE c",
        "DO $$ BEGIN EXECUTE 'SHOW CONNECTIONS'; END $$",
        "PREPARE c AS SHOW CONNECTIONS",
    ],
)
@pytest.mark.parametrize("route", ["pass_session", "split_on_rpc_transaction"])
def test_what_is_not_ours_is_the_servers(clients, route, sql):
    assert clients(route).query(sql) == clients("direct").query(sql)


def test_answered_while_the_server_is_down(private_pg, start_box):
    box = start_box(
        standard_config(
            private_pg, route={"hold_timeout": "20s", "connect_timeout": "2s", "pool_size": 2}
        )
    )
    sessions = [box.raw("transaction")]
    sessions[0].value("SELECT 1")
    private_pg.stop()
    sessions.append(box.raw("transaction"))
    started = time.monotonic()
    for client in sessions:
        for sql in (CREATE, "SHOW CONNECTIONS", "SHOW NOTICES"):
            for ask in (simple, extended):
                ours(ask(client, sql), ALL[sql])
        client.send(query("SHOW CONNECTIONS") + query("SELECT 'held'") + query(CREATE))
        ours(client.read_until(b"Z"), None)
        client.expect_silence(0.1)
    assert time.monotonic() - started < 10, "they wait for a server that they do not need"
    private_pg.start()
    for client in sessions:
        assert values(client.read_until(b"Z", timeout=20)) == ["held"]
        ours(client.read_until(b"Z"), "42501")
