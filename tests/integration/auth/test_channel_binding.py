"""SCRAM-SHA-256-PLUS on both sides: bound to the server's certificate, or refused."""

import hashlib
import select
import socket
import ssl
import struct
import subprocess
import threading

import psycopg
import pytest

from harness import ConnectionClosed, FakeServer, RawClient, ScramServer, Signalbox, messages
from harness.certs import Certificates
from harness.postgres import BIN, ROLES
from harness.raw_client import Scram, ServerError, tls_context
from harness.signalbox import client_certificates, standard_config

SHORT = {"hold_timeout": "2s", "connect_timeout": "1s"}
PLAIN, PLUS = "SCRAM-SHA-256", "SCRAM-SHA-256-PLUS"
BOUND = "p=tls-server-end-point,,"


def certificate_hash(path):
    """Of a certificate that is signed with SHA-256."""
    return hashlib.sha256(ssl.PEM_cert_to_DER_cert(path.read_text())).digest()


def server_context(pair):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*map(str, pair))
    return context


class Interceptor:
    """A man in the middle: TLS with his own certificate on one side, TLS as a client on the other."""

    def __init__(self, target, pair):
        self._target = target
        self._context = server_context(pair)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        self.intercepted = 0
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self):
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._relay, args=(client,), daemon=True).start()

    def _relay(self, client):
        try:
            client.settimeout(10)
            while client.recv(8, socket.MSG_WAITALL) != messages.SSL_REQUEST:
                client.sendall(b"N")
            client.sendall(b"S")
            client = self._context.wrap_socket(client, server_side=True)
            server = RawClient("127.0.0.1", self._target, tls=tls_context()).socket
            self.intercepted += 1
            while True:
                ready = [end for end in (client, server) if end.pending()]
                for end in ready or select.select([client, server], [], [], 30)[0]:
                    data = end.recv(65536)
                    if not data:
                        return
                    (server if end is client else client).sendall(data)
        except (OSError, ConnectionClosed):
            pass
        finally:
            client.close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._listener.close()


@pytest.fixture(scope="module")
def foreign_pair(tmp_path_factory):
    """A certificate for localhost that somebody else has signed."""
    return Certificates(tmp_path_factory.mktemp("foreign"), "foreign").server()


@pytest.fixture(scope="module")
def unhashed_pair(tmp_path_factory):
    """Ed25519: the signature's algorithm names no hash, so that there is nothing to bind to."""
    folder = tmp_path_factory.mktemp("ed25519")
    pair = folder / "server.crt", folder / "server.key"
    command = ["openssl", "req", "-x509", "-newkey", "ed25519", "-nodes", "-days", "2"]
    command += ["-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost"]
    subprocess.run([*command, "-out", pair[0], "-keyout", pair[1]], check=True, capture_output=True)
    return pair


# --- towards clients


def psql(port, database, **options):
    words = {"host": "127.0.0.1", "port": port, "user": "app", "dbname": database, **options}
    return subprocess.run(
        [BIN / "psql", "-XAt", "-c", "SELECT 1", " ".join(f"{k}={v}" for k, v in words.items())],
        env={"PGPASSWORD": ROLES["app"]},
        capture_output=True,
        text=True,
        timeout=30,
    )


def test_libpq_requires_it(box, mode):
    done = psql(box.port, mode, sslmode="require", channel_binding="require")
    assert (done.returncode, done.stdout) == (0, "1\n"), done.stderr
    # The control: what it requires is not to be had without TLS.
    done = psql(box.port, mode, sslmode="disable", channel_binding="require")
    assert done.returncode != 0 and "channel binding required" in done.stderr, done.stderr


@pytest.mark.parametrize("binding", ["disable", "prefer", "require"])
def test_psycopg(box, mode, binding):
    with box.connect(mode, sslmode="require", channel_binding=binding) as connection:
        assert connection.execute("SELECT 1").fetchone() == (1,)


@pytest.mark.parametrize("binding", ["disable", "prefer", "require"])
def test_a_man_in_the_middle_of_client_and_signalbox(box, foreign_pair, binding):
    """sslmode=require does not look at the certificate: what SCRAM is bound to does."""
    with Interceptor(box.port, foreign_pair) as between:
        done = psql(between.port, "transaction", sslmode="require", channel_binding=binding)
        assert between.intercepted
    if binding == "disable":  # the control: he can be had
        assert (done.returncode, done.stdout) == (0, "1\n"), done.stderr
    else:
        assert done.returncode != 0
        assert "SCRAM channel binding check failed" in done.stderr, done.stderr


def offer(port, database, tls, user="app"):
    """A client that was asked for SASL, and the mechanisms."""
    client = RawClient("127.0.0.1", port, tls=tls_context() if tls else None)
    client.send(messages.startup(user, database))
    kind, body = client.read_message()
    assert (kind, body[:4]) == (b"R", struct.pack("!i", 10))
    return client, body[4:]


