#!/usr/bin/python3
"""Measures what Signalbox's catalog costs its users: moving a connection, reading the tables, examining a database.

    bench/catalog.py                      everything: about four minutes
    bench/catalog.py --only moves,views   by name

Figures are printed with the targets that they have. See bench/README.md.
"""

import argparse
import os
import pathlib
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import time

sys.dont_write_bytecode = True
sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))

import libpq  # noqa: E402
from run import ROOT, machine  # noqa: E402
from servers import PG_BIN, TRANSACTION, Failure, PostgreSQL, Signalbox  # noqa: E402

MOVING_CLIENTS = 64
MOVE_EVERY = 0.5  # seconds
TRAFFIC_CLIENTS = 8
RUN = ["-n", "-j", 2]
ROWS = 10_000
VIEWS = 2_000
HISTORY = "mz_internal.mz_connection_status_history"
NOTICES = "mz_internal.mz_notices"


def percentile(values, share):
    return sorted(values)[min(len(values) - 1, int(len(values) * share))]


class Bench:
    """Two PostgreSQL servers and one Signalbox, which begins with the first."""

    def __init__(self, folder, binary):
        Signalbox.binary = binary
        self.folder = folder
        self.certificates = folder / "certificates"
        subprocess.run([ROOT / "certs/make", self.certificates], check=True)
        self.servers = []
        for name in ("north", "south"):
            (folder / name).mkdir()
            os.chmod(folder / name, 0o755)
            self.servers.append(PostgreSQL(folder / name))
        self.servers[1].password = self.servers[0].password
        self.box = None

    def start_box(self, **catalog):
        """A Signalbox with an empty store; `catalog`: settings of that section."""
        for old in self.folder.glob("store.db*"):
            old.unlink()
        return self.start_box_again(**catalog)

    def start_box_again(self, **catalog):
        settings = {"url": f"sqlite:{self.folder}/store.db", **catalog}
        lines = "".join(f"{key} = {value_of(value)}\n" for key, value in settings.items())
        north = self.servers[0]
        self.box = Signalbox(self.folder, north, self.certificates, north.verifier(), 500)
        self.box.roles = ["superuser"]
        self.box.sections = f"[catalog]\n{lines}\n[availability]\ninterval = \"1s\"\n"
        self.box.start()
        return self.box

    def stop(self):
        for each in [self.box, *self.servers]:
            if each is not None:
                each.stop()


def value_of(setting):
    return str(setting).lower() if isinstance(setting, (bool, int)) else f'"{setting}"'


def seconds_of(connection, sql, repeats=7):
    """The best of several, with all rows fetched."""
    times = []
    for _ in range(repeats):
        started = time.perf_counter()
        connection.execute(sql)
        times.append(time.perf_counter() - started)
    return min(times)


def pgbench(server, arguments, folder=None, **options):
    return subprocess.Popen(
        [str(PG_BIN / "pgbench"), *[str(each) for each in arguments]],
        env=server.environment(TRANSACTION),
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        **options,
    )


def finish(process):
    output, _ = process.communicate(timeout=300)
    if process.returncode:
        raise Failure(f"pgbench failed:\n{output}")
    return output


def transactions(folder):
    """(client, began, ended) of each, in seconds since the epoch."""
    found = []
    for path in folder.glob("pgbench_log.*"):
        for line in path.read_text().splitlines():
            client, _, took, _, second, microsecond = (int(word) for word in line.split()[:6])
            ended = second + microsecond / 1e6
            found.append((client, ended - took / 1e6, ended))
    return found


def moves(bench):
    """The pause that clients see while a connection moves to and fro: at p99 at most 50 ms beyond the longest."""
    for server in bench.servers:
        with libpq.Connection(**server.parameters()) as connection:
            connection.execute("CREATE UNLOGGED TABLE moved (n int)")
    box = bench.start_box()
    try:
        for mode in ("simple", "prepared"):
            for moving in (False, True):
                yield f"moves, {mode}, {'moving' if moving else 'at rest'}", move(bench, box, mode, moving)
    finally:
        box.stop()


def move(bench, box, mode, moving, seconds=10):
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        script = folder / "insert.sql"
        script.write_text("INSERT INTO moved VALUES (1);\n")
        load = pgbench(
            box, [*RUN, "-M", mode, "-c", MOVING_CLIENTS, "-T", seconds, "--log", "-f", script], folder
        )
        windows = []
        with libpq.Connection(**box.parameters()) as operator:
            time.sleep(1.5)
            end = time.time() + seconds - 3
            number = 0
            while moving and time.time() < end:
                number += 1
                port = bench.servers[number % 2].port
                began = time.time()
                operator.execute(f"ALTER CONNECTION main SET (PORT = {port})")
                windows.append((began, time.time()))
                time.sleep(MOVE_EVERY)
        output = finish(load)
        if "number of failed transactions: 0 " not in output:
            raise Failure(f"transactions have failed:\n{output}")
        done = transactions(folder)
        took = [ended - began for _, began, ended in done]
        figures = {
            "transactions": f"{len(done)}",
            "p50": f"{percentile(took, 0.5) * 1000:.1f} ms",
            "p99": f"{percentile(took, 0.99) * 1000:.1f} ms",
            "longest": f"{max(took) * 1000:.1f} ms",
        }
        if moving:
            pauses = []
            for began, ended in windows:
                longest = {}
                for client, first, last in done:
                    if first <= ended and last >= began:
                        longest[client] = max(longest.get(client, 0), last - first)
                pauses += longest.values()
            figures["moves"] = f"{len(windows)}"
            figures["ALTER, longest"] = f"{max(last - first for first, last in windows) * 1000:.1f} ms"
            figures["p99 of each client's longest during a move"] = f"{percentile(pauses, 0.99) * 1000:.1f} ms"
        return figures


