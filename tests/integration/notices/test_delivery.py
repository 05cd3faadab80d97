"""Notices as clients meet them: told at once, kept in the tables, gone with their object."""

import psycopg
import pytest

from cases import IDENTICAL, NOTED_TWICE, NULLS
from harness import eventually
from harness.messages import bind, execute, parse, sync
from harness.replies import kinds
from watching import NOTICES, Told, config, told_in_time

REDACTED = "mz_internal.mz_notices_redacted"



def test_told_or_kept(client):
    """At once, unless the examination takes too long; in the tables in any case."""
    client.run("CREATE INDEX first ON noted.rows (id)")
    client.run("CREATE INDEX second ON noted.rows (id)")
    for each in client.notices:
        assert each == ("NOTICE", "00000", NOTED_TWICE)
    kept = eventually(client.kept, "the notice is kept", 10)
    assert list(kept) == [IDENTICAL]
    (row,) = client.run(
        "SELECT n.message, n.action, n.action_type, o.name, n.created_at IS NOT NULL"
        f" FROM {NOTICES} n JOIN mz_catalog.mz_objects o ON o.id = n.object_id"
    )
    assert row == (NOTED_TWICE, "DROP INDEX noted.second;", "sql_statements", "second", True)
    # The action is SQL that runs as printed, and cures.
    client.run(row[1])
    eventually(lambda: not client.kept(), "it is cured", 20)


@pytest.mark.slow  # 50 ms are not enough for a build with a sanitizer
def test_one_is_told_at_once(client):
    """Before the command's completion."""
    create = "CREATE VIEW noted.v AS SELECT * FROM noted.rows WHERE note = NULL"
    heard = told_in_time(
        lambda: client.hear(create), lambda: client.run("DROP VIEW noted.v"), client.count
    )
    told = 'view "noted.v" compares with NULL: note = NULL is never true'
    assert heard == [("NOTICE", "00000", told)]


def test_quiet_clients_hear_nothing(client):
    client.run("SET client_min_messages = warning")
    client.run("CREATE VIEW noted.quiet AS SELECT * FROM noted.rows WHERE note = NULL")
    assert client.notices == []
    eventually(client.kept, "it is kept all the same", 20)
    client.run("SET client_min_messages TO notice")


def test_a_rollback_leaves_none(client):
    with pytest.raises(psycopg.errors.DivisionByZero):
        with client.connection.transaction():
            client.run("CREATE VIEW noted.gone AS SELECT * FROM noted.rows WHERE note = NULL")
            client.run("SELECT 1/0")
    assert client.notices == []
    # Another one shows that what was rolled back has been looked for by then.
    client.run("CREATE MATERIALIZED VIEW noted.stays AS SELECT * FROM noted.rows")
    kept = eventually(client.kept, "the other is kept", 20)
    assert NULLS not in kept


def test_made_in_a_transaction(client):
    with client.connection.transaction():
        client.run("CREATE VIEW noted.inside AS SELECT * FROM noted.rows WHERE note = NULL")
        assert client.notices == []
    assert list(eventually(client.kept, "it is found after the commit", 20)) == [NULLS]


def test_status(client, watched):
    client.run("CREATE VIEW noted.v AS SELECT * FROM noted.rows WHERE note = NULL")
    _, fingerprint = eventually(client.kept, "the notice is kept", 20)[NULLS]
    assert len(client.run("SHOW NOTICES")) == 1
    client.run(f"ALTER NOTICE '{fingerprint}' SET STATUS = 'ignored'")
    assert client.run("SHOW NOTICES") == [] and len(client.run("SHOW NOTICES ALL")) == 1
    assert client.run(
        "SELECT fingerprint::text, ignored_by FROM mz_internal.mz_ignored_optimizer_notices"
    ) == [(fingerprint, "app")]
    # It outlives the object, and is there again with another of the same definition.
    client.run("DROP VIEW noted.v")
    eventually(lambda: not client.kept(), "it has gone with its view", 20)
    client.run("CREATE VIEW noted.v AS SELECT *  FROM noted.rows /* again */ WHERE note = NULL")
    again = eventually(client.kept, "it is found again", 20)
    assert again == {NULLS: ("ignored", fingerprint)}
    client.run(f"ALTER NOTICE '{fingerprint}' RESET STATUS")
    assert client.kept()[NULLS][0] == "new"
    for sql, code in (
        (f"ALTER NOTICE '{fingerprint}' SET STATUS 'gone'", "22023"),
        ("ALTER NOTICE 'no-uuid' SET STATUS 'ignored'", "22023"),
        ("ALTER NOTICE '9f2c1a34-0000-4000-8000-000000000000' RESET STATUS", "42704"),
    ):
        with pytest.raises(psycopg.Error) as refused:
            client.run(sql)
        assert refused.value.sqlstate == code, sql


