"""Signalboxes of this folder: who may do what, a configuration, and a process that can come back.

The users are roles of the test server, so their passwords are in harness.postgres.ROLES:

    BOSS     superuser by role list
    PLAIN    no role; ANYONE is another one
    HELPER   support
    postgres is the server's own superuser; only a route whose connection has no user shows it
"""

import os
import re
import socket
import threading

from harness import Signalbox
from harness.replies import TEXT, TIMESTAMPTZ, rows
from harness.signalbox import connection_to, merge, standard_config

BOSS, PLAIN, ANYONE, HELPER = "app", "other", "scram_user", "reader"
POLICIES = ("pass", "split_on_rpc", "split", "single")

USERS = [
    {"name": BOSS, "password": BOSS, "roles": ["superuser"]},
    {"name": PLAIN, "password": PLAIN},
    {"name": ANYONE, "password": ANYONE},
    {"name": HELPER, "password": HELPER, "roles": ["support"]},
    {"name": "postgres", "password": "postgres_here"},
]
POSTGRES_PASSWORD = "postgres-Pw-50f7e2"

# Ends of statements: where to, and that nobody is to try it.
TO = "TO POSTGRES (HOST 'h')"
UNCHECKED = "WITH (VALIDATE = false)"

# Checks so rare that a test sees one at most, and so frequent that it sees some. No result is
# remembered for long: what is asked for happens.
NO_CHECKS = {"interval": "1h", "window": "1ms", "failure_window": "1ms"}
QUICK_CHECKS = {"interval": "300ms", "window": "100ms", "failure_window": "100ms"}

# The statements that show something, and their columns.
STATUS_COLUMNS = [
    ("id", TEXT),
    ("name", TEXT),
    ("type", TEXT),
    ("last_status_change_at", TIMESTAMPTZ),
    ("status", TEXT),
    ("error", TEXT),
]
SHOWS = {
    "SHOW CONNECTIONS": [("name", TEXT), ("type", TEXT), ("owner", TEXT), ("status", TEXT)],
    "show connections like 'ma%'": [
        ("name", TEXT),
        ("type", TEXT),
        ("owner", TEXT),
        ("status", TEXT),
    ],
    "SHOW CREATE CONNECTION main": [("name", TEXT), ("create_sql", TEXT)],
    "SHOW CONNECTION STATUS": STATUS_COLUMNS,
    "Show /* a */ Connection Status For main;": STATUS_COLUMNS,
    "SHOW CONNECTION HISTORY": [
        ("name", TEXT),
        ("connection_id", TEXT),
        ("status", TEXT),
        ("occurred_at", TIMESTAMPTZ),
        ("error", TEXT),
    ],
    "SHOW CONNECTION HISTORY FOR main": [
        ("name", TEXT),
        ("connection_id", TEXT),
        ("status", TEXT),
        ("occurred_at", TIMESTAMPTZ),
        ("error", TEXT),
    ],
}


def config(server, changes=None, checks=None, **more):
    """standard_config with the users above, and a route `policy_…` for every statement policy."""
    routes = {f"policy_{p}": {"pool_mode": "transaction", "multi_statement": p} for p in POLICIES}
    more["routes"] = {**routes, **more.get("routes", {})}
    more["route"] = {"query_wait_timeout": "10s", **more.get("route", {})}
    tables = standard_config(server, **more)
    own = {
        "users": USERS,
        "secrets": {"postgres_here": {"value": POSTGRES_PASSWORD}},
        "availability": checks or NO_CHECKS,
    }
    return merge(merge(tables, own), changes)


def to(server, **changes):
    """A connection of the configuration file that leads to `server`."""
    return connection_to(server, changes)


def create(name, port, options="", validate=False, host="127.0.0.1"):
    """The text of a CREATE CONNECTION that logs in as the role app."""
    return (
        f"CREATE CONNECTION {name} TO POSTGRES (HOST '{host}', PORT {port}, DATABASE 'app', "
        f"USER 'app', PASSWORD SECRET app, SSL MODE 'disable'{options}) "
        f"WITH (VALIDATE = {str(validate).lower()})"
    )


def names(client):
    """Of all connections, as SHOW has them."""
    return [row[0] for row in rows(client.query("SHOW CONNECTIONS"))]


def usable(client):
    assert client.value("SELECT 'usable'") == "usable"


def options_of(create_sql):
    """The options of a create_sql in its order: {NAME: value without quotes}."""
    inside = re.fullmatch(r"CREATE CONNECTION \S+ TO POSTGRES \((.*)\)", create_sql, re.S)
    assert inside, create_sql
    found = re.findall(r"([A-Z][A-Z ]*[A-Z]) = ('(?:[^']|'')*'|[^,]+)(?:, |$)", inside.group(1))
    options = {name: value.strip("'").replace("''", "'") for name, value in found}
    assert len(options) == len(found), create_sql
    return options


class Box(Signalbox):
    """A Signalbox with one-line questions, each on a session of its own unless `client` is given."""

    def run(self, sql, user=BOSS, route="transaction", timeout=30):
        """Rows, or the command's tag. psycopg waits for ever: so the socket is cut at the end."""
        with self.connect(route, user) as connection:
            twin = socket.socket(fileno=os.dup(connection.fileno()))
            limit = threading.Timer(timeout, twin.shutdown, [socket.SHUT_RDWR])
            limit.daemon = True
            limit.start()
            try:
                cursor = connection.execute(sql)
                return cursor.fetchall() if cursor.description else cursor.statusmessage
            finally:
                limit.cancel()
                limit.join()
                twin.close()

    def create_sql(self, name):
        return self.run(f"SHOW CREATE CONNECTION {name}")[0][1]

    def options(self, name):
        return options_of(self.create_sql(name))

    def facts(self, name):
        """(create_sql, generation, altered_at, owner, id) of the table; None: not there."""
        rows = self.run(
            "SELECT create_sql, generation, altered_at, owner, id "
            f"FROM mz_catalog.mz_connections WHERE name = '{name}'"
        )
        assert len(rows) < 2, rows
        return rows[0] if rows else None

    def generation(self, name):
        return self.facts(name)[1]

    def status(self, name):
        """(status, error) as SHOW has them: it works with every server down, too."""
        rows = self.run(f"SHOW CONNECTION STATUS FOR {name}")
        assert len(rows) == 1, rows
        return rows[0][4], rows[0][5]

    def history(self, name):
        """[(status, error)] of an existing connection, oldest first."""
        rows = self.run(f"SHOW CONNECTION HISTORY FOR {name}")
        return [(row[2], row[4]) for row in sorted(rows, key=lambda row: row[3])]
