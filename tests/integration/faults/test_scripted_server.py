"""A server that does what no real one can be made to do on time."""

import contextlib
import struct
import threading

import pytest

from harness import ConnectionClosed, FakeServer, eventually, messages
from harness.raw_client import ServerError, first_error, notices
from harness.signalbox import standard_config


class Script:
    """Dull but correct, except where a text holds a mark: `marks` maps it to a handler.

    A handler gets (session, kind); True means that it has answered and the connection goes on.
    """

    def __init__(self, marks=None, before=None):
        self.marks = marks or {}
        self.before = before

    def __call__(self, session):
        if self.before is not None and self.before(session):
            return
        for kind, body in session.requests():
            text = session.sql(kind, body)
            handler = next((h for mark, h in self.marks.items() if mark in text), None)
            if handler is None:
                session.answer(kind, body)
            elif not handler(session, kind):
                return


@pytest.fixture
def scripted(start_box):
    """scripted(script, **FakeServer options) gives (server, box)."""
    servers = []

    def start(script, route=None, **options):
        server = FakeServer(script, **options)
        servers.append(server)
        settings = {"hold_timeout": "5s", "connect_timeout": "1s", "pool_size": 1, **(route or {})}
        # Nobody but the clients: no check, no examination of what is there.
        changes = {"availability": {"interval": "0"}}
        box = start_box(standard_config(server, changes, route=settings))
        return server, box

    yield start
    for server in servers:
        server.close()
        assert not server.errors, "\n".join(server.errors)


def hang_up(session, _kind):
    session.close()


def test_closed_exactly_when_assigned(scripted):
    """The server closes with our statement on the way: an error, never a second try."""
    server, box = scripted(Script({"marked": hang_up}))
    client = box.raw("transaction")
    assert client.value("SELECT 1") == "x"
    found = client.query("INSERT INTO marked VALUES (1)")
    assert first_error(found)["C"] == "08006" and found[-1] == (b"Z", b"I"), found
    assert client.value("SELECT 2") == "x"
    assert sum("marked" in text for text in server.statements()) == 1


def test_closed_while_idle(scripted):
    """Noticed before use: the next statement goes to a new server connection, without an error."""
    server, box = scripted(Script())
    client = box.raw("transaction")
    for _ in range(3):
        assert client.value("SELECT 1") == "x"
        count = len(server.sessions)
        server.sessions[-1].socket.shutdown(2)
        assert client.value("SELECT 2") == "x"
        assert len(server.sessions) == count + 1


def test_fatal_between_transactions(scripted):
    """57P01 on an idle server connection is the pool's business, not the client's."""
    server, box = scripted(Script())
    client = box.raw("transaction")
    assert client.value("SELECT 1") == "x"
    session = server.sessions[-1]
    session.send(messages.error("57P01", "terminating connection", "FATAL"))
    with contextlib.suppress(OSError):  # Signalbox may have closed it already
        session.socket.shutdown(2)
    client.expect_silence(0.1)
    assert client.value("SELECT 2") == "x"


def test_fatal_between_transactions_in_session_mode(scripted):
    """There it is the client's: the server's own words, once, and then the end."""
    server, box = scripted(Script())
    client = box.raw("session")
    assert client.value("SELECT 1") == "x"
    server.sessions[-1].send(messages.error("57P01", "terminating connection", "FATAL"))
    server.sessions[-1].socket.shutdown(2)
    found = client.read_to_end()
    assert [kind for kind, _ in found] == [b"E"], found
    fields = first_error(found)
    assert (fields["V"], fields["C"]) == ("FATAL", "57P01"), fields
    assert fields["M"] == "terminating connection"


