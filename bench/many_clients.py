#!/usr/bin/python3
"""Ten thousand clients at a time, through Signalbox and through PgBouncer in the same run.

    bench/many_clients.py                10,000 clients, a storm of 2,000 logins, three rounds
    bench/many_clients.py --clients 1000 --storm 200 --rounds 1 --seconds 5      a look

For each proxy, started anew: all clients log in, and stay. Then 200 transactions a second are made by them together,
each by another client; and behind that, while they go on, 2,000 more clients log in at the same moment. One process
plays them all, with epoll and plain sockets. Printed are medians over the rounds. See bench/README.md.
"""

import argparse
import base64
import collections
import contextlib
import hashlib
import hmac
import json
import os
import pathlib
import random
import select
import shutil
import socket
import statistics
import struct
import subprocess
import sys
import tempfile
import time

sys.dont_write_bytecode = True
sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))

import libpq  # noqa: E402
import measure  # noqa: E402
from run import machine  # noqa: E402
from servers import (  # noqa: E402
    TRANSACTION,
    USER,
    Failure,
    PgBouncer,
    PostgreSQL,
    Signalbox,
    run_as_program,
)

ROOT = pathlib.Path(__file__).resolve().parent.parent
RATE = 200  # transactions per second, of all clients together
AT_ONCE = 64  # logins at a time, but in the storm
ROWS = 100_000
PATIENCE = 60.0  # seconds without any progress

FIGURES = {
    "bytes_per_client": ("resident bytes per client", "{:.0f}"),
    "bytes_per_client_active": ("the same, after the transactions", "{:.0f}"),
    "idle_cpu": ("CPU while all are idle, % of a core", "{:.2f}"),
    "p50_us": ("transactions: p50, µs", "{:.0f}"),
    "p99_us": ("transactions: p99, µs", "{:.0f}"),
    "cpu_us_per_transaction": ("transactions: CPU µs for each", "{:.1f}"),
    "logins_per_s": ("storm: logins per second", "{:.0f}"),
    "login_p50_ms": ("storm: p50 of a login, ms", "{:.0f}"),
    "login_p99_ms": ("storm: p99 of a login, ms", "{:.0f}"),
    "cpu_us_per_login": ("storm: CPU µs per login", "{:.0f}"),
    "storm_p50_us": ("transactions in the storm: p50, µs", "{:.0f}"),
    "storm_p99_us": ("transactions in the storm: p99, µs", "{:.0f}"),
}


def message(kind, body):
    return kind + struct.pack("!i", len(body) + 4) + body


class Scram:
    """The client's half of SCRAM-SHA-256. Keys are derived once for each salt: the proxies are what is measured."""

    keys = {}

    def __init__(self, password):
        self._password = password.encode()
        self._bare = "n=,r=" + base64.b64encode(os.urandom(18)).decode()

    def first(self):
        text = ("n,," + self._bare).encode()
        return message(b"p", b"SCRAM-SHA-256\0" + struct.pack("!i", len(text)) + text)

    def final(self, server_first):
        fields = dict(part.split("=", 1) for part in server_first.decode().split(","))
        which = (fields["s"], fields["i"])
        if which not in self.keys:
            salted = hashlib.pbkdf2_hmac("sha256", self._password, base64.b64decode(fields["s"]), int(fields["i"]))
            self.keys[which] = hmac.digest(salted, b"Client Key", "sha256")
        key = self.keys[which]
        unsigned = "c=biws,r=" + fields["r"]
        signed = f"{self._bare},{server_first.decode()},{unsigned}".encode()
        signature = hmac.digest(hashlib.sha256(key).digest(), signed, "sha256")
        proof = base64.b64encode(bytes(a ^ b for a, b in zip(key, signature))).decode()
        return message(b"p", f"{unsigned},p={proof}".encode())


