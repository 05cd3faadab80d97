"""State that cannot be carried keeps the session on its server connection, and never leaks."""

import pytest

from harness import eventually
from harness.messages import query
from harness.raw_client import first_error, notices


class Cause:
    """`make` pins, `probe` works only where it was made, `unmake` ends the pin."""

    def __init__(self, make, probe, unmake, leaked):
        self.make, self.probe, self.unmake, self.leaked = make, probe, unmake, leaked


# `leaked` gives 't' on a server connection that has the state, and 'f' on a clean one.
CAUSES = {
    "set_role": Cause(
        "SET ROLE other", "SELECT current_user", "RESET ROLE", "SELECT current_user <> 'app'"
    ),
    "temporary_table": Cause(
        "CREATE TEMP TABLE pin_table AS SELECT 1 AS id",
        "SELECT id FROM pin_table",
        "DROP TABLE pin_table",
        "SELECT to_regclass('pg_temp.pin_table') IS NOT NULL",
    ),
    "temporary_table_by_select_into": Cause(
        "SELECT 1 AS id INTO TEMPORARY pin_into",
        "SELECT id FROM pin_into",
        "DROP TABLE pin_into",
        "SELECT to_regclass('pg_temp.pin_into') IS NOT NULL",
    ),
    "temporary_statistics": Cause(
        "CREATE STATISTICS pg_temp.pin_statistics ON id, note FROM things",
        "ALTER STATISTICS pg_temp.pin_statistics SET STATISTICS 10",
        "DROP STATISTICS pg_temp.pin_statistics",
        "SELECT count(*) > 0 FROM pg_statistic_ext WHERE stxnamespace = pg_my_temp_schema()",
    ),
    "hold_cursor": Cause(
        "DECLARE pin_cursor CURSOR WITH HOLD FOR SELECT generate_series(1, 1000)",
        "FETCH 1 FROM pin_cursor",
        "CLOSE pin_cursor",
        "SELECT count(*) > 0 FROM pg_cursors WHERE name = 'pin_cursor'",
    ),
    "advisory_lock": Cause(
        "SELECT pg_advisory_lock(515151)",
        "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND pid = pg_backend_pid()",
        "SELECT pg_advisory_unlock(515151)",
        "SELECT count(*) > 0 FROM pg_locks WHERE locktype = 'advisory' AND objid = 515151",
    ),
    "sql_prepare": Cause(
        "PREPARE pin_statement AS SELECT 1",
        "EXECUTE pin_statement",
        "DEALLOCATE pin_statement",
        "SELECT count(*) > 0 FROM pg_prepared_statements WHERE name = 'pin_statement'",
    ),
}

# What ends every pin, at the latest.
ENDINGS = ["unmake", "DISCARD ALL"]


@pytest.fixture(params=CAUSES)
def cause(request):
    return CAUSES[request.param]


def test_pinned_sessions_keep_their_server_connection(clients, cause):
    client, other = clients("two"), clients("two")
    found = client.query(cause.make)
    assert not [m for m in found if m[0] == b"E"], found
    own = notices(found)
    assert [(n["C"], n["S"]) for n in own] == [("00000", "NOTICE")], own
    pid = client.value("SELECT pg_backend_pid()")
    for _ in range(3):
        assert other.value("SELECT pg_backend_pid()") != pid
        client.rows(cause.probe)
        assert client.value("SELECT pg_backend_pid()") == pid
        assert other.value(cause.leaked) == ("t" if "advisory" in cause.leaked else "f")
    client.query(cause.unmake)


@pytest.mark.parametrize("ending", ENDINGS)
def test_a_pin_ends_with_its_cause(clients, cause, ending):
    """With one server connection, somebody else's turn proves that the pin has ended."""
    client, other = clients("one"), clients("one")
    client.query(cause.make)
    client.rows(cause.probe)
    client.query(cause.unmake if ending == "unmake" else ending)
    assert other.value(cause.leaked) == "f"
    assert client.value("SELECT 1") == "1"


@pytest.mark.parametrize("how", ["terminate", "abort", "close"])
def test_a_pinned_client_that_leaves_leaves_nothing(clients, cause, how):
    client = clients("one")
    client.query(cause.make)
    client.rows(cause.probe)
    getattr(client, how)()
    other = clients("one")
    assert other.value(cause.leaked) == "f"
    assert other.value("SELECT current_user") == "app"


