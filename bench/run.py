#!/usr/bin/python3
"""Measures Signalbox, PgBouncer and a direct connection side by side and prints their ratios.

    bench/run.py                         everything, five rounds: about fifteen minutes
    bench/run.py --quick                 a look at everything, too short to be quoted
    bench/run.py --only pgbench,copy-in  workloads by name or by the beginning of it

In every round each workload runs on each server in turn, and each round begins with another one, so that a drift of
the machine meets all of them. Printed are medians over the rounds, and the median of the rounds' own ratios. See
bench/README.md.
"""

import argparse
import contextlib
import json
import os
import pathlib
import platform
import shutil
import statistics
import subprocess
import sys
import tempfile
import time

sys.dont_write_bytecode = True
sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))

import measure  # noqa: E402
from servers import PgBouncer, PostgreSQL, Signalbox, run_as_program  # noqa: E402

ROOT = pathlib.Path(__file__).resolve().parent.parent
WORKLOADS = [
    "pgbench-simple",
    "pgbench-extended",
    "pgbench-prepared",
    "handling-simple",
    "handling-extended",
    "copy-out",
    "copy-in",
    "login-plain",
    "login-tls",
    "memory-plain",
    "memory-tls",
]

# Figure -> what the table calls it, its format.
FIGURES = {
    "cpu_us_per_transaction": ("CPU µs per transaction", "{:.2f}"),
    "tps": ("transactions per second", "{:.0f}"),
    "handling_ratio": ("CPU with statement handling / without", "{:.3f}"),
    "cpu_s_per_gb": ("CPU s per GB", "{:.3f}"),
    "mb_per_s": ("MB/s", "{:.0f}"),
    "cpu_us_per_login": ("CPU µs per login", "{:.0f}"),
    "logins_per_s": ("logins per second", "{:.0f}"),
    "bytes_per_client": ("bytes per idle client", "{:.0f}"),
    "bytes_per_client_after_query": ("bytes per idle client, after a query", "{:.0f}"),
    "p50_us": ("p50 latency, µs", "{:.0f}"),
    "p99_us": ("p99 latency, µs", "{:.0f}"),
}

# What is to be reached: a bound on the ratio to PgBouncer, or on the figure itself.
TARGETS = {
    ("pgbench-simple", "cpu_us_per_transaction"): ("ratio", "≤", 1.0),
    ("pgbench-extended", "cpu_us_per_transaction"): ("ratio", "≤", 0.9),
    ("pgbench-prepared", "cpu_us_per_transaction"): ("ratio", "≤", 0.9),
    ("pgbench-simple", "tps"): ("ratio", "≥", 1.0),
    ("pgbench-extended", "tps"): ("ratio", "≥", 1.0),
    ("pgbench-prepared", "tps"): ("ratio", "≥", 1.0),
    ("handling-simple", "handling_ratio"): ("figure", "≤", 1.05),
    ("copy-out", "cpu_s_per_gb"): ("ratio", "≤", 0.35),
    ("copy-in", "cpu_s_per_gb"): ("ratio", "≤", 0.35),
    ("login-plain", "cpu_us_per_login"): ("ratio", "≤", 1.3),
    ("login-tls", "cpu_us_per_login"): ("ratio", "≤", 1.0),
    ("memory-plain", "bytes_per_client"): ("figure", "≤", 4096),
    ("memory-tls", "bytes_per_client"): ("ratio", "≤", 1.0),
}