class Client:
    """One socket: connecting, then logging in, then idle or in a transaction."""

    __slots__ = ("socket", "phase", "buffer", "scram", "started", "answer")

    def __init__(self, port):
        self.started = time.monotonic()
        self.phase = "connecting"
        self.buffer = b""
        self.scram = None
        self.answer = None
        self.socket = socket.socket()
        self.socket.setblocking(False)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.socket.connect_ex(("127.0.0.1", port))


class Crowd:
    """All clients of one proxy, and the loop that serves them."""

    def __init__(self, server):
        self._server = server
        self._poll = select.epoll()
        self._clients = {}
        self._idle = []
        self._due = None  # when the next transaction begins; None: there are none
        self._choose = random.Random(1)
        pairs = {"user": USER, "database": TRANSACTION}
        body = b"".join(f"{key}\0{value}\0".encode() for key, value in pairs.items()) + b"\0"
        self._startup = struct.pack("!ii", len(body) + 8, 0x00030000) + body
        self.login_times = []
        self.latencies = []
        self.left_out = 0

    def close(self):
        for client in self._clients.values():
            client.socket.close()
        self._poll.close()

    def log_in(self, count, at_once):
        """`count` more clients, `at_once` of them at a time; returns how long it took."""
        started, wanted, begun, last = time.monotonic(), len(self.login_times) + count, 0, 0
        progress = started
        while len(self.login_times) < wanted:
            done = len(self.login_times) - (wanted - count)
            while begun < count and begun - done < at_once:
                self._begin()
                begun += 1
            self._turn(0.05)
            if done > last:
                last, progress = done, time.monotonic()
            elif time.monotonic() - progress > PATIENCE:
                raise Failure(f"{self._server.name}: only {done} of {count} logins came to their end")
        return time.monotonic() - started

    def go_on(self, seconds):
        """Serves what comes, for a while."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            self._turn(max(0.0, min(0.05, end - time.monotonic())))

    def transact(self, yes):
        self._due = time.monotonic() if yes else None
        if not yes:
            end = time.monotonic() + PATIENCE
            while any(client.phase == "busy" for client in self._clients.values()):
                self._turn(0.05)
                if time.monotonic() > end:
                    raise Failure(f"{self._server.name}: a transaction does not come to its end")

    def _begin(self):
        client = Client(self._server.port)
        self._clients[client.socket.fileno()] = client
        self._poll.register(client.socket, select.EPOLLOUT)

    def _turn(self, timeout):
        if self._due is not None:
            while (now := time.monotonic()) >= self._due:
                self._start_transaction(self._due)
                self._due += 1 / RATE
            timeout = min(timeout, self._due - now)
        for descriptor, _ in self._poll.poll(max(0.0, timeout)):
            self._serve(descriptor, self._clients[descriptor])

    def _start_transaction(self, due):
        """By a client that is idle, at random; its latency counts from the moment at which it was due."""
        if not self._idle:
            self.left_out += 1
            return
        at = self._choose.randrange(len(self._idle))
        client = self._idle[at]
        self._idle[at] = self._idle[-1]
        self._idle.pop()
        number = self._choose.randrange(ROWS)
        client.phase, client.started, client.answer = "busy", due, str(number * 7).encode()
        client.socket.sendall(message(b"Q", f"SELECT value FROM many WHERE id = {number}\0".encode()))

    def _serve(self, descriptor, client):
        if client.phase == "connecting":
            error = client.socket.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
            if error:
                raise Failure(f"{self._server.name}: {os.strerror(error)}")
            client.phase = "login"
            client.socket.sendall(self._startup)
            self._poll.modify(descriptor, select.EPOLLIN)
            return
        try:
            data = client.socket.recv(65536)
        except BlockingIOError:
            return
        except OSError as error:
            raise Failure(f"{self._server.name}: {error}") from None
        if not data:
            raise Failure(f"{self._server.name} closed a client's connection")
        client.buffer += data
        at = 0
        while len(client.buffer) >= at + 5:
            (size,) = struct.unpack_from("!i", client.buffer, at + 1)
            if len(client.buffer) < at + 1 + size:
                break
            self._take(client, client.buffer[at : at + 1], client.buffer[at + 5 : at + 1 + size])
            at += 1 + size
        client.buffer = client.buffer[at:]

    def _take(self, client, kind, body):
        if kind == b"E":
            raise Failure(f"{self._server.name}: {body!r}")
        if kind == b"R":
            (code,) = struct.unpack_from("!i", body)
            if code == 10:
                client.scram = Scram(self._server.password)
                client.socket.sendall(client.scram.first())
            elif code == 11:
                client.socket.sendall(client.scram.final(body[4:]))
            elif code == 0:
                client.scram = None
        elif kind == b"D":
            if body[6:] != client.answer:
                raise Failure(f"{self._server.name}: the wrong row, {body!r} instead of {client.answer!r}")
            client.answer = None
        elif kind == b"Z":
            elapsed = time.monotonic() - client.started
            if client.phase == "login":
                self.login_times.append(elapsed)
            elif client.answer is not None:
                raise Failure(f"{self._server.name}: no row")
            else:
                self.latencies.append(elapsed)
            client.phase = "idle"
            self._idle.append(client)


def percentile(values, part):
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(len(ordered) * part))]


def take(values):
    """What has come since the last time."""
    found = list(values)
    values.clear()
    return found


def one_round(server, options):
    """All figures of one proxy that has just been started."""
    figures = {}
    crowd = Crowd(server)
    try:
        crowd.log_in(1, 1)  # the first one opens a server connection
        crowd.transact(True)
        crowd.go_on(0.5)
        crowd.transact(False)
        base = measure.resident_bytes(server)
        crowd.log_in(options.clients, AT_ONCE)
        time.sleep(1)
        figures["bytes_per_client"] = (measure.resident_bytes(server) - base) / options.clients

        cpu = measure.cpu_seconds(server)
        time.sleep(options.seconds / 2)
        figures["idle_cpu"] = 100 * (measure.cpu_seconds(server) - cpu) / (options.seconds / 2)

        take(crowd.latencies)
        crowd.left_out = 0
        cpu = measure.cpu_seconds(server)
        crowd.transact(True)
        crowd.go_on(options.seconds)
        latencies = take(crowd.latencies)
        cpu_per_transaction = (measure.cpu_seconds(server) - cpu) / len(latencies)
        if len(latencies) < 0.95 * RATE * options.seconds:
            raise Failure(f"{server.name}: {len(latencies) / options.seconds:.0f} transactions per second")
        figures["p50_us"] = 1e6 * percentile(latencies, 0.5)
        figures["p99_us"] = 1e6 * percentile(latencies, 0.99)
        figures["cpu_us_per_transaction"] = 1e6 * cpu_per_transaction

        take(crowd.login_times)
        cpu = measure.cpu_seconds(server)
        elapsed = crowd.log_in(options.storm, options.storm)
        cpu = measure.cpu_seconds(server) - cpu
        storm = take(crowd.latencies)
        logins = take(crowd.login_times)
        figures["logins_per_s"] = options.storm / elapsed
        figures["login_p50_ms"] = 1e3 * percentile(logins, 0.5)
        figures["login_p99_ms"] = 1e3 * percentile(logins, 0.99)
        figures["cpu_us_per_login"] = 1e6 * (cpu - cpu_per_transaction * len(storm)) / options.storm
        crowd.go_on(1)  # those that the storm has held up
        storm += take(crowd.latencies)
        figures["storm_p50_us"] = 1e6 * percentile(storm, 0.5)
        figures["storm_p99_us"] = 1e6 * percentile(storm, 0.99)
        crowd.transact(False)
        figures["bytes_per_client_active"] = (measure.resident_bytes(server) - base) / (options.clients + options.storm)
        if crowd.left_out:
            raise Failure(f"{server.name}: {crowd.left_out} transactions found no idle client")
    finally:
        crowd.close()
    return figures


def table(results):
    head = ["figure", *results, "ratio"]
    lines = [head]
    for figure, (label, form) in FIGURES.items():
        medians = {name: statistics.median(f[figure] for f in rounds) for name, rounds in results.items()}
        cells = [form.format(value) for value in medians.values()]
        both = len(medians) == 2 and medians["pgbouncer"]
        ratio = f"{medians['signalbox'] / medians['pgbouncer']:.2f} ×" if both else "–"
        lines.append([label, *cells, ratio])
    widths = [max(len(line[column]) for line in lines) for column in range(len(head))]

    def write(line):
        cells = [c.ljust(w) if i == 0 else c.rjust(w) for i, (c, w) in enumerate(zip(line, widths))]
        return "| " + " | ".join(cells) + " |"

    rule = "|" + "|".join("-" * (w + 2) if i == 0 else "-" * (w + 1) + ":" for i, w in enumerate(widths)) + "|"
    return "\n".join([write(head), rule, *(write(line) for line in lines[1:])])


def arguments():
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n", maxsplit=1)[0])
    parser.add_argument("--signalbox", metavar="PATH", default=ROOT / "build/release/signalbox", type=pathlib.Path)
    parser.add_argument("--clients", type=int, default=10_000)
    parser.add_argument("--storm", type=int, default=2_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=20, help="of transactions in each round")
    parser.add_argument("--json", metavar="FILE", type=pathlib.Path)
    return parser.parse_args()


def main():
    options = arguments()
    wanted = options.clients + options.storm + 500
    limit = measure.raise_file_limit(wanted)
    if limit < wanted:
        raise Failure(f"the limit of open files is {limit}, and {wanted} are needed: ulimit -Hn")
    with contextlib.ExitStack() as stack:
        folder = pathlib.Path(tempfile.mkdtemp(prefix="signalbox-bench."))
        stack.callback(shutil.rmtree, folder, ignore_errors=True)
        folder.chmod(0o711)
        certificates = folder / "certs"
        subprocess.run([ROOT / "certs/make", certificates], check=True)
        direct = PostgreSQL(folder)
        stack.callback(direct.stop)
        direct.start()
        with libpq.Connection(**direct.parameters()) as connection:
            connection.execute("CREATE UNLOGGED TABLE many (id int PRIMARY KEY, value int)")
            connection.execute(f"INSERT INTO many SELECT i, i * 7 FROM generate_series(0, {ROWS - 1}) i")
            connection.execute("VACUUM ANALYZE many")

        kinds = []
        if PgBouncer.program():
            kinds.append(PgBouncer)
        else:
            print("PgBouncer is missing (scripts/install bench): no ratios", file=sys.stderr)
        if options.signalbox.is_file():
            Signalbox.binary = options.signalbox.resolve()
            kinds.append(Signalbox)
        else:
            print(f"Signalbox is missing ({options.signalbox})", file=sys.stderr)
        results = collections.OrderedDict((kind.name, []) for kind in kinds)
        for number in range(options.rounds):
            for kind in kinds[number % len(kinds) :] + kinds[: number % len(kinds)]:
                print(f"round {number + 1}: {kind.name}", file=sys.stderr)
                server = kind(folder, direct, certificates, direct.verifier(), wanted)
                server.start()
                try:
                    results[kind.name].append(one_round(server, options))
                finally:
                    server.stop()
        versions = [kind.version() for kind in kinds]

    print(f"Machine: {machine()}")
    print(f"Versions: {', '.join(versions)}")
    print(
        f"Rounds: {options.rounds}; {options.clients} clients, {RATE} transactions per second for "
        f"{options.seconds:g} s, a storm of {options.storm} logins"
    )
    print()
    print(table(results))
    if options.json:
        options.json.write_text(json.dumps({"machine": machine(), "results": results}, indent=2) + "\n")


if __name__ == "__main__":
    run_as_program(main)
