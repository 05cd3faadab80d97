"""A scripted PostgreSQL server, for faults that a real one cannot be made to produce.

    def script(session):                       # one call per connection, in its own thread
        for kind, body in session.requests():
            if session.sql(kind, body) == "SELECT boom":
                session.close()
                return
            session.answer(kind, body)         # what a dull but correct server would say

    with FakeServer(script) as server: ...     # server.port, server.sessions, server.cancels

Login is `trust` unless `authenticate` is given. An exception in a script fails the test at exit,
unless it only says that the peer went away.
"""

import base64
import hashlib
import hmac
import socket
import ssl
import struct
import threading
import traceback

from . import messages
from .raw_client import ConnectionClosed, RawClient
from .waiting import eventually

PARAMETERS = {
    "server_version": "15.4",
    "server_encoding": "UTF8",
    "client_encoding": "UTF8",
    "application_name": "",
    "default_transaction_read_only": "off",
    "in_hot_standby": "off",
    "is_superuser": "off",
    "session_authorization": "app",
    "DateStyle": "ISO, MDY",
    "IntervalStyle": "postgres",
    "TimeZone": "UTC",
    "integer_datetimes": "on",
    "standard_conforming_strings": "on",
}


class FakeSession(RawClient):
    """The server's end of one connection; reading and sending are RawClient's."""

    def __init__(self, sock, number, timeout):  # pylint: disable=super-init-not-called
        self.socket = sock
        self.number = number  # 0 for the first connection
        self.timeout = timeout
        self.startup = {}
        self.status = b"I"
        self.is_direct = False  # TLS began with the first byte
        self.alpn = None
        self.seen = []  # every request, as (type, body)
        self._buffer = bytearray()
        self._statements = {}
        self._failed = False

    def encrypt(self, context):
        self.socket = context.wrap_socket(self.socket, server_side=True)
        self.alpn = self.socket.selected_alpn_protocol()

    def read_startup(self):
        """The code and body of the packet behind the length."""
        (length,) = struct.unpack("!i", self.read_exact(4))
        packet = self.read_exact(length - 4)
        return struct.unpack_from("!i", packet)[0], packet[4:]

    def greet(self, parameters=None):
        """AuthenticationOk up to the first ReadyForQuery."""
        out = messages.authentication(0)
        for name, value in {**PARAMETERS, **(parameters or {})}.items():
            out += messages.parameter_status(name, value)
        out += messages.backend_key_data(4000 + self.number, 77) + messages.ready()
        self.send(out)

    def requests(self):
        """Messages until Terminate or the end."""
        self.timeout = 120
        while True:
            try:
                kind, body = self.read_message()
            except (ConnectionClosed, OSError):
                return
            self.seen.append((kind, body))
            if kind == b"X":
                return
            yield kind, body

    @staticmethod
    def sql(kind, body):
        """The text of a Query or Parse, else an empty string."""
        if kind == b"Q":
            return body[:-1].decode()
        if kind == b"P":
            return body.split(b"\0")[1].decode()
        return ""

    def answer(self, kind, body):
        """Every SELECT or SHOW gives one row `x`; the rest succeeds with its own first word."""
        if self._failed and kind != b"S":
            return
        out = b""
        if kind == b"Q":
            # One answer per statement; good enough for texts without semicolons in strings.
            parts = [part.strip() for part in self.sql(kind, body).split(";") if part.strip()]
            for part in parts:
                out += self._run(part, with_description=True)
            out = (out or messages.message(b"I")) + messages.ready(self.status)
        elif kind == b"P":
            name, text = body.split(b"\0")[:2]
            self._statements[name] = text.decode()
            out = messages.message(b"1")
        elif kind == b"B":
            self._statements[b"\0portal"] = self._statements.get(body.split(b"\0")[1], "")
            out = messages.message(b"2")
        elif kind == b"D":
            if body[:1] == b"S":
                out = messages.message(b"t", b"\0\0")
            out += self._description(self._statements.get(b"\0portal", "SELECT"))
        elif kind == b"E":
            out = self._run(self._statements.get(b"\0portal", ""), with_description=False)
        elif kind == b"C":
            out = messages.message(b"3")
        elif kind == b"S":
            self._failed = False
            out = messages.ready(self.status)
        if out:
            self.send(out)

    @staticmethod
    def _description(text):
        is_query = text.lstrip().upper().startswith(("SELECT", "SHOW"))
        return messages.row_description("x") if is_query else messages.message(b"n")

    def _run(self, text, with_description):
        word = (text.split() or [""])[0].upper()
        if word in ("BEGIN", "START"):
            self.status = b"T"
        elif word in ("COMMIT", "ROLLBACK", "END"):
            self.status = b"I"
        if "pg_prepared_statements" in text:  # what Signalbox asks when it cleans: nothing is left
            return self._description(text) + messages.command_complete("SELECT 0")
        if word in ("SELECT", "SHOW"):
            head = self._description(text) if with_description else b""
            return head + messages.data_row("x") + messages.command_complete("SELECT 1")
        return messages.command_complete(word) if word else messages.message(b"I")

    def fail(self, kind, error):
        """Sends an ErrorResponse in the place of the answer to `kind`."""
        self.send(error)
        if kind == b"Q":
            self.send(messages.ready(self.status))
        else:
            self._failed = True


