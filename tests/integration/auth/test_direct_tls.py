"""TLS from the first byte on (PostgreSQL 17's sslnegotiation=direct), and ALPN on both sides."""

import socket
import ssl
import threading
import time

import pytest

from harness import ConnectionClosed, FakeServer, RawClient, eventually, messages
from harness.messages import GSSENC_REQUEST, SSL_REQUEST
from harness.postgres import ROLES
from harness.raw_client import ServerError, tls_context
from harness.signalbox import client_certificates, standard_config

SHORT = {"hold_timeout": "2s", "connect_timeout": "1s"}
ALPN = ["postgresql"]


def context(alpn=(), **options):
    return tls_context(client_certificates().ca, alpn=list(alpn), **options)


def connect(port, alpn=ALPN, direct=True, **options):
    return RawClient("127.0.0.1", port, tls=context(alpn, **options), direct=direct)


def logs_in(client, database="transaction"):
    client.login("app", database, ROLES["app"])
    found = client.value("SELECT 1")
    client.terminate()
    return found == "1"


def nothing_comes(client, data=b""):
    """Not a word, and the end: nothing says that the other would understand it."""
    try:
        client.send(data)
    except OSError:
        pass  # it is closed already
    client.expect_closed(5)
    client.close()


# --- towards clients


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_direct(box, mode, version):
    client = connect(box.port, minimum=version, maximum=version)
    assert client.socket.selected_alpn_protocol() == "postgresql"
    assert logs_in(client, mode)


def test_alpn_among_others(box):
    client = connect(box.port, alpn=["h2", "postgresql", "http/1.1"])
    assert client.socket.selected_alpn_protocol() == "postgresql"
    assert logs_in(client)


@pytest.mark.parametrize("direct", [True, False])
@pytest.mark.parametrize("alpn", ["h2", "postgresq", "postgresql/3", "PostgreSQL"])
def test_another_protocol_is_refused(box, direct, alpn):
    """By the alert of RFC 7301, as PostgreSQL 17 does, whether TLS was asked for or not."""
    with pytest.raises(ssl.SSLError, match="(?i)no.application.protocol"):
        connect(box.port, alpn=[alpn], direct=direct)
    assert logs_in(connect(box.port))


def test_without_alpn(box):
    """TLS that nobody asked for has to say what it is for; TLS that was asked for need not."""
    client = connect(box.port, alpn=[])
    nothing_comes(client, messages.startup("app", "transaction"))
    box.wait_log("direct TLS without ALPN")
    client = connect(box.port, alpn=[], direct=False)
    assert client.socket.selected_alpn_protocol() is None
    assert logs_in(client)


def test_alpn_with_tls_that_was_asked_for(box):
    client = connect(box.port, direct=False)
    assert client.socket.selected_alpn_protocol() == "postgresql"
    assert logs_in(client)


class Dribble:
    """Hands on what a client sends byte by byte, and what the server sends as it comes."""

    def __init__(self, port):
        self._target = port
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self):
        client, _ = self._listener.accept()
        server = socket.create_connection(("127.0.0.1", self._target))
        server.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        threading.Thread(target=self._back, args=(server, client), daemon=True).start()
        sent = 0
        while data := client.recv(65536):
            for at in range(len(data)):
                server.sendall(data[at : at + 1])
                sent += 1
                time.sleep(0.01 if sent < 20 else 0)  # the first ones arrive alone
        server.close()

    @staticmethod
    def _back(server, client):
        try:
            while data := server.recv(65536):
                client.sendall(data)
        except OSError:
            pass

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._listener.close()


def test_a_handshake_in_pieces(box):
    with Dribble(box.port) as pieces:
        assert logs_in(connect(pieces.port))


def test_what_is_asked_inside(box):
    """As PostgreSQL 17: encryption is there already, so another one is not to be had."""
    client = connect(box.port)
    for request in (SSL_REQUEST, GSSENC_REQUEST):
        client.send(request)
        assert client.read_exact(1) == b"N"
    assert logs_in(client)


def test_only_at_the_beginning(box):
    client = RawClient("127.0.0.1", box.port)
    client.send(GSSENC_REQUEST)
    assert client.read_exact(1) == b"N"
    with pytest.raises((ssl.SSLError, ConnectionError)):
        client.start_tls(context(ALPN), direct=True)
    client.close()
    assert logs_in(connect(box.port))


@pytest.mark.parametrize("junk", [b"\x16", b"\x16\x03\x01\x00\x05hello", b"\x16" * 9000])
def test_no_handshake_at_all(box, junk):
    client = RawClient("127.0.0.1", box.port)
    client.send(junk)
    client.half_close()
    # At most an alert, which is no message of the protocol.
    try:
        while (data := client.socket.recv(4096)) != b"":
            assert data[0] == 0x15
    except ConnectionError:
        pass
    client.close()
    assert logs_in(connect(box.port))


