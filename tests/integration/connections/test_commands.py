"""Every statement about connections: what it answers, and what it refuses."""

import re

import pytest

from boxes import BOSS, PLAIN, TO, UNCHECKED, create, names, options_of, usable
from harness.replies import (
    PROTOCOLS,
    errors,
    noticed,
    notices,
    outcome,
    refused,
    rows,
    status,
    succeeded,
    tags,
)

# --- success


@PROTOCOLS
def test_the_life_of_a_connection(client, new_name, pg, ask):
    """Each statement's tag, and no rows, no notices."""
    name, other = new_name(), new_name()
    life = {
        create(name, pg.port, validate=True): "CREATE CONNECTION",
        f"VALIDATE CONNECTION {name}": "VALIDATE CONNECTION",
        f"ALTER CONNECTION {name} SET (CONNECT TIMEOUT = '3s')": "ALTER CONNECTION",
        f"ALTER CONNECTION {name} DROP (CONNECT TIMEOUT)": "ALTER CONNECTION",
        f"ALTER CONNECTION {name} RESET (DATABASE) {UNCHECKED}": "ALTER CONNECTION",
        f"ALTER CONNECTION {name} RENAME TO {other}": "ALTER CONNECTION",
        f"ALTER CONNECTION {other} OWNER TO {PLAIN}": "ALTER CONNECTION",
        f"DROP CONNECTION {other}": "DROP CONNECTION",
    }
    for sql, tag in life.items():
        found = succeeded(ask(client, sql), tag)
        assert outcome(found) == "CZ" and not notices(found) and status(found) == "I", (sql, found)
    assert not {name, other} & set(names(client))


@pytest.mark.parametrize(
    "text",
    [
        "create connection {} to postgres (host = 'h', port = 5433) with (validate = false)",
        "CREATE CONNECTION IF NOT EXISTS {} TO POSTGRES (HOST 'h', PORT '5433')"
        " WITH (VALIDATE false);",
        "/* a */ CREATE -- b\n CONNECTION {} /* /* c */ */ TO POSTGRES\n(HOST 'h', PORT 5433)"
        " WITH (VALIDATE = FALSE)",
        "CREATE CONNECTION {} TO POSTGRES (PORT=5433,HOST=$$h$$)WITH(VALIDATE=false)",
    ],
)
def test_spellings(client, new_name, box, text):
    """Case, comments, an optional =, a number or a string; the options in the grammar's order."""
    name = new_name()
    succeeded(client.query(text.format(name)), "CREATE CONNECTION")
    assert list(box.options(name).items()) == [("HOST", "h"), ("PORT", "5433")]


def test_several_groups_and_options(client, make, box):
    name = make()
    succeeded(
        client.query(
            f"ALTER CONNECTION {name} SET (HOST = 'a,b', PORT = '1,2'), SET (SSL MODE 'require'),"
            f" DROP (DATABASE, USER, USER), DROP (PASSWORD) {UNCHECKED}"
        ),
        "ALTER CONNECTION",
    )
    assert box.options(name) == {"HOST": "a,b", "PORT": "1,2", "SSL MODE": "require"}
    assert box.generation(name) == 2