class FakeServer:
    """Listens on a free port; `script(session)` runs once per connection."""

    def __init__(self, script=None, authenticate=None, tls=None, timeout=20):
        self._script = script or self._default
        self._authenticate = authenticate
        self._tls = tls
        self._timeout = timeout
        self.sessions = []
        self.cancels = []
        self.errors = []
        self._threads = []
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=256)
        self.port = self._listener.getsockname()[1]
        self._thread = threading.Thread(target=self._accept, daemon=True)
        self._thread.start()

    @staticmethod
    def _default(session):
        for kind, body in session.requests():
            session.answer(kind, body)

    def _accept(self):
        while True:
            try:
                sock, _ = self._listener.accept()
            except OSError:
                return
            session = FakeSession(sock, len(self.sessions), self._timeout)
            thread = threading.Thread(target=self._serve, args=(session,), daemon=True)
            self._threads.append(thread)
            thread.start()

    def _serve(self, session):
        try:
            if self._tls is not None and session.socket.recv(1, socket.MSG_PEEK) == b"\x16":
                session.encrypt(self._tls)
                session.is_direct = True
            code, body = session.read_startup()
            while code in (80877103, 80877104):
                if code == 80877103 and self._tls is not None:
                    session.send(b"S")
                    session.encrypt(self._tls)
                else:
                    session.send(b"N")
                code, body = session.read_startup()
            if code == 80877102:
                self.cancels.append(body)
                return
            pairs = body.split(b"\0")
            session.startup = {
                pairs[i].decode(): pairs[i + 1].decode() for i in range(0, len(pairs) - 2, 2)
            }
            session.number = len(self.sessions)
            self.sessions.append(session)
            if self._authenticate is not None and not self._authenticate(session):
                return
            if self._authenticate is None:
                session.greet()
            self._script(session)
        except (ConnectionClosed, ConnectionError, ssl.SSLError):
            pass  # a peer that leaves, or that does not like our certificate
        except Exception:  # pylint: disable=broad-except
            self.errors.append(traceback.format_exc())
        finally:
            session.close()

    def wait_sessions(self, count, timeout=10):
        eventually(lambda: len(self.sessions) >= count, f"{count} server connections", timeout)
        return self.sessions[count - 1]

    def statements(self):
        """The texts of all Query and Parse messages that came, over all connections."""
        return [s.sql(kind, body) for s in self.sessions for kind, body in s.seen if kind in b"QP"]

    def close(self):
        # shutdown() wakes the accept(); close() alone would leave it waiting.
        try:
            self._listener.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass
        self._listener.close()
        for session in self.sessions:
            try:
                session.socket.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass
        self._thread.join(5)

    def __enter__(self):
        return self

    def __exit__(self, kind, *_):
        self.close()
        if kind is None:
            assert not self.errors, "a script failed:\n" + "\n".join(self.errors)


class ScramServer:
    """The server's half of SCRAM-SHA-256, with everything about it adjustable.

        FakeServer(authenticate=ScramServer("password", salt=b"x").authenticate)

    `mechanisms` are offered in this order; `edit_first` and `edit_final` may change the
    messages that go out. The client's proof is checked: a wrong computation is found.
    """

    def __init__(
        self,
        password,
        salt=b"0123456789abcdef",
        iterations=4096,
        nonce="server-nonce",
        mechanisms=("SCRAM-SHA-256",),
        edit_first=None,
        edit_final=None,
    ):
        self.password, self.salt, self.iterations, self.nonce = password, salt, iterations, nonce
        self.mechanisms = mechanisms
        self.edit_first, self.edit_final = edit_first, edit_final
        self.chosen = []
        self.bindings = []  # what each exchange was bound to: the header, and a certificate's hash
        self.proofs = []  # whether each proof was right

    def authenticate(self, session):
        offer = b"".join(messages.cstring(name) for name in self.mechanisms) + b"\0"
        session.send(messages.authentication(10, offer))
        kind, body = session.read_message()
        assert kind == b"p", kind
        mechanism, _, rest = body.partition(b"\0")
        self.chosen.append(mechanism.decode())
        client_first = rest[4:].decode()
        bare = client_first.split(",", 2)[2]
        client_nonce = dict(part.split("=", 1) for part in bare.split(","))["r"]
        nonce = client_nonce + self.nonce
        salt = base64.b64encode(self.salt).decode()
        first = f"r={nonce},s={salt},i={self.iterations}"
        if self.edit_first is not None:
            first = self.edit_first(first)
        session.send(messages.authentication(11, first.encode()))
        kind, body = session.read_message()
        assert kind == b"p", kind
        without_proof, _, proof = body.decode().rpartition(",p=")
        self.bindings.append(base64.b64decode(without_proof.split(",")[0][2:]))
        salted = hashlib.pbkdf2_hmac(
            "sha256", self.password.encode(), self.salt, max(1, self.iterations)
        )
        client_key = hmac.digest(salted, b"Client Key", "sha256")
        signed = f"{bare},{first},{without_proof}".encode()
        signature = hmac.digest(hashlib.sha256(client_key).digest(), signed, "sha256")
        expected = bytes(a ^ b for a, b in zip(client_key, signature))
        right = base64.b64decode(proof) == expected and f",r={nonce}" in without_proof
        self.proofs.append(right)
        if not right:
            text = f'password authentication failed for user "{session.startup["user"]}"'
            session.send(messages.error("28P01", text, "FATAL"))
            return False
        server_key = hmac.digest(salted, b"Server Key", "sha256")
        final = "v=" + base64.b64encode(hmac.digest(server_key, signed, "sha256")).decode()
        if self.edit_final is not None:
            final = self.edit_final(final)
        session.send(messages.authentication(12, final.encode()))
        session.greet()
        return True
