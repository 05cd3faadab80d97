"""ALTER CONNECTION is one change: whole or not at all, kept over restarts, never half of two."""

import re
import sqlite3
import threading

import psycopg
import pytest

from boxes import QUICK_CHECKS, UNCHECKED, config, create, to
from harness import eventually, free_port
from harness.replies import refused, succeeded
from harness.silent_host import SilentHost


class Traffic:
    """A client that asks without a pause until stop(); every failure is kept."""

    def __init__(self, box, sql="SELECT current_setting('port')"):
        self.answers, self.failures, self._stop = [], [], threading.Event()
        self._arguments = (box, sql)
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()
        eventually(lambda: self.answers, "traffic has begun")

    def _run(self):
        box, sql = self._arguments
        try:
            with box.connect() as connection:
                while not self._stop.is_set():
                    self.answers.append(connection.execute(sql).fetchone()[0])
        except psycopg.Error as error:
            self.failures.append(error)

    def stop(self):
        self._stop.set()
        self._thread.join(20)
        assert not self._thread.is_alive() and not self.failures, self.failures
        return self.answers


# --- nothing happens by halves


@pytest.mark.parametrize(
    "change, code",
    [
        ("SET (PORT = {closed})", "08001"),
        ("SET (HOST = 'no-such-host.invalid'), DROP (CONNECT TIMEOUT)", "08001"),
        ("SET (USER = 'no_such_role')", "08001"),
        ("SET (CONNECT TIMEOUT = '9s'), SET (PORT = 'http')", "22023"),
        ("SET (CONNECT TIMEOUT = '9s'), DROP (HOST)", "22023"),
        ("SET (CONNECT TIMEOUT = '9s', PASSWORD = SECRET no_such)", "42704"),
        ("RESET (PORT), SET (BROKER = 'b')", "42601"),
    ],
)
def test_a_failure_leaves_everything(box, client, closed_port, pg, change, code):
    succeeded(client.query("ALTER CONNECTION main SET (CONNECT TIMEOUT = '8s')"))
    before = box.facts("main")
    traffic = Traffic(box)
    for _ in range(3):
        refused(client.query(f"ALTER CONNECTION main {change.format(closed=closed_port)}"), code)
    assert box.facts("main") == before
    assert set(traffic.stop()) == {str(pg.port)}
    succeeded(client.query("ALTER CONNECTION main RESET (CONNECT TIMEOUT)"))


def test_a_failed_create_leaves_nothing(box, client, new_name, closed_port, pg):
    name = new_name()
    refused(client.query(create(name, closed_port, validate=True)), "08001")
    assert box.facts(name) is None
    succeeded(client.query(create(name, pg.port, validate=True)), "CREATE CONNECTION")
    assert box.generation(name) == 1


def test_generations_and_times(box, client, make):
    """One more per successful change, however many options it touches; the times follow."""
    name = make()
    created = box.facts(name)
    assert created[1] == 1
    for number, change in enumerate(
        (
            f"SET (PORT = 1, HOST = 'a'), DROP (DATABASE) {UNCHECKED}",
            f"RESET (PORT) {UNCHECKED}",
            "OWNER TO other",
        ),
        start=2,
    ):
        succeeded(client.query(f"ALTER CONNECTION {name} {change}"))
        facts = box.facts(name)
        assert facts[1] == number and facts[2] >= created[2] and facts[4] == created[4]


def test_a_failing_validation_holds_up_nobody(box, client, make):
    """Against a host that never answers; others are altered and asked meanwhile."""
    name, other = make(), make()
    with SilentHost() as silent:
        port = silent.port
        found = []

        def slow():
            with box.connect() as boss:
                try:
                    boss.execute(
                        f"ALTER CONNECTION {name} SET (PORT = {port}, CONNECT TIMEOUT = '2s')"
                    )
                except psycopg.Error as error:
                    found.append(error.sqlstate)

        waiting = threading.Thread(target=slow)
        waiting.start()
        eventually(lambda: silent.accepted, "the validation has begun")
        succeeded(client.query(f"ALTER CONNECTION {other} SET (PORT = 1) {UNCHECKED}"))
        assert client.value("SELECT 1") == "1"
        assert box.generation(other) == 2 and not found
        waiting.join(20)
    assert found == ["08001"] and box.generation(name) == 1


