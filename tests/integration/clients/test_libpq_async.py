"""libpq's asynchronous API, as drivers use it: they wait for the socket, and for nothing else."""

import select

from psycopg import pq

from harness.postgres import ROLES

SIZES = range(40, 1600, 3)  # rows: how the reply is cut into TLS records and reads depends on them


def test_a_reply_is_there_when_the_socket_says_no_more(box, mode):
    """libpq sees only what one read of a TLS record gives it: records must not be too large."""
    target = f"host=127.0.0.1 port={box.port} dbname={mode} user=app password={ROLES['app']}"
    connection = pq.PGconn.connect(f"{target} sslmode=require".encode())
    assert connection.status == pq.ConnStatus.OK, connection.error_message
    for size in SIZES:
        sql = f"SELECT g, repeat('x', 90) FROM generate_series(1, {size}) g"
        connection.send_query(sql.encode())
        while connection.is_busy():
            readable, _, _ = select.select([connection.socket], [], [], 10)
            assert readable, f"the reply of {size} rows lies where nobody looks"
            connection.consume_input()
        assert connection.get_result().ntuples == size
        assert connection.get_result() is None
    connection.finish()
