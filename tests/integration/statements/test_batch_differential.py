"""Batches that no rule of ours touches get the very bytes that PostgreSQL answers."""

import pytest

from harness.messages import copy_data, copy_done, copy_fail, error_fields, query

MODES = ["session", "transaction"]
WHOLE = [f"{policy}_{mode}" for policy in ("pass", "split_on_rpc") for mode in MODES]
SPLIT = [f"split_{mode}" for mode in MODES]

# What a split does not change: no error behind a first success, no transaction seen from inside.
SAME_WHEN_SPLIT = {
    "two": "SELECT 1; SELECT 2",
    "many": "; ".join(f"SELECT {i}, 'row {i}'" for i in range(50)),
    "empty_first": ";;; SELECT 1; SELECT 2",
    "empty_between": "SELECT 1;;\n;;SELECT 2",
    "empty_last": "SELECT 1; SELECT 2;;;",
    "only_empty": ";;; ;",
    "nothing": "",
    "only_blank": " \n\t ",
    "only_comments": "-- a; b\n /* c; /* d; */ e; */",
    "comment_first": "/* a; */ SELECT 1; -- b;\nSELECT 2",
    "comment_last": "SELECT 1; SELECT 2; -- the end;",
    "comment_last_unclosed_line": "SELECT 1; SELECT 2 -- the end",
    "nested_comments": "SELECT 1 /* ; /* ; */ ; */; SELECT /* /* */ ; */ 2",
    "no_blank": "SELECT 1;SELECT 2;SELECT'3';SELECT(4);SELECT-5",
    "strings": "SELECT 'a;b'; SELECT 'it''s;'; SELECT ''; SELECT ';;;'",
    "escape_strings": "SELECT E'a\\';b'; SELECT E'\\\\'; SELECT E';\\x41;'",
    "unicode_strings": "SELECT U&'d\\0061;t'; SELECT U&'!0061;' UESCAPE '!'; SELECT 1",
    "national_and_bit_strings": "SELECT N'a;'; SELECT B'101'; SELECT X'1F'",
    "split_strings": "SELECT 'a;'\n'b;'; SELECT 'c'\n\n';d'",
    "dollar_quotes": "SELECT $$a;b$$; SELECT $t$c;$$;d$t$; SELECT $t1$;$t$;$t1$",
    "dollar_tag_with_letters": "SELECT $größe$;$$;$größe$; SELECT 1",
    "not_a_dollar_quote": "SELECT 1 AS a$b$; SELECT 2 AS c$b$",
    "quoted_identifiers": 'SELECT 1 AS "a;b"; SELECT 2 AS "c"";d"; SELECT 3 AS U&"\\0061;"',
    "operators": "SELECT 2*-1; SELECT -(-1); SELECT 1 =-1",
    "operator_before_comment": "SELECT 1+--;\n2; SELECT 3-/*;*/-4",
    "casts_and_slices": "SELECT '{1,2}'::int[]; SELECT ('{1,2,3}'::int[])[1:2]; SELECT 1::text",
    "numbers": "SELECT 1.5e3; SELECT .5; SELECT 1e-3; SELECT 5.",
    "multibyte": "SELECT 'größe ✓ 🙂'; SELECT 'ä' AS ö; SELECT '日本;語'",
    "case_end": "SELECT CASE WHEN true THEN 1 END; SELECT CASE 1 WHEN 1 THEN 'end; begin' END",
    "words_begin_and_end": 'SELECT 1 AS begin; SELECT 2 AS "end"; SELECT 3 AS commit',
    "no_rows": "SELECT 1 WHERE false; SELECT; SELECT FROM gate",
    "nulls_and_types": "SELECT NULL, 1, 'x', now() IS NULL; SELECT '\\x00'::bytea, 1.0::numeric",
    "wide": "SELECT " + ", ".join(f"{i} AS c{i}" for i in range(200)) + "; SELECT 1",
    "large": "SELECT repeat('x', 300000); SELECT repeat('y', 300000); SELECT 1",
    "long_text": "SELECT '" + "z" * 200000 + "'; SELECT '" + "w;" * 50000 + "'",
    "writes": "INSERT INTO ledger VALUES (1, 'a'); UPDATE ledger SET id = 2; DELETE FROM ledger",
    "returning": "INSERT INTO ledger VALUES (1, 'a') RETURNING *; DELETE FROM ledger RETURNING id",
    "with": "WITH a AS (SELECT 1 AS x) SELECT * FROM a; WITH b AS (SELECT 2) TABLE b",
    "values_and_table": "VALUES (1), (2); TABLE gate; VALUES ('x', 3)",
    "explain": "EXPLAIN (COSTS off) SELECT 1; EXPLAIN (COSTS off) TABLE gate",
    "show": "SHOW work_mem; SHOW server_version_num; SHOW TIME ZONE",
    "set": "SET work_mem = '5MB'; SHOW work_mem; RESET work_mem; SHOW work_mem",
    "notices": "SELECT say('a'); SELECT say('b'); DROP TABLE IF EXISTS no_such_table; SELECT 1",
    "do": "DO $$ BEGIN RAISE NOTICE 'x;'; END $$; DO 'BEGIN RAISE WARNING ''y''; END'",
    "copy_out": "COPY (SELECT 1) TO STDOUT; SELECT 2; COPY (VALUES (3), (4)) TO STDOUT CSV",
    "copy_out_binary": "COPY (SELECT 1::int8) TO STDOUT (FORMAT binary); SELECT 2",
    "block": "BEGIN; INSERT INTO ledger VALUES (1, 'a'); SELECT * FROM ledger; COMMIT",
    "two_blocks": "BEGIN; SELECT 1; COMMIT; BEGIN; SELECT 2; ROLLBACK",
    "empty_block": "BEGIN; COMMIT; START TRANSACTION READ ONLY; END",
    "block_and_more": "SELECT 1; BEGIN; SELECT 2; COMMIT; SELECT 3",
    "block_with_savepoints": "BEGIN; SAVEPOINT a; SELECT 1; ROLLBACK TO a; RELEASE a; COMMIT",
    "block_chained": "BEGIN; SELECT 1; COMMIT AND CHAIN; SELECT 2; ROLLBACK",
    "block_in_block": "BEGIN; BEGIN; SELECT 1; COMMIT",
    "first_fails": "SELECT 1/0; SELECT 1",
    "first_fails_in_block": "BEGIN; SELECT 1/0; COMMIT; SELECT 1",
    "first_is_unknown": "TABLE no_such_table; SELECT 1",
    "block_left_open": "BEGIN; SELECT 1",
    "create_rule": (
        "BEGIN; CREATE RULE both_of AS ON DELETE TO gate DO ALSO "
        "(INSERT INTO ledger VALUES (1); INSERT INTO ledger VALUES (2)); ROLLBACK; SELECT 1"
    ),
    "begin_atomic": (
        "BEGIN; CREATE FUNCTION atomic(int) RETURNS int LANGUAGE sql BEGIN ATOMIC SELECT 1; "
        "SELECT CASE WHEN $1 > 1 THEN 2 ELSE 3 END; END; SELECT atomic(1); ROLLBACK; SELECT 4"
    ),
    "function_with_statements": (
        "BEGIN; CREATE FUNCTION pieces() RETURNS int LANGUAGE sql AS $f$ SELECT 1; SELECT 2; $f$; "
        "SELECT pieces(); ROLLBACK; SELECT 3"
    ),
    "schema_with_elements": (
        "BEGIN; CREATE SCHEMA elements CREATE TABLE t (id int) CREATE VIEW v AS SELECT 1; "
        "ROLLBACK; SELECT 1"
    ),
}