def test_the_log_names_what_was_changed(box, client, new_name, pg):
    name, other = new_name(), new_name()
    since = len(box.log_text())
    for sql, tag, subject in (
        (create(name, pg.port), "CREATE CONNECTION", name),
        (f"ALTER CONNECTION {name} SET (PORT = 1) {UNCHECKED}", "ALTER CONNECTION", name),
        (f"ALTER CONNECTION {name} RENAME TO {other}", "ALTER CONNECTION", f"{name} to {other}"),
        (create(name, pg.port), "CREATE CONNECTION", name),
        (f"DROP CONNECTION {name}, {other}", "DROP CONNECTION", f"{name}, {other}"),
    ):
        succeeded(client.query(sql), tag)
        box.wait_log(f'carried out .*"{tag}" connection="{subject}" user="app"', since=since)
        since = len(box.log_text())


# --- RESET and DROP


def test_reset_returns_to_the_file(box, client, pg):
    before = box.create_sql("main")
    port = pg.port
    change = f"SET (PORT = 1, CONNECT TIMEOUT '3s') {UNCHECKED}"
    succeeded(client.query(f"ALTER CONNECTION main {change}"))
    assert box.options("main")["PORT"] == "1"
    succeeded(client.query("ALTER CONNECTION main RESET (PORT), RESET (CONNECT TIMEOUT)"))
    assert box.create_sql("main") == before and box.options("main")["PORT"] == str(port)
    succeeded(client.query("ALTER CONNECTION main DROP (SSL MODE)"))
    assert "SSL MODE" not in box.options("main")
    succeeded(client.query("ALTER CONNECTION main RESET (SSL MODE)"))
    assert box.create_sql("main") == before
    assert client.value("SELECT current_user") == "app"


def test_reset_without_a_file_returns_to_the_default(box, client, make):
    name = make()
    succeeded(client.query(f"ALTER CONNECTION {name} RESET (PORT, DATABASE) {UNCHECKED}"))
    assert not {"DATABASE"} & set(box.options(name))
    assert box.options(name).get("PORT", "5432") == "5432"
    refused(
        client.query(f"ALTER CONNECTION {name} RESET (HOST) {UNCHECKED}"),
        "22023",
        "invalid ALTER CONNECTION: HOST option is required",
    )


def test_resetting_what_was_never_set(box, client, make):
    name = make()
    before = box.create_sql(name)
    succeeded(client.query(f"ALTER CONNECTION {name} RESET (CONNECT TIMEOUT), DROP (SSL KEY)"))
    assert box.create_sql(name) == before


# --- restarts and reloads


@pytest.fixture
def own_box(pg, start_box):
    """With a connection `file` that no route needs."""
    return start_box(config(pg, {"connections": {"file": to(pg)}}))


