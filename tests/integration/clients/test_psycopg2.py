"""psycopg2: its extras, COPY, named cursors, cancel."""

import io
import threading

import psycopg2
import psycopg2.extras
import pytest


@pytest.fixture(scope="module", autouse=True)
def tables(pg):
    pg.admin("CREATE TABLE IF NOT EXISTS python_rows (id int PRIMARY KEY, note text)")
    pg.admin("ALTER TABLE python_rows OWNER TO app")


def test_psycopg2(target):
    connection = psycopg2.connect(target.conninfo)
    with connection, connection.cursor() as cursor:
        cursor.execute("TRUNCATE python_rows")
        psycopg2.extras.execute_values(
            cursor, "INSERT INTO python_rows VALUES %s", [(i, f"n{i}") for i in range(500)]
        )
        cursor.execute("SELECT count(*) FROM python_rows WHERE id = ANY(%s)", ([1, 2, 3],))
        assert cursor.fetchone() == (3,)
    with connection, connection.cursor(name="server_side") as cursor:
        cursor.itersize = 40
        cursor.execute("SELECT id FROM python_rows ORDER BY id")
        assert [row[0] for row in cursor] == list(range(500))
    with connection, connection.cursor() as cursor:
        out = io.StringIO()
        cursor.copy_expert("COPY (SELECT * FROM python_rows ORDER BY id LIMIT 2) TO STDOUT", out)
        assert out.getvalue() == "0\tn0\n1\tn1\n"
        cursor.copy_expert("COPY python_rows FROM STDIN", io.StringIO("1000\tcopied\n"))
        with pytest.raises(psycopg2.errors.UniqueViolation):
            cursor.execute("INSERT INTO python_rows VALUES (1, 'twice')")
        connection.rollback()
    timer = threading.Timer(0.5, connection.cancel)
    timer.start()
    with pytest.raises(psycopg2.errors.QueryCanceled), connection.cursor() as cursor:
        cursor.execute("SELECT pg_sleep(30)")
    connection.rollback()
    connection.set_session(isolation_level="REPEATABLE READ", readonly=True)
    with connection, connection.cursor() as cursor:
        cursor.execute("SHOW transaction_isolation")
        assert cursor.fetchone() == ("repeatable read",)
    connection.set_client_encoding("LATIN1")
    with connection, connection.cursor() as cursor:
        cursor.execute("SELECT %s", ("grün",))
        assert cursor.fetchone() == ("grün",)
    connection.close()
