"""What a differential test's stream is made of.

A stream is a list of bytes and of `Wait`s; without one everything is sent at once, so that the
proxy sees a pipeline. Streams start behind the first ReadyForQuery. They may leave prepared
statements and settings behind (the connection ends), but no COPY.
"""

import struct

from harness.messages import bind, copy_data, describe_portal, execute, parse, query


class Wait:
    """Wait until `count` further messages of type `kind` have come."""

    def __init__(self, kind, count=1):
        self.kind, self.count = kind, count


class Stream:
    """`pins`: in transaction mode Signalbox may add its own NOTICEs. `modes`: where it applies.

    `tables`: creates tables, so that their oids differ from run to run.
    """

    def __init__(self, *parts, pins=False, tables=False, modes=("session", "transaction")):
        self.parts = parts
        self.pins = pins
        self.tables = tables
        self.modes = modes

    @property
    def size(self):
        return sum(len(part) for part in self.parts if isinstance(part, bytes))


def run(sql, *values, name="", portal="", max_rows=0, results=()):
    """Parse, Bind, Describe and Execute in a row, without Sync."""
    return (
        parse(sql, name)
        + bind(values, portal, name, result_formats=results)
        + describe_portal(portal)
        + execute(portal, max_rows)
    )


def again(name, *values, portal=""):
    """Bind and Execute of a statement that exists."""
    return bind(values, portal, name) + execute(portal)


def queries(*texts):
    return b"".join(query(text) for text in texts)


COPY_ROWS = copy_data(b"1\tone\n2\ttwo\n") + copy_data(b"3\tthr") + copy_data(b"ee\n")
BAD_ROWS = copy_data(b"1\tone\n") + copy_data(b"not a number\ttwo\n") + copy_data(b"3\tthree\n")
BINARY_HEAD = b"PGCOPY\n\xff\r\n\0" + struct.pack("!ii", 0, 0)
BINARY_ROW = struct.pack("!hii", 2, 4, 7) + struct.pack("!i", 5) + b"seven"
