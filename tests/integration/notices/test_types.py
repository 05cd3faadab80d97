"""What the notice types say about a real server's objects: the tool signalbox_notices prints it."""

import pathlib

import psycopg
import pytest

from cases import (
    CUSTOMERS,
    FIRES,
    FIRES_AND_IS_CURED,
    FOREIGN,
    JOIN,
    LIMIT,
    MATERIALIZED,
    MATVIEW,
    TABLES,
    TOO_WIDE,
    VIEW,
    Database,
)

WELL_MADE = pathlib.Path(__file__).parent / "well_made.sql"


@pytest.fixture
def database(pg, request):
    name = f"notices_{abs(hash(request.node.nodeid)) % 10**8}"
    with psycopg.connect(
        f"postgresql://postgres@/postgres?host={pg.socket_dir}&port={pg.port}", autocommit=True
    ) as admin:
        admin.execute(f"CREATE DATABASE {name}")
        made = Database(pg, name)
        made.run(TABLES)
        assert made.notices() == []
        yield made
        made.connection.close()
        admin.execute(f"DROP DATABASE {name} WITH (FORCE)")


@pytest.mark.parametrize("ddl, kind, message, action", FIRES_AND_IS_CURED)
def test_fires_and_its_action_cures_it(database, ddl, kind, message, action):
    database.run(ddl)
    found = database.only("s.x")
    assert (found["type"], found["message"], found["action"]) == (kind, message, action)
    assert found["action_type"] == "sql_statements"
    database.run(found["action"])
    assert database.notices() == []


@pytest.mark.parametrize("ddl, kind, message, action", FIRES)
def test_fires(database, ddl, kind, message, action):
    database.run(ddl)
    found = database.only("s.x")
    assert (found["type"], found["message"], found["action"]) == (kind, message, action)
    assert found["action_type"] == "plain_text"
    assert found["hint"].endswith(".")


