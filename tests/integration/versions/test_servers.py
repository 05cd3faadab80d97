"""What Signalbox promises holds on every version of the server: the essentials, on each."""

import struct

import pytest

from harness import eventually
from harness.messages import (
    VERSION_3,
    bind,
    copy_data,
    copy_done,
    describe_statement,
    execute,
    parse,
    query,
    split,
    sync,
    text_pair,
)
from harness.postgres import ROLES
from harness.raw_client import ServerError, first_error, notices
from harness.replies import kinds, values

POOLED = ["session_one", "one"]


@pytest.mark.parametrize("route", POOLED)
def test_login(server, clients, route):
    client = clients(route)
    assert any(kind == b"R" and b"SCRAM-SHA-256" in body for kind, body in client.log)
    assert client.parameters["server_version"].split(".")[0] == str(server.version)
    shown = client.value("SHOW server_version_num")
    assert int(shown) // 10000 == server.version
    assert client.value("SELECT current_user") == "app"


@pytest.mark.parametrize("route", ["asked_session", "asked_transaction"])
def test_auth_query(clients, route):
    """No password is stored: the default query reads the verifier, the client's keys log in."""
    for user in ("scram_user", "other"):
        assert clients(route, user=user).value("SELECT current_user") == user
        with pytest.raises(ServerError) as refused:
            clients(route, user=user, password="wrong")
        assert refused.value.code == "28P01"
    with pytest.raises(ServerError) as refused:
        clients(route, user="no_such_role", password=ROLES["app"])
    assert refused.value.code == "28P01"


def test_an_expired_password_is_no_password(server, clients):
    server.admin("CREATE ROLE expired LOGIN PASSWORD 'old' VALID UNTIL '2001-01-01'")
    with pytest.raises(ServerError) as refused:
        clients("asked_transaction", user="expired", password="old")
    assert refused.value.code == "28P01"


@pytest.mark.parametrize("name, mine", [("work_mem", "7MB"), ("search_path", "pg_catalog")])
def test_parameters_follow_their_session(clients, name, mine):
    client, other = clients("one", application_name="first"), clients("one")
    plain = other.value(f"SHOW {name}")
    client.rows(f"SET {name} = '{mine}'")
    for _ in range(2):
        # The same server connection, by turns.
        assert client.value(f"SHOW {name}") == mine
        assert client.value("SHOW application_name") == "first"
        pid = client.value("SELECT pg_backend_pid()")
        assert other.value(f"SHOW {name}") == plain
        assert other.value("SELECT pg_backend_pid()") == pid
    # And a new one.
    client.query("SELECT pg_terminate_backend(pg_backend_pid())")
    eventually(lambda: "T" in kinds(client.query(f"SHOW {name}")), "there is another")
    assert client.value("SELECT pg_backend_pid()") != pid
    assert client.value(f"SHOW {name}") == mine
    client.rows("RESET ALL")
    assert client.value(f"SHOW {name}") == plain


def test_what_is_reported_is_what_holds(server, clients):
    """Each version reports parameters of its own: a client hears of its session's values alone."""
    client, other = clients("one"), clients("one")
    plain = dict(other.parameters)
    assert ("search_path" in plain) == (server.version >= 18)
    reported = {"search_path", "DateStyle", "application_name"} & set(plain)
    for name in reported:
        found = client.query(f"SET {name} = {'German' if name == 'DateStyle' else 'mine'}")
        assert [text_pair(body)[0] for kind, body in found if kind == b"S"] == [name]
    for name in reported:
        heard = other.query(f"SHOW {name}")
        assert values(heard) == [plain[name]]
        for kind, body in heard:
            assert kind != b"S" or text_pair(body)[1] == plain[text_pair(body)[0]]


@pytest.mark.parametrize("call", ["hidden_set()", "hidden_body()", "one FROM hidden_view"])
def test_state_that_a_function_makes_reaches_nobody(clients, call):
    """Its catalogs say which functions do; one has its body as a tree, one hides in a view."""
    client, other = clients("one"), clients("one")
    for _ in range(2):
        assert client.value(f"SELECT {call}") == "1"
        assert other.value("SELECT current_setting('app.hidden', true)") in (None, "")


def test_a_session_leaves_nothing_for_the_next(clients):
    client = clients("session_one")
    client.rows("SET work_mem = '7MB'; CREATE TEMP TABLE left_over (id int); LISTEN left_over")
    client.rows("PREPARE left_over AS SELECT 1")
    client.terminate()
    client = clients("session_one")
    assert client.value("SHOW work_mem") != "7MB"
    assert client.value("SELECT to_regclass('left_over')") is None
    assert client.value("SELECT count(*) FROM pg_prepared_statements") == "0"
    assert client.value("SELECT count(*) FROM pg_listening_channels()") == "0"


@pytest.mark.parametrize("route", POOLED)
def test_listen(server, clients, route):
    client = clients(route)
    assert kinds(client.query("LISTEN heard")) == "CZ"
    assert kinds(client.query("NOTIFY heard, 'own'")) == "CAZ"
    server.admin("NOTIFY heard, 'from elsewhere'")
    kind, body = client.read_message(5)
    assert kind == b"A" and text_pair(body[4:]) == ("heard", "from elsewhere")
    assert client.value("SELECT 1") == "1"
    client.rows("UNLISTEN *")
    server.admin("NOTIFY heard, 'too late'")
    client.expect_silence()
    assert "idle_session_timeout" not in server.log_text()


