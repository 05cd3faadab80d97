"""Processes that hold a store each (tests/unit/store_driver.cpp says what they can be told)."""

import json
import os
import select
import signal
import subprocess

import psycopg

from .postgres import ROLES
from .processes import die_with_parent
from .signalbox import binary

PASSWORD = ROLES["app"]


class Refused(Exception):
    """`kind` is "store", "concurrent" or a SQLSTATE."""

    def __init__(self, kind, text):
        super().__init__(f"{kind}: {text}")
        self.kind = kind


class StoreError(Refused):
    """The store is away, or refuses."""


class ConcurrentChange(Refused):
    """Another was faster."""


class StoreProcess:
    """`call("load")` and the like; `send()` and `receive()` are its two halves."""

    def __init__(self, url, password=None, wait=True):
        """Opens the store; with `wait` off, the answer is still to be received."""
        driver = binary().parent / "tests/unit/signalbox_store_driver"
        assert driver.exists(), f"not built: {driver}"
        self._process = subprocess.Popen(
            [str(driver)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            bufsize=0,
            preexec_fn=die_with_parent,
        )
        self._unread = b""
        self.milliseconds = 0  # how long the last call took, inside
        self.send("open", url=url, **({"password": password} if password else {}))
        if not wait:
            return
        try:
            self.receive()
        except Exception:
            self.close()
            raise

    @property
    def pid(self):
        return self._process.pid

    def send(self, what, **arguments):
        line = json.dumps({"do": what, **arguments}).encode() + b"\n"
        while line:
            line = line[self._process.stdin.write(line) :]

    def line(self, timeout=30):
        """The next one that it prints."""
        while b"\n" not in self._unread:
            ready, _, _ = select.select([self._process.stdout], [], [], timeout)
            assert ready, "the process with the store does not answer"
            more = os.read(self._process.stdout.fileno(), 1 << 20)
            assert more, f"the process ended: {self._process.wait()}"
            self._unread += more
        line, _, self._unread = self._unread.partition(b"\n")
        return line.decode()

    def receive(self, timeout=30):
        answer = json.loads(self.line(timeout))
        self.milliseconds = answer.pop("ms")
        if "error" in answer:
            kinds = {"store": StoreError, "concurrent": ConcurrentChange}
            kind = answer["error"]
            raise kinds.get(kind, Refused)(kind, answer.get("text", ""))
        return answer

    def call(self, what, **arguments):
        self.send(what, **arguments)
        return self.receive()

    def load(self):
        return self.call("load")

    def leads(self):
        return self.call("leader")["leads"]

    def waits(self, milliseconds):
        """Whether another changed something."""
        return self.call("wait", ms=milliseconds)["changed"]

    def news(self, milliseconds):
        """Waits; (is something new, about connections, about notices)."""
        found = self.call("wait", ms=milliseconds)
        return found["changed"], found["connections"], found["notices"]

    def create(self, name, host="h"):
        return self.call("create", name=name, host=host)

    def alter(self, before, host):
        return self.call("alter", before=before, host=host)

    def append(self, *events):
        """Each is (id, status, microseconds)."""
        keys = ("id", "status", "at")
        return self.call("append", events=[dict(zip(keys, event)) for event in events])

    def storm(self, before):
        """It alters on and on; line() gives the generations that were acknowledged."""
        self.send("storm", before=before)

    def put_notices(self, seen, *put, remove=(), text="words"):
        """Writes notices; returns the new version."""
        return self.call(
            "put_notices", put=put, remove=list(remove), text=text, seen=seen
        )["version"]

    def load_notices(self, since=None):
        found = self.call("load_notices", **({} if since is None else {"since": since}))
        for key in ("notices", "texts", "removed"):
            found[key].sort()
        return found

    def known_notices(self):
        """Of its catalog of notices: {fingerprint: notice}."""
        return {each["fingerprint"]: each for each in self.call("notices")["notices"]}

    def stop(self):
        os.kill(self.pid, signal.SIGSTOP)

    def resume(self):
        os.kill(self.pid, signal.SIGCONT)

    def kill(self):
        """kill -9, and what it had still printed."""
        self._process.kill()
        rest = self._unread + self._process.stdout.read()
        self._unread = b""
        self._process.wait()
        return rest.decode()

    def close(self):
        if self._process.poll() is None:
            self.resume()
            self._process.stdin.close()
            try:
                self._process.wait(10)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
        self._process.stdout.close()


def store_url(port, database):
    return f"postgresql://app@127.0.0.1:{port}/{database}"


def empty_database(server):
    """The one that all tests of a server share, without what they left in it."""
    name = "store"
    if server.admin("SELECT 1 FROM pg_database WHERE datname = %s", [name], "postgres"):
        server.admin(
            "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity"
            " WHERE datname = %s AND pid <> pg_backend_pid()",
            [name],
        )
        server.admin("DROP SCHEMA IF EXISTS signalbox CASCADE", database=name)
    else:
        server.admin(f"CREATE DATABASE {name} OWNER app", database="postgres")
    return name


class SharedStore:
    """A PostgreSQL store, and processes that use it."""

    def __init__(self, server):
        self.server = server
        self.database = empty_database(server)
        self.processes = []

    def start(self, port=None, wait=True):
        address = store_url(port or self.server.port, self.database)
        self.processes.append(StoreProcess(address, PASSWORD, wait))
        return self.processes[-1]

    def connect(self):
        """As the role that the processes log in with, in autocommit."""
        return psycopg.connect(
            host="127.0.0.1",
            port=self.server.port,
            dbname=self.database,
            user="app",
            password=PASSWORD,
            autocommit=True,
        )

    def lock_holders(self):
        return [
            pid
            for (pid,) in self.server.admin(
                "SELECT pid FROM pg_locks WHERE locktype = 'advisory' AND granted"
                " AND database = (SELECT oid FROM pg_database WHERE datname = %s)",
                [self.database],
                database="postgres",
            )
        ]

    def close(self):
        for process in self.processes:
            process.close()
