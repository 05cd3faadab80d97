"""Processes that hold a store each (tests/unit/store_driver.cpp), and a gate to cut them off."""

import json
import os
import pathlib
import select
import signal
import socket
import subprocess
import threading
import time

from harness.processes import die_with_parent

ROOT = pathlib.Path(__file__).resolve().parents[3]
BINARY = pathlib.Path(os.environ.get("SIGNALBOX_BINARY", ROOT / "build/release/signalbox"))
DRIVER = BINARY.parent / "tests/unit/signalbox_store_driver"


class StoreError(Exception):
    """The store is away, or refuses."""


class ConcurrentChange(Exception):
    """Another was faster."""


class StoreProcess:
    """`call("load")` and the like; `send()` and `receive()` are its two halves."""

    def __init__(self, url, password=None, wait=True):
        """Opens the store; with `wait` off, the answer is still to be received."""
        assert DRIVER.exists(), f"not built: {DRIVER}"
        self._process = subprocess.Popen(
            [str(DRIVER)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            bufsize=1,
            preexec_fn=die_with_parent,
        )
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
        self._process.stdin.write(json.dumps({"do": what, **arguments}) + "\n")
        self._process.stdin.flush()

    def line(self, timeout=20):
        """The next line, or None at the end."""
        ready, _, _ = select.select([self._process.stdout], [], [], timeout)
        assert ready, "the process with the store does not answer"
        return self._process.stdout.readline() or None

    def receive(self, timeout=20):
        line = self.line(timeout)
        assert line is not None, f"the process ended: {self._process.wait()}"
        answer = json.loads(line)
        self.milliseconds = answer.pop("ms")
        error, text = answer.pop("error", None), answer.pop("text", "")
        if error == "store":
            raise StoreError(text)
        if error == "concurrent":
            raise ConcurrentChange(text)
        assert error is None, f"{error}: {text}"
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

    def stop(self):
        os.kill(self.pid, signal.SIGSTOP)

    def resume(self):
        os.kill(self.pid, signal.SIGCONT)

    def kill(self):
        """kill -9, and what it had still printed."""
        self._process.kill()
        rest = self._process.stdout.read()
        self._process.wait()
        return rest

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


class Gate:
    """Passes connections on to `port`; while shut, bytes go nowhere and nobody is told."""

    def __init__(self, port):
        self._target = port
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        self._is_open = threading.Event()
        self._is_open.set()
        self._ends = False
        self._sockets = []
        threading.Thread(target=self._accept, daemon=True).start()

    def shut(self):
        self._is_open.clear()

    def open(self):
        self._is_open.set()

    def close(self):
        self._ends = True
        self.open()
        for sock in [self._listener, *self._sockets]:
            try:
                sock.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass
            sock.close()

    def _accept(self):
        while not self._ends:
            try:
                client, _ = self._listener.accept()
                server = socket.create_connection(("127.0.0.1", self._target))
            except OSError:
                return
            self._sockets += [client, server]
            for pair in ((client, server), (server, client)):
                threading.Thread(target=self._pass, args=pair, daemon=True).start()

    def _pass(self, source, target):
        try:
            while data := source.recv(65536):
                self._is_open.wait()
                target.sendall(data)
            self._is_open.wait()
            target.shutdown(socket.SHUT_WR)
        except OSError:
            pass


def seconds_until(condition, timeout, message):
    """How long it took."""
    begin = time.monotonic()
    while not condition():
        assert time.monotonic() - begin < timeout, f"not within {timeout} s: {message}"
        time.sleep(0.05)
    return time.monotonic() - begin
