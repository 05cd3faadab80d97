"""Asking over both protocols, and reading the reply: lists of (type, body) as RawClient gives them."""

import re
import struct

import pytest

from .messages import bind, describe_portal, error_fields, execute, parse, row_values, sync

TEXT, INT8, TIMESTAMPTZ, OID, UUID, TEXT_ARRAY = 25, 20, 1184, 26, 2950, 1009


def simple(client, sql):
    return client.query(sql)


def extended(client, sql, values=(), result_formats=()):
    client.send(
        parse(sql)
        + bind(values, result_formats=result_formats)
        + describe_portal()
        + execute()
        + sync()
    )
    return client.read_until(b"Z")


PROTOCOLS = pytest.mark.parametrize("ask", [simple, extended])


def kinds(found):
    return b"".join(kind for kind, _ in found).decode()


def outcome(found):
    """kinds() without what the extended protocol adds, and without notices."""
    return "".join(kind for kind in kinds(found) if kind not in "12nN")


def tags(found):
    return [body[:-1].decode() for kind, body in found if kind == b"C"]


def rows(found):
    """Text values by row; an error fails."""
    succeeded(found)
    return [
        tuple(None if value is None else value.decode() for value in row_values(body))
        for kind, body in found
        if kind == b"D"
    ]


def values(found):
    """The first column of every row."""
    rows = [row_values(body) for kind, body in found if kind == b"D"]
    return [None if row[0] is None else row[0].decode() for row in rows]


def columns(found):
    """[(name, type oid)] of the only RowDescription."""
    described = [body for kind, body in found if kind == b"T"]
    assert len(described) == 1, found
    (count,) = struct.unpack_from("!h", described[0])
    at, result = 2, []
    for _ in range(count):
        end = described[0].index(b"\0", at)
        _, _, oid, size, _, _ = struct.unpack_from("!ihihih", described[0], end + 1)
        assert size == {INT8: 8, TIMESTAMPTZ: 8, OID: 4, UUID: 16}.get(oid, -1), (oid, size)
        result.append((described[0][at:end].decode(), oid))
        at = end + 1 + 18
    assert at == len(described[0])
    return result


def parameters(found):
    """The type oids of the only ParameterDescription."""
    described = [body for kind, body in found if kind == b"t"]
    assert len(described) == 1, found
    (count,) = struct.unpack_from("!h", described[0])
    return list(struct.unpack_from(f"!{count}i", described[0], 2))


def status(found):
    """Of the only ReadyForQuery."""
    assert [kind for kind, _ in found].count(b"Z") == 1 and found[-1][0] == b"Z", found
    return found[-1][1].decode()


def errors(found):
    return [error_fields(body) for kind, body in found if kind == b"E"]


def codes(found):
    """The SQLSTATEs of the errors."""
    return [error_fields(body)["C"] for kind, body in found if kind == b"E"]


def notices(found):
    return [error_fields(body) for kind, body in found if kind == b"N"]


def warnings(found):
    """The messages of the warnings with 01000."""
    fields = [error_fields(body) for kind, body in found if kind == b"N"]
    return [f["M"] for f in fields if (f["V"], f["C"]) == ("WARNING", "01000")]


def committed(found):
    """What the WARNING behind the only error says: how many statements; None without one."""
    types = kinds(found)
    assert types.count("E") == 1 and types.count("Z") == 1, found
    at = types.index("E") + 1
    if types[at] != "N":
        assert not warnings(found), found
        return None
    fields = error_fields(found[at][1])
    assert (fields["S"], fields["V"], fields["C"]) == ("WARNING", "WARNING", "01000"), fields
    assert len(warnings(found)) == 1 and types[at + 1 :] == "Z", found
    return int(re.search(r"\d+", fields["M"]).group())


def succeeded(found, tag=None):
    assert not errors(found), errors(found)
    assert tag is None or tags(found) == [tag], found
    return found


def refused(found, code, message=None):
    """One complete ERROR and nothing behind it but ReadyForQuery; its fields.

    `code` is an SQLSTATE or a set of them.
    `message` is exact; with … at its end it is a beginning, with … at its front it is a part.
    """
    assert kinds(found).endswith("EZ") and len(errors(found)) == 1, (kinds(found), errors(found))
    fields = errors(found)[0]
    assert (fields["S"], fields["V"]) == ("ERROR", "ERROR"), fields
    assert fields["C"] in ({code} if isinstance(code, str) else code), fields
    if message is None:
        return fields
    if message.startswith("…"):
        assert message.strip("…") in fields["M"], fields
    elif message.endswith("…"):
        assert fields["M"].startswith(message[:-1]) and len(fields["M"]) >= len(message), fields
    else:
        assert fields["M"] == message, fields
    return fields


def noticed(found, code, message):
    """Succeeded with exactly this NOTICE."""
    succeeded(found)
    given = [(n["S"], n["V"], n["C"], n["M"]) for n in notices(found)]
    assert given == [("NOTICE", "NOTICE", code, message)], given