@pytest.mark.parametrize("ending", ["stop", "kill"])
def test_changes_survive_a_restart(own_box, pg, ending):
    box = own_box
    with box.connect() as boss:
        boss.execute(create("made", pg.port))
        boss.execute(create("gone", pg.port))
        change = f"SET (CONNECT TIMEOUT = '9s'), DROP (DATABASE) {UNCHECKED}"
        boss.execute(f"ALTER CONNECTION made {change}")
        boss.execute("ALTER CONNECTION made RENAME TO renamed")
        boss.execute("ALTER CONNECTION renamed OWNER TO other")
        boss.execute(f"ALTER CONNECTION file SET (PORT = 1), DROP (USER, PASSWORD) {UNCHECKED}")
        ids = {name: box.facts(name)[4] for name in ("renamed", "gone", "file", "main")}
        boss.execute("DROP CONNECTION gone")
        before = {name: box.facts(name) for name in ("renamed", "file", "main")}
        shown = boss.execute("SHOW CONNECTIONS").fetchall()
    getattr(box, ending)()
    box.start()
    assert {name: box.facts(name) for name in before} == before
    assert [row[:3] for row in box.run("SHOW CONNECTIONS")] == [row[:3] for row in shown]
    assert box.options("file")["PORT"] == "1" and "USER" not in box.options("file")
    assert before["renamed"][3] == "other" and box.facts("gone") is None
    # Ids are never used again.
    box.run(create("gone", pg.port))
    assert box.facts("gone")[4] not in ids.values()
    # And what the file says is not forgotten.
    box.run("ALTER CONNECTION file RESET (PORT, USER, PASSWORD)")
    assert box.options("file")["PORT"] == str(pg.port) and box.options("file")["USER"] == "app"


def test_traffic_follows_a_change_over_a_restart(own_box, pg, private_pg):
    box = own_box
    box.run(f"ALTER CONNECTION main SET (PORT = {private_pg.port})")
    assert box.run("SELECT current_setting('port')") == [(str(private_pg.port),)]
    box.restart()
    assert box.run("SELECT current_setting('port')") == [(str(private_pg.port),)]
    box.run("ALTER CONNECTION main RESET (PORT)")
    assert box.run("SELECT current_setting('port')") == [(str(pg.port),)]


def test_a_reload_names_what_is_overridden(own_box, pg):
    """SQL wins over the file; what SQL has not touched follows the file."""
    box = own_box
    box.run(f"ALTER CONNECTION file SET (PORT = 1, HOST = 'elsewhere') {UNCHECKED}")
    since = len(box.log_text())
    settings = box.config
    settings["connections"]["file"] = to(pg, port=free_port(), user="other", password="other")
    box.reload(settings)
    box.wait_log("reloaded", since=since)
    lines = [line for line in box.log_text()[since:].splitlines() if "overrid" in line.lower()]
    text = "\n".join(lines)
    assert re.search(r"\bfile\b", text) and re.search(r"(?i)\bport\b", text), box.log_text()[since:]
    assert re.search(r"(?i)\bhost\b", text)
    eventually(lambda: box.options("file").get("USER") == "other", "the file's user is taken over")
    options = box.options("file")
    assert (options["HOST"], options["PORT"]) == ("elsewhere", "1")
    # A reset reaches the new file's value.
    box.run(f"ALTER CONNECTION file RESET (HOST, PORT) {UNCHECKED}")
    assert box.options("file")["PORT"] == str(settings["connections"]["file"]["port"])


def test_a_reload_makes_connections_and_takes_them_away(own_box, pg):
    box = own_box
    settings = box.config
    settings["connections"]["fresh"] = settings["connections"].pop("file")
    box.reload(settings)
    box.wait_log("reloaded")
    eventually(lambda: box.facts("fresh") and not box.facts("file"), "the reload is published")


def test_a_reload_names_what_needs_a_restart(own_box, pg):
    """These are not half in force: the relations keep their names, the store stays."""
    box = own_box
    settings = box.config
    settings["catalog"] = {
        **settings.get("catalog", {}),
        "url": "sqlite:other.db",
        "status_quota": "7/h",
        "schemas": {"catalog": "sb_catalog", "internal": "sb_internal"},
    }
    settings["connections"]["fresh"] = to(pg)
    since = len(box.log_text())
    box.reload(settings)
    box.wait_log("reloaded", since=since)
    (line,) = [each for each in box.log_text()[since:].splitlines() if "at restart" in each]
    assert re.search(r"\bwarn", line), line
    assert re.findall(r'"([a-z_.]+)"', line) == [
        "catalog.url",
        "catalog.status_quota",
        "catalog.schemas.catalog",
        "catalog.schemas.internal",
    ]
    eventually(lambda: box.facts("fresh"), "what can change has changed")
    with pytest.raises(psycopg.errors.UndefinedTable):
        box.run("SELECT * FROM sb_catalog.mz_connections")
    assert not (box.folder / "other.db").exists()
    # The same file once more: it still differs from what is in force.
    since = len(box.log_text())
    box.reload()
    box.wait_log("at restart", since=since)
    box.restart()
    found = box.run("SELECT name FROM sb_catalog.mz_connections WHERE name = 'fresh'")
    assert found == [("fresh",)]
    assert (box.folder / "other.db").exists()