NEAR_MISSES = {
    "another method": "CREATE INDEX ON s.orders USING hash (a); CREATE INDEX ON s.orders (a)",
    "another order of keys": "CREATE INDEX ON s.orders (a, c, b)",
    "a direction": "CREATE INDEX ON s.orders (a, b, c DESC)",
    "NULLS FIRST": "CREATE INDEX ON s.orders (a, b, c NULLS FIRST)",
    "a predicate": "CREATE INDEX ON s.orders (a, b, c) WHERE a > 0",
    "INCLUDE": "CREATE INDEX ON s.orders (a, b, c) INCLUDE (note)",
    "an operator class": "CREATE INDEX ON s.customers (email varchar_pattern_ops)",
    "a collation": 'CREATE INDEX ON s.customers (email COLLATE "C")',
    "unique beside plain": "CREATE UNIQUE INDEX ON s.orders (a, b, c)",
    "unique with NULLS NOT DISTINCT beside unique": "CREATE UNIQUE INDEX ON s.orders (note);"
    "CREATE UNIQUE INDEX ON s.orders (note) NULLS NOT DISTINCT",
    "immediate beside deferrable": "ALTER TABLE s.orders ADD UNIQUE (b) DEFERRABLE; CREATE UNIQUE INDEX ON s.orders (b)",
    "another table": "CREATE TABLE s.other (a int, b int, c int); CREATE INDEX ON s.other (a, b, c)",
    "a leading prefix": VIEW + "WHERE o.a = 1 AND o.b = 2",
    "the whole key": VIEW + "WHERE o.c = 1 AND o.b = 2 AND o.a = 3",
    "a column of no index": VIEW + "WHERE o.status = 'new'",
    "a column beyond the index": VIEW + "WHERE o.b = 1 AND o.status = 'new'",
    "an index that begins with it": "CREATE INDEX ON s.orders (b, status);" + VIEW + "WHERE o.b = 1",
    "no literal": VIEW + "WHERE o.b = o.id",
    "a range": VIEW + "WHERE o.b > 1",
    "a literal on the kept side of an outer join": "CREATE VIEW s.x AS SELECT o.id FROM s.orders o "
    "LEFT JOIN s.customers c ON o.b = 1 AND c.name = o.note",
    "the leading column from a join": "CREATE VIEW s.x AS SELECT o.id FROM s.customers c JOIN s.orders o "
    "ON o.a = c.id WHERE o.b = 1",
    "a unique constant: one row": "CREATE UNIQUE INDEX ON s.orders ((true))",
    "a constant beside a column": "CREATE INDEX ON s.orders ((1), a)",
    "IS NULL": VIEW + "WHERE o.note IS NULL AND o.status IS NOT DISTINCT FROM NULL",
    "NULL that is not compared": "CREATE VIEW s.x AS SELECT NULLIF(o.a, 1) AS n, COALESCE(o.b, NULL) AS m, NULL::int AS k "
    "FROM s.orders o WHERE o.note IN ('a', 'b')",
    "a cast that changes nothing": CUSTOMERS + "WHERE c.email = 'ann' AND c.email::text < 'b'",
    "a function on the other side": CUSTOMERS + "WHERE c.email = lower('ANN')",
    "a function of two columns": CUSTOMERS + "WHERE concat(c.email, c.name) = 'x'",
    "a function on a column without an index": CUSTOMERS + "WHERE lower(c.name) = 'ann'",
    "a function in the output": "CREATE VIEW s.x AS SELECT lower(c.email) AS l FROM s.customers c",
    "an index on the expression": "CREATE INDEX ON s.customers (lower(email));" + CUSTOMERS + "WHERE lower(c.email) = 'a'",
    "an aggregate": "CREATE VIEW s.x AS SELECT c.tenant FROM s.customers c GROUP BY c.tenant HAVING max(c.email) = 'a'",
    "a trailing wildcard": CUSTOMERS + "WHERE c.name LIKE 'a%' AND c.name NOT LIKE '%b'",
    "a pattern that matches all": CUSTOMERS + "WHERE c.name LIKE '%'",
    "a percent sign elsewhere": CUSTOMERS + "WHERE c.name = '%a' AND c.name LIKE '\\%a%'",
    "NOT IN a column that is not null": CUSTOMERS + "WHERE c.id NOT IN (SELECT o.id FROM s.orders o)",
    "NOT IN with a test": CUSTOMERS
    + "WHERE c.id NOT IN (SELECT o.customer FROM s.orders o WHERE o.customer IS NOT NULL)",
    "NOT IN with a comparison": CUSTOMERS + "WHERE c.id NOT IN (SELECT o.customer FROM s.orders o WHERE o.customer > 7)",
    "IN": CUSTOMERS + "WHERE c.id IN (SELECT o.customer FROM s.orders o)",
    "NOT EXISTS": CUSTOMERS + "WHERE NOT EXISTS (SELECT FROM s.orders o WHERE o.customer = c.id)",
    "LIMIT with ORDER BY": VIEW + "ORDER BY o.id LIMIT 10",
    "LIMIT in EXISTS": CUSTOMERS + "WHERE EXISTS (SELECT FROM s.orders o LIMIT 1)",
    "LIMIT of a row": VIEW + "WHERE o.id = 7 LIMIT 1",
    "LIMIT over a sorted sub-select": "CREATE VIEW s.x AS SELECT * FROM (SELECT o.id FROM s.orders o ORDER BY o.id) y LIMIT 3",
    "a join along no foreign key": JOIN + "ON o.status = c.name",
    "a temporary view": "CREATE TEMPORARY VIEW x AS SELECT o.id FROM s.orders o LIMIT 3",
    "a unique index": "CREATE MATERIALIZED VIEW s.x AS SELECT c.id FROM s.customers c; CREATE UNIQUE INDEX ON s.x (id)",
    "a self-join on another column": "CREATE VIEW s.x AS SELECT a.id FROM s.customers a JOIN s.customers b ON a.tenant = b.id",
}


@pytest.mark.parametrize("ddl", NEAR_MISSES.values(), ids=NEAR_MISSES.keys())
def test_near_misses(database, ddl):
    database.run(ddl)
    assert database.notices() == []


@pytest.mark.parametrize(
    "index",
    ["(id)", "(name) WHERE id > 0", "((id + 1))"],
    ids=["plain", "partial", "an expression"],
)
def test_an_index_that_concurrent_refresh_does_not_take(database, index):
    unique = "" if index == "(id)" else "UNIQUE"
    database.run(MATVIEW + f"SELECT c.id, c.name FROM s.customers c; CREATE {unique} INDEX ON s.x {index}")
    assert [n["type"] for n in database.notices()] == [MATERIALIZED]
    with pytest.raises(psycopg.Error, match="concurrently"):
        database.run("REFRESH MATERIALIZED VIEW CONCURRENTLY s.x")
    database.run(database.only("s.x")["action"])
    database.run("REFRESH MATERIALIZED VIEW CONCURRENTLY s.x")