def test_a_temporary_table_pins(clients):
    client, other = clients("two"), clients("two")
    told = notices(client.query("CREATE TEMP TABLE kept AS SELECT 1 AS id"))
    assert [notice["S"] for notice in told] == ["NOTICE"]
    pid = client.value("SELECT pg_backend_pid()")
    for _ in range(3):
        assert other.value("SELECT to_regclass('pg_temp.kept')") is None
        assert client.value("SELECT id FROM kept") == "1"
        assert client.value("SELECT pg_backend_pid()") == pid
    client.rows("DROP TABLE kept")
    blocker = clients("two")
    blocker.rows("BEGIN")
    assert client.value("SELECT 1") == "1" and other.value("SELECT 1") == "1"
    blocker.rows("COMMIT")


@pytest.mark.parametrize("route", POOLED)
def test_prepared_statements(clients, route):
    client = clients(route)
    client.send(parse("SELECT $1::int + 1", "s") + describe_statement("s") + sync())
    assert kinds(client.read_until()) == "1tTZ"
    if route == "one":
        # The same name and another statement; then a move to a server connection without either.
        other = clients(route)
        theirs = parse("SELECT $1::text", "s") + bind(["theirs"], statement="s") + execute()
        other.send(theirs + sync())
        assert values(other.read_until()) == ["theirs"]
    for number in (1, 2):
        client.send(bind([number], statement="s") + execute() + sync())
        assert values(client.read_until()) == [str(number + 1)]
    if route == "one":
        client.query("SELECT pg_terminate_backend(pg_backend_pid())")

        def moved():
            client.send(bind([3], statement="s") + execute() + sync())
            found = client.read_until()
            return kinds(found) == "2DCZ" and values(found) == ["4"]

        # The first try may meet the connection that is about to end.
        eventually(moved, "it is prepared again on another server connection")


@pytest.mark.parametrize("route", POOLED)
def test_copy(clients, route):
    client = clients(route)
    client.rows("TRUNCATE things")
    client.send(query("COPY things FROM STDIN"))
    assert kinds([client.read_message()]) == "G"
    rows = "".join(f"{number}\tnote {number}\n" for number in range(1000)).encode()
    client.send(copy_data(rows[:5000]) + copy_data(rows[5000:]) + copy_done())
    assert client.read_until()[0] == (b"C", b"COPY 1000\0")
    found = client.query("COPY (SELECT * FROM things ORDER BY id) TO STDOUT")
    assert b"".join(body for kind, body in found if kind == b"d") == rows
    client.send(query("COPY things FROM STDIN"))
    client.read_message()
    client.send(copy_data(b"not a number\tx\n") + copy_done())
    assert first_error(client.read_until())["C"] == "22P02"
    assert client.value("SELECT count(*) FROM things") == "1000"


@pytest.mark.parametrize("route", POOLED)
def test_cancel(server, clients, route):
    client = clients(route)
    client.send(query("SELECT pg_sleep(60), 'to be cancelled'"))
    eventually(
        lambda: server.backends("query LIKE '%to be cancelled%' AND state = 'active'"), "it runs"
    )
    client.cancel()
    assert first_error(client.read_until())["C"] == "57014"
    assert client.value("SELECT 1") == "1"


def test_the_newest_protocol(server, gate, clients):
    """3.2 is asked for. 18 has it, with long cancel keys; an older one says that it has 3.0."""
    client = clients("newest")
    client.send(query("SELECT pg_sleep(60), 'on the newest'"))
    eventually(
        lambda: server.backends("query LIKE '%on the newest%' AND state = 'active'"), "it runs"
    )
    client.cancel()
    assert first_error(client.read_until())["C"] == "57014"
    assert client.value("SELECT 1") == "1"

    ((sent, answered),) = [each for each in gate.passed if b"on the newest" in each[0]]
    assert sent[4:8] == struct.pack("!i", VERSION_3 + 2)
    found = list(split(bytes(answered)))
    has_it = server.version >= 18
    offered = [body[:4] for kind, body in found if kind == b"v"]
    assert offered == ([] if has_it else [struct.pack("!i", VERSION_3)])
    (key,) = [body[4:] for kind, body in found if kind == b"K"]
    assert len(key) == (32 if has_it else 4)
    cancels = [bytes(sent) for sent, _ in gate.passed if len(sent) == 12 + len(key)]
    assert [sent[12:] for sent in cancels] == [key]


def test_a_block_stays_on_one_server_connection_and_errors_are_the_servers(clients):
    client = clients("two")
    client.rows("BEGIN")
    pid = client.value("SELECT pg_backend_pid()")
    other = clients("two")
    other.value("SELECT 1")
    assert client.value("SELECT pg_backend_pid()") == pid
    assert client.error("SELECT 1/0")["C"] == "22012"
    assert client.error("SELECT 1")["C"] == "25P02"
    assert client.query("COMMIT")[-1] == (b"Z", b"I")


def test_the_log_of_the_server_is_clean(server, clients):
    """None of Signalbox's own statements is one that this version does not know."""
    clients("one").value("SELECT 1")
    log = server.log_text()
    for sign in ("syntax error", "does not exist", "unrecognized", "does not support", "PANIC"):
        assert sign not in log.replace('role "no_such_role" does not exist', ""), log[-3000:]
