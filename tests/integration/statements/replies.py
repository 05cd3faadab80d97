"""Reading the reply to one batch: lists of (type, body) as RawClient gives them."""

import re

from harness.messages import error_fields, row_values


def kinds(found):
    return b"".join(kind for kind, _ in found).decode()


def tags(found):
    return [body[:-1].decode() for kind, body in found if kind == b"C"]


def values(found):
    """The first column of every row."""
    rows = [row_values(body) for kind, body in found if kind == b"D"]
    return [None if row[0] is None else row[0].decode() for row in rows]


def codes(found):
    """The SQLSTATEs of the errors."""
    return [error_fields(body)["C"] for kind, body in found if kind == b"E"]


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


def status(found):
    """Of the only ReadyForQuery."""
    assert [kind for kind, _ in found].count(b"Z") == 1 and found[-1][0] == b"Z", found
    return found[-1][1].decode()
