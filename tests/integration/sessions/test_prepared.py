"""Prepared statements over shared server connections behave as on a private one."""

import pytest

from harness.messages import (
    bind,
    close_statement,
    describe_statement,
    execute,
    flush,
    parse,
    row_values,
    sync,
)
from harness.raw_client import first_error
from harness.replies import succeeded, values

COUNT = "SELECT count(*) FROM pg_prepared_statements"


def run(client, *parts):
    client.send(b"".join(parts) + sync())
    return client.read_until(b"Z")


def hold_its_connection(clients, client):
    """Of the two server connections of the route: the client gets the other one, until the returned
    session commits."""
    here = client.value("SELECT pg_backend_pid()")
    blockers = {}
    for blocker in (clients("two"), clients("two")):
        blocker.query("BEGIN")
        blockers[blocker.value("SELECT pg_backend_pid()")] = blocker
    held = blockers.pop(here)
    for blocker in blockers.values():
        blocker.query("COMMIT")
    return held


def prepare(client, name, sql, types=()):
    found = run(client, parse(sql, name, types))
    assert [kind for kind, _ in found] == [b"1", b"Z"], found


def call(client, name, *arguments):
    return values(succeeded(run(client, bind(arguments, statement=name) + execute())))


def test_names_belong_to_the_session(clients):
    first, second = clients("one"), clients("one")
    prepare(first, "s", "SELECT 'first' || $1::text")
    prepare(second, "s", "SELECT 'second' || $1::text")
    for _ in range(3):
        assert call(first, "s", "!") == ["first!"]
        assert call(second, "s", "?") == ["second?"]
    third = clients("one")
    assert first_error(run(third, bind(statement="s")))["C"] == "26000"


def test_equal_statements_share_one_on_the_server(clients):
    sessions = [clients("one") for _ in range(5)]
    before = int(sessions[0].value(COUNT))
    for number, client in enumerate(sessions):
        prepare(client, f"name_{number}", "SELECT 'shared', $1::int")
        assert values(run(client, bind([7], statement=f"name_{number}") + execute())) == ["shared"]
    assert int(sessions[0].value(COUNT)) == before + 1


def test_same_text_with_other_types_is_another_statement(clients):
    first, second = clients("one"), clients("one")
    prepare(first, "s", "SELECT pg_typeof($1)", [23])
    prepare(second, "s", "SELECT pg_typeof($1)", [25])
    for _ in range(2):
        assert call(first, "s", "1") == ["integer"]
        assert call(second, "s", "1") == ["text"]


def test_statements_follow_to_another_server_connection(clients, elsewhere):
    client = clients("two")
    prepare(client, "moved", "SELECT $1::int + 1")
    prepare(client, "never_used_here", "SELECT $1::int + 2")
    assert call(client, "moved", 1) == ["2"]
    elsewhere(client)
    assert call(client, "moved", 2) == ["3"]
    found = run(client, describe_statement("never_used_here"))
    assert [kind for kind, _ in found] == [b"t", b"T", b"Z"]
    assert call(client, "never_used_here", 2) == ["4"]


def test_the_unnamed_statement_follows_too(clients, elsewhere):
    client = clients("two")
    prepare(client, "", "SELECT $1::int * 10")
    blockers = [clients("two"), clients("two")]
    pids = []
    for blocker in blockers:
        blocker.query("BEGIN")
        pids.append(blocker.value("SELECT pg_backend_pid()"))
    for blocker in blockers:  # whichever is given back, the statement is there
        blocker.query("COMMIT")
        assert call(client, "", 4) == ["40"]
        blocker.query("BEGIN")


