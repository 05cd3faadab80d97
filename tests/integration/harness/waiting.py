"""Deadlines instead of sleeps, free ports, and the run's temporary folder."""

import atexit
import os
import pathlib
import random
import shutil
import socket
import tempfile
import time

_scratch = None


def scratch():
    """The run's temporary folder, removed at exit; SIGNALBOX_KEEP=1 leaves it for a look at logs.

    The account postgres must be able to pass through it, and a socket's path has 107 bytes at most:
    hence mode 0711 and /tmp, or what SIGNALBOX_SCRATCH says.
    """
    global _scratch
    if _scratch is None:
        folder = os.environ.get("SIGNALBOX_SCRATCH", "/tmp")
        _scratch = pathlib.Path(tempfile.mkdtemp(prefix="signalbox-test-", dir=folder))
        _scratch.chmod(0o711)
        owner = os.getpid()

        def remove():
            if os.getpid() == owner and not os.environ.get("SIGNALBOX_KEEP"):
                shutil.rmtree(_scratch, ignore_errors=True)

        atexit.register(remove)
    return _scratch


def free_port():
    """A port on which nobody listens, below the range of the ports of outgoing connections."""
    for _ in range(200):
        port = random.randint(20000, 29999)
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port
    raise RuntimeError("no free port between 20000 and 29999")


def eventually(check, what, timeout=10.0, interval=0.02):
    """Calls `check` until it returns something true, and returns that; fails after `timeout`."""
    deadline = time.monotonic() + timeout
    last = None
    while True:
        try:
            last = check()
            if last:
                return last
        except AssertionError as error:
            last = error
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {timeout} s: {what} (last: {last!r})")
        time.sleep(interval)
