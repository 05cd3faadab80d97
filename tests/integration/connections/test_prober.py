"""The prober, through tests/unit/probe_tool.cpp: does a server really answer?"""

import collections
import signal
import subprocess
import threading
import time

import pytest

from harness import FakeServer, Postgres, ScramServer, eventually, free_port, messages
from harness.postgres import ROLES
from harness.processes import die_with_parent
from harness.signalbox import SANITIZER, binary, client_certificates
from harness.silent_host import SilentHost

Outcome = collections.namedtuple("Outcome", "id verdict sqlstate host port error")


def run_tool(requests, end=(), timeout=30):
    """Outcomes in the order of the answers. A request is a dict of the tool's words; `end` are
    lines behind the requests."""
    tool = binary().parent / "tests" / "unit" / "signalbox_probe"
    assert tool.exists(), f"no {tool}: build the target signalbox_probe"
    lines = []
    for number, request in enumerate(requests):
        words = {"id": number, "host": "127.0.0.1", **request}
        lines.append(" ".join(f"{name}={value}" for name, value in words.items()))
    done = subprocess.run(
        [str(tool)],
        input="".join(line + "\n" for line in [*lines, *end]),
        capture_output=True,
        text=True,
        timeout=timeout,
        preexec_fn=lambda: die_with_parent(signal.SIGKILL),
    )
    assert done.returncode == 0, done.stderr
    assert not SANITIZER.search(done.stderr), done.stderr
    for request in requests:
        if len(request.get("password", "")) >= 8:
            assert request["password"] not in done.stdout + done.stderr
    return [Outcome(*line.split("\t")) for line in done.stdout.splitlines()]


def probe(**request):
    (outcome,) = run_tool([request])
    return outcome


def available(outcome, port):
    assert outcome[1:] == ("available", "", "127.0.0.1", str(port), ""), outcome


def failed(outcome, port, sqlstate, text):
    assert outcome.verdict == "failed", outcome
    assert (outcome.sqlstate, outcome.host, outcome.port) == (sqlstate, "127.0.0.1", str(port))
    assert text in outcome.error, outcome


def login(server, user="app", **more):
    found = {"port": server.port, "user": user, "database": "app", **more}
    if ROLES[user] and "password" not in found:
        found["password"] = ROLES[user]
    return found


@pytest.fixture
def silent():
    with SilentHost() as host:
        yield host


@pytest.fixture(scope="module")
def trusting():
    """A server that believes everybody."""
    with Postgres("trusting", hba="host all all 127.0.0.1/32 trust\n") as server:
        yield server


# ---- with a login


@pytest.mark.parametrize("user", ["scram_user", "md5_user", "password_user", "trust_user"])
@pytest.mark.parametrize("wait", ["no", "yes"])
def test_a_login_that_succeeds(pg, user, wait):
    available(probe(**login(pg, user), wait=wait), pg.port)


@pytest.mark.parametrize("user", ["scram_user", "md5_user", "password_user"])
def test_a_wrong_password(pg, user):
    outcome = probe(**login(pg, user, password="not-the-Pw-1357"))
    failed(outcome, pg.port, "28P01", f'password authentication failed for user "{user}"')


def test_a_missing_password_and_a_missing_role(pg, trusting):
    failed(
        probe(port=pg.port, user="app", database="app"), pg.port, "28000", "there is none for this"
    )
    failed(
        probe(port=trusting.port, user="nobody", database="app"),
        trusting.port,
        "28000",
        'role "nobody" does not exist',
    )


def test_a_missing_database(pg):
    failed(
        probe(**login(pg, database="nowhere")),
        pg.port,
        "3D000",
        'database "nowhere" does not exist',
    )
    # Nobody has named one: the server took the role's name, and the login is what counts.
    available(probe(port=pg.port, user="trust_user"), pg.port)


def test_tls(pg):
    available(probe(**login(pg, "ssl_user", ssl_mode="require")), pg.port)
    for certificates, verdict in ((pg.certificates, "available"), (client_certificates(), "failed")):
        outcome = probe(**login(pg, "ssl_user", ssl_mode="verify-full", ca=certificates.ca))
        assert outcome.verdict == verdict, outcome
    assert outcome.sqlstate == "08006" and "certificate verify failed" in outcome.error, outcome
    with FakeServer() as plain:
        failed(
            probe(port=plain.port, user="app", database="app", ssl_mode="require"),
            plain.port,
            "08006",
            "server does not support SSL, but SSL was required",
        )