def test_fatal_inside_a_statement(scripted):
    def fatal(session, _kind):
        session.send(messages.error("57P01", "terminating connection", "FATAL"))
        session.close()

    _, box = scripted(Script({"marked": fatal}))
    client = box.raw("transaction")
    client.send(messages.query("SELECT marked"))
    found = []
    try:
        while not found or found[-1][0] != b"Z":
            found.append(client.read_message())
        assert client.value("SELECT 1") == "x"
    except ConnectionClosed:
        pass
    assert [kind for kind, _ in found].count(b"E") == 1, found
    assert first_error(found)["C"] in {"57P01", "08006"}
    assert box.raw("transaction").value("SELECT 1") == "x"


@pytest.mark.parametrize("extended", [False, True])
def test_error_without_sqlstate(scripted, extended):
    """Some servers in the wild leave the code out; the text still reaches the client."""

    def fail(session, kind):
        session.fail(kind, messages.error(None, "no code at all"))
        return True

    _, box = scripted(Script({"marked": fail}))
    client = box.raw("transaction")
    if extended:
        client.send(
            messages.parse("SELECT marked") + messages.bind() + messages.execute() + messages.sync()
        )
    else:
        client.send(messages.query("SELECT marked"))
    found = client.read_until(b"Z")
    assert first_error(found)["M"] == "no code at all"
    assert client.value("SELECT 1") == "x"


def test_login_error_without_sqlstate(scripted):
    def refuse(session):
        session.send(messages.error(None, "go away", "FATAL"))
        return False

    _, box = scripted(None, authenticate=refuse, route={"hold_timeout": "1s"})
    with pytest.raises((ServerError, ConnectionClosed)):
        box.raw("transaction")
    assert box.process.poll() is None


def test_empty_and_odd_errors(scripted):
    """An ErrorResponse without a single field, and one with unknown fields."""
    odd = [b"\0", b"SERROR\0zsome later field\0Mtext\0\0", b"MXX\0\0"]

    def fail(session, kind):
        session.fail(kind, messages.message(b"E", odd[0]))
        odd.append(odd.pop(0))
        return True

    _, box = scripted(Script({"marked": fail}))
    client = box.raw("transaction")
    for _ in range(3):
        found = client.query("SELECT marked")
        assert [kind for kind, _ in found] == [b"E", b"Z"], found
    assert client.value("SELECT 1") == "x"


@pytest.mark.parametrize(
    "junk",
    [
        b"D\0\0\0\2",  # a length below 4
        b"D\x7f\xff\xff\xff",  # a huge one, then the end
        b"\0\0\0\0\0\0",
        b"HTTP/1.1 400 Bad Request\r\n\r\n",
        b"T\0\0\0\x20short",
        b"Z\0\0\0\5",  # a ReadyForQuery that is cut off
    ],
)
def test_nonsense_from_the_server(scripted, junk):
    """Never a hang, never the wrong answer for the next one, never the end of the process."""

    def send_junk(session, _kind):
        session.send(junk)
        session.close()

    _, box = scripted(Script({"marked": send_junk}))
    client = box.raw("transaction")
    client.send(messages.query("SELECT marked"))
    try:
        found = client.read_until(b"Z", timeout=5)
        assert first_error(found)["V"] in {"ERROR", "FATAL"}
    except ConnectionClosed:
        pass
    assert box.raw("transaction").value("SELECT 1") == "x"


def test_closed_in_the_middle_of_a_row(scripted):
    def cut(session, _kind):
        row = messages.data_row("y" * 100)
        session.send(messages.row_description("x") + row + row[:50])
        session.close()

    _, box = scripted(Script({"marked": cut}))
    client = box.raw("transaction")
    client.send(messages.query("SELECT marked"))
    try:
        found = client.read_until(b"Z", timeout=5)
        assert first_error(found)["C"] == "08006", found
        assert client.value("SELECT 1") == "x"
    except ConnectionClosed:
        pass  # half a message had gone out: the only honest end
    assert box.raw("transaction").value("SELECT 1") == "x"


