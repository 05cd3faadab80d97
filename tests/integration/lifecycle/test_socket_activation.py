"""Sockets that the service manager has opened, as systemd passes them: from descriptor 3 on."""

import pathlib
import signal
import socket

import pytest

from harness import RawClient, eventually, free_port
from harness.postgres import ROLES
from harness.raw_client import ServerError
from harness.signalbox import standard_config

# What systemd does between fork() and execve(): sys.argv[1:] is how many, which, and the command.
PASS = """
import fcntl, os, sys
count = int(sys.argv[1])
found = [fcntl.fcntl(int(fd), fcntl.F_DUPFD, 100) for fd in sys.argv[2 : 2 + count]]
for at, fd in enumerate(found):
    os.dup2(fd, 3 + at)
    os.close(fd)
os.environ.update(LISTEN_PID=str(os.getpid()), LISTEN_FDS=str(count), LISTEN_FDNAMES="x:y")
os.execv(sys.argv[2 + count], sys.argv[2 + count :])
"""


def passing(*sockets):
    fds = [each.fileno() for each in sockets]
    return {"wrapper": ["/usr/bin/python3", "-c", PASS, len(fds), *fds], "pass_fds": fds}


def listening(family, address, **options):
    made = socket.socket(family)
    if family == socket.AF_INET6:
        made.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
    made.bind(address)
    made.listen(16)
    return made


def config(server, level="info"):
    """A port that is taken: whoever tried to open it would not start."""
    rules = [
        {"type": "local", "method": "trust"},
        {"type": "host", "address": "127.0.0.0/8", "method": "scram-sha-256"},
        {"type": "host", "address": "all", "method": "reject"},
    ]
    changes = {
        "listen": {"port": server.port},
        "auth": {"rules": rules},
        "log": {"level": level},
    }
    return standard_config(server, changes)


def test_tcp_and_unix(pg, start_box, tmp_path):
    """Both are served, by all workers, and stay the service manager's."""
    path = tmp_path / "passed"
    with listening(socket.AF_INET, ("127.0.0.1", 0)) as tcp, listening(
        socket.AF_UNIX, str(path)
    ) as local:
        box = start_box(config(pg), **passing(tcp, local))
        port = tcp.getsockname()[1]
        assert box.addresses == [("127.0.0.1", port)]
        assert str(path) in box.log_text()
        clients = [box.raw("transaction") for _ in range(20)]
        assert {client.value("SELECT 1") for client in clients} == {"1"}
        with pytest.raises(ServerError):
            box.raw("transaction", password="wrong")
        # A rule of type local, which trusts.
        client = RawClient(unix=path).login("app", "transaction", "not needed")
        assert client.value("SELECT 1") == "1"
        for each in (*clients, client):
            each.terminate()
        for fd in (3, 4):
            lines = pathlib.Path(f"/proc/{box.pid}/fdinfo/{fd}").read_text().splitlines()
            (flags,) = [int(line.split()[1], 8) for line in lines if line.startswith("flags:")]
            assert flags & 0o2000000, "inherited by children"
            assert flags & 0o4000, "blocking"
        box.stop()
        assert path.exists(), "a socket that is not ours was removed"
        # Clients that come while nobody serves wait for the next start.
        early = RawClient("127.0.0.1", port)
        again = start_box(config(pg), **passing(tcp, local))
        early.login("app", "transaction", ROLES["app"])
        assert early.value("SELECT 1") == "1"
        early.terminate()
        again.stop()


def test_one_socket_for_both_families(pg, start_box):
    """A client over IPv4 is known by its IPv4 address, to rules and in the log."""
    try:
        both = listening(socket.AF_INET6, ("::", 0))
    except OSError:
        pytest.skip("no IPv6 here")
    with both:
        box = start_box(config(pg, "debug"), wait=False, **passing(both))
        port = both.getsockname()[1]
        box.wait_log(rf"ready: .*\[::\]:{port}")
        client = RawClient("127.0.0.1", port).login("app", "transaction", ROLES["app"])
        assert client.value("SELECT 1") == "1"
        client.terminate()
        box.wait_log(r'login .*address="127\.0\.0\.1"')
        with pytest.raises(ServerError) as caught:
            RawClient("::1", port).login("app", "transaction", ROLES["app"])
        assert caught.value.code == "28000"


def test_accepted_sockets_are_kept_alive(pg, start_box):
    with listening(socket.AF_INET, ("127.0.0.1", 0)) as tcp:
        box = start_box(config(pg), **passing(tcp))
        client = box.raw("session")
        mine = client.socket.getsockname()[1]

        def timer():
            for line in pathlib.Path("/proc/net/tcp").read_text().splitlines()[1:]:
                _, local, remote, state, _, kind, *_ = line.split()
                ends = tuple(int(end.split(":")[1], 16) for end in (local, remote))
                if state == "01" and ends == (box.port, mine):
                    return kind.split(":")[0]
            return None

        eventually(lambda: timer() == "02", "keepalive")  # Linux: 2 is keepalive
        client.terminate()


def test_a_drain_leaves_newcomers_to_the_next(pg, start_box):
    with listening(socket.AF_INET, ("127.0.0.1", 0)) as tcp:
        box = start_box(config(pg), **passing(tcp))
        busy = box.raw("transaction")
        busy.query("BEGIN")
        box.send_signal(signal.SIGTERM)
        box.wait_log("draining")
        newcomer = RawClient("127.0.0.1", tcp.getsockname()[1])
        newcomer.expect_silence(0.2)
        busy.query("COMMIT")
        assert box.wait_exit() == 0
        start_box(config(pg), **passing(tcp))
        newcomer.login("app", "transaction", ROLES["app"])
        newcomer.terminate()


@pytest.mark.parametrize("kind", ["datagram", "deaf", "file"])
def test_what_cannot_be_listened_on_is_a_start_error(pg, start_box, tmp_path, kind):
    if kind == "file":
        made = open(tmp_path / "file", "w", encoding="utf-8")
    else:
        made = socket.socket(type=socket.SOCK_DGRAM if kind == "datagram" else socket.SOCK_STREAM)
    with made:
        box = start_box(config(pg), wait=False, **passing(made))
        assert box.wait_exit() == 1
        why = {
            "datagram": "is not a stream socket",
            "deaf": "does not listen",
            "file": "is not a socket",
        }[kind]
        cause = f"the descriptor 3 that the service manager has passed {why}"
        assert f'cannot listen cause="{cause}"' in box.log_text()


def test_variables_for_another_process(pg, start_box):
    """Whoever has started us was meant: the file counts."""
    port = free_port()
    variables = {"LISTEN_PID": "1", "LISTEN_FDS": "1"}
    box = start_box(standard_config(pg, {"listen": {"port": port}}), env=variables)
    assert box.port == port
    assert box.raw("transaction").value("SELECT 1") == "1"