def test_every_option_of_postgres_in_order(client, new_name, box):
    name = new_name()
    given = {
        "CONNECT TIMEOUT": "'7s'",
        "TARGET SESSION ATTRS": "'read-write'",
        "SSL KEY": "SECRET other",
        "SSL CERTIFICATE": "'/c.crt'",
        "SSL CERTIFICATE AUTHORITY": "'/a.crt'",
        "SSL MODE": "'verify-full'",
        "PASSWORD": "SECRET app",
        "USER": "'it''s \"me\"'",
        "DATABASE": "'d b'",
        "PORT": "1234",
        "HOST": "'h'",
    }
    text = ", ".join(f"{option} {value}" for option, value in given.items())
    found = client.query(f"CREATE CONNECTION {name} TO POSTGRES ({text}) {UNCHECKED}")
    if errors(found):
        # The plan may look at certificates already: then these three are left out.
        assert errors(found)[0]["C"] == "22023" and "SSL" in errors(found)[0]["M"], errors(found)
        given = {k: v for k, v in given.items() if not re.match("SSL (KEY|CERT)", k)}
        given["SSL MODE"] = "'require'"
        text = ", ".join(f"{option} {value}" for option, value in given.items())
        found = client.query(f"CREATE CONNECTION {name} TO POSTGRES ({text}) {UNCHECKED}")
    succeeded(found, "CREATE CONNECTION")
    create_sql = box.create_sql(name)
    assert list(options_of(create_sql)) == list(reversed(given))
    assert options_of(create_sql)["USER"] == "it's \"me\""
    assert options_of(create_sql)["PASSWORD"] == "SECRET app"
    assert "USER = 'it''s \"me\"'" in create_sql and not create_sql.rstrip().endswith(";")
    # It recreates the connection when run.
    succeeded(client.query(f"DROP CONNECTION {name}"))
    succeeded(client.query(f"{create_sql} {UNCHECKED}"), "CREATE CONNECTION")
    assert box.create_sql(name) == create_sql


def test_quoted_names(client, pg, box):
    name = '"My; ""Conn"""'
    succeeded(client.query(create(name, pg.port)), "CREATE CONNECTION")
    try:
        assert 'My; "Conn"' in names(client)
        ((shown, create_sql),) = rows(client.query(f"SHOW CREATE CONNECTION {name}"))
        assert shown == 'My; "Conn"' and create_sql.startswith(f"CREATE CONNECTION {name} TO ")
        refused(
            client.query(create(name, pg.port)),
            "42710",
            'connection "My; "Conn"" already exists',
        )
        refused(client.query('DROP CONNECTION "my; ""conn"""'), "42704")
    finally:
        succeeded(client.query(f"DROP CONNECTION {name}"), "DROP CONNECTION")


def test_names_fold(client, make):
    name = make()
    succeeded(client.query(f"ALTER CONNECTION {name.upper()} SET (PORT 9) {UNCHECKED}"))
    refused(
        client.query(f'DROP CONNECTION "{name.upper()}"'),
        "42704",
        f'connection "{name.upper()}" does not exist',
    )


def test_drop_of_several_is_whole(client, make, new_name):
    one, two, gone = make(), make(), new_name()
    refused(
        client.query(f"DROP CONNECTION {one}, {gone}, {two}"),
        "42704",
        f'connection "{gone}" does not exist',
    )
    assert {one, two} <= set(names(client))
    noticed(
        client.query(f"DROP CONNECTION IF EXISTS {one}, {gone}, {two} CASCADE"),
        "42704",
        f'connection "{gone}" does not exist, skipping',
    )
    assert not {one, two} & set(names(client))


def test_like(client, make):
    name = make()
    like = "SHOW CONNECTIONS LIKE '{}'"
    assert [r[0] for r in rows(client.query(like.format(name)))] == [name]
    assert [r[0] for r in rows(client.query(like.format("m__n")))] == ["main"]
    assert rows(client.query(like.format("m_n"))) == []
    assert "main" in [r[0] for r in rows(client.query(like.format("%")))]
    assert rows(client.query(like.format("MAIN"))) == []


def test_owners_and_types_are_shown(client, make):
    name = make()
    shown = {row[0]: row for row in rows(client.query("SHOW CONNECTIONS"))}
    assert shown[name][1:3] == ("postgres", BOSS)
    # One from the file belongs to no one.
    assert shown["main"][1] == "postgres" and not shown["main"][2]


@pytest.mark.parametrize("who", ["CURRENT_USER", "CURRENT_ROLE", "SESSION_USER"])
def test_owner_to_oneself(client, make, who):
    name = make()
    succeeded(client.query(f"ALTER CONNECTION {name} OWNER TO {PLAIN}"))
    succeeded(client.query(f"ALTER CONNECTION {name} OWNER TO {who}"))
    shown = {row[0]: row for row in rows(client.query("SHOW CONNECTIONS"))}
    assert shown[name][2] == BOSS


# --- errors