def test_a_pin_in_a_rolled_back_transaction(clients, cause):
    """Where the rollback takes the state away, nothing may stay behind for others either."""
    client = clients("one")
    client.query("BEGIN")
    client.query(cause.make.replace("WITH HOLD ", ""))
    client.query("ROLLBACK")
    client.terminate()
    other = clients("one")
    assert other.value(cause.leaked) == "f"


def test_session_authorization_pins(clients):
    client = clients("root_one")
    found = client.query("SET SESSION AUTHORIZATION other")
    assert [(n["C"], n["S"]) for n in notices(found)] == [("00000", "NOTICE")], found
    assert client.value("SELECT session_user") == "other"
    other = clients("root_one")
    other.send(query("SELECT session_user"))
    other.expect_silence(0.1)  # the only server connection is kept
    client.query("RESET SESSION AUTHORIZATION")
    assert b"postgres" in other.read_until(b"Z")[1][1]


def test_load_pins_and_nobody_gets_the_server_connection(clients):
    """What a library has done to a process cannot be undone."""
    client = clients("root_one")
    pid = client.value("SELECT pg_backend_pid()")
    found = client.query("LOAD 'auto_explain'")
    assert [(n["C"], n["S"]) for n in notices(found)] == [("00000", "NOTICE")], found
    assert client.value("SHOW auto_explain.log_min_duration") == "-1"
    assert client.value("SELECT pg_backend_pid()") == pid
    client.terminate()
    other = clients("root_one")
    assert other.value("SELECT pg_backend_pid()") != pid
    assert other.error("SHOW auto_explain.log_min_duration")["C"] == "42704"


@pytest.mark.parametrize(
    "make, unmake",
    [
        (
            "SELECT pg_advisory_lock(525252), pg_advisory_lock(525252)",
            ["SELECT pg_advisory_unlock(525252)", "SELECT pg_advisory_unlock(525252)"],
        ),
        (
            "SELECT pg_advisory_lock(535353), pg_advisory_lock_shared(5, 3)",
            ["SELECT pg_advisory_unlock_shared(5, 3)", "SELECT pg_advisory_unlock_all()"],
        ),
        (
            "CREATE TEMP TABLE pin_first (); CREATE TEMP VIEW pin_second AS SELECT 1",
            ["DROP TABLE pin_first", "DROP VIEW pin_second"],
        ),
        (
            "CREATE TEMP TABLE pin_discarded (); SET ROLE other",
            ["RESET ROLE", "DISCARD TEMP"],
        ),
        (
            "PREPARE pin_one AS SELECT 1; PREPARE pin_two AS SELECT 2",
            ["DEALLOCATE pin_one", "DEALLOCATE ALL"],
        ),
    ],
)
def test_a_pin_ends_with_the_last_of_its_causes(clients, make, unmake):
    client, other = clients("one"), clients("one")
    client.query(make)
    for statement in unmake:
        other.send(query("SELECT 'served'"))
        other.expect_silence(0.1)
        other.cancel()
        assert first_error(other.read_until(b"Z"))["C"] == "57014"
        client.query(statement)
    assert other.value("SELECT 'served'") == "served"


@pytest.mark.parametrize("make", ["LOAD 'auto_explain'", "SET SESSION AUTHORIZATION app"])
def test_what_only_a_superuser_makes(clients, make):
    """Pinned, said so once, or refused."""
    client, other = clients("root_two"), clients("root_two")
    own = notices(client.query(make))
    assert [(n["C"], n["S"]) for n in own] == [("00000", "NOTICE")], own
    pid = client.value("SELECT pg_backend_pid()")
    for _ in range(3):
        assert other.value("SELECT pg_backend_pid()") != pid
        assert client.value("SELECT pg_backend_pid()") == pid
    client.terminate()
    assert other.value("SELECT session_user") == "postgres"
    fields = clients("root_refuse").error(make)
    assert (fields["S"], fields["C"]) == ("ERROR", "0A000"), fields


@pytest.mark.parametrize("make", ["SET LOCAL ROLE app", "SET LOCAL SESSION AUTHORIZATION app"])
def test_what_ends_with_its_transaction_is_not_refused(clients, make):
    client = clients("root_refuse")
    client.query("BEGIN")
    assert client.query(make)[0] == (b"C", b"SET\0")
    assert client.value("SELECT current_user") == "app"
    client.query("COMMIT")
    assert client.value("SELECT current_user") == "postgres"


def test_one_notice_per_session(clients):
    client = clients("two")
    found = []
    for cause in CAUSES.values():
        found += notices(client.query(cause.make))
    assert len(found) == 1, found
    client.query("DISCARD ALL")


