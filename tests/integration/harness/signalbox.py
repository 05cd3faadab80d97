"""The process under test.

    box = Signalbox(standard_config(pg))   # started, box.port is known
    box.stop()                             # SIGTERM; must exit with 0 and print no sanitizer report

`standard_config` makes the configuration that most tests share: one connection `main` to `pg`, and
a route for each pool mode, named after it (`session`, `transaction`, `statement`), all onto the
server's database `app`. So one process serves the tests of every mode.
"""

import contextlib
import copy
import os
import pathlib
import re
import resource
import signal
import subprocess
import time

import psycopg

from .certs import Certificates
from .postgres import ROLES
from .processes import die_with_parent
from .raw_client import RawClient
from .toml_writer import to_toml
from .waiting import eventually, scratch

REPOSITORY = pathlib.Path(__file__).resolve().parents[3]
MODES = ("session", "transaction", "statement")
SANITIZER = re.compile(
    r"(ERROR: AddressSanitizer|ERROR: LeakSanitizer|WARNING: ThreadSanitizer|runtime error:"
    r"|SUMMARY: \w+Sanitizer|Assertion .* failed)"
)

_certificates = None
_count = 0


def binary():
    """The path of the binary; a clear failure when it is not there."""
    path = pathlib.Path(os.environ.get("SIGNALBOX_BINARY") or "build/release/signalbox")
    path = path if path.is_absolute() else REPOSITORY / path
    assert path.exists(), f"no binary at {path}: build it, or name one with SIGNALBOX_BINARY"
    return path


def is_instrumented():
    """Sanitizers change memory figures and speed: limits are wider in their presets' folders."""
    return binary().parent.name in ("asan", "tsan", "dev")


def client_certificates():
    """The CA of Signalbox's own server certificate and of its clients, once per run."""
    global _certificates
    if _certificates is None:
        _certificates = Certificates(scratch() / "signalbox-certs", "Signalbox")
    return _certificates


def merge(base, changes):
    """Tables are merged, everything else is replaced; None removes."""
    result = copy.deepcopy(base)
    for key, value in (changes or {}).items():
        if value is None:
            result.pop(key, None)
        elif isinstance(value, dict) and isinstance(result.get(key), dict):
            result[key] = merge(result[key], value)
        else:
            result[key] = copy.deepcopy(value)
    return result


def connection_to(server, changes=None):
    """A connection of the configuration file that leads to `server`."""
    target = {
        "type": "postgres",
        "host": "127.0.0.1",
        "port": server.port,
        "user": "app",
        "password": "app",
        "ssl_mode": "disable",
    }
    return merge(target, changes)


def standard_config(server, changes=None, route=None, connection=None, routes=None):
    """`route` goes into every route, `routes` maps further names to route settings."""
    certificate, key = client_certificates().server()
    config = {
        "listen": {"address": "127.0.0.1", "port": 0, "workers": 2},
        "tls": {
            "mode": "prefer",
            "certificate": str(certificate),
            "key": str(key),
            "client_ca": str(client_certificates().ca),
        },
        "auth": {"method": "scram-sha-256"},
        "secrets": {name: {"value": value} for name, value in ROLES.items() if value},
        "users": [{"name": name, "password": name} for name in ("app", "other")],
        "connections": {"main": connection_to(server, connection)},
        "routes": [],
        "console": {"port": 0},
        # Its control connections would be counted among the server's, by tests that count.
        "catalog": {"notices": False},
        "log": {"level": "info"},
    }
    named = {mode: {"pool_mode": mode} for mode in MODES}
    for name, own in {**named, **(routes or {})}.items():
        base = {"database": name, "connection": "main", "backend_database": "app"}
        config["routes"].append(merge(merge(base, route), own))
    return merge(config, changes)


@contextlib.contextmanager
def several(kind):
    """start(config, **arguments) starts one more of `kind`. All must end cleanly."""
    started = []

    def start(config, **options):
        started.append(kind(config, **options))
        return started[-1]

    yield start
    failures = []
    for process in started:
        try:
            process.stop()
        except AssertionError as error:
            failures.append(str(error))
    assert not failures, "\n".join(failures)