def test_a_session_that_does_not_fit(pg):
    failed(
        probe(**login(pg, target_session_attrs="standby")),
        pg.port,
        "",
        "server is not in hot standby mode",
    )
    available(probe(**login(pg, target_session_attrs="read-write")), pg.port)


def test_a_server_that_repeats_the_password():
    secret = "repeated-Pw-2468"

    def refuse(session):
        session.send(messages.authentication(3))
        session.read_message()
        session.send(messages.error("28P01", f"{secret} is wrong", "FATAL"))
        return False

    with FakeServer(authenticate=refuse) as server:
        outcome = probe(port=server.port, user="app", database="app", password=secret)
        failed(outcome, server.port, "28P01", "*** is wrong")


# ---- without one


def test_without_a_login_a_question_for_a_password_is_enough(pg):
    available(probe(port=pg.port, database="app", login="no"), pg.port)
    # The password is not even tried.
    available(probe(**login(pg, password="not-the-Pw-1357"), login="no"), pg.port)


def test_without_a_login_an_unknown_role_is_enough(pg, trusting):
    available(probe(port=trusting.port, database="app", login="no"), trusting.port)
    assert 'role "signalbox" does not exist' in trusting.log_text()
    available(probe(port=pg.port, user="trust_user", database="app", login="no"), pg.port)


def test_without_a_login_the_database_counts_where_it_is_seen(pg):
    failed(
        probe(port=pg.port, user="trust_user", database="nowhere", login="no"),
        pg.port,
        "3D000",
        'database "nowhere" does not exist',
    )
    available(probe(port=pg.port, user="trust_user", login="no"), pg.port)


def test_a_method_that_nobody_here_knows_is_an_answer():
    def gss(session):
        session.send(messages.authentication(7))
        return False

    with FakeServer(authenticate=gss) as server:
        available(probe(port=server.port, login="no"), server.port)
        failed(probe(port=server.port, user="app"), server.port, "28000", "not supported (7)")


# ---- with or without: what is no answer

BOTH = pytest.mark.parametrize("way", ["yes", "no"])


@BOTH
@pytest.mark.parametrize(
    "sqlstate, text",
    [
        ("57P03", "the database system is starting up"),
        ("53300", "sorry, too many clients already"),
        ("0A000", "unsupported frontend protocol"),
    ],
)
def test_a_server_that_takes_nobody(way, sqlstate, text):
    def refuse(session):
        session.send(messages.error(sqlstate, text, "FATAL"))
        return False

    with FakeServer(authenticate=refuse) as server:
        failed(probe(port=server.port, user="app", login=way), server.port, sqlstate, text)


def test_a_real_server_that_takes_nobody(private_pg):
    """A standby that may not be read says 57P03 for as long as it likes."""
    with Postgres("cold", standby_of=private_pg, start=False) as cold:
        with open(cold.data / "postgresql.conf", "a", encoding="utf-8") as file:
            file.write("hot_standby = off\n")
        starter = threading.Thread(target=lambda: pytest.raises(AssertionError, cold.start, 2))
        starter.start()
        eventually(
            lambda: probe(port=cold.port, login="no").sqlstate == "57P03", "it refuses", timeout=2
        )
        for way in ("yes", "no"):
            outcome = probe(port=cold.port, user="trust_user", database="app", login=way)
            failed(outcome, cold.port, "57P03", "the database system is")
        starter.join()


@BOTH
def test_nobody_listens(way):
    port = free_port()
    failed(probe(port=port, user="app", login=way), port, "", "Connection refused")


@BOTH
def test_a_name_that_does_not_exist(way):
    outcome = probe(host="no-such-host.invalid", port=5432, user="app", login=way, timeout=4000)
    assert outcome.verdict == "failed" and outcome.error, outcome
    assert (outcome.host, outcome.port) == ("no-such-host.invalid", "5432")


@BOTH
def test_a_host_that_says_nothing(silent, way):
    started = time.monotonic()
    failed(
        probe(port=silent.port, user="app", login=way, timeout=500),
        silent.port,
        "",
        "timeout expired",
    )
    assert time.monotonic() - started < 3


