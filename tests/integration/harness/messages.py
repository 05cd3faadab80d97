"""Messages of protocol version 3.0, as bytes. Source: PostgreSQL manual, "Message Formats"."""

import struct

VERSION_3 = 0x00030000
SSL_REQUEST = struct.pack("!ii", 8, 80877103)
GSSENC_REQUEST = struct.pack("!ii", 8, 80877104)


def cstring(text):
    return (text if isinstance(text, bytes) else text.encode()) + b"\0"


def message(kind, body=b""):
    return kind + struct.pack("!i", len(body) + 4) + body


def startup(user=None, database=None, version=VERSION_3, **parameters):
    pairs = dict(parameters)
    if user is not None:
        pairs["user"] = user
    if database is not None:
        pairs["database"] = database
    body = b"".join(cstring(k) + cstring(v) for k, v in pairs.items()) + b"\0"
    return struct.pack("!ii", len(body) + 8, version) + body


def cancel_request(pid, secret):
    return struct.pack("!iii", 12 + len(secret), 80877102, pid) + secret


def query(sql):
    return message(b"Q", cstring(sql))


def parse(sql, name="", types=()):
    return message(
        b"P",
        cstring(name) + cstring(sql) + struct.pack(f"!h{len(types)}i", len(types), *types),
    )


def _values(values):
    out = struct.pack("!h", len(values))
    for value in values:
        if value is None:
            out += struct.pack("!i", -1)
        else:
            data = value if isinstance(value, bytes) else str(value).encode()
            out += struct.pack("!i", len(data)) + data
    return out


def bind(values=(), portal="", statement="", formats=(), result_formats=()):
    return message(
        b"B",
        cstring(portal)
        + cstring(statement)
        + struct.pack(f"!h{len(formats)}h", len(formats), *formats)
        + _values(values)
        + struct.pack(f"!h{len(result_formats)}h", len(result_formats), *result_formats),
    )


def describe_statement(name=""):
    return message(b"D", b"S" + cstring(name))


def describe_portal(name=""):
    return message(b"D", b"P" + cstring(name))


def execute(portal="", max_rows=0):
    return message(b"E", cstring(portal) + struct.pack("!i", max_rows))


def close_statement(name=""):
    return message(b"C", b"S" + cstring(name))


def close_portal(name=""):
    return message(b"C", b"P" + cstring(name))


def sync():
    return message(b"S")


def flush():
    return message(b"H")


def terminate():
    return message(b"X")


def password(data):
    return message(b"p", data)


def copy_data(data):
    return message(b"d", data)


def copy_done():
    return message(b"c")


def copy_fail(reason):
    return message(b"f", cstring(reason))


def function_call(oid, values=(), formats=(), result_format=0):
    return message(
        b"F",
        struct.pack(f"!ih{len(formats)}h", oid, len(formats), *formats)
        + _values(values)
        + struct.pack("!h", result_format),
    )


# --- towards the client (for FakeServer)


def authentication(code, data=b""):
    return message(b"R", struct.pack("!i", code) + data)


def parameter_status(name, value):
    return message(b"S", cstring(name) + cstring(value))


def backend_key_data(pid, secret):
    return message(b"K", struct.pack("!ii", pid, secret))


def ready(status=b"I"):
    return message(b"Z", status)


def error(code="XX000", text="a scripted error", severity="ERROR", kind=b"E", **fields):
    """`code=None` leaves the SQLSTATE out, as some servers in the wild do."""
    parts = {"S": severity, "V": severity, "C": code, "M": text, **fields}
    body = b"".join(k.encode() + cstring(v) for k, v in parts.items() if v is not None)
    return message(kind, body + b"\0")


def row_description(*names):
    body = struct.pack("!h", len(names))
    for name in names:
        body += cstring(name) + struct.pack("!ihihih", 0, 0, 25, -1, -1, 0)
    return message(b"T", body)


def data_row(*values):
    return message(b"D", _values(values))


def command_complete(tag):
    return message(b"C", cstring(tag))


# --- reading


def split(data):
    """The messages that stand whole in `data`, as (type, body)."""
    at = 0
    while at + 5 <= len(data):
        end = at + 1 + struct.unpack_from("!i", data, at + 1)[0]
        if end > len(data):
            return
        yield data[at : at + 1], data[at + 5 : end]
        at = end


def error_fields(body):
    """ErrorResponse or NoticeResponse as a dict of one-letter keys."""
    fields = {}
    for part in body.split(b"\0"):
        if part:
            fields[chr(part[0])] = part[1:].decode(errors="replace")
    return fields


def row_values(body):
    """DataRow as a list of bytes or None."""
    (count,) = struct.unpack_from("!h", body)
    at, values = 2, []
    for _ in range(count):
        (size,) = struct.unpack_from("!i", body, at)
        at += 4
        values.append(None if size < 0 else body[at : at + size])
        at += max(size, 0)
    return values


def text_pair(body):
    """ParameterStatus: (name, value)."""
    name, value, _ = body.split(b"\0")
    return name.decode(), value.decode()