class Signalbox:
    """One process. `config` is a dict or TOML text; `wait=False` does not wait for `ready`.

    `wrapper`: a command that ends by executing the one behind it; it inherits `pass_fds`.
    """

    def __init__(
        self,
        config,
        env=None,
        nofile=None,
        wait=True,
        arguments=None,
        wrapper=(),
        pass_fds=(),
    ):
        global _count
        _count += 1
        self.folder = scratch() / f"box-{_count}"
        self.folder.mkdir()
        self.config_file = self.folder / "signalbox.toml"
        self.log = self.folder / "log"
        self.addresses = []
        self.old_logs = []
        self._stopped = False
        self._clients = []
        self._options = {
            "env": env,
            "nofile": nofile,
            "arguments": arguments,
            "wrapper": wrapper,
            "pass_fds": pass_fds,
        }
        self.write_config(config)
        self._launch(**self._options)
        if wait:
            self.wait_ready()

    def _launch(self, env, nofile, arguments, wrapper, pass_fds):
        arguments = arguments or ["serve", "--config", str(self.config_file)]
        command = [*map(str, wrapper), str(binary()), *arguments]

        def prepare():
            die_with_parent()
            if nofile is not None:
                soft, hard = nofile if isinstance(nofile, tuple) else (nofile, nofile)
                resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))

        with open(self.log, "wb") as log:
            # Its own folder: the default catalog is a file beside the configuration.
            self.process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=self.folder,
                env={**os.environ, **(env or {})},
                preexec_fn=prepare,
                pass_fds=pass_fds,
                start_new_session=True,
            )

    def close_clients(self):
        """Ends what raw() has opened: a test that failed must not hold a pool against the next."""
        for client in self._clients:
            client.terminate()
        self._clients.clear()

    def check_alive(self):
        """Fails when the process has ended by itself, and starts it anew for the tests behind."""
        if self._stopped or self.process.poll() is None:
            return
        text = (
            f"Signalbox ended by itself with {self.process.returncode}:\n{self.log_text()[-6000:]}"
        )
        self._launch(**self._options)
        self.wait_ready()
        raise AssertionError(text)

    def write_config(self, config):
        self.config = config
        text = config if isinstance(config, str) else to_toml(config)
        self.config_file.write_text(text)
        self.config_file.chmod(0o600)

    @property
    def pid(self):
        return self.process.pid

    @property
    def port(self):
        return self.addresses[0][1]

    def log_text(self):
        return self.log.read_text(errors="replace")

    def wait_ready(self, timeout=30):
        def ready():
            for line in self.log_text().splitlines():
                if re.search(r"\bready\b", line):
                    found = re.findall(r"(\[[0-9a-f:]+\]|\d+\.\d+\.\d+\.\d+):(\d+)", line)
                    if found:
                        return [(host.strip("[]"), int(port)) for host, port in found]
            if self.process.poll() is not None:
                raise RuntimeError(
                    f"Signalbox ended with {self.process.returncode} before it was ready:\n"
                    f"{self.log_text()[-3000:]}\n--- configuration\n{self.config_file.read_text()}"
                )
            return None

        self.addresses = eventually(ready, "Signalbox is ready", timeout)
        return self

    def send_signal(self, number):
        os.kill(self.pid, number)

    def reload(self, config=None):
        if config is not None:
            self.write_config(config)
        self.send_signal(signal.SIGHUP)

    def wait_log(self, pattern, timeout=10, since=0):
        """Waits until the log, from byte `since` on, has a match; returns it."""
        return eventually(
            lambda: re.search(pattern, self.log_text()[since:], re.I),
            f"the log has {pattern!r}:\n{self.log_text()[since:][-2000:]}",
            timeout,
        )

    def wait_exit(self, timeout=20):
        try:
            code = self.process.wait(timeout)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            raise AssertionError(
                f"Signalbox did not end within {timeout} s:\n{self.log_text()[-3000:]}"
            ) from None
        finally:
            self._stopped = True
        self.check_log()
        return code

    def check_log(self):
        text = self.log_text()
        found = SANITIZER.search(text)
        assert not found, f"the process complained:\n{text[max(0, found.start() - 200):][:6000]}"

    def stop(self, number=signal.SIGTERM, timeout=20):
        """Ends it, and asserts that it was alive and well until now."""
        if self._stopped:
            return
        code = self.process.poll()
        self._stopped = True
        self.close_clients()
        assert code is None, f"Signalbox ended by itself with {code}:\n{self.log_text()[-4000:]}"
        self.send_signal(number)
        started = time.monotonic()
        code = self.wait_exit(timeout)
        assert code == 0, f"exit status {code}:\n{self.log_text()[-3000:]}"
        return time.monotonic() - started

    def kill(self):
        """kill -9, while its clients are there; `start` brings it back."""
        os.kill(self.pid, signal.SIGKILL)
        self.process.wait()
        self._stopped = True
        self.close_clients()
        self.check_log()

    def start(self, config=None):
        """After stop() or kill(), in the same folder, where its catalog is."""
        assert self._stopped
        if config is not None:
            self.write_config(config)
        self.old_logs.append(self.log)
        self.log = self.folder / f"log-{len(self.old_logs)}"
        self._stopped = False
        self._launch(**self._options)
        return self.wait_ready()

    def restart(self, config=None):
        self.stop()
        return self.start(config)

    def all_logs(self):
        return "".join(path.read_text(errors="replace") for path in (*self.old_logs, self.log))

    def connect(self, database="transaction", user="app", **options):
        """A psycopg connection in autocommit, without prepared statements unless asked."""
        keywords = {
            "host": "127.0.0.1",
            "port": self.port,
            "user": user,
            "dbname": database,
            "password": ROLES.get(user),
            "sslmode": "disable",
            "connect_timeout": 10,
            "autocommit": True,
            "prepare_threshold": None,
            **options,
        }
        return psycopg.connect(**keywords)

    def raw(
        self, database="transaction", user="app", password=None, tls=None, timeout=10, **startup
    ):
        """A logged-in RawClient."""
        client = RawClient("127.0.0.1", self.port, tls=tls, timeout=timeout)
        self._clients.append(client)
        try:
            client.login(user, database, password or ROLES.get(user), **startup)
        except Exception:
            client.close()
            raise
        return client

    def __enter__(self):
        return self

    def __exit__(self, kind, *_):
        if kind is None:
            self.stop()
        elif self.process.poll() is None:
            # The test has failed already: its error is the one to show.
            self.process.kill()
            self.process.wait()
            self._stopped = True
