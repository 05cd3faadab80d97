"""Start, readiness, logs, addresses and the Unix socket."""

import json
import pathlib
import re
import signal
import socket
import stat
import subprocess

import pytest

from harness import RawClient, eventually, free_port
from harness.postgres import ROLES
from harness.raw_client import ServerError
from harness.signalbox import standard_config


def test_one_ready_line(pg, start_box):
    box = start_box(standard_config(pg))
    box.raw("transaction").value("SELECT 1")
    lines = [line for line in box.log_text().splitlines() if re.search(r"\bready\b", line)]
    assert len(lines) == 1 and f"127.0.0.1:{box.port}" in lines[0]


def test_several_addresses(pg, start_box):
    box = start_box(standard_config(pg, {"listen": {"address": ["127.0.0.1", "127.0.0.2"]}}))
    assert {host for host, _ in box.addresses} == {"127.0.0.1", "127.0.0.2"}
    for host, port in box.addresses:
        client = RawClient(host, port).login("app", "transaction", ROLES["app"])
        assert client.value("SELECT 1") == "1"
        client.terminate()


def test_a_port_in_use(pg, start_box):
    """A fault, not a usage error; the message names the address."""
    with socket.create_server(("127.0.0.1", free_port())) as taken:
        port = taken.getsockname()[1]
        box = start_box(standard_config(pg, {"listen": {"port": port}}), wait=False)
        assert box.wait_exit() == 1
        assert "127.0.0.1" in box.log_text() and str(port) in box.log_text()
        assert "Address already in use (another process listens there:" in box.log_text()


@pytest.mark.parametrize("there", ["127.0.0.1", "*"])
@pytest.mark.parametrize("wanted", ["127.0.0.1", "*", ["127.0.0.2", "127.0.0.1"]])
def test_a_port_that_another_signalbox_has(pg, start_box, there, wanted):
    """Its workers' sockets share a port among themselves, and with nobody else."""
    port = free_port()
    first = start_box(standard_config(pg, {"listen": {"address": there, "port": port}}))
    listen = {"address": wanted, "port": port}
    second = start_box(standard_config(pg, {"listen": listen}), wait=False)
    assert second.wait_exit() == 1
    assert "Address already in use (another process listens there:" in second.log_text()
    assert not re.search(r"\bready\b", second.log_text())
    assert first.raw("transaction").value("SELECT 1") == "1"


def test_addresses_of_one_process_may_overlap(pg, start_box):
    listen = {"address": ["*", "127.0.0.1"], "port": free_port()}
    box = start_box(standard_config(pg, {"listen": listen}))
    assert box.raw("transaction").value("SELECT 1") == "1"


def test_a_restart_finds_its_port_free(pg, start_box):
    """While an earlier process drains, and while its connections are in TIME_WAIT."""
    config = standard_config(pg, {"listen": {"port": free_port()}}, route={"drain_timeout": "30s"})
    first = start_box(config)
    client = first.raw("transaction")
    client.query("BEGIN")
    first.send_signal(signal.SIGTERM)
    first.wait_log("draining")
    second = start_box(config)
    assert second.raw("transaction").value("SELECT 1") == "1"
    assert client.value("SELECT 2") == "2"  # still of the first
    client.query("COMMIT")
    assert first.wait_exit() == 0
    # The side that closes first has the TIME_WAIT: Signalbox ends these sessions.
    for _ in range(3):
        idle = second.raw("transaction")
        second.send_signal(signal.SIGTERM)
        idle.read_to_end(5)
        idle.close()
        assert second.wait_exit() == 0
        held = pathlib.Path("/proc/net/tcp").read_text()
        assert re.search(rf": 0100007F:{second.port:04X} \w+:\w+ 06 ", held), "no TIME_WAIT"
        second = start_box(config)
    assert second.raw("transaction").value("SELECT 1") == "1"