WHOLE_ONLY = {
    "fails_behind": "INSERT INTO ledger VALUES (1, 'a'); SELECT 1/0; SELECT 2",
    "fails_at_the_end": "SELECT 1; SELECT 2; SELECT 1/0",
    "dollars_in_a_word": "SELECT 1;SELECT$$2$$;SELECT 3",
    "syntax_error_behind": "INSERT INTO ledger VALUES (1, 'a'); SELEKT 1",
    "syntax_error_in_the_middle": "SELECT 1; SELECT 2 FROM; SELECT 3",
    "unterminated_string": "SELECT 1; SELECT 'abc; SELECT 2",
    "unterminated_identifier": 'SELECT 1; SELECT "abc; SELECT 2',
    "unterminated_dollar_quote": "SELECT 1; SELECT $t$abc; SELECT 2 $$",
    "unterminated_comment": "SELECT 1; SELECT 2 /* ; /* */ ; SELECT 3",
    "bad_characters": "SELECT 1; SELECT \x01; SELECT 2",
    "bad_unicode_escape": "SELECT 1; SELECT U&'\\zzzz'; SELECT 2",
    "bad_encoding": b"SELECT 1; SELECT 'x\xff;'; SELECT 2",
    "newer_syntax": "SELECT 1; SELECT ANY_VALUE(1 ORDER BY 1) FROM JSON_TABLE('{}', '$'); SELECT 2",
    "commit_without_a_block": "INSERT INTO ledger VALUES (1, 'a'); COMMIT; SELECT 1/0",
    "rollback_without_a_block": "INSERT INTO ledger VALUES (1, 'a'); ROLLBACK; TABLE ledger",
    "begin_takes_over": "INSERT INTO ledger VALUES (1, 'a'); BEGIN; ROLLBACK; SELECT * FROM ledger",
    "fails_in_block": "INSERT INTO ledger VALUES (1); BEGIN; SELECT 1/0; COMMIT; SELECT 1",
    "set_and_fail": "SET work_mem = '5MB'; SELECT 1/0",
    "set_local": "SET LOCAL work_mem = '5MB'; SHOW work_mem",
    # Reported at the end of the Query that changed it: each unit is one.
    "set_reported": "SET timezone = 'Asia/Tokyo'; SHOW timezone; RESET timezone; SHOW timezone",
    "set_reported_and_fail": "SET timezone = 'Asia/Tokyo'; SELECT 1/0",
    "not_in_a_transaction": "SELECT 1; VACUUM ledger",
    "lock_table": "LOCK TABLE ledger; SELECT 1",
    "savepoint_without_a_block": "SAVEPOINT s; SELECT 1",
    "cursor_without_a_block": "DECLARE c CURSOR FOR SELECT 1; FETCH c; CLOSE c",
    "transaction_characteristics": "SET TRANSACTION READ ONLY; INSERT INTO ledger VALUES (1, 'a')",
    "deferred": "INSERT INTO child VALUES (1); SELECT 1",
    "words_of_ours_that_are_not": (
        "SELECT 'CREATE CONNECTION x'; SELECT 1 AS connections; SELECT 2 /* SHOW NOTICES; */"
    ),
}

