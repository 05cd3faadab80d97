"""The first bytes: SSLRequest, GSSENCRequest, versions, options, and their abuse."""

import struct

import pytest

from harness import ConnectionClosed, RawClient, Signalbox, messages
from harness.messages import GSSENC_REQUEST, SSL_REQUEST
from harness.postgres import ROLES
from harness.raw_client import ServerError, tls_context
from harness.signalbox import client_certificates, standard_config


@pytest.fixture(scope="module")
def box(pg):
    with Signalbox(standard_config(pg)) as process:
        yield process


def fresh(box, **options):
    return RawClient("127.0.0.1", box.port, **options)


def no_login(client, timeout=5):
    """Nothing of a login comes: at most an error, then the end."""
    found = client.read_to_end(timeout)
    assert not [m for m in found if m[0] != b"E"], found
    client.close()
    return found


def test_bytes_behind_the_ssl_request_are_an_attack(box):
    """Injected plain bytes must never be read as part of the encrypted session (CVE-2021-23214)."""
    for extra in (b"x", messages.startup("app", "transaction"), b"\x16\x03\x01"):
        client = fresh(box)
        client.send(SSL_REQUEST + extra)
        try:
            # The request itself may be answered before the bytes behind it are judged.
            while client.read_exact(1, 5) not in (b"E",):
                pass
        except ConnectionClosed:
            pass
        client.close()
    assert box.raw("transaction").value("SELECT 1") == "1"


def test_bytes_behind_the_ssl_request_with_a_real_handshake(box):
    """The same with a client that goes on as if nothing were: it must not get a session."""
    context = tls_context(client_certificates().ca)
    client = fresh(box)
    client.send(SSL_REQUEST + messages.startup("app", "transaction"))
    with pytest.raises((ConnectionClosed, OSError, AssertionError)):
        answer = client.read_exact(1)
        assert answer == b"S"
        client.socket = context.wrap_socket(client.socket, server_hostname="localhost")
        client.login("app", "transaction", ROLES["app"])
    client.close()


def test_bytes_behind_the_gssenc_request(box):
    client = fresh(box)
    client.send(GSSENC_REQUEST + messages.startup("app", "transaction"))
    found = no_login(client)
    assert messages.error_fields(found[0][1])["C"] == "08P01", found
    assert box.raw("transaction").value("SELECT 1") == "1"


def test_a_gssenc_request_inside_tls_is_refused(box):
    """As PostgreSQL does: there is nothing left to negotiate."""
    client = fresh(box, tls=tls_context(client_certificates().ca))
    client.send(GSSENC_REQUEST)
    no_login(client)


def test_a_gssenc_request_and_then_tls(box):
    client = fresh(box)
    client.send(GSSENC_REQUEST)
    assert client.read_exact(1) == b"N"
    client.start_tls(tls_context(client_certificates().ca))
    client.login("app", "transaction", ROLES["app"])
    assert client.value("SELECT 1") == "1"
    client.terminate()


@pytest.mark.parametrize("request_", [SSL_REQUEST, GSSENC_REQUEST])
def test_each_request_at_most_once(pg, start_box, request_):
    box = start_box(standard_config(pg, {"tls": {"mode": "off"}}))
    client = fresh(box)
    client.send(request_)
    assert client.read_exact(1) == b"N"
    client.send(request_)
    no_login(client)


def test_tls_inside_tls(box):
    client = fresh(box, tls=tls_context(client_certificates().ca))
    client.send(SSL_REQUEST)
    with pytest.raises((ConnectionClosed, AssertionError)):
        assert client.read_exact(1, 5) == b"S"
    client.close()


def test_plain_login_after_a_refused_request(pg, start_box):
    box = start_box(standard_config(pg, {"tls": {"mode": "off"}}))
    client = fresh(box)
    for request in (GSSENC_REQUEST, SSL_REQUEST):
        client.send(request)
        assert client.read_exact(1) == b"N"
    client.login("app", "transaction", ROLES["app"])
    client.terminate()


def test_a_second_startup_message_during_authentication(box):
    client = fresh(box)
    client.send(messages.startup("app", "transaction"))
    assert client.read_message()[0] == b"R"
    client.send(messages.startup("other", "transaction"))
    found = no_login(client)
    assert found and messages.error_fields(found[0][1])["V"] == "FATAL"


def test_a_second_startup_message_in_the_same_packet(box):
    client = fresh(box)
    client.send(messages.startup("app", "transaction") + messages.startup("other", "transaction"))
    assert client.read_message()[0] == b"R"
    no_login(client)


@pytest.mark.parametrize("length", [0, 1, 4, 7, 10_001, 0x7FFFFFFF, -1, -(2**31)])
def test_startup_lengths(box, length):
    client = fresh(box)
    client.send(struct.pack("!i", length) + b"\0\3\0\0user\0app\0\0")
    no_login(client)
    assert box.raw("transaction").value("SELECT 1") == "1"


