"""A Signalbox that looks for notices, and what its clients are told."""

import time

import psycopg

from harness import eventually
from harness.postgres import ROLES
from harness.signalbox import standard_config

USERS = [
    {"name": "app", "password": "app", "roles": ["superuser"]},
    {"name": "other", "password": "other", "roles": ["support"]},
    {"name": "reader", "password": "reader"},
]
NOTICES = "mz_internal.mz_notices"


def config(server, **changes):
    return standard_config(server, {"users": USERS, "catalog": {"notices": True}, **changes})


def connect(box, user="app", database="transaction"):
    return psycopg.connect(
        host="127.0.0.1",
        port=box.port,
        user=user,
        password=ROLES[user],
        dbname=database,
        autocommit=True,
    )


TRIED_FOR = 120  # seconds


def told_in_time(make, drop, count):
    """What make() returns once that is true: what was told with the statement that makes something.

    An examination of more than 50 ms is not waited for. One at least is faster, whatever else the
    machine does meanwhile: so drop() takes back what was made in vain, and it is made again.
    count() is the number of notices that are kept.
    """
    before = count()
    end = time.monotonic() + TRIED_FOR
    while time.monotonic() < end:
        found = make()
        if found:
            return found
        eventually(lambda: count() == before + 1, "it is kept all the same", 60)
        drop()
        eventually(lambda: count() == before, "it is gone", 60)
    raise AssertionError(f"nothing told in time, for {TRIED_FOR} s")


class Told:
    """A psycopg connection with what it was told."""

    def __init__(self, box, database="transaction", user="app"):
        self.connection = connect(box, user, database)
        self.notices = []
        # What psycopg hands over is gone with the handler's end.
        self.connection.add_notice_handler(
            lambda n: self.notices.append((n.severity, n.sqlstate, n.message_primary))
        )

    def run(self, sql, *arguments):
        cursor = self.connection.execute(sql, *arguments)
        return cursor.fetchall() if cursor.description else None

    def hear(self, sql):
        """What it is told while this one runs."""
        self.notices.clear()
        self.run(sql)
        return list(self.notices)

    def count(self):
        """Of the notices that are kept."""
        return self.run(f"SELECT count(*) FROM {NOTICES}")[0][0]

    def kept(self):
        return {
            row[0]: row[1:]
            for row in self.run(f"SELECT notice_type, status, fingerprint::text FROM {NOTICES}")
        }
