"""What the differential tests send: named client byte streams."""

import struct

from harness.messages import (
    bind,
    close_portal,
    close_statement,
    copy_data,
    copy_done,
    copy_fail,
    describe_portal,
    describe_statement,
    execute,
    flush,
    function_call,
    parse,
    query,
    sync,
)
from stream import (
    BAD_ROWS,
    BINARY_HEAD,
    BINARY_ROW,
    COPY_ROWS,
    Stream,
    Wait,
    again,
    queries,
    run,
)

# Before each run of a stream. TRUNCATE, not DROP: the oid stays, and RowDescription has it.
SCHEMA = """
CREATE TABLE IF NOT EXISTS items (id int PRIMARY KEY, name text, price numeric(10, 2));
CREATE TABLE IF NOT EXISTS target (id int, note text);
ALTER TABLE items OWNER TO app;
ALTER TABLE target OWNER TO app;
CREATE OR REPLACE FUNCTION shout(text) RETURNS text LANGUAGE plpgsql AS $$
BEGIN RAISE NOTICE 'shouting %', $1; RETURN upper($1); END $$;
"""
RESET = """
TRUNCATE items, target;
INSERT INTO items SELECT g, 'item ' || g, g * 1.5 FROM generate_series(1, 10) g;
"""

INT4, TEXT, BYTEA = 23, 25, 17
INT4PL = 177  # pg_proc's int4pl(int4, int4)

