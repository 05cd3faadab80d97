"""A private PostgreSQL, 15 unless told: one initdb per run and version, copied for every cluster.

    pg = Postgres("main")            # started; pg.port, pg.socket_dir, pg.folder
    pg.admin("SELECT 1")             # as superuser over the Unix socket, rows as tuples
    pg.kill(); pg.start(); pg.freeze(); pg.thaw(); pg.stop()
    copy = Postgres("copy", standby_of=pg); copy.promote()       # a hot standby of a running one
    old = Postgres("old", version=14)                            # see VERSIONS

The name of a role says how it logs in over TCP, so one cluster serves every authentication test:
see ROLES and HBA. The databases `app` and `other` belong to `app`.
"""

import contextlib
import os
import pathlib
import shutil
import signal
import subprocess
import time

import psycopg
import pytest

from .certs import Certificates
from .processes import children, die_with_parent, is_alive
from .waiting import eventually, free_port, scratch

BIN = pathlib.Path(os.environ.get("PG_BIN", "/usr/lib/postgresql/15/bin")).resolve()

# 15 is Debian's (BIN), the others come from scripts/fetch_servers: postgres and initdb only, without
# psql and pg_basebackup.
VERSIONS = (14, 15, 16, 17, 18)
SERVERS = pathlib.Path(__file__).resolve().parents[3] / "build" / "servers"

# Passwords are long and odd, so that a search for them in a log means something.
ROLES = {
    "app": "app-Pw-91c0ffee",
    "other": "other-Pw-5eed77",
    "trust_user": None,
    "password_user": "password-Pw-04d1ce",
    "md5_user": "md5-Pw-7ab1e5",
    "scram_user": "scram-Pw-3ff0c1",
    "cert_user": None,
    "ssl_user": "ssl-Pw-b00710",
    "nossl_user": "nossl-Pw-6a51de",
    "reader": "reader-Pw-2d1a11",
}

HBA = """\
local    all all           trust
local    replication all   trust
host     all postgres      127.0.0.1/32 trust
host     all trust_user    127.0.0.1/32 trust
host     all password_user 127.0.0.1/32 password
host     all md5_user      127.0.0.1/32 md5
hostssl  all cert_user     127.0.0.1/32 cert
hostssl  all ssl_user      127.0.0.1/32 scram-sha-256
hostnossl all nossl_user   127.0.0.1/32 scram-sha-256
host     all all           127.0.0.1/32 scram-sha-256
"""

SETTINGS = {
    "listen_addresses": "127.0.0.1",
    "fsync": "off",
    "full_page_writes": "off",
    "synchronous_commit": "off",
    "autovacuum": "off",
    "max_connections": "200",
    "shared_buffers": "64MB",
    "max_wal_size": "4GB",
    "timezone": "UTC",
    "log_timezone": "UTC",
    "ssl": "on",
    "password_encryption": "scram-sha-256",
    "max_prepared_transactions": "10",
    "max_locks_per_transaction": "256",
}

_programs = {}
_templates = {}
_certificates = None


def server_certificates():
    """The CA that signs every test server, once per run."""
    global _certificates
    if _certificates is None:
        _certificates = Certificates(scratch() / "postgres-certs", "PostgreSQL")
    return _certificates


def _account():
    """PostgreSQL refuses to run as root: then the account postgres runs it."""
    if os.getuid() != 0:
        return {}
    return {"user": "postgres", "group": "postgres", "extra_groups": []}


def _own(path):
    if os.getuid() == 0:
        shutil.chown(path, "postgres", "postgres")


def _run(command, text=None, cwd="/"):
    done = subprocess.run(
        [str(part) for part in command],
        input=text,
        capture_output=True,
        text=True,
        cwd=cwd,
        **_account(),
    )
    assert done.returncode == 0, f"{command[0]} failed:\n{done.stdout}\n{done.stderr}"


def _original(version):
    return BIN if version == 15 else SERVERS / str(version) / "bin"