@pytest.mark.parametrize("name", ["", "named"])
def test_described_in_one_batch_and_run_in_the_next(clients, name):
    """lib/pq describes every statement before it binds it: what the second batch leaves is state,
    too. The advisory lock of a migration was left behind on a connection for everybody."""

    def run_later(client, sql, *arguments):
        found = run(client, parse(sql, name) + describe_statement(name))
        assert [kind for kind, _ in found][:2] == [b"1", b"t"], found
        found = run(client, bind(arguments, statement=name) + execute())
        run(client, close_statement(name))
        return values(succeeded(found))

    client, other = clients("one"), clients("one", application_name="other's")
    assert run_later(client, "SELECT set_config('work_mem', $1, false)", "7MB") == ["7MB"]
    assert other.value("SHOW work_mem") == "4MB"
    assert run_later(client, "SHOW work_mem") == ["7MB"]
    assert run_later(client, "SET work_mem TO DEFAULT") == []
    assert run_later(client, "SHOW work_mem") == ["4MB"]
    assert run_later(other, "SET application_name TO DEFAULT") == []
    assert run_later(other, "SHOW application_name") == ["other's"]
    clients_of_two = clients("two"), clients("two")
    run_later(clients_of_two[0], "SELECT pg_advisory_lock($1)", 717171)
    here = run_later(clients_of_two[0], "SELECT pg_backend_pid()")
    assert run_later(clients_of_two[1], "SELECT pg_try_advisory_lock($1)", 717171) == ["f"]
    assert run_later(clients_of_two[0], "SELECT pg_backend_pid()") == here
    assert run_later(clients_of_two[0], "SELECT pg_advisory_unlock($1)", 717171) == ["t"]
    run_later(clients_of_two[0], "BEGIN")
    run_later(clients_of_two[0], "SET LOCAL work_mem = '9MB'")
    assert run_later(clients_of_two[0], "SHOW work_mem") == ["9MB"]
    run_later(clients_of_two[0], "COMMIT")
    assert run_later(clients_of_two[1], "SELECT pg_try_advisory_lock($1)", 717171) == ["t"]


def test_pipelined_prepare_and_use(clients):
    sessions = [clients("one") for _ in range(3)]
    for client in sessions:
        client.send(
            b"".join(parse(f"SELECT {i}, $1::int", f"n{i}") for i in range(30))
            + b"".join(bind([i], statement=f"n{i}") + execute() for i in range(30))
            + sync()
        )
    for client in sessions:
        assert values(client.read_until(b"Z")) == [str(i) for i in range(30)]


def test_eviction_keeps_the_newest(clients):
    client = clients("cache")
    for number in range(6):
        prepare(client, f"e{number}", f"SELECT {number}")
    for _ in range(2):
        for number in range(6):
            assert call(client, f"e{number}") == [str(number)]
            assert int(client.value(COUNT)) <= 2


def test_eviction_inside_one_pipeline(clients):
    """Six statements through a cache of two without a Sync between: no Close overtakes a Bind."""
    client = clients("cache")
    for number in range(6):
        prepare(client, f"p{number}", f"SELECT {number} + $1::int")
    order = [0, 1, 2, 3, 4, 5, 5, 0, 4, 1, 3, 2, 0, 0, 5]
    found = run(client, *(bind([100], statement=f"p{i}") + execute() for i in order))
    assert values(found) == [str(100 + i) for i in order]


def test_eviction_with_portals_open(clients):
    client = clients("cache")
    for number in range(4):
        prepare(client, f"o{number}", f"SELECT g + {number * 100} FROM generate_series(1, 3) g")
    client.query("BEGIN")
    found = run(
        client,
        *(bind([], f"portal{i}", f"o{i}") for i in range(4)),
        *(execute(f"portal{i}", 1) for i in range(4)),
        *(execute(f"portal{i}", 0) for i in range(4)),
    )
    assert values(found) == [
        "1",
        "101",
        "201",
        "301",
        "2",
        "3",
        "102",
        "103",
        "202",
        "203",
        "302",
        "303",
    ]
    client.query("COMMIT")