@BOTH
def test_something_else_listens(way):
    def web(session):
        session.send(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        return False

    with FakeServer(authenticate=web) as server:
        failed(
            probe(port=server.port, user="app", login=way),
            server.port,
            "08P01",
            "does not speak the PostgreSQL protocol",
        )


def test_a_server_that_is_slow_to_log_in_is_timed_out():
    """The deadline is the whole probe's, and every byte does not move it."""

    def trickle(session):
        session.send(messages.authentication(0))
        for number in range(100):
            session.send(messages.parameter_status(f"p{number}", "x"))
            time.sleep(0.05)
        return False

    with FakeServer(authenticate=trickle) as server:
        started = time.monotonic()
        outcome = probe(port=server.port, user="app", timeout=600)
        failed(outcome, server.port, "", "timeout expired")
        assert time.monotonic() - started < 3


# ---- several hosts


def test_one_of_several_hosts_is_enough(pg, silent):
    dead = free_port()
    request = {**login(pg), "host": "127.0.0.1,127.0.0.1"}
    available(probe(**{**request, "port": f"{dead},{pg.port}"}), pg.port)
    # The first may not use up the time of the second.
    available(probe(**{**request, "port": f"{silent.port},{pg.port}", "timeout": 4000}), pg.port)


def test_of_several_failures_the_most_telling_is_told():
    def refuse(session):
        session.send(messages.error("57P03", "the database system is starting up", "FATAL"))
        return False

    dead = free_port()
    with FakeServer(authenticate=refuse) as server:
        for ports in (f"{dead},{server.port}", f"{server.port},{dead}"):
            outcome = probe(host="127.0.0.1,127.0.0.1", port=ports, user="app")
            failed(outcome, server.port, "57P03", "the database system is starting up")


# ---- many at a time


def test_a_slow_target_delays_no_other(pg, silent):
    slow = {"port": silent.port, "user": "app", "timeout": 6000}
    started = time.monotonic()
    outcomes = run_tool([slow, slow, *([login(pg, "trust_user")] * 20)])
    assert [o.verdict for o in outcomes] == ["available"] * 20 + ["failed"] * 2
    assert sorted(int(o.id) for o in outcomes) == list(range(22))
    assert time.monotonic() - started < 12


def test_three_at_a_time(silent):
    slow = {"port": silent.port, "user": "app", "timeout": 500}
    outcomes = run_tool([slow] * 8)
    assert [o.verdict for o in outcomes] == ["failed"] * 8
    assert (silent.accepted, silent.most) == (8, 3)


def test_the_end_cancels_what_is_under_way_and_what_waits(pg, silent):
    slow = {"port": silent.port, "user": "app", "timeout": 20000}
    unresolved = {"host": "no-such-host.invalid", "port": 5432, "user": "app", "timeout": 20000}
    started = time.monotonic()
    outcomes = run_tool([slow, slow, unresolved, slow, login(pg)], end=["quit"])
    assert sorted(int(o.id) for o in outcomes) == list(range(5))
    cancelled = [o for o in outcomes if o.verdict == "cancelled"]
    assert {o.id for o in cancelled} >= {"0", "1", "3"}, outcomes
    assert {o.sqlstate for o in cancelled} == {"57014"}
    assert time.monotonic() - started < 10


# ---- what the server sees


def test_it_says_good_bye():
    with FakeServer(authenticate=ScramServer("a-Pw-50").authenticate) as server:
        available(
            probe(port=server.port, user="app", database="app", password="a-Pw-50"), server.port
        )
        eventually(lambda: server.sessions[0].seen, "a message behind the login")
        assert server.sessions[0].seen == [(b"X", b"")]
        assert server.sessions[0].startup["application_name"] == "signalbox check"


def test_a_real_server_has_nothing_to_complain_about(private_pg):
    before = len(private_pg.log_text())
    require = {"ssl_mode": "require"}
    outcomes = run_tool(
        [
            login(private_pg, "scram_user"),
            login(private_pg, "ssl_user", **require),
            {"port": private_pg.port, "login": "no", "database": "app"},
            {"port": private_pg.port, "login": "no", "database": "app", **require},
        ]
    )
    assert [o.verdict for o in outcomes] == ["available"] * 4, outcomes
    eventually(lambda: not private_pg.backends(), "they are gone")
    assert private_pg.log_text()[before:] == ""