def test_a_handshake_without_an_end(pg, start_box):
    box = start_box(standard_config(pg, {"listen": {"startup_timeout": "1s"}}))
    with RawClient("127.0.0.1", box.port) as client:
        client.send(b"\x16\x03\x01")
        client.expect_closed(5)


def test_where_tls_is_off(pg, start_box, tmp_path):
    changes = {"tls": {"mode": "off"}, "listen": {"unix_socket_dir": str(tmp_path)}}
    box = start_box(standard_config(pg, changes))
    with pytest.raises((ssl.SSLError, ConnectionError)):
        connect(box.port)
    assert box.raw("transaction").value("SELECT 1") == "1"


def test_over_a_unix_domain_socket(pg, start_box, tmp_path):
    box = start_box(standard_config(pg, {"listen": {"unix_socket_dir": str(tmp_path)}}))
    path = tmp_path / f".s.PGSQL.{box.port}"
    with pytest.raises((ssl.SSLError, ConnectionError)):
        RawClient(unix=path, tls=context(ALPN), direct=True)
    assert logs_in(RawClient(unix=path))


def test_certificates_of_clients(pg, start_box):
    rules = {"mode": "verify-full"}
    box = start_box(standard_config(pg, {"tls": rules, "auth": {"method": "cert"}}))
    assert logs_in(connect(box.port, client=client_certificates().client("app")))
    with pytest.raises((ServerError, ConnectionClosed, ssl.SSLError)):
        logs_in(connect(box.port, client=client_certificates().client("somebody")))


def test_cancel(box, mode):
    client = connect(box.port)
    client.login("app", mode, ROLES["app"])
    client.send(messages.query("SELECT pg_sleep(60)"))
    time.sleep(0.3)
    with connect(box.port) as other:
        other.send(messages.cancel_request(*client.backend_key))
        other.read_to_end()
    found = client.read_until(b"Z", timeout=10)
    assert [messages.error_fields(b)["C"] for k, b in found if k == b"E"] == ["57014"]
    client.terminate()


# --- towards servers


def server_context(pg, alpn=ALPN):
    made = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    made.load_cert_chain(*map(str, pg.certificates.server("postgres")))
    if alpn:
        made.set_alpn_protocols(alpn)
    return made


def to_server(server, start_box, **options):
    target = {"ssl_mode": "require", **options}
    return start_box(standard_config(server, connection=target, route=SHORT))


def test_towards_a_server(pg, start_box):
    with FakeServer(tls=server_context(pg)) as server:
        box = to_server(server, start_box, ssl_negotiation="direct")
        assert box.raw("transaction").value("SELECT 1") == "x"
        assert all(session.is_direct for session in server.sessions)
        assert server.sessions[0].alpn == "postgresql"


@pytest.mark.parametrize("alpn", [ALPN, []])
def test_towards_a_server_that_is_asked(pg, start_box, alpn):
    """As libpq 17: the protocol is offered, and nothing depends on it."""
    with FakeServer(tls=server_context(pg, alpn)) as server:
        box = to_server(server, start_box)
        assert box.raw("transaction").value("SELECT 1") == "x"
        assert not any(session.is_direct for session in server.sessions)
        found = server.sessions[0].alpn
        assert found == (alpn[0] if alpn else None)


def test_a_server_without_alpn(pg, start_box):
    """Whoever that is gets no startup message."""
    with FakeServer(tls=server_context(pg, [])) as server:
        box = to_server(server, start_box, ssl_negotiation="direct")
        with pytest.raises(ServerError, match="without ALPN"):
            box.raw("transaction").value("SELECT 1")
        assert not server.sessions


def test_a_server_before_17(pg, start_box):
    box = to_server(pg, start_box, ssl_negotiation="direct")
    with pytest.raises(ServerError) as caught:
        box.raw("transaction").value("SELECT 1")
    assert caught.value.code == "57P03", caught.value.fields
    assert "during the TLS handshake" in str(caught.value.fields)


def test_a_cancel_goes_as_its_connection(pg, start_box):
    def script(session):
        for kind, body in session.requests():
            if session.sql(kind, body) == "SELECT slow":
                eventually(lambda: server.cancels, "the cancel has come")
                session.fail(kind, messages.error("57014", "canceling statement", "ERROR"))
            else:
                session.answer(kind, body)

    with FakeServer(script, tls=server_context(pg)) as server:
        box = to_server(server, start_box, ssl_negotiation="direct")
        client = box.raw("transaction")
        client.send(messages.query("SELECT slow"))
        eventually(lambda: "SELECT slow" in server.statements(), "it runs")
        client.cancel()
        found = client.read_until(b"Z")
        assert [messages.error_fields(b)["C"] for k, b in found if k == b"E"] == ["57014"]
        assert len(server.cancels) == 1
