"""The same client bytes to PostgreSQL directly and through Signalbox give the same reply.

Only what depends on processes is evened out: pids in notifications, and oids of tables that a
stream makes itself. In transaction mode the NOTICE that announces a pin is Signalbox's own, and an
error that Signalbox gives in the server's stead need not name a line of the server's source.
"""

import itertools
import random
import re
import struct
import threading

import pytest

from harness import ConnectionClosed, RawClient, error_fields
from harness.messages import query, sync
from harness.postgres import ROLES
from stream import Wait
from streams import RESET, SCHEMA, STREAMS

END = "the end of the stream"
TIMEOUT = 30
CUT_LIMIT = 3000  # longer streams are not sent byte by byte
SOURCE = re.compile(rb"F[^\0]+\0L\d+\0R\w+\0(?=\0$)")  # of an ErrorResponse: file, line, routine
STARTUP = {"application_name": "differential", "DateStyle": "ISO, DMY"}


class Target:
    """Where to connect, and what the database is called there."""

    def __init__(self, port, database):
        self.port, self.database = port, database


@pytest.fixture(scope="module")
def schema(pg):
    with pg.admin_connection() as connection:
        connection.execute(SCHEMA)
        yield connection


@pytest.fixture(scope="module")
def direct_replies():
    """PostgreSQL's own replies by stream, asked for once."""
    return {}


def exchange(target, stream, chunks=None):
    """Logs in, sends the stream, and returns every reply; ("end", b"") when the server closed."""
    client = RawClient("127.0.0.1", target.port, timeout=TIMEOUT)
    client.login("app", target.database, ROLES["app"], **STARTUP)
    replies, changed, done = [], threading.Condition(), []

    def receive():
        marked = False
        try:
            while True:
                kind, body = client.read_message(TIMEOUT)
                marked = marked or (kind == b"D" and END.encode() in body)
                with changed:
                    replies.append((kind, body))
                    changed.notify()
                if marked and kind == b"Z":
                    break
        except (ConnectionClosed, TimeoutError, OSError) as error:
            replies.append((type(error).__name__.encode(), b""))
        with changed:
            done.append(True)
            changed.notify()

    # A reader of its own, or both ends block on writing where the stream is long.
    reader = threading.Thread(target=receive)
    reader.start()
    seen = 0
    try:
        for part in (*stream.parts, sync() + query(f"SELECT '{END}'")):
            if isinstance(part, Wait):
                with changed:
                    for _ in range(part.count):
                        came = changed.wait_for(
                            lambda: done or any(k == part.kind for k, _ in replies[seen:]), TIMEOUT
                        )
                        assert came, f"no {part.kind!r} came: {[k for k, _ in replies]}"
                        if done:
                            break
                        seen += [k for k, _ in replies[seen:]].index(part.kind) + 1
            elif chunks is None:
                client.send(part)
            else:
                client.send_chunks(part, chunks)
    except (ConnectionError, BrokenPipeError):
        pass  # the reader has it
    reader.join(TIMEOUT + 5)
    assert not reader.is_alive()
    client.terminate()
    return replies


def without_oids(body):
    """A RowDescription whose table oids are 1 or 0."""
    out, at = bytearray(body), 2
    for _ in range(struct.unpack_from("!h", body)[0]):
        at = body.index(b"\0", at) + 1
        struct.pack_into("!i", out, at, int(struct.unpack_from("!i", body, at)[0] != 0))
        at += 18
    return bytes(out)


def normalised(replies, stream):
    out = []
    for kind, body in replies:
        if kind == b"A":
            body = b"pid-" + body[4:]
        if stream.tables and kind == b"T":
            body = without_oids(body)
        out.append((kind, body))
    return out


def readable(messages):
    """One line per message, short enough to read in a diff."""
    lines = []
    for kind, body in messages:
        text = error_fields(body) if kind in (b"E", b"N") else body[:120]
        lines.append(f"{kind.decode()} {len(body):>8} {text}")
    return lines