def test_secrets_are_read_again_at_a_reload(own_box, tmp_path):
    """By name: the value never was in the catalog."""
    box = own_box
    box.run("ALTER CONNECTION file SET (USER 'other', PASSWORD SECRET other)")
    settings = box.config
    right, settings["secrets"]["other"] = settings["secrets"]["other"], {"value": "wrong-Pw-1"}
    settings["users"] = [u for u in settings["users"] if u["name"] != "other"]
    since = len(box.log_text())
    box.reload(settings)
    box.wait_log("reloaded", since=since)
    with pytest.raises(psycopg.Error) as refusal:
        box.run("VALIDATE CONNECTION file")
    assert refusal.value.sqlstate == "08001"
    since = len(box.log_text())
    settings["secrets"]["other"] = right
    box.reload(settings)
    box.wait_log("reloaded", since=since)
    assert box.run("VALIDATE CONNECTION file") == "VALIDATE CONNECTION"


def test_a_store_that_cannot_be_opened(pg, start_box, tmp_path):
    """A fault at start, said in the log: never a silent new catalog."""
    broken = tmp_path / "broken.db"
    broken.write_bytes(b"this is no database" * 100)
    settings = config(pg, {"catalog": {"url": f"sqlite:{broken}"}})
    box = start_box(settings, wait=False)
    assert box.wait_exit() == 1
    assert "broken.db" in box.log_text()
    assert broken.read_bytes() == b"this is no database" * 100


# --- at the same time