def test_refuse(clients, cause):
    client = clients("refuse")
    fields = client.error(cause.make)
    assert (fields["S"], fields["C"]) == ("ERROR", "0A000"), fields
    assert client.value("SELECT 1") == "1"
    assert client.value(cause.leaked) == "f"


def test_refuse_fails_the_block(clients, cause):
    """An error of ours inside a block leaves it failed: nobody commits past an error."""
    client = clients("refuse")
    client.query("BEGIN")
    client.query("INSERT INTO things VALUES (99, 'never')")
    found = client.query(cause.make)
    assert found[-1] == (b"Z", b"E"), found
    assert client.error("SELECT 1")["C"] == "25P02"
    assert client.query("COMMIT")[0] == (b"C", b"ROLLBACK\0")
    assert client.value("SELECT count(*) FROM things WHERE id = 99") == "0"


def test_state_of_a_transaction_does_not_pin(clients):
    client, other = clients("one"), clients("one")
    for sql in (
        "BEGIN",
        "CREATE TEMP TABLE short (id int) ON COMMIT DROP",
        "DECLARE c CURSOR FOR SELECT 1",
        "SELECT pg_advisory_xact_lock(717171)",
        "COMMIT",
    ):
        client.query(sql)
    assert other.value("SELECT to_regclass('pg_temp.short') IS NULL") == "t"


def test_words_in_strings_and_comments_do_not_pin(clients):
    client, other = clients("one"), clients("one")
    for sql in (
        "SELECT 'CREATE TEMP TABLE x (id int)'",
        "SELECT 1 -- pg_advisory_lock(1)",
        'SELECT 1 AS "SET ROLE other"',
    ):
        assert not notices(client.query(sql))
        assert other.value("SELECT 1") == "1"


def test_pins_by_odd_spelling(clients):
    """Comments, case and Unicode escapes hide nothing."""
    for make, leaked in (
        ("CrEaTe /* x */ TEMPORARY\n TABLE odd_table ()", "pg_temp.odd_table"),
        ("CREATE TABLE pg_temp.odd_schema ()", "pg_temp.odd_schema"),
        ('CREATE TABLE U&"pg\\005ftemp".odd_escape ()', "pg_temp.odd_escape"),
        ("CREATE LOCAL TEMP VIEW odd_view AS SELECT 1", "pg_temp.odd_view"),
        ("CREATE TEMP SEQUENCE odd_sequence", "pg_temp.odd_sequence"),
    ):
        client = clients("two")
        client.query(make)
        for _ in range(2):
            assert client.value(f"SELECT to_regclass('{leaked}') IS NOT NULL") == "t", make
            assert clients("two").value(f"SELECT to_regclass('{leaked}') IS NULL") == "t", make
        client.terminate()


@pytest.mark.parametrize(
    "make, leaked",
    [
        ("hidden_table()", "SELECT to_regclass('pg_temp.hidden_table_made') IS NOT NULL"),
        ("hidden_lock()", "SELECT count(*) > 0 FROM pg_locks WHERE objid = 616161"),
        ("hidden_role()", "SELECT current_user <> 'app'"),
        (
            "hidden_prepare()",
            "SELECT count(*) > 0 FROM pg_prepared_statements WHERE name ~ 'hidden'",
        ),
    ],
)
def test_state_made_inside_a_function_reaches_nobody_else(clients, make, leaked):
    client = clients("one")
    client.value(f"SELECT 'done' FROM {make}")
    client.terminate()
    other = clients("one")
    eventually(lambda: other.value(leaked) == "f", "the state is gone", 5)


def test_session_mode_cleans_up_between_sessions(clients):
    """Session mode pins by nature; the next session gets a server connection like new."""
    client = clients("session_one", application_name="first")
    pid = client.value("SELECT pg_backend_pid()")
    for cause in CAUSES.values():
        assert not notices(client.query(cause.make))
    client.query("SET work_mem = '9MB'")
    client.query("RESET ROLE")
    client.query("LISTEN session_channel")
    assert client.value("SELECT pg_backend_pid()") == pid
    client.terminate()
    other = clients("session_one")
    for name, cause in CAUSES.items():
        assert other.value(cause.leaked) == "f", name
    assert other.value("SHOW work_mem") == "4MB"
    assert other.value("SHOW application_name") == ""
    assert other.value("SELECT count(*) FROM pg_listening_channels()") == "0"


def test_session_mode_reports_the_true_pid(clients):
    client = clients("session")
    assert str(client.backend_key[0]) == client.value("SELECT pg_backend_pid()")
