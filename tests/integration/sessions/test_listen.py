"""LISTEN and NOTIFY in every pool mode: they never pin, and one hears only what one asked for."""

import pytest

from harness import eventually
from harness.messages import bind, execute, parse, query, sync
from harness.messages import text_pair as _pair


def heard(messages):
    """(channel, payload) of the notifications."""
    return [_pair(body[4:]) for kind, body in messages if kind == b"A"]


@pytest.fixture(params=["session", "one", "two", "statement_one"])
def route(request):
    return request.param


def listen(client, channel):
    found = client.query(f"LISTEN {channel}")
    assert [kind for kind, _ in found] == [b"C", b"Z"], found


def next_notification(client, timeout=5):
    kind, body = client.read_message(timeout)
    assert kind == b"A", (kind, body)
    return _pair(body[4:])


def test_an_idle_session_hears(pg, clients, route):
    client = clients(route)
    listen(client, "idle_channel")
    pg.admin("NOTIFY idle_channel, 'hello'")
    assert next_notification(client) == ("idle_channel", "hello")
    pg.admin("NOTIFY other_channel, 'not for you'")
    client.expect_silence()


def test_ones_own_comes_before_ready(clients, route):
    client = clients(route)
    listen(client, "own_channel")
    found = client.query("NOTIFY own_channel, 'mine'")
    assert [kind for kind, _ in found] == [b"C", b"A", b"Z"], found
    assert heard(found) == [("own_channel", "mine")]


def test_several_listeners_share_one_server_connection(pg, clients):
    listeners = [clients("one") for _ in range(4)]
    for client in listeners:
        listen(client, "shared_channel")
    bystander = clients("one")
    assert bystander.value("SELECT 1") == "1"  # nobody is pinned
    pg.admin("NOTIFY shared_channel, 'all'")
    for client in listeners:
        assert next_notification(client) == ("shared_channel", "all")
    listeners[0].query("UNLISTEN shared_channel")
    listeners[1].query("UNLISTEN *")
    listeners[2].query("DISCARD ALL")
    pg.admin("NOTIFY shared_channel, 'last'")
    assert next_notification(listeners[3]) == ("shared_channel", "last")
    for client in (*listeners[:3], bystander):
        client.expect_silence(0.1)


def test_listening_channels_are_the_sessions_own(clients, route):
    first, second = clients(route), None
    listen(first, "visible_channel")
    assert first.rows("SELECT 1") == [("1",)]
    first.query("UNLISTEN *")
    if route == "two":
        second = clients(route)
        assert second.value("SELECT count(*) FROM pg_listening_channels()") == "0"


@pytest.mark.parametrize("ending, hears", [("COMMIT", True), ("ROLLBACK", False)])
def test_listen_is_transactional(pg, clients, mode, ending, hears):
    client = clients(mode)
    client.query("BEGIN")
    client.query("LISTEN transactional_channel")
    client.query(ending)
    pg.admin("NOTIFY transactional_channel, 'x'")
    if hears:
        assert next_notification(client) == ("transactional_channel", "x")
    else:
        client.expect_silence()


def test_notifications_wait_for_the_end_of_the_transaction(pg, clients, mode):
    client = clients(mode)
    listen(client, "patient_channel")
    client.query("BEGIN")
    pg.admin("NOTIFY patient_channel, 'x'")
    assert heard(client.query("SELECT 1")) == []
    client.expect_silence(0.1)
    client.send(query("COMMIT"))
    found = client.read_until(b"Z")
    assert (heard(found) or [next_notification(client)]) == [("patient_channel", "x")]


def test_notify_in_a_rolled_back_transaction_is_silent(clients, mode):
    listener, sender = clients(mode), clients(mode)
    listen(listener, "silent_channel")
    for sql in ("BEGIN", "NOTIFY silent_channel", "ROLLBACK"):
        sender.query(sql)
    listener.expect_silence(0.1)
    sender.query("NOTIFY silent_channel, 'now'")
    assert next_notification(listener) == ("silent_channel", "now")


def test_listen_over_the_extended_protocol(pg, clients, mode):
    client = clients(mode)
    client.send(parse("LISTEN extended_channel") + bind() + execute() + sync())
    assert [kind for kind, _ in client.read_until(b"Z")] == [b"1", b"2", b"C", b"Z"]
    pg.admin("SELECT pg_notify('extended_channel', 'x')")
    assert next_notification(client) == ("extended_channel", "x")


def test_quoted_and_folded_names(pg, clients, mode):
    client = clients(mode)
    listen(client, "FoldedName")
    listen(client, '"Quoted Name"')
    pg.admin("NOTIFY foldedname, '1'")
    assert next_notification(client) == ("foldedname", "1")
    pg.admin("NOTIFY \"Quoted Name\", '2'")
    assert next_notification(client) == ("Quoted Name", "2")


def test_listening_outlives_the_server_connection(pg, clients):
    """Behind a lost server connection the channel is listened to again."""
    client = clients("transaction")
    listen(client, "lasting_channel")
    killed = pg.admin(
        "SELECT pid, pg_terminate_backend(pid) FROM pg_stat_activity "
        "WHERE usename = 'app' AND pid <> pg_backend_pid()"
    )
    pids = ", ".join(str(pid) for pid, _ in killed)
    eventually(
        lambda: pg.admin(f"SELECT 1 FROM pg_stat_activity WHERE pid IN ({pids})") == [],
        "the terminated backends are gone",
    )
    assert client.value("SELECT 1") == "1"
    found = []
    for _ in range(50):
        pg.admin("NOTIFY lasting_channel, 'x'")
        try:
            found = [next_notification(client, 0.2)]
            break
        except TimeoutError:
            pass
    assert found == [("lasting_channel", "x")]
