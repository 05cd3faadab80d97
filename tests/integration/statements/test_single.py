"""The policy `single`: a Query with two statements is refused before anything of it is sent."""

import pytest

from harness.messages import bind, execute, parse, query, sync
from harness.raw_client import first_error
from harness.replies import codes, kinds, status, tags, values

INSERT = "INSERT INTO ledger VALUES (1)"


@pytest.fixture(params=["single_session", "single_transaction"])
def client(request, clients):
    return clients(request.param)


def refused(found, ready):
    fields = first_error(found)
    assert kinds(found) == "EZ" and status(found) == ready, found
    assert (fields["S"], fields["V"], fields["C"]) == ("ERROR", "ERROR", "0A000"), fields
    assert fields.get("H"), "the hint to send one statement at a time is missing"


@pytest.mark.parametrize(
    "batch",
    [
        f"{INSERT}; SELECT 1",
        f"SELECT 1; {INSERT}",
        f"{INSERT};;; {INSERT};",
        f"BEGIN; {INSERT}; COMMIT",
        f"{INSERT}; SELECT rpc_count()",
        f"{INSERT} /* ; */; -- ;\n SELECT 1",
        f"SET work_mem = '5MB'; {INSERT}",
    ],
)
def test_two_statements_are_refused(client, ledger, batch):
    refused(client.query(batch), "I")
    assert ledger() == []
    assert client.value("SHOW work_mem") == "4MB"
    assert client.rows(INSERT) == [] and ledger() == [1]


def test_inside_a_transaction_the_block_fails(client, ledger):
    client.query("BEGIN")
    client.query(INSERT)
    refused(client.query(f"{INSERT}; SELECT 1"), "E")
    assert client.error("SELECT 1")["C"] == "25P02"
    assert tags(client.query("COMMIT")) == ["ROLLBACK"]
    assert ledger() == []
    assert client.value("SELECT 1") == "1"


@pytest.mark.parametrize(
    "text, expected",
    [
        ("SELECT 1;", "TDCZ"),
        ("SELECT 1;;;", "TDCZ"),
        ("SELECT 1; -- SELECT 2", "TDCZ"),
        ("SELECT 1; /* SELECT 2; */ ;", "TDCZ"),
        (";;; SELECT 1", "TDCZ"),
        ("", "IZ"),
        (";", "IZ"),
        ("; -- nothing\n ;", "IZ"),
        ("SELECT 'a; b', $$c; d$$, $x$e; $$ f$x$, \"g; h\" FROM (SELECT 1 AS \"g; h\") q", "TDCZ"),
        ("SELECT E'\\'; SELECT 2'", "TDCZ"),
        ("SELEKT 1", "EZ"),
        (
            "CREATE FUNCTION pg_temp.atomic() RETURNS int LANGUAGE sql "
            "BEGIN ATOMIC SELECT 1; SELECT 2; END",
            "CZ",
        ),
        ("CREATE RULE two AS ON DELETE TO gate DO ALSO (SELECT 1; SELECT 2)", "CZ"),
        ("DO $$ BEGIN PERFORM 1; PERFORM 2; END $$", "CZ"),
    ],
)
def test_one_statement_is_not_two(client, text, expected):
    client.query("BEGIN")
    found = client.query(text)
    assert kinds([m for m in found if m[0] != b"N"]) == expected, found
    assert codes(found) in ([], ["42601"])
    client.query("ROLLBACK")


def test_standard_conforming_strings_decide_what_a_statement_is(client):
    client.query("SET standard_conforming_strings = off")
    client.query("SET escape_string_warning = off")
    assert values(client.query(r"SELECT 'a\'; SELECT 2 --'")) == ["a'; SELECT 2 --"]
    client.query("SET standard_conforming_strings = on")
    refused(client.query(r"SELECT 'a\'; SELECT 2 --'"), "I")


def test_the_refusal_keeps_its_place(client, ledger):
    client.send(query("SELECT 'a'") + query(f"{INSERT}; SELECT 1") + query("SELECT 'b'"))
    found = client.read_until(b"Z", 3)
    assert kinds(found) == "TDCZ" + "EZ" + "TDCZ" and values(found) == ["a", "b"]
    assert ledger() == []


def test_pipelines_are_no_business_of_it(client, ledger):
    statements = [INSERT, "SELECT count(*) FROM ledger", INSERT]
    client.send(b"".join(parse(sql) + bind() + execute() for sql in statements) + sync())
    found = client.read_until(b"Z")
    assert kinds(found) == "12C12DC12CZ" and values(found) == ["1"]
    assert ledger() == [1, 1]