def test_eviction_and_errors(clients):
    """Swallowed Parse and Close around an error must not shift the client's own replies."""
    client = clients("cache")
    for number in range(5):
        prepare(client, f"f{number}", f"SELECT {number} / $1::int")
    for _ in range(3):
        found = run(
            client,
            bind([1], statement="f3") + execute(),
            bind([0], statement="f4") + execute(),
            bind([1], statement="f1") + execute(),
        )
        # Whether the division fails at Bind or at Execute is the planner's choice.
        kinds = [kind for kind, _ in found if kind != b"2"]
        assert kinds == [b"D", b"C", b"E", b"Z"], found
        assert call(client, "f1", 1) == ["1"]
        assert call(client, "f4", 2) == ["2"]


def test_eviction_in_a_failed_transaction(clients):
    client = clients("cache")
    for number in range(4):
        prepare(client, f"g{number}", f"SELECT {number}")
    client.query("BEGIN")
    assert call(client, "g0") == ["0"]
    client.query("SELECT 1/0")
    for number in range(4):
        found = run(client, bind(statement=f"g{number}") + execute())
        assert first_error(found)["C"] == "25P02", found
        assert found[-1] == (b"Z", b"E")
    client.query("ROLLBACK")
    for number in range(4):
        assert call(client, f"g{number}") == [str(number)]


def test_eviction_between_sessions(clients):
    sessions = [clients("cache") for _ in range(4)]
    for number, client in enumerate(sessions):
        prepare(client, "mine", f"SELECT {number}")
    for _ in range(3):
        for number, client in enumerate(sessions):
            client.send(bind(statement="mine") + execute() + sync())
        for number, client in enumerate(sessions):
            assert values(client.read_until(b"Z")) == [str(number)]


def test_deallocate_touches_only_ones_own(clients):
    first, second = clients("one"), clients("one")
    for how in ("DEALLOCATE s", "DEALLOCATE ALL", "DISCARD ALL"):
        prepare(first, "s", "SELECT 'x'")
        prepare(second, "s", "SELECT 'x'")
        assert call(first, "s") == call(second, "s") == ["x"]
        first.query(how)
        assert first_error(run(first, bind(statement="s")))["C"] == "26000", how
        assert call(second, "s") == ["x"], how
        run(second, close_statement("s"))
        found = first.query("DEALLOCATE s")
        assert first_error(found)["C"] == "26000"


def test_close_touches_only_ones_own(clients):
    first, second = clients("one"), clients("one")
    prepare(first, "s", "SELECT 'x'")
    prepare(second, "t", "SELECT 'x'")
    run(first, close_statement("s"))
    assert call(second, "t") == ["x"]
    assert first_error(run(first, bind(statement="s")))["C"] == "26000"


def test_a_failed_parse_poisons_nobody(clients):
    """A text that fails for one session may be right for the next, after DDL for example."""
    first, second = clients("one"), clients("one")
    first.query("DROP TABLE IF EXISTS later")
    found = run(first, parse("SELECT note FROM later", "s"))
    assert first_error(found)["C"] == "42P01"
    first.query("CREATE TABLE later AS SELECT 'now' AS note")
    prepare(second, "s", "SELECT note FROM later")
    assert call(second, "s") == ["now"]
    prepare(first, "s", "SELECT note FROM later")
    assert call(first, "s") == ["now"]
    first.query("DROP TABLE later")


def test_a_parse_skipped_by_an_error_is_not_registered(clients):
    client = clients("one")
    found = run(client, parse("SELECT 1/0") + bind() + execute(), parse("SELECT 1", "skipped"))
    assert first_error(found)["C"] == "22012"
    assert first_error(run(client, bind(statement="skipped")))["C"] == "26000"
    prepare(client, "skipped", "SELECT 2")
    assert call(client, "skipped") == ["2"]