def test_what_is_offered(pg, box):
    for tls, names in ((True, (PLUS, PLAIN)), (False, (PLAIN,))):
        expected = b"".join(map(messages.cstring, names)) + b"\0"
        for port, database in ((pg.port, "app"), (box.port, "transaction")):
            client, mechanisms = offer(port, database, tls)
            assert mechanisms == expected
            client.close()


def exchange(port, database, certificate, tls, mechanism, header, bound_to, user="app"):
    """None, or the (severity, SQLSTATE, message) with which the login ends."""
    right = certificate_hash(certificate)
    bound_to = {"right": right, "wrong": right[::-1], "short": right[:-1], "": b""}[bound_to]
    client, _ = offer(port, database, tls, user)
    scram = Scram(ROLES["app"], header=header, bound_to=bound_to)
    first = scram.first()
    size = struct.pack("!i", len(first))
    client.send(messages.password(messages.cstring(mechanism) + size + first))
    try:
        kind, body = client.read_message()
        if kind == b"R":
            client.send(messages.password(scram.final(body[4:])))
            kind, body = client.read_message()
        if kind == b"E":
            fields = messages.error_fields(body)
            return fields["V"], fields["C"], fields["M"]
        assert (kind, body[:4]) == (b"R", struct.pack("!i", 12))
        scram.check(body[4:])
        assert client.read_message() == (b"R", struct.pack("!i", 0))
        return None
    finally:
        client.close()


NEGOTIATION = ("FATAL", "28000", "SCRAM channel binding negotiation error")
CHECK = ("FATAL", "28000", "SCRAM channel binding check failed")
MALFORMED = ("FATAL", "08P01", "malformed SCRAM message")
MECHANISM = ("FATAL", "08P01", "client selected an invalid SASL authentication mechanism")


@pytest.mark.parametrize(
    "tls, mechanism, header, bound_to, expected",
    [
        (True, PLUS, BOUND, "right", None),
        (True, PLUS, BOUND, "wrong", CHECK),
        (True, PLUS, BOUND, "short", CHECK),
        (True, PLUS, BOUND, "", CHECK),
        (True, PLUS, "n,,", "", MALFORMED),
        (True, PLUS, "y,,", "", MALFORMED),
        (True, PLAIN, "n,,", "", None),
        (True, PLAIN, "y,,", "", NEGOTIATION),  # somebody has kept the offer from the client
        (True, PLAIN, BOUND, "right", MALFORMED),
        (False, PLAIN, "n,,", "", None),
        (False, PLAIN, "y,,", "", None),
        (False, PLUS, BOUND, "right", MECHANISM),
    ],
)
def test_headers_and_hashes(pg, box, tls, mechanism, header, bound_to, expected):
    """The same outcome, in the same words, as at a PostgreSQL with a certificate."""
    own = client_certificates().server()[0]
    theirs = pg.certificates.server("postgres")[0]
    bent = tls, mechanism, header, bound_to
    assert exchange(pg.port, "app", theirs, *bent) == expected
    assert exchange(box.port, "transaction", own, *bent) == expected
    # Who does not exist is told the same, but that his password is never right.
    unknown = exchange(box.port, "transaction", own, *bent, user="nobody")
    wrong = ("FATAL", "28P01", 'password authentication failed for user "nobody"')
    assert unknown == (expected or wrong)


def test_other_kinds_of_binding(box):
    own = client_certificates().server()[0]
    for kind in ("tls-unique", "tls-exporter", "TLS-SERVER-END-POINT", ""):
        found = exchange(box.port, "transaction", own, True, PLUS, f"p={kind},,", "right")
        assert found == MALFORMED, kind


def test_a_certificate_without_a_hash_is_not_bound_to(pg, start_box, unhashed_pair):
    certificate, key = unhashed_pair
    box = start_box(standard_config(pg, {"tls": {"certificate": str(certificate), "key": str(key)}}))
    client, mechanisms = offer(box.port, "transaction", tls=True)
    client.close()
    assert mechanisms == messages.cstring(PLAIN) + b"\0"
    with box.connect("transaction", sslmode="require", channel_binding="prefer") as connection:
        assert connection.execute("SELECT 1").fetchone() == (1,)
    with pytest.raises(psycopg.OperationalError, match="channel binding"):
        box.connect("transaction", sslmode="require", channel_binding="require")


# --- towards servers


def outcome(box, database="transaction", user="app"):
    """The server's user, or the error's text."""
    try:
        client = box.raw(database, user=user)
    except ServerError as error:
        return error.fields["M"]
    try:
        return client.value("SELECT current_user")
    except AssertionError as error:
        return str(error)
    finally:
        client.terminate()


def test_a_real_server(pg, start_box):
    connections = {
        binding: {
            "host": "localhost",
            "port": pg.port,
            "user": "app",
            "password": "app",
            "ssl_mode": "verify-full",
            "ssl_certificate_authority": str(pg.certificates.ca),
            "channel_binding": binding,
        }
        for binding in ("disable", "prefer", "require")
    }
    routes = {binding: {"connection": binding} for binding in connections}
    box = start_box(standard_config(pg, {"connections": connections}, routes=routes))
    for binding in connections:
        assert outcome(box, binding) == "app", binding


