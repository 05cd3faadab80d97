#!/usr/bin/python3
"""Signalbox under a mixed load for an hour; its memory must be flat at the end.

    bench/soak.py                      an hour
    SECONDS=600 bench/soak.py          ten minutes
    bench/soak.py --clients 32 --signalbox PATH

Sixteen clients run sessions one after the other: simple and prepared statements, pipelines, COPY in both directions,
transactions, split batches, LISTEN, settings, temporary tables, errors, rows of a megabyte, cancels, and clients that
vanish in the middle. Each session's keys are looked for at the server when it has ended, so that a soak is a proof of
more than memory. Every minute a line says how much memory is resident. It fails when a session fails, and when memory
still grows in the last third: by more than a mebibyte and two percent, as the straight line through that third has it.
"""

import argparse
import collections
import itertools
import os
import pathlib
import random
import signal
import sys
import threading
import time

sys.dont_write_bytecode = True
ROOT = pathlib.Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT / "tests/integration"), str(ROOT / "tests/integration/chaos")]

import workload  # noqa: E402
from harness import Postgres, Signalbox  # noqa: E402
from harness.messages import bind, execute, parse, query, sync  # noqa: E402
from harness.processes import cpu_seconds, open_files, resident_bytes  # noqa: E402
from harness.signalbox import standard_config  # noqa: E402

SAMPLE = 5.0  # seconds between two looks at the memory
MODES = ("session", "transaction")


def cancelled(s):
    """A statement of a minute, and a cancel that ends it."""
    s.send(query("SELECT pg_sleep(60)"))
    time.sleep(random.random() * 0.05)
    deadline = time.monotonic() + 10
    while True:
        s.client.cancel()  # one that comes before the statement runs is void
        try:
            s.client.expect_silence(0.1)
        except AssertionError:
            break
        if time.monotonic() > deadline:
            raise AssertionError("no cancel has ended it")
    # expect_silence() has read the RowDescription or the error.
    while s.client.read_message()[0] != b"Z":
        pass
    s.forget_due()
    s.ask(s.own)


def vanishing(s):
    """In the middle of a transaction, with a statement that runs, or with a COPY that is half done."""
    s.never.add(s.key(0))
    s.ask("BEGIN")
    s.ask(s.insert(0))
    how = random.randrange(3)
    if how == 1:
        s.send(query("SELECT pg_sleep(60)"))
    elif how == 2:
        s.send(query("COPY chaos FROM STDIN"))
        s.until(b"G")
    s.client.abort()


def failing(s):
    for sql in ("SELECT 1/0", "SELEC", "SELECT * FROM not_there", "BEGIN; SELECT 1/0"):
        s.send(query(sql))
        while s.client.read_message()[0] != b"Z":
            pass
        s.forget_due()
    s.ask("ROLLBACK")
    s.send(parse("SELECT $1::int / 0") + bind([1]) + execute() + sync())
    while s.client.read_message()[0] != b"Z":
        pass
    s.forget_due()
    s.send(query(s.insert(0)), 0)
    s.until(b"C", 0)
    s.until(b"Z")


def temporary(s):
    """Pins the session to its server connection."""
    s.ask(f"CREATE TEMP TABLE t AS SELECT '{s.key(0)}' AS key")
    s.ask("SELECT key FROM t")
    s.ask("DISCARD ALL")


def large(s):
    s.ask("SELECT repeat('x', 1000000)")
    s.ask("SELECT length('" + "y" * 100_000 + "')")


SCRIPTS = (*workload.SCRIPTS, cancelled, vanishing, failing, temporary, large)


class Soak:
    def __init__(self, server, box):
        self._server, self._box = server, box
        self._numbers = itertools.count(1)
        self.stop = threading.Event()
        self.failures = []
        self.counts = collections.Counter()

    def work(self, seed):
        choose = random.Random(seed)
        admin = self._server.admin_connection()
        while not self.stop.is_set() and not self.failures:
            script, mode = choose.choice(SCRIPTS), choose.choice(MODES)
            session = workload.Session(next(self._numbers), self._box.port, mode)
            try:
                if not session.run(script):
                    raise AssertionError(f"it has ended: {session.error}")
                if script is not vanishing:
                    session.leave()
                rows = admin.execute("DELETE FROM chaos WHERE run = %s RETURNING key", [session.number]).fetchall()
                session.check([key for (key,) in rows])
                if session.acknowledged != session.sent:
                    raise AssertionError("not all is acknowledged")
                self.counts[script.__name__] += 1
            except Exception as error:  # pylint: disable=broad-except
                self.failures.append(f"{mode} {script.__name__}: {error!r}")
        admin.close()


def slope(samples):
    """Of the straight line through (seconds, bytes), in bytes per second."""
    middle = sum(x for x, _ in samples) / len(samples)
    mean = sum(y for _, y in samples) / len(samples)
    square = sum((x - middle) ** 2 for x, _ in samples)
    return sum((x - middle) * (y - mean) for x, y in samples) / square


def arguments():
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n", maxsplit=1)[0])
    parser.add_argument("--signalbox", metavar="PATH", default=ROOT / "build/release/signalbox", type=pathlib.Path)
    parser.add_argument("--seconds", type=float, default=float(os.environ.get("SECONDS", "3600")))
    parser.add_argument("--clients", type=int, default=16)
    return parser.parse_args()


def main():
    options = arguments()
    os.environ["SIGNALBOX_BINARY"] = str(options.signalbox.resolve())
    if options.seconds < 30 * SAMPLE:
        sys.exit(f"{30 * SAMPLE:.0f} seconds at least: a third must have ten samples")
    samples = []
    with Postgres("soak", settings={"autovacuum": "on"}) as server:
        server.admin(workload.TABLE)
        with Signalbox(standard_config(server, route=workload.ROUTE)) as box:
            soak = Soak(server, box)
            threads = [threading.Thread(target=soak.work, args=(n,)) for n in range(options.clients)]
            for thread in threads:
                thread.start()
            started = time.monotonic()
            minute = 0
            while (elapsed := time.monotonic() - started) < options.seconds and not soak.failures:
                samples.append((elapsed, resident_bytes(box.pid)))
                if elapsed >= 60 * minute:
                    minute += 1
                    print(
                        f"{elapsed / 60:5.0f} min  {samples[-1][1] / 2**20:7.2f} MiB  "
                        f"{open_files(box.pid):4d} files  {cpu_seconds(box.pid):7.1f} s of CPU  "
                        f"{sum(soak.counts.values()):8d} sessions",
                        flush=True,
                    )
                soak.stop.wait(SAMPLE)
            soak.stop.set()
            for thread in threads:
                thread.join(60)
    print(", ".join(f"{name} {count}" for name, count in sorted(soak.counts.items())))
    if soak.failures:
        sys.exit("\n".join(soak.failures))
    missing = {script.__name__ for script in SCRIPTS} - set(soak.counts)
    if missing:
        sys.exit(f"never came to its end: {', '.join(sorted(missing))}")
    last = samples[len(samples) * 2 // 3 :]
    grown = slope(last) * (last[-1][0] - last[0][0])
    allowed = 2**20 + 0.02 * last[0][1]
    print(
        f"the last {(last[-1][0] - last[0][0]) / 60:.1f} minutes: {grown / 2**20:+.3f} MiB "
        f"({slope(last) * 3600 / 2**20:+.2f} MiB an hour), allowed {allowed / 2**20:.2f}"
    )
    if grown > allowed:
        sys.exit("memory is not flat")


if __name__ == "__main__":
    # SIGTERM ends it as Ctrl-C does, so that the servers are stopped.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    main()
