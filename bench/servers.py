"""The servers under test: a private PostgreSQL, PgBouncer and Signalbox in front of it, all on loopback.

Each lives in a folder of its own below the harness' temporary folder, on a free port, and is stopped by its process
id. Both proxies get the same certificate, the same pool size, the same kind of secret for the client (a SCRAM
verifier, or the plain password) and the password towards the server. Neither logs logins.
"""

import json
import os
import pathlib
import pwd
import random
import re
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import time

import libpq

PG_BIN = pathlib.Path(os.environ.get("PG_BIN", "/usr/lib/postgresql/15/bin"))
POOL_SIZE = 20
USER = "bench"

# What a target's route is called: pgbench's prepared mode needs a session's own server connection on PgBouncer 1.18.
TRANSACTION, SESSION = "bench", "bench_session"
# Signalbox's alone: statements pass as they are.
UNHANDLED = "bench_unhandled"


class Failure(Exception):
    """A sentence for the person at the terminal."""


def run_as_program(main):
    """SIGTERM ends it as Ctrl-C does, so that the servers are stopped."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        main()
    except Failure as failure:
        print(f"error: {failure}", file=sys.stderr)
        sys.exit(1)
    except KeyboardInterrupt:
        sys.exit(130)


def free_port():
    """A port nobody listens on, below the range from which outgoing connections are numbered."""
    for _ in range(100):
        port = random.randint(20000, 29999)
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
                return port
            except OSError:
                pass
    raise Failure("no free port between 20000 and 29999")


def account():
    """Popen's arguments for programs that refuse to run as root."""
    if os.geteuid() != 0:
        return {}
    entry = pwd.getpwnam("postgres")
    return {"user": entry.pw_uid, "group": entry.pw_gid, "extra_groups": []}


def own(path):
    """Gives a file or folder to that account."""
    if os.geteuid() == 0:
        entry = pwd.getpwnam("postgres")
        os.chown(path, entry.pw_uid, entry.pw_gid)


class Server:
    """A process, and how to connect to it."""

    name = ""
    process = None
    port = 0
    password = ""

    def parameters(self, database=TRANSACTION, tls=False):
        return {
            "host": "127.0.0.1",
            "port": self.port,
            "user": USER,
            "password": self.password,
            "dbname": database,
            "sslmode": "require" if tls else "disable",
            "gssencmode": "disable",
            "connect_timeout": 20,
        }

    def environment(self, database=TRANSACTION):
        """The same for programs that read libpq's environment."""
        return {
            "PATH": os.environ.get("PATH", "/usr/bin:/bin"),
            "LC_ALL": "C.UTF-8",
            "PGHOST": "127.0.0.1",
            "PGPORT": str(self.port),
            "PGUSER": USER,
            "PGPASSWORD": self.password,
            "PGDATABASE": database,
            "PGSSLMODE": "disable",
            "PGGSSENCMODE": "disable",
        }

    def launch(self, arguments, log, as_account=True):
        with open(log, "wb") as output:
            self.process = subprocess.Popen(
                [str(argument) for argument in arguments],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                cwd="/",
                **(account() if as_account else {}),
            )

    def wait_until_answering(self, log, seconds=30):
        end = time.monotonic() + seconds
        while True:
            try:
                with libpq.Connection(**self.parameters()) as connection:
                    connection.execute("SELECT 1")
                return
            except libpq.Error as error:
                if self.process.poll() is not None or time.monotonic() > end:
                    text = pathlib.Path(log).read_text(errors="replace")[-2000:]
                    self.stop()
                    raise Failure(f"{self.name} did not start: {error}\n{text}") from None
                time.sleep(0.05)

    def stop(self, first=signal.SIGTERM):
        if self.process is None:
            return
        for number in (first, signal.SIGTERM, signal.SIGKILL):
            if self.process.poll() is not None:
                break
            self.process.send_signal(number)
            try:
                self.process.wait(10)
            except subprocess.TimeoutExpired:
                pass
        self.process = None


class PostgreSQL(Server):
    """Durability is off: the disk is not what is measured."""

    name = "direct"

    def __init__(self, folder, max_connections=200):
        self.folder = folder / "postgres"
        self.folder.mkdir(mode=0o700)
        own(self.folder)
        self.password = secrets.token_hex(16)
        self.max_connections = max_connections

    def start(self):
        password_file = self.folder / "password"
        password_file.touch(mode=0o600)
        password_file.write_text(self.password + "\n")
        own(password_file)
        data = self.folder / "data"
        made = subprocess.run(
            [PG_BIN / "initdb", "-D", data, "-U", USER, "-A", "scram-sha-256", f"--pwfile={password_file}", "-E", "UTF8"]
            + ["--locale=C.UTF-8", "--no-sync"],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            cwd="/",
            check=False,
            **account(),
        )
        if made.returncode:
            raise Failure("initdb failed:\n" + made.stdout.decode(errors="replace"))
        self.port = free_port()
        settings = {
            "listen_addresses": "127.0.0.1",
            "port": self.port,
            "unix_socket_directories": "",
            "max_connections": self.max_connections,
            "shared_buffers": "512MB",
            "fsync": "off",
            "synchronous_commit": "off",
            "full_page_writes": "off",
            "max_wal_size": "8GB",
            "checkpoint_timeout": "1h",
            "autovacuum": "off",
            "jit": "off",
            "log_min_messages": "fatal",
        }
        log = self.folder / "log"
        self.launch(
            [PG_BIN / "postgres", "-D", data] + [f"--{name}={value}" for name, value in settings.items()], log
        )
        end = time.monotonic() + 60
        while True:
            try:
                with libpq.Connection(**self.parameters("postgres")) as connection:
                    connection.execute(f"CREATE DATABASE {TRANSACTION}")
                break
            except libpq.Error as error:
                if self.process.poll() is not None or time.monotonic() > end:
                    text = log.read_text(errors="replace")[-2000:]
                    raise Failure(f"PostgreSQL did not start: {error}\n{text}") from None
                time.sleep(0.1)

    def parameters(self, database=TRANSACTION, tls=False):
        return super().parameters(TRANSACTION if database == SESSION else database, False)

    def environment(self, database=TRANSACTION):
        return super().environment(TRANSACTION)

    def verifier(self):
        """What PostgreSQL itself stores for the role: SCRAM-SHA-256$4096:…"""
        with libpq.Connection(**self.parameters()) as connection:
            return connection.execute(f"SELECT rolpassword FROM pg_authid WHERE rolname = '{USER}'")

    def stop(self, first=signal.SIGINT):  # fast shutdown
        super().stop(first)