SYNTAX = {
    "ALTER CONNECTION main SET HOST = 'h'": "HOST",
    "ALTER CONNECTION main SET (HOST = 'h',)": ")",
    "ALTER CONNECTION main SET ()": ")",
    "ALTER CONNECTION main FROB (HOST)": "FROB",
    "ALTER CONNECTION main SET (HOST = 'h') WITH (CHECK = false)": "CHECK",
    "ALTER CONNECTION main RENAME c": "c",
    "ALTER CONNECTION IF NOT EXISTS main RENAME TO c": "NOT",
    "CREATE CONNECTION c TO ORACLE (HOST 'h')": "ORACLE",
    "CREATE CONNECTION c POSTGRES (HOST 'h')": "POSTGRES",
    "CREATE CONNECTION 'c' TO POSTGRES (HOST 'h')": "'c'",
    "DROP CONNECTION main CASCADE RESTRICT": "RESTRICT",
    "VALIDATE CONNECTION main twice": "twice",
    "SHOW CONNECTIONS LIKE main": "main",
    "SHOW CONNECTION STATUS FOR 'main'": "'main'",
    "/* größer */ ALTER CONNECTION main FROB (HOST)": "FROB",
}
UNFINISHED = [
    "ALTER CONNECTION main",
    "ALTER CONNECTION main SET (PORT 1",
    "CREATE CONNECTION c TO POSTGRES",
    "DROP CONNECTION main,",
    "VALIDATE CONNECTION",
    "SHOW CREATE CONNECTION",
    "SHOW CONNECTION HISTORY FOR",
]


@pytest.mark.parametrize("sql", SYNTAX)
@PROTOCOLS
def test_syntax(client, sql, ask):
    word = SYNTAX[sql]
    fields = refused(ask(client, sql), "42601", f'syntax error at or near "{word}"')
    assert fields["P"] == str(sql.rindex(word) + 1)
    usable(client)


@pytest.mark.parametrize("sql", UNFINISHED)
@PROTOCOLS
def test_syntax_at_the_end(client, sql, ask):
    fields = refused(ask(client, sql), "42601", "syntax error at end of input")
    assert fields["P"] == str(len(sql) + 1)
    usable(client)


@pytest.mark.parametrize("policy", ["pass", "split_on_rpc", "split"])
def test_syntax_inside_a_batch(clients, policy):
    """The position is that in the client's own text."""
    client = clients(f"policy_{policy}")
    batch = "SELECT 'ä;'; ALTER CONNECTION main FROB; SELECT 2"
    found = client.query(batch)
    (fields,) = errors(found)
    assert (fields["C"], fields["P"]) == ("42601", str(batch.index("FROB") + 1)), fields


@pytest.mark.parametrize(
    "sql",
    [
        f"ALTER CONNECTION nope SET (PORT 1) {UNCHECKED}",
        "ALTER CONNECTION nope RENAME TO other_name",
        "ALTER CONNECTION nope OWNER TO app",
        "DROP CONNECTION nope",
        "DROP CONNECTION nope RESTRICT",
        "VALIDATE CONNECTION nope",
        "SHOW CREATE CONNECTION nope",
        "SHOW CONNECTION STATUS FOR nope",
        "SHOW CONNECTION HISTORY FOR nope",
    ],
)
@PROTOCOLS
def test_unknown(client, sql, ask):
    refused(ask(client, sql), "42704", 'connection "nope" does not exist')
    usable(client)


@pytest.mark.parametrize(
    "sql",
    [
        "ALTER CONNECTION IF EXISTS nope SET (BROKER 'a', BROKER 'b')",
        "ALTER CONNECTION IF EXISTS nope RENAME TO main",
        "ALTER CONNECTION IF EXISTS nope OWNER TO app",
        "DROP CONNECTION IF EXISTS nope",
    ],
)
@PROTOCOLS
def test_if_exists(client, sql, ask):
    found = ask(client, sql)
    noticed(found, "42704", 'connection "nope" does not exist, skipping')
    assert tags(found) == [" ".join(sql.split()[:2])] and outcome(found) == "CZ"