@pytest.mark.parametrize("by", ["itself", "another session", "the server's owner"])
def test_ddl_that_changes_the_result(pg, clients, by):
    """A private connection recovers by parsing anew: so must a shared statement, for everybody."""
    client, other = clients("one"), clients("one")
    client.query("DROP TABLE IF EXISTS changing; CREATE TABLE changing AS SELECT 1 AS a")
    for session in (client, other):
        prepare(session, "s", "SELECT * FROM changing")
        assert call(session, "s") == ["1"]
    ddl = "ALTER TABLE changing ADD COLUMN b text DEFAULT 'new'"
    if by == "itself":
        client.query(ddl)
    elif by == "another session":
        clients("two").query(ddl)
    else:
        pg.admin(ddl)
    third = clients("one")
    found = run(third, parse("SELECT * FROM changing", "s") + bind(statement="s") + execute())
    assert [row_values(b) for k, b in found if k == b"D"] == [[b"1", b"new"]], found
    for session in (client, other):
        found = run(session, bind(statement="s") + execute())
        if any(kind == b"E" for kind, _ in found):
            assert first_error(found)["C"] == "0A000", first_error(found)
            run(session, close_statement("s"))
            prepare(session, "s", "SELECT * FROM changing")
            found = run(session, bind(statement="s") + execute())
        assert [row_values(b) for k, b in found if k == b"D"] == [[b"1", b"new"]], found
    client.query("DROP TABLE changing")


def test_ddl_and_then_another_server_connection(clients, elsewhere):
    """Parsed anew elsewhere, the statement has more columns than its client asks formats for."""
    client = clients("two")
    client.query("DROP TABLE IF EXISTS changing; CREATE TABLE changing AS SELECT 1 AS a, 2 AS b")
    prepare(client, "s", "SELECT * FROM changing")
    two_formats = bind(statement="s", result_formats=[1, 0]) + execute()
    assert [row_values(b) for k, b in run(client, two_formats) if k == b"D"] == [[b"\0\0\0\1", b"2"]]
    client.query("ALTER TABLE changing ADD COLUMN c int")
    elsewhere(client)
    fields = first_error(run(client, two_formats))
    assert (fields["C"], fields["R"]) == ("0A000", "RevalidateCachedQuery"), fields
    assert fields["M"] == "cached plan must not change result type"
    # A wrong count of formats is still the client's own mistake.
    prepare(client, "t", "SELECT 1")
    for _ in range(2):  # also where it has been used
        wrong = run(client, bind(statement="t", result_formats=[1, 1, 1]) + execute())
        assert first_error(wrong)["C"] == "08P01"
        assert call(client, "t") == ["1"]
    client.query("DROP TABLE changing")


@pytest.mark.parametrize("by", ["the client", "somebody else"])
@pytest.mark.parametrize(
    "change",
    ["ADD COLUMN c int", "RENAME b TO z", "ALTER a TYPE bigint", "ALTER b TYPE varchar(9)"],
)
def test_columns_that_the_client_was_not_told_of(pg, clients, change, by):
    """Clients that describe a statement once (asyncpg, tokio-postgres) read rows by what it said."""
    client = clients("two")
    client.query("DROP TABLE IF EXISTS told; CREATE TABLE told AS SELECT 1 AS a, 'x'::varchar AS b")
    text = "SELECT * FROM told WHERE a = $1"
    described = run(client, parse(text, "s") + describe_statement("s"))
    assert not any(kind == b"E" for kind, _ in described)
    assert call(client, "s", "1") == ["1"]
    held = hold_its_connection(clients, client)
    assert call(client, "s", "1") == ["1"]
    held.query("COMMIT")
    ddl = f"ALTER TABLE told {change}"
    if by == "the client":
        client.query(ddl)
    else:
        pg.admin(ddl)
    for _ in range(4):
        held = hold_its_connection(clients, client)
        fields = first_error(run(client, bind(["1"], statement="s") + execute()))
        assert (fields["C"], fields["R"]) == ("0A000", "RevalidateCachedQuery"), fields
        assert fields["M"] == "cached plan must not change result type"
        held.query("COMMIT")
    # As drivers do with that error.
    run(client, close_statement("s"))
    run(client, parse(text, "s") + describe_statement("s"))
    for _ in range(4):
        held = hold_its_connection(clients, client)
        assert call(client, "s", "1") == ["1"]
        held.query("COMMIT")
    client.query("DROP TABLE told")