def assert_same(direct, proxied, stream, mode):
    expected, actual = normalised(direct, stream), normalised(proxied, stream)
    if stream.pins and mode == "transaction":
        known = [m for m in expected if m[0] == b"N"]
        actual = [m for m in actual if m[0] != b"N" or m in known]
    if mode == "transaction":
        expected = [
            (k, b if k != b"E" or SOURCE.search(other) else SOURCE.sub(b"", b))
            for (k, b), (_, other) in itertools.zip_longest(expected, actual, fillvalue=(b"", b""))
            if k
        ]
    # As text first: pytest's diff of it can be read.
    assert readable(actual) == readable(expected)
    assert actual == expected


@pytest.fixture
def compare(pg, box, schema, direct_replies):
    """compare(name, mode, chunks=None) runs a stream on both sides."""

    def run(name, mode, chunks=None):
        stream = STREAMS[name]
        if name not in direct_replies:
            schema.execute(RESET)
            direct_replies[name] = exchange(Target(pg.port, "app"), stream)
        schema.execute(RESET)
        proxied = exchange(Target(box.port, mode), stream, chunks)
        assert_same(direct_replies[name], proxied, stream, mode)

    return run


def pairs(limit):
    """(mode, name) of the streams up to a size, in the modes where each applies."""
    return [(m, n) for n, s in STREAMS.items() for m in s.modes if s.size <= limit]


@pytest.mark.parametrize("mode, name", pairs(1 << 30))
def test_same_reply(compare, mode, name):
    compare(name, mode)


@pytest.mark.parametrize("mode, name", pairs(CUT_LIMIT))
def test_same_reply_byte_by_byte(compare, mode, name):
    compare(name, mode, itertools.repeat(1))


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_same_reply_in_random_pieces(compare, mode, seed):
    """Pieces from one byte to several messages: every kind of boundary."""
    choose = random.Random(seed)
    sizes = iter(lambda: choose.choice([1, 2, 3, 5, 8, 40, 200, 1500]), None)
    for name, stream in STREAMS.items():
        if stream.size <= 200_000 and mode in stream.modes:
            compare(name, mode, sizes)


def test_login_reports_the_same_parameters(pg, box, mode):
    """ParameterStatus at login: names, values, also those that the startup packet sets."""
    startup = {
        "application_name": "reports",
        "DateStyle": "SQL, DMY",
        "TimeZone": "Europe/Berlin",
        "client_encoding": "utf-8",
        "options": "-c IntervalStyle=iso_8601 --work_mem=5MB",
    }
    for parameters in ({}, startup):
        reports = []
        for target in (Target(pg.port, "app"), Target(box.port, mode)):
            client = RawClient("127.0.0.1", target.port)
            client.login("app", target.database, ROLES["app"], **parameters)
            reports.append((client.parameters, client.value("SHOW work_mem")))
            client.terminate()
        assert reports[1] == reports[0]


@pytest.mark.parametrize(
    "startup",
    [
        {"DateStyle": "nonsense"},
        {"no_such_parameter": "1"},
        {"options": "-c no_such_parameter=1"},
        {"options": "-c work_mem=nonsense"},
        {"client_encoding": "nonsense"},
        {"TimeZone": "Nowhere/Land"},
        {"options": "-c shared_buffers=1MB"},
    ],
)
def test_bad_startup_parameters_fail_alike(pg, box, mode, startup):
    """The server's FATAL arrives once and alone, in its own words."""
    replies = []
    for target in (Target(pg.port, "app"), Target(box.port, mode)):
        client = RawClient("127.0.0.1", target.port)
        try:
            client.login("app", target.database, ROLES["app"], **startup)
            replies.append("logged in")
        except Exception as error:  # pylint: disable=broad-except
            fields = getattr(error, "fields", None)
            assert fields is not None, error
            assert client.read_to_end() == []
            replies.append({key: fields.get(key) for key in "SVCM"})
        client.close()
    assert replies[1] == replies[0]


def test_streams_are_worth_sending(pg, schema):
    """Guards the table: the SQLSTATEs that the streams are about do come from PostgreSQL."""
    codes = set()
    for name in (
        "parse_twice",
        "bind_unknown",
        "describe_unknown",
        "syntax_error",
        "copy_in_bad_row",
    ):
        schema.execute(RESET)
        for kind, body in exchange(Target(pg.port, "app"), STREAMS[name]):
            if kind == b"E":
                codes.add(error_fields(body)["C"])
    assert {"42P05", "26000", "34000", "42601", "22P02"} <= codes
    assert all(re.fullmatch(r"[0-9A-Z]{5}", code) for code in codes)