class Proxy(Server):
    """What both proxies are told. `client_secret` is the verifier or the plain password."""

    def __init__(self, folder, target, certificates, client_secret, max_clients):
        self.folder = folder / self.name
        self.folder.mkdir(mode=0o700, exist_ok=True)
        own(self.folder)
        self.target = target
        self.password = target.password
        self.certificates = certificates
        self.client_secret = client_secret
        self.max_clients = max_clients

    def write(self, name, text):
        path = self.folder / name
        path.unlink(missing_ok=True)
        path.touch(mode=0o600)
        path.write_text(text)
        own(path)
        return path


class PgBouncer(Proxy):
    name = "pgbouncer"

    @staticmethod
    def program():
        return shutil.which("pgbouncer", path=os.environ.get("PATH", "") + ":/usr/sbin")

    @classmethod
    def version(cls):
        text = subprocess.run([cls.program(), "--version"], stdout=subprocess.PIPE, check=True).stdout.decode()
        return text.splitlines()[0]

    def start(self):
        self.port = free_port()
        for name in ("server.crt", "server.key"):
            self.write(name, (self.certificates / name).read_text())
        users = self.write("users.txt", f'"{USER}" "{self.client_secret}"\n')
        server = f"host=127.0.0.1 port={self.target.port} dbname={TRANSACTION} user={USER} password={self.password}"
        log = self.folder / "log"
        configuration = self.write(
            "pgbouncer.ini",
            f"""[databases]
{TRANSACTION} = {server} pool_mode=transaction
{SESSION} = {server} pool_mode=session

[pgbouncer]
listen_addr = 127.0.0.1
listen_port = {self.port}
unix_socket_dir =
auth_type = scram-sha-256
auth_file = {users}
default_pool_size = {POOL_SIZE}
max_client_conn = {self.max_clients}
client_tls_sslmode = allow
client_tls_cert_file = {self.folder}/server.crt
client_tls_key_file = {self.folder}/server.key
server_tls_sslmode = disable
log_connections = 0
log_disconnections = 0
log_stats = 0
""",
        )
        self.launch([self.program(), "-q", configuration], log)
        self.wait_until_answering(log)


class Signalbox(Proxy):
    name = "signalbox"
    binary = None
    roles = []  # of the client, in Signalbox
    sections = ""  # behind the others

    @classmethod
    def version(cls):
        text = subprocess.run([cls.binary, "--version"], stdout=subprocess.PIPE, check=False).stdout.decode()
        return text.strip() or "signalbox"

    def start(self):
        self.port = free_port()
        log = self.folder / "log"
        is_verifier = re.match(r"SCRAM-SHA-256\$", self.client_secret)
        user_secret = f'verifier = "{self.client_secret}"' if is_verifier else 'password = "bench_pw"'
        configuration = self.write(
            "signalbox.toml",
            f"""[listen]
address = "127.0.0.1"
port = {self.port}
max_clients = {self.max_clients}
workers = 1

[tls]
mode = "prefer"
certificate = "{self.certificates}/server.crt"
key = "{self.certificates}/server.key"

[auth]
method = "scram-sha-256"

[secrets]
bench_pw = {{ value = "{self.password}" }}

[[users]]
name = "{USER}"
{user_secret}
roles = {json.dumps(self.roles)}

[connections.main]
type = "postgres"
host = "127.0.0.1"
port = {self.target.port}
user = "{USER}"
password = "bench_pw"
ssl_mode = "disable"

[[routes]]
database = "{TRANSACTION}"
connection = "main"
pool_mode = "transaction"
pool_size = {POOL_SIZE}

[[routes]]
database = "{SESSION}"
connection = "main"
backend_database = "{TRANSACTION}"
pool_mode = "session"
pool_size = {POOL_SIZE}

[[routes]]
database = "{UNHANDLED}"
connection = "main"
backend_database = "{TRANSACTION}"
pool_mode = "transaction"
pool_size = {POOL_SIZE}
statement_handling = false

[log]
level = "warn"

{self.sections}
""",
        )
        # As ourselves: the binary may lie where the other account cannot reach.
        self.launch([self.binary, "serve", "--config", configuration], log, as_account=False)
        self.wait_until_answering(log)