def test_unix_socket(pg, start_box, tmp_path):
    port = free_port()
    listen = {"unix_socket_dir": str(tmp_path), "port": port}
    box = start_box(standard_config(pg, {"listen": listen}))
    path = tmp_path / f".s.PGSQL.{port}"
    assert stat.S_ISSOCK(path.stat().st_mode)
    client = RawClient(unix=path).login("app", "transaction", ROLES["app"])
    assert client.value("SELECT 1") == "1"
    client.terminate()
    with pytest.raises(ServerError):
        RawClient(unix=path).login("app", "transaction", "wrong")
    done = subprocess.run(
        ["psql", "-X", "-Atc", "SELECT 2", f"host={tmp_path} port={port} user=app dbname=session"],
        env={"PGPASSWORD": ROLES["app"], "PATH": "/usr/bin:/bin"},
        capture_output=True,
        text=True,
    )
    assert done.stdout == "2\n", done.stderr
    box.stop()
    assert not path.exists(), "the socket file is left behind"
    # What a killed process leaves behind is no obstacle.
    box = start_box(standard_config(pg, {"listen": listen}))
    box.process.kill()
    box.process.wait()
    box._stopped = True
    assert path.exists()
    again = start_box(standard_config(pg, {"listen": listen}))
    RawClient(unix=path).login("app", "transaction", ROLES["app"]).terminate()
    # Two at once: the second must not take the socket away from the first.
    alone = {"listen": {**listen, "address": ""}}  # else the TCP port says it
    second = start_box(standard_config(pg, alone), wait=False)
    assert second.wait_exit() == 1
    assert f'"{path}": Address already in use (another process listens' in second.log_text().replace(
        "\\", ""
    )
    RawClient(unix=path).login("app", "transaction", ROLES["app"]).terminate()
    again.stop()


def test_peers_on_the_unix_socket_follow_local_rules(pg, start_box, tmp_path):
    rules = [
        {"type": "local", "database": "all", "user": "all", "method": "trust"},
        {
            "type": "host",
            "database": "all",
            "user": "all",
            "address": "all",
            "method": "scram-sha-256",
        },
    ]
    port = free_port()
    box = start_box(
        standard_config(
            pg,
            {"listen": {"unix_socket_dir": str(tmp_path), "port": port}, "auth": {"rules": rules}},
        )
    )
    client = RawClient(unix=tmp_path / f".s.PGSQL.{port}").login("app", "transaction", "not needed")
    assert client.value("SELECT 1") == "1"
    client.terminate()
    with pytest.raises(ServerError):
        box.raw("transaction", password="wrong")


@pytest.mark.parametrize("abstract", [False, True])
def test_systemd_readiness(pg, start_box, tmp_path, abstract):
    """READY=1 once it accepts, RELOADING=1 and READY=1 around a reload, STOPPING=1 at the end."""
    name = (
        f"\0signalbox-test-{tmp_path.name}-{free_port()}" if abstract else str(tmp_path / "notify")
    )
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
        listener.bind(name)
        listener.settimeout(10)
        box = start_box(standard_config(pg), env={"NOTIFY_SOCKET": name.replace("\0", "@")})
        seen = []

        def until(word):
            while not any(word in text for text in seen):
                seen.append(listener.recv(4096).decode())

        until("READY=1")
        seen.clear()
        box.reload()
        until("READY=1")
        assert "RELOADING=1\nMONOTONIC_USEC=" in seen[0], seen
        seen.clear()
        box.send_signal(signal.SIGTERM)
        until("STOPPING=1")
        assert box.wait_exit() == 0


def test_json_logs(pg, start_box):
    """Every line is an object with time, level and message; no secret appears."""
    box = start_box(standard_config(pg, {"log": {"level": "trace", "format": "json"}}))
    client = box.raw("transaction")
    client.query("SELECT 'a \"quoted\" text \\ with\ttabs'")
    client.query("SELECT 1/0")
    client.abort()
    for user, database in (
        ("app", "transaction"),
        ('evil"user\n{}', "transaction"),
        ("app", "no\nwhere"),
    ):
        with pytest.raises(ServerError):
            box.raw(
                database, user=user, password="wrong-Pw-2222" if database == "transaction" else None
            )
    box.reload()
    box.stop()
    lines = [json.loads(line) for line in box.log_text().splitlines()]
    for line in lines:
        assert {"time", "level", "message"} <= set(line), line
    ready = [line for line in lines if line["message"] == "ready"]
    assert len(ready) == 1 and ready[0]["addresses"] == [f"127.0.0.1:{box.port}"]
    about = [line for line in lines if line.get("user") == "app"]
    assert about and all({"session", "database"} <= set(line) for line in about), about
    assert any(line.get("user") == 'evil"user\n{}' for line in lines)
    assert_no_secret(box)


