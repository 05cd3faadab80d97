"""Processes that hold a store each: tests/unit/store_driver.cpp, which says what it can be told."""

import json
import os
import pathlib
import select
import subprocess

from harness.processes import die_with_parent

ROOT = pathlib.Path(__file__).resolve().parents[3]
BINARY = pathlib.Path(os.environ.get("SIGNALBOX_BINARY", ROOT / "build/release/signalbox"))
DRIVER = BINARY.parent / "tests/unit/signalbox_store_driver"


class Refused(Exception):
    """`kind` is "store", "concurrent" or a SQLSTATE."""

    def __init__(self, kind, text):
        super().__init__(f"{kind}: {text}")
        self.kind = kind


class StoreProcess:
    """call("load_notices", since=3) and the like; send() and receive() are its two halves."""

    def __init__(self, url, password):
        assert DRIVER.exists(), f"not built: {DRIVER}"
        self._process = subprocess.Popen(
            [str(DRIVER)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            bufsize=0,
            preexec_fn=die_with_parent,
        )
        self._unread = b""
        self.milliseconds = 0  # how long the last call took, inside
        self.call("open", url=url, password=password)

    def send(self, what, **arguments):
        line = json.dumps({"do": what, **arguments}).encode() + b"\n"
        while line:
            line = line[self._process.stdin.write(line) :]

    def receive(self, timeout=30):
        while b"\n" not in self._unread:
            ready, _, _ = select.select([self._process.stdout], [], [], timeout)
            assert ready, "the process with the store does not answer"
            more = os.read(self._process.stdout.fileno(), 1 << 20)
            assert more, f"the process ended: {self._process.wait()}"
            self._unread += more
        line, _, self._unread = self._unread.partition(b"\n")
        answer = json.loads(line)
        self.milliseconds = answer.pop("ms")
        if "error" in answer:
            raise Refused(answer["error"], answer["text"])
        return answer

    def call(self, what, **arguments):
        self.send(what, **arguments)
        return self.receive()

    def put(self, seen, *put, remove=(), text="words"):
        """Writes notices; returns the new version."""
        return self.call(
            "put_notices", put=put, remove=list(remove), text=text, seen=seen
        )["version"]

    def load(self, since=None):
        found = self.call("load_notices", **({} if since is None else {"since": since}))
        for key in ("notices", "texts", "removed"):
            found[key].sort()
        return found

    def known(self):
        """Of its catalog of notices: {fingerprint: notice}."""
        return {each["fingerprint"]: each for each in self.call("notices")["notices"]}

    def news(self, milliseconds):
        """Waits; (is something new, about connections, about notices)."""
        found = self.call("wait", ms=milliseconds)
        return found["changed"], found["connections"], found["notices"]

    def kill(self):
        self._process.kill()
        self._process.wait()

    def close(self):
        if self._process.poll() is None:
            self._process.stdin.close()
            try:
                self._process.wait(10)
            except subprocess.TimeoutExpired:
                self.kill()
        self._process.stdout.close()
