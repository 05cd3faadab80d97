"""What one unit of a split batch sets, the next ones have, on any server connection."""

import pytest

from harness import eventually
from harness.messages import error_fields, query
from harness.raw_client import notices
from harness.replies import codes, committed, kinds, status, tags, values

SPLIT = ["split_session", "split_transaction", "split_one"]


def batch(*statements):
    return "; ".join(statements)


@pytest.mark.parametrize("route", SPLIT)
@pytest.mark.parametrize(
    "change, shown, expected",
    [
        ("SET search_path = pg_catalog, engine", "SHOW search_path", "pg_catalog, engine"),
        ("SET work_mem = '5MB'", "SHOW work_mem", "5MB"),
        ("SET SESSION work_mem TO '6MB'", "SHOW work_mem", "6MB"),
        ("SET TIME ZONE 'Asia/Tokyo'", "SHOW timezone", "Asia/Tokyo"),
        ("SET app.tenant = 'a;b'", "SHOW app.tenant", "a;b"),
        ("SELECT set_config('work_mem', '7MB', false)", "SHOW work_mem", "7MB"),
        ("SET ROLE other", "SELECT current_user", "other"),
        (
            "SET SESSION CHARACTERISTICS AS TRANSACTION READ ONLY",
            "SHOW transaction_read_only",
            "on",
        ),
        ("BEGIN; SET work_mem = '8MB'; COMMIT", "SHOW work_mem", "8MB"),
        ("BEGIN; SET work_mem = '8MB'; ROLLBACK", "SHOW work_mem", "4MB"),
        ("BEGIN; SET LOCAL work_mem = '8MB'; COMMIT", "SHOW work_mem", "4MB"),
        ("SET work_mem = '9MB'; RESET work_mem", "SHOW work_mem", "4MB"),
        ("SET work_mem = '9MB'; DISCARD ALL", "SHOW work_mem", "4MB"),
        (
            "SET app.x = 'y'; SELECT 1; RESET ALL",
            "SELECT coalesce(current_setting('app.x', true), '')",
            "",
        ),
    ],
)
def test_settings_carry_over(clients, route, change, shown, expected):
    client = clients(route)
    found = client.query(batch(change, shown, shown))
    assert codes(found) == [] and values(found)[-2:] == [expected, expected]
    assert client.value(shown) == expected


def test_settings_carry_over_while_others_take_turns(clients, gate):
    """Between the units the only server connection serves somebody with other settings."""
    client, other = clients("split_one"), clients("split_one")
    other.query("SET work_mem = '20MB'; SET timezone = 'Europe/Berlin'")
    client.send(
        query(
            batch(
                "SET work_mem = '5MB'",
                "SET search_path = engine",
                gate.WAIT,
                "SHOW work_mem",
                "SHOW search_path",
                "SHOW timezone",
            )
        )
    )
    gate.reached()
    other.send(query("SELECT current_setting('work_mem') || ' ' || current_setting('timezone')"))
    gate.open()
    assert values(other.read_until(b"Z")) == ["20MB Europe/Berlin"]
    assert values(client.read_until(b"Z"))[1:] == ["5MB", "engine", "UTC"]


@pytest.mark.parametrize("route", SPLIT)
def test_a_setting_before_the_error_is_kept(clients, route):
    client = clients(route)
    found = client.query("SET work_mem = '5MB'; SELECT 1/0; SET work_mem = '6MB'")
    assert committed(found) == 1
    assert client.value("SHOW work_mem") == "5MB"


def test_whole_batches_take_their_settings_back(clients):
    for route in ("direct", "pass_transaction", "split_on_rpc_transaction"):
        client = clients(route)
        client.query("SET work_mem = '5MB'; SELECT 1/0")
        assert client.value("SHOW work_mem") == "4MB", route


@pytest.mark.parametrize("route", SPLIT)
def test_reported_parameters_come_in_their_place(clients, route):
    found = clients(route).query("SELECT 1; SET timezone = 'Asia/Tokyo'; SELECT 2")
    types = kinds(found)
    assert types.replace("S", "") == "TDCCTDCZ" and types.count("S") == 1, types
    assert types.index("S") > types.index("C")