@pytest.mark.parametrize("log_format", ["text", "json"])
def test_lines_name_session_user_database_and_cause(pg, start_box, log_format):
    box = start_box(standard_config(pg, {"log": {"format": log_format}}))
    with pytest.raises(ServerError):
        box.raw("transaction", password="wrong-Pw-2222")
    with pytest.raises(ServerError):
        box.raw("nowhere")
    client = box.raw("session")
    pg.admin("SELECT pg_terminate_backend(%s)", [client.backend_key[0]])
    client.read_to_end()
    box.stop()
    lines = box.log_text().splitlines()
    for database, cause in (
        ("transaction", "wrong password"),
        ("nowhere", "does not exist"),
        ("session", "terminating connection due to administrator command"),
    ):
        if log_format == "json":
            found = [each for each in map(json.loads, lines) if each.get("database") == database]
            assert len(found) == 1, lines
            assert found[0]["user"] == "app" and found[0]["session"], found
            assert cause in found[0]["cause"], found
        else:
            found = [line for line in lines if f' database="{database}"' in line]
            assert len(found) == 1, lines
            assert re.search(r' session=\d+ user="app" ', found[0]), found
            assert re.search(rf' cause=".*{cause}.*"', found[0]), found


def assert_no_secret(box):
    text = box.log_text()
    for secret in (*filter(None, ROLES.values()), "wrong-Pw-2222"):
        assert secret not in text


@pytest.mark.parametrize("log_format", ["text", "json"])
def test_logs_hold_no_secret(pg, start_box, log_format):
    """At the loudest level, through good and bad logins of every method, on both sides."""
    rules = [
        {"type": "host", "database": mode, "user": "all", "address": "all", "method": method}
        for mode, method in (
            ("session", "password"),
            ("transaction", "md5"),
            ("statement", "scram-sha-256"),
        )
    ]
    box = start_box(
        standard_config(
            pg,
            {"log": {"level": "trace", "format": log_format}, "auth": {"rules": rules}},
            connection={"user": "password_user", "password": "password_user"},
        )
    )
    for mode in ("session", "transaction", "statement"):
        client = box.raw(mode)
        client.value("SELECT 1")
        client.terminate()
        with pytest.raises(ServerError):
            box.raw(mode, password="wrong-Pw-2222")
    box.reload()
    box.stop()
    assert len(box.log_text().splitlines()) >= 4
    assert_no_secret(box)


def test_a_log_line_cannot_be_forged(pg, start_box):
    """Names come from strangers: a newline in one must not start a line of its own."""
    box = start_box(standard_config(pg))
    with pytest.raises(ServerError):
        box.raw("transaction", user="x\n2020-01-01 00:00:00.000 info  ready: forged", password="y")
    with pytest.raises(ServerError):
        box.raw("transaction", user="x\r\x1b[31mred", password="y")
    box.stop()
    assert not [line for line in box.log_text().splitlines() if line.startswith("2020-01-01")]
    assert "\x1b" not in box.log_text()


def test_log_levels(pg, start_box):
    quiet = start_box(standard_config(pg, {"log": {"level": "error"}}), wait=False)
    # The ready line is the contract of every level: scripts wait for it.
    quiet.wait_ready(10)
    loud = start_box(standard_config(pg, {"log": {"level": "trace"}}))
    for box in (quiet, loud):
        box.raw("transaction").terminate()
        box.stop()
    assert len(quiet.log_text().splitlines()) < len(loud.log_text().splitlines())


def test_it_starts_and_stops_quickly_and_often(pg, start_box):
    for _ in range(5):
        box = start_box(standard_config(pg))
        assert box.raw("transaction").value("SELECT 1") == "1"
        box.stop()


def test_nothing_is_left_on_the_server(pg, start_box):
    box = start_box(standard_config(pg))
    for mode in ("session", "transaction"):
        client = box.raw(mode, application_name="left over?")
        client.value("SELECT 1")
    assert pg.backends("application_name = 'left over?'")
    box.stop()
    eventually(lambda: not pg.backends("application_name = 'left over?'"), "no connection is left")


def test_default_workers(pg, start_box):
    box = start_box(standard_config(pg, {"listen": {"workers": 0}}))
    assert box.raw("transaction").value("SELECT 1") == "1"
