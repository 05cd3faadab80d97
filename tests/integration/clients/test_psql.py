"""psql: its \\d family, \\copy, scripts, \\gdesc, cursors, and its error paths."""

import pytest

SCHEMA = """
DROP SCHEMA IF EXISTS psql_tests CASCADE;
CREATE SCHEMA psql_tests;
SET search_path = psql_tests;
CREATE TABLE parent (id int PRIMARY KEY, name text NOT NULL DEFAULT 'x', CHECK (id > 0));
CREATE TABLE child (id serial PRIMARY KEY, parent int REFERENCES parent ON DELETE CASCADE);
CREATE INDEX child_parent ON child (parent) WHERE parent > 0;
CREATE VIEW both_tables AS SELECT p.name, c.id FROM parent p JOIN child c ON c.parent = p.id;
CREATE MATERIALIZED VIEW counted AS SELECT count(*) FROM parent;
CREATE TYPE mood AS ENUM ('good', 'bad');
CREATE DOMAIN positive AS int CHECK (VALUE > 0);
CREATE FUNCTION twice(int) RETURNS int LANGUAGE sql AS 'SELECT $1 * 2';
CREATE SEQUENCE counter;
COMMENT ON TABLE parent IS 'a comment';
"""

DESCRIBE = [
    "\\d",
    "\\d parent",
    "\\d+ child",
    "\\d both_tables",
    "\\d+ counted",
    "\\dt",
    "\\di+",
    "\\dv",
    "\\dm",
    "\\ds",
    "\\df twice",
    "\\df+ twice",
    "\\dT+ mood",
    "\\dD",
    "\\dn+",
    "\\du",
    "\\l",
    "\\dp",
    "\\dx",
    "\\dd",
    "\\do",
    "\\da sum",
    "\\dC",
    "\\dc",
    "\\ddp",
    "\\drds",
    "\\dRp",
    "\\dy",
    "\\dew",
    "\\dF",
    "\\dconfig work_mem",
    "\\sf twice",
    "\\sv both_tables",
    "\\z parent",
    "\\dg app",
    "\\conninfo",
]


@pytest.fixture(scope="module", autouse=True)
def schema(pg):
    pg.admin("CREATE SCHEMA IF NOT EXISTS psql_tests AUTHORIZATION app")


@pytest.fixture
def psql(run_tool):
    def run(*arguments, text=None, check=True):
        return run_tool(
            "psql",
            "-X",
            "-v",
            "ON_ERROR_STOP=1",
            *arguments,
            text=text,
            check=check,
            environment={"PGOPTIONS": "-c search_path=psql_tests"},
        )

    return run


@pytest.fixture
def direct(pg, run_tool):
    """psql straight to the server, to compare with."""

    def run(*arguments, **options):
        environment = {
            "PGHOST": "127.0.0.1",
            "PGPORT": str(pg.port),
            "PGDATABASE": "app",
            "PGSSLMODE": "disable",
            "PGOPTIONS": "-c search_path=psql_tests",
        }
        return run_tool("psql", "-X", *arguments, environment=environment, **options)

    return run


def test_describe_commands_look_as_on_the_server(psql, direct):
    psql("-q", text=SCHEMA)
    for command in DESCRIBE:
        if command == "\\conninfo":
            assert "SSL connection" in psql("-c", command).stdout
            continue
        mine, theirs = psql("-c", command), direct("-c", command)
        assert mine.stdout == theirs.stdout, command
        assert mine.stdout or mine.stderr == theirs.stderr