def test_prepared_after_ddl_and_used_elsewhere(clients, elsewhere):
    """The plan of another server connection is from before the client's own Parse: asyncpg, which
    describes in one batch and uses in the next, got the error again after it had prepared anew."""
    client = clients("two")
    client.query("DROP TABLE IF EXISTS changing; CREATE TABLE changing AS SELECT 1 AS a, 2 AS b")
    prepare(client, "old", "SELECT * FROM changing")
    assert call(client, "old") == ["1"]
    held = hold_its_connection(clients, client)
    assert call(client, "old") == ["1"]
    held.query("COMMIT")
    client.query("ALTER TABLE changing DROP COLUMN a")
    run(client, close_statement("old"))
    described = parse("SELECT * FROM changing", "new") + describe_statement("new")
    assert [kind for kind, _ in run(client, described)] == [b"1", b"t", b"T", b"Z"]
    held = hold_its_connection(clients, client)
    assert call(client, "new") == ["2"]
    held.query("COMMIT")
    client.query("DROP TABLE changing")


def test_ddl_inside_a_transaction_fails_as_the_server_says(clients):
    client = clients("one")
    client.query("DROP TABLE IF EXISTS changing; CREATE TABLE changing AS SELECT 1 AS a")
    prepare(client, "s", "SELECT * FROM changing")
    assert call(client, "s") == ["1"]
    client.query("BEGIN")
    client.query("ALTER TABLE changing ADD COLUMN b int")
    found = run(client, bind(statement="s") + execute())
    assert first_error(found)["C"] == "0A000"
    assert "cached plan must not change result type" in first_error(found)["M"]
    assert found[-1] == (b"Z", b"E")
    client.query("ROLLBACK")
    assert call(client, "s") == ["1"]
    client.query("DROP TABLE changing")


def test_dropped_and_made_again(clients):
    client = clients("one")
    for kind, expected in (("int", "7"), ("bigint", "8"), ("text", "nine")):
        client.query("DROP TABLE IF EXISTS remade")
        client.query(f"CREATE TABLE remade AS SELECT '{expected}'::{kind} AS v")
        run(client, close_statement("s"))
        prepare(client, "s", "SELECT v FROM remade")
        assert call(client, "s") == [expected]
    client.query("DROP TABLE remade")


def test_sharing_minds_the_search_path(clients):
    """The same text means another table under another search_path."""
    owner = clients("one")
    owner.query(
        "DROP SCHEMA IF EXISTS path_a, path_b CASCADE; CREATE SCHEMA path_a; CREATE SCHEMA path_b;"
        "CREATE TABLE path_a.t AS SELECT 1 AS v; CREATE TABLE path_b.t AS SELECT 'b'::text AS v"
    )
    first, second = clients("one"), clients("one", options="-c search_path=path_b")
    first.query("SET search_path = path_a")
    prepare(first, "s", "SELECT v FROM t")
    prepare(second, "s", "SELECT v FROM t")
    for _ in range(3):
        assert call(first, "s") == ["1"]
        assert call(second, "s") == ["b"]
    owner.query("DROP SCHEMA path_a, path_b CASCADE")


def test_flush_between_parse_and_bind(clients):
    client = clients("cache")
    for number in range(4):
        client.send(parse(f"SELECT {number}", f"flushed{number}") + flush())
        assert client.read_message()[0] == b"1"
        client.send(bind(statement=f"flushed{number}") + execute() + flush())
        assert [client.read_message()[0] for _ in range(3)] == [b"2", b"D", b"C"]
    client.send(sync())
    assert client.read_message() == (b"Z", b"I")


def test_many_statements_in_many_sessions(clients):
    """More statements than fit anywhere, over two connections, in an order that never repeats."""
    sessions = [clients("cache") for _ in range(5)]
    for number, client in enumerate(sessions):
        client.send(b"".join(parse(f"SELECT {i} * {number}", f"m{i}") for i in range(20)) + sync())
        client.read_until(b"Z")
    for turn in range(40):
        for number, client in enumerate(sessions):
            i = (turn * 7 + number * 3) % 20
            assert call(client, f"m{i}") == [str(i * number)]