def test_unasked_messages(scripted):
    """Notice, ParameterStatus and NotificationResponse may come at any time."""
    extra = (
        messages.error("00000", "by the way", "NOTICE", kind=b"N")
        + messages.parameter_status("TimeZone", "UTC")
        + messages.message(b"A", struct.pack("!i", 1) + b"nobody\0listens\0")
    )

    def chatty(session, _kind):
        session.send(
            extra
            + messages.row_description("x")
            + extra
            + messages.data_row("x")
            + messages.command_complete("SELECT 1")
            + messages.ready()
            + extra
        )
        return True

    _, box = scripted(Script({"marked": chatty}))
    client = box.raw("transaction")
    other = box.raw("transaction")
    for _ in range(3):
        found = client.query("SELECT marked")
        assert [k for k, _ in found if k not in (b"N", b"S", b"A")] == [b"T", b"D", b"C", b"Z"]
        assert [n["M"] for n in notices(found)][:2] == ["by the way"] * 2, found
        assert client.value("SELECT 1") == "x"
        assert [k for k, _ in other.query("SELECT 2")] == [b"T", b"D", b"C", b"Z"]


def test_a_server_that_is_starting_up_is_held_for(scripted):
    """57P03 at login is a target that is down, for a while."""
    attempts = []

    def starting(session):
        attempts.append(session)
        if len(attempts) < 3:
            session.send(messages.error("57P03", "the database system is starting up", "FATAL"))
            return False
        session.greet()
        return True

    _, box = scripted(Script(), authenticate=starting)
    assert box.raw("transaction").value("SELECT 1") == "x"
    assert len(attempts) == 3


def test_a_full_server_is_waited_for(scripted):
    attempts = []

    def full(session):
        attempts.append(session)
        if len(attempts) < 3:
            session.send(messages.error("53300", "sorry, too many clients already", "FATAL"))
            return False
        session.greet()
        return True

    _, box = scripted(Script(), authenticate=full)
    assert box.raw("transaction").value("SELECT 1") == "x"


def test_a_server_that_never_answers_the_login(scripted):
    release = threading.Event()

    def mute(_session):
        release.wait(15)
        return False

    _, box = scripted(None, authenticate=mute, route={"hold_timeout": "2s"})
    try:
        with pytest.raises(ServerError) as caught:
            box.raw("transaction", timeout=12)
        assert caught.value.fields["V"] == "FATAL" and caught.value.code == "57P03"
    finally:
        release.set()


def test_missing_database_and_role_come_through_in_the_servers_words(scripted):
    def missing(session):
        session.send(messages.error("3D000", 'database "app" does not exist', "FATAL"))
        return False

    _, box = scripted(None, authenticate=missing)
    with pytest.raises(ServerError) as caught:
        box.raw("transaction")
    assert (caught.value.fields["V"], caught.value.code) == ("FATAL", "3D000")
    assert caught.value.fields["M"] == 'database "app" does not exist'


def test_idle_server_connections_do_not_pile_up(scripted):
    """Two workers and one route of size 1: the limit is the pool's, not the worker's."""
    server, box = scripted(Script())
    clients = [box.raw("transaction") for _ in range(10)]
    for _ in range(5):
        for client in clients:
            assert client.value("SELECT 1") == "x"
    assert len(server.sessions) == 1
    for client in clients:
        client.terminate()


def test_a_reply_in_single_bytes(scripted):
    def drip(session, _kind):
        reply = (
            messages.row_description("x")
            + messages.data_row("dripped")
            + messages.command_complete("SELECT 1")
            + messages.ready()
        )
        for byte in reply:
            session.send(bytes([byte]))
        return True

    _, box = scripted(Script({"marked": drip}))
    client = box.raw("transaction")
    for _ in range(5):
        assert client.value("SELECT marked") == "dripped"


def test_terminate_is_sent_to_the_server(scripted):
    """At the end the server gets a goodbye, not a reset."""
    server, box = scripted(Script())
    client = box.raw("transaction")
    client.value("SELECT 1")
    client.terminate()
    session = server.sessions[0]
    box.stop()
    eventually(lambda: session.seen[-1][0] == b"X", "Terminate has come")