def test_who_may_read(client, watched):
    secret = "not-for-support-4711"
    client.run(f"CREATE VIEW noted.v AS SELECT * FROM noted.rows WHERE note = NULL OR note = '{secret}'")
    client.run("CREATE VIEW noted.w AS SELECT id FROM noted.rows WHERE note LIKE '%4711' LIMIT 815")
    eventually(lambda: len(client.kept()) >= 2, "the notices are kept", 20)
    support = Told(watched, user="other")
    for relation in (REDACTED, "mz_internal.mz_optimizer_notices_redacted"):
        texts = str(support.run(f"SELECT message, hint, action FROM {relation}"))
        assert "4711" not in texts and "815" not in texts and "noted" in texts
    assert len(support.run("SHOW NOTICES")) >= 2
    assert "815" not in str(support.run("SHOW NOTICES"))
    nobody = Told(watched, user="reader")
    for told, sql in (
        (support, f"SELECT * FROM {NOTICES}"),
        (support, "SELECT * FROM mz_internal.mz_ignored_optimizer_notices"),
        (nobody, f"SELECT * FROM {REDACTED}"),
        (nobody, f"SELECT * FROM {NOTICES}"),
        (nobody, "SHOW NOTICES"),
    ):
        with pytest.raises(psycopg.errors.InsufficientPrivilege) as refused:
            told.run(sql)
        if sql.endswith(NOTICES):
            assert REDACTED in refused.value.diag.message_hint
    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        support.run("ALTER NOTICE '9f2c1a34-0000-4000-8000-000000000000' RESET STATUS")
    support.connection.close()
    nobody.connection.close()


def test_behind_its_back_and_after_a_restart(server, start_box):
    """What a direct connection does is found at the start."""
    server.admin("CREATE SCHEMA behind AUTHORIZATION app; CREATE TABLE behind.t (a int)")
    server.admin("CREATE INDEX one ON behind.t (a); CREATE INDEX two ON behind.t (a)")
    try:
        box = start_box(config(server))
        told = Told(box)
        kept = eventually(told.kept, "found at the start", 20)
        told.run(f"ALTER NOTICE '{next(iter(kept.values()))[1]}' SET STATUS 'resolved'")
        told.connection.close()
        server.admin("DROP INDEX behind.two")
        box.stop()
        again = start_box(config(server, catalog={"url": f"sqlite:{box.folder}/signalbox.db", "notices": True}))
        told = Told(again)
        eventually(lambda: not told.kept(), "what is gone is noticed at the start", 20)
        told.connection.close()
    finally:
        server.admin("DROP SCHEMA behind CASCADE")


@pytest.mark.slow  # 50 ms are not enough for a build with a sanitizer
def test_over_the_extended_protocol(client, watched):
    """Parse, Bind, Execute and Sync in one: the notice stands before CommandComplete."""
    raw = watched.raw()
    create = "CREATE VIEW noted.x AS SELECT * FROM noted.rows WHERE note = NULL"

    def make():
        raw.send(parse(create) + bind() + execute() + sync())
        order = kinds(raw.read_until(b"Z"))
        assert order in ("12CZ", "12NCZ")
        return order == "12NCZ"

    told_in_time(make, lambda: client.run("DROP VIEW noted.x"), client.count)
    raw.terminate()