@pytest.mark.parametrize(
    "body",
    [
        b"",  # no terminator at all
        b"user\0app",  # the value is not terminated
        b"user\0app\0",  # the list is not terminated
        b"user\0app\0database\0",  # a name without a value
        b"user\0app\0\0trailing",
        b"\0",
    ],
)
def test_bent_startup_bodies(box, body):
    client = fresh(box)
    client.send(struct.pack("!ii", 8 + len(body), messages.VERSION_3) + body)
    found = no_login(client)
    if found:
        fields = messages.error_fields(found[0][1])
        assert fields["V"] == "FATAL" and fields["C"] in {"08P01", "28000"}, fields


@pytest.mark.parametrize("version", [0x00020000, 0x00010000, 0x00040000, 0, 0x00030000 - 1])
def test_other_major_versions(box, version):
    client = fresh(box)
    client.send(messages.startup("app", "transaction", version))
    found = no_login(client)
    if found:
        assert messages.error_fields(found[0][1])["C"] in {"0A000", "08P01"}


@pytest.mark.parametrize("minor, secret_bytes", [(0, 4), (1, 4), (2, 32), (3, 32), (9999, 32)])
def test_newer_minor_versions_are_negotiated(box, mode, minor, secret_bytes):
    """NegotiateProtocolVersion where 3.2 is not enough, as PostgreSQL 18 says it; a session."""
    client = RawClient("127.0.0.1", box.port)
    client.login("app", mode, ROLES["app"], version=messages.VERSION_3 + minor)
    assert client.value("SELECT 1") == "1"
    said = [struct.unpack("!ii", body) for kind, body in client.log if kind == b"v"]
    # The newest version that is spoken, and no option that is not understood.
    assert said == ([(messages.VERSION_3 + 2, 0)] if minor > 2 else [])
    assert len(client.backend_key[1]) == secret_bytes
    client.terminate()


def test_unknown_protocol_options_are_named(pg, box, mode):
    options = {"_pq_.first": "1", "_pq_.second": "", "application_name": "options"}
    said = []
    for port, database in ((pg.port, "app"), (box.port, mode)):
        client = RawClient("127.0.0.1", port)
        client.login("app", database, ROLES["app"], **options)
        assert client.value("SHOW application_name") == "options"
        said.append([body for kind, body in client.log if kind == b"v"])
        client.terminate()
    assert said[1] == said[0]
    assert b"_pq_.first\0_pq_.second\0" in said[1][0]


@pytest.mark.parametrize(
    "options, name, value",
    [
        ("-c work_mem=5MB", "work_mem", "5MB"),
        ("-cwork_mem=5MB", "work_mem", "5MB"),
        ("--work_mem=5MB", "work_mem", "5MB"),
        ("--work-mem=5MB", "work_mem", "5MB"),
        ("  -c   work_mem=5MB  ", "work_mem", "5MB"),
        ("-c app.equal=a=b=c", "app.equal", "a=b=c"),
        (r"-c app.space=two\ words", "app.space", "two words"),
        (r"-c app.slash=a\\b", "app.slash", "a\\b"),
        (r"-c app.quote=it's", "app.quote", "it's"),
        ("-c app.last=1 -c app.last=2", "app.last", "2"),
        ("-c search_path=a,b", "search_path", "a,b"),
        ("", "work_mem", "4MB"),
    ],
)
def test_options(pg, box, mode, options, name, value):
    for port, database in ((pg.port, "app"), (box.port, mode)):
        client = RawClient("127.0.0.1", port)
        client.login("app", database, ROLES["app"], options=options)
        assert client.value(f"SHOW {name}") == value, database
        client.terminate()


@pytest.mark.parametrize(
    "options", ["-c=", "-c =x", "-c", "-c work_mem", "--=", "--=1", "-z", "nonsense", "-c a b=c"]
)
def test_bent_options_fail_as_on_the_server(pg, box, mode, options):
    found = []
    for port, database in ((pg.port, "app"), (box.port, mode)):
        client = RawClient("127.0.0.1", port)
        try:
            client.login("app", database, ROLES["app"], options=options)
            client.terminate()
            found.append(None)
        except ServerError as error:
            found.append((error.fields["V"], error.code))
            client.close()
    assert found[1] == found[0]


def test_startup_parameters_once_more(box):
    """A parameter given twice: the last one counts, as in PostgreSQL's list."""
    client = fresh(box)
    body = b"".join(
        messages.cstring(part)
        for part in (
            "user",
            "app",
            "database",
            "transaction",
            "application_name",
            "first",
            "application_name",
            "second",
        )
    )
    client.send(struct.pack("!ii", 9 + len(body), messages.VERSION_3) + body + b"\0")
    client.authenticate("app", ROLES["app"])
    assert client.value("SHOW application_name") == "second"
    client.terminate()


@pytest.mark.parametrize("database", ["session", "transaction"])
def test_a_statement_behind_the_login(pg, start_box, database):
    """Sent without waiting for the login's answer: PostgreSQL runs it, and so must we."""
    changes = {"auth": {"method": "trust", "rules": []}}
    box = start_box(standard_config(pg, changes))
    client = RawClient("127.0.0.1", box.port)
    client.send(messages.startup("app", database) + messages.query("SELECT 'early'"))
    client.read_until(b"Z")  # the login's
    found = client.read_until(b"Z")
    assert any(kind == b"D" and b"early" in body for kind, body in found), found
    client.close()