@pytest.mark.parametrize("route", SPLIT)
def test_parsing_settings_hold_for_the_next_batch(clients, route):
    r"""With standard_conforming_strings off, 'a\'; …' is one string."""
    text = r"SELECT 'a\'; SELECT 2; --'; SELECT 3"
    client, plain = clients(route), clients("direct")
    for each in (client, plain):
        each.query("SET standard_conforming_strings = off; SET escape_string_warning = off")
    assert values(plain.query(text)) == ["a'; SELECT 2; --", "3"]
    found = client.query(text)
    assert values(found) == ["a'; SELECT 2; --", "3"] and codes(found) == []


@pytest.mark.parametrize(
    "make, use, unmake",
    [
        ("CREATE TEMP TABLE kept AS SELECT 7 AS id", "SELECT id FROM kept", "DROP TABLE kept"),
        ("SELECT 7 AS id INTO TEMP kept", "SELECT id FROM kept", "DROP TABLE kept"),
        ("CREATE TABLE pg_temp.kept AS SELECT 7 AS id", "TABLE kept", "DROP TABLE kept"),
        ("DECLARE c CURSOR WITH HOLD FOR SELECT 7 FROM pg_class", "FETCH c", "CLOSE c"),
        ("PREPARE p AS SELECT 7", "EXECUTE p", "DEALLOCATE p"),
        (
            "SELECT 7 FROM pg_advisory_lock(424242)",
            "SELECT 7 FROM pg_locks WHERE objid = 424242 AND pid = pg_backend_pid()",
            "SELECT 7 FROM pg_advisory_unlock(424242)",
        ),
        (
            "SET ROLE other",
            "SELECT CASE current_user WHEN 'other' THEN 7 END",
            "RESET ROLE",
        ),
    ],
)
class TestPins:
    """State that cannot be carried keeps the batch on one connection from there on."""

    def test_the_batch_keeps_its_connection(self, clients, gate, make, use, unmake):
        client, other = clients("split_one"), clients("split_one")
        client.send(query(batch(make, gate.WAIT, use, use)))
        gate.reached()
        other.send(query("SELECT 'served'"))
        gate.open()
        found = client.read_until(b"Z")
        assert codes(found) == [] and values(found)[-2:] == ["7", "7"]
        assert [(n["S"], n["C"]) for n in notices(found)] == [("NOTICE", "00000")]
        other.expect_silence(0.1)
        assert values(client.query(batch(use, use))) == ["7", "7"]
        client.query(unmake)
        assert values(other.read_until(b"Z")) == ["served"]

    def test_the_pin_ends_within_the_batch(self, clients, make, use, unmake):
        client, other = clients("split_one"), clients("split_one")
        found = client.query(batch(make, use, unmake, "SELECT 'done'"))
        assert codes(found) == [] and values(found)[-1] == "done"
        assert other.value("SELECT 'served'") == "served"

    def test_an_error_behind_it_leaves_the_state(self, clients, make, use, unmake):
        client = clients("split_one")
        found = client.query(batch(make, "SELECT 1/0", unmake))
        types = kinds(found)
        assert types[types.index("E") :] == "ENZ" and status(found) == "I"
        assert error_fields(found[types.index("E") + 1][1])["C"] == "01000"
        assert client.value(use) == "7"
        client.query(unmake)

    def test_refused_where_it_stands(self, clients, ledger, make, use, unmake):
        """session_state = "refuse": before anything is sent, or as any other error."""
        client = clients("split_refuse_state")
        found = client.query(
            batch("INSERT INTO ledger VALUES (1)", make, "INSERT INTO ledger VALUES (2)")
        )
        assert codes(found) == ["0A000"] and status(found) == "I"
        assert ledger() == ([1] if committed(found) == 1 else [])
        assert len(tags(found)) == len(ledger())
        assert client.value("SELECT 1") == "1"


@pytest.mark.parametrize("route", SPLIT)
def test_listen_and_notify_in_a_batch(clients, route):
    client = clients(route)
    found = client.query("LISTEN batch_channel; NOTIFY batch_channel, 'x'; SELECT 1")
    types = kinds(found)
    assert types.replace("A", "") == "CCTDCZ" and types.count("A") == 1, found
    client.query("UNLISTEN *")


def test_a_client_that_leaves_a_pinning_batch_leaves_nothing(clients, gate):
    client = clients("split_one")
    client.send(query(batch("CREATE TEMP TABLE left_over (id int)", gate.WAIT)))
    gate.reached()
    client.abort()
    other = clients("split_one")
    eventually(lambda: not gate.waiting(), "the statement is cancelled")
    assert other.value("SELECT to_regclass('pg_temp.left_over') IS NULL") == "t"
