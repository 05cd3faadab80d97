"""Sessions whose every row, reply and key can be told from all others, and what is checked of them.

A session has a number. Its keys (`k00000042-3`) carry it, and so does whatever it reads, names or is
notified of. It keeps three lists: the keys that were reported committed, the keys that may be there
because what commits them was sent, and those that stand or fall together.

The table has no unique key: what ran twice is there twice.
"""

import contextlib
import re
import time

from harness import ConnectionClosed, RawClient
from harness.messages import (
    bind,
    close_statement,
    copy_data,
    copy_done,
    describe_portal,
    describe_statement,
    error_fields,
    execute,
    flush,
    parse,
    query,
    sync,
)
from harness.postgres import ROLES
from harness.raw_client import ServerError

TABLE = """
CREATE TABLE chaos (run int NOT NULL, key text NOT NULL);
CREATE INDEX ON chaos (run);
ALTER TABLE chaos OWNER TO app;
"""

ROUTE = {
    "multi_statement": "split",
    "hold_timeout": "15s",
    "query_wait_timeout": "15s",
    "connect_timeout": "2s",
}
# What Signalbox would send on its own, at times of its own, would be counted as messages.
QUIET = {"availability": {"interval": "0"}}

LOST = {"08006", "57P01"}  # the connection broke; or the server said goodbye first
KEY = re.compile(rb"k(\d{8})-")
PATIENCE = 20.0  # seconds without a message that is due: longer than any bounded wait of Signalbox's here


class Ended(Exception):
    """The session goes no further: an error, or the end of its connection."""


class GivenUp(Exception):
    """Nothing came while a fault holds everything: the client leaves."""