def arguments():
    parser = argparse.ArgumentParser(
        description=__doc__.split("\n\n", maxsplit=1)[0],
        epilog="Workloads: " + ", ".join(WORKLOADS),
    )
    parser.add_argument("--signalbox", metavar="PATH", default=ROOT / "build/release/signalbox", type=pathlib.Path)
    parser.add_argument("--only", metavar="NAMES", help="workloads, by comma, whole or their beginning")
    parser.add_argument("--rounds", type=int, help="default 5")
    parser.add_argument("--quick", action="store_true", help="short runs, two rounds")
    parser.add_argument("--secret", choices=["verifier", "password"], default="verifier")
    parser.add_argument("--json", metavar="FILE", type=pathlib.Path, help="write every round's figures there")
    options = parser.parse_args()
    options.rounds = options.rounds or (2 if options.quick else 5)
    if options.rounds < 1:
        parser.error("--rounds starts at 1")
    options.workloads = WORKLOADS
    if options.only:
        names = [name.strip() for name in options.only.split(",") if name.strip()]
        options.workloads = [w for w in WORKLOADS if any(w.startswith(name) for name in names)]
        unknown = [name for name in names if not any(w.startswith(name) for w in WORKLOADS)]
        if unknown or not options.workloads:
            parser.error(f"unknown workload {', '.join(unknown)}; there are {', '.join(WORKLOADS)}")
    options.seconds = 2 if options.quick else 8
    options.scale = 1 if options.quick else 10
    options.copy_mb = 40 if options.quick else 200
    options.logins = 300 if options.quick else 1000
    options.clients = 200 if options.quick else 2000
    return options


def progress(text):
    if sys.stderr.isatty():
        print(f"\r\033[K{text}", end="", file=sys.stderr, flush=True)


def machine():
    model = platform.machine()
    for line in pathlib.Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            model = line.split(":", 1)[1].strip()
            break
    return f"{model}, {len(os.sched_getaffinity(0))} cores, Linux {platform.release()}"


def one(workload, server, direct, data, options):
    kind, _, variant = workload.partition("-")
    if kind == "pgbench":
        return measure.pgbench(server, variant, options.seconds)
    if kind == "handling":
        return measure.handling(server, variant, options.seconds)
    if kind == "copy":
        return measure.copy(server, direct, variant, data)
    if kind == "login":
        return measure.login(server, variant == "tls", options.logins)
    return measure.memory(server, variant == "tls", options.clients)


def measures(workload, server):
    """A direct connection has no TLS here, and its memory is PostgreSQL's own affair."""
    if workload.startswith("handling"):
        return server.name == "signalbox"
    return server.name != "direct" or not (workload.startswith("memory") or workload.endswith("tls"))


def run(options, servers, direct, data, fresh, stack):
    """All rounds; returns workload -> server -> list of figures."""
    results = {workload: {server.name: [] for server in servers} for workload in options.workloads}
    for number in range(options.rounds):
        turn = number % len(servers)
        for workload in options.workloads:
            for server in servers[turn:] + servers[:turn]:
                if not measures(workload, server):
                    continue
                progress(f"round {number + 1} of {options.rounds}: {workload}, {server.name}")
                if workload.startswith("memory"):
                    server = fresh(server)
                    stack.callback(server.stop)
                    server.start()
                    try:
                        figures = one(workload, server, direct, data, options)
                    finally:
                        server.stop()
                else:
                    figures = one(workload, server, direct, data, options)
                results[workload][server.name].append(figures)
    progress("")
    return results


def values(results, workload, server, figure):
    return [figures[figure] for figures in results[workload].get(server, []) if figure in figures]


def ratio(results, workload, figure):
    """Median over the rounds of Signalbox / PgBouncer."""
    pairs = zip(
        values(results, workload, "signalbox", figure), values(results, workload, "pgbouncer", figure), strict=True
    )
    ratios = [ours / theirs for ours, theirs in pairs if theirs]
    return statistics.median(ratios) if ratios else None


def rows(results):
    for workload in results:
        for figure, (label, form) in FIGURES.items():
            cells = []
            for server in ("direct", "pgbouncer", "signalbox"):
                found = values(results, workload, server, figure)
                cells.append(form.format(statistics.median(found)) if found else "–")
            if cells == ["–"] * 3:
                continue
            both = cells[1] != "–" and cells[2] != "–"
            quotient = ratio(results, workload, figure) if both else None
            target = TARGETS.get((workload, figure))
            wanted = reached = ""
            if target:
                kind, sign, bound = target
                wanted = f"{sign} {bound:g}" + (" ×" if kind == "ratio" else "")
                ours = values(results, workload, "signalbox", figure)
                got = quotient if kind == "ratio" else statistics.median(ours) if ours else None
                if got is not None:
                    reached = "yes" if (got <= bound if sign == "≤" else got >= bound) else "no"
            yield [workload, label, *cells, f"{quotient:.2f} ×" if quotient is not None else "–", wanted, reached]


