"""What the notice types say about a real server's objects: the tool signalbox_notices prints it."""

import json
import pathlib
import subprocess

import psycopg
import pytest

from harness.signalbox import binary

WELL_MADE = pathlib.Path(__file__).parent / "well_made.sql"

TABLES = """
CREATE SCHEMA s;
CREATE TABLE s.customers (
    id int PRIMARY KEY, email varchar(80) NOT NULL, name text, "order" text, code bpchar, tenant int, active bool,
    seen timestamptz, day timestamp, parent int REFERENCES s.customers);
CREATE TABLE s.orders (
    id int PRIMARY KEY, customer int REFERENCES s.customers, status text, a int, b int, c int, note text);
CREATE INDEX abc ON s.orders (a, b, c);
CREATE INDEX mail ON s.customers (email);
CREATE INDEX seen ON s.customers (seen);
CREATE INDEX day ON s.customers (day);
CREATE INDEX odd ON s.customers ("order");
"""


class Database:
    def __init__(self, pg, name):
        self.url = f"postgresql://postgres@/{name}?host={pg.socket_dir}&port={pg.port}"
        self.connection = psycopg.connect(self.url, autocommit=True)

    def run(self, sql):
        self.connection.execute(sql)

    def notices(self, created=None, url=None):
        tool = binary().parent / "tests" / "unit" / "signalbox_notices"
        assert tool.exists(), f"no {tool}: build the target signalbox_notices"
        command = [tool, url or self.url] + ([created] if created else [])
        done = subprocess.run(command, capture_output=True, text=True, timeout=60)
        assert done.returncode == 0, done.stderr
        return [json.loads(line) for line in done.stdout.splitlines()]

    def only(self, created):
        """The one notice of an object; it is the same whether it was just made or found later."""
        found = self.notices(created)
        assert len(found) == 1, found
        later = [n for n in self.notices() if f"{n['schema']}.{n['name']}" == created]
        assert later == found
        return found[0]


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


VIEW = "CREATE VIEW s.x AS SELECT o.id FROM s.orders o "
CUSTOMERS = "CREATE VIEW s.x AS SELECT c.id FROM s.customers c "
JOIN = "CREATE VIEW s.x AS SELECT o.id FROM s.orders o JOIN s.customers c "
MATVIEW = "CREATE MATERIALIZED VIEW s.x AS "

IDENTICAL = "An identical index already exists"
TOO_WIDE = "Index too wide for literal constraints"
EMPTY = "Empty index key"
NULLS = "Comparison with NULL"
FUNCTION = "Function or cast on an indexed column"
WILDCARD = "Pattern with a leading wildcard"
NOT_IN = "NOT IN over a nullable column"
MATERIALIZED = "Materialized view without a unique index"
LIMIT = "LIMIT without ORDER BY"
FOREIGN = "Unindexed foreign key"

# DDL, type, message, action that is SQL
FIRES_AND_IS_CURED = [
    (
        "CREATE INDEX x ON s.orders (a, b, c)",
        IDENTICAL,
        'index "s.x" is identical to index "s.abc"',
        "DROP INDEX s.x;",
    ),
    (
        "ALTER TABLE s.orders ADD CONSTRAINT x UNIQUE (id)",
        IDENTICAL,
        'index "s.x" is identical to index "s.orders_pkey"',
        "ALTER TABLE s.orders DROP CONSTRAINT x;",
    ),
    (
        VIEW + "WHERE o.b = 5",
        TOO_WIDE,
        'index "s.abc" is too wide for the literal constraints of view "s.x" on table "s.orders": b = 5',
        "CREATE INDEX ON s.orders (b);",
    ),
    (
        VIEW + "WHERE o.c = 5 AND o.a IN (1, 2)",
        TOO_WIDE,
        'index "s.abc" is too wide for the literal constraints of view "s.x" on table "s.orders": '
        "a = ANY (ARRAY[1, 2]) AND c = 5",
        "CREATE INDEX ON s.orders (a, c);",
    ),
    (
        "CREATE INDEX x ON s.orders ((1), lower('A'))",
        EMPTY,
        "index \"s.x\" has an empty key: ((1), lower('A'::text)) is the same for every row of table \"s.orders\"",
        "DROP INDEX s.x;",
    ),
    (
        CUSTOMERS + "WHERE lower(c.email) = 'ann'",
        FUNCTION,
        'view "s.x" compares lower(email::text) of table "s.customers", which index "s.mail" on "email" cannot answer',
        "CREATE INDEX ON s.customers (lower(email::text));",
    ),
    (
        CUSTOMERS + "WHERE c.day::date = '2024-01-01'",
        FUNCTION,
        'view "s.x" compares day::date of table "s.customers", which index "s.day" on "day" cannot answer',
        "CREATE INDEX ON s.customers ((day::date));",
    ),
    (
        CUSTOMERS + "WHERE COALESCE(c.\"order\", '-') = 'a'",
        FUNCTION,
        "view \"s.x\" compares COALESCE(\"order\", '-'::text) of table \"s.customers\", "
        'which index "s.odd" on "order" cannot answer',
        "CREATE INDEX ON s.customers ((COALESCE(\"order\", '-'::text)));",
    ),
    (
        CUSTOMERS + "WHERE c.email LIKE '%@example.org'",
        WILDCARD,
        'view "s.x" matches email LIKE \'%@example.org\'::text on table "s.customers", '
        "a pattern with a leading wildcard",
        "CREATE EXTENSION pg_trgm WITH SCHEMA public;\n"
        "CREATE INDEX ON s.customers USING gin (email public.gin_trgm_ops);",
    ),
    (
        CUSTOMERS + "WHERE lower(c.name) LIKE '_nn%' OR c.id = 1",
        WILDCARD,
        'view "s.x" matches lower(name) LIKE \'_nn%\'::text on table "s.customers", a pattern with a leading wildcard',
        "CREATE EXTENSION pg_trgm WITH SCHEMA public;\n"
        "CREATE INDEX ON s.customers USING gin (lower(name) public.gin_trgm_ops);",
    ),
    (
        MATVIEW + "SELECT c.name AS who, c.id AS number FROM s.customers c WHERE c.id > 0",
        MATERIALIZED,
        'materialized view "s.x" has no unique index',
        "CREATE UNIQUE INDEX ON s.x (number);",
    ),
    (
        MATVIEW + 'SELECT count(*), c.tenant AS "Tenant" FROM s.customers c GROUP BY c.tenant',
        MATERIALIZED,
        'materialized view "s.x" has no unique index',
        'CREATE UNIQUE INDEX ON s.x ("Tenant");',
    ),
    (
        JOIN + "ON o.customer = c.id",
        FOREIGN,
        'view "s.x" joins along foreign key "orders_customer_fkey" of table "s.orders", which has no index',
        "CREATE INDEX ON s.orders (customer);",
    ),
    (
        "CREATE VIEW s.x AS SELECT c.id FROM s.customers c, s.customers p WHERE p.id = c.parent",
        FOREIGN,
        'view "s.x" joins along foreign key "customers_parent_fkey" of table "s.customers", which has no index',
        "CREATE INDEX ON s.customers (parent);",
    ),
]

