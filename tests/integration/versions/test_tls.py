"""Direct TLS and channel binding between real ends: libpq and servers of every version."""

import os
import subprocess

import pytest

from harness import ConnectionClosed, RawClient, Signalbox, messages
from harness.messages import GSSENC_REQUEST, SSL_REQUEST
from harness.postgres import BIN, ROLES, programs
from harness.raw_client import ServerError, tls_context
from harness.signalbox import client_certificates, standard_config


@pytest.fixture(scope="module")
def box(server):
    """Towards the server as strict as it can be had."""
    target = {
        "host": "localhost",
        "ssl_mode": "verify-full",
        "ssl_certificate_authority": str(server.certificates.ca),
        "ssl_negotiation": "direct" if server.version >= 17 else "postgres",
        "channel_binding": "require",
    }
    if server.version >= 17:
        server.admin("ALTER SYSTEM SET trace_connection_negotiation = on")
        server.restart()
    with Signalbox(standard_config(server, connection=target)) as process:
        yield process


def psql(server, port, database, **options):
    """15's psql with the libpq of the server's version."""
    words = {"host": "localhost", "port": port, "user": "app", "dbname": database, **options}
    return subprocess.run(
        [BIN / "psql", "-XAt", "-c", "SELECT 1", " ".join(f"{k}={v}" for k, v in words.items())],
        env={
            **os.environ,
            "LD_LIBRARY_PATH": str(programs(server.version).parent / "lib"),
            "PGPASSWORD": ROLES["app"],
        },
        capture_output=True,
        text=True,
        timeout=30,
    )


def test_libpq(server, box, mode):
    strict = {
        "sslmode": "verify-full",
        "sslrootcert": client_certificates().ca,
        "channel_binding": "require",
    }
    done = psql(server, box.port, mode, **strict)
    assert (done.returncode, done.stdout) == (0, "1\n"), done.stderr
    done = psql(server, box.port, mode, sslnegotiation="direct", **strict)
    if server.version >= 17:
        assert (done.returncode, done.stdout) == (0, "1\n"), done.stderr
    else:
        # The control: it is that libpq which runs, and not another that knows the option.
        assert done.returncode != 0 and "sslnegotiation" in done.stderr, done.stderr


def test_server(server, box):
    assert box.raw("transaction").value("SELECT current_user") == "app"
    client = box.raw("session")
    logged = len(server.log_text())
    client.send(messages.query("SELECT pg_sleep(60)"))
    client.expect_silence(0.3)
    client.cancel()
    found = client.read_until(b"Z", timeout=10)
    assert [messages.error_fields(b)["C"] for k, b in found if k == b"E"] == ["57014"]
    if server.version >= 17:
        assert "direct SSL connection accepted" in server.log_text()
        # The cancel, too.
        assert "direct SSL connection accepted" in server.log_text()[logged:]
        assert "SSLRequest accepted" not in server.log_text()[logged:]


def outcome(port, database, alpn, direct, first):
    """What comes of a request inside TLS, and of a login behind it."""
    try:
        client = RawClient("127.0.0.1", port, tls=tls_context(alpn=alpn), direct=direct)
        client.send(first)
        answer = client.read_exact(1) if first else b""
        if answer == b"E":
            return answer
        client.login("app", database, ROLES["app"])
        client.terminate()
        return answer
    except ServerError as error:
        return error.code
    except TimeoutError:
        raise
    except (ConnectionClosed, OSError) as error:
        return getattr(error, "reason", "closed")


@pytest.mark.parametrize("first", [b"", SSL_REQUEST, GSSENC_REQUEST])
@pytest.mark.parametrize("alpn", [["postgresql"], ["x", "postgresql"], ["x"], []])
@pytest.mark.parametrize("direct", [True, False])
@pytest.mark.parametrize("server", [17, 18], indirect=True, scope="module")  # direct TLS is theirs
def test_as_at_the_server(server, box, direct, alpn, first):
    ours = outcome(box.port, "transaction", alpn, direct, first)
    assert ours == outcome(server.port, "app", alpn, direct, first)