COPY_IN = {
    "copy_in": ("COPY ledger (id) FROM STDIN", copy_data(b"1\n2\n") + copy_done()),
    "copy_in_and_more": (
        "SELECT 1; COPY ledger (id) FROM STDIN; SELECT count(*) FROM ledger",
        copy_data(b"1\n") + copy_data(b"2") + copy_data(b"\n") + copy_done(),
       
    ),
    "copy_in_first_fails": (
        "COPY ledger (id) FROM STDIN; SELECT 1",
        copy_data(b"nonsense\n") + copy_done(),
       
    ),
    "copy_in_given_up": ("COPY ledger FROM STDIN; SELECT 1", copy_fail("enough")),
}

BATCHES = {**SAME_WHEN_SPLIT, **WHOLE_ONLY}


@pytest.fixture(scope="module")
def expected():
    """PostgreSQL's replies by name, asked for once."""
    return {}


def exchange(client, text, data=b""):
    """The reply to the batch, and to what shows the state that it leaves."""
    client.send(query(text) + data + query("SHOW work_mem; SHOW timezone") + query("ROLLBACK"))
    return client.read_until(b"Z", 3)


def compare(clients, expected, route, name, text, data=b""):
    if name not in expected:
        expected[name] = exchange(clients("direct"), text, data)
        clients("direct").query("DELETE FROM ledger")
    actual = exchange(clients(route), text, data)
    readable = [
        [(k, error_fields(b) if k in b"EN" else b[:200]) for k, b in found]
        for found in (actual, expected[name])
    ]
    assert readable[0] == readable[1]
    assert actual == expected[name]


@pytest.mark.parametrize("route", WHOLE)
@pytest.mark.parametrize("name", BATCHES)
def test_whole(clients, ledger, expected, route, name):
    compare(clients, expected, route, name, BATCHES[name])


@pytest.mark.parametrize("route", SPLIT)
@pytest.mark.parametrize("name", SAME_WHEN_SPLIT)
def test_split(clients, ledger, expected, route, name):
    compare(clients, expected, route, name, SAME_WHEN_SPLIT[name])


@pytest.mark.parametrize("route", [*WHOLE, *SPLIT])
@pytest.mark.parametrize("name", COPY_IN)
def test_copy_in(clients, ledger, expected, route, name):
    compare(clients, expected, route, name, *COPY_IN[name])


@pytest.mark.parametrize("route", WHOLE)
def test_copy_in_that_fails_behind_something(clients, ledger, expected, route):
    text = "INSERT INTO ledger VALUES (1); COPY ledger (id) FROM STDIN; SELECT 1"
    data = copy_data(b"1\nnonsense\n") + copy_done()
    compare(clients, expected, route, "copy_in_fails_behind", text, data)


@pytest.mark.parametrize("route", [*WHOLE, *SPLIT])
def test_all_on_one_connection(clients, ledger, expected, route):
    """One behind the other in one session: nothing of a batch is left for the next."""
    client = clients(route)
    plain = clients("direct")
    for name, text in SAME_WHEN_SPLIT.items():
        found = exchange(client, text)
        plain.query("DELETE FROM ledger")
        assert found == exchange(plain, text), name
        plain.query("DELETE FROM ledger")