def is_installed(version):
    return (_original(version) / "initdb").exists()


def programs(version):
    """The folder of a version's programs, which the account that runs it can reach."""
    if version not in _programs:
        folder = _original(version)
        assert is_installed(version), f"no {folder}/initdb: scripts/install run servers"
        reached = subprocess.run(["test", "-x", folder / "initdb"], **_account())
        if reached.returncode != 0:
            copy = scratch() / f"server-{version}"
            subprocess.run(["cp", "-a", folder.parent, copy], check=True)
            folder = copy / folder.name
        _programs[version] = folder
    return _programs[version]


def _make_template(version):
    if version in _templates:
        return _templates[version]
    bin_folder = programs(version)
    home = scratch() / f"template-{version}"
    home.mkdir()
    _own(home)
    data = home / "data"
    _run(
        [
            bin_folder / "initdb",
            "-D",
            data,
            "-U",
            "postgres",
            "-A",
            "trust",
            "-E",
            "UTF8",
            "--locale=C.UTF-8",
            "--no-sync",
        ]
    )
    (data / "pg_hba.conf").write_text(HBA)
    certificate, key = server_certificates().server("postgres")
    for source, name in ((certificate, "server.crt"), (key, "server.key")):
        shutil.copy(source, data / name)
        (data / name).chmod(0o600)
        _own(data / name)
    shutil.copy(server_certificates().ca, data / "root.crt")
    (data / "root.crt").chmod(0o644)

    script = []
    for role, password in ROLES.items():
        if role == "md5_user":
            script.append("SET password_encryption = 'md5'")
        script.append(f"CREATE ROLE {role} LOGIN" + (f" PASSWORD '{password}'" if password else ""))
        if role == "md5_user":
            script.append("RESET password_encryption")
    script += ["GRANT pg_read_all_stats TO app", "GRANT other TO app"]
    script += ["CREATE DATABASE app OWNER app", "CREATE DATABASE other OWNER app"]
    # The rights on a shared catalog are each database's own.
    rights = ["GRANT SELECT ON pg_authid, pg_shadow TO reader"]
    # Single-user mode ends a statement at a newline.
    for database, lines in (("postgres", script), ("app", rights)):
        _run(
            [bin_folder / "postgres", "--single", "-F", "-D", data, database],
            text="\n".join(lines) + "\n",
        )
    _templates[version] = data
    return data