def test_script_from_a_file(psql, tmp_path):
    script = tmp_path / "script.sql"
    script.write_text(
        SCHEMA
        + "INSERT INTO parent VALUES (1, 'one'), (2, 'two');\n"
        + "BEGIN;\nINSERT INTO parent VALUES (3, 'three');\nROLLBACK;\n"
        + "COPY parent FROM stdin;\n4\tfour\n5\tfive\n\\.\n"
        + "SELECT count(*) AS n FROM parent \\gset\n\\echo there are :n\n"
        + "DO $$ BEGIN RAISE NOTICE 'a notice'; END $$;\n"
    )
    done = psql("-f", script)
    assert "there are 4" in done.stdout
    assert "a notice" in done.stderr
    script.write_text("CREATE TABLE only_there (id int);\nBEGIN;\nSELECT 1/0;\n")
    one = psql("-1", "-f", script, check=False)  # as one transaction: its own BEGIN only warns
    assert "already a transaction in progress" in one.stderr and "division by zero" in one.stderr
    assert "does not exist" in psql("-c", "TABLE only_there", check=False).stderr


def test_errors_name_line_and_position(psql, tmp_path):
    script = tmp_path / "bad.sql"
    script.write_text("SELECT 1;\nSELECT nope\nFROM parent;\n")
    done = psql("-f", script, check=False)
    assert done.returncode == 3
    assert "bad.sql:3: ERROR:" in done.stderr and "LINE 1: SELECT nope" in done.stderr


def test_copy_both_ways(psql, tmp_path):
    data = tmp_path / "data.csv"
    data.write_text("".join(f"{i},name {i}\n" for i in range(1, 5001)))
    psql("-q", text=SCHEMA)
    assert "COPY 5000" in psql("-c", f"\\copy parent FROM '{data}' CSV").stdout
    out = tmp_path / "out.csv"
    psql("-c", f"\\copy (SELECT * FROM parent ORDER BY id) TO '{out}' CSV")
    assert out.read_text() == data.read_text()
    bad = psql("-c", f"\\copy parent FROM '{data}' CSV", check=False)
    assert "duplicate key" in bad.stderr
    assert psql("-Atc", "SELECT count(*) FROM parent").stdout == "5000\n"


def test_gdesc_gexec_and_watch(psql, direct):
    psql("-q", text=SCHEMA)
    # The server says so already when it is to describe the statement.
    wrong = "SELECT 1 AS a, now() AS b, 'x'::mood AS c \\gdesc\n"
    mine, theirs = (run("-At", text=wrong, check=False) for run in (psql, direct))
    assert "invalid input value for enum mood" in mine.stderr and not mine.stdout
    assert (mine.stderr, mine.stdout) == (theirs.stderr, theirs.stdout)
    done = psql("-At", text="SELECT 1 AS a, now() AS b \\gdesc\nSELECT 'SELECT 42' \\gexec\n")
    assert "a|integer\nb|timestamp with time zone\n" in done.stdout and "42" in done.stdout


def test_cursors_by_fetch_count(psql):
    done = psql("-At", "-v", "FETCH_COUNT=7", "-c", "SELECT generate_series(1, 100)")
    assert done.stdout.split() == [str(i) for i in range(1, 101)]


def test_single_transaction_and_many_statements(psql):
    psql("-q", text=SCHEMA)
    done = psql("-At", "-c", "INSERT INTO parent VALUES (1); SELECT count(*) FROM parent")
    assert done.stdout.split()[-1] == "1"
    assert psql("-At", "-c", "SELECT 1", "-c", "SELECT 2").stdout.split() == ["1", "2"]


def test_large_objects(psql, tmp_path):
    data = tmp_path / "object"
    data.write_bytes(bytes(range(256)) * 4000)
    out = tmp_path / "object.out"
    text = f"\\lo_import '{data}'\n\\lo_export :LASTOID '{out}'\n\\lo_unlink :LASTOID\n"
    psql(text=text)
    assert out.read_bytes() == data.read_bytes()


def test_password_and_startup_errors(psql):
    done = psql("-c", "SELECT 1", "-d", "dbname=nowhere", check=False)
    assert done.returncode == 2 and 'database "nowhere" does not exist' in done.stderr
    done = psql("-c", "SELECT 1", "-d", "password=wrong", check=False)
    assert 'password authentication failed for user "app"' in done.stderr
