"""What SHOW gives: its columns, on each way to ask for them."""

import re
import subprocess

import pytest

from boxes import SHOWS, UNCHECKED
from harness.messages import (
    bind,
    describe_portal,
    describe_statement,
    execute,
    parse,
    row_values,
    sync,
)
from harness.postgres import ROLES
from harness.replies import PROTOCOLS, columns, extended, kinds, parameters, rows, succeeded


@pytest.mark.parametrize("sql", SHOWS)
@PROTOCOLS
def test_columns(client, sql, ask):
    found = succeeded(ask(client, sql), "SHOW")
    assert columns(found) == SHOWS[sql]
    for kind, body in found:
        assert kind != b"D" or len(row_values(body)) == len(SHOWS[sql])


@pytest.mark.parametrize("sql", SHOWS)
def test_described_before_it_runs(client, sql):
    """Statement and portal, as every driver asks before Execute."""
    client.send(parse(sql, "shown") + describe_statement("shown") + sync())
    found = client.read_until(b"Z")
    assert kinds(found) == "1tTZ" and parameters(found) == [] and columns(found) == SHOWS[sql]
    client.send(bind(statement="shown") + describe_portal() + execute() + sync())
    found = client.read_until(b"Z")
    assert kinds(found).startswith("2T") and columns(found) == SHOWS[sql]
    succeeded(found, "SHOW")


def test_a_change_is_described_as_without_rows(client, make):
    sql = f"ALTER CONNECTION {make()} SET (PORT 9) {UNCHECKED}"
    client.send(parse(sql, "change") + describe_statement("change") + sync())
    found = client.read_until(b"Z")
    assert kinds(found) == "1tnZ" and parameters(found) == []
    client.send(bind(statement="change") + describe_portal() + execute() + sync())
    assert kinds(client.read_until(b"Z")) == "2nCZ"


def test_binary_results(client):
    found = extended(client, "SHOW CREATE CONNECTION main", result_formats=(1,))
    text = client.query("SHOW CREATE CONNECTION main")
    assert rows(found) == rows(text)
    found = extended(client, "SHOW CONNECTION STATUS", result_formats=(0, 0, 0, 1, 0, 0))
    for kind, body in succeeded(found, "SHOW"):
        if kind == b"D" and row_values(body)[3] is not None:
            assert len(row_values(body)[3]) == 8


def test_row_limit_of_a_portal(client):
    """As a driver with a fetch size does."""
    everything = rows(client.query("SHOW CONNECTIONS"))
    assert len(everything) >= 4
    client.send(parse("SHOW CONNECTIONS") + bind() + execute(max_rows=3) + execute() + sync())
    found = client.read_until(b"Z")
    assert re.fullmatch("12DDDsD+CZ", kinds(found)), kinds(found)
    assert rows(found) == everything


def test_cursor_description_of_a_driver(box):
    with box.connect() as connection:
        for sql, expected in SHOWS.items():
            for binary in (False, True):
                cursor = connection.execute(sql, binary=binary)
                assert [(c.name, c.type_code) for c in cursor.description] == expected
                assert cursor.statusmessage == "SHOW"


def test_gdesc(box):
    done = subprocess.run(
        ["psql", "-XAt", f"host=127.0.0.1 port={box.port} user=app dbname=transaction"],
        input="SHOW CREATE CONNECTION main \\gdesc\n",
        env={"PGPASSWORD": ROLES["app"], "PGSSLMODE": "disable", "PATH": "/usr/bin:/bin"},
        capture_output=True,
        text=True,
        timeout=30,
    )
    assert done.stdout == "name|text\ncreate_sql|text\n", done
