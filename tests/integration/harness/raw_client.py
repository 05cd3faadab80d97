"""A client that can send anything.

    client = RawClient("127.0.0.1", port, tls=context)
    client.login("app", "transaction", "secret", application_name="x")
    client.send(messages.parse("SELECT 1") + messages.sync())
    for kind, body in client.read_until(b"Z"): ...

Every read has a deadline and fails by TimeoutError; an end of the stream is ConnectionClosed.
"""

import base64
import hashlib
import hmac
import os
import socket
import ssl
import struct
import time

from . import messages


class ConnectionClosed(Exception):
    """The peer has closed; `buffered` holds what was left of an unfinished message."""


class ServerError(Exception):
    """An ErrorResponse during login."""

    def __init__(self, fields):
        super().__init__(f"{fields.get('S')} {fields.get('C')}: {fields.get('M')}")
        self.fields = fields
        self.code = fields.get("C")


def tls_context(ca=None, client=None, minimum=None, maximum=None, alpn=()):
    """A client's context: verifies when `ca` is given; `client` is a (certificate, key) pair."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    if alpn:
        context.set_alpn_protocols(alpn)
    if ca is None:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    else:
        context.load_verify_locations(str(ca))
    if client is not None:
        context.load_cert_chain(*map(str, client))
    if minimum is not None:
        context.minimum_version = minimum
    if maximum is not None:
        context.maximum_version = maximum
    return context


class Scram:
    """The client's half of SCRAM-SHA-256 (RFC 5802, RFC 7677).

    `header` says what the client makes of channel binding, `bound_to` is the certificate's hash.
    """

    def __init__(self, password, nonce=None, header="n,,", bound_to=b""):
        self.header, self.bound_to = header, bound_to
        self.password = password.encode()
        self.nonce = nonce or base64.b64encode(os.urandom(18)).decode()
        self.bare = f"n=,r={self.nonce}"

    def first(self):
        return f"{self.header}{self.bare}".encode()

    def final(self, server_first):
        fields = dict(part.split("=", 1) for part in server_first.decode().split(","))
        assert fields["r"].startswith(self.nonce), "the server's nonce does not extend ours"
        salt, rounds = base64.b64decode(fields["s"]), int(fields["i"])
        salted = hashlib.pbkdf2_hmac("sha256", self.password, salt, rounds)
        client_key = hmac.digest(salted, b"Client Key", "sha256")
        binding = base64.b64encode(self.header.encode() + self.bound_to).decode()
        without_proof = f"c={binding},r={fields['r']}"
        signed = f"{self.bare},{server_first.decode()},{without_proof}".encode()
        signature = hmac.digest(hashlib.sha256(client_key).digest(), signed, "sha256")
        proof = bytes(a ^ b for a, b in zip(client_key, signature))
        server_key = hmac.digest(salted, b"Server Key", "sha256")
        self.server_signature = hmac.digest(server_key, signed, "sha256")
        return f"{without_proof},p={base64.b64encode(proof).decode()}".encode()

    def check(self, server_final):
        assert server_final == b"v=" + base64.b64encode(self.server_signature)


class RawClient:
    """A socket with a message reader. `tls` is an ssl.SSLContext, or None for plain TCP.

    `direct`: TLS from the first byte on, without asking.
    """

    def __init__(
        self,
        host="127.0.0.1",
        port=0,
        tls=None,
        timeout=10,
        unix=None,
        server_name=None,
        direct=False,
    ):
        self.timeout = timeout
        self.parameters = {}
        self.backend_key = None
        self.log = []  # every message that login received
        self._buffer = bytearray()
        if unix is not None:
            self.socket = socket.socket(socket.AF_UNIX)
            self.socket.settimeout(timeout)
            self.socket.connect(str(unix))
        else:
            self.socket = socket.create_connection((host, port), timeout)
            self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if tls is not None:
            self.start_tls(tls, server_name or "localhost", direct)

    # --- sending

    def send(self, data):
        self.socket.settimeout(self.timeout)
        self.socket.sendall(data)

    def send_chunks(self, data, sizes):
        """Sends `data` in pieces; `sizes` is an endless iterator of lengths."""
        at = 0
        while at < len(data):
            size = next(sizes)
            self.send(data[at : at + size])
            at += size

    def start_tls(self, context, server_name="localhost", direct=False):
        if not direct:
            self.send(messages.SSL_REQUEST)
            answer = self.read_exact(1)
            assert answer == b"S", f"TLS refused with {answer!r}"
        self.socket = context.wrap_socket(self.socket, server_hostname=server_name)

    def half_close(self):
        self.socket.shutdown(socket.SHUT_WR)

    def close(self):
        self.socket.close()

    def terminate(self):
        try:
            self.send(messages.terminate())
        except OSError:
            pass
        self.close()

    def abort(self):
        """Closes with a reset, as a killed host would."""
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.socket.close()

    # --- receiving

    def _fill(self, deadline):
        left = deadline - time.monotonic()
        if left <= 0:
            raise TimeoutError(f"nothing came; so far {bytes(self._buffer[:200])!r}")
        self.socket.settimeout(left)
        try:
            data = self.socket.recv(262144)
        except (ConnectionError, ssl.SSLError) as error:
            raise ConnectionClosed(f"{error}; buffered {bytes(self._buffer[:200])!r}") from error
        if not data:
            raise ConnectionClosed(f"buffered {bytes(self._buffer[:200])!r}")
        self._buffer += data

    def _deadline(self, timeout):
        return time.monotonic() + (self.timeout if timeout is None else timeout)

    def read_exact(self, size, timeout=None):
        deadline = self._deadline(timeout)
        while len(self._buffer) < size:
            self._fill(deadline)
        data = bytes(self._buffer[:size])
        del self._buffer[:size]
        return data

    def read_message(self, timeout=None):
        """The next message as (type, body)."""
        deadline = self._deadline(timeout)
        while len(self._buffer) < 5:
            self._fill(deadline)
        kind = bytes(self._buffer[:1])
        (length,) = struct.unpack_from("!i", self._buffer, 1)
        assert length >= 4, f"message {kind!r} of length {length}"
        while len(self._buffer) < length + 1:
            self._fill(deadline)
        body = bytes(self._buffer[5 : length + 1])
        del self._buffer[: length + 1]
        return kind, body

    def read_until(self, kind=b"Z", count=1, timeout=None):
        """All messages up to the `count`-th one of type `kind`, with it."""
        deadline = self._deadline(timeout)
        found = []
        while count:
            found.append(self.read_message(max(0.001, deadline - time.monotonic())))
            count -= found[-1][0] == kind
        return found

    def read_to_end(self, timeout=None):
        """All messages until the peer closes."""
        deadline = self._deadline(timeout)
        found = []
        while True:
            try:
                found.append(self.read_message(max(0.001, deadline - time.monotonic())))
            except ConnectionClosed:
                assert not self._buffer, f"cut in a message: {bytes(self._buffer[:100])!r}"
                return found

    def expect_closed(self, timeout=None):
        found = self.read_to_end(timeout)
        assert not found, f"expected only the end, got {found}"

    def expect_silence(self, seconds=0.2):
        try:
            found = self.read_message(seconds)
        except TimeoutError:
            return
        raise AssertionError(f"expected nothing, got {found}")

    # --- conveniences

    def query(self, sql, timeout=None):
        """Simple query; all messages with the ReadyForQuery."""
        self.send(messages.query(sql))
        return self.read_until(b"Z", timeout=timeout)

    def rows(self, sql, timeout=None):
        """Simple query; text values by row. An error fails."""
        found = self.query(sql, timeout)
        for kind, body in found:
            assert kind != b"E", f"{sql}: {messages.error_fields(body)}"
        return [
            tuple(None if v is None else v.decode() for v in messages.row_values(body))
            for kind, body in found
            if kind == b"D"
        ]

    def query_or_end(self, sql):
        """A simple Query of a session that may end: (messages, whether it has ended)."""
        found = []
        try:
            self.send(messages.query(sql))
            while not found or found[-1][0] != b"Z":
                found.append(self.read_message())
            return found, False
        except ConnectionClosed:
            return found, True
        except ConnectionError:  # of the sending; what had come before can still be read
            return self.read_to_end(), True

    def value(self, sql, timeout=None):
        rows = self.rows(sql, timeout)
        assert len(rows) == 1 and len(rows[0]) == 1, rows
        return rows[0][0]

    def error(self, sql, timeout=None):
        """Simple query that must fail: the error's fields."""
        return first_error(self.query(sql, timeout))

    # --- login

    def login(self, user, database, password=None, version=messages.VERSION_3, **parameters):
        """Startup and authentication, whatever the server asks for; returns self."""
        self.send(messages.startup(user, database, version, **parameters))
        return self.authenticate(user, password)

    def authenticate(self, user, password):
        scram = None
        while True:
            kind, body = self.read_message()
            self.log.append((kind, body))
            if kind == b"E":
                raise ServerError(messages.error_fields(body))
            if kind == b"R":
                (code,) = struct.unpack_from("!i", body)
                data = body[4:]
                if code == 3:
                    self.send(messages.password(messages.cstring(password)))
                elif code == 5:
                    self.send(messages.password(messages.cstring(md5(user, password, data))))
                elif code == 10:
                    assert b"SCRAM-SHA-256\0" in data, data
                    scram = Scram(password or "")
                    first = scram.first()
                    self.send(
                        messages.password(
                            messages.cstring("SCRAM-SHA-256")
                            + struct.pack("!i", len(first))
                            + first
                        )
                    )
                elif code == 11:
                    self.send(messages.password(scram.final(data)))
                elif code == 12:
                    scram.check(data)
                else:
                    assert code == 0, f"authentication method {code}"
            elif kind == b"S":
                name, value = messages.text_pair(body)
                self.parameters[name] = value
            elif kind == b"K":
                self.backend_key = (struct.unpack_from("!i", body)[0], body[4:])
            elif kind == b"Z":
                assert body == b"I"
                return self

    def cancel(self, host="127.0.0.1", port=None, tls=None):
        """Sends a CancelRequest on a connection of its own, and waits for its end."""
        target = port or self.socket.getpeername()[1]
        with RawClient(host, target, tls=tls, timeout=self.timeout) as other:
            other.send(messages.cancel_request(*self.backend_key))
            other.read_to_end()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()


def md5(user, password, salt):
    """PostgreSQL's md5 answer."""
    inner = hashlib.md5((password + user).encode()).hexdigest()
    return "md5" + hashlib.md5(inner.encode() + salt).hexdigest()


def first_error(found):
    for kind, body in found:
        if kind == b"E":
            return messages.error_fields(body)
    raise AssertionError(f"no error among {[kind for kind, _ in found]}")


def notices(found):
    return [messages.error_fields(body) for kind, body in found if kind == b"N"]