def table(results):
    """Markdown, padded so that it reads well in a terminal too."""
    head = ["workload", "figure", "direct", "PgBouncer", "Signalbox", "ratio", "target", "reached"]
    lines = [head, *rows(results)]
    widths = [max(len(line[column]) for line in lines) for column in range(len(head))]

    def cell(text, column):
        return text.ljust(widths[column]) if column < 2 else text.rjust(widths[column])

    def write(line):
        return "| " + " | ".join(cell(text, column) for column, text in enumerate(line)) + " |"

    rule = "|" + "|".join("-" * (w + 2) if c < 2 else "-" * (w + 1) + ":" for c, w in enumerate(widths)) + "|"
    return "\n".join([write(head), rule, *(write(line) for line in lines[1:])])


def main():
    options = arguments()
    limit = measure.raise_file_limit(2 * options.clients + 500)
    if any(w.startswith("memory") for w in options.workloads) and limit < options.clients + 200:
        options.clients = limit - 200
        print(f"note: the limit of open files ({limit}) allows only {options.clients} idle clients", file=sys.stderr)

    with contextlib.ExitStack() as stack:
        folder = pathlib.Path(tempfile.mkdtemp(prefix="signalbox-bench."))
        stack.callback(shutil.rmtree, folder, ignore_errors=True)
        folder.chmod(0o711)
        certificates = folder / "certs"
        subprocess.run([ROOT / "certs/make", certificates], check=True)

        direct = PostgreSQL(folder)
        stack.callback(direct.stop)
        direct.start()
        secret = direct.verifier() if options.secret == "verifier" else direct.password

        def fresh(server):
            """In a folder of its own: the other one runs, and its store is its own."""
            apart = pathlib.Path(tempfile.mkdtemp(dir=folder))
            apart.chmod(0o711)
            return type(server)(apart, direct, certificates, secret, options.clients + 200)

        kinds = []
        versions = {}
        if PgBouncer.program():
            kinds.append(PgBouncer)
        else:
            print("PgBouncer is missing (scripts/install bench): no ratios", file=sys.stderr)
        if options.signalbox.is_file():
            Signalbox.binary = options.signalbox.resolve()
            kinds.append(Signalbox)
        else:
            print(f"Signalbox is missing ({options.signalbox}): measuring the others", file=sys.stderr)
        servers = [direct]
        for kind in kinds:
            versions[kind.name] = kind.version()
            server = kind(folder, direct, certificates, secret, options.clients + 200)
            stack.callback(server.stop)
            server.start()
            servers.append(server)

        data = None
        if any(workload.startswith(("pgbench", "handling", "copy")) for workload in options.workloads):
            progress("making the tables")
            data = measure.prepare(direct, options.scale, options.copy_mb)
        started = time.monotonic()
        results = run(options, servers, direct, data, fresh, stack)
        elapsed = time.monotonic() - started

    print(f"Machine: {machine()}")
    print(f"Versions: {', '.join(versions.values())}; client secrets: {options.secret}")
    print(
        f"Rounds: {options.rounds} ({elapsed:.0f} s); pgbench: {measure.CLIENTS} clients, {options.seconds} s; "
        f"COPY: {options.copy_mb} MB; logins: {options.logins}; idle clients: {options.clients}"
    )
    print()
    print(table(results))
    if options.json:
        options.json.write_text(
            json.dumps(
                {
                    "machine": machine(),
                    "versions": versions,
                    "options": {key: str(value) for key, value in vars(options).items()},
                    "results": results,
                },
                indent=2,
            )
            + "\n"
        )


if __name__ == "__main__":
    run_as_program(main)
