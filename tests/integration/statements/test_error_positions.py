"""In a split batch, errors and notices read as if the whole batch had been sent.

Their positions count the characters of the client's own text, not those of the unit.
"""

import pytest

from harness.messages import error_fields
from harness.replies import codes, kinds, values

SPLIT = ["split_session", "split_transaction"]


def fields_of(found, kind):
    return [error_fields(body) for k, body in found if k == kind]




# `wrong` marks the word that the position points to.
BATCHES = [
    "SELECT 1; SELECT wrong FROM ledger",
    "SELECT 1;\n\n  SELECT wrong FROM ledger; SELECT 2",
    "SELECT 'größe ✓ 🙂'; SELECT wrong",
    "SELECT 'größe ✓ 🙂' -- ñ;\n; /* ü; */ SELECT 'ä', wrong; SELECT 3",
    "SELECT 1; BEGIN; SELECT 'ß'; SELECT wrong; COMMIT",
    "SELECT 1; SELECT wrong('x'); SELECT 2",
    "SELECT 1; SELECT 2;;;; TABLE wrong",
    "SELECT 1; INSERT INTO ledger (wrong) VALUES (1)",
    "SELECT $ä$;;$ä$; SELECT 1 + wrong",
    "; ; SELECT 1; UPDATE ledger SET wrong = 1",
    "BEGIN; SELECT 1; COMMIT; CREATE VIEW v AS SELECT wrong",
]


@pytest.mark.parametrize("route", SPLIT)
@pytest.mark.parametrize("text", BATCHES)
def test_positions_are_those_of_the_whole_text(clients, route, text):
    (expected,) = fields_of(clients("direct").query(text), b"E")
    assert expected["P"] == str(text.index("wrong") + 1)
    (actual,) = fields_of(clients(route).query(text), b"E")
    assert actual == expected


@pytest.mark.parametrize("route", SPLIT)
@pytest.mark.parametrize("text", ["SELECT 1; SELEKT 2", "SELECT 'ü'; BEGIN; SELECT FROM; COMMIT"])
def test_positions_of_syntax_errors(clients, route, text):
    """PostgreSQL parses a batch before it runs any of it; a split one may have begun to run."""
    (expected,) = fields_of(clients("direct").query(text), b"E")
    (actual,) = fields_of(clients(route).query(text), b"E")
    assert (actual["C"], actual["M"], actual["P"]) == ("42601", expected["M"], expected["P"])


@pytest.mark.parametrize("route", SPLIT)
def test_positions_count_characters_of_the_clients_encoding(clients, route):
    text = "SELECT 'größe'; SELECT 'ü', wrong".encode("latin1")
    for each in ("direct", route):
        (fields,) = fields_of(clients(each, client_encoding="latin1").query(text), b"E")
        assert fields["P"] == str(text.index(b"wrong") + 1), each


@pytest.mark.parametrize("route", SPLIT)
def test_positions_inside_a_functions_own_text_are_left_alone(clients, route):
    text = "SELECT 'ä'; DO $$ BEGIN PERFORM 1; PERFORM wrong; END $$"
    (expected,) = fields_of(clients("direct").query(text), b"E")
    assert "P" not in expected and expected["p"] and expected["q"]
    (actual,) = fields_of(clients(route).query(text), b"E")
    assert actual == expected


@pytest.mark.parametrize("route", SPLIT)
def test_positions_of_a_single_statement(clients, route):
    (fields,) = fields_of(clients(route).query("/* ä; */ SELECT wrong"), b"E")
    assert fields["P"] == "17"


@pytest.mark.parametrize("route", SPLIT)
def test_positions_of_warnings(clients, route):
    text = r"SELECT 'ä'; SELECT 'b\\c'"
    found = {}
    for each in ("direct", route):
        client = clients(each)
        client.query("SET standard_conforming_strings = off")
        found[each] = fields_of(client.query(text), b"N")
    assert [f["P"] for f in found["direct"]] == [str(text.index("'b") + 1)]
    assert found[route] == found["direct"]


@pytest.mark.parametrize("route", SPLIT)
def test_notices_keep_their_places(clients, route):
    text = (
        "SELECT say('a'); DROP TABLE IF EXISTS no_such_table; SELECT say('b'); COMMIT; "
        "DO $$ BEGIN RAISE WARNING 'c' USING HINT = 'h', DETAIL = 'd'; END $$; "
        "BEGIN; BEGIN; SELECT say('e'); COMMIT; SELECT 1/0"
    )
    found = clients(route).query(text)
    types = kinds(found)
    assert types == "TNDC" + "NC" + "TNDC" + "NC" + "NC" + "C" + "NC" + "TNDC" + "C" + "ENZ"
    assert values(found) == ["a", "b", "e"] and codes(found) == ["22012"]
    messages = [fields["M"] for fields in fields_of(found, b"N")]
    assert messages[:3] == [
        "saying a",
        'table "no_such_table" does not exist, skipping',
        "saying b",
    ]