def test_concurrent_changes_of_one(box, make):
    """Serialised, or 40001; what is left is one of them, whole."""
    name, outcomes = make(), []

    def change(number):
        with box.connect() as boss:
            for step in range(10):
                value = 1000 + number * 100 + step
                pair = f"PORT = {value}, CONNECT TIMEOUT = '{value}s'"
                try:
                    boss.execute(f"ALTER CONNECTION {name} SET ({pair}) {UNCHECKED}")
                    outcomes.append("done")
                except psycopg.Error as error:
                    assert f'"{name}" was changed concurrently' in str(error), error
                    outcomes.append(error.sqlstate)

    threads = [threading.Thread(target=change, args=(n,)) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert len(outcomes) == 80 and set(outcomes) <= {"done", "40001"} and "done" in outcomes
    options = box.options(name)
    assert options["CONNECT TIMEOUT"].rstrip("s") == options["PORT"]
    assert box.generation(name) == 1 + outcomes.count("done")


def test_concurrent_creates_of_one_name(box, new_name, pg):
    name, outcomes = new_name(), []

    def make_it():
        with box.connect() as boss:
            try:
                boss.execute(create(name, pg.port))
                outcomes.append("done")
            except psycopg.Error as error:
                outcomes.append(error.sqlstate)

    threads = [threading.Thread(target=make_it) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert outcomes.count("done") == 1 and set(outcomes) <= {"done", "42710", "40001"}
    rows = box.run(f"SELECT 1 FROM mz_catalog.mz_connections WHERE name = '{name}'")
    assert len(rows) == 1


def test_a_plan_that_was_overtaken_is_not_committed(box, make, pg):
    """Validated with one DATABASE, it would be committed with another: 40001, nothing changed."""
    name, found = make(), []
    with SilentHost() as silent:
        hosts = f"HOST = '127.0.0.1,127.0.0.1', PORT = '{silent.port},{pg.port}'"

        def slow():
            with box.connect() as boss:
                with pytest.raises(psycopg.errors.SerializationFailure) as refusal:
                    boss.execute(f"ALTER CONNECTION {name} SET ({hosts}, CONNECT TIMEOUT = '2s')")
                found.append(refusal.value.diag)

        waiting = threading.Thread(target=slow)
        waiting.start()
        eventually(lambda: silent.accepted, "the validation has begun")
        box.run(f"ALTER CONNECTION {name} SET (DATABASE = 'other') {UNCHECKED}")
        after = box.facts(name)
        waiting.join(20)
    assert [d.message_primary for d in found] == [f'connection "{name}" was changed concurrently']
    assert box.facts(name) == after and box.options(name)["DATABASE"] == "other"


def test_a_change_that_the_store_knows_already(box, client, make):
    """Another Signalbox has been faster, and its word has not come yet: 40001, then as usual."""
    name = make()
    with sqlite3.connect(box.folder / "signalbox.db", timeout=10) as store:
        store.execute("UPDATE connections SET generation = 7 WHERE name = ?", [name])
    store.close()
    change = f"ALTER CONNECTION {name} SET (PORT = 9) {UNCHECKED}"
    refused(client.query(change), "40001", f'connection "{name}" was changed concurrently')
    assert box.generation(name) == 7 and box.options(name)["PORT"] != "9"
    succeeded(client.query(change), "ALTER CONNECTION")
    assert box.generation(name) == 8


def test_a_store_that_takes_nothing(box, client, make, new_name, pg):
    """Another process holds the file: 58000, nothing changed, and everything else goes on."""
    name = make()
    before = box.facts(name)
    store = sqlite3.connect(box.folder / "signalbox.db", timeout=10, isolation_level=None)
    store.execute("BEGIN IMMEDIATE")
    try:
        for sql in (
            f"ALTER CONNECTION {name} SET (PORT = 9) {UNCHECKED}",
            f"DROP CONNECTION {name}",
            create(new_name(), pg.port),
        ):
            fields = refused(
                client.query(sql), "58000", "the catalog's store is not available: …"
            )
            assert "\n" not in fields["M"], fields
        assert client.value("SELECT 1") == "1" and box.facts(name) == before
        assert box.options(name)["PORT"] == str(pg.port)
    finally:
        store.execute("ROLLBACK")
        store.close()
    succeeded(client.query(f"ALTER CONNECTION {name} SET (PORT = 9) {UNCHECKED}"))
    assert box.generation(name) == 2


def test_a_change_during_a_validation(start_box, pg):
    """The plan that was validated is the plan that is committed, or 40001."""
    box = start_box(config(pg, checks=QUICK_CHECKS))
    with SilentHost() as silent:
        box.run(create("both", pg.port))
        first = []

        def slow():
            with box.connect() as boss:
                try:
                    boss.execute(
                        "ALTER CONNECTION both SET (HOST = '127.0.0.1,127.0.0.1', CONNECT TIMEOUT ="
                        f" '2s', PORT = '{silent.port},{pg.port}')"
                    )
                    first.append("done")
                except psycopg.Error as error:
                    first.append(error.sqlstate)

        waiting = threading.Thread(target=slow)
        waiting.start()
        eventually(lambda: silent.accepted, "the validation has begun")
        second = None
        with box.connect() as boss:
            try:
                boss.execute(f"ALTER CONNECTION both SET (DATABASE = 'other') {UNCHECKED}")
                second = "done"
            except psycopg.Error as error:
                second = error.sqlstate
        waiting.join(20)
    outcomes = [*first, second]
    assert set(outcomes) <= {"done", "40001"} and "done" in outcomes, outcomes
    options = box.options("both")
    assert box.generation("both") == 1 + outcomes.count("done")
    assert ("," in options["HOST"]) == (first == ["done"])
    assert (options["DATABASE"] == "other") == (second == "done")
