"""The measurements. Each takes a server and returns its figures by name; a figure that has no meaning is left out.

CPU is read from the process' own CPU-time clock (user + system, nanoseconds, all threads, ended ones included), not
from /proc/PID/stat, whose ticks of 10 ms are too coarse for a login. For the direct connection there is no proxy, so
no CPU figure.
"""

import concurrent.futures
import pathlib
import re
import resource
import statistics
import subprocess
import tempfile
import time

import libpq
from servers import PG_BIN, SESSION, TRANSACTION, UNHANDLED, Failure

CLIENTS = 16
LOGIN_THREADS = 4
SETTLE = 0.2  # seconds, for a proxy to notice that clients left


def cpu_seconds(server):
    """CPU time of the process so far. The clock's number is what clock_getcpuclockid(3) makes of a process id."""
    return time.clock_gettime((~server.process.pid << 3) | 2)


def resident_bytes(server):
    text = pathlib.Path(f"/proc/{server.process.pid}/smaps_rollup").read_text()
    return 1024 * int(re.search(r"^Rss:\s+(\d+) kB", text, re.MULTILINE)[1])


def is_proxy(server):
    return server.name != "direct"


def run(arguments, server, database, **options):
    done = subprocess.run(
        [str(argument) for argument in arguments],
        env=server.environment(database),
        stderr=subprocess.PIPE,
        check=False,
        **options,
    )
    if done.returncode:
        raise Failure(f"{arguments[0]} through {server.name} failed:\n{done.stderr.decode(errors='replace')}")
    return done


def prepare(direct, scale, copy_mb):
    """Makes pgbench's tables and the wide one; returns the file that COPY in reads."""
    run([PG_BIN / "pgbench", "-i", "-q", "-s", scale, "--unlogged-tables"], direct, TRANSACTION)
    columns = 20
    row = columns * 100  # 99 characters and a separator each
    texts = ", ".join(f"rpad(md5((i * {columns} + {n})::text), 99, 'abcdefghij')" for n in range(columns))
    with libpq.Connection(**direct.parameters()) as connection:
        for table in ("wide", "wide_in"):
            names = ", ".join(f"c{n} text" for n in range(columns))
            plain = ", ".join(f"ALTER c{n} SET STORAGE PLAIN" for n in range(columns))  # no time goes into compression
            connection.execute(f"CREATE UNLOGGED TABLE {table} ({names})")
            connection.execute(f"ALTER TABLE {table} {plain}")
        connection.execute(f"INSERT INTO wide SELECT {texts} FROM generate_series(1, {copy_mb * 1_000_000 // row}) i")
        connection.execute("VACUUM ANALYZE wide")
    data = tempfile.TemporaryFile()
    run([PG_BIN / "psql", "-X", "-q", "-c", "COPY wide TO STDOUT"], direct, TRANSACTION, stdout=data)
    return data


def handling(server, mode, seconds):
    """What looking at statements costs: CPU per transaction with it, over CPU without it."""
    cpu = {TRANSACTION: 0.0, UNHANDLED: 0.0}
    for database in (TRANSACTION, UNHANDLED, UNHANDLED, TRANSACTION):
        cpu[database] += pgbench(server, mode, seconds / 2, database)["cpu_us_per_transaction"]
    return {"handling_ratio": cpu[TRANSACTION] / cpu[UNHANDLED]}