def compare_with_table(box, relation):
    """Reading all rows of a relation of Signalbox's, against the same rows in a real table."""
    with libpq.Connection(**box.parameters()) as connection:
        connection.execute(f"CREATE TABLE kept AS SELECT * FROM {relation}")
        rows = int(connection.execute(f"SELECT count(*) FROM {relation}"))
        ours, theirs = (seconds_of(connection, f"SELECT * FROM {each}") for each in (relation, "kept"))
        connection.execute("DROP TABLE kept")
        return {
            "rows": f"{rows}",
            "read": f"{ours * 1000:.0f} ms",
            "from a real table": f"{theirs * 1000:.0f} ms",
            "more": f"{(ours - theirs) * 1000:.0f} ms",
        }


def history(bench):
    """10,000 rows of history: at most 100 ms more than from a real table."""
    box = bench.start_box(history_per_connection=2 * ROWS)
    with libpq.Connection(**box.parameters()) as connection:
        while connection.execute(f"SELECT count(*) FROM {HISTORY}") == "0":
            time.sleep(0.05)
    box.stop()
    with sqlite3.connect(bench.folder / "store.db") as store:
        tables = [row[0] for row in store.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
        columns = {table: [row[1] for row in store.execute(f"PRAGMA table_info({table})")] for table in tables}
        events = next(table for table in tables if {"connection_id", "occurred_at"} <= set(columns[table]))
        others = ", ".join(name for name in columns[events] if name != "number")
        store.execute(
            f"WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {ROWS}) "
            f"INSERT INTO {events} (number, {others}) SELECT (SELECT max(number) FROM {events}) + i, "
            f"{others} FROM (SELECT * FROM {events} LIMIT 1), n"
        )
    store.close()
    box = bench.start_box_again(history_per_connection=2 * ROWS)
    try:
        yield "history", compare_with_table(box, HISTORY)
    finally:
        box.stop()


def make_views(direct, first, last):
    with libpq.Connection(**direct.parameters()) as connection:
        if first == 1:
            connection.execute("CREATE TABLE numbers (n int PRIMARY KEY)")
        connection.execute(
            f"DO $$BEGIN FOR i IN {first}..{last} LOOP EXECUTE format("
            "'CREATE VIEW view_%s AS SELECT n, n + %s AS m FROM numbers WHERE n = NULL OR n > %s', i, i, i"
            "); END LOOP; END$$"
        )


def until_found(box, count, limit=300):
    """Seconds until that many notices are known."""
    started = time.perf_counter()
    with libpq.Connection(**box.parameters()) as connection:
        while int(connection.execute(f"SELECT count(*) FROM {NOTICES}")) < count:
            if time.perf_counter() - started > limit:
                raise Failure(f"not {count} notices after {limit} s")
            time.sleep(0.1)
    return time.perf_counter() - started


def views(bench, rounds=5):
    """2,000 views at the start: at most 30 s, and traffic is slowed down by at most 5 %."""
    north = bench.servers[0]
    make_views(north, 1, VIEWS)
    box = bench.start_box(notices=True)
    took = [until_found(box, VIEWS)]
    box.stop()
    seconds = max(2, round(took[0]))
    ratios = []
    for _ in range(rounds):
        rates = []
        box = bench.start_box(notices=True)
        for _ in ("while they are examined", "afterwards"):
            output = finish(pgbench(box, [*RUN, "-S", "-c", TRAFFIC_CLIENTS, "-T", seconds]))
            rates.append(float(output.split("tps = ")[1].split()[0]))
            took.append(until_found(box, VIEWS))
        ratios.append(rates[0] / rates[1])
        box.stop()
    yield (
        "views",
        {
            "views": f"{VIEWS}",
            "examined after": f"{took[0]:.1f} s",
            f"transactions per second in the first {seconds} s / in the next": f"{statistics.median(ratios):.3f}",
            "of each round": ", ".join(f"{ratio:.2f}" for ratio in ratios),
        },
    )
    make_views(north, VIEWS + 1, ROWS)
    box = bench.start_box(notices=True)
    try:
        took = until_found(box, ROWS)
        yield "notices", {"examined after": f"{took:.1f} s", **compare_with_table(box, NOTICES)}
    finally:
        box.stop()


MEASUREMENTS = {"moves": moves, "history": history, "views": views}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--signalbox", default=ROOT / "build/release/signalbox", type=pathlib.Path)
    parser.add_argument("--only", default=",".join(MEASUREMENTS), help="names, separated by commas")
    options = parser.parse_args()
    wanted = options.only.split(",")
    if unknown := set(wanted) - set(MEASUREMENTS):
        parser.error(f"unknown: {', '.join(sorted(unknown))}; there are {', '.join(MEASUREMENTS)}")
    with tempfile.TemporaryDirectory(prefix="signalbox-bench-") as name:
        folder = pathlib.Path(name)
        os.chmod(folder, 0o755)
        bench = Bench(folder, options.signalbox.resolve())
        try:
            for server in bench.servers:
                server.start()
            finish(pgbench(bench.servers[0], ["-i", "-q", "-s", "5", "--unlogged-tables"]))
            print(f"Machine: {machine()}")
            for each in wanted:
                for title, figures in MEASUREMENTS[each](bench):
                    print(title)
                    for what, figure in figures.items():
                        print(f"  {what:<50} {figure}", flush=True)
        finally:
            bench.stop()


if __name__ == "__main__":
    try:
        main()
    except (Failure, libpq.Error) as error:
        sys.exit(f"catalog.py: {error}")