def test_a_too_wide_index_belongs_to_the_newer_object(database):
    database.run("CREATE VIEW s.x AS SELECT o.id FROM s.orders o WHERE o.status = 'new'")
    assert database.notices() == []
    database.run("CREATE INDEX wide ON s.orders (customer, status)")
    found = database.only("s.wide")
    assert found["type"] == TOO_WIDE and found["kind"] == "index"
    # Replacing the older view says so too, and the notice stays the index's.
    assert database.notices("s.x") == [found]
    database.run(found["action"])
    assert database.notices() == []


def test_an_index_of_a_foreign_key_cannot_just_be_dropped(database):
    database.run(
        "CREATE UNIQUE INDEX one ON s.orders (note); CREATE UNIQUE INDEX two ON s.orders (note);"
        "CREATE TABLE s.r (n text REFERENCES s.orders (note))"
    )
    (index,) = database.connection.execute(
        "SELECT conindid::regclass::text FROM pg_constraint WHERE conname = 'r_n_fkey'"
    ).fetchone()
    (found,) = database.notices()
    assert found["name"] == "two"
    assert (found["action_type"] == "plain_text") == (index == "s.two")


def test_redaction(database):
    database.run(VIEW + "WHERE o.a IN (17, 23) AND o.c = 4711 LIMIT 99")
    for found in database.notices():
        texts = [found["redacted_message"] or found["message"], found["redacted_action"] or found["action"]]
        for secret in ("17", "23", "4711", "99"):
            assert secret not in "".join(texts), texts
        assert "█" in found["redacted_message"]
    assert len(database.notices()) == 2


def test_fingerprints_outlive_another_making(database):
    first = "CREATE VIEW s.x AS SELECT o.id FROM s.orders o JOIN s.customers c ON o.customer = c.id LIMIT 10"
    same = """CREATE VIEW s.x AS -- the same
        SELECT a.id FROM s.orders AS a  JOIN s.customers AS "B" ON (a.customer = "B".id) LIMIT 10"""
    others = [first.replace("10", "11"), first.replace("o.id", "o.a AS id"), first.replace("JOIN", "LEFT JOIN")]

    def made(ddl):
        database.run(ddl)
        found = {n["type"]: n["fingerprint"] for n in database.notices()}
        database.run("DROP VIEW s.x")
        assert set(found) == {LIMIT, FOREIGN}
        return found

    fingerprints = made(first)
    assert made(same) == fingerprints
    for other in others:
        assert not set(made(other).values()) & set(fingerprints.values())


def test_settings_of_the_role_change_nothing(database):
    database.run(CUSTOMERS + "WHERE c.seen::text = '2024-01-01 00:00:00+02'::timestamptz::text LIMIT '7'::float8::int")
    plain = database.notices()
    assert plain
    settings = "search_path=s,public;timezone=Asia/Tokyo;quote_all_identifiers=on;datestyle=German;standard_conforming_strings=off"
    options = "%20".join("-c" + s.replace("=", "%3D").replace(",", "%2C") for s in settings.split(";"))
    assert database.notices(url=f"{database.url}&options={options}") == plain


def test_operators_of_the_users_schema_are_not_called(database):
    database.run(
        "CREATE FUNCTION s.no(name, name) RETURNS bool LANGUAGE plpgsql AS $$BEGIN RAISE 'called'; END$$;"
        "CREATE OPERATOR s.= (FUNCTION = s.no, LEFTARG = name, RIGHTARG = name);" + VIEW + "LIMIT 3"
    )
    assert len(database.notices()) == 1


def test_a_well_made_schema_gets_no_notice(database):
    database.run(WELL_MADE.read_text())
    assert database.notices() == []


def test_every_type_has_its_page(database):
    pages = pathlib.Path(__file__).parents[3] / "docs" / "notices"
    for ddl, kind, _, _ in FIRES_AND_IS_CURED + FIRES:
        page = pages / (kind.lower().replace(" ", "-") + ".md")
        assert page.read_text().startswith(f"# {kind}\n"), page