@PROTOCOLS
def test_it_exists(client, make, box, pg, ask):
    name, other = make(), make()
    before = box.facts(name)
    refused(ask(client, create(name, pg.port)), "42710", f'connection "{name}" already exists')
    refused(
        ask(client, f"ALTER CONNECTION {other} RENAME TO {name}"),
        "42710",
        f'connection "{name}" already exists',
    )
    found = ask(client, f"CREATE CONNECTION IF NOT EXISTS {name} {TO} {UNCHECKED}")
    noticed(found, "42710", f'connection "{name}" already exists, skipping')
    assert tags(found) == ["CREATE CONNECTION"]
    assert box.facts(name) == before
    usable(client)


@pytest.mark.parametrize("option", ["BROKER", "BROKERS", "SERVICE NAME", "SASL PASSWORD"])
@pytest.mark.parametrize("action", ["SET ({} 'x')", "DROP ({})", "RESET ({})"])
@PROTOCOLS
def test_option_of_another_type(client, option, action, ask):
    refused(
        ask(client, f"ALTER CONNECTION main {action.format(option)}"),
        "42601",
        f"POSTGRES connections do not support {option} values",
    )


@pytest.mark.parametrize(
    "sql, message",
    [
        (
            "CREATE CONNECTION x TO POSTGRES (HOST 'h', BROKER 'b')",
            "POSTGRES connections do not support BROKER values",
        ),
        (
            "CREATE CONNECTION x TO KAFKA (BROKER 'b', HOST 'h')",
            "KAFKA connections do not support HOST values",
        ),
        (
            "CREATE CONNECTION x TO AWS PRIVATELINK (PORT 1)",
            "AWS PRIVATELINK connections do not support PORT values",
        ),
        ("CREATE CONNECTION x TO POSTGRES (HOST 'h', HOST 'h')", "HOST specified more than once"),
        (
            "ALTER CONNECTION main SET (SSL MODE 'prefer', SSL   MODE 'prefer')",
            "SSL MODE specified more than once",
        ),
        ("ALTER CONNECTION main SET (PORT 1), SET (port 1)", "PORT specified more than once"),
        (
            "ALTER CONNECTION main SET (HOST 'h'), DROP (HOST)",
            "cannot both SET and DROP/RESET options HOST",
        ),
        (
            "ALTER CONNECTION main RESET (PORT), SET (PORT 5)",
            "cannot both SET and DROP/RESET options PORT",
        ),
    ],
)
@PROTOCOLS
def test_options_that_do_not_go_together(client, sql, message, ask):
    refused(ask(client, sql), "42601", message)
    usable(client)


def test_drop_and_reset_conflict(client):
    found = client.query("ALTER CONNECTION main DROP (PORT), RESET (PORT)")
    assert "PORT" in refused(found, "42601")["M"]


@pytest.mark.parametrize(
    "sql, message",
    [
        ("CREATE CONNECTION x TO POSTGRES (PORT 1)", "HOST option is required"),
        (
            "CREATE CONNECTION x TO AWS PRIVATELINK (AVAILABILITY ZONES ('a'))",
            "SERVICE NAME option is required",
        ),
        (
            "CREATE CONNECTION x TO AWS PRIVATELINK (SERVICE NAME 's')",
            "AVAILABILITY ZONES option is required",
        ),
        (
            "ALTER CONNECTION main DROP (HOST)",
            "invalid ALTER CONNECTION: HOST option is required",
        ),
        (
            f"ALTER CONNECTION main SET (PORT 1), DROP (HOST) {UNCHECKED}",
            "invalid ALTER CONNECTION: HOST option is required",
        ),
    ],
)
@PROTOCOLS
def test_required(client, box, sql, message, ask):
    before = box.facts("main")
    refused(ask(client, sql), "22023", message)
    assert box.facts("main") == before


