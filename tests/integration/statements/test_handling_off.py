"""`statement_handling = false`: what a client sends is the server's business alone."""

import pytest

from harness.raw_client import first_error
from harness.replies import kinds

INSERT = "INSERT INTO ledger VALUES (1)"


@pytest.fixture(params=["off_session", "off_one"])
def client(request, clients):
    return clients(request.param)


def test_a_query_stays_one_transaction(client, ledger):
    found = client.query(f"{INSERT}; SELECT rpc_count(); SELECT 1/0; {INSERT}")
    assert kinds(found) == "CTDCEZ", found
    assert ledger() == []


@pytest.mark.parametrize(
    "sql, sqlstate",
    [
        ("ALTER CONNECTION main SET (PORT = 1)", "42601"),
        ("SHOW CONNECTIONS", "42704"),
        ("SELECT * FROM mz_internal.mz_connection_statuses", "42P01"),
    ],
)
def test_what_is_ours_is_unknown(client, sql, sqlstate):
    assert first_error(client.query(sql))["C"] == sqlstate


def test_state_is_still_carried(clients):
    """Two sessions take turns on one server connection, each with its own."""
    client, other = clients("off_one"), clients("off_one")
    client.query("SET work_mem = '5MB'")
    pid = client.value("SELECT pg_backend_pid()")
    for _ in range(2):
        assert other.value("SHOW work_mem") == "4MB"
        assert other.value("SELECT pg_backend_pid()") == pid
        assert client.value("SHOW work_mem") == "5MB"