STREAMS = {
    # --- simple queries
    "select": Stream(queries("SELECT 1", "SELECT * FROM items ORDER BY id")),
    "no_rows_and_no_columns": Stream(
        queries("SELECT 1 WHERE false", "SELECT", "SELECT FROM items")
    ),
    "empty_queries": Stream(
        queries("", ";", ";;", "-- nothing", "/* nothing /* at all */ */", "  \n\t ")
    ),
    "commands": Stream(
        queries(
            "INSERT INTO target VALUES (1, 'a'), (2, NULL)",
            "UPDATE target SET note = 'b'",
            "DELETE FROM target WHERE id = 1 RETURNING *",
            "TRUNCATE target",
            "TABLE target",
            "VALUES (1, 'x'), (2, 'y')",
            "EXPLAIN (COSTS off) SELECT 1",
            "SHOW server_version_num",
        )
    ),
    "syntax_error": Stream(
        queries("SELEKT 1", "SELECT 1 FROM", "SELECT 'unterminated", "SELECT 2")
    ),
    "error_positions": Stream(
        queries("SELECT nope FROM items", "SELECT * FROM no_such_table", "SELECT no_such_fn(1)")
    ),
    "runtime_errors": Stream(
        queries(
            "SELECT 1/0",
            "SELECT 'x'::int",
            "INSERT INTO items VALUES (1, 'twice', 0)",
            "SELECT 1 / (5 - id) FROM items ORDER BY id",
            "SELECT 3",
        )
    ),
    "multi_statement": Stream(
        queries(
            "SELECT 1; SELECT 2; SELECT 3",
            "SELECT 1;;SELECT 2;",
            "INSERT INTO target VALUES (1, 'a'); SELECT * FROM target",
        )
    ),
    "multi_statement_error": Stream(
        queries(
            "INSERT INTO target VALUES (1, 'gone'); SELECT 1/0; SELECT 2",
            "SELECT count(*) FROM target",
            "SELECT 1; SELEKT 2",
        )
    ),
    "multi_statement_blocks": Stream(
        queries(
            "BEGIN; INSERT INTO target VALUES (1, 'a'); COMMIT; SELECT count(*) FROM target",
            "BEGIN; INSERT INTO target VALUES (2, 'b'); SELECT 1/0; COMMIT",
            "ROLLBACK",
            "SELECT 1; BEGIN; SELECT 2",
            "SELECT 3; COMMIT; SELECT 4",
            "INSERT INTO target VALUES (3, 'c'); COMMIT; SELECT 1/0",
            "SELECT * FROM target ORDER BY id",
            "BEGIN; ROLLBACK; BEGIN; COMMIT",
        )
    ),
    "quotes_and_comments": Stream(
        queries(
            'SELECT \'a;b\', $$c;d$$, $t$e;$$f$t$, "a;name" FROM (SELECT 1 AS "a;name") q',
            "SELECT 1 -- ; SELECT 2",
            "SELECT /* ; /* ; */ ; */ 1; SELECT E'\\';' || 'x'",
            "SELECT U&'d\\0061t\\+000061', U&\"d\\0061ta\" FROM (SELECT 1 AS data) q",
        )
    ),
    "transactions": Stream(
        queries(
            "BEGIN",
            "INSERT INTO target VALUES (1, 'a')",
            "SAVEPOINT s",
            "SELECT 1/0",
            "SELECT 1",
            "ROLLBACK TO s",
            "SELECT * FROM target",
            "COMMIT",
            "BEGIN ISOLATION LEVEL SERIALIZABLE READ ONLY",
            "INSERT INTO target VALUES (2, 'b')",
            "COMMIT",
            "SELECT count(*) FROM target",
        )
    ),
    "transaction_warnings": Stream(
        queries("COMMIT", "ROLLBACK", "BEGIN", "BEGIN", "END", "SAVEPOINT s", "COMMIT AND CHAIN")
    ),
    "transaction_chain": Stream(
        queries("BEGIN", "SELECT 1", "COMMIT AND CHAIN", "SELECT 2", "ABORT")
    ),
    "two_phase": Stream(
        queries(
            "BEGIN",
            "INSERT INTO target VALUES (1, 'p')",
            "PREPARE TRANSACTION 'differential'",
            "SELECT count(*) FROM target",
            "COMMIT PREPARED 'differential'",
            "SELECT count(*) FROM target",
        )
    ),
    "deferred_constraint": Stream(
        queries(
            "CREATE TABLE parent (id int PRIMARY KEY)",
            "CREATE TABLE child (id int REFERENCES parent DEFERRABLE INITIALLY DEFERRED)",
            "BEGIN",
            "INSERT INTO child VALUES (1)",
            "COMMIT",
            "INSERT INTO child VALUES (2)",
            "DROP TABLE child, parent",
        ),
        tables=True,
    ),
    "notices": Stream(
        queries(
            "SELECT shout('quietly')",
            "DO $$ BEGIN RAISE WARNING 'w' USING HINT = 'h', DETAIL = 'd'; RAISE INFO 'i'; END $$",
            "DROP TABLE IF EXISTS no_such_table",
            "SET client_min_messages = error",
            "SELECT shout('silently')",
        )
    ),
    "error_fields": Stream(
        queries(
            "DO $$ BEGIN RAISE EXCEPTION 'm' USING ERRCODE = 'ZZ123', HINT = 'h', DETAIL = 'd', "
            "COLUMN = 'c', CONSTRAINT = 'k', DATATYPE = 't', TABLE = 'b', SCHEMA = 's'; END $$",
            "INSERT INTO items (id) VALUES (NULL)",
        )
    ),
    "encodings": Stream(
        queries(
            "SELECT 'grün ✓'",
            "SET client_encoding = 'latin1'",
            "SELECT chr(252)",
            "SELECT chr(10003)",
            "RESET client_encoding",
            "SELECT 'grün ✓'",
            "SET client_encoding = 'nonsense'",
        )
    ),
    "invalid_utf8": Stream(query(b"SELECT 'x\xff'"), query("SELECT 1")),
    "statement_timeout": Stream(
        queries("SET statement_timeout = 50", "SELECT pg_sleep(30)", "RESET statement_timeout")
    ),
    # --- the extended protocol
    "extended_select": Stream(run("SELECT $1::int + 1", 41) + sync()),
    "extended_pipeline": Stream(
        run("INSERT INTO target VALUES ($1::int, $2)", 1, "a")
        + run("SELECT * FROM target")
        + run("DELETE FROM target")
        + sync()
        + run("SELECT count(*) FROM target")
        + sync()
    ),
    "extended_empty": Stream(run("") + run("-- x") + sync() + run(";") + sync()),
    "extended_no_data": Stream(
        parse("INSERT INTO target VALUES (1, 'x')", "i")
        + describe_statement("i")
        + bind(statement="i")
        + describe_portal()
        + execute()
        + sync()
    ),
    "sync_alone": Stream(sync() + sync(), Wait(b"Z", 2), sync()),
    "flush_alone": Stream(flush() + flush() + query("SELECT 1")),
    "flush_without_sync": Stream(
        parse("SELECT $1::text", "f") + flush(),
        Wait(b"1"),
        bind(["a"], statement="f") + describe_portal() + flush(),
        Wait(b"T"),
        execute() + flush(),
        Wait(b"C"),
        bind(["b"], statement="f") + execute() + flush(),
        Wait(b"C"),
        sync(),
        Wait(b"Z"),
    ),
    "flush_then_error": Stream(
        run("SELECT 1") + flush(),
        Wait(b"C"),
        run("SELECT 1/0") + flush(),
        Wait(b"E"),
        run("SELECT 2") + flush() + sync(),
        Wait(b"Z"),
    ),
    "pipeline_then_simple": Stream(
        run("SELECT 1") + query("SELECT 2") + run("SELECT 3") + query("SELECT 4") + sync()
    ),
    "error_at_parse": Stream(run("SELEKT 1") + run("SELECT 2") + sync() + run("SELECT 3") + sync()),
    "error_at_bind": Stream(
        run("SELECT $1::int", "not a number") + run("SELECT 2") + sync() + run("SELECT 3") + sync()
    ),
    "error_at_execute": Stream(
        run("INSERT INTO target VALUES (1, 'gone')")
        + run("SELECT 1/0")
        + run("SELECT 2")
        + sync()
        + run("SELECT count(*) FROM target")
        + sync()
    ),
    "error_mid_rows": Stream(
        run("SELECT 10 / (5 - id) FROM items ORDER BY id") + run("SELECT 2") + sync()
    ),
    "errors_in_each_batch": Stream(
        b"".join(run(f"SELECT {i} / ({i} % 2)") + run(f"SELECT {i}") + sync() for i in range(8))
    ),
    "query_after_error_before_sync": Stream(
        run("SELECT 1/0")
        + query("SELECT 'skipped'")
        + run("SELECT 'too'")
        + sync()
        + query("SELECT 2")
    ),
    "wrong_parameter_count": Stream(
        parse("SELECT $1::int, $2::int", "w") + again("w", 1) + sync() + again("w", 1, 2) + sync()
    ),
    "bad_formats": Stream(
        parse("SELECT $1::int, $2::int", "w")
        + bind([1, 2], "", "w", formats=[0, 0, 0])
        + sync()
        + bind([b"\0\0", b"\0\0\0\1"], "", "w", formats=[1])
        + execute()
        + sync()
        + bind([1, 2], "", "w", result_formats=[0, 0, 1])
        + execute()
        + sync()
        + bind([1, 2], "", "w", formats=[7])
        + sync()
    ),
    "binary": Stream(
        parse("SELECT $1::int4, $2::text, $3::bytea, $4::timestamptz", "b", [INT4, TEXT, BYTEA])
        + bind(
            [struct.pack("!i", 7), "t", b"\0\1\xff", "2020-02-02 02:02:02+00"],
            statement="b",
            formats=[1, 1, 1, 0],
            result_formats=[1],
        )
        + describe_portal()
        + execute()
        + bind(
            [struct.pack("!i", -1), None, b"", None],
            statement="b",
            formats=[1, 0, 1, 0],
            result_formats=[1, 0, 1, 0],
        )
        + describe_portal()
        + execute()
        + sync()
    ),
    "parameter_types": Stream(
        parse("SELECT $1, $2", "unknown_types")
        + describe_statement("unknown_types")
        + parse("SELECT $1, $2", "some_types", [INT4, 0])
        + describe_statement("some_types")
        + parse("SELECT $1 + 1", "inferred")
        + describe_statement("inferred")
        + sync()
        + parse("SELECT $2", "hole")
        + sync()
        + parse("SELECT $1", "bad_type", [999999])
        + sync()
    ),
    "many_parameters": Stream(
        run("SELECT " + "+".join(f"${i}::int" for i in range(1, 501)), *range(500)) + sync()
    ),
    "multi_in_parse": Stream(run("SELECT 1; SELECT 2") + sync() + run("SELECT 3;") + sync()),
    "extended_transaction": Stream(
        run("BEGIN")
        + sync()
        + run("INSERT INTO target VALUES (1, 'a')")
        + sync()
        + run("SELECT 1/0")
        + sync()
        + run("SELECT 1")
        + sync()
        + run("COMMIT")
        + sync()
        + run("SELECT count(*) FROM target")
        + sync()
    ),
    "transaction_in_one_pipeline": Stream(
        run("BEGIN")
        + run("INSERT INTO target VALUES (1, 'a')")
        + run("COMMIT")
        + run("SELECT 1/0")
        + sync()
        + query("SELECT count(*) FROM target")
    ),
    "open_transaction_across_pipelines": Stream(
        run("BEGIN") + run("INSERT INTO target VALUES (1, 'a')") + sync(),
        Wait(b"Z"),
        run("INSERT INTO target VALUES (2, 'b')") + sync() + query("SELECT * FROM target"),
        Wait(b"Z", 2),
        run("ROLLBACK") + sync() + query("SELECT count(*) FROM target"),
    ),
    # --- prepared statements
    "named_statement": Stream(
        parse("SELECT $1::int * 2", "double") + sync(),
        Wait(b"Z"),
        again("double", 1) + again("double", 2) + sync(),
        Wait(b"Z"),
        describe_statement("double") + again("double", 3) + close_statement("double") + sync(),
        Wait(b"Z"),
        again("double", 4) + sync(),
    ),
    "named_in_one_pipeline": Stream(
        b"".join(parse(f"SELECT {i}, $1::int", f"s{i}") for i in range(20))
        + b"".join(again(f"s{i}", i) for i in range(20))
        + sync()
    ),
    "unnamed_across_sync": Stream(
        parse("SELECT $1::text") + sync(),
        Wait(b"Z"),
        again("", "first") + sync(),
        Wait(b"Z"),
        again("", "second") + describe_statement() + sync(),
        Wait(b"Z"),
        query("SELECT 'a simple query drops the unnamed statement'"),
        Wait(b"Z"),
        again("", "third") + sync(),
    ),
    "unnamed_replaced": Stream(
        parse("SELECT 1")
        + parse("SELECT 2")
        + again("")
        + sync()
        + parse("SELEKT")
        + sync()
        + again("")
        + sync()
    ),
    "unnamed_closed": Stream(
        parse("SELECT 1")
        + close_statement()
        + sync()
        + again("")
        + sync()
        + close_statement()
        + sync()
    ),
    "unnamed_closed_behind_an_error": Stream(
        parse("SELECT 1/(1 - $1::int)")
        + again("", "1")
        + close_statement()
        + sync()
        + again("", "2")
        + sync()
        + close_statement()
        + sync()
        + again("", "3")
        + sync()
    ),
    "unnamed_closed_behind_an_error_and_then_a_query": Stream(
        parse("SELECT 1/(1 - $1::int)")
        + again("", "1")
        + close_statement()
        + sync()
        + query("SELECT 'drops it'")
        + again("", "2")
        + sync()
    ),
    "unnamed_and_a_query_behind_an_error": Stream(
        parse("SELECT 1/(1 - $1::int)")
        + again("", "1")
        + query("SELECT 'skipped'")
        + sync()
        + again("", "2")
        + sync()
    ),
    "parse_twice": Stream(
        parse("SELECT 1", "twice")
        + sync()
        + parse("SELECT 2", "twice")
        + sync()
        + again("twice")
        + sync()
    ),
    "parse_twice_in_one_pipeline": Stream(
        parse("SELECT 1", "twice")
        + parse("SELECT 2", "twice")
        + again("twice")
        + sync()
        + again("twice")
        + sync()
    ),
    "parse_close_parse": Stream(
        parse("SELECT 1", "n")
        + close_statement("n")
        + parse("SELECT 2", "n")
        + again("n")
        + sync()
        + close_statement("n")
        + parse("SELECT 3", "n")
        + again("n")
        + sync()
    ),
    "failed_parse_registers_nothing": Stream(
        parse("SELEKT", "n")
        + sync()
        + again("n")
        + sync()
        + parse("SELECT 1", "n")
        + again("n")
        + sync()
    ),
    "skipped_parse_registers_nothing": Stream(
        run("SELECT 1/0")
        + parse("SELECT 1", "n")
        + sync()
        + again("n")
        + sync()
        + parse("SELECT 2", "n")
        + again("n")
        + sync()
    ),
    "skipped_close_closes_nothing": Stream(
        parse("SELECT 1", "n")
        + sync()
        + run("SELECT 1/0")
        + close_statement("n")
        + sync()
        + again("n")
        + sync()
    ),
    "parse_then_error_keeps_statement": Stream(
        parse("SELECT 1", "n") + run("SELECT 1/0") + sync() + again("n") + sync()
    ),
    "statement_outlives_rollback": Stream(
        query("BEGIN") + parse("SELECT 1", "n") + sync() + query("ROLLBACK") + again("n") + sync()
    ),
    "parse_in_failed_transaction": Stream(
        queries("BEGIN", "SELECT 1/0")
        + parse("SELECT 1", "n")
        + sync()
        + parse("ROLLBACK", "r")
        + again("r")
        + sync()
        + again("n")
        + sync()
    ),
    "bind_unknown": Stream(
        again("unknown") + sync() + bind(statement="unknown") + query("SELECT 1") + sync()
    ),
    "describe_unknown": Stream(
        describe_statement("unknown")
        + sync()
        + describe_portal("unknown")
        + sync()
        + describe_statement()
        + sync()
        + describe_portal()
        + sync()
    ),
    "execute_unknown": Stream(execute("unknown") + sync() + execute() + sync()),
    "close_unknown": Stream(
        close_statement("unknown")
        + close_portal("unknown")
        + close_statement()
        + close_portal()
        + sync()
    ),
    "same_text_many_names": Stream(
        b"".join(parse("SELECT $1::int", f"n{i}") for i in range(5))
        + sync()
        + again("n0", 0)
        + close_statement("n0")
        + again("n1", 1)
        + sync()
        + again("n0", 0)
        + sync()
        + again("n4", 4)
        + sync()
    ),
    "same_text_other_types": Stream(
        parse("SELECT $1", "as_int", [INT4])
        + parse("SELECT $1", "as_text", [TEXT])
        + parse("SELECT $1", "as_bytea", [BYTEA])
        + b"".join(describe_statement(n) for n in ("as_int", "as_text", "as_bytea"))
        + again("as_int", 7)
        + again("as_text", 7)
        + again("as_bytea", "\\x07")
        + sync()
        + again("as_int", "x")
        + sync()
    ),
    "odd_names": Stream(
        b"".join(
            parse(f"SELECT {i}", name) + again(name)
            for i, name in enumerate(["ä✓", "a b", "UPPER", "upper", "x" * 200, "'; DROP", "\x01"])
        )
        + sync()
    ),
    "deallocate": Stream(
        parse("SELECT 1", "n")
        + sync()
        + query("DEALLOCATE n")
        + again("n")
        + sync()
        + parse("SELECT 2", "n")
        + again("n")
        + sync()
        + query("DEALLOCATE PREPARE n")
        + again("n")
        + sync()
        + query("DEALLOCATE n")
    ),
    "deallocate_folds_case": Stream(
        parse("SELECT 1", "Mixed")
        + parse("SELECT 2", "mixed")
        + sync()
        + query("DEALLOCATE Mixed")
        + again("Mixed")
        + sync()
        + again("mixed")
        + sync()
        + query('DEALLOCATE "Mixed"')
        + again("Mixed")
        + sync()
    ),
    "deallocate_all": Stream(
        parse("SELECT 1", "a")
        + parse("SELECT 2", "b")
        + sync()
        + query("DEALLOCATE ALL")
        + again("a")
        + sync()
        + again("b")
        + sync()
        + parse("SELECT 3", "a")
        + again("a")
        + sync()
    ),
    "deallocate_extended": Stream(
        parse("SELECT 1", "a")
        + run("DEALLOCATE a")
        + again("a")
        + sync()
        + parse("SELECT 2", "a")
        + sync()
        + run("DEALLOCATE ALL")
        + parse("SELECT 3", "a")
        + again("a")
        + sync()
    ),
    "deallocate_not_transactional": Stream(
        parse("SELECT 1", "a")
        + sync()
        + queries("BEGIN", "DEALLOCATE a", "ROLLBACK")
        + again("a")
        + sync()
    ),
    "deallocate_in_failed_block": Stream(
        parse("SELECT 1", "a")
        + sync()
        + queries("BEGIN", "SELECT 1/0", "DEALLOCATE a", "ROLLBACK")
        + again("a")
        + sync()
    ),
    "discard_all": Stream(
        parse("SELECT 1", "a")
        + sync()
        + queries("SET application_name = 'x'", "DISCARD ALL", "SHOW application_name")
        + again("a")
        + sync()
        + queries(
            "BEGIN", "DISCARD ALL", "ROLLBACK", "DISCARD PLANS", "DISCARD TEMP", "DISCARD SEQUENCES"
        )
    ),
    "sql_prepare": Stream(
        queries(
            "PREPARE p (int) AS SELECT $1 + 1",
            "EXECUTE p (1)",
            "EXECUTE p (2)",
            "PREPARE p AS SELECT 1",
            "EXECUTE nope",
            "DEALLOCATE p",
            "EXECUTE p (3)",
        ),
        pins=True,
    ),
    "sql_execute_of_a_parsed_name": Stream(
        parse("SELECT 42", "n") + sync() + query("EXECUTE n"), modes=("session",)
    ),
    # --- portals
    "max_rows": Stream(
        run("SELECT id FROM items ORDER BY id", max_rows=3)
        + execute(max_rows=3)
        + execute(max_rows=0)
        + execute()
        + sync()
    ),
    "max_rows_exact": Stream(run("SELECT 1", max_rows=1) + execute(max_rows=1) + sync()),
    "max_rows_across_flush": Stream(
        run("SELECT id FROM items ORDER BY id", max_rows=4) + flush(),
        Wait(b"s"),
        execute(max_rows=4) + flush(),
        Wait(b"s"),
        execute(max_rows=4) + flush(),
        Wait(b"C"),
        sync(),
    ),
    "portal_ends_with_sync": Stream(
        run("SELECT id FROM items ORDER BY id", portal="p", max_rows=2)
        + sync()
        + execute("p")
        + sync()
    ),
    "portals_in_a_transaction": Stream(
        query("BEGIN")
        + parse("SELECT id FROM items WHERE id > $1 ORDER BY id", "s")
        + bind([0], "low", "s")
        + bind([5], "high", "s")
        + execute("low", 2)
        + execute("high", 2)
        + sync()
        + execute("low", 2)
        + execute("high", 0)
        + describe_portal("low")
        + close_portal("low")
        + sync()
        + execute("low")
        + sync()
        + query("ROLLBACK")
    ),
    "portal_name_twice": Stream(
        query("BEGIN")
        + run("SELECT 1", portal="p")
        + run("SELECT 2", portal="p")
        + sync()
        + query("ROLLBACK")
    ),
    "portal_as_cursor": Stream(
        query("BEGIN")
        + run("SELECT id FROM items ORDER BY id", portal="my_portal", max_rows=1)
        + sync()
        + queries("FETCH 2 FROM my_portal", "CLOSE my_portal", "FETCH my_portal", "COMMIT")
    ),
    "portal_survives_closing_its_statement": Stream(
        parse("SELECT 1", "s") + bind([], "p", "s") + close_statement("s") + execute("p") + sync()
    ),
    "cursors": Stream(
        queries(
            "BEGIN",
            "DECLARE c SCROLL CURSOR FOR SELECT id FROM items ORDER BY id",
            "FETCH 3 FROM c",
            "MOVE 2 IN c",
            "FETCH BACKWARD 1 FROM c",
            "CLOSE c",
            "FETCH c",
            "COMMIT",
        )
    ),
    "hold_cursor": Stream(
        queries(
            "DECLARE c CURSOR WITH HOLD FOR SELECT id FROM items ORDER BY id",
            "FETCH 2 FROM c",
            "FETCH 2 FROM c",
            "CLOSE c",
        ),
        pins=True,
    ),
    # --- COPY
    "copy_out": Stream(
        queries(
            "COPY items TO STDOUT",
            "COPY (SELECT 1 WHERE false) TO STDOUT",
            "COPY items TO STDOUT (FORMAT csv, HEADER)",
            "COPY items TO STDOUT (FORMAT binary)",
            "COPY nope TO STDOUT",
        )
    ),
    "copy_out_error_midway": Stream(
        queries("COPY (SELECT 10 / (5 - id) FROM items ORDER BY id) TO STDOUT", "SELECT 1")
    ),
    "copy_out_extended": Stream(run("COPY items TO STDOUT") + run("SELECT 1") + sync()),
    "copy_in": Stream(
        query("COPY target FROM STDIN"),
        Wait(b"G"),
        COPY_ROWS + copy_done() + query("SELECT * FROM target"),
    ),
    "copy_in_unasked": Stream(
        query("COPY target FROM STDIN") + COPY_ROWS + copy_done() + query("SELECT * FROM target")
    ),
    "copy_in_nothing": Stream(query("COPY target FROM STDIN") + copy_done()),
    "copy_in_empty_messages": Stream(
        query("COPY target FROM STDIN") + copy_data(b"") + COPY_ROWS + copy_data(b"") + copy_done()
    ),
    "copy_in_flush_and_sync_inside": Stream(
        query("COPY target FROM STDIN")
        + COPY_ROWS
        + sync()
        + flush()
        + COPY_ROWS
        + copy_done()
        + query("SELECT count(*) FROM target")
    ),
    "copy_in_bad_row": Stream(
        query("COPY target FROM STDIN")
        + BAD_ROWS
        + copy_done()
        + query("SELECT count(*) FROM target")
    ),
    "copy_in_bad_row_waiting": Stream(
        query("COPY target FROM STDIN"),
        Wait(b"G"),
        BAD_ROWS + copy_data(b"9\tx\n") * 5 + copy_done(),
        Wait(b"Z"),
        query("SELECT count(*) FROM target"),
    ),
    "copy_in_data_after_the_failure": Stream(
        query("COPY target (id) FROM STDIN") + copy_data(b"x\n"),
        Wait(b"Z"),
        copy_data(b"late\n") + copy_data(b"late\n") + copy_done() + query("SELECT 1"),
    ),
    "copy_in_fail": Stream(
        query("COPY target FROM STDIN")
        + COPY_ROWS
        + copy_fail("changed my mind")
        + query("SELECT count(*) FROM target")
    ),
    "copy_in_transaction": Stream(
        queries("BEGIN", "COPY target FROM STDIN")
        + COPY_ROWS
        + copy_done()
        + queries("SELECT count(*) FROM target", "ROLLBACK", "SELECT count(*) FROM target")
    ),
    "copy_in_transaction_fails": Stream(
        queries("BEGIN", "COPY target FROM STDIN")
        + BAD_ROWS
        + copy_done()
        + queries("SELECT 1", "COMMIT", "SELECT count(*) FROM target")
    ),
    "copy_in_extended": Stream(
        run("COPY target FROM STDIN"),
        COPY_ROWS + copy_done() + run("SELECT count(*) FROM target") + sync(),
    ),
    "copy_in_extended_sync_inside": Stream(
        run("COPY target FROM STDIN")
        + sync()
        + COPY_ROWS
        + sync()
        + flush()
        + copy_done()
        + sync()
        + query("SELECT count(*) FROM target")
    ),
    "copy_in_extended_bad_row": Stream(
        run("COPY target FROM STDIN")
        + BAD_ROWS
        + copy_done()
        + run("SELECT 1")
        + sync()
        + query("SELECT count(*) FROM target")
    ),
    "copy_in_extended_fail": Stream(
        run("COPY target FROM STDIN")
        + copy_fail("no")
        + run("SELECT 1")
        + sync()
        + query("SELECT 2")
    ),
    "copy_in_unknown_table": Stream(
        query("COPY nope FROM STDIN") + COPY_ROWS + copy_done() + query("SELECT 1")
    ),
    "copy_in_query_inside": Stream(
        query("COPY target FROM STDIN")
        + COPY_ROWS
        + query("SELECT 'inside'")
        + query("SELECT 'behind'")
    ),
    "copy_in_binary": Stream(
        query("COPY target FROM STDIN (FORMAT binary)")
        + copy_data(BINARY_HEAD + BINARY_ROW + struct.pack("!h", -1))
        + copy_done()
        + query("SELECT * FROM target")
    ),
    "copy_end_marker": Stream(
        query("COPY target FROM STDIN")
        + COPY_ROWS
        + copy_data(b"\\.\n")
        + copy_done()
        + query("SELECT count(*) FROM target")
    ),
    "copy_twice_in_one_query": Stream(
        query("COPY target FROM STDIN; COPY target FROM STDIN; SELECT count(*) FROM target")
        + COPY_ROWS
        + copy_done()
        + COPY_ROWS
        + copy_done()
    ),
    "copy_fails_in_a_multi_statement": Stream(
        query("COPY target FROM STDIN; SELECT 1") + BAD_ROWS + copy_done() + query("SELECT 2")
    ),
    "copy_out_in_multi_statement": Stream(
        query("SELECT 1; COPY items TO STDOUT; SELECT 2; COPY items TO STDOUT")
    ),
    "copy_messages_without_copy": Stream(
        COPY_ROWS + copy_done() + copy_fail("x") + query("SELECT 1")
    ),
    # --- FunctionCall
    "function_call": Stream(
        function_call(INT4PL, [2, 3])
        + function_call(INT4PL, [struct.pack("!i", 2), struct.pack("!i", 3)], [1], 1)
        + function_call(INT4PL, [None, 3])
        + function_call(INT4PL, [1])
        + function_call(0, [])
        + query("SELECT 1")
    ),
    "function_call_in_transactions": Stream(
        query("BEGIN")
        + function_call(INT4PL, [2, 3])
        + function_call(INT4PL, ["x", 3])
        + function_call(INT4PL, [2, 3])
        + query("ROLLBACK")
    ),
    "function_call_after_pipeline": Stream(
        run("SELECT 1") + function_call(INT4PL, [2, 3]) + sync()
    ),
    "function_call_after_error": Stream(run("SELECT 1/0") + function_call(INT4PL, [2, 3]) + sync()),
    # --- parameters
    "set_reports": Stream(
        queries(
            "SET application_name = 'renamed'",
            "SET TimeZone = 'Asia/Tokyo'",
            "SET DateStyle = 'German'",
            "SELECT timestamptz '2020-02-02 02:02:02+00'",
            "SET IntervalStyle = 'iso_8601'",
            "SET TimeZone TO DEFAULT",
            "SET standard_conforming_strings = off",
            "SELECT '\\x'",
        )
    ),
    "set_without_report": Stream(
        queries(
            "SET work_mem = '8MB'",
            "SHOW work_mem",
            "RESET work_mem",
            "SHOW work_mem",
            "SET no_such_parameter = 1",
            "SET work_mem = 'nonsense'",
            "SET app.user_id = '7'",
            "SHOW app.user_id",
            "SELECT current_setting('app.nope')",
            "SET SESSION CHARACTERISTICS AS TRANSACTION READ ONLY",
            "INSERT INTO target VALUES (1, 'x')",
            "SET default_transaction_read_only = off",
            "SHOW TIME ZONE",
            "SET NAMES 'UTF8'",
        )
    ),
    "set_config": Stream(
        queries(
            "SELECT set_config('application_name', 'by function', false)",
            "SHOW application_name",
            "SELECT set_config('app.x', 'y', false)",
            "SELECT current_setting('app.x')",
            "BEGIN",
            "SELECT set_config('application_name', 'local', true)",
            "COMMIT",
            "SHOW application_name",
        )
    ),
    "set_rolled_back": Stream(
        queries(
            "SET application_name = 'before'",
            "BEGIN",
            "SET application_name = 'inside'",
            "SET TimeZone = 'Asia/Tokyo'",
            "SHOW application_name",
            "ROLLBACK",
            "SHOW application_name",
            "SHOW TimeZone",
            "BEGIN",
            "SET application_name = 'committed'",
            "COMMIT",
            "SHOW application_name",
        )
    ),
    "set_savepoints": Stream(
        queries(
            "BEGIN",
            "SET TimeZone = 'Asia/Tokyo'",
            "SAVEPOINT s",
            "SET TimeZone = 'Europe/Berlin'",
            "ROLLBACK TO s",
            "SHOW TimeZone",
            "COMMIT",
            "SHOW TimeZone",
        )
    ),
    "set_in_failed_block": Stream(
        queries(
            "BEGIN",
            "SET application_name = 'inside'",
            "SELECT 1/0",
            "SET application_name = 'failed'",
            "COMMIT",
            "SHOW application_name",
        )
    ),
    "set_in_multi_statement": Stream(
        queries(
            "SET application_name = 'first'; SELECT 1/0",
            "SHOW application_name",
            "SET application_name = 'second'; SHOW application_name; SELECT 1",
            "SHOW application_name",
        )
    ),
    "set_local": Stream(
        queries(
            "BEGIN",
            "SET LOCAL TimeZone = 'Asia/Tokyo'",
            "SHOW TimeZone",
            "COMMIT",
            "SHOW TimeZone",
            "SET LOCAL TimeZone = 'Asia/Tokyo'",
            "SHOW TimeZone",
        )
    ),
    "set_extended": Stream(
        run("SET application_name = 'extended'")
        + run("SHOW application_name")
        + run("SELECT 1/0")
        + sync()
        + run("SHOW application_name")
        + sync()
        + run("SET application_name = 'kept'")
        + sync()
        + run("SHOW application_name")
        + sync()
    ),
    "reset": Stream(
        queries(
            "SET application_name = 'x'",
            "RESET application_name",
            "SHOW application_name",
            "SET TimeZone = 'Asia/Tokyo'",
            "SET work_mem = '9MB'",
            "RESET ALL",
            "SHOW TimeZone",
            "SHOW work_mem",
            "SHOW application_name",
            "RESET no_such_parameter",
        )
    ),
    "set_role": Stream(
        queries(
            "SET ROLE other",
            "SELECT current_user, session_user",
            "RESET ROLE",
            "SELECT current_user",
            "SET ROLE no_such_role",
            "SET SESSION AUTHORIZATION other",
        ),
        pins=True,
    ),
    # --- other session state
    "temporary_table": Stream(
        queries(
            "CREATE TEMP TABLE scratch (id int)",
            "INSERT INTO scratch VALUES (1)",
            "SELECT * FROM scratch",
            "DROP TABLE scratch",
            "SELECT * FROM scratch",
        ),
        pins=True,
        tables=True,
    ),
    "advisory_lock": Stream(
        queries(
            "SELECT pg_advisory_lock(4711)",
            "SELECT pg_advisory_unlock(4711)",
            "SELECT pg_advisory_unlock(4711)",
            "BEGIN",
            "SELECT pg_advisory_xact_lock(4711)",
            "COMMIT",
        ),
        pins=True,
    ),
    "listen_notify": Stream(
        query("LISTEN differential"),
        Wait(b"Z"),
        queries("NOTIFY differential, 'one'", "SELECT pg_notify('differential', 'two')"),
        Wait(b"Z", 2),
        queries(
            "BEGIN",
            "NOTIFY differential, 'three'",
            "COMMIT",
            "UNLISTEN differential",
            "NOTIFY differential",
        ),
    ),
    # --- bulk
    "huge_row": Stream(query("SELECT repeat('x', 8 * 1024 * 1024)"), query("SELECT 1")),
    "huge_parameter": Stream(
        run("SELECT length($1), $1", b"y" * (8 << 20)) + run("SELECT 2") + sync()
    ),
    "huge_query_text": Stream(query("SELECT '" + "z" * (2 << 20) + "'"), query("SELECT 1")),
    "huge_copy_message": Stream(
        query("COPY target FROM STDIN")
        + copy_data(b"1\t" + b"w" * (4 << 20) + b"\n")
        + copy_done()
        + query("SELECT id, length(note) FROM target")
    ),
    "many_rows": Stream(query("SELECT g, md5(g::text) FROM generate_series(1, 50000) g")),
    "many_simple_queries": Stream(queries(*(f"SELECT {i}" for i in range(2000)))),
    "many_batches": Stream(b"".join(run("SELECT $1::int", i) + sync() for i in range(2000))),
    "one_long_pipeline": Stream(b"".join(run("SELECT $1::int", i) for i in range(2000)) + sync()),
    "many_named_batches": Stream(
        parse("SELECT $1::int", "n") + b"".join(again("n", i) + sync() for i in range(2000))
    ),
}