class Postgres:
    """One cluster. `settings` go to postgresql.conf; `hba` replaces pg_hba.conf."""

    def __init__(self, name, settings=None, hba=None, start=True, standby_of=None, version=15):
        self.version = version
        self.folder = scratch() / f"pg-{name}"
        self.folder.mkdir()
        _own(self.folder)
        self.data = self.folder / "data"
        self.log = self.folder / "log"
        self.socket_dir = self.folder
        self.port = free_port()
        self.certificates = server_certificates()
        self._process = None
        if standby_of is None:
            # The copy keeps owners and modes, which PostgreSQL checks.
            subprocess.run(["cp", "-a", _make_template(version), self.data], check=True)
        else:
            _run(
                [BIN / "pg_basebackup", "-h", standby_of.socket_dir, "-p", standby_of.port]
                + ["-U", "postgres", "-D", self.data, "-R", "-X", "stream", "-c", "fast"]
                + ["--no-sync"]
            )
        values = {
            **SETTINGS,
            "port": self.port,
            "unix_socket_directories": self.folder,
            "ssl_ca_file": "root.crt",
            **(settings or {}),
        }
        with open(self.data / "postgresql.conf", "a", encoding="utf-8") as file:
            for key, value in values.items():
                file.write(f"{key} = '{value}'\n")
        if hba is not None:
            (self.data / "pg_hba.conf").write_text(hba)
        if start:
            self.start()

    @property
    def is_running(self):
        return self._process is not None

    @property
    def pid(self):
        assert self._process is not None, "this PostgreSQL is not running"
        return self._process.pid

    def start(self, timeout=30):
        assert self._process is None
        # A killed postmaster leaves its pid file and socket lock behind; both name a dead process.
        for stale in (self.data / "postmaster.pid", self.folder / f".s.PGSQL.{self.port}.lock"):
            stale.unlink(missing_ok=True)
        with open(self.log, "ab") as log:
            self._process = subprocess.Popen(
                [str(programs(self.version) / "postgres"), "-D", str(self.data)],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd="/",
                start_new_session=True,
                preexec_fn=lambda: die_with_parent(signal.SIGQUIT),
                **_account(),
            )

        def ready():
            if self._process.poll() is not None:
                raise RuntimeError(f"PostgreSQL ended while starting:\n{self.log_text()[-3000:]}")
            try:
                line = (self.data / "postmaster.pid").read_text().splitlines()
            except OSError:
                return False
            return len(line) > 7 and line[7].strip() == "ready"

        eventually(ready, "PostgreSQL is ready", timeout)
        return self

    def stop(self, mode=signal.SIGINT, timeout=30):
        """Fast shutdown by default: sessions are ended, data is kept."""
        if self._process is None:
            return
        self.thaw()
        os.kill(self.pid, mode)
        try:
            self._process.wait(timeout)
        except subprocess.TimeoutExpired:
            self.kill()
        self._process = None

    def restart(self):
        self.stop()
        self.start()

    def promote(self):
        """A standby becomes a primary; returns once it is one."""
        assert self.admin("SELECT pg_promote(true, 30)", database="postgres") == [(True,)]

    def kill(self):
        """kill -9 of the postmaster and of everything it has started: nobody says goodbye."""
        family = [self.pid, *children(self.pid)]
        for pid in family:
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                pass
        self._process.wait()
        self._process = None
        eventually(lambda: not any(map(is_alive, family)), "the killed processes are gone")

    def freeze(self):
        """SIGSTOP: connections stay open and the port accepts, but nobody answers."""
        self._signal_family(signal.SIGSTOP)

    def thaw(self):
        self._signal_family(signal.SIGCONT)

    def _signal_family(self, number):
        # The postmaster first, so that it starts no further child behind our back.
        os.kill(self.pid, number)
        for pid in children(self.pid):
            try:
                os.kill(pid, number)
            except ProcessLookupError:
                pass

    def admin_connection(self, database="app"):
        """A psycopg connection as superuser over the Unix socket, in autocommit."""
        return psycopg.connect(
            host=str(self.socket_dir),
            port=self.port,
            user="postgres",
            dbname=database,
            autocommit=True,
            connect_timeout=10,
        )

    def admin(self, sql, parameters=None, database="app"):
        """Runs one statement as superuser and returns its rows."""
        with self.admin_connection(database) as connection:
            cursor = connection.execute(sql, parameters)
            return cursor.fetchall() if cursor.description else []

    def backends(self, where="true", database="app"):
        """Rows (pid, usename, application_name, state, query): the clients of `database`."""
        return self.admin(
            "SELECT pid, usename::text, application_name, state, query FROM pg_stat_activity "
            "WHERE backend_type = 'client backend' AND pid <> pg_backend_pid() "
            f"AND datname = '{database}' AND ({where}) ORDER BY pid",
            database="postgres",
        )

    def log_text(self):
        return self.log.read_text(errors="replace") if self.log.exists() else ""

    def remove(self):
        """Stops it and frees its disk space at once."""
        started = time.monotonic()
        self.stop()
        assert time.monotonic() - started < 31
        if not os.environ.get("SIGNALBOX_KEEP"):
            shutil.rmtree(self.folder, ignore_errors=True)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.remove()


@contextlib.contextmanager
def installed(version, name):
    """A server of that version; what needs it is skipped where there is none."""
    if not is_installed(version):
        pytest.skip(f"no PostgreSQL {version}: scripts/fetch_servers")
    with Postgres(f"{name}-{version}", version=version) as made:
        yield made