@pytest.mark.parametrize("binding", ["disable", "prefer", "require"])
def test_a_man_in_the_middle_of_signalbox_and_server(pg, start_box, foreign_pair, binding):
    with Interceptor(pg.port, foreign_pair) as between:
        target = {"port": between.port, "ssl_mode": "require", "channel_binding": binding}
        box = start_box(standard_config(pg, connection=target, route=SHORT))
        found = outcome(box)
        assert between.intercepted
        if binding == "disable":  # the control
            assert found == "app"
        else:
            assert "SCRAM channel binding check failed" in found


@pytest.mark.parametrize(
    "user, ssl_mode, expected",
    [
        ("scram_user", "require", "scram_user"),
        ("scram_user", "prefer", "scram_user"),
        ("scram_user", "allow", "channel binding required, but SSL not in use"),
        ("md5_user", "require", "not supported by server's authentication request"),
        ("password_user", "require", "not supported by server's authentication request"),
        ("trust_user", "require", "server authenticated client without channel binding"),
    ],
)
def test_required_of_a_real_server(pg, start_box, user, ssl_mode, expected):
    target = {"user": user, "ssl_mode": ssl_mode, "channel_binding": "require"}
    target["password"] = user if ROLES[user] else None
    box = start_box(standard_config(pg, connection=target, route=SHORT))
    found = outcome(box)
    assert found == expected if expected == user else expected in found


@pytest.mark.parametrize(
    "binding, mechanisms, chosen, header",
    [
        ("prefer", (PLUS, PLAIN), PLUS, BOUND),
        ("prefer", (PLAIN, PLUS), PLUS, BOUND),
        ("prefer", (PLUS,), PLUS, BOUND),
        ("prefer", (PLAIN,), PLAIN, "y,,"),  # so that a server which had offered it refuses
        ("require", (PLUS, PLAIN), PLUS, BOUND),
        ("require", (PLAIN,), None, "server did not offer"),
        ("disable", (PLUS, PLAIN), PLAIN, "n,,"),
        ("disable", (PLUS,), None, "none of the server's SASL"),
    ],
)
def test_what_is_chosen(pg, start_box, binding, mechanisms, chosen, header):
    pair = pg.certificates.server("postgres")
    scram = ScramServer(ROLES["app"], mechanisms=mechanisms)
    with FakeServer(authenticate=scram.authenticate, tls=server_context(pair)) as server:
        target = {"ssl_mode": "require", "channel_binding": binding}
        box = start_box(standard_config(server, connection=target, route=SHORT))
        found = outcome(box)
        box.stop()
    if chosen is None:
        assert header in found and not scram.chosen
        return
    assert found == "x"  # what FakeServer answers
    assert set(scram.chosen) == {chosen} and all(scram.proofs)
    hashed = certificate_hash(pair[0]) if chosen == PLUS else b""
    assert set(scram.bindings) == {header.encode() + hashed}


def test_a_servers_certificate_without_a_hash(start_box, unhashed_pair):
    for binding, expected in (("prefer", "x"), ("require", "has no hash to bind to")):
        scram = ScramServer(ROLES["app"], mechanisms=(PLUS, PLAIN))
        with FakeServer(
            authenticate=scram.authenticate, tls=server_context(unhashed_pair)
        ) as server:
            target = {"ssl_mode": "require", "channel_binding": binding}
            box = start_box(standard_config(server, connection=target, route=SHORT))
            assert expected in outcome(box)
            box.stop()
        # Not "y": the server would take that for an offer that somebody has kept from us.
        assert set(scram.bindings) == ({b"n,,"} if binding == "prefer" else set())


# --- through: the client's keys open the server


@pytest.fixture(scope="module")
def through(pg):
    """No password is stored; towards the server TLS and binding are required."""
    lookup = {"auth_query": "default", "auth_user": "reader", "auth_password": "reader"}
    target = {"user": None, "password": None, "ssl_mode": "require", "channel_binding": "require"}
    config = standard_config(pg, {"users": None}, route=lookup, connection=target)
    config["secrets"] = {"reader": {"value": ROLES["reader"]}}
    with Signalbox(config) as process:
        yield process


@pytest.mark.parametrize("client", ["bound", "tls", "plain"])
def test_keys_pass_through(through, mode, client):
    options = {
        "bound": {"sslmode": "require", "channel_binding": "require"},
        "tls": {"sslmode": "require", "channel_binding": "disable"},
        "plain": {"sslmode": "disable"},
    }[client]
    for user in ("scram_user", "other"):
        with through.connect(mode, user=user, **options) as connection:
            assert connection.execute("SELECT current_user").fetchone() == (user,)
        with pytest.raises(psycopg.OperationalError, match="password authentication failed"):
            through.connect(mode, user=user, password="wrong", **options)
