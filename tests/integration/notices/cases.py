"""What fires, with the words that are said; the tables it is about; a database that is asked for it."""

import json
import subprocess

import psycopg

from harness.signalbox import binary

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

# What the clients' tests make.
NOTED_TWICE = 'index "noted.second" is identical to index "noted.first"'
