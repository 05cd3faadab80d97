"""pg_dump | pg_restore through Signalbox: the copy equals the original."""

import re

import pytest

from harness import Signalbox
from harness.signalbox import standard_config

SCHEMA = """
SET ROLE app;
CREATE TABLE kinds (
    id bigserial PRIMARY KEY, n numeric(20, 5), t text, b bytea, j jsonb, ts timestamptz, a int[],
    d date, f float8, u uuid, r int4range
);
INSERT INTO kinds (n, t, b, j, ts, a, d, f, u, r)
    SELECT g * 1.5, repeat('ä✓' || g, g % 50), decode(md5(g::text), 'hex'),
        jsonb_build_object('k', g),
        '2020-02-02 02:02:02+00'::timestamptz + g * interval '1 hour', ARRAY[g, g + 1, NULL],
        '2020-02-02'::date + g, g / 7.0, md5(g::text)::uuid, int4range(g, g + 10)
    FROM generate_series(1, 5000) g;
INSERT INTO kinds (t) VALUES (NULL), (''), (E'back\\\\slash\\ttab\\nline'), ('\\.');
CREATE INDEX kinds_n ON kinds (n);
CREATE VIEW few AS SELECT id, t FROM kinds WHERE id < 10;
CREATE MATERIALIZED VIEW total AS SELECT count(*) FROM kinds;
CREATE FUNCTION double(int) RETURNS int LANGUAGE sql IMMUTABLE AS 'SELECT $1 * 2';
CREATE TABLE refers (id int PRIMARY KEY, kind bigint REFERENCES kinds);
INSERT INTO refers SELECT g, g FROM generate_series(1, 100) g;
SELECT lo_create(4242);
SELECT lo_put(4242, 0, decode(repeat('00ff', 10000), 'hex'));
"""

FINGERPRINT = """
SELECT (SELECT md5(string_agg(k::text, '|' ORDER BY id)) FROM kinds k),
    (SELECT count(*) FROM refers), (SELECT md5(lo_get(4242))), (SELECT count FROM total),
    (SELECT string_agg(relname, ',' ORDER BY relname) FROM pg_class
        WHERE relnamespace = 'public'::regnamespace),
    (SELECT last_value FROM kinds_id_seq)
"""


@pytest.fixture(scope="module")
def box(pg):
    pg.admin("CREATE DATABASE dump_source OWNER app", database="postgres")
    pg.admin(SCHEMA, database="dump_source")
    routes = {}
    for mode in ("session", "transaction"):
        pg.admin(f"CREATE DATABASE dump_{mode} OWNER app", database="postgres")
        for part in ("source", mode):
            routes[f"{part}_by_{mode}"] = {"pool_mode": mode, "backend_database": f"dump_{part}"}
    with Signalbox(standard_config(pg, routes=routes)) as process:
        yield process


def without_keys(file):
    """A plain dump without the random key that fences it (\\restrict, since 15.14)."""
    return re.sub(r"^\\(un)?restrict \w+$", "", file.read_text(), flags=re.M)


@pytest.mark.parametrize("form", ["custom", "plain", "directory"])
def test_dump_and_restore(pg, run_tool, mode, tmp_path, form):
    name = f"dump_{mode}"
    pg.admin(f"DROP DATABASE {name} WITH (FORCE)", database="postgres")
    pg.admin(f"CREATE DATABASE {name} OWNER app", database="postgres")
    file = tmp_path / "dump"
    parallel = ["-j", "2"] if form == "directory" else []
    run_tool("pg_dump", "-F", form, "-f", file, "-b", *parallel, f"source_by_{mode}")
    target = f"{mode}_by_{mode}"
    if form == "plain":
        run_tool("psql", "-X", "-q", "-v", "ON_ERROR_STOP=1", "-d", target, "-f", file)
    else:
        run_tool("pg_restore", "--exit-on-error", *parallel, "-d", target, file)
    original = pg.admin(FINGERPRINT, database="dump_source")
    assert pg.admin(FINGERPRINT, database=name) == original
    # And the dump is what pg_dump makes without a proxy.
    if form == "plain":
        direct = tmp_path / "direct"
        environment = {"PGHOST": "127.0.0.1", "PGPORT": str(pg.port), "PGSSLMODE": "disable"}
        run_tool(
            "pg_dump", "-F", "plain", "-f", direct, "-b", "dump_source", environment=environment
        )
        assert without_keys(file) == without_keys(direct)


def test_inserts_and_schema_only(run_tool, mode):
    done = run_tool(
        "pg_dump", "--inserts", "--rows-per-insert=100", "-t", "refers", f"source_by_{mode}"
    )
    assert "INSERT INTO public.refers VALUES" in done.stdout
    done = run_tool("pg_dump", "--schema-only", f"source_by_{mode}")
    assert "CREATE MATERIALIZED VIEW public.total" in done.stdout