def pgbench(server, mode, seconds, database=None):
    """Select-only pgbench; percentiles from its log of every transaction."""
    if database is None:
        # PgBouncer 1.18 does not know named prepared statements in transaction mode.
        database = SESSION if mode == "prepared" and server.name == "pgbouncer" else TRANSACTION
    with tempfile.TemporaryDirectory() as folder:
        before = cpu_seconds(server)
        output = run(
            [PG_BIN / "pgbench", "-n", "-S", "-M", mode, "-c", CLIENTS, "-j", 1, "-T", max(1, int(seconds))]
            + ["-l", f"--log-prefix={folder}/log"],
            server,
            database,
            stdout=subprocess.PIPE,
        ).stdout.decode()
        cpu = cpu_seconds(server) - before
        latencies = sorted(
            int(line.split(b" ", 3)[2])
            for log in pathlib.Path(folder).iterdir()
            for line in log.read_bytes().splitlines()
        )
    failed = int(re.search(r"number of failed transactions: (\d+)", output)[1])
    if failed:
        raise Failure(f"{failed} transactions failed through {server.name}")
    transactions = int(re.search(r"number of transactions actually processed: (\d+)", output)[1])
    figures = {
        "tps": float(re.search(r"^tps = ([\d.]+)", output, re.MULTILINE)[1]),
        "p50_us": latencies[len(latencies) // 2],
        "p99_us": latencies[len(latencies) * 99 // 100],
    }
    if is_proxy(server):
        figures["cpu_us_per_transaction"] = 1e6 * cpu / transactions
    return figures


def copy(server, direct, direction, data):
    """Streams the wide rows through psql."""
    size = data.seek(0, 2)
    data.seek(0)
    if direction == "in":
        with libpq.Connection(**direct.parameters()) as connection:
            connection.execute("TRUNCATE wide_in")
        command, streams = "COPY wide_in FROM STDIN", {"stdin": data}
    else:
        command, streams = "COPY wide TO STDOUT", {"stdout": subprocess.DEVNULL}
    before, start = cpu_seconds(server), time.monotonic()
    run([PG_BIN / "psql", "-X", "-q", "-c", command], server, TRANSACTION, **streams)
    elapsed = time.monotonic() - start
    figures = {"mb_per_s": size / 1e6 / elapsed}
    if is_proxy(server):
        figures["cpu_s_per_gb"] = (cpu_seconds(server) - before) / (size / 1e9)
    if direction == "in":
        with libpq.Connection(**direct.parameters()) as connection:
            rows = connection.execute("SELECT (SELECT count(*) FROM wide) = (SELECT count(*) FROM wide_in)")
        if rows != "t":
            raise Failure(f"rows were lost in COPY through {server.name}")
    return figures


def login(server, tls, count):
    """Connects, authenticates and leaves, `count` times from a few threads."""
    parameters = server.parameters(tls=tls)

    def once(_):
        start = time.monotonic()
        libpq.Connection(**parameters).close()
        return time.monotonic() - start

    for number in range(20):  # the first one may have to open a server connection, the others warm up
        once(number)
    time.sleep(SETTLE)
    before, start = cpu_seconds(server), time.monotonic()
    with concurrent.futures.ThreadPoolExecutor(LOGIN_THREADS) as pool:
        times = list(pool.map(once, range(count)))
    elapsed = time.monotonic() - start
    time.sleep(SETTLE)
    figures = {"logins_per_s": count / elapsed, "p50_us": 1e6 * statistics.median(times)}
    if is_proxy(server):
        figures["cpu_us_per_login"] = 1e6 * (cpu_seconds(server) - before) / count
    return figures


def memory(server, tls, count):
    """What a client that is logged in and does nothing costs, before its first statement and after it.

    The server is fresh: an allocator that kept what earlier work left would hide the cost.
    """
    parameters = server.parameters(tls=tls)
    with libpq.Connection(**parameters) as first:
        first.execute("SELECT 1")
    time.sleep(SETTLE)
    base = resident_bytes(server)
    clients = []
    try:
        with concurrent.futures.ThreadPoolExecutor(LOGIN_THREADS) as pool:
            for client in [pool.submit(libpq.Connection, **parameters) for _ in range(count)]:
                clients.append(client.result())
        time.sleep(1)
        figures = {"bytes_per_client": (resident_bytes(server) - base) / count}
        for client in clients:
            client.execute("SELECT 1")
        time.sleep(1)
        figures["bytes_per_client_after_query"] = (resident_bytes(server) - base) / count
    finally:
        for client in clients:
            client.close()
    return figures


def raise_file_limit(wanted):
    """Raises this process' limit, which the servers inherit; returns what it is now."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        top = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (top, hard))
        soft = top
    return soft