class Session:
    """One client's session. `fault` says when waiting has no end, `port` is Signalbox's or a gate's."""

    def __init__(self, number, port, route, fault=None, patience=PATIENCE):
        self.number = number
        self.client = None
        self.messages = []  # behind the login, as (type, body)
        self.sent, self.acknowledged = set(), set()
        self.groups, self.never = [], set()
        self.batch = []  # of the last batch, by transaction: (statements, indexes of its keys)
        self.error = None  # the first error's fields
        self.is_closed = False
        self._port, self._route, self._fault, self._patience = port, route, fault, patience
        self._ready_due = 0
        self._unsynced = False

    def key(self, index):
        return f"k{self.number:08d}-{index}"

    def keys(self, indexes):
        return [self.key(index) for index in indexes]

    def insert(self, index):
        return f"INSERT INTO chaos VALUES ({self.number}, '{self.key(index)}')"

    @property
    def own(self):
        return f"SELECT key FROM chaos WHERE run = {self.number} ORDER BY key"

    def together(self, *indexes):
        """These are committed by one COMMIT."""
        self.groups.append(self.keys(indexes))

    # --- one after the other

    def login(self):
        with self._ending():
            self.client = RawClient("127.0.0.1", self._port, timeout=self._patience)
            read = self.client.read_message
            # Also the messages of the login must give up when nothing can come.
            self.client.read_message = lambda timeout=None: self._bounded(read)
            try:
                self.client.login("app", self._route, ROLES["app"])
            except ServerError as error:
                self.error = error.fields
                raise Ended from error
            finally:
                self.client.read_message = read

    def send(self, data, *indexes):
        """`indexes` are the keys that this may commit."""
        self.sent.update(self.keys(indexes))
        types = _types(data)
        self._ready_due += types.count(b"Q") + types.count(b"S")
        if types:
            self._unsynced = types[-1] in (b"P", b"B", b"D", b"E", b"H", b"C")
        with self._ending():
            self.client.send(data)

    def until(self, kind, *indexes):
        """Reads up to a message of this type. Then these keys are there for good."""
        while True:
            found, body = self._read()
            if found == b"E":
                self.error = error_fields(body)
                raise Ended
            if found == kind:
                self.acknowledged.update(self.keys(indexes))
                return

    def ask(self, sql):
        """The messages of a simple Query without effect."""
        before = len(self.messages)
        self.send(query(sql))
        self.until(b"Z")
        return self.messages[before:]

    def forget_due(self):
        """The script itself has read what it asked for."""
        self._ready_due, self._unsynced = 0, False

    def run(self, script):
        """True when the script has come to its end."""
        try:
            self.login()
            script(self)
        except Ended:
            return False
        return True

    def is_alive_after_error(self):
        """Reads the rest of what was asked for; then the session must work, or it is closed."""
        try:
            if self._unsynced:
                self.send(sync())
            while self._ready_due:
                self._read()
        except Ended:
            return False
        if not self.messages:  # it was the login that was refused
            return False
        assert self.messages[-1] == (b"Z", b"I"), self.messages[-3:]
        self.error = None
        try:
            found = self.ask(f"SELECT '{self.key('alive')}'")
        except Ended:
            assert self.error is None, f"a second error: {self.error}"
            return False
        # It may still listen, and be told that a parameter is what it was.
        kinds = b"".join(kind for kind, _ in found if kind not in (b"A", b"S"))
        assert kinds == b"TDCZ", found
        return True

    def leave(self, is_gone=False):
        if self.client is not None:
            self.client.abort() if is_gone else self.client.terminate()

    # --- reading

    def _read(self):
        with self._ending():
            kind, body = self._bounded(self.client.read_message)
        if kind == b"Z":
            self._ready_due -= 1
        foreign = set(KEY.findall(body)) - {b"%08d" % self.number}
        assert not foreign, f"session {self.number} was sent what belongs to {foreign}: {body!r}"
        self.messages.append((kind, body))
        return kind, body

    def _bounded(self, read):
        deadline = time.monotonic() + self._patience
        while True:
            try:
                return read(0.1)
            except TimeoutError as error:
                if self._fault and self._fault.action == "stall" and self._fault.fired.is_set():
                    raise GivenUp from None
                if time.monotonic() > deadline:
                    raise AssertionError(f"nothing for {self._patience} s: {error}") from None

    @contextlib.contextmanager
    def _ending(self):
        try:
            yield
        except (ConnectionClosed, ConnectionError) as error:
            self.is_closed = True
            raise Ended from error

    # --- what must be

    def check(self, rows):
        """`rows` are the keys of this session in the table, at any time behind its end."""
        assert len(rows) == len(set(rows)), f"twice: {sorted(rows)}"
        there = set(rows)
        lost = self.acknowledged - there
        assert not lost, f"acknowledged, and not there: {sorted(lost)} (there: {sorted(there)})"
        assert there <= self.sent, f"never asked for: {sorted(there - self.sent)}"
        assert not there & self.never, f"rolled back, and there: {sorted(there & self.never)}"
        for group in self.groups:
            assert len(there & set(group)) in (0, len(group)), f"torn: {sorted(there)} of {group}"

    def replies(self):
        """The messages with another session's number, and without a server's process id."""
        found = []
        for kind, body in self.messages:
            body = body.replace(b"%08d" % self.number, b"0" * 8)
            found.append((kind, bytes(4) + body[4:] if kind == b"A" else body))
        return found


def _types(data):
    """The types of the messages in `data`."""
    at, found = 0, []
    while at < len(data):
        found.append(data[at : at + 1])
        at += 1 + int.from_bytes(data[at + 1 : at + 5], "big")
    return found


# --- the sessions


def simple(s):
    for index in (0, 1):
        s.send(query(s.insert(index)), index)
        s.until(b"C", index)
        s.until(b"Z")
        s.ask(s.own)


def prepared(s):
    s.send(parse("INSERT INTO chaos VALUES ($1, $2)", "put") + sync())
    s.until(b"Z")
    for index in (0, 1):
        s.send(bind([s.number, s.key(index)], statement="put") + execute() + sync(), index)
        s.until(b"Z", index)
    s.send(
        parse("SELECT key FROM chaos WHERE run = $1 ORDER BY key", "get")
        + describe_statement("get")
        + sync()
    )
    s.until(b"Z")
    s.send(bind([s.number], statement="get") + describe_portal() + execute() + sync())
    s.until(b"Z")
    s.send(close_statement("put") + sync())
    s.until(b"Z")