@pytest.mark.parametrize(
    "option, value",
    [
        ("PORT", "0"),
        ("PORT", "65536"),
        ("PORT", "'http'"),
        ("SSL MODE", "'sometimes'"),
        ("TARGET SESSION ATTRS", "'nearest'"),
        ("CONNECT TIMEOUT", "'soon'"),
        ("PASSWORD", "'Typed-Pw-777'"),
        ("SSL KEY", "'Typed-Pw-777'"),
        ("HOST", "SECRET app"),
        ("HOST", "''"),
    ],
)
@PROTOCOLS
def test_bad_value(client, box, option, value, ask):
    """Under CREATE and ALTER alike; what was typed for a secret is not repeated."""
    message = f"invalid {option} option value: …"
    host = "" if option == "HOST" else "HOST 'h', "
    fields = refused(
        ask(client, f"CREATE CONNECTION x TO POSTGRES ({host}{option} {value}) {UNCHECKED}"),
        "22023",
        message,
    )
    assert "Typed-Pw" not in str(fields)
    before = box.facts("main")
    fields = refused(
        ask(client, f"ALTER CONNECTION main SET ({option} = {value}) {UNCHECKED}"),
        "22023",
        "…" + message,
    )
    assert "Typed-Pw" not in str(fields)
    assert box.facts("main") == before and "x" not in names(client)


def test_lists_of_unequal_length(client):
    """libpq's meaning: one port for all hosts, or one for each."""
    sql = f"CREATE CONNECTION x TO POSTGRES (HOST 'a,b', PORT '1,2,3') {UNCHECKED}"
    assert "PORT" in refused(client.query(sql), "22023")["M"]


@PROTOCOLS
def test_unknown_secret(client, ask):
    for sql in (
        f"CREATE CONNECTION x TO POSTGRES (HOST 'h', PASSWORD SECRET no_such) {UNCHECKED}",
        f"ALTER CONNECTION main SET (PASSWORD = SECRET no_such) {UNCHECKED}",
    ):
        assert "no_such" in refused(ask(client, sql), "42704")["M"]


def test_unknown_private_link(client):
    sql = f"ALTER CONNECTION main SET (AWS PRIVATELINK = nope) {UNCHECKED}"
    refused(client.query(sql), "42704", 'connection "nope" does not exist')


@PROTOCOLS
def test_failed_validation_names_what_the_system_says(client, new_name, closed_port, ask):
    name = new_name()
    fields = refused(
        ask(client, create(name, closed_port, validate=True)),
        "08001",
        f'connection "{name}" failed validation: …',
    )
    assert "refused" in fields["M"].lower(), fields
    assert fields["D"] == f'Connection "{name}": host 127.0.0.1, port {closed_port}.'
    assert "VALIDATE = false" in fields["H"], fields
    assert name not in names(client)


@pytest.mark.parametrize(
    "change, text",
    [
        ("SET (USER = 'no_such_role')", 'password authentication failed for user "no_such_role"'),
        ("SET (PASSWORD = SECRET other)", 'password authentication failed for user "app"'),
        ("SET (DATABASE = 'no_such_database')", 'database "no_such_database" does not exist'),
        ("SET (HOST = 'no-such-host.invalid')", "no-such-host.invalid"),
        ("SET (TARGET SESSION ATTRS = 'standby')", "server is not in hot standby mode"),
    ],
)
@PROTOCOLS
def test_failed_validation_names_what_the_server_says(make, client, pg, box, change, text, ask):
    name = make()
    before = box.facts(name)
    fields = refused(
        ask(client, f"ALTER CONNECTION {name} {change}"),
        "08001",
        f'connection "{name}" failed validation: …',
    )
    assert text in fields["M"] or text in fields["D"], fields
    assert str(pg.port) in fields["D"] and "VALIDATE = false" in fields["H"], fields
    assert box.facts(name) == before
    # The hint is right.
    succeeded(ask(client, f"ALTER CONNECTION {name} {change} {UNCHECKED}"), "ALTER CONNECTION")
    refused(
        ask(client, f"VALIDATE CONNECTION {name}"),
        "08001",
        f'connection "{name}" failed validation: …',
    )


def test_validation_tries_every_host(client, make, pg, closed_port):
    name = make()
    hosts = f"HOST = '127.0.0.1,127.0.0.1', PORT = '{closed_port},{pg.port}'"
    succeeded(client.query(f"ALTER CONNECTION {name} SET ({hosts})"), "ALTER CONNECTION")


