"""A secret's value is nowhere: not in a log, a table, a result, an error, nor in the store."""

import re
import stat

import pytest

from boxes import QUICK_CHECKS, UNCHECKED, config, create, to
from harness import Certificates, eventually
from harness.messages import bind, describe_statement, execute, parse, sync
from harness.postgres import ROLES
from harness.raw_client import ServerError
from harness.replies import errors, extended, simple, succeeded

TYPED = "Typed-Pw-31337"
NEVER_USED = "Never-Pw-4711"
RELATIONS = [
    "mz_catalog.mz_connections",
    "mz_internal.mz_connection_statuses",
    "mz_internal.mz_connection_status_history",
]


@pytest.fixture(scope="module")
def key(tmp_path_factory):
    """A client key in PEM form: its secret is the value itself."""
    _, path = Certificates(tmp_path_factory.mktemp("certificates")).client("app")
    return path.read_text()


@pytest.fixture
def secrets(key):
    return {**{n: v for n, v in ROLES.items() if v}, "never": NEVER_USED, "pem": key}


@pytest.fixture
def loud(pg, start_box, secrets, closed_port):
    """Every secret comes from the environment, so that no file of the folder may hold one."""
    settings = config(
        pg,
        {
            "log": {"level": "trace"},
            "connections": {
                "stranger": to(pg, password="other"),
                "nobody": to(pg, port=closed_port),
            },
        },
        checks=QUICK_CHECKS,
        route={"hold_timeout": "1s", "connect_timeout": "1s"},
        routes={"nobody": {"connection": "nobody", "pool_mode": "transaction"}},
    )
    names = [name for name in settings["secrets"] if name != "postgres_here"]
    settings["secrets"].update({n: {"env": f"TEST_SECRET_{n.upper()}"} for n in (*names, "never")})
    settings["secrets"]["pem"] = {"env": "TEST_SECRET_PEM"}
    environment = {f"TEST_SECRET_{name.upper()}": value for name, value in secrets.items()}
    return start_box(settings, env=environment)


def needles(secrets):
    """What to look for: the values, and a line out of the middle of the key."""
    found = [value for name, value in secrets.items() if name != "pem"]
    return [*found, secrets["pem"].splitlines()[1], TYPED]


def everything_said(box, closed_port, target_port):
    """Runs statements of every kind and outcome; gives all bytes that the clients received."""
    heard = []
    boss, plain = box.raw(), box.raw(user="other")
    create_one = create("one", target_port, validate=True)
    one = "ALTER CONNECTION one"
    statements = [
        create_one,
        create_one,
        create("two", closed_port, validate=True),
        create("three", target_port, ", SSL KEY SECRET pem"),
        f"{one} SET (PASSWORD = SECRET other)",
        f"{one} SET (PASSWORD = SECRET other) {UNCHECKED}",
        "VALIDATE CONNECTION one",
        f"{one} SET (PASSWORD = SECRET never) {UNCHECKED}",
        "VALIDATE CONNECTION one",
        f"{one} SET (PASSWORD = '{TYPED}')",
        f"{one} SET (SSL KEY = '{TYPED}')",
        f"{one} SET (USER = SECRET app)",
        f"{one} SET (PASSWORD = SECRET no_such) {UNCHECKED}",
        f"{one} SET (PASSWORD = SECRET app, PASSWORD = SECRET other)",
        f"{one} SET (PASSWORD = SECRET app), DROP (PASSWORD)",
        f"{one} RESET (PASSWORD), SET (SSL KEY SECRET pem) {UNCHECKED}",
        f"{one} SET (PASSWORD = '{TYPED}' oops)",
        f"CREATE CONNECTION four TO POSTGRES (HOST 'h', PASSWORD '{TYPED}')",
        f"CREATE CONNECTION five TO KAFKA (BROKER 'b', SASL PASSWORD '{TYPED}')",
        "CREATE CONNECTION six TO KAFKA (BROKER 'b', SASL PASSWORD SECRET never)",
        "SHOW CONNECTIONS",
        "SHOW CREATE CONNECTION one",
        "SHOW CREATE CONNECTION main",
        "SHOW CREATE CONNECTION three",
        "SHOW CONNECTION STATUS",
        "SHOW CONNECTION HISTORY",
        *(f"SELECT r::text, to_jsonb(r) FROM {relation} r" for relation in RELATIONS),
        *(f"EXPLAIN (ANALYZE, VERBOSE) SELECT * FROM {relation}" for relation in RELATIONS),
        *(f"SELECT nope FROM {relation}" for relation in RELATIONS),
        *(f"DELETE FROM {relation}" for relation in RELATIONS),
        "DROP CONNECTION IF EXISTS three",
    ]
    failed = 0
    for client in (boss, plain):
        for ask in (simple, extended):
            for sql in statements:
                found = ask(client, sql)
                failed += bool(errors(found))
                heard.append((sql, b"".join(body for _, body in found)))
    with pytest.raises(ServerError) as refusal:
        box.raw("nobody", timeout=20)
    heard.append(("a login without a server", str(refusal.value.fields).encode()))
    for relation in RELATIONS:
        boss.send(parse(f"SELECT * FROM {relation}", "p") + describe_statement("p"))
        boss.send(bind(statement="p", result_formats=(1,)) + execute() + sync())
        heard.append((relation, b"".join(body for _, body in boss.read_until(b"Z"))))
    assert failed > 40, "the statements that should fail did not"
    return heard


def test_no_secret_anywhere(loud, secrets, closed_port, pg):
    box = loud
    eventually(lambda: box.status("stranger")[0] == "failed", "a check has failed to log in")
    heard = everything_said(box, closed_port, pg.port)
    box.reload()
    box.wait_log("reloaded")
    shown = box.create_sql("main")
    assert "PASSWORD = SECRET app" in shown
    box.restart()
    assert box.create_sql("main") == shown
    box.stop()
    logs = box.all_logs()
    assert len(logs.splitlines()) > 20
    files = {p.name: p.read_bytes() for p in box.folder.rglob("*") if p.is_file()}
    assert any(name.startswith("signalbox.db") for name in files), files.keys()
    for needle in needles(secrets):
        for sql, data in heard:
            assert needle.encode() not in data, (sql, needle)
        assert needle not in logs, [line for line in logs.splitlines() if needle in line][:3]
        for name, data in files.items():
            assert needle.encode() not in data, (name, needle)
    # Nor is it on the servers, where the relations are evaluated.
    log = pg.log_text()
    assert TYPED not in log and NEVER_USED not in log


def test_the_catalogs_files_are_their_owners_only(box, client, make):
    name = make()
    succeeded(client.query(f"ALTER CONNECTION {name} SET (PORT 1) {UNCHECKED}"))
    files = [path for path in box.folder.iterdir() if path.name.startswith("signalbox.db")]
    assert "signalbox.db" in [path.name for path in files]
    for path in files:
        assert stat.S_IMODE(path.stat().st_mode) == 0o600, path


def test_secrets_are_shown_by_name(box, client, make):
    name = make()
    for sql in (
        f"SHOW CREATE CONNECTION {name}",
        f"SELECT name, create_sql FROM mz_catalog.mz_connections WHERE name = '{name}'",
    ):
        ((_, create_sql),) = client.rows(sql)
        assert re.search(r"PASSWORD = SECRET app\b", create_sql)
