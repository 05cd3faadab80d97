"""Several hosts: which one is taken, with target_session_attrs and with hosts that are dead.

A real primary with a real hot standby; a scripted server where one of another version is needed.
"""

import threading
import time

import psycopg
import pytest

from harness import FakeServer, Postgres, eventually, free_port, messages
from harness.raw_client import ServerError
from harness.signalbox import standard_config
from harness.silent_host import SilentHost

ATTRIBUTES = ("any", "read-write", "read-only", "primary", "standby", "prefer-standby")
ON_PRIMARY = {"read-write", "primary"}
MISFITS = {
    ("standby", "read-write"): "session is read-only",
    ("standby", "primary"): "server is in hot standby mode",
    ("primary", "read-only"): "session is not read-only",
    ("primary", "standby"): "server is not in hot standby mode",
}


@pytest.fixture(scope="module")
def pair():
    """(primary, standby); no test stops or promotes them."""
    with Postgres("primary") as primary, Postgres("standby", standby_of=primary) as standby:
        primary.admin("ALTER ROLE other SET default_transaction_read_only = on")
        eventually(
            lambda: standby.admin(
                "SELECT 1 FROM pg_roles WHERE rolname = 'other' AND rolconfig IS NOT NULL"
            ),
            "the standby has caught up",
        )
        yield primary, standby


def hosts(ports, attributes=None, **more):
    """Settings of a connection to loopback ports, in this order."""
    found = {"host": ["127.0.0.1"] * len(ports), "port": list(ports), **more}
    if attributes is not None:
        found["target_session_attrs"] = attributes
    return found


def config_of(server, connections, route=None, workers=2):
    """One connection and one route of its name for each of `connections`."""
    base = standard_config(server)
    base["listen"]["workers"] = workers
    base["availability"] = {"interval": "0"}  # each check is one more visitor of a host
    model = base["connections"]["main"]
    for name, settings in connections.items():
        base["connections"][name] = {**model, **settings}
        base["routes"].append(
            {"database": name, "connection": name, "backend_database": "app", **(route or {})}
        )
    return base


def port_behind(box, route):
    with box.connect(route) as connection:
        return int(connection.execute("SELECT current_setting('port')").fetchone()[0])


def test_the_host_that_fits_is_taken(pair, start_box):
    primary, standby = pair
    connections = {}
    for attributes in ATTRIBUTES:
        connections[f"{attributes}-ps"] = hosts([primary.port, standby.port], attributes)
        connections[f"{attributes}-sp"] = hosts([standby.port, primary.port], attributes)
    box = start_box(config_of(primary, connections))
    for attributes in ATTRIBUTES:
        fits = primary.port if attributes in ON_PRIMARY else standby.port
        first_fits = attributes == "any"
        found = [port_behind(box, f"{attributes}-{order}") for order in ("ps", "sp")]
        assert found == ([primary.port, standby.port] if first_fits else [fits, fits]), attributes


def test_a_role_that_is_read_only_by_default_is_read_only(pair, start_box):
    primary, _ = pair
    other = {"user": "other", "password": "other"}
    box = start_box(
        config_of(
            primary,
            {
                "reads": hosts([primary.port], "read-only", **other),
                "writes": hosts([primary.port], "read-write", **other),
                "primary": hosts([primary.port], "primary", **other),
            },
            route={"hold_timeout": "300ms"},
        )
    )
    assert port_behind(box, "reads") == primary.port
    assert port_behind(box, "primary") == primary.port
    with pytest.raises(psycopg.OperationalError, match="session is read-only"):
        port_behind(box, "writes")


def test_the_failure_says_what_does_not_fit(pair, start_box):
    named = dict(zip(("primary", "standby"), pair))
    dead = free_port()
    connections = {}
    for (role, attributes), _ in MISFITS.items():
        port = named[role].port
        connections[f"{role}-{attributes}"] = hosts([port], attributes)
        connections[f"{role}-{attributes}-dead"] = hosts([port, dead], attributes)
    box = start_box(config_of(named["primary"], connections, route={"hold_timeout": "300ms"}))
    for (role, attributes), text in MISFITS.items():
        port = named[role].port
        with pytest.raises(psycopg.OperationalError) as alone:
            port_behind(box, f"{role}-{attributes}")
        assert text in str(alone.value), attributes
        assert f'"{role}-{attributes}": host 127.0.0.1, port {port}.' in str(alone.value)
        # A host that is not there is told in the detail, and never instead.
        with pytest.raises(psycopg.OperationalError) as beside:
            port_behind(box, f"{role}-{attributes}-dead")
        assert f"reachable: {text}" in str(beside.value), attributes
        assert f"host 127.0.0.1, port {port}: {text}" in str(beside.value)
        assert f"host 127.0.0.1, port {dead}: Connection refused" in str(beside.value)


def test_prefer_standby_takes_a_primary_in_the_end(pair, start_box):
    primary, _ = pair
    dead = free_port()
    box = start_box(
        config_of(
            primary,
            {
                "alone": hosts([primary.port], "prefer-standby"),
                "dead-first": hosts([dead, primary.port], "prefer-standby"),
                "dead-last": hosts([primary.port, dead], "prefer-standby"),
            },
        )
    )
    for route in ("alone", "dead-first", "dead-last"):
        assert port_behind(box, route) == primary.port, route