@PROTOCOLS
def test_in_use(client, ask):
    pattern = r'cannot drop connection "main" because route "\w+" depends on it'
    for cascade in ("", " RESTRICT", " CASCADE"):
        fields = refused(ask(client, f"DROP CONNECTION main{cascade}"), "2BP01")
        assert re.fullmatch(pattern, fields["M"]) and fields["H"], fields
    usable(client)


def test_in_use_by_a_route_that_waited_for_it(client, pg, box):
    """A route may name a connection that only the catalog has."""
    succeeded(client.query(create("later", pg.port)), "CREATE CONNECTION")
    with box.connect("later") as through:
        assert through.execute("SELECT 1").fetchone() == (1,)
    fields = refused(
        client.query("DROP CONNECTION later CASCADE"),
        "2BP01",
        'cannot drop connection "later" because route "later" depends on it',
    )
    assert fields["H"]


@PROTOCOLS
def test_those_of_the_file_are_neither_renamed_nor_dropped(client, ask):
    for sql, verb in (
        ("ALTER CONNECTION spare RENAME TO rest", "rename"),
        ("DROP CONNECTION spare CASCADE", "drop"),
    ):
        fields = refused(
            ask(client, sql),
            "0A000",
            f'cannot {verb} connection "spare" because the configuration file names it',
        )
        assert "reload" in fields["H"], fields
    assert "spare" in names(client)
    assert refused(ask(client, "ALTER CONNECTION main RENAME TO rest"), {"2BP01", "0A000"})


@pytest.mark.parametrize(
    "sql",
    [
        f"CREATE CONNECTION x TO KAFKA (BROKER 'b:9092') {UNCHECKED}",
        "CREATE CONNECTION x TO KAFKA (BROKERS ('b:1', 'c:2'), SASL PASSWORD SECRET app)",
        "CREATE CONNECTION x TO AWS PRIVATELINK (SERVICE NAME 's', AVAILABILITY ZONES ('a', 'b'))",
    ],
)
@PROTOCOLS
def test_types_that_come_later(client, sql, ask):
    label = "KAFKA" if "KAFKA" in sql else "AWS PRIVATELINK"
    refused(ask(client, sql), "0A000", f"{label} connections are not supported yet")
    assert "x" not in names(client)


# --- the order of checks


@pytest.mark.parametrize(
    "user, sql, code",
    [
        (PLAIN, "ALTER CONNECTION nope SET (BROKER 'b') WITH (CHECK = true)", "42601"),
        (PLAIN, "ALTER CONNECTION nope SET (BROKER 'b')", "42704"),
        (PLAIN, "ALTER CONNECTION main SET (BROKER 'b')", "42501"),
        (PLAIN, "CREATE CONNECTION x TO POSTGRES (BROKER 'b')", "42501"),
        (PLAIN, "DROP CONNECTION main", "42501"),
        (PLAIN, "DROP CONNECTION nope", "42704"),
        (PLAIN, "ALTER CONNECTION own_role RENAME TO main", "42501"),
        (BOSS, "ALTER CONNECTION main SET (BROKER 'b', BROKER 'b')", "…do not support BROKER"),
        (BOSS, "ALTER CONNECTION main SET (PORT 0, PORT 0), DROP (PORT)", "…PORT specified more"),
        (BOSS, "ALTER CONNECTION main SET (PORT 0), DROP (PORT)", "…cannot both SET and DROP"),
        (BOSS, "ALTER CONNECTION main SET (PORT 0, USER 'no_such_role')", "…invalid PORT option"),
        (BOSS, "CREATE CONNECTION x TO KAFKA (BROKER 'b', HOST 'h')", "…do not support HOST"),
    ],
)
def test_order(clients, user, sql, code):
    """Parse, find, privilege, options, duplicates, conflicts, plan, validation."""
    found = clients(user=user).query(sql)
    if code.startswith("…"):
        assert code[1:] in errors(found)[0]["M"], errors(found)
    else:
        refused(found, code)