def pipeline(s):
    """Three transactions at once, and then one of two statements whose Sync comes late."""
    s.send(
        b"".join(parse(s.insert(index)) + bind() + execute() + sync() for index in (0, 1, 2)),
        *(0, 1, 2),
    )
    for index in (0, 1, 2):
        s.until(b"Z", index)
    s.together(3, 4)
    s.send(parse(s.insert(3)) + bind() + execute() + flush())
    s.until(b"C")
    s.send(parse(s.insert(4)) + bind() + execute() + sync(), 3, 4)
    s.until(b"Z", 3, 4)


def copy_in(s):
    s.together(0, 1, 2)
    s.send(query("COPY chaos FROM STDIN"))
    s.until(b"G")
    for index in (0, 1, 2):
        s.send(copy_data(f"{s.number}\t{s.key(index)}\n".encode()))
    s.send(copy_done(), 0, 1, 2)
    s.until(b"C", 0, 1, 2)
    s.until(b"Z")
    s.ask(s.own)


def copy_out(s):
    s.together(0, 1, 2)
    rows = ", ".join(f"({s.number}, '{s.key(index)}')" for index in (0, 1, 2))
    s.send(query(f"INSERT INTO chaos VALUES {rows}"), 0, 1, 2)
    s.until(b"C", 0, 1, 2)
    s.until(b"Z")
    s.ask(f"COPY ({s.own}) TO STDOUT")
    s.ask(s.own)


def transaction(s):
    s.together(0, 1)
    for sql in ("BEGIN", s.insert(0), s.insert(1), s.own):
        s.ask(sql)
    s.send(query("COMMIT"), 0, 1)
    s.until(b"C", 0, 1)
    s.until(b"Z")
    s.never.add(s.key(2))
    for sql in ("BEGIN", s.insert(2), s.own, "ROLLBACK"):
        s.ask(sql)


def split(s):
    """A batch whose statements are transactions of their own."""
    s.batch = [(1, [0]), (1, [1]), (1, []), (1, [2])]
    s.send(query(f"{s.insert(0)}; {s.insert(1)}; {s.own}; {s.insert(2)}"), 0, 1, 2)
    for acknowledged in ([0], [1], [], [2]):
        s.until(b"C", *acknowledged)
    s.until(b"Z")
    s.together(4, 5)
    s.batch = [(1, [3]), (4, [4, 5]), (1, [6])]
    batch = [s.insert(3), "BEGIN", s.insert(4), s.insert(5), "COMMIT", s.insert(6)]
    s.send(query("; ".join(batch)), 3, 4, 5, 6)
    for acknowledged in ([3], [], [], [], [4, 5], [6]):
        s.until(b"C", *acknowledged)
    s.until(b"Z")


def listen(s):
    channel = s.key(0).replace("-", "_")
    s.ask(f"LISTEN {channel}")
    for index in (0, 1):
        s.ask(f"NOTIFY {channel}, '{s.key(index)}'")
    s.send(query(s.insert(0)), 0)
    s.until(b"C", 0)
    s.until(b"Z")
    s.ask(f"UNLISTEN {channel}")


def settings(s):
    s.ask(f"SET application_name = '{s.key('name')}'")
    s.ask("SET work_mem = '7MB'")
    s.ask("SHOW application_name")
    s.send(parse(s.insert(0)) + bind() + execute() + sync(), 0)
    s.until(b"Z", 0)
    s.ask("SHOW work_mem")


SCRIPTS = (simple, prepared, pipeline, copy_in, copy_out, transaction, split, listen, settings)

LEFT_OVER = (
    "SELECT current_setting('work_mem') = '4MB', current_setting('application_name') = '', "
    "pg_current_xact_id_if_assigned() IS NULL"
)


def newcomer(s):
    """Whoever comes next: nothing of anybody is left, and work can be done."""
    found = s.ask(LEFT_OVER)
    row = next(body for kind, body in found if kind == b"D")
    assert row == b"\0\3" + b"\0\0\0\1t" * 3, row
    s.send(query(s.insert(0)), 0)
    s.until(b"C", 0)
    s.until(b"Z")
    rows = [body for kind, body in s.ask(s.own) if kind == b"D"]
    assert len(rows) == 1 and s.key(0).encode() in rows[0], rows
    assert all(kind not in (b"A", b"N") for kind, _ in s.messages), s.messages