def test_a_host_that_was_silent_is_tried_last(pair, start_box):
    primary, _ = pair
    with SilentHost() as silent:
        box = start_box(
            config_of(
                primary,
                {"main": hosts([silent.port, primary.port], connect_timeout="1s")},
                workers=1,
            )
        )
        started = time.monotonic()
        first = box.connect("session")
        first.execute("SELECT 1")
        assert time.monotonic() - started >= 0.9, "the first host was not tried first"
        started = time.monotonic()
        for _ in range(5):  # each has a server connection of its own
            box.connect("session").execute("SELECT 1")
        assert time.monotonic() - started < 0.8
        assert silent.accepted == 1


def test_failover(start_box):
    """The primary dies, its standby is promoted: statements wait meanwhile, and none is lost."""
    with Postgres("old") as old, Postgres("new", standby_of=old) as new:
        old.admin("CREATE TABLE marks (id int PRIMARY KEY); ALTER TABLE marks OWNER TO app")
        eventually(lambda: new.admin("SELECT to_regclass('marks')") != [(None,)], "caught up")
        box = start_box(
            config_of(
                old,
                {
                    "writes": hosts([old.port, new.port], "read-write"),
                    "backwards": hosts([new.port, old.port], "primary"),
                    "reads": hosts([old.port, new.port], "standby"),
                },
                route={"hold_timeout": "30s", "connect_timeout": "2s"},
            )
        )
        assert port_behind(box, "reads") == new.port
        assert port_behind(box, "backwards") == old.port
        client = box.connect("writes")
        client.execute("INSERT INTO marks VALUES (1)")
        eventually(lambda: new.admin("SELECT id FROM marks") == [(1,)], "it is on the standby")
        old.kill()
        done = []

        def write():
            client.execute("INSERT INTO marks VALUES (2)")
            done.append(client.execute("SELECT current_setting('port')").fetchone()[0])

        thread = threading.Thread(target=write)
        thread.start()
        thread.join(1)
        assert thread.is_alive(), "a standby was written to"
        new.promote()
        thread.join(15)
        assert done == [str(new.port)]
        assert port_behind(box, "backwards") == new.port
        assert new.admin("SELECT id FROM marks ORDER BY id") == [(1,), (2,)]


# ---- servers before PostgreSQL 14, which report neither parameter


def old_server(answers):
    """A server that reports nothing and answers the texts of `answers` with one value each."""

    def greet(session):
        out = messages.authentication(0)
        for name in ("server_version", "client_encoding", "DateStyle", "TimeZone"):
            out += messages.parameter_status(name, "UTF8" if "enc" in name else "x")
        session.send(out + messages.backend_key_data(1, 2) + messages.ready())
        return True

    def script(session):
        for kind, body in session.requests():
            answer = answers.get(session.sql(kind, body)) if kind == b"Q" else None
            if answer is None:
                session.answer(kind, body)
            elif isinstance(answer, bytes):
                session.send(answer + messages.ready())
            else:
                session.send(
                    messages.row_description("x")
                    + messages.data_row(answer)
                    + messages.command_complete("SHOW")
                    + messages.ready()
                )

    return FakeServer(script, authenticate=greet)


WRITABLE = "SHOW transaction_read_only"
RECOVERY = "SELECT pg_catalog.pg_is_in_recovery()"


@pytest.mark.parametrize(
    "attributes, question, fitting, unfit",
    [
        ("read-write", WRITABLE, "off", "on"),
        ("read-only", WRITABLE, "on", "off"),
        ("primary", RECOVERY, "f", "t"),
        ("standby", RECOVERY, "t", "f"),
        ("prefer-standby", RECOVERY, "t", "f"),
    ],
)
def test_a_server_that_reports_nothing_is_asked(start_box, attributes, question, fitting, unfit):
    with old_server({question: unfit}) as first, old_server({question: fitting}) as second:
        box = start_box(
            config_of(first, {"main": hosts([first.port, second.port], attributes)})
        )
        assert box.raw("transaction").value("SELECT 'mine'") == "x"
        # Each connection is asked first of all and once; the unfit one then hears a good-bye.
        eventually(lambda: first.sessions[0].seen[-1][0] == b"X", "Terminate")
        assert set(first.statements()) == {question}
        used = next(s for s in second.sessions if len(s.seen) > 1)
        asked = [used.sql(kind, body) for kind, body in used.seen]
        assert asked[0] == question and asked.count(question) == 1
        assert "SELECT 'mine'" in second.statements()


def test_any_asks_nothing(start_box):
    with old_server({}) as server:
        box = start_box(config_of(server, {"main": hosts([server.port], "any")}))
        assert box.raw("transaction").value("SELECT 'mine'") == "x"
        assert not {WRITABLE, RECOVERY} & set(server.statements())


@pytest.mark.parametrize(
    "answer, text",
    [
        (messages.error("58000", "no answer today"), "no answer today"),
        (messages.command_complete("SHOW"), "did not say whether it fits"),
    ],
)
def test_a_server_that_cannot_answer_does_not_fit(start_box, answer, text):
    with old_server({WRITABLE: answer}) as server:
        box = start_box(
            config_of(
                server,
                {"unsure": hosts([server.port], "read-write")},
                route={"hold_timeout": "300ms"},
            )
        )
        with pytest.raises(ServerError, match=text):
            box.raw("unsure")