# DDL, type, message, action in words
FIRES = [
    (
        VIEW + "WHERE o.note = NULL",
        NULLS,
        'view "s.x" compares with NULL: note = NULL is never true',
        "Write note IS NULL instead of note = NULL.",
    ),
    (
        "CREATE VIEW s.x AS SELECT CASE WHEN o.a <> NULL THEN 1 END AS n FROM s.orders o",
        NULLS,
        'view "s.x" compares with NULL: a <> NULL is never true',
        "Write a IS NOT NULL instead of a <> NULL.",
    ),
    (
        VIEW + "WHERE o.id IN (SELECT p.id FROM s.orders p WHERE p.status NOT IN ('new', NULL))",
        NULLS,
        "view \"s.x\" compares with NULL: status <> ALL (ARRAY['new'::text, NULL]) is never true",
        "Take the NULL out of status <> ALL (ARRAY['new'::text, NULL]).",
    ),
    (
        "CREATE INDEX x ON s.orders (a) WHERE note = NULL",
        NULLS,
        'index "s.x" compares with NULL: note = NULL is never true',
        "Write note IS NULL instead of note = NULL.",
    ),
    (
        CUSTOMERS + "WHERE c.seen::date = '2024-01-01'",
        FUNCTION,
        'view "s.x" compares seen::date of table "s.customers", which index "s.seen" on "seen" cannot answer',
        'Compare "seen" itself, with a range where it is a part of the value, instead of seen::date.',
    ),
    (
        CUSTOMERS + "WHERE c.id NOT IN (SELECT o.customer FROM s.orders o WHERE o.a > 1)",
        NOT_IN,
        'view "s.x" has id NOT IN a sub-select of column "orders.customer", which may be NULL',
        "Add customer IS NOT NULL to the sub-select on s.orders, or write NOT EXISTS instead of NOT IN.",
    ),
    (
        CUSTOMERS + "WHERE c.id <> ALL (SELECT o.id FROM s.customers p LEFT JOIN s.orders o ON o.id = p.id)",
        NOT_IN,
        'view "s.x" has id NOT IN a sub-select of column "orders.id", which may be NULL',
        "Add id IS NOT NULL to the sub-select on s.orders, or write NOT EXISTS instead of NOT IN.",
    ),
    (
        VIEW + "LIMIT 10",
        LIMIT,
        'view "s.x" has LIMIT 10 without ORDER BY',
        "Add ORDER BY before LIMIT 10, on columns that are unique together.",
    ),
    (
        "CREATE VIEW s.x AS SELECT (SELECT o.note FROM s.orders o WHERE o.customer = c.id LIMIT 1) AS n FROM s.customers c",
        LIMIT,
        'view "s.x" has LIMIT 1 without ORDER BY',
        "Add ORDER BY before LIMIT 1, on columns that are unique together.",
    ),
    (
        MATVIEW + "SELECT c.name, o.note FROM s.customers c CROSS JOIN s.orders o",
        MATERIALIZED,
        'materialized view "s.x" has no unique index',
        'Create a unique index on columns of "s.x" that are unique together.',
    ),
]


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
